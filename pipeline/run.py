"""A run: a plan with its parts opened, as the steps of the graph see it; and how a step finds it.

A Beam element should be small and a DoFn must pickle, while brokers, warehouses and a million rows of state are
neither. So a DoFn holds a reference: the plan itself in words, which a worker opens (`resources`), or the handle under
which a driver in the same process has registered the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import polars as pl

from activity.erasure import NONE, Erasures
from activity.open_events import OpenEvents
from brokers.base import Position
from pipeline.exchange import Exchange


class Raw(NamedTuple):
    """Records of one partition as the broker keeps them; `timestamps` are their publish times in ms."""

    topic: str
    partition: int
    positions: list[Position]
    timestamps: list[int]
    values: list[bytes]


class RawColumns(NamedTuple):
    """Records of one partition as the broker keeps them, events in columns.

    `frame` has `columns.COLUMNS`, `offset` (Int64) and `published_at` (ms); `records` counts emptied ones too."""

    topic: str
    partition: int
    incarnation: str
    records: int
    frame: pl.DataFrame


AnyRaw = Raw | RawColumns


class Feed(Protocol):
    """A bounded stretch of events: raw records, or frames that have at least the event columns."""

    def batches(self) -> Iterator[AnyRaw | pl.DataFrame]:
        """The stretch in batches of bounded size. Raises what the broker or the store raises."""


# A sink takes (frame, block): writing the same block twice has the effect of writing it once.
Write = Callable[[pl.DataFrame, str], None]
# Takes keys (`site`, `visitor`, `id_hi`, `id_lo`) and returns the stored events that have them, with all event columns.
Lookup = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass
class Run:
    """What the steps read, write and start from. `state` and `watermark` (ms) are those of the moment before it."""

    feeds: list[Feed]
    writes: Mapping[str, Write]  # by the name of the sink, see `graph.SINKS`
    state: OpenEvents = field(default_factory=OpenEvents)
    watermark: int = 0
    lookup: Lookup | None = None
    erasures: Erasures = NONE  # raw events that these cover are left out
    shards: int = 1
    with_ids: frozenset[str] = frozenset()  # sinks whose write takes columns as `pl.Categorical` too, see `columns`
    # None: the runner makes one for the run, in memory for one shard, in a temporary folder for many.
    exchange: Exchange | None = None


class RunRef(Protocol):
    """What a step holds: it travels with the step and finds the run where the step executes."""

    def run(self) -> Run:
        """The run, opened."""


@dataclass(frozen=True)
class Registered:
    """A run of this process, by handle."""

    handle: str

    def run(self) -> Run:
        """The run. Raises KeyError when it is over."""
        return RUNS.run(self.handle)


class Runs:
    """The runs that a driver of this process executes now, by handle."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}

    @contextmanager
    def registered(self, handle: str, run: Run) -> Iterator[None]:
        """Let the steps that carry `handle` find the run while the block lasts."""
        self._runs[handle] = run
        try:
            yield
        finally:
            del self._runs[handle]

    def run(self, handle: str) -> Run:
        """The run of a handle. Raises KeyError when it is over."""
        return self._runs[handle]


# The one object of this kind in a process: Beam pickles a DoFn and loads it again before it runs, so a DoFn can find
# the parts that stay in the process only by a name that a module gives it.
RUNS = Runs()
