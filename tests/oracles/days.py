"""What every cell of the day tables is to be, counted from the Parquet archive alone with Polars.

It knows its own rules of a copy, a visit and a day, and imports nothing of the product. A cell is a row of a dimension,
a day and a value. Visits that go on for a day, which are cut at midnight, are not for it.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl

GAP = 1_800_000
DAY = 86_400_000

OF_VISITS = ("entry_page", "exit_page", "source", "channel", "country", "device", "browser", "os")
OF_EVENTS = {"page": ("path", "pageview"), "search": ("term", "search"), "event": ("name", "custom")}
SUMS = ("bounces", "duration_ms", "pageviews", "searches", "events", "bots", "without_results")
CELL = ("dimension", "day", "value", "visitors", "regulars", "lasting", "visits", *SUMS)


class Days:
    """What the archive of a site amounts to, day by day in its zone."""

    def __init__(self, archive: Path, site: str, zone: str) -> None:
        raw = pl.read_parquet(archive / f"site={site}" / "**" / "*.parquet", hive_partitioning=False)
        at, kind = pl.col("occurred_at"), pl.col("type")
        events = (
            raw.sort("received_at")
            .unique(["site", "visitor", "id_hi", "id_lo"], keep="first", maintain_order=True)
            .sort("visitor", "occurred_at", "id_hi", "id_lo")
            .with_columns(
                value=pl.lit("events"), counted=False, visit=pl.lit(0), bounces=0, duration_ms=0,
                lasts=(pl.col("protocol") == "import") | pl.col("enriched_by").str.ends_with(" visitor=named"),
                events=(pl.col("bot") == "").cast(pl.Int64), bots=(pl.col("bot") != "").cast(pl.Int64),
                day=pl.from_epoch(at, "ms").dt.replace_time_zone("UTC").dt.convert_time_zone(zone).dt.date(),
            )
            .with_columns(
                pageviews=(kind == "pageview") * pl.col("events"),
                searches=(kind == "search") * pl.col("events"),
                without_results=(pl.col("results") == 0).fill_null(False).cast(pl.Int64) * pl.col("events"),
            )
        )  # fmt: skip
        persons = events.filter(pl.col("bot") == "").with_columns(
            counted=True, visit=(at.diff().over("visitor") > GAP).fill_null(True).cum_sum()
        )
        viewed = pl.col("path").filter(kind == "pageview")
        # Where a visit came from is told by its first event that is a page view or names an origin.
        tells = (kind == "pageview") | (pl.concat_str("source", "medium", "utm_campaign") != "")
        told = OF_VISITS[2:]
        visits = persons.group_by("visit").agg(
            pl.col("visitor", "day", "lasts", "counted").first(),
            pl.col("pageviews", "searches", "events", "bots").sum(),
            *(pl.coalesce(pl.col(name).filter(tells).first(), pl.col(name).first()) for name in told),
            entry_page=viewed.first().fill_null(""),
            exit_page=viewed.last().fill_null(""),
            bounces=(pl.col("interactive").sum() <= 1).cast(pl.Int64),
            duration_ms=at.max() - at.min(),
        ).with_columns(without_results=0)
        assert visits.filter(pl.col("duration_ms") >= DAY).is_empty()
        parts = {"": [visits.with_columns(value=pl.lit("")), events.with_columns(without_results=0)]}
        for name in OF_VISITS:
            of_value = visits.with_columns(value=name)
            parts[name] = [of_value.filter(pl.col("value") != "") if name.endswith("_page") else of_value]
        for name, (column, of_kind) in OF_EVENTS.items():
            of_value = persons.filter(pl.col(column) != "", (name == "page") | (kind == of_kind))
            parts[name] = [of_value.with_columns(value=column, counted=kind == of_kind)]
        names = ("dimension", "day", "value", "counted", "lasts", "visitor", "visit", *SUMS)
        facts = [
            frame.with_columns(dimension=pl.lit(name)).select(*names[:-len(SUMS)], pl.col(SUMS).cast(pl.Int64))
            for name, frames in parts.items()
            for frame in frames
        ]
        self.facts: pl.DataFrame = pl.concat(facts, how="vertical_relaxed")
        visitor, counted = pl.col("visitor"), pl.col("counted")
        self.cells = (
            self.facts.group_by("dimension", "day", "value")
            .agg(
                pl.col(SUMS).sum(),
                visitors=visitor.filter(counted, ~pl.col("lasts")).n_unique(),
                regulars=visitor.filter(counted, "lasts").n_unique(),
                visits=pl.col("visit").filter("counted").n_unique(),
            )
            .with_columns(lasting="regulars")
            .select(CELL)
        )

    def values(self, dimension: str, first: date, last: date) -> pl.DataFrame:
        """Days add up, but for visitors whose ids last."""
        where = (pl.col("dimension") == dimension) & pl.col("day").is_between(first, last)
        lasting = self.facts.filter(where, "counted", "lasts").group_by("value").agg(pl.col("visitor").n_unique())
        sums = self.cells.filter(where).group_by("value").agg(pl.col("visitors", "visits", *SUMS).sum())
        visitors = pl.col("visitors") + pl.col("visitor").fill_null(0)
        return sums.join(lasting, on="value", how="left").with_columns(visitors=visitors).drop("visitor")

    def stats(self, first: date, last: date) -> dict[str, float]:
        rows = {row["value"]: row for row in self.values("", first, last).iter_rows(named=True)}
        found, visits = rows["events"], rows[""]["visits"]
        return {name: found[name] for name in ("pageviews", "searches", "events", "bots")} | {
            "visitors": rows[""]["visitors"],
            "visits": visits,
            "views_per_visit": found["pageviews"] / visits,
            "bounce_rate": rows[""]["bounces"] / visits,
            "visit_duration": rows[""]["duration_ms"] / visits / 1000,
        }

    def breakdown(self, by: str, first: date, last: date) -> list[dict[str, Any]]:
        last_by = {"page": "pageviews", "search": "events", "event": "events"}.get(by, "visits")
        found = self.values(by, first, last).filter(pl.col("visitors") > 0)  # a page that was viewed
        found = found.sort("visitors", last_by, "value", descending=[True, True, False])
        rows = found.select("value", "visitors", "visits", "pageviews", "events").to_dicts()
        return [row | {"value": unquote(row["value"])} if by.endswith("page") else row for row in rows]
