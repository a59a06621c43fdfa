"""The broker under test, and what sentences are made of."""

from __future__ import annotations

import secrets as random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from brokers import connect
from brokers.base import Broker, NoSuchTopic, Position, Record, Stored, Unsupported

DAY_MS = 86_400_000
PATIENCE = 30.0  # seconds for what happens by itself, such as a deleted topic disappearing


def _remove_before(broker: Broker, topic: str, partition: int, position: Position) -> None:
    remove = getattr(broker, "remove_before", None)
    if remove is None:
        raise Unsupported("give the Subject a `remove_before`: no way is known to make this broker forget")
    remove(topic, partition, position)


def _seal(broker: Broker, topic: str, partition: int) -> None:
    if seal := getattr(broker, "seal", None):
        seal(topic, partition)


def _nothing() -> None:
    raise Unsupported("give the Subject a `kill` and a `start`: no way is known to kill this broker")


@dataclass
class Subject:
    """A broker under test. `unreachable` is a URL of its kind where nobody answers.

    `kill` ends the broker without warning, `start` is back when it answers again at the same URL; only `FAULTS` ask."""

    url: str
    unreachable: str | None = None
    secrets: dict[str, str] = field(default_factory=dict)
    remove_before: Callable[[Broker, str, int, Position], None] = _remove_before
    seal: Callable[[Broker, str, int], None] = _seal  # for a broker that removes not records but files of them
    kill: Callable[[], None] = _nothing
    start: Callable[[], None] = _nothing
    _broker: Broker | None = None
    _made: list[str] = field(default_factory=list)

    @property
    def broker(self) -> Broker:
        if self._broker is None:
            self._broker = self.connect()
        return self._broker

    def connect(self) -> Broker:
        return connect(self.url, self.secrets)

    @contextmanager
    def another(self) -> Iterator[Broker]:
        """A second connection to the same broker; the first one where the broker lives in its connection."""
        if not self.broker.capabilities["shared"].supported:
            yield self.broker
            return
        other = self.connect()
        try:
            yield other
        finally:
            other.close()

    def topic(self, partitions: int = 1, retention_ms: int = -1) -> str:
        name = f"conformance-{random.token_hex(6)}"
        self.broker.create_topic(name, partitions, retention_ms)
        self._made.append(name)
        return name

    def close(self) -> None:
        """Delete what the sentences made, by a connection that never wrote to it and so asks no more for it."""
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
    """A decorator that collects the checks of a file, in their order."""

    def __init__(self) -> None:
        self.found: list[Sentence] = []

    def __call__(self, check: Callable[[Subject], None]) -> Callable[[Subject], None]:
        self.found.append(Sentence(check.__name__, check))
        return check


@contextmanager
def raises(kind: type[BaseException], within: float = PATIENCE) -> Iterator[list[BaseException]]:
    """The block raises `kind`, within so many seconds, and says something."""
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
    return [Record(topic, b"key", b"%d" % number, (), partition) for number in range(start, start + count)]


def numbers(records: list[Stored]) -> list[int]:
    return [int(record.value or b"-1") for record in records]


def read_all(broker: Broker, topic: str, partition: int = 0, batch: int = 10_000) -> list[Stored]:
    bounds = broker.bounds(topic, partition)
    if bounds is None:
        return []
    return [record for records in broker.read_range(topic, partition, None, bounds.last, batch) for record in records]


def after_this_millisecond() -> int:
    """A time in ms that is later than everything published so far and not later than what comes next."""
    now = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 <= now + 1:
        time.sleep(0.0005)
    return now + 1
