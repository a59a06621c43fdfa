"""One fsync for everybody who is waiting.

The first thread in becomes the writer; those that arrive while it waits for the disk queue up, and the next
writer commits them all at once. Nobody waits for company: alone, a publish is one commit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Work = TypeVar("Work")


class _Place(Generic[Work]):
    """A piece of work in the queue, and what became of it."""

    __slots__ = ("done", "error", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        self.done = False
        self.error: Exception | None = None


class GroupCommit(Generic[Work]):
    """`commit` makes a list of work durable together, or raises having done none of it."""

    def __init__(self, commit: Callable[[list[Work]], None]) -> None:
        self._commit = commit
        self._queue: list[_Place[Work]] = []
        self._queueing = threading.Lock()
        self._writing = threading.Lock()

    def submit(self, work: Work) -> None:
        """Returns when `work` is durable; raises what `commit` raised for it."""
        mine = _Place(work)
        with self._queueing:
            self._queue.append(mine)
        with self._writing:
            if not mine.done:
                with self._queueing:
                    group, self._queue = self._queue, []
                self._write(group)
        if mine.error:
            raise mine.error

    def _write(self, group: list[_Place[Work]]) -> None:
        try:
            self._commit([place.work for place in group])
        except Exception as error:
            if len(group) == 1:
                group[0].error = error
            else:  # somebody's fault, but not everybody's: each alone
                for place in group:
                    self._write([place])
        finally:
            for place in group:
                place.done = True
