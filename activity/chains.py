"""Chains and sessions as rows: which events follow each other, and where the one ends and the next begins.

Everything here is numbers, so it costs a batch of a few hundred events no more than it must: a call of Polars costs
twenty microseconds before it does anything. What a chain and a session are stands in `session`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from activity.definitions import DAY_MS, GAP_MS

# A column of numbers or booleans.
Numbers = npt.NDArray[Any]


class Keys:
    """What orders events and tells chains apart, by row; there is at least one event. `site` is in any numbering."""

    def __init__(self, visitor: Numbers, site: Numbers, time: Numbers, ids: tuple[Numbers, Numbers]) -> None:
        # Of most batches all events are of one site, which then is nothing to go by.
        self.owner = [visitor] if (site == site[0]).all() else [site, visitor]
        self.time = time  # `occurred_at`
        self.ids = ids  # high and low


class Spans:
    """Rows of events in order, chain by chain or session by session, and how many rows each of these has."""

    def __init__(self, rows: Numbers, length: Numbers) -> None:
        self.rows = rows
        self.length = length
        self.end = np.cumsum(length)  # the place in `rows` after the last one
        self.start = self.end - length

    @property
    def first(self) -> Numbers:
        """The first row of each."""
        first: Numbers = self.rows[self.start]
        return first

    @property
    def last(self) -> Numbers:
        """The last row of each."""
        last: Numbers = self.rows[self.end - 1]
        return last

    def those(self, chosen: Numbers) -> Spans:
        """The chosen ones; `chosen` is a truth value for each."""
        return Spans(self.rows[np.repeat(chosen, self.length)], self.length[chosen])

    def joined(self, more: Spans) -> Spans:
        """These and then more."""
        return Spans(np.concatenate([self.rows, more.rows]), np.concatenate([self.length, more.length]))


def keys_of(events: pl.DataFrame) -> Keys:
    """The keys of events, which have the columns of `session.IDENTITY` and `occurred_at`."""
    visitor, time, high, low = (events[name].to_numpy() for name in ("visitor", "occurred_at", "id_hi", "id_lo"))
    site = events["site"]
    sites = numbered(site)[1] if site.dtype == pl.String else site.to_physical().to_numpy()
    return Keys(visitor, sites, time, (high, low))


def numbered(texts: pl.Series) -> tuple[list[str], Numbers]:
    """The distinct texts in any order, and for each row the number of its text in that order."""
    if (texts == texts[0]).all():
        return [texts[0]], np.zeros(len(texts), np.uint32)
    number = texts.cast(pl.Categorical(pl.Categories.random())).to_physical().to_numpy()
    place = np.zeros(int(number.max()) + 1, np.uint32)
    place[number] = np.arange(len(number), dtype=np.uint32)
    return texts[pl.Series(place)].to_list(), number


def chains(keys: Keys) -> Spans:
    """The chains of events, ordered by visitor, site, `occurred_at` and id.

    Times nearly always decide; ids are sorted only for ties."""
    order = _sorted([keys.time, *keys.owner])
    same, later = _neighbours(keys, order)
    tie = np.zeros(len(order) + 1, bool)
    tie[1:-1] = same & (later == 0)
    if tie.any():
        tied = tie[1:] | tie[:-1]
        rows = order[tied]
        group = np.cumsum(~tie[:-1])[tied]
        high, low = keys.ids
        order[tied] = rows[np.lexsort((low[rows], high[rows], group))]
    return _split(order, ~same | (later > GAP_MS))


def chains_within(keys: Keys, order: Numbers) -> Spans:
    """The chains that some events make without the others; `order` are their rows as `chains` orders them."""
    same, later = _neighbours(keys, order)
    return _split(order, ~same | (later > GAP_MS))


def _neighbours(keys: Keys, order: Numbers) -> tuple[Numbers, Numbers]:
    """For each row but the first whether its visitor and site are those of the row before, and how much later (ms)."""
    time = keys.time[order]
    same = np.ones(len(order) - 1, bool)
    for key in keys.owner:
        ordered = key[order]
        same &= ordered[1:] == ordered[:-1]
    return same, time[1:] - time[:-1]


def sessions(keys: Keys, chains: Spans) -> Spans:
    """The sessions of chains: one a chain, cut at the midnights before which it has run for a whole day."""
    time = keys.time
    begun = time[chains.first]
    if (time[chains.last] - begun).max() < DAY_MS:
        return chains
    first_cut = np.repeat((begun + 2 * DAY_MS - 1) // DAY_MS, chains.length)  # the first midnight a day after it began
    cuts = np.maximum(time[chains.rows] // DAY_MS - first_cut + 1, 0)
    edge = cuts[1:] != cuts[:-1]
    edge[chains.start[1:] - 1] = True
    return _split(chains.rows, edge)


def ends(keys: Keys) -> Numbers:
    """The time of the last event of each event's chain, row by row."""
    of_chain, time = chains(keys), keys.time
    ends = np.empty_like(time)
    ends[of_chain.rows] = np.repeat(time[of_chain.last], of_chain.length)
    return ends


def _split(rows: Numbers, edge: Numbers) -> Spans:
    """Rows split where there is an edge between two neighbours."""
    start = np.concatenate([[0], np.flatnonzero(edge) + 1, [len(rows)]])
    return Spans(rows, start[1:] - start[:-1])


def _sorted(keys: list[Numbers]) -> Numbers:
    """The order of rows by keys, the last one first, as `np.lexsort` gives it.

    Events come nearly in order of time, a radix sort brings the visitors nearly in order, and what is nearly in order
    is merged from its runs; together that takes half the time of one `lexsort`."""
    order = np.argsort(keys[0], kind="stable")
    for key in keys[1:]:
        if key.dtype == np.uint64:
            order = order[np.argsort((key[order] >> np.uint64(48)).astype(np.uint16), kind="stable")]
        order = order[np.argsort(key[order], kind="stable")]
    return order
