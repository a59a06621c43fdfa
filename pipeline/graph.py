"""The one graph: raw records to sessions, rollups, events, dead letters and archive files.

Live micro-batches, replay, import, the rebuild of dirty days and the loader function all run this graph; they
differ in what they feed it, where it starts (state, watermark) and which sinks they give it. Steps whose output no
sink consumes are skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import apache_beam as beam

from activity import rollup
from pipeline import steps
from pipeline.run import RunRef

# Every name that `Run.writes` may have.
SINKS = (
    "archive", "dead_letters", "outcomes", *rollup.GRAINS,
    "late", "taken", "state", "sessions", "events", "tally",
)  # fmt: skip
# The sinks of a run that loads: those that its workers insert, and those that they leave for the driver.
INSERTED = ("dead_letters", "outcomes", *rollup.GRAINS, "sessions")
STAGED = ("late", "taken", "events", "tally")
LOADING = frozenset(INSERTED + STAGED)


def build(
    pipeline: beam.Pipeline,
    source: beam.PTransform,
    sinks: Mapping[str, beam.PTransform],
    ref: RunRef,
    shards: int,
) -> None:
    """Build the graph from `source` (a PTransform from nothing to batches) to `sinks` (by name, see SINKS).

    The steps find their run by `ref`; visitors are split into `shards`."""
    read = pipeline | "Source" >> source
    decoded = read | "Decode" >> steps.Decode(ref, positions="archive" in sinks)
    if "dead_letters" in sinks:
        decoded.dead | "WriteDeadLetters" >> sinks["dead_letters"]
    if "outcomes" in sinks:
        decoded.outcomes | "WriteOutcomes" >> sinks["outcomes"]
    if "archive" in sinks:
        decoded.events | "WriteArchive" >> sinks["archive"]
    if not sinks.keys() - {"dead_letters", "outcomes", "archive"}:
        return
    sharded = decoded.events | "KeyByShard" >> steps.KeyByShard(ref, shards)
    deduped = sharded | "Dedupe" >> steps.Dedupe(ref)
    for grain in rollup.GRAINS:
        if grain in sinks:
            deduped | f"RollUp[{grain}]" >> steps.RollUp(grain) | f"Write[{grain}]" >> sinks[grain]
    if {"sessions", "state", "taken", "late"} & sinks.keys():
        outcome = deduped | "Sessionize" >> steps.Sessionize(ref)
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
    if "tally" in sinks:
        deduped | "Tally" >> steps.Tally() | "WriteTally" >> sinks["tally"]
