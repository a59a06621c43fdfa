"""Killed at points of the code while events come, `up` has each of them once, and the same digests.

Kills between any two effects of the library are in `tests/pipeline`: of a batch in `test_live`, of a replay in
`test_replay_parts`, of several units in `test_units`, of what makes lost rows again in `test_recover`. They raise in
one process over stores that live on. Here the process itself is killed, by SIGKILL, with its embedded engine and all of
its threads, while events come; at some points everything is, the process that answers included. All tests use one data
folder, so each begins with what the kills before it left. What a power cut leaves is in
`tests/infra/test_power_cut.py`.
"""

from __future__ import annotations

import http.client
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.e2e.crashing import A_WHILE, Crash, Crashes, Traffic
from tests.e2e.harness import SITE, Up, footfall, secret_key, until
from tests.e2e.proof import ALL, assert_rollups_equal_a_group_by, by_script, digests, replay
from tests.e2e.stream import worker
from tests.e2e.test_forget import MARK, traces, visit
from tests.e2e.test_open_days import evening

pytestmark = pytest.mark.slow

SWAP = "pipeline.checkpoint:CheckpointRepository.swap"
SEGMENT = "pipeline.checkpoint:CheckpointRepository.put_frame"
COMMIT = "pipeline.live:Loader._commit"
REBUILT = "pipeline.rebuild:commit"
INSERT = "stores.warehouse:Warehouse.insert"
COMMAND = "stores.warehouse:Warehouse.command"
FILE = "stores.archive:ParquetArchive.write"
LIST = "stores.archive:ManifestStore._write"
MANIFEST = "stores.checkpoint:FolderCheckpointStore.swap"
JOURNAL = "pipeline.replay.journal:JournalKeeper"
STEPS = ("begin", "swapping", "done", "end")
FORGET = "pipeline.forget"
JOURNALED = "pipeline.erasing:write"
TOMBSTONES = "pipeline.erasure:add"
ERASER = "stores.erasure:Eraser"
GONE = "stores.archive:ParquetArchive.delete"
LOG = "brokers.sqlite.erasing"
DELETED = "stores.checkpoint:FolderCheckpointStore.delete"
OF_FORGETTING = (
    JOURNALED, f"{FORGET}:_commit", TOMBSTONES, f"{ERASER}.uncount", f"{ERASER}.clean", GONE,
    f"{LOG}:erase", f"{LOG}:scrub", DELETED,
)  # fmt: skip
POINTS = (SWAP, SEGMENT, COMMIT, REBUILT, INSERT, COMMAND, FILE, LIST, MANIFEST, *(f"{JOURNAL}.{s}" for s in STEPS))

TAKEN = "intent=Intent("
BATCHES = (
    Crash(SWAP, "before", TAKEN),
    Crash(SWAP, "after", TAKEN),
    Crash(INSERT, "before", "rollup_1m_rows"),
    Crash(INSERT, "after", "rollup_1m_rows", nth=2),
    Crash(INSERT, "after", "rollup_1h_rows"),
    Crash(INSERT, "after", "dead_letter_rows"),
    Crash(INSERT, "after", "session_rows", whole=True),
    Crash(INSERT, "after", "event_rows", nth=2),
    Crash(COMMIT, "before", whole=True),
    Crash(SEGMENT, "after", "delta-"),
    Crash(SWAP, "before", "intent=None", nth=2),
    Crash(SWAP, "after", "intent=None", whole=True),
)
OPEN_DAYS = (
    Crash(COMMAND, "after", "INSERT INTO open_visits"),
    Crash(INSERT, "before", "open_days"),
    Crash(INSERT, "after", "open_days"),
)
FLUSHES = (
    Crash(FILE, "before"),
    Crash(FILE, "after"),
    Crash(LIST, "after"),
    Crash(MANIFEST, "before", "head.json"),
    Crash(MANIFEST, "after", "head.json"),
)
RECONCILES = (
    Crash(INSERT, "before", f"/{SITE}/"),
    Crash(INSERT, "after", f"/{SITE}/"),
    Crash(REBUILT, "before"),
    Crash(REBUILT, "after"),
)
DAYS = (
    Crash(COMMAND, "before", "INSERT INTO day_visits"),
    Crash(COMMAND, "after", "INSERT INTO day_visits"),
    Crash(COMMAND, "after", "INSERT INTO day_values"),
    Crash(COMMAND, "after", "INSERT INTO day_values", nth=2),
    Crash(INSERT, "before", "day_builds"),
    Crash(INSERT, "after", "day_builds"),
    Crash(COMMAND, "after", "INSERT INTO month_values"),
    Crash(INSERT, "before", "month_builds"),
)
REPLAYS = (
    Crash(f"{JOURNAL}.begin", "after"),
    Crash(f"{JOURNAL}.swapping", "before"),
    Crash(f"{JOURNAL}.swapping", "after"),
    Crash(INSERT, "before", "/replay/"),
    Crash(INSERT, "after", "/replay/"),
    Crash(REBUILT, "after"),
    Crash(f"{JOURNAL}.done", "after"),
    Crash(f"{JOURNAL}.end", "before"),
)
# In the order of what is done: the next start goes on with it, and is killed at the next point.
FORGETTING = (
    Crash(TOMBSTONES, "after"),
    Crash(f"{ERASER}.uncount", "after"),
    Crash(COMMAND, "after", "ALTER TABLE event_rows DELETE"),
    Crash(f"{FORGET}:_commit", "before", whole=True),
    Crash(f"{FORGET}:_commit", "after"),
    Crash(FILE, "after"),
    Crash(MANIFEST, "after", "head.json"),
    Crash(GONE, "after"),
    Crash(f"{LOG}:erase", "after", nth=2),
    Crash(f"{LOG}:scrub", "before"),
    Crash(f"{ERASER}.clean", "after", whole=True),
    Crash(DELETED, "before", "forgetting"),
)
DAY_MS = 86_400_000
LATE = 60  # events of a late day


