"""The rows of an export's files, as CSV or JSON, and where in the file each stands.

What a reader of a product yields is one of `Action`, `Left` or `Broken`: each row of an export is counted once. What
concerns the file as a whole is raised as `ImportFailed`, in words.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from activity.encodings import as_text
from activity.geo import NOWHERE, Place
from activity.user_agent import Agent
from ingest.logs.files import ImportFailed, shown
from ingest.migration.dates import Unclear, order_of
from ingest.migration.members import Member

_CHUNK = 1 << 16
SEPARATOR = re.compile(r'"?sep=([,;\t|])"?[,;\t]*\s*', re.IGNORECASE)  # as Excel reads and writes it above a table
_WESTERN, _OTHERS = "cp1252", ("cp932", "euc_jp", "gb18030", "big5hkscs", "cp949", "cp1251", "koi8_r")
_NOTHING = b' \t\r\n,;"'  # what a line consists of that a spreadsheet writes for an empty one
_NULL = ("\\N", "NULL")  # as databases write it in CSV
_ALL_AT_ONCE = 1 << 26  # characters of one object of JSON
_BETWEEN = re.compile(r"[\ufeff \t\r\n,\[\]]*+")  # objects of JSON
_PARQUET_ROWS = 5_000  # at once

csv.field_size_limit(1 << 20)

Tell = Callable[[str], None]  # takes a sentence about the file, for the user


@dataclass(frozen=True)
class Action:
    """What one row says that a visitor did; `event` has the fields of our own wire format."""

    number: int  # of the line where the row begins
    event: dict[str, Any]  # `visitor`, `ts` and `id` among them
    agent: Agent = field(default_factory=Agent)
    place: Place = NOWHERE
    visit: str = ""  # the product's own name for the visit


class Left(NamedTuple):
    """A row that was understood and of which nothing is taken, counted by `reason`; `detail` is "" if that says all."""

    number: int
    reason: str
    detail: str = ""


class Broken(NamedTuple):
    """A row that is not understood."""

    number: int
    row: bytes
    why: str


Read = Action | Left | Broken


class Row(NamedTuple):
    """One row of a table: the line where it begins, and its values by column; None is SQL's NULL."""

    number: int
    values: dict[str, str | None]
    raw: bytes
    again: int = 0  # how often the header stood before it once more: in a file that was made of several

    def get(self, *names: str) -> str:
        """Return the first of these columns that has a value; "" where none has."""
        for name in names:
            if value := self.values.get(name):
                return value
        return ""


def header(member: Member, *, above: bytes = b"", canonical: Callable[[str], str] = str) -> list[str]:
    """Return the columns that a CSV file names in its first line; [] of an empty file.

    Lines `above` it that begin so, and empty ones, are passed over; `canonical` makes a column's name ours."""
    with closing(member.lines()) as lines:
        return _columns(member, _Counted(lines, member.first, above), canonical)[0]


def _columns(
    member: Member, source: _Counted, canonical: Callable[[str], str]
) -> tuple[list[str], Iterator[list[str]]]:
    """Return the columns, and the reader of what follows. Columns are apart by what most of the header is."""
    told = SEPARATOR.fullmatch(source.peek())
    if told:
        next(source)
        source.peek()
    source.end_head()
    separator = told[1] if told else max(",;\t", key=source.peek().count)
    reader = csv.reader(source, delimiter=separator)
    try:
        return [canonical(name.strip()) for name in next(reader, [])], reader
    except csv.Error as error:
        raise ImportFailed(f"{member.name}: its first line is no CSV: {error}") from error


def csv_rows(
    member: Member,
    required: Iterable[str],
    known: Iterable[str],
    tell: Tell,
    *,
    above: bytes = b"",
    canonical: Callable[[str], str] = str,
) -> Iterator[Row | Broken]:
    """Yield the rows of a CSV file with a header. A column that is not `known` is told of and ignored.

    `above` and `canonical` are as of `header`. Raises ImportFailed, with the columns that are there, where a required
    one is missing."""
    source = _Counted(member.lines(), member.first, above)
    names, reader = _columns(member, source, canonical)
    at, again = source.number, 0
    missing = [name for name in required if name not in names]
    if missing:
        there = ", ".join(names) or "nothing"
        raise ImportFailed(f"{member.name}, line {at}: the column {missing[0]!r} is missing; there is {there}")
    for column, name in enumerate(names, 1):
        if name and name not in set(known) | set(required):
            tell(f"{member.name}, line {at}, column {column}: {name!r} is not known and not read")
    while True:
        begin = source.number + 1
        source.taken.clear()
        try:
            values = next(reader, None)
        except csv.Error as error:
            yield Broken(begin, b"".join(source.taken), str(error))
            continue
        if values is None:
            return
        raw = b"".join(source.taken)
        if not any(values):
            continue
        if len(values) != len(names):
            why = f"column {min(len(values), len(names)) + 1}: {len(values)} values for {len(names)} columns"
            yield Broken(begin, raw, why)
            continue
        if all(canonical(value.strip()) == name for value, name in zip(values, names, strict=True)):
            again += 1
            continue
        known_values = (None if value in _NULL else value for value in values)
        yield Row(begin, dict(zip(names, known_values, strict=True)), raw, again)


