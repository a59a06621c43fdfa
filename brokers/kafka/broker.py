"""`kafka://host:9092`: Apache Kafka, through confluent-kafka (the hot path) or kafka-python (`?client=kafka-python`).

* Every publish is idempotent and acked by all in-sync replicas. The partition is always ours (murmur2).
* Topics are stamped with the broker's append time, so a record's time is its publish time whatever a client says. The
  exception are records that are copied from another broker with the time at which they were published there.
* Control records (transaction markers) take offsets too. The first and the last *record* are therefore looked up, and a
  range ends when the cursor has passed its end, not when a record with that offset was seen.
* A position carries Kafka's topic id, which no other topic of the same name shares. The id is fetched at most once a
  second, so a topic that is created again is noticed within a second.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

from brokers.base import (
    Bounds,
    BrokerError,
    Capability,
    Description,
    Gone,
    Position,
    Record,
    Setting,
    Stored,
    TopicInfo,
    TopicPartition,
    Unreachable,
    Unsupported,
)
from brokers.checks import check_partition, check_topic, closed, other_count
from brokers.kafka.client import Client, OffsetCursor
from brokers.kafka.probe import api_versions
from brokers.kafka.settings import KafkaSettings, parse
from brokers.offset_log import OffsetLog
from brokers.routing import Router, TopicCache

_SPREAD_SECONDS = 1.0  # how long one of several brokers may not have heard of a change that another one made
_LOOKUPS = 4096  # kept: four for each of a thousand partitions


def connect(url: str, secrets: dict[str, str] | None = None) -> KafkaBroker:
    """Return the adapter. The client library is imported here, and only the one that the URL names."""
    settings = parse(url, secrets or {})
    client: Client
    if settings.client == "kafka-python":
        from brokers.kafka.kafka_python import PythonClient

        client = PythonClient(settings)
    else:
        from brokers.kafka.confluent import ConfluentClient

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
        self._topics = TopicCache(client.describe, self.url, patience=_SPREAD_SECONDS)
        self._router = Router(self._topics.partitions, settings.max_record_bytes)
        self._lookups: dict[tuple[TopicPartition, str, int, int], int | None] = {}
        self._copied: set[str] = set()  # topics that take the times of copied records
        self._closed = False

    def ping(self, timeout: float = 5.0) -> str:
        self._check_open()
        return f"{self._settings.product}, {self._client.ping(timeout)}"

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._client.close()

    # Topics

    def create_topic(self, name: str, partitions: int = 4, retention_ms: int = -1, replication: int = 1) -> None:
        self._check_open()
        check_topic(name, partitions, retention_ms, replication)
        self._topics.forget(name)
        self._copied.discard(name)
        found = self._client.describe(name)
        wanted = _settings(found.replication if found else replication) | {"retention.ms": str(retention_ms)}
        if found is None:
            self._client.create(name, partitions, replication, wanted)
            self._await_topic(name, partitions)
        elif found.partitions != partitions:
            raise other_count(name, found.partitions, partitions)
        if self._other_settings(name, wanted):
            self._client.configure(name, wanted)
            deadline = time.monotonic() + _SPREAD_SECONDS
            while other := self._other_settings(name, wanted):
                if time.monotonic() > deadline:
                    raise Unsupported(f"{self.url}: topic {name} keeps {other} though set otherwise: ask who runs it")
                time.sleep(0.05)

    def _other_settings(self, name: str, wanted: Mapping[str, str]) -> str:
        config = self._client.config(name)
        return ", ".join(f"{key}={config.get(key)}" for key in wanted if config.get(key) != wanted[key])

    def _await_topic(self, name: str, partitions: int) -> None:
        """Wait until every part of the cluster knows the new topic and its partitions have leaders."""
        deadline = time.monotonic() + self._settings.timeout
        while True:
            try:
                if self._client.describe(name) is not None:
                    for number in range(partitions):
                        self._client.ends(TopicPartition(name, number))
                    return
            except BrokerError:
                if time.monotonic() > deadline:
                    raise
            if time.monotonic() > deadline:
                raise Unreachable(f"{self.url}: topic {name} was created but does not appear: retry")
            time.sleep(0.02)

    def topics(self) -> dict[str, TopicInfo]:
        self._check_open()
        return {name: info for name in self._client.topics() if (info := self._info(name))}

    def _info(self, name: str) -> TopicInfo | None:
        described = self._client.describe(name)
        if described is None:  # deleted since it was listed
            return None
        retention = int(self._client.config(name).get("retention.ms", "-1"))
        return TopicInfo(name, described.partitions, retention, described.replication)

    def partitions(self, topic: str) -> int:
        self._check_open()
        return self._topics.get(topic).partitions

    def delete_topic(self, name: str) -> None:
        self._check_open()
        self._topics.get(name)
        self._client.delete(name)
        self._topics.forget(name)

    def describe(self, timeout: float = 5.0) -> Description:
        cluster = self.ping(timeout)
        try:
            versions = api_versions(self._settings, timeout)
        except OSError as error:
            raise Unreachable(f"{self.url} does not answer ({error}): retry, or look at the URL") from error
        servers = re.search(r"of (\d+) broker", cluster)
        features = [f"Produce up to version {versions.produce}", f"Fetch up to version {versions.fetch}"]
        return Description(
            self._settings.product,
            versions.release,
            int(servers[1]) if servers else 1,
            tuple(features if versions.fetch >= 0 else ()),
        )

    def topic_settings(self, name: str, replication: int) -> dict[str, Setting]:
        self.partitions(name)
        config = self._client.config(name)
        return {key: Setting(config.get(key, ""), value) for key, value in _settings(replication).items()}

    # Publishing

    def publish(self, records: Sequence[Record]) -> None:
        self._check_open()
        outgoing = self._router.route(records)
        if records and records[0].timestamp is not None:
            self._take_given_times({topic for topic, _ in outgoing.logs})
        sent = self._client.send(records, outgoing.logs)
        if sent.no_topic:
            for topic, _ in outgoing.logs:
                self._topics.forget(topic)
                self._topics.get(topic)  # raises NoSuchTopic for the one that is gone
        outgoing.raise_unsent(sent, self.url)

    def _take_given_times(self, topics: set[str]) -> None:
        """Let topics keep the times of records that are copied into them, until `create_topic` sets them back."""
        for topic in topics - self._copied:
            self._client.configure(topic, {"message.timestamp.type": "CreateTime"})
            self._copied.add(topic)

    # Reading

    def bounds(self, partition: TopicPartition) -> Bounds | None:
        log = self._log(partition)
        last = self._last_record(log, log.first, log.end)
        return None if last is None else Bounds(log.position(self._first_record(log)), log.position(last))

    def read_range(
        self, partition: TopicPartition, after: Position | None, upto: Position, batch: int = 10_000
    ) -> Iterator[list[Stored]]:
        log = self._log(partition)
        start, last = log.start(after), log.check_kept(upto)
        with self._cursor(log, start) as cursor:
            while cursor.next <= last:
                found: list[Stored] = []
                while len(found) < batch and cursor.next <= last:
                    taken = self._take(cursor, log, batch - len(found))
                    while taken and taken[-1].position.order[0] > last:
                        taken.pop()
                    found += taken
                if found:
                    yield found

    def read_after(
        self, partition: TopicPartition, after: Position | None, limit: int = 10_000, wait: float = 0.0
    ) -> list[Stored]:
        log = self._log(partition)
        start = log.start(after)
        if start >= log.end and wait <= 0:
            return []
        deadline = time.monotonic() + (self._settings.timeout if start < log.end else wait)
        with self._cursor(log, start) as cursor:
            while not (taken := cursor.take(limit, max(deadline - time.monotonic(), 0))):
                # All that was there may be control records: go on only while the caller is willing to wait.
                if time.monotonic() >= deadline or (cursor.next >= log.end and wait <= 0):
                    break
        return taken

    def end_before(self, partition: TopicPartition, after: Position | None, limit: int) -> Position | None:
        log = self._log(partition)
        start = log.start(after)
        while start < log.end:
            end = min(start + limit, log.end)
            last = self._last_record(log, start, end)
            if last is not None:
                return log.position(last)
            start = end  # nothing but control records so far
        return None

    def position_at(self, partition: TopicPartition, timestamp_ms: int) -> Position | None:
        log = self._log(partition)
        found = self._client.offset_at(partition, timestamp_ms)
        last = self._last_record(log, log.first, log.end if found is None else found)
        return None if last is None else log.position(last)

    def timestamp_of(self, partition: TopicPartition, position: Position) -> int:
        log = self._log(partition)
        offset = log.check_kept(position)
        after = log.position(offset - 1) if offset > log.first else None
        for found in self.read_range(partition, after, position):
            return found[-1].timestamp
        raise Gone(f"{partition}: there is no record at {position}")

    def _cursor(self, log: OffsetLog, start: int) -> AbstractContextManager[OffsetCursor]:
        return self._client.cursor(log.partition, log.incarnation, start)

    def _take(self, cursor: OffsetCursor, log: OffsetLog, limit: int) -> list[Stored]:
        """Return what follows where something must follow; an empty list means that control records were passed."""
        before = cursor.next
        taken = cursor.take(limit, self._settings.timeout)
        if cursor.next == before:
            raise Unreachable(f"{self.url}: {log.partition} gave nothing at offset {before}: retry")
        return taken

    def _first_record(self, log: OffsetLog) -> int:
        """Return the offset of the first record, in a log that has one."""
        key = (log.partition, log.incarnation, log.first, -1)
        found = self._lookups.get(key)
        if found is None:
            with self._cursor(log, log.first) as cursor:
                while not (taken := self._take(cursor, log, 1)):
                    if cursor.next >= log.end:
                        raise Unreachable(f"{self.url}: {log.partition} changed during a look-up: retry")
            found = taken[0].position.order[0]
            self._keep_lookup(key, found)
        return found

    def _last_record(self, log: OffsetLog, start: int, end: int) -> int | None:
        """Return the offset of the last record in [start, end): nearly always end - 1, unless that is a marker."""
        if end <= start:
            return None
        key = (log.partition, log.incarnation, start, end)
        if key not in self._lookups:
            last, width = None, 1
            while last is None:
                begin = max(start, end - width)
                last = self._last_from(log, begin, end)
                if begin == start:
                    break
                width *= 8
            self._keep_lookup(key, last)
        return self._lookups[key]

    def _last_from(self, log: OffsetLog, start: int, end: int) -> int | None:
        last = None
        with self._cursor(log, start) as cursor:
            while cursor.next < end:
                for record in self._take(cursor, log, end - cursor.next):
                    if record.position.order[0] < end:
                        last = record.position.order[0]
        return last

    def _keep_lookup(self, key: tuple[TopicPartition, str, int, int], found: int | None) -> None:
        if len(self._lookups) >= _LOOKUPS:
            self._lookups.clear()
        self._lookups[key] = found

    # Groups

    def remember(self, group: str, partition: TopicPartition, position: Position) -> None:
        offset = self._log(partition).check(position)
        # By Kafka's convention the offset is that of the next record, so that Kafka's own tools show the right lag.
        self._client.commit(group, partition, offset + 1, position.incarnation)

    def recall(self, group: str, partition: TopicPartition) -> Position | None:
        incarnation = self._incarnation(partition)
        found = self._client.committed(group, partition)
        return Position((found[0] - 1,), found[1] or incarnation) if found and found[0] > 0 else None

    def remove_before(self, partition: TopicPartition, position: Position) -> None:
        """Remove the records before `position`, as retention would; for the conformance suite and for operators."""
        self._client.delete_before(partition, self._log(partition).check(position))

    def _check_open(self) -> None:
        if self._closed:
            raise closed(self.url)

    def _incarnation(self, partition: TopicPartition) -> str:
        self._check_open()
        described = self._topics.get(partition.topic)
        check_partition(partition, described.partitions)
        return described.incarnation

    def _log(self, partition: TopicPartition) -> OffsetLog:
        return OffsetLog(partition, self._incarnation(partition), *self._client.ends(partition))


def _settings(replication: int) -> dict[str, str]:
    """Return what a topic of events needs whatever the broker's defaults are; of three copies, two ack each record."""
    wanted = {"retention.bytes": "-1", "cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"}
    return wanted | ({"min.insync.replicas": str(replication // 2 + 1)} if replication > 2 else {})
