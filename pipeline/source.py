"""Where a bounded run reads: ranges of a broker, files of the archive, rows of the warehouse, Parquet files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import polars as pl

from activity.columns import COLUMNS
from brokers.base import Broker, Position
from pipeline.coding import Passing
from pipeline.context import Raw, run_of
from pipeline.head import Range


@dataclass(frozen=True)
class BrokerFeed:
    broker: Broker
    range: Range
    batch: int = 20_000

    def batches(self) -> Iterator[Raw]:
        r = self.range
        after = Position.parse(r.after) if r.after else None
        for stored in self.broker.read_range(r.topic, r.partition, after, Position.parse(r.upto), self.batch):
            yield Raw(
                r.topic,
                r.partition,
                [record.position for record in stored],
                [record.timestamp for record in stored],
                [record.value or b"" for record in stored],
            )


@dataclass(frozen=True)
class FrameFeed:
    """Frames made when they are read, such as the warehouse's own events or a file of the archive."""

    frames: Callable[[], Iterable[pl.DataFrame]]

    def batches(self) -> Iterator[pl.DataFrame]:
        for frame in self.frames():
            yield frame.select(COLUMNS.keys())


@dataclass(frozen=True)
class ParquetFeed:
    """Files with at least `needed`; columns that a file does not have are not missed by what runs on them."""

    paths: Sequence[Path]
    needed: Sequence[str]
    rows: int = 500_000

    def batches(self) -> Iterator[pl.DataFrame]:
        for path in self.paths:
            whole = pl.scan_parquet(path).select(self.needed)
            yield from whole.collect().iter_slices(self.rows)


class _ReadFeeds(beam.DoFn):
    def __init__(self, handle: str) -> None:
        self.handle = handle

    def process(self, _impulse: bytes) -> Iterator[Raw | pl.DataFrame]:
        for feed in run_of(self.handle).feeds:
            yield from feed.batches()


class ReadFeeds(beam.PTransform):
    """Each feed of the run, batch by batch. Nothing of them lies in the graph, which is the same for all."""

    def __init__(self, handle: str) -> None:
        super().__init__()
        self.handle = handle

    def expand(self, pbegin: beam.Pipeline) -> beam.PCollection:
        return pbegin | beam.Impulse() | "Read" >> beam.ParDo(_ReadFeeds(self.handle)).with_output_types(Passing)
