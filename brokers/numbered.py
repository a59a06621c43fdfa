"""A whole broker over any store that keeps small values by name and lists of bytes by number.

`Store` asks little, so that many things are one: a Redis, a table, a folder. The contract of `brokers.base`, which asks
much, is kept here once for all of them: positions are numbers under the topic's incarnation, a list is a partition of
one incarnation, what retention drops is held back by remembered positions. `memory://` is the shortest such store.

Times are those of whoever publishes. A list is searched by time as if they never went back, so clocks of several
publishers should agree, as they do within milliseconds where anybody keeps them.
"""

from __future__ import annotations

import secrets as random
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import msgspec

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
from brokers.options import check_topic, hide_credentials, no_partition, other_count
from brokers.outgoing import MAX_RECORD_BYTES, place
from brokers.positions import check_position, gone

_POLL_SECONDS = 0.02
_RETAIN_SECONDS = 60.0


class Store(Protocol):
    """What an adapter brings. Safe for threads; what does not answer within a bound raises `Unreachable`."""

    def ping(self, timeout: float) -> str:
        """Product and version."""

    def get(self, name: str) -> bytes | None: ...

    def put(self, name: str, value: bytes) -> None: ...

    def put_if_absent(self, name: str, value: bytes) -> None: ...

    def delete(self, names: Sequence[str]) -> None:
        """Values and lists; a name that is not there is none."""

    def names(self, prefix: str) -> list[str]:
        """Of values."""

    def append(self, entries: Sequence[tuple[str, bytes]]) -> None:
        """Append to each list its entries in their order; durable on return, all of them or none."""

    def span(self, name: str) -> tuple[int, int]:
        """Number of the first entry kept and of the next one; (0, 0) of a list that is not there."""

    def read(self, name: str, start: int, count: int) -> list[bytes]:
        """Entries from number `start` on, fewer where the list ends or nothing is kept."""

    def drop(self, name: str, start: int) -> None:
        """Forget what lies before number `start`; the others keep their numbers."""

    def close(self) -> None: ...


class _Topic(msgspec.Struct):
    partitions: int
    retention_ms: int
    incarnation: str


class _Entry(msgspec.Struct, array_like=True):
    at: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class _Log(NamedTuple):
    """A partition as it is now."""

    name: str
    topic: _Topic
    first: int
    end: int


_encode = msgspec.msgpack.Encoder().encode
_as_topic = msgspec.msgpack.Decoder(_Topic).decode
_as_entry = msgspec.msgpack.Decoder(_Entry).decode


