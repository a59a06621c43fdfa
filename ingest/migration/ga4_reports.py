"""Google Analytics 4: reports and explorations that were downloaded as CSV or TSV, with totals of days by one thing.

A report is of a day where it has the column `Date` or `Nth day`, or where it is of one day only, as the lines above it
say; a file may have several, each under lines of its own. Google rounds and leaves out what is rare; where the BigQuery
export is linked, that has the events themselves.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

from activity.url import normal_path
from ingest.logs.files import ImportFailed
from ingest.migration.export import Broken, Left, Row, Tell, csv_rows, header
from ingest.migration.ga4 import BROWSERS, DEVICES, SYSTEMS, country_code
from ingest.migration.members import PARQUET, Member
from ingest.migration.totals import Counted, DayRow, Total, count_of, day_of

_UNKNOWN = ("(not set)", "(none)", "(direct)", "(other)", "")


def _page(text: str) -> str:
    if text in ("(not set)", "(other)"):
        return ""
    return normal_path(text.partition("?")[0] or "/")


def _country(text: str) -> str:
    return country_code(text)


def _source(text: str) -> str:
    source = text.partition(" / ")[0]
    return "" if source in _UNKNOWN else source


def _plain(text: str) -> str:
    return "" if text in _UNKNOWN else text


# Of each column that names something: the dimension, and how its values are written here.
_DIMENSIONS: dict[str, tuple[str, Callable[[str], str]]] = {
    **dict.fromkeys(("Page path and screen class", "Page path", "Page path + query string"), ("page", _page)),
    **dict.fromkeys(("Landing page", "Landing page + query string"), ("entry_page", _page)),
    **dict.fromkeys(("Session source", "Source", "Session source / medium", "Source / medium"), ("source", _source)),
    **dict.fromkeys(
        ("Session default channel group", "Default channel group", "Session primary channel group"),
        ("channel", _plain),
    ),
    **dict.fromkeys(("Session campaign", "Campaign"), ("campaign", _plain)),
    "Country": ("country", _country),
    "Region": ("region", _plain),
    "City": ("city", _plain),
    "Device category": ("device", lambda text: DEVICES.get(text, _plain(text))),
    "Browser": ("browser", lambda text: BROWSERS.get(text, _plain(text))),
    "Operating system": ("os", lambda text: SYSTEMS.get(text, _plain(text))),
    "Event name": ("event", _plain),
}
_NEED_VALUE = frozenset(("campaign", "event"))
_VISITORS, _VISITS = ("Total users", "Active users", "Users"), ("Sessions",)
_VIEWS = ("Views", "Screen page views", "Pageviews")
_EVENTS, _ENGAGED, _DURATION = ("Event count",), ("Engaged sessions",), ("Average session duration",)
_MOST = 10**15
# Of each number of a day: the columns that it is made of.
_NEEDED = {
    "visitors": (_VISITORS,), "visits": (_VISITS,), "bounces": (_VISITS, _ENGAGED),
    "duration_ms": (_VISITS, _DURATION), "pageviews": (_VIEWS,), "events": (_EVENTS,),
}  # fmt: skip
_METRICS = (*_VISITORS, *_VISITS, *_VIEWS, *_EVENTS, *_ENGAGED, *_DURATION)
_DATE, _NTH = "Date", "Nth day"
# Parts of a day, in which visitors come again.
_FINER = ("Hour", "Date + hour (YYYYMMDDHH)", "Date hour and minute (YYYYMMDDHHMM)", "Nth hour", "Nth minute", "Minute")
_OURS = {re.sub(r"\W", "", name).lower(): name for name in (*_METRICS, *_DIMENSIONS, _DATE, _NTH, *_FINER)}
_LANGUAGE = "names are read in English: set the language of Google Analytics to it, and download it again"
_RANGE = re.compile(rb"(\d{8})(?:\s*-\s*(\d{8}))?\s*$")
_NUMBER = re.compile(r"-?[\d.,\s%:\u00a0\u202f'$\u20ac\u00a3]*")
_SUMS = ("", "total", "totals")
_ABSENT = ("", "-", "\u2013", "\u2014")
_DAYS = ("%b %d, %Y", "%B %d, %Y", "%d %b %Y", "%d %B %Y")


class _Table(NamedTuple):
    """One of the tables of a file, and the first and last day that the lines above it say; "" where none does."""

    member: Member
    first: str
    last: str


def is_report(member: Member) -> bool:
    """Return whether a file is such a table, and no JSON or Parquet."""
    return member.begins(4) != PARQUET and member.first_byte() not in (b"{", b"[")


def read(members: Sequence[Member], _site: str, _theirs: str, tell: Tell) -> Iterator[Counted]:
    """Yield what each row of the reports says. Raises ImportFailed where a file is none, or none of it is of days."""
    file = 0
    for member in members:
        tables, left = _tables(member), ""
        for table in tables:
            try:
                yield from _rows(table, file, tell)
            except _NotOfDays as error:
                if len(tables) == 1:
                    raise ImportFailed(str(error)) from error
                left = str(error)
                tell(f"{error}; this table of the file is not read")
            else:
                file += 1
        if left and not file:
            raise ImportFailed(left)


class _NotOfDays(Exception):
    """A table that is of several days together: in words."""


def _tables(member: Member) -> list[_Table]:
    """Return the tables of a file: each begins with comments, of which all but the first stand below an empty line."""
    begins, empty = [0], False  # the lines where tables begin, and whether the line before is empty
    said: list[list[bytes]] = [[]]
    last, row_seen = 0, False
    for number, line in enumerate(member.lines()):
        if line.startswith(b"#"):
            if row_seen and empty:
                begins.append(number)
                said.append([])
                row_seen = False
            said[-1] += [] if row_seen else [day for match in _RANGE.findall(line) for day in match if day]
        elif line.strip():
            row_seen = True
        empty, last = not line.strip(), number + 1
    if not row_seen and len(begins) > 1:  # comments at the end
        last = begins.pop()
        said.pop()
    ends = [*begins[1:], last]
    return [
        _Table(member._replace(first=begin, last=end), *_first_and_last(days))
        for begin, end, days in zip(begins, ends, said, strict=True)
    ]


def _first_and_last(days: list[bytes]) -> tuple[str, str]:
    found = [day.decode() for day in days if day_of(day.decode())]
    return (found[0], found[1]) if len(found) > 1 else (found[0], found[0]) if found else ("", "")


def _canonical(name: str) -> str:
    """Return a column's name as reports have it, for "sessions", "totalUsers" and "screenPageViews", too."""
    return _OURS.get(re.sub(r"\W", "", name).lower(), name)


