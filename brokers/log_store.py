"""A whole broker over any store that keeps small values by name and lists of bytes by number.

`LogStore` requires little, so that many things qualify: a Redis, a table, a folder. The contract of `brokers.base`,
which requires much, is kept here once for all of them: a list is a partition of one incarnation of a topic, an entry's
number is its offset, and retention waits for remembered positions. `memory://` is the shortest such store, and
`examples/redis_lists` one of a third party.

Records are stamped with the publisher's clock. A list is searched by time as if times never decreased, so the clocks of
several publishers should agree to within milliseconds, as they do where they are synchronised.
"""

from __future__ import annotations

import secrets as random
import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import Protocol

import msgspec

from brokers.base import Capability, Description, Position, Record, Stored, TopicInfo, TopicPartition, Unsupported
from brokers.checks import check_partition, check_topic, closed, hide_credentials, no_topic, other_count
from brokers.offset_log import OffsetLog, OffsetLogBroker
from brokers.routing import Router

_RETENTION_SECONDS = 60.0  # how often publishing looks for records that are too old


class LogStore(Protocol):
    """What an adapter implements. Several threads may call it; a store that does not answer raises `Unreachable`."""

    def ping(self, timeout: float) -> str:
        """Return the product and its version, within `timeout` seconds."""

    def get(self, name: str) -> bytes | None:
        """Return a value, or None."""

    def put(self, name: str, value: bytes) -> None:
        """Store a value durably."""

    def put_if_absent(self, name: str, value: bytes) -> None:
        """Store a value unless there is one; of several callers at once, one wins."""

    def delete(self, names: Sequence[str]) -> None:
        """Delete values and lists; names that do not exist are ignored."""

    def names(self, prefix: str) -> list[str]:
        """Return the names of values that start with `prefix`, in any order."""

    def append(self, entries: Sequence[tuple[str, bytes]]) -> None:
        """Append entries, as (list, entry), in their order. All are durable on return, or none is stored."""

    def span(self, name: str) -> tuple[int, int]:
        """Return the number of a list's first entry and that of the next to come; (0, 0) if there is no list."""

    def read(self, name: str, start: int, count: int) -> list[bytes]:
        """Return up to `count` entries from number `start` on; none if entry `start` is not kept any more."""

    def drop(self, name: str, start: int) -> None:
        """Remove the entries before number `start`; the others keep their numbers."""

    def close(self) -> None:
        """Release connections."""


class _StoredTopic(msgspec.Struct):
    partitions: int
    retention_ms: int
    incarnation: str


class _Entry(msgspec.Struct, array_like=True):
    at: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class _ListLog(OffsetLog, frozen=True):
    name: str  # of the list
    retention_ms: int


_encode = msgspec.msgpack.Encoder().encode
_as_topic = msgspec.msgpack.Decoder(_StoredTopic).decode
_as_entry = msgspec.msgpack.Decoder(_Entry).decode


