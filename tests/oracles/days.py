"""What every cell of the day tables is to be, counted from the Parquet archive alone with Polars.

A cell is a row of a dimension, a day and a value; what is counted is told by `tests/oracles/visits.py`.
"""

from __future__ import annotations

import polars as pl

from tests.oracles.visits import SUMS, Site

CELL = ("dimension", "day", "value", "visitors", "regulars", "lasting", "visits", *SUMS)


def cells(site: Site) -> pl.DataFrame:
    """All of a site's cells."""
    visitor, counted = pl.col("visitor"), pl.col("counted")
    return (
        site.facts.group_by("dimension", "day", "value")
        .agg(
            pl.col(SUMS).sum(),
            visitors=visitor.filter(counted, ~pl.col("lasts")).n_unique(),
            regulars=visitor.filter(counted, "lasts").n_unique(),
            visits=pl.col("visit").filter("counted").n_unique(),
        )
        .with_columns(lasting="regulars")
        .select(CELL)
    )
