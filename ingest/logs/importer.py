"""One import: publishes what is new of each batch, and accounts for every line.

A line's id is made from the line, and of how often it stood in its file before. So a file that is imported again, also
after an import that was broken off, makes the same events: those that are stored already, or came before in this run,
are duplicates and are not published.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

from brokers.base import Broker, Columnar, Record
from ingest.logs.batch import Accepted, Batch, dead_letter, masked
from ingest.logs.files import ImportFailed, shown

_SHOWN = 5  # lines that are shown because something is wrong with them
_OF_REQUESTS = frozenset(("method", "status", "asset", "too_old"))  # why a line is refused that was understood
_SAYING_NOTHING = frozenset(("empty", "comment"))
_HOPELESS = 10_000  # lines without a single one understood: this is no such file


class Stored(Protocol):
    """Looks up what is stored already."""

    def events(self, accepted: Accepted) -> Collection[int]:
        """Return the indexes, in `accepted`, of the lines whose events are stored."""

    def dead_letters(self, lines: list[str]) -> Collection[int]:
        """Return the indexes of the lines (as `batch.masked` gives them) that are dead letters already."""


def wrong_lines(batch: Batch) -> list[str]:
    """Return some of the lines with which something is wrong, in words."""
    wrong = [f"line {number}: {shown(line)} ({why})" for number, line, why in batch.not_understood[:_SHOWN]]
    return wrong + [f"line {number}: {why}" for number, why in batch.refused_lines[:_SHOWN]]


@dataclass
class Tally:
    """What became of the lines; each is counted once in the first group."""

    lines: int = 0
    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    not_understood: int = 0

    bots: int = 0
    searches: int = 0
    seconds: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)  # refused lines, by reason

    def nothing_taken(self) -> bool:
        """Return whether there are lines to understand, and not one of them was of the form that was expected."""
        telling = self.lines - sum(self.reasons.get(why, 0) for why in _SAYING_NOTHING)
        of_this_form = sum(self.reasons.get(why, 0) for why in _OF_REQUESTS)
        return bool(telling) and not (self.accepted or self.duplicates or of_this_form)

    def add(self, batch: Batch, fresh: list[int], searches: int) -> None:
        """Count the lines of a batch; `fresh` are the indexes of its accepted ones that are no duplicates."""
        self.lines += batch.lines
        self.accepted += len(fresh)
        self.duplicates += len(batch.accepted) - len(fresh)
        self.bots += sum(map(batch.accepted.bots.__getitem__, fresh))
        self.searches += searches
        self.refused += sum(batch.refused.values())
        for reason, count in batch.refused.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + count
        self.not_understood += len(batch.not_understood)


class Importer:
    """One run over several files, all of one site and received at one moment (milliseconds UTC)."""

    def __init__(self, broker: Broker, stored: Stored, received_at: int, site: str) -> None:
        self.tally = Tally()
        self.examples: list[str] = []  # lines with which something is wrong, in words
        self.untaken: list[str] = []  # files of which nothing was taken, in words
        self.published = 0  # records of events
        self._broker = broker
        self._stored = stored
        self._received_at = received_at
        self._site = site
        self._seen: set[str] = set()

    def read(self, name: str, shape: str, batches: Iterable[Batch]) -> Iterator[int]:
        """Import the batches of one file; after each, once its events are durable, yield the lines read so far.

        Raises ImportFailed where the first 10,000 lines or more are all of another format, before it publishes the
        batch that shows it, and what `Broker.publish` raises."""
        lines, of_this_form, not_understood, telling = 0, 0, 0, 0
        for batch in batches:
            lines += batch.lines
            of_this_form += len(batch.accepted) + sum(batch.refused.get(why, 0) for why in _OF_REQUESTS)
            not_understood += len(batch.not_understood)
            telling += batch.lines - sum(batch.refused.get(why, 0) for why in _SAYING_NOTHING)
            self._show(batch)
            if lines >= _HOPELESS and not_understood == lines:
                example = wrong_lines(batch)[0]
                raise ImportFailed(f"{name}: not one of {lines} lines is {shape}; see --format. {example}")
            self._take(batch, shape)
            yield lines
        if telling and not of_this_form:
            self.untaken.append(f"{name}: not one line was taken as {shape}; see the lines above, and --format")

    def take(self, batch: Batch, shape: str) -> None:
        """Publish what is new of one batch, bury what is not understood, and count both."""
        self._show(batch)
        self._take(batch, shape)

    def _show(self, batch: Batch) -> None:
        """Keep the first few lines with which something is wrong, for people to mend."""
        self.examples += wrong_lines(batch)[: _SHOWN - len(self.examples)]

    def _take(self, batch: Batch, shape: str) -> None:
        """Publish what is new of a batch and count its lines; return when it is durable."""
        accepted = batch.accepted
        fresh = self._fresh(accepted)
        columns = accepted.publishable(fresh)
        published = sum(its.block.size for its in columns)
        records = self._dead_letters(batch, batch.shape or shape)
        if isinstance(self._broker, Columnar):
            self._broker.publish_columns(columns, records)
        else:
            self._broker.publish(list(chain(*(its.records() for its in columns), records)))
        self.published += published
        self.tally.add(batch, fresh, published - len(fresh))

    def _fresh(self, accepted: Accepted) -> list[int]:
        """Return the indexes of the lines whose event is neither stored nor came before in this run."""
        stored = self._stored.events(accepted) if accepted.ids else ()
        ids = set(accepted.ids)
        if not stored and len(ids) == len(accepted) and self._seen.isdisjoint(ids):  # mostly
            self._seen |= ids
            return list(range(len(accepted)))
        fresh = []
        for index, its_id in enumerate(accepted.ids):
            if its_id not in self._seen and index not in stored:
                self._seen.add(its_id)
                fresh.append(index)
        return fresh

    def _dead_letters(self, batch: Batch, shape: str) -> list[Record]:
        if not batch.not_understood:
            return []
        lines = [masked(line) for _, line, _ in batch.not_understood]
        stored = self._stored.dead_letters(lines)
        return [
            dead_letter(line, f"not understood: {why}", self._received_at, self._site, shape)
            for index, (line, (_, _, why)) in enumerate(zip(lines, batch.not_understood, strict=True))
            if index not in stored
        ]
