"""Records that are taken out of an SQLite log for good, with their bytes.

A batch that has such records is written again with nothing in their places, so offsets and times stay. SQLite leaves
the former bytes in pages that it may use later, in the write-ahead log, and in pages that retention has given back
before: pages are zeroed as they are freed, those that were free are filled with zeros once, and the write-ahead log is
folded back and cut.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence

from brokers.base import Position, Stored, Unreachable
from brokers.sqlite.storage import SqliteFile, checksum, content_of, key_range, packed

_ROWS = 200  # looked at together, and written in one transaction: a publisher waits for no more
_FILLED = 16 << 20  # bytes of a row of zeros
_CUT_SECONDS = 30.0
_EMPTY = (None, None, ())

Wanted = Callable[[Sequence[Stored]], Sequence[bool]]


def erase(file: SqliteFile, log: int, incarnation: str, containing: Sequence[bytes], wanted: Wanted) -> int:
    """Empty the records of a log that are wanted; returns how many. See `Erasing.erase`.

    Call `scrub` afterwards: until then their bytes are in the file."""
    erased = 0
    at, last = key_range(log)
    while rows := file.query(_ROWS_AFTER, (at, last, _ROWS)):
        at = rows[-1][0]
        found = [row[0] for row in rows if not containing or any(text in row[2] for text in containing)]
        if found:
            with file.transaction() as db:
                db.execute("PRAGMA secure_delete = ON")
                for key in found:
                    erased += _empty(db, key, incarnation, wanted)
    return erased


_ROWS_AFTER = "SELECT id, at, records FROM batches WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"


def _empty(db: sqlite3.Connection, key: int, incarnation: str, wanted: Wanted) -> int:
    row = db.execute("SELECT at, records FROM batches WHERE id = ?", (key,)).fetchone()
    if row is None:  # retention was here
        return 0
    first, contents = content_of(key, row[1])
    records = [Stored(Position((first + n,), incarnation), row[0], *each) for n, each in enumerate(contents)]
    gone = wanted(records)
    if not any(gone):
        return 0
    left = packed([_EMPTY if out else each for out, each in zip(gone, contents, strict=True)])
    db.execute("UPDATE batches SET records = ?, crc = ? WHERE id = ?", (left, checksum(key, row[0], left), key))
    return sum(gone)


def scrub(file: SqliteFile) -> None:
    """Leave nothing in the file, nor in its write-ahead log, of what was deleted from it.

    Raises `Unreachable` when other processes use the log all the time."""
    with file.transaction() as db:
        db.execute("DROP TABLE IF EXISTS zeros")
        db.execute("CREATE TABLE zeros (filled BLOB)")
    (size,) = file.query("PRAGMA page_size")[0]
    while (free := file.query("PRAGMA freelist_count")[0][0]) > 0:
        with file.transaction() as db:
            db.execute("INSERT INTO zeros VALUES (zeroblob(?))", (min(free * size, _FILLED),))
    with file.transaction() as db:
        db.execute("DROP TABLE zeros")
    deadline = time.monotonic() + _CUT_SECONDS
    while file.cut_wal():
        if time.monotonic() > deadline:
            raise Unreachable(f"{file.path}: its write-ahead log is in use all the time, so it cannot be cut: retry")
        time.sleep(0.05)
