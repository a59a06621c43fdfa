"""`footfall replay` proves that the numbers follow from the raw events, whoever counts them.

The same day is told by the live run, by a replay from the broker's log, by one from the Parquet archive, and by
`tests/oracles/digest.py`, plain Python that reads the archive and imports nothing of the product, and by
`tests/oracles/sessions.py`, SQL on two engines. Beside them SQL of this file's own over the raw Parquet gives the
page's numbers.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.e2e.harness import SITE, Up, environment, footfall, until
from tests.e2e.proof import assert_rollups_equal_a_group_by, by_page, by_parquet, by_script, digests, flushed, replay
from tests.oracles.sessions import by_clickhouse, by_duckdb

pytestmark = pytest.mark.slow

OTHER = "other.example"
HOUR = 3_600_000
DAY = 24 * HOUR
DATE = "%Y-%m-%d"
VISITORS = 40


class Sent:
    """What a test sends: days of visits with searches, engagement and custom events, in no order, some twice."""

    def __init__(self, up: Up, now: int) -> None:
        self.now = now
        self.first = time.strftime(DATE, time.gmtime((now - 60 * HOUR) / 1000))
        self.last = time.strftime(DATE, time.gmtime((now + DAY) / 1000))  # some visits go on past midnight
        sites = tomllib.loads((up.data / "sites.toml").read_text())["site"]
        self.keys = {site["domain"]: site["key"] for site in sites}
        self._random = random.Random(7)
        self.events: dict[str, list[dict[str, Any]]] = {SITE: [], OTHER: []}

    def visit(self, site: str, visitor: str, begin: int, steps: int) -> None:
        choose, at = self._random, begin
        for step in range(steps):
            page = choose.choice(["/", "/a", "/b", "/c?q=lamp", "/c?q=tab\\left", "/ünïcode"])
            event: dict[str, Any] = {"type": "pageview", "url": f"https://{site}{page}", "title": f"T{step}"}
            if step == 0:
                event["referrer"] = choose.choice(["", "https://www.google.com/", "https://news.example.net/x"])
            if step == 2:
                event = {"type": "custom", "name": "signup", "url": f"https://{site}/a", "user": f"u-{visitor}"}
            if step == 3:
                event = {"type": "engagement", "url": f"https://{site}/a", "engaged_ms": 4_321}
            identity = {"site": site, "visitor": visitor, "ts": at, "id": f"{visitor}-{begin}-{step}"}
            self.events[site].append(event | identity)
            at += choose.choice([1_000, 60_000, 30 * 60_000, 30 * 60_000 + 1])

    def out(self, up: Up) -> None:
        """In batches, shuffled, each with an event of the one before again; and a bot."""
        for site, events in self.events.items():
            self._random.shuffle(events)
            for begin in range(0, len(events), 50):
                up.send(events[max(0, begin - 1) : begin + 50], self.keys[site])
        bot = {"site": SITE, "type": "pageview", "url": f"https://{SITE}/bot", "id": "bot"}
        assert up.post(bot, {"User-Agent": "Googlebot/2.1"})[0] == 202


def history(up: Up) -> Sent:
    """Days of it, an hour that is more than the horizon late for the second half, in the numbers and reconciled."""
    now = time.time_ns() // 1_000_000
    sent = Sent(up, now)
    for n in range(VISITORS):
        for begin in (now - 60 * HOUR, now - 30 * HOUR, now - 90 * 60_000):
            sent.visit(SITE if n % 4 else OTHER, f"v{n}", begin + n * 61_000, 3 + n % 5)
    # A live event first: with it the watermark is at today, and whatever is days old comes late.
    up.collect(url=f"https://{OTHER}/live", site=OTHER, id="live")
    until(lambda: stored(up) == 1, "the live event is in the numbers")
    sent.out(up)
    total = 1 + sum(len({event["id"] for event in events}) for events in sent.events.values())
    until(lambda: stored(up) == total, "every event is in the numbers", 120)
    until(lambda: late(up) > 0, "the batch in which they came late is committed")
    assert footfall("reconcile", "--data", str(up.data)).returncode == 0
    return sent


def late(up: Up) -> int:
    """Events beyond the horizon that the loader has met."""
    found = re.search(rb"^footfall_loaded_late_total (\d+)", up.get("/metrics")[1], re.MULTILINE)
    return int(found[1]) if found else 0


def stored(up: Up) -> int:
    """Events of persons but for derived searches, each of which follows from a page view."""
    return int(up.sql("SELECT count() AS n FROM events WHERE bot = '' AND type != 'search'")[0]["n"])


def page(up: Up, sent: Sent) -> dict[str, dict[str, Any]]:
    """All that the page shows of both sites."""
    days = {"first": sent.first, "last": sent.last}
    return {
        site: {
            "stats": up.stats(site, **days),
            "days": up.api("timeseries", site=site, metric="visits", interval="day", **days),
            "hours": up.api("timeseries", site=site, metric="pageviews", interval="hour", **days),
            **{
                by: up.api("breakdown", site=site, by=by, **days)
                for by in ("page", "entry_page", "exit_page", "source", "search", "browser")
            },
        }
        for site in (SITE, OTHER)
    }


def altered(data: Path, *statements: str) -> None:
    """Change the embedded warehouse by hand, while nobody else has it open."""
    script = (
        "import sys, clickhouse_connect\n"
        "client = clickhouse_connect.get_client(interface='chdb', path=sys.argv[1], database='footfall')\n"
        "for statement in sys.argv[2:]: client.command(statement)\n"
        "client.close()\n"
    )
    line = [sys.executable, "-W", "ignore", "-c", script, str(data / "warehouse"), *statements]
    done = subprocess.run(line, capture_output=True, text=True, env=environment({"PYTHONPATH": ""}), check=False)
    assert done.returncode == 0, done.stderr


def test_broker_archive_and_a_script_of_its_own_give_the_live_digests(start: Start) -> None:
    up = start("--site", SITE, "--site", OTHER).wait_ready()
    sent = history(up)
    shown = page(up, sent)
    live = replay(up.data, "--dry-run")
    assert len(live) >= 5
    assert sum(report["sessions"] for report in live) > 3 * VISITORS
    assert [report["equal"] for report in live] == [True] * len(live)
    for source in ("broker", "archive"):
        reports = replay(up.data, "--source", source)
        assert [(r["site"], r["day"], r["sha256"], r["equal"]) for r in reports] == [
            (r["site"], r["day"], r["sha256"], True) for r in live
        ]
    only = replay(up.data, "--site", OTHER)
    assert {report["site"] for report in only} == {OTHER}
    files = f"{up.data}/archive/site=*/**/*.parquet"
    assert by_script(up.data) == by_clickhouse(files) == by_duckdb(files) == digests(live)
    assert page(up, sent) == shown
    assert_rollups_equal_a_group_by(up)
    assert up.stop() == 0
    # The same without `up`, by a command that owns the folder meanwhile.
    for source in ("broker", "archive"):
        assert digests(replay(up.data, "--source", source)) == digests(live)


def test_a_session_altered_by_hand_is_told_and_put_right(start: Start) -> None:
    up = start("--site", SITE, "--site", OTHER).wait_ready()
    sent = history(up)
    shown, live = page(up, sent), replay(up.data)
    (one,) = up.sql("SELECT site, session_id, toDate(started_at) AS day FROM sessions ORDER BY started_at LIMIT 1")
    assert up.stop() == 0
    update = (
        "ALTER TABLE session_rows UPDATE pageviews = pageviews + 1 "
        f"WHERE lower(hex(session_id)) = '{one['session_id']}' SETTINGS mutations_sync = 2"
    )
    altered(up.data, update)
    up = start().wait_ready()
    dry = replay(up.data, "--dry-run", status=1)
    assert [(r["site"], r["day"]) for r in dry if not r["equal"]] == [(one["site"], one["day"])]
    told = replay(up.data, "--source", "archive", status=1)
    assert [(r["site"], r["day"]) for r in told if not r["equal"]] == [(one["site"], one["day"])]
    assert digests(told) == digests(live)
    # Told once, put right once.
    assert all(report["equal"] for report in replay(up.data))
    assert page(up, sent) == shown


@pytest.mark.parametrize(("source", "running"), [("broker", True), ("archive", False)], ids=["beside up", "without up"])
def test_sessions_rollups_and_checkpoint_deleted_come_back_the_same(start: Start, source: str, running: bool) -> None:
    up = start("--site", SITE, "--site", OTHER).wait_ready()
    sent = history(up)
    shown, live = page(up, sent), replay(up.data)
    assert up.stop() == 0
    tables = ("session_rows", "rollup_1m_rows", "rollup_1h_rows")
    altered(up.data, *(f"TRUNCATE TABLE {table}" for table in tables))
    shutil.rmtree(up.data / "checkpoint")
    if running:
        up = start().wait_ready()
        until(lambda: up.get("/ready")[0] == 200, "it has replayed everything by itself", 120)
    again = replay(up.data, "--source", source, status=0 if running else 1)
    assert digests(again) == digests(live)
    if not running:
        up = start().wait_ready()
    assert page(up, sent) == shown
    assert_rollups_equal_a_group_by(up)
    # And it goes on from there.
    before = up.stats(SITE, sent.first, sent.last)
    up.collect(id="next", url=f"https://{SITE}/next")
    wanted = (before["visits"] + 1, before["pageviews"] + 1)

    def counts() -> tuple[float, float]:
        found = up.stats(SITE, sent.first, sent.last)
        return found["visits"], found["pageviews"]

    until(lambda: counts() == wanted, "the next visit is in the numbers")
    assert all(report["equal"] for report in replay(up.data))


def test_sql_over_the_raw_parquet_gives_the_numbers_of_the_page(start: Start) -> None:
    up = start("--site", SITE, "--site", OTHER).wait_ready()
    sent = history(up)
    up.collect(url=f"https://{SITE}/?q=today", id="one")
    up.collect(url=f"https://{SITE}/?q=today", id="one")
    until(lambda: up.stats()["searches"] > 0, "the search of today is in the numbers")
    flushed(up.data)
    for site in (SITE, OTHER):
        found = up.stats(site, sent.first, sent.last)
        expected = by_parquet(up.data, site)
        assert {name: found[name] for name in ("visitors", "visits", "pageviews", "searches", "events")} == {
            name: expected[name] for name in ("visitors", "visits", "pageviews", "searches", "events")
        }
        assert found["bounce_rate"] == pytest.approx(expected["bounces"] / expected["visits"])
        assert found["visit_duration"] == pytest.approx(expected["duration_ms"] / expected["visits"] / 1000)
        pages = up.api("breakdown", site=site, by="page", first=sent.first, last=sent.last, limit=100)["rows"]
        assert {row["value"]: row["pageviews"] for row in pages} == dict(by_page(up.data, site))
