"""When days are built, and what makes a built day count no longer. The loader, the log and the stores are real."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from activity.definitions import DAY_MS, HOUR_MS, MINUTE_MS
from pipeline import rebuild, recover
from pipeline.checkpoint import CheckpointRepository
from pipeline.days import LOOK_SECONDS, DayBuilder, complete_batches, days_of, leased
from pipeline.unit import Layout, swap_layout, versioned_layout
from stores.cover import Period
from stores.days import DayTables
from tests.pipeline.world import T0, World, event

SITE = "a.example"
MIDNIGHT = T0 // DAY_MS * DAY_MS  # the events of these tests are before it, on closed days
TODAY = datetime.fromtimestamp(MIDNIGHT / 1000, UTC).date()
YESTERDAY, BEFORE = TODAY - timedelta(days=1), TODAY - timedelta(days=2)


def builder(world: World, zone: str = "UTC", **sites: str) -> DayBuilder:
    zones = {SITE: zone} | {name.replace("_", "."): kind for name, kind in sites.items()}
    return of_zones(world, zones)


def of_zones(world: World, zones: dict[str, str]) -> DayBuilder:
    complete = partial(complete_batches, world.checkpoint)
    return DayBuilder(DayTables(world.warehouse), complete, lambda: dict(zones), lambda: world.now)


def put(world: World, first: int, *times: int, **more: Any) -> None:
    """Events that are received when they occur, loaded with the clock at the last of them."""
    world.publish(*(event(first + n, at, first + n, **more) for n, at in enumerate(times)))
    world.loader.drain()


def build_all(of: DayBuilder) -> list[tuple[str, str, date]]:
    of.look()
    done = []
    while waiting := of.due():
        of.build(waiting[0])
        done.append(waiting[0])
    return done


def covered(world: World, first: date = BEFORE, last: date = TODAY, zone: str = "UTC") -> list[bool]:
    cover = DayTables(world.warehouse).cover(Period(SITE, zone, first, last))
    return [bool(version) for version in cover.versions]


def events_of(world: World, first: date = BEFORE, last: date = TODAY) -> int:
    tables = DayTables(world.warehouse)
    return int(tables.stats(tables.cover(Period(SITE, "UTC", first, last)))["events"])


@pytest.fixture
def filled(world: World) -> World:
    """Two events the day before yesterday, three yesterday, one today; it is ten o'clock."""
    put(world, 1, MIDNIGHT - DAY_MS - 5 * HOUR_MS, MIDNIGHT - DAY_MS - HOUR_MS)
    put(world, 11, MIDNIGHT - 20 * HOUR_MS, MIDNIGHT - 6 * HOUR_MS, MIDNIGHT - 3 * HOUR_MS)
    put(world, 21, MIDNIGHT + 9 * HOUR_MS)
    world.now = MIDNIGHT + 10 * HOUR_MS
    return world


def test_days_that_are_over_are_built_the_newest_first(filled: World) -> None:
    made = builder(filled)
    assert made.status.waiting is None
    assert build_all(made) == [(SITE, "UTC", YESTERDAY), (SITE, "UTC", BEFORE)]
    assert (made.status.waiting, made.status.built) == (0, 2)
    assert made.status.slowest > 0
    assert covered(filled) == [True, True, False]
    assert events_of(filled) == 6


def test_nothing_is_built_while_another_process_has_the_lease(filled: World) -> None:
    made, another = builder(filled), leased(filled.checkpoint)
    made.lease = partial(leased, filled.checkpoint)
    assert another.take()
    assert made.step() == LOOK_SECONDS
    assert (made.status.waiting, made.status.built) == (2, 0)
    another.release()
    made.step()
    assert made.status.built == 1


def test_a_day_waits_an_hour_for_visits_that_go_on(world: World) -> None:
    put(world, 1, MIDNIGHT - HOUR_MS)
    made = builder(world)
    world.now = MIDNIGHT + HOUR_MS - 1
    assert build_all(made) == []
    world.now = MIDNIGHT + HOUR_MS
    assert made.due() == [(SITE, "UTC", YESTERDAY)]


