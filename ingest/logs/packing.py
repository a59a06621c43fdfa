"""What files are packed with: gzip, bzip2, xz, zstd and lz4, known by their first bytes. All else is told by name."""

from __future__ import annotations

import bz2
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

from ingest.logs.streams import TOLD_BY, Pieces, buffered

_PACKED_PIECE = 4_096  # bytes that are unpacked at once: of zstd they may become 30,000 times as many
_LAYERS = 3  # of packing
_TAR_NAME = slice(257, TOLD_BY)  # in the first block of an archive
_MAGIC = 6  # bytes: the longest of those below
_NO_TEXT = {
    b"PAR1": "Parquet: export it as JSON lines or as a table, such as by DuckDB's COPY",
    b"Obj\x01": "Avro: export it as JSON lines",
    b"ORC": "ORC: export it as JSON lines or as a table",
    b"SQLite format 3\0": "a database of SQLite: export its rows as a table with their names in the first line",
    b"\xd0\xcf\x11\xe0": "a document of Excel: save it as CSV",
    b"ElfFile\0": "Windows' event log: IIS has its own in inetpub/logs/LogFiles",
    b"%PDF": "a PDF",
    b"<!DOCTYPE html": "a page of HTML, such as a login: the log has to be downloaded by who may",
    b"<html": "a page of HTML, such as a login: the log has to be downloaded by who may",
}
ZIP = b"PK\x03\x04"
_NOT_UNPACKED = {
    ZIP: "zip", b"7z\xbc\xaf": "7z", b"Rar!": "rar", b"\x1f\x9d": "compress (.Z)", b"LZIP": "lzip",
    b"\x89LZO": "lzop", b"\xff\x06\x00\x00sN": "snappy",
}  # fmt: skip


class ImportFailed(Exception):
    """The import cannot go on: the message says what to do about it."""


class _Packing(NamedTuple):
    """One way to pack files: frames, each of which begins with one of `magic`."""

    magic: tuple[bytes, ...]
    begin: Callable[[], Any]  # what unpacks one frame


def _zstd() -> Any:
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj()


def _lz4() -> Any:
    import lz4.frame

    return lz4.frame.LZ4FrameDecompressor()


_SKIPPED = tuple(bytes([first]) + b"\x2a\x4d\x18" for first in range(0x50, 0x60))  # frames of zstd and lz4 without data
_PACKINGS = (
    _Packing((b"\x1f\x8b",), lambda: zlib.decompressobj(31)),  # gzip
    _Packing((b"BZh",), bz2.BZ2Decompressor),
    _Packing((b"\xfd7zXZ\x00", b"\x5d\x00\x00"), lzma.LZMADecompressor),
    _Packing((b"\x28\xb5\x2f\xfd", *_SKIPPED), _zstd),
    _Packing((b"\x04\x22\x4d\x18", *_SKIPPED), _lz4),
)


def unpacked(raw: IO[bytes] | io.RawIOBase, remarks: list[str], layers: int = _LAYERS) -> io.BufferedReader:
    """Return what is packed in a file, also where a program has packed again what another had packed.

    While it is read, it raises one of `faults`."""
    source = buffered(raw)
    first = source.peek(TOLD_BY)
    for packing in _PACKINGS if layers else ():
        if first.startswith(packing.magic):
            return unpacked(buffered(Pieces(_frames(source, packing, remarks))), remarks, layers - 1)
    return source


def refuse_archives(source: io.BufferedReader) -> None:
    """Raise ImportFailed for what is an archive, or packed as nothing of ours: its files have to come one by one."""
    first = source.peek(TOLD_BY)
    for begins, kind in _NOT_UNPACKED.items():
        if first.startswith(begins):
            raise ImportFailed(f"it is packed as {kind}: unpack it first, and import what comes out (`-` is stdin)")
    if is_tar(source):
        raise ImportFailed("it is a tar archive: unpack it first, or name it where it is a whole file, and import that")


def refuse_what_is_no_text(source: io.BufferedReader) -> None:
    """Raise ImportFailed for files that are no logs however they are unpacked: the message says what to do instead."""
    first = source.peek(TOLD_BY)
    for begins, what in _NO_TEXT.items():
        if first.lower().startswith(begins.lower()):
            raise ImportFailed(f"it is {what}")


def is_tar(source: io.BufferedReader) -> bool:
    """Return whether a stream is a tar archive."""
    return source.peek(TOLD_BY)[_TAR_NAME] == b"ustar"


def _frames(packed: io.BufferedReader, packing: _Packing, remarks: list[str]) -> Iterator[bytes]:
    """Unpack frame by frame, a little at a time, so that all that came before a fault is yielded.

    Zeros between frames and behind them are padding. Of other bytes behind the last frame a remark is made. Raises
    EOFError where the last frame breaks off, and what the library raises where a frame is damaged."""
    rest = b""
    while True:
        unpacking = packing.begin()
        while not unpacking.eof:
            piece = rest or packed.read(_PACKED_PIECE)
            if not piece:
                raise EOFError("the packed data has no end")
            rest = b""
            if found := unpacking.decompress(piece):
                yield found
        rest = (unpacking.unused_data or b"").lstrip(b"\0")  # None of lz4
        while len(rest) < _MAGIC and (more := packed.read(_PACKED_PIECE)):
            rest = (rest + more).lstrip(b"\0")
        if not rest:
            return
        if not any(rest.startswith(magic) or magic.startswith(rest) for magic in packing.magic):
            remarks.append(f"behind the packed data stand bytes that are none of it, left aside: {rest[:20]!r}")
            return


def faults() -> tuple[type[Exception], ...]:
    """Return what is raised where an unpacked file breaks off or is damaged."""
    import zstandard

    # lz4 raises RuntimeError.
    return (
        EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError, RuntimeError,
        zstandard.ZstdError,
    )  # fmt: skip
