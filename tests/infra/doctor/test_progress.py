"""Checkpoint, lag and log: over a real log and a real checkpoint store, each wrong state made."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import polars as pl
import pytest

import brokers
from activity.event import ALL_TOPICS
from brokers.base import Broker, Record, TopicPartition
from brokers.sqlite.broker import SqliteBroker
from infra.doctor import progress
from pipeline import erasure
from pipeline.checkpoint import Checkpoint, CheckpointRepository, Intent, Lease
from pipeline.losses import Missing
from pipeline.unit import Layout, swap_layout
from stores import connect_checkpoint
from stores.base import CheckpointStore, Positions

TOPIC = "footfall.pageview"
FIRST = TopicPartition(TOPIC, 0)
NOW = time.time_ns() // 1_000_000
MINUTE = 60_000


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    opened = brokers.connect(f"sqlite://{tmp_path}/log.db")
    for topic in ALL_TOPICS:
        opened.create_topic(topic, 2)
    yield opened
    opened.close()


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return connect_checkpoint(f"file://{tmp_path}/checkpoint")


def publish(broker: Broker, at: int, partition: int = 0, count: int = 1) -> None:
    broker.publish([Record(TOPIC, b"k", b"v", (), partition, at) for _ in range(count)])


def everything(broker: Broker) -> Positions:
    found: Positions = {}
    for number in range(2):
        if (bounds := broker.bounds(TopicPartition(TOPIC, number))) is not None:
            found.setdefault(TOPIC, {})[str(number)] = str(bounds.last)
    return found


def lag(broker: Broker, *committed: Positions, runs: bool = True) -> progress.Told:
    """What is said when these positions are committed, one after the other as it is looked."""
    looks = iter(committed)
    latest: list[Positions] = []

    def look() -> list[progress.Waiting]:
        latest[:] = [next(looks, latest[0] if latest else {})]
        return progress.waiting(broker, latest[0])

    (told,) = progress.lag(look, runs=runs, now=NOW, pause=lambda _: None)
    return told


def test_nothing_waits(broker: Broker) -> None:
    publish(broker, NOW - 5 * MINUTE)
    assert lag(broker, everything(broker)).state == "ok"


def test_what_came_just_now_is_no_lag(broker: Broker) -> None:
    publish(broker, NOW - 3_000, count=3)
    told = lag(broker, {})
    assert (told.state, told.finding) == ("ok", "3 records waiting, for 3 s")


def test_one_partition_that_stands_still_is_named_with_its_position(broker: Broker) -> None:
    publish(broker, NOW - 20 * MINUTE)
    committed = everything(broker)
    publish(broker, NOW - 15 * MINUTE, count=4)
    publish(broker, NOW - 1_000, partition=1)
    told = lag(broker, committed)
    assert told.state == "wrong"
    assert told.finding.startswith("5 records waiting, the first since 15 min; footfall.pageview[0] alone holds the")
    assert committed[TOPIC]["0"] in told.finding
    assert "nothing was loaded" in told.finding


def test_what_is_worked_off_is_a_warning(broker: Broker) -> None:
    publish(broker, NOW - 20 * MINUTE)
    first = everything(broker)
    publish(broker, NOW - 15 * MINUTE)
    publish(broker, NOW - 14 * MINUTE)
    told = lag(broker, {}, first)
    assert told.state == "warning"
    assert "they are being worked off" in told.finding


def test_what_grows_although_it_is_loaded_is_wrong(broker: Broker) -> None:
    publish(broker, NOW - 20 * MINUTE)
    first = everything(broker)
    publish(broker, NOW - 15 * MINUTE, count=2)
    looks = 0

    def look() -> list[progress.Waiting]:
        nonlocal looks
        looks += 1
        if looks == 2:
            publish(broker, NOW - MINUTE, count=10)
        return progress.waiting(broker, {} if looks == 1 else first)

    (told,) = progress.lag(look, runs=True, now=NOW, pause=lambda _: None)
    assert told.state == "wrong"
    assert "9 more than a second ago" in told.finding


def test_without_a_loader_it_waits_for_the_next_start(broker: Broker) -> None:
    publish(broker, NOW - 20 * MINUTE)
    assert lag(broker, {}, runs=False).state == "warning"


def kept(broker: Broker, committed: Positions, archived: Positions) -> list[progress.Told]:
    return progress.kept(broker, committed, archived, runs=True, now=NOW)


def test_retention_that_overtook_the_archive_is_wrong(broker: Broker) -> None:
    assert isinstance(broker, SqliteBroker)
    publish(broker, NOW - 3_000 * MINUTE)
    archived = everything(broker)
    publish(broker, NOW - 2_000 * MINUTE)
    publish(broker, NOW - MINUTE)
    assert [told.state for told in kept(broker, everything(broker), archived)] == ["warning"]
    broker.create_topic(TOPIC, 2, 100 * MINUTE)
    broker.retain()
    (found,) = kept(broker, everything(broker), archived)
    assert found.state == "wrong"
    assert found.finding.startswith("footfall.pageview[0]: retention has removed records that were not archived")
    assert kept(broker, everything(broker), everything(broker)) == []


def test_topics_that_are_kept_for_different_times(broker: Broker) -> None:
    assert progress.unequal(broker) == []
    broker.create_topic(TOPIC, 2, 1_440 * MINUTE)
    (found,) = progress.unequal(broker)
    assert "footfall.pageview 1 days, " in found.finding


def test_another_log_is_told(broker: Broker) -> None:
    publish(broker, NOW)
    committed = everything(broker)
    broker.delete_topic(TOPIC)
    broker.create_topic(TOPIC, 2)
    found = kept(broker, committed, committed)
    assert [told.state for told in found] == ["wrong", "wrong"]
    assert "is another log than the one that was loaded" in found[0].finding


def test_a_broker_whose_clock_is_ahead(broker: Broker) -> None:
    publish(broker, NOW)
    assert progress.clock(broker, now=NOW) == []
    publish(broker, NOW + 60 * MINUTE, partition=1)
    (found,) = progress.clock(broker, now=NOW)
    assert found.finding == "the last record of footfall.pageview[1] is 60 min ahead of this clock"


def test_a_topic_with_other_partitions_than_the_checkpoint(broker: Broker, store: CheckpointStore) -> None:
    CheckpointRepository(store, "0").swap(Checkpoint(generation="a", partitions=2))
    assert progress.counts(broker, store) == []
    broker.delete_topic(TOPIC)
    broker.create_topic(TOPIC, 3)
    (found,) = progress.counts(broker, store)
    assert found.finding == "footfall.pageview has 3 partitions, the checkpoint was made with 2"


def checkpoint(store: CheckpointStore, *, runs: bool = False) -> list[progress.Told]:
    return progress.checkpoint(store, runs=runs, embedded=True, now=NOW)


def write(store: CheckpointStore, **fields: object) -> CheckpointRepository:
    repository = CheckpointRepository(store, "0")
    state = repository.put_frame("delta-1", pl.DataFrame({"n": [1, 2, 3]}))
    whole = Checkpoint(generation="a", partitions=2, deltas=[state])
    repository.swap(msgspec.structs.replace(whole, **fields))
    return repository


def test_a_whole_checkpoint_and_none(store: CheckpointStore) -> None:
    assert [told.finding for told in checkpoint(store)] == ["none yet"]
    write(store)
    assert [told.finding for told in checkpoint(store)] == ["1 checkpoint, whole"]


@pytest.mark.parametrize("name", ["unit-0", "segments-0/*"])
def test_a_flipped_byte_is_named(store: CheckpointStore, tmp_path: Path, name: str) -> None:
    write(store)
    (path,) = (tmp_path / "checkpoint").glob(name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (found,) = checkpoint(store)
    assert found.state == "wrong"
    assert path.name in found.finding
    assert "its checksum is not that of its bytes" in found.finding


def test_tombstones_that_are_none_are_named(store: CheckpointStore) -> None:
    write(store)
    store.swap(erasure.NAME, b'{"tombstones":[{}]}', None)
    (found,) = checkpoint(store)
    assert (found.state, found.remedy) == ("wrong", "start a loader, which makes it again from the table `erasures`")
    assert found.finding.startswith("erasures: it is no list of tombstones")


def test_a_missing_segment_is_named(store: CheckpointStore, tmp_path: Path) -> None:
    write(store)
    (path,) = (tmp_path / "checkpoint").glob("segments-0/*")
    path.unlink()
    (found,) = checkpoint(store)
    assert path.name in found.finding
    assert "missing" in found.finding


def test_what_a_dead_process_left_under_way(store: CheckpointStore) -> None:
    write(store, intent=Intent(7, [], 0, 0), lease=Lease("replay", NOW - 1))
    said = [(told.state, told.finding) for told in checkpoint(store)]
    assert said == [("warning", "batch 7 was broken off"), ("warning", "a rebuild by replay was broken off")]
    assert [told.finding for told in checkpoint(store, runs=True)] == ["a rebuild by replay was broken off"]


def test_what_has_to_be_made_again_and_a_watermark_of_the_future(store: CheckpointStore) -> None:
    write(store, missing=[Missing("rows", 20_000, 20_001)], watermark=NOW + 60 * MINUTE)
    lost, ahead = checkpoint(store, runs=True)
    assert (lost.state, "rows of 2024-10-04 to 2024-10-05" in lost.finding) == ("wrong", True)
    assert (ahead.state, ahead.finding) == ("wrong", "the watermark is 60 min ahead of us")


def test_units_that_nobody_loads_and_a_change_that_was_broken_off(store: CheckpointStore) -> None:
    swap_layout(store, Layout(2, 3, 1), None)
    said = [told.finding for told in progress.checkpoint(store, runs=True, embedded=False, now=NOW)]
    assert said == ["a change to 3 units was broken off", "no loader has unit 1/2", "no loader has unit 2/2"]
