"""One spool file: records in frames with a checksum each, appended and fsync'd, read past what was damaged.

A frame is a mark, the length and the CRC-32 of what follows, and the record in MessagePack. Where no frame can be
read, reading goes on at the next one that can; the bytes in between are for the caller to keep. A frame that was
written in part, because the process or the machine went down, is such a stretch at the end.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from brokers.base import Record

_MARK = b"\xf5\x00SPOOL\n"
_HEAD = struct.Struct(f">{len(_MARK)}sII")
_WINDOW = 1 << 20
_encode = msgspec.msgpack.Encoder().encode
_Content = tuple[str, bytes | None, bytes | None, tuple[tuple[str, bytes], ...], int | None]
_decode = msgspec.msgpack.Decoder(_Content).decode


class Stretch(NamedTuple):
    """Bytes `start` to `end`, the latter not among them."""

    start: int
    end: int


class Found(NamedTuple):
    """Records and where each lies, stretches that hold nothing readable, and where to read on."""

    records: list[Record]
    places: list[Stretch]
    damaged: list[Stretch]
    end: int


class SpoolFile:
    """Appending and reading may go on in different threads: reading ends where the last whole append did."""

    def __init__(self, path: Path) -> None:
        self.path = path
        is_new = not path.exists()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.end = os.fstat(self._file).st_size
        if is_new:
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def append(self, records: Sequence[Record]) -> None:
        """Durable when it returns; what was written in part before an error is written over by the next call."""
        data = memoryview(b"".join(map(_frame, records)))
        at = self.end
        while data:
            written = os.pwrite(self._file, data, at)
            data, at = data[written:], at + written
        os.fsync(self._file)
        self.end = at

    def read(self, start: int, limit: int) -> Found:
        """At most `limit` records from `start` on."""
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
        """The bytes of a stretch; fewer if the file has become shorter."""
        at, end = stretch
        while at < end and (piece := os.pread(self._file, min(_WINDOW, end - at), at)):
            yield piece
            at += len(piece)

    def close(self) -> None:
        os.close(self._file)

    def _frame_at(self, at: int, end: int) -> tuple[Record, int] | None:
        """The record that lies there and the end of its frame."""
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
        """Where the next readable frame begins, else `end`."""
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


def _frame(record: Record) -> bytes:
    content = _encode(record[:5])
    return _HEAD.pack(_MARK, len(content), zlib.crc32(content)) + content
