"""Files that hold objects otherwise than one a line, as lines of one object each.

That is an array, objects over many lines, several on one line, and what a platform's search returns around its records:
Amazon's `Records` and `logEvents`, Azure's `records`, Elastic's `hits`, Loki's `values`. A table with its names in the
first line, as CDNs and search pages export, becomes an object a row, and the journal's export one an entry. Whatever
does not fit stays a line, for its reader to say why. At most a few times `LONGEST` bytes of a file are held at once.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from ingest.logs import formats, journal
from ingest.logs.formats.fields import NAMES, READ_IN_JSON, compact, fields_of
from ingest.logs.formats.json_lines import WRAPPERS, is_event, json_object, named_in, request_in
from ingest.logs.formats.nested import may_be_read, own_times

LONGEST = 1_000_000  # bytes of an object
_HOLDING = frozenset(
    b"records logevents events hits result results streams entries items rows data value logs documents messages "
    b"resourcelogs".split()
)  # whose arrays hold the records, in an object that is none
_DEEPER = ((b"hits", b"hits"), (b"data", b"result"))
# Arrays of records wherever they stand: Loki's of a time in nanoseconds and a line, OpenTelemetry's of a resource.
_PAIRS, _LISTS = b"values", b"results"
_INNER = (_PAIRS, b"scopelogs", b"logrecords")
_WITH_RECORDS = _HOLDING.union(_INNER)
_IN_CELLS = frozenset(("httprequest", "jsonpayload", "protopayload", "properties", "attributes"))  # objects
_TIMES = frozenset(NAMES["time"])
_MAY_BE_TIMES = _TIMES.union(("date", "requestdate", "requesttime", "attimestamp"))
_READ = READ_IN_JSON | WRAPPERS | _IN_CELLS
_WORDS = re.compile("[^a-z0-9]+")
_BRACKET = re.compile(r" \[([^\[\]]*)\]$")  # behind a name: a unit, a kind, a zone
_NO_ZONE = re.compile(r"UTC|GMT|Z|ISO[ -]?8601|RFC ?3339|(?:Unix|Epoch)\b.*|(?!.*local)[a-z0-9\u00b5 ]+")
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
_INSIDE = 3  # objects, each in an array of records of the one before
_OF_EVENTS = frozenset(("ts", "visitor", "user"))  # an event that is imported has two of them
_GAP = b" \t\r\n,;\x1e"


class _Dialect(NamedTuple):
    """How the rows of a table are written."""

    separator: str
    has_blanks: bool  # behind each separator


def kind_of(first: bytes) -> str | None:
    """Return which of `LINES` turns a file of these first bytes into lines; None where it is of lines already."""
    text = first.lstrip()
    if text[:1] in (b"{", b"["):
        return "objects" if _is_of_objects(text) else None
    if text.startswith(journal.BEGINS):
        return "journal"
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
    return not _WITH_RECORDS.isdisjoint(names) and not _is_record(line)


def _is_record(text: bytes) -> bool:
    """Return whether an object is a request or an event also without the arrays of records in it."""
    given = json_object(formats.decoded(text))
    if given is None:
        return False
    rest = _without_records(given)
    is_own = is_event(rest) and not _OF_EVENTS.isdisjoint(rest)
    return is_own or isinstance(request_in(rest), formats.Request)


def _without_records(given: dict[str, Any], deeper: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in given.items():
        key = name.lower().encode("utf-8", "replace")
        if isinstance(value, list) and value and isinstance(value[0], dict | list) and key in _WITH_RECORDS:
            continue
        found[name] = _without_records(value, deeper=False) if isinstance(value, dict) and deeper else value
    return found


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


@dataclass
class _Object:
    """One that is being read."""

    start: int  # its first byte; -1 where its bytes are not kept, for it is too long
    depth: int  # brackets around it
    lines: list[bytes] | None = None  # of the records found in it; None where there are none


class _Objects:
    """Cuts bytes, which come in pieces, into objects.

    What is in an array of records waits until the object around it ends: of an event, or a request, such an array is a
    part. An object that is too long to be one is not waited for."""

    def __init__(self) -> None:
        self._more: list[bytes] = []  # pieces that wait
        self._waiting = 0  # bytes of them
        self._bytes = b""
        self._read = 0  # of them
        self._open: list[bytes | None] = []  # the names before open brackets; None of arrays of records
        self._objects: list[_Object] = []  # each in an array of records of the one before
        self._name = b""  # the string before the next bracket
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
            begins_record = text == b"[" and self._may_hold_records(self._name)
            first = _NOT_BLANK.search(self._bytes, token.end()) if begins_record else None
            if begins_record and first is None:
                break  # what it holds comes in the next piece
            if self._is_between():
                yield from self._given(_gap(self._bytes[last : token.start()]))
            if text in b"{[":
                if len(self._open) == _DEEPEST:  # it is none of ours: what follows begins anew
                    yield from self._broken_off(token.start())
                    self._open, self._objects = [], []
                self._begin(token.start(), first[0] if first else b"")
            else:
                yield from self._close(token.end())
            self._read = last = token.end()
            self._name = b""
        yield from self._forget(last, in_string)

    def end(self) -> Iterator[bytes]:
        """Yield what is left: the last objects, and one that breaks off."""
        yield from self.read_rest()
        yield from self._broken_off(len(self._bytes))
        if not self._objects or self._objects[-1].start < 0 or self._objects[-1].lines is not None:
            yield from _gap(self._bytes[self._read :])

    def _broken_off(self, end: int) -> Iterator[bytes]:
        """Yield what is known of the objects that are being read."""
        for each in self._objects:
            if each.lines is not None:
                yield from each.lines
            elif each.start >= 0:
                yield from _gap(self._bytes[each.start : end])

    def _is_between(self) -> bool:
        """Return whether what stands here is outside of all objects."""
        return not self._open or self._open[-1] is None

    def _may_hold_records(self, name: bytes) -> bool:
        if not self._open:
            return True
        if name in _INNER:
            return len(self._objects) <= _INSIDE
        if len(self._objects) != 1 or self._objects[0].depth or self._objects[0].lines is not None:
            return False
        if len(self._open) == 1:
            return name in _HOLDING
        return len(self._open) == 2 and (self._open[1], name) in _DEEPER

    def _begin(self, at: int, holds: bytes) -> None:
        """Go into an object or array; `holds` is what an array of records begins with, b"" of all else."""
        name: bytes | None = self._name
        of_lists = (name == _PAIRS and bool(self._open), name == _LISTS)
        if (holds == b"{" and not of_lists[0]) or (holds == b"[" and any(of_lists)):
            name = None
            if self._objects and self._objects[-1].lines is None:
                self._objects[-1].lines = []
        elif self._is_between():
            self._objects.append(_Object(at, len(self._open)))
        self._open.append(name)

    def _close(self, end: int) -> Iterator[bytes]:
        if self._open:
            self._open.pop()
        if not self._objects or len(self._open) != self._objects[-1].depth:
            return
        ended = self._objects.pop()
        if ended.start >= 0:
            text = self._bytes[ended.start : end]
            yield from self._given([_line(text)] if ended.lines is None or _is_record(text) else ended.lines)

    def _given(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Yield lines, or keep them with the object in which they were found."""
        around = self._objects[-1] if self._objects else None
        if around is not None and around.start >= 0 and around.lines is not None:
            around.lines.extend(lines)
        else:
            yield from lines

    def _forget(self, last: int, in_string: bool) -> Iterator[bytes]:
        """Keep of the bytes what has no end yet; of an object that is too long, nothing but its first bytes."""
        for each in self._objects:
            if each.start >= 0 and len(self._bytes) - each.start > LONGEST:
                if each.lines is None:
                    yield _line(self._bytes[each.start : each.start + LONGEST])
                else:
                    yield from each.lines
                    each.lines = []
                each.start = -1
        keep = last if self._is_between() else self._read
        keep = next((each.start for each in self._objects if each.start >= 0), keep)
        if len(self._bytes) - keep > 2 * LONGEST:  # a string without an end, or no object
            if self._is_between():
                yield from _gap(self._bytes[keep:])
            escapes = len(self._bytes) - len(self._bytes.rstrip(b"\\"))
            self._in_string, keep = in_string, len(self._bytes) - escapes % 2
        self._bytes, self._read = self._bytes[keep:], max(self._read - keep, 0)
        for each in self._objects:
            each.start = max(each.start - keep, -1)


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
    names, how = _header(first.encode("utf-8", "surrogateescape")) or ([], _Dialect(",", has_blanks=False))
    parted = _rows_of_lines if how.separator in _UNQUOTED else _quoted_rows
    for row, line in parted(lines, how, len(names)):
        if len(row) == len(names):
            if how.has_blanks:
                row = [cell.strip(" ") for cell in row]
            yield json.dumps(dict(zip(names, row, strict=True))).encode() + b"\n"
        else:
            yield " ".join(line.splitlines()).encode("utf-8", "surrogateescape")[:LONGEST] + b"\n"


