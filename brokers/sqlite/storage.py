"""The SQLite file of a log: its connections, and the rows of its logs; what is in a row, `batches` reads and writes.

A row's key is one integer: the log's number above the offset of the batch's *last* record. The batch that holds an
offset is then the first row at or after it.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from brokers.base import Damaged, Position, TopicPartition, Unreachable
from brokers.checks import closed
from brokers.sqlite.batches import INSERT, OFFSET, OFFSET_BITS, emptied

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

_LOGS_OF = """
SELECT l.id, l.partition, t.incarnation, l.first, l.next FROM topics t JOIN logs l ON l.topic = t.id WHERE t.name = ?
"""
_END_OF = """
SELECT l.id, t.id, t.incarnation, l.next, l.last_at, (SELECT max(next) FROM logs WHERE topic = t.id)
FROM topics t JOIN logs l ON l.topic = t.id WHERE t.name = ? AND l.partition = ?
"""
_MOVE = "UPDATE logs SET first = max(first, ?), next = ?, last_at = ? WHERE id = ?"
_INCARNATION = re.compile(r"[0-9a-f]{16}")
_BATCH_OF = "SELECT id, at FROM batches WHERE id >= ? AND id <= ? ORDER BY id LIMIT 1"


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


def key_range(log: int) -> tuple[int, int]:
    """Return the keys between which the batches of a log lie, the first excluded."""
    base = log << OFFSET_BITS
    return base - 1, base + OFFSET


def batch_of(db: sqlite3.Connection, log: int, offset: int) -> tuple[int, int] | None:
    """Return the last offset and the time of the batch that holds `offset`, None if it was removed."""
    base = log << OFFSET_BITS
    row = db.execute(_BATCH_OF, (base + offset, base + OFFSET)).fetchone()
    return (row[0] & OFFSET, row[1]) if row else None


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
    kept = (cut & OFFSET) + 1
    db.execute("UPDATE logs SET first = ? WHERE id = ?", (kept, log))
    return int(kept - first)


def remove_topic(db: sqlite3.Connection, topic: int) -> None:
    """Delete a topic with its logs, their records and the positions that groups remember in them."""
    for (log,) in db.execute("SELECT id FROM logs WHERE topic = ?", (topic,)).fetchall():
        base = log << OFFSET_BITS
        db.execute("DELETE FROM batches WHERE id BETWEEN ? AND ?", (base, base + OFFSET))
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
    db.executemany(INSERT, emptied(log, begin, upto, at))
    db.execute(_MOVE, (0 if end else begin, upto, at, log))
    return int(end)


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
