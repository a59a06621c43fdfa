"""One SQLite file: a connection that writes, a few that read, opened when first needed, every wait bounded."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from brokers.base import BrokerError, Damaged, Unreachable


def file_of(url: str) -> Path:
    """The path in `sqlite:///absolute/path` or `sqlite:relative/path`."""
    parts = urlsplit(url)
    if parts.netloc or not parts.path.strip("/"):
        raise ValueError(f"{url}: write sqlite:///absolute/path, with three slashes")
    return Path(unquote(parts.path))


class SqliteFile:
    """Thread-safe. Writers queue for one connection; readers never wait for them (WAL)."""

    def __init__(self, path: Path, shown: str, schema: str, timeout: float) -> None:
        self.path = path
        self._shown = shown  # how messages call it
        self._schema = schema
        self._timeout = timeout
        self._write_lock = threading.RLock()
        self._writer: sqlite3.Connection | None = None
        self._idle: list[sqlite3.Connection] = []
        self._closed = False

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """`BEGIN IMMEDIATE` … `COMMIT`: durable on exit, nothing of it on an exception."""
        with self._write_lock, self._named_errors():
            if self._closed:
                raise BrokerError(f"{self._shown} is closed: connect again")
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
        """A connection that sees whole transactions; let no statement outlive the block."""
        with self._named_errors():
            try:
                db = self._idle.pop()
            except IndexError:
                if self._closed:
                    raise BrokerError(f"{self._shown} is closed: connect again") from None
                db = self._connect(self._timeout if timeout is None else timeout)
            try:
                yield db
            finally:
                if self._closed:
                    db.close()
                else:
                    self._idle.append(db)

    def ask(self, statement: str, values: Sequence[Any] = (), timeout: float | None = None) -> list[Any]:
        """All rows of one statement."""
        with self.reading(timeout) as db:
            return db.execute(statement, values).fetchall()

    def close(self) -> None:
        self._closed = True
        with self._write_lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
        while self._idle:
            self._idle.pop().close()

    def damaged(self, error: Exception) -> Damaged:
        """What to say when the file holds something else than was written."""
        return Damaged(
            f"{self._shown}: {self.path} is damaged, or no log of Footfall ({error}): stop what uses it, make a file "
            f"of what can be read, `sqlite3 {self.path} .recover | sqlite3 mended.db`, and put that in its place"
        )

    def _connect(self, timeout: float) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unreachable(f"{self._shown}: {error}: name a folder that can be written") from error
        db = sqlite3.connect(self.path, timeout=timeout, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            # Folding the WAL back costs a second fsync: every 16 MB rather than every 4.
            db.execute("PRAGMA wal_autocheckpoint=4000")
            db.execute("PRAGMA journal_size_limit=67108864")
            if not db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall():
                db.executescript(f"BEGIN IMMEDIATE; {self._schema} COMMIT;")
        except BaseException:
            db.close()
            raise
        return db

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = error.sqlite_errorcode & 0xFF
            # The last: our statements are always the same, so it is another's file in which they find nothing.
            if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
                raise self.damaged(error) from error
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise Unreachable(f"{self._shown}: another process holds it ({error}): retry") from error
            if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
                raise Unreachable(f"{self._shown}: {error}: name a file that can be written") from error
            raise
