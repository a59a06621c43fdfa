"""Events as columns: the names, types and defaults of a frame of events, and the reader that decodes a batch of the
wire's JSON straight into one, because building an object an event would cost more than all that follows.

Two columns differ from their field: `id` (32 hex digits) becomes `id_hi`, `id_lo`, and `visitor` (16 hex digits)
becomes a number, so that both compare as unsigned bytes do and sort fast. The tracking service takes
events without this module, which needs Polars.

The fast path hands all records at once to Polars' ndjson reader and then checks, by column, what makes a row an event.
A batch that it does not take whole is halved until the culprit stands alone, where `codec.decode` judges it; so one
bad record costs a few extra parses and never a neighbour. The two readers agree except for one leniency: a *text*
field that holds a number, a truth value or a list is taken here as its JSON text, and a null as the field's default.
Nothing that we write holds either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from io import BytesIO
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import polars as pl

from activity import codec
from activity.event import Event, EventType, PropValue

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

# The columns whose texts repeat in event after event. A run over many events carries them as `pl.Categorical`: ids of a
# dictionary, which are sorted, counted, written and read in a fraction of the time that texts take.
REPEATING = [
    "site", "type", "host", "source", "medium", "channel", "utm_source", "utm_medium", "utm_campaign", "name",
    "currency", "language", "screen", "browser", "browser_version", "os", "os_version", "device", "country", "region",
    "city", "protocol", "bot", "enriched_by",
]  # fmt: skip

# From so many rows on the dictionary pays for itself.
MANY = 5_000

_REQUIRED = [field.name for field in msgspec.structs.fields(Event) if field.required]
_TYPES = [kind.value for kind in EventType]


def _is_hex(name: str, digits: int) -> pl.Expr:
    return (pl.col(name).str.len_bytes() == digits) & ~pl.col(name).str.contains("[^0-9a-f]")


_IS_NAMED = _is_hex("id", 32) & _is_hex("visitor", 16)
_IS_EVENT = pl.all_horizontal(
    *(pl.col(name).is_not_null() for name in _REQUIRED),
    pl.col("v") == 1,
    _IS_NAMED,
    pl.col("type").is_in(_TYPES),
)


def from_hex(name: str, start: int = 0) -> pl.Expr:
    """Returns an expression that reads 16 hex digits of a column, from `start` on, as a number (UInt64)."""
    digits = pl.col(name).str.slice(start, 16) if start or name == "id" else pl.col(name)
    return digits.str.decode("hex").bin.reinterpret(dtype=pl.UInt64, endianness="big")


_DERIVED = {"visitor": from_hex("visitor"), "id_hi": from_hex("id"), "id_lo": from_hex("id", 16)}
_SELECTION = [
    _DERIVED[name].alias(name)
    if name in _DERIVED
    else pl.col(name).fill_null(DEFAULTS[name])
    if name in DEFAULTS
    else pl.col(name)
    for name in COLUMNS
]
_EMPTY = pl.DataFrame(schema={**COLUMNS, "row": pl.UInt32()})

# An event's identity and when it was received.
RECEIPTS = ["site", "visitor", "id_hi", "id_lo", "received_at"]


class _Receipt(msgspec.Struct, gc=False):
    """The fields that tell so and that it is an event, and those by which it may be forgotten."""

    v: Literal[1]
    id: str
    site: str
    type: EventType
    visitor: str
    occurred_at: int
    received_at: int
    user: str = ""
    protocol: str = str(DEFAULTS["protocol"])


_receipt = msgspec.json.Decoder(_Receipt)


def kinds_as_ids(names: Iterable[str]) -> dict[str, pl.DataType]:
    """Returns the types of these columns of events, those of `REPEATING` as `pl.Categorical`."""
    return {name: pl.Categorical() if name in REPEATING else COLUMNS[name] for name in names}


def as_ids(frame: pl.DataFrame) -> pl.DataFrame:
    """Returns the frame with its columns of `REPEATING` as `pl.Categorical`."""
    return frame.cast({name: pl.Categorical() for name in REPEATING if name in frame.columns})


def like(frame: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """Returns the frame with each column as `other` has it, text or `pl.Categorical`, if it has it."""
    own = frame.schema
    unlike = {name: kind for name, kind in other.schema.items() if name in own and own[name] != kind}
    return frame.cast(pl.Schema(own | unlike)) if unlike else frame


def as_texts(frame: pl.DataFrame) -> pl.DataFrame:
    """Returns the frame with every `pl.Categorical` column as `pl.String`."""
    return frame.cast({pl.Categorical: pl.String}) if any(kind == pl.Categorical for kind in frame.dtypes) else frame


def joined(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Returns frames with the same columns as one, whose columns of `REPEATING` are ids if those of any frame are."""
    if len({tuple(frame.dtypes) for frame in frames}) > 1:
        frames = list(map(as_ids, frames))
    return pl.concat(frames)


