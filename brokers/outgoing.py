"""From what a producer hands over to where each record goes: the part of publishing that every broker shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import NamedTuple

from brokers.base import Record, TooLarge
from brokers.options import no_partition
from brokers.partitioner import partition_of

# Kafka's own default for one record (message.max.bytes, 1048588, less its batch overhead): the same everywhere,
# so that what one broker takes the next one takes too.
MAX_RECORD_BYTES = 1_000_000

_turn = count()  # spreads records without a key; where it starts does not matter


class Outgoing(NamedTuple):
    """Indexes of `records` by their (topic, partition), in order, and of those that are too large."""

    logs: dict[tuple[str, int], list[int]]
    too_large: list[int]

    def raise_too_large(self, records: Sequence[Record], limit: int) -> None:
        if self.too_large:
            first = records[self.too_large[0]]
            raise TooLarge(
                f"{len(self.too_large)} record(s) exceed {limit} bytes, the first for topic {first.topic} with"
                f" {size_of(first)}: send less in a record; the others of this call are durable",
                self.too_large,
            )


def size_of(record: Record) -> int:
    """Bytes of key, value and headers."""
    size = len(record.key or b"") + len(record.value or b"")
    for name, value in record.headers:
        size += len(name) + len(value)
    return size


def place(records: Sequence[Record], partitions: Callable[[str], int], limit: int) -> Outgoing:
    """Choose each record's partition. `partitions` answers from a cache and raises `NoSuchTopic`."""
    topics: dict[str, list[list[int]]] = {}  # for each partition the indexes
    too_large: list[int] = []
    for index, (topic, key, value, headers, partition, _) in enumerate(records):
        logs = topics.get(topic)
        if logs is None:
            logs = topics[topic] = [[] for _ in range(partitions(topic))]
        size = (len(value) if value else 0) + (len(key) if key else 0)
        for name, content in headers:
            size += len(name) + len(content)
        if size > limit:
            too_large.append(index)
        elif partition is None:
            logs[partition_of(key, len(logs)) if key is not None else next(_turn) % len(logs)].append(index)
        elif 0 <= partition < len(logs):
            logs[partition].append(index)
        else:
            raise no_partition(topic, partition, len(logs))
    placed = {(topic, number): at for topic, logs in topics.items() for number, at in enumerate(logs) if at}
    return Outgoing(placed, too_large)
