"""Files that hold objects otherwise than one a line, as lines of one object each.

That is an array, objects over many lines, several on one line, and what a platform's search returns around its records:
Amazon's `Records` and `logEvents`, Azure's `records`, Elastic's `hits`, Loki's `values`. A table with its names in the
first line, as CDNs and search pages export, becomes an object a row. Whatever does not fit stays a line, for its
reader to say why. At most a few times `LONGEST` bytes of a file are held at once.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain

from ingest.logs import formats
from ingest.logs.formats.fields import compact, fields_of
from ingest.logs.formats.json_lines import WRAPPERS, is_event, json_object, named_in

LONGEST = 1_000_000  # bytes of an object
_HOLDING = frozenset(
    b"records logevents events hits result results streams entries items rows data value logs documents messages "
    b"resourcelogs".split()
)  # whose arrays hold the records, in an object that is none
_DEEPER = ((b"hits", b"hits"), (b"data", b"result"))
# Arrays of records wherever they stand: Loki's of a time in nanoseconds and a line, OpenTelemetry's of a resource.
_PAIRS, _LISTS = b"values", b"results"
_INNER = (_PAIRS, b"scopelogs", b"logrecords")
_SEPARATORS = ",;\t|"
_UNQUOTED = "\t|"  # between which a quote mostly is a character as any other
_QUOTED = re.compile(r'"(?:[^"]|"")*+"')
_ABOVE = 20  # lines above a table, at most
_FEWEST = 2  # columns of a table

# A string, its end missing where the bytes end; or a bracket. Possessive: what is taken is never given back.
_TOKEN = re.compile(rb'"(?:[^"\\\n]|\\[^\n])*+(?P<end>["\n]|\\?$)|[{}\[\]]')
_REST_OF_STRING = re.compile(rb'(?:[^"\\\n]|\\[^\n])*+(["\n])?')
_HOLDS_RECORDS = re.compile(rb'"([A-Za-z]{4,12})"\s*:\s*\[\s*[\[{]')
_NOT_BLANK = re.compile(rb"[^\s]")
_DEEPEST = 1_000  # brackets that are open
_GAP = b" \t\r\n,;\x1e"


def kind_of(first: bytes) -> str | None:
    """Return which of `LINES` turns a file of these first bytes into lines; None where it is of lines already."""
    text = first.lstrip()
    if text[:1] in (b"{", b"["):
        return "objects" if _is_of_objects(text) else None
    lines = text.split(b"\n", _ABOVE)[:_ABOVE]
    first_row = next((line for line in lines if not _is_above(line)), b"")
    return "table" if _header(first_row) else None


def _is_above(line: bytes) -> bool:
    """Return whether a line above a table says nothing: it is empty, a comment, or tells a program what parts cells."""
    return not line.strip() or line.startswith((b"sep=", b"# "))


def _is_of_objects(text: bytes) -> bool:
    if text[:1] == b"[":
        return text[1:].lstrip()[:1] == b"{"
    line, newline, rest = text.partition(b"\n")
    depth = 0
    for token in _TOKEN.finditer(line):
        depth += (token[0] in b"{[") - (token[0] in b"}]")
        if not depth:
            behind = line[token.end() :].strip(_GAP)
            return behind.startswith(b"{") or _holds_records(line)
    if newline:
        return line.rstrip()[-1:] in (b"{", b"[", b",") and rest.lstrip()[:1] in (b'"', b"{", b"}", b"[")
    return _holds_records(line)


def _holds_records(line: bytes) -> bool:
    """Return whether an object has an array of records, and is no record itself."""
    names = (found[1].lower() for found in _HOLDS_RECORDS.finditer(line))
    if not any(name in _HOLDING or name in _INNER for name in names):
        return False
    text = formats.decoded(line)
    given = json_object(text)
    return given is None or not (isinstance(formats.json(text), formats.Request) or is_event(given))


def objects(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield each object of a file as a line."""
    found = _Objects()
    try:
        for piece in pieces:
            yield from found.read(piece)
    except Exception:  # what came before a fault counts
        yield from found.read_rest()
        raise
    yield from found.end()


