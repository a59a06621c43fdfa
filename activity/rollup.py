"""Rollups of events (signed counts by site, time and dimension) and digests of sessions.

A rollup holds only what adds up exactly: counts of deduplicated events by people. Sessions and visitors do not add
up over buckets, so those numbers are read from the sessions. A retracted event counts with weight −1; the sum over
all batches equals one GROUP BY over the stored events.

Equal digests of a day's sessions prove that a replay rebuilt what the live run made. The digest is the SHA-256 of
UTF-8 lines, each ending with a newline: one line for each session of one site that started on the UTC day, sessions
that are still open included. A line has the fields of `DIGEST_FIELDS` in order, separated by tabs: `visitor` and
`session_id` as 16 hex digits, times in milliseconds, numbers in decimal, booleans as 0 or 1, texts with backslash,
tab, newline and carriage return written as \\\\, \\t, \\n, \\r. Lines are sorted by (`visitor`, `session_id`), which
is the order of their bytes. No row version and no float takes part.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
import polars as pl

from activity import columns
from activity.definitions import HOUR_MS, MINUTE_MS
from activity.session import COLUMNS as SESSION_COLUMNS

GRAINS: dict[str, int] = {"rollup_1m": MINUTE_MS, "rollup_1h": HOUR_MS}

COLUMNS: dict[str, pl.DataType] = {
    "site": pl.String(),
    "bucket": pl.Int64(),
    "dimension": pl.String(),
    "value": pl.String(),
    "events": pl.Int64(),
    "pageviews": pl.Int64(),
    "searches": pl.Int64(),
    "engaged_ms": pl.Int64(),
}

# dimension -> (the event's column, the only event type it counts or None for all)
DIMENSIONS: dict[str, tuple[str | None, str | None]] = {
    "": (None, None),
    "page": ("path", "pageview"),
    "search": ("term", "search"),
    "event": ("name", "custom"),
    "source": ("source", None),
    "channel": ("channel", None),
    "country": ("country", None),
    "device": ("device", None),
    "browser": ("browser", None),
    "os": ("os", None),
}

# What a row counts for, and its counts.
KEY = ["site", "bucket", "dimension", "value"]
COUNTS = ["events", "pageviews", "searches", "engaged_ms"]

# Keys are counted in an array with a place for each that there could be, as long as it is at most so many times as
# long as there are rows.
_ROOMY = 4


def roll_up(fresh: pl.DataFrame, retracted: pl.DataFrame, grain_ms: int) -> pl.DataFrame:
    """Returns signed counts in COLUMNS: one row per (site, bucket, dimension, value) whose counts are not all zero.

    `bucket` is the start of the bucket in Unix milliseconds, `grain_ms` its length. Events in `fresh` count +1, those
    in `retracted` −1. Both frames have the columns of `activity.columns`; events of bots are skipped.
    """
    needed = ["site", "occurred_at", "type", "engaged_ms", "bot"]
    needed += [column for column, _ in DIMENSIONS.values() if column]
    weighted = [fresh.select(needed).with_columns(weight=1), retracted.select(needed).with_columns(weight=-1)]
    signed = pl.concat(frame.filter(pl.col("bot") == "") for frame in weighted)
    if not signed.height:
        return pl.DataFrame(schema=COLUMNS)
    weight, bucket = pl.col("weight").cast(pl.Int64), pl.col("occurred_at") // grain_ms
    sites = columns.numbered(signed["site"].cast(pl.Categorical))
    first, last = signed.select(first=bucket.min(), last=bucket.max()).row(0)
    span = last - first + 1
    counted = signed.with_columns(
        pl.Series("place", sites.numbers * span) + bucket - first,
        events=weight,
        pageviews=weight * (pl.col("type") == "pageview"),
        searches=weight * (pl.col("type") == "search"),
        engaged_ms=weight * pl.col("engaged_ms"),
    )
    of_type = {only: counted.filter(pl.col("type") == only) for _, only in DIMENSIONS.values() if only}
    parts = []
    for dimension, (column, only) in DIMENSIONS.items():
        rows = of_type[only] if only else counted
        if rows.height:
            summed = _summed(rows, column, len(sites.values) * span)
            parts.append(summed.select("place", "value", *COUNTS, dimension=pl.lit(dimension)))
    moved = pl.any_horizontal(pl.col(name) != 0 for name in COUNTS)
    summed = pl.concat(parts).filter(moved)
    site = sites.values.gather(summed["place"] // span)
    summed = summed.with_columns(site.alias("site"), bucket=(pl.col("place") % span + first) * grain_ms)
    return summed.select(pl.col(name).cast(kind) for name, kind in COLUMNS.items())


def _summed(rows: pl.DataFrame, column: str | None, places: int) -> pl.DataFrame:
    """The sums of COUNTS by `place`, a number below `places`, and by `value`, which is the text in the column."""
    if column and rows[column].dtype == pl.String:
        return rows.group_by("place", value=pl.col(column)).agg(pl.col(COUNTS).sum())
    numbers, texts = columns.numbered(rows[column]) if column else (np.zeros(rows.height, np.int64), pl.Series([""]))
    keys = rows["place"].to_numpy() * len(texts) + numbers
    room = places * len(texts)
    if room <= _ROOMY * rows.height and int(rows["engaged_ms"].abs().sum()) < 2**53:  # so far floats are exact
        made = {name: np.bincount(keys, rows[name].to_numpy(), room).astype(np.int64) for name in COUNTS}
        used = np.flatnonzero(np.any(list(made.values()), axis=0))
        summed = pl.DataFrame({"key": used} | {name: counts[used] for name, counts in made.items()})
    else:
        summed = rows.select(COUNTS).with_columns(key=keys).group_by("key").agg(pl.col(COUNTS).sum())
    place, number = np.divmod(summed["key"].to_numpy(), len(texts))
    return summed.select(pl.Series("place", place), texts.gather(number).alias("value"), *COUNTS)


DIGEST_FIELDS: tuple[str, ...] = tuple(name for name in SESSION_COLUMNS if name != "site")
_AT_ONCE = 10_000  # lines that are joined to be hashed


def session_lines(sessions: pl.DataFrame) -> pl.Series:
    """Returns the sorted digest lines (String, without newlines) of one site's sessions of one day.

    `sessions` has at least the columns of `session.COLUMNS`.
    """
    ordered = sessions.sort("visitor", "session_id")
    texts = [name for name, kind in SESSION_COLUMNS.items() if isinstance(kind, pl.String) and name in DIGEST_FIELDS]
    # Hardly any text has something to escape, and to look is a tenth of the work.
    special = ordered.select(pl.col(texts).str.contains(r"[\\\t\n\r]").any()).row(0, named=True)
    fields = [_text(name, escape=special.get(name, False)) for name in DIGEST_FIELDS]
    return ordered.select(pl.concat_str(fields, separator="\t")).to_series()


def session_digest(sessions: pl.DataFrame) -> str:
    """Returns the SHA-256 of the lines of `session_lines`, as 64 hex digits.

    Without sessions it is the SHA-256 of no bytes.
    """
    whole = hashlib.sha256()
    for some in sessions.sort("visitor", "session_id").iter_slices(_AT_ONCE):
        whole.update(session_lines(some).str.join("\n", ignore_nulls=False).item().encode())
        whole.update(b"\n")
    return whole.hexdigest()


def _text(name: str, *, escape: bool) -> pl.Expr:
    column, kind = pl.col(name), SESSION_COLUMNS[name]
    if isinstance(kind, pl.UInt64):
        return hex16(name)
    if isinstance(kind, pl.Boolean):
        return column.cast(pl.UInt8).cast(pl.String)
    if isinstance(kind, pl.String):
        if not escape:
            return column
        escaped = column.str.replace_all("\\", "\\\\", literal=True)
        for raw, written in (("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
            escaped = escaped.str.replace_all(raw, written, literal=True)
        return escaped
    return column.cast(pl.String)


def hex16(name: str) -> pl.Expr:
    """Returns an expression that writes a UInt64 column as 16 lowercase hex digits (String).

    It looks four digits up at a time, rather than calling something for each row.
    """
    column, digits = pl.col(name), pl.lit(_four_digits())
    return pl.concat_str(
        digits.gather(((column // (1 << shift)) % (1 << 16)).cast(pl.UInt32)) for shift in (48, 32, 16, 0)
    )


@cache
def _four_digits() -> pl.Series:
    return pl.Series("digits", [f"{number:04x}" for number in range(1 << 16)])
