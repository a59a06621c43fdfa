"""The steps of the graph. An element is a batch of records or a frame of events, never one event.

Each step is a PTransform with counters of its own, named after it in Beam's metrics. From the grouping on, every
element belongs to one shard, and a shard has all events of its visitors, so deduplication and sessions are right
shard by shard. Deduplication comes after the grouping and not before it: all copies of an event share the visitor, so
one shuffle serves both.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import msgspec
import numpy as np
import polars as pl
from apache_beam import pvalue
from apache_beam.metrics import Metrics

from activity import codec, columns, rollup, session
from activity.columns import COLUMNS
from activity.definitions import DAY_MS
from activity.erasure import Erasures
from activity.event import DEAD_LETTER_TOPIC
from activity.refusal import NO_ENVELOPE, DeadLetter, OutcomeCounts
from activity.refusal import OUTCOMES as OUTCOMES_REASON
from pipeline.grouping import GroupFrames, Passing, Sharded, Step, typed
from pipeline.run import AnyRaw, Raw, RawColumns, RunRef

# Dead letters as frames, see `DeadLetter`; `received_at` is in ms, `sender` is JSON. What has no envelope has no more
# than the first four.
DEAD_LETTERS: dict[str, pl.DataType] = {
    "received_at": pl.Int64(),
    "topic": pl.String(),
    "reason": pl.String(),
    "bytes": pl.Binary(),
    "id": pl.String(),
    "site": pl.String(),
    "visitor": pl.String(),
    "detail": pl.String(),
    "length": pl.Int64(),
    "sender": pl.String(),
}
# What processes of the tracking service counted, by the name of the record that says so; `hour` is in ms.
OUTCOMES: dict[str, pl.DataType] = {
    "record": pl.String(),
    "hour": pl.Int64(),
    "site": pl.String(),
    "outcome": pl.String(),
    "reason": pl.String(),
    "events": pl.Int64(),
}

class _Decode(Step):
    def __init__(self, ref: RunRef, positions: bool) -> None:
        self.ref = ref
        self.positions = positions
        self.records = Metrics.counter("decode", "records")
        self.events = Metrics.counter("decode", "events")
        self.dead = Metrics.counter("decode", "dead")
        self.erased = Metrics.counter("decode", "erased")

    def process(self, batch: AnyRaw | pl.DataFrame) -> Iterator[Any]:
        if isinstance(batch, pl.DataFrame):
            self.records.inc(batch.height)
            self.events.inc(batch.height)
            yield batch
        elif isinstance(batch, RawColumns):
            self.records.inc(batch.records)
            yield from self._kept(batch.frame, batch.records, batch)
        elif batch.topic == DEAD_LETTER_TOPIC:
            self.records.inc(len(batch.values))
            yield from self._letters(batch)
        else:
            self.records.inc(len(batch.values))
            frame, bad = columns.decode(batch.values)
            values = batch.values
            letters = [bare(batch.timestamps[i], batch.topic, _why(values[i]), values[i]) for i in bad if values[i]]
            yield from self._dead(letters)
            yield from self._kept(frame, len(values) - len(letters), batch)

    def _letters(self, batch: Raw) -> Iterator[Any]:
        found = [opened(v, t) for v, t in zip(batch.values, batch.timestamps, strict=True) if v]
        self._erased(len(batch.values) - len(found))
        counts = [each for each in found if isinstance(each, OutcomeCounts)]
        if counts:
            yield pvalue.TaggedOutput("outcomes", _counted(counts))
        yield from self._dead([each for each in found if not isinstance(each, OutcomeCounts)])

    def _dead(self, letters: list[Letter]) -> Iterator[Any]:
        dead = [each for each in letters if not is_forgotten(each, self.ref.run().erasures)]
        self._erased(len(letters) - len(dead))
        if dead:
            self.dead.inc(len(dead))
            yield pvalue.TaggedOutput("dead", pl.DataFrame(dead, schema=DEAD_LETTERS, orient="row"))

    def _kept(self, frame: pl.DataFrame, records: int, batch: AnyRaw) -> Iterator[pl.DataFrame]:
        """The events that are left of so many records: not forgotten, nor emptied in the log."""
        kept = self.ref.run().erasures.kept(frame)
        self._erased(records - kept.height)
        if kept.height:
            self.events.inc(kept.height)
            yield _with_positions(kept, batch) if self.positions else kept.select(COLUMNS.keys())

    def _erased(self, records: int) -> None:
        if records:
            self.erased.inc(records)


def _with_positions(frame: pl.DataFrame, batch: AnyRaw) -> pl.DataFrame:
    if isinstance(batch, RawColumns):
        position = pl.concat_str(pl.col("offset").cast(pl.String), pl.lit(f"@{batch.incarnation}"))
        published_at = pl.col("published_at")
    else:
        rows = frame["row"]
        position = pl.lit(pl.Series([str(batch.positions[row]) for row in rows], dtype=pl.String))
        published_at = pl.lit(pl.Series(batch.timestamps, dtype=pl.Int64).gather(rows))
    return frame.select(
        *COLUMNS,
        topic=pl.lit(batch.topic),
        partition=pl.lit(batch.partition, dtype=pl.Int32),
        position=position,
        published_at=published_at,
    )


def _why(value: bytes) -> str:
    try:
        codec.decode(value)
    except codec.Undecodable as error:
        return error.reason
    return "does not fit the columns"


Letter = tuple[Any, ...]  # a row of DEAD_LETTERS


def opened(value: bytes, timestamp: int) -> Letter | OutcomeCounts:
    """What a record of the dead-letter topic holds; `timestamp` (ms) is when it was published."""
    try:
        letter = msgspec.json.decode(value, type=DeadLetter)
        received = base64.b64decode(letter.bytes, validate=True)
        if letter.reason == OUTCOMES_REASON:
            return msgspec.json.decode(received, type=OutcomeCounts)
        sender = bytes(letter.sender).decode()
    except (msgspec.MsgspecError, binascii.Error, ValueError):
        return bare(timestamp, DEAD_LETTER_TOPIC, NO_ENVELOPE, value)
    length = len(received) if letter.length is None else letter.length
    first = (letter.received_at, letter.where, letter.reason, received)
    return (*first, letter.id, letter.site, letter.visitor, letter.detail, length, sender)


def bare(received_at: int, topic: str, reason: str, received: bytes) -> Letter:
    """A dead letter without an envelope; `received_at` is in ms."""
    return received_at, topic, reason, received, "", "", "", "", len(received), "{}"


def is_forgotten(letter: Letter, erasures: Erasures) -> bool:
    """Whether a tombstone covers a dead letter, by visitor or by site, or it names somebody who is forgotten."""
    if not erasures:
        return False
    received_at, _, _, received, _, site, visitor, _, _, sender = letter
    if erasures.covers(site, visitor, received_at):
        return True
    # The sender's visitors at other sites, too: an id is of one site alone.
    return erasures.named(site, [received], received_at) or erasures.named("", [sender.encode()], received_at)


def _counted(records: list[OutcomeCounts]) -> pl.DataFrame:
    rows = [(record.id, *count) for record in records for count in record.counts]
    return pl.DataFrame(rows, schema=OUTCOMES, orient="row")


class Decode(beam.PTransform):
    """Raw records to event frames (main output), dead letters (`dead`, `DEAD_LETTERS`) and the counts of the tracking
    service (`outcomes`, `OUTCOMES`). Frames pass unchanged.

    With `positions` the event frames also have `topic`, `partition`, `position` and `published_at` (ms). Left out and
    counted as `erased` are events that the run's tombstones cover, and records that a log has emptied."""

    def __init__(self, ref: RunRef, positions: bool = False) -> None:
        super().__init__()
        self.ref = ref
        self.positions = positions

    def expand(self, pcoll: beam.PCollection) -> Any:
        """Apply the step; see the class."""
        decode = beam.ParDo(_Decode(self.ref, self.positions)).with_output_types(pl.DataFrame)
        tags = ["dead", "outcomes"]
        return typed(pcoll | decode.with_outputs(*tags, main="events"), tags, pl.DataFrame)


