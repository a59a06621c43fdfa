"""The rows of some tables in a dump of a database: what `mysqldump`, phpMyAdmin and `pg_dump` write.

Read are `CREATE TABLE` (for the order of the columns), `INSERT INTO` and PostgreSQL's `COPY`; everything else is
passed over. Nothing is executed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from ingest.logs.files import ImportFailed
from ingest.migration.export import Broken
from ingest.migration.members import Member

_NAME = rb"[`\"]?(?:\w+[`\"]?\.[`\"]?)?(\w+)[`\"]?"
_CREATE = re.compile(rb"\s*CREATE TABLE (?:IF NOT EXISTS )?" + _NAME + rb"\s*\(", re.IGNORECASE)
_INSERT = re.compile(rb"\s*(?:INSERT|REPLACE)(?: IGNORE)? INTO " + _NAME + rb"\s*(?:\(([^)]*)\))?\s*VALUES\s*", re.I)
_COPY = re.compile(rb"COPY " + _NAME + rb"\s*\(([^)]*)\) FROM stdin;", re.IGNORECASE)
_COLUMN = re.compile(
    rb"\s*[`\"](\w+)[`\"]\s|\s*(?!(?:PRIMARY|UNIQUE|KEY|CONSTRAINT|INDEX|FOREIGN|CHECK)\b)(\w+)\s", re.IGNORECASE
)
# Possessive: what is taken is never given back, so no statement is read twice.
_VALUE = re.compile(
    rb"\s*+(?:(NULL)\b|(?:_binary\s*|_utf8mb\w*\s*|E)?'((?:[^'\\]++|\\.|'')*+)'|0x([0-9A-Fa-f]++)|"
    rb"[xX]'([0-9A-Fa-f]*+)'|([^,()'\s]++))\s*+([,)])",
    re.IGNORECASE | re.DOTALL,
)
_PLAIN = re.compile(  # in PostgreSQL's INSERT a backslash is itself
    rb"\s*+(?:(NULL)\b|'((?:[^']++|'')*+)'|(\b\B)|(\b\B)|([^,()'\s]++))\s*+([,)])", re.IGNORECASE
)
_ESCAPE = re.compile(rb"\\(.)|''", re.DOTALL)
_COPY_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"0": b"\0", b"b": b"\b", b"f": b"\f", b"v": b"\v", b"Z": b"\x1a"}

_LONGEST_ROW = 1 << 20  # bytes
# What stands above a dump: what the programs say when their errors go to the same file, and statements.
_BEFORE = (b"mysqldump:", b"mariadb-dump:", b"Warning:", b"Enter password:", b"WARNING:", b"pg_dump:", b"\\")
_SETTINGS = (b"SET", b"DROP", b"USE", b"LOCK", b"BEGIN", b"START", b"SELECT PG_CATALOG", b"<?XML")
# How lines begin that only MySQL and MariaDB have; in their texts a backslash escapes, in PostgreSQL's it is itself.
_OF_MYSQL = (b"-- MySQL", b"-- MariaDB", b"-- phpMyAdmin", b"/*!", b"/*M!")

Values = dict[str, bytes | None]


class TableRow(NamedTuple):
    """One row: its table without prefix, the line where its statement stands, and its values by column."""

    table: str
    number: int
    values: Values

    def text(self, *names: str) -> str:
        """Return the first of these columns that has a value, as text; "" where none has."""
        return next((value.decode("utf-8", "replace") for name in names if (value := self.values.get(name))), "")


def is_dump(member: Member) -> bool:
    """Return whether the beginning of a file looks like a dump. Raises ImportFailed where it is one as XML."""
    if member.first_byte() in (b"{", b"["):
        return False
    for number, line in enumerate(member.lines()):
        if line.startswith((b"--", b"/*")) or _CREATE.match(line) or _INSERT.match(line) or _COPY.match(line):
            return True
        if line.startswith(b"<mysqldump"):
            raise ImportFailed(f"{member.name} is a dump as XML: leave out --xml")
        if number > 20 or (line.strip() and not line.startswith(_BEFORE) and not line.upper().startswith(_SETTINGS)):
            return False
    return False


def tables(member: Member) -> set[str]:
    """Return the names of the tables that a dump has rows of."""
    heads = (_INSERT.match(line) or _COPY.match(line) for line in member.lines())
    return {head[1].decode() for head in heads if head}


def rows(member: Member, tables: Collection[str], *, prefixed: bool = True) -> Iterator[TableRow | Broken]:
    """Yield the rows of these tables, which may have a prefix such as `matomo_` if they are `prefixed`.

    Raises ImportFailed where one of them is there with several prefixes."""
    columns: dict[str, list[str]] = {}
    found: dict[str, str] = {}  # the name in the dump of each table
    lines = _Lines(member.lines())
    mysql = False
    for number, line in lines:
        mysql = (mysql or line.startswith(_OF_MYSQL)) and not line.startswith(b"-- PostgreSQL")
        if match := _CREATE.match(line):
            columns[match[1].decode()], engine = _created(lines)
            mysql = mysql or engine
        elif match := _COPY.match(line):
            yield from _copied(lines, _named(member, match[1], tables, prefixed, found), _split(match[2]))
        elif match := _INSERT.match(line):
            table = _named(member, match[1], tables, prefixed, found)
            of = _split(match[2]) if match[2] else columns.get(match[1].decode(), [])
            yield from _inserted(lines, number, line, match.end(), table, of, mysql)


def _named(member: Member, name: bytes, tables: Collection[str], prefixed: bool, found: dict[str, str]) -> str:
    """Return which of the tables this is, whatever its prefix; "" where it is none."""
    text = name.decode()
    for table in tables:
        if text == table or (prefixed and text.endswith(f"_{table}")):
            if found.setdefault(table, text) != text:
                raise ImportFailed(f"{member.name} has the tables {found[table]} and {text}: dump those of one of them")
            return table
    return ""


def _split(names: bytes) -> list[str]:
    return [name.strip().strip(b'`"').decode("utf-8", "replace") for name in names.split(b",")]


class _Lines:
    """The numbered lines of a dump, one of which may be given back."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = enumerate(lines, 1)
        self._given_back: tuple[int, bytes] | None = None

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> tuple[int, bytes]:
        found, self._given_back = self._given_back or next(self._lines), None
        return found

    def give_back(self, line: tuple[int, bytes]) -> None:
        """Have this line, the last one, come again."""
        self._given_back = line


