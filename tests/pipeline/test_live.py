"""Micro-batches on real parts: every step of the graph counts, nothing is loaded twice, crashes change nothing."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity import columns, rollup, session
from activity.definitions import DAY_MS, GAP_MS, HORIZON_MS, MINUTE_MS
from activity.event import EventType
from brokers.base import Record, TopicPartition
from pipeline import live, rebuild
from pipeline.checkpoint import CheckpointRepository, Lease, PartitionsChanged
from stores.days import DayTables
from tests.pipeline.world import T0, World, event, record


def expected(world: World) -> pl.DataFrame:
    """The sessions of everything in the log, in one pass."""
    frame, _ = columns.decode(world.raw())
    persons = frame.filter(pl.col("bot") == "").select(session.STATE_COLUMNS.keys())
    return session.sessions(session.canonical(persons))


def same(a: pl.DataFrame, b: pl.DataFrame) -> bool:
    return a.sort("visitor", "session_id").equals(b.sort("visitor", "session_id"))


def test_a_search_that_found_nothing_is_stored_as_such_alone_in_its_batch(world: World, loader: live.Loader) -> None:
    world.publish(event(1, type=EventType.SEARCH, term="nothing", results=0))
    assert [counted["dedupe.fresh"] for counted in loader.drain()] == [1]
    (found,) = world.warehouse.events_between(None, None, 0, 2**41)
    assert found["results"].to_list() == [0]


def assert_rollups_equal_a_group_by(world: World) -> None:
    events = pl.concat(list(world.warehouse.events_between(None, None, 0, 2**41)))
    for grain, size in rollup.GRAINS.items():
        grouped = (
            events.filter(pl.col("bot") == "")
            .group_by("site", bucket=pl.col("occurred_at") // size * size)
            .agg(events=pl.len().cast(pl.Int64), pageviews=(pl.col("type") == "pageview").sum().cast(pl.Int64))
            .sort("site", "bucket")
        )
        stored = world.warehouse.rollups_between(grain, None, 0, 2**41)
        totals = stored.filter((pl.col("dimension") == "") & (pl.col("events") != 0)).sort("site", "bucket")
        assert totals.select("site", "bucket", "events", "pageviews").equals(grouped)


def test_every_step_of_a_live_run_counts_in_beams_metrics(world: World, loader: live.Loader) -> None:
    world.publish(event(1), event(2, T0 + 1000), event(2, T0 + 1000), event(3, type=EventType.SEARCH, term="x"))
    world.publish(event(4, visitor=8, bot="headless"))
    world.broker.publish([Record("footfall.custom", b"k", b"junk")])
    counters: dict[str, int] = {}
    for counted in loader.drain():
        for name, value in counted.items():
            counters[name] = counters.get(name, 0) + value
    assert counters == counters | {
        "decode.records": 6, "decode.events": 5, "decode.dead": 1, "key_by_shard.events": 5, "dedupe.fresh": 4,
        "dedupe.duplicates": 1, "dedupe.retracted": 0, "sessionize.changes": 1, "sessionize.late": 0,
        "write_events.rows": 4, "write_sessions.rows": 1, "write_dead_letters.rows": 1,
    }  # fmt: skip
    assert counters["write_rollup_1m.rows"] == counters["roll_up.rollup_1m_rows"] > 0
    assert world.count("SELECT count() FROM events") == 4
    assert world.warehouse.query("SELECT topic, bytes FROM dead_letters").row(0) == ("footfall.custom", "junk")
    assert same(world.sessions(), expected(world))


def history(seed: int, count: int = 400) -> list[Any]:
    """Events of 20 visitors around the session gap, with copies, some a few minutes out of order."""
    dice = random.Random(seed)
    at = {v: T0 + dice.randrange(DAY_MS) % HORIZON_MS for v in range(20)}
    events = []
    for n in range(count):
        v = dice.randrange(20)
        at[v] += dice.choice([0, 1, 60_000, GAP_MS - 1, GAP_MS, GAP_MS + 1])
        kind = dice.choice([EventType.PAGEVIEW, EventType.SEARCH, EventType.CUSTOM, EventType.ENGAGEMENT])
        e = event(n, at[v], v, type=kind, engaged_ms=dice.randrange(9000), term="t", name="n")
        events.append(e)
        if dice.random() < 0.2:
            events.append(dice.choice(events))
    return events


def test_many_batches_with_copies_make_the_sessions_of_one_pass(world: World, loader: live.Loader) -> None:
    events = history(1)
    for i in range(0, len(events), 60):
        world.publish(*events[i : i + 60])
        loader.drain()
    assert same(world.sessions(), expected(world))
    assert_rollups_equal_a_group_by(world)
    world.publish(*events)
    loader.drain()
    assert loader.status.duplicates >= len(events)
    assert same(world.sessions(), expected(world))
    assert_rollups_equal_a_group_by(world)


class Crash(Exception):
    pass


@pytest.mark.parametrize("table", ["rollup_1m_rows", "rollup_1h_rows", "session_rows", "event_rows", None])
@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_write_is_made_good_by_the_same_intent(
    world: World, monkeypatch: pytest.MonkeyPatch, table: str | None, after: bool
) -> None:
    """The crash is written into the run: before or after one table's insert, or at the commit."""
    events = history(2, 120)
    world.publish(*events[:60])
    world.loader.drain()
    world.publish(*events[60:])
    if table is None:
        monkeypatch.setattr(live.Loader, "_commit", lambda *a: (_ for _ in ()).throw(Crash("a crash of the test")))
    else:
        insert = world.warehouse.insert

        def crashing(name: str, frame: pl.DataFrame, token: str) -> None:
            if name == table and not after:
                raise Crash("a crash of the test")
            insert(name, frame, token)
            if name == table:
                raise Crash("a crash of the test")

        monkeypatch.setattr(world.warehouse, "insert", crashing)
    with pytest.raises(Exception, match="a crash of the test"):
        world.loader.step()
    monkeypatch.undo()
    world.reopen()
    world.loader.drain()
    assert same(world.sessions(), expected(world))
    assert_rollups_equal_a_group_by(world)
    assert world.count("SELECT count() FROM events") == len({e.id for e in events})


