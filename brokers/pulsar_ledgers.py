"""Where records lie in Pulsar: a partition is a list of ledgers, a ledger a list of entries, an entry a batch.

A position is (ledger, entry, index in the batch). Ledger numbers grow, but not by one, and retention removes whole
ledgers; how long a removed one was is nowhere written down. So whether something is missing between a position and
the first record kept is answered from what was seen here (`Ends`) or what a group remembered, and otherwise with yes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from brokers.base import Gone, NoSuchTopic, Unreachable
from brokers.pulsar_admin import Admin

Order = tuple[int, ...]  # ledger, entry, index
_KEPT_ENTRIES = 4096


class Ledgers(NamedTuple):
    """The ledgers that hold records now, as (ledger, entries), and the number of the one that is written to."""

    held: tuple[tuple[int, int], ...]
    current: int
    subscriptions: tuple[str, ...]

    @property
    def first(self) -> Order | None:
        return (self.held[0][0], 0, 0) if self.held else None

    @property
    def last_entry(self) -> tuple[int, int] | None:
        return (self.held[-1][0], self.held[-1][1] - 1) if self.held else None

    def beyond(self, order: Order) -> bool:
        """Does the position lie where nothing was written yet?"""
        for ledger, entries in self.held:
            if ledger == order[0]:
                return order[1] >= entries
        return order[0] >= (self.held[-1][0] if self.held else self.current)

    def before(self, ledger: int, entry: int) -> tuple[int, int] | None:
        """The entry before that one, None when it is the first."""
        found = None
        for number, entries in self.held:
            if number >= ledger:
                break
            found = (number, entries - 1)
        return (ledger, entry - 1) if entry > 0 else found


class LedgerReader:
    """Asks the admin service about one topic's ledgers; `path` names a partition there."""

    def __init__(self, admin: Admin, path: Callable[[str, int | None], str], shown: str) -> None:
        self._admin = admin
        self._path = path
        self._shown = shown
        self._entries: OrderedDict[tuple[str, int, int, int], int] = OrderedDict()
        self._lock = threading.Lock()

    def view(self, topic: str, partition: int) -> Ledgers:
        answer = self._admin.get(f"{self._path(topic, partition)}/internalStats")
        if answer.status == 404:
            raise NoSuchTopic(f"topic {topic} does not exist on {self._shown}: create it first")
        stats = answer.json()
        numbers = [(each["ledgerId"], each["entries"]) for each in stats["ledgers"]]
        current = numbers[-1][0] if numbers else -1
        if numbers:
            numbers[-1] = (current, max(stats["currentLedgerEntries"], numbers[-1][1]))
        # An entry counts once it is confirmed: what is on its way to the disk may still fail.
        ledger, _, entry = stats["lastConfirmedEntry"].partition(":")
        confirmed = (int(ledger), int(entry))
        held = [(number, min(size, confirmed[1] + 1) if number == confirmed[0] else size) for number, size in numbers]
        kept = tuple((number, size) for number, size in held if size > 0 and number <= confirmed[0])
        return Ledgers(kept, current, tuple(stats["cursors"]))

    def records(self, topic: str, partition: int, ledger: int, entry: int) -> int:
        """How many an entry has. Entries never change, so what was asked once is remembered."""
        key = (topic, partition, ledger, entry)
        with self._lock:
            found = self._entries.get(key)
        if found is None:
            answer = self._admin.get(f"{self._path(topic, partition)}/ledger/{ledger}/entry/{entry}")
            if answer.status != 200:
                raise Gone(f"{topic}[{partition}]: entry {ledger}:{entry} is not kept any more ({answer.reason()})")
            found = int(answer.headers.get("X-Pulsar-num-batch-message") or 1)
            with self._lock:
                self._entries[key] = found
                while len(self._entries) > _KEPT_ENTRIES:
                    self._entries.popitem(last=False)
        return found

    def last(self, topic: str, partition: int, entry: tuple[int, int]) -> Order:
        """The last record of an entry."""
        return (*entry, self.records(topic, partition, *entry) - 1)

    def at_time(self, topic: str, partition: int, timestamp_ms: int) -> tuple[int, int]:
        """The first entry published at or after that time, or the place after the last one."""
        answer = self._admin.get(f"{self._path(topic, partition)}/messageid/{timestamp_ms}")
        if answer.status != 200:
            raise Unreachable(f"{self._shown}: {topic}[{partition}]: {answer.reason()}: retry")
        found = answer.json()
        return found["ledgerId"], found["entryId"]


class Ends:
    """Which record was a ledger's last and which ledger came next, as readers passed them."""

    def __init__(self) -> None:
        self._next: dict[tuple[str, int, Order], int] = {}

    def passed(self, topic: str, partition: int, last: Order, ledger: int) -> None:
        if len(self._next) >= _KEPT_ENTRIES:
            self._next.clear()
        self._next[topic, partition, last] = ledger

    def nothing_between(self, topic: str, partition: int, last: Order, ledger: int) -> bool:
        return self._next.get((topic, partition, last)) == ledger