class _Objects:
    """Cuts bytes, which come in pieces, into objects."""

    def __init__(self) -> None:
        self._more: list[bytes] = []  # pieces that wait
        self._waiting = 0  # bytes of them
        self._bytes = b""
        self._read = 0  # of them
        self._open: list[tuple[bytes, bytes]] = []  # brackets, and the names before them; "*" of arrays of records
        self._start = -1  # of the object that is being read
        self._depth = 0  # of that object
        self._name = b""  # the string before the next bracket
        self._too_long = False
        self._in_string = False  # whose beginning is forgotten

    def read(self, piece: bytes) -> Iterator[bytes]:
        """Yield the objects that end in this piece; in a later one, where much would be looked at once more."""
        self._more.append(piece)
        self._waiting += len(piece)
        if self._waiting >= len(self._bytes) - self._read:
            yield from self.read_rest()

    def read_rest(self) -> Iterator[bytes]:
        """Yield the objects that end in the pieces that wait."""
        self._bytes += b"".join(self._more)
        self._more, self._waiting = [], 0
        if self._in_string:
            rest = _REST_OF_STRING.match(self._bytes)
            assert rest is not None  # it matches anything
            self._in_string = rest[1] is None
            self._bytes = self._bytes[rest.end() :]
        last, in_string = self._read, False
        for token in _TOKEN.finditer(self._bytes, self._read):
            text = token[0]
            if text[:1] == b'"':
                if token["end"] not in (b'"', b"\n"):
                    in_string = True  # it goes on in the next piece
                    break
                self._name = text[1:-1].lower()
                if not self._is_between():
                    self._read = token.end()
                continue
            begins_record = text == b"[" and self._holds_records(self._name)
            first = _NOT_BLANK.search(self._bytes, token.end()) if begins_record else None
            if begins_record and first is None:
                break  # what it holds comes in the next piece
            if self._is_between():
                yield from _gap(self._bytes[last : token.start()])
            if text in b"{[":
                if len(self._open) == _DEEPEST:  # it is none of ours: what follows begins anew
                    if self._start >= 0 and not self._too_long:
                        yield from _gap(self._bytes[self._start : token.start()])
                    self._open, self._start = [], -1
                self._begin(text, token.start(), first[0] if first else b"")
            else:
                yield from self._close(token.end())
            self._read = last = token.end()
            self._name = b""
        yield from self._forget(last, in_string)

    def end(self) -> Iterator[bytes]:
        """Yield what is left: the last objects, and one that breaks off."""
        yield from self.read_rest()
        yield from _gap(self._bytes[max(self._start, 0) if self._start >= 0 else self._read :])

    def _is_between(self) -> bool:
        """Return whether what stands here is outside of all objects."""
        return self._start < 0 and (not self._open or self._open[-1][1] == b"*")

    def _holds_records(self, name: bytes) -> bool:
        if not self._open:
            return True
        if name in _INNER:
            return True
        if self._start < 0 or self._depth or len(self._open) > 2:
            return False
        return name in _HOLDING if len(self._open) == 1 else (self._open[1][1], name) in _DEEPER

    def _begin(self, bracket: bytes, at: int, holds: bytes) -> None:
        """Go into an object or array; `holds` is what an array of records begins with, b"" of all else."""
        name = self._name
        inside = self._open[-1][1] if self._open else b"*"
        of_lists = (name == _PAIRS and bool(self._open), name == _LISTS)
        if (holds == b"{" and not of_lists[0]) or (holds == b"[" and any(of_lists)):
            self._start, name = -1, b"*"
        elif self._start < 0 and inside == b"*":
            self._start, self._depth, self._too_long = at, len(self._open), False
        self._open.append((bracket, name))

    def _close(self, end: int) -> Iterator[bytes]:
        if self._open:
            self._open.pop()
        if self._start >= 0 and len(self._open) == self._depth:
            if not self._too_long:
                yield _line(self._bytes[self._start : end])
            self._start = -1

    def _forget(self, last: int, in_string: bool) -> Iterator[bytes]:
        """Keep of the bytes what has no end yet; of an object that is too long, nothing but its first bytes."""
        if self._start >= 0 and len(self._bytes) - self._start > LONGEST and not self._too_long:
            yield _line(self._bytes[self._start : self._start + LONGEST])
            self._too_long = True
        keep = self._read
        if self._start >= 0:
            keep = self._read if self._too_long else self._start
        elif self._is_between():
            keep = last
        if len(self._bytes) - keep > 2 * LONGEST:  # a string without an end, or no object
            if self._is_between():
                yield from _gap(self._bytes[keep:])
            escapes = len(self._bytes) - len(self._bytes.rstrip(b"\\"))
            self._in_string, keep = in_string, len(self._bytes) - escapes % 2
        self._bytes, self._read = self._bytes[keep:], max(self._read - keep, 0)
        if self._start >= 0:
            self._start = 0


