"""Replay: from the broker and from the archive, the sessions, rollups and digests of the live run again."""

from __future__ import annotations

import shutil
import threading
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import polars as pl
import pytest

from activity.columns import COLUMNS
from activity.definitions import HOUR_MS
from activity.event import TOPICS
from brokers.base import TopicPartition
from pipeline import losses, recover, replay
from pipeline.replay import driver
from tests.patience import patient
from tests.pipeline.test_live import assert_rollups_equal_a_group_by, expected, history, same
from tests.pipeline.world import T0, World, event

DAY = datetime.fromtimestamp(T0 / 1000, UTC).date()
NEXT = date.fromordinal(DAY.toordinal() + 1)


def run(world: World, **options: Any) -> list[dict[str, Any]]:
    return list(replay.replay(world.loader, world.archive, DAY, NEXT, **options))


def loaded(world: World) -> World:
    events = history(4, 300)
    for i in range(0, len(events), 100):
        world.publish(*events[i : i + 100])
        world.loader.drain()
    return world


@pytest.mark.parametrize("source", ["broker", "archive"])
def test_a_replay_rebuilds_the_same_digests(world: World, source: str) -> None:
    reports = run(loaded(world), source=source)
    assert reports
    assert [r["equal"] for r in reports] == [True] * len(reports)
    assert sum(r["sessions"] for r in reports) == world.sessions().height
    assert sum(r["events"] for r in reports) == world.count("SELECT count() FROM events")
    assert same(world.sessions(), expected(world))
    assert_rollups_equal_a_group_by(world)


def test_a_session_altered_by_hand_is_told_and_put_right(world: World) -> None:
    before = run(loaded(world))
    one = world.sessions().row(0, named=True)
    alter = "ALTER TABLE session_rows UPDATE pageviews = pageviews + 1 WHERE session_id = {id:UInt64}"
    world.warehouse.command(f"{alter} SETTINGS mutations_sync = 2", {"id": one["session_id"]})
    dry = run(world, dry_run=True)
    assert sorted(r["equal"] for r in dry) == sorted([False] + [True] * (len(dry) - 1))
    assert not same(world.sessions(), expected(world))
    assert [r["sha256"] for r in run(world)] == [r["sha256"] for r in before]
    assert same(world.sessions(), expected(world))
    assert all(r["equal"] for r in run(world))


LOSSES = {
    "a part of the events": ("DELETE FROM event_rows WHERE visitor % 3 = 0", "events"),
    "an event's title": ("ALTER TABLE event_rows UPDATE title = 'x' WHERE visitor = 3", "events"),
    "an event's time": (
        "INSERT INTO event_rows ({names}) SELECT * REPLACE (batch + 1 AS batch, 1 AS deleted) FROM event_rows FINAL "
        "LIMIT 1; INSERT INTO event_rows ({names}) SELECT * REPLACE (addDays(occurred_at, 1) AS occurred_at, "
        "batch + 1 AS batch, 0 AS deleted) FROM event_rows WHERE deleted LIMIT 1",
        "events",
    ),
    "all events": ("TRUNCATE TABLE event_rows", "events"),
    "all sessions": ("TRUNCATE TABLE session_rows", "sessions"),
    "rollups by the minute": ("ALTER TABLE rollup_1m_rows UPDATE engaged_ms = engaged_ms + 1 WHERE true", "rollups"),
    "rollups by the hour": ("TRUNCATE TABLE rollup_1h_rows", "rollups"),
}


def test_whatever_is_lost_of_a_day_is_told_and_comes_back(world: World) -> None:
    before = run(loaded(world))
    stored = events(world)
    names = ", ".join([*COLUMNS, "batch", "deleted"])
    for number, (statements, what) in enumerate(LOSSES.values()):
        for statement in statements.format(names=names).split("; "):
            world.warehouse.command(statement + ("" if "TRUNCATE" in statement else " SETTINGS mutations_sync = 2"))
        source = ("broker", "archive")[number % 2]
        dry = run(world, source=source, dry_run=True)
        assert {what} == {name for r in dry for name in r["differs"]}
        assert [r["equal"] for r in dry] == [not r["differs"] for r in dry]
        again = run(world, source=source)
        assert [r["differs"] for r in again] == [r["differs"] for r in dry]
        assert [r["sha256"] for r in again] == [r["sha256"] for r in before]
        assert events(world).equals(stored)
        assert same(world.sessions(), expected(world))
        assert_rollups_equal_a_group_by(world)


