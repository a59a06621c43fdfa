"""Between the requests and the broker: nothing is answered before it is durable, and no request waits alone.

One thread a process takes whatever the requests have handed in since it last looked, publishes all of it in
one call and wakes all of them in one go; the busier the door, the larger the group. What the broker does not
take goes into the spool, fsync'd; what neither takes is refused with `Unavailable`, and the sender comes again.
A second thread drains the spool, in its order, once the broker answers; until it is empty everything goes
through it, so that a visitor's events stay in order.

The ids of events are looked up and remembered here, a group at a time, because the memory may be a Redis: an id
counts as seen only after its durable ack, and of two equal events in one group the second is the duplicate.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from enum import Enum
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol

from brokers.base import Broker, BrokerError, Record, TooLarge, Unsent
from ingest.spool import Spool

log = logging.getLogger(__name__)

_GROUP = 1000  # requests
_LINGER = 0.003  # seconds, once requests come together: a commit costs the same for few as for many
_PROBE_EVERY = 1.0
_LOOK_EVERY = 5.0
_PROBE_TIMEOUT = 2.0


class Unavailable(Exception):
    """Could not be made durable now; come again after `retry_after` seconds."""

    retry_after = 5


class Verdict(Enum):
    ACCEPTED = "accepted"
    REUSED = "id_reused"  # accepted too: the sender's id came before with other content
    DUPLICATE = "duplicate"
    TOO_LARGE = "too_large"


class Touch(NamedTuple):
    """That a visitor was there, for the live view."""

    site: str
    visitor: str
    at_ms: int


class Entry(NamedTuple):
    """What one event of a sender becomes: durable together or not at all."""

    records: tuple[Record, ...]
    memory_key: bytes | None = None  # what the sender's id is remembered by; None: nothing to recognise it by
    event_id: bytes = b""
    touch: Touch | None = None


class Memory(Protocol):
    """What the outbox needs of the live store."""

    def seen(self, keys: Sequence[bytes]) -> list[bytes | None]: ...
    def remember(self, items: Mapping[bytes, bytes]) -> None: ...
    def touch_many(self, touches: Sequence[tuple[str, str, int]]) -> None: ...


class _Waiting(NamedTuple):
    entries: Sequence[Entry]
    future: asyncio.Future[list[Verdict]] | Future[list[Verdict]]
    loop: asyncio.AbstractEventLoop | None


class Outbox:
    """`start` it in the process that uses it: threads do not survive a fork."""

    def __init__(
        self,
        broker: Broker,
        spool: Spool,
        memory: Memory,
        incarnation: bytes,
        max_bytes: int = 64 << 20,
        create_topics: Callable[[], object] = lambda: None,
    ) -> None:
        """`create_topics` is called when the broker is back: it may have been away when the process started."""
        self._broker = broker
        self._spool = spool
        self._memory = memory
        self._create_topics = create_topics
        self._incarnation = ("footfall-process", incarnation)
        self._sequence = 0
        self._max_bytes = max_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._handed: list[_Waiting] = []
        self._queue: SimpleQueue[list[_Waiting] | None] = SimpleQueue()
        self._broker_down = False
        self._refused_topics: set[str] = set()
        self._failure = ""
        self._touches: list[Touch] = []
        self._wake_drainer = threading.Event()
        self._closing = False
        self._publisher = threading.Thread(target=self._publish_groups, name="outbox", daemon=True)
        self._drainer = threading.Thread(target=self._drain_spool, name="spool-drainer", daemon=True)

    def start(self) -> None:
        self._publisher.start()
        self._drainer.start()

    def close(self) -> None:
        """Everything handed in is settled first. What the spool still holds waits for the next start."""
        self._closing = True
        self._wake_drainer.set()
        self._queue.put(None)
        for thread in (self._publisher, self._drainer):
            if thread.is_alive():
                thread.join()
        self._spool.close()

    async def settle(self, entries: Sequence[Entry]) -> list[Verdict]:
        """Each entry's verdict once it is durable. Raises `Unavailable` when one of them cannot be.

        For the coroutines of one event loop. What they hand in during one turn of it crosses to the thread at
        its end, in one piece: waking a thread a request would cost more than all else that is done for it."""
        self._check_room()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Verdict]] = loop.create_future()
        if not self._handed:
            loop.call_soon(self._hand_over)
        self._handed.append(_Waiting(entries, future, loop))
        return await future

    def settle_and_wait(self, entries: Sequence[Entry]) -> list[Verdict]:
        """The same for a caller with a thread of its own."""
        self._check_room()
        future: Future[list[Verdict]] = Future()
        self._put([_Waiting(entries, future, None)])
        return future.result()

    def problem(self) -> str:
        """Why nothing would be taken now, or ''."""
        if self._closing or not self._publisher.is_alive():
            return "shutting down"
        if self._bytes >= self._max_bytes:
            return "the queue to the broker is full"
        return self._failure

    def _check_room(self) -> None:
        if self._closing or self._bytes >= self._max_bytes:
            raise Unavailable(self.problem())

    def _hand_over(self) -> None:
        handed, self._handed = self._handed, []
        self._put(handed)

    def _put(self, handed: list[_Waiting]) -> None:
        size = _size(handed)
        with self._lock:
            self._bytes += size
        self._queue.put(handed)

    # The publishing thread

    def _publish_groups(self) -> None:
        busy = False
        while (group := self._queue.get()) is not None:
            stop = False
            if busy:
                time.sleep(_LINGER)
            while len(group) < _GROUP:
                try:
                    more = self._queue.get_nowait()
                except Empty:
                    break
                if more is None:
                    stop = True
                    break
                group += more
            busy = len(group) > 1
            self._settle_group(group)
            if stop:
                return

    def _settle_group(self, group: list[_Waiting]) -> None:
        entries = [entry for waiting in group for entry in waiting.entries]
        size = _size(group)
        try:
            verdicts, failed = self._make_durable(entries)
        except Exception as error:
            log.exception("A group of %d events could not be made durable", len(entries))
            verdicts, failed = [Verdict.ACCEPTED] * len(entries), dict.fromkeys(range(len(entries)), str(error))
        with self._lock:
            self._bytes -= size
        results: list[tuple[_Waiting, list[Verdict] | Unavailable]] = []
        start = 0
        for waiting in group:
            end = start + len(waiting.entries)
            why = next((failed[index] for index in range(start, end) if index in failed), None) if failed else None
            results.append((waiting, verdicts[start:end] if why is None else Unavailable(why)))
            start = end
        _resolve(results)
        self._note_touches()

    def _make_durable(self, entries: list[Entry]) -> tuple[list[Verdict], dict[int, str]]:
        """Verdicts by entry, and of those that are not durable the reason."""
        verdicts, known = self._recognise(entries)
        records: list[Record] = []
        owners: list[int] = []
        for index, entry in enumerate(entries):
            if verdicts[index] is Verdict.DUPLICATE:
                continue
            for topic, key, value, headers, partition, _ in entry.records:
                self._sequence += 1
                stamp = (*headers, self._incarnation, ("footfall-seq", b"%d" % self._sequence))
                records.append(Record(topic, key, value, stamp, partition))
                owners.append(index)
        too_large, failed = self._store(records)
        for position in too_large:
            verdicts[owners[position]] = Verdict.TOO_LARGE
        lost = {owners[position]: why for position, why in failed.items()}
        remembered: dict[bytes, bytes] = {}
        touches: list[Touch] = []
        for index, entry in enumerate(entries):
            verdict = verdicts[index]
            if verdict is Verdict.DUPLICATE:
                if lost and known.get(index) in lost:
                    lost[index] = lost[known[index]]  # its first copy was in this very group
                continue
            if index in lost or verdict is Verdict.TOO_LARGE:
                continue
            if entry.memory_key is not None:
                remembered[entry.memory_key] = entry.event_id
            if entry.touch is not None:
                touches.append(entry.touch)
        self._remember(remembered)
        self._touches = touches
        return verdicts, lost

    def _recognise(self, entries: list[Entry]) -> tuple[list[Verdict], dict[int, int]]:
        """First verdicts, and for a duplicate of an entry in the same group the index of that one."""
        keyed = [(index, entry) for index, entry in enumerate(entries) if entry.memory_key is not None]
        verdicts = [Verdict.ACCEPTED] * len(entries)
        within: dict[int, int] = {}
        if not keyed:
            return verdicts, within
        try:
            before = self._memory.seen([entry.memory_key for _, entry in keyed if entry.memory_key is not None])
        except Exception as error:
            log.warning("Duplicates are left to the pipeline: %s", error)
            before = [None] * len(keyed)
        here: dict[bytes, tuple[bytes, int]] = {}
        for (index, entry), event_id in zip(keyed, before, strict=True):
            assert entry.memory_key is not None
            first = here.get(entry.memory_key)
            if event_id is None and first is not None:
                event_id = first[0]
                if event_id == entry.event_id:
                    within[index] = first[1]
            if event_id is None:
                here[entry.memory_key] = (entry.event_id, index)
            else:
                verdicts[index] = Verdict.DUPLICATE if event_id == entry.event_id else Verdict.REUSED
        return verdicts, within

    def _store(self, records: list[Record]) -> tuple[Sequence[int], dict[int, str]]:
        """Indexes of the records that are too large, and of those that lie nowhere, with the reason."""
        if not records:
            return (), {}
        unsent: Sequence[int] = range(len(records))
        try:
            # What waits in our spool goes before what comes now, or a visitor's events would change places.
            if not self._broker_down and self._spool.append_behind(records):
                self._failure = ""
                return (), {}
        except Exception as error:
            return (), self._nowhere(unsent, error)
        too_large, unsent = self._publish(records)
        if unsent:
            try:
                self._spool.append([records[index] for index in unsent])
            except Exception as error:
                return too_large, self._nowhere(unsent, error)
            self._wake_drainer.set()
        self._failure = ""
        return too_large, {}

    def _publish(self, records: list[Record]) -> tuple[Sequence[int], Sequence[int]]:
        """Indexes of the records that are too large for the broker, and of those that it did not take."""
        if self._broker_down:
            return (), range(len(records))
        try:
            self._broker.publish(records)
        except TooLarge as error:
            return error.indexes, ()
        except Unsent as error:
            self._broker_failed(error, records)
            return (), error.indexes
        except BrokerError as error:
            self._broker_failed(error, records)
            return (), range(len(records))
        return (), ()

    def _nowhere(self, unsent: Sequence[int], error: Exception) -> dict[int, str]:
        self._failure = f"neither the broker nor the spool takes events: {error}"
        log.error("%s", self._failure)
        return dict.fromkeys(unsent, self._failure)

    def _broker_failed(self, error: BrokerError, records: list[Record]) -> None:
        log.warning("Events go to the spool: %s", error)
        self._refused_topics = {record.topic for record in records}
        self._broker_down = True
        self._wake_drainer.set()

    def _remember(self, items: dict[bytes, bytes]) -> None:
        """Before anybody is answered: the same event may come to another process next."""
        try:
            if items:
                self._memory.remember(items)
        except Exception as error:
            log.warning("The live store did not remember a group of events: %s", error)

    def _note_touches(self) -> None:
        """After all are answered: nobody waits to be seen as active."""
        touches, self._touches = self._touches, []
        try:
            if touches:
                self._memory.touch_many(touches)
        except Exception as error:
            log.warning("The live store did not note who is active: %s", error)

    # The draining thread

    def _drain_spool(self) -> None:
        while not self._closing:
            if not self._broker_down and not self._failure and not self._spool.waits():
                self._wake_drainer.wait(_LOOK_EVERY)  # a neighbour may have died and left its spool
                self._wake_drainer.clear()
                continue
            try:
                self._probe()
                self._broker_down = False
                drained = self._spool.drain(self._broker.publish)
                self._failure = ""
                if drained:
                    log.warning("%d records went from the spool to the broker", drained)
            except Exception as error:
                log.info("The spool waits for the broker: %s", error)
            self._pause(_PROBE_EVERY)

    def _probe(self) -> None:
        """Raises unless the broker answers and has the topics of what it did not take."""
        self._broker.ping(_PROBE_TIMEOUT)
        if self._broker_down:
            self._create_topics()
            for topic in self._refused_topics:
                self._broker.partitions(topic)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._closing and (left := until - time.monotonic()) > 0:
            self._wake_drainer.wait(left)
            self._wake_drainer.clear()


def _size(group: list[_Waiting]) -> int:
    return sum(len(record.value or b"") for waiting in group for entry in waiting.entries for record in entry.records)


def _resolve(results: list[tuple[_Waiting, list[Verdict] | Unavailable]]) -> None:
    """Wake every request of the group: those of an event loop in one call into it."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Waiting, list[Verdict] | Unavailable]]] = {}
    for waiting, result in results:
        if waiting.loop is not None:
            by_loop.setdefault(waiting.loop, []).append((waiting, result))
        elif not waiting.future.cancelled():
            _set(waiting, result)
    for loop, mine in by_loop.items():
        try:
            loop.call_soon_threadsafe(_set_all, mine)
        except RuntimeError:
            log.warning("%d requests ended before their events were durable", len(mine))


def _set_all(results: list[tuple[_Waiting, list[Verdict] | Unavailable]]) -> None:
    for waiting, result in results:
        if not waiting.future.done():
            _set(waiting, result)


def _set(waiting: _Waiting, result: list[Verdict] | Unavailable) -> None:
    if isinstance(result, Unavailable):
        waiting.future.set_exception(result)
    else:
        waiting.future.set_result(result)
