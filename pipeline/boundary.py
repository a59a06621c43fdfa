"""The visits over the boundary of what a site keeps: formed again from the events that are left of them.

A session that began on a day that has expired and went on behind the boundary loses its beginning. A replay would form
what is left as a session of its own, so it is stored as that: then a replay before finds the same as one afterwards.
Also a chain that ran for days may be cut otherwise, up to the second midnight behind the boundary.
"""

from __future__ import annotations

from functools import partial

import polars as pl

from activity.columns import kinds_as_ids
from activity.definitions import DAY_MS, MARGIN_AFTER_MS
from activity.erasure import Expiry
from pipeline import rebuild
from pipeline.checkpoint import Checkpoint
from pipeline.io import FrameFeed
from pipeline.live import Loader
from stores.erasure import Eraser

_REACH_MS = 2 * DAY_MS


def form_again(loader: Loader, checkpoint: Checkpoint, expiry: Expiry) -> int:
    """Write the sessions behind the boundary as they are without what has expired; returns how many rows changed.

    All units are leased. The sessions before the boundary are still stored: by them the visitors are found."""
    visitors = Eraser(loader.warehouse).crossing(expiry)
    if not visitors.height:
        return 0
    start, end = expiry.occurred_before, expiry.occurred_before + _REACH_MS
    named = visitors if visitors.height <= rebuild.NAMED_VISITORS else None
    between = partial(loader.warehouse.events_between, expiry.site, named, start, end + MARGIN_AFTER_MS)
    feed = FrameFeed(partial(between, kinds=kinds_as_ids(rebuild.NEEDED)), rebuild.NEEDED)
    formed = rebuild.form(loader.runner, feed, start, end, checkpoint.watermark, 1 if named is not None else 8)
    of_these = partial(pl.DataFrame.join, other=visitors, on=["site", "visitor"], how="semi")
    stored = of_these(loader.warehouse.sessions_between(expiry.site, start, end))
    name = f"{expiry.site}/boundary/{start}"
    return rebuild.put_in_place(loader, checkpoint, stored, of_these(formed.sessions), name)
