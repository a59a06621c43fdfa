"""What the page and the API show. This is the only module of the dashboards that queries the warehouse.

Numbers, steps and lists have the names of the API; each list also has its headings on the page. What a query means
(which rows count as a visit, a bounce) is written once, in the warehouse's SQL files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import Any

from activity.url import encoded, readable
from dashboards.language import N_
from dashboards.ranges import DateRange, hours, steps
from stores import imported_days
from stores.cover import Cover, Period
from stores.days import DayTables, exact
from stores.filters import Filter
from stores.warehouse import Warehouse

METRICS = {
    "visitors": N_("Visitors"),
    "visits": N_("Visits"),
    "pageviews": N_("Page views"),
    "views_per_visit": N_("Views per visit"),
    "bounce_rate": N_("Bounce rate"),
    "visit_duration": N_("Visit duration"),
    "engagement_rate": N_("Engaged visits"),
    "engaged_time": N_("Engaged time"),
    "searches": N_("Searches"),
    "events": N_("Events"),
}
SHARES = ("bounce_rate", "engagement_rate")  # metrics from 0 to 1
SECONDS = ("visit_duration", "engaged_time")
ROW = ("visitors", "visits", "pageviews", "events", "engaged_time")


@dataclass(frozen=True)
class Breakdown:
    """One list: its tab on the card, the headings of its first and last column, the number shown in the last column,
    and the text of an empty list."""

    title: str
    value: str
    counts: str = N_("Visits")
    column: str = "visits"
    nothing: str = N_("None in this period.")


BREAKDOWNS = {
    "page": Breakdown(N_("Top"), N_("Page"), N_("Views"), "pageviews", N_("No page views in this period.")),
    "entry_page": Breakdown(N_("Entry"), N_("Page")),
    "exit_page": Breakdown(N_("Exit"), N_("Page")),
    "source": Breakdown(N_("Sources"), N_("Source")),
    "channel": Breakdown(N_("Channels"), N_("Channel")),
    "search": Breakdown(
        N_("Searches"), N_("Term"), N_("Searches"), "events",
        N_("No site searches. They are found in addresses such as /?q=shoes."),
    ),
    "campaign": Breakdown(
        N_("Name"), N_("Campaign"),
        nothing=N_("None in this period. Tag links with utm_campaign."),
    ),
    "utm_source": Breakdown(N_("Source"), "utm_source"),
    "utm_medium": Breakdown(N_("Medium"), "utm_medium"),
    "utm_term": Breakdown(N_("Term"), "utm_term"),
    "utm_content": Breakdown(N_("Content"), "utm_content"),
    "country": Breakdown(N_("Countries"), N_("Country")),
    "region": Breakdown(N_("Regions"), N_("Region")),
    "city": Breakdown(N_("Cities"), N_("City")),
    "language": Breakdown(N_("Languages"), N_("Language")),
    "device": Breakdown(N_("Devices"), N_("Device")),
    "browser": Breakdown(N_("Browsers"), N_("Browser")),
    "os": Breakdown(N_("Systems"), N_("System")),
    "event": Breakdown(
        N_("Custom"), N_("Event"), N_("Events"), "events",
        N_("None yet. Send one with footfall('signup')."),
    ),
    "outbound": Breakdown(
        N_("Outbound"), N_("Link"), N_("Clicks"), "events",
        N_("None yet. They are events of type outbound."),
    ),
    "download": Breakdown(
        N_("Downloads"), N_("File"), N_("Downloads"), "events",
        N_("None yet. They are events of type download."),
    ),
    "not_found": Breakdown(
        N_("Not found"), N_("Page"), N_("Events"), "events",
        N_("None yet. They are events of type not_found."),
    ),
}
MAX_ROWS = 1000
_FIRST, _LAST = date(1990, 1, 1), date(2100, 1, 1)  # of what may be imported
# Lists of events that are no page views.
VIEWLESS = frozenset(("search", "event", "outbound", "download", "not_found"))
_PAGES = frozenset(("page", "entry_page", "exit_page", "not_found"))


@dataclass(frozen=True)
class Listing:
    """A part of a whole list, as rows of `breakdowns`, and how many values the list has."""

    rows: list[dict[str, Any]]
    total: int


def _names(products: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({*products} - {""}))


class Panels:
    """The numbers of one site over one range, of the visits that filters choose.

    Days that are over come from the day tables. Where they come from is decided once, so all numbers are of one moment
    as far as they are of days in the tables."""

    def __init__(
        self,
        warehouse: Warehouse,
        site: str,
        span: DateRange,
        filters: Sequence[Filter] = (),
    ) -> None:
        self.warehouse = warehouse
        self.site = site
        self.span = span
        self.filters = tuple(filters)
        self._period = Period(site, span.zone, span.first, span.last)
        self._days = DayTables(warehouse)

    @cached_property
    def _cover(self) -> Cover:
        return self._days.cover(self._period, self.filters, imported=True)

    @property
    def imported(self) -> tuple[str, ...]:
        """The products whose imported days are among the numbers of days and lists."""
        return _names(self._cover.imported)

    @cached_property
    def left_out(self) -> tuple[str, ...]:
        """The products whose imported days are left out, because filters choose visits, of which these tell nothing."""
        return _names(imported_days.counting(self.warehouse, self._period)) if self.filters else ()

    def has_any(self) -> bool:
        """Whether anything is known of the site, on whatever day: events of its own, or imported days."""
        always = replace(self._period, first=_FIRST, last=_LAST)
        return self.warehouse.has_events(self.site) or bool(imported_days.products(self.warehouse, always))

    @cached_property
    def own_stats(self) -> dict[str, Any]:
        """The headline numbers without imported days, for what only visits can tell."""
        if not self.imported:
            return self.stats
        return self._told(self._days.stats(replace(self._cover, imported=())))

    @cached_property
    def stats(self) -> dict[str, Any]:
        """The headline numbers, `bots`, the events of bots, and whether the number of visitors is `exact`."""
        return self._told(self._days.stats(self._cover))

    def stats_until(self, until_ms: int) -> dict[str, Any]:
        """The same up to a time (Unix ms)."""
        return self._told(self._days.stats(self._cover, until_ms))

    def _told(self, found: dict[str, Any]) -> dict[str, Any]:
        return found | {"exact": exact(found.pop("lasting"), self._period)}

    def timeseries(self, interval: str) -> list[dict[str, Any]]:
        """All numbers for every step of the range, empty ones included, and `exact`; `time` is its start in Unix ms."""
        nothing = dict.fromkeys((*METRICS, "lasting"), 0)
        if interval == "hour":
            starts = hours(self.span)
            by_hour = self._days.hours(self._cover, starts)
            return [{"time": at, **by_hour.get(at, nothing), "exact": True} for at in starts]
        found = self._days.series(self._cover, interval)
        rows = [{"time": at, **found.get(day, nothing)} for day, at in steps(self.span, interval).items()]
        return [row | {"exact": interval == "day" or exact(row["lasting"], self._period)} for row in rows]

    def breakdowns(self, names: Sequence[str], limit: int) -> dict[str, list[dict[str, Any]]]:
        """The values with the most visitors, for each list: rows of `value`, `ROW` and `exact`, as in `stats`.

        Pages are percent-decoded, for people."""
        lists = self._days.breakdowns(self._cover, names, limit)
        for name, rows in lists.items():
            self._dress(name, rows)
        return lists

    def listing(self, name: str, *, search: str = "", sort: str = "visitors", limit: int, offset: int = 0) -> Listing:
        """A part of a whole list: values with `search` in them, sorted by "value", or downwards by one of `ROW`."""
        forms = [search, *([encoded(search)] if name in _PAGES else [])] if search else []
        found = self._days.listing(self._cover, name, forms, sort, limit, offset)
        total = int(found["total"][0]) if found.height else 0
        rows = found.drop("total").to_dicts()
        self._dress(name, rows)
        return Listing(rows, total)

    def _dress(self, name: str, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["exact"] = exact(row["lasting"], self._period)
            if name in _PAGES:
                row["value"] = readable(row["value"])
