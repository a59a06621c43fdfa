"""Takes a backup beside running processes, in the process that owns the warehouse.

The order is what makes it whole. Everything that follows from the log is copied before the log:

1. Warehouse and checkpoint, as of one moment: the loader has no lease of its unit meanwhile and the day builder waits,
   so no table and no position moves. That lasts as long as it takes to link the parts, not to copy or count them.
2. The archive, by its manifest.
3. Keys, salts, sites, accounts, each whole by itself; then the spool, from which events go to the log.
4. The log last. So it has every record that the checkpoint and the archive say they have taken, and every record that
   the spool gave away meanwhile; what is in both has the same id and counts once.

What was answered with 2xx before a backup began is therefore in it. Events go on being taken all the time.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from brokers.sqlite.storage import rewind
from infra.backup import database, places, proof
from infra.backup.folder import About, Progress, Writer, check_space, in_words, total
from infra.errors import Failed
from infra.wiring import Parts
from stores import snapshot
from stores.accounts import FILE as ACCOUNTS
from stores.archive import connect_archive
from stores.base import Manifest
from stores.checkpoint import connect_checkpoint

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from pipeline.checkpoint import Checkpoint
    from pipeline.live import Loader

Line = dict[str, Any]

_SPARE = 32 << 20  # bytes: what is written while the copy is made


def take(parts: Parts, loader: Loader, still: AbstractContextManager[object], folder: Path) -> Iterator[Line]:
    """Writes a backup to `folder`, which has to be new; yields progress, then one line with `backup` about it.

    Nothing but the loader writes to the warehouse while `still` is entered. Raises `Failed`; then, and when it is
    closed early, nothing is left of it."""
    settings = parts.settings
    places.refuse(settings, "footfall backup")
    where = places.of(settings)
    _refuse_within(folder, where)
    with in_words(folder), ExitStack() as stack:
        stack.enter_context(_alone(settings.data))
        snapshot.sweep(where[places.WAREHOUSE])
        _check_parts(parts)
        needed = _needed(parts, where)
        check_space(folder, needed + _SPARE)
        writer = stack.enter_context(closing(Writer(folder)))
        progress = Progress("copied", needed)
        taken_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        yield {"copied": 0, "of": needed}

        begun = time.monotonic()
        with _paused(parts, loader, still) as checkpoint:
            begun = time.monotonic()
            frozen = snapshot.Snapshot(parts.warehouse, where[places.WAREHOUSE], secrets.token_hex(4))
            stack.callback(frozen.close)
            for path, name in frozen.loose():
                _all(writer.copy(path, f"{places.WAREHOUSE}/{name}"))
            _checkpoint(loader, checkpoint, writer, where["checkpoint"])
        paused = time.monotonic() - begun

        for path, name in frozen.parts():
            yield from writer.copy(path, f"{places.WAREHOUSE}/{name}", progress)
        root = frozen.opened(writer.path(f"{places.WAREHOUSE}/-").parent)
        told: Line = {"part": "counting", "copied": progress.done, "of": max(needed, progress.done)}
        counted = yield from proof.counted(places.warehouse_at(settings, root), told)
        amounts, days = counted.amounts, counted.days
        frozen.close()
        manifest = yield from _archive(parts, writer, where["archive"], progress)
        for path, name in _small(parts, where):
            yield from _if_there(writer, path, name, progress)
        if where[ACCOUNTS].exists():
            yield from database.copy(where[ACCOUNTS], writer.path(ACCOUNTS))
            yield from writer.enter(ACCOUNTS)
        for path in _files(where["spool"]):
            yield from _if_there(writer, path, f"spool/{path.relative_to(where['spool'])}", progress)
        yield from _log(writer, where[places.LOG], checkpoint, manifest, progress)

        about = About(
            taken_at=taken_at,
            data=str(settings.data),
            files=writer.files,
            bytes=writer.bytes,
            amounts=amounts,
            days=days,
        )
        writer.finish(about)
        yield {
            "backup": str(folder),
            "taken_at": taken_at,
            "files": about.files,
            "bytes": about.bytes,
            "events": amounts["events"],
            "sessions": amounts["sessions"],
            "paused_ms": round(paused * 1000),
            "days": days,
        }


def _refuse_within(folder: Path, where: dict[str, Path]) -> None:
    real = Path(os.path.realpath(folder))
    for part in where.values():
        if real.is_relative_to(os.path.realpath(part)):
            raise Failed(f"{folder} lies in {part}, which it would be a copy of: name a folder outside, best a disk")


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Holds the lock of backups of this data folder. Raises `Failed` while another backup is being taken."""
    lock = os.open(data / "backup.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(f"another backup of {data} is being taken: wait for it") from None
        yield
    finally:
        os.close(lock)


def _check_parts(parts: Parts) -> None:
    """Raises `Failed` if rows cannot be read: a copy of them would be no backup."""
    from pipeline.losses import LAST_DAY

    broken = parts.warehouse.broken_parts(0, LAST_DAY)
    if broken:
        named = ", ".join(f"{table} {part} ({why})" for table, part, why in broken[:5])
        raise Failed(f"the warehouse has damaged parts: {named}. `footfall replay` of their days mends them")


@contextmanager
def _paused(parts: Parts, loader: Loader, still: AbstractContextManager[object]) -> Iterator[Checkpoint]:
    """Nothing is written to the warehouse or to the checkpoint while the block runs; gives the checkpoint.

    Raises `Failed` when that cannot be had, or while lost rows are being made again."""
    from pipeline import losses
    from pipeline.rebuild import Busy, leased

    if loader.checkpoint().intent is not None:
        loader.step()  # left by a process that died; nobody else may be there to run it
    try:
        # The turn, too: the thread that loads shares our view of the checkpoint, and would swap over the lease.
        with still, loader.turn, leased(loader) as checkpoint:
            gone = losses.lost(checkpoint.parts, losses.parts(parts.warehouse.parts()))
            if checkpoint.lost or checkpoint.missing or gone:
                why = losses.LOST if checkpoint.lost else losses.rebuilding(losses.missing(gone, checkpoint.missing))
                raise Failed(f"no backup now: {why}. Let `footfall up` run until /ready answers 200, then again")
            yield checkpoint
            if checkpoint.lease is None or not checkpoint.lease.counts(loader.clock()):
                raise Failed("the disk was too slow to hold everything still so long: try again at a quieter time")
    except Busy as error:
        raise Failed(str(error)) from error


def _checkpoint(loader: Loader, checkpoint: Checkpoint, writer: Writer, folder: Path) -> None:
    """Copies the checkpoint, without our lease, the segments that it names, and the layout of units.

    Raises the checkpoint's `Damaged` for a segment whose checksum is off."""
    from pipeline import erasure
    from pipeline.checkpoint import CheckpointRepository
    from pipeline.unit import LAYOUT

    segments = [*checkpoint.segments(), *checkpoint.dirty_days]
    for name in segments:
        loader.repository.get_frame(name)
    beside = [name for name in (LAYOUT, erasure.NAME, erasure.JOURNAL) if (folder / name).exists()]
    for name in [*segments, *beside]:
        _all(writer.copy(folder / name, f"checkpoint/{name}"))
    name = loader.repository.name
    into = writer.path(f"checkpoint/{name}").parent
    with closing(connect_checkpoint(str(into))) as store:
        CheckpointRepository(store, loader.unit.name).swap(msgspec.structs.replace(checkpoint, lease=None))
    _all(writer.enter(f"checkpoint/{name}"))


def _needed(parts: Parts, where: dict[str, Path]) -> int:
    names = ("checkpoint", "live", "spool", places.LOG, places.SITES, ACCOUNTS)
    files = [*(where[name] for name in names), Path(f"{where[places.LOG]}-wal"), *places.beside(parts.settings)]
    archived = sum(entry.bytes for entry in parts.archive.manifest().entries)
    return snapshot.size(parts.warehouse) + archived + total(path for path in files if path.exists())


def _archive(parts: Parts, writer: Writer, folder: Path, progress: Progress) -> Generator[Line, None, Manifest]:
    """Copies the files that the manifest names, each compared with it, and writes a manifest of them; returns it."""
    manifest = parts.archive.manifest()
    for entry in manifest.entries:
        name = f"archive/{entry.path}"
        try:
            sha256 = yield from writer.copy(folder / entry.path, name, progress)
        except FileNotFoundError:
            sha256 = "missing"
        if sha256 != entry.sha256:
            if parts.archive.committed().version != manifest.version:
                raise Failed("files of the archive were replaced while it was copied: take the backup again")
            raise Failed(
                f"{folder / entry.path} is damaged or missing. Put it back from a copy, or archive its range again from"
                " the log; then take the backup again"
            )
    if manifest.version is not None:
        with closing(connect_archive(str(writer.path("archive/-").parent))) as copy:
            copy.commit(None, manifest.entries, manifest.positions)
        for path in _files(writer.partial / "archive" / "_manifest"):
            yield from writer.enter(path.relative_to(writer.partial).as_posix())
    return manifest


def _small(parts: Parts, where: dict[str, Path]) -> Iterator[tuple[Path, str]]:
    """Keys, salts, the sites, and files of the operator's own in the data folder."""
    for path in _files(where["live"]):
        yield path, f"live/{path.relative_to(where['live'])}"
    yield where[places.SITES], places.SITES
    for path in places.beside(parts.settings):
        yield path, f"{places.BESIDE}/{path.name}"


def _if_there(writer: Writer, path: Path, name: str, progress: Progress) -> Iterator[Line]:
    """Copies a file that may go at any time: a salt that expires, a spool that is on the log now."""
    try:
        yield from writer.copy(path, name, progress)
    except FileNotFoundError:
        return


def _log(
    writer: Writer, log: Path, checkpoint: Checkpoint, manifest: Manifest, progress: Progress
) -> Iterator[Line]:
    """Copies the log. In the copy, retention keeps what the copied checkpoint and archive have not taken yet."""
    from activity.event import TOPICS
    from pipeline import archive, live

    copied = writer.path(places.LOG)
    yield from database.copy(log, copied)
    problems = rewind(copied, live.GROUP, live.READ_TOPICS, checkpoint.positions)
    problems += rewind(copied, archive.GROUP, TOPICS, manifest.positions)
    if problems:
        raise Failed(f"the log moved on while it was copied: {'; '.join(problems)}. Take the backup again")
    yield from writer.enter(places.LOG, progress)


def _files(folder: Path) -> list[Path]:
    """The files in a folder and below, but for those that are being written."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".partial"))


def _all(lines: Iterator[Line]) -> None:
    """Runs a copy to its end, for small files of which nobody is told."""
    for _ in lines:
        pass