# So many rows are sorted by shard at a time. Texts are scattered in memory: those of 65 thousand rows stay in the
# processor's cache, with half a million rows each row takes two and a half times as long.
_AT_ONCE = 65_536


class _Shard(Step):
    def __init__(self, shards: int) -> None:
        self.shards = shards
        self.events = Metrics.counter("key_by_shard", "events")

    def process(self, frame: pl.DataFrame) -> Iterator[Sharded]:
        self.events.inc(frame.height)
        if self.shards == 1:
            yield 0, frame
            return
        frame = columns.as_ids(frame)
        parts: list[list[pl.DataFrame]] = [[] for _ in range(self.shards)]
        for some in frame.iter_slices(_AT_ONCE):
            shard = (some["visitor"].to_numpy() % self.shards).astype(np.uint16)
            ordered = some[np.argsort(shard, kind="stable")]
            ends = np.cumsum(np.bincount(shard, minlength=self.shards))
            for number, end in enumerate(ends):
                start = ends[number - 1] if number else 0
                if end > start:
                    parts[number].append(ordered.slice(start, end - start))
        for number, pieces in enumerate(parts):
            if pieces:
                yield number, pl.concat(pieces)


class KeyByShard(beam.PTransform):
    """Event frames to (shard, frame): one frame a shard, and all events of a visitor in one shard."""

    def __init__(self, ref: RunRef, shards: int) -> None:
        super().__init__()
        self.ref = ref
        self.shards = shards

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply the step; see the class."""
        keyed = pcoll | "Split" >> beam.ParDo(_Shard(self.shards)).with_output_types(Sharded)
        return keyed | "Group" >> GroupFrames(self.ref, ahead=self.shards > 1)


class _Dedupe(Step):
    def __init__(self, ref: RunRef) -> None:
        self.ref = ref
        self.fresh = Metrics.counter("dedupe", "fresh")
        self.duplicates = Metrics.counter("dedupe", "duplicates")
        self.retracted = Metrics.counter("dedupe", "retracted")

    def process(self, element: Sharded) -> Iterator[tuple[int, session.Deduped]]:
        shard, batch = element
        if batch.height >= columns.MANY:
            batch = columns.as_ids(batch)
        run = self.ref.run()
        stored = run.lookup(columns.as_texts(batch.select(session.IDENTITY))) if run.lookup else batch.clear()
        deduped = session.dedupe(batch, columns.like(stored, batch))
        self.fresh.inc(deduped.fresh.height)
        self.duplicates.inc(deduped.duplicates)
        self.retracted.inc(deduped.retracted.height)
        yield shard, deduped


class Dedupe(beam.PTransform):
    """(shard, frame) to (shard, Deduped): one copy of each event is left, of the batch and of what is stored."""

    def __init__(self, ref: RunRef) -> None:
        super().__init__()
        self.ref = ref

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply the step; see the class."""
        return pcoll | beam.ParDo(_Dedupe(self.ref)).with_output_types(Passing)


