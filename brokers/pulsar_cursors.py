"""Readers kept where they stand: making one costs a few round trips, so whoever reads on finds his again.

What was read and not asked for yet stays with the reader: to say where the next records end they have to be read,
and are then handed out from memory.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pulsar

from brokers.base import NoSuchTopic, Position, Stored
from brokers.pulsar_client import PulsarClient, TopicMissing
from brokers.pulsar_ledgers import Order
from brokers.pulsar_messages import unpack

_IDLE = 32  # readers kept, the longest unused goes first


class Log(NamedTuple):
    topic: str
    partition: int
    incarnation: str


# Told when a reader passes from the last record of a ledger into another ledger; raises `Gone` if one lay between.
Crossed = Callable[[Log, Order, Order], None]


class Cursor:
    """Reads one partition on from `at`, the last record handed out (None: nothing yet). One user at a time."""

    def __init__(self, log: Log, at: Order | None, reader: Any, crossed: Crossed) -> None:
        self.log = log
        self.at = at
        self.reader = reader
        self._crossed = crossed
        self._read: Order | None = at
        self._ahead: list[Stored] = []
        self._time: int | None = None

    def peek(self, limit: int, last: Order | None, wait: float, patience: float) -> list[Stored]:
        """The next records up to `last`, the partition's last one, at most `limit`; they stay.

        Behind the last one, waits up to `wait` seconds for another. `patience`: how long may one take that is there?"""
        ahead = self._ahead
        while len(ahead) < limit:
            if last is not None and (self._read is None or self._read < last):
                found = self._read_on(limit - len(ahead), last, patience)
            else:
                found = self._read_on(1, None, 0 if ahead else wait)
            if not found:
                break
        return ahead[:limit]

    def take(self, limit: int, upto: Order, patience: float) -> list[Stored]:
        """The next records up to `upto`, at most `limit`, and moves on; fewer when `patience` is over."""
        ahead = self._ahead
        if len(ahead) < limit and not (ahead and ahead[-1].position.order >= upto):
            self._read_on(limit - len(ahead), upto, patience)
        given = ahead[:limit]
        while given and given[-1].position.order > upto:
            given.pop()
        self.skip(given)
        return given

    def skip(self, given: list[Stored]) -> None:
        """Move on behind records that `peek` showed."""
        del self._ahead[: len(given)]
        if given:
            self.at = given[-1].position.order
            self._time = given[-1].timestamp

    def time_at(self, order: Order) -> int | None:
        """The time of the record handed out last, or of the last one read, if it is the one at `order`."""
        if self._ahead and self._ahead[-1].position.order == order:
            return self._ahead[-1].timestamp
        return self._time if self.at == order else None

    def passed(self, order: Order) -> bool:
        """Is the next record known to lie behind `order`?"""
        return bool(self._ahead) and self._ahead[0].position.order > order

    def _read_on(self, count: int, upto: Order | None, wait: float) -> int:
        """Read so many records ahead, fewer at `upto` or when one takes longer than `wait` seconds; how many it were.

        Each call into the client costs as much as a record's parts do in Python, so none is made that may be spared."""
        read_next, milliseconds, last = self.reader.read_next, int(wait * 1000), self._read
        ahead, before, incarnation = self._ahead, len(self._ahead), self.log.incarnation
        try:
            while len(ahead) < before + count:
                message = read_next(milliseconds)
                where = message.message_id()
                index = where.batch_index()
                order = (where.ledger_id(), where.entry_id(), index if index > 0 else 0)
                if last is not None:
                    if order <= last:
                        continue  # the batch that `at` lies in, from its beginning
                    if order[0] != last[0]:
                        self._crossed(self.log, last, order)
                last = order
                key, headers = unpack(message.partition_key(), message.properties())
                value = message.data()
                if not value and message.has_null_value():
                    value = None
                at = message.event_timestamp() or message.publish_timestamp()
                ahead.append(Stored(Position(order, incarnation), at, key, value, headers))
                if upto is not None and order >= upto:
                    break
        except pulsar.Timeout:
            pass
        finally:
            self._read = last
        return len(ahead) - before


class Cursors:
    """The idle ones, found again by log and place."""

    def __init__(self, client: PulsarClient, crossed: Crossed, shown: str) -> None:
        self._client = client
        self._crossed = crossed
        self._shown = shown
        self._idle: OrderedDict[int, Cursor] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def at(self, log: Log, place: Order | None) -> Iterator[Cursor]:
        """A cursor behind `place`, or before the first record kept; kept for later unless something goes wrong."""
        cursor = self._borrow(log, place) or self._open(log, place)
        try:
            yield cursor
        except pulsar.PulsarException as error:
            self._close([cursor])
            raise self._client.failure(error) from error
        except GeneratorExit:
            self._give_back(cursor)
            raise
        except BaseException:
            self._close([cursor])
            raise
        else:
            self._give_back(cursor)

    def time_at(self, log: Log, order: Order) -> int | None:
        """The time of a record at which an idle cursor stands or whose batch it has read; None when none has."""
        with self._lock:
            for cursor in reversed(self._idle.values()):
                if cursor.log == log and (found := cursor.time_at(order)) is not None:
                    return found
        return None

    def forget(self, topic: str | None = None) -> None:
        """Close the idle ones, all or a topic's."""
        with self._lock:
            keys = [key for key, cursor in self._idle.items() if topic in (None, cursor.log.topic)]
            dropped = [self._idle.pop(key) for key in keys]
        self._close(dropped)

    def _borrow(self, log: Log, place: Order | None) -> Cursor | None:
        with self._lock:
            for key, cursor in self._idle.items():
                if cursor.log == log and cursor.at == place:
                    return self._idle.pop(key)
        return None

    def _open(self, log: Log, place: Order | None) -> Cursor:
        try:
            reader = self._client.reader(log.topic, log.partition, None if place is None else (place[0], place[1]))
        except TopicMissing as error:
            raise NoSuchTopic(f"topic {log.topic} does not exist on {self._shown}: create it first") from error
        return Cursor(log, place, reader, self._crossed)

    def _give_back(self, cursor: Cursor) -> None:
        with self._lock:
            self._idle[id(cursor)] = cursor
            dropped = [self._idle.popitem(last=False)[1] for _ in range(len(self._idle) - _IDLE)]
        self._close(dropped)

    def _close(self, cursors: list[Cursor]) -> None:
        for cursor in cursors:
            try:
                cursor.reader.close()
            except pulsar.PulsarException:
                continue  # the other side closed it
