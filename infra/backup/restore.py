"""Makes a data folder of a backup: verified before anything is written, and proved before anything counts.

Everything is written to `.restoring` in the data folder first. There the warehouse is opened and compared with what
was written down when the backup was taken. Only then the parts are renamed to their places, see `infra.backup.stage`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from typing import Any

from infra import private
from infra.backup import folder as backup
from infra.backup import places
from infra.backup.stage import PROVED, STAGE, put_in_place
from infra.errors import Failed
from infra.settings import Settings
from stores.backends import sync_folder

Line = dict[str, Any]

_LOCK = "lock"
# The engine needs some room of its own to open a warehouse.
_SPARE = 32 << 20


def restore(settings: Settings, folder: Path, alone: AbstractContextManager[object]) -> Iterator[Line]:
    """Restores a backup to the places that `settings` name; yields progress, a line a day, and one with `restored`.

    Nobody else has the data folder while `alone` is entered, which is done when something is going to be written.
    Raises `Failed`, which says why and that nothing was restored; then nothing is left of it."""
    places.refuse(settings, "footfall restore")
    about = backup.about(folder)
    where = places.of(settings)
    data = settings.data
    if (data / PROVED).is_dir():
        raise Failed(f"a restore to {data} was broken off when all was proved: the next `footfall up` finishes it")
    _refuse_occupied(where)
    yield from backup.verify(folder, about, backup.Progress("verified", about.bytes))
    backup.check_space(data, about.bytes + _SPARE)
    with backup.in_words(data), ExitStack() as stack:
        private.make(data)
        stack.enter_context(alone)
        _refuse_occupied(where)
        stage = data / STAGE
        if stage.exists():
            shutil.rmtree(stage)  # left by a restore that was killed
        written: list[Path] = []
        stack.callback(_remove, stage, written)
        yield from _write(folder, about, data, stage, where, written)
        url = places.warehouse_at(settings, _staged(where[places.WAREHOUSE], data))
        days, equal = _proved(url, about)
        yield from days
        if not equal:
            raise Failed("the restored warehouse is not what was backed up, nothing was restored: use another backup")
        os.sync()
        stage.rename(data / PROVED)
        written.clear()
        sync_folder(data)
        put_in_place(data)
    yield {
        "restored": str(data),
        "taken_at": about.taken_at,
        "files": about.files,
        "bytes": about.bytes,
        "events": about.amounts["events"],
        "sessions": about.amounts["sessions"],
        "days": len(about.days),
    }


def _refuse_occupied(where: dict[str, Path]) -> None:
    """Raises `Failed` if there is anything where the backup is going to be."""
    for part, path in where.items():
        if not path.exists():
            continue
        if not path.is_dir():
            raise Failed(f"{path} is there already; nothing was restored. Name a new folder by --data")
        ours = (_LOCK, STAGE) if part == places.BESIDE else ()
        found = sorted(entry.name for entry in path.iterdir() if entry.name not in ours)
        if found:
            raise Failed(f"{path} is not empty ({found[0]}); nothing was restored. Name a new folder by --data")


def _write(
    folder: Path, about: backup.About, data: Path, stage: Path, where: dict[str, Path], written: list[Path]
) -> Iterator[Line]:
    """Copies the files of the backup; those of the data folder go to `stage`. `written` are the other places."""
    progress = backup.Progress("written", about.bytes)
    stage.mkdir(mode=0o700)
    for name, _ in backup.entries(folder):
        if name == backup.ABOUT:
            continue
        part, _, rest = name.partition("/")
        if part not in where:
            raise Failed(f"{folder / name} is of no part that is known here: use the version that took the backup")
        target = where[part] / rest if rest else where[part]
        if not target.is_relative_to(data) and where[part] not in written:
            written.append(where[part])
        yield from _copy(folder / name, _staged(target, data), progress)


def _staged(target: Path, data: Path) -> Path:
    """Where a file is written that is going to be at `target`."""
    return data / STAGE / target.relative_to(data) if target.is_relative_to(data) else target


def _copy(source: Path, target: Path, progress: backup.Progress) -> Iterator[Line]:
    """Copies a file with its mode and time, which for a salt is when it expires."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as file, target.open("xb") as copy:
        there = os.fstat(file.fileno())
        os.fchmod(copy.fileno(), there.st_mode & 0o777)
        for block in iter(lambda: file.read(1 << 20), b""):
            copy.write(block)
            yield from progress.add(len(block))
    os.utime(target, ns=(there.st_atime_ns, there.st_mtime_ns))


def _proved(url: str, about: backup.About) -> tuple[list[Line], bool]:
    """A line for each day of the backup, with `equal`, and whether everything is as it was."""
    import stores
    from infra.backup import proof  # slow to import, and not needed for a backup that is damaged

    with closing(stores.connect_warehouse(url)) as opened:
        numbers = proof.day_numbers(about.days)
        found = {(line["site"], line["day"]): line for line in proof.digests(opened, numbers)}
        amounts = proof.amounts(opened)
    lines = [line | {"equal": found.pop((line["site"], line["day"]), None) == line} for line in about.days]
    equal = all(line["equal"] for line in lines) and not found
    return lines, equal and amounts == about.amounts


def _remove(stage: Path, written: list[Path]) -> None:
    """Removes what was written if it does not count."""
    shutil.rmtree(stage, ignore_errors=True)
    for path in written:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
