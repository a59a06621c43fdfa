"""Every cell of the day tables equals a GROUP BY over the raw Parquet, after a storm.

Two sites, one in UTC whose visitors have ids that last, one where the clocks are set back and most ids last a day. The
storm: copies, two kills of everything (while events are sent, and while days are being built too), and late events for
days that are built already. What is right is counted by `tests/oracles/days.py`.
"""

from __future__ import annotations

import json
import random
import re
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import date, datetime, time, timedelta
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest

import stores
from tests.e2e.conftest import Start
from tests.e2e.harness import AGENT, Up, footfall, secret_key, until
from tests.e2e.proof import flushed
from tests.oracles.days import CELL, OF_EVENTS, OF_VISITS, Days
from tests.patience import patient

pytestmark = pytest.mark.slow

LASTING, CLOCKS = "lasting.example", "clocks.example"
ZONES = {LASTING: "UTC", CLOCKS: "Europe/Berlin"}
FIRST = date(2025, 10, 23)  # a Thursday; in Berlin the Sunday has 25 hours
DAYS = [FIRST + timedelta(days=n) for n in range(5)]
EARLY, NEW, BUILT = DAYS[:4], DAYS[4], DAYS[1]
PERIODS = {
    "a day": (BUILT, BUILT),
    "the day of 25 hours": (DAYS[3], DAYS[3]),
    "some days": (DAYS[1], DAYS[3]),
    "a week": (date(2025, 10, 20), DAYS[3]),
    "all": (FIRST - timedelta(days=3), NEW + timedelta(days=3)),
}
BEHIND_A_PROXY = ("--proxies", "127.0.0.1")
GAP = 1_800_000
MINUTE = 60_000
A_WHILE = patient(600)
VISITS_A_DAY, PEOPLE = 70, 30
PAGES = ("/", "/tea", "/tea/gr%C3%BCn", "/cups", "/cups/blue", "/help")
REFERRERS = ("", "", "https://www.google.com/", "https://news.example.org/a", "https://www.reddit.com/r/tea/")
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5"
AGENTS = (AGENT, f"{CHROME} Safari/537.36", f"{PHONE} Mobile/15E148 Safari/604.1")
ROBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"

# -- what is sent --------------------------------------------------------------------------------------------------


class Visit(NamedTuple):
    """One request of the site's server for one of its visitors."""

    site: str
    agent: str
    address: str
    events: list[dict[str, Any]]


def instant(site: str, day: date) -> int:
    return round(datetime.combine(day, time(), ZoneInfo(ZONES[site])).timestamp() * 1000)


def visits_on(site: str, day: date, named: bool) -> list[Visit]:
    dice = random.Random(f"{site} {day} {named}")
    return [visit(dice, site, day, number, named) for number in range(VISITS_A_DAY)]


def visit(dice: random.Random, site: str, day: date, number: int, named: bool) -> Visit:
    start, end = instant(site, day), instant(site, day + timedelta(days=1))
    # Some go on over midnight. Some steps are as long as a visit's longest, or by a millisecond longer.
    at = dice.randrange(start, end) if number % 9 else end - dice.randrange(1, 4 * MINUTE)
    who, referrer, path, events = dice.randrange(PEOPLE), dice.choice(REFERRERS), "/", list[dict[str, Any]]()

    def happen(kind: str, query: str = "", **more: Any) -> None:
        event = {"site": site, "type": kind, "url": f"https://{site}{path}{query}", "ts": at}
        own = {"id": f"{day}/{number}/{len(events)}/{named}"} | ({"visitor": f"v{who}"} if named else {})
        events.append(event | own | more)

    if dice.random() < 0.2:  # tells nothing of an origin, so the visit's is that of its first page
        happen("custom", name="opened by mail")
    for _ in range(dice.randrange(1, 5)):
        path = dice.choice((*PAGES, f"/only/{number}"))
        query = dice.choice(("", "", "?q=Green+Tea", "?utm_source=letter&utm_medium=email"))
        happen("pageview", query, referrer=referrer)
        referrer = ""
        at += dice.choice((dice.randrange(5_000, 4 * MINUTE), dice.randrange(5_000, 4 * MINUTE), GAP, GAP + 1))
        if dice.random() < 0.3:
            results = dice.choice(({}, {"results": 0}, {"results": 7}))
            happen("search", search={"term": dice.choice(("cup", "pot", "tea")), **results})
        if dice.random() < 0.3:
            happen("custom", name=dice.choice(("signup", "order")))
            happen("engagement", engaged_ms=dice.randrange(20_000))
    return Visit(site, ROBOT if dice.random() < 0.05 else dice.choice(AGENTS), f"198.51.100.{who}", events)


