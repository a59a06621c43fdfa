"""Copies records from one broker to another with the same partitions, order, keys, values, headers and times.

Each copied record has one more header, its position on the source. A copy that was killed therefore continues after
the last record that arrived, without counting anything or keeping state elsewhere. Once everything is copied, the
header maps positions on the old broker to positions on the new one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import msgspec

from brokers.base import Bounds, Broker, Position, Record, Stored, TopicInfo, TopicPartition, WrongIncarnation
from infra.errors import Failed
from infra.topics import copies

SOURCE = "footfall-source"
_BATCH = 2_000

# Called with a partition and the share of it that is done, 0 to 1.
Progress = Callable[[TopicPartition, float], None]


@dataclass
class Verified:
    """One partition after comparing both sides: its records, the bytes of their keys and values, and a SHA-256 in hex.

    `translated` maps the wanted positions of the source to those of the target. A position whose record was removed by
    retention, with nothing lost after it, maps to None: read from the first record kept.
    """

    records: int
    bytes: int
    sha256: str
    translated: dict[str, str | None]


class Copy:
    """A copy from `source` to `target` of the topics in `names` that the source has. Raises `Failed` if it has none."""

    def __init__(self, source: Broker, target: Broker, names: Iterable[str]) -> None:
        self.source = source
        self.target = target
        there = source.topics()
        self.topics: list[TopicInfo] = [there[name] for name in names if name in there]
        if not self.topics:
            raise Failed(f"{source.url} holds no topic of Footfall: is this the broker to move from?")

    @property
    def partitions(self) -> list[TopicPartition]:
        return [TopicPartition(topic.name, number) for topic in self.topics for number in range(topic.partitions)]

    def make_topics(self, names: Iterable[str]) -> list[str]:
        """Creates those topics in `names` that the target lacks, like the source's, with three copies if it can.

        Returns the names created. Raises `Failed` if the target has one with another partition count.
        """
        there, known = self.target.topics(), self.source.topics()
        held = [known[name] for name in names if name in known]
        for topic in held:
            if topic.name in there and there[topic.name].partitions != topic.partitions:
                raise Failed(
                    f"topic {topic.name} has {there[topic.name].partitions} partitions on {self.target.url} and"
                    f" {topic.partitions} on {self.source.url}: keys would change partition. Delete it there, or name"
                    " another cluster or namespace"
                )
        missing = [topic for topic in held if topic.name not in there]
        for topic in missing:
            self.target.create_topic(topic.name, topic.partitions, topic.retention_ms, copies(self.target))
        return [topic.name for topic in missing]

    def close_topics(self) -> None:
        """Makes the target's topics stamp records themselves again; see `Record.timestamp`."""
        there = self.target.topics()
        for topic in self.topics:
            held = there[topic.name]
            self.target.create_topic(topic.name, held.partitions, held.retention_ms, held.replication)

    def run(self, partition: TopicPartition, progress: Progress) -> int:
        """Copies what the target lacks, up to the current end; returns how many records that was. Raises `Failed`."""
        bounds = self.source.bounds(partition)
        if bounds is None:
            return 0
        after, copied = self._arrived(partition), 0
        if after is not None and not after < bounds.last:
            return 0
        first = self.source.timestamp_of(partition, bounds.first)
        whole = max(self.source.timestamp_of(partition, bounds.last) - first, 1)
        for batch in self.source.read_range(partition, after, bounds.last, _BATCH):
            self.target.publish([_copied(partition, record) for record in batch])
            copied += len(batch)
            progress(partition, (batch[-1].timestamp - first) / whole)
        return copied

    def _arrived(self, partition: TopicPartition) -> Position | None:
        """The position on the source of the target's last record; None if the target is empty."""
        last = _last_record(self.target, partition)
        if last is None:
            return None
        after = _source_of(last)
        try:
            if after is not None:
                self.source.end_before(partition, after, 1)
                return after
        except WrongIncarnation:
            after = None
        raise self._foreign(partition, last)

    def _foreign(self, partition: TopicPartition, record: Stored) -> Failed:
        return Failed(
            f"{partition} on {self.target.url} holds a record that is not from {self.source.url}, at"
            f" {record.position}: a move needs topics of its own. Delete them, or name another cluster or namespace"
        )

    def verify(self, partition: TopicPartition, upto: Bounds | None, wanted: Iterable[str]) -> Verified:
        """Reads both sides and compares them record by record. Raises `Failed` if they differ."""
        translated: dict[str, str | None] = dict.fromkeys(wanted)
        digest, records, size = hashlib.sha256(), 0, 0
        theirs = _all(self.target, partition)
        ours = self.source.read_range(partition, None, upto.last, _BATCH) if upto else ()
        for batch in ours:
            for record in batch:
                other = next(theirs, None)
                while records == 0 and other is not None and self._removed(record, other):
                    other = next(theirs, None)  # retention removed it from the source after it was copied
                if other is None or _content(other) != _content(record) or _source_of(other) != record.position:
                    raise self._differs(partition, record.position)
                if str(record.position) in translated:
                    translated[str(record.position)] = str(other.position)
                content = msgspec.msgpack.encode(_content(other))
                digest.update(content)
                records += 1
                size += len(other.key or b"") + len(other.value or b"")
        if records:
            extra = next(theirs, None)
            if extra is not None:
                raise self._foreign(partition, extra)
        for text in [text for text, found in translated.items() if found is None]:
            self._only_removed(partition, text)
        return Verified(records, size, digest.hexdigest(), translated)

    @staticmethod
    def _removed(first: Stored, other: Stored) -> bool:
        source = _source_of(other)
        return source is not None and source < first.position

    def _only_removed(self, partition: TopicPartition, text: str) -> None:
        """Raises `Gone` if unread records after that position were removed, `WrongIncarnation` if it is foreign."""
        self.source.end_before(partition, Position.parse(text), 1)

    def _differs(self, partition: TopicPartition, position: Position) -> Failed:
        return Failed(
            f"{partition}: the record at {position} of {self.source.url} is not in its place on"
            f" {self.target.url}. Nothing was switched. Delete the topics there and run this again"
        )


def _copied(partition: TopicPartition, record: Stored) -> Record:
    topic, number = partition
    headers = (*_own_headers(record), (SOURCE, str(record.position).encode()))
    return Record(topic, record.key, record.value, headers, number, record.timestamp)


def _own_headers(record: Stored) -> tuple[tuple[str, bytes], ...]:
    """The record's headers without the one of an earlier move."""
    return tuple(header for header in record.headers if header[0] != SOURCE)


def _content(record: Stored) -> tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]:
    return record.key, record.value, _own_headers(record)


def _source_of(record: Stored) -> Position | None:
    for name, value in record.headers:
        if name == SOURCE:
            return Position.parse(value.decode())
    return None


def _last_record(broker: Broker, partition: TopicPartition) -> Stored | None:
    bounds = broker.bounds(partition)
    if bounds is None:
        return None
    after = broker.position_at(partition, broker.timestamp_of(partition, bounds.last))
    last = None
    for batch in broker.read_range(partition, after, bounds.last):
        last = batch[-1]
    return last


def _all(broker: Broker, partition: TopicPartition) -> Iterator[Stored]:
    bounds = broker.bounds(partition)
    if bounds is not None:
        for batch in broker.read_range(partition, None, bounds.last, _BATCH):
            yield from batch


