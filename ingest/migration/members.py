"""The files of an export: plain or packed, those in a folder or a zip one by one. What is no text is said in words."""

from __future__ import annotations

import base64
import io
import itertools
import json
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from ingest.logs.files import ImportFailed, faults, unpacked

LONGEST = 1 << 26  # bytes of a line: a statement of a dump may hold many rows
_CHUNK = 1 << 16
_NESTED = 2  # zips in one another
_LONGEST_ANSWER = 1 << 26  # bytes
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
PARQUET = b"PAR1"
# How files begin that are no text, and what to do about them.
_NO_TEXT = {
    b"SQLite format 3\0": "is a database of SQLite: make the export in the product itself",
    b"PGDMP": "is a dump in PostgreSQL's own format: `pg_restore -f dump.sql FILE` makes a plain one of it",
    b"Obj\x01": "is Avro: export it as JSON lines or as Parquet",
    b"\xd0\xcf\x11\xe0": "is a document of Excel: save it as CSV",
    b"%PDF": "is a PDF: export it as CSV",
    b"<!DOCTYPE html": "is a page of HTML, such as a login: the export has to be downloaded by who may",
    b"<html": "is a page of HTML, such as a login: the export has to be downloaded by who may",
}

Opener = Callable[[], AbstractContextManager[IO[bytes]]]


class Member(NamedTuple):
    """One file of an export: its name, what opens it for its bytes as they lie there, and which of its lines count."""

    name: str
    open: Opener
    first: int = 0  # lines before these
    last: int | None = None  # the line behind these; None for all

    def lines(self) -> Generator[bytes, None, None]:
        """Yield the lines, ends included. Raises ImportFailed where the file breaks off or a line is endless."""
        with self.opened() as stream:
            for line in itertools.islice(_lines(stream), self.first, self.last):
                if len(line) == LONGEST:
                    raise ImportFailed(f"{self.name}: a line is longer than {LONGEST >> 20} MiB: this is no export")
                yield line

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """Open the file, unpacked. Raises ImportFailed where it breaks off while it is read."""
        try:
            with self.open() as raw:
                yield unpacked(raw, [])  # type: ignore[misc]
        except ImportFailed as error:
            if str(error).startswith(self.name):
                raise
            what = str(error).partition(": ")[0]  # it is packed as …
            raise ImportFailed(f"{self.name}: {what}: unpack it first, and import its files or their folder") from error
        except faults() as error:
            raise ImportFailed(
                f"{self.name} breaks off: {error}. Mend the file and import it again: nothing counts twice."
            ) from error

    def begins(self, count: int) -> bytes:
        """Return the first bytes."""
        with self.opened() as stream:
            return stream.read(count)

    def first_byte(self) -> bytes:
        """Return the first byte that is no white space; b"" where there is none. A line may have any length."""
        with self.opened() as stream:
            some = stream.read(_CHUNK)
            while some and not some.strip():
                some = stream.read(_CHUNK)
            return some.lstrip()[:1]


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a file. In one without line ends they are apart by CR, as Excel on a Mac has written them."""
    first = stream.readline(LONGEST)
    if b"\r" in first and not first.endswith(b"\n") and len(first) < LONGEST:
        yield from (line + b"\n" for line in first.split(b"\r"))
    elif first:
        yield first
        yield from iter(partial(stream.readline, LONGEST), b"")


def members(names: Sequence[str]) -> list[Member]:
    """Return the files of an export. Raises ImportFailed where one cannot be read, or nothing is in them."""
    found: list[Member] = []
    for name in names:
        path = Path(name)
        try:
            if name == "-" or path.is_fifo():
                raise ImportFailed("an export is read more than once, so it cannot come from a pipe: save it as a file")
            paths = [path] if not path.is_dir() else sorted(each for each in path.rglob("*") if each.is_file())
            for each in paths:
                if each == path or not _is_no_part(each.relative_to(path).as_posix()):
                    found += _in(each.name, partial(_plain, each), _NESTED)
        except OSError as error:
            raise ImportFailed(f"{name} cannot be read: {error.strerror}") from error
    if not found:
        raise ImportFailed(f"there are no files in {', '.join(names)}")
    with_text = [member for member in found if _is_text(member)]  # an empty one says nothing
    if not with_text:
        raise ImportFailed(f"{', '.join(member.name for member in found[:5])} is empty: there is nothing to import")
    return with_text


def _plain(path: Path) -> IO[bytes]:
    return path.open("rb")


def _in(name: str, opener: Opener, nested: int) -> Iterator[Member]:
    try:
        with opener() as stream:
            head = stream.read(4)
    except (RuntimeError, EOFError, zlib.error, zipfile.BadZipFile) as error:  # damaged, or packed in a way of its own
        what = f"{name} cannot be unpacked: {error}. Unpack it otherwise, and import what comes out"
        raise ImportFailed(what) from error
    if head.startswith(b'{"z') and (packed := _in_json(opener)):
        opener = partial(io.BytesIO, packed)
    elif head not in _ZIP:
        yield Member(name, opener)
        return
    if not nested:
        raise ImportFailed(f"{name} is a zip in zips: unpack it first")
    try:
        with opener() as stream, zipfile.ZipFile(stream) as archive:
            infos = [each for each in archive.infolist() if not each.is_dir()]
    except (zipfile.BadZipFile, OSError) as error:
        raise ImportFailed(f"{name} is no whole zip: {error}") from error
    if any(each.filename == "[Content_Types].xml" for each in infos):
        raise ImportFailed(f"{name} is a document of Excel: save it as CSV")
    if any(each.filename == "content.xml" or each.filename.endswith(".iwa") for each in infos):
        raise ImportFailed(f"{name} is a document of LibreOffice or Numbers: save it as CSV")
    for each in infos:
        if each.flag_bits & 1:
            raise ImportFailed(f"{name} has a password: unpack it first, and import what comes out")
        if not _is_no_part(each.filename):
            inner = each.filename.replace("\\", "/")  # as some programs of Windows write it
            yield from _in(f"{name}/{inner}", partial(_part, opener, each.filename), nested - 1)


def _in_json(opener: Opener) -> bytes:
    """Return the zip that an answer of Umami's API holds as base64; b"" where it is none."""
    with opener() as stream:
        text = stream.read(_LONGEST_ANSWER)
    try:
        found = json.loads(text)
        return base64.b64decode(found["zip"], validate=True) if isinstance(found, dict) and "zip" in found else b""
    except (ValueError, TypeError):
        return b""


def _is_no_part(name: str) -> bool:
    """Return whether a file is one of those that systems add."""
    parts = (part for part in name.split("/") if part not in (".", ".."))
    return any(part.startswith(".") or part in ("__MACOSX", "Thumbs.db", "desktop.ini") for part in parts)


@contextmanager
def _part(opener: Opener, name: str) -> Iterator[IO[bytes]]:
    """Open a file in a zip."""
    with opener() as outer, zipfile.ZipFile(outer) as archive, archive.open(name) as stream:
        yield stream


def _is_text(member: Member) -> bool:
    """Return whether anything is in a file. Raises ImportFailed where it is of a kind that no reader knows."""
    head = member.begins(64)
    for begins, what in _NO_TEXT.items():
        if head.lstrip().lower().startswith(begins.lower()):
            raise ImportFailed(f"{member.name} {what}")
    return bool(head)
