"""Writes that a thread of their own does."""

from __future__ import annotations

import polars as pl
import pytest

from pipeline.io import BackgroundWriter


def test_nothing_is_written_after_a_write_that_failed() -> None:
    written: list[str] = []

    def fail(frame: pl.DataFrame, block: str) -> None:
        raise OSError("no room")

    with BackgroundWriter() as background:
        background.wrap(lambda frame, block: written.append(block))(pl.DataFrame(), "first")
        background.wrap(fail)(pl.DataFrame(), "second")
        background.wrap(lambda frame, block: written.append(block))(pl.DataFrame(), "third")
        with pytest.raises(OSError, match="no room"):
            background.wait()
    assert written == ["first"]
