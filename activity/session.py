"""Sessions: the delicate part of the domain, written as one pure function over columns.

The rule. Order the events of one visitor on one site by (`occurred_at`, id). They form one *chain* as long as
consecutive events are at most `GAP_MS` apart. A chain is one session, with one exception: it is cut at every 00:00
UTC before which it has run for a whole day without a gap. That keeps a session from growing for ever, and the 24
hours before a midnight suffice to decide whether it cuts, however far back the chain goes. A session's id is a hash
of site, visitor and first event, so the same events give the same ids in any order of arrival.

The entry. One event decides where a visit came from, and with which browser and from which place: the first that is
a page view or names an origin (`source`, `medium` or `utm_campaign`), or simply the first event if there is no such
event. Events before it (a message from a server, a ping) say nothing about the origin, and must not turn the visit
into a direct one.

The state. `advance` carries neither counters nor partial sessions from batch to batch. It carries the *events* of
the chains that can still change, with only the columns that a session row is made of. Each step takes the visitors
that the batch touches and forms their sessions without the batch and with it. The difference goes to the stores: rows
that are new or have changed, and ids that no longer exist because a late event moved a start or bridged two sessions.
Order, chunking, duplicates and bridging need no special cases, because sessions are never updated: they are formed
again from a set of events. A step costs the events in the open chains of the batch's visitors, and the state takes
the memory of two and a half hours of events.

Copies. An event may arrive several times (a retry, a redelivery). Its identity is (site, visitor, id). The canonical
copy is the least by (`received_at`, `occurred_at`, the other columns), no matter which arrives first.

Forgetting. A chain is final once the watermark is more than the gap and the horizon past its last event. An event
that could still join it would be beyond the horizon; such events are not taken into sessions here but returned as
`late`, so that their days are rebuilt. A chain may never end; then we forget the part that no later decision looks
at, which is everything more than the day cut's look-back before the last midnight that is out of reach.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from activity.definitions import DAY_MS, ENGAGED_MS, GAP_MS, HORIZON_MS, MINUTE_MS, OVERSIZED_EVENTS

IDENTITY = ["site", "visitor", "id_hi", "id_lo"]

# The columns of a batch that a session row is made of; the state holds only these.
STATE_COLUMNS: dict[str, pl.DataType] = {
    "site": pl.String(),
    "visitor": pl.UInt64(),
    "id_hi": pl.UInt64(),
    "id_lo": pl.UInt64(),
    "received_at": pl.Int64(),
    "occurred_at": pl.Int64(),
    "type": pl.String(),
    "interactive": pl.Boolean(),
    "engaged_ms": pl.Int64(),
    "path": pl.String(),
    "user": pl.String(),
    "referrer": pl.String(),
    "source": pl.String(),
    "medium": pl.String(),
    "channel": pl.String(),
    "utm_campaign": pl.String(),
    "country": pl.String(),
    "region": pl.String(),
    "city": pl.String(),
    "browser": pl.String(),
    "os": pl.String(),
    "device": pl.String(),
    "language": pl.String(),
}

# What a session takes from its entry event.
_OF_THE_ENTRY = [
    "referrer", "source", "medium", "channel", "utm_campaign",
    "country", "region", "city", "browser", "os", "device", "language",
]  # fmt: skip

COLUMNS: dict[str, pl.DataType] = {
    "site": pl.String(),
    "visitor": pl.UInt64(),
    "session_id": pl.UInt64(),
    "started_at": pl.Int64(),
    "ended_at": pl.Int64(),
    "events": pl.Int64(),
    "pageviews": pl.Int64(),
    "searches": pl.Int64(),
    "interactions": pl.Int64(),
    "engaged_ms": pl.Int64(),
    "entry_page": pl.String(),
    "exit_page": pl.String(),
    "is_bounce": pl.Boolean(),
    "is_engaged": pl.Boolean(),
    "oversized": pl.Boolean(),
    "user": pl.String(),
    **{name: pl.String() for name in _OF_THE_ENTRY},
}

KEY = ["site", "visitor", "session_id"]

# A column of numbers or booleans.
Numbers = npt.NDArray[Any]


@dataclass(frozen=True)
class Advance:
    """What one batch changed: the state to carry on with, and what to write to the stores."""

    state: pl.DataFrame  # STATE_COLUMNS: events of the chains that can still change
    changes: pl.DataFrame  # COLUMNS and `deleted` (Boolean): rows to put in place by KEY
    taken: pl.DataFrame  # STATE_COLUMNS: the batch's events that are now in the state
    late: pl.DataFrame  # STATE_COLUMNS: events beyond the horizon, in no session yet


@dataclass(frozen=True)
class Deduped:
    """A batch without the events that are stored already.

    Rows of `fresh` count from now on, rows of `retracted` no longer do; both have the batch's columns. `duplicates` is
    the number of rows of the batch that were copies.
    """

    fresh: pl.DataFrame
    retracted: pl.DataFrame
    duplicates: int
    stored: pl.DataFrame | None = None  # copies to compare the fresh rows with, not to deduplicate against


def empty_state() -> pl.DataFrame:
    """Returns a state without events, in STATE_COLUMNS."""
    return pl.DataFrame(schema=STATE_COLUMNS)


def empty_sessions() -> pl.DataFrame:
    """Returns no sessions, in COLUMNS."""
    return pl.DataFrame(schema=COLUMNS)


def advance(state: pl.DataFrame, batch: pl.DataFrame, watermark: int) -> Advance:
    """Takes a batch of events, in any order and with copies, into the state.

    `state` has STATE_COLUMNS; `batch` has at least these. `watermark` (Unix ms) is the one from before the batch:
    events more than HORIZON_MS behind it come back as `late`. The returned state is not pruned; see `prune`.
    """
    batch = batch.select(STATE_COLUMNS.keys())
    is_late = pl.col("occurred_at") < watermark - HORIZON_MS
    late = batch.filter(is_late)
    taken = batch.filter(~is_late) if late.height else batch
    is_touched = pl.col("visitor").is_in(taken["visitor"].unique().implode())
    before = state.filter(is_touched) if state.height else state
    after = canonical(pl.concat([before, taken]) if before.height else taken)
    changes = difference(sessions(before), sessions(after))
    kept = state.filter(~is_touched) if before.height else state
    return Advance(pl.concat([kept, after]) if kept.height else after, changes, taken, late)


def prune(state: pl.DataFrame, watermark: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Removes from the state what can no longer change at this `watermark` (Unix ms).

    Returns the remaining state (STATE_COLUMNS) and the sessions that became final (COLUMNS).
    """
    reach = watermark - HORIZON_MS  # no event before this is taken any more
    if not state.height:
        return state, empty_sessions()
    order = _order(state)
    chains = state[order].with_columns(chain=pl.Series(np.cumsum(_chain_edges(state, order))))
    last = pl.col("occurred_at").max().over("chain")
    final = last + GAP_MS < reach
    # The cut at a midnight M looks back to M − 24 h − gap; M is at the earliest the last one before `reach`.
    out_of_sight = pl.col("occurred_at") < (reach // DAY_MS) * DAY_MS - DAY_MS - GAP_MS
    chains = chains.with_columns(final.alias("final"), out_of_sight.alias("out_of_sight"))
    closed = sessions(chains.filter("final").select(STATE_COLUMNS.keys()))
    remaining = chains.filter(~pl.col("final") & ~pl.col("out_of_sight")).select(STATE_COLUMNS.keys())
    return remaining, closed


def prunes_at(before: int, after: int) -> bool:
    """Whether moving the watermark from `before` to `after` (Unix ms) is worth a `prune`: once a minute."""
    return before // MINUTE_MS != after // MINUTE_MS


def dedupe(batch: pl.DataFrame, known: pl.DataFrame) -> Deduped:
    """Separates the events of a batch that count from copies of stored or repeated events.

    `batch` has at least STATE_COLUMNS. `known` has the batch's columns, or at least STATE_COLUMNS, and must hold the
    stored copy of every event of the batch that is already stored; further rows do no harm. A copy that is less than
    the stored one replaces it: it comes back in `fresh`, and the stored one in `retracted`.
    """
    own = canonical(batch)
    duplicates = batch.height - own.height
    if not known.height or not own["id_lo"].is_in(known["id_lo"].implode()).any():
        return Deduped(own, batch.clear(), duplicates)
    order = _order_columns(own, known)
    met = own.select(IDENTITY + order).join(
        known.select(IDENTITY + order).unique(IDENTITY), on=IDENTITY, how="inner", suffix="_known"
    )
    lesser = _less(order)
    replacing = met.filter(lesser).select(IDENTITY)
    dropped = met.filter(~lesser).select(IDENTITY)
    fresh = own.join(dropped, on=IDENTITY, how="anti")
    retracted = known.join(replacing, on=IDENTITY, how="semi").unique(IDENTITY)
    return Deduped(fresh, retracted, duplicates + dropped.height + replacing.height)


def canonical(events: pl.DataFrame) -> pl.DataFrame:
    """Returns one copy of each event, the least one, in the columns of `events`.

    `events` has at least STATE_COLUMNS. The order of the rows is not kept.
    """
    ids = np.sort(events["id_lo"].to_numpy())
    if not (ids[1:] == ids[:-1]).any():  # nearly always; sorting numbers is three times as fast as hashing them
        return events
    suspect = events["id_lo"].is_duplicated()
    copies = events.filter(suspect)
    order = _order_columns(copies, copies)
    least = copies.sort(IDENTITY + order).unique(IDENTITY, keep="first", maintain_order=True)
    return pl.concat([events.filter(~suspect), least])


def _order_columns(*frames: pl.DataFrame) -> list[str]:
    """The times, the columns of a session, then all other columns that the frames share, so that no tie remains."""
    names = [*STATE_COLUMNS, *(name for name in frames[0].columns if name not in STATE_COLUMNS)]
    shared = [name for name in names if name not in IDENTITY and all(name in f.columns for f in frames)]
    return ["received_at", "occurred_at", *(n for n in shared if n not in ("received_at", "occurred_at"))]


def _less(order: list[str]) -> pl.Expr:
    """Lexicographic `own < known` over the columns `order`; null is the least."""
    less = pl.lit(False)
    for name in reversed(order):
        own, known = pl.col(name), pl.col(f"{name}_known")
        lower = (own < known).fill_null(own.is_null() & known.is_not_null())
        less = lower | (own.eq_missing(known) & less)
    return less


def sessions(events: pl.DataFrame) -> pl.DataFrame:
    """Forms the sessions of a set of events from scratch: one row per session, in COLUMNS, in no particular order.

    `events` has at least STATE_COLUMNS, in any order but without copies.

    Only number columns are sorted. Every figure of a session is either a sum between its first and last row or the
    value of one row, so the text columns are read at single rows only; sorting the whole frame would cost three times
    as much.
    """
    if not events.height:
        return empty_sessions()
    order = _order(events)
    start = np.flatnonzero(_session_edges(events, order))
    end = np.append(start[1:], events.height) - 1
    first = order[start]

    def total(values: pl.Series) -> Numbers:
        return np.add.reduceat(values.cast(pl.Int64).to_numpy()[order], start)

    def text_at(column: str, rows: Numbers, inside: Numbers) -> pl.Series:
        """The text at each of `rows` that is `inside` its session, else ""."""
        if not inside.any():
            return pl.repeat("", len(start), eager=True)
        texts = events[column].gather(order[np.where(inside, rows, start)])
        return texts if inside.all() else texts.scatter(np.flatnonzero(~inside), "")

    def first_of(marked: Numbers) -> tuple[Numbers, Numbers]:
        """The first of the `marked` rows in each session, and whether there is one."""
        found = np.append(marked, events.height)[np.searchsorted(marked, start)]
        return found, found <= end

    def last_of(marked: Numbers) -> tuple[Numbers, Numbers]:
        found = np.append(marked, -1)[np.searchsorted(marked, end, side="right") - 1]
        return found, found >= start

    view = events["type"] == "pageview"
    views = np.flatnonzero(view.to_numpy()[order])
    known = np.flatnonzero((events["user"] != "").to_numpy()[order])
    names_origin = (events["source"] != "") | (events["medium"] != "") | (events["utm_campaign"] != "")
    entered, is_entered = first_of(np.flatnonzero((view | names_origin).to_numpy()[order]))
    entry = order[np.where(is_entered, entered, start)]
    time = events["occurred_at"].to_numpy()[order]
    ends = pl.DataFrame(
        {
            **{name: events[name].gather(first) for name in IDENTITY},
            "started_at": time[start],
            "ended_at": time[end],
            "events": end - start + 1,
            "pageviews": total(view),
            "searches": total(events["type"] == "search"),
            "interactions": total(events["interactive"]),
            "engaged_ms": total(events["engaged_ms"]),
            "entry_page": text_at("path", *first_of(views)),
            "exit_page": text_at("path", *last_of(views)),
            "user": text_at("user", *last_of(known)),
            **{name: events[name].gather(entry) for name in _OF_THE_ENTRY},
        }
    )
    return ends.with_columns(
        session_id=session_ids(ends),
        is_bounce=pl.col("interactions") <= 1,
        is_engaged=(pl.col("engaged_ms") > ENGAGED_MS) | (pl.col("pageviews") >= 2),
        oversized=pl.col("events") > OVERSIZED_EVENTS,
    ).select(COLUMNS.keys())


def _order(events: pl.DataFrame) -> Numbers:
    """Row numbers by visitor, site, `occurred_at` and id. Times nearly always decide; ids are sorted only for ties."""
    visitor, site, time = _chain_keys(events)
    # Stable sorts, the last key first. Events come nearly in order of time, a radix sort brings the visitors nearly in
    # order, and what is nearly in order is merged from its runs; together that takes half the time of one `lexsort`.
    order = np.argsort(time, kind="stable")
    if site is not None:
        order = order[np.argsort(site[order], kind="stable")]
    order = order[np.argsort((visitor[order] >> np.uint64(48)).astype(np.uint16), kind="stable")]
    order = order[np.argsort(visitor[order], kind="stable")]
    tie = np.zeros(len(order) + 1, bool)
    tie[1:-1] = _same(visitor, site, order) & (time[order[1:]] == time[order[:-1]])
    if tie.any():
        tied = tie[1:] | tie[:-1]
        rows = order[tied]
        group = np.cumsum(~tie[:-1])[tied]
        order[tied] = rows[np.lexsort((events["id_lo"].to_numpy()[rows], events["id_hi"].to_numpy()[rows], group))]
    return order


def _chain_keys(events: pl.DataFrame) -> tuple[Numbers, Numbers | None, Numbers]:
    """The visitor, a number for the site (None if all rows have the same site) and the time of each row."""
    site = events["site"]
    several = site.n_unique() > 1
    return (
        events["visitor"].to_numpy(),
        site.rank("dense").to_numpy() if several else None,
        events["occurred_at"].to_numpy(),
    )


def _same(visitor: Numbers, site: Numbers | None, order: Numbers) -> Numbers:
    """For each row but the first, whether it has the visitor and site of the row before."""
    ordered = visitor[order]
    same: Numbers = ordered[1:] == ordered[:-1]
    if site is not None:
        ordered = site[order]
        same &= ordered[1:] == ordered[:-1]
    return same


def _chain_edges(events: pl.DataFrame, order: Numbers) -> Numbers:
    visitor, site, time = _chain_keys(events)
    edge = np.ones(len(order), bool)
    edge[1:] = ~_same(visitor, site, order) | (np.diff(time[order]) > GAP_MS)
    return edge


def _session_edges(events: pl.DataFrame, order: Numbers) -> Numbers:
    edge = _chain_edges(events, order)
    time = events["occurred_at"].to_numpy()[order]
    start = np.flatnonzero(edge)
    length = np.diff(np.append(start, len(time)))
    if (time[start + length - 1] - time[start]).max() < DAY_MS:
        return edge  # no chain is a day long, so no midnight cuts
    begun = np.repeat(time[start], length)
    first_cut = (begun + 2 * DAY_MS - 1) // DAY_MS  # the first midnight at least a day after the chain began
    cuts = np.maximum(time // DAY_MS - first_cut + 1, 0)
    edge[1:] |= cuts[1:] != cuts[:-1]
    return edge


def difference(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Returns what turns the sessions `before` into those of `after`, in COLUMNS and `deleted` (Boolean).

    Rows that are new or have changed come with `deleted` false, rows that no longer exist with `deleted` true.
    """
    if not before.height:
        return after.with_columns(deleted=pl.lit(False))
    changed = after.join(before, on=list(COLUMNS), how="anti").with_columns(deleted=pl.lit(False))
    gone = before.join(after, on=KEY, how="anti").with_columns(deleted=pl.lit(True))
    return pl.concat([changed, gone])


def _mix(value: Numbers) -> Numbers:
    """The finalizer of SplitMix64 (Steele, Lea, Flood 2014) on a 64-bit column, wrapping."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    value ^= value >> np.uint64(31)
    return value


def site_number(site: str) -> int:
    """Returns a site as an unsigned 64-bit number: BLAKE2b-64 of its name, big endian."""
    return int.from_bytes(hashlib.blake2b(site.encode(), digest_size=8).digest(), "big")


def session_ids(first_events: pl.DataFrame) -> pl.Series:
    """Returns the session id (UInt64) of each row: mix(mix(mix(site ^ visitor) ^ id_hi) ^ id_lo).

    `first_events` has the columns of IDENTITY. Each distinct site is hashed once.
    """
    names = first_events["site"].unique()
    numbers = pl.Series([site_number(name) for name in names], dtype=pl.UInt64())
    site = first_events["site"].replace_strict(names, numbers, return_dtype=pl.UInt64()).to_numpy()
    visitor, high, low = (first_events[name].to_numpy() for name in ("visitor", "id_hi", "id_lo"))
    return pl.Series("session_id", _mix(_mix(_mix(site ^ visitor) ^ high) ^ low))
