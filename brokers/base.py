"""The broker contract, on a page. The docstrings are the guarantees; `brokers.conformance` tests each of them.

A topic has a fixed number of partitions. Each partition is an ordered log of records, which the broker keeps for at
least the topic's retention, whether or not anybody has read them. A `Position` names a record of one partition of one
*incarnation* of a topic: a topic that is deleted and created again has a new incarnation, and its old positions raise
`WrongIncarnation` instead of silently naming other records. Positions are ordered within a partition. They cannot be
subtracted or incremented, because on Pulsar the next position cannot be computed. Every range is therefore
`(after, upto]`, where each bound is the position of a real record, and `after` may be None.

`publish` takes records of several topics at once, because one request writes to several topics and one commit (or one
flush) should make all of its records durable together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import msgspec

if TYPE_CHECKING:
    from activity.blocks import Block


class Record(NamedTuple):
    """A record to publish. If `partition` is None, murmur2 of the key chooses it (see `brokers.routing`).

    `timestamp` is the publish time, in ms since the epoch, of a record that is copied from another broker; None means
    now. A broker whose timestamps may not decrease stores a later one instead. In one call of `publish`, either all
    records have a timestamp or none has."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None
    timestamp: int | None = None


class TopicPartition(NamedTuple):
    """A partition of a topic; partitions are numbered from 0."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.number}]"


# Reading makes one `Position` and one `Stored` a record. They are structs because a named tuple or a dataclass takes
# several times as long to make, and the garbage collector ignores them because they cannot be part of a cycle.


class Position(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The place of a record in its partition. Compare only positions of one topic and partition.

    `order` is one number on brokers with offsets, and (ledger, entry, index) on Pulsar. `str()` writes a position down
    and `parse` reads it back."""

    order: tuple[int, ...]
    incarnation: str = ""

    # All six are needed: the struct's own version of a missing one would compare the incarnation too.
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
        """Read back what `str()` wrote. Raises ValueError for any other text."""
        order, _, incarnation = text.partition("@")
        return cls(tuple(int(part) for part in order.split(".")), incarnation)


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A record as the broker stores it. `timestamp` is the publish time in ms, never the event's own time."""

    position: Position
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Columns(NamedTuple):
    """Events to publish to a topic as columns: records with the keys and values that `activity.blocks` has of them."""

    topic: str
    block: Block

    def records(self) -> list[Record]:
        """Return the same as records, for a broker that keeps no columns."""
        from activity import blocks

        return list(map(partial(Record, self.topic), blocks.keys(self.block), blocks.values(self.block)))


class StoredColumns(NamedTuple):
    """Events as the broker keeps them in columns. Their offsets follow each other; `timestamp` is as in `Stored`."""

    first: Position
    timestamp: int
    block: Block

    def position(self, place: int) -> Position:
        """Return the position of the event at a place of the block, whether or not it was erased."""
        return Position((self.first.order[0] + place,), self.first.incarnation)


class Bounds(NamedTuple):
    """The positions of the first and the last record of a partition, both inclusive."""

    first: Position
    last: Position


@dataclass(frozen=True)
class TopicInfo:
    """A topic's settings: `replication` counts the copies of each record, 1 where there is only the original."""

    name: str
    partitions: int
    retention_ms: int  # -1 keeps records for ever
    replication: int = 1


@dataclass(frozen=True)
class Capability:
    """Whether a broker offers something, and a sentence for its users about how far."""

    supported: bool
    note: str


class Setting(NamedTuple):
    """A broker's own setting of a topic: the value it has and the value that `create_topic` would set."""

    held: str
    wanted: str


class Description(NamedTuple):
    """What answers at a URL. `version` is "" if the broker does not reveal it, and `brokers` counts its servers."""

    product: str
    version: str
    brokers: int
    features: tuple[str, ...] = ()


class BrokerError(Exception):
    """The base of all errors of brokers. The message of each says what to do next."""


class Unreachable(BrokerError):
    """The broker does not answer in time: retry, or check the URL in the message, which hides credentials."""


