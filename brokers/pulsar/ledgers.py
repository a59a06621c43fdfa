"""Where records lie in Pulsar, and how far groups have read.

A partition is a list of ledgers, a ledger a list of entries, an entry a batch, and a position is (ledger, entry, index
in the batch). Ledger numbers grow, but not by one. Retention removes whole ledgers, and Pulsar does not record how long
a removed one was. Whether records are missing between a position and the first record kept is therefore answered from
what readers here have seen (`Ends`) or what a group remembers, and otherwise with yes.

A group's position is a Pulsar subscription, which Pulsar's own tools show and which holds retention back. The
subscription stands after the last entry that was read in full; the exact position, down to the record, is one of its
properties.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote

from brokers.base import Gone, Position, TopicPartition, Unreachable
from brokers.checks import no_topic
from brokers.pulsar.admin import Admin

Order = tuple[int, ...]  # ledger, entry, index
_KEPT_ENTRIES = 4096
_POSITION = "footfall-position"


class Log(NamedTuple):
    """A partition of one incarnation of its topic."""

    partition: TopicPartition
    incarnation: str


class Ledgers(NamedTuple):
    """A partition's ledgers with records now, as (ledger, entries); `current` is the one that is written to."""

    kept: tuple[tuple[int, int], ...]
    current: int
    subscriptions: tuple[str, ...]

    @property
    def first(self) -> Order | None:
        """Return where the first record kept lies, None if none is kept."""
        return (self.kept[0][0], 0, 0) if self.kept else None

    @property
    def last_entry(self) -> tuple[int, int] | None:
        """Return the last entry, None if none is kept."""
        return (self.kept[-1][0], self.kept[-1][1] - 1) if self.kept else None

    def beyond(self, order: Order) -> bool:
        """Return whether nothing was written yet at this place."""
        for ledger, entries in self.kept:
            if ledger == order[0]:
                return order[1] >= entries
        return order[0] >= (self.kept[-1][0] if self.kept else self.current)

    def before(self, ledger: int, entry: int) -> tuple[int, int] | None:
        """Return the entry before that one, None if it is the first."""
        found = None
        for number, entries in self.kept:
            if number >= ledger:
                break
            found = (number, entries - 1)
        return (ledger, entry - 1) if entry > 0 else found


class LedgerReader:
    """Reads ledgers from the admin service, where `path` names a partition; `shown` is the URL for messages."""

    def __init__(self, admin: Admin, path: Callable[[TopicPartition], str], shown: str) -> None:
        self._admin = admin
        self._path = path
        self._shown = shown
        self._entries: OrderedDict[tuple[TopicPartition, int, int], int] = OrderedDict()
        self._lock = threading.Lock()

    def view(self, partition: TopicPartition) -> Ledgers:
        """Return the partition's ledgers as they are now. Raises `NoSuchTopic`."""
        answer = self._admin.get(f"{self._path(partition)}/internalStats")
        if answer.status == 404:
            raise no_topic(partition.topic, self._shown)
        stats = answer.json()
        numbers = [(each["ledgerId"], each["entries"]) for each in stats["ledgers"]]
        current = numbers[-1][0] if numbers else -1
        if numbers:
            numbers[-1] = (current, max(stats["currentLedgerEntries"], numbers[-1][1]))
        # An entry counts once it is confirmed: one that is being written may still fail.
        ledger, _, entry = stats["lastConfirmedEntry"].partition(":")
        confirmed = (int(ledger), int(entry))
        sizes = [(number, min(size, confirmed[1] + 1) if number == confirmed[0] else size) for number, size in numbers]
        kept = tuple((number, size) for number, size in sizes if size > 0 and number <= confirmed[0])
        return Ledgers(kept, current, tuple(stats["cursors"]))

    def records(self, partition: TopicPartition, ledger: int, entry: int) -> int:
        """Return the number of records in an entry. Entries never change, so each is requested once."""
        key = (partition, ledger, entry)
        with self._lock:
            found = self._entries.get(key)
        if found is None:
            answer = self._admin.get(f"{self._path(partition)}/ledger/{ledger}/entry/{entry}")
            if answer.status != 200:
                raise Gone(f"{partition}: entry {ledger}:{entry} is not kept any more ({answer.reason()})")
            found = int(answer.headers.get("X-Pulsar-num-batch-message") or 1)
            with self._lock:
                self._entries[key] = found
                while len(self._entries) > _KEPT_ENTRIES:
                    self._entries.popitem(last=False)
        return found

    def last(self, partition: TopicPartition, entry: tuple[int, int]) -> Order:
        """Return the place of an entry's last record."""
        return (*entry, self.records(partition, *entry) - 1)

    def at_time(self, partition: TopicPartition, timestamp_ms: int) -> tuple[int, int]:
        """Return the first entry published at or after that time, or the place after the last one."""
        answer = self._admin.get(f"{self._path(partition)}/messageid/{timestamp_ms}")
        if answer.status != 200:
            raise Unreachable(f"{self._shown}: {partition}: {answer.reason()}: retry")
        found = answer.json()
        return found["ledgerId"], found["entryId"]


class Ends:
    """Remembers which record was a ledger's last and which ledger followed, as readers pass them."""

    def __init__(self) -> None:
        self._next: dict[tuple[TopicPartition, Order], int] = {}

    def note(self, partition: TopicPartition, last: Order, ledger: int) -> None:
        """Note that a reader went from the record at `last` to the first one of `ledger`."""
        if len(self._next) >= _KEPT_ENTRIES:
            self._next.clear()
        self._next[partition, last] = ledger

    def nothing_between(self, partition: TopicPartition, last: Order, ledger: int) -> bool:
        """Return whether that ledger is known to follow directly after that record."""
        return self._next.get((partition, last)) == ledger


class Groups:
    """Groups' positions at the admin service, where `path` names a partition."""

    def __init__(self, admin: Admin, path: Callable[[TopicPartition], str], ledgers: LedgerReader) -> None:
        self._admin = admin
        self._path = path
        self._ledgers = ledgers

    def remember(self, group: str, log: Log, view: Ledgers, position: Position) -> None:
        """Move the group's subscription to just after `position`, and create it if there is none."""
        path = self._subscription(group, log.partition)
        if group not in view.subscriptions:
            self._admin.expect("PUT", path, _message_id(position, excluded=False), or_conflict=True)
        records = self._ledgers.records(log.partition, *position.order[:2])
        whole = position.order[2] + 1 >= records
        self._admin.expect("POST", f"{path}/resetcursor", _message_id(position, excluded=whole))
        self._admin.expect("PUT", f"{path}/properties", {_POSITION: str(position)})

    def recall(self, group: str, partition: TopicPartition) -> Position | None:
        """Return what `remember` stored last, or None."""
        answer = self._admin.get(f"{self._subscription(group, partition)}/properties")
        text = (answer.json() or {}).get(_POSITION) if answer.status == 200 else None
        return Position.parse(text) if text else None

    def covers(self, log: Log, view: Ledgers, after: Position) -> bool:
        """Return whether a group's subscription, which keeps all that follows it, stands at `after` or before."""
        remembered = (self.recall(group, log.partition) for group in view.subscriptions)
        return any(p is not None and p.incarnation == log.incarnation and p <= after for p in remembered)

    def _subscription(self, group: str, partition: TopicPartition) -> str:
        return f"{self._path(partition)}/subscription/{quote(group, safe='')}"


def _message_id(position: Position, *, excluded: bool) -> dict[str, object]:
    ledger, entry, _ = position.order
    return {"ledgerId": ledger, "entryId": entry, "partitionIndex": -1, "batchIndex": -1, "excluded": excluded}
