"""The door's account: what became of the events that came to a process, by hour of receipt, site and reason.

Counters die with their process, so every few seconds, and when the process stops, the counts since the last time go
to the broker as one small record on the dead-letter topic, by the way that events go. The pipeline adds it to the table
`loss_account`. What a process that was killed had not sent yet is missing there: the account may say less than what
came, never more. A function that is frozen between two requests sends when it runs again, or not at all.
"""

from __future__ import annotations

import base64
from collections import Counter
from threading import Lock

import msgspec

from activity.definitions import HOUR_MS
from activity.event import DEAD_LETTER_TOPIC
from activity.refusal import OUTCOMES, DeadLetter, OutcomeCounts, Reason
from ingest.collect import Collected
from ingest.entry import Entry, Verdict

_AT_ONCE = 2_000  # counts of a record, which brokers bound in size

_Key = tuple[int, str, str, str]  # hour, site, outcome, reason
_encode = msgspec.json.Encoder().encode


class Outcomes:
    """Counts for one process, named by its `incarnation`. Safe to call from several threads."""

    def __init__(self, incarnation: str) -> None:
        self._incarnation = incarnation
        self._records = 0
        self._lock = Lock()
        self._counts: Counter[_Key] = Counter()

    def add(self, received_at: int, site: str, outcome: str, reason: str = "", n: int = 1) -> None:
        """Count `n` more events of a known site, or "", that were received at a time (Unix milliseconds)."""
        with self._lock:
            self._counts[received_at // HOUR_MS * HOUR_MS, site, outcome, reason] += n

    def all_accepted(self, collected: Collected) -> None:
        """Count a request of which every event was accepted."""
        for entry in collected.entries:
            self.add(collected.received_at, entry.site, "accepted", n=len(entry.messages))

    def settled(self, collected: Collected, verdicts: list[Verdict]) -> None:
        """Count the events of a request by their verdicts, and its refusals."""
        received_at = collected.received_at
        for entry, _, verdict in zip(collected.entries, collected.owners, verdicts, strict=False):
            if verdict is Verdict.DUPLICATE:
                self.add(received_at, entry.site, "duplicate")
            elif verdict is Verdict.TOO_LARGE:
                self.add(received_at, entry.site, "refused", Reason.TOO_LARGE)
            else:
                reason = str(verdict.value) if verdict is Verdict.REUSED else ""
                self.add(received_at, entry.site, "accepted", reason, len(entry.messages))
        for refusal, site in zip(collected.refused, collected.refused_sites, strict=True):
            self.add(received_at, site, "refused", refusal.reason)

    def entries(self, now: int) -> list[Entry]:
        """Return what to publish of the counts since the last call; `now` is in Unix milliseconds."""
        with self._lock:
            counted, self._counts = self._counts, Counter()
        counts = [(*key, n) for key, n in counted.items()]
        return [self._entry(counts[at : at + _AT_ONCE], now) for at in range(0, len(counts), _AT_ONCE)]

    def _entry(self, counts: list[tuple[int, str, str, str, int]], now: int) -> Entry:
        self._records += 1
        held = _encode(OutcomeCounts(f"{self._incarnation}/{self._records}", counts))
        letter = DeadLetter(reason=OUTCOMES, received_at=now, bytes=base64.b64encode(held).decode(), where="/collect")
        return Entry([(DEAD_LETTER_TOPIC, None, _encode(letter))])
