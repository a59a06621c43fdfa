"""Questions of visits one by one, and of what they did in order: funnels, paths, searches, retention, one visit.

They read the steps of `day_visits`, so they are of visits that began in the period, each as a whole, also over
midnight. Filters choose visits as everywhere (`stores.filters`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import groupby
from typing import Any

import polars as pl

from stores import clickhouse
from stores.days import DAYS_AT_ONCE, Cover, DayTables, Period
from stores.filters import Filter, holds
from stores.warehouse import Warehouse

STEP_DIMENSIONS = ("page", "search", "event", "goal", "not_found", "outbound", "download")  # and prop:NAME
MOST_STEPS = 10
MOST_EVENTS = 5_000  # of a visit's timeline

_MARKS = 16  # bits of a mark: steps, or goals, that are looked for at once

_KINDS = {
    "page": (1,), "search": (2,), "event": (3,), "goal": (1, 3), "not_found": (5,), "outbound": (6,), "download": (7,)
}  # fmt: skip
_PROPERTY = 4


@dataclass(frozen=True)
class Timeline:
    """One visit and its events in order."""

    visit: dict[str, Any]
    events: list[dict[str, Any]]
    complete: bool  # whether these are all of its events


def check_steps(steps: Sequence[Filter]) -> None:
    """Raises ValueError, in words, for steps that make no funnel."""
    if not 1 <= len(steps) <= MOST_STEPS:
        raise ValueError(f"a funnel has 1 to {MOST_STEPS} steps, not {len(steps)}")
    for each in steps:
        if each.negative:
            raise ValueError(f"a step is something that a visit did: is or contains, not {each.operator}")
        if not each.prop and each.dimension not in STEP_DIMENSIONS:
            raise ValueError(f"a step is one of {', '.join(STEP_DIMENSIONS)} or prop:NAME, not {each.dimension!r}")


class Visits:
    """The visits of one site over a period that filters choose. Raises what `Warehouse` raises."""

    def __init__(self, warehouse: Warehouse, period: Period, filters: Sequence[Filter] = ()) -> None:
        self._warehouse = warehouse
        self._days = DayTables(warehouse)
        self._period = period
        self._filters = tuple(filters)

    def _cover(self) -> Cover:
        return self._days.cover(self._period, self._filters, steps=True)

    def funnel(self, steps: Sequence[Filter], *, by_visitor: bool) -> list[dict[str, Any]]:
        """How many visits, or visitors, reach each step: rows of `reached` and the median `seconds` since the step
        before. Raises ValueError for steps that make no funnel."""
        check_steps(steps)
        hits = ["arrayFirstIndex(mark -> bitTest(mark, 0), marks) AS hit_0"]
        for n in range(1, len(steps)):
            later = f"(mark, event) -> bitTest(mark, {n}) AND event > events[hit_{n - 1}]"
            hits.append(f"if(hit_{n - 1} = 0, 0, arrayFirstIndex({later}, marks, events)) AS hit_{n}")
        return self._reached(steps, hits, self._cover(), by_visitor=by_visitor)

    def met(self, goals: Sequence[Filter]) -> list[int]:
        """How many visitors met each of these goals, in whatever order and however often."""
        cover, found = self._cover(), []
        for first in range(0, len(goals), _MARKS):
            some = goals[first : first + _MARKS]
            hits = [f"arrayFirstIndex(mark -> bitTest(mark, {n}), marks)" for n in range(len(some))]
            found += [row["reached"] for row in self._reached(some, hits, cover, by_visitor=True)]
        return found

    def _reached(
        self, steps: Sequence[Filter], hits: Sequence[str], cover: Cover, *, by_visitor: bool
    ) -> list[dict[str, Any]]:
        """How many visits, or visitors, did each of the steps; `hits` says by which thing that they did, 0 by none."""
        params: dict[str, Any] = {}
        marks = [f"bitShiftLeft(toUInt16({_does(each, f'step_{n}', params)}), {n})" for n, each in enumerate(steps)]
        # Only who has several visits needs them put together.
        tracks = _tracks("lasts OR again", "NOT (lasts OR again)") if by_visitor else _tracks("", "true")
        parts = {"tracks": clickhouse.filled(tracks, {"steps": " + ".join(marks)}), "hits": f"[{', '.join(hits)}]"}
        found = self._days.of_visits("funnel", cover, parts, **params)
        reached = {row["step"]: row for row in found.iter_rows(named=True)}
        nothing = {"reached": 0, "seconds": 0.0}
        return [{name: reached.get(n, nothing)[name] for name in nothing} for n in range(1, len(steps) + 1)]

    def paths(self, pages: Sequence[str], *, backward: bool, limit: int) -> pl.DataFrame:
        """Which page comes after these pages, viewed in a row, and in how many `visits`; or which came before them.

        "" is the end of the visit, or its beginning. `total` says how many visits viewed these pages in a row."""
        path = list(pages)[::-1] if backward else list(pages)
        row = ", ".join(["pages", *(f"arrayShiftLeft(pages, {n})" for n in range(1, len(path)))])
        names = ", ".join(f"page_{n}" for n in range(len(path)))
        same = " AND ".join(f"page_{n} = {{path:Array(String)}}[{n + 1}]" for n in range(len(path)))
        place = f"arrayFirstIndex(({names}) -> {same}, {row})" if path else "notEmpty(pages)"
        return self._days.of_visits(
            "paths", self._cover(), {"place": place}, path=path, backward=backward, limit=limit
        )

    def searches(self, limit: int, offset: int = 0) -> pl.DataFrame:
        """What was searched for and what came of it; `total` says how many terms there are."""
        return self._days.of_visits("searches", self._cover(), {}, limit=limit, offset=offset)

    def retention(self) -> pl.DataFrame:
        """How many of the visitors that first came in a week of the period came so many weeks later.

        All days before the period are looked at, so that nobody is new who was here before."""
        first = min(self._known_days()[0], self._period.first)
        whole = replace(self._period, first=first)
        cover = self._days.cover(whole, self._filters, steps=True)
        monday = self._period.first - timedelta(days=self._period.first.weekday())
        return self._days.of_visits("retention", cover, {}, shown=monday)

    def _known_days(self) -> tuple[date, date]:
        """The first and the last day on which events of the site may be, whatever the time zone."""
        known = self._warehouse.ask("known_days", site=self._period.site).rows()
        around = timedelta(days=1)
        return (known[0][0] - around, known[0][1] + around) if known else (date.max, date.min)

    def listing(self, limit: int, offset: int = 0) -> pl.DataFrame:
        """The visits one by one, the latest first. Days without day tables are read only as far back as it takes."""
        found: list[pl.DataFrame] = []
        missing = offset + limit
        for first, last in self._latest_first():
            period = replace(self._period, first=first, last=last)
            cover = self._days.cover(period, self._filters)
            found.append(self._days.of_visits("listing", cover, {}, limit=missing, offset=0))
            missing -= found[-1].height
            if missing <= 0:
                break
        return pl.concat(found).slice(offset, limit)

    def _latest_first(self) -> Iterator[tuple[date, date]]:
        """The period in parts, from its end: days with day tables as they follow each other, others a few at once."""
        first, last = self._known_days()
        versions = zip(self._period.days, self._days.cover(self._period).versions, strict=True)
        known = [each for each in versions if first <= each[0] <= last] or [(self._period.last, 0)]
        for is_built, run in groupby(reversed(known), key=lambda each: bool(each[1])):
            days = [day for day, _ in run]
            size = len(days) if is_built else DAYS_AT_ONCE
            for start in range(0, len(days), size):
                part = days[start : start + size]
                yield part[-1], part[0]


def timeline(warehouse: Warehouse, site: str, visitor: int, session: int) -> Timeline | None:
    """A visit with its events, as they are stored; None where there is no such visit."""
    found = warehouse.ask("visit", site=site, visitor=visitor, session=session)
    if not found.height:
        return None
    visit = found.row(0, named=True)
    until = visit.pop("next_ms")
    span = {"start": visit["started_ms"], "end": until, "limit": MOST_EVENTS + 1}
    events = warehouse.ask("visit_events", site=site, visitor=visitor, **span).to_dicts()
    return Timeline(visit, events[:MOST_EVENTS], len(events) <= MOST_EVENTS)


def _tracks(together: str, alone: str) -> str:
    """The statement that gives what visits did, those that `together` chooses put together by their visitors."""
    each = clickhouse.rows("tracks", "visits")
    found = clickhouse.filled(each, {"of": f"({alone})"})
    if together:
        parts = {"tracks": clickhouse.filled(each, {"of": f"({together})"})}
        found += "\nUNION ALL\n" + clickhouse.filled(clickhouse.rows("tracks_of_visitors", "visits"), parts)
    return found


def _does(each: Filter, name: str, params: dict[str, Any]) -> str:
    """Whether something that a visit did is a step: a condition over its `kind` and `value`, with parameters of this
    name."""
    goals = [_does(goal, f"{name}_{n}", params) for n, (_, goal) in enumerate(each.meant)]
    part, sought = each.operator == "contains", f"{{{name}:Array(String)}}"
    params[name] = each.sought
    if not each.prop:
        kinds = ", ".join(map(str, _KINDS[each.dimension]))
        own = f"kind IN ({kinds}) AND {holds('value', sought) if part else f'value IN {sought}'}"
    else:
        params[f"{name}_of"] = f"{each.prop}\0"
        of = f"{{{name}_of:String}}"
        rest = f"substring(value, length({of}) + 1)"
        meets = holds(rest, sought) if part else f"{rest} IN {sought}"
        own = f"kind = {_PROPERTY} AND startsWith(value, {of}) AND {meets}"
    return " OR ".join(f"({does})" for does in (own, *goals))
