"""Plausible's exports: zips of CSV files. That of the settings has the totals of days by one thing in each; that of
the dashboard has the days themselves in `visitors.csv`, and lists of the whole time beside it.

There are no events in them, so days are added to the numbers as they are. Each file is a part that is replaced day by
day.
"""

from __future__ import annotations

import itertools
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import partial
from pathlib import PurePath

from activity.attribution import origin
from ingest.logs.files import ImportFailed
from ingest.migration import names
from ingest.migration.address import host_of_referrer, page_of
from ingest.migration.dates import day_of
from ingest.migration.export import Broken, Left, Row, Tell, csv_rows, header, last_of_each, order_in
from ingest.migration.members import Member
from ingest.migration.totals import Counted, DayRow, Total, count_of

_NAME = re.compile(r"(imported_[a-z_]*[a-z])(?![a-z])")
_DASHBOARD = "visitors.csv"
_OF_DAYS = ("imported_visitors", _DASHBOARD)  # which have one row a day
_NOTHING = ("", "\\n", "null")
_NUMBERS = ("visitors", "visits", "entrances", "exits", "visit_duration", "bounces", "pageviews", "events")
_UTM = ("utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term")
# The columns by which each row of a file is another one.
_NAMING = (
    "date", "hostname", "page", "entry_page", "exit_page", "source", "channel", "referrer", *_UTM, "country", "region",
    "city", "device", "browser", "browser_version", "operating_system", "operating_system_version", "name", "link_url",
    "path",
)  # fmt: skip
_UNKNOWN_CITY = ("", "0")
_LOOKED_AT = 1_000  # rows
_OF_SECOND = re.compile(r"(?<=\d)\.(?:\d{1,2}|\d{4,})$")  # a part of one; three digits would be thousands
_MOST = 10**15

Numbers = dict[str, int]


def read(members: Sequence[Member], _site: str, _theirs: str, tell: Tell, file: int = 0) -> Iterator[Counted]:
    """Yield what each row says; `file` is the place of the first file. Raises ImportFailed where none is of it."""
    parts = [_part(member) for member in members]
    if not any(part in _PARTS for part in parts):
        names = ", ".join(member.name for member in members[:5])
        raise ImportFailed(
            f"{names} is no file of Plausible's export, which is named such as"
            f" imported_visitors_20230209_20240123.csv; there are {', '.join(_PARTS)}. Of a server of your own, the"
            " table events_v2 of ClickHouse is read with FORMAT CSVWithNames, TSVWithNames, JSONEachRow or Parquet"
        )
    for member, part in zip(members, parts, strict=True):
        if part not in _PARTS:
            which = "is of all days together" if _DASHBOARD in parts else "is not known"
            tell(f"{member.name} {which}, and not read")
            continue
        columns, known, rows_of = _PARTS[part]
        order = order_in(member, "date", str.lower)
        if part == _DASHBOARD:
            _check_days(member, order, tell)
        again = 0
        rows = partial(csv_rows, member, ("date", "visitors", *columns), (*_NUMBERS, *known), canonical=str.lower)
        for row in last_of_each(rows, _key, tell) if part in _OF_DAYS else _of_list(rows, order, tell):
            if not isinstance(row, Row):
                yield row
            else:
                again = row.again  # what was put below with a header of its own is a file for itself
                yield _total(row, part, file + again, order, rows_of)
        file += again + 1


def _of_list(rows: Callable[[Tell], Iterator[Row | Broken]], order: str, tell: Tell) -> Iterator[Row | Broken | Left]:
    """Yield the rows of a list, of which those of one day and value are parts that add up.

    A day of which all rows come again below each other was put there twice, and the last of them count. Where days
    come again behind others, several exports were put one below the other, of which the last counts."""
    repeated = _repeated(rows, order)
    if repeated is None:
        yield from last_of_each(rows, _key, tell)
        return
    for row in rows(tell):
        if repeated and isinstance(row, Row) and (where := _where(row, order)) in repeated:
            repeated[where] -= 1
            if not repeated[where]:
                del repeated[where]
            yield Left(row.number, "repeated")
        else:
            yield row


def _where(row: Row, order: str) -> tuple[int, date | None]:
    return row.again, day_of(row.get("date"), order)


