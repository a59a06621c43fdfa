"""The laws of sessionization: whatever the order, the chunks and the copies, one sorted pass says the same.

`reference` is that pass, written event by event and sharing no code with the product.
"""

from __future__ import annotations

import hashlib
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activity import columns, session
from activity.definitions import DAY_MS, GAP_MS, HORIZON_MS

T0 = 20_000 * DAY_MS
MASK = 2**64 - 1


def row(at: int, number: int, visitor: int = 7, site: str = "a.example", **more: Any) -> dict[str, Any]:
    blank = {name: "" for name, kind in session.STATE_COLUMNS.items() if kind == pl.String()}
    return blank | {
        "site": site, "visitor": visitor, "id_hi": number % 3, "id_lo": number, "received_at": at, "occurred_at": at,
        "type": "pageview", "interactive": True, "engaged_ms": 0, "path": f"/{number}", "source": f"s{number}",
    } | more  # fmt: skip


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=session.STATE_COLUMNS)


def mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def reference(rows: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    best: dict[tuple[Any, ...], dict[str, Any]] = {}
    for r in rows:
        key = (r["site"], r["visitor"], r["id_hi"], r["id_lo"])
        order = ("received_at", "occurred_at", *(n for n in session.STATE_COLUMNS if n not in session.IDENTITY))
        if key not in best or [r[n] for n in order] < [best[key][n] for n in order]:
            best[key] = r
    visitors: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for r in best.values():
        visitors.setdefault((r["site"], r["visitor"]), []).append(r)
    out = set()
    for (site, visitor), events in visitors.items():
        events.sort(key=lambda r: (r["occurred_at"], r["id_hi"], r["id_lo"]))
        groups: list[list[dict[str, Any]]] = []
        begun = previous = None
        for r in events:
            t = r["occurred_at"]
            if previous is None or t - previous > GAP_MS:
                begun = t
                groups.append([])
            else:
                midnight = t // DAY_MS * DAY_MS
                if previous < midnight and begun is not None and begun <= midnight - DAY_MS:
                    groups.append([])
            groups[-1].append(r)
            previous = t
        for g in groups:
            number = int.from_bytes(hashlib.blake2b(site.encode(), digest_size=8).digest(), "big")
            sid = mix(mix(mix(number ^ visitor) ^ g[0]["id_hi"]) ^ g[0]["id_lo"])
            views = [r["path"] for r in g if r["type"] == "pageview"]
            users = [r["user"] for r in g if r["user"]]
            entered = next(
                (r for r in g if r["type"] == "pageview" or r["source"] or r["medium"] or r["utm_campaign"]), g[0]
            )
            out.add((
                site, visitor, sid, g[0]["occurred_at"], g[-1]["occurred_at"], len(g), len(views),
                sum(r["type"] == "search" for r in g), sum(r["interactive"] for r in g),
                sum(r["engaged_ms"] for r in g),
                views[0] if views else "", views[-1] if views else "", users[-1] if users else "",
                entered["source"], entered["medium"], entered["utm_campaign"], entered["channel"], entered["browser"],
            ))  # fmt: skip
    return out


SEEN = ["site", "visitor", "session_id", "started_at", "ended_at", "events", "pageviews", "searches", "interactions",
        "engaged_ms", "entry_page", "exit_page", "user", "source", "medium", "utm_campaign", "channel",
        "browser"]  # fmt: skip


def seen(sessions: pl.DataFrame) -> set[tuple[Any, ...]]:
    rows = sessions.select(SEEN).rows()
    assert len(set(rows)) == len(rows)
    return set(rows)


def apply(table: dict[tuple[Any, ...], tuple[Any, ...]], changes: pl.DataFrame) -> None:
    for change in changes.iter_rows(named=True):
        key = tuple(change[k] for k in session.KEY)
        if change["deleted"]:
            assert table.pop(key)
        else:
            table[key] = tuple(change[name] for name in SEEN)


steps = st.sampled_from([0, 1, 60_000, GAP_MS - 1, GAP_MS, GAP_MS + 1, 3 * GAP_MS])


@st.composite
def histories(draw: st.DrawFn, most: int = 24) -> list[dict[str, Any]]:
    """Events of a few visitors whose gaps lie around the boundary, with copies that differ in time of receipt."""
    rows = []
    at = T0 + draw(st.integers(0, DAY_MS))
    for number in range(draw(st.integers(0, most))):
        at += draw(steps)
        r = row(
            at, number, visitor=draw(st.integers(1, 2)), site=draw(st.sampled_from(["a.example", "b.example"])),
            type=draw(st.sampled_from(["pageview", "search", "engagement", "custom"])),
            interactive=draw(st.booleans()), engaged_ms=draw(st.sampled_from([0, 6_000])),
            user=draw(st.sampled_from(["", "u"])), source=draw(st.sampled_from(["", "", f"s{number}"])),
            medium=draw(st.sampled_from(["", "", f"m{number}"])), channel=f"c{number}", browser=f"b{number}",
            utm_campaign=draw(st.sampled_from(["", "", f"u{number}"])),
        )  # fmt: skip
        rows.append(r)
        if draw(st.integers(0, 3)) == 0:
            rows.append(r | {"received_at": r["received_at"] + draw(st.integers(-5, 5)), "occurred_at": at + 1})
    return rows


@given(histories())
@settings(deadline=None)
def test_one_pass_equals_the_reference(rows: list[dict[str, Any]]) -> None:
    assert seen(session.sessions(session.canonical(frame(rows)))) == reference(rows)


@given(histories())
@settings(deadline=None)
def test_ids_of_a_dictionary_give_the_rows_that_texts_give(rows: list[dict[str, Any]]) -> None:
    texts = frame(rows)
    ids = columns.as_ids(texts)
    assert not rows or ids.schema["browser"] == pl.Categorical
    canonical = session.canonical(texts)
    assert columns.as_texts(session.canonical(ids)).sort(pl.all()).equals(canonical.sort(pl.all()))
    found = columns.as_texts(session.sessions(session.canonical(ids)))
    assert found.sort(session.KEY).equals(session.sessions(canonical).sort(session.KEY))


@given(histories(), st.randoms(use_true_random=False), st.data())
@settings(max_examples=40, deadline=None)
def test_any_order_any_chunks_any_copies(rows: list[dict[str, Any]], random: Any, data: st.DataObject) -> None:
    shuffled = rows + [r for r in rows if random.random() < 0.3]
    random.shuffle(shuffled)
    state, table = session.empty_state(), {}
    while shuffled:
        size = data.draw(st.integers(max(1, len(rows) // 4), max(1, len(rows))))
        chunk, shuffled = frame(shuffled[:size]), shuffled[size:]
        deduped = session.dedupe(chunk, state)
        step = session.advance(state, deduped.fresh, watermark=0)
        assert deduped.duplicates + deduped.fresh.height - deduped.retracted.height <= chunk.height
        apply(table, step.changes)
        state = step.state
    assert set(table.values()) == reference(rows)
    assert seen(session.sessions(state)) == reference(rows)


@given(histories(most=30), st.integers(5, 15))
@settings(max_examples=40, deadline=None)
def test_pruning_changes_nothing_that_is_told(rows: list[dict[str, Any]], size: int) -> None:
    """In order of time with the watermark at its heels, and everything forgotten that may be."""
    rows.sort(key=lambda r: r["occurred_at"])
    state, table, closed = session.empty_state(), {}, set()
    watermark = 0
    for i in range(0, len(rows), size):
        step = session.advance(state, session.dedupe(frame(rows[i : i + size]), state).fresh, watermark)
        assert not step.late.height
        apply(table, step.changes)
        watermark = max(r["occurred_at"] for r in rows[: i + size])
        state, final = session.prune(step.state, watermark)
        closed |= seen(final)
    assert set(table.values()) == reference(rows)
    assert closed <= reference(rows)


def lengths(rows: list[dict[str, Any]]) -> list[int]:
    return session.sessions(frame(rows)).sort("started_at")["events"].to_list()


def test_gap_of_exactly_thirty_minutes_stays() -> None:
    assert lengths([row(T0, 1), row(T0 + GAP_MS, 2)]) == [2]


def test_gap_of_thirty_minutes_and_a_millisecond_splits() -> None:
    assert lengths([row(T0, 1), row(T0 + GAP_MS + 1, 2)]) == [1, 1]


def test_midnight_alone_does_not_cut() -> None:
    assert lengths([row(T0 - 1000, 1), row(T0 + 1000, 2)]) == [2]


def every_twenty_minutes(begin: int, end: int) -> list[dict[str, Any]]:
    return [row(t, n) for n, t in enumerate(range(begin, end, 20 * 60_000))]


def test_a_chain_without_a_gap_is_cut_at_the_first_midnight_a_day_after_it_began() -> None:
    rows = every_twenty_minutes(T0 + 60_000, T0 + 3 * DAY_MS + 30 * 60_000)
    starts = session.sessions(frame(rows)).sort("started_at")["started_at"].to_list()
    assert [t // DAY_MS - T0 // DAY_MS for t in starts] == [0, 2, 3]
    assert seen(session.sessions(frame(rows))) == reference(rows)


def test_a_cut_chain_is_told_the_same_when_its_far_past_is_forgotten() -> None:
    rows = every_twenty_minutes(T0 + 60_000, T0 + 6 * DAY_MS)
    state, table, watermark = session.empty_state(), {}, 0
    for i in range(0, len(rows), 10):
        step = session.advance(state, frame(rows[i : i + 10]), watermark)
        apply(table, step.changes)
        watermark = rows[min(i + 9, len(rows) - 1)]["occurred_at"]
        state, _ = session.prune(step.state, watermark)
        assert state.height < 3.2 * 72
    assert set(table.values()) == reference(rows)


def test_a_late_event_bridges_two_and_retracts_one() -> None:
    first, last = row(T0, 1), row(T0 + 2 * GAP_MS, 3)
    before = session.advance(session.empty_state(), frame([first, last]), 0)
    after = session.advance(before.state, frame([row(T0 + GAP_MS, 2)]), 0)
    assert sorted(after.changes["deleted"].to_list()) == [False, True]
    assert after.changes.filter(~pl.col("deleted"))["events"].to_list() == [3]


def test_beyond_the_horizon_is_late_and_exactly_at_it_is_not() -> None:
    watermark = T0 + HORIZON_MS
    step = session.advance(session.empty_state(), frame([row(T0 - 1, 1), row(T0, 2)]), watermark)
    assert step.late["occurred_at"].to_list() == [T0 - 1]
    assert step.state["occurred_at"].to_list() == [T0]


def test_a_lesser_copy_that_comes_later_replaces() -> None:
    known = frame([row(T0, 1, received_at=T0 + 10)])
    deduped = session.dedupe(frame([row(T0 - 5, 1, received_at=T0 + 5)]), known)
    assert (deduped.fresh["occurred_at"][0], deduped.retracted["occurred_at"][0]) == (T0 - 5, T0)


def test_ten_thousand_events_are_one_session_and_one_more_sets_the_flag() -> None:
    rows = [row(T0 + n, n) for n in range(10_001)]
    assert session.sessions(frame(rows[:-1]))["oversized"].to_list() == [False]
    assert session.sessions(frame(rows))["oversized"].to_list() == [True]


@pytest.mark.parametrize(("interactive", "bounce"), [(0, True), (1, True), (2, False)])
def test_a_bounce_is_at_most_one_interactive_event(interactive: int, bounce: bool) -> None:
    rows = [row(T0 + n, n, interactive=n < interactive) for n in range(3)]
    assert session.sessions(frame(rows))["is_bounce"].to_list() == [bounce]


def came_by(*rows: dict[str, Any]) -> tuple[str, str]:
    return session.sessions(frame(list(rows))).select("source", "browser").row(0)


def test_a_visit_came_from_where_its_first_page_view_says() -> None:
    """A server's note a second before says nothing of it."""
    note = row(T0, 1, type="custom", source="", browser="")
    view = row(T0 + 1000, 2, source="google.com", browser="Firefox")
    assert came_by(note, view) == ("google.com", "Firefox")


def test_a_direct_visit_stays_direct_whatever_follows() -> None:
    view = row(T0, 1, source="", browser="Firefox")
    assert came_by(view, row(T0 + 1000, 2, source="news.example", browser="Chrome")) == ("", "Firefox")


def test_an_event_that_names_a_source_before_any_page_view_counts() -> None:
    opened = row(T0, 1, type="custom", source="newsletter", browser="Mail")
    assert came_by(opened, row(T0 + 1000, 2, source="", browser="Firefox")) == ("newsletter", "Mail")


def test_without_a_page_view_the_first_event_that_names_a_source_counts_else_the_first() -> None:
    pings = [row(T0 + n, n, type="engagement", source="", browser=f"b{n}") for n in (1, 2)]
    assert came_by(*pings) == ("", "b1")
    assert came_by(*pings, row(T0 + 3, 3, type="custom", source="", medium="email", browser="b3")) == ("", "b3")


def test_a_page_view_that_comes_late_tells_the_origin_again() -> None:
    note = row(T0, 1, type="custom", source="")
    step = session.advance(session.empty_state(), frame([note, row(T0 + 2000, 3, source="late.example")]), 0)
    assert step.changes["source"].to_list() == ["late.example"]
    step = session.advance(step.state, frame([row(T0 + 1000, 2, source="google.com")]), 0)
    assert step.changes.select("source", "deleted").rows() == [("google.com", False)]
