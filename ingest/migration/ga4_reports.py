"""Google Analytics 4: reports and explorations that were downloaded as CSV, with the totals of days by one thing.

A report is of a day where it has the column `Date`, or where it is of one day only, as the lines above it say. Google
rounds and leaves out what is rare; where the BigQuery export is linked, that has the events themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date

from activity.url import normal_path
from ingest.logs.files import ImportFailed
from ingest.migration.export import Broken, Left, Member, Row, Tell, csv_rows, first_byte, header
from ingest.migration.ga4 import BROWSERS, DEVICES, SYSTEMS, codes
from ingest.migration.totals import Counted, DayRow, Total, day_of

_UNKNOWN = ("(not set)", "(none)", "(direct)", "(other)", "")


def _page(text: str) -> str:
    return normal_path(text.partition("?")[0] or "/")


def _country(text: str) -> str:
    return codes().get(text.lower(), "")


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
_VISITORS, _VISITS, _VIEWS = ("Total users", "Active users", "Users"), ("Sessions",), ("Views", "Screen page views")
_EVENTS, _ENGAGED, _DURATION = ("Event count",), ("Engaged sessions",), ("Average session duration",)
_MOST = 10**15
# Of each number of a day: the columns that it is made of.
_NEEDED = {
    "visitors": (_VISITORS,), "visits": (_VISITS,), "bounces": (_VISITS, _ENGAGED),
    "duration_ms": (_VISITS, _DURATION), "pageviews": (_VIEWS,), "events": (_EVENTS,),
}  # fmt: skip
_METRICS = (*_VISITORS, *_VISITS, *_VIEWS, *_EVENTS, *_ENGAGED, *_DURATION)


def is_report(member: Member) -> bool:
    """Return whether a file is such a CSV, and no JSON."""
    return first_byte(member) not in (b"{", b"[")


def read(members: Sequence[Member], _site: str, _theirs: str, tell: Tell) -> Iterator[Counted]:
    """Yield what each row of the reports says. Raises ImportFailed where a file is none, or not of days."""
    for file, member in enumerate(members):
        names = header(member, above=b"#")
        named = [name for name in names if name in _DIMENSIONS]
        if not any(name in _METRICS for name in names):
            there = ", ".join(names)[:200] or "nothing"
            raise ImportFailed(
                f"{member.name}: no report of Google Analytics with {', '.join(_METRICS)}: it has {there}"
            )
        if len(named) > 1:
            several = ", ".join(named)
            raise ImportFailed(f"{member.name}: download it with one of {several} beside Date, and again for others")
        day = None if "Date" in names else _only_day(member)
        dimension, ours = _DIMENSIONS[named[0]] if named else ("", _plain)
        metrics = tuple(metric for metric, needed in _NEEDED.items() if all({*names} & {*each} for each in needed))
        for row in csv_rows(member, names[:1], (*_METRICS, *_DIMENSIONS, "Date"), tell, above=b"#"):
            found = row if isinstance(row, Broken) else _total(row, day, dimension, named, ours)
            yield found._replace(file=file, metrics=metrics) if isinstance(found, Total) else found


def _only_day(member: Member) -> date:
    """Return the day of a report that is of one day. Raises ImportFailed for one of several."""
    said: dict[bytes, bytes] = {}
    for line in member.lines():
        if not line.startswith(b"#"):
            break
        name, _, value = line.strip(b"# \r\n").partition(b": ")
        said[name.lower()] = value
    first, last = (said.get(name, b"").decode("utf-8", "replace") for name in (b"start date", b"end date"))
    day = day_of(first)
    if day is None or first != last:
        which = f"is of {first} to {last}" if first and last else "does not say of which day it is"
        raise ImportFailed(
            f"{member.name} {which}: download it with the column Date (an exploration has it), or of one day at a time"
        )
    return day


def _total(row: Row, day: date | None, dimension: str, named: list[str], ours: Callable[[str], str]) -> Counted:
    if day is None and row.get("Date").strip().lower() in ("", "grand total"):
        return Left(row.number, "grand_total")
    its_day = day or day_of(row.get("Date").strip())
    if its_day is None:
        return Broken(row.number, row.raw, f"the column 'Date' has {row.get('Date')!r}, no day such as 20240501")
    numbers: dict[str, float] = {}
    for name in _METRICS:
        try:
            numbers[name] = float(row.get(name) or 0)
        except ValueError:
            numbers[name] = -1
        if not 0 <= numbers[name] < _MOST:
            return Broken(row.number, row.raw, f"the column {name!r} has {row.get(name)!r}, no count")

    def count(names: Sequence[str]) -> int:
        return round(next((numbers[name] for name in names if row.get(name)), 0))

    visits = count(_VISITS)
    bounces = max(visits - count(_ENGAGED), 0) if row.get(*_ENGAGED) else 0
    found = DayRow(
        dimension,
        ours(row.get(named[0])) if named else "",
        count(_VISITORS),
        visits,
        bounces,
        round(min(numbers[_DURATION[0]] * visits, _MOST) * 1000),
        count(_VIEWS),
        count(_EVENTS),
    )
    if dimension in _NEED_VALUE and not found.value:
        return Left(row.number, "not_set")
    part = f"report of {dimension or 'days'}"
    if dimension:
        return Total(row.number, part, its_day, [found])
    happened = DayRow("", "events", pageviews=found.pageviews, events=found.events)
    return Total(row.number, part, its_day, [found, happened])
