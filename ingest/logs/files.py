"""The files of an import: their lines, unpacked where they are gzip, and the format that their first lines tell."""

from __future__ import annotations

import gzip
import io
import itertools
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ingest.logs import formats

_SNIFFED = 100  # lines that are neither empty nor a comment
_SNIFFED_AT_MOST = 10_000
_LONGEST = 1_000_000  # bytes of a line that are read, as of a request's body


class ImportFailed(Exception):
    """The import cannot go on: the message says what to do about it."""


class LogFile:
    """One opened file. Iterate over it for its lines, line ends included; it is a context manager that closes it.

    A file that breaks off, as a gzip may, ends where it does, and `fault` says why."""

    def __init__(self, name: str, raw: IO[bytes], size: int | None) -> None:
        """`size` is in bytes; None where nobody knows it, as of stdin."""
        self.name = name
        self.size = size
        self.fault: Exception | None = None
        self._raw = raw
        self._before = 0
        buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)  # type: ignore[type-var]
        packed = buffered.peek(2)[:2] == b"\x1f\x8b"
        self._lines: io.BufferedIOBase = gzip.GzipFile(fileobj=buffered) if packed else buffered

    def __iter__(self) -> Iterator[bytes]:
        read = self._lines.readline
        try:
            while line := read(_LONGEST):
                yield line
                while line and len(line) == _LONGEST and line[-1:] != b"\n":  # too long to be understood: skip the rest
                    line = read(_LONGEST)
        except (EOFError, OSError, zlib.error) as error:
            self.fault = error

    def __enter__(self) -> LogFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def advanced(self) -> int:
        """Return the bytes read since the last call; 1 where `size` is None, so that something moves."""
        if self.size is None:
            return 1
        now = self._raw.tell()
        step, self._before = now - self._before, now
        return step


def opened(name: str) -> LogFile:
    """Open a file for import; `-` is stdin. Raises ImportFailed where it cannot be read."""
    if name == "-":
        return LogFile(name, sys.stdin.buffer, None)
    path = Path(name)
    try:
        return LogFile(name, path.open("rb"), path.stat().st_size)
    except OSError as error:
        raise ImportFailed(f"{name} cannot be read: {error.strerror}") from error


def detected(file: LogFile) -> tuple[str, Iterator[bytes]]:
    """Find a file's format by its first lines; return it, one of `formats.FORMATS`, and all lines of the file.

    Raises ImportFailed where no line is of a known format."""
    lines = iter(file)
    first: list[bytes] = []
    telling: list[bytes] = []
    for line in itertools.islice(lines, _SNIFFED_AT_MOST):
        first.append(line)
        if line.strip() and not formats.is_comment(line):
            telling.append(line)
            if len(telling) == _SNIFFED:
                break
    found = formats.detect(telling)
    if found is None and telling:
        raise ImportFailed(f"{file.name}: no known format; its first line is {shown(telling[0])}. See --format.")
    return found or "combined", itertools.chain(first, lines)


def shown(line: bytes) -> str:
    """Return a line as a message shows it: quoted, and at most 120 characters of it."""
    text = line.rstrip(b"\r\n").decode("utf-8", "replace")
    return repr(text if len(text) <= 120 else text[:117] + "...")
