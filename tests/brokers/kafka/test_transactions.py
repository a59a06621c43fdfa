"""Somebody else's transactions in a topic: their markers take offsets, and what was aborted is nobody's record."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from brokers import connect
from brokers.base import Broker, TopicPartition
from brokers.conformance import numbered, numbers, read_all

pytestmark = pytest.mark.real


@pytest.fixture(params=["confluent", "kafka-python"])
def broker(request: pytest.FixtureRequest, kafka: str) -> Iterator[Broker]:
    found = connect(f"kafka://{kafka}?client={request.param}")
    yield found
    found.close()


@pytest.fixture
def topic(broker: Broker) -> Iterator[str]:
    name = f"transactions-{time.time_ns()}"
    broker.create_topic(name, 1)
    yield name
    broker.delete_topic(name)


def transaction(kafka: str, topic: str, values: list[int], commit: bool) -> None:
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": f"t-{time.time_ns()}", "log_level": 2})
    producer.init_transactions(30)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, str(value), "key", 0)
    assert producer.flush(30) == 0
    producer.commit_transaction(30) if commit else producer.abort_transaction(30)


def test_markers_are_no_records_and_what_was_aborted_is_not_read(kafka: str, broker: Broker, topic: str) -> None:
    transaction(kafka, topic, [-1, -1], commit=False)
    assert broker.bounds(TopicPartition(topic, 0)) is None
    assert broker.end_before(TopicPartition(topic, 0), None, 10) is None
    broker.publish(numbered(topic, 0, 2))
    transaction(kafka, topic, [2, 3], commit=True)
    transaction(kafka, topic, [-1], commit=False)
    found = read_all(broker, topic)
    assert numbers(found) == [0, 1, 2, 3]
    bounds = broker.bounds(TopicPartition(topic, 0))
    assert bounds is not None
    assert (bounds.first, bounds.last) == (found[0].position, found[-1].position)
    # Offsets: two aborted and their marker, 0, 1, 2, 3 and their marker.
    assert [record.position.order for record in found] == [(3,), (4,), (5,), (6,)]
    # A range that ends before markers ends, and what waits behind them is found.
    assert numbers(next(iter(broker.read_range(TopicPartition(topic, 0), found[1].position, bounds.last)))) == [2, 3]
    assert broker.read_after(TopicPartition(topic, 0), bounds.last, wait=0.2) == []
    broker.publish(numbered(topic, 4, 1))
    assert numbers(broker.read_after(TopicPartition(topic, 0), bounds.last, wait=10)) == [4]
    assert numbers(read_all(broker, topic)) == [0, 1, 2, 3, 4]
    end = broker.end_before(TopicPartition(topic, 0), bounds.last, 10)
    assert end is not None and end > bounds.last
