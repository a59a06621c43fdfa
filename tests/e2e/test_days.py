"""Every cell of the day tables equals a GROUP BY over the raw Parquet, after a storm.

Two sites, one in UTC whose visitors have ids that last, one where the clocks are set back and most ids last a day. The
storm: copies, two kills of everything (while events are sent, and while days are being built too), and late events for
days that are built already. What is right is counted by `tests/oracles/visits.py`.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import pytest

import stores
from tests.e2e.conftest import Start
from tests.e2e.harness import AGENT, Up, footfall, until
from tests.e2e.proof import flushed
from tests.e2e.visiting import (
    A_WHILE,
    BEHIND_A_PROXY,
    Storm,
    Visit,
    arrived,
    instant,
    killed,
    metric,
    numbers,
    reconciled,
    visits_on,
)  # fmt: skip
from tests.oracles.days import CELL, cells
from tests.oracles.visits import OF_EVENTS, OF_VISITS, Site
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
VISITS_A_DAY = 70


def sent_on(site: str, day: date, named: bool) -> list[Visit]:
    return visits_on(site, ZONES[site], day, VISITS_A_DAY, named=named)


def imported(up: Up, site: str, visits: Sequence[Visit], folder: Path) -> None:
    lines = [json.dumps(event) for each in visits for event in each.events]
    file = folder / "events.jsonl"
    file.write_text("\n".join(lines))
    done = footfall("import", str(file), "--format", "events", "--site", site, "--data", str(up.data), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["accepted"] == len(lines)


# -- the storm -----------------------------------------------------------------------------------------------------


def test_every_cell_of_the_day_tables_equals_a_group_by_over_the_parquet(start: Start, tmp_path: Path) -> None:
    for site, zone in ZONES.items():
        done = footfall("site", "add", site, "--timezone", zone, "--data", str(tmp_path / "data"))
        assert done.returncode == 0, done.stderr
    up = start(*BEHIND_A_PROXY).wait_ready()
    dice = random.Random()
    early = [each for site in ZONES for day in EARLY for each in sent_on(site, day, site == LASTING)]
    late = [each for each in early[::11] if each.site == LASTING]
    sent = [each for each in early if each not in late]
    until(lambda: metric(up, "loaded_events_total") >= 0, "it loads", A_WHILE)
    storm, enough = Storm(up, sent, dice.sample(sent, 60), pace=patient(0.05)), dice.randrange(1, 1000)
    until(lambda: metric(up, "loaded_events_total") >= enough, f"{enough} events are loaded", A_WHILE)
    assert storm.taken < storm.size
    up = storm.up = killed(up, start, *BEHIND_A_PROXY)
    storm.over()
    arrived(up, sent)
    reconciled(up)

    # The days are built once they are quiet. Meanwhile more comes for the last of them, and copies.
    new = [each for site in ZONES for each in sent_on(site, NEW, site == LASTING)]
    storm, enough = Storm(up, new, dice.sample(sent, 60), pace=patient(1.5)), dice.randrange(1, 5)
    until(lambda: metric(up, "built_days_total") >= enough, "days are being built", A_WHILE)
    assert 0 < storm.taken < storm.size
    up = storm.up = killed(up, start, *BEHIND_A_PROXY)
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
    foreign = [each._replace(agent=AGENT) for each in sent_on(CLOCKS, BUILT, True)]
    imported(up, CLOCKS, foreign, tmp_path)
    sent += late + foreign
    arrived(up, sent)
    reconciled(up)
    flushed(up.data)
    oracles = {site: Site(up.data / "archive", site, zone) for site, zone in ZONES.items()}
    answers_are_right(up, oracles, every=2)  # whatever is built yet

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
        due = cells(oracle)
        assert builds.filter(site=site).select("zone", "day").sort("day").rows() == [
            (ZONES[site], day) for day in sorted(set(due["day"]))
        ]
        found, expected = (Counter(frame.select(CELL).rows()) for frame in (stored.filter(site=site), due))
        assert (sorted((found - expected).elements()), sorted((expected - found).elements())) == ([], [])
        assert {cell[0] for cell in found} == {"", *OF_VISITS, *OF_EVENTS}


STORED = """
    SELECT v.* EXCEPT lasting, toUInt64(finalizeAggregation(v.lasting)) AS lasting
    FROM day_values AS v
    JOIN (SELECT site, day, version FROM day_builds FINAL WHERE valid) AS b USING (site, day, version)"""


def version(up: Up, site: str) -> int | None:
    """That of the built day, if it is valid."""
    found = up.sql(f"SELECT version FROM day_builds FINAL WHERE site = '{site}' AND day = '{BUILT}' AND valid")
    return int(found[0]["version"]) if found else None


def is_newer(up: Up, site: str, than: int) -> bool:
    return (version(up, site) or 0) > than


def within(each: Visit, day: date) -> Visit:
    """What of it happened on a day."""
    start, end = (instant(ZONES[each.site], day + timedelta(days=n)) for n in range(2))
    return each._replace(events=[event for event in each.events if start <= event["ts"] < end])


def answers_are_right(up: Up, oracles: dict[str, Site], every: int = 1) -> None:
    """Asks for each period, and for each list in `every` so many periods, of the next site in the others."""
    for start, (site, oracle) in enumerate(oracles.items()):
        everything = oracle.chosen()
        for number, (name, (first, last)) in enumerate(PERIODS.items(), start):
            days = {"site": site, "first": str(first), "last": str(last)}
            assert up.stats(**days) == pytest.approx(everything.stats(first, last)), (site, name)
            for by in (*OF_VISITS, *OF_EVENTS)[number % every :: every]:
                rows = up.api("breakdown", by=by, limit=1000, **days)["rows"]
                right = [pytest.approx(row) for row in everything.breakdown(by, first, last)]
                assert rows == right, (site, name, by)
