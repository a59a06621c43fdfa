"""Days that are not over: what is kept of them, and that nobody sees whether anything is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count

import polars as pl
import pytest

from stores.days import DayTables, Period
from stores.warehouse import Warehouse
from tests.stores.test_days import DAYS, SITE, TABLES, ZONE, expected, found, made, put

PERIOD = Period(SITE, ZONE, DAYS[1], DAYS[1])
_TOKENS = count()


@pytest.fixture
def tables(warehouse: Warehouse) -> Iterator[DayTables]:
    for table in TABLES:
        warehouse.command(f"TRUNCATE TABLE {table}")
    yield DayTables(warehouse)


def come(tables: DayTables, events: pl.DataFrame, batch: int) -> None:
    put(tables._warehouse, events, batch, f"open/{next(_TOKENS)}")


def test_only_visitors_of_whom_something_came_are_made_again(tables: DayTables) -> None:
    events, some = made(900, seed=4), pl.col("visitor") % 7 == 0
    come(tables, events.filter(~some), 1)
    tables.move_horizon([1])
    tables.open.build(SITE, ZONE, DAYS[1], [1], 1)
    come(tables, events.filter(some), 2)
    cover = tables.cover(PERIOD)
    assert [each.day for each in cover.open] == [DAYS[1]]
    changed = tables._warehouse.query("SELECT visitor FROM changed_visitors", beside=cover.beside)["visitor"]
    assert set(changed) == set(events.filter(some, pl.col("site") == SITE)["visitor"])
    assert found(tables, PERIOD) == expected(events, PERIOD)


def test_who_reads_while_a_day_is_kept_again_reads_what_was_there(tables: DayTables) -> None:
    events = made(900, seed=5)
    come(tables, events.filter(pl.col("visitor") % 2 == 0), 1)
    tables.move_horizon([1])
    tables.open.build(SITE, ZONE, DAYS[1], [1], 1)
    cover = tables.cover(PERIOD)
    before = tables.breakdowns(cover, ["entry_page"], 100)
    come(tables, events.filter(pl.col("visitor") % 2 == 1), 2)
    tables.move_horizon([2])
    tables.open.build(SITE, ZONE, DAYS[1], [2], 1)
    tables._warehouse.command("OPTIMIZE TABLE open_visits FINAL")
    assert tables.breakdowns(cover, ["entry_page"], 100) == before
    assert found(tables, PERIOD) == expected(events, PERIOD)


def test_what_was_kept_when_no_row_was_lost_is_forgotten_when_one_is(tables: DayTables) -> None:
    events = made(900, seed=6)
    come(tables, events, 1)
    tables.move_horizon([1])
    tables.open.build(SITE, ZONE, DAYS[1], [1], 1)
    assert tables.cover(PERIOD).open
    tables.forget()
    assert not tables.cover(PERIOD).open
    tables.open.build(SITE, ZONE, DAYS[1], [1], 1)
    assert tables.cover(PERIOD).open
    assert found(tables, PERIOD) == expected(events, PERIOD)


def test_rows_beyond_the_horizon_are_found_by_an_index(tables: DayTables) -> None:
    come(tables, made(60_000, seed=2), 1)
    come(tables, made(100, seed=3), 2)
    sql = "EXPLAIN indexes = 1 SELECT DISTINCT site FROM event_rows WHERE batch > 1"
    plan = "\n".join(tables._warehouse.query(sql)["explain"])
    granules = re.findall(r"Granules: (\d+)/(\d+)", plan.split("by_batch")[1])
    read, there = map(int, granules[0])
    assert read <= 2 < 8 < there
