"""The run's writes into the warehouse: which table, which rows, which token."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import polars as pl

from pipeline.context import Known, Write
from stores.warehouse import Warehouse


def writes(warehouse: Warehouse, token: str, batch: int) -> dict[str, Write]:
    """Writes of one batch, by sink. `token` says which batch of which checkpoint; the block completes it."""

    def into(table: str, mark: bool) -> Write:
        def write(frame: pl.DataFrame, block: str) -> None:
            rows = frame.with_columns(batch=pl.lit(batch, dtype=pl.UInt64)) if mark else frame
            if "deleted" in rows.columns:
                rows = rows.with_columns(pl.col("deleted").cast(pl.UInt8))
            warehouse.insert(table, rows, f"{table}/{token}/{block}")

        return write

    return {
        "events": into("event_rows", True),
        "sessions": into("session_rows", True),
        "rollup_1m": into("rollup_1m_rows", False),
        "rollup_1h": into("rollup_1h_rows", False),
        "dead_letters": into("dead_letter_rows", True),
    }


class Behind:
    """Writes in a thread of their own, in order, while the run goes on; none after one that failed.

    Use it as a context manager."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "writes")
        self._begun: list[Future[None]] = []
        self._failed = False

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def __call__(self, write: Write) -> Write:
        """The write as one that returns before it is done."""
        return lambda frame, block: self._begun.append(self._thread.submit(self._write, write, frame, block))

    def _write(self, write: Write, frame: pl.DataFrame, block: str) -> None:
        if self._failed:
            return
        try:
            write(frame, block)
        except BaseException:
            self._failed = True
            raise

    def wait(self) -> None:
        """Until all is written; raises what a write raised."""
        for writing in self._begun:
            writing.result()


def known(warehouse: Warehouse, before_batch: int) -> Known:
    return lambda keys: warehouse.known_events(keys, before_batch)


def collecting(into: list[pl.DataFrame]) -> Callable[[pl.DataFrame, str], None]:
    """A write that keeps the frames instead."""
    return lambda frame, _block: into.append(frame)
