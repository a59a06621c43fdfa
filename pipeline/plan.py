"""What a Beam run refers to: parts that stay in this process, named in the graph by a short handle.

A Beam element should be small and a DoFn must pickle, while brokers, warehouses and a million rows of state are
neither. So the graph carries a run's handle, and each DoFn looks the run up where it executes. The runner named
here is the in-process `FnApiRunner`: the default `DirectRunner` would first try to download another one.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import apache_beam as beam
import polars as pl
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.pipeline_utils import group_by_key_input_visitor
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import EmbeddedPythonEnvironment

from activity.session import empty_state
from brokers.base import Position
from pipeline.exchange import InFiles, InMemory, Waiting


class Raw(NamedTuple):
    """Records of one partition as the broker keeps them."""

    topic: str
    partition: int
    positions: list[Position]
    timestamps: list[int]
    values: list[bytes]


class Feed(Protocol):
    """A bounded stretch of events: raw records, or frames that have at least the event columns."""

    def batches(self) -> Iterator[Raw | pl.DataFrame]: ...


# A sink takes (frame, block): writing the same block twice has the effect of writing it once.
Write = Callable[[pl.DataFrame, str], None]
# The stored copies of the given (site, visitor, id)s.
Known = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass
class Run:
    """The parts of one bounded run. `state` and `watermark` are those of the moment before it."""

    feeds: list[Feed]
    writes: Mapping[str, Write]
    state: pl.DataFrame = field(default_factory=empty_state)
    watermark: int = 0
    known: Known | None = None
    # Which of the known copies the run reads again: it compares them with what it finds (the write `repairs`).
    compared: pl.Expr | None = None
    shards: int = 1
    waiting: Waiting = field(init=False)

    def __post_init__(self) -> None:
        self.waiting = InFiles() if self.shards > 1 else InMemory()


# A fault in a step is raised to whoever runs the graph, who says it once; Beam would print it on every try.
logging.getLogger("apache_beam.runners.common").setLevel(logging.CRITICAL)

_RUNS: dict[str, Run] = {}
_numbers = itertools.count()
_OPTIONS = PipelineOptions(flags=[])


@contextmanager
def registered(run: Run, handle: str | None = None) -> Iterator[str]:
    """Give the run a handle for as long as it lasts."""
    handle = handle or f"run-{next(_numbers)}"
    _RUNS[handle] = run
    try:
        yield handle
    finally:
        del _RUNS[handle]
        run.waiting.close()


def run_of(handle: str) -> Run:
    return _RUNS[handle]


class Graph:
    """A graph laid once and run often: laying and translating it costs three times what running it does."""

    def __init__(self, construct: Callable[[beam.Pipeline], Any]) -> None:
        pipeline = beam.Pipeline(runner=FnApiRunner(), options=_OPTIONS)
        construct(pipeline)
        pipeline.visit(group_by_key_input_visitor())
        environment = EmbeddedPythonEnvironment.default()
        self._laid = pipeline.to_runner_api(default_environment=environment).SerializeToString()

    def execute(self) -> dict[str, int]:
        """Run to the end in this process; returns Beam's counters as {"step.counter": n}."""
        result = FnApiRunner().run_via_runner_api(beam_runner_api_pb2.Pipeline.FromString(self._laid), _OPTIONS)
        result.wait_until_finish()
        counters = result.metrics().query()["counters"]
        return {f"{c.key.metric.namespace}.{c.key.metric.name}": int(c.committed) for c in counters}
