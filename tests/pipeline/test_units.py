"""Several loaders over one log make together what one makes, while their number changes and whatever is killed."""

from __future__ import annotations

import contextlib
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from activity.definitions import DAY_MS, HOUR_MS, MINUTE_MS
from activity.event import SESSION_TOPIC, TOPICS
from brokers.base import TopicPartition
from pipeline import live, rebuild, recover, replay
from pipeline.checkpoint import LEASE_MS, CheckpointRepository, UnitsChanged
from pipeline.replay import driver
from pipeline.resize import NotNow, resize
from pipeline.unit import Layout, Unit, all_of, layout
from stores.base import StoreError
from tests.pipeline.test_live import Crash, assert_rollups_equal_a_group_by, expected, same
from tests.pipeline.test_replay_parts import FIRST, LAST, MIDNIGHT, damage, dying, history
from tests.pipeline.world import T0, World, event


def loader_of(world: World, unit: Unit) -> live.Loader:
    return live.Loader(
        world.broker, world.warehouse, world.checkpoint, unit=unit, clock=lambda: world.now, runner=world.runner
    )


def loaders(world: World, of: int) -> list[live.Loader]:
    return [loader_of(world, unit) for unit in all_of(of)]


def share_out(world: World, to: int) -> list[live.Loader]:
    resize(lambda unit: loader_of(world, unit), to)
    found = layout(world.checkpoint)
    assert (found.of, found.to) == (to, 0)
    return loaders(world, to)


def assert_right(world: World, of: list[live.Loader]) -> None:
    assert same(world.sessions(), expected(world))
    assert_rollups_equal_a_group_by(world)
    stored = world.count("SELECT count() FROM events")
    assert sum(loader.open().events or 0 for loader in of) == stored
    assert stored == len({value.split(b'"id":"')[1][:32] for value in world.raw()})


def run(world: World, of: int, **options: Any) -> list[dict[str, Any]]:
    whole = loader_of(world, Unit(1, of)).of_all_units()
    return list(replay.replay(whole, world.archive, FIRST, LAST, **options))


