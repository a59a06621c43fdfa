"""The checks of what lies on this machine: disks, secrets, the spool, the sites file."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from infra.backup.stage import PROVED, STAGE
from infra.doctor.finding import Check, Told, counted, ok, size, span, warning, wrong
from ingest import sites
from ingest.spool import FolderSpool
from stores.backends import parse_location
from stores.live import checked_secret

if TYPE_CHECKING:
    from infra.settings import Settings

_FOLDERS = ("archive", "checkpoint", "live", "spool", "exchange")
_LITTLE, _HARDLY = 0.05, 0.01  # the share of a disk that is free
_LITTLE_BYTES, _HARDLY_BYTES = 1 << 30, 100 << 20
_SLOW, _STUCK = 60.0, 600.0  # seconds that a spool has not drained
_SPOOL_BYTES = 1 << 30  # what a spool takes
_OTHERS = 0o077
_AHEAD = 5.0  # seconds that a clock may be ahead of ours
_PRIVATE = ("accounts.db", "owner.json", "log.db", "sites.toml")


def folder_of(url: str) -> Path | None:
    """The folder that a setting names, None if it is a URL of something else."""
    return parse_location(url).folder if url.startswith("file:") else None


def checks(settings: Settings, *, runs: bool) -> dict[str, Check]:
    """The checks that need nothing but this machine; `runs` tells whether somebody drains the spool."""
    folder = folder_of(settings.spool)

    def waits() -> list[Told]:
        if folder is None:
            return [ok("it is a queue, whose own alarms tell what waits")]
        return spool(folder, runs=runs)

    return {
        "sites": lambda: sites_file(settings.sites),
        "disk": lambda: disk(settings),
        "clock": lambda: clock(settings),
        "spool": waits,
    }


def folders(settings: Settings) -> list[Path]:
    """The data folder and the others that are settings of their own, those that are there."""
    found = [folder_of(getattr(settings, name)) for name in _FOLDERS]
    return [folder for folder in (settings.data, *found) if folder is not None and folder.is_dir()]


def disk(settings: Settings) -> list[Told]:
    """Whether there is room, and whether it can be written to."""
    told: list[Told] = []
    if (settings.data / STAGE).is_dir():
        told.append(wrong(f"a restore to {settings.data} was broken off, or is under way", "run it again from its DIR"))
    if (settings.data / PROVED).is_dir():
        told.append(warning(f"a restore to {settings.data} was broken off at its end", "the next command finishes it"))
    room: list[Told] = []
    seen: set[int] = set()
    for folder in folders(settings):
        if os.statvfs(folder).f_flag & os.ST_RDONLY or not os.access(folder, os.W_OK | os.X_OK):
            told.append(
                wrong(f"{folder} cannot be written to", "mount it for writing, and let this user own it: chmod u+rwx")
            )
        device = folder.stat().st_dev
        if device not in seen:
            seen.add(device)
            judged = room_on(folder, os.statvfs(folder))
            (room if judged.state == "ok" else told).append(judged)
    return told or room


def clock(settings: Settings) -> list[Told]:
    """Whether files are from the future: the clock was set back, or the folder's own server has another."""
    data = settings.data
    checkpoint = folder_of(settings.checkpoint)
    written = [data / "log.db", data / "log.db-wal", data / "owner.json"]
    written += [*checkpoint.glob("unit-*")] if checkpoint else []
    for path in written:
        if path.exists() and (ahead := path.stat().st_mtime - time.time()) > _AHEAD:
            said = f"{path} was written {span(ahead)} from now: a clock was set back, or its server has another"
            return [wrong(said, "set the clocks by NTP; until then new events may count as late")]
    return [ok("no file is from the future")]


def room_on(folder: Path, found: os.statvfs_result) -> Told:
    """What a file system's numbers say about room on it."""
    free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    said = f"{size(free)} of {size(total)} are free in {folder}"
    remedy = "free some space, or move the data folder to a larger disk: no event can be taken on a full one"
    if free < min(_HARDLY * total, _HARDLY_BYTES):
        return wrong(said, remedy)
    if found.f_files and found.f_favail < 1_000:
        return wrong(f"only {found.f_favail} more files can be made in {folder}", "delete files, or enlarge the disk")
    return warning(said, remedy) if free < min(_LITTLE * total, _LITTLE_BYTES) else ok(said)