def _created(lines: _Lines) -> tuple[list[str], bool]:
    """Return the columns of a table, of which each stands on a line of its own, and whether it is one of MySQL."""
    columns: list[str] = []
    for _, line in lines:
        if line.lstrip().startswith(b")"):
            return columns, b"ENGINE=" in line
        if match := _COLUMN.match(line):
            columns.append((match[1] or match[2]).decode("utf-8", "replace"))
    return columns, False


def _copied(lines: _Lines, table: str, columns: list[str]) -> Iterator[TableRow | Broken]:
    for number, line in lines:
        row = line.rstrip(b"\r\n")
        if row == b"\\.":
            return
        if not table:
            continue
        values = row.split(b"\t")
        if len(values) != len(columns):
            yield Broken(number, line, f"{len(values)} values for {len(columns)} columns of {table}")
            continue
        yield TableRow(table, number, dict(zip(columns, map(_from_copy, values), strict=True)))


def _from_copy(value: bytes) -> bytes | None:
    if value == b"\\N":
        return None
    return value if b"\\" not in value else _COPY_ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), value)


def _inserted(
    lines: _Lines, number: int, line: bytes, at: int, table: str, columns: list[str], mysql: bool
) -> Iterator[TableRow | Broken]:
    """Yield the rows of one statement, which may go over several lines; one of another table is only passed over."""
    if not table:
        return  # a line of its rows that follows begins with a bracket, and so is no statement
    pattern = _VALUE if mysql or b"`" in line[:at] else _PLAIN
    while True:
        while line[at : at + 1].isspace() or line[at : at + 1] == b",":
            at += 1
        if at >= len(line):
            following = next(lines, (number, b";"))
            if not following[1].lstrip().startswith((b"(", b",")):
                lines.give_back(following)
                return
            (number, line), at = following, 0
            continue
        if line[at : at + 1] != b"(":
            return
        row = _row(line, at + 1, pattern)
        while row is None and len(line) - at < _LONGEST_ROW:
            more = _more(lines, len(line) - at)  # a text may hold line ends
            if not more:
                break
            line, at = line[at:] + more, 0
            row = _row(line, at + 1, pattern)
        if row is None:
            yield Broken(number, line[at : at + 65_536], f"a row of {table} that has no end")
            return
        values, begin, at = row[0], at, row[1]
        if not columns:
            yield Broken(number, line[begin:at], f"the dump does not say which columns {table} has: dump its structure")
        elif len(values) != len(columns):
            yield Broken(number, line[begin:at], f"{len(values)} values for {len(columns)} columns of {table}")
        else:
            yield TableRow(table, number, dict(zip(columns, values, strict=True)))


def _more(lines: _Lines, size: int) -> bytes:
    """Return as many lines as have this size, up to the next statement; so that no row is parsed too often."""
    found = b""
    for following in lines:
        if _INSERT.match(following[1]) or _CREATE.match(following[1]):
            lines.give_back(following)
            break
        found += following[1]
        if len(found) >= size:
            break
    return found


def _row(line: bytes, at: int, pattern: re.Pattern[bytes]) -> tuple[list[bytes | None], int] | None:
    values: list[bytes | None] = []
    while match := pattern.match(line, at):
        null, quoted, hexadecimal, also, bare, end = match.groups()
        at = match.end()
        if null:
            values.append(None)
        elif quoted is not None:
            values.append(_unquoted(quoted, pattern is _VALUE))
        elif hexadecimal or also is not None:
            values.append(_unhex(hexadecimal or also))
        else:
            values.append(bare)
        if end == b")":
            return values, at
    return None


def _unhex(digits: bytes) -> bytes:
    return bytes.fromhex(digits.decode().zfill(len(digits) + len(digits) % 2))


def _unquoted(text: bytes, escapes: bool) -> bytes:
    if escapes:
        return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]) if found[1] else b"'", text)
    return text.replace(b"''", b"'")
