"""What the page and the API show of visits one by one, and of what they did in order. It asks `stores.visits`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from werkzeug.exceptions import BadRequest

from activity.url import encoded, readable
from dashboards.language import N_
from dashboards.ranges import DateRange
from stores.cover import Period
from stores.filters import Filter
from stores.visits import Timeline, Visits, check_steps, timeline
from stores.warehouse import Warehouse

BY = {"visit": N_("Visits"), "visitor": N_("Visitors")}
DIRECTIONS = {"from": N_("Pages after"), "to": N_("Pages before")}
_VISIT = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})")
_PAGES = ("entry_page", "exit_page")


@dataclass(frozen=True)
class Rows:
    """A part of a list, and how many rows, or visits, it has in all."""

    rows: list[dict[str, Any]]
    total: int


@dataclass(frozen=True)
class Cohort:
    """The visitors who first came in the week of this Monday: how many, and how many came in each week after it."""

    week: date
    visitors: int
    came: list[int]


@dataclass(frozen=True)
class Met:
    """A goal: how many visitors met it, and their share of all."""

    name: str
    visitors: int
    rate: float


class Journeys:
    """What the visits of one site over one range did, of those that filters choose."""

    def __init__(self, warehouse: Warehouse, site: str, span: DateRange, filters: Sequence[Filter] = ()) -> None:
        self._visits = Visits(warehouse, Period(site, span.zone, span.first, span.last), filters)
        self._last = span.last

    def visits(self, limit: int, offset: int = 0) -> list[dict[str, Any]]:
        """The visits one by one, the latest first, each with its `id`."""
        return [_dressed(row) for row in self._visits.listing(limit, offset).iter_rows(named=True)]

    def funnel(self, steps: Sequence[Filter], by: str) -> list[dict[str, Any]]:
        """How many visits or visitors reach each step, as `reached`, and as a share of those of the first step and of
        the step before; `seconds` is the median since then. Raises `BadRequest` for steps that make no funnel."""
        check(steps)
        rows = self._visits.funnel(steps, by_visitor=by == "visitor")
        before = [rows[0], *rows]
        return [
            {
                "reached": row["reached"],
                "of_first": _share(row["reached"], rows[0]["reached"]),
                "of_previous": _share(row["reached"], earlier["reached"]),
                "median_seconds": row["seconds"],
            }
            for row, earlier in zip(rows, before, strict=False)
        ]

    def goals(self, goals: Mapping[str, Filter], visitors: int) -> list[Met]:
        """How many of the `visitors` met each goal, those that most did first."""
        counts = self._visits.met(list(goals.values())) if goals else []
        met = [Met(name, count, _share(count, visitors)) for name, count in zip(goals, counts, strict=True)]
        return sorted(met, key=lambda each: (-each.visitors, each.name))

    def paths(self, path: Sequence[str], direction: str, limit: int) -> Rows:
        """The pages after those of `path`, or before them if `direction` is "to"; "" where a visit ended or began."""
        pages = [encoded(page) for page in path]
        found = self._visits.paths(pages, backward=direction == "to", limit=limit)
        total = int(found["total"][0]) if found.height else 0
        return Rows([row | {"value": readable(row["value"])} for row in found.drop("total").to_dicts()], total)

    def searches(self, limit: int, offset: int = 0) -> Rows:
        """The terms that were searched for, those with the most searches first."""
        found = self._visits.searches(limit, offset)
        total = int(found["total"][0]) if found.height else 0
        return Rows([row | {"next_page": readable(row["next_page"])} for row in found.drop("total").to_dicts()], total)

    def retention(self) -> list[Cohort]:
        """The weeks of the range in which visitors came first, and how many of these came in each later week."""
        came: dict[date, dict[int, int]] = {}
        for week, later, visitors in self._visits.retention().iter_rows():
            came.setdefault(week, {})[later] = visitors
        return [
            Cohort(week, theirs[0], [theirs.get(n, 0) for n in range((self._last - week).days // 7 + 1)])
            for week, theirs in came.items()
        ]


def visit(warehouse: Warehouse, site: str, name: str) -> Timeline | None:
    """A visit by its `id`, with its events; None if there is none. Raises `BadRequest` for what is no id."""
    parts = _VISIT.fullmatch(name)
    if parts is None:
        raise BadRequest(f"a visit's id is two times 16 hexadecimal digits with a - between, not {name[:99]!r}")
    found = timeline(warehouse, site, *(int(part, 16) for part in parts.groups()))
    if found is None:
        return None
    events = [
        event | {"path": readable(event["path"]), "props": json.loads(event["props"] or "{}")} for event in found.events
    ]
    return Timeline(_dressed(found.visit | {"visitor": parts[1], "session_id": parts[2]}), events, found.complete)


def check(steps: Sequence[Filter]) -> None:
    """Raises `BadRequest` for steps that make no funnel."""
    try:
        check_steps(steps)
    except ValueError as error:
        raise BadRequest(f"steps: {error}") from error


def _dressed(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"id": f"{row['visitor']}-{row['session_id']}"} | {name: readable(row[name]) for name in _PAGES}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
