"""The rows of some tables in a dump of a database: what `mysqldump`, phpMyAdmin and `pg_dump` write.

Read are `CREATE TABLE` (for the order of the columns), `INSERT INTO` and PostgreSQL's `COPY`; everything else is
passed over. Nothing is executed.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from ingest.logs.files import ImportFailed
from ingest.migration.export import Broken, text_of
from ingest.migration.members import Member

# A table, which may stand behind its database or schema.
_NAME = rb"(?:(?:`[^`]+`|\"[^\"]+\"|[\w$-]+)\s*\.\s*){0,2}[`\"]?(\w+)[`\"]?"
_CREATE = re.compile(
    rb"\s*CREATE (?:UNLOGGED |TEMPORARY )?TABLE\s*(?:IF NOT EXISTS\s*)?" + _NAME + rb"\s*(?=\()", re.IGNORECASE
)
_INTO = rb"\s*(?:INSERT|REPLACE)(?: (?:LOW_PRIORITY|HIGH_PRIORITY|DELAYED|IGNORE))*(?: INTO)?\s*" + _NAME
_HEAD = re.compile(_INTO + rb"(?!\w)", re.IGNORECASE)
_INSERT = re.compile(
    _INTO + rb"\s*(?:\(([^)]*)\))?\s*(?:OVERRIDING (?:SYSTEM|USER) VALUE\s*)?VALUES\s*", re.IGNORECASE
)
_COPY = re.compile(rb"COPY " + _NAME + rb"\s*(?:\(([^)]*)\))?\s*FROM stdin\b[^;]*;", re.IGNORECASE)
_USE = re.compile(rb"(?:USE\s+`?([^`;]+)`?\s*;|\\connect (?:-\S+ )*\"?([\w-]+)\"?)", re.IGNORECASE)
_COLUMN = re.compile(
    rb"\s*(?:[`\"](\w+)[`\"]|(?!(?:PRIMARY|UNIQUE|KEY|CONSTRAINT|INDEX|FOREIGN|CHECK|FULLTEXT|SPATIAL|EXCLUDE)\b)"
    rb"(\w+))\s",
    re.IGNORECASE,
)
_IN_CREATE = re.compile(rb"--[^\n]*+|/\*|[(),'`\"]|[^'`\"(),/-]++|.", re.DOTALL)
_CLOSING = {  # how what begins so goes on to its end
    b"'": re.compile(rb"(?:[^'\\]++|\\.)*+'", re.DOTALL), b"/*": re.compile(rb".*?\*/", re.DOTALL),
    b"`": re.compile(rb"[^`]*+`"), b'"': re.compile(rb"[^\"]*+\""),
}  # fmt: skip
# One value: NULL, a text, hexadecimal digits in any of their forms, or what stands bare; then a type, and what ends it.
# Possessive: what is taken is never given back, so no statement is read twice.
_FORMS = (
    rb"\s*+(?:(NULL)\b|(?:_\w++\s*+)?+(?:0x([0-9A-F]*+)(?!\w)|X'([0-9A-F]*+)'|UNHEX\(\s*+'([0-9A-F]*+)'\s*+\))|"
    rb"%s|([^,()':\s]++))(?:\s*+::\s*+[\w\" ]++(?:\([\d, ]*+\))?+(?:\[\])?+)*+\s*+([,)])"
)
_TEXT, _ESCAPING = rb"'((?:[^']++|'')*+)'", rb"'((?:[^'\\]++|\\.|'')*+)'"
_VALUE = re.compile(_FORMS % (rb"(?:_\w++\s*+|[NE](?='))?+" + _ESCAPING + rb"|(\b\B)"), re.IGNORECASE | re.DOTALL)
_PLAIN = re.compile(  # in PostgreSQL's INSERT a backslash is itself, but for E'…'
    _FORMS % (rb"E" + _ESCAPING + rb"|" + _TEXT), re.IGNORECASE | re.DOTALL
)
_ESCAPE = re.compile(rb"\\(.)|''", re.DOTALL)
_COPY_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"0": b"\0", b"b": b"\b", b"f": b"\f", b"v": b"\v", b"Z": b"\x1a"}

_LONGEST_ROW = 1 << 20  # bytes
_LONGEST_HEAD = 1 << 16  # bytes of a statement before its rows
# What stands above a dump: what the programs say when their errors go to the same file, and statements.
_BEFORE = (b"mysqldump:", b"mariadb-dump:", b"Warning:", b"Enter password:", b"WARNING:", b"pg_dump:", b"\\")
_SETTINGS = (
    b"SET", b"DROP", b"USE", b"LOCK", b"BEGIN", b"START", b"SELECT PG_CATALOG", b"<?XML", b"PRAGMA", b"DELETE",
    b"TRUNCATE", b"ALTER", b"COMMIT",
)  # fmt: skip
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
        return next((text_of(value) for name in names if (value := self.values.get(name))), "")


def is_dump(member: Member) -> bool:
    """Return whether the beginning of a file looks like a dump. Raises ImportFailed where it is one as XML."""
    if member.first_byte() in (b"{", b"["):
        return False
    for number, line in enumerate(member.lines()):
        if line.startswith((b"--", b"/*")) or _CREATE.match(line) or _HEAD.match(line) or _COPY.match(line):
            return True
        if line.startswith(b"<mysqldump"):
            raise ImportFailed(f"{member.name} is a dump as XML: leave out --xml")
        if number > 20 or (line.strip() and not line.startswith(_BEFORE) and not line.upper().startswith(_SETTINGS)):
            return False
    return False


def tables(member: Member) -> set[str]:
    """Return the names of the tables that a dump has rows of."""
    heads = (_HEAD.match(line) or _COPY.match(line) for line in member.lines())
    return {head[1].decode() for head in heads if head}


def rows(
    member: Member, tables: Collection[str], *, prefixed: bool = True, mysql: bool = False
) -> Iterator[TableRow | Broken]:
    """Yield the rows of these tables, which may have a prefix such as `matomo_` if they are `prefixed`.

    `mysql` says that they are MySQL's, though nothing in the dump may tell so.

    Raises ImportFailed where one of them is there with several prefixes."""
    columns: dict[str, list[str]] = {}
    found: dict[str, str] = {}  # the name in the dump of each table
    database = ""
    lines = _Lines(member.lines())
    for number, line in lines:
        mysql = (mysql or line.startswith(_OF_MYSQL)) and not line.startswith(b"-- PostgreSQL")
        if match := _USE.match(line):
            database = f"{(match[1] or match[2]).decode('utf-8', 'replace')}."
        elif match := _CREATE.match(line):
            columns[match[1].decode()], engine = _created(lines, line[match.end() :])
            mysql = mysql or engine
        elif match := _COPY.match(line):
            of = _split(match[2]) if match[2] else columns.get(match[1].decode(), [])
            yield from _copied(lines, _named(member, database, match[1], tables, prefixed, found), of)
        elif _HEAD.match(line) and (match := _INSERT.match(line := _with_head(lines, line))):
            table = _named(member, database, match[1], tables, prefixed, found)
            of = _split(match[2]) if match[2] else columns.get(match[1].decode(), [])
            yield from _inserted(lines, number, line, match.end(), table, of, mysql)


def _named(
    member: Member, database: str, name: bytes, tables: Collection[str], prefixed: bool, found: dict[str, str]
) -> str:
    """Return which of the tables this is, whatever its prefix; "" where it is none."""
    text = name.decode()
    for table in tables:
        if text == table or (prefixed and text.endswith(f"_{table}")):
            if (other := found.setdefault(table, database + text)) != database + text:
                whole = database + text
                raise ImportFailed(f"{member.name} has the tables {other} and {whole}: dump those of one of them")
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


def _with_head(lines: _Lines, line: bytes) -> bytes:
    """Return the line of an `INSERT` with those that follow, as far as its columns and `VALUES` go."""
    while not _INSERT.match(line) and b";" not in line and len(line) < _LONGEST_HEAD:
        following = next(lines, None)
        if following is None:
            break
        if _HEAD.match(following[1]) or _CREATE.match(following[1]):
            lines.give_back(following)
            break
        line += following[1]
    return line


def _created(lines: _Lines, text: bytes) -> tuple[list[str], bool]:
    """Return the columns of a table, whose definition begins with `text`, and whether it is one of MySQL."""
    definition, read, size = _Definition(), [text], len(text)
    while (end := definition.end_in(read[-1])) is None and size < _LONGEST_ROW:
        following = next(lines, None)
        if following is None:
            break
        if _HEAD.match(following[1]) or _CREATE.match(following[1]) or _COPY.match(following[1]):
            lines.give_back(following)
            break
        read.append(following[1])
        size += len(following[1])
    parts = _parts(read) if end is None else definition.parts()
    columns = [match[1] or match[2] for part in parts if (match := _COLUMN.match(part + b" "))]
    after = b"" if end is None else read[-1][end:]
    return [name.decode("utf-8", "replace") for name in columns], b"ENGINE=" in after.upper().replace(b" ", b"")


class _Definition:
    """The brackets of a `CREATE TABLE` and the parts between its commas. Each of its lines is looked at once."""

    def __init__(self) -> None:
        self._parts: list[list[bytes]] = [[]]
        self._depth = 0
        self._open = b""  # a text, name or comment that goes on in the next line: how it began

    def parts(self) -> list[bytes]:
        """Return the parts so far, without comments."""
        return [b"".join(part) for part in self._parts]

    def end_in(self, line: bytes) -> int | None:
        """Read another line; return where in it the definition ends, None where it goes on."""
        at = 0
        while at < len(line):
            match = (_CLOSING[self._open] if self._open else _IN_CREATE).match(line, at)
            token, at = (match[0], match.end()) if match else (line[at:], len(line))
            is_comment = self._open == b"/*" or (not self._open and token.startswith((b"--", b"/*")))
            if self._open:
                self._open = self._open if match is None else b""
            elif token in _CLOSING:
                self._open = token
            else:
                self._depth += (token == b"(") - (token == b")")
                if self._depth == 0:
                    return at
                if token == b"," and self._depth == 1:
                    self._parts.append([])
                    continue
                if token == b"(" and self._depth == 1:
                    continue
            if not is_comment:
                self._parts[-1].append(token)
        return None


def _parts(read: list[bytes]) -> list[bytes]:
    """Return the lines of a definition that does not end, or whose texts do not: up to a bracket that begins a line."""
    lines = (line for piece in read for line in piece[1 if piece is read[0] else 0 :].split(b"\n"))
    return list(itertools.takewhile(lambda line: not line.lstrip().startswith(b")"), lines))


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
        yield TableRow(table, number, dict(zip(columns, map(from_copy, values), strict=True)))


def from_copy(value: bytes) -> bytes | None:
    """Return a value as PostgreSQL's `COPY` and ClickHouse's TSV escape it; None is NULL."""
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
            while following[1].startswith((b"--", b"#")) or not following[1].strip():
                following = next(lines, (number, b";"))
            if not following[1].lstrip().startswith((b"(", b",")):
                lines.give_back(following)
                return
            (number, line), at = following, 0
            continue
        if line[at : at + 1] != b"(":
            after = line[at:].partition(b";")[2]
            if after.strip():
                lines.give_back((number, after))  # another statement on the same line
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
        if _HEAD.match(following[1]) or _CREATE.match(following[1]):
            lines.give_back(following)
            break
        found += following[1]
        if len(found) >= size:
            break
    return found


def _row(line: bytes, at: int, pattern: re.Pattern[bytes]) -> tuple[list[bytes | None], int] | None:
    values: list[bytes | None] = []
    while match := pattern.match(line, at):
        null, digits, quoted_digits, unhex, escaping, text, bare, end = match.groups()
        at = match.end()
        if null:
            values.append(None)
        elif (found := next((each for each in (digits, quoted_digits, unhex) if each is not None), None)) is not None:
            values.append(_unhex(found))
        elif escaping is not None:
            values.append(_ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]) if found[1] else b"'", escaping))
        else:
            values.append(bare if text is None else text.replace(b"''", b"'"))
        if end == b")":
            return values, at
    return None


def _unhex(digits: bytes) -> bytes:
    return bytes.fromhex(digits.decode().zfill(len(digits) + len(digits) % 2))

