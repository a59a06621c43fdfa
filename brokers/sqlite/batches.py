"""What lies in a row of an SQLite log: a batch of records, or of events as columns.

Records lie in batches, as Kafka's do. A row holds what one publish wrote to one log, so that many records share the
cost of a row and pages are filled at their right edge. Its bytes are a list of records that MessagePack wrote, or a
block of events (`activity.blocks`). SQLite notices a damaged page only where its structure is hit, so each row has a
checksum of its own. Rows that were written before there was one have none.
"""

from __future__ import annotations

import re
import sqlite3
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec

from brokers.base import Position, Record, Stored, StoredColumns

if TYPE_CHECKING:
    from activity.blocks import Block

# Blocks need a library of frames, which the tracking service does without: whoever has a block has loaded it.

INSERT = "INSERT INTO batches (id, at, records, crc) VALUES (?, ?, ?, ?)"
OFFSET_BITS = 40  # 10^12 records a log, and 8 million logs made in a file's life
OFFSET = (1 << OFFSET_BITS) - 1
_RECORDS_A_ROW = 500
_EVENTS_A_ROW = 400  # as columns, whatever their size: no event has more than some 20 KB
_BYTES_A_ROW = 4 << 20  # as records, of columns too: a reader decodes a row whole
_BYTES_A_READ = 32 << 20  # of such: a list of records ends early rather than fill the memory

_READ = """
SELECT id, at, records, crc FROM batches WHERE id >= :start AND id <= ifnull(
    (SELECT id FROM batches WHERE id >= :last ORDER BY id LIMIT 1), :last) ORDER BY id
"""

Row = tuple[int, int, bytes, int]  # id, at, records, CRC-32 of all of them
Content = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]
EMPTY: Content = (None, None, ())  # of a record that was erased, or lost
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Content]).decode
_NOT_ITS_CHECKSUM = "their checksum is not that of their bytes"
_WORD = re.compile(rb"[0-9A-Za-z]+")
_stamp = struct.Struct(">qq").pack  # id and at


class BrokenBatch(Exception):
    """The records of a batch are not those that were written. The message says which and of when."""


def of_one_time(records: Sequence[Record], indexes: Sequence[int]) -> Iterable[tuple[int | None, Sequence[int]]]:
    """Split `indexes` into runs of records with one timestamp, which a row needs; usually there is one run."""
    if records[indexes[0]].timestamp is None and records[indexes[-1]].timestamp is None:
        return [(None, indexes)]
    return [(time, list(run)) for time, run in groupby(indexes, lambda index: records[index].timestamp)]


def pack(log: int, end: int, at: int, records: Sequence[Record], indexes: Sequence[int]) -> list[Row]:
    """Return rows for the records at `indexes`, the last of which gets offset `end` - 1."""
    contents = [records[index][1:4] for index in indexes]
    rows: list[Row] = []
    _pack(rows, (log << OFFSET_BITS) + end - 1, at, contents)
    return rows


def _pack(rows: list[Row], last: int, at: int, contents: Sequence[object]) -> None:
    count = len(contents)
    if count <= _RECORDS_A_ROW:
        data = _encode(contents)
        if count == 1 or len(data) <= _BYTES_A_ROW:
            rows.append((last, at, data, checksum(last, at, data)))
            return
    half = count // 2
    _pack(rows, last - (count - half), at, contents[:half])
    _pack(rows, last, at, contents[half:])


def packed(block: Block) -> list[tuple[int, bytes]]:
    """Return the contents of rows with the events of a block: how many there are in each, and its bytes."""
    from activity import blocks

    if block.size <= _EVENTS_A_ROW or block.json_bytes() <= _BYTES_A_ROW:
        return [(block.size, blocks.pack(block))]
    places = block.places().to_numpy()
    half = block.size // 2
    return packed(block.take(places[:half])) + packed(block.take(places[half:]))


def rows_of(log: int, end: int, at: int, contents: Sequence[tuple[int, bytes]]) -> Iterator[Row]:
    """Return the rows of such contents, of which the last event gets offset `end` - 1."""
    last = (log << OFFSET_BITS) + end - 1 - sum(count for count, _ in contents)
    for count, data in contents:
        last += count
        yield last, at, data, checksum(last, at, data)


def unpack(db: sqlite3.Connection, log: int, incarnation: str, start: int, last: int) -> list[Stored]:
    """Return records `start` to `last`, as many as fit in memory, without those that retention has removed.

    Raises `BrokenBatch`."""
    found: list[Stored] = []
    for offset, at, contents in _rows(db, log, start, last):
        its = contents if isinstance(contents, list) else _contents(contents)
        found += _stored(offset, incarnation, at, its)
    return found


def unpack_columns(
    db: sqlite3.Connection, log: int, incarnation: str, start: int, last: int
) -> list[list[Stored] | StoredColumns]:
    """Return the same, in pieces: what lies there as columns as such, all between as lists of records."""
    found: list[list[Stored] | StoredColumns] = []
    for offset, at, contents in _rows(db, log, start, last):
        if not isinstance(contents, list):
            found.append(StoredColumns(Position((offset,), incarnation), at, contents))
        elif found and isinstance(found[-1], list):
            found[-1] += _stored(offset, incarnation, at, contents)
        else:
            found.append(_stored(offset, incarnation, at, contents))
    return found


