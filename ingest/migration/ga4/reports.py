"""Google Analytics: reports and explorations that were downloaded as CSV or TSV, and answers of its API as JSON.

Their totals are by one thing, in whatever language their columns are named. A report is of days where it has the
column `Date` or `Nth day`, or a first column of days; or where it is of one day only, as the lines above it say. A file
may have several, each under lines of its own or below an empty line. Google rounds and leaves out what is rare; where
the BigQuery export is linked, that has the events themselves.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from functools import cached_property, partial
from typing import NamedTuple

from ingest.logs.files import ImportFailed
from ingest.migration import dates, names
from ingest.migration.address import page_of
from ingest.migration.countries import country_code
from ingest.migration.dates import day_of
from ingest.migration.export import Broken, Left, Row, Tell, last_of_each
from ingest.migration.ga4 import tables
from ingest.migration.ga4.numbers import are_percent, is_number, is_unclear, point_of, seconds_of, share_of
from ingest.migration.ga4.tables import NotOfDays, Table
from ingest.migration.ga4.words import is_grand_sum, is_sum
from ingest.migration.members import PARQUET, Member
from ingest.migration.totals import Counted, DayRow, Total, count_of


def _source(text: str) -> str:
    return names.source_of(text.partition(" / ")[0]).source


# Of each column that names something: the dimension, and how its values are written here.
_DIMENSIONS: dict[str, tuple[str, Callable[[str], str]]] = {
    "Page path": ("page", page_of),
    "Landing page": ("entry_page", page_of),
    "Session source": ("source", _source),
    "Session source / medium": ("source", _source),
    "Session default channel group": ("channel", names.known),
    "Session campaign": ("campaign", names.campaign_of),
    "Country": ("country", country_code),
    "Region": ("region", names.known),
    "City": ("city", names.known),
    "Device category": ("device", lambda text: names.device_of(text) or names.known(text)),
    "Browser": ("browser", names.browser_of),
    "Operating system": ("os", names.system_of),
    "Event name": ("event", names.named),
}
_NEED_VALUE = frozenset(("campaign", "event"))
_VISITORS, _VISITS = ("Total users", "Active users", "Users"), ("Sessions",)
_VIEWS, _EVENTS = ("Views",), ("Event count",)
_ENGAGED, _DURATION, _BOUNCES = "Engaged sessions", "Average session duration", "Bounces"
_SHARES = ("Bounce rate", "Engagement rate")
_MOST = 10**15
# Of each number of a day: the columns that it is made of, one of each.
_NEEDED = {
    "visitors": (_VISITORS,), "visits": (_VISITS,), "bounces": (_VISITS, (_BOUNCES, _ENGAGED, *_SHARES)),
    "duration_ms": (_VISITS, (_DURATION,)), "pageviews": (_VIEWS,), "events": (_EVENTS,),
}  # fmt: skip
_METRICS = (*_VISITORS, *_VISITS, *_VIEWS, *_EVENTS, _ENGAGED, _DURATION, _BOUNCES, *_SHARES)
_DATE, _NTH = "Date", "Nth day"
_FINER = ("Hour", "Date + hour")  # parts of a day, in which visitors come again
_KNOWN = frozenset((*_METRICS, *_DIMENSIONS, _DATE, _NTH))
_LOOKED_AT = 5_000  # rows
_LONGEST_PAGE = 10_000  # rows of a download
_ABSENT = ("", "-", "\u2013", "\u2014")


def is_report(member: Member) -> bool:
    """Return whether a file is such a table or answer, and has no events."""
    if member.begins(4) == PARQUET:
        return False
    return member.first_byte() not in (b"{", b"[") or tables.is_answer(member)


def read(members: Sequence[Member], _site: str, _theirs: str, tell: Tell) -> Iterator[Counted]:
    """Yield what each row of the reports says. Raises ImportFailed where a file is none, or none of it is of days."""
    file, pages = 0, tables.Pages(tell)
    for member in members:
        found, left = tables.tables(member, {*_METRICS}, tell), ""
        for table in found:
            try:
                of = _read_as(table)
            except NotOfDays as error:
                if len(found) == 1:
                    raise ImportFailed(str(error)) from error
                left = str(error)
                tell(f"{error}; this table of the file is not read")
            else:
                file -= pages.goes_on(table, _keys(table, of))
                again = 0
                for row in _rows(table, of, tell):
                    if isinstance(row, Total):
                        again = row.file  # what was put below with a header of its own is a file for itself
                        yield row._replace(file=file + again)
                    else:
                        yield row
                file += again + 1
        if left and not file:
            raise ImportFailed(left)
    pages.end()


def _keys(table: Table, of: _Of) -> set[int]:
    """Return what stands for the rows of an answer, or of a download by day and one thing, of a range that it tells; {}
    of others.

    Answers have each value in one spelling. In downloads it is the day and the value that are counted, for a
    spreadsheet may have written them otherwise."""
    if not table.in_all and not (table.first and of.column and of.named):
        return set()
    found = set[int]()
    for number, row in enumerate(table.rows({*table.names}, lambda _: None)):
        if isinstance(row, Row) and table.in_all:
            found.add(hash((row.get(of.column), row.get(of.named))))
        elif isinstance(row, Row):
            total = _total(row, of)
            if row.again or number >= _LONGEST_PAGE:
                return set()
            if isinstance(total, Total):
                found.add(hash((total.day, total.rows[0].value)))
    return found


def _read_as(table: Table) -> _Of:
    """Return how the rows of a table are to be read. Raises `NotOfDays` where they do not add up to days."""
    there = table.names
    named = [name for name in there if name in _DIMENSIONS]
    if "event_timestamp" in there:
        raise ImportFailed(f"{table.name}: BigQuery's events lose their parameters as CSV: export JSON or Parquet")
    if not any(name in _METRICS for name in there):
        what = ", ".join(there)[:200] or "nothing"
        raise NotOfDays(
            f"{table.name}: no report of Google Analytics with {', '.join(_METRICS)}: it has {what}; {tables.LANGUAGE}"
        )
    twice = next((name for name in (*_METRICS, *_DIMENSIONS, _DATE) if there.count(name) > 1), "")
    if twice:
        what = f"the column {twice!r} is there twice, as of two ranges or segments"
        raise NotOfDays(f"{table.name}: {what}: download it of one of them")
    if len(named) > 1:
        several = ", ".join(named)
        raise NotOfDays(f"{table.name}: download it with one of {several} beside Date, and again for others")
    column = tables.column_of_days(table, _KNOWN)
    _refuse_others(table, {*_KNOWN, column})
    return _Of(table, column, named)


def _rows(table: Table, of: _Of, tell: Tell) -> Iterator[Counted]:
    naming = [name for name in (of.column, of.named) if name]

    def key(row: Row) -> str:
        return "\0".join(row.get(name) for name in naming)

    rows = partial(table.rows, {*_KNOWN, of.column})
    for row in last_of_each(rows, key, tell) if naming else rows(tell):
        if isinstance(row, Left):
            found: Counted = row
        elif isinstance(row, Broken):
            cells = row.row.decode("utf-8", "replace").replace(";", ",").replace("\t", ",").split(",")
            found = Left(row.number, "grand_total") if any(map(is_grand_sum, cells)) else row
        else:
            found = _total(row, of)
        yield found


def _refuse_others(table: Table, known: set[str]) -> None:
    """Raise `NotOfDays` where rows are of something that is not known, so that they do not add up to days."""
    finer = [name for name in table.names if name in _FINER]
    if finer:
        raise NotOfDays(f"{table.name}: leave out the column {finer[0]!r}, for visitors of hours do not add up")
    with_text: set[str] = set()
    for row in itertools.islice(table.rows({*table.names}, lambda _: None), 50):
        if isinstance(row, Row) and not any(is_grand_sum(text or "") for text in row.values.values()):
            with_text |= {name for name, text in row.values.items() if not is_number(text or "")}
    others = [name for name in table.names if name in with_text - known]
    if others:
        which = ", ".join(sorted(_DIMENSIONS))
        raise NotOfDays(f"{table.name}: the column {others[0]!r} is none of {which}; {tables.LANGUAGE}")
    _refuse_split(table, known)


def _refuse_split(table: Table, known: set[str]) -> None:
    """Raise `NotOfDays` where a column of numbers before the metrics has a day several times."""
    first = next(place for place, name in enumerate(table.names) if name in _METRICS)
    others = [name for name in table.names[:first] if name and name not in known]
    by = [name for name in table.names[:first] if name in known]
    seen: dict[tuple[str, ...], str] = {}
    for row in itertools.islice(table.rows({*table.names}, lambda _: None), _LOOKED_AT if others and by else 0):
        if isinstance(row, Row):
            key = tuple(row.get(name) for name in by)
            if seen.setdefault(key, row.get(others[0])) != row.get(others[0]):
                raise NotOfDays(
                    f"{table.name}: leave out the column {others[0]!r}, by which {' and '.join(key)} is there several"
                    " times: visitors of its values do not add up"
                )


class _Of:
    """What the rows of a table are of. Raises `NotOfDays` where they are of several days together."""

    def __init__(self, table: Table, column: str, named: list[str]) -> None:
        self.column = column  # of days; "" where all rows are of one day
        self.first = day_of(table.first)
        self.day = None if column else tables.only_day(table)
        self.order = tables.order_of_days(table, column) if column else dates.DAY_FIRST
        if column == _NTH and self.first is None:
            raise NotOfDays(f"{table.name} has the column {_NTH}, and does not say from which day on")
        self.named = named[0] if named else ""
        self.dimension, self.ours = _DIMENSIONS[self.named] if named else ("", names.known)
        there = {*table.names}
        self.numbers = tuple(name for name in _METRICS if name in there)
        self._table = table
        self.metrics = tuple(metric for metric, needed in _NEEDED.items() if all(there & {*each} for each in needed))

    @cached_property
    def point(self) -> str:
        """Where the fraction of a duration begins."""
        return point_of(self._texts(_DURATION))

    @cached_property
    def percent(self) -> frozenset[str]:
        """The columns of shares that are percent."""
        in_percent = self._table.in_percent
        return frozenset(name for name in _SHARES if name in in_percent or are_percent(self._texts(name)))

    def _texts(self, name: str) -> Iterator[str]:
        rows = self._table.rows({*self._table.names}, lambda _: None) if name in self._table.names else iter(())
        return (row.get(name) for row in rows if isinstance(row, Row))

    def day_of(self, row: Row) -> date | None:
        """Return the day of a row; None where it says none."""
        if self.day is not None or self.column != _NTH:
            return self.day or day_of(row.get(self.column), self.order)
        nth = row.get(_NTH).strip()
        if self.first is None or not nth.isdecimal() or len(nth) > 5 or self.first.year + int(nth) // 365 > 2098:
            return None
        return self.first + timedelta(int(nth))


class _Count(NamedTuple):
    """What the columns of a row say, in which what is not there is 0."""

    numbers: dict[str, float]

    def of(self, *names: str) -> float:
        """Return the number of the first of these columns that has one."""
        return next((self.numbers[name] for name in names if name in self.numbers), 0)


def _numbers(row: Row, of: _Of) -> _Count | tuple[str, str]:
    """Return the numbers of a row, or the column and the text that is none."""
    found: dict[str, float] = {}
    for name in of.numbers:
        text = row.get(name).strip()
        if text in _ABSENT:
            continue
        if name == _DURATION:
            number = seconds_of(text, of.point if is_unclear(text) else "")
        else:
            number = share_of(text, name in of.percent) if name in _SHARES else count_of(text)
        if number is None or number >= _MOST:
            return name, row.get(name)
        found[name] = number
    return _Count(found)


def _bounces(visits: int, count: _Count) -> int:
    there = count.numbers
    if _BOUNCES in there:
        return round(there[_BOUNCES])
    if _ENGAGED in there:
        return max(visits - round(there[_ENGAGED]), 0)
    if _SHARES[0] in there:
        return round(visits * there[_SHARES[0]])
    return max(visits - round(visits * there[_SHARES[1]]), 0) if _SHARES[1] in there else 0


def _total(row: Row, of: _Of) -> Counted:
    if any(is_grand_sum(text or "") for text in row.values.values()) or (of.column and is_sum(row.get(of.column))):
        return Left(row.number, "grand_total")
    if of.column and not names.known(row.get(of.column)):
        return Left(row.number, "not_set")
    its_day = of.day_of(row)
    if its_day is None:
        why = f"the column {of.column!r} has {row.get(of.column)!r}, no day such as 20240501"
        return Broken(row.number, row.raw, why)
    count = _numbers(row, of)
    if not isinstance(count, _Count):
        return Broken(row.number, row.raw, f"the column {count[0]!r} has {count[1]!r}, no count")
    visits = round(count.of(*_VISITS))
    found = DayRow(
        of.dimension,
        of.ours(row.get(of.named).strip()) if of.named else "",
        round(count.of(*_VISITORS)),
        visits,
        _bounces(visits, count),
        round(min(count.of(_DURATION) * visits, _MOST) * 1000),
        round(count.of(*_VIEWS)),
        round(count.of(*_EVENTS)),
    )
    if of.dimension in _NEED_VALUE and not found.value:
        return Left(row.number, "not_set")
    rows = [found] if of.dimension else [found, DayRow("", "events", pageviews=found.pageviews, events=found.events)]
    part = f"report of {of.dimension or 'days'}"
    return Total(row.number, part, its_day, rows, row.again, of.metrics)
