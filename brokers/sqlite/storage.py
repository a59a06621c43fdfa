"""The SQLite file of a log: its connections, and how records lie in it.

Records lie in batches, as Kafka's do. A row holds what one publish wrote to one log, so that many records share the
cost of a row and pages are filled at their right edge. A row's key is one integer: the log's number above the offset of
the batch's *last* record. The batch that holds an offset is then the first row at or after it.

SQLite notices a damaged page only where its structure is hit, so each row has a checksum of its own. Rows that were
written before there was one have none.
"""

from __future__ import annotations

import os
import re
import sqlite3
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from brokers.base import Damaged, Position, Record, Stored, TopicPartition, Unreachable
from brokers.checks import closed

SCHEMA = """
CREATE TABLE IF NOT EXISTS topics (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL,
    retention_ms INTEGER NOT NULL, incarnation TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS logs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic INTEGER NOT NULL, partition INTEGER NOT NULL,
    first INTEGER NOT NULL, next INTEGER NOT NULL, last_at INTEGER NOT NULL, UNIQUE (topic, partition));
CREATE TABLE IF NOT EXISTS batches (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, records BLOB NOT NULL, crc INTEGER);
CREATE TABLE IF NOT EXISTS remembered (
    reader TEXT NOT NULL, log INTEGER NOT NULL, "offset" INTEGER NOT NULL,
    PRIMARY KEY (log, reader)) WITHOUT ROWID;
"""

_HAS_CRC = "SELECT 1 FROM pragma_table_info('batches') WHERE name = 'crc'"
_ADD_CRC = "ALTER TABLE batches ADD COLUMN crc INTEGER"

_OFFSET_BITS = 40  # 10^12 records a log, and 8 million logs made in a file's life
_OFFSET = (1 << _OFFSET_BITS) - 1
_RECORDS_A_ROW = 500
_BYTES_A_ROW = 4 << 20  # a reader decodes a row whole
_BYTES_A_READ = 32 << 20  # a list of records ends early rather than fill the memory

_READ = """
SELECT id, at, records, crc FROM batches WHERE id >= :start AND id <= ifnull(
    (SELECT id FROM batches WHERE id >= :last ORDER BY id LIMIT 1), :last) ORDER BY id
"""
_LOGS_OF = """
SELECT l.id, l.partition, t.incarnation, l.first, l.next FROM topics t JOIN logs l ON l.topic = t.id WHERE t.name = ?
"""
_END_OF = """
SELECT l.id, t.id, t.incarnation, l.next, l.last_at, (SELECT max(next) FROM logs WHERE topic = t.id)
FROM topics t JOIN logs l ON l.topic = t.id WHERE t.name = ? AND l.partition = ?
"""
INSERT = "INSERT INTO batches (id, at, records, crc) VALUES (?, ?, ?, ?)"
_MOVE = "UPDATE logs SET first = max(first, ?), next = ?, last_at = ? WHERE id = ?"
_INCARNATION = re.compile(r"[0-9a-f]{16}")
_BATCH_OF = "SELECT id, at FROM batches WHERE id >= ? AND id <= ? ORDER BY id LIMIT 1"

Row = tuple[int, int, bytes, int]  # id, at, records, CRC-32 of all of them
Content = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]
EMPTY: Content = (None, None, ())  # of a record that was erased, or lost
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Content]).decode
_stamp = struct.Struct(">qq").pack  # id and at


class BrokenBatch(Exception):
    """The records of a batch are not those that were written. The message says which and of when."""


