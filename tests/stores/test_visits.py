"""Funnels, paths, searches, retention and single visits are those that plain Python finds, whichever days are built."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stores.cover import Period
from stores.days import DayTables
from stores.filters import Filter
from stores.visits import Visits, check_steps, timeline
from stores.warehouse import Warehouse
from tests.oracles import journeys
from tests.oracles.journeys import Did
from tests.stores import frames
from tests.stores import test_filters as chosen_by
from tests.stores.test_days import DAYS, SITE, ZONE
from tests.stores.test_filters import EVENTS, FILTERS

stored = chosen_by.stored  # two of four days are built
CHOSEN_BY = chosen_by.Visits(EVENTS)
_PAGES = [*frames.PATHS[:3], frames.PATHS[4]]
_STEP_VALUES = {"page": [*_PAGES, "/none"], "search": ["shoes0", "shoes1"], "event": ["signup"],
                "goal": ["signup", "/pricing"], "outbound": ["https://out.example/a", ""], "not_found": _PAGES,
                "download": ["/files/it's.zip", "/"], "prop:plan": ["pro", "free", 'a"b'],
                "prop:seats": ["3"]}  # fmt: skip
_STEP_PARTS = {"page": ["/", "pri", "t'"], "search": ["shoes", "2"], "outbound": ["out."], "prop:plan": ["r", ""]}

STEPS = st.lists(
    st.one_of(
        *(st.builds(Filter, st.just(operator), st.just(name),
                    st.lists(st.sampled_from(texts), min_size=1, max_size=2).map(tuple))
          for operator, of in (("is", _STEP_VALUES), ("contains", _STEP_PARTS)) for name, texts in of.items()),
    ), min_size=1, max_size=4,
)  # fmt: skip
PERIODS = st.tuples(st.integers(0, 3), st.integers(0, 3)).map(
    lambda ends: Period(SITE, ZONE, DAYS[min(ends)], DAYS[max(ends)])
)
FEWER = st.one_of(st.just(()), FILTERS.map(lambda filters: filters[:1]))
of_all_kinds = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Visit(NamedTuple):
    visitor: int
    started: int
    day: date
    lasts: bool
    row: dict[str, Any]
    did: list[Did]


def visits(period: Period, filters: Sequence[Filter]) -> list[Visit]:
    """The visits that began in a period and that filters choose, in order."""
    events = CHOSEN_BY.chosen(filters).sort("occurred_at", "id_hi", "id_lo")
    did: dict[tuple[int, int], list[Did]] = defaultdict(list)
    for row in events.iter_rows(named=True):
        did[row["visitor"], row["occurred_at"] // frames.DAY_MS].append(
            Did(row["occurred_at"], list(_things(row)), row["results"])
        )
    zone, found = ZoneInfo(ZONE), []
    for row in frames.sessions(events).sort("started_at", "session_id").iter_rows(named=True):
        visitor, started = row["visitor"], row["started_at"]
        day = datetime.fromtimestamp(started / 1000, zone).date()
        if period.first <= day <= period.last:
            found.append(Visit(visitor, started, day, visitor % 3 < 2, row, did[visitor, started // frames.DAY_MS]))
    return found


def _things(row: dict[str, Any]) -> Iterable[tuple[str, str]]:
    match row["type"]:
        case "pageview":
            yield "page", row["path"]
        case "search":
            yield "search", row["term"]
        case "outbound" | "download" as kind:
            yield kind, json.loads(row["props"]).get("url") or row["name"] or row["path"]
        case "not_found":
            yield "not_found", row["path"]
        case "custom":
            yield "event", row["name"]
            for name, value in json.loads(row["props"]).items():
                yield f"prop:{name}", value if isinstance(value, str) else json.dumps(value)


def plain(steps: Sequence[Filter]) -> list[journeys.Step]:
    return [(step.operator, step.dimension, step.values) for step in steps]


@of_all_kinds
@given(steps=STEPS, period=PERIODS, filters=FEWER, by_visitor=st.booleans())
@example(
    [Filter("is", "event", ("signup",)), Filter("is", "prop:plan", ("pro",)), Filter("contains", "page", ("/",))],
    Period(SITE, ZONE, DAYS[0], DAYS[3]), (), True,
)  # fmt: skip
def test_a_funnel(
    stored: DayTables,
    warehouse: Warehouse,
    steps: list[Filter],
    period: Period,
    filters: tuple[Filter, ...],
    by_visitor: bool,
) -> None:
    tracks: dict[object, list[Did]] = defaultdict(list)
    for visit in visits(period, filters):
        who = (visit.visitor, None if visit.lasts else visit.day)
        tracks[who if by_visitor else (visit.visitor, visit.started)] += visit.did
    found = Visits(warehouse, period, filters).funnel(steps, by_visitor=by_visitor)
    assert [(row["reached"], row["seconds"]) for row in found] == journeys.funnel(tracks.values(), plain(steps))


@of_all_kinds
@given(
    pages=st.lists(st.sampled_from(_PAGES), max_size=3), period=PERIODS, filters=FEWER, backward=st.booleans()
)  # fmt: skip
def test_paths(
    stored: DayTables,
    warehouse: Warehouse,
    pages: list[str],
    period: Period,
    filters: tuple[Filter, ...],
    backward: bool,
) -> None:
    wanted = journeys.paths((visit.did for visit in visits(period, filters)), pages, backward=backward)
    found = Visits(warehouse, period, filters).paths(pages, backward=backward, limit=100)
    assert dict(found.select("value", "visits").iter_rows()) == wanted
    assert found["visits"].is_sorted(descending=True)
    assert set(found["total"]) <= {sum(wanted.values())}
    assert Visits(warehouse, period, filters).paths(pages, backward=backward, limit=1).height == min(1, len(wanted))


@of_all_kinds
@given(period=PERIODS, filters=FEWER)
def test_searches(stored: DayTables, warehouse: Warehouse, period: Period, filters: tuple[Filter, ...]) -> None:
    wanted = journeys.searches(visit.did for visit in visits(period, filters))
    found = {row.pop("value"): row for row in Visits(warehouse, period, filters).searches(100).to_dicts()}
    assert found.keys() == wanted.keys()
    for term, row in found.items():
        assert row == pytest.approx(wanted[term] | {"total": len(wanted)})


@of_all_kinds
@given(period=PERIODS, filters=FEWER)
def test_retention(stored: DayTables, warehouse: Warehouse, period: Period, filters: tuple[Filter, ...]) -> None:
    weeks = defaultdict[int, set[date]](set)
    for visit in visits(Period(SITE, ZONE, DAYS[0] - timedelta(days=9), period.last), filters):
        if visit.lasts:
            weeks[visit.visitor].add(visit.day - timedelta(days=visit.day.weekday()))
    shown = period.first - timedelta(days=period.first.weekday())
    came = ((min(theirs), week) for theirs in weeks.values() for week in theirs)
    wanted = Counter((cohort, (week - cohort).days // 7) for cohort, week in came if cohort >= shown)
    found = Visits(warehouse, period, filters).retention()
    assert {(cohort, later): number for cohort, later, number in found.iter_rows()} == dict(wanted)


@of_all_kinds
@given(period=PERIODS, filters=FEWER)
def test_visits_are_listed_the_latest_first(
    stored: DayTables, warehouse: Warehouse, period: Period, filters: tuple[Filter, ...]
) -> None:
    asked = Visits(warehouse, period, filters)
    found = asked.listing(10_000)
    names = ["duration_ms", "pageviews", "searches", "events", "is_bounce", "entry_page", "exit_page", "source", "city"]
    wanted = [
        (
            *(f"{visit.visitor:016x}", f"{visit.row['session_id']:016x}", visit.started),
            *((visit.row | {"duration_ms": visit.row["ended_at"] - visit.started})[name] for name in names),
        )
        for visit in sorted(visits(period, filters), key=lambda visit: (-visit.started, visit.row["session_id"]))
    ]
    assert found.select("visitor", "session_id", "started_ms", *names).rows() == wanted
    assert asked.listing(3, 2).equals(found.slice(2, 3))


def test_a_visit_is_told_from_its_events(stored: DayTables, warehouse: Warehouse) -> None:
    whole = Period(SITE, ZONE, DAYS[0], DAYS[3])
    for visit in visits(whole, ())[::17]:
        found = timeline(warehouse, SITE, visit.visitor, visit.row["session_id"])
        assert found is not None and found.complete
        assert found.visit["events"] == len(found.events) == len(visit.did)
        assert [event["at"] for event in found.events] == [did.at for did in visit.did]
        for event, did in zip(found.events, visit.did, strict=True):
            assert list(_things(event)) == did.things
        assert (found.visit["started_ms"], found.visit["entry_page"]) == (visit.started, visit.row["entry_page"])
    assert timeline(warehouse, SITE, 1, 2) is None
    first = visits(whole, ())[0]
    assert timeline(warehouse, "b.example", first.visitor, first.row["session_id"]) is None


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([], "1 to 10 steps, not 0"),
        ([Filter("is", "page", ("/",))] * 11, "1 to 10 steps, not 11"),
        ([Filter("is_not", "page", ("/",))], "something that a visit did"),
        ([Filter("is", "source", ("x",))], "outbound, download or prop:NAME, not 'source'"),
    ],
)
def test_steps_that_make_no_funnel_are_refused_in_words(steps: list[Filter], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_steps(steps)
