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
again from a set of events. A step costs the events in the open chains of the batch's visitors, which `open_events`
finds without looking at the others, and the state takes the memory of two and a half hours of events.

Copies. An event may arrive several times (a retry, a redelivery). Its identity is (site, visitor, id). The canonical
copy is the least by (`received_at`, `occurred_at`, the other columns), no matter which arrives first.

Forgetting. A chain is final once the watermark is more than the gap and the horizon past its last event. An event
that could still join it would be beyond the horizon; such events are not taken into sessions here but returned as
`late`, so that their days are rebuilt. A chain may never end; then we forget the part that no later decision looks
at, which is everything more than the day cut's look-back before the last midnight that is out of reach.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from activity import chains
from activity.chains import Numbers
from activity.definitions import DAY_MS, ENGAGED_MS, GAP_MS, HORIZON_MS, OVERSIZED_EVENTS, SECOND_MS

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

# The watermark moves so far between two prunes.
_PRUNE_EVERY_MS = 10 * SECOND_MS


@dataclass(frozen=True)
class Advance:
    """What one batch changed: the state to carry on with, and what to write to the stores."""

    state: pl.DataFrame  # STATE_COLUMNS: the events before and the batch's that were taken, one copy of each
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


def empty_state() -> pl.DataFrame:
    """Returns a state without events, in STATE_COLUMNS."""
    return pl.DataFrame(schema=STATE_COLUMNS)


def empty_sessions() -> pl.DataFrame:
    """Returns no sessions, in COLUMNS."""
    return pl.DataFrame(schema=COLUMNS)


def advance(before: pl.DataFrame, batch: pl.DataFrame, watermark: int) -> Advance:
    """Takes a batch of events, in any order and with copies, into the events `before` it.

    `before` has STATE_COLUMNS and all open events of the batch's visitors, as `OpenEvents.of` gives them; those of
    other visitors do no harm. `batch` has at least STATE_COLUMNS. `watermark` (Unix ms) is the one from before the
    batch: events more than HORIZON_MS behind it come back as `late`. The returned state is not pruned.
    """
    batch = only(STATE_COLUMNS, batch)
    is_late = batch["occurred_at"].to_numpy() < watermark - HORIZON_MS
    late, taken = (batch.filter(is_late), batch.filter(~is_late)) if is_late.any() else (batch.clear(), batch)
    together = before.vstack(taken) if before.height else taken
    after = canonical(together)
    changes = _added(after, before.height) if after is together else difference(sessions(before), sessions(after))
    return Advance(after, changes, taken, late)


def _added(events: pl.DataFrame, before: int) -> pl.DataFrame:
    """What is changed by the events after the first `before` ones, as `difference` says it; no event may be a copy.

    Only the sessions that differ are formed. One whose first and last event and whose length were those of a session
    before has the same events, because none is gone."""
    if not events.height:
        return _with_deleted(empty_sessions(), np.empty(0, bool))
    keys = chains.keys_of(events)
    after = chains.chains(keys)
    now = chains.sessions(keys, after)
    if not before:
        return _with_deleted(_formed(events, now), np.zeros(len(now.length), bool))
    was = chains.sessions(keys, chains.chains_within(keys, after.rows[after.rows < before]))
    length, last = np.zeros(events.height, np.int64), np.empty(events.height, np.int64)  # by the first row
    length[was.first], last[was.first] = was.length, was.last
    differs = (length[now.first] != now.length) | (last[now.first] != now.last)
    length[now.first] = 0
    gone = length[was.first] > 0
    formed = _formed(events, was.those(gone).joined(now.those(differs)))
    return _with_deleted(formed, np.arange(formed.height) < np.count_nonzero(gone))


