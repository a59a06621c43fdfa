"""The questions that are asked of events and sessions alone, against the same numbers computed from the frames."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from stores import clickhouse
from stores.cover import Period
from stores.days import DayTables
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


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_what_happens_at_a_moment(asked: Warehouse, given: pl.DataFrame, share: float) -> None:
    people = given.filter(pl.col("bot") == "").sort("occurred_at", "id_hi", "id_lo")
    now = people["occurred_at"][int(people.height * share)]
    minute = 60_000
    first = now // minute * minute - 29 * minute
    lately = people.filter((pl.col("occurred_at") >= first) & (pl.col("occurred_at") <= now))
    viewed = lately.filter(pl.col("type") == "pageview")
    here = lately.filter(pl.col("occurred_at") > now - 5 * minute)["visitor"].unique().to_list()
    assert here
    wanted: dict[tuple[str, str], int] = {("", ""): len(here)}
    for at in viewed["occurred_at"]:
        key = "minute", str(now // minute - at // minute)
        wanted[key] = wanted.get(key, 0) + 1
    for visitor in here:
        theirs = lately.filter(pl.col("visitor") == visitor)
        pages = theirs.filter(pl.col("type") == "pageview")["path"].to_list()
        known = [country for country in theirs["country"] if country]
        for key in (("page", (pages or [""])[-1]), ("source", ""), ("country", (known or [""])[-1])):
            wanted[key] = wanted.get(key, 0) + 1
    found = asked.ask("happening", site=SITE, now_ms=now)
    assert {(row["dimension"], row["value"]): row["count"] for row in found.to_dicts()} == wanted
    latest = asked.ask("latest_events", site=SITE, now_ms=now, limit=5)
    shown = lately.filter((pl.col("type") != "engagement") & (pl.col("occurred_at") > now - 30 * minute))
    assert latest["time"].to_list() == shown["occurred_at"].sort(descending=True).head(5).to_list()
    assert not {"visitor", "user", "id_hi", "id_lo"} & set(latest.columns)


def test_whether_a_site_has_events(asked: Warehouse) -> None:
    assert asked.has_events(SITE)
    assert not asked.has_events("nobody.example")


def test_an_unknown_question_is_named(asked: Warehouse) -> None:
    with pytest.raises(ValueError, match=r"'hapening' is no question. Did you mean happening"):
        asked.ask("hapening")
    with pytest.raises(ValueError, match="is no question"):
        asked.ask("../schema/001-tables")
    with pytest.raises(ValueError, match="is no question"):
        asked.ask("rows")
    assert "stats" in clickhouse.names()