def test_a_day_is_that_of_the_site(filled: World) -> None:
    assert {day for _, _, day in build_all(builder(filled, "America/Los_Angeles"))} == {BEFORE, YESTERDAY}
    filled.now = MIDNIGHT + DAY_MS + 8 * HOUR_MS  # seven hours behind: there it is one o'clock
    assert build_all(builder(filled, "America/Los_Angeles")) == [(SITE, "America/Los_Angeles", TODAY)]
    assert covered(filled, zone="America/Los_Angeles") == [True, True, True]
    assert covered(filled) == [False, False, False]
    # Another zone, other days: what was built for the former does not count.
    assert len(build_all(builder(filled))) == 3


def raw(world: World, zone: str = "UTC") -> list[date]:
    """The days of a week that are asked of the rows themselves."""
    cover = DayTables(world.warehouse).cover(Period(SITE, zone, TODAY - timedelta(days=6), TODAY))
    return [day for day, _, _ in cover.spans]


def test_days_that_no_look_has_seen_are_empty_and_cost_nothing(filled: World) -> None:
    assert len(raw(filled)) == 7
    made = builder(filled)
    build_all(made)
    assert raw(filled) == [TODAY]
    assert len(raw(filled, "Europe/Berlin")) == 7
    put(filled, 91, MIDNIGHT - 4 * DAY_MS)
    assert raw(filled) == [TODAY - timedelta(days=4), TODAY]
    assert events_of(filled, TODAY - timedelta(days=6)) == 7
    made.look()
    assert raw(filled) == [TODAY - timedelta(days=4), TODAY]


@pytest.mark.parametrize("meanwhile", [{SITE: "Europe/Berlin"}, {}])
def test_days_that_came_while_a_site_was_elsewhere_or_gone_are_seen_when_it_is_back(
    filled: World, meanwhile: dict[str, str]
) -> None:
    zones = {SITE: "UTC"}
    made = of_zones(filled, zones)
    build_all(made)
    zones.clear()
    zones.update(meanwhile)
    made.look()
    put(filled, 91, MIDNIGHT - 4 * DAY_MS)
    made.look()
    assert events_of(filled, TODAY - timedelta(days=6)) == 7
    zones[SITE] = "UTC"
    made.look()
    filled.now += MINUTE_MS
    assert (SITE, "UTC", TODAY - timedelta(days=4)) in build_all(made)
    assert events_of(filled, TODAY - timedelta(days=6)) == 7


def test_the_zone_of_a_site_is_changed_and_changed_back(filled: World) -> None:
    def in_berlin() -> list[int]:
        tables = DayTables(filled.warehouse)
        days = (BEFORE, YESTERDAY)
        return [tables.stats(tables.cover(Period(SITE, "Europe/Berlin", day, day)))["events"] for day in days]

    zones = {SITE: "Europe/Berlin"}
    made = of_zones(filled, zones)
    build_all(made)
    before = in_berlin()
    zones[SITE] = "UTC"
    assert len(build_all(made)) == 2
    filled.warehouse.command("OPTIMIZE TABLE day_values FINAL")
    assert in_berlin() == before
    put(filled, 71, MIDNIGHT - 3 * HOUR_MS)
    made.look()
    assert in_berlin() == [before[0], before[1] + 1]
    zones[SITE] = "Europe/Berlin"
    filled.now += MINUTE_MS
    assert len(build_all(made)) >= 2
    assert covered(filled, last=YESTERDAY, zone="Europe/Berlin") == [True, True]
    assert in_berlin() == [before[0], before[1] + 1]
    assert covered(filled) == [False, False, False]
    zones.clear()  # the site is taken out of the file: nobody looks at its days any more
    made.look()
    assert covered(filled, zone="Europe/Berlin") == [False, False, False]


def test_a_late_event_shows_at_once_and_its_day_is_built_again_when_it_is_quiet(filled: World) -> None:
    made = builder(filled)
    build_all(made)
    put(filled, 31, MIDNIGHT - 5 * HOUR_MS)
    assert covered(filled) == [True, False, False]
    assert events_of(filled) == 7
    assert build_all(made) == []  # it has only just changed
    assert made.status.waiting == 1
    filled.now += MINUTE_MS
    assert build_all(made) == [(SITE, "UTC", YESTERDAY)]
    assert covered(filled) == [True, True, False]
    assert events_of(filled) == 7
    rebuild.reconcile(filled.loader)  # it changes the sessions of that day
    assert events_of(filled) == 7
    made.look()
    filled.now += MINUTE_MS
    build_all(made)
    assert covered(filled) == [True, True, False]


