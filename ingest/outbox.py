"""The outbox between requests and the broker: it makes entries durable in groups before their requests are answered.

Entries that the requests of an event loop hand in while a group is being published form the next group. A group goes to
the publishing thread in one piece, is published in one call, and its verdicts come back in one piece. So the cost of a
group (a commit, and waking two threads) is shared by more requests the busier the service is. Records that the broker
does not take go into the spool, fsync'd; if the spool does not take them either, their requests fail with `Unavailable`
and the senders have to send again. A second thread drains the spool, in order, once the broker answers. Until the spool
is empty all records go through it, so a visitor's events stay in order.

The outbox also looks up and remembers the ids of events, a group at a time because the live store may be a Redis. An id
counts as seen only once its event is durable; of two equal events in one group the second is the duplicate.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from queue import Empty, SimpleQueue
from typing import NamedTuple

import msgspec

from brokers.base import Broker, BrokerError, Record, TooLarge, Unsent
from ingest.entry import Entry, Settled, Touch, Unavailable, Verdict
from ingest.spool import Spool
from stores.base import Live

log = logging.getLogger(__name__)

_GROUP = 1000  # requests published at once
# Seconds that a group waits for more requests, by the size of the group before: a commit costs the same for any size.
_LINGER_A_REQUEST, _LINGER_AT_MOST = 0.0005, 0.01
_PROBE_EVERY = 1.0
_CHECK_EVERY = 5.0
_PROBE_TIMEOUT = 2.0


class _Pending(msgspec.Struct, frozen=True, gc=False):
    """The entries of one request, and the callback that waits for their verdicts."""

    entries: Sequence[Entry]
    settled: Settled
    size: int  # bytes of all values


class _Group(NamedTuple):
    """Requests handed to the publishing thread together, and their event loop, if they are on one."""

    waiting: list[_Pending]
    loop: asyncio.AbstractEventLoop | None


class _Outcome(NamedTuple):
    """The verdicts for the entries of a group, in order."""

    verdicts: list[Verdict]
    failed: dict[int, str]  # the reason why an entry is not durable, by its index


class Outbox:
    """Publishes entries from any number of requests. Call `start` after a fork, since threads do not survive it."""

    def __init__(
        self,
        broker: Broker,
        spool: Spool,
        memory: Live,
        incarnation: bytes,
        max_bytes: int = 64 << 20,
        create_topics: Callable[[], object] = lambda: None,
        after_group: Callable[[], object] = lambda: None,
    ) -> None:
        """`incarnation` identifies this process in the records' headers; `max_bytes` bounds the values that wait.

        `create_topics` is called when the broker is back, since it may have been unreachable at the start;
        `after_group` on the event loop, once all of a group's requests were told."""
        self._broker = broker
        self._spool = spool
        self._memory = memory
        self._create_topics = create_topics
        self._after_group = after_group
        self._incarnation = ("footfall-process", incarnation)
        self._sequence = 0
        self._max_bytes = max_bytes
        self._bytes = 0  # waiting, of requests with threads of their own
        self._loop_bytes = 0  # waiting, of the requests of the event loop; written only there
        self._lock = threading.Lock()
        self._handed_in: list[_Pending] = []  # on the event loop, for the next group
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_busy = False  # whether a group is being published or a timer runs for the next one
        self._linger = 0.0
        self._queue: SimpleQueue[_Group | None] = SimpleQueue()
        self._broker_down = False
        self._refused_topics: set[str] = set()
        self._failure = ""
        self._touches: list[Touch] = []
        self._wake_drainer = threading.Event()
        self._closing = False
        self._publisher = threading.Thread(target=self._publish_groups, name="outbox", daemon=True)
        self._drainer = threading.Thread(target=self._drain_spool, name="spool-drainer", daemon=True)

    def start(self) -> None:
        """Start the publishing and the draining thread."""
        self._publisher.start()
        self._drainer.start()

    def close(self) -> None:
        """Stop, after everything handed in has its verdict. Records still in the spool wait for the next start."""
        self._closing = True
        self._wake_drainer.set()
        if self._loop is not None:
            self._hand_over(self._loop)
        self._queue.put(None)
        for thread in (self._publisher, self._drainer):
            if thread.is_alive():
                thread.join()
        self._spool.close()

    def hand_in(self, entries: Sequence[Entry], settled: Settled) -> None:
        """Call `settled` on the running event loop with the entries' verdicts, in order, once they are durable, or with
        an `Unavailable` if one of them is not.

        Raises `Unavailable` if too much waits already. All callers have to run on the same event loop."""
        self._check_room()
        loop = self._loop
        if loop is None or loop.is_closed():
            loop = self._loop = asyncio.get_running_loop()  # a system call, so not for each request
            self._loop_bytes = 0
        size = _size(entries)
        self._loop_bytes += size
        self._handed_in.append(_Pending(entries, settled, size))
        if not self._loop_busy:
            self._loop_busy = True
            if self._linger:
                loop.call_later(self._linger, self._hand_over, loop)
            else:
                loop.call_soon(self._hand_over, loop)

    def settle_and_wait(self, entries: Sequence[Entry]) -> list[Verdict]:
        """Return the entries' verdicts, in order, once they are durable, blocking the calling thread.

        Raises `Unavailable` if one of them is not."""
        self._check_room()
        future: Future[list[Verdict]] = Future()
        size = _size(entries)
        with self._lock:
            self._bytes += size
        self._queue.put(_Group([_Pending(entries, partial(_resolve, future), size)], None))
        try:
            return future.result()
        finally:
            with self._lock:
                self._bytes -= size

    def problem(self) -> str:
        """Return why no entries would be accepted now, or ""."""
        if self._closing or not self._publisher.is_alive():
            return "shutting down"
        if self._is_full():
            return "the queue to the broker is full"
        return self._failure

    def _is_full(self) -> bool:
        return self._bytes + self._loop_bytes >= self._max_bytes

    def _check_room(self) -> None:
        if self._closing or self._is_full():
            raise Unavailable(self.problem())

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send the next group to the publishing thread. Runs on the event loop."""
        handed, self._handed_in = self._handed_in, []
        if handed:  # else it was handed over by `close`
            self._queue.put(_Group(handed, loop))

    def _settled(self, group: _Group, outcome: _Outcome) -> None:
        """Tell a group's requests and schedule the next group. Runs on the event loop."""
        _tell(group.waiting, outcome)
        self._loop_bytes -= sum([waiting.size for waiting in group.waiting])
        # The senders that are answered now will send again in a moment.
        requests = len(group.waiting)
        self._linger = min(requests * _LINGER_A_REQUEST, _LINGER_AT_MOST) if requests > 1 else 0.0
        if self._handed_in and group.loop is not None:
            group.loop.call_later(self._linger, self._hand_over, group.loop)
        else:
            self._loop_busy = False
        self._after_group()

    # The publishing thread

    def _publish_groups(self) -> None:
        stop = False
        while not stop and (first := self._queue.get()) is not None:
            groups = [first]
            count = len(first.waiting)
            while count < _GROUP:
                try:
                    more = self._queue.get_nowait()
                except Empty:
                    break
                if more is None:
                    stop = True
                    break
                groups.append(more)
                count += len(more.waiting)
            self._settle_groups(groups)

    def _settle_groups(self, groups: list[_Group]) -> None:
        entries = [entry for group in groups for waiting in group.waiting for entry in waiting.entries]
        try:
            outcome = self._make_durable(entries)
        except Exception as error:
            log.exception("A group of %d events could not be made durable", len(entries))
            outcome = _Outcome([Verdict.ACCEPTED] * len(entries), dict.fromkeys(range(len(entries)), str(error)))
        start = 0
        for group in groups:
            mine = outcome
            if len(groups) > 1:
                end = start + sum([len(waiting.entries) for waiting in group.waiting])
                failed = {index - start: why for index, why in outcome.failed.items() if start <= index < end}
                mine = _Outcome(outcome.verdicts[start:end], failed)
                start = end
            self._answer(group, mine)
        self._note_touches()

    def _answer(self, group: _Group, outcome: _Outcome) -> None:
        if group.loop is None:
            _tell(group.waiting, outcome)
            return
        try:
            group.loop.call_soon_threadsafe(self._settled, group, outcome)
        except RuntimeError:
            log.warning("%d requests ended before their events were durable", len(group.waiting))

    def _make_durable(self, entries: list[Entry]) -> _Outcome:
        verdicts, within = self._recognise(entries)
        duplicate = Verdict.DUPLICATE  # reading a member of an enumeration is a call
        records: list[Record] = []
        owners: list[int] = []
        incarnation, sequence = self._incarnation, self._sequence
        for index, entry in enumerate(entries):
            if verdicts[index] is duplicate:
                continue
            for topic, key, value in entry.messages:
                sequence += 1
                records.append(Record(topic, key, value, (incarnation, ("footfall-seq", b"%d" % sequence))))
                owners.append(index)
        self._sequence = sequence
        too_large, failed = self._store(records)
        oversized = {owners[position] for position in too_large}
        for index in oversized:
            verdicts[index] = Verdict.TOO_LARGE
        lost = {owners[position]: why for position, why in failed.items()}
        remembered: dict[bytes, bytes] = {}
        touches: list[Touch] = []
        for index, entry in enumerate(entries):
            if verdicts[index] is duplicate:
                if lost and within.get(index) in lost:
                    lost[index] = lost[within[index]]  # its first copy was in this very group
                continue
            if index in lost or index in oversized:
                continue
            if entry.memory_key is not None:
                remembered[entry.memory_key] = entry.event_id
            if entry.touch is not None:
                touches.append(entry.touch)
        self._remember(remembered)
        self._touches = touches
        return _Outcome(verdicts, lost)

    def _recognise(self, entries: list[Entry]) -> tuple[list[Verdict], dict[int, int]]:
        """Return first verdicts, and for each duplicate of an entry in the same group the index of that entry."""
        verdicts = [Verdict.ACCEPTED] * len(entries)
        within: dict[int, int] = {}
        keyed = [index for index, entry in enumerate(entries) if entry.memory_key is not None]
        keys = [entry.memory_key for entry in entries if entry.memory_key is not None]
        if not keys:
            return verdicts, within
        try:
            before = self._memory.seen(keys)
        except Exception as error:
            log.warning("Duplicates are left to the pipeline: %s", error)
            before = [None] * len(keys)
        here: dict[bytes, int] = {}  # the first entry of each key that is new
        for index, key, known in zip(keyed, keys, before, strict=True):
            if known is None:
                first = here.setdefault(key, index)
                if first == index:
                    continue
                known = entries[first].event_id
                if known == entries[index].event_id:
                    within[index] = first
            verdicts[index] = Verdict.DUPLICATE if known == entries[index].event_id else Verdict.REUSED
        return verdicts, within

    def _store(self, records: list[Record]) -> tuple[Sequence[int], dict[int, str]]:
        """Return the indexes of records that are too large, and those that are not durable, each with its reason."""
        if not records:
            return (), {}
        unsent: Sequence[int] = range(len(records))
        try:
            # Records in our spool go before new ones, or a visitor's events would change their order.
            if not self._broker_down and self._spool.append_behind(records):
                self._failure = ""
                return (), {}
        except Exception as error:
            return (), self._not_durable(unsent, error)
        too_large, unsent = self._publish(records)
        if unsent:
            try:
                self._spool.append([records[index] for index in unsent])
            except Exception as error:
                return too_large, self._not_durable(unsent, error)
            self._wake_drainer.set()
        self._failure = ""
        return too_large, {}

    def _publish(self, records: list[Record]) -> tuple[Sequence[int], Sequence[int]]:
        """Return the indexes of the records that are too large for the broker, and of those it did not take."""
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

    def _not_durable(self, unsent: Sequence[int], error: Exception) -> dict[int, str]:
        self._failure = f"neither the broker nor the spool takes events: {error}"
        log.error("%s", self._failure)
        return dict.fromkeys(unsent, self._failure)

    def _broker_failed(self, error: BrokerError, records: list[Record]) -> None:
        log.warning("Events go to the spool: %s", error)
        self._refused_topics = {record.topic for record in records}
        self._broker_down = True
        self._wake_drainer.set()

    def _remember(self, items: dict[bytes, bytes]) -> None:
        """Remember ids. Runs before requests are answered: the same event may reach another process next."""
        try:
            if items:
                self._memory.remember(items)
        except Exception as error:
            log.warning("The live store did not remember a group of events: %s", error)

    def _note_touches(self) -> None:
        """Report active visitors to the live store. Runs after requests are answered, so none waits for it."""
        touches, self._touches = self._touches, []
        try:
            if touches:
                self._memory.touch_many(touches)
        except Exception as error:
            log.warning("The live store did not note who is active: %s", error)

    # The draining thread

    def _drain_spool(self) -> None:
        said = ""
        while not self._closing:
            if not self._broker_down and not self._failure and not self._spool.waits():
                self._wake_drainer.wait(_CHECK_EVERY)  # another process may have died and left its spool
                self._wake_drainer.clear()
                continue
            try:
                self._probe()
                self._broker_down = False
                drained = self._spool.drain(self._broker.publish)
                self._failure = said = ""
                if drained:
                    log.warning("%d records went from the spool to the broker", drained)
            except Exception as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("The spool waits for the broker: %s", error)
            self._pause(_PROBE_EVERY)

    def _probe(self) -> None:
        """Raise unless the broker answers and has the topics of the records that it did not take."""
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


def _size(entries: Sequence[Entry]) -> int:
    size = 0
    for entry in entries:
        for _, _, value in entry.messages:
            size += len(value)
    return size


def _tell(group: list[_Pending], outcome: _Outcome) -> None:
    """Give each request of a group its verdicts or its `Unavailable`."""
    verdicts, failed = outcome
    start = 0
    for waiting in group:
        end = start + len(waiting.entries)
        why = next((failed[index] for index in range(start, end) if index in failed), None) if failed else None
        try:
            waiting.settled(verdicts[start:end] if why is None else Unavailable(why))
        except Exception:  # one request's fault is not the others'
            log.exception("A request whose events were settled could not be told so")
        start = end


def _resolve(future: Future[list[Verdict]], verdicts: list[Verdict] | Unavailable) -> None:
    if isinstance(verdicts, Unavailable):
        future.set_exception(verdicts)
    else:
        future.set_result(verdicts)
