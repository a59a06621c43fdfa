"""`footfall forget` beside running traffic: no byte of the data folder has the visitor any more, and nothing brings him
back, a kill in the middle of it included."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.e2e.conftest import Start
from tests.e2e.harness import ALWAYS, SITE, Up, environment, footfall, secret_key, until
from tests.e2e.proof import digests, flushed, replay

pytestmark = pytest.mark.slow

MARK, OTHERS = "zq-secret-of-him", 12
HOUR = 3_600_000


def visit(visitor: str, begin: int, mark: str = "") -> list[dict[str, Any]]:
    base = f"https://{SITE}/{mark or visitor}"
    told: list[dict[str, Any]] = [
        {"type": "pageview", "url": f"{base}?q={mark or 'lamp'}", "title": f"T {mark}"},
        {"type": "custom", "name": f"signup{mark}", "url": base, "user": mark or visitor, "props": {"p": mark}},
        {"type": "engagement", "url": base, "engaged_ms": 4_321},
    ]
    return [
        each | {"site": SITE, "visitor": visitor, "ts": begin + step * 1_000, "id": f"{visitor}-{begin}-{step}"}
        for step, each in enumerate(told)
    ]


def grown(up: Up) -> str:
    """A site with visits of days ago and of now, his among them; returns his id."""
    now, key = time.time_ns() // 1_000_000, secret_key(up.data)
    up.collect(id="live")
    up.shows({"pageviews": 1})
    for begin in (now - 50 * HOUR, now - 26 * HOUR, now - 60_000):
        for number in range(OTHERS):
            up.send(visit(f"v{number}", begin), key)
        up.send(visit("him", begin, MARK), key)
    up.post({"site": SITE, "type": "pageview", "url": 7, "user": MARK})
    up.shows({"pageviews": 1 + 3 * (OTHERS + 1)})
    assert footfall("reconcile", "--data", str(up.data)).returncode == 0
    flushed(up.data)
    [row] = up.sql(f"SELECT DISTINCT visitor FROM events WHERE user = '{MARK}'")
    return str(row["visitor"])


@contextmanager
def traffic(up: Up) -> Iterator[list[int]]:
    """Others come all the while; what was acknowledged is in the list."""
    stop, sent = threading.Event(), list[int]()

    def come() -> None:
        while not stop.wait(0.02):
            with suppress(OSError):
                up.collect(id=f"meanwhile-{len(sent)}", url=f"https://{SITE}/meanwhile")
                sent.append(len(sent))

    thread = threading.Thread(target=come)
    thread.start()
    try:
        yield sent
    finally:
        stop.set()
        thread.join()


def forget(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return footfall("forget", "--site", SITE, *arguments, "--json", "--data", str(data))


_ROWS = """
import sys, clickhouse_connect
client = clickhouse_connect.get_client(interface="chdb", path=sys.argv[1], database="footfall")
tables = client.query("SELECT name FROM system.tables WHERE database = 'footfall' AND engine LIKE '%MergeTree'")
for (table,) in tables.result_rows:
    if table != "erasures":
        for (row,) in client.query(f"SELECT toString(tuple(*)) FROM {table}").result_rows:
            print(table, row.encode("utf-8", "replace"))
client.close()
"""


def traces(data: Path, visitor: str) -> list[str]:
    """Where he is found: in bytes of any file, in rows of any table, in Parquet files, in segments of the state.

    Nothing may use the folder. The tombstone alone names him."""
    texts = (MARK, visitor, str(int(visitor, 16)))
    found = []
    for path in data.rglob("*"):
        if path.is_file() and path != data / "checkpoint" / "erasures":
            content = path.read_bytes()
            found += [str(path) for text in (MARK, visitor) if text.encode() in content]
    for pattern, read in (("archive/**/*.parquet", pl.read_parquet), ("checkpoint/segments-*/*", pl.read_ipc)):
        for path in data.glob(pattern):
            if (read(path)["visitor"] == int(visitor, 16)).any():
                found.append(str(path))
    line = [sys.executable, "-W", "ignore", "-c", _ROWS, str(data / "warehouse")]
    rows = subprocess.run(line, capture_output=True, text=True, env=environment({"PYTHONPATH": ""}), check=True).stdout
    assert "event_rows" in rows
    found += [row for row in rows.splitlines() if any(text in row for text in texts)]
    log = sqlite3.connect(data / "log.db")
    assert log.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    log.close()
    return found


def test_nothing_of_him_is_left_and_nothing_brings_him_back(start: Start) -> None:
    up = start("--site", SITE).wait_ready()
    visitor = grown(up)
    before = up.stats(**ALWAYS)
    with traffic(up) as sent:
        dry = json.loads(forget(up.data, "--user", MARK, "--dry-run").stdout)
        assert dry["visitors"] == [visitor] and dry["removed"]["dead_letters"] == 1
        assert up.stats(**ALWAYS)["pageviews"] >= before["pageviews"]
        done = forget(up.data, "--user", MARK, "--yes")
        assert done.returncode == 0, done.stderr
    receipt = json.loads(done.stdout)
    assert receipt["visitors"] == [visitor] and receipt["remains"] == []
    # A visit is a page view, a search that follows from it, a custom event and an engagement.
    assert receipt["removed"]["events"] == 3 * 4
    assert receipt["removed"]["sessions"] == 3
    up.shows({"pageviews": before["pageviews"] - 3 + len(sent), "searches": 3 * OTHERS})
    # He comes again: that is counted, as it was received later.
    up.send(visit("him", time.time_ns() // 1_000_000), secret_key(up.data))
    up.shows({"pageviews": before["pageviews"] - 2 + len(sent)})
    again = forget(up.data, "--visitor", visitor, "--yes")
    assert json.loads(again.stdout)["removed"]["events"] == 4
    flushed(up.data)
    told = {source: digests(replay(up.data, "--source", source)) for source in ("broker", "archive")}
    assert told["broker"] == told["archive"]
    old = {day["day"]: day["after"] for day in receipt["days"][:2]}
    assert old == {day: told["broker"][SITE, day] for day in old}
    numbers = up.stats(**ALWAYS)
    assert up.stop() == 0
    assert traces(up.data, visitor) == []
    up = start("--site", SITE).wait_ready()
    up.shows(numbers)
    rows = up.sql("SELECT countIf(user LIKE 'letter/%') AS letters, count(user != '' OR NULL) AS named FROM erasures")
    assert [{name: int(count) for name, count in row.items()} for row in rows] == [{"letters": 1, "named": 2}]


def test_a_kill_in_its_middle_is_finished_by_the_next_start(start: Start) -> None:
    up = start("--site", SITE).wait_ready()
    visitor = grown(up)
    pageviews, journal = up.stats(**ALWAYS)["pageviews"], up.data / "checkpoint" / "forgetting"
    asking = threading.Thread(target=forget, args=(up.data, "--user", MARK, "--yes"))
    asking.start()
    until(journal.exists, "it is decided what is erased")
    up.kill()
    asking.join()
    up = start("--site", SITE).wait_ready()
    up.shows({"pageviews": pageviews - 3})
    until(lambda: not journal.exists(), "it is finished")
    for source in ("broker", "archive"):
        replay(up.data, "--source", source)
    assert up.stop() == 0
    assert traces(up.data, visitor) == []
