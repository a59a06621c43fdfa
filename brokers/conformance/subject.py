"""The broker under test, and what the sentences share."""

from __future__ import annotations

import secrets as random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from brokers import connect
from brokers.base import Broker, NoSuchTopic, Position, Record, Stored, TopicPartition, Unsupported

DAY_MS = 86_400_000
PATIENCE = 30.0  # seconds for what happens by itself, such as a deleted topic disappearing


def _remove_before(broker: Broker, partition: TopicPartition, position: Position) -> None:
    remove = getattr(broker, "remove_before", None)
    if remove is None:
        raise Unsupported("give the Subject a `remove_before`: no way is known to make this broker forget")
    remove(partition, position)


def _seal(broker: Broker, partition: TopicPartition) -> None:
    if seal := getattr(broker, "seal", None):
        seal(partition)


def _nothing() -> None:
    raise Unsupported("give the Subject a `kill` and a `start`: no way is known to kill this broker")


@dataclass
class Subject:
    """A broker under test. `unreachable` is a URL of the same kind at which nothing answers.

    `remove_before` removes records as retention would, and `seal` first closes the file that they are in. `kill` ends
    the broker without warning, and `start` returns once it answers again at the same URL; only `FAULTS` call these."""

    url: str
    unreachable: str | None = None
    secrets: dict[str, str] = field(default_factory=dict)
    remove_before: Callable[[Broker, TopicPartition, Position], None] = _remove_before
    seal: Callable[[Broker, TopicPartition], None] = _seal  # for a broker that removes whole files of records
    kill: Callable[[], None] = _nothing
    start: Callable[[], None] = _nothing
    _broker: Broker | None = None
    _made: list[str] = field(default_factory=list)

    @property
    def broker(self) -> Broker:
        """Return the connection that most sentences use."""
        if self._broker is None:
            self._broker = self.connect()
        return self._broker

    def connect(self) -> Broker:
        """Return a new connection."""
        return connect(self.url, self.secrets)

    @contextmanager
    def another(self) -> Iterator[Broker]:
        """Lend a second connection to the same broker, or the first one if the broker lives in its connection."""
        if not self.broker.capabilities["shared"].supported:
            yield self.broker
            return
        other = self.connect()
        try:
            yield other
        finally:
            other.close()

    def topic(self, partitions: int = 1, retention_ms: int = -1) -> str:
        """Create a topic with a unique name, and return the name."""
        name = f"conformance-{random.token_hex(6)}"
        self.broker.create_topic(name, partitions, retention_ms)
        self._made.append(name)
        return name

    def close(self) -> None:
        """Delete the topics of the sentences by a new connection: one that wrote to a topic might create it again."""
        shared = self.broker.capabilities["shared"].supported
        self.broker.close()
        if not shared:
            return
        other = self.connect()
        for name in self._made:
            try:
                other.delete_topic(name)
            except NoSuchTopic:
                continue
        self._made.clear()
        other.close()


@dataclass(frozen=True)
class Sentence:
    """A named check; raises AssertionError where the broker does otherwise."""

    text: str
    check: Callable[[Subject], None]

    def __call__(self, subject: Subject) -> None:
        self.check(subject)

    def __str__(self) -> str:
        return self.text


class Sentences:
    """A decorator that collects the sentences of a file, in their order."""

    def __init__(self) -> None:
        self.found: list[Sentence] = []

    def __call__(self, check: Callable[[Subject], None]) -> Callable[[Subject], None]:
        self.found.append(Sentence(check.__name__, check))
        return check


@contextmanager
def raises(kind: type[BaseException], within: float = PATIENCE) -> Iterator[list[BaseException]]:
    """Assert that the block raises `kind`, with a message, within that many seconds; yields a list for the error."""
    caught: list[BaseException] = []
    start = time.monotonic()
    try:
        yield caught
    except kind as error:
        caught.append(error)
    assert caught, f"{kind.__name__} was not raised"
    assert str(caught[0]), f"{kind.__name__} says nothing"
    assert time.monotonic() - start <= within, f"{kind.__name__} took {time.monotonic() - start:.1f} s"


def numbered(topic: str, start: int, count: int, partition: int | None = 0) -> list[Record]:
    """Return `count` records whose values are the numbers from `start` on."""
    return [Record(topic, b"key", b"%d" % number, (), partition) for number in range(start, start + count)]


def numbers(records: list[Stored]) -> list[int]:
    """Return the numbers that `numbered` put into the values."""
    return [int(record.value or b"-1") for record in records]


def read_all(broker: Broker, topic: str, number: int = 0) -> list[Stored]:
    """Return all records of a topic's partition with that number, in order."""
    partition = TopicPartition(topic, number)
    bounds = broker.bounds(partition)
    if bounds is None:
        return []
    return [record for records in broker.read_range(partition, None, bounds.last) for record in records]


def after_this_millisecond() -> int:
    """Return a time in ms that is later than every record so far and not later than the next one."""
    now = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 <= now + 1:
        time.sleep(0.0005)
    return now + 1
