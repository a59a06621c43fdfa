"""Days that are not over: their visits as they were some moments ago, so that a question of a busy day costs by what
came since.

The visits of an open day are made like those of a day that is built (`stores.days`), when it has grown by a share, and
kept with the horizon of that moment. A question takes them as they are, but for the visitors of whom rows of later
batches came, or who had events in no visit: of these it makes the visits itself. So it is as exact as if it had made
all. What is kept is of use for two days; by then the day is built.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from stores import clickhouse, day_rows
from stores.clickhouse import Beside
from stores.day_rows import VISIT, WITH_STEPS, Span, declared
from stores.warehouse import Warehouse


@dataclass(frozen=True)
class OpenDay:
    """A day that is kept as it was: under which version, with all rows up to which batch of each unit."""

    day: date
    version: int
    units: tuple[int, ...]
    late: tuple[int, ...]  # visitors with events that are in no visit
    rows: int  # how many rows it had


class OpenDays:
    """Keeps the visits of open days. Raises what `Warehouse` raises."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def of(self, site: str, zone: str, first: date, last: date) -> dict[date, OpenDay]:
        """What is kept of the days of a site from `first` to `last`."""
        where = {"site": site, "zone": zone, "edition": day_rows.EDITION, "first": first, "last": last}
        found = self._warehouse.ask("open_days", **where)
        return {
            day: OpenDay(day, version, tuple(units), tuple(late), rows)
            for day, version, units, late, rows in found.iter_rows()
        }

    def changed(self, site: str, days: Sequence[OpenDay], spans: Sequence[Span]) -> Beside:
        """The visitors whose visits on these days, which are those of the spans, are not as they were kept."""
        # Where units were joined or divided meanwhile, what came after the first of them is looked at.
        alike = len({len(each.units) for each in days}) == 1
        units = [min(of) for of in zip(*(each.units for each in days), strict=True)] if alike else None
        given = {
            "site": site,
            "units": units or [min(unit for each in days for unit in each.units)],
            "near_days": day_rows.spans(spans)["near_days"],
        }
        types = {"visitor": self._warehouse.types_of("day_visits")["visitor"]}
        # As a table, since a parameter stands in the address of a request to a server, which has an end.
        late = array("Q", {visitor for each in days for visitor in each.late})
        beside = [Beside("late_visitors", types, late.tobytes(), "RowBinary")]
        sql = clickhouse.question("changed_visitors")
        return self._warehouse.table_of("changed_visitors", sql, given, types, beside)

    def sizes(self, sites: Iterable[str], days: Iterable[date]) -> dict[tuple[str, date], int]:
        """How many rows each of some sites has on UTC days."""
        found = self._warehouse.ask("day_sizes", sites=sorted(sites), days=sorted(days))
        return {(site, day): rows for site, day, rows in found.iter_rows()}

    def build(self, site: str, zone: str, day: date, units: Sequence[int], rows: int) -> None:
        """Keep the visits of a day as they are now. All rows up to the batches `units` are there."""
        span = day_rows.whole_day(day, zone)
        if not span:
            return
        former = self.of(site, zone, day, day).get(day)
        version = time.time_ns()
        if former:  # the other of the two that are kept
            version = max(version, former.version + 1)
            version += (version - former.version + 1) % 2
        params = {"site": site, "version": version} | day_rows.spans(span)
        sql = f"""
            INSERT INTO open_visits (site, day, version, {VISIT}, {WITH_STEPS})
            SELECT {{site:String}}, day, {{version:UInt64}}, {VISIT}, {WITH_STEPS}
            FROM (\n{day_rows.statement("day_visits")}\n)"""
        self._warehouse.command(sql, declared(sql, params))
        [(_, start, end)] = span
        where = {"site": site, "days": params["days"], "start": start, "end": end, "date": day, "version": version}
        late = self._warehouse.ask("late_visitors", **where)["visitor"].to_list()
        self._record([(site, zone, day, version, list(units), late, rows)])

    def forget(self) -> None:
        """Let no day that is kept count any longer: rows were lost, or units changed, which no batch tells of."""
        found = self._warehouse.query("SELECT site, zone, day, version FROM open_days FINAL WHERE notEmpty(units)")
        self._record([(site, zone, day, version + 1, [], [], 0) for site, zone, day, version in found.iter_rows()])

    def _record(self, kept: Sequence[tuple[str, str, date, int, list[int], list[int], int]]) -> None:
        kinds: Mapping[str, pl.DataType | type[pl.DataType]] = {
            "site": pl.String, "zone": pl.String, "day": pl.Date, "version": pl.UInt64,
            "units": pl.List(pl.UInt64), "late": pl.List(pl.UInt64), "rows": pl.UInt64,
        }  # fmt: skip
        frame = pl.DataFrame(kept, schema=kinds, orient="row")
        frame = frame.with_columns(edition=pl.lit(day_rows.EDITION, pl.UInt16))
        self._warehouse.insert("open_days", frame, f"open_days/{time.time_ns()}")
