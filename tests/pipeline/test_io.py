"""Writes that go on behind the graph."""

from __future__ import annotations

import polars as pl
import pytest

from pipeline.io import Behind


def test_nothing_is_written_behind_a_write_that_failed() -> None:
    written: list[str] = []

    def fail(frame: pl.DataFrame, block: str) -> None:
        raise OSError("no room")

    with Behind() as behind:
        behind(lambda frame, block: written.append(block))(pl.DataFrame(), "first")
        behind(fail)(pl.DataFrame(), "second")
        behind(lambda frame, block: written.append(block))(pl.DataFrame(), "third")
        with pytest.raises(OSError, match="no room"):
            behind.wait()
    assert written == ["first"]
