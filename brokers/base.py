"""The broker contract, on a page. The docstrings are the guarantees; `brokers.conformance` tests each.

A topic is a fixed number of partitions, each an ordered log of records that a broker keeps for at least its
retention, whether anybody has read them or not. A `Position` names a record of one partition of one
*incarnation* of a topic: deleted and made again, a topic has another incarnation, and old positions are a
named error, never silently somebody else's records. Positions are ordered within a partition and never
subtracted: on Pulsar the next one cannot be computed. So every range is `(after, upto]`, both of which are
positions of real records or None.

Publishing takes records of several topics at once, because one request touches several and one commit (or
one flush) should make them durable together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec


class Record(NamedTuple):
    """What a producer hands over. `partition` None means: murmur2 of the key (see `brokers.partitioner`).

    `timestamp`: the publish time in ms to keep of a record that is copied from another broker; None means now. Where
    times may not decrease a later one is kept. In one call of `publish`, all records have one or none has."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None
    timestamp: int | None = None


# One `Position` and one `Stored` are made for every record that is read: structs, because making a tuple or a
# dataclass of one's own takes several times as long, and untracked, because nothing in them can lead back to them.


class Position(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Where a record lies; compare only within one topic and partition. `str()` and `parse` are inverse."""

    order: tuple[int, ...]
    incarnation: str = ""

    # All six: what is left out would be the struct's own, which knows nothing of these.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Position) and self.order == other.order

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: Position) -> bool:
        return self.order < other.order

    def __le__(self, other: Position) -> bool:
        return self.order <= other.order

    def __gt__(self, other: Position) -> bool:
        return self.order > other.order

    def __ge__(self, other: Position) -> bool:
        return self.order >= other.order

    def __hash__(self) -> int:
        return hash(self.order)

    def __str__(self) -> str:
        return ".".join(map(str, self.order)) + (f"@{self.incarnation}" if self.incarnation else "")

    @classmethod
    def parse(cls, text: str) -> Position:
        order, _, incarnation = text.partition("@")
        return cls(tuple(int(part) for part in order.split(".")), incarnation)


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A record as the broker keeps it. `timestamp` is the publish time in ms, never the event's own time."""

    position: Position
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Bounds(NamedTuple):
    """First and last record of a partition, both inclusive."""

    first: Position
    last: Position


@dataclass(frozen=True)
class TopicInfo:
    name: str
    partitions: int
    retention_ms: int  # -1 keeps for ever
    replication: int = 1


@dataclass(frozen=True)
class Capability:
    supported: bool
    note: str


class Setting(NamedTuple):
    held: str
    wanted: str


class Description(NamedTuple):
    """Who answers at a URL: `version` is "" where the broker does not tell; copies can lie on `brokers` servers."""

    product: str
    version: str
    brokers: int
    features: tuple[str, ...] = ()


class BrokerError(Exception):
    """Base of what a broker can say. Each subclass says what to do next."""


class Unreachable(BrokerError):
    """Nobody answers within the bound: retry, or look at the URL named in the message (credentials hidden)."""


class Refused(BrokerError):
    """The broker is there and turns us away: in vain to retry before what the message names is changed."""


class Untrusted(Refused):
    """TLS does not come about: a certificate is missing or of an authority that is not known."""


class BadCredentials(Refused):
    """User, password or token are wrong or have expired."""


class NotAllowed(Refused):
    """Logged in, but without the right to do this."""


class Unsent(BrokerError):
    """Some records are not durable: send again those at `indexes` (of the sequence given to `publish`)."""

    def __init__(self, message: str, indexes: Sequence[int]) -> None:
        super().__init__(message)
        self.indexes = tuple(indexes)


class TooLarge(Unsent):
    """The records at `indexes` exceed what the topic takes; resending them is in vain, the others are durable."""


class Gone(BrokerError):
    """The position lies before the first record kept: retention removed what was asked for."""


class WrongIncarnation(BrokerError):
    """The topic was made again, or the position lies beyond its end: the checkpoint belongs to another log."""


class NoSuchTopic(BrokerError):
    """Create the topic first (`footfall topics apply`); topics are never made by publishing."""


class Damaged(BrokerError):
    """What is stored cannot be read: the message names it and how to mend it."""


class Unsupported(BrokerError):
    """This broker cannot; `capabilities` says why."""


@runtime_checkable
class Broker(Protocol):
    """Every adapter. Methods are safe to call from several threads; every wait is bounded."""

    url: str  # credentials hidden
    capabilities: dict[str, Capability]

    def ping(self, timeout: float = 5.0) -> str:
        """Product and version. Raises `Unreachable` within `timeout` seconds."""

    def create_topic(self, name: str, partitions: int = 4, retention_ms: int = -1, replication: int = 1) -> None:
        """Idempotent for equal settings; ValueError when the topic exists with another partition count.

        Retention is set and read back; a broker that does not hold it is refused (`Unsupported`)."""

    def topics(self) -> dict[str, TopicInfo]: ...

    def partitions(self, topic: str) -> int:
        """Raises `NoSuchTopic`."""

    def publish(self, records: Sequence[Record]) -> None:
        """Returns when every record is durable, else raises `Unsent` (or `TooLarge`) naming those that are not.

        Order holds per key within and across calls of one producer. `Unreachable` means none is known durable."""

    def bounds(self, topic: str, partition: int) -> Bounds | None:
        """First and last record, inclusive; None when the partition is empty."""

    def read_range(
        self, topic: str, partition: int, after: Position | None, upto: Position, batch: int = 10_000
    ) -> Iterator[list[Stored]]:
        """All records in `(after, upto]`, in order, in lists of at most `batch`. `after` None: from the first kept.

        Raises `Gone` if records after `after` were retained away, `WrongIncarnation` for a foreign position."""

    def read_after(
        self, topic: str, partition: int, after: Position | None, limit: int = 10_000, wait: float = 0.0
    ) -> list[Stored]:
        """Up to `limit` records after `after`; waits at most `wait` seconds for the first of them (`tail`)."""

    def end_before(self, topic: str, partition: int, after: Position | None, limit: int) -> Position | None:
        """Last position of the next at most `limit` records after `after`, None when there is none."""

    def position_at(self, topic: str, partition: int, timestamp_ms: int) -> Position | None:
        """Position of the last record published *before* `timestamp_ms` (an `after`); None when there is none."""

    def timestamp_of(self, topic: str, partition: int, position: Position) -> int:
        """Publish time in ms of the record at `position`."""

    def remember(self, group: str, topic: str, partition: int, position: Position) -> None:
        """Note a group's position on the broker: a hint for its own tools; the truth is the checkpoint."""

    def recall(self, group: str, topic: str, partition: int) -> Position | None: ...

    def delete_topic(self, name: str) -> None: ...

    def close(self) -> None:
        """Idempotent."""


@runtime_checkable
class Administered(Protocol):
    """What an adapter may also tell, for `footfall broker check` and `footfall topics plan`."""

    def describe(self, timeout: float = 5.0) -> Description:
        """Raises `Unreachable`."""

    def topic_settings(self, name: str, replication: int) -> dict[str, Setting]:
        """Settings of this broker's own that matter, by its names; `create_topic` with as many copies sets them.

        Partitions, retention and replication are not among them. Raises `NoSuchTopic`."""