def secrets(settings: Settings, *, events_today: bool) -> list[Told]:
    """Whether salts and keys are there and whole."""
    told: list[Told] = []
    live = folder_of(settings.live)
    if live is None:
        return [ok("the salts and keys are in Redis")]
    files = [path for folder in ("salts", "keys") for path in _files(live / folder)]
    for path in files:
        if why := checked_secret(path.read_bytes())[1]:
            text = f"{path} is damaged: {why}"
            told.append(wrong(text, "put it back from a copy; a new one makes known visitors new ones"))
    kept = [path for path in _files(live / "salts") if path.stat().st_mtime < time.time() - 3_600]
    if kept:
        told.append(
            warning(f"{kept[0]} is older than 48 hours", "start `footfall up`, which deletes it, or delete it yourself")
        )
    if events_today and not (live / "salts" / datetime.now(UTC).date().isoformat()).exists():
        told.append(
            wrong(
                f"the salt of today is missing in {live / 'salts'}, and there are events of today",
                "put it back from a copy before the next start; with a new one the visitors of today count again",
            )
        )
    return told or [ok(f"{len(files)} salts and keys, whole")]


def open_to_others(settings: Settings) -> Iterator[Told]:
    """What other users may read of what is private."""
    data = settings.data
    live = folder_of(settings.live)
    private = [settings.data, settings.sites, *(data / name for name in _PRIVATE)]
    if live is not None:
        private += [path for folder in (live / "salts", live / "keys") for path in (folder, *_files(folder))]
    for given in (settings.dashboards_password_file, settings.oidc_client_secret_file, settings.smtp_password_file):
        if given is not None:
            private.append(given)
    for path in dict.fromkeys(private):
        if path.exists() and (mode := stat.S_IMODE(path.stat().st_mode)) & _OTHERS:
            right = "700" if path.is_dir() else "600"
            yield wrong(f"{path} is open to other users ({mode:04o})", f"chmod {right} {path}")


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError:
        return []


def spool(folder: Path, *, runs: bool) -> list[Told]:
    """Whether events wait for the broker here, and since when; `runs` tells whether somebody drains them."""
    there = FolderSpool(folder)
    told = [
        wrong(
            f"{path} keeps {size(count)} that could not be published",
            "the output of the server says why; keep the file, and delete it when you do without these events",
        )
        for path, count in there.damaged().items()
    ]
    waiting = sorted(folder.glob("*.spool"))
    told += [
        wrong(f"{path} cannot be drained: it is not this user's to read and write", f"chmod 600 {path}, or its owner")
        for path in waiting
        if not path.is_file() or not os.access(path, os.R_OK | os.W_OK)
    ]
    if not waiting:
        return told or [ok("nothing waits for the broker")]
    age, held = there.oldest_seconds(), there.bytes()
    said = f"{size(held)} in {counted(len(waiting), 'file')} wait for the broker in {folder}, since {span(age)}"
    if not runs:
        told.append(warning(said, "start `footfall up` or `footfall ingest`, which publishes them"))
    elif age >= _STUCK or held >= 0.8 * _SPOOL_BYTES:
        told.append(wrong(said, "bring the broker back (see the check broker): beyond 1 GiB events are refused"))
    elif age >= _SLOW:
        told.append(warning(said, "it drains when the broker takes events again: see the check broker"))
    return told or [ok(said)]


def sites_file(path: Path) -> list[Told]:
    """Whether the sites file can be used and says something."""
    if not path.exists():
        return [warning(f"there is no {path}: every event is refused", "footfall site add example.com")]
    try:
        found = sites.read(path)
    except sites.SitesError as error:
        return [wrong(str(error), "mend the file; a running server keeps the sites that it knew, a start is refused")]
    if not found:
        return [warning(f"{path} has no site: every event is refused", "footfall site add example.com")]
    zones = sites.wrong_zones(found.values(), str(path))
    told = [warning(problem, "correct timezone in the entry of the site") for problem in zones]
    return told or [ok(f"{counted(len(found), 'site')} in {path}")]
