"""The day tables: a number is the same whether its days are built or not, whatever happened to their rows in between.

What is expected is computed from the frames in Polars.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from itertools import count
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activity.zones import day_start_ms
from pipeline.days import DayBuilder
from stores.day_rows import EDITION
from stores.days import DIMENSIONS, EXACT_LASTING, DayTables, Period, exact
from stores.filters import Filter
from stores.warehouse import Warehouse
from tests.stores import frames

SITE, ZONE = "a.example", "Europe/Berlin"
# The clocks of Berlin are moved on the second day.
FIRST, LAST = date(2024, 3, 30), date(2024, 4, 2)
DAYS = [FIRST + timedelta(days=n) for n in range(4)]
ROW = ("visitors", "visits", "pageviews", "events", "engaged_time", "without_results")
TABLES = ("event_rows", "session_rows", "day_values", "day_visits", "day_builds", "day_horizons",
          "month_values", "month_builds", "open_visits", "open_days")  # fmt: skip
UTM = ("utm_source", "utm_medium", "utm_term", "utm_content")
_EVENTS_BY = {
    "page": ("path", "pageview"), "search": ("term", "search"), "event": ("name", "custom"),
    "not_found": ("path", "not_found"), "outbound": ("target", "outbound"), "download": ("target", "download"),
}  # fmt: skip
_TARGETS = ["https://out.example/a", "/files/it's.zip", ""]


def one_of(events: pl.DataFrame, values: Sequence[str], column: str = "id_hi", part: int = 1) -> pl.Series:
    """A value for each event, by a part of one of its columns."""
    return pl.Series(values).gather((events[column] // part % len(values)).to_numpy())


def tagged(events: pl.DataFrame) -> pl.DataFrame:
    """The utm fields of each visit of a visitor, one a UTC day."""
    persons = events.filter(pl.col("bot") == "").sort("occurred_at", "id_hi", "id_lo")
    tells = (pl.col("type") == "pageview") | (pl.concat_str("source", "medium", "utm_campaign") != "")
    return persons.group_by("visitor", visit=pl.col("occurred_at") // frames.DAY_MS).agg(
        pl.coalesce(pl.col(name).filter(tells).first(), pl.col(name).first()) for name in UTM
    )


def target() -> pl.Expr:
    """Where a link out or a download leads."""
    url = pl.col("props").str.json_path_match("$.url").fill_null("")
    return pl.when(url != "").then(url).when(pl.col("name") != "").then("name").otherwise("path")


def made(number: int, seed: int, days: int = 5) -> pl.DataFrame:
    """Events of which those of every third visitor come from an import, and every third one's were named."""
    events = frames.events(number, seed=seed, days=days, start=frames.START - frames.DAY_MS)
    kind = pl.col("visitor") % 3
    custom, leads = pl.col("type") == "custom", pl.col("type").is_in(["outbound", "download"])
    others = pl.Series(["custom", "custom", "not_found", "outbound", "download"])
    tags = {name: one_of(events, ["", "", "news", f"it's {name}"], "id_lo", 4**n) for n, name in enumerate(UTM)}
    events = events.with_columns(
        type=pl.when(custom).then(others.gather((events["id_hi"] % 5).to_numpy())).otherwise("type"), **tags
    )
    return events.with_columns(
        name=pl.when(leads).then(one_of(events, _TARGETS, "id_lo")).when(custom).then("name").otherwise(pl.lit("")),
        props=pl.when((pl.col("type") == "outbound") & (pl.col("id_lo") % 2 == 0))
        .then(pl.lit('{"url":"https://other.example/é"}')).otherwise("props"),
        protocol=pl.when(kind == 0).then(pl.lit("import")).otherwise(pl.lit("footfall")),
        enriched_by=pl.when(kind == 1).then(pl.lit("ua=1 visitor=named")).otherwise(pl.lit("ua=1")),
    )


def put(warehouse: Warehouse, events: pl.DataFrame, batch: int, token: str, deleted: int = 0) -> None:
    warehouse.insert("event_rows", frames.marked(events, batch, deleted), f"{token}/e")
    warehouse.insert("session_rows", frames.marked(frames.sessions(events), batch, deleted), f"{token}/s")


@pytest.fixture
def tables(warehouse: Warehouse) -> Iterator[DayTables]:
    for table in TABLES:
        warehouse.command(f"TRUNCATE TABLE {table}")
    yield DayTables(warehouse)