def test_an_event_beyond_the_horizon_waits_for_reconcile_and_an_open_chain_takes_it_in(
    world: World, loader: live.Loader
) -> None:
    steps = [event(n, T0 + n * GAP_MS, 1) for n in range(20)]
    for e in (*steps[:4], *steps[5:]):
        world.publish(e)
    loader.clock = lambda: steps[-1].occurred_at + 20_000
    loader.drain()
    loader.drain()
    world.publish(steps[4])
    loader.drain()
    assert loader.status.late == 1
    assert not same(world.sessions(), expected(world))
    assert rebuild.reconcile(loader)["marks"] == 1
    assert same(world.sessions(), expected(world))
    # What follows still extends the one session whose start the late event moved.
    world.publish(event(50, T0 + 20 * GAP_MS, 1))
    loader.drain()
    assert same(world.sessions(), expected(world))
    assert_rollups_equal_a_group_by(world)


def test_late_events_of_many_days_in_a_row_are_formed_piece_by_piece(world: World, loader: live.Loader) -> None:
    """A window of 43 days is formed in three pieces; chains go on over midnight at their edges, too."""
    begin = T0 // DAY_MS * DAY_MS
    loader.clock = lambda: begin + 60 * DAY_MS
    world.publish(event(1, begin + 59 * DAY_MS))
    loader.drain()
    minutes = (-10, 0, 15, 600, 1_420)  # of each day: the first and the last go on over midnight
    late = [
        event(1_000 * day + 10 * visitor + number, begin + day * DAY_MS + minute * MINUTE_MS, visitor)
        for day in range(1, 41)
        for visitor in (7, 8)
        for number, minute in enumerate(minutes)
    ]
    world.publish(*late)
    loader.drain()
    assert loader.status.late == len(late)
    assert len(rebuild.pieces(begin, begin + 43 * DAY_MS)) == 3
    assert rebuild.reconcile(loader)["windows"] == 1
    assert same(world.sessions(), expected(world))


@given(st.integers(0, 400), st.integers(1, 100))
def test_pieces_lie_side_by_side_from_the_window_s_begin_to_its_end(first: int, days: int) -> None:
    start, end = first * DAY_MS, (first + days) * DAY_MS
    found = rebuild.pieces(start, end)
    assert [start, *(piece[1] for piece in found)] == [*(piece[0] for piece in found), end]


def test_a_lesser_copy_that_comes_later_replaces_in_every_table(world: World, loader: live.Loader) -> None:
    world.publish(event(1, T0, received_at=T0 + 100), event(2, T0 + 60_000))
    loader.drain()
    world.publish(event(1, T0 - 120_000, received_at=T0 + 50))
    loader.drain()
    assert loader.status.duplicates == 1
    assert same(world.sessions(), expected(world))
    assert world.sessions()["started_at"].to_list() == [T0 - 120_000]
    assert_rollups_equal_a_group_by(world)


