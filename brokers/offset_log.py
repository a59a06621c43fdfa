"""Logs whose positions are offsets: what SQLite, Kafka and every `brokers.log_store.LogStore` have in common.

An `OffsetLog` is one partition as it is now, and checks positions against it. `OffsetLogBroker` is the reading half of
the contract over a log without gaps: an adapter that derives from it says where its records lie, and the rules for
ranges, retention, foreign positions and waiting are kept here. Kafka's logs have gaps (control records take offsets
too), so its adapter shares `OffsetLog` alone.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

from brokers.base import Bounds, Gone, Position, Setting, Stored, TopicPartition
from brokers.checks import beyond_end, check_incarnation

_POLL_SECONDS = 0.02  # how soon a waiting reader sees what another process published


class OffsetLog(msgspec.Struct, frozen=True):
    """One partition as it is now: `first` is the offset of the first record kept, `end` that of the next to come."""

    partition: TopicPartition
    incarnation: str
    first: int
    end: int

    def position(self, offset: int) -> Position:
        """Return the position of the record at `offset`."""
        return Position((offset,), self.incarnation)

    def check(self, position: Position) -> int:
        """Return the position's offset. Raises `WrongIncarnation` if it is of another log or beyond the end."""
        check_incarnation(self.partition, position, self.incarnation)
        if position.order[0] >= self.end:
            raise beyond_end(self.partition, position)
        return position.order[0]

    def check_kept(self, position: Position) -> int:
        """As `check`, and raises `Gone` if retention has removed the record."""
        offset = self.check(position)
        if offset < self.first:
            raise self.gone(offset)
        return offset

    def start(self, after: Position | None) -> int:
        """Return the offset at which reading after `after` starts. Raises `WrongIncarnation` and `Gone`."""
        if after is None:
            return self.first
        start = self.check(after) + 1
        if start < self.first:
            raise self.gone(start)
        return start

    def gone(self, offset: int) -> Gone:
        """Return the error for records that start at `offset`, before the first one kept."""
        return Gone(
            f"{self.partition}: records from offset {offset} were removed by retention, the first kept is"
            f" {self.first}: read them from the archive, or go on from the first kept: if it is the loader that lacks"
            " them, by `footfall topics reset-positions`"
        )


AnyLog = TypeVar("AnyLog", bound=OffsetLog)


class OffsetLogBroker(ABC, Generic[AnyLog]):
    """See `brokers.base.Broker` for every method's guarantee. `AnyLog` adds to an `OffsetLog` where its records lie."""

    def __init__(self) -> None:
        self._closing = threading.Event()

    # What an adapter implements

    @abstractmethod
    def partitions(self, topic: str) -> int: ...

    @abstractmethod
    def _log(self, partition: TopicPartition) -> AnyLog:
        """Return the log as it is now. Raises `NoSuchTopic` and ValueError as the contract says."""

    @abstractmethod
    def _read(self, log: AnyLog, start: int, count: int) -> list[Stored]:
        """Return up to `count` records from offset `start` on; what retention has removed meanwhile is left out."""

    @abstractmethod
    def _first_at(self, log: AnyLog, timestamp_ms: int) -> int:
        """Return the offset of the first record published at or after the time, `log.end` if there is none."""

    @abstractmethod
    def _time_of(self, log: AnyLog, offset: int) -> int | None:
        """Return the publish time in ms of a record, None if retention has removed it."""

    @abstractmethod
    def _remember(self, group: str, log: AnyLog, offset: int) -> None:
        """Store the offset of the last record that the group has read."""

    @abstractmethod
    def _recall(self, group: str, log: AnyLog) -> int | None:
        """Return what `_remember` stored last."""

    @abstractmethod
    def _remove(self, log: AnyLog, end: int) -> None:
        """Remove records before offset `end`, as far as groups that remember a position have read them."""

    # What follows from it

    def bounds(self, partition: TopicPartition) -> Bounds | None:
        log = self._log(partition)
        return Bounds(log.position(log.first), log.position(log.end - 1)) if log.first < log.end else None

    def read_range(
        self, partition: TopicPartition, after: Position | None, upto: Position, batch: int = 10_000
    ) -> Iterator[list[Stored]]:
        log = self._log(partition)
        start, last = log.start(after), log.check_kept(upto)
        while start <= last:
            found = self._read(log, start, min(batch, last + 1 - start))
            if not found or found[0].position.order[0] != start:
                raise self._log(partition).gone(start)
            yield found
            start += len(found)

    def read_after(
        self, partition: TopicPartition, after: Position | None, limit: int = 10_000, wait: float = 0.0
    ) -> list[Stored]:
        deadline = time.monotonic() + wait
        log = self._log(partition)
        while (start := log.start(after)) >= log.end:
            left = deadline - time.monotonic()
            if left <= 0 or self._closing.wait(min(_POLL_SECONDS, left)):
                return []
            log = self._log(partition)
        return self._read(log, start, limit)

    def end_before(self, partition: TopicPartition, after: Position | None, limit: int) -> Position | None:
        log = self._log(partition)
        start = log.start(after)
        return log.position(min(start + limit, log.end) - 1) if start < log.end else None

    def position_at(self, partition: TopicPartition, timestamp_ms: int) -> Position | None:
        log = self._log(partition)
        offset = self._first_at(log, timestamp_ms)
        return log.position(offset - 1) if offset > log.first else None

    def timestamp_of(self, partition: TopicPartition, position: Position) -> int:
        log = self._log(partition)
        offset = log.check_kept(position)
        found = self._time_of(log, offset)
        if found is None:
            raise log.gone(offset)
        return found

    def remember(self, group: str, partition: TopicPartition, position: Position) -> None:
        log = self._log(partition)
        self._remember(group, log, log.check(position))

    def recall(self, group: str, partition: TopicPartition) -> Position | None:
        log = self._log(partition)
        offset = self._recall(group, log)
        return None if offset is None else log.position(offset)

    def remove_before(self, partition: TopicPartition, position: Position) -> None:
        """Remove the records before `position`, as retention would; for the conformance suite and for operators."""
        log = self._log(partition)
        self._remove(log, log.check(position))

    def topic_settings(self, name: str, replication: int) -> dict[str, Setting]:  # noqa: ARG002
        """Return none: there is nothing to set beside what the contract sets. Raises `NoSuchTopic`."""
        self.partitions(name)
        return {}

    def close(self) -> None:
        self._closing.set()
