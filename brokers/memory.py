"""`memory://`: a broker in lists, for tests and demonstrations. Gone with the process, and never shared."""

from __future__ import annotations

import secrets as random
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from brokers.base import (
    Bounds,
    BrokerError,
    Capability,
    Description,
    NoSuchTopic,
    Position,
    Record,
    Setting,
    Stored,
    TopicInfo,
    Unsupported,
)
from brokers.options import check_topic, no_partition, other_count, read_options
from brokers.outgoing import MAX_RECORD_BYTES, place
from brokers.positions import check_position, gone


@dataclass
class _Log:
    first: int = 0  # offset of records[0]
    records: list[Stored] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.first + len(self.records)


@dataclass
class _Topic:
    info: TopicInfo
    incarnation: str
    logs: list[_Log]


class MemoryBroker:
    """See `brokers.base.Broker` for every method's guarantee."""

    capabilities = {
        "durable": Capability(False, "records live in this process and end with it"),
        "shared": Capability(False, "each connection is a broker of its own"),
        "replication": Capability(False, "one copy"),
        "retention": Capability(True, "by age, at each publish; held back by remembered positions"),
    }

    def __init__(self, url: str = "memory://", secrets: dict[str, str] | None = None) -> None:  # noqa: ARG002
        read_options(url, {})
        self.url = url
        self._topics: dict[str, _Topic] = {}
        self._remembered: dict[tuple[str, str, int], Position] = {}
        self._changed = threading.Condition()
        self._closed = False

    def ping(self, timeout: float = 5.0) -> str:  # noqa: ARG002
        self._open()
        return "memory"

    def describe(self, timeout: float = 5.0) -> Description:
        return Description(self.ping(timeout), "", 1)

    def topic_settings(self, name: str, replication: int) -> dict[str, Setting]:  # noqa: ARG002
        self._topic(name)
        return {}

    def create_topic(self, name: str, partitions: int = 4, retention_ms: int = -1, replication: int = 1) -> None:
        self._open()
        check_topic(name, partitions, retention_ms, replication)
        if replication > 1:
            raise Unsupported(f"memory:// holds one copy: create {name} with replication=1")
        info = TopicInfo(name, partitions, retention_ms)
        with self._changed:
            known = self._topics.get(name)
            if known is None:
                self._topics[name] = _Topic(info, random.token_hex(8), [_Log() for _ in range(partitions)])
            elif known.info.partitions != partitions:
                raise other_count(name, known.info.partitions, partitions)
            else:
                known.info = info

    def topics(self) -> dict[str, TopicInfo]:
        self._open()
        with self._changed:
            return {name: topic.info for name, topic in self._topics.items()}

    def partitions(self, topic: str) -> int:
        return len(self._topic(topic).logs)

    def publish(self, records: Sequence[Record]) -> None:
        self._open()
        with self._changed:
            outgoing = place(records, self.partitions, MAX_RECORD_BYTES)
            for (name, partition), indexes in outgoing.logs.items():
                topic = self._topic(name)
                log = topic.logs[partition]
                at = log.records[-1].timestamp if log.records else 0
                now = time.time_ns() // 1_000_000
                for index in indexes:
                    record = records[index]
                    position = Position((log.end,), topic.incarnation)
                    at = max(at, now if record.timestamp is None else record.timestamp)
                    log.records.append(Stored(position, at, record.key, record.value, tuple(record.headers)))
                self._retain(topic, partition, now)
            self._changed.notify_all()
        outgoing.raise_too_large(records, MAX_RECORD_BYTES)

    def _retain(self, topic: _Topic, partition: int, now: int) -> None:
        if topic.info.retention_ms < 0:
            return
        log = topic.logs[partition]
        drop = bisect_left(log.records, now - topic.info.retention_ms, key=lambda stored: stored.timestamp)
        self._drop(topic, partition, drop)

    def _drop(self, topic: _Topic, partition: int, drop: int) -> None:
        log = topic.logs[partition]
        for (_, name, number), position in self._remembered.items():
            if (name, number) == (topic.info.name, partition) and position.incarnation == topic.incarnation:
                drop = min(drop, max(position.order[0] + 1 - log.first, 0))
        del log.records[:drop]
        log.first += drop

    def bounds(self, topic: str, partition: int) -> Bounds | None:
        log = self._log(topic, partition)
        with self._changed:
            return Bounds(log.records[0].position, log.records[-1].position) if log.records else None

    def read_range(
        self, topic: str, partition: int, after: Position | None, upto: Position, batch: int = 10_000
    ) -> Iterator[list[Stored]]:
        self._check(topic, partition, upto)
        start, first = self._next(topic, partition, after), self._log(topic, partition).first
        if upto.order[0] < first:
            raise gone(topic, partition, upto.order[0], first)
        while start <= upto.order[0]:
            with self._changed:
                log = self._log(topic, partition)
                if start < log.first:
                    raise gone(topic, partition, start, log.first)
                at = start - log.first
                found = log.records[at : min(at + batch, upto.order[0] + 1 - log.first)]
            yield found
            start += len(found)

    def read_after(
        self, topic: str, partition: int, after: Position | None, limit: int = 10_000, wait: float = 0.0
    ) -> list[Stored]:
        start = self._next(topic, partition, after)
        log = self._log(topic, partition)
        with self._changed:
            if wait > 0:
                self._changed.wait_for(lambda: log.end > start or self._closed, wait)
            at = start - log.first
            return log.records[at : at + limit]

    def end_before(self, topic: str, partition: int, after: Position | None, limit: int) -> Position | None:
        start = self._next(topic, partition, after)
        log = self._log(topic, partition)
        with self._changed:
            found = log.records[start - log.first :][:limit]
        return found[-1].position if found else None

    def position_at(self, topic: str, partition: int, timestamp_ms: int) -> Position | None:
        log = self._log(topic, partition)
        with self._changed:
            at = bisect_left(log.records, timestamp_ms, key=lambda stored: stored.timestamp)
            return log.records[at - 1].position if at else None

    def timestamp_of(self, topic: str, partition: int, position: Position) -> int:
        log = self._log(topic, partition)
        with self._changed:
            self._check(topic, partition, position)
            at = position.order[0] - log.first
            if at < 0:
                raise gone(topic, partition, position.order[0], log.first)
            return log.records[at].timestamp

    def remember(self, group: str, topic: str, partition: int, position: Position) -> None:
        self._check(topic, partition, position)
        with self._changed:
            self._remembered[group, topic, partition] = position

    def recall(self, group: str, topic: str, partition: int) -> Position | None:
        self._log(topic, partition)
        return self._remembered.get((group, topic, partition))

    def remove_before(self, topic: str, partition: int, position: Position) -> None:
        """Drop the records before `position`, as retention would."""
        log = self._log(topic, partition)
        with self._changed:
            self._check(topic, partition, position)
            self._drop(self._topic(topic), partition, max(position.order[0] - log.first, 0))

    def delete_topic(self, name: str) -> None:
        self._topic(name)
        with self._changed:
            self._topics.pop(name, None)
            for key in [key for key in self._remembered if key[1] == name]:
                del self._remembered[key]

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _open(self) -> None:
        if self._closed:
            raise BrokerError(f"{self.url} is closed: connect again")

    def _topic(self, name: str) -> _Topic:
        self._open()
        try:
            return self._topics[name]
        except KeyError:
            raise NoSuchTopic(f"topic {name} does not exist on {self.url}: create it first") from None

    def _log(self, topic: str, partition: int) -> _Log:
        logs = self._topic(topic).logs
        if not 0 <= partition < len(logs):
            raise no_partition(topic, partition, len(logs))
        return logs[partition]

    def _check(self, topic: str, partition: int, position: Position) -> None:
        end = self._log(topic, partition).end
        check_position(topic, partition, position, self._topic(topic).incarnation, end)

    def _next(self, topic: str, partition: int, after: Position | None) -> int:
        """Offset of the record that follows `after`, once that is known to be a position of this log."""
        log = self._log(topic, partition)
        if after is None:
            return log.first
        self._check(topic, partition, after)
        if after.order[0] + 1 < log.first:
            raise gone(topic, partition, after.order[0] + 1, log.first)
        return after.order[0] + 1
