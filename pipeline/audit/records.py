"""The log's side of the audit: which events lie in it that were received in some hours, and where.

Records lie in the order of publication, which comes after receipt: mostly at once, but a record that waited in a spool
comes hours later, and clocks differ. So a near look reads what was published around the hours; a whole look reads
everything, and finds what is anywhere.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeVar

import polars as pl

from activity import blocks, columns
from activity.columns import COLUMNS, RECEIPTS
from activity.definitions import HOUR_MS, MINUTE_MS
from activity.erasure import NEEDED, NONE, Erasures
from activity.event import DEAD_LETTER_TOPIC
from activity.refusal import OutcomeCounts
from brokers.base import Broker, Gone, Position, Stored, StoredColumns, TopicPartition
from pipeline.io import pieces
from pipeline.live import READ_TOPICS
from pipeline.steps import bare, is_forgotten, opened
from stores.base import Positions
from stores.receipts import Span

T = TypeVar("T")
Piece = list[Stored] | StoredColumns

_BEFORE_MS, _AFTER_MS = 5 * MINUTE_MS, 10 * MINUTE_MS
_AT_ONCE = 60_000  # records
_TRIES = 5  # while retention removes what is being read

# Where a record is (`chunk`, and `row` in it), and whether the loader and the archive have come as far. A tombstone
# covers what is `erased`; where that is the one of its site, it has `expired`.
PLACE: dict[str, pl.DataType] = {
    "chunk": pl.UInt32(),
    "row": pl.UInt32(),
    "committed": pl.Boolean(),
    "archived": pl.Boolean(),
}
EVENTS = {**{name: COLUMNS[name] for name in RECEIPTS}, **PLACE, "hour": pl.Int64(), "erased": pl.Boolean(),
          "expired": pl.Boolean()}  # fmt: skip
LETTERS = {"received_at": pl.Int64(), "records": pl.Boolean(), **PLACE, "hour": pl.Int64()}


class Look(NamedTuple):
    """Which records are read, all or those published around a span, and whether each is decoded as the loader does.

    `erasures` tell which events were forgotten."""

    whole: bool = False
    exact: bool = False
    erasures: Erasures = NONE


class Chunk(NamedTuple):
    """Some records of a partition in a row, `(after, upto]`."""

    partition: TopicPartition
    after: Position | None
    upto: Position


class Range(NamedTuple):
    """The first and the last of some records of a partition, as positions."""

    partition: TopicPartition
    first: str
    last: str
    records: int


@dataclass
class Records:
    """What was received in a span and lies in the log.

    `events` have `EVENTS`. `letters` (`LETTERS`) are what is no event: `records` of the events' topics that cannot be
    decoded, and the door's dead letters. `kept_since` is when the first record that a partition still has was published
    (ms), None for an empty one."""

    events: pl.DataFrame
    letters: pl.DataFrame
    chunks: list[Chunk]
    kept_since: dict[TopicPartition, int | None]


@dataclass
class _Found:
    events: list[pl.DataFrame] = field(default_factory=list)
    letters: list[pl.DataFrame] = field(default_factory=list)


def read(broker: Broker, span: Span, look: Look, committed: Positions, archived: Positions) -> Records:
    """The records of a span; `committed` and `archived` say how far loader and archive are. Raises `BrokerError`."""
    found, chunks = _Found(), list[Chunk]()
    kept_since: dict[TopicPartition, int | None] = {}
    for topic in READ_TOPICS:
        for number in range(broker.partitions(topic)):
            partition = TopicPartition(topic, number)
            done, loaded = (positions.get(topic, {}).get(str(number)) for positions in (archived, committed))
            for attempt in range(_TRIES):
                mine, begun = _Found(), len(chunks)
                try:
                    kept_since[partition] = _kept_since(broker, partition)
                    for chunk, piece in _chunks(broker, partition, span, look):
                        place = {
                            "chunk": pl.lit(len(chunks), pl.UInt32()),
                            "committed": pl.col("row") < _taken(piece, loaded),
                            "archived": pl.col("row") < _taken(piece, done),
                        }
                        chunks.append(chunk)
                        _sort_out(piece, topic, span, look, place, mine)
                    break
                except Gone:
                    if attempt == _TRIES - 1:
                        raise
                    del chunks[begun:]
            found.events += mine.events
            found.letters += mine.letters
    events, letters = (
        pl.concat([pl.DataFrame(schema=schema), *(frame.select(schema.keys()) for frame in frames)])
        for schema, frames in ((EVENTS, found.events), (LETTERS, found.letters))
    )
    return Records(events, letters, chunks, kept_since)


def _kept_since(broker: Broker, partition: TopicPartition) -> int | None:
    bounds = broker.bounds(partition)
    return broker.timestamp_of(partition, bounds.first) if bounds else None


def _chunks(
    broker: Broker, partition: TopicPartition, span: Span, look: Look
) -> Iterator[tuple[Chunk, Piece]]:
    bounds = broker.bounds(partition)
    if bounds is None:
        return
    after, upto = None, bounds.last
    if not look.whole:
        after = broker.position_at(partition, span.start - _BEFORE_MS)
        end = broker.position_at(partition, span.end + _AFTER_MS)
        if end is None or (after is not None and end <= after):
            return
        upto = min(end, upto)
    for piece in ahead(pieces(broker, partition, after, upto, _AT_ONCE)):
        chunk = Chunk(partition, after, _position_in(piece, _size(piece) - 1))
        yield chunk, piece
        after = chunk.upto


def ahead(each: Iterator[T]) -> Iterator[T]:
    """The same, of which none is None: the next one is made in a thread while the one before is worked on."""
    with ThreadPoolExecutor(1, "records") as thread:
        following = thread.submit(next, each, None)
        while (found := following.result()) is not None:
            following = thread.submit(next, each, None)
            yield found


def _size(piece: Piece) -> int:
    return piece.block.size if isinstance(piece, StoredColumns) else len(piece)


def _position_in(piece: Piece, row: int) -> Position:
    return piece.position(row) if isinstance(piece, StoredColumns) else piece[row].position


def _taken(piece: Piece, position: str | None) -> int:
    """How many of the records lie up to a position."""
    upto = Position.parse(position) if position else None
    return bisect_right(range(_size(piece)), upto, key=partial(_position_in, piece)) if upto else 0


def _sort_out(
    piece: Piece, topic: str, span: Span, look: Look, place: dict[str, pl.Expr], found: _Found
) -> None:
    """Add what a chunk has of a span to `found`. Records that were emptied are no more: the loss account has them."""
    stored = [] if isinstance(piece, StoredColumns) else piece
    values = [record.value or b"" for record in stored]
    if topic == DEAD_LETTER_TOPIC:
        rows, times = _envelopes(values, [record.timestamp for record in stored], look.erasures)
    else:
        names = [*dict.fromkeys([*RECEIPTS, *(NEEDED if look.erasures else ())])]
        if isinstance(piece, StoredColumns):
            events, bad = columns.as_texts(blocks.frame(piece.block).select(*names, "row")), list[int]()
        else:
            events, bad = columns.decode(values) if look.exact else columns.receipts(values, names)
        rows = [row for row in bad if values[row] and not _is_forgotten(stored[row], topic, look.erasures)]
        times = [stored[row].timestamp for row in rows]
        none = pl.lit(value=False)
        erased = look.erasures.covered(events) if look.erasures else none
        expired = look.erasures.expired(events) if look.erasures else none
        events = events.select(*RECEIPTS, "row", erased=erased, expired=expired)
        events = events.filter(_inside(span)).with_columns(**place, hour=_HOUR)
        if events.height:
            found.events.append(events)
    if rows:
        letters = pl.DataFrame({"received_at": times, "row": rows}, schema={"received_at": pl.Int64, "row": pl.UInt32})
        letters = letters.filter(_inside(span)).with_columns(**place, hour=_HOUR)
        found.letters.append(letters.with_columns(records=pl.lit(topic != DEAD_LETTER_TOPIC)))


_HOUR = pl.col("received_at") // HOUR_MS * HOUR_MS


def _inside(span: Span) -> pl.Expr:
    return pl.col("received_at").is_between(span.start, span.end, closed="left")


def _envelopes(
    values: Sequence[bytes], timestamps: Sequence[int], erasures: Erasures
) -> tuple[list[int], list[int]]:
    """Which of these records of the dead-letter topic are dead letters, and when each was received (ms).

    Those of visitors who are forgotten are none."""
    rows, times = [], []
    for row, (value, timestamp) in enumerate(zip(values, timestamps, strict=True)):
        found = opened(value, timestamp) if value else None
        if found is not None and not isinstance(found, OutcomeCounts) and not is_forgotten(found, erasures):
            rows.append(row)
            times.append(found[0])
    return rows, times


def _is_forgotten(stored: Stored, topic: str, erasures: Erasures) -> bool:
    return is_forgotten(bare(stored.timestamp, topic, "", stored.value or b""), erasures)


def located(broker: Broker, records: Records, rows: pl.DataFrame) -> list[Range]:
    """Where some rows of `events` or `letters` lie, a range for each partition; what lies between need not be theirs.

    Reads the first and the last chunk of each partition once more. Raises `BrokerError`."""
    of_partition: dict[TopicPartition, list[tuple[int, int]]] = {}
    for chunk, row in rows.select("chunk", "row").sort("chunk", "row").iter_rows():
        of_partition.setdefault(records.chunks[chunk].partition, []).append((chunk, row))
    return [
        Range(partition, _position(broker, records, *places[0]), _position(broker, records, *places[-1]), len(places))
        for partition, places in of_partition.items()
    ]


def _position(broker: Broker, records: Records, chunk: int, row: int) -> str:
    partition, after, upto = records.chunks[chunk]
    for piece in pieces(broker, partition, after, upto, _AT_ONCE):
        if row < _size(piece):
            return str(_position_in(piece, row))
        row -= _size(piece)
    return str(upto)
