"""When the visits of a day that is not over are kept, and what makes them count no longer."""

from __future__ import annotations

import pytest

from activity.definitions import DAY_MS, HOUR_MS, MINUTE_MS
from pipeline import recover
from pipeline.days import DayBuilder, complete_batches
from stores.cover import Period
from stores.days import DayTables
from stores.open_days import OpenDay
from tests.pipeline.test_days import BEFORE, MIDNIGHT, SITE, TODAY, break_rows, builder, covered, events_of, finish, put
from tests.pipeline.world import World


def kept(world: World) -> list[OpenDay]:
    return list(DayTables(world.warehouse).cover(Period(SITE, "UTC", BEFORE, TODAY)).open)


def go_on(world: World, first: int, count: int) -> None:
    """So many visitors come today, one a minute. Those of a second call come late: they are in no visit yet."""
    put(world, first, *(MIDNIGHT + 9 * HOUR_MS + n * MINUTE_MS for n in range(count)))
    world.now = MIDNIGHT + 10 * HOUR_MS
    finish(builder(world))


def test_a_day_that_is_not_over_is_kept_and_again_when_it_has_grown(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.days.KEPT_ROWS", 30)
    go_on(world, 100, 10)
    assert (kept(world), events_of(world)) == ([], 10)
    go_on(world, 200, 12)
    [first] = kept(world)
    assert (first.day, first.units) == (TODAY, tuple(complete_batches(world.checkpoint) or ()))
    assert sorted(first.late) == list(range(200, 212))
    go_on(world, 300, 1)
    assert kept(world) == [first]
    assert events_of(world) == 23
    go_on(world, 400, 10)
    [second] = kept(world)
    assert second.rows > first.rows
    assert (second.version - first.version) % 2 == 1
    assert events_of(world) == 33
    world.now = MIDNIGHT + DAY_MS + 2 * HOUR_MS
    finish(builder(world))
    assert covered(world) == [False, False, True]
    assert (kept(world), events_of(world)) == ([], 33)


def test_what_is_kept_of_a_day_counts_no_longer_when_units_change(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.days.KEPT_ROWS", 3)
    go_on(world, 100, 5)
    assert kept(world)
    monkeypatch.setattr("pipeline.days.KEPT_ROWS", 1_000)
    found = complete_batches(world.checkpoint) or []
    DayBuilder(DayTables(world.warehouse), lambda: [*found, 0], lambda: {SITE: "UTC"}, lambda: world.now).look()
    assert kept(world) == []
    assert events_of(world) == 5


def test_broken_rows_of_a_kept_day_are_set_aside_and_made_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.days.KEPT_ROWS", 3)
    go_on(world, 100, 5)
    assert kept(world)
    break_rows(world, "open_visits")
    assert recover.set_aside(world.loader, 0, world.now // DAY_MS + 1) >= 1
    assert (kept(world), events_of(world)) == ([], 5)
    finish(builder(world))
    assert (len(kept(world)), events_of(world)) == (1, 5)
