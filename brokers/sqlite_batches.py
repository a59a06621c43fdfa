"""How records lie in the SQLite log: in batches, as Kafka's do.

A row holds what one publish brought for one log, so that a row's cost is shared and a page is filled from the
right. Its key is one integer, the log's number above the offset of the batch's *last* record: the batch that
holds an offset is then the first row at or after it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import groupby

import msgspec

from brokers.base import Position, Record, Stored

SCHEMA = """
CREATE TABLE IF NOT EXISTS topics (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL,
    retention_ms INTEGER NOT NULL, incarnation TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS logs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic INTEGER NOT NULL, partition INTEGER NOT NULL,
    first INTEGER NOT NULL, next INTEGER NOT NULL, last_at INTEGER NOT NULL, UNIQUE (topic, partition));
CREATE TABLE IF NOT EXISTS batches (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, records BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS remembered (
    reader TEXT NOT NULL, log INTEGER NOT NULL, "offset" INTEGER NOT NULL,
    PRIMARY KEY (log, reader)) WITHOUT ROWID;
"""

OFFSET_BITS = 40  # 10^12 records a log, and 8 million logs made in a file's life
_OFFSET = (1 << OFFSET_BITS) - 1
_RECORDS_A_ROW = 500
_BYTES_A_ROW = 4 << 20  # a reader decodes a row whole
_BYTES_A_READ = 32 << 20  # a list of records ends early rather than fill the memory

_READ = """
SELECT id, at, records FROM batches WHERE id >= :start AND id <= ifnull(
    (SELECT id FROM batches WHERE id >= :last ORDER BY id LIMIT 1), :last) ORDER BY id
"""
_HOLDING = "SELECT id, at FROM batches WHERE id >= ? AND id <= ? ORDER BY id LIMIT 1"

Row = tuple[int, int, bytes]  # id, at, records
Content = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Content]).decode


def of_one_time(records: Sequence[Record], indexes: Sequence[int]) -> Iterable[tuple[int | None, Sequence[int]]]:
    """Stretches of `indexes` that share a row's time; of what is not copied from elsewhere that is all of them."""
    if records[indexes[0]].timestamp is None and records[indexes[-1]].timestamp is None:
        return [(None, indexes)]
    return [(time, list(run)) for time, run in groupby(indexes, lambda index: records[index].timestamp)]


def pack(
    log: int, end: int, at: int, records: Sequence[Record], indexes: Sequence[int]
) -> list[tuple[int, int, bytes]]:
    """Rows for the records at `indexes`, the last of which gets offset `end` - 1."""
    contents = [records[index][1:4] for index in indexes]
    rows: list[Row] = []
    _pack(rows, (log << OFFSET_BITS) + end - 1, at, contents)
    return rows


def _pack(rows: list[Row], last: int, at: int, contents: Sequence[object]) -> None:
    count = len(contents)
    if count <= _RECORDS_A_ROW:
        data = _encode(contents)
        if count == 1 or len(data) <= _BYTES_A_ROW:
            rows.append((last, at, data))
            return
    half = count // 2
    _pack(rows, last - (count - half), at, contents[:half])
    _pack(rows, last, at, contents[half:])


def unpack(db: sqlite3.Connection, log: int, incarnation: str, start: int, last: int) -> list[Stored]:
    """Records `start` to `last`, as many as fit in memory; they begin later when retention took the first."""
    base = log << OFFSET_BITS
    found: list[Stored] = []
    size = 0
    for key, at, data in db.execute(_READ, {"start": base + start, "last": base + last}):
        contents = _decode(data)
        offset = (key & _OFFSET) - len(contents) + 1
        if offset < start or offset + len(contents) - 1 > last:
            contents = contents[max(start - offset, 0) : last + 1 - offset]
            offset = max(offset, start)
        found += [
            Stored(Position((number,), incarnation), at, *content) for number, content in enumerate(contents, offset)
        ]
        size += len(data)
        if size >= _BYTES_A_READ:
            break
    return found


def holding(db: sqlite3.Connection, log: int, offset: int) -> tuple[int, int] | None:
    """Last offset and time of the batch that holds `offset`."""
    base = log << OFFSET_BITS
    row = db.execute(_HOLDING, (base + offset, base + _OFFSET)).fetchone()
    return (row[0] & _OFFSET, row[1]) if row else None


def last_before(db: sqlite3.Connection, log: int, first: int, end: int, time_ms: int) -> int | None:
    """Offset of the last record stamped before `time_ms`: times never decrease along a log, so bisect."""
    low, high = first, end
    while low < high:
        middle = (low + high) // 2
        batch = holding(db, log, middle)
        if batch is not None and batch[1] < time_ms:
            low = batch[0] + 1
        else:
            high = middle
    return low - 1 if low > first else None


def remove(db: sqlite3.Connection, log: int, end: int, at_once: int) -> int:
    """Delete at most `at_once` batches that lie wholly below `end` and below every remembered position's next."""
    base = log << OFFSET_BITS
    first, end = db.execute(
        'SELECT first, min(?, next, ifnull((SELECT min("offset") + 1 FROM remembered WHERE log = l.id), next))'
        " FROM logs l WHERE id = ?",
        (end, log),
    ).fetchone() or (0, 0)
    (cut,) = db.execute(
        "SELECT max(id) FROM (SELECT id FROM batches WHERE id >= ? AND id < ? ORDER BY id LIMIT ?)",
        (base + first, base + end, at_once),
    ).fetchone()
    if cut is None:
        return 0
    db.execute("DELETE FROM batches WHERE id >= ? AND id <= ?", (base, cut))
    kept = (cut & _OFFSET) + 1
    db.execute("UPDATE logs SET first = ? WHERE id = ?", (kept, log))
    return int(kept - first)


def remove_all(db: sqlite3.Connection, topic: int) -> None:
    """The topic, its logs, its records and what groups remembered of them."""
    for (log,) in db.execute("SELECT id FROM logs WHERE topic = ?", (topic,)).fetchall():
        db.execute("DELETE FROM batches WHERE id BETWEEN ? AND ?", (log << OFFSET_BITS, (log << OFFSET_BITS) + _OFFSET))
        db.execute("DELETE FROM remembered WHERE log = ?", (log,))
    db.execute("DELETE FROM logs WHERE topic = ?", (topic,))
    db.execute("DELETE FROM topics WHERE id = ?", (topic,))
