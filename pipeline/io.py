"""The ends of the graph: where a bounded run reads, and how its frames are written.

Feeds. A run reads ranges of a broker, files of the archive or rows of the warehouse. `ReadFeeds` is the source of
the graph: it reads each feed of the run, batch by batch.

Sinks. Every frame goes to the write that the run has for the sink, one block a shard. `warehouse_writes` are the
writes of a batch into the warehouse: which table, which rows, which token. `BackgroundInserts` does them in a thread of
its own, so that the graph goes on while the warehouse works.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import apache_beam as beam
import numpy as np
import polars as pl
from apache_beam.metrics import Metrics

from activity import blocks, columns
from activity.columns import COLUMNS
from activity.event import SESSION_TOPIC
from activity.rollup import hex16
from brokers.base import Broker, Columnar, Position, Record, Stored, StoredColumns, TopicPartition
from pipeline.checkpoint import PartitionRange
from pipeline.grouping import GroupFrames, Passing, Sharded, Step
from pipeline.plan import Window
from pipeline.run import AnyRaw, Lookup, Raw, RawColumns, RunRef, Write

_AT_ONCE = 20_000  # records of a batch
_RECORDS_ALONE = 200  # records of counts that are inserted one by one


def pieces(
    broker: Broker, partition: TopicPartition, after: Position | None, upto: Position, batch: int
) -> Iterator[list[Stored] | StoredColumns]:
    """The records in `(after, upto]`, in columns where the broker keeps them so; see `Columnar.read_columns`."""
    if isinstance(broker, Columnar):
        return broker.read_columns(partition, after, upto, batch)
    return iter(broker.read_range(partition, after, upto, batch))


@dataclass(frozen=True)
class BrokerFeed:
    """Feeds the records of a range in batches, in columns where the broker keeps them so. A record that the log has
    emptied has no bytes."""

    broker: Broker
    range: PartitionRange

    def batches(self) -> Iterator[AnyRaw]:
        """The records in batches. Raises `Gone` when retention has removed some, and `Unreachable`."""
        r = self.range
        partition = TopicPartition(r.topic, r.partition)
        after, upto = Position.parse(r.after) if r.after else None, Position.parse(r.upto)
        yield from self._together(pieces(self.broker, partition, after, upto, _AT_ONCE))

    def _raw(self, stored: list[Stored]) -> Raw:
        return Raw(
            self.range.topic,
            self.range.partition,
            [record.position for record in stored],
            [record.timestamp for record in stored],
            [record.value or b"" for record in stored],
        )

    def _together(self, pieces: Iterable[list[Stored] | StoredColumns]) -> Iterator[AnyRaw]:
        """What lies in columns comes in pieces of one publish, so several make a batch."""
        waiting: list[StoredColumns] = []
        events = 0
        for piece in pieces:
            if waiting and (isinstance(piece, list) or events >= _AT_ONCE):
                yield self._columns(waiting)
                waiting, events = [], 0
            if isinstance(piece, list):
                yield self._raw(piece)
            else:
                waiting.append(piece)
                events += piece.block.size
        if waiting:
            yield self._columns(waiting)

    def _columns(self, pieces: list[StoredColumns]) -> RawColumns:
        first = pieces[0].first
        firsts, times, rows = zip(*((p.first.order[0], p.timestamp, p.block.rows.height) for p in pieces), strict=True)
        frame = blocks.frame(*(its.block for its in pieces)).with_columns(
            offset=pl.col("row") + pl.Series(np.repeat(firsts, rows)),
            published_at=pl.Series(np.repeat(times, rows)),
        )
        records = sum(its.block.size for its in pieces)
        return RawColumns(self.range.topic, self.range.partition, first.incarnation, records, frame.drop("row"))


@dataclass(frozen=True)
class FrameFeed:
    """Feeds frames that are made when they are read: events of the warehouse, or files of the archive."""

    frames: Callable[[], Iterable[pl.DataFrame]]
    names: Collection[str] = tuple(COLUMNS)

    def batches(self) -> Iterator[pl.DataFrame]:
        """The frames, with the event columns `names`. Raises what making them raises."""
        for frame in self.frames():
            yield frame.select(self.names)


def _read_ahead(batches: Iterator[AnyRaw | pl.DataFrame]) -> Iterator[AnyRaw | pl.DataFrame]:
    """The batches, each of them read while the one before is worked on."""
    with ThreadPoolExecutor(1, "reading") as thread:
        coming = thread.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, batches, None)
            yield batch


class _Number(Step):
    def __init__(self, ref: RunRef, spread: bool) -> None:
        self.ref = ref
        self.spread = spread

    def process(self, _impulse: bytes) -> Iterator[list[int]]:
        numbers = list(range(len(self.ref.run().feeds)))
        yield from [[number] for number in numbers] if self.spread else [numbers]


class _Read(Step):
    def __init__(self, ref: RunRef) -> None:
        self.ref = ref

    def process(self, numbers: list[int]) -> Iterator[AnyRaw | pl.DataFrame]:
        feeds = self.ref.run().feeds
        yield from _read_ahead(batch for number in numbers for batch in feeds[number].batches())


class ReadFeeds(beam.PTransform):
    """The batches of each feed of the run. The graph has only the feeds' numbers in it.

    With `spread` Beam deals the numbers out to its workers; otherwise one of them reads all. Each reads one batch
    ahead."""

    def __init__(self, ref: RunRef, spread: bool = False) -> None:
        super().__init__()
        self.ref = ref
        self.spread = spread

    def expand(self, pbegin: beam.Pipeline) -> beam.PCollection:
        """Apply the step; see the class."""
        number = beam.ParDo(_Number(self.ref, self.spread)).with_output_types(list[int])
        numbers = pbegin | beam.Impulse() | "Number" >> number
        if self.spread:
            numbers = numbers | "Spread" >> beam.Reshuffle()
        return numbers | "Read" >> beam.ParDo(_Read(self.ref)).with_output_types(Passing)


class _Write(Step):
    def __init__(self, ref: RunRef, sink: str) -> None:
        self.ref = ref
        self.sink = sink
        self.rows = Metrics.counter(f"write_{sink}", "rows")

    def process(self, element: tuple[int, pl.DataFrame]) -> Iterator[Any]:
        shard, frame = element
        run = self.ref.run()
        run.writes[self.sink](frame if self.sink in run.with_ids else columns.as_texts(frame), str(shard))
        self.rows.inc(frame.height)
        return iter(())


class WriteShards(beam.PTransform):
    """Gives (shard, frame) to the run's write `sink`, with the number of the shard as the block."""

    def __init__(self, ref: RunRef, sink: str) -> None:
        super().__init__()
        self.ref = ref
        self.sink = sink

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply the step; see the class."""
        return pcoll | beam.ParDo(_Write(self.ref, self.sink))


class WriteGathered(beam.PTransform):
    """Gives frames without a shard (dead letters, the archive's) to the run's write `sink`, as one block."""

    def __init__(self, ref: RunRef, sink: str) -> None:
        super().__init__()
        self.ref = ref
        self.sink = sink

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply the step; see the class."""
        return (
            pcoll
            | "Key" >> beam.Map(_one_shard).with_output_types(Sharded)
            | "Gather" >> GroupFrames(self.ref)
            | "Write" >> beam.ParDo(_Write(self.ref, self.sink))
        )


def _one_shard(frame: pl.DataFrame) -> tuple[int, pl.DataFrame]:
    return 0, frame


class Inserts(Protocol):
    """The part of the warehouse that the steps use, see `Warehouse`."""

    def insert(self, table: str, frame: pl.DataFrame, token: str) -> None:
        """Write a frame as one block, once for its token."""

    def lookup_events(self, keys: pl.DataFrame, before_batch: int) -> pl.DataFrame:
        """The stored events with these keys, as they were before a batch."""


def warehouse_writes(warehouse: Inserts, token: str, batch: int) -> dict[str, Write]:
    """The writes of one batch into the warehouse, by sink.

    `token` names the batch and its checkpoint; together with the block it makes an insert happen once."""

    def into(table: str, with_batch: bool) -> Write:
        def write(frame: pl.DataFrame, block: str) -> None:
            rows = frame.with_columns(batch=pl.lit(batch, dtype=pl.UInt64)) if with_batch else frame
            if "deleted" in rows.columns:
                rows = rows.with_columns(pl.col("deleted").cast(pl.UInt8))
            warehouse.insert(table, rows, f"{table}/{token}/{block}")

        return write

    def outcomes(frame: pl.DataFrame, block: str) -> None:
        # A record that came twice, in this batch or another one, counts once: its name is the token. A backlog of very
        # many is one block, as each of them would cost a commit.
        counts = frame.unique(maintain_order=True)
        by_record = counts.partition_by("record", as_dict=True)
        blocks = {f"loss_account/{record}": rows for (record,), rows in by_record.items()}
        if len(blocks) > _RECORDS_ALONE:
            blocks = {f"loss_account/{token}/{block}": counts}
        for name, rows in blocks.items():
            warehouse.insert("loss_account", rows.drop("record"), name)

    return {
        "events": into("event_rows", True),
        "sessions": into("session_rows", True),
        "rollup_1m": into("rollup_1m_rows", False),
        "rollup_1h": into("rollup_1h_rows", False),
        "dead_letters": into("dead_letter_rows", True),
        "outcomes": outcomes,
    }


class BackgroundInserts:
    """A warehouse whose inserts a thread of its own does, in order; after one that failed it does no more.

    It is a context manager: at the end of the block the thread ends, once it has done what was handed to it."""

    def __init__(self, warehouse: Inserts) -> None:
        self._warehouse = warehouse
        self._thread = ThreadPoolExecutor(1, "writes")
        self._begun: list[Future[None]] = []
        self._failed = False

    def __enter__(self) -> BackgroundInserts:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def insert(self, table: str, frame: pl.DataFrame, token: str) -> None:
        """Have a block written after all that was handed over before."""
        self._begun.append(self._thread.submit(self._insert, table, frame, token))

    def lookup_events(self, keys: pl.DataFrame, before_batch: int) -> pl.DataFrame:
        """The stored events with these keys, at once."""
        return self._warehouse.lookup_events(keys, before_batch)

    def _insert(self, table: str, frame: pl.DataFrame, token: str) -> None:
        if self._failed:
            return
        try:
            self._warehouse.insert(table, frame, token)
        except BaseException:
            self._failed = True
            raise

    def wait(self) -> None:
        """Wait until everything is written. Raises what an insert raised."""
        for writing in self._begun:
            writing.result()


def warehouse_lookup(warehouse: Inserts, before_batch: int, outside: Window | None = None) -> Lookup:
    """Looks keys up among the events that were live before a batch, or among those of them outside of a window."""
    if outside is None:
        return lambda keys: warehouse.lookup_events(keys, before_batch)
    return lambda keys: warehouse.lookup_events(keys, before_batch).filter(~outside.within("occurred_at"))


def collecting(into: list[pl.DataFrame]) -> Write:
    """A write that appends the frames to `into`, whatever their block."""
    return lambda frame, _block: into.append(frame)


def publish_closed(broker: Broker, closed: pl.DataFrame) -> None:
    """Publish final sessions for other consumers. A crash may repeat them, with the same id and content."""
    if not closed.height:
        return
    readable = closed.with_columns(visitor=hex16("visitor"), session_id=hex16("session_id"))
    values = readable.write_ndjson().encode().splitlines()
    # As `visitor_key`.
    keys = readable.select(pl.concat_str("site", pl.lit("/"), "visitor").cast(pl.Binary)).to_series().to_list()
    broker.publish([Record(SESSION_TOPIC, key, value) for key, value in zip(keys, values, strict=True)])
