"""Grouping frames by shard: the frames wait beside the graph, and Beam shuffles their names.

As elements they would be encoded, copied by each buffer on the way and decoded again, which is half of what a run over
a hundred thousand events costs. One shard is a micro-batch, bounded by its driver, and waits in memory; a run over
many shards may be of any size and waits in Arrow files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import apache_beam as beam

from pipeline.coding import Passing, Sharded
from pipeline.context import run_of


class _Put(beam.DoFn):
    def __init__(self, handle: str) -> None:
        self.handle = handle

    def process(self, element: Sharded) -> Iterator[tuple[int, str]]:
        shard, frame = element
        yield shard, run_of(self.handle).waiting.put(frame)


class _Take(beam.DoFn):
    def __init__(self, handle: str) -> None:
        self.handle = handle

    def process(self, element: tuple[int, Iterable[str]]) -> Iterator[Sharded]:
        shard, names = element
        yield shard, run_of(self.handle).waiting.take(names)


class GroupFrames(beam.PTransform):
    """(shard, frame) to (shard, one frame of all there are)."""

    def __init__(self, handle: str) -> None:
        super().__init__()
        self.handle = handle

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        return (
            pcoll
            | "Put" >> beam.ParDo(_Put(self.handle)).with_output_types(tuple[int, str])
            | "Group" >> beam.GroupByKey()
            | "Take" >> beam.ParDo(_Take(self.handle)).with_output_types(Passing)
        )
