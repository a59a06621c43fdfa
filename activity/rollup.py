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

import polars as pl

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


def roll_up(fresh: pl.DataFrame, retracted: pl.DataFrame, grain_ms: int) -> pl.DataFrame:
    """Returns signed counts in COLUMNS: one row per (site, bucket, dimension, value) whose counts are not all zero.

    `bucket` is the start of the bucket in Unix milliseconds, `grain_ms` its length. Events in `fresh` count +1, those
    in `retracted` −1. Both frames have the columns of `activity.columns`; events of bots are skipped.
    """
    needed = ["site", "occurred_at", "type", "engaged_ms", "bot"]
    needed += [column for column, _ in DIMENSIONS.values() if column]
    signed = pl.concat(
        [fresh.select(needed).with_columns(weight=1), retracted.select(needed).with_columns(weight=-1)]
    ).filter(pl.col("bot") == "")
    weight = pl.col("weight").cast(pl.Int64)
    counted = signed.with_columns(
        bucket=pl.col("occurred_at") // grain_ms * grain_ms,
        events=weight,
        pageviews=weight * (pl.col("type") == "pageview"),
        searches=weight * (pl.col("type") == "search"),
        engaged_ms=weight * pl.col("engaged_ms"),
    )
    # Group once by all dimensions together, then group that smaller frame by each dimension.
    columns = [column for column, _ in DIMENSIONS.values() if column]
    compact = counted.group_by("site", "bucket", "type", *columns).agg(pl.col(COUNTS).sum())
    parts = []
    for dimension, (column, only) in DIMENSIONS.items():
        rows = compact if only is None else compact.filter(pl.col("type") == only)
        value = pl.col(column) if column else pl.lit("")
        parts.append(
            rows.group_by("site", "bucket", value.alias("value"))
            .agg(pl.col(COUNTS).sum())
            .with_columns(pl.col("value").cast(pl.String), dimension=pl.lit(dimension))
            .select(COLUMNS.keys())
        )
    moved = pl.any_horizontal(pl.col(name) != 0 for name in COUNTS)
    return pl.concat(parts).filter(moved)


DIGEST_FIELDS: tuple[str, ...] = tuple(name for name in SESSION_COLUMNS if name != "site")


def session_lines(sessions: pl.DataFrame) -> pl.Series:
    """Returns the sorted digest lines (String, without newlines) of one site's sessions of one day.

    `sessions` has at least the columns of `session.COLUMNS`.
    """
    ordered = sessions.sort("visitor", "session_id")
    return ordered.select(pl.concat_str([_text(name) for name in DIGEST_FIELDS], separator="\t")).to_series()


def session_digest(sessions: pl.DataFrame) -> str:
    """Returns the SHA-256 of the lines of `session_lines`, as 64 hex digits.

    Without sessions it is the SHA-256 of no bytes.
    """
    whole = hashlib.sha256()
    for line in session_lines(sessions).to_list():
        whole.update(line.encode())
        whole.update(b"\n")
    return whole.hexdigest()


def _text(name: str) -> pl.Expr:
    column, kind = pl.col(name), SESSION_COLUMNS[name]
    if isinstance(kind, pl.UInt64):
        return hex16(name)
    if isinstance(kind, pl.Boolean):
        return column.cast(pl.UInt8).cast(pl.String)
    if isinstance(kind, pl.String):
        escaped = column.str.replace_all("\\", "\\\\", literal=True)
        for raw, written in (("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
            escaped = escaped.str.replace_all(raw, written, literal=True)
        return escaped
    return column.cast(pl.String)


def hex16(name: str) -> pl.Expr:
    """Returns an expression that writes a UInt64 column as 16 lowercase hex digits (String).

    It takes sixteen vector operations rather than one call per row.
    """
    digits = pl.Series("digit", list("0123456789abcdef"))
    column = pl.col(name)
    parts = [
        pl.lit(digits).gather(((column // (1 << shift)) % 16).cast(pl.UInt32)) for shift in range(60, -4, -4)
    ]
    return pl.concat_str(parts)
