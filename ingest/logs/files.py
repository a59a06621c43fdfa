"""The files of an import: their lines, unpacked, and the format that their first lines tell."""

from __future__ import annotations

import codecs
import glob
import io
import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from ingest.logs import documents, formats, packing
from ingest.logs.archives import in_archive, members
from ingest.logs.packing import ImportFailed, faults
from ingest.logs.streams import Arriving, Pieces, buffered, pieces_of

__all__ = ["ImportFailed", "LogFile", "detected", "faults", "lines_of", "named", "opened", "shown", "unpacked"]

_SNIFFED = 100  # lines that are neither empty nor a comment
_SNIFFED_AT_MOST = 10_000
_LONGEST = 1_000_000  # bytes of a line that are read, as of a request's body
_ZEROS = re.compile(rb"\n\0+")
_TELLING = 65_536  # bytes that tell whether a file consists of lines
_WIDE = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}  # as PowerShell writes
_TOLD_AS_WIDE = 16  # bytes, of which each second one is zero where there is no mark

# access.log.2.gz, access-20250601.log: the name of the log, and what rotation put into it.
_PACKED = re.compile(r"\.(?:gz|bz2|xz|zst|lzma|lz4)$")
_ROTATED = re.compile(r"(?P<log>.+?)(?:\.(?P<number>[0-9]{1,3})|[-.](?P<day>[0-9]{4}-?[0-9]{2}-?[0-9]{2}))")


class LogFile:
    """One opened file. Iterate over it for its lines in pieces: bytes of whole lines; the last may have no end.
    It is a context manager that closes the file, also while another thread waits for its lines.

    What it is packed with is known by its first bytes: gzip, bzip2, xz, zstd and lz4. A packed file that breaks off
    ends with the last whole line before the fault, and `fault` says why. `remarks` are about a file that is whole.
    Zeros before a line are no part of it: a log that was cut while its server wrote has as many as it had bytes."""

    def __init__(
        self, name: str, raw: IO[bytes] | io.RawIOBase, size: int | None, remarks: Sequence[str] = ()
    ) -> None:
        """`size` is in bytes; None where nobody knows it, as of stdin."""
        self.name = name
        self.size = size
        self.fault: Exception | None = None
        self.remarks = [*remarks]
        self._raw = raw
        self._before = 0
        self._lines: io.BufferedIOBase | None = None

    def __iter__(self) -> Iterator[bytes]:
        begun = b""  # the last line, as far as it is read
        is_cut = False  # the line that is read is too long to be understood: its rest is skipped
        try:
            if self._lines is None:
                self._lines = _of_lines(unpacked(self._raw, self.remarks))
            read = self._lines.read1  # not `read`: what came before a fault counts
            while some := read(_LONGEST):
                if is_cut:
                    _, end, some = some.partition(b"\n")
                    is_cut = not end
                if not begun:
                    some = some.lstrip(b"\0")
                first = len(begun) + some.find(b"\n") + 1
                if first > _LONGEST:
                    yield (begun + some)[:_LONGEST]
                    begun, some = b"", some[first - len(begun) :].lstrip(b"\0")
                whole = some.rfind(b"\n") + 1
                if whole:
                    piece = begun + some[:whole]
                    yield _ZEROS.sub(b"\n", piece) if b"\0" in piece else piece
                    begun, some = b"", some[whole:].lstrip(b"\0")
                begun += some
                if len(begun) >= _LONGEST:
                    yield begun[:_LONGEST]
                    begun, is_cut = b"", True
            if begun:
                yield begun
        except ImportFailed as error:
            raise ImportFailed(f"{self.name}: {error}") from error
        except faults() as error:
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
    """Open a file for import; `-` is stdin, `logs.zip/access.log` a file in an archive.

    Raises ImportFailed where it cannot be read."""
    if name == "-":
        if sys.stdin is None:
            raise ImportFailed("- cannot be read: stdin is closed")
        return LogFile(name, Arriving(io.FileIO(sys.stdin.fileno(), closefd=False)), None)
    path = Path(name)
    try:
        raw = Arriving(io.FileIO(name)) if path.is_fifo() else path.open("rb")  # a pipe, as `<(zcat …)` is
        return LogFile(name, raw, path.stat().st_size if path.is_file() else None)
    except NotADirectoryError:
        return LogFile(name, *in_archive(name))
    except IsADirectoryError as error:
        raise ImportFailed(f"{name} is a folder: name its files, as in '{name.rstrip('/')}/*access*'") from error
    except OSError as error:
        raise ImportFailed(f"{name} cannot be read: {error.strerror}") from error


