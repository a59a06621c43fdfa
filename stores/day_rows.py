"""How the rows of the day tables are made: the statements of `sql/query/rows`, with the spans of time that they take.

A statement counts all visitors, or some of them: those of `whose`. What a visitor did depends on nobody else, so the
rows of some visitors and those of all others add up to the rows of all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from activity.definitions import DAY_MS
from activity.zones import day_start_ms
from stores import clickhouse, filters

# The dimensions, by the statement that gives their rows; the dimension "" is all that happened.
STATEMENTS = {
    "visits": (
        *("", "entry_page", "exit_page", "source", "channel", "campaign", "country", "region", "city", "language"),
        *("device", "browser", "os", *filters.UTM),
    ),
    "events": ("page", "search", "event", "not_found", "outbound", "download"),
    "counts": ("",),
}
DIMENSIONS = tuple(dict.fromkeys(dimension for theirs in STATEMENTS.values() for dimension in theirs))

# What a day is built from, and how: a day that was built otherwise, by another version, is built again.
EDITION = 4

ROW = (
    "day, dimension, value, visitors, regulars, lasting, visits, bounces, duration_ms, engaged,"
    " engaged_ms, pageviews, searches, events,"
    " bots, without_results"
)
VISIT = (
    "visitor, session_id, started_at, began, again, lasts, is_bounce, is_engaged, duration_ms, visit_engaged_ms,"
    " visit_pageviews, visit_searches, visit_events, pageviews, searches, events, entry_page, exit_page, source,"
    " channel, campaign, country, region, city, language, device, browser, os, utm_source, utm_medium, utm_term,"
    " utm_content, `page.value`, `page.views`, `page.events`, `page.engaged_ms`, `search.value`, `search.events`,"
    " `search.nothing`, `event.value`, `event.events`, `not_found.value`, `not_found.events`, `outbound.value`,"
    " `outbound.events`, `download.value`, `download.events`, pages_elsewhere, searches_elsewhere,"
    " events_elsewhere, not_found_elsewhere, outbound_elsewhere, download_elsewhere, props"
)
_STEPS = {"kind": "UInt8", "value": "String", "event": "UInt32", "at": "Int64", "results": "Int64"}
WITH_STEPS = ", ".join(f"`step.{name}`" for name in _STEPS)
WITHOUT_STEPS = ", ".join(f"emptyArray{kind}() AS `step.{name}`" for name, kind in _STEPS.items())

ALL, CHANGED = "true", "visitor GLOBAL IN (SELECT visitor FROM changed_visitors)"

_DATES = 2**16
_EPOCH = date(1970, 1, 1)
_OF_SPANS = re.compile(r"\{(?=(?:dates|starts|bounds|days|visit_days|near_days):)")

Span = tuple[date, int, int]  # a day with its start and its end, or the part of it that is asked for (Unix ms)


def statement(name: str, whose: str = ALL) -> str:
    """A statement of `sql/query/rows` with the parts that it shares with others; `whose` is `ALL` or `CHANGED`."""
    asked = f"hasAny({{dimensions:Array(String)}}, {list(filters.UTM)})" if name in STATEMENTS else "true"
    utm = clickhouse.filled(clickhouse.rows("utm"), {"wanted": asked, "whose": whose})
    parts = {"utm": utm, "target": clickhouse.rows("target"), "whose": whose}
    return clickhouse.filled(clickhouse.rows(name), parts)


def spans(of: Sequence[Span]) -> dict[str, Any]:
    """The parameters of a statement: days with their starts and ends (ms), the gaps between, all UTC days."""
    utc = {day for _, begin, end in of for day in range(begin // DAY_MS, (end - 1) // DAY_MS + 1)}
    return {
        "dates": [day for day, _, _ in of],
        "starts": [begin for _, begin, _ in of],
        "bounds": sorted({0, *(at for _, begin, end in of for at in (begin, end))}),
        "days": _utc_dates(utc),
        "visit_days": _utc_dates(day - before for day in utc for before in range(3)),
        "near_days": _utc_dates(day + away for day in utc for away in range(-2, 3)),
    }


def apart(sql: str) -> str:
    """A statement whose spans have names of their own, so that it can stand beside one of other spans."""
    return _OF_SPANS.sub("{apart_", sql)


def apart_spans(of: Sequence[Span]) -> dict[str, Any]:
    """The parameters of a statement that stands apart."""
    return {f"apart_{name}": value for name, value in spans(of).items()}


def declared(sql: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a statement, which is put together from files, declares."""
    return {name: value for name, value in params.items() if f"{{{name}:" in sql}


def starts(days: Sequence[date], zone: str) -> list[int]:
    """When days of a time zone begin (Unix ms)."""
    return [day_start_ms(day, zone) for day in days]


def whole_day(day: date, zone: str) -> list[Span]:
    """The span of a day; none where clocks skip it."""
    begin, end = starts([day, day + timedelta(days=1)], zone)
    return [(day, begin, end)] if begin < end else []


def _utc_dates(days: Iterable[int]) -> list[date]:
    """Days since the epoch as dates, as the column `day` has them: its type begins anew when it is used up."""
    return [_EPOCH + timedelta(days=day) for day in sorted({day % _DATES for day in days if day >= 0})]
