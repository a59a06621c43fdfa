"""Runs the graph in this process, compiled once for each combination of sinks and shards.

Building a Beam graph and translating it costs three times what running it over a micro-batch does. So a `Runner`
keeps what it has compiled, and a run takes a compiled graph that is idle. The process that loads makes one runner and
hands it to all that runs there: the loader, replay, rebuild and the archive.

Beam's runner is the in-process `FnApiRunner`; the default `DirectRunner` would first try to download another one.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from dataclasses import replace

import apache_beam as beam
import msgspec
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.worker.statesampler import StateSampler

from brokers.base import BrokerError
from pipeline.exchange import Exchange, MemoryExchange, TemporaryExchange, connect_exchange
from pipeline.graph import SINKS, build
from pipeline.io import ReadFeeds, WriteGathered, WriteShards
from pipeline.plan import Plan
from pipeline.portable import Executor, compile_graph
from pipeline.resources import Outcome, Parts, Written, bind
from pipeline.run import RUNS, Registered, Run, RunRef
from stores.backends import parse_location
from stores.base import StoreError

_SAMPLED_MS = 2
_GATHERED = ("archive", "dead_letters", "outcomes")


class CompiledGraph:
    """A graph translated to Beam's portable form. `construct` applies the transforms to an empty pipeline."""

    def __init__(self, construct: Callable[[beam.Pipeline], object]) -> None:
        self._options = PipelineOptions(flags=[])
        self._compiled = compile_graph(construct).SerializeToString()

    def execute(self) -> dict[str, int]:
        """Run to the end in this process; returns Beam's counters as {"step.counter": n}. Raises what Beam raises."""
        compiled = beam_runner_api_pb2.Pipeline.FromString(self._compiled)
        result = FnApiRunner().run_via_runner_api(compiled, self._options)
        result.wait_until_finish()
        counters = result.metrics().query()["counters"]
        return {f"{c.key.metric.namespace}.{c.key.metric.name}": int(c.committed) for c in counters}


class Runner:
    """Runs plans in this process, and keeps the graphs compiled for them. Safe for threads."""

    shards = 1  # of a micro-batch
    remote = False  # whether workers in other processes do the work

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By sinks and shards: graphs that no run is using, each with the handle that its steps carry.
        self._idle: dict[tuple[frozenset[str], int], list[tuple[str, CompiledGraph]]] = {}
        # A fault in a step is raised to the caller, who reports it once; Beam would log it at every attempt.
        logging.getLogger("apache_beam.runners.common").setLevel(logging.CRITICAL)
        # At the end of a bundle Beam waits until its sampler, which tells how long each step took, wakes up once more.
        # By default that is a tenth of what the bundle took, 200 ms at most; no option says otherwise.
        StateSampler.__init__.__defaults__ = (_SAMPLED_MS,)

    def run(self, run: Run) -> dict[str, int]:
        """Run the graph over the run's feeds into its writes; returns Beam's counters as {"step.counter": n}.

        Raises the `BrokerError` or `StoreError` of the step that failed; what a write wrote before stays written."""
        kind = (frozenset(run.writes), run.shards)
        with self._lock:
            idle = self._idle.setdefault(kind, [])
            found = idle.pop() if idle else None
        handle, graph = found or _compiled(*kind)
        own = _own_exchange(run) if run.exchange is None else None
        with RUNS.registered(handle, run if own is None else replace(run, exchange=own)):
            try:
                counters = graph.execute()
            except Exception as error:
                fault = _fault(error)
                if fault is error:
                    raise
                raise fault from None  # it is in the chain of `error`; as its cause, `error` would close a circle
            finally:
                if own is not None:
                    own.clear()
        with self._lock:
            idle.append((handle, graph))
        return counters

    def exchange_of(self, name: str) -> str:  # noqa: ARG002 (a runner with workers elsewhere needs it)
        """The URL of the exchange of a plan: the memory of this process."""
        return ""

    def execute(self, plan: Plan, parts: Parts) -> Outcome:
        """Run a plan over parts that are open here; see `run`. `parts.exchange` has the staged results."""
        return Outcome(self.run(bind(plan, parts)), parts.exchange, parts.exchange)

    def compile(self, sinks: frozenset[str], shards: int = 1) -> None:
        """Compile the graph for these sinks ahead of its first run, unless one is idle."""
        with self._lock:
            idle = self._idle.setdefault((sinks, shards), [])
            if not idle:
                idle.append(_compiled(sinks, shards))


class RemoteRunner(Runner):
    """Runs plans with workers in other processes, which exchange frames at a URL that all of them reach.

    Only the driver's own small runs (`run`) stay in this process."""

    remote = True

    def __init__(self, executor: Executor, exchange: str, shards: int) -> None:
        super().__init__()
        self.shards = shards
        self._executor = executor
        self._exchange = parse_location(exchange)

    def exchange_of(self, name: str) -> str:
        """The URL of the exchange of one attempt at a plan.

        Each has a place of its own: what an attempt left that was broken off, or what another driver of the same unit
        does meanwhile, does not mix with it."""
        return self._exchange.below(f"{name}/{uuid.uuid4().hex}")

    def execute(self, plan: Plan, parts: Parts) -> Outcome:
        """Run a plan on the workers. When its outcome is closed, the frames of all attempts at the plan go.

        Raises the `BrokerError` or `StoreError` of the step that failed, and `portable.RunnerError`."""
        words = Written(msgspec.json.encode(plan))
        compiled = compile_graph(lambda pipeline: construct(pipeline, words, plan.sinks, plan.shards, spread=True))
        attempts = connect_exchange(self._exchange.below(plan.id))
        return Outcome(self._executor.execute(compiled, plan.id), parts.exchange, attempts)

    def compile(self, sinks: frozenset[str], shards: int = 1) -> None:
        """Nothing: the plan is part of such a graph, so each is compiled anew."""

    def close(self) -> None:
        """End the workers that were started here."""
        self._executor.close()


def _compiled(sinks: frozenset[str], shards: int) -> tuple[str, CompiledGraph]:
    handle = f"graph-{uuid.uuid4().hex}"
    return handle, CompiledGraph(lambda pipeline: construct(pipeline, Registered(handle), sinks, shards))


def construct(pipeline: beam.Pipeline, ref: RunRef, sinks: frozenset[str], shards: int, spread: bool = False) -> None:
    """Build the graph of a run, from its feeds to these sinks; with `spread` the workers share the feeds."""
    ends = {name: (WriteGathered if name in _GATHERED else WriteShards)(ref, name) for name in SINKS if name in sinks}
    build(pipeline, ReadFeeds(ref, spread), ends, ref, shards)


def _own_exchange(run: Run) -> Exchange:
    return TemporaryExchange() if run.shards > 1 else MemoryExchange()


def _fault(error: BaseException) -> BaseException:
    """The error that a step raised.

    Beam raises it again with the step's name in its message, but as a RuntimeError where the error's constructor takes
    more than a message; callers that retry go by the type."""
    inner: BaseException | None = error
    seen: set[int] = set()
    while inner is not None and id(inner) not in seen:
        if isinstance(inner, BrokerError | StoreError):
            return inner
        seen.add(id(inner))
        inner = inner.__cause__ or inner.__context__
    return error