def events(world: World) -> pl.DataFrame:
    return pl.concat(list(world.warehouse.events_between(None, None, 0, 2**41))).sort("id_lo")


@pytest.mark.parametrize("source", ["broker", "archive"])
def test_without_sessions_rollups_and_checkpoint_everything_comes_back(world: World, source: str) -> None:
    before = run(loaded(world))
    for table in ("session_rows", "rollup_1m_rows", "rollup_1h_rows"):
        world.warehouse.command(f"TRUNCATE TABLE {table}")
    world.close()
    shutil.rmtree(world.folder / "checkpoint")
    world.open()
    assert world.loader.step() is None
    assert world.loader.status.trouble == losses.LOST
    again = run(world, source=source)
    assert [(r["day"], r["sha256"], r["equal"]) for r in again] == [(r["day"], r["sha256"], False) for r in before]
    assert same(world.sessions(), expected(world))
    assert_rollups_equal_a_group_by(world)
    # The live run goes on from there, with the open sessions it had.
    recover.recover(world.loader, world.archive)
    world.publish(event(9_001, T0 + 1, 3), event(9_002, T0 + 2, 99))
    world.loader.drain()
    assert same(world.sessions(), expected(world))
    assert_rollups_equal_a_group_by(world)


def test_what_is_committed_while_a_replay_builds_is_caught_up_with(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded(world)
    build = driver._Replay._build
    # New events, and one that takes the place of a stored one, an hour before it.
    first = history(4, 300)[0]
    lesser = msgspec.structs.replace(first, occurred_at=first.occurred_at - HOUR_MS, received_at=T0 - HOUR_MS)
    meanwhile = [[event(8_000 + v, T0 + 5_000, v) for v in range(25)], [lesser]]

    def build_and_load(*args: Any) -> None:
        build(*args)
        if meanwhile:
            world.publish(*meanwhile.pop(0))
            world.loader.drain()

    monkeypatch.setattr(driver._Replay, "_build", build_and_load)
    for _ in range(2):
        assert all(r["equal"] for r in run(world))
        assert same(world.sessions(), expected(world))
        assert_rollups_equal_a_group_by(world)
    assert not meanwhile


def test_a_source_that_lacks_events_swaps_nothing(world: World) -> None:
    loaded(world)
    stored = world.sessions()
    world.flush()
    entry = world.archive.manifest().entries[0]
    committed = world.archive.committed()
    world.archive.commit(committed.version, [], committed.positions, remove=[entry.path])
    with pytest.raises(replay.Incomplete, match=f"lacks .*{'--source broker'}"):
        run(world, source="archive")
    assert same(world.sessions(), stored)


def test_the_archive_holds_every_record_once_however_often_it_is_flushed(world: World) -> None:
    loaded(world)
    for _ in range(2):
        world.flush()
    rows = sum(entry.rows for entry in world.archive.manifest().entries)
    assert rows == len(world.raw())


def test_a_lost_checkpoint_is_recovered_from_the_archive_where_the_log_was_cut(world: World) -> None:
    loaded(world)
    world.flush()
    before = world.sessions()
    world.close()
    shutil.rmtree(world.folder / "checkpoint")
    world.open()
    for topic in TOPICS:
        for partition in range(4):
            bounds = world.broker.bounds(TopicPartition(topic, partition))
            if bounds is not None:
                world.broker.remove_before(TopicPartition(topic, partition), bounds.last)
    recover.recover(world.loader, world.archive)
    assert not world.loader.checkpoint().lost
    assert same(world.sessions(), before)
    recover.recover(world.loader, world.archive)
    assert_rollups_equal_a_group_by(world)


def test_a_checkpoint_deleted_under_a_running_loader_ends_the_run_and_is_recovered(world: World) -> None:
    loaded(world)
    shutil.rmtree(world.folder / "checkpoint")
    world.publish(event(9_001, T0 + 1, 3), event(9_002, T0 + 2, 99))
    running = threading.Thread(target=world.loader.run, args=(threading.Event(), 0.01), daemon=True)
    running.start()
    running.join(patient(60))
    assert not running.is_alive()
    assert world.loader.status.trouble == losses.LOST
    recover.recover(world.loader, world.archive)
    world.loader.drain()
    assert same(world.sessions(), expected(world))
    assert_rollups_equal_a_group_by(world)
