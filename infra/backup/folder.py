"""A backup on disk: files by part, `backup.json` about them, and `SHA256SUMS`, which `sha256sum -c` understands too.

A backup is written under `DIR.partial` and renamed when everything is on disk, so a folder `DIR` is a whole one. A
list of checksums may be long, as an archive has a file an hour and more: it is written and read line by line.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

import msgspec

from infra.errors import Failed
from stores.backends import sync_folder

SUMS = "SHA256SUMS"
ABOUT = "backup.json"
VERSION = 1
_PARTIAL = ".partial"
_BLOCK = 1 << 20
_TELL_SECONDS = 0.5
_LINE = re.compile(r"([0-9a-f]{64})  (.+)\n")

Line = dict[str, Any]


class Entry(NamedTuple):
    """A file of a backup: its name, with `/` between folders, and its SHA-256 in hexadecimal."""

    name: str
    sha256: str


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What `backup.json` says: when (ISO 8601) and of what, how many files and bytes, and the proof.

    `days` has a line with the digest of the sessions of each site and recent day, `amounts` counts of everything."""

    version: int = VERSION
    taken_at: str
    data: str
    files: int
    bytes: int
    amounts: dict[str, int]
    days: list[Line]


class Progress:
    """Says twice a second how many bytes of how many are done."""

    def __init__(self, what: str, of: int) -> None:
        self.what = what
        self.of = of
        self.done = 0
        self._told = time.monotonic()

    def add(self, count: int) -> Iterator[Line]:
        """Counts; yields a line when one is due."""
        self.done += count
        if time.monotonic() - self._told >= _TELL_SECONDS:
            self._told = time.monotonic()
            yield {self.what: self.done, "of": max(self.of, self.done)}