def numbers(sent: Iterable[Visit]) -> dict[str, float]:
    """What it amounts to. An address with a search is a search, too."""
    found: Counter[str] = Counter({"events": 0, "pageviews": 0, "searches": 0, "bots": 0})
    for each in sent:
        kinds = [event["type"] for event in each.events] + ["search" for e in each.events if "?q=" in e["url"]]
        if each.agent == ROBOT:
            found["bots"] += len(kinds)
        else:
            found.update(events=len(kinds), pageviews=kinds.count("pageview"), searches=kinds.count("search"))
    return dict(found)


def arrived(up: Up, sent: Sequence[Visit]) -> None:
    """Until all that was sent is in the numbers, once."""
    for site in ZONES:
        up.shows(numbers(each for each in sent if each.site == site), site, A_WHILE)


class Storm:
    """Three senders of one list, who send each visit again until it is taken, whatever is killed meanwhile.

    They rest for `pace` seconds between two, until `hurry` is set."""

    def __init__(self, up: Up, visits: Iterable[Visit], copied: Iterable[Visit] = (), pace: float = 0) -> None:
        self.up, self.taken, self.hurry = up, 0, threading.Event()
        self._keys = {site: secret_key(up.data, site) for site in ZONES}
        self._visits = [*visits, *copied]
        random.Random(len(self._visits)).shuffle(self._visits)
        self.size = len(self._visits)
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send, args=(pace,)) for _ in range(3)]
        for thread in self._threads:
            thread.start()

    def over(self) -> None:
        self.hurry.set()
        for thread in self._threads:
            thread.join(A_WHILE)
        assert self.taken == self.size

    def _send(self, pace: float) -> None:
        while True:
            with self._lock:
                if not self._visits:
                    return
                each = self._visits.pop()
            until(partial(self._is_taken, each), "a visit is taken", A_WHILE)
            with self._lock:
                self.taken += 1
            self.hurry.wait(pace)

    def _is_taken(self, each: Visit) -> bool:
        headers = {"Authorization": f"Bearer {self._keys[each.site]}", "User-Agent": each.agent}
        try:
            status, _, answer = self.up.post({"events": each.events}, headers | {"X-Forwarded-For": each.address})
        except (OSError, HTTPException):
            return False
        assert status in (202, 503), answer
        return bool(status == 202)


