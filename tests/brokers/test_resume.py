"""A log that has lost its last records goes on behind the positions that others keep."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokers.base import Bounds, Gone, Position, Record, Resumable, TopicPartition, WrongIncarnation
from brokers.conformance import read_all
from brokers.sqlite.broker import SqliteBroker

PLACE = TopicPartition("t", 0)


def opened(folder: Path, name: str = "log.db", partitions: int = 1) -> SqliteBroker:
    broker = SqliteBroker(f"sqlite://{folder}/{name}")
    assert isinstance(broker, Resumable)
    broker.create_topic("t", partitions)
    return broker


def publish(broker: SqliteBroker, count: int, value: bytes) -> None:
    broker.publish([Record("t", b"k", value, partition=0) for _ in range(count)])


def incarnation(broker: SqliteBroker) -> str:
    publish(broker, 1, b"first")
    bounds = broker.bounds(PLACE)
    assert bounds is not None
    return bounds.last.incarnation


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 700), st.integers(0, 2_000), st.integers(1, 600))
def test_no_record_gets_the_place_of_a_lost_one(
    tmp_path_factory: pytest.TempPathFactory, there: int, last: int, new: int
) -> None:
    broker = opened(tmp_path_factory.mktemp("log"))
    name = incarnation(broker)
    publish(broker, there, b"old")
    before = read_all(broker, "t", 0)
    lost = broker.resume_after(PLACE, None, Position((last,), name), anew=False)
    missing = max(0, last - there)
    assert lost == (Bounds(Position((there + 1,), name), Position((last,), name)) if missing else None)
    assert broker.resume_after(PLACE, None, Position((last,), name), anew=False) is None
    publish(broker, new, b"new")
    after = read_all(broker, "t", 0)
    assert after[: len(before)] == before
    assert [r.position.order[0] for r in after] == list(range(1 + there + missing + new))
    assert [r.value for r in after[len(before) :]] == [None] * missing + [b"new"] * new
    assert [r.timestamp for r in after] == sorted(r.timestamp for r in after)
    broker.close()


def test_a_log_that_was_made_anew_begins_where_it_is_read_on(tmp_path: Path) -> None:
    gone = opened(tmp_path, "gone.db")
    name = incarnation(gone)
    gone.close()
    broker = opened(tmp_path, partitions=2)
    read, last = Position((41,), name), Position((44,), name)
    assert broker.resume_after(PLACE, read, last, anew=False) is None
    assert broker.resume_after(PLACE, read, last, anew=True) == Bounds(Position((0,), name), last)
    publish(broker, 1, b"new")
    assert [(r.position.order[0], r.value) for r in broker.read_after(PLACE, read)] == [
        (42, None), (43, None), (44, None), (45, b"new")
    ]  # fmt: skip
    with pytest.raises(Gone):
        broker.read_after(PLACE, Position((40,), name))
    assert broker.bounds(TopicPartition("t", 1)) is None
    broker.close()


def test_another_log_stays_as_it_is(tmp_path: Path) -> None:
    broker = opened(tmp_path)
    publish(broker, 3, b"its own")
    for foreign in (Position((9,), "0123456789abcdef"), Position((9,), "kafka-topic-id"), Position((1, 2, 3))):
        assert broker.resume_after(PLACE, None, foreign, anew=True) is None
        with pytest.raises(WrongIncarnation):
            broker.read_after(PLACE, foreign)
    assert broker.resume_after(TopicPartition("unknown", 0), None, foreign, anew=True) is None
    empty = opened(tmp_path, "empty.db")
    assert empty.resume_after(PLACE, None, Position((9,), "kafka-topic-id"), anew=True) is None
    assert empty.bounds(PLACE) is None
    for each in (broker, empty):
        each.close()