# Ids are numbered in an array with a place for each that there could be, up to so many times as long as the column.
_DENSE = 4


class Numbered(NamedTuple):
    """A column as numbers: of each row the index of its text in `values`, which has each text once."""

    numbers: np.ndarray
    values: pl.Series


def numbered(column: pl.Series) -> Numbered:
    """Returns a `pl.Categorical` column, which has at least one row and no nulls, with its texts numbered from 0."""
    ids = column.to_physical().to_numpy()
    least, most = int(ids.min()), int(ids.max())
    if least == most:
        return Numbered(np.zeros(len(ids), np.int64), column[:1].cast(pl.String))
    if most - least > _DENSE * len(ids):  # ids are of all texts that this process has seen
        _, rows, numbers = np.unique(ids, return_index=True, return_inverse=True)
        return Numbered(numbers, column.gather(rows).cast(pl.String))
    rows = np.full(most - least + 1, -1)
    rows[ids - least] = np.arange(len(ids))  # of each id some row that has it
    known = rows >= 0
    return Numbered((np.cumsum(known) - 1)[ids - least], column.gather(rows[known]).cast(pl.String))


def decode(values: Sequence[bytes]) -> tuple[pl.DataFrame, list[int]]:
    """Decode a batch of records: return a frame of its events, and the indexes (ascending) of what is no event.

    The frame has `COLUMNS` in order, defaults filled in (`sent_at` and `results` stay null when absent), `props` as
    JSON text, and last the column `row` (UInt32): the record's index in `values`. Its rows keep the order of `values`.
    Nothing is raised for bad bytes, and a bad record takes no neighbour along.
    """
    if not all(values):  # a log has emptied some: found out one by one they would cost more than all others
        return _around_empty(values, decode)
    frames: list[pl.DataFrame] = []
    bad: list[int] = []
    _read(values, 0, frames, bad)
    if not frames:
        return _EMPTY.clone(), bad
    frame = frames[0] if len(frames) == 1 else pl.concat(frames)
    return frame, bad


def receipts(values: Sequence[bytes], names: Sequence[str] = RECEIPTS) -> tuple[pl.DataFrame, list[int]]:
    """Decode only the identity and the receipt of a batch of records: `RECEIPTS` and `row`, and what is no event.

    `names` may have `occurred_at`, `user` and `protocol`, too. It takes a quarter of the time. A record that is an
    event by these columns but not by others, which no sender of ours makes, is taken for one here as long as all of
    its batch are."""
    if not all(values):
        return _around_empty(values, partial(receipts, names=names))
    frame = _received(values, names) if values else None
    if frame is None:
        decoded, bad = decode(values)
        return decoded.select(*names, "row"), bad
    rows = pl.int_range(frame.height, dtype=pl.UInt32, eager=True)
    return frame.select(*(_DERIVED.get(name, pl.col(name)).alias(name) for name in names), rows.alias("row")), []


def _received(values: Sequence[bytes], names: Sequence[str]) -> pl.DataFrame | None:
    """Return the fields of `values` that columns with these names are made of, None when some are no receipts.

    For so few fields an object a record is cheaper than Polars' reader, which looks at every field."""
    fields = dict.fromkeys(["id", "visitor", *(name for name in names if name in JSON_COLUMNS)])
    try:
        found = list(map(_receipt.decode, values))
        frame = pl.DataFrame(
            {name: [getattr(each, name) for each in found] for name in fields},
            schema={name: JSON_COLUMNS[name] for name in fields},
        )
    except (msgspec.DecodeError, UnicodeError, RecursionError, OverflowError, TypeError, pl.exceptions.PolarsError):
        return None
    return frame if frame.select(_IS_NAMED.all()).item() else None


