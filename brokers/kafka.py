"""`kafka://host:9092`: Apache Kafka, through confluent-kafka (the hot path) or kafka-python (`?client=kafka-python`).

* Every publish is idempotent and acked by all in-sync replicas; the partition is always ours (murmur2).
* Topics are stamped with the broker's append time, so a record's time is its publish time whatever a client says;
  but for records that are copied with the time of their publishing elsewhere.
* Control records (transaction markers) take offsets too: the first and last *record* are looked up, and a range
  ends when the cursor has passed its end, never when a record with some number was seen.
* A position carries Kafka's topic id, which another topic of the same name does not share. The id is asked for at
  most once a second, so a topic made again is noticed within one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence

from brokers import kafka_versions
from brokers.base import (
    Bounds,
    BrokerError,
    Capability,
    Description,
    Gone,
    NoSuchTopic,
    Position,
    Record,
    Setting,
    Stored,
    TopicInfo,
    Unreachable,
    Unsent,
    Unsupported,
)
from brokers.kafka_client import Client, Cursor, Described
from brokers.kafka_settings import KafkaSettings, parse
from brokers.options import check_topic, no_partition, other_count
from brokers.outgoing import place
from brokers.positions import check_position, gone

_DESCRIPTION_SECONDS = 1.0
_HEARSAY_SECONDS = 1.0  # of several brokers one may not have heard yet of what another was told of a topic


def connect(url: str, secrets: dict[str, str] | None = None) -> KafkaBroker:
    """The client library is imported here, and only the one that the URL names."""
    settings = parse(url, secrets or {})
    client: Client
    if settings.client == "kafka-python":
        from brokers.kafka_python import PythonClient

        client = PythonClient(settings)
    else:
        from brokers.kafka_confluent import ConfluentClient

        client = ConfluentClient(settings)
    return KafkaBroker(settings, client)


class KafkaBroker:
    """See `brokers.base.Broker` for every method's guarantee."""

    capabilities = {
        "durable": Capability(True, "acks=all, idempotent: as safe as the topic's replicas and min.insync.replicas"),
        "shared": Capability(True, "any number of processes and machines"),
        "replication": Capability(True, "set when the topic is created"),
        "retention": Capability(True, "by publish time, a segment at a time; does not wait for groups"),
    }

    def __init__(self, settings: KafkaSettings, client: Client) -> None:
        self.url = settings.shown
        self._settings = settings
        self._client = client
        self._described: dict[str, tuple[float, Described]] = {}
        self._records_at: dict[tuple[str, str, int, int, int], int | None] = {}
        self._copied: set[str] = set()  # topics that take times as they are given
        self._closed = False

    def ping(self, timeout: float = 5.0) -> str:
        self._open()
        return f"{self._settings.product}, {self._client.ping(timeout)}"

    # Topics

    def create_topic(self, name: str, partitions: int = 4, retention_ms: int = -1, replication: int = 1) -> None:
        self._open()
        check_topic(name, partitions, retention_ms, replication)
        self._described.pop(name, None)
        self._copied.discard(name)
        known = self._client.describe(name)
        wanted = _settings(known.replication if known else replication) | {"retention.ms": str(retention_ms)}
        if known is None:
            self._client.create(name, partitions, replication, wanted)
            self._await_topic(name, partitions)
        elif known.partitions != partitions:
            raise other_count(name, known.partitions, partitions)
        if self._other_settings(name, wanted):
            self._client.configure(name, wanted)
            deadline = time.monotonic() + _HEARSAY_SECONDS
            while other := self._other_settings(name, wanted):
                if time.monotonic() > deadline:
                    raise Unsupported(f"{self.url}: topic {name} keeps {other} though set otherwise: ask who runs it")
                time.sleep(0.05)

    def _other_settings(self, name: str, wanted: Mapping[str, str]) -> str:
        held = self._client.config(name)
        return ", ".join(f"{key}={held.get(key)}" for key in wanted if held.get(key) != wanted[key])

    def _await_topic(self, name: str, partitions: int) -> None:
        """A created topic is known to every part of the cluster, and has its leaders, a moment later."""
        deadline = time.monotonic() + self._settings.timeout
        while True:
            try:
                if self._client.describe(name) is not None:
                    for partition in range(partitions):
                        self._client.ends(name, partition)
                    return
            except BrokerError:
                if time.monotonic() > deadline:
                    raise
            if time.monotonic() > deadline:
                raise Unreachable(f"{self.url}: topic {name} was created but does not appear: retry")
            time.sleep(0.02)

    def topics(self) -> dict[str, TopicInfo]:
        self._open()
        return {name: info for name in self._client.topics() if (info := self._info(name))}

    def _info(self, name: str) -> TopicInfo | None:
        described = self._client.describe(name)
        if described is None:  # deleted since it was listed
            return None
        retention = int(self._client.config(name).get("retention.ms", "-1"))
        return TopicInfo(name, described.partitions, retention, described.replication)

    def partitions(self, topic: str) -> int:
        return self._describe(topic).partitions

    def delete_topic(self, name: str) -> None:
        self._describe(name)
        self._client.delete(name)
        self._described.pop(name, None)

    def describe(self, timeout: float = 5.0) -> Description:
        cluster = self.ping(timeout)
        try:
            told = kafka_versions.ask(self._settings, timeout)
        except OSError as error:
            raise Unreachable(f"{self.url} does not answer ({error}): retry, or look at the URL") from error
        servers = re.search(r"of (\d+) broker", cluster)
        features = [f"Produce up to version {told.produce}", f"Fetch up to version {told.fetch}"]
        return Description(
            self._settings.product,
            told.release,
            int(servers[1]) if servers else 1,
            tuple(features if told.fetch >= 0 else ()),
        )

    def topic_settings(self, name: str, replication: int) -> dict[str, Setting]:
        self._describe(name)
        held = self._client.config(name)
        return {key: Setting(held.get(key, ""), value) for key, value in _settings(replication).items()}

    # Publishing

    def publish(self, records: Sequence[Record]) -> None:
        self._open()
        limit = self._settings.max_record_bytes
        outgoing = place(records, self._known_partitions, limit)
        if records and records[0].timestamp is not None:
            self._let_times_be_given({topic for topic, _ in outgoing.logs})
        sent = self._client.send(records, outgoing.logs)
        if sent.no_topic:
            for topic, _ in outgoing.logs:
                self._described.pop(topic, None)
                self._describe(topic)  # raises NoSuchTopic for the one that is gone
        if sent.failed:
            failed = sorted({*sent.failed, *sent.too_large})
            message = f"{self.url}: {len(failed)} of {len(records)} records are not durable ({sent.reason}): send again"
            if len(failed) == len(records) and not sent.too_large:
                raise sent.refused or Unreachable(message)
            raise Unsent(message, failed)
        outgoing.too_large.extend(sent.too_large)
        outgoing.raise_too_large(records, limit)

    def _let_times_be_given(self, topics: set[str]) -> None:
        """Until the next `create_topic` of it, a topic takes the times of records that are copied into it."""
        for topic in topics - self._copied:
            self._client.configure(topic, {"message.timestamp.type": "CreateTime"})
            self._copied.add(topic)

    def _known_partitions(self, topic: str) -> int:
        """Partition counts are fixed, so a description of any age will do; a deleted topic shows when sending."""
        known = self._described.get(topic)
        return known[1].partitions if known else self._describe(topic).partitions

    # Reading

    def bounds(self, topic: str, partition: int) -> Bounds | None:
        incarnation = self._check_partition(topic, partition).id
        low, high = self._client.ends(topic, partition)
        last = self._last_record(topic, partition, incarnation, low, high)
        if last is None:
            return None
        first = self._first_record(topic, partition, incarnation, low, high)
        return Bounds(Position((first,), incarnation), Position((last,), incarnation))

    def read_range(
        self, topic: str, partition: int, after: Position | None, upto: Position, batch: int = 10_000
    ) -> Iterator[list[Stored]]:
        incarnation = self._check_partition(topic, partition).id
        low, high = self._client.ends(topic, partition)
        check_position(topic, partition, upto, incarnation, high)
        start = self._start(topic, partition, after, incarnation, low, high)
        last = upto.order[0]
        if last < low:
            raise gone(topic, partition, last, low)
        with self._client.cursor(topic, partition, incarnation, start) as cursor:
            while cursor.next <= last:
                found: list[Stored] = []
                while len(found) < batch and cursor.next <= last:
                    taken = self._take(cursor, topic, partition, batch - len(found))
                    while taken and taken[-1].position.order[0] > last:
                        taken.pop()
                    found += taken
                if found:
                    yield found

    def read_after(
        self, topic: str, partition: int, after: Position | None, limit: int = 10_000, wait: float = 0.0
    ) -> list[Stored]:
        incarnation = self._check_partition(topic, partition).id
        low, high = self._client.ends(topic, partition)
        start = self._start(topic, partition, after, incarnation, low, high)
        if start >= high and wait <= 0:
            return []
        deadline = time.monotonic() + (self._settings.timeout if start < high else wait)
        with self._client.cursor(topic, partition, incarnation, start) as cursor:
            while not (taken := cursor.take(limit, max(deadline - time.monotonic(), 0))):
                # All of what was there may be control records: go on only while the caller is willing to wait.
                if time.monotonic() >= deadline or (cursor.next >= high and wait <= 0):
                    break
        return taken

    def end_before(self, topic: str, partition: int, after: Position | None, limit: int) -> Position | None:
        incarnation = self._check_partition(topic, partition).id
        low, high = self._client.ends(topic, partition)
        start = self._start(topic, partition, after, incarnation, low, high)
        while start < high:
            end = min(start + limit, high)
            last = self._last_record(topic, partition, incarnation, start, end)
            if last is not None:
                return Position((last,), incarnation)
            start = end  # nothing but control records so far
        return None

    def position_at(self, topic: str, partition: int, timestamp_ms: int) -> Position | None:
        incarnation = self._check_partition(topic, partition).id
        low, high = self._client.ends(topic, partition)
        found = self._client.offset_at(topic, partition, timestamp_ms)
        last = self._last_record(topic, partition, incarnation, low, high if found is None else found)
        return None if last is None else Position((last,), incarnation)

    def timestamp_of(self, topic: str, partition: int, position: Position) -> int:
        incarnation = self._check_partition(topic, partition).id
        low, high = self._client.ends(topic, partition)
        check_position(topic, partition, position, incarnation, high)
        offset = position.order[0]
        if offset < low:
            raise gone(topic, partition, offset, low)
        for found in self.read_range(topic, partition, None if offset == low else _before(position), position):
            return found[-1].timestamp
        raise Gone(f"{topic}[{partition}]: there is no record at {position}")

    def _take(self, cursor: Cursor, topic: str, partition: int, limit: int) -> list[Stored]:
        """What comes next where something is known to come. Nothing at all: control records, which it went past."""
        before = cursor.next
        taken = cursor.take(limit, self._settings.timeout)
        if cursor.next == before:
            raise Unreachable(f"{self.url}: {topic}[{partition}] gave nothing at offset {before}: retry")
        return taken

    def _first_record(self, topic: str, partition: int, incarnation: str, low: int, high: int) -> int:
        key = (topic, incarnation, partition, low, -1)
        if key not in self._records_at:
            with self._client.cursor(topic, partition, incarnation, low) as cursor:
                while not (taken := self._take(cursor, topic, partition, 1)):
                    if cursor.next >= high:
                        raise Unreachable(f"{self.url}: {topic}[{partition}] changed while it was looked at: retry")
            self._remember_lookup(key, taken[0].position.order[0])
        return self._records_at[key] or 0

    def _last_record(self, topic: str, partition: int, incarnation: str, low: int, end: int) -> int | None:
        """Offset of the last record in [low, end): nearly always end - 1, unless that is a control record."""
        if end <= low:
            return None
        key = (topic, incarnation, partition, low, end)
        if key not in self._records_at:
            last, width = None, 1
            while last is None:
                start = max(low, end - width)
                last = self._last_from(topic, partition, incarnation, start, end)
                if start == low:
                    break
                width *= 8
            self._remember_lookup(key, last)
        return self._records_at[key]

    def _last_from(self, topic: str, partition: int, incarnation: str, start: int, end: int) -> int | None:
        last = None
        with self._client.cursor(topic, partition, incarnation, start) as cursor:
            while cursor.next < end:
                for record in self._take(cursor, topic, partition, end - cursor.next):
                    if record.position.order[0] < end:
                        last = record.position.order[0]
        return last

    def _remember_lookup(self, key: tuple[str, str, int, int, int], found: int | None) -> None:
        if len(self._records_at) >= 4096:  # four lookups for each of a thousand partitions
            self._records_at.clear()
        self._records_at[key] = found

    # Groups

    def remember(self, group: str, topic: str, partition: int, position: Position) -> None:
        incarnation = self._check_partition(topic, partition).id
        check_position(topic, partition, position, incarnation, self._client.ends(topic, partition)[1])
        # By Kafka's convention the offset is that of the next record, so that Kafka's own tools show the right lag.
        self._client.commit(group, topic, partition, position.order[0] + 1, position.incarnation)

    def recall(self, group: str, topic: str, partition: int) -> Position | None:
        incarnation = self._check_partition(topic, partition).id
        found = self._client.committed(group, topic, partition)
        return Position((found[0] - 1,), found[1] or incarnation) if found and found[0] > 0 else None

    def remove_before(self, topic: str, partition: int, position: Position) -> None:
        """Drop the records before `position`, as retention would; for the conformance suite and for operators."""
        self._client.delete_before(topic, partition, position.order[0])

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._client.close()

    def _open(self) -> None:
        if self._closed:
            raise BrokerError(f"{self.url} is closed: connect again")

    def _describe(self, topic: str) -> Described:
        self._open()
        now = time.monotonic()
        known = self._described.get(topic)
        if known is None or now - known[0] > _DESCRIPTION_SECONDS:
            described = self._client.describe(topic)
            while described is None and time.monotonic() < now + _HEARSAY_SECONDS:
                time.sleep(0.05)
                described = self._client.describe(topic)
            if described is None:
                self._described.pop(topic, None)
                raise NoSuchTopic(f"topic {topic} does not exist on {self.url}: create it first")
            known = self._described[topic] = (now, described)
        return known[1]

    def _check_partition(self, topic: str, partition: int) -> Described:
        described = self._describe(topic)
        if not 0 <= partition < described.partitions:
            raise no_partition(topic, partition, described.partitions)
        return described

    def _start(self, topic: str, partition: int, after: Position | None, incarnation: str, low: int, high: int) -> int:
        if after is None:
            return low
        check_position(topic, partition, after, incarnation, high)
        start = after.order[0] + 1
        if start < low:
            raise gone(topic, partition, start, low)
        return start


def _settings(replication: int) -> dict[str, str]:
    """What a topic of events needs, whatever the broker's defaults. Of three copies, two are there at each ack."""
    wanted = {"retention.bytes": "-1", "cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"}
    return wanted | ({"min.insync.replicas": str(replication // 2 + 1)} if replication > 2 else {})


def _before(position: Position) -> Position:
    return Position((position.order[0] - 1,), position.incarnation)