class Oracle:
    """The numbers of a period, counted from frames."""

    def __init__(self, events: pl.DataFrame, period: Period, until_ms: int | None = None) -> None:
        end = until_ms or day_start_ms(period.last + timedelta(days=1), period.zone)
        self.span = day_start_ms(period.first, period.zone), end
        self.starts = [day_start_ms(day, period.zone) for day in period.days]
        own = events.filter(pl.col("site") == period.site)
        sessions = frames.sessions(own)
        self.events = self._placed(own, "occurred_at")
        sessions = sessions.with_columns(visit=pl.col("started_at") // frames.DAY_MS)
        self.visits = self._placed(sessions.join(tagged(own), on=["visitor", "visit"]), "started_at")
        # In these frames a visitor has one session a UTC day.
        self.visit_of = self.events.with_columns(visit=pl.col("occurred_at") // frames.DAY_MS, target=target())

    def _placed(self, frame: pl.DataFrame, time: str) -> pl.DataFrame:
        """The rows in the span; `who` counts once: the visitor if the id lasts, else the visitor on that day."""
        inside = frame.filter(pl.col(time).is_between(*self.span, closed="left"))
        day = sum((pl.col(time) >= start).cast(pl.Int64) for start in self.starts)
        lasts = pl.col("visitor") % 3 < 2
        return inside.with_columns(on=day, who=pl.struct("visitor", pl.when(lasts).then(0).otherwise(day)))

    def stats(self) -> dict[str, float]:
        people = self.events.filter(pl.col("bot") == "")
        visits, pageviews = self.visits.height, people.filter(pl.col("type") == "pageview").height
        return {
            "visitors": self.visits["who"].n_unique(),
            "visits": visits,
            "pageviews": pageviews,
            "searches": people.filter(pl.col("type") == "search").height,
            "events": people.height,
            "bots": self.events.height - people.height,
            "views_per_visit": pageviews / visits if visits else 0,
            "bounce_rate": self.visits["is_bounce"].sum() / visits if visits else 0,
            "visit_duration": self.visits.select(pl.col("ended_at") - pl.col("started_at")).sum().item() / visits / 1000
            if visits
            else 0,
            "engagement_rate": self.visits["is_engaged"].sum() / visits if visits else 0,
            "engaged_time": self.visits["engaged_ms"].sum() / visits / 1000 if visits else 0,
            "lasting": self.visits.filter(pl.col("visitor") % 3 < 2)["visitor"].n_unique(),
        }

    def breakdown(self, by: str) -> dict[str, tuple[int, ...]]:
        if by in _EVENTS_BY:
            column, kind = _EVENTS_BY[by]
            events = self.visit_of.filter(pl.col("bot") == "", pl.col(column) != "")
            if kind == "pageview":
                stayed = pl.col("engaged_ms").sum()
            else:
                stayed = pl.lit(0).first()
                events = events.filter(pl.col("type") == kind)
            theirs = pl.col("type") == kind
            grouped = events.group_by(column).agg(
                pl.col("who").filter(theirs).n_unique(),
                pl.struct("visitor", "visit", "on").filter(theirs).n_unique(),
                (pl.col("type") == "pageview").sum().alias("pageviews"),
                pl.len(),
                stayed,
                ((pl.col("results") == 0) & (pl.col("type") == kind) & (by == "search")).sum(),
            )
            grouped = grouped.filter(pl.col("who") > 0)
        else:
            grouped = self.visits.rename({"utm_campaign": "campaign"}).group_by(by).agg(
                pl.col("who").n_unique(), pl.len(), pl.col("pageviews").sum(), pl.col("events").sum(),
                pl.col("engaged_ms").sum(), pl.lit(0).first(),
            )
            if by.endswith("_page") or by == "campaign" or by in UTM:
                grouped = grouped.filter(pl.col(by) != "")
        # Of the engaged time it is the mean of the visits.
        return {row[0]: (*row[1:5], row[5] / row[2] / 1000, *row[6:]) for row in grouped.iter_rows()}


def found(
    tables: DayTables, period: Period, dimensions: tuple[str, ...] = DIMENSIONS, filters: Sequence[Filter] = ()
) -> dict[str, Any]:
    cover = tables.cover(period, filters)
    lists = tables.breakdowns(cover, [by for by in dimensions if by], 1000)
    return {"": tables.stats(cover)} | {
        by: {row["value"]: tuple(row[name] for name in ROW) for row in rows} for by, rows in lists.items()
    }


def expected(events: pl.DataFrame, period: Period, dimensions: tuple[str, ...] = DIMENSIONS) -> dict[str, Any]:
    oracle = Oracle(events, period)
    return {"": pytest.approx(oracle.stats())} | {by: oracle.breakdown(by) for by in dimensions if by}


@pytest.mark.parametrize("built", [[], [1], [0, 2, 3], [0, 1, 2, 3]], ids=["none", "one", "three", "all"])
def test_numbers_are_the_same_whichever_days_are_built(tables: DayTables, built: list[int]) -> None:
    events = made(4_000, seed=7)
    dropped = made(300, seed=8)
    put(tables._warehouse, pl.concat([events, dropped]), 1, "first")
    put(tables._warehouse, dropped, 2, "second", deleted=1)
    put(tables._warehouse, events, 3, "third")
    for at in built:
        tables.build(SITE, ZONE, DAYS[at])
    tables.move_horizon([3])
    period = Period(SITE, ZONE, FIRST, LAST)
    cover = tables.cover(period)
    assert [bool(version) for version in cover.versions] == [at in built for at in range(4)]
    assert found(tables, period) == expected(events, period)
    one = Period(SITE, ZONE, DAYS[1], DAYS[1])
    assert found(tables, one) == expected(events, one)
    begin, end = day_start_ms(FIRST, ZONE), day_start_ms(LAST + timedelta(days=1), ZONE)
    for until in (begin + 1, day_start_ms(DAYS[2], ZONE), day_start_ms(DAYS[2], ZONE) + 7 * 3_600_000, end, end + 1):
        assert tables.stats(cover, until) == pytest.approx(Oracle(events, period, min(until, end)).stats())
    assert not any(tables.stats(cover, begin).values())


def test_days_weeks_and_months(tables: DayTables) -> None:
    events = made(3_000, seed=3)
    put(tables._warehouse, events, 1, "series")
    tables.build(SITE, ZONE, DAYS[0])
    tables.build(SITE, ZONE, DAYS[2])
    tables.move_horizon([1])
    cover = tables.cover(Period(SITE, ZONE, FIRST, LAST))
    spans = {
        "day": {day: (day, day) for day in DAYS},
        "week": {date(2024, 3, 25): (FIRST, DAYS[1]), date(2024, 4, 1): (DAYS[2], LAST)},
        "month": {date(2024, 3, 1): (FIRST, DAYS[1]), date(2024, 4, 1): (DAYS[2], LAST)},
    }
    for interval, parts in spans.items():
        series = tables.series(cover, interval)
        assert list(series) == list(parts)
        for begin, (first, last) in parts.items():
            wanted = Oracle(events, Period(SITE, ZONE, first, last)).stats()
            assert series[begin] == pytest.approx({name: wanted[name] for name in series[begin]})


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("America/St_Johns", date(2010, 11, 7)),  # a minute after midnight the clocks go back to the day before
        ("Pacific/Apia", date(2011, 12, 30)),  # no such day there
        ("America/Sao_Paulo", date(2018, 11, 4)),  # without its first hour
        ("Australia/Lord_Howe", date(2024, 4, 7)),
        ("UTC", date(2149, 6, 5)),
        ("Asia/Kathmandu", date(2024, 1, 1)),
    ],
)
def test_a_day_begins_where_its_midnight_is(tables: DayTables, zone: str, day: date) -> None:
    period = Period("edge.example", zone, day - timedelta(days=1), day + timedelta(days=1))
    starts = [day_start_ms(each, zone) for each in [*period.days, day + timedelta(days=2)]]
    times = sorted({at + step for at in starts for step in (-3_600_000, -60_000, -1, 0, 1, 60_000, 3_600_000)})
    same = {"site": "edge.example", "visitor": range(1, 1 + len(times)), "batch": 1}
    events = pl.DataFrame(same | {"id_hi": 1, "id_lo": 1, "occurred_at": times, "received_at": times, "path": "/"})
    tables._warehouse.insert("event_rows", events.with_columns(type=pl.lit("pageview")), f"{zone}/{day}")
    wanted = {
        each: sum(start <= at < end for at in times)
        for each, start, end in zip(period.days, starts, starts[1:], strict=False)
    }
    for built in (False, True):
        if built:
            for each in period.days:
                tables.build("edge.example", zone, each)
            tables.move_horizon([1])
        cover = tables.cover(period)
        assert cover.built == built
        series = tables.series(cover, "day")
        assert {each: row["events"] for each, row in series.items()} == {k: n for k, n in wanted.items() if n}
        assert tables.stats(cover)["events"] == sum(wanted.values())