def prune(state: pl.DataFrame, watermark: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Removes from the state what can no longer change at this `watermark` (Unix ms).

    Returns the remaining state (STATE_COLUMNS) and the sessions that became final (COLUMNS). It looks at the whole
    state; `OpenEvents.prune` looks only at what may expire.
    """
    if not state.height:
        return state, empty_sessions()
    keys = chains.keys_of(state)
    final, out_of_sight = expired(keys, chains.ends(keys), watermark)
    return state.filter(~(final | out_of_sight)), sessions(state.filter(final))


def expired(keys: chains.Keys, last: Numbers, watermark: int) -> tuple[Numbers, Numbers]:
    """For each event whether its chain is final at this `watermark` (Unix ms), and whether it is out of sight.

    `last` is the time of the last event of each one's chain, see `chains.ends`.
    """
    reach = watermark - HORIZON_MS  # no event before this is taken any more
    # The cut at a midnight M looks back to M − 24 h − gap; M is at the earliest the last one before `reach`.
    sight = (reach // DAY_MS) * DAY_MS - DAY_MS - GAP_MS
    return last + GAP_MS < reach, keys.time < sight


def pruned_at(watermark: int) -> int:
    """The watermark (Unix ms) at which the state is pruned that has come to `watermark`: the last full ten seconds.

    So a state that is loaded again and one that was carried along are the same.
    """
    return watermark // _PRUNE_EVERY_MS * _PRUNE_EVERY_MS


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
    keys = chains.keys_of(events)
    return _formed(events, chains.sessions(keys, chains.chains(keys)))


def _formed(events: pl.DataFrame, spans: chains.Spans) -> pl.DataFrame:
    """One row for each of these sessions, in COLUMNS and in their order."""
    order, start, end = spans.rows, spans.start, spans.end - 1
    if not len(order):
        return empty_sessions()
    first = spans.first

    def total(values: pl.Series) -> Numbers:
        return np.add.reduceat(values.to_numpy()[order], start, dtype=np.int64)

    def text_at(column: str, rows: Numbers, inside: Numbers) -> pl.Series:
        """The text at each of `rows` that is `inside` its session, else ""."""
        if not inside.any():
            return pl.Series([""]).new_from_index(0, len(start))
        texts = events[column][_rows(order[np.where(inside, rows, start)])]
        return texts if inside.all() else texts.scatter(np.flatnonzero(~inside), "")

    def first_of(marked: Numbers) -> tuple[Numbers, Numbers]:
        """The first of the `marked` rows in each session, and whether there is one."""
        found = np.append(marked, len(order))[np.searchsorted(marked, start)]
        return found, found <= end

    def last_of(marked: Numbers) -> tuple[Numbers, Numbers]:
        found = np.append(marked, -1)[np.searchsorted(marked, end, side="right") - 1]
        return found, found >= start

    view = events["type"] == "pageview"
    views = np.flatnonzero(view.to_numpy()[order])
    known = np.flatnonzero((events["user"] != "").to_numpy()[order])
    names_origin = (events["source"] != "") | (events["medium"] != "") | (events["utm_campaign"] != "")
    entered, is_entered = first_of(np.flatnonzero((view | names_origin).to_numpy()[order]))
    entry = _rows(order[np.where(is_entered, entered, start)])
    length, pageviews = spans.length, total(view)
    interactions, engaged = total(events["interactive"]), total(events["engaged_ms"])
    time, site = events["occurred_at"].to_numpy(), events["site"][_rows(first)]
    visitor, high, low = (events[name].to_numpy()[first] for name in ("visitor", "id_hi", "id_lo"))
    columns: dict[str, pl.Series | Numbers] = {
        "site": site,
        "visitor": visitor,
        "session_id": session_ids(site, visitor, high, low),
        "started_at": time[first],
        "ended_at": time[spans.last],
        "events": length,
        "pageviews": pageviews,
        "searches": total(events["type"] == "search"),
        "interactions": interactions,
        "engaged_ms": engaged,
        "entry_page": text_at("path", *first_of(views)),
        "exit_page": text_at("path", *last_of(views)),
        "is_bounce": interactions <= 1,
        "is_engaged": (engaged > ENGAGED_MS) | (pageviews >= 2),
        "oversized": length > OVERSIZED_EVENTS,
        "user": text_at("user", *last_of(known)),
        **{name: events[name][entry] for name in _OF_THE_ENTRY},
    }
    return pl.DataFrame([pl.Series(name, columns[name]) for name in COLUMNS])


def _rows(numbers: Numbers) -> pl.Series:
    """Row numbers as what selects rows of a column the fastest."""
    return pl.Series(numbers.astype(np.uint32))


def difference(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Returns what turns the sessions `before` into those of `after`, in COLUMNS and `deleted` (Boolean).

    Rows that are new or have changed come with `deleted` false, rows that no longer exist with `deleted` true.
    """
    both = only(COLUMNS, before).vstack(only(COLUMNS, after))
    rows = np.flatnonzero(~both.is_duplicated().to_numpy())  # the same before and after: no change
    differing, is_new = both[_rows(rows)], rows >= before.height
    replaced = only(KEY, differing).is_duplicated().to_numpy()  # a new row has the key of a former one
    kept = np.flatnonzero(is_new | ~replaced)
    return _with_deleted(differing[_rows(kept)], ~is_new[kept])


def _with_deleted(changes: pl.DataFrame, deleted: Numbers) -> pl.DataFrame:
    return changes.hstack([pl.Series("deleted", deleted)])


def only(columns: Iterable[str], frame: pl.DataFrame) -> pl.DataFrame:
    """As `select`, without the cost of a query."""
    names = list(columns)
    return frame if frame.columns == names else frame[names]


def _mix(value: Numbers) -> Numbers:
    """The finalizer of SplitMix64 (Steele, Lea, Flood 2014) on a 64-bit column, wrapping."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    value ^= value >> np.uint64(31)
    return value


def site_number(site: str) -> int:
    """Returns a site as an unsigned 64-bit number: BLAKE2b-64 of its name, big endian."""
    return int.from_bytes(hashlib.blake2b(site.encode(), digest_size=8).digest(), "big")


def session_ids(site: pl.Series, visitor: Numbers, high: Numbers, low: Numbers) -> Numbers:
    """Returns the id (UInt64) of each session: mix(mix(mix(site ^ visitor) ^ high) ^ low).

    `high` and `low` are the id of its first event. Each distinct site is hashed once.
    """
    names, number = chains.numbered(site)
    sites = np.array([site_number(name) for name in names], np.uint64)[number]
    return _mix(_mix(_mix(sites ^ visitor) ^ high) ^ low)
