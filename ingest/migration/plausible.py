"""Plausible's export: a zip of CSV files, each of which has the totals of days by one thing.

There are no events in it, so its days are added to the numbers as they are. Each file is a part that is replaced day
by day.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePath

from activity.attribution import origin, referrer_host
from activity.url import normal_path
from ingest.logs.files import ImportFailed
from ingest.migration.export import Broken, Member, Row, Tell, csv_rows
from ingest.migration.totals import Counted, DayRow, Total, day_of

_NAME = re.compile(r"(imported_[a-z_]+?)(?:_\d{8}_\d{8})?\.csv(?:\.gz)?")
_BROWSERS = {"Microsoft Edge": "Edge", "Samsung Browser": "Samsung Internet", "Internet Explorer": "IE"}
_SYSTEMS = {"Mac": "macOS", "GNU/Linux": "Linux"}
_DEVICES = {"Desktop": "desktop", "Laptop": "desktop", "Ultra-wide": "desktop", "Mobile": "mobile", "Tablet": "tablet"}
_NUMBERS = ("visitors", "visits", "entrances", "exits", "visit_duration", "bounces", "pageviews", "events")
_UTM = ("utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term")
_UNKNOWN_CITY = ("", "0")

Numbers = dict[str, int]


def read(members: Sequence[Member], _site: str, _theirs: str, tell: Tell) -> Iterator[Counted]:
    """Yield what each row of the export says. Raises ImportFailed where a file is none of it."""
    for file, member in enumerate(members):
        match = _NAME.fullmatch(PurePath(member.name).name)
        part = match[1] if match else ""
        if part not in _PARTS:
            raise ImportFailed(
                f"{member.name} is no file of Plausible's export, which is named such as"
                f" imported_visitors_20230209_20240123.csv; there are {', '.join(_PARTS)}"
            )
        columns, known, rows_of = _PARTS[part]
        for row in csv_rows(member, ("date", "visitors", *columns), (*_NUMBERS, *known), tell):
            yield row if isinstance(row, Broken) else _total(row, part, file, rows_of)


def _total(row: Row, part: str, file: int, rows_of: Callable[[Row, Numbers], list[DayRow]]) -> Counted:
    day = day_of(row.get("date"))
    if day is None:
        return Broken(row.number, row.raw, f"the column 'date' has {row.get('date')!r}, no day such as 2024-05-01")
    numbers: Numbers = {}
    for name in _NUMBERS:
        text = row.get(name) or "0"
        if not (text.isascii() and text.isdigit() and len(text) < 16):
            return Broken(row.number, row.raw, f"the column {name!r} has {text!r}, no count")
        numbers[name] = int(text)
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
    return lambda row, numbers: [_day_row(dimension, normal_path(row.get(dimension) or "/"), numbers)]


def _one(dimension: str, column: str, ours: dict[str, str]) -> Callable[[Row, Numbers], list[DayRow]]:
    def rows(row: Row, numbers: Numbers) -> list[DayRow]:
        value = row.get(column)
        return [_day_row(dimension, ours.get(value, value), numbers)]

    return rows


def _sources(row: Row, numbers: Numbers) -> list[DayRow]:
    """Rows of source and channel as an event with this referrer and these tags would have them, and of the tags."""
    tags = {name: row.get(name) for name in _UTM if row.get(name)}
    came = origin(tags, referrer_host(f"https://{row.get('referrer')}") if row.get("referrer") else "")
    if not came.source and row.get("source") not in ("", "Direct / None"):
        came = origin({"utm_source": row.get("source")} | tags, "")
    found = [_day_row("source", came.source, numbers), _day_row("channel", came.channel, numbers)]
    named = {"campaign" if name == "utm_campaign" else name: value for name, value in tags.items()}
    return found + [_day_row(name, value, numbers) for name, value in named.items()]


def _places(row: Row, numbers: Numbers) -> list[DayRow]:
    """Rows of country and region; a city is a number of GeoNames, unless it is a name."""
    found = [_day_row("country", row.get("country"), numbers), _day_row("region", row.get("region"), numbers)]
    city = row.get("city")
    return found if city in _UNKNOWN_CITY or city.isdigit() else [*found, _day_row("city", city, numbers)]


def _events(row: Row, numbers: Numbers) -> list[DayRow]:
    visitors, events = numbers["visitors"], numbers["events"]
    dimension, value = {
        "Outbound Link: Click": ("outbound", row.get("link_url")),
        "File Download": ("download", row.get("link_url")),
        "404": ("not_found", normal_path(row.get("path")) if row.get("path") else ""),
    }.get(row.get("name"), ("event", ""))
    return [
        DayRow(dimension, value or row.get("name"), visitors, events=events),
        DayRow("", "events", events=events),
    ]


# Of each file: the columns without which it says nothing, others that it may have, and what a row of it comes to.
_PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], Callable[[Row, Numbers], list[DayRow]]]] = {
    "imported_visitors": (("pageviews", "visits"), (), _visitors),
    "imported_pages": (
        ("page", "pageviews"),
        ("hostname", "total_scroll_depth", "total_scroll_depth_visits", "total_time_on_page",
         "total_time_on_page_visits", "exits", "time_on_page", "active_visitors"),
        _page("page"),
    ),
    "imported_entry_pages": (("entry_page", "entrances"), (), _page("entry_page")),
    "imported_exit_pages": (("exit_page", "exits"), (), _page("exit_page")),
    "imported_sources": (("source",), ("referrer", "channel", *_UTM), _sources),
    "imported_locations": (("country",), ("region", "city"), _places),
    "imported_devices": (("device",), (), _one("device", "device", _DEVICES)),
    "imported_browsers": (("browser",), ("browser_version",), _one("browser", "browser", _BROWSERS)),
    "imported_operating_systems": (
        ("operating_system",), ("operating_system_version",), _one("os", "operating_system", _SYSTEMS),
    ),
    "imported_custom_events": (("name", "events"), ("link_url", "path"), _events),
}  # fmt: skip
