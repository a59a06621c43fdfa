"""Readers kept where they stand, because making one costs a few round trips: the next read goes on with the same one.

Records that were read ahead stay with the reader. To say where the next records end, they have to be read, and the read
that follows then takes them from memory.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pulsar

from brokers.base import Position, Stored
from brokers.checks import no_topic
from brokers.pulsar.client import PulsarClient, TopicMissing, unpack
from brokers.pulsar.ledgers import Log, Order

_IDLE = 32  # readers kept; the one unused for longest is closed first


# Called when a reader goes from the last record of a ledger to another ledger; raises `Gone` if one lay between.
Crossed = Callable[[Log, Order, Order], None]


class LedgerCursor:
    """Reads one partition from `at`, the last record taken (None: none yet). One thread uses it at a time."""

    def __init__(self, log: Log, at: Order | None, reader: Any, crossed: Crossed) -> None:
        self.log = log
        self.at = at
        self.reader = reader
        self._crossed = crossed
        self._read: Order | None = at
        self._ahead: list[Stored] = []
        self._time: int | None = None

    def peek(self, limit: int, last: Order | None, wait: float, patience: float) -> list[Stored]:
        """Return at most `limit` of the next records up to `last`, the partition's last one, without moving on.

        After the last one, wait up to `wait` seconds for another. A record that exists may take `patience` seconds."""
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
        """Return at most `limit` of the next records up to `upto`, and move on; fewer after `patience` seconds."""
        ahead = self._ahead
        if len(ahead) < limit and not (ahead and ahead[-1].position.order >= upto):
            self._read_on(limit - len(ahead), upto, patience)
        taken = ahead[:limit]
        while taken and taken[-1].position.order > upto:
            taken.pop()
        self.skip(taken)
        return taken

    def skip(self, records: list[Stored]) -> None:
        """Move on past records that `peek` returned."""
        del self._ahead[: len(records)]
        if records:
            self.at = records[-1].position.order
            self._time = records[-1].timestamp

    def time_at(self, order: Order) -> int | None:
        """Return the time of the record at `order` if it is the one taken or read last, else None."""
        if self._ahead and self._ahead[-1].position.order == order:
            return self._ahead[-1].timestamp
        return self._time if self.at == order else None

    def passed(self, order: Order) -> bool:
        """Return whether the next record was read and lies after `order`."""
        return bool(self._ahead) and self._ahead[0].position.order > order

    def _read_on(self, count: int, upto: Order | None, wait: float) -> int:
        """Read up to `count` records ahead, fewer at `upto` or after `wait` seconds for one, and return how many.

        Each call into the client costs as much as all of the Python for a record, so none is made needlessly."""
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
                        continue  # a reader starts with the whole batch that `at` lies in
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
    """Idle cursors, found again by partition and place. `shown` is the broker's URL for messages."""

    def __init__(self, client: PulsarClient, crossed: Crossed, shown: str) -> None:
        self._client = client
        self._crossed = crossed
        self._shown = shown
        self._idle: OrderedDict[int, LedgerCursor] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def at(self, log: Log, place: Order | None) -> Iterator[LedgerCursor]:
        """Lend a cursor that stands after `place`, or before the first record kept; it is closed after an error."""
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
        """Return the time of a record that an idle cursor has taken or read last, None if there is no such cursor."""
        with self._lock:
            for cursor in reversed(self._idle.values()):
                if cursor.log == log and (found := cursor.time_at(order)) is not None:
                    return found
        return None

    def forget(self, topic: str | None = None) -> None:
        """Close the idle cursors, all of them or a topic's."""
        with self._lock:
            keys = [key for key, cursor in self._idle.items() if topic in (None, cursor.log.partition.topic)]
            dropped = [self._idle.pop(key) for key in keys]
        self._close(dropped)

    def _borrow(self, log: Log, place: Order | None) -> LedgerCursor | None:
        with self._lock:
            for key, cursor in self._idle.items():
                if cursor.log == log and cursor.at == place:
                    return self._idle.pop(key)
        return None

    def _open(self, log: Log, place: Order | None) -> LedgerCursor:
        entry = None if place is None else (place[0], place[1])
        try:
            reader = self._client.reader(log.partition, entry)
        except TopicMissing as error:
            raise no_topic(log.partition.topic, self._shown) from error
        return LedgerCursor(log, place, reader, self._crossed)

    def _give_back(self, cursor: LedgerCursor) -> None:
        with self._lock:
            self._idle[id(cursor)] = cursor
            dropped = [self._idle.popitem(last=False)[1] for _ in range(len(self._idle) - _IDLE)]
        self._close(dropped)

    def _close(self, cursors: list[LedgerCursor]) -> None:
        for cursor in cursors:
            try:
                cursor.reader.close()
            except pulsar.PulsarException:
                continue  # the broker has closed it