def _rows(table: _Table, file: int, tell: Tell) -> Iterator[Counted]:
    member = table.member
    names = header(member, above=b"#", canonical=_canonical)
    named = [name for name in names if name in _DIMENSIONS]
    if "event_timestamp" in names:
        raise ImportFailed(f"{member.name}: BigQuery's events lose their parameters as CSV: export JSON or Parquet")
    if not any(name in _METRICS for name in names):
        there = ", ".join(names)[:200] or "nothing"
        raise ImportFailed(
            f"{member.name}: no report of Google Analytics with {', '.join(_METRICS)}: it has {there}; {_LANGUAGE}"
        )
    if len(named) > 1:
        several = ", ".join(named)
        raise ImportFailed(f"{member.name}: download it with one of {several} beside Date, and again for others")
    _refuse_others(member, names)
    day = None if {_DATE, _NTH} & {*names} else _only_day(table)
    if _NTH in names and _DATE not in names and not table.first:
        raise _NotOfDays(f"{member.name} has the column {_NTH}, and does not say from which day on")
    dimension, ours = _DIMENSIONS[named[0]] if named else ("", _plain)
    metrics = tuple(metric for metric, needed in _NEEDED.items() if all({*names} & {*each} for each in needed))
    known = (*_METRICS, *_DIMENSIONS, _DATE, _NTH)
    for row in csv_rows(member, names[:1], known, tell, above=b"#", canonical=_canonical):
        if isinstance(row, Broken):
            found: Counted = Left(row.number, "grand_total") if b"grand total" in row.row.lower() else row
        else:
            found = _total(row, _Of(day, table.first, dimension, named, ours))
        yield found._replace(file=file, metrics=metrics) if isinstance(found, Total) else found


