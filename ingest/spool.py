"""Where accepted records wait, fsync'd, while the broker does not take them.

Each process writes a file of its own, an embedded log of one partition, made with the first record that has
to wait and deleted once all of it is on the broker. A lock held on a neighbouring file says that its process
lives; the spool of a dead one is drained by whoever finds it. What was drained is remembered in the file, so
a crash in between sends at most one chunk again, which the pipeline recognises by the events' ids.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from brokers.base import Record
from brokers.embedded import SqliteBroker

log = logging.getLogger(__name__)

_TOPIC = "spool"
_GROUP = "drained"
_FORMER_TOPIC = "footfall-topic"
_CHUNK = 500

Publish = Callable[[Sequence[Record]], None]


class SpoolFull(Exception):
    """The spool holds as much as it may; the sender has to keep the events and come again."""


class _File:
    """One process's spool file, its lock held."""

    def __init__(self, path: Path, lock: IO[str]) -> None:
        self.path = path
        self._lock = lock
        self._log = SqliteBroker(f"sqlite://{path}?retention_every_ms=0")
        self._log.create_topic(_TOPIC, partitions=1)
        self._drained = self._log.recall(_GROUP, _TOPIC, 0)

    def append(self, records: Sequence[Record]) -> None:
        self._log.publish(
            [
                Record(_TOPIC, record.key, record.value, (*record.headers, (_FORMER_TOPIC, record.topic.encode())), 0)
                for record in records
            ]
        )

    def drain_chunk(self, publish: Publish) -> int:
        """Publish what waits longest and remember it as drained; 0 when nothing waits."""
        waiting = self._log.read_after(_TOPIC, 0, self._drained, _CHUNK)
        if not waiting:
            return 0
        publish(
            [
                Record(stored.headers[-1][1].decode(), stored.key, stored.value, stored.headers[:-1])
                for stored in waiting
            ]
        )
        self._drained = waiting[-1].position
        self._log.remember(_GROUP, _TOPIC, 0, self._drained)
        return len(waiting)

    def close(self) -> None:
        self._log.close()
        self._lock.close()

    def delete(self) -> None:
        self._log.close()
        for path in _files_of(self.path):
            path.unlink(missing_ok=True)
        self._lock.close()


class Spool:
    """The spool folder as one process sees it. Appending and draining may go on in different threads."""

    def __init__(self, folder: Path, max_bytes: int = 1 << 30) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._own: _File | None = None
        self._lock = threading.Lock()

    def append(self, records: Sequence[Record]) -> None:
        """Durable when it returns. Raises `SpoolFull`, or what the disk says."""
        with self._lock:
            if self._own is None:
                self._own = self._create()
            self._append(self._own, records)

    def append_behind(self, records: Sequence[Record]) -> bool:
        """The same behind what this process has appended and is not drained yet; False when there is nothing."""
        if self._own is None:
            return False
        with self._lock:
            if self._own is None:
                return False
            self._append(self._own, records)
            return True

    def _append(self, own: _File, records: Sequence[Record]) -> None:
        if self.bytes() >= self._max_bytes:
            raise SpoolFull(f"{self._folder} holds {self._max_bytes} bytes: bring the broker back, it drains then")
        own.append(records)

    def drain(self, publish: Publish) -> int:
        """Publish all that waits, oldest file first, each in its order; returns how many records that was.

        Whatever `publish` raises ends it; what was published until then is not sent again."""
        drained = 0
        for orphan in self._orphans():
            try:
                while count := orphan.drain_chunk(publish):
                    drained += count
            except BaseException:
                orphan.close()
                raise
            orphan.delete()
        while self._own is not None:
            if count := self._own.drain_chunk(publish):
                drained += count
                continue
            with self._lock:  # nothing is appended now, so empty means done
                if count := self._own.drain_chunk(publish):
                    drained += count
                    continue
                self._own.delete()
                self._own = None
        return drained

    def waits(self) -> bool:
        """Whether there is something to drain, ours or a dead neighbour's."""
        return any(self._folder.glob("*.spool"))

    def bytes(self) -> int:
        """Of all processes that share the folder."""
        total = 0
        for path in self._folder.glob("*.spool*"):
            with suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    def oldest_seconds(self) -> float:
        """Age of the oldest file: no record in any of them has waited longer."""
        born = [int(path.name.partition("-")[0]) for path in self._folder.glob("*.spool")]
        return max(0.0, time.time() - min(born) / 1000) if born else 0.0

    def close(self) -> None:
        with self._lock:
            if self._own is not None:
                self._own.close()
                self._own = None

    def _create(self) -> _File:
        self._folder.mkdir(parents=True, exist_ok=True)
        while True:
            path = self._folder / f"{time.time_ns() // 1_000_000}-{os.getpid()}-{os.urandom(4).hex()}.spool"
            lock = _lock_of(path).open("a")
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _lock_of(path).exists():  # else somebody took it for an orphan's and removed it
                return _File(path, lock)
            lock.close()

    def _orphans(self) -> list[_File]:
        orphans = []
        for lock_path in sorted(self._folder.glob("*.lock")):
            path = lock_path.with_suffix("")
            if self._own is not None and path == self._own.path:
                continue
            try:
                lock = lock_path.open("r+")
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                continue
            if path.exists() and lock_path.exists():
                log.warning("Draining %s, left by a process that is gone", path)
                orphans.append(_File(path, lock))
            else:
                lock_path.unlink(missing_ok=True)
                lock.close()
        return orphans


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _files_of(path: Path) -> list[Path]:
    return [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", ".lock"))]
