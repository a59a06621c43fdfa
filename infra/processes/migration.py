"""What the owner of the warehouse does for `footfall import PRODUCT` and `footfall compare`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from infra.processes.control import Line, Verb
from infra.wiring import Parts


def of(parts: Parts) -> dict[str, Verb]:
    """Returns the verbs by name."""

    def daily(site: str, zone: str, first: str, last: str) -> Iterator[Line]:
        """Yields a line for each day of a site that has any numbers: what its own events amount to."""
        from stores.cover import Period
        from stores.days import DayTables

        tables = DayTables(parts.warehouse)
        period = Period(site, zone, date.fromisoformat(first), date.fromisoformat(last))
        for day, numbers in tables.series(tables.cover(period), "day").items():
            names = ("visitors", "visits", "pageviews")
            yield {"day": day.isoformat()} | {name: int(numbers[name]) for name in names}

    def zone(site: str) -> Iterator[Line]:
        """Yields the time zone of a site, UTC if it is in the sites file no more."""
        known = parts.sites.get(site)
        yield {"zone": known.timezone if known else "UTC"}

    return {"daily": daily, "zone": zone}
