"""Other definitions of a visit: what the same events amount to under the rules of Matomo, GA4, Plausible and Umami.

`Rules` say which events a product knows, what ends a visit, and which visits bounce. `advance` forms visits by them,
one slice of time after the other. Between two slices it keeps a row for each visit that may go on, so its memory does
not grow with the period, and where the slices are cut makes no difference. Our own definitions are a set of rules too
(`OWN`); by them `advance` gives the sessions that `session` gives.

Nothing stored follows these rules. Where they come from, and what of a product's definition our events cannot tell,
stands in `docs/rules.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import polars as pl

from activity.chains import Numbers
from activity.definitions import DAY_MS, GAP_MS, HOUR_MS, MINUTE_MS, SECOND_MS


class Known(StrEnum):
    """Which events of persons a product knows. What it does not know neither begins a visit nor keeps it open."""

    EVENTS = "events"
    INTERACTIONS = "interactions"
    PAGEVIEWS = "pageviews"


class Bounce(StrEnum):
    """Which visits bounce."""

    ONE_INTERACTION = "one interaction"  # at most one
    ONE_VIEW = "one view"  # at most one page view, and no other interaction
    NOT_ENGAGED = "not engaged"  # at most one page view, and not longer than ten seconds


@dataclass(frozen=True)
class Rules:
    """One product's definitions. A visit's duration is the time from its first known event to its last."""

    name: str
    known: Known
    bounce: Bounce
    gap_ms: int | None  # the longest pause inside a visit; None where no pause ends it
    midnight: bool = False  # a visit ends at midnight in the site's time zone
    campaign: bool = False  # an event that names another campaign than the visit did so far begins a new one
    hour: bool = False  # a visit ends with the hour of the clock
    day_cut: bool = False  # a visit ends at a 00:00 UTC before which its chain has run for a day, see `session`


OWN = Rules("footfall", Known.EVENTS, Bounce.ONE_INTERACTION, GAP_MS, day_cut=True)

PRODUCTS: dict[str, Rules] = {
    rules.name: rules
    for rules in (
        # https://matomo.org/faq/general/faq_36/
        # https://matomo.org/faq/reports/can-i-change-the-bounce-rate-setting-in-matomo
        Rules(
            "matomo", Known.INTERACTIONS, Bounce.ONE_INTERACTION, 30 * MINUTE_MS, midnight=True, campaign=True
        ),
        # https://support.google.com/analytics/answer/9191807 and https://support.google.com/analytics/answer/11109416
        Rules("ga4", Known.EVENTS, Bounce.NOT_ENGAGED, 30 * MINUTE_MS),
        # https://plausible.io/docs/metrics-definitions
        Rules("plausible", Known.INTERACTIONS, Bounce.ONE_VIEW, 30 * MINUTE_MS),
        # https://umami.is/docs/api/website-stats, and the source of what gives a visit its id
        Rules("umami", Known.PAGEVIEWS, Bounce.ONE_VIEW, None, hour=True),
    )
}  # fmt: skip

LONGEST_GAP_MS = DAY_MS
_ENGAGED_MS = 10 * SECOND_MS

_UTM = ["utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content"]
# What `advance` needs of an event.
EVENT_COLUMNS = ["visitor", "id_hi", "id_lo", "occurred_at", "type", "interactive", *_UTM]

# A visit of one site. `chain_began` is when its chain of events without a long pause did, `campaign` the one that was
# named last in it, as a number; 0 is none.
COLUMNS: dict[str, pl.DataType] = {
    "visitor": pl.UInt64(),
    "started_at": pl.Int64(),
    "ended_at": pl.Int64(),
    "pageviews": pl.Int64(),
    "interactions": pl.Int64(),
    "others": pl.Int64(),  # interactions that are no page views
    "chain_began": pl.Int64(),
    "campaign": pl.UInt64(),
}
_SUMS = ["pageviews", "interactions", "others"]
# The end of time, for the slice that closes all visits.
NEVER = 2**62


class Advance(NamedTuple):
    """The visits (COLUMNS) that are over, and those that may go on."""

    finished: pl.DataFrame
    open: pl.DataFrame


def chosen(products: Sequence[str], gap_ms: int | None, *, midnight: bool, campaign: bool) -> list[Rules]:
    """Returns our own rules, those of these products, and our own ones with what else is given changed in them.

    `gap_ms` is the longest pause, LONGEST_GAP_MS at most. Raises ValueError for a product that is not in PRODUCTS."""
    for name in products:
        if name not in PRODUCTS:
            raise ValueError(f"{name!r} is none of {', '.join(PRODUCTS)}")
    if gap_ms is not None and not 0 < gap_ms <= LONGEST_GAP_MS:
        raise ValueError(f"a gap of {gap_ms} ms is not between 1 ms and {LONGEST_GAP_MS} ms")
    found = [OWN, *(PRODUCTS[name] for name in dict.fromkeys(products))]
    changes = [f"gap={gap_ms / MINUTE_MS:g}"] if gap_ms is not None else []
    changes += [name for name, on in (("midnight", midnight), ("campaign", campaign)) if on]
    if changes:
        gap = OWN.gap_ms if gap_ms is None else gap_ms
        found.append(replace(OWN, name=",".join(changes), gap_ms=gap, midnight=midnight, campaign=campaign))
    return found


def no_visits() -> pl.DataFrame:
    """Returns no visits, in COLUMNS."""
    return pl.DataFrame(schema=COLUMNS)


def advance(before: pl.DataFrame, events: pl.DataFrame, rules: Rules, zone: str, upto: int) -> Advance:
    """Takes the events of a slice of time into the visits that were open `before` it.

    `events` are those of persons on one site, in EVENT_COLUMNS and any order, without copies. They occurred before
    `upto` (Unix ms), and none before an event of an earlier slice. `zone` is the site's, one of `zones.ZONES`.
    """
    rows = pl.concat([_known(events, rules), before.with_columns(id_hi=_ZERO, id_lo=_ZERO)], how="diagonal")
    if not rows.height:
        return Advance(no_visits(), no_visits())
    rows = rows.sort("visitor", "ended_at", "id_hi", "id_lo")
    visitor, ended, campaign = (rows[name].to_numpy() for name in ("visitor", "ended_at", "campaign"))
    edge, began = _edges(rows, rules, zone)
    start = np.flatnonzero(edge)
    last = np.append(start[1:], len(edge)) - 1
    named = np.maximum.accumulate(np.where(campaign != 0, np.arange(len(edge)), -1))[last]
    sums = {name: np.add.reduceat(rows[name].to_numpy(), start, dtype=np.int64) for name in _SUMS}
    visits = pl.DataFrame(
        {
            "visitor": visitor[start],
            "started_at": rows["started_at"].to_numpy()[start],
            "ended_at": ended[last],
            **sums,
            "chain_began": began[start],
            "campaign": np.where(named >= start, campaign[named], np.uint64(0)),
        },
        schema=COLUMNS,
    )
    is_open = np.append(visitor[last][1:] != visitor[last][:-1], True)
    if rules.gap_ms is not None:
        is_open &= upto - ended[last] <= rules.gap_ms
    if rules.hour:
        is_open &= ended[last] // HOUR_MS == upto // HOUR_MS
    return Advance(visits.filter(~is_open), visits.filter(is_open))


_ZERO = pl.lit(0, pl.UInt64())


def _known(events: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """The events that the rules know, each as a visit of its own (COLUMNS, `id_hi`, `id_lo`)."""
    view, interactive, time = pl.col("type") == "pageview", pl.col("interactive"), pl.col("occurred_at")
    if rules.known is Known.INTERACTIONS:
        events = events.filter(interactive)
    elif rules.known is Known.PAGEVIEWS:
        events = events.filter(view)
    names_one = pl.any_horizontal(pl.col(name) != "" for name in _UTM)
    # Hashed texts, of which only 0 has a meaning; equal ones have equal hashes within one process.
    number = pl.concat_str([pl.col(name).cast(pl.String()) for name in _UTM], separator="\0").hash(seed=0)
    return events.select(
        "visitor",
        started_at=time,
        ended_at=time,
        pageviews=view.cast(pl.Int64()),
        interactions=interactive.cast(pl.Int64()),
        others=(interactive & ~view).cast(pl.Int64()),
        chain_began=time,
        campaign=pl.when(names_one).then(number).otherwise(0).cast(pl.UInt64()) if rules.campaign else _ZERO,
        id_hi="id_hi",
        id_lo="id_lo",
    )


def _edges(rows: pl.DataFrame, rules: Rules, zone: str) -> tuple[Numbers, Numbers]:
    """For each row, in order, whether a visit begins with it, and when its chain began (Unix ms)."""
    visitor, started, ended, campaign = (
        rows[name].to_numpy() for name in ("visitor", "started_at", "ended_at", "campaign")
    )
    place = np.arange(rows.height)
    edge = np.ones(rows.height, bool)
    edge[1:] = visitor[1:] != visitor[:-1]
    if rules.gap_ms is not None:
        edge[1:] |= started[1:] - ended[:-1] > rules.gap_ms
    began: Numbers = rows["chain_began"].to_numpy()[np.maximum.accumulate(np.where(edge, place, 0))]
    if rules.day_cut:
        first_cut = (began + 2 * DAY_MS - 1) // DAY_MS  # the first midnight a day after the chain began
        _mark(edge, np.maximum(ended // DAY_MS - first_cut + 1, 0))
    if rules.midnight:
        _mark(edge, _local_days(ended, zone))
    if rules.hour:
        _mark(edge, ended // HOUR_MS)
    if rules.campaign:
        start = np.maximum.accumulate(np.where(edge, place, 0))
        before = np.append(-1, np.maximum.accumulate(np.where(campaign != 0, place, -1))[:-1])
        current = np.where(before >= start, campaign[before], np.uint64(0))
        edge |= (campaign != 0) & (campaign != current)
    return edge, began


def _mark(edge: Numbers, values: Numbers) -> None:
    """Mark an edge wherever a value differs from that of the row before."""
    edge[1:] |= values[1:] != values[:-1]


def _local_days(times: Numbers, zone: str) -> Numbers:
    """The day of each time (Unix ms) in a zone, as a number."""
    if zone == "UTC":
        days: Numbers = times // DAY_MS
        return days
    local = pl.Series(times).cast(pl.Datetime("ms", "UTC")).dt.convert_time_zone(zone)
    return local.dt.date().to_physical().to_numpy()


def tally(visits: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Adds up visits (COLUMNS) by the UTC day on which they began.

    Returns `day` (since the epoch), `visits`, `pageviews`, `bounces` and `duration_ms` (Int64), in no order."""
    duration = pl.col("ended_at") - pl.col("started_at")
    bounced = {
        Bounce.ONE_INTERACTION: pl.col("interactions") <= 1,
        Bounce.ONE_VIEW: (pl.col("pageviews") <= 1) & (pl.col("others") == 0),
        Bounce.NOT_ENGAGED: (pl.col("pageviews") < 2) & (duration <= _ENGAGED_MS),
    }[rules.bounce]
    return visits.group_by(day=pl.col("started_at") // DAY_MS).agg(
        visits=pl.len().cast(pl.Int64()),
        pageviews=pl.col("pageviews").sum(),
        bounces=bounced.sum().cast(pl.Int64()),
        duration_ms=duration.sum(),
    )
