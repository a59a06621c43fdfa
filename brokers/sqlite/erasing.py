"""Records that are taken out of an SQLite log for good, with their bytes.

A batch that has such records is written again with nothing in their places, so offsets and times stay. SQLite leaves
the former bytes in pages that it may use later, in the write-ahead log, and in pages that retention has given back
before: pages are zeroed as they are freed, those that were free are filled with zeros once, and the write-ahead log is
folded back and cut.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from brokers.base import Stored, Unreachable
from brokers.sqlite import batches
from brokers.sqlite.batches import Row, checksum
from brokers.sqlite.storage import SqliteFile, key_range

_SEARCHED = 20_000  # batches that are searched for texts at once
_ROWS = 20  # looked at together, and written in one transaction: a publisher waits for no more
_FILLED = 16 << 20  # bytes of a row of zeros
_PIECE = 4 << 20  # bytes of the file that are searched at once
_CUT_SECONDS = 30.0

Wanted = Callable[[Sequence[Stored]], Sequence[bool]]


def erase(file: SqliteFile, log: int, incarnation: str, containing: Sequence[bytes], wanted: Wanted) -> int:
    """Empty the records of a log that are wanted; returns how many. See `Erasing.erase`.

    Call `scrub` afterwards: until then their bytes are in the file."""
    erased = 0
    for keys in _batches(file, log, containing):
        rows = [row for key in keys for row in file.query(_ROW, (key,))]
        # Looked at before the file is locked: but for us and for retention no batch ever changes.
        emptied = [made for row in rows if (made := _emptied(row, incarnation, wanted))]
        if emptied:
            with file.transaction() as db:
                db.execute("PRAGMA secure_delete = ON")
                if not containing:
                    db.execute(_MARK)
                for count, left, crc, key in emptied:
                    erased += count * db.execute(_EMPTY_THEM, (left, crc, key)).rowcount
    return erased


# It is there while copies of what was erased may be in the file that no text tells.
_MARK = "CREATE TABLE IF NOT EXISTS strays (any INTEGER)"
_IS_MARKED = "SELECT count(*) FROM sqlite_master WHERE name = 'strays'"
_EMPTY_THEM = "UPDATE batches SET records = ?, crc = ? WHERE id = ?"
_ROW = "SELECT id, at, records, crc FROM batches WHERE id = ?"
_LAST_OF = "SELECT max(id) FROM (SELECT id FROM batches WHERE id > ? AND id <= ? ORDER BY id LIMIT ?)"
_HOLDING = "SELECT id FROM batches WHERE id > ? AND id <= ? AND holds(records) ORDER BY id"


def _batches(file: SqliteFile, log: int, containing: Sequence[bytes]) -> Iterator[Sequence[int]]:
    """The keys of a log's batches that hold one of these texts, all of them without texts, some at a time.

    Few do, so the others are looked through inside of SQLite, and none of their rows is made here."""

    def holds(records: bytes) -> bool:
        return not containing or batches.holds(records, containing)

    at, last = key_range(log)
    while (upto := file.query(_LAST_OF, (at, last, _SEARCHED))[0][0]) is not None:
        with file.reading() as db:
            db.create_function("holds", 1, holds, deterministic=True)
            keys = [key for (key,) in db.execute(_HOLDING, (at, upto))]
            db.create_function("holds", 1, None)
        for start in range(0, len(keys), _ROWS):
            yield keys[start : start + _ROWS]
        at = upto


def _emptied(row: Row, incarnation: str, wanted: Wanted) -> tuple[int, bytes, int, int] | None:
    """How many records of a batch go, and its bytes, checksum and key without them; None where none does."""
    key, at, data, crc = row
    gone = wanted(batches.records_of(row, incarnation))
    if not any(gone):
        return None
    left = batches.without(data, gone)
    is_whole = crc is None or crc == checksum(key, at, data)
    # What was damaged has a wrong checksum afterwards, too.
    return sum(gone), left, checksum(key, at, left) ^ (not is_whole), key


def scrub(file: SqliteFile, texts: Sequence[bytes]) -> None:
    """Leave nothing in the file, nor in its write-ahead log, of what was deleted from it.

    Where a page was split, copies of rows stay in the room that they left. If one of these texts is in the file more
    often than in its rows, the file is written anew, which takes as long as copying it; so it is after records were
    erased that no text tells.
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
    _cut(file)
    marked = bool(file.query(_IS_MARKED)[0][0])
    if marked or any(_strays(file, text) for text in texts):
        file.rewrite()
        if marked:
            with file.transaction() as db:
                db.execute("DROP TABLE strays")
        _cut(file)


def _strays(file: SqliteFile, text: bytes) -> bool:
    found = _in_file(file.path, text)
    if not found:  # mostly: then the rows need not be looked at
        return False
    with file.reading() as db:
        rows = db.execute("SELECT records FROM batches WHERE instr(records, ?)", (text,))
        return found > sum(int(records.count(text)) for (records,) in rows)


def _in_file(path: Path, text: bytes) -> int:
    """How often a text is in a file, which is searched piece by piece: other threads wait for no more than one."""
    found, end = 0, b""
    with path.open("rb", buffering=0) as raw:
        while piece := raw.read(_PIECE):
            piece = end + piece
            found += piece.count(text)
            end = piece[max(0, len(piece) - len(text) + 1) :]
    return found


def _cut(file: SqliteFile) -> None:
    deadline = time.monotonic() + _CUT_SECONDS
    while file.cut_wal():
        if time.monotonic() > deadline:
            raise Unreachable(f"{file.path}: its write-ahead log is in use all the time, so it cannot be cut: retry")
        time.sleep(0.05)