class Session:
    """`up` on one data folder, killed and started again, with the traffic that comes all the time."""

    def __init__(self, folder: Path) -> None:
        self.crashes = Crashes(folder / "crashes", (*POINTS, *OF_FORGETTING))
        self.data = folder / "data"
        self.zone, _ = evening()  # a day that is open for hours yet
        done = footfall("site", "add", SITE, "--timezone", self.zone, "--data", str(self.data))
        assert done.returncode == 0, done.stderr
        self.up = Up(self.data, env=self.crashes.env).wait_ready()
        self.traffic = Traffic(self.up)

    def crash(self, *crashes: Crash) -> None:
        """Let one happen after the other, and start again what does not start by itself."""
        for crash in crashes:
            self.crashes.order(crash)
            self.crashes.wait(crash)
            if crash.whole:
                self.up.gone()
                self.up = self.traffic.up = Up(self.data, env=self.crashes.env).wait_ready()

    def command(self, *words: str) -> bool:
        """Whether a command was done. Otherwise the process that works for it was killed, or is not back yet."""
        return footfall(*words, "--data", str(self.data)).returncode == 0

    def crash_in(self, crashes: Sequence[Crash], *words: str) -> None:
        """Give a command again and again, each time with another crash, and in the end without one."""

        def crashed() -> bool:
            self.command(*words)
            return self.crashes.happened()

        for crash in crashes:
            self.crashes.order(crash)
            until(crashed, f"{crash} happens", A_WHILE)
        until(lambda: self.command(*words), f"{words} is done", A_WHILE)

    def late(self, name: str, *days: int) -> None:
        """Events of so many days ago, which are to be reconciled, and in the numbers."""
        now = time.time_ns() // 1_000_000
        with self.traffic.at_rest():
            self.traffic.send([
                {
                    "site": SITE, "type": "pageview", "url": f"https://{SITE}/late?n={name}-{ago}-{n}",
                    "id": f"{name}-{ago}-{n}", "visitor": f"late{n % 20}", "ts": now - ago * DAY_MS - n * 60_000,
                }
                for ago in days for n in range(LATE)
            ])  # fmt: skip
            self.loaded()

    def loaded(self) -> None:
        """Until every event that was taken is in the numbers, once."""
        self.up.shows({"events": self.traffic.taken, "pageviews": self.traffic.pageviews}, seconds=A_WHILE)

    def balances(self, *sources: str) -> None:
        """Every event that was taken is there once, and replays from these sources find what is stored."""
        traffic, up = self.traffic, self.up
        with traffic.at_rest():
            self.loaded()
            (found,) = up.sql("SELECT count() AS n, uniqExact(id) AS ids, uniqExact(url) AS urls FROM events")
            assert {int(number) for number in found.values()} == {traffic.taken}
            until(self._letters, "dead letters are loaded", A_WHILE)
            assert_rollups_equal_a_group_by(up)
            told = [replay(up.data, "--dry-run", "--source", source) for source in sources]
            for reports in told:
                assert [report["differs"] for report in reports] == [[]] * len(reports)
                assert sum(report["events"] for report in reports) == traffic.taken
                assert digests(reports) == digests(told[0])
            if "archive" in sources:
                assert by_script(up.data) == digests(told[0])

    def _letters(self) -> bool:
        (found,) = self.up.sql("SELECT count() AS n FROM dead_letters")
        assert int(found["n"]) <= self.traffic.refused_at_most
        return int(found["n"]) >= self.traffic.refused


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    made = Session(tmp_path_factory.mktemp("crashes"))
    try:
        with made.traffic.flowing():
            yield made
    finally:
        made.up.end()