# What can happen to the rows of a few days, in any order. Batches of two units become complete out of order.
class Dying(DayTables):
    """A builder with these ends before it moves the horizon."""

    def move_horizon(self, units: Sequence[int]) -> None:
        raise KeyboardInterrupt


_TOKENS = count()
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 1), st.integers(0, 4), st.booleans()),
        st.tuples(st.just("complete"), st.integers(0, 1)),
        st.tuples(st.just("look"), st.booleans()),
        st.tuples(st.just("build"), st.integers(0, 3)),
        st.tuples(st.just("keep"), st.integers(0, 3)),
    ),
    min_size=5,
    max_size=25,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, seed=st.integers(0, 1000))
def test_whatever_happens_the_numbers_are_those_of_the_rows(
    warehouse: Warehouse, steps: list[tuple[Any, ...]], seed: int
) -> None:
    for table in TABLES:
        warehouse.command(f"TRUNCATE TABLE {table}")
    tables, zones = DayTables(warehouse), {SITE: ZONE}
    events, number = made(0, 0), 0
    writing, complete = [2, 3], [0, 1]
    period = Period(SITE, ZONE, FIRST, LAST)
    for number, step in enumerate(steps):
        match step:
            case ("write", unit, day, removes):
                # A unit's rows are those of its visitors; a batch is written in several pieces.
                fresh = made(60, seed * 100 + number, days=1).filter(pl.col("visitor") % 2 == unit)
                fresh = fresh.with_columns(pl.col("occurred_at") + day * frames.DAY_MS)
                stored = events.filter(pl.col("visitor") % 2 == unit)
                gone = stored.head(stored.height // 3) if removes else stored.clear()
                left = pl.concat([stored.join(gone, on=["id_hi", "id_lo"], how="anti"), fresh])
                token = f"storm/{next(_TOKENS)}"  # a token that was used counts also after a TRUNCATE
                warehouse.insert("event_rows", frames.marked(gone, writing[unit], 1), f"{token}/gone")
                warehouse.insert("event_rows", frames.marked(fresh, writing[unit]), f"{token}/fresh")
                before, after = frames.sessions(stored), frames.sessions(left)
                key = ["site", "visitor", "session_id"]
                superseded = before.join(after, on=key, how="anti")
                changed = after.join(before, on=after.columns, how="anti")
                warehouse.insert("session_rows", frames.marked(superseded, writing[unit], 1), f"{token}/superseded")
                warehouse.insert("session_rows", frames.marked(changed, writing[unit]), f"{token}/changed")
                events = pl.concat([events.filter(pl.col("visitor") % 2 != unit), left])
            case ("complete", unit):
                complete[unit], writing[unit] = writing[unit], writing[unit] + 2
            case ("look", dies):
                with suppress(KeyboardInterrupt):
                    DayBuilder(Dying(warehouse) if dies else tables, partial(list, complete), lambda: zones).look()
            case ("build", day):
                tables.build(SITE, ZONE, DAYS[day])
            case ("keep", day):
                if horizon := tables.horizon():
                    tables.open.build(SITE, ZONE, DAYS[day], horizon, 1)
        some = ("", "page", "source")
        assert found(tables, period, some) == expected(events, period, some), step


def test_many_visitors_with_lasting_ids_are_about_right_and_it_is_said(tables: DayTables) -> None:
    many = 40_000
    ids = pl.Series(range(1, many + 1), dtype=pl.UInt64).hash(seed=1)
    for number, day in enumerate(DAYS[:2]):
        at = day_start_ms(day, ZONE) + 3_600_000
        row = {"site": SITE, "occurred_at": at, "received_at": at, "id_hi": 1, "id_lo": 1 + number, "batch": 1}
        events = pl.DataFrame({"visitor": ids}).with_columns(
            **{name: pl.lit(value) for name, value in row.items()}, type=pl.lit("pageview"), protocol=pl.lit("import")
        )
        tables._warehouse.insert("event_rows", events, f"many/{number}")
        visits = pl.DataFrame({"visitor": ids, "session_id": ids}).with_columns(
            site=pl.lit(SITE), started_at=pl.lit(at), ended_at=pl.lit(at), batch=pl.lit(1)
        )
        tables._warehouse.insert("session_rows", visits, f"many/{number}")
        tables.build(SITE, ZONE, day)
    tables.move_horizon([1])
    both, one = Period(SITE, ZONE, FIRST, DAYS[1]), Period(SITE, ZONE, FIRST, FIRST)
    stats = tables.stats(tables.cover(both))
    assert stats["visits"] == 2 * many
    assert stats["visitors"] == pytest.approx(many, rel=0.01)
    assert not exact(stats["lasting"], both)
    assert exact(stats["lasting"], one)
    assert exact(EXACT_LASTING, both)


def test_after_a_part_is_set_aside_no_day_counts_as_built(tables: DayTables) -> None:
    events = made(500, seed=1)
    put(tables._warehouse, events, 1, "aside")
    tables.build(SITE, ZONE, FIRST)
    tables.move_horizon([1])
    period = Period(SITE, ZONE, FIRST, FIRST)
    assert tables.cover(period).built
    part = tables._warehouse.query("SELECT name FROM system.parts WHERE active AND table = 'event_rows'").item(0, 0)
    tables._warehouse.set_part_aside("event_rows", part)
    assert not tables.cover(period).built
    assert tables.stats(tables.cover(period))["events"] < Oracle(events, period).stats()["events"]


def test_of_decades_only_days_with_events_are_asked_for(tables: DayTables) -> None:
    events = made(900, seed=6)
    put(tables._warehouse, events, 1, "decades")
    tables.build(SITE, ZONE, FIRST)
    tables.move_horizon([1])
    whole = Period(SITE, ZONE, date(2000, 1, 1), date(2199, 12, 31))
    cover = tables.cover(whole)
    assert len(cover.spans) < 10
    around = replace(whole, first=FIRST - timedelta(days=3), last=LAST + timedelta(days=3))
    assert found(tables, whole) == found(tables, around)
    nobody = replace(whole, site="nobody.example")
    assert tables.stats(tables.cover(nobody))["visits"] == 0


def test_a_clock_that_is_set_back_changes_nothing(tables: DayTables, monkeypatch: pytest.MonkeyPatch) -> None:
    events, period = made(900, seed=4), Period(SITE, ZONE, FIRST, FIRST)
    warehouse, command = tables._warehouse, tables._warehouse.command

    def dies(sql: str, params: Any = None) -> None:
        command(sql, params)
        raise KeyboardInterrupt

    early = pl.col("visitor") % 2 == 0
    put(warehouse, events.filter(early), 1, "back/1")
    tables.build(SITE, ZONE, FIRST)
    monkeypatch.setattr(warehouse, "command", dies)
    with pytest.raises(KeyboardInterrupt):
        tables.build(SITE, ZONE, FIRST)
    monkeypatch.undo()
    tables.move_horizon([1])
    monkeypatch.setattr("time.time_ns", lambda: 1_000)
    put(warehouse, events.filter(~early), 2, "back/2")
    tables.invalidate([(SITE, ZONE, FIRST)])
    assert not tables.cover(period).built
    tables.move_horizon([2])
    tables.build(SITE, ZONE, FIRST)
    warehouse.command("OPTIMIZE TABLE day_values FINAL")
    assert tables.horizon() == [2]
    assert tables.cover(period).built
    assert found(tables, period) == expected(events, period)


def test_days_of_another_edition_are_built_again(tables: DayTables, monkeypatch: pytest.MonkeyPatch) -> None:
    events, period = made(500, seed=4), Period(SITE, ZONE, FIRST, FIRST)
    put(tables._warehouse, events, 1, "edition")
    tables.build(SITE, ZONE, FIRST)
    tables.move_horizon([1])
    assert tables.cover(period).built
    monkeypatch.setattr("stores.day_rows.EDITION", EDITION + 1)
    assert not tables.cover(period).built
    assert tables.builds() == {(SITE, ZONE, FIRST): False}
    assert found(tables, period) == expected(events, period)
    tables.build(SITE, ZONE, FIRST)
    assert tables.cover(period).built
    assert found(tables, period) == expected(events, period)


def test_a_reader_is_right_though_the_horizon_moves_meanwhile(
    tables: DayTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, period = made(900, seed=5), Period(SITE, ZONE, FIRST, FIRST)
    early = pl.col("visitor") % 2 == 0
    put(tables._warehouse, events.filter(early), 1, "moves/1")
    tables.build(SITE, ZONE, FIRST)
    tables.move_horizon([1])
    ask = tables._warehouse.ask

    def and_then(question: str, **params: Any) -> pl.DataFrame:
        answer = ask(question, **params)
        if question == "built_days":
            put(tables._warehouse, events.filter(~early), 2, "moves/2")
            tables.invalidate([(SITE, ZONE, FIRST)])
            tables.move_horizon([2])
        return answer

    monkeypatch.setattr(tables._warehouse, "ask", and_then)
    assert found(tables, period) == expected(events, period)


def test_a_dimension_that_there_is_not(tables: DayTables) -> None:
    with pytest.raises(ValueError, match="'pages' is no dimension; there are entry_page"):
        tables.breakdowns(tables.cover(Period(SITE, ZONE, FIRST, LAST)), ["page", "pages"], 10)