class Refused(BrokerError):
    """The broker answers but refuses: retrying does not help until the cause in the message is removed."""


class Untrusted(Refused):
    """The TLS handshake fails: a certificate is missing, or an unknown authority signed it."""


class BadCredentials(Refused):
    """The user name, the password or the token is wrong or has expired."""


class NotAllowed(Refused):
    """The login succeeded, but this user has no permission for the operation."""


class Unsent(BrokerError):
    """Some records are not durable: publish those at `indexes` (of the sequence given to `publish`) again."""

    def __init__(self, message: str, indexes: Sequence[int]) -> None:
        super().__init__(message)
        self.indexes = tuple(indexes)


class TooLarge(Unsent):
    """The records at `indexes` are larger than the topic accepts, so retrying fails again; the others are durable."""


class Gone(BrokerError):
    """The position lies before the first record kept: retention has removed the records after it."""


class WrongIncarnation(BrokerError):
    """The topic was created again, or the position lies beyond its end: the checkpoint belongs to another log."""


class NoSuchTopic(BrokerError):
    """The topic does not exist: create it (`footfall topics apply`). Publishing never creates a topic."""


class Damaged(BrokerError):
    """Stored data cannot be decoded: the message names the file and how to repair it."""


class Unsupported(BrokerError):
    """This broker cannot do what was requested; `capabilities` says why."""


@runtime_checkable
class Broker(Protocol):
    """What every adapter implements. Several threads may call the methods at once, and every wait is bounded.

    Any method raises `Unreachable` if the broker does not answer within the timeout of its URL, `Refused` if the
    broker turns the client away, and `BrokerError` after `close`. Methods that take a partition raise `NoSuchTopic`
    for an unknown topic and ValueError for a partition number that the topic does not have."""

    url: str  # without credentials
    capabilities: dict[str, Capability]  # "durable", "shared", "replication", "retention"

    def ping(self, timeout: float = 5.0) -> str:
        """Return the product and its version, such as "Pulsar 4.0.8".

        Raises `Unreachable` if the broker does not answer within `timeout` seconds."""

    def create_topic(self, name: str, partitions: int = 4, retention_ms: int = -1, replication: int = 1) -> None:
        """Create a topic, or set the retention of an existing one; equal settings change nothing.

        `retention_ms` is in ms, -1 keeps records for ever; `replication` is the number of copies of a new topic. The
        retention is read back after it is set. Raises ValueError if the topic exists with another partition count or
        an argument is out of range, and `Unsupported` if the broker cannot keep the retention or make the copies."""

    def topics(self) -> dict[str, TopicInfo]:
        """Return every topic by name, without the broker's own internal ones."""

    def partitions(self, topic: str) -> int:
        """Return the topic's partition count. Raises `NoSuchTopic`."""

    def publish(self, records: Sequence[Record]) -> None:
        """Store the records, and return once every one of them is durable.

        The order of records with one key is kept, within a call and across the calls of one producer. Raises `Unsent`
        with the indexes of the records that are not durable, `TooLarge` with those that exceed the size limit (all
        others are then durable), `Unreachable` if no record is known to be durable, and `NoSuchTopic`."""

    def bounds(self, partition: TopicPartition) -> Bounds | None:
        """Return the positions of the first and the last record, or None if the partition is empty."""

    def read_range(
        self, partition: TopicPartition, after: Position | None, upto: Position, batch: int = 10_000
    ) -> Iterator[list[Stored]]:
        """Yield all records in `(after, upto]`, in order, in lists of 1 to `batch` records.

        If `after` is None, reading starts at the first record kept. Raises `Gone` if retention has removed a record
        after `after`, and `WrongIncarnation` if a position belongs to another log."""

    def read_after(
        self, partition: TopicPartition, after: Position | None, limit: int = 10_000, wait: float = 0.0
    ) -> list[Stored]:
        """Return up to `limit` records after `after`, or an empty list.

        If there is none yet, the call waits at most `wait` seconds for the first one. `after` and the errors are those
        of `read_range`."""

    def end_before(self, partition: TopicPartition, after: Position | None, limit: int) -> Position | None:
        """Return the position of the last of the next `limit` records after `after`, or of fewer if there are fewer.

        Returns None if no record follows. `after` and the errors are those of `read_range`."""

    def position_at(self, partition: TopicPartition, timestamp_ms: int) -> Position | None:
        """Return the position of the last record published *before* `timestamp_ms`, or None if there is none.

        As the `after` of a range, it starts the range at the first record published at or after that time."""

    def timestamp_of(self, partition: TopicPartition, position: Position) -> int:
        """Return the publish time, in ms, of the record at `position`. Raises `Gone` and `WrongIncarnation`."""

    def remember(self, group: str, partition: TopicPartition, position: Position) -> None:
        """Store on the broker how far a group of readers has come. Raises `WrongIncarnation`.

        The broker's own tools show it, and on some brokers it holds retention back. It is a hint: the truth is the
        reader's own checkpoint."""

    def recall(self, group: str, partition: TopicPartition) -> Position | None:
        """Return the position that was last remembered for the group, or None."""

    def delete_topic(self, name: str) -> None:
        """Delete the topic, its records and the positions remembered for it. Raises `NoSuchTopic`."""

    def close(self) -> None:
        """Release connections and files. Further calls do nothing."""


