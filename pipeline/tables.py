"""The run's writes into the warehouse: which table, which rows, which token."""

from __future__ import annotations

from collections.abc import Callable

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


def known(warehouse: Warehouse, before_batch: int) -> Known:
    return lambda keys: warehouse.known_events(keys, before_batch)


def collecting(into: list[pl.DataFrame]) -> Callable[[pl.DataFrame, str], None]:
    """A write that keeps the frames instead."""
    return lambda frame, _block: into.append(frame)
