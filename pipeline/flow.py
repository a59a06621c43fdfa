"""The one graph: raw records to sessions, rollups, events, dead letters and archive files.

Live micro-batches, replay, import, the rebuild of marked days and the loader function all run this graph; they
differ in what they feed it, where it starts (state, watermark) and which sinks they give it. A step of which no
sink wants the outcome is left out.

The order of the sinks of a shard matters when an intent is run again after a crash: what an event replaces is
looked up among the stored events, and a merge may drop the replaced row once the new one is in. So event rows
are written last, after everything that is computed from the look-up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import apache_beam as beam

from activity import rollup
from pipeline import context, steps
from pipeline.context import Run
from pipeline.sinks import WriteGathered, WriteShards
from pipeline.source import ReadFeeds

# Every name that `Run.writes` may hold.
SINKS = ("archive", "dead_letters", *rollup.GRAINS, "late", "taken", "state", "sessions", "events")


def build(pipeline: beam.Pipeline, source: beam.PTransform, sinks: Mapping[str, beam.PTransform], handle: str) -> None:
    """Lay the graph from `source` (a PTransform from nothing to batches) to `sinks` (by name, see SINKS)."""
    run = context.run_of(handle)
    read = pipeline | "Source" >> source
    decoded = read | "Decode" >> steps.Decode(positions="archive" in sinks)
    if "dead_letters" in sinks:
        decoded.dead | "WriteDeadLetters" >> sinks["dead_letters"]
    if "archive" in sinks:
        decoded.events | "WriteArchive" >> sinks["archive"]
    if not sinks.keys() - {"dead_letters", "archive"}:
        return
    sharded = decoded.events | "KeyByShard" >> steps.KeyByShard(run.shards)
    deduped = sharded | "Dedupe" >> steps.Dedupe(handle)
    for grain in rollup.GRAINS:
        if grain in sinks:
            deduped | f"RollUp[{grain}]" >> steps.RollUp(grain) | f"Write[{grain}]" >> sinks[grain]
    if {"sessions", "state", "taken", "late"} & sinks.keys():
        outcome = deduped | "Sessionize" >> steps.Sessionize(handle, run.shards)
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


def run(parts: Run) -> dict[str, int]:
    """Run the graph over the parts' feeds into the parts' writes; returns Beam's counters, {"step.counter": n}."""
    gathered = ("archive", "dead_letters")
    with context.registered(parts) as handle:
        sinks = {
            name: (WriteGathered if name in gathered else WriteShards)(handle, name)
            for name in SINKS
            if name in parts.writes
        }
        return context.execute(lambda p: build(p, ReadFeeds(handle, parts.feeds), sinks, handle))
