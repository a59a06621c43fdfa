"""An event as columns: the names, types and defaults with which a batch of the wire's JSON is read.

Two columns differ from their field: `id` (32 hex digits) becomes `id_hi`, `id_lo`, and `visitor` (16 hex
digits) becomes a number, so that both compare as unsigned bytes do and sort fast. This is the only place that
gives an event's fields Polars types; the door, which has no frames, imports `activity.event` alone.
"""

from __future__ import annotations

import msgspec
import polars as pl

from activity.event import Event

# What a columnar reader expects of the JSON; absent fields read as null and are filled from DEFAULTS.
JSON_COLUMNS: dict[str, pl.DataType] = {
    name: {
        "v": pl.Int64(),
        "occurred_at": pl.Int64(),
        "received_at": pl.Int64(),
        "sent_at": pl.Int64(),
        "clamped": pl.Boolean(),
        "interactive": pl.Boolean(),
        "results": pl.Int64(),
        "engaged_ms": pl.Int64(),
    }.get(name, pl.String())
    for name in Event.__struct_fields__
}

DEFAULTS: dict[str, object] = {
    field.name: ("{}" if field.name == "props" else field.default)
    for field in msgspec.structs.fields(Event)
    if not field.required and field.name not in ("sent_at", "results")
}

# The columns of a decoded batch, in order.
COLUMNS: dict[str, pl.DataType] = {
    "site": pl.String(),
    "visitor": pl.UInt64(),
    "id_hi": pl.UInt64(),
    "id_lo": pl.UInt64(),
    **{name: dtype for name, dtype in JSON_COLUMNS.items() if name not in ("v", "id", "site", "visitor")},
}
