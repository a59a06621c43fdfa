"""Records and positions from one broker to another, on the brokers that need no server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import brokers
from activity.event import ALL_TOPICS, DEAD_LETTER_TOPIC
from brokers.base import Broker, Position, Record, Stored, TopicPartition, Unreachable
from infra.brokers.copy import SOURCE, Copy
from infra.brokers.move import Switch
from infra.brokers.topics import TopicSpec, apply, plan
from infra.errors import Failed
from infra.settings import Settings
from infra.wiring import Parts
from pipeline.checkpoint import Head, Ledger
from pipeline.live import GROUP, READ_TOPICS

TOPIC = "footfall.pageview"
FIRST = TopicPartition(TOPIC, 0)


def quiet(_partition: TopicPartition, _share: float) -> None: ...


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Broker]:
    broker = brokers.connect(f"sqlite://{tmp_path}/source.db")
    apply(broker, TopicSpec(partitions=2), plan(broker, TopicSpec(partitions=2)))
    for start in range(0, 50, 5):
        broker.publish(
            [
                Record(topic, b"key-%d" % n, b"value-%d" % n if n % 7 else None, (("h", b"\xff%d" % n), ("h", b"2")))
                for topic in (TOPIC, DEAD_LETTER_TOPIC)
                for n in range(start, start + 5)
            ]
        )
    yield broker
    broker.close()


@pytest.fixture(params=["sqlite", "memory"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    broker = brokers.connect("memory://" if request.param == "memory" else f"sqlite://{tmp_path}/target.db")
    yield broker
    broker.close()


def records(broker: Broker, partition: TopicPartition) -> list[Stored]:
    bounds = broker.bounds(partition)
    ranges = broker.read_range(partition, None, bounds.last) if bounds else ()
    return [each for batch in ranges for each in batch]


def stamped(found: list[Stored]) -> list[tuple[int, bytes | None, bytes | None]]:
    """What a copy may not change."""
    return [(each.timestamp, each.key, each.value) for each in found]


def copied(source: Broker, target: Broker) -> Copy:
    copy = Copy(source, target, READ_TOPICS)
    copy.make_topics(ALL_TOPICS)
    for partition in copy.partitions:
        copy.run(partition, quiet)
    return copy


def verified(copy: Copy, wanted: dict[TopicPartition, set[str]]) -> dict[TopicPartition, dict[str, str | None]]:
    return {
        partition: copy.verify(partition, copy.source.bounds(partition), wanted.get(partition, ())).translated
        for partition in copy.partitions
    }


def test_a_copy_has_the_same_records_in_their_partitions_with_their_times(source: Broker, target: Broker) -> None:
    copy = copied(source, target)
    assert len(copy.partitions) == 2 * len(READ_TOPICS)
    for partition in copy.partitions:
        ours, theirs = records(source, partition), records(target, partition)
        assert stamped(ours) == stamped(theirs)
        assert [(*each.headers, (SOURCE, str(each.position).encode())) for each in ours] == [
            each.headers for each in theirs
        ]
        assert copy.verify(partition, source.bounds(partition), ()).records == len(ours)


def test_a_copy_goes_on_behind_what_has_arrived(source: Broker, tmp_path: Path) -> None:
    target = brokers.connect(f"sqlite://{tmp_path}/target.db")
    copy = Copy(source, target, READ_TOPICS)
    copy.make_topics(ALL_TOPICS)
    publish, arrived = target.publish, 0

    def dies(batch: list[Record]) -> None:
        nonlocal arrived
        publish(batch[:3])
        arrived += 3
        raise Unreachable("in the middle of a batch")

    target.publish = dies  # type: ignore[method-assign, assignment]
    for _ in range(3):
        with pytest.raises(Unreachable):
            copy.run(FIRST, quiet)
    target.publish = publish  # type: ignore[method-assign]
    whole = len(records(source, FIRST))
    assert copy.run(FIRST, quiet) == whole - arrived
    assert copy.run(FIRST, quiet) == 0
    assert copy.verify(FIRST, source.bounds(FIRST), ()).records == whole
    target.close()


def test_a_second_move_forgets_the_header_of_the_first(source: Broker, tmp_path: Path) -> None:
    middle, last = brokers.connect("memory://"), brokers.connect(f"sqlite://{tmp_path}/last.db")
    copied(source, middle)
    middle.publish([Record(TOPIC, b"k", b"new", (), 0)])
    verified(copied(middle, last), {})
    found = records(last, FIRST)
    assert all([name for name, _ in each.headers].count(SOURCE) == 1 for each in found)
    assert found[-1].value == b"new"
    last.close()


def test_a_target_with_records_of_others_is_refused(source: Broker, target: Broker) -> None:
    copy = Copy(source, target, READ_TOPICS)
    copy.make_topics(ALL_TOPICS)
    target.publish([Record(TOPIC, b"k", b"somebody else's", (), 0)])
    with pytest.raises(Failed, match="not from sqlite"):
        copy.run(FIRST, quiet)


def test_a_target_with_another_partition_count_is_refused(source: Broker, target: Broker) -> None:
    target.create_topic(TOPIC, 3)
    with pytest.raises(Failed, match=r"3 partitions on .* and 2 on"):
        Copy(source, target, READ_TOPICS).make_topics(ALL_TOPICS)


def test_a_record_that_differs_or_lacks_is_found(source: Broker, target: Broker) -> None:
    copy = copied(source, target)
    source.publish([Record(TOPIC, b"k", b"v", (), 0)])
    with pytest.raises(Failed, match="is not in its place"):
        copy.verify(FIRST, source.bounds(FIRST), ())
    target.publish([Record(TOPIC, b"k", b"w", ((SOURCE, str(source.bounds(FIRST)[1]).encode()),), 0)])  # type: ignore[index]
    with pytest.raises(Failed, match="is not in its place"):
        copy.verify(FIRST, source.bounds(FIRST), ())


def test_what_retention_took_from_the_source_stays_at_the_target(source: Broker, target: Broker) -> None:
    copy = copied(source, target)
    before = records(source, FIRST)
    source.remove_before(FIRST, before[-3].position)  # type: ignore[attr-defined]
    left = records(source, FIRST)
    assert 0 < len(left) < len(before)
    removed = Position((left[0].position.order[0] - 1,), left[0].position.incarnation)
    found = copy.verify(FIRST, source.bounds(FIRST), {str(removed)})
    assert (found.records, found.translated) == (len(left), {str(removed): None})


@pytest.fixture
def deployment(tmp_path: Path, source: Broker) -> Iterator[Parts]:
    """A data folder whose head and archive stand in the middle of the source."""
    settings = Settings.load({"FOOTFALL_DATA": str(tmp_path / "data"), "FOOTFALL_BROKER": f"sqlite://{tmp_path}/source.db"})
    middle = {
        topic: {str(n): str(records(source, TopicPartition(topic, n))[number].position) for n in range(2)}
        for topic, number in ((TOPIC, 3), (DEAD_LETTER_TOPIC, 5))
    }
    with Parts(settings) as parts:
        Ledger(parts.checkpoint, "0").swap(Head(generation="g", partitions=2, positions=middle))
        parts.archive.commit(None, [], {TOPIC: {"0": str(records(source, FIRST)[0].position)}})
        yield parts


def kept(parts: Parts) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, str]]]:
    head = Ledger(parts.checkpoint, "0").load()
    assert head is not None
    return head.positions, parts.archive.committed().positions


def test_positions_name_the_same_records_afterwards(deployment: Parts, source: Broker, target: Broker) -> None:
    before = kept(deployment)
    copy = copied(source, target)
    switch = Switch(deployment, source, target)
    switch.apply(verified(copy, switch.wanted()))
    for old, new in zip(before, kept(deployment), strict=True):
        assert old.keys() == new.keys()
        for topic, partitions in old.items():
            for number, text in partitions.items():
                here, there = Position.parse(text), Position.parse(new[topic][number])
                rest = [each for each in records(source, TopicPartition(topic, int(number))) if each.position > here]
                copies = [each for each in records(target, TopicPartition(topic, int(number))) if each.position > there]
                assert stamped(copies) == stamped(rest)
    assert str(target.recall(GROUP, FIRST)) == kept(deployment)[0][TOPIC]["0"]
    assert Switch(deployment, source, target).done()


@pytest.mark.parametrize("swaps", [0, 1, 2])
def test_a_switch_that_is_cut_off_is_finished_by_the_next(
    deployment: Parts, source: Broker, target: Broker, swaps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, before = copied(source, target), kept(deployment)
    first = Switch(deployment, source, target)
    translation = verified(copy, first.wanted())
    left = swaps

    def counted(done: Callable[..., Any]) -> Callable[..., Any]:
        def swap(*arguments: Any) -> Any:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            return done(*arguments)

        return swap

    with monkeypatch.context() as patch:
        patch.setattr(deployment.archive, "commit", counted(deployment.archive.commit))
        patch.setattr(Ledger, "swap", counted(Ledger.swap))
        if swaps < 2:
            with pytest.raises(KeyboardInterrupt):
                first.apply(translation)
        else:
            first.apply(translation)
    second = Switch(deployment, source, target)
    assert second.done() == (swaps == 2)
    second.apply(verified(copy, second.wanted()))
    found = kept(deployment)
    for was, now in zip(before, found, strict=True):
        assert now == {t: {n: translation[t, int(n)][text] for n, text in of.items()} for t, of in was.items()}


def test_a_checkpoint_of_neither_broker_is_refused(deployment: Parts, source: Broker, target: Broker) -> None:
    ledger = Ledger(deployment.checkpoint, "0")
    head = ledger.load()
    assert head is not None
    ledger.swap(msgspec.structs.replace(head, positions={TOPIC: {"0": "3@elsewhere"}}))
    copied(source, target)
    with pytest.raises(Failed, match="stands neither on"):
        Switch(deployment, source, target).wanted()
