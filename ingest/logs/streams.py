"""Raw streams of an import: a pipe that is closed while somebody waits for it, and bytes that come in pieces."""

from __future__ import annotations

import errno
import io
import os
import select
import threading
from collections.abc import Iterator
from typing import Any

TOLD_BY = 262  # first bytes, which tell what a file is
_PIECE = 1 << 20  # bytes


class Arriving(io.RawIOBase):
    """A pipe or a terminal. `close` waits for nobody: a thread that waits for bytes gets OSError."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self._ended, self._end = os.pipe()
        self._coming = select.poll()
        self._coming.register(file, select.POLLIN)
        self._coming.register(self._ended, select.POLLIN)
        self._reading = threading.Lock()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int | None:  # type: ignore[override]
        with self._reading:
            if self.closed or any(ready == self._ended for ready, _ in self._coming.poll()):
                raise OSError(errno.ECANCELED, "it was closed while it was read")
            return self._file.readinto(buffer)

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        os.close(self._end)
        with self._reading:
            os.close(self._ended)
            self._file.close()


class Pieces(io.RawIOBase):
    """Bytes that come in pieces, as a file. However short the first are, its first read tells what they are."""

    def __init__(self, pieces: Iterator[bytes], least: int = TOLD_BY) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")
        self._least = least  # bytes of the next read, if they come
        self._fault: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        if not self._left:
            self._left, self._least = memoryview(b"".join(self._next(self._least))), 1
        if self._fault is not None and not self._left:
            raise self._fault
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def _next(self, count: int) -> list[bytes]:
        """Return pieces of `count` bytes together; fewer at the end, and before a fault, which is kept."""
        found: list[bytes] = []
        try:
            while count > 0 and self._fault is None and (piece := next(self._pieces, None)) is not None:
                found.append(piece)
                count -= len(piece)
        except Exception as error:
            self._fault = error  # raised when all before it is read
        return found


def buffered(raw: Any) -> io.BufferedReader:
    """Return a stream as one of which the next bytes can be looked at."""
    return raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw, _PIECE)


def pieces_of(lines: io.BufferedReader) -> Iterator[bytes]:
    """Yield what a stream holds, as it comes."""
    while piece := lines.read1(_PIECE):  # not `read`: what came before a fault counts
        yield piece
