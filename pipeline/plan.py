"""The plan of one bounded run: what it reads, what it writes and where it starts; and how a step finds it.

A Beam element should be small and a DoFn must pickle, while brokers, warehouses and a million rows of state are
neither. So the graph carries only a handle, a short text, and a DoFn looks up the run of that handle where it
executes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import polars as pl

from activity.open_events import OpenEvents
from brokers.base import Position


class Raw(NamedTuple):
    """Records of one partition as the broker keeps them; `timestamps` are their publish times in ms."""

    topic: str
    partition: int
    positions: list[Position]
    timestamps: list[int]
    values: list[bytes]


class Feed(Protocol):
    """A bounded stretch of events: raw records, or frames that have at least the event columns."""

    def batches(self) -> Iterator[Raw | pl.DataFrame]:
        """The stretch in batches of bounded size. Raises what the broker or the store raises."""


# A sink takes (frame, block): writing the same block twice has the effect of writing it once.
Write = Callable[[pl.DataFrame, str], None]
# Takes keys (`site`, `visitor`, `id_hi`, `id_lo`) and returns the stored events that have them, with all event columns.
Lookup = Callable[[pl.DataFrame], pl.DataFrame]


class Exchange(Protocol):
    """Where the frames of a run wait to be grouped. Beam shuffles their names in their stead."""

    def write(self, frame: pl.DataFrame) -> str:
        """Keep a frame; returns its name. Raises `Unusable` when there is no room."""

    def read(self, names: Iterable[str]) -> pl.DataFrame:
        """The named frames, one after the other, as one. Each can be read once."""

    def close(self) -> None:
        """Drop every frame that was not read."""


@dataclass
class Run:
    """The plan of one run. `state` and `watermark` (ms) are those of the moment before it."""

    feeds: list[Feed]
    writes: Mapping[str, Write]  # by the name of the sink, see `graph.SINKS`
    state: OpenEvents = field(default_factory=OpenEvents)
    watermark: int = 0
    lookup: Lookup | None = None
    # Which of the stored events the run reads again: it compares them with what it finds (the sink `repairs`).
    compared: pl.Expr | None = None
    shards: int = 1


class Runs:
    """The runs that execute in this process now, by handle."""

    def __init__(self) -> None:
        self._runs: dict[str, tuple[Run, Exchange]] = {}

    @contextmanager
    def registered(self, handle: str, run: Run, exchange: Exchange) -> Iterator[None]:
        """Let the steps that carry `handle` find the run while the block lasts; the exchange is closed after it."""
        self._runs[handle] = run, exchange
        try:
            yield
        finally:
            del self._runs[handle]
            exchange.close()

    def run(self, handle: str) -> Run:
        """The run of a handle. Raises KeyError when it is over."""
        return self._runs[handle][0]

    def exchange(self, handle: str) -> Exchange:
        """The exchange of a run. Raises KeyError when it is over."""
        return self._runs[handle][1]


# The one object of this kind in a process: Beam pickles a DoFn and loads it again before it runs, so a DoFn can find
# the parts that stay in the process only by a name that a module gives it.
RUNS = Runs()