def _repeated(rows: Callable[[Tell], Iterator[Row | Broken]], order: str) -> dict[tuple[int, date | None], int] | None:
    """Return of each day whose rows come again how many of them are before the last; None if days are in two places."""
    seen, found = set[tuple[int, date | None]](), dict[tuple[int, date | None], int]()
    with_day = (row for row in rows(lambda _: None) if isinstance(row, Row) and day_of(row.get("date"), order))
    for where, of_day in itertools.groupby(with_day, lambda row: _where(row, order)):
        if where in seen:
            return None
        seen.add(where)
        keys, raws = array("q"), set[bytes]()
        for row in of_day:
            keys.append(hash(_key(row)))
            if len(raws) < 2:
                raws.add(row.raw.strip())
        # Rows of a single value are parts of it, unless nothing tells them apart.
        period = _period(keys)
        if period < len(keys) and (period > 1 or len(raws) == 1):
            found[where] = len(keys) - period
    return found


def _period(keys: Sequence[int]) -> int:
    """Return how many keys come again and again in the same order to the end; all of them if none do."""
    count = len(keys)
    found = (size for size in range(1, count // 2 + 1) if count % size == 0 and keys[size] == keys[0])
    return next((size for size in found if keys[size:] == keys[:-size]), count)


def _key(row: Row) -> str:
    return "\0".join(row.get(name) for name in _NAMING if name in row.values)


def _part(member: Member) -> str:
    name = PurePath(member.name).name
    if match := _NAME.search(name):
        return match[1]
    there = {*header(member, canonical=str.lower)}
    if not {"date", "visitors"} <= there:
        return name
    if {"pageviews", "bounce_rate"} <= there:
        return _DASHBOARD
    # A file that was given another name is known by its columns.
    return next((part for part in _BY_COLUMNS if {*_PARTS[part][0]} <= there), name)


def _check_days(member: Member, order: str, tell: Tell) -> None:
    """Raise ImportFailed where the rows of a dashboard's export are no days: it has hours, weeks or months, too."""
    rows = csv_rows(member, ("date",), header(member, canonical=str.lower), tell, canonical=str.lower)
    texts = [row.get("date") for row in itertools.islice(rows, _LOOKED_AT) if not isinstance(row, Broken)]
    if any(":" in text and day_of(text, order) is None for text in texts):
        raise ImportFailed(f"{member.name} is of hours, in which visitors come again: export it by day")
    days = sorted(day for text in texts if (day := day_of(text, order)))
    if len(days) < 2 or not are_days(days):
        raise ImportFailed(f"{member.name} is of weeks or months: choose several days, and export it by day")


def are_days(days: list[date]) -> bool:
    """Return whether these are days, of which a hand may have left some out, and neither weeks nor months."""
    steps = [(two - one).days for one, two in itertools.pairwise(days) if two != one]
    return steps.count(1) * 2 >= len(steps) > 0


def _total(row: Row, part: str, file: int, order: str, rows_of: Callable[[Row, Numbers], list[DayRow]]) -> Counted:
    day = day_of(row.get("date"), order)
    if day is None:
        return Broken(row.number, row.raw, f"the column 'date' has {row.get('date')!r}, no day such as 2024-05-01")
    numbers: Numbers = {}
    for name in _NUMBERS:
        text = row.get(name)
        whole = _OF_SECOND.sub("", text) if name == "visit_duration" else text
        count = 0 if text.lower() in _NOTHING else count_of(whole)
        if count is None:
            return Broken(row.number, row.raw, f"the column {name!r} has {text!r}, no count")
        numbers[name] = count
    if part == "imported_custom_events" and row.get("name") == "engagement":  # sent by the tag itself
        return Left(row.number, "automatic")
    if part == "imported_custom_events" and not names.named(row.get("name").strip()):
        return Left(row.number, "not_set")
    if part == _DASHBOARD:
        part = "imported_visitors"
        try:
            text = row.get("bounce_rate")
            share = 0 if text.lower() in _NOTHING else float(text.replace(",", ".").rstrip(" %\u00a0"))
            numbers["bounces"] = round(share * numbers["visits"] / 100)
        except (ValueError, OverflowError):
            share = -1
        if not 0 <= share <= 100:
            return Broken(row.number, row.raw, f"the column 'bounce_rate' has {row.get('bounce_rate')!r}, no share")
        numbers["visit_duration"] = min(numbers["visit_duration"] * numbers["visits"], _MOST)  # it is the mean
    return Total(row.number, part, day, rows_of(row, numbers), file)


def _visitors(_: Row, numbers: Numbers) -> list[DayRow]:
    views = numbers["pageviews"]
    return [_day_row("", "", numbers), DayRow("", "events", pageviews=views, events=views)]


def _day_row(dimension: str, value: str, numbers: Numbers) -> DayRow:
    return DayRow(
        dimension,
        value,
        numbers["visitors"],
        numbers["visits"] or numbers["entrances"] or numbers["exits"],
        numbers["bounces"],
        numbers["visit_duration"] * 1000,
        numbers["pageviews"],
        numbers["pageviews"],
    )


def _page(dimension: str) -> Callable[[Row, Numbers], list[DayRow]]:
    return _one(dimension, dimension, page_of)


def _one_page(row: Row, numbers: Numbers) -> list[DayRow]:
    """A row of a page, of which the exits are no visits: other pages were left by the same."""
    return [_day_row("page", page_of(row.get("page")), numbers | {"exits": 0})]


def _one(dimension: str, column: str, ours: Callable[[str], str]) -> Callable[[Row, Numbers], list[DayRow]]:
    return lambda row, numbers: [_day_row(dimension, ours(row.get(column).strip()), numbers)]


def device_of(text: str) -> str:
    """Return a kind of device; one that is none of ours by Plausible's name."""
    return names.device_of(text) or names.known(text)


def _sources(row: Row, numbers: Numbers) -> list[DayRow]:
    """Rows of source and channel as an event with this referrer and these tags would have them, and of the tags."""
    tags = {name: row.get(name) for name in _UTM if row.get(name)}
    came = origin(tags, host_of_referrer(row.get("referrer")))
    if not came.source and names.source_of(row.get("source")).source:
        came = origin({"utm_source": row.get("source")} | tags, "")
    found = [_day_row("source", came.source, numbers), _day_row("channel", came.channel, numbers)]
    named = {"campaign" if name == "utm_campaign" else name: value for name, value in tags.items()}
    return found + [_day_row(name, value, numbers) for name, value in named.items()]


def _places(row: Row, numbers: Numbers) -> list[DayRow]:
    """Rows of country and region; a city is a number of GeoNames, unless it is a name."""
    country = names.country_of(row.get("country"))
    region, city = names.region_of(row.get("region"), country), names.known(row.get("city"))
    found = [_day_row("country", country, numbers), _day_row("region", region, numbers)]
    return found if city in _UNKNOWN_CITY or city.isdigit() else [*found, _day_row("city", city, numbers)]


def _events(row: Row, numbers: Numbers) -> list[DayRow]:
    visitors, events, name = numbers["visitors"], numbers["events"], row.get("name").strip()
    dimension, value = {
        "Outbound Link: Click": ("outbound", row.get("link_url")),
        "File Download": ("download", row.get("link_url")),
        "404": ("not_found", page_of(row.get("path")) if row.get("path") else ""),
    }.get(name, ("event", ""))
    return [
        DayRow(dimension, value or name, visitors, events=events),
        DayRow("", "events", events=events),
    ]


# Of each file: the columns without which it says nothing, others that it may have, and what a row of it comes to.
_PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], Callable[[Row, Numbers], list[DayRow]]]] = {
    "imported_visitors": (("pageviews", "visits"), (), _visitors),
    _DASHBOARD: (("pageviews",), ("views_per_visit", "bounce_rate"), _visitors),
    "imported_pages": (
        ("page", "pageviews"),
        ("hostname", "total_scroll_depth", "total_scroll_depth_visits", "total_time_on_page",
         "total_time_on_page_visits", "exits", "time_on_page", "active_visitors"),
        _one_page,
    ),
    "imported_entry_pages": (("entry_page", "entrances"), (), _page("entry_page")),
    "imported_exit_pages": (("exit_page", "exits"), (), _page("exit_page")),
    "imported_sources": (("source",), ("referrer", "channel", *_UTM), _sources),
    "imported_locations": (("country",), ("region", "city"), _places),
    "imported_devices": (("device",), (), _one("device", "device", device_of)),
    "imported_browsers": (("browser",), ("browser_version",), _one("browser", "browser", names.browser_of)),
    "imported_operating_systems": (
        ("operating_system",), ("operating_system_version",), _one("os", "operating_system", names.system_of),
    ),
    "imported_custom_events": (("name", "events"), ("link_url", "path"), _events),
}  # fmt: skip
# Those that say of what they are by their columns come before those that have only numbers.
_BY_COLUMNS = (*(part for part in _PARTS if part not in _OF_DAYS), "imported_visitors")