def test_who_lost_the_swap_starts_over_and_nothing_is_loaded_twice(world: World, loader: live.Loader) -> None:
    other = live.Loader(world.broker, world.warehouse, world.checkpoint, clock=lambda: world.now)
    world.publish(*history(3, 50))
    loader.open()
    other.open()
    loader.drain()
    assert other.step() is None  # its checkpoint is stale
    other.drain()
    loader.drain()
    assert same(world.sessions(), expected(world))
    assert_rollups_equal_a_group_by(world)


def test_a_thread_that_asks_for_the_checkpoint_during_a_commit_does_not_load_the_former_one(
    world: World, loader: live.Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive asks for the positions at any time; it must not set back what the loader goes on from."""
    put, load = loader.repository.put_frame, loader.repository.state
    loaded, over = threading.Event(), threading.Event()

    def ask() -> None:
        loader.checkpoint()

    def slow(*arguments: Any) -> Any:
        state = load(*arguments)
        loaded.set()
        over.wait()
        return state

    asking = threading.Thread(target=ask)

    def put_while_another_asks(*arguments: Any) -> str:
        if not asking.ident:
            asking.start()
            loaded.wait(1)
        return put(*arguments)

    world.publish(event(1))
    loader.drain()
    monkeypatch.setattr(loader.repository, "put_frame", put_while_another_asks)
    monkeypatch.setattr(loader.repository, "state", slow)
    world.publish(event(2, T0 + 1000))
    assert loader.step() is not None
    over.set()
    asking.join()
    world.publish(event(3, T0 + 2000))
    assert loader.step() is not None
    assert same(world.sessions(), expected(world))


def test_a_reconcile_that_comes_first_after_a_crash_finishes_the_batch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = event(3, T0 - 3 * HORIZON_MS)
    world.publish(event(1), event(2, T0 + 1000))
    world.loader.drain()
    world.publish(late)
    world.loader.drain()
    world.publish(event(4, T0 + 2000))
    monkeypatch.setattr(live.Loader, "_run", lambda *_: (_ for _ in ()).throw(Crash("a crash of the test")))
    with pytest.raises(Crash):
        world.loader.step()
    monkeypatch.undo()
    monkeypatch.setattr(rebuild, "_PATIENCE", 0.0)
    world.reopen()
    assert rebuild.reconcile(world.loader)["marks"] == 1
    assert same(world.sessions(), expected(world))
    assert world.count("SELECT count() FROM events") == 4


def test_another_partition_count_is_refused_by_name(world: World, loader: live.Loader) -> None:
    loader.open()
    world.broker.delete_topic("footfall.search")
    world.broker.create_topic("footfall.search", 8)
    with pytest.raises(PartitionsChanged, match=r"footfall\.search has 8"):
        live.Loader(world.broker, world.warehouse, world.checkpoint).open()


def test_closed_sessions_are_published_once_they_can_no_longer_change(world: World, loader: live.Loader) -> None:
    world.publish(event(1), event(2, T0 + 1000))
    loader.clock = lambda: T0 + 60_000
    loader.drain()
    loader.clock = lambda: T0 + HORIZON_MS + GAP_MS + 90_000
    loader.drain()
    closed = [
        r
        for p in range(4)
        if (b := world.broker.bounds(TopicPartition("footfall.session", p)))
        for batch in world.broker.read_range(TopicPartition("footfall.session", p), None, b.last)
        for r in batch
    ]
    assert [r.key for r in closed] == [record(event(1)).key]
    assert b'"pageviews":2' in (closed[0].value or b"")


def test_what_was_built_is_noted_when_no_other_process_has_the_checkpoint(world: World) -> None:
    world.publish(event(1))
    world.loader.drain()
    tables = DayTables(world.warehouse)
    tables.build("a.example", "UTC", datetime.fromtimestamp(T0 / 1000, UTC).date())
    repository = CheckpointRepository(world.checkpoint, world.loader.unit.name)
    found = repository.load()
    assert found is not None
    leased = repository.swap(msgspec.structs.replace(found, lease=Lease("another", world.now + 60_000)))
    world.loader.open()
    assert repository.load() == leased
    world.now += 60_001
    world.loader.open()
    noted = repository.load()
    assert noted is not None
    assert {part.table for part in noted.parts} - {part.table for part in leased.parts} >= {"day_builds"}