def _rows_of_lines(lines: Iterator[str], how: _Dialect, columns: int) -> Iterator[tuple[list[str], str]]:
    """Yield the cells of each line, and the line. A quote counts where a cell begins and ends with one."""
    for line in lines:
        cells = line.rstrip("\r\n").split(how.separator)
        if how.has_blanks:
            cells = [cell.strip(" ") for cell in cells]
        if len(cells) == columns:
            yield [cell[1:-1].replace('""', '"') if _QUOTED.fullmatch(cell) else cell for cell in cells], line
        else:
            yield _cells(line, how), line


def _quoted_rows(lines: Iterator[str], how: _Dialect, columns: int) -> Iterator[tuple[list[str], str]]:
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

    table = csv.reader(
        iter(following, None), delimiter=how.separator, strict=True, skipinitialspace=how.has_blanks
    )
    while True:
        kept.clear()
        length = 0
        try:
            row = next(table, None)
        except csv.Error:  # a cell without an end, or with something behind it
            row = []
        if row is None:
            return
        if len(row) == columns and (len(kept) == 1 or any(len(_cells(line, how)) != columns for line in kept)):
            yield row, "".join(kept)
        else:
            yield from ((_cells(line, how, columns), line) for line in kept)


def _cells(line: str, how: _Dialect, columns: int = 0) -> list[str]:
    """Return the cells of one line, of which the last may lack its end. Where there are `columns`, quotes in a cell may
    stand behind a backslash instead of twice."""
    if columns and '\\"' in line:
        with suppress(csv.Error):
            lines = csv.reader(
                [line.rstrip("\r\n")], delimiter=how.separator, skipinitialspace=how.has_blanks,
                escapechar="\\", doublequote=False, strict=True,
            )  # fmt: skip
            if len(cells := next(lines, [])) == columns:
                return cells
    try:
        lines = csv.reader([line.rstrip("\r\n")], delimiter=how.separator, skipinitialspace=how.has_blanks)
        return next(lines, [])
    except csv.Error:  # longer than a cell may be, or with the end of a line in it
        return []


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    return (formats.decoded(line) + "\n" for line in _whole_lines(pieces) if line.strip())


