"""Blocks: many events as columns, in which what they have in common stands once.

An access log has few pages and visitors for its many requests. A block keeps these in tables of their own, and an
event as a row of what is its alone, with the indexes of its page and visitor. Thousands of events are read so in a
tenth of the time that they take as JSON, and have a fifth of the bytes; of fewer than some 25 the tables alone are
larger. A block is another notation of the wire's records and no other content: `values` gives the bytes that
`codec.encode` makes of each event, and `frame` the columns that `columns.decode` makes of these bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl

from activity.columns import COLUMNS, DEFAULTS, JSON_COLUMNS, from_hex, kinds_as_ids
from activity.event import SCHEMA_VERSION, visitor_key
from activity.rollup import hex16

# The columns of a block: as on the wire, but for the id, of which two numbers are made, and the version.
BLOCK_COLUMNS: dict[str, pl.DataType] = {
    "id_hi": pl.UInt64(),
    "id_lo": pl.UInt64(),
    **{name: kind for name, kind in JSON_COLUMNS.items() if name not in ("v", "id")},
}

# What the events have of a column that is not there.
ABSENT: dict[str, object] = DEFAULTS | {"sent_at": None, "results": None}

_VERSION = 1
_ESCAPED = r'["\\\x00-\x1f]'
_PLACE = "_place"
_FIELD_BYTES = 16  # of a field's name, or a number
_text = msgspec.json.Encoder().encode


class Unreadable(ValueError):
    """These bytes are no block of a version that is known here."""


class Block(NamedTuple):
    """Events: a row each, and tables of what several have in common.

    `rows` has some of `BLOCK_COLUMNS` and for each of `tables`, whose names begin with an underscore, a column of
    indexes (UInt32). A column is in one of them; of one that is in none, all events have the default. Of a block whose
    events were erased in part, `rows` has also the place of each event among the `size` there were."""

    rows: pl.DataFrame
    tables: Mapping[str, pl.DataFrame]
    size: int

    def places(self) -> pl.Series:
        """Where each event stands among the `size` of the block, counted from 0 (UInt32, ascending)."""
        if _PLACE in self.rows.columns:
            return self.rows[_PLACE]
        return pl.int_range(self.size, dtype=pl.UInt32, eager=True)

    def take(self, rows: np.ndarray) -> Block:
        """Return a block of these rows alone, in this order, and of what they have in their tables."""
        own = self.rows.drop(_PLACE) if _PLACE in self.rows.columns else self.rows
        return _without_unused(Block(own[rows], self.tables, len(rows)))

    def without(self, rows: Sequence[int]) -> Block:
        """Return the block without these rows, and with nothing that only they had; all others keep their places."""
        kept = np.delete(np.arange(self.rows.height), rows)
        return _without_unused(self._replace(rows=self.rows.with_columns(self.places().alias(_PLACE))[kept]))

    def between(self, start: int, stop: int) -> Block:
        """Return the places from `start` to `stop` - 1."""
        if start <= 0 and stop >= self.size:
            return self
        stop = min(stop, self.size)
        start = min(max(start, 0), stop)
        if _PLACE not in self.rows.columns:
            return self._replace(rows=self.rows.slice(start, stop - start), size=stop - start)
        its = self.rows.filter(pl.col(_PLACE).is_between(start, stop, closed="left"))
        return self._replace(rows=its.with_columns(pl.col(_PLACE) - start), size=stop - start)

    def json_bytes(self) -> int:
        """Return about how many bytes its events have as JSON, which may be a thousand times those of the block."""
        fields = self.rows.width + sum(table.width for table in self.tables.values())
        texts = _text_bytes(self.rows).sum() + sum(
            _text_bytes(table)[self.rows[name].to_numpy()].sum() for name, table in self.tables.items()
        )
        return int(texts) + _FIELD_BYTES * fields * self.rows.height

    def column(self, name: str) -> pl.Series:
        """Return a column that is there, a value for each row. Raises polars' ColumnNotFoundError for another."""
        for index, table in self.tables.items():
            if name in table.columns:
                return table[name].gather(self.rows[index])
        return self.rows[name]


class _Packed(msgspec.Struct):
    """A block's bytes: MessagePack of this, in which each frame is an Arrow stream. Texts lie in them as they are."""

    version: int
    size: int
    rows: bytes
    tables: dict[str, bytes]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Packed).decode


def pack(block: Block) -> bytes:
    """Return the block's bytes, from which `unpack` makes it again. The first is a map's of MessagePack."""
    tables = {name: _arrow(table) for name, table in block.tables.items()}
    return _encode(_Packed(_VERSION, block.size, _arrow(block.rows), tables))


def unpack(data: bytes) -> Block:
    """Return the block that `pack` wrote. Raises `Unreadable`."""
    try:
        packed = _decode(data)
        if packed.version != _VERSION:
            raise Unreadable(f"it is a block of version {packed.version}, which a newer Footfall wrote: install that")
        tables = {name: pl.read_ipc_stream(table) for name, table in packed.tables.items()}
        rows = pl.read_ipc_stream(packed.rows)
        return Block(rows, tables, packed.size)
    except (msgspec.MsgspecError, pl.exceptions.PolarsError, OSError) as error:
        raise Unreadable(f"it is no block: {error}") from error


