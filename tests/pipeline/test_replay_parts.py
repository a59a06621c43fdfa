"""A replay of several parts: killed between any two effects it goes on, and its parts together are the whole."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from activity.definitions import DAY_MS, HOUR_MS, MARGIN_BEFORE_MS, MINUTE_MS
from activity.event import EventType
from pipeline import live, rebuild, replay
from pipeline.replay import driver
from tests.patience import patient
from tests.pipeline.test_live import Crash, assert_rollups_equal_a_group_by, expected, same
from tests.pipeline.world import RUNNER, T0, World, event

DAYS = 3
MIDNIGHT = T0 // DAY_MS * DAY_MS
FIRST = datetime.fromtimestamp(MIDNIGHT / 1000, UTC).date()
LAST = FIRST + timedelta(days=DAYS)


def history() -> list[Any]:
    """Days of visits, some over midnight, a visitor who never pauses, and copies that are a little later."""
    dice = random.Random(11)
    events = []
    for number, at in enumerate(range(MIDNIGHT, MIDNIGHT + 2 * DAY_MS + 2 * HOUR_MS, 29 * MINUTE_MS)):
        events.append(event(number, at, 99))
    for number in range(1_000, 1_100):
        at = MIDNIGHT + dice.randrange(DAYS * DAY_MS - HOUR_MS)
        if number % 4 == 0:  # around a midnight
            at = at // DAY_MS * DAY_MS + DAY_MS + dice.randrange(-40 * MINUTE_MS, 10 * MINUTE_MS)
        for step in range(dice.randrange(1, 4)):
            kind = dice.choice([EventType.PAGEVIEW, EventType.SEARCH, EventType.CUSTOM])
            site = dice.choice(["a.example", "b.example"])
            one = event(number * 10 + step, at + step * 20 * MINUTE_MS, number % 60, type=kind, term="t", site=site)
            events.append(one)
            if dice.random() < 0.1:
                events.append(event(number * 10 + step, one.occurred_at, number % 60, type=kind, term="t", site=site,
                                    received_at=one.received_at + 5))  # fmt: skip
    return sorted(events, key=lambda e: e.occurred_at)


@pytest.fixture(scope="module")
def grown(empty: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The folder of a world that has loaded the history, and the time in it."""
    world = World(shutil.copytree(empty, tmp_path_factory.mktemp("grown"), symlinks=True, dirs_exist_ok=True))
    events = history()
    for begin in range(0, len(events), 100):
        world.now = events[min(begin + 99, len(events) - 1)].occurred_at + 20_000
        world.publish(*events[begin : begin + 100])
        world.loader.drain()
    rebuild.reconcile(world.loader)
    assert same(world.sessions(), expected(world))
    world.close()
    return world.folder, world.now


