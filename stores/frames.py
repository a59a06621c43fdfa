"""Frames to the engine and back: Arrow on the way, times as Int64 milliseconds, text as String where it is UTF-8."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import polars as pl
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.external import ExternalData

from stores.clickhouse import Beside, ask

TIME = pl.Datetime("ms", "UTC")


def arrow(frame: pl.DataFrame) -> bytes:
    """The frame as the engine reads it (`ArrowStream`)."""
    body = io.BytesIO()
    frame.write_ipc_stream(body, compat_level=pl.CompatLevel.oldest())
    return body.getvalue()


def answer(
    client: Client, sql: str, params: Mapping[str, Any] | None, beside: ExternalData | None = None
) -> pl.DataFrame:
    """The answer to a statement. A text column that is no valid UTF-8 stays Binary."""
    frame = pl.read_ipc_stream(io.BytesIO(ask(client, sql, "ArrowStream", params, beside)))
    times = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]
    frame = frame.with_columns(pl.col(times).dt.epoch("ms"))
    return frame.with_columns(_as_text(frame[name]) for name, kind in frame.schema.items() if kind == pl.Binary)


def wanted(frame: pl.DataFrame, types: Mapping[str, str]) -> Beside:
    """The frame as a table `wanted` beside a statement."""
    return Beside("wanted", types, arrow(frame.rechunk()), "ArrowStream")


def shaped(frame: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The frame with these columns and types."""
    return frame.select(pl.col(name).cast(kind) for name, kind in schema.items())


def _as_text(values: pl.Series) -> pl.Series:
    try:
        return values.cast(pl.String)
    except pl.exceptions.PolarsError:
        return values
