"""Frames to the engine and back: Arrow on the way, times as Int64 milliseconds, text as String where it is UTF-8."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import polars as pl
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.external import ExternalData

from stores.clickhouse import Beside, ask

if TYPE_CHECKING:
    import pyarrow

TIME = pl.Datetime("ms", "UTC")


def arrow(frame: pl.DataFrame) -> bytes:
    """The frame as the engine reads it (`ArrowStream`).

    Parquet would be smaller, but an insert from it goes by its rows and not by its token."""
    body = io.BytesIO()
    frame.write_ipc_stream(body, compat_level=pl.CompatLevel.oldest())
    return body.getvalue()


def without_empty(frame: pl.DataFrame, types: Mapping[str, str], keeping: Collection[str]) -> pl.DataFrame:
    """The frame without columns in which every value is what the engine fills in where there is none; not `keeping`.

    That takes less than reading them: of an imported log half of the columns are empty. `types` are the table's, by
    column; a frame without a value anywhere stays as it is."""
    filled = [name for name in frame.columns if name in keeping or not _is_empty(frame[name], types[name])]
    return frame.select(filled) if filled else frame


def _is_empty(values: pl.Series, its_type: str) -> bool:
    """Whether each value of a column is null, or, where the table has no nulls there, "", 0 or false. The first one
    tells nearly always."""
    kind, first = values.dtype, values[0]
    if values.null_count() or its_type.startswith("Nullable"):
        return values.null_count() == len(values)
    if kind == pl.String:
        return first == "" and values.str.len_bytes().max() == 0
    if kind == pl.Categorical:
        ids = values.to_physical()
        return first == "" and ids.min() == ids.max()
    if kind == pl.Boolean:
        return not first and not values.any()
    return kind.is_numeric() and first == 0 and values.min() == values.max()


def answer(
    client: Client, sql: str, params: Mapping[str, Any] | None, beside: ExternalData | None = None, ids: bool = False
) -> pl.DataFrame:
    """The answer to a statement. A text column that is no valid UTF-8 stays Binary.

    With `ids` the columns that the engine keeps as `LowCardinality` come as `pl.Categorical`: their texts are sent once
    and not with each row."""
    settings = {"output_format_arrow_low_cardinality_as_dictionary": "1"} if ids else None
    body = ask(client, sql, "ArrowStream", params, beside, settings)
    frame = _with_ids(body) if ids else pl.read_ipc_stream(io.BytesIO(body))
    times = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]
    frame = frame.with_columns(pl.col(times).dt.epoch("ms"))
    return frame.with_columns(_as_text(frame[name]) for name, kind in frame.schema.items() if kind == pl.Binary)


def _with_ids(body: bytes) -> pl.DataFrame:
    """The frame of an Arrow stream. Polars itself reads none whose dictionaries grow."""
    import pyarrow as pa  # 60 ms, which only those who form sessions need

    def texts_once(column: pyarrow.ChunkedArray[Any]) -> pyarrow.ChunkedArray[Any]:
        if not pa.types.is_dictionary(column.type):
            return column
        try:
            return column.cast(pa.dictionary(column.type.index_type, pa.string()))
        except pa.ArrowInvalid:  # no UTF-8
            return column.cast(pa.binary())

    table = pa.ipc.open_stream(body).read_all()
    return pl.DataFrame(pl.from_arrow(pa.table(list(map(texts_once, table.columns)), names=table.column_names)))


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