def _rows(
    db: sqlite3.Connection, log: int, start: int, last: int
) -> list[tuple[int, int, list[Content] | Block]]:
    """The first offset, the time and the contents of each row with some of the records `start` to `last`, cut to
    these."""
    found: list[tuple[int, int, list[Content] | Block]] = []
    size = 0
    base = log << OFFSET_BITS
    for key, at, data, crc in db.execute(_READ, {"start": base + start, "last": base + last}):
        if crc is not None and crc != checksum(key, at, data):
            raise _broken(key, at, _NOT_ITS_CHECKSUM)
        contents = _of_row(key, at, data)
        count = _count(contents)
        offset = (key & OFFSET) - count + 1
        if offset < start or offset + count - 1 > last:
            cut = max(start - offset, 0), last + 1 - offset
            contents = contents[slice(*cut)] if isinstance(contents, list) else contents.between(*cut)
            offset = max(offset, start)
        found.append((offset, at, contents))
        size += len(data) if isinstance(contents, list) else contents.json_bytes()
        if size >= _BYTES_A_READ:
            break
    return found


def _opened(data: bytes) -> list[Content] | Block:
    """Raises msgspec.DecodeError, or ValueError where it is a block."""
    if not _is_block(data):
        return _decode(data)
    from activity import blocks

    return blocks.unpack(data)


def _is_block(data: bytes) -> bool:
    return b"\x80" <= data[:1] <= b"\x8f"  # a map of MessagePack


def _of_row(key: int, at: int, data: bytes) -> list[Content] | Block:
    """Raises `BrokenBatch`."""
    try:
        return _opened(data)
    except (msgspec.DecodeError, ValueError) as error:
        raise _broken(key, at, str(error)) from error


def _count(contents: list[Content] | Block) -> int:
    return len(contents) if isinstance(contents, list) else contents.size


def _contents(block: Block) -> list[Content]:
    from activity import blocks

    found = [EMPTY] * block.size
    for place, key, value in zip(block.places(), blocks.keys(block), blocks.values(block), strict=True):
        found[place] = (key, value, ())
    return found


def _stored(offset: int, incarnation: str, at: int, contents: list[Content]) -> list[Stored]:
    return [Stored(Position((number,), incarnation), at, *content) for number, content in enumerate(contents, offset)]


def checksum(key: int, at: int, data: bytes) -> int:
    """Return the CRC-32 of a batch: of its key, its time and the bytes of its contents."""
    return zlib.crc32(data, zlib.crc32(_stamp(key, at)))


def _broken(key: int, at: int, why: str) -> BrokenBatch:
    try:
        when = f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        when = "an unknown time"
    return BrokenBatch(f"the records up to offset {key & OFFSET}, published together at {when}, are broken ({why})")


def records_of(row: Row, incarnation: str) -> list[Stored]:
    """Return the records of a row, even of a damaged one if they can be told. Raises `BrokenBatch`."""
    key, at, data, crc = row
    if crc is not None and crc != checksum(key, at, data) and _is_block(data):
        raise _broken(key, at, _NOT_ITS_CHECKSUM)
    contents = _of_row(key, at, data)
    first = (key & OFFSET) - _count(contents) + 1
    return _stored(first, incarnation, at, contents if isinstance(contents, list) else _contents(contents))


def holds(data: bytes, texts: Sequence[bytes]) -> bool:
    """Return whether one of the texts is in a key or a value of a row; in a block, ids of events are not searched.

    A block has texts as they are, and not as JSON: where all words of a text are in it, the JSON is made."""
    if any(text in data for text in texts):
        return True
    others = [text for text in texts if not text.isalnum() and _may_hold(data, text)]
    if not others:
        return False
    try:
        contents = _opened(data)
    except (msgspec.DecodeError, ValueError):
        return True  # who looks at it is told
    if isinstance(contents, list):
        return False
    return any(text in part for content in _contents(contents) for part in content[:2] if part for text in others)


def _may_hold(data: bytes, text: bytes) -> bool:
    # Behind a backslash a letter is none of the text's.
    return b"\\" in text or all(word in data for word in _WORD.findall(text))


def without(data: bytes, gone: Sequence[bool]) -> bytes:
    """Return the bytes of a row, which can be read, of which these records are emptied."""
    contents = _opened(data)
    if isinstance(contents, list):
        return _encode([EMPTY if out else each for out, each in zip(gone, contents, strict=True)])
    from activity import blocks

    left = contents.without([row for row, place in enumerate(contents.places()) if gone[place]])
    return blocks.pack(left)


def emptied(log: int, begin: int, end: int, at: int) -> Iterator[Row]:
    """Return the rows of emptied records at the offsets `begin` to `end` - 1."""
    for start in range(begin, end, _RECORDS_A_ROW):
        count = min(_RECORDS_A_ROW, end - start)
        key, data = (log << OFFSET_BITS) + start + count - 1, _encode([EMPTY] * count)
        yield key, at, data, checksum(key, at, data)