def test_a_day_that_changes_all_the_time_is_built_every_ten_minutes(filled: World) -> None:
    made = builder(filled)
    build_all(made)
    built = []
    for step in range(50):
        filled.publish(event(100 + step, MIDNIGHT - 5 * HOUR_MS + step, 100 + step))
        filled.loader.drain()
        filled.now += 15_000
        built += [step] * len(build_all(made))
    assert built == [40]
    assert events_of(filled) == 6 + 50


def test_rows_of_a_batch_that_is_not_complete_count_as_changed(
    filled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = builder(filled)
    build_all(made)
    commit, loader = filled.loader.repository.swap, filled.loader

    def dies(checkpoint: Any) -> Any:
        if checkpoint.intent is None:
            raise KeyboardInterrupt
        return commit(checkpoint)

    monkeypatch.setattr(loader.repository, "swap", dies)
    filled.publish(event(41, MIDNIGHT - 4 * HOUR_MS, 41))
    with pytest.raises(KeyboardInterrupt):
        loader.step()
    made.look()
    assert covered(filled) == [True, False, False]
    assert events_of(filled) == 7
    filled.reopen()
    made = builder(filled)
    filled.now += 2 * MINUTE_MS
    build_all(made)  # the horizon is before the batch, so what it builds does not count yet
    assert covered(filled)[1] is False
    filled.loader.drain()
    build_all(made)
    filled.now += MINUTE_MS
    build_all(made)
    assert covered(filled) == [True, True, False]
    assert events_of(filled) == 7


def test_the_batch_of_a_rebuild_is_complete_when_its_lease_ends(filled: World) -> None:
    made = builder(filled)
    build_all(made)
    with rebuild.leased(filled.loader) as checkpoint:
        made.look()
        assert DayTables(filled.warehouse).horizon() == [checkpoint.batch - 1]
    made.look()
    assert DayTables(filled.warehouse).horizon() == [checkpoint.batch]


def test_several_units_are_looked_at_each_by_its_own_batches(filled: World) -> None:
    made = builder(filled)
    build_all(made)
    _, version = versioned_layout(filled.checkpoint)
    swap_layout(filled.checkpoint, Layout(of=2, epoch=1), version)
    whole = filled.loader.checkpoint()
    for name, batch in (("1-of-2", 40), ("2-of-2", 31)):
        CheckpointRepository(filled.checkpoint, name).swap(msgspec.structs.replace(whole, batch=batch, epoch=1))
    made.look()
    tables = DayTables(filled.warehouse)
    assert tables.horizon() == [40, 31]
    assert covered(filled) == [True, True, False]
    late = {"site": SITE, "visitor": 77, "id_hi": 1, "type": "pageview", "occurred_at": MIDNIGHT - HOUR_MS}
    for batch, valid in ((38, True), (29, True), (33, False)):
        row = pl.DataFrame([late | {"id_lo": batch, "received_at": T0, "batch": batch}])
        filled.warehouse.insert("event_rows", row, f"units/{batch}")
        assert covered(filled)[1] is valid
    made.look()
    swap_layout(filled.checkpoint, Layout(of=2, to=3, epoch=1), versioned_layout(filled.checkpoint)[1])
    before = tables.horizon()
    made.look()
    assert tables.horizon() == before


def test_after_a_restart_nothing_is_built_twice(filled: World) -> None:
    build_all(builder(filled))
    filled.reopen()
    assert build_all(builder(filled)) == []
    put(filled, 51, MIDNIGHT - 2 * HOUR_MS)
    filled.reopen()
    made = builder(filled)
    assert build_all(made) == []
    filled.now += MINUTE_MS
    assert build_all(made) == [(SITE, "UTC", YESTERDAY)]


def test_a_build_that_is_broken_off_does_not_count(filled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = builder(filled)
    made.look()
    command, done = filled.warehouse.command, []

    def dies(sql: str, params: Any = None) -> None:
        done.append(sql)
        if len(done) > 2:
            raise KeyboardInterrupt
        command(sql, params)

    monkeypatch.setattr(filled.warehouse, "command", dies)
    with pytest.raises(KeyboardInterrupt):
        made.build(made.due()[0])
    monkeypatch.undo()
    assert covered(filled) == [False, False, False]
    assert events_of(filled) == 6
    filled.reopen()
    assert len(build_all(builder(filled))) == 2
    assert events_of(filled) == 6


def test_while_rows_are_lost_nothing_is_built(filled: World) -> None:
    loader = filled.loader
    loader.repository.swap(msgspec.structs.replace(loader.checkpoint(), lost=True))
    assert build_all(builder(filled)) == []
    assert DayTables(filled.warehouse).horizon() == []


def test_a_checkpoint_that_was_begun_anew_says_nothing_about_what_was_built(filled: World) -> None:
    build_all(builder(filled))
    loader = filled.loader
    loader.repository.swap(msgspec.structs.replace(loader.checkpoint(), batch=1))
    made = builder(filled)
    assert len(build_all(made)) == 2
    assert DayTables(filled.warehouse).horizon() == [1]


def months_of(world: World, first: date = BEFORE, last: date = TODAY) -> list[date]:
    """The months of which numbers come from the months' rows."""
    return [month.first for month in DayTables(world.warehouse).cover(Period(SITE, "UTC", first, last)).months]


def whole(world: World) -> tuple[date, date]:
    """Goes on to the month after next. The days around those of the tests, in whole months."""
    world.now += 62 * DAY_MS
    return BEFORE.replace(day=1), (TODAY.replace(day=1) + timedelta(days=31)).replace(day=1) - timedelta(days=1)


def finish(of: DayBuilder) -> None:
    while of.step() < LOOK_SECONDS:
        pass


def test_a_month_that_is_over_is_made_of_its_days(filled: World) -> None:
    finish(builder(filled))
    assert months_of(filled, TODAY.replace(day=1), TODAY) == []
    around = whole(filled)
    finish(builder(filled))
    assert months_of(filled, *around) == sorted({day.replace(day=1) for day in (BEFORE, TODAY)})
    assert events_of(filled, *around) == 6
    put(filled, 31, MIDNIGHT - 4 * HOUR_MS)
    assert events_of(filled, *around) == 7
    assert YESTERDAY.replace(day=1) not in months_of(filled, *around)
    changed = builder(filled)
    changed.look()
    filled.now += MINUTE_MS
    finish(changed)
    assert YESTERDAY.replace(day=1) in months_of(filled, *around)
    assert events_of(filled, *around) == 7


def break_rows(world: World, table: str) -> None:
    """Write something else over the end of a table's largest part, while nobody has it open."""
    sql = "SELECT path FROM system.parts WHERE active AND table = {table:String} ORDER BY rows DESC LIMIT 1"
    folder = world.warehouse.query(sql, {"table": table}).item()
    world.close()
    for file in Path(folder).glob("data*.bin"):
        file.write_bytes(file.read_bytes()[:-9] + b"something")
    world.open()


@pytest.mark.parametrize("table", ["day_values", "month_values"])
def test_broken_rows_of_the_day_tables_are_set_aside_and_made_again(filled: World, table: str) -> None:
    finish(builder(filled))
    around = whole(filled)
    finish(builder(filled))
    assert months_of(filled, *around)
    break_rows(filled, table)
    filled.now += MINUTE_MS
    assert recover.set_aside(filled.loader, 0, filled.now // DAY_MS + 1) >= 1
    assert covered(filled) == [False, False, False]
    assert events_of(filled, *around) == 6
    assert len(build_all(builder(filled))) == 3
    assert events_of(filled, *around) == 6
    finish(builder(filled))
    assert months_of(filled, *around)
    assert events_of(filled, *around) == 6


def test_a_site_without_a_known_zone_is_left_out(filled: World) -> None:
    assert build_all(builder(filled, "Mars/Olympus")) == []


def test_the_days_that_hours_touch() -> None:
    hours = pl.DataFrame(
        [
            (SITE, MIDNIGHT - HOUR_MS, MIDNIGHT - HOUR_MS),
            ("half.example", MIDNIGHT - 6 * HOUR_MS, MIDNIGHT - 6 * HOUR_MS),
            ("long.example", MIDNIGHT - HOUR_MS, MIDNIGHT + DAY_MS),
            ("gone.example", MIDNIGHT, MIDNIGHT),
        ],
        schema={"site": pl.String, "first": pl.Int64, "last": pl.Int64},
        orient="row",
    )
    zones = {SITE: "UTC", "half.example": "Asia/Kolkata", "long.example": "UTC"}
    assert set(days_of(hours, zones)) == {
        (SITE, "UTC", YESTERDAY),
        # An hour that begins at 23:30 there.
        ("half.example", "Asia/Kolkata", YESTERDAY),
        ("half.example", "Asia/Kolkata", TODAY),
        *(("long.example", "UTC", day) for day in (YESTERDAY, TODAY, TODAY + timedelta(days=1))),
    }