def named(names: Sequence[str]) -> list[str]:
    """Return the files that these names and patterns (`*`, `?`, `[…]`, `**`) mean, each once; `-` is stdin.

    Rotated files of one log (`access.log.2.gz`, `access.log.1`, `access.log`) come oldest first, where the first of
    them stands. A zip or tar archive is all the files in it. Raises ImportFailed where a pattern meets no file, or
    an archive has none or would be unpacked for ever."""
    found: list[str] = []
    for name in names:
        if name != "-" and glob.has_magic(name) and not Path(name).exists():
            matches = sorted(match for match in glob.iglob(name, recursive=True) if Path(match).is_file())  # noqa: PTH207 - as given
            if not matches:
                raise ImportFailed(f"{name}: no file has such a name")
            found += matches
        else:
            found.append(name)
    files = (members(name) if Path(name).is_file() else [name] for name in found)  # what is read of a pipe is gone
    return _oldest_first(dict.fromkeys(itertools.chain.from_iterable(files)))


def _oldest_first(names: Iterable[str]) -> list[str]:
    logs: dict[str, list[tuple[tuple[int, int], str]]] = {}
    for name in names:
        plain = _PACKED.sub("", name)
        rotated = _ROTATED.fullmatch(plain)
        if rotated is None:
            age = (1, 0)
        else:
            age = (0, -int(rotated["number"]) if rotated["number"] else int(rotated["day"].replace("-", "")))
        logs.setdefault(rotated["log"] if rotated else plain, []).append((age, name))
    return [name for files in logs.values() for _, name in sorted(files, key=lambda file: file[0])]


def lines_of(piece: bytes) -> list[bytes]:
    """Return the lines of a piece, see `LogFile`, without their ends."""
    lines = piece.split(b"\n")
    if not lines[-1]:
        del lines[-1]
    return lines


def detected(file: LogFile) -> tuple[str, Iterator[bytes]]:
    """Find a file's format by its first lines; return its shape, and all its lines in pieces.

    Raises ImportFailed where no line is of a known format."""
    pieces = iter(file)
    first: list[bytes] = []
    telling: list[bytes] = []  # with the comments between them
    read, count = 0, 0
    while read < _SNIFFED_AT_MOST and count < _SNIFFED and (piece := next(pieces, None)) is not None:
        first.append(piece)
        for line in lines_of(piece)[: _SNIFFED_AT_MOST - read]:
            read += 1
            if line.strip():
                telling.append(line)
                count += not formats.is_comment(line)
            if count == _SNIFFED:
                break
    found = formats.detect(telling)
    if found is None and count:
        sample = next(line for line in telling if not formats.is_comment(line))
        raise ImportFailed(
            f"{file.name}: no known format; its first line is {shown(sample)}; {formats.nearest(telling)}. "
            "See --format and --log-format."
        )
    return found or "combined", itertools.chain(first, pieces)


def shown(line: bytes) -> str:
    """Return a line as a message shows it: quoted, and at most 120 characters of it."""
    text = line.rstrip(b"\r\n").decode("utf-8", "replace")
    return repr(text if len(text) <= 120 else text[:117] + "...")


def unpacked(raw: IO[bytes] | io.RawIOBase, remarks: list[str]) -> io.BufferedIOBase:
    """Return what a file holds: unpacked, without a byte order mark, and as UTF-8 where it is UTF-16.

    Raises ImportFailed where it is packed as nothing of ours, and while it is read one of `faults`."""
    source = packing.unpacked(raw, remarks)
    packing.refuse_archives(source)
    return _without_mark(source)


def _without_mark(lines: io.BufferedIOBase) -> io.BufferedIOBase:
    """Skip a byte order mark, and read UTF-16, which is known without one too, as UTF-8."""
    source = buffered(lines)
    mark = source.peek(3)[:3]
    if mark == codecs.BOM_UTF8:
        source.read(3)
    elif mark[:2] in _WIDE:
        source.read(2)
        return buffered(Pieces(_recoded(source, _WIDE[mark[:2]])))
    elif encoding := _wide_without_mark(source.peek(_TOLD_AS_WIDE)[:_TOLD_AS_WIDE]):
        return buffered(Pieces(_recoded(source, encoding)))
    return source


def _of_lines(lines: io.BufferedIOBase) -> io.BufferedIOBase:
    """A file whose records are no lines, as one whose are."""
    source = buffered(lines)
    packing.refuse_what_is_no_text(source)
    if b"\n" not in source.peek(1).lstrip():  # one line, or a pipe into which little was written yet
        source = buffered(Pieces(pieces_of(source), _TELLING))
    kind = documents.kind_of(source.peek(_TELLING))
    return source if kind is None else buffered(Pieces(documents.LINES[kind](pieces_of(source))))


def _wide_without_mark(first: bytes) -> str | None:
    """Return the encoding of plain ASCII in UTF-16; None of all else, such as of zeros that rotation left."""
    one, other = first[::2], first[1::2]
    if len(first) < _TOLD_AS_WIDE:
        return None
    if all(one) and not any(other):
        return "utf-16-le"
    return "utf-16-be" if all(other) and not any(one) else None


def _recoded(lines: io.BufferedReader, encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for piece in pieces_of(lines):
        if text := decoder.decode(piece):
            yield text.encode("utf-8", "replace")
