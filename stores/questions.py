"""What a dashboard asks of the warehouse, in its own words: the SQL is in sql/query, one file a question.

Days are `YYYY-MM-DD` and both included, in a time zone of the IANA list. Rates lie between 0 and 1, durations
are seconds.
"""

from __future__ import annotations

from typing import Any, Protocol
from zoneinfo import available_timezones

import polars as pl

METRICS = (
    "visitors", "visits", "pageviews", "searches", "events", "views_per_visit", "bounce_rate", "visit_duration",
)  # fmt: skip
INTERVALS = ("hour", "day", "week", "month")
VISIT_COLUMNS = ("entry_page", "exit_page", "source", "channel", "country", "device", "browser", "os")
BREAKDOWNS = ("page", "search", *VISIT_COLUMNS)


class Asked(Protocol):
    """The one method of a warehouse that questions need."""

    def ask(self, question: str, **params: Any) -> pl.DataFrame: ...


def stats(warehouse: Asked, site: str, start: str, end: str, timezone: str = "UTC") -> dict[str, int | float]:
    """`METRICS` and `bots`, the number of events that were taken for a bot's."""
    return warehouse.ask("stats", **_days(site, start, end, timezone)).row(0, named=True)


def timeseries(
    warehouse: Asked, site: str, start: str, end: str, timezone: str = "UTC", *, interval: str = "day"
) -> pl.DataFrame:
    """Every bucket that the days touch: `bucket` (its start, milliseconds UTC) and all `METRICS`."""
    _one_of("interval", interval, INTERVALS)
    return warehouse.ask("timeseries", interval=interval, **_days(site, start, end, timezone))


def breakdown(
    warehouse: Asked, site: str, start: str, end: str, timezone: str = "UTC", *, by: str, limit: int = 10
) -> pl.DataFrame:
    """`value`, `visitors`, `visits`, `pageviews`, `events`, most visitors first; searches also `without_results`."""
    _one_of("breakdown", by, BREAKDOWNS)
    if not 1 <= limit <= 10_000:
        raise ValueError(f"limit is {limit}; it goes from 1 to 10000")
    asked = _days(site, start, end, timezone) | {"limit": limit}
    match by:
        case "page":
            return warehouse.ask("breakdown_of_pages", **asked)
        case "search":
            return warehouse.ask("breakdown_of_searches", **asked)
    return warehouse.ask("breakdown_of_visits", by=by, **asked)


def current_visitors(warehouse: Asked, site: str, now_ms: int) -> int:
    """Distinct visitors of the last five minutes, from what is stored."""
    return int(warehouse.ask("current", site=site, now=now_ms).item())


def _days(site: str, start: str, end: str, timezone: str) -> dict[str, Any]:
    if timezone not in available_timezones():
        raise ValueError(f"{timezone!r} is no time zone: give one of the IANA list, as in Europe/Berlin or UTC")
    if end < start:
        raise ValueError(f"the days run from {start} to {end}: the last is before the first")
    return {"site": site, "from": start, "to": end, "timezone": timezone}


def _one_of(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise ValueError(f"{given!r} is no {what}: there are {', '.join(known)}")
