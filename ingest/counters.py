"""What the door did, counted where every worker process can see it.

`/metrics` is answered by whichever worker takes the request, and must speak for all of them. So the counters
lie in memory that the processes of one server share: a row a worker, written by that worker alone, read and
summed by any. The set of counters is closed, because outcomes and reasons are.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterator

from activity.refusal import Reason

_LABELS: tuple[tuple[str, str], ...] = (
    ("accepted", ""),
    ("accepted", "id_reused"),
    ("duplicate", ""),
    *(("refused", str(reason)) for reason in Reason),
    ("unavailable", ""),
)
# Counted beside them, each a metric of its own.
EXTRA = {
    "dead_letters_kept": "Requests that could not be understood and are kept as dead letters.",
    "dead_letters_counted": "Requests that could not be understood, more than an hour has room for: only counted.",
    "visitors_split": "Visitors of whom the live store did not say whether a visit goes on over midnight (UTC).",
}
_INDEX = {label: position for position, label in enumerate((*_LABELS, *((name, "") for name in EXTRA)))}
_WIDTH = len(_INDEX)


class Counters:
    """`rows` processes may count at once; made before they are forked."""

    def __init__(self, rows: int = 1) -> None:
        self._cells = memoryview(mmap.mmap(-1, rows * _WIDTH * 8)).cast("Q")
        self._rows = rows
        self._start = 0
        self._lock = threading.Lock()

    def take_row(self, row: int) -> None:
        """This process counts in `row` from now on."""
        self._start = (row % self._rows) * _WIDTH

    def add(self, outcome: str, reason: str = "", n: int = 1) -> None:
        with self._lock:
            self._cells[self._start + _INDEX[outcome, reason]] += n

    def __iter__(self) -> Iterator[tuple[str, str, int]]:
        """What became of the events."""
        for outcome, reason in _LABELS:
            yield outcome, reason, self.total(outcome, reason)

    def total(self, outcome: str, reason: str = "") -> int:
        return sum(self._cells[_INDEX[outcome, reason] :: _WIDTH])
