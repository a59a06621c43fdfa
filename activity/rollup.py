"""Rollups: event counts by site, time and dimension, additive and signed.

A rollup holds only what adds up exactly: counts of deduplicated events by persons. What a session or a visitor
is does not add up over buckets, so those numbers are read from sessions. An event that is retracted is counted
with weight −1; the sum over all batches equals one GROUP BY over the stored events.
"""

from __future__ import annotations

import polars as pl

from activity.definitions import HOUR_MS, MINUTE_MS

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

# dimension -> (the event's column, the only type it counts, or None for all)
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

_SUMS = ["events", "pageviews", "searches", "engaged_ms"]


def roll_up(fresh: pl.DataFrame, retracted: pl.DataFrame, grain_ms: int) -> pl.DataFrame:
    """Signed counts, a row for each (site, bucket start in ms, dimension, value) that does not sum to nothing.

    Both frames have the event columns, `bot` included; events of bots are left out.
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
    # Group once by everything that a bucket's events share, then each dimension from that smaller frame.
    columns = [column for column, _ in DIMENSIONS.values() if column]
    compact = counted.group_by("site", "bucket", "type", *columns).agg(pl.col(_SUMS).sum())
    parts = []
    for dimension, (column, only) in DIMENSIONS.items():
        rows = compact if only is None else compact.filter(pl.col("type") == only)
        value = pl.col(column) if column else pl.lit("")
        parts.append(
            rows.group_by("site", "bucket", value.alias("value"))
            .agg(pl.col(_SUMS).sum())
            .with_columns(dimension=pl.lit(dimension))
            .select(COLUMNS.keys())
        )
    moved = pl.any_horizontal(pl.col(name) != 0 for name in _SUMS)
    return pl.concat(parts).filter(moved)
