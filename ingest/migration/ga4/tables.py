"""The tables of a file of Google Analytics: those of a download, one below the other, or of an answer of its API."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Callable, Iterator, Sequence, Set
from datetime import date
from typing import Any, NamedTuple

from ingest.logs.files import ImportFailed
from ingest.migration import dates
from ingest.migration.dates import day_of
from ingest.migration.export import (
    SEPARATOR,
    Broken,
    Row,
    Tell,
    csv_rows,
    header,
    is_above,
    json_objects,
    text_of,
)
from ingest.migration.ga4.words import canonical, is_sum
from ingest.migration.members import Member

LANGUAGE = "set the language of Google Analytics to English, and download it again"
_DAY = r"(\d{4}-?\d\d-?\d\d)"
_RANGE = re.compile(rf"(?<!\d){_DAY}(?:\s*[-\u2013]\s*{_DAY})?$")
_DATE, _NTH = "Date", "Nth day"
_LOOKED_AT = 1_000  # rows
_MOST_TABLES = 300  # of a file
_ADD_ON = "Report Name"

Rows = Iterator[Row | Broken]


class NotOfDays(Exception):
    """A table that does not add up to days, such as one that is of several days together: in words."""


class Table(NamedTuple):
    """A table: the names of its columns in English, its rows, and the first and last day that the file says ("")."""

    name: str
    names: list[str]
    rows: Callable[[Set[str], Tell], Rows]  # takes the columns that are known, and who hears of others
    first: str = ""
    last: str = ""
    in_percent: Set[str] = frozenset()  # the columns whose shares are percent by their name
    size: int = 0  # the rows of an answer
    in_all: int = 0  # those of all its pages
    written: Sequence[str] = ()  # the names of its columns as the file has them


class Pages:
    """Which tables are pages of one, that is cut anywhere in a day: they are of one file.

    They have the same columns, as they are written, and no row in common. An answer says how many rows there are in
    all. Downloads are of the same range: Google shows up to 5,000 rows at a time, and each download has those that are
    shown."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._of: tuple[Sequence[str], str, str, int] = [], "", "", 0
        self._count = self._in_all = 0
        self._last = ""
        self._keys = set[int]()

    def goes_on(self, table: Table, keys: Set[int]) -> bool:
        """Return whether a table that is read is a page behind the one before.

        `keys` stand for its rows: a day and a value each; a download without them is none."""
        of = table.written, table.first, table.last, table.in_all
        is_alike = self._of == of and (bool(keys) or table.in_all > 0)
        has_place = self._count + table.size <= table.in_all if table.in_all else bool(table.first)
        if is_alike and has_place and self._keys.isdisjoint(keys):
            self._keys |= keys
            self._count += table.size
            return True
        self.end()
        if is_alike and not table.in_all and not self._keys <= keys:
            self._tell(f"{table.name} has some rows of {self._last} again, and others not: it replaces it day by day")
        self._of, self._keys, self._last = of, {*keys}, table.name
        self._count, self._in_all = table.size, table.in_all
        return False

    def end(self) -> None:
        """Tell if pages lack behind the last one."""
        if self._count < self._in_all:
            what = f"{self._last} has {self._count} of {self._in_all} rows"
            self._tell(f"{what}: ask for the other pages, too, and import all of them by one command")


def tables(member: Member, metrics: Set[str], tell: Tell) -> list[Table]:
    """Return the tables of a file; `metrics` are names of columns of which a table has at least one."""
    return _of_answer(member, tell) if member.first_byte() in (b"{", b"[") else _of_download(member, metrics)


