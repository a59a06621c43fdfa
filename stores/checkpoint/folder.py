"""A checkpoint in a folder, safe between processes and across a power cut.

A value is one file: a line with its version, then the bytes. A swap holds an exclusive lock on a lock file of
its own while it reads the version, writes a new file aside, syncs it, renames it over the old and syncs the
folder: a reader, who takes no lock, sees the old file or the new one. Versions are random, so a value deleted
and written again never has a version that somebody still remembers.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stores import files
from stores.base import Lost, Unreadable
from stores.checkpoint import aside, checked

_LOCK = ".lock"


class FolderCheckpoint:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = str(folder)
        files.make_folder(folder)

    def load(self, name: str) -> tuple[bytes, str] | None:
        try:
            stored = (self._folder / checked(name)).read_bytes()
        except FileNotFoundError:
            return None
        version, separator, value = stored.partition(b"\n")
        if not separator:
            raise Unreadable(name, "it has no version line", "put back the file from a copy, or replay")
        return value, version.decode("ascii", "replace")

    def swap(self, name: str, value: bytes, expected: str | None) -> str:
        version = secrets.token_hex(8)
        with self._locked():
            found = self.load(name)
            if (found[1] if found else None) != expected:
                raise Lost(f"{name} was written by another process since it was read: load it again")
            files.write(self._folder / name, version.encode() + b"\n" + value)
        return version

    def put(self, name: str, data: bytes) -> None:
        files.write(self._folder / checked(name), data)

    def get(self, name: str) -> bytes:
        try:
            return (self._folder / checked(name)).read_bytes()
        except FileNotFoundError:
            raise Unreadable(
                str(self._folder / name), "the segment is missing", "put the file back, or start over with a replay"
            ) from None

    def delete(self, name: str) -> None:
        path = self._folder / checked(name)
        with self._locked():
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                files.sync_folder(path.parent)

    def set_aside(self, name: str) -> str:
        new = aside(name)
        with self._locked():
            path = self._folder / name
            if path.exists():
                files.make_folder((self._folder / new).parent)
                path.rename(self._folder / new)
                files.sync_folder((self._folder / new).parent)
                files.sync_folder(path.parent)
        return new

    def names(self, prefix: str = "") -> list[str]:
        found = (path.relative_to(self._folder).as_posix() for path in self._folder.rglob("*") if path.is_file())
        return sorted(
            name for name in found if name.startswith(prefix) and name != _LOCK and not files.is_partial(name)
        )

    def close(self) -> None:
        """Nothing is held open between calls."""

    @contextmanager
    def _locked(self) -> Iterator[None]:
        files.make_folder(self._folder)  # it may have been deleted under us, which loses the values, not the store
        handle = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
