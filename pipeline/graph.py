"""The one graph: raw records to sessions, rollups, events, dead letters and archive files.

Live micro-batches, replay, import, the rebuild of marked days and the loader function all run this graph; they
differ in what they feed it, where it starts (state, watermark) and which sinks they give it. A step of which no
sink wants the outcome is left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import apache_beam as beam

from activity import rollup
from brokers.base import BrokerError
from pipeline import plan, steps
from pipeline.io import ReadFeeds, WriteGathered, WriteShards
from pipeline.plan import Graph, Run
from stores.base import StoreError


class Rules(NamedTuple):
    """What the steps of a graph go by: where they find their run, and into how many shards visitors are split."""

    handle: str
    shards: int


# Every name that `Run.writes` may hold.
SINKS = ("archive", "dead_letters", *rollup.GRAINS, "late", "taken", "state", "sessions", "events", "repairs", "met")
# Those of a run that compares with what is stored, and those of one that loads.
COMPARING = frozenset({"repairs", "met"})
LOADING = frozenset(SINKS) - COMPARING - {"archive"}


def build(
    pipeline: beam.Pipeline, source: beam.PTransform, sinks: Mapping[str, beam.PTransform], rules: Rules
) -> None:
    """Lay the graph from `source` (a PTransform from nothing to batches) to `sinks` (by name, see SINKS)."""
    handle, shards = rules
    read = pipeline | "Source" >> source
    decoded = read | "Decode" >> steps.Decode(positions="archive" in sinks)
    if "dead_letters" in sinks:
        decoded.dead | "WriteDeadLetters" >> sinks["dead_letters"]
    if "archive" in sinks:
        decoded.events | "WriteArchive" >> sinks["archive"]
    if not sinks.keys() - {"dead_letters", "archive"}:
        return
    sharded = decoded.events | "KeyByShard" >> steps.KeyByShard(handle, shards)
    deduped = sharded | "Dedupe" >> steps.Dedupe(handle)
    for grain in rollup.GRAINS:
        if grain in sinks:
            deduped | f"RollUp[{grain}]" >> steps.RollUp(grain) | f"Write[{grain}]" >> sinks[grain]
    if {"sessions", "state", "taken", "late"} & sinks.keys():
        outcome = deduped | "Sessionize" >> steps.Sessionize(handle, shards)
        tagged: dict[str, Any] = {
            "late": outcome.late,
            "taken": outcome.taken,
            "state": outcome.state,
            "sessions": outcome.changes,
        }
        for name, pcoll in tagged.items():
            if name in sinks:
                pcoll | f"Write{name.title()}" >> sinks[name]
    if "events" in sinks:
        deduped | "EventRows" >> steps.EventRows() | "WriteEvents" >> sinks["events"]
    if COMPARING & sinks.keys():
        compared = deduped | "Compare" >> steps.Compare()
        for name, pcoll in (("repairs", compared.repairs), ("met", compared.met)):
            if name in sinks:
                pcoll | f"Write{name.title()}" >> sinks[name]


_GATHERED = ("archive", "dead_letters")
# Laid graphs that no run is using, by what they were laid for.
_idle: dict[tuple[frozenset[str], int], list[tuple[str, Graph]]] = {}
_numbers = itertools.count()


def run(parts: Run) -> dict[str, int]:
    """Run the graph over the parts' feeds into the parts' writes; returns Beam's counters, {"step.counter": n}."""
    kind = (frozenset(parts.writes), parts.shards)
    idle = _idle.setdefault(kind, [])
    handle, graph = idle.pop() if idle else _lay(*kind)
    with plan.registered(parts, handle):
        try:
            counters = graph.execute()
        except Exception as error:
            raise _fault(error) from error
    idle.append((handle, graph))
    return counters


def lay(wanted: frozenset[str], shards: int = 1) -> None:
    """Lay the graph for these writes, if none lies idle, ahead of its first run."""
    idle = _idle.setdefault((wanted, shards), [])
    if not idle:
        idle.append(_lay(wanted, shards))


def _fault(error: BaseException) -> BaseException:
    """What went wrong in a step. Beam raises it again with the step's name, but as a RuntimeError where the error's
    constructor takes more than a message; who retries goes by the type."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, BrokerError | StoreError):
        inner = inner.__cause__ or inner.__context__
    return inner or error


def _lay(wanted: frozenset[str], shards: int) -> tuple[str, Graph]:
    handle = f"flow-{next(_numbers)}"
    sinks = {
        name: (WriteGathered if name in _GATHERED else WriteShards)(handle, name) for name in SINKS if name in wanted
    }
    return handle, Graph(lambda pipeline: build(pipeline, ReadFeeds(handle), sinks, Rules(handle, shards)))