def _whole_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in chain(pieces, [b"\n"]):
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
        if len(rest) > LONGEST:
            rest = b""


def _header(line: bytes) -> tuple[list[str], _Dialect] | None:
    """Return the names of a table's first line, and how its rows are written; None where that is no such line."""
    text = formats.decoded(line).strip()
    separator = max(_SEPARATORS, key=text.count)
    if text.count(separator) < _FEWEST - 1 or len(line) > formats.LONGEST:
        return None
    how = _Dialect(separator, text.count(f"{separator} ") == text.count(separator))
    names = _without_brackets(_cells(text, how))
    keys = list(map(compact, names))
    # Of two that a type behind them tells apart, the first counts; without a name may be a number at either end.
    read = [_WORDS.sub("", name.lower()) for name in names if (key := compact(name)) in _READ or may_be_read(key)]
    if len(set(read)) < len(read) or not all(keys[1:-1]) or keys.count("") > 1:
        return None
    known = any(not fields_of(tuple(keys), by_ends).missing for by_ends in (False, True))
    known |= not WRAPPERS.isdisjoint(keys) or not (_IN_CELLS.isdisjoint(keys) or _TIMES.isdisjoint(keys))
    return (names, how) if known else None


def _without_brackets(names: list[str]) -> list[str]:
    """Return the names of columns without what stands in brackets behind them, where they stay apart without. The name
    of a time of another zone than UTC becomes one by which it is none."""
    found: list[str] = []
    for name in names:
        bracket = _BRACKET.search(name)
        short = name[: bracket.start()] if bracket else name
        is_time = compact(short) in _MAY_BE_TIMES or bool(own_times([compact(short)]))
        if bracket and is_time and not _NO_ZONE.fullmatch(bracket[1]):
            found.append(f"{name} of another zone")
        else:
            found.append(name if short in (*names, *found) else short)
    return found


LINES = {"objects": objects, "table": rows, "journal": journal.entries}