def _of_download(member: Member, metrics: Set[str]) -> list[Table]:
    """A table begins with comments, of which all but the first stand below an empty line; or with columns below one."""
    begins, said = [0], [list[str]()]
    last, row_seen, empty = 0, False, False
    waits = False
    for number, line in enumerate(member.lines()):
        # Google's add-on for spreadsheets writes what it was asked for, sums, and below them a table.
        waits |= number == 0 and _cells(line)[:1] == [_ADD_ON]
        if waits and not (_is_header(line, metrics) and any(canonical(each) == _DATE for each in _cells(line))):
            begins[0] = number + 1
            continue
        waits = False
        is_comment = line.lstrip(b'"').startswith(b"#")
        is_rule = is_comment and line.lstrip(b'"').startswith(b"# ---")  # which no value is
        if row_seen and (is_rule or (empty and (is_comment or _is_header(line, metrics)))):
            if len(begins) == _MOST_TABLES:  # each is read from the beginning of the file
                raise ImportFailed(f"{member.name} has more than {_MOST_TABLES} tables: split it into several files")
            begins.append(number)
            said.append([] if is_comment else [*said[-1]])  # without comments it is of the days of that above
            row_seen = False
        if is_comment and not row_seen:
            match = _RANGE.search(text_of(line).strip(' \t\r\n,;"'))
            said[-1] += [day for day in (match.groups() if match else ()) if day]
        empty, last = is_above(line, b"\0"), number + 1
        row_seen |= not (is_comment or empty or (number == 0 and SEPARATOR.fullmatch(text_of(line))))
    if not row_seen and len(begins) > 1:  # comments at the end
        last = begins.pop()
        said.pop()
    ends = zip(begins, [*begins[1:], last], said, strict=True)
    return [_table(member._replace(first=begin, last=end), days) for begin, end, days in ends]


def _is_header(line: bytes, metrics: Set[str]) -> bool:
    cells = _cells(line)
    has_number = any(cell.strip().isdigit() for cell in cells)
    return not has_number and any(canonical(cell.strip()) in metrics for cell in cells)


def _cells(line: bytes) -> list[str]:
    text = text_of(line).strip("\ufeff\r\n ")
    try:
        return next(csv.reader([text], delimiter=max(",;\t", key=text.count)), [])
    except csv.Error:
        return []


def _table(member: Member, said: list[str]) -> Table:
    theirs = header(member, above=b"#")
    names = [canonical(name) for name in theirs]

    def rows(known: Set[str], tell: Tell) -> Rows:
        return csv_rows(member, (), known, tell, above=b"#", canonical=canonical)

    days = [day for day in said if day_of(day)]
    first, last = (days[0], days[1] if len(days) > 1 else days[0]) if days else ("", "")
    return Table(member.name, names, rows, first, last, _in_percent(theirs), written=theirs)


def _in_percent(names: list[str]) -> frozenset[str]:
    """Return the columns that the former API has named, of which all shares are percent."""
    return frozenset(canonical(name) for name in names if name.lower().startswith("ga:"))


def is_answer(member: Member) -> bool:
    """Return whether a file of JSON is an answer of the API."""
    found = next(json_objects(member), None)
    return isinstance(found, tuple) and not isinstance(found, Broken) and bool(_reports(found[1]))