def _around_empty(
    values: Sequence[bytes], read: Callable[[Sequence[bytes]], tuple[pl.DataFrame, list[int]]]
) -> tuple[pl.DataFrame, list[int]]:
    """What `read` makes of values of which some are empty: these are no events."""
    there = [index for index, value in enumerate(values) if value]
    frame, bad = read([values[index] for index in there])
    rows = pl.Series("row", there, pl.UInt32).gather(frame["row"])
    empty = [index for index, value in enumerate(values) if not value]
    return frame.with_columns(rows), sorted([*empty, *(there[index] for index in bad)])


def _read(values: Sequence[bytes], start: int, frames: list[pl.DataFrame], bad: list[int]) -> None:
    """Append the events of `values` to `frames` and the indexes of the others to `bad`; the first has index `start`."""
    if not values:
        return
    frame = _parse(values)
    if frame is not None:
        frames.append(_finish(frame, start))
    elif len(values) > 1:
        middle = len(values) // 2
        _read(values[:middle], start, frames, bad)
        _read(values[middle:], start + middle, frames, bad)
    else:
        try:
            event = codec.decode(values[0])
        except codec.Undecodable:
            bad.append(start)
        else:
            frames.append(_finish(_one(event), start))


def _parse(values: Sequence[bytes]) -> pl.DataFrame | None:
    """Return the rows of `values`, or None when not all of them are plainly events."""
    frame = _rows(values)
    try:
        return None if frame is None else _with_props(frame, values)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _rows(values: Sequence[bytes]) -> pl.DataFrame | None:
    """Return the fields of `values` (`JSON_COLUMNS`), or None when not all of them are plainly events."""
    lines = b"\n".join(values)
    count = len(values)
    # Polars reads an escaped lone surrogate as NUL. (One byte is found far faster than two.)
    if b"\\" in lines and (b"\\ud" in lines or b"\\uD" in lines):
        return None
    # Every record begins and ends as an object does, so the records are set off by as many of these marks as there are
    # joints; one more would be inside a record, which then holds several. So rows and records correspond, even where a
    # record holds newlines. Mostly none does, and newlines are found faster than the marks.
    if {value[:1] for value in values} != {b"{"} or {value[-1:] for value in values} != {b"}"}:
        return None
    if lines.count(b"\n") != count - 1 and lines.count(b"}\n{") != count - 1:
        return None
    try:
        frame = pl.read_ndjson(BytesIO(lines), schema=JSON_COLUMNS)
    except pl.exceptions.PolarsError:
        return None
    if frame.height != count:
        return None
    good = frame.select(_IS_EVENT.fill_null(False).all()).item()
    return frame if good else None


class _Props(msgspec.Struct):
    props: dict[str, PropValue]


_props = msgspec.json.Decoder(_Props)


def _with_props(frame: pl.DataFrame, values: Sequence[bytes]) -> pl.DataFrame:
    """Take the props of the rows that have any from msgspec: Polars, which reads an object as text here, leaves its
    keys unescaped and writes floats as integers."""
    if frame["props"].null_count() == frame.height:
        return frame
    rows = frame["props"].is_not_null().arg_true()
    texts = [msgspec.json.encode(_props.decode(values[row]).props).decode() for row in rows]
    return frame.with_columns(frame["props"].scatter(rows, texts))


def _one(event: Event) -> pl.DataFrame:
    row = msgspec.structs.asdict(event)
    row["type"] = event.type.value
    row["props"] = msgspec.json.encode(event.props).decode()
    return pl.DataFrame([row], schema=JSON_COLUMNS)


def _finish(frame: pl.DataFrame, start: int) -> pl.DataFrame:
    rows = pl.int_range(start, start + frame.height, dtype=pl.UInt32, eager=True)
    return frame.select(*_SELECTION, rows.alias("row"))
