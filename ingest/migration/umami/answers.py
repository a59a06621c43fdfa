"""Umami's rows as JSON: what its API lists, what programs for databases write of its tables; and its series of days.

The API's names of columns become those of the tables: `urlPath` is `url_path`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from ingest.logs.files import ImportFailed
from ingest.migration.dates import day_of
from ingest.migration.export import Broken, Row, Tell, csv_rows, header, json_objects
from ingest.migration.members import Member
from ingest.migration.totals import Counted, DayRow, Total

_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")
_IDS = (("event_type", "event_id"), ("url_path", "event_id"), ("browser", "session_id"), ("data_key", "event_data_id"))
_SERIES = {"pageviews", "sessions"}
_NO_DAY = "ask /pageviews with unit=day, for several days"


class Table(NamedTuple):
    """A table of an export: the file that holds it, and its name where the file has several.

    What is not understood of the file counts with the `first`."""

    member: Member
    name: str = ""
    first: bool = True

    def __str__(self) -> str:
        return f"{self.member.name}, table {self.name}" if self.name else self.member.name


def tables(member: Member, wanted: Collection[str]) -> list[Table]:
    """Return the tables of a file: those that are wanted where phpMyAdmin names them, else the file as one."""
    if member.first_byte() != b"[":
        return [Table(member)]
    rows = (found[1] for found in json_objects(member) if not isinstance(found, Broken))
    named = dict.fromkeys(name for row in rows if (name := _named(row)) in wanted)
    return [Table(member, name, place == 0) for place, name in enumerate(named)] or [Table(member)]


def _named(row: dict[str, Any]) -> str:
    """Return the table whose rows an object of phpMyAdmin's has; "" where it is none."""
    return str(row.get("name") or "") if row.get("type") == "table" and isinstance(row.get("data"), list) else ""


def names(table: Table) -> list[str]:
    """Return the columns of a table, whether it is CSV or JSON."""
    if table.member.first_byte() not in (b"{", b"["):
        return header(table.member)
    first = next((row for row in _rows(table) if isinstance(row, Row)), None)
    return [*first.values] if first else []


def rows(table: Table, required: Sequence[str], known: Sequence[str], tell: Tell) -> Iterator[Row | Broken]:
    """Yield the rows of a table, whether it is CSV or JSON; as `csv_rows` does."""
    if table.member.first_byte() not in (b"{", b"["):
        yield from csv_rows(table.member, required, known, tell)
    else:
        yield from _rows(table)


def _rows(table: Table) -> Iterator[Row | Broken]:
    """Yield the rows, which stand in arrays, by line, under the name of their table, or as `data` of a page."""
    for found in json_objects(table.member):
        if isinstance(found, Broken):
            if table.first:
                yield found
            continue
        number, row = found
        if "error" in row and "data" not in row:
            raise ImportFailed(f"{table.member.name}: Umami's answer is: {json.dumps(row['error'])[:200]}")
        inner = row.get("data") if isinstance(row.get("data"), list) else _only_list(row)
        if row.get("type") in ("header", "database"):  # phpMyAdmin's, above its tables
            continue
        if table.name and _named(row) != table.name:
            continue
        for each in inner if isinstance(inner, list) else [row]:
            if isinstance(each, dict):
                yield _row(number, each)
            else:
                yield Broken(number, repr(each).encode(), "no object")


def _only_list(row: dict[str, Any]) -> list[Any] | None:
    """Return the rows of a table that stand under its name alone."""
    value = next(iter(row.values())) if len(row) == 1 else None
    return value if isinstance(value, list) else None


def _row(number: int, row: dict[str, Any]) -> Row:
    values = {_CAPITAL.sub(r"_\1", name).lower(): _text(value) for name, value in row.items()}
    if "id" in values:
        name = next((name for column, name in _IDS if column in values), "id")
        values.setdefault(name, values.pop("id"))
    return Row(number, values, json.dumps(row, ensure_ascii=False).encode("utf-8", "replace"))


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool | dict | list) else str(value)


def tell_what_lacks(tables: Sequence[Table], tell: Tell) -> None:
    """Tell where pages of the API have less rows than they say that there are."""
    count, in_all = 0, 0
    for table in tables:
        if table.member.first_byte() in (b"{", b"["):
            rows = (found[1] for found in json_objects(table.member) if not isinstance(found, Broken))
            for page in rows:
                if isinstance(page.get("data"), list) and isinstance(page.get("count"), int) and "page" in page:
                    count, in_all = count + len(page["data"]), max(in_all, page["count"])
    if count < in_all:
        tell(f"the pages have {count} of {in_all} rows: ask for the others, too (`page`); what is there is imported")


def is_series(members: Sequence[Member]) -> bool:
    """Return whether the files are answers of `/pageviews`, which have days and no events."""
    return all(member.first_byte() == b"{" and {*_first(member)} >= _SERIES for member in members)


def _first(member: Member) -> dict[str, Any]:
    found = next(json_objects(member), None)
    return found[1] if isinstance(found, tuple) and not isinstance(found, Broken) else {}


def read(members: Sequence[Member], _site: str, _theirs: str, _tell: Tell) -> Iterator[Counted]:
    """Yield page views and visitors of each day. Raises ImportFailed where it is of hours or months."""
    for file, member in enumerate(members):
        for found in json_objects(member):
            if isinstance(found, Broken):
                yield found
                continue
            number, answer = found
            for name in sorted(_SERIES):
                yield from _series(member.name, number, name, answer.get(name), file)


def _series(where: str, number: int, name: str, series: object, file: int) -> Iterator[Counted]:
    points = [each for each in series if isinstance(each, dict)] if isinstance(series, list) else []
    days = [day_of(str(each.get("x"))) for each in points]
    if points and (None in days or len(days) < 2 or not _are_days([str(day) for day in days])):
        raise ImportFailed(f"{where} is of hours or months, or of one day: {_NO_DAY}")
    for point, day in zip(points, days, strict=True):
        count = point.get("y", point.get("t"))
        if day is None or not isinstance(count, int | str) or not str(count).isdecimal() or len(str(count)) > 15:
            yield Broken(number, repr(point).encode(), f"{name}: {count!r} is no count")
        elif name == "pageviews":
            of_day = DayRow("", "events", pageviews=int(count), events=int(count))
            yield Total(number, name, day, [DayRow("", "", pageviews=int(count)), of_day], file)
        else:  # visitors, as the export of a range has them with their browsers
            yield Total(number, "browsers", day, [DayRow("", "", visitors=int(count))], file)


def _are_days(days: list[str]) -> bool:
    """Return whether not all of them begin a month or year."""
    return any(not day.endswith("-01") for day in days) and all(one != two for one, two in pairwise(days))
