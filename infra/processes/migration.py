"""What the owner of the warehouse does for `footfall import PRODUCT` and `footfall compare`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date

from infra.processes.control import Line, Verb
from infra.wiring import Parts


def of(parts: Parts) -> dict[str, Verb]:
    """Returns the verbs by name."""

    def zone(site: str) -> Iterator[Line]:
        """Yields the time zone of a site, UTC if it is in the sites file no more."""
        known = parts.sites.get(site)
        yield {"zone": known.timezone if known else "UTC"}

    def daily(site: str, zone: str, first: str, last: str) -> Iterator[Line]:
        """Yields a line for each day of a site that has any numbers: what its own events amount to."""
        from stores.cover import Period
        from stores.days import DayTables

        tables = DayTables(parts.warehouse)
        period = Period(site, zone, date.fromisoformat(first), date.fromisoformat(last))
        for day, numbers in tables.series(tables.cover(period), "day").items():
            names = ("visitors", "visits", "pageviews")
            yield {"day": day.isoformat()} | {name: int(numbers[name]) for name in names}

    def imported_days(site: str, product: str, zone: str, first: str, last: str) -> Iterator[Line]:
        """Yields the `version` of an import that begins now, the `own` days of the site, and what is imported: the
        `digests` of days of parts."""
        from stores.imported_days import ImportedDays

        stored = ImportedDays(parts.warehouse, site, product)
        own = stored.own_days(zone, date.fromisoformat(first), date.fromisoformat(last))
        digests = [[part, day.isoformat(), digest] for (part, day), digest in stored.digests().items()]
        version = max(time.time_ns(), stored.version() + 1)
        yield {"version": version, "own": [day.isoformat() for day in own], "digests": digests}

    def write_days(site: str, product: str, version: int, block: int, rows: dict[str, list[object]]) -> Iterator[Line]:
        """Writes imported rows, which do not count yet; yields nothing."""
        import polars as pl

        from stores.imported_days import COLUMNS, ImportedDays

        frame = pl.DataFrame(rows, schema=COLUMNS | {"day": pl.String})
        frame = frame.with_columns(pl.col("day").str.to_date())
        ImportedDays(parts.warehouse, site, product).write(frame, version, block)
        yield from ()

    def count_days(site: str, product: str, version: int, digests: list[tuple[str, str, int]]) -> Iterator[Line]:
        """Has the rows of an import count; yields nothing."""
        from stores.imported_days import ImportedDays

        days = [((part, date.fromisoformat(day)), digest) for part, day, digest in digests]
        ImportedDays(parts.warehouse, site, product).count(days, version)
        yield from ()

    return {
        "zone": zone,
        "daily": daily,
        "imported-days": imported_days,
        "write-days": write_days,
        "count-days": count_days,
    }
