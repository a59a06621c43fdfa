"""What the page and the API show. This is the only module of the dashboards that queries the warehouse.

Numbers, steps and lists have the names of the API; each list also has its headings on the page. What a query means
(which rows count as a visit, a bounce) is written once, in the warehouse's SQL files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from activity.url import readable
from dashboards.ranges import DateRange
from stores.warehouse import Warehouse

METRICS = {
    "visitors": "Visitors",
    "visits": "Visits",
    "pageviews": "Page views",
    "views_per_visit": "Views per visit",
    "bounce_rate": "Bounce rate",
    "visit_duration": "Visit duration",
    "searches": "Searches",
    "events": "Events",
}
ROW = ("visitors", "visits", "pageviews", "events")


@dataclass(frozen=True)
class Breakdown:
    """One list: its tab on the card, the headings of its first and last column, the number shown in the last column,
    and the text of an empty list."""

    title: str
    value: str
    counts: str = "Visits"
    column: str = "visits"
    nothing: str = "None in this period."


BREAKDOWNS = {
    "page": Breakdown("Top", "Page", "Views", "pageviews", "No page views in this period."),
    "entry_page": Breakdown("Entry", "Page"),
    "exit_page": Breakdown("Exit", "Page"),
    "source": Breakdown("Sources", "Source"),
    "channel": Breakdown("Channels", "Channel"),
    "search": Breakdown(
        "Searches", "Term", "Searches", "events", "No site searches. They are found in addresses such as /?q=shoes."
    ),
    "country": Breakdown("Countries", "Country"),
    "device": Breakdown("Devices", "Device"),
    "browser": Breakdown("Browsers", "Browser"),
    "os": Breakdown("Systems", "System"),
    "event": Breakdown("Events", "Event", "Events", "events", "None yet. Send one with footfall('signup')."),
}
MAX_ROWS = 1000
_PAGES = frozenset(("page", "entry_page", "exit_page"))


@dataclass(frozen=True)
class Panels:
    """The numbers of one site over one range."""

    warehouse: Warehouse
    site: str
    span: DateRange

    def stats(self, until_ms: int | None = None) -> dict[str, Any]:
        """The headline numbers, and `bots`, the events of bots; only up to `until_ms` (Unix ms) if that is given."""
        end = self.span.end_ms if until_ms is None else min(until_ms, self.span.end_ms)
        return self._ask("stats", to_ms=end).row(0, named=True)

    def timeseries(self, interval: str) -> list[dict[str, Any]]:
        """All numbers for every step of the range, empty ones included; `time` is the step's start in Unix ms."""
        rows = self._ask("timeseries", interval=interval, timezone=self.span.zone).iter_rows(named=True)
        return [{"time": row.pop("bucket"), **row} for row in rows]

    def breakdown(self, by: str, limit: int) -> list[dict[str, Any]]:
        """The values with the most visitors: rows of `value` and `ROW`. Pages are percent-decoded, for people."""
        rows = self._ask(f"breakdown_{by}", limit=limit).to_dicts()
        return [row | {"value": readable(row["value"])} for row in rows] if by in _PAGES else rows

    def _ask(self, question: str, **params: Any) -> pl.DataFrame:
        bounds = {"from_ms": self.span.start_ms, "to_ms": self.span.end_ms}
        return self.warehouse.ask(question, site=self.site, **(bounds | params))