def digests_of(reports: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    """Of the days to which the tests add nothing."""
    return {(report["site"], report["day"]): report["sha256"] for report in reports if report["day"] < str(LAST)}


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """Days of history loaded by three units at their own paces, some of it before there were three; and the time."""
    world = World(tmp_path_factory.mktemp("grown"))
    dice, events = random.Random(5), history()
    world.now = events[49].occurred_at + 20_000
    world.publish(*events[:50])
    world.loader.drain()
    three = share_out(world, 3)
    for begin in range(50, len(events), 60):
        world.now = events[min(begin + 59, len(events) - 1)].occurred_at + 20_000
        world.publish(*events[begin : begin + 60])
        for loader in dice.choices(three, k=2):
            loader.step()
    for loader in three:
        loader.drain()
        rebuild.reconcile(loader)
    assert_right(world, three)
    world.close()
    return world.folder, world.now


@pytest.fixture
def shared(
    grown: tuple[Path, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[World, list[live.Loader]]]:
    """A copy of what has grown, with its three loaders. A part of a replay is a day."""
    monkeypatch.setattr(driver, "PART_EVENTS", 1)
    shutil.copytree(grown[0], tmp_path / "copy", symlinks=True)
    world = World(tmp_path / "copy")
    world.now = grown[1]
    yield world, loaders(world, 3)
    world.close()


def test_units_at_their_own_paces_make_what_one_makes(shared: tuple[World, list[live.Loader]]) -> None:
    world, three = shared
    whole = run(world, 3, source="archive")
    assert all(report["equal"] for report in whole)
    assert run(world, 3) == whole
    assert_right(world, three)
    batches = [loader.open().batch for loader in three]
    assert len({loader.unit.next_batch(batch) for loader, batch in zip(three, batches, strict=True)}) == 3


def test_a_loader_of_a_former_unit_ends_and_says_what_to_start(shared: tuple[World, list[live.Loader]]) -> None:
    world, three = shared
    with pytest.raises(UnitsChanged, match="--unit K/3"):
        world.loader.open()
    two = share_out(world, 2)
    world.publish(event(70_000, world.now))
    world.now += MINUTE_MS  # those that have nothing to do look as often as that
    for loader in three:
        with pytest.raises(UnitsChanged, match="--unit K/2"):
            loader.run(threading.Event())
    with pytest.raises(UnitsChanged, match="--unit K/2"):
        run(world, 3)
    for loader in two:
        loader.drain()
    assert_right(world, two)
    (one,) = share_out(world, 1)
    with pytest.raises(UnitsChanged, match="without --unit"):
        two[0].open()
    one.drain()
    assert_right(world, [one])
    assert {name.split("/")[0] for name in world.checkpoint.names("segments-")} <= {"segments-0"}


def test_the_number_of_units_changes_at_any_moment_and_a_change_that_is_killed_goes_on(world: World) -> None:
    dice, events = random.Random(8), history()
    counts = [dice.choice([1, 2, 3, 4]) for _ in range(0, len(events), 40)]
    of = [world.loader]
    for number, begin in enumerate(range(0, len(events), 40)):
        world.now = events[min(begin + 39, len(events) - 1)].occurred_at + 20_000
        world.publish(*events[begin : begin + 40])
        for loader in of:
            loader.step()
        to = counts[number]
        with dying(world, dice.randrange(12)), contextlib.suppress(Crash):
            resize(lambda unit: loader_of(world, unit), to)
        of = share_out(world, to)
    for loader in of:
        loader.drain()
        rebuild.reconcile(loader)
    assert_right(world, of)
    assert all(report["equal"] for report in run(world, len(of)))


@pytest.mark.slow
@pytest.mark.parametrize("back", [1, 2])
def test_a_change_that_slept_through_others_touches_nothing_of_theirs(world: World, back: int) -> None:
    """It stops before each of its effects in turn, while others change to four units, to `back` and to four again."""
    world.publish(*(event(n, T0 + n * 1000, n % 9) for n in range(60)))
    world.loader.drain()
    with dying(world, 10**9) as effects:
        share_out(world, 4)
    assert {"swap units", "swap unit-0", "swap unit-4-of-4"} <= set(effects)
    for at in range(len(effects)):
        share_out(world, 1)
        with pytest.MonkeyPatch.context() as patch:

            def others(effect: Callable[..., Any], at: int, left: Iterator[int], patch: pytest.MonkeyPatch) -> Any:
                def wrapped(*given: Any) -> Any:
                    if next(left, None) is None:
                        patch.undo()
                        for to in (4, back, 4):
                            for loader in share_out(world, to):
                                loader.step()
                        world.publish(*(event(1000 + 100 * at + n, world.now, n % 9) for n in range(30)))
                        for loader in loaders(world, 4)[:3]:
                            loader.step()
                    return effect(*given)

                return wrapped

            left = iter(range(at))
            for name in ("swap", "put", "delete"):
                patch.setattr(world.checkpoint, name, others(getattr(world.checkpoint, name), at, left, patch))
            with contextlib.suppress(StoreError):
                resize(lambda unit: loader_of(world, unit), 4)
        world.now += MINUTE_MS
        four = share_out(world, 4)
        for loader in four:
            loader.drain()
        assert_right(world, four)
    assert world.count("SELECT count() FROM events") == 60 + 30 * len(effects)


def test_a_batch_that_was_broken_off_is_finished_before_its_unit_is_closed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish(*(event(n, T0 + n * 1000, n % 9) for n in range(60)))
    monkeypatch.setattr(live.Loader, "_commit", lambda *_: (_ for _ in ()).throw(Crash("a crash of the test")))
    with pytest.raises(Crash):
        world.loader.step()
    monkeypatch.undo()
    four = share_out(world, 4)
    for loader in four:
        assert loader.step() is None  # all of it was loaded by the former unit
    assert_right(world, four)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["archive", "broker"])
def test_a_replay_beside_units_killed_between_any_two_effects_goes_on(
    shared: tuple[World, list[live.Loader]], source: str
) -> None:
    world, three = shared
    digests = digests_of(run(world, 3, source=source))
    damage(world)
    with dying(world, 10**9) as effects:
        run(world, 3, source=source)
    assert {f"swap unit-{number}-of-3" for number in (1, 2, 3)} <= set(effects)
    marks = [number for number, effect in enumerate(effects) if effect == "swap replay-all-of-3"]
    # Of a part in the middle; of all units together what one alone does not have are the swaps of the others.
    swaps = [number for number in range(marks[2], marks[4]) if effects[number].startswith("swap unit-")]
    for number in [*swaps[1::3], len(effects) - 1] if source == "archive" else swaps[-2:]:
        damage(world)
        with dying(world, number), pytest.raises(Crash):
            run(world, 3, source=source)
        world.now += LEASE_MS  # the leases of the killed replay run out
        world.publish(event(50_000 + number, MIDNIGHT + 3 * DAY_MS + number * MINUTE_MS, number % 7))
        for loader in three:
            loader.drain()
        resumed = run(world, 3, source=source)
        assert digests_of(resumed) == digests
        assert_right(world, three)
    assert all(report["equal"] for report in run(world, 3, dry_run=True))


def test_a_unit_that_goes_far_ahead_while_a_part_is_built_is_caught_up_with(
    shared: tuple[World, list[live.Loader]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its batch numbers are beyond those of the others, which commit meanwhile too."""
    world, three = shared
    damage(world)
    build, number = driver._Replay._build, iter(range(80_000, 90_000))

    def beside(*given: Any) -> None:
        build(*given)
        for loader in (*three[:1] * 8, *three):
            world.publish(event(next(number), MIDNIGHT + 5 * HOUR_MS, next(number) % 60))
            loader.step()

    monkeypatch.setattr(driver._Replay, "_build", beside)
    run(world, 3, source="archive")
    monkeypatch.undo()
    for loader in three:
        loader.drain()
        rebuild.reconcile(loader)
    assert_right(world, three)
    assert all(report["equal"] for report in run(world, 3))


def test_what_is_still_open_goes_with_its_visitor(world: World) -> None:
    """Sessions go on over the change, and each is published once when it closes."""
    world.publish(*(event(n, T0, n) for n in range(40)))
    world.loader.drain()
    four = share_out(world, 4)
    world.now += 10 * MINUTE_MS
    world.publish(*(event(100 + n, world.now, n) for n in range(40)))
    for loader in four:
        loader.drain()
    two = share_out(world, 2)
    world.now += 20 * MINUTE_MS
    world.publish(*(event(200 + n, world.now, n) for n in range(40)))
    for loader in two:
        loader.drain()
    assert_right(world, two)
    assert world.sessions().height == 40
    world.now += 4 * HOUR_MS
    for loader in two:
        loader.drain()
    published = 0
    for partition in range(4):
        log = TopicPartition(SESSION_TOPIC, partition)
        bounds = world.broker.bounds(log)
        if bounds is not None:
            published += sum(len(batch) for batch in world.broker.read_range(log, None, bounds.last))
    assert published == 40


def test_late_events_are_reconciled_by_their_unit(shared: tuple[World, list[live.Loader]]) -> None:
    world, three = shared
    world.publish(*(event(90_000 + n, MIDNIGHT + n * HOUR_MS, n % 60) for n in range(30)))
    for loader in three:
        loader.drain()
    two = share_out(world, 2)  # the dirty days go with their visitors
    assert sum(rebuild.reconcile(loader)["marks"] for loader in two) > 20
    assert_right(world, two)


@pytest.mark.parametrize("damaged", [lambda path: path.unlink(), lambda path: path.write_bytes(b"1\njunk")])
def test_a_unit_that_lost_its_checkpoint_stops_all_and_all_is_made_again(
    shared: tuple[World, list[live.Loader]], damaged: Callable[[Any], object]
) -> None:
    world, three = shared
    for loader in three:
        world.flush(loader)
    world.publish(*(event(95_000 + n, world.now, n) for n in range(12)))
    three[0].drain()  # beyond what is archived, and the other units are behind
    damaged(world.folder / "checkpoint" / "unit-2-of-3")
    second = loader_of(world, Unit(2, 3))
    assert second.open().lost
    assert second.step() is None
    build, number = driver._Replay._build, iter(range(97_000, 98_000))

    def beside(*given: Any) -> None:
        build(*given)
        world.publish(event(next(number), MIDNIGHT + 5 * HOUR_MS, next(number) % 60))
        assert [loader.step() for loader in (*three, *three)] == [None] * 6

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver._Replay, "_build", beside)
        recover.recover(second, world.archive)
    three = loaders(world, 3)
    assert not any(loader.open().lost for loader in three)
    world.publish(*(event(96_000 + n, world.now, n) for n in range(12)))
    for loader in three:
        loader.drain()
        rebuild.reconcile(loader)
    assert_right(world, three)
    assert all(report["equal"] for report in run(world, 3))


def test_lost_rows_are_made_again_by_whichever_unit_notices(shared: tuple[World, list[live.Loader]]) -> None:
    world, three = shared
    world.warehouse.command("TRUNCATE TABLE session_rows")
    assert three[1].open().missing
    recover.recover(three[1], world.archive)
    assert_right(world, three)
    assert not any(loader.open().missing for loader in three)
    # The others had noticed as well, or see that nothing is missing any more.
    for loader in three:
        recover.recover(loader, world.archive)
        assert loader.step() is None or loader.step() is None
    assert_right(world, three)


def test_rows_are_missed_that_only_another_unit_knew_of(shared: tuple[World, list[live.Loader]]) -> None:
    """The first unit has been idle since; what the second has committed is gone when all units are changed together."""
    world, three = shared
    before = set(map(str, three[0].open().parts))
    world.now += MINUTE_MS
    world.publish(*(event(91_000 + n, world.now, n) for n in range(40)))
    three[1].drain()
    known = [part for part in three[1].open().parts if part.table == "session_rows" and str(part) not in before]
    newest = max(known, key=lambda part: part.first)
    names = world.warehouse.query(
        "SELECT name FROM system.parts WHERE active AND table = 'session_rows' AND max_block_number = {n:UInt64}",
        {"n": newest.last},
    )
    world.warehouse.command(f"ALTER TABLE session_rows DROP PART '{names.item()}'")
    whole = three[0].of_all_units()
    with rebuild.leased(whole) as checkpoint:
        rebuild.commit(whole, checkpoint, [])
    assert three[2].open().missing
    for loader in three[::-1]:
        recover.recover(loader, world.archive)
        loader.drain()
    assert_right(world, three)


def test_an_archive_that_several_units_flush_has_each_event_once(shared: tuple[World, list[live.Loader]]) -> None:
    world, three = shared
    commit, meanwhile = world.archive.commit, [three[1], three[2]]

    def beaten(*given: Any, **more: Any) -> None:
        while meanwhile:
            other = meanwhile.pop()
            world.flush(other)
        commit(*given, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.archive, "commit", beaten)
        world.flush(three[0])
    rows = sum(entry.rows for entry in world.archive.manifest().entries)
    assert rows == len(world.raw())
    assert set(world.archive.committed().positions) <= set(TOPICS)


def test_of_a_new_deployment_the_units_count_from_nothing(world: World) -> None:
    two = share_out(world, 2)
    world.publish(*(event(n, T0, n) for n in range(40)))
    for loader in two:
        loader.drain()
    assert_right(world, two)


def test_what_is_not_fit_for_a_change_is_refused_in_words(world: World) -> None:
    with pytest.raises(NotNow, match="4 partitions, so there can be 4 units at most"):
        share_out(world, 5)
    two = share_out(world, 2)
    world.publish(*(event(n, T0, n) for n in range(40)))
    world.now += 3 * HOUR_MS
    world.publish(*(event(100 + n, world.now, n) for n in range(40)))
    two[1].drain()
    with pytest.raises(NotNow, match=r"unit 1/2 is more than an hour behind"):
        share_out(world, 1)
    assert layout(world.checkpoint) == Layout(2, 0, 1)
    world.publish(*(event(200 + n, world.now, n) for n in range(40)))
    former = [loader.open().watermark for loader in two]
    four = share_out(world, 4)  # each of the new ones follows one of the former, at its pace
    assert [loader.open().watermark for loader in four] == former * 2
    for loader in four:
        loader.drain()
        assert not loader.status.late
    repository = CheckpointRepository(world.checkpoint, Unit(3, 4).name)
    repository.store.delete(repository.name)
    with pytest.raises(NotNow, match="unit 3/4: the checkpoint is missing or damaged"):
        share_out(world, 2)
