"""Whatever filters a question has, the API answers what an oracle counts in the raw Parquet.

Two sites where the clocks change, one by an hour more and one by an hour less, with visitors whose ids last and such
whose ids last a day. The filters are asked first in a time zone of the same clock by another name, for which no days
are built; then after a kill of everything, when all days are built; and when late events have changed some of these.
What is right is told by `tests/oracles/visits.py`.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e import mmdb
from tests.e2e.conftest import Start
from tests.e2e.harness import Up, footfall, until
from tests.e2e.proof import flushed
from tests.e2e.visiting import (
    A_WHILE,
    BEHIND_A_PROXY,
    Storm,
    Visit,
    arrived,
    killed,
    metric,
    reconciled,
    visits_on,
)
from tests.oracles import journeys
from tests.oracles.visits import OF_EVENTS, OF_VISITS, PROPERTY, Chosen, Filter, Site

pytestmark = pytest.mark.slow


class Clocks(NamedTuple):
    """A time zone, another name of its, and the first of four days of which one has not 24 hours."""

    zone: str
    alias: str
    first: date

    @property
    def days(self) -> list[date]:
        return [self.first + timedelta(days=n) for n in range(4)]


SITES = {
    "autumn.example": Clocks("Europe/Berlin", "Europe/Vienna", date(2025, 10, 24)),
    "spring.example": Clocks("America/St_Johns", "Canada/Newfoundland", date(2025, 3, 7)),
}
VISITS_A_DAY = 20  # with lasting ids, and as many without
PLACES = {"198.51.100.0/28": ("DE", "Berlin"), "198.51.100.16/29": ("GB", "Leeds")}

OPERATORS = ("is", "is_not", "contains", "contains_not")
PROPERTIES = ("plan", "seats", "gift", "note", "price", "nothing")
LISTS = (*OF_VISITS, *OF_EVENTS)
STEPS: list[Filter] = [
    ("contains", "page", ["/"]),
    ("is", "goal", ["signup", "/thanks"]),
    ("is", "event", ["order"]),
    ("is", "prop:seats", ["3"]),
    ("contains", "outbound", ["ü", "friend"]),
    ("is", "not_found", ["/grün"]),
]
# What people may type, and what is easily taken for something else.
ODD: list[list[Filter]] = [
    [("is", "page", ["/tea/grün"])],
    [("is_not", "page", ["/tea/gr%c3%bcn", "/cups"])],
    [("contains", "entry_page", ["ü"]), ("contains", "page", ["TEA", "tea"])],
    [("contains", "goal", ["/gr%C3%BC", "no such"])],
    [("contains", "page", ["/."])],
    [("contains", "page", ["cups/.well-known"])],
    [("contains", "page", [";jsessionid=1"])],
    [("contains", "page", ["_", "%25"])],
    [("is", "page", ["/tea", "/cups"]), ("contains", "page", ["blue"])],
    [("is", "page", ["/tea"]), ("is_not", "page", ["/tea"])],
    [("is", "page", ["/thanks"])],
    [("is", "event", ["/tea"]), ("is_not", "goal", ["/help"])],
    [("is", "source", [""]), ("is_not", "country", [""])],
    [("is", "prop:plan", ["3"])],
    [("is", "prop:plan", [""]), ("is", "event", ["order"])],
    [("is", "prop:note", ["null"])],
    [("contains", "prop:note", ['"3"'])],
    [("is", "exit_page", [""])],
    [("is", "not_found", ["/grün"])],
    *([(operator, name, [""])] for operator in ("is", "contains") for name in ("page", "search", "event", "prop:plan")),
]


def filters_of(site: Site, dice: random.Random) -> Iterator[list[Filter]]:
    """None, odd ones, and one of each operator and dimension, every third with another one."""
    yield from ([], *ODD)
    for number, (operator, name) in enumerate(itertools.product(OPERATORS, (*LISTS, "goal", PROPERTY))):
        found = [made(site, dice, operator, name)]
        if number % 3 == 0:
            found.append(made(site, dice, dice.choice(OPERATORS), dice.choice((*LISTS, "goal", PROPERTY))))
        yield found


def made(site: Site, dice: random.Random, operator: str, dimension: str) -> Filter:
    """A filter by up to three texts: of visits, of which part is enough for `contains`, and now and then of none."""
    dimension += dice.choice(PROPERTIES) if dimension == PROPERTY else ""
    have = sorted({value for _, value, _ in site.values_of_visits(dimension)}) or ["none"]
    texts = []
    for value in dice.choices(have, k=dice.randrange(1, 4)):
        begin = dice.randrange(len(value) + 1) if operator.startswith("contains") else 0
        texts.append(dice.choice((value[begin : begin + 5], value[begin:], value[begin:], "not there")))
    return operator, dimension, texts


class Questions:
    """What is asked of a site with each of its filters, and the answers of the oracle."""

    def __init__(self, up: Up, name: str, clocks: Clocks, turn: int) -> None:
        self.name, self.clocks = name, clocks
        site = Site(up.data / "archive", name, self.clocks.zone)
        self.chosen = [(each, site.chosen(each)) for each in filters_of(site, random.Random(name))]
        first, second, _, last = self.clocks.days
        # Taken one after the other, so that each filter meets other questions each time.
        self._turns = itertools.count(turn)
        self._site, self._dice = site, random.Random(turn)
        others = (self._stats, self._list, self._chart, self._list)
        self._questions = itertools.cycle((*others, self._journey, *others, self._done))
        self._periods = itertools.cycle(((first, last), (last, last), (second, last), (first, first), (second, second)))
        self._lists, self._intervals = itertools.cycle(LISTS), itertools.cycle(("day", "hour", "week", "day", "month"))

    def ask(self, up: Up, count: int, **more: str) -> None:
        """So many questions with every other filter. The next call takes those that are left out."""
        turn = next(self._turns)
        wrong = [
            difference
            for filters, chosen in self.chosen[turn % 2 :: 2]
            for question in itertools.islice(self._questions, count)
            for difference in question(up, filters, chosen, *next(self._periods), **more)
        ]
        assert not wrong, f"{len(wrong)} of {self.name}:\n" + "\n".join(wrong)
        next(self._questions), next(self._lists), next(self._periods)

    def _stats(
        self, up: Up, filters: list[Filter], chosen: Chosen, first: date, last: date, **more: str
    ) -> Iterator[str]:
        found = up.api("stats", **self._where(filters, first, last), **more)
        yield from differences("stats", filters, first, last, [found], [chosen.stats(first, last)])

    def _list(
        self, up: Up, filters: list[Filter], chosen: Chosen, first: date, last: date, **more: str
    ) -> Iterator[str]:
        by = next(self._lists)
        found = up.api("breakdown", by=by, limit=1000, **self._where(filters, first, last), **more)
        yield from differences(by, filters, first, last, found["rows"], chosen.breakdown(by, first, last))

    def _chart(
        self, up: Up, filters: list[Filter], chosen: Chosen, first: date, last: date, **more: str
    ) -> Iterator[str]:
        interval = next(self._intervals)
        if interval == "hour":
            first = max(first, last - timedelta(days=1))
        found = up.api("timeseries", interval=interval, **self._where(filters, first, last), **more)
        yield from differences(interval, filters, first, last, found["rows"], chosen.timeseries(interval, first, last))

    def _journey(
        self, up: Up, filters: list[Filter], chosen: Chosen, first: date, last: date, **more: str
    ) -> Iterator[str]:
        tracks = self._site.tracks(filters, first, last)
        where = self._where(filters, first, last) | more
        steps = self._dice.sample(STEPS, self._dice.randrange(1, len(STEPS) + 1))
        reached = [{"reached": n, "median_seconds": s} for n, s in journeys.funnel(tracks.values(), steps)]
        found = up.api("funnel", steps=json.dumps(steps), **where)
        assert found["total"] == len(tracks)
        rows = [{name: row[name] for name in ("reached", "median_seconds")} for row in found["rows"]]
        yield from differences(f"funnel {steps}", filters, first, last, rows, reached)

        path = self._dice.sample(["/", "/tea", "/cups"], self._dice.randrange(3))
        direction = self._dice.choice(["from", "to"])
        right = journeys.paths(tracks.values(), path, backward=direction == "to")
        found = up.api("paths", path=json.dumps(path), direction=direction, limit=1000, **where)
        rows = sorted([row["value"], row["visits"]] for row in found["rows"])
        told = f"paths {direction} {path}"
        yield from differences(told, filters, first, last, rows, sorted(map(list, right.items())))

    def _done(
        self, up: Up, filters: list[Filter], chosen: Chosen, first: date, last: date, **more: str
    ) -> Iterator[str]:
        tracks = self._site.tracks(filters, first, last)
        where = self._where(filters, first, last) | more
        terms = journeys.searches(tracks.values())
        found = up.api("searches", limit=1000, **where)
        rows = sorted(found["rows"], key=lambda row: str(row["value"]))
        searched = [{"value": term, **terms[term]} for term in sorted(terms)]
        yield from differences("searches", filters, first, last, rows, searched)

        found = up.api("visits", limit=1000, **where)
        done = sorted(row["events"] for row in found["rows"])
        yield from differences("visits", filters, first, last, done, sorted(len(track) for track in tracks.values()))

    def _where(self, filters: list[Filter], first: date, last: date) -> dict[str, str]:
        given = {"filters": json.dumps(filters)} if filters else {}
        return {"site": self.name, "first": str(first), "last": str(last), **given}


def differences(
    what: str, filters: list[Filter], first: date, last: date, found: list[Any], right: list[Any]
) -> Iterator[str]:
    """In a line, the first difference of two lists of rows."""
    for row, other in itertools.zip_longest(found, right):
        if row is None or other is None or row != pytest.approx(other):
            yield f"{what}, {json.dumps(filters)}, {first} to {last}: {row} is to be {other}"
            return


def sent_to(sites: Iterable[str]) -> list[Visit]:
    return [
        each
        for name in sites
        for day in SITES[name].days
        for named in (False, True)
        for each in visits_on(name, SITES[name].zone, day, VISITS_A_DAY, named=named)
    ]


def test_filtered_answers_are_those_of_an_oracle(start: Start, tmp_path: Path) -> None:
    for name, clocks in SITES.items():
        done = footfall("site", "add", name, "--timezone", clocks.zone, "--data", str(tmp_path / "data"))
        assert done.returncode == 0, done.stderr
    mmdb.write(tmp_path / "places.mmdb", PLACES)
    flags = (*BEHIND_A_PROXY, "--geo", str(tmp_path / "places.mmdb"))
    up = start(*flags).wait_ready()
    visits = sent_to(SITES)
    late = [each for each in visits[::7] if each.events[0]["ts"] % 2]
    early = [each for each in visits if each not in late]
    Storm(up, early, early[::5]).over()
    questions = questions_of(up, early, 0)
    for each in questions:
        each.ask(up, 1, timezone=each.clocks.alias)

    up = killed(up, start, *flags)
    until(lambda: metric(up, "days_to_build") == 0, "all days are built", A_WHILE)
    assert {row["site"] for row in up.sql("SELECT site FROM day_builds FINAL WHERE valid")} == set(SITES)
    for each in questions:
        each.ask(up, 2)

    # Days that have changed are asked for before they are built again.
    Storm(up, late).over()
    for each in questions_of(up, visits, 1):
        each.ask(up, 1)


def questions_of(up: Up, sent: list[Visit], turn: int) -> list[Questions]:
    """About what was sent, once it is in the numbers, in visits and in the archive. A site begins with other filters
    than the other site."""
    arrived(up, sent)
    reconciled(up)
    flushed(up.data)
    return [Questions(up, name, SITES[name], number) for number, name in enumerate(SITES, turn)]