@pytest.fixture
def loaded(grown: tuple[Path, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A copy of that world. A part of a replay is a day."""
    monkeypatch.setattr(driver, "PART_EVENTS", 1)
    world = World(shutil.copytree(grown[0], tmp_path / "copy", symlinks=True))
    world.now = grown[1]
    yield world
    world.close()


def run(world: World, loader: live.Loader | None = None, **options: Any) -> list[dict[str, Any]]:
    return list(replay.replay(loader or world.loader, world.archive, FIRST, LAST, **options))


def stored(world: World) -> pl.DataFrame:
    return pl.concat(list(world.warehouse.events_between(None, None, 0, 2**41))).sort("id_hi", "id_lo", "visitor")


DAMAGE = (
    "DELETE FROM event_rows WHERE visitor % 3 = 0",
    "ALTER TABLE event_rows UPDATE title = 'x' WHERE visitor % 3 = 1",
    "ALTER TABLE session_rows UPDATE pageviews = pageviews + 1 WHERE visitor % 2 = 0",
    "ALTER TABLE rollup_1m_rows UPDATE engaged_ms = engaged_ms + 1 WHERE true",
    "ALTER TABLE rollup_1h_rows UPDATE events = events + 1 WHERE true",
)


def damage(world: World) -> None:
    world.alter(*DAMAGE)


@contextmanager
def dying(world: World, at: int) -> Iterator[list[str]]:
    """From the effect of this number on (0 is the first) no effect happens any more; gives the effects that did."""
    done: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for what, name in (
            (world.warehouse, "insert"),
            (world.checkpoint, "swap"),
            (world.checkpoint, "put"),
            (world.checkpoint, "delete"),
        ):
            patch.setattr(what, name, counting(getattr(what, name), name, done, at))
        yield done


def counting(effect: Callable[..., Any], name: str, done: list[str], at: int) -> Callable[..., Any]:
    def wrapped(first: Any, *rest: Any) -> Any:
        if name == "insert" and rest[0].is_empty():
            return None
        if len(done) >= at:
            raise Crash("a crash of the test")
        done.append(f"{name} {first}")
        return effect(first, *rest)

    return wrapped


def restarted(world: World) -> live.Loader:
    """What the next process has: nothing of the last one but the stores."""
    loader = live.Loader(world.broker, world.warehouse, world.checkpoint, clock=lambda: world.now, runner=RUNNER)
    loader.take_over()
    world.loader = loader
    return loader


def assert_right(world: World, reports: list[dict[str, Any]], digests: dict[tuple[str, str], str]) -> None:
    assert same(world.sessions(), expected(world))
    assert_rollups_equal_a_group_by(world)
    assert {(r["site"], r["day"]): r["sha256"] for r in reports if r["day"] < str(LAST)} == {
        key: digest for key, digest in digests.items() if key[1] < str(LAST)
    }
    assert not world.checkpoint.names("replay-0")


@pytest.mark.parametrize("source", ["archive", "broker"])
def test_killed_between_any_two_effects_the_same_command_goes_on(loaded: World, source: str) -> None:
    """Each time on the same damage; the live run loads something in between."""
    world = loaded
    digests = {(r["site"], r["day"]): r["sha256"] for r in run(world, source=source)}
    untouched = stored(world)
    damage(world)
    with dying(world, 10**9) as effects:
        told = run(world, source=source)
    assert {r["day"] for r in told if not r["equal"]} >= {str(FIRST + timedelta(days=n)) for n in range(DAYS)}
    assert_right(world, told, digests)
    assert {"insert event_rows", "insert session_rows", "insert rollup_1m_rows", "swap unit-0"} <= set(effects)
    # Parts are alike, so one in the middle stands for all; and the end.
    marks = [number for number, effect in enumerate(effects) if effect == "swap replay-0"]
    chosen = [*range(marks[2], marks[4] + 1), len(effects) - 1] if source == "archive" else [marks[3] + 4]
    for number in chosen:
        damage(world)
        with dying(world, number), pytest.raises(Crash):
            run(world, source=source)
        loader = restarted(world)
        world.publish(event(50_000 + number, MIDNIGHT + DAYS * DAY_MS + number * MINUTE_MS, number % 7))
        world.now += MINUTE_MS
        loader.drain()
        resumed = run(world, source=source)
        # What was wrong is told, whether it was put right before the kill or after it; the last run had told it all.
        assert number == len(effects) - 1 or [
            (r["day"], r["site"], r["differs"]) for r in resumed if r["day"] < str(LAST)
        ] == [(r["day"], r["site"], r["differs"]) for r in told if r["day"] < str(LAST)], effects[number]
        assert_right(world, resumed, digests)
    assert stored(world).filter(pl.col("id_lo") < 50_000).equals(untouched)
    assert all(report["equal"] for report in run(world, dry_run=True))


def test_a_killed_replay_does_not_read_the_files_of_done_parts_again(
    loaded: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = loaded
    whole = run(world, source="archive", dry_run=True)
    with dying(world, 10**9) as effects:
        run(world, source="archive")
    commits = [number for number, effect in enumerate(effects) if effect == "swap unit-0"]
    with dying(world, commits[5]), pytest.raises(Crash):  # two a part: the third part has its lease, and dies
        run(world, source="archive")
    restarted(world)
    read: list[Any] = []
    archived = world.archive.read
    monkeypatch.setattr(world.archive, "read", lambda *given: read.append(given[2]) or archived(*given))
    assert run(world, source="archive") == whole
    assert read
    # Of the first two days only the margin of the third.
    assert min(entry.max_occurred_at for entry in read) >= MIDNIGHT + 2 * DAY_MS - MARGIN_BEFORE_MS


def test_parts_of_days_or_one_part_of_many_shards_give_the_same(
    loaded: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_day = run(loaded, source="archive")
    monkeypatch.setattr(driver, "PART_EVENTS", 10**9)
    assert run(loaded) == by_day
    monkeypatch.setattr(driver, "SHARD_EVENTS", 150)
    assert run(loaded, source="archive") == by_day
    assert [r for r in by_day if r["site"] == "b.example"] == run(loaded, site="b.example")


def test_a_part_that_the_source_lacks_leaves_the_parts_before_it_done(loaded: World) -> None:
    world = loaded
    whole = run(world, source="archive")
    entry = next(e for e in world.archive.manifest().entries if e.min_occurred_at >= MIDNIGHT + 2 * DAY_MS)
    committed = world.archive.committed()
    world.archive.commit(committed.version, [], committed.positions, remove=[entry.path])
    damage(world)
    before = world.sessions()
    told: list[dict[str, Any]] = []
    with pytest.raises(replay.Incomplete, match=r"lacks .* try --source broker"):
        told.extend(replay.replay(world.loader, world.archive, FIRST, LAST, source="archive"))
    # The file's events are of the third day, and a session of the second goes on in them.
    assert {r["day"] for r in told} == {str(FIRST)}
    assert [r["sha256"] for r in told] == [r["sha256"] for r in whole[: len(told)]]
    untouched = pl.col("started_at") >= MIDNIGHT + DAY_MS
    assert same(world.sessions().filter(untouched), before.filter(untouched))
    assert same(world.sessions().filter(~untouched), expected(world).filter(~untouched))
    assert [r["sha256"] for r in run(world)] == [r["sha256"] for r in whole]
    assert same(world.sessions(), expected(world))


def test_of_what_is_stored_as_the_source_has_it_no_row_is_read(
    loaded: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where one event differs, only the events of its day and shard are."""
    world = loaded
    right = stored(world)
    monkeypatch.setattr(driver, "SHARD_EVENTS", 40)
    read: list[tuple[str, Any]] = []

    def noting(name: str) -> None:
        asked = getattr(world.warehouse, name)
        monkeypatch.setattr(world.warehouse, name, lambda *given: (read.append((name, given)), asked(*given))[1])

    for name in ("events_between", "sessions_between", "rollups_between", "lookup_events"):
        noting(name)
    told = run(world, source="archive")
    assert all(r["equal"] for r in told)
    assert not [given for name, given in read if name != "lookup_events" or given[0].height]

    one = right.filter(pl.col("occurred_at") // DAY_MS == MIDNIGHT // DAY_MS + 1).row(3, named=True)
    alter = "ALTER TABLE event_rows UPDATE title = 'x' WHERE id_lo = {lo:UInt64} AND id_hi = {hi:UInt64}"
    world.warehouse.command(f"{alter} SETTINGS mutations_sync = 2", {"lo": one["id_lo"], "hi": one["id_hi"]})
    read.clear()
    again = run(world, source="archive")
    assert [(r["site"], r["day"], r["differs"]) for r in again if not r["equal"]] == [
        (one["site"], str(FIRST + timedelta(days=1)), ["events"])
    ]
    assert [r["sha256"] for r in again] == [r["sha256"] for r in told]
    [(_, (_, _, start, _, _, (shard, shards)))] = [entry for entry in read if entry[0] == "events_between"]
    assert (start, shard) == (MIDNIGHT + DAY_MS, one["visitor"] % shards)
    assert shards > 1
    assert stored(world).equals(right)


@pytest.mark.parametrize("days", [1, -1])
def test_an_event_stored_on_a_day_of_another_part_is_put_right(loaded: World, days: int) -> None:
    world = loaded
    right = stored(world)
    moved = right.filter(pl.col("occurred_at") // DAY_MS == MIDNIGHT // DAY_MS + 1)[3]
    rows = [(moved, True, 0), (moved.with_columns(pl.col("occurred_at") + days * DAY_MS), False, 1)]
    batch = world.loader.checkpoint().batch
    for frame, deleted, number in rows:
        signed = frame.with_columns(deleted=pl.lit(int(deleted), dtype=pl.UInt8), batch=pl.lit(batch, dtype=pl.UInt64))
        world.warehouse.insert("event_rows", signed, f"by hand {number}")
    told = run(world, source="archive")
    assert {name for r in told for name in r["differs"]} == {"events"}
    assert stored(world).equals(right)
    assert_rollups_equal_a_group_by(world)
    assert all(r["equal"] for r in run(world))


def test_two_replays_at_once_end_right_or_say_that_the_other_is_at_it(loaded: World) -> None:
    world = loaded
    damage(world)
    ended: list[Any] = []

    def replaying() -> None:
        loader = live.Loader(world.broker, world.warehouse, world.checkpoint, clock=lambda: world.now, runner=RUNNER)
        try:
            ended.append(run(world, loader, source="archive"))
        except rebuild.Busy as busy:
            ended.append(busy)

    threads = [threading.Thread(target=replaying) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patient(120))
    assert len(ended) == 2
    assert any(isinstance(end, list) for end in ended), ended
    run(world)
    assert same(world.sessions(), expected(world))
    assert_rollups_equal_a_group_by(world)


STALE: dict[str, Callable[[World], dict[str, Any]]] = {
    "another command": lambda _: {"site": "a.example"},
    "more than a day later": lambda world: setattr(world, "now", world.now + 2 * DAY_MS) or {},
    "unreadable": lambda world: (world.folder / "checkpoint" / "replay-0").write_bytes(b"junk") and {},
}


@pytest.mark.parametrize("why", STALE)
def test_a_journal_that_does_not_count_is_replaced(loaded: World, why: str) -> None:
    world = loaded
    with dying(world, 10**9) as effects:
        whole = run(world, source="archive")
    with dying(world, len(effects) // 2), pytest.raises(Crash):
        run(world, source="archive")
    restarted(world)
    options = STALE[why](world)
    damage(world)
    told = run(world, source="archive", **options)
    first = {r["day"] for r in told if not r["equal"]}
    assert str(FIRST) in first  # begun anew: the first day, which was done, is looked at again
    assert [r["sha256"] for r in told] == [r["sha256"] for r in whole if r["site"] == options.get("site", r["site"])]
    assert not world.checkpoint.names("replay-0")

