"""The laws of the open events: whatever comes in, in whatever pieces, they say what one frame of all of them says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from hypothesis import event, given, settings
from hypothesis import strategies as st

from activity import session
from activity.definitions import DAY_MS, GAP_MS, HORIZON_MS
from activity.open_events import OpenEvents
from tests.oracles import open_state
from tests.require import require

T0 = 20_000 * DAY_MS


def row(at: int, number: int, visitor: int = 7, site: str = "a.example", **more: Any) -> dict[str, Any]:
    blank = {name: "" for name, kind in session.STATE_COLUMNS.items() if kind == pl.String()}
    return blank | {
        "site": site, "visitor": visitor, "id_hi": number % 3, "id_lo": number, "received_at": at, "occurred_at": at,
        "type": "pageview", "interactive": True, "engaged_ms": 0, "path": f"/{number}", "source": f"s{number % 2}",
    } | more  # fmt: skip


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=session.STATE_COLUMNS)


def same(ours: pl.DataFrame, plain: pl.DataFrame) -> None:
    assert ours.schema == plain.schema
    ours, plain = ours.sort(ours.columns), plain.sort(plain.columns)
    if not ours.equals(plain):
        assert ours.rows() == plain.rows()


class Both:
    """The open events and the plain state, which have to agree after every step."""

    def __init__(self) -> None:
        self.open = OpenEvents()
        self.plain = session.empty_state()
        self.additions: list[int] = []

    def advance(self, batch: pl.DataFrame, watermark: int) -> session.Advance:
        held = self.open.frame()
        step = session.advance(self.open.of(batch["visitor"]), batch, watermark)
        same(self.open.frame(), held)  # a step that is not committed leaves no trace
        self.plain, changes, taken, late = open_state.advance(self.plain, batch, watermark)
        for ours, plain in ((step.changes, changes), (step.taken, taken), (step.late, late)):
            same(ours, plain)
        self.add(step.taken)
        return step

    def add(self, events: pl.DataFrame) -> None:
        self.additions.append(self.open.add(events))
        self.plain = session.canonical(pl.concat([self.plain, events]))
        self.check()

    def prune(self, watermark: int) -> pl.DataFrame:
        closed = self.open.prune(watermark)
        self.plain, plainly = open_state.prune(self.plain, watermark)
        same(closed, plainly)
        self.check()
        return closed

    def restart(self) -> None:
        self.open = OpenEvents(self.open.frame())
        self.additions = [1] if self.open.height else []
        self.check()

    def check(self) -> None:
        same(self.open.frame(), self.plain)
        assert self.open.height == self.plain.height
        assert self.open.height == sum(self.open.left(addition) for addition in self.additions)


# Visitor numbers next to each other, far apart, and in the uppermost bit.
VISITORS = st.sampled_from([0, 1, 2, 7, 2**32, 2**32 + 7, 2**63, 2**64 - 1])
AGES = st.one_of(
    st.sampled_from([0, 1, GAP_MS - 1, GAP_MS, GAP_MS + 1, HORIZON_MS - 1, HORIZON_MS, HORIZON_MS + 1, 30 * 3_600_000]),
    st.integers(0, 3 * 3_600_000),
)


@st.composite
def events(draw: st.DrawFn, now: int) -> dict[str, Any]:
    at = now - draw(AGES)
    # Few ids, so that copies meet, on several sites and with several visitors.
    return row(
        at, draw(st.integers(0, 12)), draw(VISITORS), draw(st.sampled_from(["a.example", "b.example"])),
        received_at=T0 + draw(st.integers(0, 3)), type=draw(st.sampled_from(["pageview", "custom"])),
        path=draw(st.sampled_from(["", "/ä", "/a long path beyond any short string", "/p"])),
        user=draw(st.sampled_from(["", "u"])),
    )  # fmt: skip


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_sequence_says_what_the_plain_state_says(data: st.DataObject) -> None:
    both, now, watermark = Both(), T0, 0
    for _ in range(data.draw(st.integers(1, 14))):
        now += data.draw(st.sampled_from([0, 1, 10_000, 60_000, GAP_MS, HORIZON_MS, HORIZON_MS + GAP_MS, DAY_MS]))
        do = data.draw(st.sampled_from(["advance", "advance", "advance", "prune", "prune", "add", "restart", "join"]))
        event(do)
        if do == "advance":
            both.advance(frame(data.draw(st.lists(events(now), max_size=12))), watermark)
        elif do == "add":  # as a rebuild does: of any age, and nothing in order
            both.add(frame(data.draw(st.lists(events(now), max_size=12))))
        elif do == "prune":
            watermark = max(watermark, now - data.draw(st.sampled_from([0, 1, 9_999, 10_000, GAP_MS])))
            both.prune(watermark)
        elif do == "restart":
            both.restart()
        elif both.additions:
            some = data.draw(st.lists(st.sampled_from(both.additions), unique=True))
            still = both.open.still(some)
            both.additions = [n for n in both.additions if n not in some] + [both.open.join(some)]
            same(both.open.still(both.additions[-1:]), still)
            both.check()


@given(st.data())
@settings(max_examples=10, deadline=None)
def test_a_visitor_who_stays_for_days_is_told_the_same(data: st.DataObject) -> None:
    both, at, number = Both(), T0 + data.draw(st.integers(0, DAY_MS)), 0
    for _ in range(data.draw(st.integers(10, 25))):
        rows = []
        for _ in range(12):
            at += data.draw(st.sampled_from([60_000, GAP_MS - 1, GAP_MS, GAP_MS, GAP_MS]))
            number += 1
            rows.append(row(at, number, visitor=data.draw(st.sampled_from([7, 7, 7, 8]))))
        both.advance(frame(rows), at - HORIZON_MS)
        both.prune(at - data.draw(st.sampled_from([0, HORIZON_MS])))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_events_of_which_none_is_a_copy_change_the_sessions_that_the_plain_state_names(data: st.DataObject) -> None:
    both, now, number = Both(), T0, 0
    for _ in range(data.draw(st.integers(1, 10))):
        now += data.draw(st.sampled_from([0, 1, GAP_MS, HORIZON_MS, DAY_MS]))
        rows = data.draw(st.lists(events(now), max_size=12))
        both.advance(frame([one | {"id_lo": number + n} for n, one in enumerate(rows)]), 0)
        number += len(rows)


def test_a_session_that_ends_a_day_earlier_with_as_many_events_has_changed() -> None:
    """What came before the first event lets the next midnight cut, and what came after it makes up for the loss."""
    start = T0 + DAY_MS + 1
    through_midnight = range(start, T0 + 3 * DAY_MS, GAP_MS)  # its second; only the third is a day after its start
    both = Both()
    both.advance(frame([row(at, n) for n, at in enumerate(through_midnight)]), 0)
    lost = sum(at >= T0 + 2 * DAY_MS for at in through_midnight)
    earlier = [row(at, 1000 + n) for n, at in enumerate(range(T0 + 1 - GAP_MS, start, GAP_MS))]
    step = both.advance(frame(earlier + [row(start + 1 + n, 2000 + n) for n in range(lost)]), 0)
    changed = step.changes.filter(~pl.col("deleted") & (pl.col("started_at") == start))
    assert changed["events"].to_list() == [len(through_midnight)]
    assert changed["ended_at"].item() < T0 + 2 * DAY_MS


def test_a_late_event_bridges_two_chains_and_both_expire_as_one() -> None:
    both = Both()
    both.advance(frame([row(T0, 1), row(T0 + 2 * GAP_MS, 3)]), 0)
    step = both.advance(frame([row(T0 + GAP_MS, 2)]), 0)
    assert sorted(step.changes["deleted"].to_list()) == [False, True]
    end = T0 + 2 * GAP_MS
    assert not both.prune(end + GAP_MS + HORIZON_MS).height
    assert both.prune(end + GAP_MS + HORIZON_MS + 1)["events"].to_list() == [3]
    assert not both.open.height


def test_a_lesser_copy_that_splits_a_chain_lets_each_half_expire() -> None:
    both = Both()
    both.add(frame([row(T0, 1), row(T0 + GAP_MS, 2), row(T0 + 2 * GAP_MS, 3)]))
    both.add(frame([row(T0 - 1, 2, received_at=T0 - 1)]))
    assert both.prune(T0 + GAP_MS + HORIZON_MS + 1)["events"].to_list() == [2]
    assert both.prune(T0 + 3 * GAP_MS + HORIZON_MS + 1)["events"].to_list() == [1]


def test_rows_and_texts_of_what_expired_are_used_again() -> None:
    """Hours of visitors that come and go, each with texts of his own, take what one wave of them takes."""
    both, sizes = Both(), []
    for wave in range(12):
        at = T0 + wave * 4 * 3_600_000
        both.add(frame([row(at, n, visitor=wave * 1000 + n, path=f"/{wave}/{n}") for n in range(1000)]))
        sizes.append((both.open._rows._begun, len(both.open._texts._texts), len(both.open._index._runs)))
        both.prune(at + 4 * 3_600_000)
        assert not both.open.height
    assert sizes[-1] == sizes[0]


def test_a_crowd_comes_and_goes() -> None:
    """Enough to fill several pages of rows and to merge runs: the same as one frame."""
    random = np.random.default_rng(5)
    both, number = Both(), 0
    for wave in range(6):
        at = T0 + wave * 3_600_000
        count = 30_000
        visitors = random.integers(0, 20_000, count).astype(np.uint64) * np.uint64(2**50 + 1)
        times = at + random.integers(0, 3_600_000, count)
        batch = pl.concat([frame([row(T0, 0)])] * count).with_columns(
            visitor=pl.Series(visitors), occurred_at=pl.Series(times), received_at=pl.Series(times),
            id_lo=pl.int_range(number, number + count, dtype=pl.UInt64), path=pl.format("/{}", pl.int_range(count)),
        )  # fmt: skip
        number += count
        both.add(batch)
        both.prune(at - 3_600_000)
    some = pl.Series(random.choice(visitors, 500))
    same(both.open.of(some), both.plain.filter(pl.col("visitor").is_in(some.implode())))


def requests(log: Path) -> pl.DataFrame:
    """The lines of a log in the combined format as events, in their order, nothing left out."""
    lines = pl.Series("line", log.read_bytes().decode("utf-8", "replace").splitlines())
    line = pl.col("line")
    time = line.str.extract(r"\[([^\]]+)\]").str.to_datetime("%d/%b/%Y:%H:%M:%S %z", time_unit="ms", strict=False)
    return (
        lines.to_frame()
        .with_columns(occurred_at=time.dt.epoch("ms"))
        .drop_nulls()
        .select(
            pl.lit("a.example").alias("site"),
            line.str.extract(r"^(\S+)").hash(7).alias("visitor"),
            line.hash(1).alias("id_hi"),
            pl.int_range(pl.len(), dtype=pl.UInt64).alias("id_lo"),
            pl.col("occurred_at").alias("received_at"),
            "occurred_at",
            pl.lit("pageview").alias("type"),
            pl.lit(True).alias("interactive"),
            pl.lit(0, pl.Int64).alias("engaged_ms"),
            line.str.extract(r'"\S+ (\S+)').fill_null("").alias("path"),
            line.str.extract(r'" \d+ \S+ "([^"]*)"').fill_null("").alias("referrer"),
            line.str.extract(r'"([^"]*)"$').fill_null("").alias("browser"),
        )
        .with_columns(pl.lit("").alias(name) for name in session.STATE_COLUMNS if name not in KNOWN)
        .select(session.STATE_COLUMNS.keys())
    )


KNOWN = {"site", "visitor", "id_hi", "id_lo", "received_at", "occurred_at", "type", "interactive", "engaged_ms",
         "path", "referrer", "browser"}  # fmt: skip


def test_the_visits_of_a_real_log_are_those_of_the_plain_state() -> None:
    log = os.environ.get("FOOTFALL_TEST_ACCESS_LOG", "")
    require("a real access log", Path(log).is_file(), "let FOOTFALL_TEST_ACCESS_LOG name one (combined format)")
    both, watermark, closed, changed = Both(), 0, 0, 0
    for batch in requests(Path(log)).iter_slices(97):
        changed += both.advance(batch, watermark).changes.height
        watermark = max(watermark, int(batch["occurred_at"].max()) - 600_000)  # type: ignore[arg-type]
        closed += both.prune(session.pruned_at(watermark)).height
    assert 0 < closed < changed
