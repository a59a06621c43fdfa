"""The journal of a replay: which days are done, so that the same command goes on behind them after a kill.

It is a small value beside the checkpoint, changed by compare-and-swap, and it names segments with the reports of the
days that are done. Before a part is swapped, the journal says what was found to differ there: rows that are put right
just before a kill are told by the next run all the same, which finds them equal.

A journal counts for the same command only, and as long as what it says can still be trusted: the same checkpoint
(`generation`), the same definitions, no day of it lost again since, and not older than a day. Otherwise the replay
begins anew. A replay that ended deletes its journal.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import msgspec

from activity import definitions, rollup
from activity.definitions import DAY_MS
from pipeline.losses import Missing
from pipeline.replay import changes
from stores.base import CheckpointStore, Positions, Unreadable

log = logging.getLogger("footfall.pipeline")

Report = dict[str, Any]


class Task(msgspec.Struct, frozen=True):
    """What a replay is to do; two replays of equal tasks have the same result. Days count from the epoch."""

    first_day: int
    last_day: int
    site: str | None
    source: str
    dry_run: bool
    lost: bool  # it makes a lost checkpoint again
    generation: str  # says on which checkpoint
    definitions: str


class Journal(msgspec.Struct, frozen=True):
    """How far a replay is. `upto` and `watermark` (ms) are those that a lost checkpoint gets at its end."""

    task: Task
    begun: int  # ms
    upto: Positions
    watermark: int
    next_day: int  # the days before it are done
    reports: list[str] = []  # segments with the reports of the done days
    swapping: str | None = None  # the segment with the reports of the part that is being swapped


def definitions_in_force() -> str:
    """A hash of all that decides how sessions are formed, digested and reported, but for the code."""
    numbers = {name: value for name, value in vars(definitions).items() if name.isupper()}
    decides = sorted(numbers.items()), rollup.DIGEST_FIELDS, changes.KINDS
    return blake2b(repr(decides).encode(), digest_size=8).hexdigest()


class JournalKeeper:
    """Reads and writes the journal of one unit. Every change raises `Conflict` when another replay wrote meanwhile."""

    def __init__(self, store: CheckpointStore, unit: str) -> None:
        self._store = store
        self._name = f"replay-{unit}"
        self._version: str | None = None

    def begin(self, begun: Journal, missing: Iterable[Missing]) -> Journal:
        """The journal to go on with: the stored one if it is of the same task and counts, else `begun`."""
        found = self._load()
        if found is not None and found.task == begun.task:
            lost = any(
                days.what == "rows" and days.first_day < found.next_day and found.task.first_day <= days.last_day
                for days in missing
            )
            if begun.begun - found.begun < DAY_MS and not lost:
                log.info("A replay that was broken off goes on behind %d days that are done", _done(found))
                return found
        if found is not None:
            log.warning("A replay that was broken off is given up: %d of its days were done", _done(found))
        self._swap(begun)
        self._sweep()
        return begun

    def swapping(self, journal: Journal, reports: list[Report]) -> Journal:
        """Note what was found in a part, before it is swapped."""
        reports = _merged(reports, self._read(journal.swapping))
        changed = msgspec.structs.replace(journal, swapping=self._put(reports))
        self._swap(changed)
        if journal.swapping is not None:
            self._store.delete(journal.swapping)
        return changed

    def done(self, journal: Journal, next_day: int) -> Journal:
        """Note that the part which was being swapped is done."""
        reports = [*journal.reports, *([journal.swapping] if journal.swapping else [])]
        changed = msgspec.structs.replace(journal, next_day=next_day, reports=reports, swapping=None)
        self._swap(changed)
        return changed

    def reports(self, journal: Journal) -> Iterable[Report]:
        """The reports of the days that are done."""
        for name in journal.reports:
            yield from self._read(name)

    def of_the_part(self, journal: Journal) -> list[Report]:
        """The reports of the part that is being swapped, with what an earlier run found in it."""
        return self._read(journal.swapping)

    def end(self) -> None:
        """Delete the journal and its segments, those too that a killed run left."""
        self._store.delete(self._name)
        self._sweep()

    def _load(self) -> Journal | None:
        try:
            found = self._store.load(self._name)
        except Unreadable:
            self._store.delete(self._name)
            found = None
        value, self._version = found or (b"", None)
        try:
            return msgspec.json.decode(value, type=Journal) if value else None
        except msgspec.MsgspecError:
            return None

    def _swap(self, journal: Journal) -> None:
        self._version = self._store.swap(self._name, msgspec.json.encode(journal), self._version)

    def _put(self, reports: list[Report]) -> str:
        name = f"{self._name}-days/{secrets.token_hex(8)}"
        self._store.put(name, msgspec.json.encode(reports))
        return name

    def _read(self, name: str | None) -> list[Report]:
        return [] if name is None else msgspec.json.decode(self._store.get(name))

    def _sweep(self) -> None:
        for name in self._store.names(f"{self._name}-days/"):
            self._store.delete(name)


def _done(journal: Journal) -> int:
    return journal.next_day - journal.task.first_day


def _merged(reports: list[Report], before: list[Report]) -> list[Report]:
    """The reports, each with what an earlier run found to differ on the same day of a site.

    A day of which the earlier run removed all that there was is told as that run found it."""
    found = {(report["site"], report["day"]): report for report in before}
    merged = []
    for report in reports:
        earlier = found.pop((report["site"], report["day"]), report)
        differs = sorted({*report["differs"], *earlier["differs"]})
        changed = changes.merged(report["changes"], earlier["changes"])
        merged.append(report | {"differs": differs, "equal": not differs, "changes": changed})
    return sorted([*merged, *found.values()], key=lambda report: (report["day"], report["site"]))