class LogStoreBroker(OffsetLogBroker[_ListLog]):
    """See `brokers.base.Broker` for every method's guarantee. A subclass names its `capabilities`."""

    capabilities: dict[str, Capability]

    def __init__(self, url: str, store: LogStore) -> None:
        super().__init__()
        self.url = hide_credentials(url)
        self._opened: LogStore | None = store
        self._router = Router(self.partitions)
        self._retained: dict[TopicPartition, float] = {}

    @property
    def _store(self) -> LogStore:
        if self._opened is None:
            raise closed(self.url)
        return self._opened

    def ping(self, timeout: float = 5.0) -> str:
        return self._store.ping(timeout)

    def describe(self, timeout: float = 5.0) -> Description:
        product, _, version = self.ping(timeout).partition(" ")
        return Description(product, version, 1)

    def close(self) -> None:
        super().close()
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    # Topics

    def create_topic(self, name: str, partitions: int = 4, retention_ms: int = -1, replication: int = 1) -> None:
        check_topic(name, partitions, retention_ms, replication)
        if replication > 1:
            raise Unsupported(f"{self.url} makes no copies: create {name} with replication=1")
        new = _StoredTopic(partitions, retention_ms, random.token_hex(8))
        self._store.put_if_absent(f"topic/{name}", _encode(new))
        stored = self._topic(name)
        if stored.partitions != partitions:
            raise other_count(name, stored.partitions, partitions)
        if stored.retention_ms != retention_ms:
            stored.retention_ms = retention_ms
            self._store.put(f"topic/{name}", _encode(stored))

    def topics(self) -> dict[str, TopicInfo]:
        names = [name.removeprefix("topic/") for name in sorted(self._store.names("topic/"))]
        stored = {name: self._topic(name) for name in names}
        return {name: TopicInfo(name, topic.partitions, topic.retention_ms) for name, topic in stored.items()}

    def partitions(self, topic: str) -> int:
        return self._topic(topic).partitions

    def delete_topic(self, name: str) -> None:
        stored = self._topic(name)
        lists = [_list(TopicPartition(name, number), stored) for number in range(stored.partitions)]
        groups = [group for each in lists for group in self._store.names(f"group/{each}/")]
        self._store.delete([f"topic/{name}", *groups, *lists])

    # Publishing and retention

    def publish(self, records: Sequence[Record]) -> None:
        outgoing = self._router.route(records)
        now = time.time_ns() // 1_000_000
        entries = []
        for partition, indexes in outgoing.logs.items():
            log = _list(partition, self._topic(partition.topic))
            for _, key, value, headers, _, at in (records[index] for index in indexes):
                entry = _Entry(now if at is None else at, key, value, tuple(headers))
                entries.append((log, _encode(entry)))
        if entries:
            self._store.append(entries)
        for partition in outgoing.logs:
            self._retain(partition, now)
        outgoing.raise_too_large()

    def _retain(self, partition: TopicPartition, now: int) -> None:
        """Remove what is older than the topic's retention, unless the last look was less than a minute ago."""
        looked = self._retained.get(partition)
        if looked is not None and time.monotonic() < looked + _RETENTION_SECONDS:
            return
        self._retained[partition] = time.monotonic()
        log = self._log(partition)
        if log.retention_ms >= 0:
            self._remove(log, self._first_at(log, now - log.retention_ms))

    def _remove(self, log: _ListLog, end: int) -> None:
        for name in self._store.names(f"group/{log.name}/"):
            if (passed := self._store.get(name)) is not None:
                end = min(end, Position.parse(passed.decode()).order[0] + 1)
        if end > log.first:
            self._store.drop(log.name, end)

    # Reading

    def _read(self, log: _ListLog, start: int, count: int) -> list[Stored]:
        entries = map(_as_entry, self._store.read(log.name, start, count))
        return [
            Stored(log.position(number), entry.at, entry.key, entry.value, entry.headers)
            for number, entry in enumerate(entries, start)
        ]

    def _first_at(self, log: _ListLog, timestamp_ms: int) -> int:
        # An entry that is removed meanwhile is older than any that are kept.
        return log.first + bisect_left(
            range(log.first, log.end), timestamp_ms, key=lambda number: self._time_of(log, number) or -1
        )

    def _time_of(self, log: _ListLog, offset: int) -> int | None:
        found = self._store.read(log.name, offset, 1)
        return _as_entry(found[0]).at if found else None

    def _remember(self, group: str, log: _ListLog, offset: int) -> None:
        self._store.put(f"group/{log.name}/{group}", str(log.position(offset)).encode())

    def _recall(self, group: str, log: _ListLog) -> int | None:
        found = self._store.get(f"group/{log.name}/{group}")
        return Position.parse(found.decode()).order[0] if found else None

    def _topic(self, name: str) -> _StoredTopic:
        found = self._store.get(f"topic/{name}")
        if found is None:
            raise no_topic(name, self.url)
        return _as_topic(found)

    def _log(self, partition: TopicPartition) -> _ListLog:
        stored = self._topic(partition.topic)
        check_partition(partition, stored.partitions)
        name = _list(partition, stored)
        return _ListLog(partition, stored.incarnation, *self._store.span(name), name, stored.retention_ms)


def _list(partition: TopicPartition, stored: _StoredTopic) -> str:
    return f"log/{partition.topic}/{stored.incarnation}/{partition.number}"
