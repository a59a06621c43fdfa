"""Every question's answer, against the same numbers computed from the frames in Polars."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from stores import clickhouse
from stores.warehouse import Warehouse
from tests.stores import frames

SITE = "a.example"
ZONE = "Europe/Berlin"


def ms(year: int, month: int, day: int, zone: str = ZONE) -> int:
    return round(datetime(year, month, day, tzinfo=ZoneInfo(zone)).timestamp() * 1000)


SPAN = {"site": SITE, "from_ms": ms(2024, 3, 30), "to_ms": ms(2024, 4, 2)}


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


def within(frame: pl.DataFrame, column: str, start: int = SPAN["from_ms"], end: int = SPAN["to_ms"]) -> pl.DataFrame:
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


def test_stats(asked: Warehouse, given: pl.DataFrame) -> None:
    found = asked.ask("stats", **SPAN).row(0, named=True)
    bots = within(given, "occurred_at").filter(pl.col("bot") != "").height
    assert found == pytest.approx(expected(given, SPAN["from_ms"], SPAN["to_ms"]) | {"bots": bots})
    nothing = asked.ask("stats", site="nobody.example", from_ms=0, to_ms=2**41).row(0, named=True)
    assert set(nothing.values()) == {0}


@pytest.mark.parametrize("interval", ["hour", "day"])
def test_timeseries_over_the_night_when_clocks_are_moved(asked: Warehouse, given: pl.DataFrame, interval: str) -> None:
    found = asked.ask("timeseries", interval=interval, timezone=ZONE, **SPAN)
    starts = found["bucket"].to_list()
    if interval == "day":
        assert starts == [ms(2024, 3, 30), ms(2024, 3, 31), ms(2024, 4, 1)]
        assert starts[2] - starts[1] == 23 * 3_600_000
    else:
        assert len(starts) == 71
        assert all(later - earlier == 3_600_000 for earlier, later in pairwise(starts))
    for row, end in zip(found.iter_rows(named=True), [*starts[1:], SPAN["to_ms"]], strict=True):
        assert row == pytest.approx({"bucket": row["bucket"]} | expected(given, row["bucket"], end))


@pytest.mark.parametrize(
    ("interval", "zone", "start", "end", "starts"),
    [
        ("day", ZONE, (2024, 10, 26), (2024, 10, 29), [(2024, 10, 26), (2024, 10, 27), (2024, 10, 28)]),
        ("week", ZONE, (2024, 3, 30), (2024, 4, 9), [(2024, 3, 25), (2024, 4, 1), (2024, 4, 8)]),
        ("month", "America/New_York", (2024, 1, 31), (2024, 4, 1), [(2024, 1, 1), (2024, 2, 1), (2024, 3, 1)]),
        ("day", "Asia/Kathmandu", (2024, 1, 1), (2024, 1, 3), [(2024, 1, 1), (2024, 1, 2)]),
        ("day", "Australia/Lord_Howe", (2024, 4, 6), (2024, 4, 9), [(2024, 4, 6), (2024, 4, 7), (2024, 4, 8)]),
    ],
)
def test_every_bucket_is_there(
    asked: Warehouse,
    interval: str,
    zone: str,
    start: tuple[int, int, int],
    end: tuple[int, int, int],
    starts: list[tuple[int, int, int]],
) -> None:
    span = {"site": "nobody.example", "from_ms": ms(*start, zone), "to_ms": ms(*end, zone)}
    found = asked.ask("timeseries", interval=interval, timezone=zone, **span)
    assert found["bucket"].to_list() == [ms(*day, zone) for day in starts]
    assert found["visitors"].sum() == found["events"].sum() == 0


def test_hours_of_a_day_with_25(asked: Warehouse) -> None:
    span = {"site": SITE, "from_ms": ms(2024, 10, 27), "to_ms": ms(2024, 10, 28)}
    found = asked.ask("timeseries", interval="hour", timezone=ZONE, **span)["bucket"].to_list()
    assert found == list(range(span["from_ms"], span["to_ms"], 3_600_000))
    assert len(found) == 25


def rows(frame: pl.DataFrame) -> dict[str, tuple[int, ...]]:
    return {row[0]: row[1:5] for row in frame.iter_rows()}


@pytest.mark.parametrize("by", ["country", "entry_page", "exit_page", "source"])
def test_visits_by_a_column_of_theirs(asked: Warehouse, given: pl.DataFrame, by: str) -> None:
    visits = within(frames.sessions(given), "started_at")
    grouped = visits.group_by(by).agg(
        pl.col("visitor").n_unique(), pl.len(), pl.col("pageviews").sum(), pl.col("events").sum()
    )
    if by.endswith("_page"):
        grouped = grouped.filter(pl.col(by) != "")
    found = asked.ask(f"breakdown_{by}", limit=100, **SPAN)
    assert found.columns[:5] == ["value", "visitors", "visits", "pageviews", "events"]
    assert rows(found) == rows(grouped)
    assert found["visitors"].is_sorted(descending=True)
    assert asked.ask(f"breakdown_{by}", limit=1, **SPAN).equals(found.head(1))


@pytest.mark.parametrize(
    ("question", "column", "kind"),
    [
        ("breakdown_page", "path", "pageview"),
        ("breakdown_search", "term", "search"),
        ("breakdown_event", "name", "custom"),
    ],
)
def test_events_by_a_column_of_theirs(
    asked: Warehouse, given: pl.DataFrame, question: str, column: str, kind: str
) -> None:
    events = within(given, "occurred_at").filter(pl.col("bot") == "", pl.col(column) != "")
    if kind != "pageview":
        events = events.filter(pl.col("type") == kind)
    # In these frames a visitor has one session a UTC day, so a visit is a visitor and a day.
    theirs = pl.col("type") == kind
    day = pl.col("occurred_at") // frames.DAY_MS
    grouped = events.group_by(column).agg(
        pl.col("visitor").filter(theirs).n_unique(),
        pl.struct("visitor", day).filter(theirs).n_unique().alias("visits"),
        (pl.col("type") == "pageview").sum(),
        pl.len(),
    )
    found = asked.ask(question, limit=100, **SPAN)
    assert rows(found) == rows(grouped)
    if kind == "search":
        without = events.filter(pl.col("results") == 0).height
        assert found["without_results"].sum() == without > 0


def test_current_visitors_and_the_first_event(asked: Warehouse, given: pl.DataFrame) -> None:
    people = given.filter(pl.col("bot") == "")
    now = people["occurred_at"].sort()[people.height // 2]
    recent = people.filter((pl.col("occurred_at") > now - 300_000) & (pl.col("occurred_at") <= now))
    assert asked.ask("current", site=SITE, now_ms=now).to_dicts() == [{"visitors": recent["visitor"].n_unique()}]
    assert asked.ask("first_event", site=SITE).item() == given["occurred_at"].min()
    assert asked.ask("first_event", site="nobody.example").is_empty()


def test_an_unknown_question_is_named(asked: Warehouse) -> None:
    with pytest.raises(ValueError, match=r"'breakdown_pages' is no question. Did you mean breakdown_page"):
        asked.ask("breakdown_pages")
    with pytest.raises(ValueError, match="is no question"):
        asked.ask("../schema/001-tables")
    assert "stats" in clickhouse.names()