class SqliteFile:
    """One connection that writes and a few that read, each opened when first needed. Every wait is bounded.

    Several threads may use it: writers queue for their connection, and readers never wait for them (WAL)."""

    def __init__(self, path: Path, shown: str, timeout: float) -> None:
        self.path = path
        self._shown = shown  # the URL without credentials, for messages
        self._timeout = timeout
        self._write_lock = threading.RLock()
        self._writer: sqlite3.Connection | None = None
        self._idle: list[sqlite3.Connection] = []
        self._closed = False

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """`BEGIN IMMEDIATE` … `COMMIT`: durable on exit, rolled back on an exception."""
        with self._write_lock, self._named_errors():
            if self._closed:
                raise closed(self._shown)
            if self._writer is None:
                self._writer = self._connect(self._timeout)
            db = self._writer
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self, timeout: float | None = None) -> Iterator[sqlite3.Connection]:
        """Lend a connection that sees whole transactions. No statement may stay open after the block."""
        with self._named_errors():
            try:
                db = self._idle.pop()
            except IndexError:
                if self._closed:
                    raise closed(self._shown) from None
                db = self._connect(self._timeout if timeout is None else timeout)
            try:
                yield db
            finally:
                if self._closed:
                    db.close()
                else:
                    self._idle.append(db)

    def query(self, statement: str, values: Sequence[Any] = (), timeout: float | None = None) -> list[Any]:
        """Return all rows of one statement."""
        with self.reading(timeout) as db:
            return db.execute(statement, values).fetchall()

    def cut_wal(self) -> bool:
        """Fold the write-ahead log back and cut it to nothing; return whether others were in the way."""
        with self._write_lock, self._named_errors():
            if self._writer is None:
                self._writer = self._connect(self._timeout)
            self._writer.execute("PRAGMA secure_delete=FAST")
            return bool(self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])

    def rewrite(self) -> None:
        """Write the whole file anew, from its rows alone. Publishers wait meanwhile."""
        with self._write_lock, self._named_errors():
            if self._writer is None:
                self._writer = self._connect(self._timeout)
            self._writer.execute("VACUUM")

    def close(self) -> None:
        self._closed = True
        with self._write_lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
        while self._idle:
            self._idle.pop().close()

    def damaged(self, error: Exception) -> Damaged:
        """Return the error for a file that does not contain what was written to it."""
        return Damaged(
            f"{self._shown}: {self.path} is damaged, or no log of Footfall ({error}): stop what uses it, make a file "
            f"of what can be read, `sqlite3 {self.path} .recover | sqlite3 mended.db`, and put that in its place"
        )

    def broken(self, partition: TopicPartition, error: Exception) -> Damaged:
        """Return the error for a batch that is not what was written to it."""
        return Damaged(
            f"{self._shown}: {self.path} is damaged: {partition}: {error}: put the file back from a copy; what was"
            " archived of these records is read by `footfall replay --source archive`"
        )

    def _connect(self, timeout: float) -> sqlite3.Connection:
        try:
            _make_folder(self.path.parent)
        except OSError as error:
            raise Unreachable(f"{self._shown}: {error}: name a folder that can be written") from error
        db = sqlite3.connect(self.path, timeout=timeout, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            # Folding the WAL back costs a second fsync: every 16 MB rather than every 4.
            db.execute("PRAGMA wal_autocheckpoint=4000")
            db.execute("PRAGMA journal_size_limit=67108864")
            # What is deleted in a page that is written anyway leaves nothing there; see `erasing` for the others.
            db.execute("PRAGMA secure_delete=FAST")
            if not db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall():
                db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
            elif not db.execute(_HAS_CRC).fetchall():
                _add_crc(db)
        except BaseException:
            db.close()
            raise
        return db

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # Python's own errors have none
            # SQLITE_ERROR: our statements never change, so a table that one of them misses means another's file.
            if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
                raise self.damaged(error) from error
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise Unreachable(f"{self._shown}: another process holds it ({error}): retry") from error
            if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
                raise Unreachable(f"{self._shown}: {error}: name a file that can be written") from error
            raise


def _add_crc(db: sqlite3.Connection) -> None:
    """Give the batches of a file of a former version the column of their checksums; other tables are none of ours."""
    db.execute("BEGIN IMMEDIATE")
    ours = db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'batches'").fetchall()
    if ours and not db.execute(_HAS_CRC).fetchall():  # another process may have been faster
        db.execute(_ADD_CRC)
    db.execute("COMMIT")


def _make_folder(folder: Path) -> None:
    """Make a folder with its parents, each synced into the one above it. SQLite syncs what lies in the folder."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    above = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(above)
    finally:
        os.close(above)


def of_one_time(records: Sequence[Record], indexes: Sequence[int]) -> Iterable[tuple[int | None, Sequence[int]]]:
    """Split `indexes` into runs of records with one timestamp, which a row needs; usually there is one run."""
    if records[indexes[0]].timestamp is None and records[indexes[-1]].timestamp is None:
        return [(None, indexes)]
    return [(time, list(run)) for time, run in groupby(indexes, lambda index: records[index].timestamp)]


def pack(log: int, end: int, at: int, records: Sequence[Record], indexes: Sequence[int]) -> list[Row]:
    """Return rows for the records at `indexes`, the last of which gets offset `end` - 1."""
    contents = [records[index][1:4] for index in indexes]
    rows: list[Row] = []
    _pack(rows, (log << _OFFSET_BITS) + end - 1, at, contents)
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


def unpack(db: sqlite3.Connection, log: int, incarnation: str, start: int, last: int) -> list[Stored]:
    """Return records `start` to `last`, as many as fit in memory, without those that retention has removed.

    Raises `BrokenBatch`."""
    base = log << _OFFSET_BITS
    found: list[Stored] = []
    size = 0
    for key, at, data, crc in db.execute(_READ, {"start": base + start, "last": base + last}):
        if crc is not None and crc != checksum(key, at, data):
            raise _broken(key, at, "their checksum is not that of their bytes")
        try:
            contents = _decode(data)
        except msgspec.DecodeError as error:
            raise _broken(key, at, str(error)) from error
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


def checksum(key: int, at: int, data: bytes) -> int:
    """Return the CRC-32 of a batch: of its key, its time and the bytes of its contents."""
    return zlib.crc32(data, zlib.crc32(_stamp(key, at)))


def _broken(key: int, at: int, why: str) -> BrokenBatch:
    try:
        when = f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        when = "an unknown time"
    return BrokenBatch(f"the records up to offset {key & _OFFSET}, published together at {when}, are broken ({why})")


def key_range(log: int) -> tuple[int, int]:
    """Return the keys between which the batches of a log lie, the first excluded."""
    base = log << _OFFSET_BITS
    return base - 1, base + _OFFSET


def content_of(key: int, data: bytes) -> tuple[int, list[Content]]:
    """Return the offset of the first record of a batch, and the contents of all."""
    contents = _decode(data)
    return (key & _OFFSET) - len(contents) + 1, contents


def packed(contents: Sequence[Content]) -> bytes:
    """Return the bytes of a batch's contents."""
    return _encode(contents)


def batch_of(db: sqlite3.Connection, log: int, offset: int) -> tuple[int, int] | None:
    """Return the last offset and the time of the batch that holds `offset`, None if it was removed."""
    base = log << _OFFSET_BITS
    row = db.execute(_BATCH_OF, (base + offset, base + _OFFSET)).fetchone()
    return (row[0] & _OFFSET, row[1]) if row else None


def first_at(db: sqlite3.Connection, log: int, first: int, end: int, time_ms: int) -> int:
    """Return the offset of the first record stamped at or after `time_ms`: times never decrease, so bisect."""
    low, high = first, end
    while low < high:
        middle = (low + high) // 2
        batch = batch_of(db, log, middle)
        if batch is not None and batch[1] < time_ms:
            low = batch[0] + 1
        else:
            high = middle
    return low


def remove(db: sqlite3.Connection, log: int, end: int, at_once: int) -> int:
    """Delete at most `at_once` batches that lie wholly before offset `end` and that every group has read.

    Returns the number of records deleted."""
    base = log << _OFFSET_BITS
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


def remove_topic(db: sqlite3.Connection, topic: int) -> None:
    """Delete a topic with its logs, their records and the positions that groups remember in them."""
    for (log,) in db.execute("SELECT id FROM logs WHERE topic = ?", (topic,)).fetchall():
        base = log << _OFFSET_BITS
        db.execute("DELETE FROM batches WHERE id BETWEEN ? AND ?", (base, base + _OFFSET))
        db.execute("DELETE FROM remembered WHERE log = ?", (log,))
    db.execute("DELETE FROM logs WHERE topic = ?", (topic,))
    db.execute("DELETE FROM topics WHERE id = ?", (topic,))


def resume(
    db: sqlite3.Connection, partition: TopicPartition, read: int, last: Position, now: int, *, anew: bool
) -> int | None:
    """See `Resumable.resume_after`. Returns the first offset that was lost, None if the log stays as it is."""
    found = db.execute(_END_OF, partition).fetchone()
    if found is None:
        return None
    log, topic, incarnation, end, at, used = found
    upto = last.order[0] + 1
    if incarnation != last.incarnation:
        if used or not anew or len(last.order) > 1 or not _INCARNATION.fullmatch(last.incarnation):
            return None
        db.execute("UPDATE topics SET incarnation = ? WHERE id = ?", (last.incarnation, topic))
    if upto <= end:
        return None
    begin, at = (end, at) if end else (read + 1, now)
    db.executemany(INSERT, _emptied(log, begin, upto, at))
    db.execute(_MOVE, (0 if end else begin, upto, at, log))
    return int(end)


def _emptied(log: int, begin: int, end: int, at: int) -> Iterator[Row]:
    """The rows of emptied records at the offsets `begin` to `end` - 1."""
    for start in range(begin, end, _RECORDS_A_ROW):
        count = min(_RECORDS_A_ROW, end - start)
        key, data = (log << _OFFSET_BITS) + start + count - 1, _encode([EMPTY] * count)
        yield key, at, data, checksum(key, at, data)


def rewind(path: Path, group: str, topics: Iterable[str], positions: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Have a copy of a log remember `positions` (topic -> partition -> position) of a group, whatever it remembers.

    Where there is none, the group begins at the first record. So retention keeps in the copy what the group has still
    to read. Returns a sentence about each partition that lacks records which the group has not read, or positions of
    another topic; nothing is changed then. Nobody else may have the file open."""
    problems: list[str] = []
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("BEGIN IMMEDIATE")
        for topic in topics:
            of_topic = positions.get(topic, {})
            for log, partition, incarnation, first, end in db.execute(_LOGS_OF, (topic,)).fetchall():
                text = of_topic.get(str(partition))
                at = Position.parse(text) if text else None
                offset = at.order[0] if at else first - 1
                if at and at.incarnation not in ("", incarnation):
                    problems.append(f"{topic}/{partition} was made again since {group} read it")
                elif not first - 1 <= offset < end:
                    problems.append(f"{topic}/{partition} holds {first} to {end - 1}, {group} has read up to {offset}")
                db.execute("INSERT OR REPLACE INTO remembered VALUES (?, ?, ?)", (group, log, offset))
        db.execute("ROLLBACK" if problems else "COMMIT")
    finally:
        db.close()
    return problems