class _Sessionize(Step):
    def __init__(self, ref: RunRef) -> None:
        self.ref = ref
        self.changes = Metrics.counter("sessionize", "changes")
        self.late = Metrics.counter("sessionize", "late")

    def process(self, element: tuple[int, session.Deduped]) -> Iterator[Any]:
        shard, deduped = element
        run = self.ref.run()
        persons = deduped.fresh.filter(pl.col("bot") == "") if "bot" in deduped.fresh.columns else deduped.fresh
        before = columns.like(run.state.of(persons["visitor"]), persons)
        step = session.advance(before, persons, run.watermark)
        self.changes.inc(step.changes.height)
        self.late.inc(step.late.height)
        yield shard, step.changes
        if step.late.height:
            yield pvalue.TaggedOutput("late", (shard, step.late))
        yield pvalue.TaggedOutput("taken", (shard, step.taken))
        yield pvalue.TaggedOutput("state", (shard, step.state))


class Sessionize(beam.PTransform):
    """(shard, Deduped) to (shard, changed session rows), the main output `changes`.

    Tagged outputs: `late` events, `taken` events and the `state` of the shard's visitors after it, all in
    `session.STATE_COLUMNS`. The run's own state is only read."""

    def __init__(self, ref: RunRef) -> None:
        super().__init__()
        self.ref = ref

    def expand(self, pcoll: beam.PCollection) -> Any:
        """Apply the step; see the class."""
        advance = beam.ParDo(_Sessionize(self.ref)).with_output_types(Sharded)
        tags = ["late", "taken", "state"]
        return typed(pcoll | advance.with_outputs(*tags, main="changes"), tags, Sharded)


class _RollUp(Step):
    def __init__(self, grain: str) -> None:
        self.grain = grain
        self.rows = Metrics.counter("roll_up", f"{grain}_rows")

    def process(self, element: tuple[int, session.Deduped]) -> Iterator[Sharded]:
        shard, deduped = element
        rows = rollup.roll_up(deduped.fresh, deduped.retracted, rollup.GRAINS[self.grain])
        self.rows.inc(rows.height)
        yield shard, rows


class RollUp(beam.PTransform):
    """(shard, Deduped) to (shard, signed counts) of one grain (`rollup.COLUMNS`)."""

    def __init__(self, grain: str) -> None:
        super().__init__()
        self.grain = grain

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply the step; see the class."""
        return pcoll | beam.ParDo(_RollUp(self.grain)).with_output_types(Sharded)


class EventRows(beam.PTransform):
    """(shard, Deduped) to (shard, event rows): the fresh events, and the retracted ones as `deleted`."""

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply the step; see the class."""
        return pcoll | beam.MapTuple(_event_rows).with_output_types(Sharded)


def _event_rows(shard: int, deduped: session.Deduped) -> Sharded:
    fresh = deduped.fresh.with_columns(deleted=pl.lit(False))
    if not deduped.retracted.height:
        return shard, fresh
    # A new copy on the same day has the key of the old one, which replaces that row already.
    keys = [*session.IDENTITY, "day"]
    day = pl.col("occurred_at") // DAY_MS
    taken = deduped.fresh.select(*session.IDENTITY, day=day)
    moved = deduped.retracted.with_columns(day=day).join(taken, on=keys, how="anti")
    return shard, pl.concat([moved.select(fresh.columns[:-1]).with_columns(deleted=pl.lit(True)), fresh])


class Tally(beam.PTransform):
    """(shard, Deduped) to (shard, one row): how many events of the shard are `fresh` and how many `retracted`.

    Unlike a counter of Beam it says so once, however often an engine repeats the work."""

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply the step; see the class."""
        return pcoll | beam.MapTuple(_tally).with_output_types(Sharded)


def _tally(shard: int, deduped: session.Deduped) -> Sharded:
    return shard, pl.DataFrame({"fresh": [deduped.fresh.height], "retracted": [deduped.retracted.height]})
