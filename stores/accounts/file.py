"""The SQLite file of the accounts: its connection, its schema, and what its errors mean.

Several processes of one machine may use it at the same time. The file is made by the first write, and a process that
reads before has no accounts; it notices the file without a restart.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stores.backends import make_durable_folder
from stores.base import StoreUnreachable, Unreadable, Unusable

_SCHEMA = Path(__file__).parents[1] / "sql" / "accounts"
_TIMEOUT = 10.0  # seconds to wait for another process's write


class AccountsFile:
    """One connection to the file at `path`, opened when it is first needed. Safe for threads.

    Every method raises `StoreUnreachable` when the file cannot be used now, `Unreadable` when it is damaged and
    `Unusable` when a newer version of Footfall made it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None  # device and inode

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """`BEGIN IMMEDIATE` … `COMMIT`: durable on exit, rolled back on an exception. Makes the file if need be."""
        with self._lock, self._named_errors():
            db = self._connected()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def rows(self, statement: str, **values: Any) -> list[sqlite3.Row]:
        """All rows of one statement with bound values; none if there is no file."""
        with self._lock, self._named_errors():
            if self._db is None and not self.path.exists():
                return []
            return self._connected().execute(statement, values).fetchall()

    def change(self, statement: str, **values: Any) -> int:
        """Run one statement in a transaction of its own; returns how many rows it changed."""
        with self.transaction() as db:
            return db.execute(statement, values).rowcount

    def close(self) -> None:
        with self._lock:
            if self._db is not None:
                self._db.close()
            self._db = self._opened = None

    def _connected(self) -> sqlite3.Connection:
        """The connection to the file that is there now. One that was removed under us must not open the doors."""
        if self._db is not None and self._there() != self._opened:
            if self._there() is None:
                raise StoreUnreachable(f"{self.path} was removed: put it back, or restart to begin without accounts")
            self.close()
        if self._db is None:
            self._db = self._connect()
            self._opened = self._there()
        return self._db

    def _there(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _connect(self) -> sqlite3.Connection:
        make_durable_folder(self.path.parent)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self.path, timeout=_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.execute("PRAGMA foreign_keys=ON")
            self._migrate(db)
        except BaseException:
            db.close()
            raise
        return db

    def _migrate(self, db: sqlite3.Connection) -> None:
        """Bring the schema up to date. `user_version` is the number of the last file that was applied."""
        files = sorted(_SCHEMA.glob("*.sql"))
        if self._version(db) == len(files):
            return
        db.execute("BEGIN IMMEDIATE")
        done = self._version(db)  # another process may have been faster
        if done > len(files):
            db.execute("ROLLBACK")
            raise Unusable(f"{self.path} was made by a newer version of Footfall: use that version")
        for file in files[done:]:
            for statement in file.read_text(encoding="utf-8").split(";"):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(files)}")
        db.execute("COMMIT")

    @staticmethod
    def _version(db: sqlite3.Connection) -> int:
        return int(db.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreUnreachable(f"{self.path}: {error.strerror}: look at its owner and permissions") from error
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
                remedy = "put a copy of it back, or remove it and add the users again"
                raise Unreadable(str(self.path), f"it is damaged or no accounts file ({error})", remedy) from error
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise StoreUnreachable(f"{self.path}: another process holds it ({error}): try again") from error
            if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_FULL):
                words = f"{self.path}: {error}: look at its permissions and the space on disk"
                raise StoreUnreachable(words) from error
            raise