def _text_bytes(table: pl.DataFrame) -> np.ndarray:
    """How many bytes the texts of each row have."""
    lengths = [pl.col(name).str.len_bytes() for name, kind in table.schema.items() if kind == pl.String]
    return table.select(pl.sum_horizontal(lengths)).to_series().to_numpy() if lengths else np.zeros(table.height)


def _arrow(frame: pl.DataFrame) -> bytes:
    # In the oldest form a text's bytes lie together, and of no text that is not in the frame.
    return frame.write_ipc_stream(None, compat_level=pl.CompatLevel.oldest()).getvalue()


def _without_unused(block: Block) -> Block:
    # Blocks are small and many: what is not planned first takes a tenth of the time.
    rows, tables = {name: block.rows[name] for name in block.rows.columns}, {}
    for name, table in block.tables.items():
        used = np.zeros(table.height, bool)
        indexes = rows[name].to_numpy()
        used[indexes] = True
        rows[name] = pl.Series(name, (np.cumsum(used, dtype=np.uint32) - np.uint32(1))[indexes])
        tables[name] = table[used.nonzero()[0]]
    return block._replace(rows=pl.DataFrame(list(rows.values())), tables=tables)


def frame(*blocks: Block) -> pl.DataFrame:
    """Return the events as `columns.COLUMNS`, repeating texts as `pl.Categorical`; `row` is each one's place in its
    block."""
    kinds = kinds_as_ids(COLUMNS)
    parts = [_present(block, kinds) for block in blocks]
    found = parts[0] if len(parts) == 1 else pl.concat(parts, how="diagonal")
    lacking = {name for name in COLUMNS if any(name not in part.columns for part in parts)}
    # Made anew each time: as long as such an expression is kept, Polars keeps every text that was ever an id.
    absent = {name: pl.lit(ABSENT[name], kinds[name]) for name in lacking}
    filled = [pl.col(name).fill_null(value) if name in found.columns else value for name, value in absent.items()]
    return found.with_columns(its.alias(name) for name, its in zip(absent, filled, strict=True)).select(*COLUMNS, "row")


def _present(block: Block, kinds: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The columns that are there, and `row`."""
    found = _ready(block.rows, kinds).hstack([block.places().alias("row")])
    for index, table in block.tables.items():
        found = found.hstack(_ready(table, kinds)[block.rows[index]])
    return found


def _ready(table: pl.DataFrame, kinds: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The columns of a table that an event has, as those of a frame of events."""
    changed = {
        name: from_hex(name) if name == "visitor" else pl.col(name).cast(kinds[name])
        for name, kind in table.schema.items()
        if name in kinds and kind != kinds[name]
    }
    return table.select(changed.get(name, name) for name in table.columns if name in kinds)


def keys(block: Block) -> list[bytes]:
    """Return each event's record key, see `visitor_key`."""
    found, indexes = distinct_keys(block)
    return [found[index] for index in indexes]


def distinct_keys(block: Block) -> tuple[list[bytes], np.ndarray]:
    """Return record keys, and for each event the index of its own; mostly a visitor's is there once."""
    table = next((name for name, its in block.tables.items() if "visitor" in its.columns), "")
    sites = next((its["site"] for its in block.tables.values() if "site" in its.columns), None)
    if table and sites is not None and sites.n_unique() == 1:
        found = visitor_key(sites[0], "").decode() + block.tables[table]["visitor"]
        return found.cast(pl.Binary).to_list(), block.rows[table].to_numpy()
    pairs = zip(block.column("site"), block.column("visitor"), strict=True)
    return [visitor_key(*pair) for pair in pairs], np.arange(block.rows.height)


def values(block: Block) -> list[bytes]:
    """Return what the wire has for each event, the bytes of `codec.encode`."""
    if not block.rows.height:
        return []
    of_table = {name: index for index, table in block.tables.items() for name in table.columns}
    there = ["id", *(name for name in JSON_COLUMNS if name in of_table or name in block.rows.columns)]
    texts: list[pl.Series] = []
    for index, names in groupby(there, key=of_table.get):
        table = block.rows if index is None else block.tables[index]
        text = table.select(pl.concat_str([_member(table, name) for name in names])).to_series()
        texts.append(text if index is None else text.gather(block.rows[index]))
    joined = pl.concat_str([pl.lit(f'{{"v":{SCHEMA_VERSION}'), *texts, pl.lit("}")])
    return pl.select(joined.cast(pl.Binary)).to_series().to_list()


def _member(table: pl.DataFrame, name: str) -> pl.Expr:
    """The text of a field in each event's JSON, with the comma before it; "" where it has its default."""
    begin = pl.lit(f',"{name}":')
    if name == "id":
        return pl.concat_str(begin, pl.lit('"'), hex16("id_hi"), hex16("id_lo"), pl.lit('"'))
    column = table[name]
    if column.dtype != pl.String:
        text = pl.concat_str(begin, column.cast(pl.String))
    elif name == "props":
        text = pl.concat_str(begin, column)
    else:
        text = pl.concat_str(begin, pl.lit('"'), _escaped(column), pl.lit('"'))
    if name not in ABSENT:
        return text
    default = ABSENT[name]
    has = column.is_not_null() if default is None else column != default
    return pl.when(has).then(text).otherwise(pl.lit(""))


def _escaped(column: pl.Series) -> pl.Series:
    """The texts as they stand in JSON."""
    rows = column.str.contains(_ESCAPED).arg_true()
    if not rows.len():
        return column
    return column.scatter(rows, [_text(text)[1:-1].decode() for text in column.gather(rows)])