class Writer:
    """Writes one backup. Without `finish`, `close` leaves nothing of it."""

    def __init__(self, folder: Path) -> None:
        """Makes `DIR.partial`, in place of what a killed backup left. Raises `Failed` if `folder` cannot be new."""
        if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
            raise Failed(f"{folder} is there already and not empty: name a new folder for the backup")
        if os.path.ismount(folder):
            raise Failed(f"{folder} is a file system of its own: name a new folder in it for the backup")
        self.folder = folder
        self.partial = folder.with_name(folder.name + _PARTIAL)
        if self.partial.exists():
            if not (self.partial / SUMS).is_file():
                raise Failed(f"{self.partial} is in the way, and no backup of ours: remove it, or name another folder")
            shutil.rmtree(self.partial)
        folder.parent.mkdir(parents=True, exist_ok=True)
        self.partial.mkdir(mode=0o700)
        self.partial.chmod(0o700)
        self._sums = self._create(SUMS)
        self.files = self.bytes = 0

    def path(self, name: str) -> Path:
        """The path of a file of this backup, in a folder that is there."""
        path = self.partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def copy(self, source: Path, name: str, progress: Progress | None = None) -> Generator[Line, None, str]:
        """Copies a file as it is now, with its mode and time, which for a salt is when it expires; yields progress,
        returns its SHA-256.

        Raises OSError, FileNotFoundError if it has gone."""
        whole = hashlib.sha256()
        with source.open("rb") as file:
            self.path(name)
            there = os.fstat(file.fileno())
            with self._create(name) as copy:
                os.fchmod(copy.fileno(), there.st_mode & 0o777)
                for block in iter(lambda: file.read(_BLOCK), b""):
                    whole.update(block)
                    copy.write(block)
                    if progress is not None:
                        yield from progress.add(len(block))
        os.utime(self.partial / name, ns=(there.st_atime_ns, there.st_mtime_ns))
        self._enter(name, whole.hexdigest())
        return whole.hexdigest()

    def enter(self, name: str, progress: Progress | None = None) -> Iterator[Line]:
        """Enters a file that was written at `path(name)`; yields progress."""
        whole = hashlib.sha256()
        with (self.partial / name).open("rb") as file:
            for block in iter(lambda: file.read(_BLOCK), b""):
                whole.update(block)
                if progress is not None:
                    yield from progress.add(len(block))
        self._enter(name, whole.hexdigest())

    def finish(self, about: About) -> None:
        """Makes everything durable, and the backup one that counts."""
        data = msgspec.json.format(msgspec.json.encode(about), indent=1) + b"\n"
        with self._create(ABOUT) as file:
            file.write(data)
        self._sums.write(f"{hashlib.sha256(data).hexdigest()}  {ABOUT}\n".encode())
        self._sums.close()
        # Every file and folder at once: a sync of each would take hours for an archive of a million files.
        os.sync()
        self.partial.rename(self.folder)
        sync_folder(self.folder.parent)

    def close(self) -> None:
        """Removes what is not finished."""
        with suppress(OSError):  # the disk is full: the more this has to go
            self._sums.close()
        shutil.rmtree(self.partial, ignore_errors=True)

    def _create(self, name: str) -> IO[bytes]:
        file = os.open(self.partial / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        return os.fdopen(file, "wb")

    def _enter(self, name: str, sha256: str) -> None:
        if "\n" in name or "\\" in name:
            raise Failed(f"{name!r} cannot be backed up: rename the file, its name has a line break or a backslash")
        self._sums.write(f"{sha256}  {name}\n".encode())
        self.files += 1
        self.bytes += (self.partial / name).stat().st_size


@contextmanager
def in_words(folder: Path) -> Iterator[None]:
    """Names the folder where a read or a write of a file fails, which the system tells without a name: `Failed`."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise Failed(f"{folder} cannot be made: {error.strerror}; nothing of it is left") from error


def about(folder: Path) -> About:
    """What a backup says about itself. Raises `Failed` if it is none, is damaged, or of a newer version."""
    try:
        data = (folder / ABOUT).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise Failed(f"{folder} is no backup: it has no {ABOUT}") from None
    *_, last = [Entry("", ""), *entries(folder)]
    if last != Entry(ABOUT, hashlib.sha256(data).hexdigest()):
        raise Failed(f"{folder / ABOUT} is damaged, or {SUMS} is: use another backup")
    try:
        found = msgspec.json.decode(data, type=About)
    except msgspec.MsgspecError as error:
        raise Failed(f"{folder / ABOUT} is of another version of Footfall ({error}): use that one") from error
    if found.version != VERSION:
        raise Failed(f"{folder} has version {found.version}, this Footfall reads {VERSION}: use the one that wrote it")
    return found


def entries(folder: Path) -> Iterator[Entry]:
    """The files of a backup, `backup.json` last. Raises `Failed` for a line that is none."""
    try:
        with (folder / SUMS).open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            for line in file:
                found = _LINE.fullmatch(line)
                if found is None or ".." in PurePosixPath(found[2]).parts or found[2].startswith("/"):
                    raise Failed(f"{folder / SUMS} is damaged at {line[:100]!r}: use another backup")
                yield Entry(found[2], found[1])
    except FileNotFoundError:
        raise Failed(f"{folder} is no backup: it has no {SUMS}") from None


def verify(folder: Path, expected: About, progress: Progress) -> Iterator[Line]:
    """Reads every file of a backup; yields progress. Raises `Failed`, which names each damaged or missing file."""
    wrong: list[str] = []
    files = size = 0
    for name, sha256 in entries(folder):
        whole = hashlib.sha256()
        try:
            with (folder / name).open("rb") as file:
                for block in iter(lambda: file.read(_BLOCK), b""):
                    whole.update(block)
                    yield from progress.add(len(block))
                size += 0 if name == ABOUT else file.tell()
        except OSError as error:
            wrong.append(f"{name} ({error.strerror})")
            continue
        if whole.hexdigest() != sha256:
            wrong.append(f"{name} (its bytes are not those of its checksum)")
        files += name != ABOUT
    if not wrong and (files, size) != (expected.files, expected.bytes):
        wrong.append(f"{SUMS} ({files} files of {expected.files}, {size} bytes of {expected.bytes})")
    if wrong:
        more = f", and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        raise Failed(f"{folder} is damaged, nothing was restored: {', '.join(wrong[:10])}{more}. Use another backup")


def total(paths: Iterable[Path]) -> int:
    """The bytes of files and of everything in folders; what goes meanwhile counts nothing."""
    found = 0
    for path in paths:
        for folder, _, files in os.walk(path) if path.is_dir() else [(str(path.parent), [], [path.name])]:
            for file in files:
                try:
                    found += Path(folder, file).stat().st_size
                except FileNotFoundError:
                    continue
    return found


def check_space(folder: Path, needed: int) -> None:
    """Raises `Failed` if the file system of `folder`, which need not be there yet, has less room than `needed` bytes.
    """
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise Failed(f"{there} has {free / 1e6:,.0f} MB free, and {needed / 1e6:,.0f} MB are needed")
