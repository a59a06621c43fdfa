"""Days that other products have counted, of which they keep no events: rows of their exports, as the day tables have
them. `DayTables` adds them to its own, where it has none.

A part of an export, such as a file, is replaced day by day: its rows are written under a version, and count from the
moment on at which `imported_parts` names that version. So an import that is broken off changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from stores.cover import Period
from stores.warehouse import Warehouse

# Of a row, beside its `part`, `day`, `dimension` and `value`.
NUMBERS = ("visitors", "visits", "bounces", "duration_ms", "pageviews", "events")
COLUMNS = {
    "part": pl.String, "day": pl.Date, "dimension": pl.String, "value": pl.String,
    "visitors": pl.UInt64, "visits": pl.UInt64, "bounces": pl.UInt64, "duration_ms": pl.Int64, "pageviews": pl.Int64,
    "events": pl.Int64,
}  # fmt: skip

PartDay = tuple[str, date]  # a day of a part of an export


class ImportedDays:
    """The imported days of one product and site. Raises what `Warehouse` raises."""

    def __init__(self, warehouse: Warehouse, site: str, product: str) -> None:
        self._warehouse = warehouse
        self._where = {"site": site, "product": product}

    def digests(self) -> dict[PartDay, int]:
        """What counts now: of each day of a part, the digest of its rows."""
        sql = """
            SELECT part, day, digest FROM imported_parts FINAL
            WHERE site = {site:String} AND product = {product:String}"""
        return {(part, day): digest for part, day, digest in self._warehouse.query(sql, self._where).iter_rows()}

    def version(self) -> int:
        """The last version; 0 before the first import."""
        sql = """
            SELECT max(version) FROM (
                SELECT version FROM imported_parts WHERE site = {site:String} AND product = {product:String}
                UNION ALL SELECT version FROM imported_days WHERE site = {site:String} AND product = {product:String}
            )"""
        return int(self._warehouse.query(sql, self._where).item() or 0)

    def own_days(self, zone: str, first: date, last: date) -> list[date]:
        """The days of a time zone on which the site has events of its own."""
        asked = {"site": self._where["site"], "zone": zone, "first": first, "last": last}
        return self._warehouse.ask("own_days", **asked)["its_day"].to_list()

    def write(self, rows: pl.DataFrame, version: int, block: int) -> None:
        """Write rows (`COLUMNS`) under a version, once for the number of their block. They do not count yet."""
        frame = rows.with_columns(version=pl.lit(version, pl.UInt64), **{k: pl.lit(v) for k, v in self._where.items()})
        self._warehouse.insert("imported_days", frame, f"imported_days/{version}/{block}")

    def count(self, digests: Sequence[tuple[PartDay, int]], version: int) -> None:
        """Have the rows of a version count for these days of parts, in place of former ones, which are removed."""
        columns = {"part": pl.String, "day": pl.Date, "digest": pl.UInt64}
        frame = pl.DataFrame([(part, day, digest) for (part, day), digest in digests], schema=columns, orient="row")
        frame = frame.with_columns(version=pl.lit(version, pl.UInt64), **{k: pl.lit(v) for k, v in self._where.items()})
        self._warehouse.insert("imported_parts", frame, f"imported_parts/{version}")
        self._sweep(version)

    def _sweep(self, version: int) -> None:
        """Remove rows that do not count: replaced ones, and those of imports before that were broken off.

        Over a cluster they stay, where nothing is removed: a `Distributed` table has no mutations, and replicated ones
        take none with a subquery."""
        if self._warehouse.over_cluster:
            return
        counting = """
            (part, day, version) GLOBAL IN (
                SELECT part, day, version FROM imported_parts FINAL
                WHERE site = {site:String} AND product = {product:String}
            )"""
        theirs = "site = {site:String} AND product = {product:String} AND version <= {version:UInt64}"
        given = self._where | {"version": version}
        found = self._warehouse.query(f"SELECT count() FROM imported_days WHERE {theirs} AND NOT ({counting})", given)
        if found.item():
            sql = f"ALTER TABLE imported_days DELETE WHERE {theirs} AND NOT ({counting}) SETTINGS mutations_sync = 2"
            self._warehouse.command(sql, given)


def products(warehouse: Warehouse, period: Period) -> tuple[str, ...]:
    """The products of which days of a period were imported."""
    asked = {"site": period.site, "first": period.first, "last": period.last}
    return tuple(warehouse.ask("imported_products", **asked)["product"].to_list())


def counting(warehouse: Warehouse, period: Period) -> tuple[str, ...]:
    """The product whose numbers count, of each day of a period, "" where none does; () where that is so on all days.

    One product counts on a day, so that no visitor counts twice, and none where the site has events of its own."""
    if not products(warehouse, period):
        return ()
    asked = {"site": period.site, "zone": period.zone, "first": period.first, "last": period.last}
    found = dict(warehouse.ask("imported_counting", **asked).iter_rows())
    return tuple(found.get(day, "") for day in period.days) if found else ()