@runtime_checkable
class Administered(Protocol):
    """What an adapter may also implement, for `footfall broker check` and `footfall topics plan`."""

    def describe(self, timeout: float = 5.0) -> Description:
        """Return the product, its version and the number of its servers.

        Raises `Unreachable` if the broker does not answer within `timeout` seconds."""

    def topic_settings(self, name: str, replication: int) -> dict[str, Setting]:
        """Return the broker's own settings of a topic that matter to events, by their names on the broker.

        Each comes with the value that `create_topic` sets for `replication` copies. Partitions, retention and
        replication are not among them. Raises `NoSuchTopic`."""


@runtime_checkable
class Columnar(Protocol):
    """What an adapter may also implement: events that come as columns are kept and read as such.

    They are records like all others: every other method finds them as these."""

    def publish_columns(self, columns: Sequence[Columns], records: Sequence[Record]) -> None:
        """Store the events and the records, and return once every one of them is durable. Raises as `publish`, of
        whose errors the indexes are those of `records`; events that would be too large as records are stored."""

    def read_columns(
        self, partition: TopicPartition, after: Position | None, upto: Position, batch: int = 10_000
    ) -> Iterator[list[Stored] | StoredColumns]:
        """Yield all records in `(after, upto]`, in order, those that are kept as columns as such. Each piece has 1 to
        `batch` of them. The errors are those of `read_range`."""


@runtime_checkable
class Erasing(Protocol):
    """What an adapter may also implement, for `footfall forget`; other brokers keep records until retention is over."""

    def erase(
        self,
        partitions: Sequence[TopicPartition],
        containing: Sequence[bytes],
        wanted: Callable[[Sequence[Stored]], Sequence[bool]],
    ) -> int:
        """Empty the records of these partitions that are `wanted`, for good; return how many.

        An emptied record keeps its position and its time, and has no key, no value and no headers any more. On return
        the bytes that it had are in no file of the broker. Only records with one of the texts of `containing` in their
        key or value, an event's id left aside, are looked at; without texts all are. Several may be looked at together,
        in order."""


@runtime_checkable
class Resumable(Protocol):
    """What an adapter may also implement: a log whose last records were lost goes on behind those that were read."""

    def resume_after(
        self, partition: TopicPartition, read: Position | None, last: Position, *, anew: bool
    ) -> Bounds | None:
        """Put emptied records in the places of lost ones up to `last`, so that no new record gets a place of theirs.

        `last` is the last position that anybody has read; `read` is the one after which somebody will read on, None
        for the beginning. With `anew`, a topic that never had a record becomes the one of these positions, and its log
        begins after `read`. Returns the places that were lost, None if none was or if the log is another one."""