def test_between_any_two_steps_of_a_batch(session: Session) -> None:
    session.crash(*BATCHES)
    session.balances("broker")


def test_while_the_visits_of_an_open_day_are_kept(session: Session) -> None:
    session.crash(*OPEN_DAYS)
    session.balances()


def test_between_any_two_steps_of_a_flush_of_the_archive(session: Session) -> None:
    session.crash_in(FLUSHES, "archive", "flush")
    session.balances("archive")


def test_between_any_two_steps_of_a_reconcile(session: Session) -> None:
    session.late("reconciled", 40, 41, 42)
    session.crash_in(RECONCILES, "reconcile")
    session.balances("broker")


def test_between_any_two_steps_of_a_day_that_is_built(session: Session) -> None:
    session.late("built", 40, 41, 42)
    until(lambda: session.command("reconcile"), "late events are in visits", A_WHILE)
    waiting = "SELECT count() AS n FROM day_builds FINAL WHERE NOT valid AND day < today() - 20"
    until(lambda: int(session.up.sql(waiting)[0]["n"]) == 3, "the days are seen", A_WHILE)
    session.crashes.order(DAYS[0])
    os.kill(worker(session.up, "core"), signal.SIGKILL)  # the next one builds at once what it did not see change
    session.crashes.wait(DAYS[0])
    session.crash(*DAYS[1:])
    until(lambda: int(session.up.sql(waiting)[0]["n"]) == 0, "the days are built", A_WHILE)
    today = datetime.now(UTC).astimezone(ZoneInfo(session.zone)).date()
    for ago in (40, 41, 42):
        day = str(today - timedelta(days=ago))
        assert session.up.stats(SITE, day, day)["pageviews"] == 2 * LATE
    session.balances()


def test_between_any_two_steps_of_a_replay(session: Session) -> None:
    session.late("replayed", 5)
    session.crash_in(REPLAYS, "replay", *ALL)
    session.balances("broker", "archive")


def test_between_any_two_steps_of_forgetting_a_visitor(session: Session) -> None:
    now, key = time.time_ns() // 1_000_000, secret_key(session.data)
    for begin in (now - 7 * DAY_MS, now - DAY_MS, now):
        his = {"events": visit("him", begin, MARK)}
        until(lambda his=his: sent(session.up, his, key), "his visit is taken", A_WHILE)  # type: ignore[misc]
    asked = f"SELECT visitor, count() AS n FROM events WHERE user = '{MARK}' GROUP BY visitor"
    until(lambda: [int(row["n"]) for row in session.up.sql(asked)] == [3], "his visits are stored", A_WHILE)
    [visitor] = [row["visitor"] for row in session.up.sql(asked)]
    until(lambda: session.command("archive", "flush"), "his visits are archived", A_WHILE)
    command = ("forget", "--site", SITE, "--user", MARK, "--yes")
    session.crashes.order(Crash(JOURNALED, "before"))
    until(lambda: session.command(*command) or session.crashes.happened(), "it is killed undecided", A_WHILE)
    assert session.crashes.happened()
    session.crashes.order(FORGETTING[0])
    until(lambda: session.command(*command) or session.crashes.happened(), "it is decided", A_WHILE)
    session.crashes.wait(FORGETTING[0])
    session.crash(*FORGETTING[1:])
    until(lambda: not (session.data / "checkpoint" / "forgetting").exists(), "it is finished", A_WHILE)
    until(lambda: not session.up.sql(asked), "nobody finds him", A_WHILE)
    session.balances("broker", "archive")
    with session.traffic.at_rest():
        assert session.up.stop() == 0
        assert traces(session.data, visitor) == []
        session.up = session.traffic.up = Up(session.data, env=session.crashes.env).wait_ready()


def sent(up: Up, batch: dict[str, Any], key: str) -> bool:
    """Whether a batch was taken; it may be sent once more."""
    with suppress(OSError, http.client.HTTPException):
        return up.post(batch, {"Authorization": f"Bearer {key}"})[0] == 202
    return False
