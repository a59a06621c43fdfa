"""Rows for the stores' tests: plausible, seeded, and no two alike."""

from __future__ import annotations

import numpy as np
import polars as pl

from activity import columns, session

SITES = ["a.example", "b.example"]
PATHS = ["/", "/about", "/pricing", "/blog/ä-ö", "/it's"]
DAY_MS = 86_400_000
# What a session has of its first event.
_OF_FIRST = [name for name, kind in session.COLUMNS.items() if kind == pl.String and name in columns.COLUMNS]
_OF_FIRST.remove("site")
START = 1_711_756_800_000  # 2024-03-30 00:00 UTC, a day before Europe's clocks are moved


def events(count: int, *, seed: int = 0, days: int = 3, visitors: int = 40, start: int = START) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    occurred = start + rng.integers(0, days * DAY_MS, count)
    frame = pl.DataFrame(
        {
            "site": np.array(SITES)[rng.integers(0, 2, count)],
            "visitor": (2**64 - 1 - rng.integers(0, visitors, count, dtype=np.uint64)),
            "id_hi": rng.integers(0, 2**64 - 1, count, dtype=np.uint64),
            "id_lo": rng.integers(0, 2**64 - 1, count, dtype=np.uint64),
            "type": np.array(["pageview", "pageview", "engagement", "search", "custom"])[rng.integers(0, 5, count)],
            "occurred_at": occurred,
            "received_at": occurred + 120,
            "path": np.array(PATHS)[rng.integers(0, len(PATHS), count)],
            "bot": np.array(["", "", "", "agent"])[rng.integers(0, 4, count)],
            "engaged_ms": rng.integers(0, 5000, count),
            "country": np.array(["DE", "FR", ""])[rng.integers(0, 3, count)],
        }
    ).with_columns(
        sent_at=pl.when(pl.col("engaged_ms") % 2 == 0).then(pl.col("occurred_at") + 60),
        term=pl.when(pl.col("type") == "search").then(pl.lit("shoes") + (pl.col("id_lo") % 3).cast(pl.String)),
        name=pl.when(pl.col("type") == "custom").then(pl.lit("signup")),
        results=pl.when(pl.col("type") == "search").then((pl.col("id_lo") % 2).cast(pl.Int64)),
        revenue=pl.when(pl.col("type") == "custom").then(pl.lit("19.9")),
        props=pl.lit('{"plan":"pro"}'),
        clamped=pl.lit(False),
        interactive=pl.lit(True),
    )
    given = set(frame.columns)
    return frame.with_columns(
        **{name: pl.lit("") for name, kind in columns.COLUMNS.items() if name not in given and kind == pl.String}
    ).select(pl.col(name).cast(kind).fill_null("") if kind == pl.String else pl.col(name).cast(kind)
             for name, kind in columns.COLUMNS.items())  # fmt: skip


def sessions(of: pl.DataFrame) -> pl.DataFrame:
    """One session for each (site, visitor, UTC day) with events of a person: simple, and easy to count otherwise."""
    grouped = (
        of.filter(pl.col("bot") == "")
        .with_columns(day=pl.col("occurred_at") // DAY_MS)
        .sort("occurred_at", "id_hi", "id_lo")
        .group_by("site", "visitor", "day", maintain_order=True)
        .agg(
            session_id=pl.col("id_lo").first(),
            started_at=pl.col("occurred_at").first(),
            ended_at=pl.col("occurred_at").last(),
            events=pl.len(),
            pageviews=(pl.col("type") == "pageview").sum(),
            searches=(pl.col("type") == "search").sum(),
            interactions=pl.len(),
            engaged_ms=pl.col("engaged_ms").sum(),
            entry_page=pl.col("path").filter(pl.col("type") == "pageview").first(),
            exit_page=pl.col("path").filter(pl.col("type") == "pageview").last(),
            **{name: pl.col(name).first() for name in _OF_FIRST},
        )
        .with_columns(is_bounce=pl.col("events") == 1, is_engaged=pl.col("pageviews") > 1, oversized=pl.lit(False))
    )
    return grouped.select(
        pl.col(name).cast(kind).fill_null("") if kind == pl.String else pl.col(name).cast(kind)
        for name, kind in session.COLUMNS.items()
    )


def marked(frame: pl.DataFrame, batch: int, deleted: int = 0) -> pl.DataFrame:
    return frame.with_columns(
        batch=pl.lit(batch, dtype=pl.UInt64),
        deleted=pl.lit(deleted, dtype=pl.UInt8),
    )


def same(left: pl.DataFrame, right: pl.DataFrame) -> bool:
    """Equal as sets of rows."""
    order = [name for name in ("site", "visitor", "id_hi", "id_lo", "session_id", "bucket") if name in left.columns]
    return left.sort(order).equals(right.select(left.columns).sort(order))
