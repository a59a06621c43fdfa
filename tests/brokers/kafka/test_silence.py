"""A client library that says there are records and then gives not even the first: every question ends
and says so. No broker does this when asked to, so the library is played here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from brokers.base import Position, Stored, TopicPartition, Unreachable
from brokers.kafka.broker import KafkaBroker
from brokers.kafka.settings import parse
from brokers.routing import TopicDescription

TOPIC = "t"
FIRST, LAST = Position((0,), "id"), Position((9,), "id")


class _Nothing:
    def __init__(self, start: int) -> None:
        self.next = start

    def take(self, limit: int, wait: float) -> list[Stored]:
        if self.next == 0:
            return []
        self.next += 1
        return [Stored(Position((self.next - 1,), "id"), 0, b"", b"")]


class _Silent:
    def describe(self, topic: str) -> TopicDescription:
        return TopicDescription(1, "id")

    def ends(self, partition: TopicPartition) -> tuple[int, int]:
        return 0, 10

    @contextmanager
    def cursor(self, partition: TopicPartition, incarnation: str, start: int) -> Iterator[_Nothing]:
        yield _Nothing(start)


@pytest.mark.parametrize(
    "ask",
    [
        lambda broker: broker.bounds(TopicPartition(TOPIC, 0)),
        lambda broker: broker.end_before(TopicPartition(TOPIC, 0), None, 1),
        lambda broker: broker.timestamp_of(TopicPartition(TOPIC, 0), FIRST),
        lambda broker: list(broker.read_range(TopicPartition(TOPIC, 0), None, LAST)),
    ],
    ids=["bounds", "end_before", "timestamp_of", "read_range"],
)
def test_a_library_that_gives_nothing_is_told_of(ask: Callable[[KafkaBroker], object]) -> None:
    broker = KafkaBroker(parse("kafka://127.0.0.1:9?timeout_ms=100", {}), _Silent())  # type: ignore[arg-type]
    with pytest.raises(Unreachable, match="gave nothing"):
        ask(broker)
