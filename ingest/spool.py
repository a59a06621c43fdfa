"""The spool, where accepted records wait while the broker does not take them: its interface, and the one in a folder.

A function, whose disk does not last, has one in a queue (`ingest.spool_sqs`). In a folder records are fsync'd to files.
Each process writes a file of its own, created with the first record that has to wait and deleted once all its records
are on the broker. While a process lives it holds the lock on the file `.lock` beside it; any process that finds a spool
file whose lock is free drains it. The lock file also records how far the spool file is drained, so a crash sends at
most one chunk again, and the pipeline drops those duplicates by their event ids.

A spool file is a sequence of frames: a mark, the length and the CRC-32 of the content, and the record in MessagePack.
Where no valid frame begins, reading continues at the next one; a frame cut short by a crash is such a damaged stretch
at the end. Bytes that cannot be read, and records that the broker will never take, are not lost: they are kept in a
`.damaged` file beside it, which the log and `/ready` name.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from brokers.base import Record, TooLarge
from stores.backends import make_durable_folder, sync_folder

log = logging.getLogger(__name__)

_CHUNK = 500  # records published at a time
_DAMAGED = ".damaged"
_DRAINED = struct.Struct(">QI")  # bytes drained of the file, and the checksum of that number
_MARK = b"\xf5\x00SPOOL\n"
_HEAD = struct.Struct(f">{len(_MARK)}sII")
_WINDOW = 1 << 20  # bytes read at a time
_encode = msgspec.msgpack.Encoder().encode
# What is kept of a record, `record[:5]`: all but the time of its publication, which is still to come.
Content = tuple[str, bytes | None, bytes | None, tuple[tuple[str, bytes], ...], int | None]
_decode = msgspec.msgpack.Decoder(Content).decode


Publish = Callable[[Sequence[Record]], None]
Gauge = tuple[str, str, float]  # name, what it says, value


class SpoolFull(Exception):
    """The spool has reached its size limit; the sender has to keep the events and send them again."""


class Spool(Protocol):
    """Where accepted records wait while the broker does not take them: a folder, or a queue (`spool_sqs`)."""

    def append(self, records: Sequence[Record]) -> None:
        """Append records durably. Raises when not all of them are durable; the sender has to send them again then."""

    def append_behind(self, records: Sequence[Record]) -> bool:
        """Append records durably if earlier ones of this process have to go first; return whether it did."""

    def drain(self, publish: Publish) -> int:
        """Publish the records that this process has to publish; return how many there were."""

    def waits(self) -> bool:
        """Return whether `drain` would find any."""

    def state(self) -> list[str]:
        """Return one line for the operator about each thing that waits or cannot be published."""

    def gauges(self) -> Iterator[Gauge]:
        """Yield the spool's gauges for `/metrics`."""

    def close(self) -> None:
        """Close what is open; records that wait stay."""


class Stretch(NamedTuple):
    """The bytes from `start` up to, but not including, `end`."""

    start: int
    end: int


class Found(NamedTuple):
    """The result of a read: records and the place of each, unreadable stretches, and where to continue."""

    records: list[Record]
    places: list[Stretch]
    damaged: list[Stretch]
    end: int


