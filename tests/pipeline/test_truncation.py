"""An older copy of the log is put back, or the log is gone: what is new counts, and nobody's position moves back."""

from __future__ import annotations

import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import stores
from activity.event import TOPICS
from brokers.base import Broker, Position, Resumable, TopicPartition
from pipeline import truncation
from pipeline.audit import Sources, audit
from pipeline.rebuild import reconcile
from pipeline.truncation import Kept
from stores.receipts import Span
from tests.pipeline.world import T0, World, event

HOUR = 3_600_000


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def kept(world: World) -> Kept:
    manifest = stores.connect_checkpoint(f"file:///{world.folder}/archive/_manifest")
    return Kept(world.checkpoint, manifest)


def resumed(world: World, *, anew: bool = False) -> list[str]:
    assert isinstance(world.broker, Resumable)
    assert isinstance(world.broker, Broker)
    return [f"{place}" for place, _ in truncation.resume(world.broker, kept(world), anew=anew)]


def put_back(world: World, copy: Path | None) -> None:
    """Replace the log by a copy, or by one that is made anew."""
    world.close()
    for file in world.folder.glob("log.sqlite*"):
        file.unlink()
    if copy is not None:
        shutil.copy(copy, world.folder / "log.sqlite")
    world.open()


def copied(world: World) -> Path:
    copy = world.folder / "copy"
    with sqlite3.connect(world.folder / "log.sqlite") as log:
        log.execute("VACUUM INTO ?", (str(copy),))
    log.close()
    return copy


def ids(world: World) -> list[int]:
    return sorted(world.warehouse.query("SELECT id_lo FROM event_rows WHERE NOT deleted")["id_lo"])


def test_what_is_new_counts_after_an_older_copy_was_put_back(world: World) -> None:
    world.publish(*(event(n, visitor=n) for n in range(20)))
    world.loader.drain()
    copy = copied(world)
    now = time.time_ns() // 1_000_000 + 1  # what was received before the log begins may have been removed
    world.publish(*(event(n, now, visitor=n) for n in range(20, 40)))
    world.loader.drain()
    world.flush()
    world.publish(*(event(n, now, visitor=n) for n in range(40, 50)))  # loaded, and not archived
    world.loader.drain()
    positions = world.loader.checkpoint().positions
    put_back(world, copy)
    assert resumed(world)
    assert resumed(world) == []
    world.publish(*(event(n, visitor=n) for n in range(50, 90)))
    world.loader.drain()
    assert ids(world) == list(range(90))
    assert all(Position.parse(positions["footfall.pageview"][n]) <= Position.parse(at)
               for n, at in world.loader.checkpoint().positions["footfall.pageview"].items())  # fmt: skip
    world.flush()
    assert sum(entry.rows for entry in world.archive.manifest().entries) == 80
    begin, sources = now // HOUR * HOUR, Sources(world.broker, world.warehouse, world.archive, world.checkpoint)
    (hour,) = audit(sources, Span(begin, begin + HOUR))
    assert {found.where for found in hour.mismatches} == {"log"}
    assert sum(found.events for found in hour.mismatches) == 30
    named = [found for found in hour.mismatches if found.first]
    assert sum(found.events for found in named) == 20  # those of the archive, by topic, partition and range
    assert all(found.topic == "footfall.pageview" and found.partition is not None for found in hour.mismatches)


def test_a_log_that_is_gone_is_made_again_behind_what_was_read(world: World) -> None:
    world.publish(*(event(n, visitor=n) for n in range(20)))
    world.loader.drain()
    world.flush()
    world.publish(*(event(n, visitor=n) for n in range(20, 30)))
    world.loader.drain()
    put_back(world, None)
    assert resumed(world) == []  # it may be the wrong file
    assert resumed(world, anew=True)
    world.publish(*(event(n, visitor=n) for n in range(30, 60)))
    world.loader.drain()
    world.flush()
    assert ids(world) == list(range(60))
    assert sum(entry.rows for entry in world.archive.manifest().entries) == 50


def test_a_batch_that_was_broken_off_is_run_without_the_records_that_are_lost(world: World) -> None:
    world.publish(*(event(n, visitor=n) for n in range(10)))
    world.loader.drain()
    copy = copied(world)
    world.publish(*(event(n, visitor=n) for n in range(10, 20)))
    checkpoint = world.loader.open()
    intent = world.loader._plan(checkpoint)
    world.loader.repository.swap(msgspec.structs.replace(checkpoint, intent=intent))
    put_back(world, copy)
    resumed(world)
    world.publish(*(event(n, visitor=n) for n in range(20, 30)))
    world.loader.drain()
    assert ids(world) == [*range(10), *range(20, 30)]
    reconcile(world.loader)
    assert world.warehouse.query("SELECT count() AS n FROM sessions").item() == 20


def test_rows_of_lost_records_stay_and_have_their_sessions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.publish(*(event(n, visitor=n) for n in range(10)))
    world.loader.drain()
    copy = copied(world)
    world.publish(*(event(n, visitor=n) for n in range(10, 20)))

    def killed(*arguments: Any) -> None:
        written: Callable[[], object] = arguments[-1]
        written()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(world.loader, "_commit", killed)
        world.loader.step()
    put_back(world, copy)
    resumed(world)
    # A visitor of the lost records comes again: his visit is one.
    world.publish(*(event(n, visitor=n - 5, at=T0 + 60_000) for n in range(20, 30)))
    world.loader.drain()
    assert ids(world) == list(range(30))
    reconcile(world.loader)
    sessions = world.warehouse.query("SELECT count() AS n, sum(events) AS events FROM sessions")
    assert sessions.row(0) == (25, 30)
    assert world.loader.open().events == 30


def test_positions_are_those_of_all_who_keep_some(world: World) -> None:
    world.publish(event(1))
    world.loader.drain()
    found = kept(world)
    (place,) = found.known()
    (incarnation,) = found.last(place)
    assert found.partitions == 4
    assert found.last(place)[incarnation] == found.read(place, incarnation)
    world.flush()
    world.publish(event(2))
    world.loader.drain()
    archived = world.archive.committed().positions[place.topic][str(place.number)]
    committed = world.loader.checkpoint().positions[place.topic][str(place.number)]
    found = kept(world)
    assert (str(found.read(place, incarnation)), str(found.last(place)[incarnation])) == (archived, committed)
    assert place == TopicPartition(TOPICS[0], place.number)


@pytest.mark.parametrize("damage", ["cut", "another digit", "no digit"])
def test_a_value_that_cannot_be_read_is_passed_over(world: World, damage: str) -> None:
    world.publish(event(1))
    world.loader.drain()
    world.flush()
    assert len(list(kept(world).known())) == 1
    for file in (world.folder / "checkpoint" / "unit-0", world.folder / "archive" / "_manifest" / "head.json"):
        value = file.read_bytes()
        position = re.search(rb'"positions":{"[a-z.]+":{"\d+":"(\d)', value)
        assert position is not None
        at = position.start(1)
        spoiled = {"cut": value[:40], "another digit": value[:at] + b"9" + value[at + 1 :],
                   "no digit": value[:at] + b"x" + value[at + 1 :]}[damage]  # fmt: skip
        assert spoiled != value
        file.write_bytes(spoiled)
    assert list(kept(world).known()) == []
    assert list(Kept(None, None).known()) == []
