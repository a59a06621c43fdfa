"""Where a bounded run reads: ranges of a broker, files of the archive, rows of the warehouse, Parquet files.

The end of the graph: every frame to the write that the run names, one block a shard.

The run's writes into the warehouse: which table, which rows, which token.

Grouping frames by shard: the frames wait beside the graph, and Beam shuffles their names.

As elements they would be encoded, copied by each buffer on the way and decoded again, which is half of what a run over
a hundred thousand events costs. One shard is a micro-batch, bounded by its driver, and waits in memory; a run over
many shards may be of any size and waits in Arrow files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import polars as pl
from apache_beam.metrics import Metrics

from activity.columns import COLUMNS
from brokers.base import Broker, Position, TopicPartition
from pipeline.checkpoint import Range
from pipeline.exchange import Passing, Sharded
from pipeline.plan import Known, Raw, Write, run_of
from stores.warehouse import Warehouse


@dataclass(frozen=True)
class BrokerFeed:
    broker: Broker
    range: Range
    batch: int = 20_000

    def batches(self) -> Iterator[Raw]:
        r = self.range
        partition = TopicPartition(r.topic, r.partition)
        after, upto = Position.parse(r.after) if r.after else None, Position.parse(r.upto)
        for stored in self.broker.read_range(partition, after, upto, self.batch):
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


def writes(warehouse: Warehouse, token: str, batch: int) -> dict[str, Write]:
    """Writes of one batch, by sink. `token` says which batch of which checkpoint; the block completes it."""

    def into(table: str, mark: bool) -> Write:
        def write(frame: pl.DataFrame, block: str) -> None:
            rows = frame.with_columns(batch=pl.lit(batch, dtype=pl.UInt64)) if mark else frame
            if "deleted" in rows.columns:
                rows = rows.with_columns(pl.col("deleted").cast(pl.UInt8))
            warehouse.insert(table, rows, f"{table}/{token}/{block}")

        return write

    return {
        "events": into("event_rows", True),
        "sessions": into("session_rows", True),
        "rollup_1m": into("rollup_1m_rows", False),
        "rollup_1h": into("rollup_1h_rows", False),
        "dead_letters": into("dead_letter_rows", True),
    }


class Behind:
    """Writes in a thread of their own, in order, while the run goes on; none after one that failed.

    Use it as a context manager."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "writes")
        self._begun: list[Future[None]] = []
        self._failed = False

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def __call__(self, write: Write) -> Write:
        """The write as one that returns before it is done."""
        return lambda frame, block: self._begun.append(self._thread.submit(self._write, write, frame, block))

    def _write(self, write: Write, frame: pl.DataFrame, block: str) -> None:
        if self._failed:
            return
        try:
            write(frame, block)
        except BaseException:
            self._failed = True
            raise

    def wait(self) -> None:
        """Until all is written; raises what a write raised."""
        for writing in self._begun:
            writing.result()


def known(warehouse: Warehouse, before_batch: int) -> Known:
    return lambda keys: warehouse.known_events(keys, before_batch)


def collecting(into: list[pl.DataFrame]) -> Callable[[pl.DataFrame, str], None]:
    """A write that keeps the frames instead."""
    return lambda frame, _block: into.append(frame)


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
