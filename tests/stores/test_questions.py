"""The questions that are asked of events and sessions alone, against the same numbers computed from the frames."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from stores import clickhouse
from stores.days import DayTables, Period
from stores.filters import Filter
from stores.warehouse import Warehouse
from tests.stores import frames

SITE = "a.example"
ZONE = "Europe/Berlin"


def ms(year: int, month: int, day: int, zone: str = ZONE) -> int:
    return round(datetime(year, month, day, tzinfo=ZoneInfo(zone)).timestamp() * 1000)


@pytest.fixture(scope="module")
def asked(warehouse: Warehouse) -> Iterator[Warehouse]:
    warehouse.command("TRUNCATE TABLE event_rows")
    events = frames.events(5_000, seed=7, days=4)
    dropped = frames.events(300, seed=8, days=4)
    warehouse.insert("event_rows", frames.marked(pl.concat([events, dropped]), 1), "q-e1")
    warehouse.insert("event_rows", frames.marked(dropped, 2, deleted=1), "q-e2")
    warehouse.insert("session_rows", frames.marked(frames.sessions(events), 1), "q-s1")
    yield warehouse


@pytest.fixture(scope="module")
def given() -> pl.DataFrame:
    return frames.events(5_000, seed=7, days=4).filter(pl.col("site") == SITE)


def within(frame: pl.DataFrame, column: str, start: int, end: int) -> pl.DataFrame:
    return frame.filter(pl.col(column).is_between(start, end, closed="left"))


def expected(given: pl.DataFrame, start: int, end: int) -> dict[str, float]:
    events = within(given, "occurred_at", start, end)
    people = events.filter(pl.col("bot") == "")
    visits = within(frames.sessions(given), "started_at", start, end)
    pageviews = people.filter(pl.col("type") == "pageview").height
    return {
        "visitors": visits["visitor"].n_unique(),
        "visits": visits.height,
        "pageviews": pageviews,
        "searches": people.filter(pl.col("type") == "search").height,
        "events": people.height,
        "views_per_visit": pageviews / visits.height if visits.height else 0,
        "bounce_rate": visits["is_bounce"].sum() / visits.height if visits.height else 0,
        "visit_duration": (visits["ended_at"] - visits["started_at"]).sum() / visits.height / 1000
        if visits.height
        else 0,
    }


@pytest.mark.parametrize("chosen", [(), (Filter("is", "country", ("DE",)),)], ids=["all", "chosen"])
def test_hours_over_the_night_when_clocks_are_moved(
    asked: Warehouse, given: pl.DataFrame, chosen: tuple[Filter, ...]
) -> None:
    starts = list(range(ms(2024, 3, 30), ms(2024, 4, 2), 3_600_000))
    assert len(starts) == 71
    tables = DayTables(asked)
    cover = tables.cover(Period(SITE, ZONE, date(2024, 3, 30), date(2024, 4, 1)), chosen)
    found = tables.hours(cover, starts)
    theirs = given
    if chosen:
        visits = frames.sessions(given).filter(pl.col("country") == "DE")
        keys = visits.select("visitor", visit=pl.col("started_at") // frames.DAY_MS)
        people = given.filter(pl.col("bot") == "").with_columns(visit=pl.col("occurred_at") // frames.DAY_MS)
        theirs = people.join(keys, on=["visitor", "visit"], how="semi")
    assert found
    for start in starts:
        wanted = expected(theirs, start, start + 3_600_000)
        row = found.get(start, dict.fromkeys(wanted, 0))
        assert {name: row[name] for name in wanted} == pytest.approx(wanted)


def test_current_visitors_and_the_first_event(asked: Warehouse, given: pl.DataFrame) -> None:
    people = given.filter(pl.col("bot") == "")
    now = people["occurred_at"].sort()[people.height // 2]
    recent = people.filter((pl.col("occurred_at") > now - 300_000) & (pl.col("occurred_at") <= now))
    assert asked.ask("current", site=SITE, now_ms=now).to_dicts() == [{"visitors": recent["visitor"].n_unique()}]
    assert asked.ask("first_event", site=SITE).item() == given["occurred_at"].min()
    assert asked.ask("first_event", site="nobody.example").is_empty()


def test_an_unknown_question_is_named(asked: Warehouse) -> None:
    with pytest.raises(ValueError, match=r"'curent' is no question. Did you mean current"):
        asked.ask("curent")
    with pytest.raises(ValueError, match="is no question"):
        asked.ask("../schema/001-tables")
    with pytest.raises(ValueError, match="is no question"):
        asked.ask("rows")
    assert "stats" in clickhouse.names()
