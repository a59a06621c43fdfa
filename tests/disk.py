"""A power cut, as a model: what is left of a folder when only that is on disk which was fsync'd.

A `Disk` watches `os.fsync` of this process. Of a file it keeps the bytes as of its last fsync, of a folder the names as
of its last fsync. What `cut` leaves is one of two extremes that a file system may leave, and code has to bear both:

    the names that were fsync'd            a file that was renamed, made or deleted since is as before
    the names of the moment (`early`)      renames reached the disk before the bytes did

In both a file has only the bytes and the time that were fsync'd, no bytes if it never was. What SQLite and the
warehouse's engine fsync by themselves is not seen."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class Disk:
    """All that is below `root`, which is on disk when the watch begins."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._names: dict[int, dict[str, int]] = {}  # inodes by name, of each folder by its own
        self._files: dict[int, tuple[bytes, int]] = {}  # content, and the time of its last change in ns
        self._kept: list[int] = []  # descriptors, so that no inode is given to another file
        self._looks: list[Callable[[], Any]] = []
        for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
            self._fsynced(os.open(folder, os.O_RDONLY))
        for file in (path for path in root.rglob("*") if path.is_file()):
            self._fsynced(os.open(file, os.O_RDONLY))

    def _fsynced(self, handle: int) -> None:
        found = os.fstat(handle)
        if stat.S_ISDIR(found.st_mode):
            with os.scandir(f"/proc/self/fd/{handle}") as entries:
                self._names[found.st_ino] = {entry.name: entry.inode() for entry in entries}
        else:
            self._files[found.st_ino] = Path(f"/proc/self/fd/{handle}").read_bytes(), found.st_mtime_ns
        self._kept.append(handle)

    @contextmanager
    def watched(self) -> Iterator[Disk]:
        """While the block runs."""
        fsync = os.fsync

        def seen(handle: int) -> None:
            self._look()
            fsync(handle)
            self._fsynced(os.dup(handle))

        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(os, "fsync", seen)
                yield self
        finally:
            for handle in self._kept:
                os.close(handle)

    @contextmanager
    def at_each_fsync(self, look: Callable[[], Any]) -> Iterator[None]:
        """Call `look` before each fsync of the block."""
        self._looks.append(look)
        try:
            yield
        finally:
            self._looks.remove(look)

    def _look(self) -> None:
        looks, self._looks = self._looks, []  # what a look opens and fsyncs is not looked at
        try:
            for look in looks:
                look()
        finally:
            self._looks = looks

    def cuts(self, into: Path) -> Iterator[Path]:
        """What a power cut now would leave, both extremes, each in the folder `into`."""
        for early in (False, True):
            shutil.rmtree(into, ignore_errors=True)
            self._leave(self.root, self.root.stat().st_ino, into, early)
            yield into

    def _leave(self, folder: Path, inode: int, into: Path, early: bool) -> None:
        into.mkdir()
        names = self._names.get(inode, {})
        if early:
            with os.scandir(folder) as entries:
                names = {entry.name: entry.inode() for entry in entries}
        for name, of_name in names.items():
            if of_name in self._names or (folder / name).is_dir():
                self._leave(folder / name, of_name, into / name, early)
            else:
                content, changed = self._files.get(of_name, (b"", 0))
                (into / name).write_bytes(content)
                os.utime(into / name, ns=(changed, changed))
