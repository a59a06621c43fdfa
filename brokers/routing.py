"""From the records of a `publish` to their partitions, and from what became of them to the errors of the contract.

All records of a visitor share one partition number across topics *and brokers*, so that moving to another broker moves
no visitor. Clients disagree by default (librdkafka's own default hash agrees with Java's on a quarter of the keys), so
adapters pass the partition explicitly and never let a client choose.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from itertools import count
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from brokers.base import NoSuchTopic, Record, Refused, TooLarge, TopicPartition, Unreachable, Unsent
from brokers.checks import check_partition, no_topic

if TYPE_CHECKING:
    import numpy as np

    from activity.blocks import Block

# Kafka's own default for one record (message.max.bytes, 1048588, less its batch overhead). It applies everywhere, so
# that a record which one broker accepts is accepted by the next one too.
MAX_RECORD_BYTES = 1_000_000

_FRESH_SECONDS = 1.0
_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF

_MANY = 1_000  # records: their keys are hashed in vectors

Logs = Mapping[TopicPartition, Sequence[int]]  # the indexes of each partition's records, in order


@lru_cache(maxsize=512)
def _words(count: int) -> Struct:
    return Struct(f"<{count}I")


def murmur2(data: bytes) -> int:
    """Return the unsigned 32-bit hash that Kafka's Java client computes."""
    length = len(data)
    count = length >> 2
    h = _SEED ^ length
    for k in _words(count).unpack_from(data):
        k = k * _M & _MASK
        h = (h * _M ^ (k ^ k >> 24) * _M) & _MASK
    tail = length & 3
    if tail:
        h = (h ^ int.from_bytes(data[-tail:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


def murmur2_of(keys: Collection[bytes]) -> dict[bytes, int]:
    """Return `murmur2` of each of these keys, as `murmur2_each`."""
    return dict(zip(keys, murmur2_each(list(keys)).tolist(), strict=True))


def murmur2_each(keys: Sequence[bytes]) -> np.ndarray:
    """Return `murmur2` of these keys (UInt32), computed in vectors: all keys of one length at once.

    It needs numpy to be loaded."""
    numpy = sys.modules["numpy"]
    hashes: np.ndarray = numpy.empty(len(keys), numpy.uint32)
    lengths = numpy.fromiter(map(len, keys), numpy.int64, len(keys))
    for length in numpy.unique(lengths).tolist():
        rows = (lengths == length).nonzero()[0]
        count = length >> 2
        some = keys if len(rows) == len(keys) else [keys[row] for row in rows]
        table = numpy.frombuffer(b"".join(some), numpy.uint8).reshape(len(rows), length)
        words = numpy.ascontiguousarray(table[:, : count * 4]).view("<u4")
        h = numpy.full(len(rows), _SEED ^ length, numpy.uint32)
        for column in range(count):
            k = words[:, column] * numpy.uint32(_M)
            h = h * numpy.uint32(_M) ^ (k ^ k >> numpy.uint32(24)) * numpy.uint32(_M)
        tail = length & 3
        if tail:
            rest = numpy.zeros(len(rows), numpy.uint32)
            for place in range(tail):
                rest |= table[:, count * 4 + place].astype(numpy.uint32) << numpy.uint32(8 * place)
            h = (h ^ rest) * numpy.uint32(_M)
        h = (h ^ h >> numpy.uint32(13)) * numpy.uint32(_M)
        hashes[rows] = h ^ h >> numpy.uint32(15)
    return hashes


# The cache serves the visitors active in the last seconds: a hit costs a tenth of the hash.
@lru_cache(maxsize=16_384)
def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition number of `key` in a topic of `partitions` partitions, on every broker."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


class Sent(NamedTuple):
    """What a client library made of the records it was given; all others are durable.

    `failed` and `too_large` are indexes into the sequence given to `publish`. `reason` is the last failure in words,
    `refused` the broker's refusal if there was one, and `no_topic` tells that some topic may be gone."""

    failed: Sequence[int] = ()
    too_large: Sequence[int] = ()
    no_topic: bool = False
    reason: str = ""
    refused: Refused | None = None


class Outgoing(NamedTuple):
    """The records of one `publish`: `logs` has the indexes by partition, `too_large` those that may not be sent."""

    records: Sequence[Record]
    logs: dict[TopicPartition, list[int]]
    too_large: list[int]
    limit: int

    def raise_unsent(self, sent: Sent, shown: str) -> None:
        """Raise the error that `sent` amounts to at the URL `shown`, if any: `Unsent`, `Unreachable` or `Refused`."""
        if sent.failed:
            failed = sorted({*sent.failed, *sent.too_large})
            total = len(self.records)
            message = f"{shown}: {len(failed)} of {total} records are not durable ({sent.reason}): send again"
            if len(failed) == total and not sent.too_large:
                raise sent.refused or Unreachable(message)
            raise Unsent(message, failed)
        self.too_large.extend(sent.too_large)
        self.raise_too_large()

    def raise_too_large(self) -> None:
        """Raise `TooLarge` if a record exceeds the limit; call it once the others are durable."""
        if self.too_large:
            first = self.records[self.too_large[0]]
            raise TooLarge(
                f"{len(self.too_large)} record(s) exceed {self.limit} bytes, the first for topic {first.topic} with"
                f" {_size_of(first)}: send less in a record; the others of this call are durable",
                self.too_large,
            )


class Router:
    """Chooses partitions for one broker. `partitions` returns a topic's count from memory or raises `NoSuchTopic`.

    `limit` is the most bytes that key, value and headers of a record may have together."""

    def __init__(self, partitions: Callable[[str], int], limit: int = MAX_RECORD_BYTES) -> None:
        self._partitions = partitions
        self._limit = limit
        self._turn = count()  # spreads records without a key

    def route(self, records: Sequence[Record]) -> Outgoing:
        """Choose each record's partition. Raises `NoSuchTopic`, and ValueError for an unknown partition number."""
        topics: dict[str, list[list[int]]] = {}  # for each partition the indexes
        too_large: list[int] = []
        limit, turn = self._limit, self._turn
        # Whoever loads or imports has numpy. The tracking service and its functions do without, and compute key by key.
        many = len(records) >= _MANY and sys.modules.get("numpy") is not None
        known = murmur2_of({record.key for record in records if record.key is not None}) if many else {}
        for index, (topic, key, value, headers, partition, _) in enumerate(records):
            logs = topics.get(topic)
            if logs is None:
                logs = topics[topic] = [[] for _ in range(self._partitions(topic))]
            size = (len(value) if value else 0) + (len(key) if key else 0)
            for name, content in headers:
                size += len(name) + len(content)
            if size > limit:
                too_large.append(index)
            elif partition is None:
                if key is None:
                    number = next(turn) % len(logs)
                elif known:
                    number = (known[key] & 0x7FFFFFFF) % len(logs)
                else:
                    number = partition_of(key, len(logs))
                logs[number].append(index)
            elif 0 <= partition < len(logs):
                logs[partition].append(index)
            else:
                check_partition(TopicPartition(topic, partition), len(logs))
        routed = {
            TopicPartition(topic, number): indexes
            for topic, logs in topics.items()
            for number, indexes in enumerate(logs)
            if indexes
        }
        return Outgoing(records, routed, too_large, limit)

    def split(self, topic: str, block: Block) -> list[tuple[int, Block]]:
        """Choose each event's partition, and return the block in pieces of one. Raises `NoSuchTopic`."""
        from activity import blocks

        numpy, count = sys.modules["numpy"], self._partitions(topic)
        keys, indexes = blocks.distinct_keys(block)
        numbers = ((murmur2_each(keys) & numpy.uint32(0x7FFFFFFF)) % numpy.uint32(count))[indexes]
        return [(int(number), block.take((numbers == number).nonzero()[0])) for number in numpy.unique(numbers)]


def _size_of(record: Record) -> int:
    size = len(record.key or b"") + len(record.value or b"")
    for name, value in record.headers:
        size += len(name) + len(value)
    return size


class TopicDescription(NamedTuple):
    """A topic on a cluster: `incarnation` is "" if the broker has none for it."""

    partitions: int
    incarnation: str
    replication: int = 1


class TopicCache:
    """Descriptions of topics on a cluster, each fetched at most once a second.

    A topic that is deleted and created again is therefore noticed within a second. `fetch` returns None for a topic
    that does not exist; it is then called again for `patience` seconds, because one of several servers may not have
    heard yet of a topic that another one has just created. `shown` is the broker's URL for messages."""

    def __init__(self, fetch: Callable[[str], TopicDescription | None], shown: str, patience: float = 0.0) -> None:
        self._fetch = fetch
        self._shown = shown
        self._patience = patience
        self._fetched: dict[str, tuple[float, TopicDescription]] = {}

    def get(self, topic: str) -> TopicDescription:
        """Return a description that is at most a second old. Raises `NoSuchTopic`."""
        now = time.monotonic()
        cached = self._fetched.get(topic)
        if cached is not None and now - cached[0] <= _FRESH_SECONDS:
            return cached[1]
        found = self._fetch(topic)
        while found is None and time.monotonic() < now + self._patience:
            time.sleep(0.05)
            found = self._fetch(topic)
        if found is None:
            raise self.missing(topic)
        self._fetched[topic] = (now, found)
        return found

    def partitions(self, topic: str) -> int:
        """Return the partition count, from a description of any age: it never changes. Raises `NoSuchTopic`."""
        cached = self._fetched.get(topic)
        return cached[1].partitions if cached else self.get(topic).partitions

    def missing(self, topic: str) -> NoSuchTopic:
        """Forget the topic and return the error that says so."""
        self.forget(topic)
        return no_topic(topic, self._shown)

    def forget(self, topic: str) -> None:
        """Fetch the topic's description again when it is next needed."""
        self._fetched.pop(topic, None)
