"""Copies of SQLite files that other processes write to meanwhile."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.errors import Failed

_PAGES = 2_000
_TELL_SECONDS = 0.5

Line = dict[str, Any]


class _Stopped(Exception):
    """The copy is not wanted any more."""


def copy(source: Path, target: Path) -> Iterator[Line]:
    """Copies a database as of one moment, by SQLite's own backup; yields progress in bytes.

    The source is in WAL mode, so nobody waits for it: a read transaction holds the moment, and what is written
    meanwhile goes to the WAL. It runs in a thread, because SQLite calls back and cannot yield. Raises `Failed`."""
    stop = threading.Event()
    done = [0, 0]
    failed: list[BaseException] = []

    def step(_status: int, remaining: int, pages: int) -> None:
        done[:] = pages - remaining, pages
        if stop.is_set():
            raise _Stopped

    def run() -> None:
        try:
            _copy(source, target, step)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="backup")
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_TELL_SECONDS)
            yield {"part": source.name, "copied": done[0], "of": done[1]}
    finally:
        stop.set()
        thread.join()
    for error in failed:
        if isinstance(error, sqlite3.Error):
            raise Failed(f"{source} cannot be copied: {error}") from error
        raise error


def _copy(source: Path, target: Path, step: Any) -> None:
    # Read-write, as a reader of a WAL needs its index; it must be there, though.
    read = sqlite3.connect(f"{source.as_uri()}?mode=rw", uri=True, isolation_level=None)
    try:
        write = sqlite3.connect(target)
        try:
            read.execute("BEGIN")
            read.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
            read.backup(write, pages=_PAGES, progress=step, sleep=0)
            read.execute("ROLLBACK")
        finally:
            write.close()
    finally:
        read.close()
    target.chmod(0o600)