def _gap(text: bytes) -> Iterator[bytes]:
    """Yield what stands between objects, if it says something."""
    if text := text.strip(_GAP + b"]"):
        yield _line(text[:LONGEST])


def _line(text: bytes) -> bytes:
    if text.startswith(b"["):
        text = _of_list(text)
    return b" ".join(text.splitlines()) + b"\n"


def _of_list(text: bytes) -> bytes:
    """A pair of Loki's, or a row of cells with their names, as an object."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if len(given) > 1 and all(isinstance(each, str) for each in given[:2]):
        return json.dumps({"timestamp": given[0], "line": given[1]}).encode()
    named = named_in(given)
    return text if named is None else json.dumps(named).encode()


def rows(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield each row of a table as an object; one that has not as many cells as there are names as it is."""
    lines = _lines(pieces)
    first = next(line for line in lines if not _is_above(line.encode("utf-8", "surrogateescape")))
    names, separator = _header(first.encode("utf-8", "surrogateescape")) or ([], ",")
    parted = _rows_of_lines if separator in _UNQUOTED else _quoted_rows
    for row, line in parted(lines, separator, len(names)):
        if len(row) == len(names):
            yield json.dumps(dict(zip(names, row, strict=True))).encode() + b"\n"
        else:
            yield " ".join(line.splitlines()).encode("utf-8", "surrogateescape")[:LONGEST] + b"\n"


def _rows_of_lines(lines: Iterator[str], separator: str, columns: int) -> Iterator[tuple[list[str], str]]:
    """Yield the cells of each line, and the line. A quote counts where a cell begins and ends with one."""
    for line in lines:
        cells = line.rstrip("\r\n").split(separator)
        if len(cells) == columns:
            yield [cell[1:-1].replace('""', '"') if _QUOTED.fullmatch(cell) else cell for cell in cells], line
        else:
            yield _cells(line, separator), line


def _quoted_rows(lines: Iterator[str], separator: str, columns: int) -> Iterator[tuple[list[str], str]]:
    """Yield the cells of each row, which may hold separators and line ends in quotes, and its lines.

    Lines of which a quote that nobody meant would make one row are a row each."""
    kept: list[str] = []
    length = 0

    def following() -> str | None:
        nonlocal length
        line = next(lines, None)
        if line is not None:
            kept.append(line)
            length += len(line)
            if length > LONGEST:
                raise csv.Error("a cell has no end")
        return line

    table = csv.reader(iter(following, None), delimiter=separator, strict=True)
    while True:
        kept.clear()
        length = 0
        try:
            row = next(table, None)
        except csv.Error:  # a cell without an end, or with something behind it
            row = []
        if row is None:
            return
        if len(row) == columns and (len(kept) == 1 or any(len(_cells(line, separator)) != columns for line in kept)):
            yield row, "".join(kept)
        else:
            yield from ((_cells(line, separator), line) for line in kept)


def _cells(line: str, separator: str) -> list[str]:
    """Return the cells of one line, of which the last may lack its end."""
    try:
        return next(csv.reader([line.rstrip("\r\n")], delimiter=separator), [])
    except csv.Error:  # longer than a cell may be
        return []


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for piece in chain(pieces, [b"\n"]):
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            if line.strip():
                yield formats.decoded(line) + "\n"
        if len(rest) > LONGEST:
            rest = b""


def _header(line: bytes) -> tuple[list[str], str] | None:
    """Return the names of a table's first line, and what separates them; None where that is no such line."""
    text = formats.decoded(line).strip()
    separator = max(_SEPARATORS, key=text.count)
    if text.count(separator) < _FEWEST - 1 or len(line) > formats.LONGEST:
        return None
    names = next(csv.reader([text], delimiter=separator), [])
    keys = [compact(name.partition(" [")[0]) for name in names]  # `TimeGenerated [UTC]`
    if len(set(keys)) < len(keys) or not all(keys):
        return None
    known = not fields_of(tuple(keys)).missing or not WRAPPERS.isdisjoint(keys)
    return ([name.partition(" [")[0] for name in names], separator) if known else None


LINES = {"objects": objects, "table": rows}
