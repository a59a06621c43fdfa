"""Days that another product counted: they count when all of them is there, once, and where no filter is asked for."""

from __future__ import annotations

from datetime import date

import polars as pl

from stores.cover import Period
from stores.days import DayTables
from stores.filters import Filter
from stores.imported_days import COLUMNS, ImportedDays
from stores.warehouse import Warehouse
from tests.stores import frames

SITE, PART = "a.example", "imported_visitors"
FIRST, LAST = date(2024, 3, 30), date(2024, 4, 3)
BETWEEN = date(2024, 4, 2)
PERIOD = Period(SITE, "UTC", FIRST, LAST)


def rows(visitors: int, *days: date) -> pl.DataFrame:
    found = [
        (PART, day, dimension, value, visitors, visitors, 1, 1_000, views, views)
        for day in days
        for dimension, value, views in (("", "", 0), ("", "events", 2 * visitors), ("page", "/theirs", visitors))
    ]
    frame = pl.DataFrame(found, schema=COLUMNS, orient="row")
    return frame.with_columns(
        pl.when(pl.col("value") == "events").then(0).otherwise(pl.col(name)).alias(name)
        for name in ("visitors", "visits", "bounces", "duration_ms")
    ).cast(COLUMNS)


def test_imported_days_are_added_and_replaced(warehouse: Warehouse) -> None:
    tables, stored = DayTables(warehouse), ImportedDays(warehouse, SITE, "plausible")
    events = frames.events(400, seed=7, days=2, start=frames.START + 86_400_000)  # neither on FIRST nor on LAST
    warehouse.insert("event_rows", frames.marked(events, 1), "events")
    warehouse.insert("session_rows", frames.marked(frames.sessions(events), 1), "sessions")
    alone = tables.stats(tables.cover(PERIOD))
    assert alone["visits"] > 0

    def added() -> tuple[int, ...]:
        found = tables.stats(tables.cover(PERIOD, imported=True))
        return tuple(int(found[name] - alone[name]) for name in ("visitors", "visits", "pageviews"))

    stored.write(rows(5, FIRST, LAST), 1, 0)
    assert added() == (0, 0, 0)  # an import that is broken off changes nothing
    for _ in range(2):
        stored.write(rows(5, FIRST, LAST), 2, 0)
        stored.count([((PART, FIRST), 11), ((PART, LAST), 12)], 2)
        assert added() == (10, 10, 20)
    assert warehouse.query("SELECT DISTINCT version FROM imported_days")["version"].to_list() == [2]
    assert stored.digests() == {(PART, FIRST): 11, (PART, LAST): 12}
    stored.write(rows(7, LAST), 3, 0)
    stored.count([((PART, LAST), 13)], 3)
    assert added() == (12, 12, 24)
    assert stored.digests() == {(PART, FIRST): 11, (PART, LAST): 13}
    assert warehouse.query("SELECT count() FROM imported_days").item() == 6

    cover = tables.cover(PERIOD, imported=True)
    assert cover.imported == ("plausible", "", "", "", "plausible")
    pages = tables.listing(cover, "page", ["/theirs"], "visitors", 10, 0)
    assert pages.select("value", "visitors", "pageviews").rows() == [("/theirs", 12, 12)]
    series = tables.series(cover, "day")
    own = tables.series(tables.cover(PERIOD), "day")
    gained = {day: row["visits"] - own.get(day, {}).get("visits", 0) for day, row in series.items()}
    assert {day: gain for day, gain in gained.items() if gain} == {FIRST: 5, LAST: 7}
    assert tables.cover(PERIOD, [Filter("is", "page", ("/theirs",))], imported=True).imported == ()
    assert tables.cover(Period(SITE, "UTC", BETWEEN, BETWEEN), imported=True).imported == ()
    assert tables.cover(Period("b.example", "UTC", FIRST, LAST), imported=True).imported == ()


def test_the_days_of_its_own_are_those_of_the_time_zone(warehouse: Warehouse) -> None:
    at = frames.START
    late = {"site": pl.lit("c.example"), "occurred_at": pl.lit(at + 23 * 3_600_000 + 1_800_000, pl.Int64)}
    warehouse.insert("event_rows", frames.marked(frames.events(20, seed=8).with_columns(**late), 1), "own days")
    stored = ImportedDays(warehouse, "c.example", "plausible")
    (day,) = stored.own_days("UTC", FIRST.replace(month=1), LAST.replace(year=2030))
    (later,) = stored.own_days("Europe/Berlin", FIRST.replace(month=1), LAST.replace(year=2030))
    assert (later - day).days == 1
    assert stored.own_days("UTC", later, later) == []


def test_one_product_counts_on_a_day_and_none_beside_events_of_its_own(warehouse: Warehouse) -> None:
    site, tables = "d.example", DayTables(warehouse)
    period = Period(site, "UTC", FIRST, LAST)

    def imported(product: str, visitors: int, version: int, *days: date, only: str = "") -> None:
        stored = ImportedDays(warehouse, site, product)
        counted = rows(visitors, *days).filter(pl.col("dimension") == only if only else True)
        stored.write(counted, version, 0)
        stored.count([((PART, day), version) for day in days], version)

    def views() -> dict[date, int]:
        found = tables.series(tables.cover(period, imported=True), "day")
        return {day: int(row["pageviews"]) for day, row in found.items() if row["pageviews"]}

    imported("plausible", 5, 101, FIRST, BETWEEN)
    imported("ga4", 7, 102, BETWEEN, LAST)
    assert views() == {FIRST: 10, BETWEEN: 14, LAST: 14}
    assert tables.cover(period, imported=True).imported == ("plausible", "", "", "ga4", "ga4")
    # The pages of a day alone do not take the place of all that happened on it.
    imported("goatcounter", 9, 103, FIRST, only="page")
    assert views()[FIRST] == 10
    pages = tables.listing(tables.cover(period, imported=True), "page", [], "visitors", 10, 0)
    assert pages.select("value", "visitors").rows() == [("/theirs", 5 + 7 + 7)]

    # Late in UTC: it is of the next day in Berlin.
    noon = (BETWEEN - date(1970, 1, 1)).days * 86_400_000 + 12 * 3_600_000
    late = {"site": pl.lit(site), "occurred_at": pl.lit(noon + 11 * 3_600_000, pl.Int64), "type": pl.lit("pageview")}
    own = frames.events(3, seed=9).with_columns(**late, bot=pl.lit(""))
    warehouse.insert("event_rows", frames.marked(own, 1), "own")
    assert views() == {FIRST: 10, BETWEEN: 3, LAST: 14}
    assert tables.cover(period, imported=True).imported == ("plausible", "", "", "", "ga4")
    berlin = tables.cover(Period(site, "Europe/Berlin", BETWEEN, BETWEEN), imported=True)
    assert berlin.imported == ("ga4",)