def _reports(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the reports of an answer, of which a batch has several. Raises ImportFailed where it is an error."""
    error = found.get("error")
    if isinstance(error, dict) and "message" in error:
        raise ImportFailed(f"Google's answer is: {error['message']}")
    inner = found.get("reports")
    of = inner if isinstance(inner, list) else [found]
    heads = {"metricHeaders", "columnHeader", "columnHeaders"}
    return [each for each in of if isinstance(each, dict) and heads & {*each}]


def _of_answer(member: Member, tell: Tell) -> list[Table]:
    found: list[Table] = []
    for each in json_objects(member):
        if isinstance(each, Broken):
            raise ImportFailed(f"{member.name}, line {each.number}: {each.why}")
        found += [_of_report(member, each[0], report, tell) for report in _reports(each[1])]
    return found


def _tell_what_lacks(where: str, report: dict[str, Any], tell: Tell) -> None:
    """Tell where a report is not made of all visits."""
    metadata = report.get("metadata")
    told = metadata if isinstance(metadata, dict) else {}
    if told.get("samplingMetadatas") or _data(report).get("samplesReadCounts") or report.get("containsSampledData"):
        tell(f"{where} is made of a sample of the visits: ask for fewer days at a time")
    if told.get("dataLossFromOtherRow"):
        tell(f"{where} has rare values as '(other)': ask for fewer days at a time")


def _data(report: dict[str, Any]) -> dict[str, Any]:
    """Return what version 4 puts the rows into; of other versions the report itself."""
    data = report.get("data")
    return data if isinstance(data, dict) else report


def _of_report(member: Member, number: int, report: dict[str, Any], tell: Tell) -> Table:
    """One report of `runReport`, of `reports:batchGet` (version 4), or of version 3."""
    try:
        if "columnHeader" in report:
            head = report["columnHeader"]
            metrics = head["metricHeader"]["metricHeaderEntries"]
            names = [*head.get("dimensions", []), *(each["name"] for each in metrics)]
            rows = [
                [*row.get("dimensions", []), *row["metrics"][0]["values"]] for row in report["data"].get("rows", [])
            ]
        elif "columnHeaders" in report:
            names, rows = [each["name"] for each in report["columnHeaders"]], report.get("rows", [])
        else:
            kinds = ("dimension", "metric")
            names = [each["name"] for kind in kinds for each in report.get(f"{kind}Headers", [])]
            rows = [
                [each.get("value", "") for kind in kinds for each in row.get(f"{kind}Values", [])]
                for row in report.get("rows", [])
            ]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ImportFailed(f"{member.name}, line {number}: no answer of Google's API: {error!r} is missing") from error
    _tell_what_lacks(f"{member.name}, line {number}", report, tell)
    ours = [canonical(str(name)) for name in names]

    def made(known: Set[str], tell: Tell) -> Rows:
        for name in ours:
            if name not in known:
                tell(f"{member.name}, line {number}: {name!r} is not known and not read")
        for row in rows:
            raw = repr(row).encode()
            if not isinstance(row, list) or len(row) != len(ours):
                yield Broken(number, raw, f"no row of {len(ours)} columns")
            else:
                yield Row(number, {name: str(value) for name, value in zip(ours, row, strict=True)}, raw)

    counts = (_data(report).get(name) for name in ("rowCount", "totalResults"))
    in_all = next((count for count in counts if isinstance(count, int)), 0)
    written = [str(name) for name in names]
    return Table(member.name, ours, made, "", "", _in_percent(written), len(rows), in_all, written)


def column_of_days(table: Table, known: Set[str]) -> str:
    """Return the column that says of which day a row is; "" where none does.

    In a language that is not known it is the first, where all that stands in it is days, or counts them."""
    for name in (_DATE, _NTH):
        if name in table.names:
            return name
    first = table.names[0] if table.names else ""
    if not first or first in known:
        return ""
    rows = itertools.islice(table.rows({*table.names}, lambda _: None), _LOOKED_AT)
    texts = [text for row in rows if isinstance(row, Row) and not is_sum(text := row.get(first))]
    if texts and all(not text.isdigit() or len(text) == 8 for text in texts):
        either = (dates.DAY_FIRST, dates.MONTH_FIRST)
        return first if all(any(day_of(text, order) for order in either) for text in texts) else ""
    return ""


def only_day(table: Table) -> date:
    """Return the day of a report that is of one day. Raises `NotOfDays` for one of several."""
    day = day_of(table.first)
    if day is None or table.first != table.last:
        which = f"is of {table.first} to {table.last}" if table.first else "does not say of which day it is"
        raise NotOfDays(
            f"{table.name} {which}: download it with the column Date (an exploration has it), or of one day at a time"
        )
    return day


def order_of_days(table: Table, column: str) -> str:
    """Return how the days of a column are to be read. Raises `NotOfDays` where nobody can tell."""
    rows = table.rows({*table.names}, lambda _: None)
    texts = (text for row in rows if isinstance(row, Row) and not is_sum(text := row.get(column)))
    try:
        return dates.order_of(texts, day_of(table.first), day_of(table.last))
    except dates.Unclear as error:
        raise NotOfDays(f"{table.name}, column {column!r}: {error}") from error