def order_in(member: Member, column: str, canonical: Callable[[str], str] = str) -> str:
    """Return how the days in a column of a CSV file are to be read. Raises ImportFailed where nobody can tell."""
    rows = csv_rows(member, (), header(member, canonical=canonical), lambda _: None, canonical=canonical)
    try:
        return order_of(row.get(column) for row in rows if isinstance(row, Row))
    except Unclear as error:
        raise ImportFailed(f"{member.name}, column {column!r}: {error}") from error


class _Counted:
    """The lines of a file as texts; it knows how many were read, and the bytes of those since `taken` was cleared."""

    def __init__(self, lines: Iterator[bytes], before: int, above: bytes) -> None:
        """`before` is how many lines are before these."""
        self.number = before
        self.taken: list[bytes] = []
        self._lines = lines
        self._above = above
        self._peeked: bytes | None = None
        self._codec = ""

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> str:
        line, self._peeked = self._peeked or self._following(), None
        self.taken.append(line)
        return self._text(line).replace("\0", "")

    def peek(self) -> str:
        """Return the line that comes next; "" where there is none."""
        if self._peeked is None:
            self._peeked = next(self._rest(), None)
        return self._text(self._peeked or b"")

    def _text(self, line: bytes) -> str:
        """Return a line as text; the first one that is no UTF-8 decides what others like it are."""
        try:
            return line.decode()
        except UnicodeDecodeError:
            self._codec = self._codec or codec_of(line)
            return text_of(line, self._codec)

    def end_head(self) -> None:
        """Have no line passed over any more."""
        self.peek()
        self._above = b""

    def _following(self) -> bytes:
        return next(self._rest())

    def _rest(self) -> Iterator[bytes]:
        for line in self._lines:
            self.number += 1
            if not (self._above and is_above(line, self._above)):
                yield line


def is_above(line: bytes, begins: bytes) -> bool:
    """Return whether a line above a table begins so or is empty, as a spreadsheet may have written it, too."""
    return line.lstrip(b'"').startswith(begins) or not line.strip(_NOTHING)


