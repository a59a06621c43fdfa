"""A pass over the raw events by other definitions: our own give what is stored, from either source, copies and all."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from activity import rules
from activity.definitions import DAY_MS, HOUR_MS, MINUTE_MS
from activity.event import EventType
from pipeline.replay import Incomplete
from pipeline.replay import rules as comparing
from tests.pipeline.test_live import history
from tests.pipeline.world import T0, World, event

FIRST = datetime.fromtimestamp(T0 / 1000, UTC).date()
ALL = (FIRST - timedelta(days=3), FIRST + timedelta(days=3))
EVERY = rules.chosen([*rules.PRODUCTS], 5 * MINUTE_MS, midnight=True, campaign=True)


def told(world: World, days: tuple[date, date] = ALL, **options: Any) -> list[dict[str, Any]]:
    sets, zones = options.pop("sets", EVERY), options.pop("zones", {})
    return list(comparing.compared(world.loader, world.archive, *days, sets, zones, **options))


def stored(world: World) -> set[tuple[Any, ...]]:
    """What the stored sessions amount to, by site and day."""
    seconds = (pl.col("ended_at") - pl.col("started_at")).mean() / 1000
    by_day = world.sessions().group_by("site", day=pl.col("started_at") // DAY_MS)
    sums = by_day.agg(pl.len(), pl.col("pageviews").sum(), pl.col("is_bounce").mean(), seconds=seconds)
    return {(site, str(date(1970, 1, 1) + timedelta(day)), *numbers) for site, day, *numbers in sums.iter_rows()}


def ours(reports: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    names = ("site", "day", "visits", "pageviews", "bounce_rate", "visit_duration")
    counted = [r for r in reports if r["rules"] == "footfall" and r["day"] and r["visits"]]
    return {tuple(r[name] for name in names) for r in counted}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices so small that visits go on from one to the next."""
    monkeypatch.setattr(comparing, "SLICE_EVENTS", 50)


@pytest.mark.parametrize("source", ["broker", "archive"])
def test_our_own_rules_give_the_stored_sessions(world: World, small: None, source: str) -> None:
    events = history(4, 300)
    for i in range(0, len(events), 100):
        world.publish(*events[i : i + 100])
        world.loader.drain()
    reports = told(world, source=source)
    assert ours(reports) == stored(world)
    days = {r["day"] for r in reports if r["day"]}
    assert [by.name for by in EVERY] == [r["rules"] for r in reports[: len(EVERY)]]
    assert [r["day"] for r in reports] == sorted((r["day"] for r in reports), key=lambda day: day or "9")
    for site in {r["site"] for r in reports}:
        of_site = [r for r in reports if (r["site"], r["rules"]) == (site, "matomo")]
        assert sum(r["visits"] for r in of_site if r["day"]) == of_site[-1]["visits"]
        assert of_site[-1]["day"] is None
    # A day by itself says what it says among the others, whatever goes over its midnights.
    for day in days:
        one = date.fromisoformat(day)
        alone = [r for r in told(world, (one, one), source=source) if r["day"]]
        assert alone == [r for r in reports if r["day"] == day]


def test_visits_over_midnight_count_on_the_day_of_their_start_and_by_the_zone_of_the_site(
    world: World, small: None
) -> None:
    midnight = T0 // DAY_MS * DAY_MS + DAY_MS
    walk = [event(n, midnight - HOUR_MS + n * 10 * MINUTE_MS) for n in range(12)]
    world.publish(*walk)
    world.loader.drain()
    day = FIRST, FIRST
    found = {r["rules"]: r for r in told(world, day, zones={"a.example": "UTC"}) if r["day"]}
    assert {name: (r["visits"], r["pageviews"]) for name, r in found.items()} == {
        "footfall": (1, 12), "matomo": (1, 6), "ga4": (1, 12), "plausible": (1, 12), "umami": (1, 6),
        "gap=5,midnight,campaign": (6, 6),
    }  # fmt: skip
    after = [r for r in told(world, (FIRST + timedelta(days=1),) * 2) if r["day"]]
    assert {r["rules"]: r["visits"] for r in after} == {
        "footfall": 0, "matomo": 1, "ga4": 0, "plausible": 0, "umami": 1, "gap=5,midnight,campaign": 6,
    }  # fmt: skip
    in_berlin = {r["rules"]: r["visits"] for r in told(world, day, zones={"a.example": "Europe/Berlin"}) if r["day"]}
    assert in_berlin["matomo"] == 1  # its midnight was two hours before


def test_copies_and_bots_count_as_they_do_in_the_stored_sessions(world: World, small: None) -> None:
    world.publish(*(event(n, T0 + n * MINUTE_MS, visitor=n % 5) for n in range(60)))
    world.loader.drain()
    world.now = T0 + 9 * HOUR_MS
    late = [event(n, T0 + (n + 90) * MINUTE_MS, visitor=n % 5, received_at=T0 + 9 * HOUR_MS) for n in range(0, 60, 7)]
    early = [event(n, T0 + 5 * HOUR_MS, visitor=n % 5, received_at=T0 - HOUR_MS) for n in range(3, 60, 11)]
    bots = [event(n, T0 + n, visitor=n % 5, bot="crawler") for n in range(100, 140)]
    world.publish(*late, *early, *bots)
    world.loader.drain()
    for source in ("broker", "archive"):
        assert ours(told(world, source=source)) == stored(world)


def test_what_a_source_lacks_is_said_and_not_left_out(world: World) -> None:
    world.publish(*(event(n, T0 + n, visitor=n) for n in range(20)))
    world.loader.drain()
    another = "INSERT INTO event_rows SELECT * REPLACE (toUInt64(999) AS id_lo) FROM event_rows LIMIT 1"
    world.warehouse.command(another)
    with pytest.raises(Incomplete, match="lacks 1 of the 21 events"):
        told(world)


def test_a_zone_that_nobody_knows_is_refused_where_midnight_counts(world: World) -> None:
    world.publish(event(1, type=EventType.PAGEVIEW))
    world.loader.drain()
    zones = {"a.example": "Mars/Olympus"}
    with pytest.raises(Incomplete, match="Mars/Olympus"):
        told(world, zones=zones)
    without = rules.chosen(["ga4", "plausible", "umami"], None, midnight=False, campaign=False)
    assert [r["visits"] for r in told(world, zones=zones, sets=without)] == [1] * 8


def test_a_visit_that_never_rests_counts_once_on_its_first_day(world: World) -> None:
    begin = T0 // DAY_MS * DAY_MS - 2 * DAY_MS + 6 * HOUR_MS
    world.publish(*(event(n, begin + n * 20 * MINUTE_MS) for n in range(3 * 72)))
    world.now = begin + 3 * DAY_MS
    world.loader.drain()
    ga4 = [r for r in told(world) if r["rules"] == "ga4" and r["day"]]
    assert [(r["visits"], r["pageviews"]) for r in ga4] == [(1, 216), (0, 0), (0, 0), (0, 0)]
    assert ours(told(world)) == stored(world)
    # Asked for its first day alone, it is followed for two days.
    first = FIRST - timedelta(days=2)
    alone = [r for r in told(world, (first, first)) if r["rules"] == "ga4" and r["day"]]
    assert [(r["visits"], r["pageviews"]) for r in alone] == [(1, 54 + 2 * 72)]
    # Our own is cut by what began a day before the window.
    last = FIRST, FIRST
    assert ours(told(world, last)) == {day for day in stored(world) if day[1] == str(FIRST)}
