"""Records are gone from the broker, or a topic is: the loader says so, and goes on where the broker is when asked."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from activity.event import TOPICS
from brokers.base import BrokerError, TopicPartition
from brokers.sqlite.broker import SqliteBroker
from pipeline.rebuild import reconcile
from pipeline.reset import reset
from tests.pipeline.world import World, event

TOPIC = TOPICS[0]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.publish(*(event(n, visitor=n) for n in range(20)))
    made.loader.drain()
    made.flush()
    yield made
    made.close()


def made_again(world: World) -> None:
    world.broker.delete_topic(TOPIC)
    world.broker.create_topic(TOPIC, 4, -1)


def removed(world: World) -> None:
    """What was not loaded yet is removed, as `kafka-delete-records` does, or a retention that is too short."""
    assert isinstance(world.broker, SqliteBroker)
    world.publish(*(event(n, visitor=n) for n in range(100, 120)))
    for number in range(4):
        place = TopicPartition(TOPIC, number)
        with world.broker._file.transaction() as db:
            db.execute("DELETE FROM remembered")
        bounds = world.broker.bounds(place)
        assert bounds is not None
        world.publish(*(event(200 + n, visitor=n) for n in range(8)))
        world.broker.remove_before(place, bounds.last)


def cut_short(world: World) -> None:
    """The last records are lost, and new ones get their offsets."""
    copy = world.folder / "copy"
    with sqlite3.connect(world.folder / "log.sqlite") as log:
        log.execute("VACUUM INTO ?", (str(copy),))
    log.close()
    world.publish(*(event(n, visitor=n) for n in range(100, 140)))
    world.loader.drain()
    world.flush()
    world.close()
    for file in world.folder.glob("log.sqlite*"):
        file.unlink()
    shutil.copy(copy, world.folder / "log.sqlite")
    world.open()
    world.publish(*(event(n, visitor=n) for n in range(40, 44)))


def ids(world: World) -> set[int]:
    return set(world.warehouse.query("SELECT id_lo FROM event_rows WHERE NOT deleted")["id_lo"])


@pytest.mark.parametrize("lose", [made_again, removed, cut_short])
def test_the_loader_stands_still_in_words_and_goes_on_when_it_is_told(
    world: World, lose: Callable[[World], None]
) -> None:
    assert reset(world.loader, world.archive, dry_run=False) == []
    lose(world)
    with pytest.raises(BrokerError, match="reset-positions"):
        world.loader.step()
    found = reset(world.loader, world.archive, dry_run=True)
    assert {each.keeper for each in found} == {"archive", "unit 0"}
    with pytest.raises(BrokerError):
        world.loader.step()
    assert reset(world.loader, world.archive, dry_run=False) == found
    assert reset(world.loader, world.archive, dry_run=False) == []
    world.publish(*(event(n, visitor=n) for n in range(20, 40)), event(3, visitor=3))
    world.loader.drain()
    world.flush()
    assert set(range(40)) <= ids(world)
    assert (lose is not cut_short) or {*range(40, 44), *range(100, 140)} <= ids(world)
    assert world.loader.open().events == len(ids(world))
    assert sum(entry.rows for entry in world.archive.manifest().entries) >= 41


def test_a_batch_whose_records_are_gone_is_given_up(world: World) -> None:
    world.publish(*(event(n, visitor=n) for n in range(20, 30)))
    checkpoint = world.loader.open()
    intent = world.loader._plan(checkpoint)
    assert intent is not None
    world.loader.repository.swap(msgspec.structs.replace(checkpoint, intent=intent))
    made_again(world)
    world.reopen()
    with pytest.raises(BrokerError):
        world.loader.step()
    reset(world.loader, world.archive, dry_run=False)
    world.publish(*(event(n, visitor=n) for n in range(30, 40)))
    world.loader.drain()
    assert ids(world) == {*range(20), *range(30, 40)}
    assert world.loader.checkpoint().batch > intent.batch
    reconcile(world.loader)
    assert world.warehouse.query("SELECT count() AS n FROM sessions").item() == 30
