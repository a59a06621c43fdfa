"""Filters: the numbers of some visits are those of a site that had only these, whichever days are built.

Which visits are chosen is decided here in plain Python, visit by visit.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any
from urllib.parse import unquote

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from activity.zones import day_start_ms
from stores.cover import Period
from stores.day_rows import DIMENSIONS
from stores.days import DayTables
from stores.filters import Filter
from stores.warehouse import Warehouse
from tests.stores import frames
from tests.stores.test_days import DAYS, SITE, TABLES, UTM, ZONE, Oracle, found, made, one_of, put, tagged, target

_TOKENS = count()
_SOURCES = ["", "google.com", "news.example", "it's"]
_PLANS = ['{"plan":"pro","seats":3}', '{"plan":"free"}', '{"plan":"a\\"b","trial":true}', "{}"]
_VALUES = {
    "page": [*map(unquote, frames.PATHS), frames.PATHS[3], "/none", ""],
    "entry_page": [*frames.PATHS, "/none"], "exit_page": frames.PATHS,
    "search": ["shoes0", "shoes1", "hats"], "event": ["signup", "signdown"], "goal": ["signup", "/pricing", "/none"],
    "source": [*_SOURCES, "x"], "country": ["DE", "FR", ""], "browser": ["Firefox", "Safari"], "device": ["", "x"],
    "campaign": ["spring", "it's", ""], "city": ["Köln", "Bern", ""], "language": ["", "x"],
    "utm_source": ["news", ""], "utm_content": ["it's utm_content", "x"], "not_found": [*frames.PATHS, "/none"],
    "outbound": ["https://out.example/a", "", "/about"], "download": ["/files/it's.zip", "https://other.example/é"],
    "prop:plan": ["pro", "free", 'a"b', ""], "prop:seats": ["3"], "prop:trial": ["true", "false"], "prop:none": ["x"],
}  # fmt: skip
_PARTS = {"page": ["/p", "ä", "%C3", "x/.", ""], "search": ["oes0", "Shoes"], "event": ["sign"], "goal": ["sign", "/"],
          "source": ["goo", "example", ".", ""], "prop:plan": ["r", '"', ""], "entry_page": ["/", "t'"],
          "not_found": ["ö", "ab"], "outbound": ["out.", "é"], "utm_term": ["e", ""]}  # fmt: skip


def visited(number: int, seed: int, days: int = 5) -> pl.DataFrame:
    """Events with sources, browsers and properties; a visit lasts up to a UTC day, so most go on after midnight."""
    events = made(number, seed, days)
    return events.with_columns(
        source=one_of(events, _SOURCES),
        browser=one_of(events, ["Firefox", "Safari"]),
        utm_campaign=one_of(events, ["", "spring", "it's"]),
        city=one_of(events, ["Berlin", "", "Bern", "Köln"]),
        props=pl.when(pl.col("type") == "custom").then(one_of(events, _PLANS)).otherwise("props"),
        # What happens on a server may have no page.
        path=pl.when((pl.col("id_hi") % 7 == 0) & (pl.col("type") == "custom")).then(pl.lit(""))
        .when(pl.col("id_hi") % 4 == 0).then(pl.lit(encoded(frames.PATHS[3]))).otherwise("path"),
    )


def encoded(path: str) -> str:
    return path.replace("ä", "%C3%A4").replace("ö", "%C3%B6")


class Visits:
    """The visits of a site: what each did, on whatever day."""

    def __init__(self, events: pl.DataFrame) -> None:
        self.events = events.filter(pl.col("bot") == "", pl.col("site") == SITE).with_columns(
            visit=pl.col("occurred_at") // frames.DAY_MS
        )
        self._did: dict[tuple[int, int], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for row in self.events.with_columns(target=target()).iter_rows(named=True):
            did = self._did[row["visitor"], row["visit"]]
            match row["type"]:
                case "pageview":
                    did["page"].add(row["path"])
                case "search":
                    did["search"].add(row["term"])
                case "not_found":
                    did["not_found"].add(row["path"])
                case "outbound" | "download" as kind:
                    did[kind].add(row["target"])
                case "custom":
                    did["event"].add(row["name"])
                    for name, value in json.loads(row["props"]).items():
                        did[f"prop:{name}"].add(value if isinstance(value, str) else json.dumps(value))
        for row in frames.sessions(self.events).iter_rows(named=True):
            did = self._did[row["visitor"], row["started_at"] // frames.DAY_MS]
            for name in ("entry_page", "exit_page", "source", "country", "browser", "device", "city", "language"):
                did[name] = {row[name]}
            did["campaign"] = {row["utm_campaign"]}
            did["goal"] = did["page"] | did["event"]
        for row in tagged(self.events).iter_rows(named=True):
            self._did[row["visitor"], row["visit"]] |= {name: {row[name]} for name in UTM}

    def chosen(self, filters: Iterable[Filter]) -> pl.DataFrame:
        """All events of the visits that meet all filters."""
        kept = [visit for visit, did in self._did.items() if all(self._meets(did, each) for each in filters)]
        keys = pl.DataFrame(kept, schema={"visitor": pl.UInt64, "visit": pl.Int64}, orient="row")
        return self.events.join(keys, on=["visitor", "visit"], how="semi").drop("visit")

    def _meets(self, did: dict[str, set[str]], each: Filter) -> bool:
        values = {form for value in each.values for form in (value, encoded(value))}
        if each.operator.startswith("contains"):
            met = any(part in value for value in did.get(each.dimension, ()) for part in values)
        else:
            met = bool(values & did.get(each.dimension, set()))
        return met != each.operator.endswith("_not")


def bounces(
    chosen: pl.DataFrame, period: Period, filters: Iterable[Filter], until_ms: int | None = None
) -> float:
    """The share of one-event visits among those that entered where filters by page say."""
    visits = Oracle(chosen, period, until_ms).visits
    for each in filters:
        if each.dimension == "page" and each.operator in ("is", "contains"):
            part = each.operator == "contains"
            sought = [form for value in each.values for form in (value, encoded(value))]
            entered = [any(s in page if part else s == page for s in sought) for page in visits["entry_page"]]
            visits = visits.filter(pl.Series(entered, dtype=pl.Boolean))
    return float(visits["is_bounce"].sum() / visits.height) if visits.height else 0.0


def wanted(events: pl.DataFrame, period: Period, filters: tuple[Filter, ...]) -> dict[str, Any]:
    chosen = Visits(events).chosen(filters)
    oracle = Oracle(chosen, period)
    stats = oracle.stats() | {"bounce_rate": bounces(chosen, period, filters)}
    lists = {by: oracle.breakdown(by) for by in DIMENSIONS if by}
    return {"": pytest.approx(stats)} | lists


def counts(hours: dict[int, dict[str, Any]]) -> dict[int, tuple[int, ...]]:
    return {
        at: tuple(row[name] for name in ("visits", "visitors", "pageviews", "searches", "events"))
        for at, row in hours.items()
    }


def by_hour(chosen: pl.DataFrame, starts: list[int]) -> dict[int, tuple[int, ...]]:
    """The numbers of each hour that has any: visits and visitors that began in it, and what happened in it."""
    found: dict[int, tuple[int, ...]] = {}
    sessions = frames.sessions(chosen)
    for start, end in zip(starts, [*starts[1:], starts[-1] + 3_600_000], strict=True):
        began = sessions.filter(pl.col("started_at").is_between(start, end, closed="left"))
        events = chosen.filter(pl.col("occurred_at").is_between(start, end, closed="left"))
        kinds = [events.filter(pl.col("type") == kind).height for kind in ("pageview", "search")]
        if began.height or events.height:
            found[start] = (began.height, began["visitor"].n_unique(), *kinds, events.height)
    return found


FILTERS = st.lists(
    st.one_of(
        *(st.builds(Filter, st.sampled_from(["is", "is_not"]), st.just(name),
                    st.lists(st.sampled_from(values), min_size=1, max_size=3).map(tuple))
          for name, values in _VALUES.items()),
        *(st.builds(Filter, st.sampled_from(["contains", "contains_not"]), st.just(name),
                    st.lists(st.sampled_from(parts), min_size=1, max_size=2).map(tuple))
          for name, parts in _PARTS.items()),
    ), min_size=1, max_size=3,
).map(tuple)  # fmt: skip


EVENTS = visited(1_500, seed=7)


@pytest.fixture(scope="module")
def stored(warehouse: Warehouse) -> DayTables:
    """Two of four days are built. The others were kept when some visitors had not come, and some had done more."""
    for table in TABLES:
        warehouse.command(f"TRUNCATE TABLE {table}")
    tables, token = DayTables(warehouse), f"filters/{next(_TOKENS)}"
    dropped = visited(200, seed=8).filter(pl.col("visitor") % 3 == 1)
    late = EVENTS.filter(pl.col("visitor") % 4 == 0)
    put(warehouse, pl.concat([EVENTS.join(late, on="visitor", how="anti"), dropped]), 1, f"{token}/1")
    for at in (1, 3):
        tables.open.build(SITE, ZONE, DAYS[at], [1], 1)
    put(warehouse, dropped, 2, f"{token}/2", deleted=1)
    put(warehouse, EVENTS.join(pl.concat([late, dropped]), on="visitor", how="semi"), 3, f"{token}/3")
    for at in (0, 2):
        tables.build(SITE, ZONE, DAYS[at])
    tables.move_horizon([3])
    return tables


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filters=FILTERS, first=st.integers(0, 3), days=st.integers(0, 3))
@example((Filter("is", "page", ("/blog/ä-ö",)), Filter("is_not", "source", ("",))), 0, 3)
@example((Filter("contains_not", "page", ("",)),), 0, 3)
def test_filtered_numbers_are_those_of_a_site_with_only_these_visits(
    stored: DayTables, filters: tuple[Filter, ...], first: int, days: int
) -> None:
    last = min(first + days, 3)
    period = Period(SITE, ZONE, DAYS[first], DAYS[last])
    assert found(stored, period, filters=filters) == wanted(EVENTS, period, filters)
    cover, chosen = stored.cover(period, filters), Visits(EVENTS).chosen(filters)
    assert {each.day for each in cover.open} == {DAYS[1], DAYS[3]} & set(period.days)
    until = day_start_ms(DAYS[last], ZONE) + 7 * 3_600_000
    stats = Oracle(chosen, period, until).stats() | {"bounce_rate": bounces(chosen, period, filters, until)}
    assert stored.stats(cover, until) == pytest.approx(stats)
    starts = list(range(day_start_ms(DAYS[first], ZONE), day_start_ms(DAYS[last] + timedelta(days=1), ZONE), 3_600_000))
    assert counts(stored.hours(cover, starts)) == by_hour(chosen, starts)


def test_an_event_that_came_late_is_no_earlier_visits(warehouse: Warehouse) -> None:
    """It is stored, but in no session yet. The day of the earlier visit is not built again when it is in one."""
    site, tables, first, second = "late.example", DayTables(warehouse), *(day_start_ms(day, ZONE) for day in DAYS[:2])
    same = {"site": site, "visitor": 7, "batch": 1}
    ping = same | {"id_lo": 1, "type": "custom", "name": "ping", "occurred_at": first}
    view = same | {"id_lo": 2, "type": "pageview", "path": "/late", "utm_source": "x", "occurred_at": second}
    warehouse.insert("event_rows", pl.DataFrame([ping, view]).fill_null(""), "late/e")
    visit = same | {"session_id": 1, "started_at": first, "ended_at": first, "events": 1}
    warehouse.insert("session_rows", pl.DataFrame([visit]), "late/s")
    period, late = Period(site, ZONE, DAYS[0], DAYS[0]), [Filter("is", "page", ("/late",))]
    both = replace(period, last=DAYS[1])
    tables.move_horizon([3])
    before = tables.breakdowns(tables.cover(both), ["page", "event"], 9)
    for state in ("", "kept", "built"):
        if state == "kept":
            for day in both.days:
                tables.open.build(site, ZONE, day, [3], 1)
            assert tables.breakdowns(tables.cover(both), ["page", "event"], 9) == before
        elif state:
            tables.build(site, ZONE, DAYS[0])
        assert (bool(tables.cover(period).open), tables.cover(period).built) == (state == "kept", state == "built")
        assert tables.breakdowns(tables.cover(period), ["utm_source"], 9) == {"utm_source": []}
        assert tables.stats(tables.cover(period))["visits"] == 1
        assert tables.stats(tables.cover(period, late))["visits"] == 0
