"""The end of the graph: every frame to the write that the run names, one block a shard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import polars as pl
from apache_beam.metrics import Metrics

from pipeline.coding import Sharded
from pipeline.context import run_of
from pipeline.grouping import GroupFrames


class _Write(beam.DoFn):
    def __init__(self, handle: str, sink: str) -> None:
        self.handle = handle
        self.sink = sink
        self.rows = Metrics.counter(f"write_{sink}", "rows")

    def process(self, element: tuple[int, pl.DataFrame]) -> Iterator[Any]:
        shard, frame = element
        run_of(self.handle).writes[self.sink](frame, str(shard))
        self.rows.inc(frame.height)
        return iter(())


class WriteShards(beam.PTransform):
    """(shard, frame) to the run's write `sink`; the shard's number names the block."""

    def __init__(self, handle: str, sink: str) -> None:
        super().__init__()
        self.handle = handle
        self.sink = sink

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        return pcoll | beam.ParDo(_Write(self.handle, self.sink))


class WriteGathered(beam.PTransform):
    """Frames that no shard has grouped (dead letters, the archive's) gathered into one block."""

    def __init__(self, handle: str, sink: str) -> None:
        super().__init__()
        self.handle = handle
        self.sink = sink

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        return (
            pcoll
            | "Key" >> beam.Map(_one_shard).with_output_types(Sharded)
            | "Gather" >> GroupFrames(self.handle)
            | "Write" >> beam.ParDo(_Write(self.handle, self.sink))
        )


def _one_shard(frame: pl.DataFrame) -> tuple[int, pl.DataFrame]:
    return 0, frame