def text_of(line: bytes, codec: str = _WESTERN) -> str:
    """Return bytes as text: UTF-8, and where nothing in them is more than ASCII in it, what `codec` makes of them."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        text = line.decode("utf-8", "replace")
        is_utf8 = any(each > "\x7f" and each != "\ufffd" for each in text) and codec == _WESTERN
        return text if is_utf8 else line.decode(codec, "replace")


def codec_of(line: bytes) -> str:
    """Return the encoding of bytes that are no UTF-8: what Windows writes, in Western Europe if nothing tells."""
    text = as_text(line.decode("utf-8", "surrogateescape"))
    return next((codec for codec in _OTHERS if line.decode(codec, "replace") == text), _WESTERN)


def json_objects(member: Member) -> Iterator[tuple[int, dict[str, Any]] | Broken]:
    """Yield the objects of a file, with the line where each begins.

    It has one a line, all in an array or several, or one after the other over several lines each."""
    yield from _by_line(member) if _is_by_line(member) else _one_by_one(member)


def _is_by_line(member: Member) -> bool:
    """Return whether the first line is an object, or so long that nobody would have written it over several."""
    if member.first_byte() == b"[":
        return False
    line, end, rest = member.begins(_CHUNK).lstrip().partition(b"\n")
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        is_longer = not end and len(line) > _CHUNK // 2
        return is_longer or (rest.lstrip().startswith(b"{") and line.strip() != b"{")
    return True


def _by_line(member: Member) -> Iterator[tuple[int, dict[str, Any]] | Broken]:
    for number, line in enumerate(member.lines(), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Broken(number, line, f"no JSON object: {error}")
            continue
        yield (number, _valid(found)) if isinstance(found, dict) else Broken(number, line, "no JSON object")


def _valid(found: dict[str, Any]) -> dict[str, Any]:
    """Return an object with `?` for lone surrogates, which UTF-8 cannot hold."""
    text = json.dumps(found, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return dict(json.loads(text.encode("utf-8", "replace")))
    return found


def _one_by_one(member: Member) -> Iterator[tuple[int, dict[str, Any]] | Broken]:
    """Read what is in arrays, or in none, piece by piece: one object at a time is in memory.

    Each piece is as long as what an object has so far, so that a long one is not decoded again too often."""
    decode, rest, number, depth = json.JSONDecoder().raw_decode, "", 1, 0
    with member.opened() as raw, io.TextIOWrapper(raw, "utf-8", "replace") as stream:
        while True:
            more = stream.read(max(_CHUNK, len(rest)))
            text, at = rest + more, 0
            while True:
                end = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]  # it matches anything
                number += text.count("\n", at, end)
                depth += text.count("[", at, end) - text.count("]", at, end)
                at = end
                if at == len(text):
                    break
                try:
                    found, end = decode(text, at)
                except (ValueError, RecursionError):
                    break  # it goes on in the next piece
                piece = text[at:end].encode()
                yield (number, _valid(found)) if isinstance(found, dict) else Broken(number, piece, "no object")
                number += text.count("\n", at, end)
                at = end
            rest = text[at:]
            if more and len(rest) <= _ALL_AT_ONCE:
                continue
            if rest or depth:
                what = shown(rest[:200].encode()) if rest else "the end of the file"
                yield Broken(number, rest[:_CHUNK].encode(), f"the array breaks off at {what}")
            return


def parquet_rows(member: Member) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a Parquet file, which is laid down beside: it is read from its end."""
    import polars as pl

    with tempfile.NamedTemporaryFile(prefix="footfall-import-") as file:
        with member.opened() as stream:
            shutil.copyfileobj(stream, file)
        file.flush()
        try:
            frame = pl.scan_parquet(file.name)
            count = frame.select(pl.len()).collect().item()
            for start in range(0, count, _PARQUET_ROWS):
                rows = frame.slice(start, _PARQUET_ROWS).collect().iter_rows(named=True)
                yield from enumerate(rows, start + 1)
        except pl.exceptions.PolarsError as error:
            raise ImportFailed(f"{member.name} is no whole Parquet file: {error}") from error


class Scratch:
    """A table of texts by key, on disk where it is large, which a second reading of the export looks up.

    It is gone when closed."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")  # a file without a name, written when the cache is full
        self._database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "CREATE TABLE kept (kind TEXT, key TEXT, value TEXT, PRIMARY KEY (kind, key)) WITHOUT ROWID;"
        )

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def keep(self, kind: str, key: str, value: dict[str, Any]) -> None:
        """Keep a value; the last one of a key counts."""
        self._database.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", (kind, key, json.dumps(value)))

    def merge(self, kind: str, key: str, value: dict[str, Any]) -> None:
        """Add the fields of a value to those that are kept."""
        self.keep(kind, key, self.find(kind, key) | value)

    def find(self, kind: str, key: str) -> dict[str, Any]:
        """Return what is kept of a key; {} where nothing is."""
        found = self._database.execute("SELECT value FROM kept WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        return dict(json.loads(found[0])) if found else {}

    def add(self, kind: str, key: str) -> bool:
        """Add a key; return whether it is new."""
        done = self._database.execute("INSERT OR IGNORE INTO kept VALUES (?, ?, '')", (kind, key))
        return done.rowcount > 0


def last_of_each(
    rows: Callable[[Tell], Iterator[Row | Broken]], key: Callable[[Row], str], tell: Tell
) -> Iterator[Row | Broken | Left]:
    """Yield the rows, of those with the same key only the last: what was put into one file may have a day twice.

    `rows` reads them from their beginning."""
    with Scratch() as last:
        any_again = False
        for row in rows(lambda _: None):
            if isinstance(row, Row) and not last.add("seen", f"{row.again}/{key(row)}"):
                last.keep("again", f"{row.again}/{key(row)}", {"number": row.number})
                any_again = True
        for row in rows(tell):
            found = last.find("again", f"{row.again}/{key(row)}") if any_again and isinstance(row, Row) else {}
            yield Left(row.number, "repeated") if found.get("number", row.number) != row.number else row
