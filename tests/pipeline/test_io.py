"""Inserts that a thread of their own does."""

from __future__ import annotations

import polars as pl
import pytest

from pipeline.io import BackgroundInserts


class Full:
    """A warehouse that takes no rows of one table."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def insert(self, table: str, frame: pl.DataFrame, token: str) -> None:
        if table == "full":
            raise OSError("no room")
        self.written.append(token)

    def lookup_events(self, keys: pl.DataFrame, before_batch: int) -> pl.DataFrame:
        return keys.clear()


def test_nothing_is_written_after_an_insert_that_failed() -> None:
    warehouse = Full()
    with BackgroundInserts(warehouse) as background:
        background.insert("rows", pl.DataFrame(), "first")
        background.insert("full", pl.DataFrame(), "second")
        background.insert("rows", pl.DataFrame(), "third")
        with pytest.raises(OSError, match="no room"):
            background.wait()
    assert warehouse.written == ["first"]
