"""What the Kafka adapter asks of a client library: one page, so that both libraries are thin behind it.

Every method is bounded by the settings' timeout and raises only `BrokerError`s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from brokers.base import Record, Refused, Stored

Logs = Mapping[tuple[str, int], Sequence[int]]  # indexes of records by (topic, partition), in order


class Described(NamedTuple):
    """A topic as the cluster has it. `id` is the hex of Kafka's topic id, "" where the broker gives none."""

    partitions: int
    replication: int
    id: str


class Sent(NamedTuple):
    """What became of a batch: the indexes that failed, by kind, and the last failure in words.

    `refused`: the broker turned us away, so that sending again is in vain for now."""

    failed: Sequence[int] = ()
    too_large: Sequence[int] = ()
    no_topic: bool = False
    reason: str = ""
    refused: Refused | None = None


class Cursor(Protocol):
    """Reads one partition from an offset. `next` is where it stands: past control records, which take offsets too."""

    next: int

    def take(self, limit: int, wait: float) -> list[Stored]:
        """What there is, at most `limit`; waits for the first record, the end of the log or `wait` seconds."""


class Client(Protocol):
    def ping(self, timeout: float) -> str: ...

    def describe(self, topic: str) -> Described | None: ...

    def topics(self) -> list[str]: ...

    def create(self, topic: str, partitions: int, replication: int, config: Mapping[str, str]) -> None:
        """An existing topic is left as it is."""

    def configure(self, topic: str, config: Mapping[str, str]) -> None: ...

    def config(self, topic: str) -> Mapping[str, str]: ...

    def delete(self, topic: str) -> None: ...

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Drop the records before `offset`, as retention would."""

    def send(self, records: Sequence[Record], logs: Logs) -> Sent:
        """Publish the records at the indexes in `logs`; returns when all are settled."""

    def ends(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset kept and the next offset of committed records."""

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        """First offset stamped at or after `timestamp_ms`."""

    def cursor(
        self, topic: str, partition: int, incarnation: str, start: int
    ) -> AbstractContextManager[Cursor]: ...

    def commit(self, group: str, topic: str, partition: int, offset: int, note: str) -> None: ...

    def committed(self, group: str, topic: str, partition: int) -> tuple[int, str] | None: ...

    def close(self) -> None: ...