class NumberedBroker:
    """See `brokers.base.Broker` for every method's guarantee. A subclass names its `capabilities`."""

    capabilities: dict[str, Capability]

    def __init__(self, url: str, store: Store) -> None:
        self.url = hide_credentials(url)
        self._open_store: Store | None = store
        self._retained: dict[tuple[str, int], float] = {}

    @property
    def _store(self) -> Store:
        if self._open_store is None:
            raise BrokerError(f"{self.url} is closed: connect again")
        return self._open_store

    def ping(self, timeout: float = 5.0) -> str:
        return self._store.ping(timeout)

    def describe(self, timeout: float = 5.0) -> Description:
        product, _, version = self.ping(timeout).partition(" ")
        return Description(product, version, 1)

    def topic_settings(self, name: str, replication: int) -> dict[str, Setting]:  # noqa: ARG002
        self._topic(name)
        return {}

    # Topics

    def create_topic(self, name: str, partitions: int = 4, retention_ms: int = -1, replication: int = 1) -> None:
        check_topic(name, partitions, retention_ms, replication)
        if replication > 1:
            raise Unsupported(f"{self.url} makes no copies: create {name} with replication=1")
        new = _Topic(partitions, retention_ms, random.token_hex(8))
        self._store.put_if_absent(f"topic/{name}", _encode(new))
        held = self._topic(name)
        if held.partitions != partitions:
            raise other_count(name, held.partitions, partitions)
        if held.retention_ms != retention_ms:
            held.retention_ms = retention_ms
            self._store.put(f"topic/{name}", _encode(held))

    def topics(self) -> dict[str, TopicInfo]:
        names = [name.removeprefix("topic/") for name in sorted(self._store.names("topic/"))]
        held = {name: self._topic(name) for name in names}
        return {name: TopicInfo(name, topic.partitions, topic.retention_ms) for name, topic in held.items()}

    def partitions(self, topic: str) -> int:
        return self._topic(topic).partitions

    def delete_topic(self, name: str) -> None:
        held = self._topic(name)
        lists = [_list(name, partition, held) for partition in range(held.partitions)]
        groups = [group for each in lists for group in self._store.names(f"group/{each}/")]
        self._store.delete([f"topic/{name}", *groups, *lists])

    # Publishing

    def publish(self, records: Sequence[Record]) -> None:
        outgoing = place(records, self.partitions, MAX_RECORD_BYTES)
        now = time.time_ns() // 1_000_000
        entries = []
        for (name, partition), indexes in outgoing.logs.items():
            log = _list(name, partition, self._topic(name))
            for _, key, value, headers, _, at in (records[index] for index in indexes):
                entry = _Entry(now if at is None else at, key, value, tuple(headers))
                entries.append((log, _encode(entry)))
        if entries:
            self._store.append(entries)
        for name, partition in outgoing.logs:
            self._retain(name, partition, now)
        outgoing.raise_too_large(records, MAX_RECORD_BYTES)

    def _retain(self, topic: str, partition: int, now: int) -> None:
        """What is older than the topic's retention and passed by every group goes, a minute after the last look."""
        looked = self._retained.get((topic, partition))
        if looked is not None and time.monotonic() < looked + _RETAIN_SECONDS:
            return
        self._retained[topic, partition] = time.monotonic()
        log = self._log(topic, partition)
        if log.topic.retention_ms >= 0:
            self._drop(log, self._published_before(log, now - log.topic.retention_ms))

    def _drop(self, log: _Log, start: int) -> None:
        for name in self._store.names(f"group/{log.name}/"):
            if (passed := self._store.get(name)) is not None:
                start = min(start, Position.parse(passed.decode()).order[0] + 1)
        if start > log.first:
            self._store.drop(log.name, start)

    def remove_before(self, topic: str, partition: int, position: Position) -> None:
        """Drop the records before `position`, as retention would."""
        log = self._log(topic, partition)
        _check(topic, partition, log, position)
        self._drop(log, position.order[0])

    # Reading

    def bounds(self, topic: str, partition: int) -> Bounds | None:
        log = self._log(topic, partition)
        return Bounds(_position(log, log.first), _position(log, log.end - 1)) if log.first < log.end else None

    def read_range(
        self, topic: str, partition: int, after: Position | None, upto: Position, batch: int = 10_000
    ) -> Iterator[list[Stored]]:
        log = self._log(topic, partition)
        _check(topic, partition, log, upto)
        start, last = _next(topic, partition, log, after), upto.order[0]
        if last < log.first:
            raise gone(topic, partition, last, log.first)
        while start <= last:
            found = self._read(log, start, min(batch, last + 1 - start))
            if not found:
                raise gone(topic, partition, start, self._log(topic, partition).first)
            yield found
            start += len(found)

    def read_after(
        self, topic: str, partition: int, after: Position | None, limit: int = 10_000, wait: float = 0.0
    ) -> list[Stored]:
        deadline = time.monotonic() + wait
        while True:
            log = self._log(topic, partition)
            start = _next(topic, partition, log, after)
            left = deadline - time.monotonic()
            if start < log.end or left <= 0:
                return self._read(log, start, limit)
            time.sleep(min(_POLL_SECONDS, left))

    def end_before(self, topic: str, partition: int, after: Position | None, limit: int) -> Position | None:
        log = self._log(topic, partition)
        start = _next(topic, partition, log, after)
        return _position(log, min(start + limit, log.end) - 1) if start < log.end else None

    def position_at(self, topic: str, partition: int, timestamp_ms: int) -> Position | None:
        log = self._log(topic, partition)
        start = self._published_before(log, timestamp_ms)
        return _position(log, start - 1) if start > log.first else None

    def timestamp_of(self, topic: str, partition: int, position: Position) -> int:
        log = self._log(topic, partition)
        _check(topic, partition, log, position)
        number = position.order[0]
        if number < log.first or not (found := self._store.read(log.name, number, 1)):
            raise gone(topic, partition, number, log.first)
        return _as_entry(found[0]).at

    # Groups

    def remember(self, group: str, topic: str, partition: int, position: Position) -> None:
        log = self._log(topic, partition)
        _check(topic, partition, log, position)
        self._store.put(f"group/{log.name}/{group}", str(position).encode())

    def recall(self, group: str, topic: str, partition: int) -> Position | None:
        found = self._store.get(f"group/{self._log(topic, partition).name}/{group}")
        return Position.parse(found.decode()) if found else None

    def close(self) -> None:
        if self._open_store is not None:
            self._open_store.close()
            self._open_store = None

    def _topic(self, name: str) -> _Topic:
        found = self._store.get(f"topic/{name}")
        if found is None:
            raise NoSuchTopic(f"topic {name} does not exist on {self.url}: create it first")
        return _as_topic(found)

    def _log(self, topic: str, partition: int) -> _Log:
        held = self._topic(topic)
        if not 0 <= partition < held.partitions:
            raise no_partition(topic, partition, held.partitions)
        name = _list(topic, partition, held)
        return _Log(name, held, *self._store.span(name))

    def _read(self, log: _Log, start: int, count: int) -> list[Stored]:
        entries = map(_as_entry, self._store.read(log.name, start, count))
        return [
            Stored(_position(log, number), entry.at, entry.key, entry.value, entry.headers)
            for number, entry in enumerate(entries, start)
        ]

    def _published_before(self, log: _Log, time_ms: int) -> int:
        """Number of the first entry that is not older than `time_ms`; the end where all are."""
        numbers = range(log.first, log.end)
        return log.first + bisect_left(numbers, time_ms, key=lambda number: self._time_of(log, number))

    def _time_of(self, log: _Log, number: int) -> int:
        found = self._store.read(log.name, number, 1)
        return _as_entry(found[0]).at if found else -1  # dropped meanwhile, for its age


def _list(topic: str, partition: int, held: _Topic) -> str:
    return f"log/{topic}/{held.incarnation}/{partition}"


def _position(log: _Log, number: int) -> Position:
    return Position((number,), log.topic.incarnation)


def _check(topic: str, partition: int, log: _Log, position: Position) -> None:
    check_position(topic, partition, position, log.topic.incarnation, log.end)


def _next(topic: str, partition: int, log: _Log, after: Position | None) -> int:
    """Number of the entry that follows `after`, once that is known to be a position of this log."""
    if after is None:
        return log.first
    _check(topic, partition, log, after)
    if after.order[0] + 1 < log.first:
        raise gone(topic, partition, after.order[0] + 1, log.first)
    return after.order[0] + 1