class SpoolFile:
    """One spool file. One thread may append while another reads; a read ends where the last complete append ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        is_new = not path.exists()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.end = os.fstat(self._file).st_size
        if is_new:
            sync_folder(path.parent)

    def append(self, records: Sequence[Record]) -> None:
        """Append records durably. After an OSError the next call overwrites a partial write."""
        data = memoryview(b"".join(map(_frame, records)))
        at = self.end
        while data:
            written = os.pwrite(self._file, data, at)
            data, at = data[written:], at + written
        os.fsync(self._file)
        self.end = at

    def read(self, start: int, limit: int) -> Found:
        """Read at most `limit` records, from byte `start` on."""
        records: list[Record] = []
        places: list[Stretch] = []
        damaged: list[Stretch] = []
        at, end = start, self.end
        while at < end and len(records) < limit:
            begin = at
            if frame := self._frame_at(begin, end):
                record, at = frame
                records.append(record)
                places.append(Stretch(begin, at))
            else:
                at = self._next_frame(begin + 1, end)
                damaged.append(Stretch(begin, at))
        return Found(records, places, damaged, at)

    def pieces(self, stretch: Stretch) -> Iterator[bytes]:
        """Yield the bytes of a stretch in pieces; fewer bytes if the file has become shorter."""
        at, end = stretch
        while at < end and (piece := os.pread(self._file, min(_WINDOW, end - at), at)):
            yield piece
            at += len(piece)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _frame_at(self, at: int, end: int) -> tuple[Record, int] | None:
        """Return the record of the frame at `at` and the end of the frame, or None if no valid frame begins there."""
        head = os.pread(self._file, _HEAD.size, at)
        if len(head) < _HEAD.size:
            return None
        mark, length, checksum = _HEAD.unpack(head)
        begin = at + _HEAD.size
        if mark != _MARK or begin + length > end:
            return None
        content = os.pread(self._file, length, begin)
        if len(content) < length or zlib.crc32(content) != checksum:
            return None
        return Record(*_decode(content)), begin + length

    def _next_frame(self, at: int, end: int) -> int:
        """Return where the next valid frame begins, or `end`."""
        while at < end:
            window = os.pread(self._file, min(_WINDOW, end - at), at)
            if len(window) < len(_MARK):
                return end
            place = window.find(_MARK)
            if place < 0:
                at += len(window) - len(_MARK) + 1
            elif self._frame_at(at + place, end):
                return at + place
            else:
                at += place + 1
        return end


class _Lock:
    """The lock file beside a spool file, locked while the process that writes or drains the spool file lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self) -> bool:
        """Take the lock; return False if another process holds it or has removed the file meanwhile."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return self.path.exists() and os.path.samestat(self.path.stat(), os.fstat(self._file))
        except (BlockingIOError, FileNotFoundError):
            return False

    def drained(self) -> int:
        """Return the position that `remember` wrote, or 0 if there is none or it is damaged."""
        found = os.pread(self._file, _DRAINED.size, 0)
        if len(found) < _DRAINED.size:
            return 0
        number, checksum = _DRAINED.unpack(found)
        return number if checksum == zlib.crc32(found[:8]) else 0

    def remember(self, drained: int) -> None:
        os.pwrite(self._file, _DRAINED.pack(drained, zlib.crc32(struct.pack(">Q", drained))), 0)

    def close(self) -> None:
        os.close(self._file)


class _File:
    """A spool file whose lock this process holds."""

    def __init__(self, path: Path, lock: _Lock) -> None:
        self.path = path
        self._lock = lock
        self._file = SpoolFile(path)
        self._drained = lock.drained()

    def append(self, records: Sequence[Record]) -> None:
        self._file.append(records)

    def drain(self, publish: Publish) -> int:
        """Publish the waiting records in order until the end is reached; return how many there were.

        Records appended while the last chunk is published are left for the next call. Chasing every append would never
        end under load, because another one arrives during each publish."""
        count = 0
        while self._drained < (end := self._file.end):
            found = self._file.read(self._drained, _CHUNK)
            if found.damaged:
                self._keep(found.damaged, "cannot be read")
            if found.records:
                try:
                    publish(found.records)
                except TooLarge as error:  # the other records are on the broker
                    self._keep([found.places[index] for index in error.indexes], f"are not taken ({error})")
            count += len(found.records)
            self._drained = found.end
            self._lock.remember(self._drained)
            if self._drained >= end:
                break
        return count

    def _keep(self, stretches: Sequence[Stretch], why: str) -> None:
        """Copy stretches durably to the `.damaged` file, before this file is deleted."""
        kept = self.path.with_name(self.path.name + _DAMAGED)
        with os.fdopen(os.open(kept, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
            for stretch in stretches:
                for piece in self._file.pieces(stretch):
                    file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(kept.parent)
        for start, end in stretches:
            log.error(
                "%s: bytes %d to %d %s; they are kept in %s, what follows them goes to the broker",
                self.path, start, end - 1, why, kept,
            )  # fmt: skip

    def delete(self) -> None:
        """Delete the file and its lock. Call it before `close`: until then no other process can take the file."""
        self.path.unlink(missing_ok=True)
        self._lock.path.unlink(missing_ok=True)

    def close(self) -> None:
        self._file.close()
        self._lock.close()


class FolderSpool:
    """A `Spool` in a folder, as used by one process. One thread may append while another drains."""

    def __init__(self, folder: Path, max_bytes: int = 1 << 30) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._own: _File | None = None
        self._lock = threading.Lock()
        self._unreadable: dict[Path, str] = {}

    def append(self, records: Sequence[Record]) -> None:
        """Append records durably. Raises `SpoolFull`, or OSError from the disk."""
        with self._lock:
            if self._own is None:
                self._own = self._create()
            self._append(self._own, records)

    def append_behind(self, records: Sequence[Record]) -> bool:
        """Append records durably if earlier ones of this process are not drained yet; return whether it did."""
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
        """Publish all waiting records, oldest file first and each file in order; return how many there were.

        An exception of `publish` other than `TooLarge` ends the drain; records published before it are not sent
        again."""
        drained = 0
        for path in self._files():
            if self._own is None or path != self._own.path:
                drained += self._drain_orphan(path, publish)
        while self._own is not None:
            drained += self._own.drain(publish)
            with self._lock:  # no append can run now: what came during the last publish is the rest
                drained += self._own.drain(publish)
                self._own.delete()
                self._own.close()
                self._own = None
        return drained

    def waits(self) -> bool:
        """Return whether there is a file to drain, of this process or of one that died."""
        return bool(self._files())

    def bytes(self) -> int:
        """Return the size of the files that wait for the broker, of all processes that share the folder."""
        return _size(self._files())

    def damaged(self) -> dict[Path, int]:
        """Return the files of bytes that could not be read or published, with their sizes."""
        return {path: _size([path]) for path in sorted(self._folder.glob(f"*.spool{_DAMAGED}"))}

    def state(self) -> list[str]:
        """Return one line for the operator about each thing that is left in the folder."""
        lines = []
        if files := self._files():
            lines.append(f"{len(files)} spool files with {_size(files)} bytes wait for the broker in {self._folder}")
        lines += [f"{path} cannot be drained: {why}" for path, why in self._unreadable.items() if path.exists()]
        lines += [f"{path} keeps {size} bytes that could not be published" for path, size in self.damaged().items()]
        return lines

    def gauges(self) -> Iterator[Gauge]:
        """Yield the sizes of what waits and of what is kept aside, and the age of the oldest file."""
        age, kept = self.oldest_seconds(), sum(self.damaged().values())
        yield "spool_bytes", "Bytes on disk that wait for the broker.", self.bytes()
        yield "spool_oldest_seconds", "Age of the oldest file that waits for the broker, 0 when none does.", age
        yield "spool_damaged_bytes", "Bytes kept aside in .damaged files: unreadable, or never to be taken.", kept

    def oldest_seconds(self) -> float:
        born = [int(start) for path in self._files() if (start := path.name.partition("-")[0]).isdigit()]
        return max(0.0, time.time() - min(born) / 1000) if born else 0.0

    def close(self) -> None:
        """Close this process's own file, which stays for the next start if it holds records."""
        with self._lock:
            if self._own is not None:
                self._own.close()
                self._own = None

    def _files(self) -> list[Path]:
        """Return the spool files of all processes, oldest first."""
        return sorted(self._folder.glob("*.spool"))

    def _create(self) -> _File:
        make_durable_folder(self._folder)
        while True:
            path = self._folder / f"{time.time_ns() // 1_000_000}-{os.getpid()}-{os.urandom(4).hex()}.spool"
            lock = _Lock(_lock_of(path))
            if lock.take():
                return _File(path, lock)
            lock.close()

    def _drain_orphan(self, path: Path, publish: Publish) -> int:
        """Drain the file of a process that died; return 0 if it lives, or if the disk fails for this file."""
        try:
            orphan = _adopt(path)
            if orphan is None:
                return 0
            log.warning("Draining %s, left by a process that is gone", path)
            try:
                drained = orphan.drain(publish)
                orphan.delete()
            finally:
                orphan.close()
        except OSError as error:
            if path not in self._unreadable:
                log.error("%s cannot be drained: %s; make it a file that this user may read and write", path, error)
            self._unreadable[path] = str(error)
            return 0
        self._unreadable.pop(path, None)
        return drained


def _frame(record: Record) -> bytes:
    content = _encode(record[:5])
    return _HEAD.pack(_MARK, len(content), zlib.crc32(content)) + content


def _adopt(path: Path) -> _File | None:
    """Take over a file; return None if its process lives or has just deleted it."""
    lock = _Lock(_lock_of(path))
    try:
        if lock.take():
            if path.exists():
                return _File(path, lock)
            lock.path.unlink(missing_ok=True)
    except BaseException:
        lock.close()
        raise
    lock.close()
    return None


def _size(paths: Sequence[Path]) -> int:
    total = 0
    for path in paths:
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")
