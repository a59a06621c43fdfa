"""The plan of one bounded run, in words: what it reads, where it starts and what becomes of its results.

A plan is small and can travel: URLs without credentials, ranges and file names, tokens, a watermark. A step of the
graph holds a plan and nothing else; what it needs it opens by URL where it executes (`resources`). Events, state and
results are never part of a plan.

The plan of a micro-batch follows from its intent and from the checkpoint that holds it: whoever finds an intent makes
the same plan, under the same name and with the same tokens.
"""

from __future__ import annotations

import msgspec
import polars as pl

from activity.definitions import DAY_MS, MARGIN_AFTER_MS, MARGIN_BEFORE_MS
from activity.erasure import NONE, Erasures
from pipeline.checkpoint import PartitionRange
from stores.base import ArchivedFile


class StateRef(msgspec.Struct, frozen=True):
    """The state of open sessions as of a checkpoint: the unit's segments, and the watermark (ms) of the commit."""

    unit: str
    segments: list[str]
    watermark: int


class Window(msgspec.Struct, frozen=True):
    """Days to rebuild, [start, end) in ms, of one site or of all (None)."""

    site: str | None
    start: int
    end: int

    @property
    def reads(self) -> tuple[int, int]:
        """The times, [start, end) in ms, whose events the sessions of the window may be formed from."""
        return max(0, self.start - MARGIN_BEFORE_MS), self.end + MARGIN_AFTER_MS

    @property
    def days(self) -> range:
        """The days since the epoch."""
        return range(self.start // DAY_MS, self.end // DAY_MS)

    def within(self, column: str) -> pl.Expr:
        """Selects the rows of the window's site whose `column` (ms) is in the window."""
        inside = pl.col(column).is_between(self.start, self.end, closed="left")
        return inside & (pl.col("site") == self.site) if self.site is not None else inside


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker needs to know to do its share of a run. `sinks` is every name of `graph.SINKS` that is wanted."""

    id: str  # names what the run keeps in the exchange
    broker: str = ""  # "" for a run that reads none, and so for the others
    warehouse: str = ""
    archive: str = ""
    checkpoint: str = ""
    exchange: str = ""  # a folder or bucket that all workers reach; "" is the memory of this process
    ranges: list[PartitionRange] = []
    files: list[ArchivedFile] = []
    window: Window | None = None  # the events of the files that the run is about; stored ones are not looked up there
    inserted: list[str] = []  # the sinks that workers write to the warehouse ...
    staged: list[str]  # ... and those whose frames they leave in the exchange, for the driver
    token: str = ""  # begins the insert tokens
    batch: int = 0
    state: StateRef | None = None
    watermark: int = 0  # before the run, in ms
    erasures: Erasures = NONE  # the tombstones under which the run reads
    lookup_before: int | None = None  # events are looked up as they were before this batch
    shards: int = 1

    @property
    def sinks(self) -> frozenset[str]:
        """All sinks of the run."""
        return frozenset(self.inserted) | frozenset(self.staged)
