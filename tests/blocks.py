"""Blocks of events, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import polars as pl

from activity.blocks import ABSENT, BLOCK_COLUMNS, Block
from activity.columns import from_hex
from activity.event import Event


def block_of(events: Sequence[Event], tables: Mapping[str, Sequence[str]] = {}) -> Block:
    """The events as a block; `tables` names the columns of each table, and is to begin with an underscore."""
    rows = [
        msgspec.structs.asdict(each)
        | {"type": each.type.value, "props": msgspec.json.encode(each.props).decode()}
        for each in events
    ]
    ids = pl.DataFrame({"id": [each.id for each in events]}, schema={"id": pl.String})
    numbers = ids.select(id_hi=from_hex("id"), id_lo=from_hex("id", 16))
    kinds = {name: kind for name, kind in BLOCK_COLUMNS.items() if name not in numbers.columns}
    columns = {name: pl.Series(name, [row[name] for row in rows], dtype=kind) for name, kind in kinds.items()}
    kept = {
        name: column for name, column in columns.items() if name not in ABSENT or set(column.to_list()) - {ABSENT[name]}
    }
    own, made = numbers.clone(), {}
    for index, names in tables.items():
        its = pl.DataFrame([kept.pop(name) for name in names if name in kept])
        if its.width:
            made[index] = its.unique(maintain_order=True)
            places = {row: place for place, row in enumerate(made[index].rows())}
            own = own.with_columns(pl.Series(index, [places[row] for row in its.rows()], pl.UInt32))
    return Block(own.hstack(list(kept.values())), made, len(events))