def imported(up: Up, site: str, visits: Sequence[Visit], folder: Path) -> None:
    lines = [json.dumps(event) for each in visits for event in each.events]
    file = folder / "events.jsonl"
    file.write_text("\n".join(lines))
    done = footfall("import", str(file), "--format", "events", "--site", site, "--data", str(up.data), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["accepted"] == len(lines)


def reconciled(up: Up) -> None:
    """Late events are in visits."""
    done = footfall("reconcile", "--data", str(up.data))
    assert done.returncode == 0, done.stderr


# -- the storm -----------------------------------------------------------------------------------------------------


def test_every_cell_of_the_day_tables_equals_a_group_by_over_the_parquet(start: Start, tmp_path: Path) -> None:
    for site, zone in ZONES.items():
        done = footfall("site", "add", site, "--timezone", zone, "--data", str(tmp_path / "data"))
        assert done.returncode == 0, done.stderr
    up = start(*BEHIND_A_PROXY).wait_ready()
    dice = random.Random()
    early = [each for site in ZONES for day in EARLY for each in visits_on(site, day, site == LASTING)]
    late = [each for each in early[::11] if each.site == LASTING]
    sent = [each for each in early if each not in late]
    until(lambda: metric(up, "loaded_events_total") >= 0, "it loads", A_WHILE)
    storm, enough = Storm(up, sent, dice.sample(sent, 60), pace=patient(0.05)), dice.randrange(1, 1000)
    until(lambda: metric(up, "loaded_events_total") >= enough, f"{enough} events are loaded", A_WHILE)
    assert storm.taken < storm.size
    up = storm.up = killed(up, start)
    storm.over()
    arrived(up, sent)
    reconciled(up)

    # The days are built once they are quiet. Meanwhile more comes for the last of them, and copies.
    new = [each for site in ZONES for each in visits_on(site, NEW, site == LASTING)]
    storm, enough = Storm(up, new, dice.sample(sent, 60), pace=patient(1.5)), dice.randrange(1, 5)
    until(lambda: metric(up, "built_days_total") >= enough, "days are being built", A_WHILE)
    assert 0 < storm.taken < storm.size
    up = storm.up = killed(up, start)
    storm.over()
    sent += new
    arrived(up, sent)

    # Late events for days that are built show at once: long before these are built again.
    versions = {site: until(partial(version, up, site), "it is built", A_WHILE) for site in ZONES}
    day, loaded = (LASTING, str(BUILT), str(BUILT)), metric(up, "loaded_events_total")
    before, more = up.stats(*day), numbers(within(each, BUILT) for each in late)
    assert more["events"] > 0
    Storm(up, late, late).over()
    loaded += sum(numbers(late)[name] for name in ("events", "bots"))
    until(lambda: metric(up, "loaded_events_total") == loaded, "they are loaded", A_WHILE)
    after = up.stats(*day)
    assert {name: after[name] - before[name] for name in more} == more
    assert version(up, LASTING) in (versions[LASTING], None)
    foreign = [each._replace(agent=AGENT) for each in visits_on(CLOCKS, BUILT, named=True)]
    imported(up, CLOCKS, foreign, tmp_path)
    sent += late + foreign
    arrived(up, sent)
    reconciled(up)
    flushed(up.data)
    oracles = {site: Days(up.data / "archive", site, zone) for site, zone in ZONES.items()}
    answers_are_right(up, oracles)  # whatever is built yet

    for site in ZONES:  # the builder has seen all changes by then
        until(partial(is_newer, up, site, versions[site]), "it is built again", A_WHILE)
    until(lambda: metric(up, "days_to_build") == 0, "all days are built", A_WHILE)
    assert metric(up, "built_days_total") > 0
    answers_are_right(up, oracles)
    assert up.stop() == 0
    with closing(stores.connect_warehouse(f"chdb://{up.data}/warehouse")) as warehouse:
        builds = warehouse.query("SELECT site, zone, day FROM day_builds FINAL WHERE valid")
        stored = warehouse.query(STORED)
    for site, oracle in oracles.items():
        assert builds.filter(site=site).select("zone", "day").sort("day").rows() == [
            (ZONES[site], day) for day in sorted(set(oracle.cells["day"]))
        ]
        found, expected = (Counter(frame.select(CELL).rows()) for frame in (stored.filter(site=site), oracle.cells))
        assert (sorted((found - expected).elements()), sorted((expected - found).elements())) == ([], [])
        assert {cell[0] for cell in found} == {"", *OF_VISITS, *OF_EVENTS}


STORED = """
    SELECT v.* EXCEPT lasting, toUInt64(finalizeAggregation(v.lasting)) AS lasting
    FROM day_values AS v
    JOIN (SELECT site, day, version FROM day_builds FINAL WHERE valid) AS b USING (site, day, version)"""


def killed(up: Up, start: Start) -> Up:
    """Everything is killed; the next start on the same folder."""
    up.kill()
    up.gone()
    return start(*BEHIND_A_PROXY).wait_ready()


def metric(up: Up, name: str) -> float:
    """-1 while there is no such metric."""
    found = re.search(rf"^footfall_{name} (\S+)$", up.get("/metrics")[1].decode(), re.MULTILINE)
    return float(found[1]) if found else -1


def version(up: Up, site: str) -> int | None:
    """That of the built day, if it is valid."""
    found = up.sql(f"SELECT version FROM day_builds FINAL WHERE site = '{site}' AND day = '{BUILT}' AND valid")
    return int(found[0]["version"]) if found else None


def is_newer(up: Up, site: str, than: int) -> bool:
    return (version(up, site) or 0) > than


def within(each: Visit, day: date) -> Visit:
    """What of it happened on a day."""
    start, end = (instant(each.site, day + timedelta(days=n)) for n in range(2))
    return each._replace(events=[event for event in each.events if start <= event["ts"] < end])


def answers_are_right(up: Up, oracles: dict[str, Days]) -> None:
    for site, oracle in oracles.items():
        for name, (first, last) in PERIODS.items():
            days = {"site": site, "first": str(first), "last": str(last)}
            assert up.stats(**days) == pytest.approx(oracle.stats(first, last)), (site, name)
            for by in (*OF_VISITS, *OF_EVENTS):
                rows = up.api("breakdown", by=by, limit=1000, **days)["rows"]
                assert rows == oracle.breakdown(by, first, last), (site, name, by)