def _refuse_others(member: Member, names: list[str]) -> None:
    """Raise ImportFailed where rows are of something that is not known, so that they do not add up to days."""
    finer = [name for name in names if name in _FINER]
    if finer:
        raise ImportFailed(f"{member.name}: leave out the column {finer[0]!r}, for visitors of hours do not add up")
    known = {*_METRICS, *_DIMENSIONS, _DATE, _NTH}
    with_text: set[str] = set()
    rows = csv_rows(member, (), names, lambda _: None, above=b"#", canonical=_canonical)
    for row in itertools.islice(rows, 50):
        if isinstance(row, Row):
            is_sum = any((text or "").lower() == "grand total" for text in row.values.values())
            with_text |= {name for name, text in row.values.items() if not is_sum and not _NUMBER.fullmatch(text or "")}
    others = [name for name in names if name in with_text - known]
    if others:
        which = ", ".join(sorted(_DIMENSIONS))
        raise ImportFailed(f"{member.name}: the column {others[0]!r} is none of {which}; {_LANGUAGE}")


def _only_day(table: _Table) -> date:
    """Return the day of a report that is of one day. Raises `_NotOfDays` for one of several."""
    day, name = day_of(table.first), table.member.name
    if day is None or table.first != table.last:
        which = f"is of {table.first} to {table.last}" if table.first else "does not say of which day it is"
        raise _NotOfDays(
            f"{name} {which}: download it with the column Date (an exploration has it), or of one day at a time"
        )
    return day


class _Of(NamedTuple):
    """What the rows of a table are of."""

    day: date | None
    first: str
    dimension: str
    named: list[str]
    ours: Callable[[str], str]


def _day(row: Row, of: _Of) -> date | None:
    text = row.get(_DATE).strip()
    if not text and row.get(_NTH).strip().isdecimal() and (first := day_of(of.first)):
        nth = row.get(_NTH).strip()
        return first + timedelta(int(nth)) if len(nth) < 6 and first.year + int(nth) // 365 < 2099 else None
    if found := day_of(text):
        return found
    for form in _DAYS:
        try:
            return datetime.strptime(text, form).date()  # noqa: DTZ007 - a day
        except ValueError:
            continue
    return None


def _seconds(text: str) -> float | None:
    """Return a duration, of "90.5", "90,5", "1,234.5" or "00:01:30"; None where it is none."""
    hours = re.fullmatch(r"(\d{1,4}):(\d\d):(\d\d(?:\.\d+)?)", text)
    if hours:
        return int(hours[1]) * 3600 + int(hours[2]) * 60 + float(hours[3])
    plain = text.replace(",", "") if "." in text else text.replace(",", ".")
    try:
        found = float(plain)
    except ValueError:
        return None
    return found if 0 <= found < _MOST else None


def _total(row: Row, of: _Of) -> Counted:
    texts = [text.strip().lower() for text in row.values.values() if text]
    if "grand total" in texts or (of.day is None and row.get(_DATE, _NTH).strip().lower() in _SUMS):
        return Left(row.number, "grand_total")
    its_day = of.day or _day(row, of)
    if its_day is None:
        told = row.get(_DATE, _NTH)
        return Broken(row.number, row.raw, f"the column 'Date' has {told!r}, no day such as 20240501")
    numbers: dict[str, float] = {}
    for name in _METRICS:
        text = row.get(name).strip()
        text = "0" if text in _ABSENT else text
        number = _seconds(text) if name in _DURATION else count_of(text)
        if number is None or number >= _MOST:
            return Broken(row.number, row.raw, f"the column {name!r} has {row.get(name)!r}, no count")
        numbers[name] = number

    def count(names: Sequence[str]) -> int:
        return round(next((numbers[name] for name in names if row.get(name).strip() not in _ABSENT), 0))

    visits = count(_VISITS)
    bounces = max(visits - count(_ENGAGED), 0) if row.get(*_ENGAGED) else 0
    found = DayRow(
        of.dimension,
        of.ours(row.get(of.named[0])) if of.named else "",
        count(_VISITORS),
        visits,
        bounces,
        round(min(numbers[_DURATION[0]] * visits, _MOST) * 1000),
        count(_VIEWS),
        count(_EVENTS),
    )
    if of.dimension in _NEED_VALUE and not found.value:
        return Left(row.number, "not_set")
    part = f"report of {of.dimension or 'days'}"
    if of.dimension:
        return Total(row.number, part, its_day, [found])
    happened = DayRow("", "events", pageviews=found.pageviews, events=found.events)
    return Total(row.number, part, its_day, [found, happened])
