"""Visits by other definitions: a plain loop says the same, our rules give our sessions, and slices change nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activity import rules, session
from activity.columns import COLUMNS
from activity.definitions import DAY_MS, GAP_MS, HOUR_MS, MINUTE_MS
from activity.rules import OWN, PRODUCTS, Rules

T0 = 20_000 * DAY_MS
BERLIN = "Europe/Berlin"
VARIANTS = [
    rules.chosen([], 5 * MINUTE_MS, midnight=True, campaign=True)[1],
    rules.chosen([], rules.LONGEST_GAP_MS, midnight=False, campaign=True)[1],
    rules.chosen([], None, midnight=True, campaign=False)[1],
]
EVERY = [OWN, *PRODUCTS.values(), *VARIANTS]
UTM = ["utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content"]
SUMS = ("visits", "pageviews", "bounces", "duration_ms")


def row(at: int, number: int, visitor: int = 7, **more: Any) -> dict[str, Any]:
    blank = {name: "" for name, kind in COLUMNS.items() if kind == pl.String()}
    return blank | {
        "site": "a.example", "visitor": visitor, "id_hi": number % 3, "id_lo": number, "received_at": at,
        "occurred_at": at, "type": "pageview", "interactive": True, "engaged_ms": 0,
    } | more  # fmt: skip


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=COLUMNS)


def visits(rows: list[dict[str, Any]], by: Rules, zone: str = "UTC", cuts: tuple[int, ...] = ()) -> pl.DataFrame:
    """All visits of these events, taken in slices that end at `cuts`."""
    events, was_open, begin = frame(rows), rules.no_visits(), 0
    found = [rules.no_visits()]
    for upto in (*sorted(cuts), rules.NEVER):
        inside = pl.col("occurred_at").is_between(begin, upto, closed="left")
        finished, was_open = rules.advance(was_open, events.filter(inside), by, zone, upto)
        found.append(finished)
        begin = upto
    assert not was_open.height
    return pl.concat(found)


def told(found: pl.DataFrame, by: Rules) -> dict[str, Any]:
    """The numbers of all visits, as the table says them."""
    sums = rules.tally(found, by).select(pl.col(SUMS).sum()).row(0, named=True)
    count = sums["visits"]
    return {
        "visits": count,
        "views_per_visit": sums["pageviews"] / count,
        "bounce_rate": sums["bounces"] / count,
        "seconds": sums["duration_ms"] / count / 1000,
    }


def looped(rows: list[dict[str, Any]], by: Rules, zone: str) -> list[tuple[int, ...]]:
    """The same visits, event by event: visitor, start, end, views, interactions and whether it bounced."""
    out: list[tuple[int, ...]] = []
    for visitor in {e["visitor"] for e in rows}:
        mine = [
            e for e in rows
            if e["visitor"] == visitor
            and (by.known != "interactions" or e["interactive"])
            and (by.known != "pageviews" or e["type"] == "pageview")
        ]  # fmt: skip
        mine.sort(key=lambda e: (e["occurred_at"], e["id_hi"], e["id_lo"]))
        visit: list[dict[str, Any]] = []
        chain = previous = 0
        campaign = None
        groups = []
        for e in mine:
            at = e["occurred_at"]
            named = tuple(e[name] for name in UTM) if any(e[name] for name in UTM) else None
            paused = bool(visit) and by.gap_ms is not None and at - previous > by.gap_ms
            if not visit or paused:
                chain = at
            ends = not visit or paused
            if visit and not ends:
                midnight = at // DAY_MS * DAY_MS
                dates = [datetime.fromtimestamp(t / 1000, ZoneInfo(zone)).date() for t in (previous, at)]
                ends = (
                    (by.day_cut and previous < midnight and chain <= midnight - DAY_MS)
                    or (by.midnight and dates[0] != dates[1])
                    or (by.hour and previous // HOUR_MS != at // HOUR_MS)
                    or (by.campaign and named is not None and named != campaign)
                )
            if ends:
                visit, campaign = [], None
                groups.append(visit)
            visit.append(e)
            campaign, previous = named or campaign, at
        for group in groups:
            begin, end = group[0]["occurred_at"], group[-1]["occurred_at"]
            views = sum(e["type"] == "pageview" for e in group)
            did = sum(e["interactive"] for e in group)
            other = any(e["interactive"] and e["type"] != "pageview" for e in group)
            bounced = {
                "one interaction": did <= 1,
                "one view": views <= 1 and not other,
                "not engaged": views < 2 and end - begin <= 10_000,
            }[by.bounce]
            out.append((visitor, begin, end, views, did, int(bounced)))
    return sorted(out)


SEEN = ["visitor", "started_at", "ended_at", "pageviews", "interactions"]


def seen(found: pl.DataFrame, by: Rules) -> list[tuple[int, ...]]:
    rows = found.select(SEEN).rows()
    return sorted((*values, rules.tally(found[n], by)["bounces"].item()) for n, values in enumerate(rows))


steps = st.sampled_from([0, 1, 10_000, 10_001, MINUTE_MS, GAP_MS - 1, GAP_MS, GAP_MS + 1, HOUR_MS, 7 * HOUR_MS])


@st.composite
def histories(draw: st.DrawFn, most: int = 24) -> list[dict[str, Any]]:
    """Events of two visitors: pauses around the limits, through midnights, with and without campaigns."""
    rows = []
    at = T0 + draw(st.integers(0, DAY_MS))
    for number in range(draw(st.integers(1, most))):
        at += draw(steps)
        kind = draw(st.sampled_from(["pageview", "pageview", "search", "engagement", "custom"]))
        campaign = {name: draw(st.sampled_from(["", "", "a", "b"])) for name in draw(st.sampled_from([[], UTM[1:3]]))}
        interactive = kind == "pageview" or draw(st.booleans())
        rows.append(
            row(at, number, visitor=draw(st.integers(1, 2)), type=kind, interactive=interactive, **campaign)
        )
    return rows


@pytest.mark.parametrize("by", EVERY, ids=lambda by: by.name)
@given(rows=histories(), zone=st.sampled_from(["UTC", BERLIN, "Asia/Kathmandu"]))
@settings(max_examples=40, deadline=None)
def test_a_plain_loop_finds_the_same_visits(by: Rules, rows: list[dict[str, Any]], zone: str) -> None:
    assert seen(visits(rows, by, zone), by) == looped(rows, by, zone)


@pytest.mark.parametrize("by", EVERY, ids=lambda by: by.name)
@given(rows=histories(), random=st.randoms(use_true_random=False), cuts=st.lists(steps, max_size=4))
@settings(max_examples=40, deadline=None)
def test_neither_the_order_nor_the_slices_matter(
    by: Rules, rows: list[dict[str, Any]], random: Any, cuts: list[int]
) -> None:
    whole = visits(rows, by, BERLIN)
    middle = rows[len(rows) // 2]["occurred_at"]
    random.shuffle(rows)
    sliced = visits(rows, by, BERLIN, tuple({middle, *(middle + cut for cut in cuts), middle - 1}))
    assert sliced.drop("chain_began").sort(pl.all()).equals(whole.drop("chain_began").sort(pl.all()))


@given(histories(40))
@settings(max_examples=100, deadline=None)
def test_our_own_rules_give_our_own_sessions(rows: list[dict[str, Any]]) -> None:
    sessions = session.sessions(frame(rows).select(session.STATE_COLUMNS.keys()))
    ours = sorted((*values, int(bounced)) for *values, bounced in sessions.select(*SEEN, "is_bounce").iter_rows())
    assert seen(visits(rows, OWN), OWN) == ours


def test_a_chain_of_days_is_cut_where_our_sessions_are_cut() -> None:
    rows = [row(T0 + 5 * HOUR_MS + n * GAP_MS, n) for n in range(150)]
    sessions = session.sessions(frame(rows).select(session.STATE_COLUMNS.keys()))
    assert sessions.height == 3
    cuts = tuple(T0 + n * 7 * HOUR_MS for n in range(1, 12))
    for found in (visits(rows, OWN), visits(rows, OWN, cuts=cuts)):
        assert set(found["started_at"]) == set(sessions["started_at"])
    assert visits(rows, PRODUCTS["ga4"], cuts=cuts).height == 1


def test_the_chosen_rules_begin_with_our_own_and_are_named_by_what_is_changed() -> None:
    found = rules.chosen(["ga4", "umami", "ga4"], 15 * MINUTE_MS, midnight=True, campaign=True)
    assert [by.name for by in found] == ["footfall", "ga4", "umami", "gap=15,midnight,campaign"]
    assert [by.name for by in rules.chosen([], None, midnight=False, campaign=False)] == ["footfall"]
    with pytest.raises(ValueError, match="urchin"):
        rules.chosen(["urchin"], None, midnight=False, campaign=False)
    with pytest.raises(ValueError, match="not between"):
        rules.chosen([], rules.LONGEST_GAP_MS + 1, midnight=False, campaign=False)
