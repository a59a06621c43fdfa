"""Months of the day tables: the rows of a month's days added up, so that a question over a year costs by its months.

A month is made of the builds of its days, and says of which. It counts where a question would take just these builds:
a day that was built again, or of which rows have changed since, is another one, and then its days are taken one by one
until the month is made again. Days without a build, such as those without events, are none of a month.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from stores import clickhouse
from stores.warehouse import Warehouse

_DAY = timedelta(days=1)
_ROW = (
    "dimension, value, visitors, regulars, lasting, visits, bounces, duration_ms, engaged, engaged_ms, pageviews,"
    " searches, events, bots, without_results"
)


@dataclass(frozen=True)
class Month:
    """A month of a site in a time zone, by its first day, and the builds of days that it is made of: their versions.

    `version` is its own, 0 for one that is to be made."""

    site: str
    zone: str
    first: date
    builds: Mapping[date, int]
    version: int = 0

    @property
    def days(self) -> list[date]:
        """All days of the calendar's month."""
        return [self.first + n * _DAY for n in range((_next(self.first) - self.first).days)]


class MonthTables:
    """Reads and makes the months. Raises what `Warehouse` raises."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def made_of(self, site: str, zone: str, first: date, last: date, builds: Mapping[date, int]) -> list[Month]:
        """The months that lie in the days from `first` to `last` and are made of some of these builds."""
        begin, end = (first if first.day == 1 else _next(first)), (last + _DAY).replace(day=1) - _DAY
        if begin > end:
            return []
        found = self._warehouse.ask("built_months", site=site, zone=zone, first=begin, last=end)
        months = (
            Month(site, zone, month, dict(zip(days, versions, strict=True)), version)
            for month, version, days, versions in found.iter_rows()
        )
        return [month for month in months if month.builds.items() <= builds.items()]

    def due(self, before: date, edition: int) -> list[Month]:
        """The months of days before one that may be made: all days that are known are built, by this edition."""
        found = self._warehouse.ask("months_due", before=before.replace(day=1), edition=edition)
        return [
            Month(site, zone, first, dict(zip(days, versions, strict=True)))
            for site, zone, first, days, versions in found.iter_rows()
        ]

    def build(self, month: Month) -> None:
        """Make a month. It counts once all of its rows are there."""
        version = self._next_version(month)
        params = {
            "site": month.site, "month": month.first, "version": version, "last": month.days[-1],
            "first": month.first, "versions": [month.builds.get(day, 0) for day in month.days],
        }  # fmt: skip
        sql = f"""
            INSERT INTO month_values (site, month, version, {_ROW})
            SELECT {{site:String}}, {{month:Date32}}, {{version:UInt64}}, {_ROW}
            FROM (\n{clickhouse.rows("month")}\n)"""
        self._warehouse.command(sql, params)
        builds = sorted(month.builds.items())
        row = {
            "site": [month.site], "zone": [month.zone], "month": [month.first], "version": [version],
            "days": [[day for day, _ in builds]], "versions": [[each for _, each in builds]],
        }  # fmt: skip
        frame = pl.DataFrame(row).cast({"version": pl.UInt64, "versions": pl.List(pl.UInt64)})
        self._warehouse.insert("month_builds", frame, f"month_builds/{version}")

    def _next_version(self, month: Month) -> int:
        """A version above all others, that of one that was broken off included, whatever the clock says."""
        sql = """
            SELECT greatest({now:UInt64}, (SELECT max(version) FROM month_builds) + 1,
                (SELECT max(version) FROM month_values WHERE site = {site:String} AND month = {month:Date32}) + 1)"""
        where = {"now": time.time_ns(), "site": month.site, "month": month.first}
        return int(self._warehouse.query(sql, where).item())


def _next(day: date) -> date:
    """The first day of the month after a day's."""
    return (day.replace(day=1) + 31 * _DAY).replace(day=1)
