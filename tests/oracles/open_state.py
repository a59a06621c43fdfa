"""The state of open sessions in its plain form: one frame, of which every step and every prune looks at all rows.

`activity/open_events.py` has to say the same of any sequence of batches.
"""

from __future__ import annotations

import polars as pl

from activity import session
from activity.definitions import DAY_MS, GAP_MS, HORIZON_MS


def advance(
    state: pl.DataFrame, batch: pl.DataFrame, watermark: int
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Returns the state after the batch, the changed sessions, the events taken and those that are late."""
    batch = batch.select(session.STATE_COLUMNS.keys())
    is_late = pl.col("occurred_at") < watermark - HORIZON_MS
    late, taken = batch.filter(is_late), batch.filter(~is_late)
    is_touched = pl.col("visitor").is_in(taken["visitor"].unique().implode())
    before = state.filter(is_touched)
    after = session.canonical(pl.concat([before, taken]))
    changes = session.difference(session.sessions(before), session.sessions(after))
    return pl.concat([state.filter(~is_touched), after]), changes, taken, late


def prune(state: pl.DataFrame, watermark: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Returns the state without what can no longer change, and the sessions that became final."""
    reach = watermark - HORIZON_MS
    key = ["site", "visitor"]
    gap = pl.col("occurred_at").diff().over(key) > GAP_MS
    chains = state.sort(*key, "occurred_at").with_columns(chain=gap.fill_null(True).cum_sum())
    final = pl.col("occurred_at").max().over([*key, "chain"]) + GAP_MS < reach
    out_of_sight = pl.col("occurred_at") < (reach // DAY_MS) * DAY_MS - DAY_MS - GAP_MS
    chains = chains.with_columns(final=final, out_of_sight=out_of_sight)
    closed = session.sessions(chains.filter("final").select(session.STATE_COLUMNS.keys()))
    return chains.filter(~pl.col("final") & ~pl.col("out_of_sight")).select(session.STATE_COLUMNS.keys()), closed
