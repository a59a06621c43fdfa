"""The retention of a site beside running traffic: no byte of an expired day is left, nothing brings it back, and `up`
keeps it by itself, a day after it was set, a kill in its middle included."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.e2e.conftest import Start
from tests.e2e.harness import ALWAYS, SITE, Up, environment, footfall, secret_key, until
from tests.e2e.proof import digests, flushed, replay
from tests.e2e.test_audit import audit
from tests.e2e.test_forget import _ROWS, traffic, visit

pytestmark = pytest.mark.slow

MARK, VISITORS, DAYS = "zq-of-an-old-day", 6, 2
DAY = 86_400_000


def imported(folder: Path) -> Path:
    """A file of page views of another system: one of each of the days 8 to 4 ago, and one of yesterday."""
    today = time.time_ns() // 1_000_000 // DAY * DAY
    views = [*((today - n * DAY, MARK) for n in range(4, 9)), (today - DAY, "kept")]
    lines = [
        {"type": "pageview", "url": f"https://{SITE}/{mark}", "title": mark, "visitor": mark, "ts": at, "id": f"i{at}"}
        for at, mark in views
    ]
    file = folder / "old.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def take(data: Path, file: Path) -> dict[str, Any]:
    done = footfall("import", str(file), "--site", SITE, "--format", "events", "--json", "--data", str(data))
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def grown(up: Up, file: Path) -> None:
    """A site with visits of days ago, marked, and of yesterday and now; some came by an import."""
    now, key = time.time_ns() // 1_000_000, secret_key(up.data)
    for begin, mark in ((now - 5 * DAY, MARK), (now - 4 * DAY, MARK), (now - DAY, ""), (now - 60_000, "")):
        for number in range(VISITORS):
            up.send(visit(f"v{number}", begin, mark), key)
    assert take(up.data, file)["accepted"] == 6
    up.shows({"pageviews": 4 * VISITORS + 6})
    assert footfall("reconcile", "--data", str(up.data)).returncode == 0
    flushed(up.data)


def keep(data: Path, days: int) -> None:
    """As an operator does it: a line in the sites file."""
    file, line = data / "sites.toml", f'domain = "{SITE}"\n'
    text = file.read_text(encoding="utf-8")
    assert line in text
    file.write_text(text.replace(line, f"{line}retention_days = {days}\n"), encoding="utf-8")


def expire(data: Path, *arguments: str) -> dict[str, Any]:
    done = footfall("forget", "--expired", *arguments, "--json", "--data", str(data))
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def traces(data: Path) -> list[str]:
    """Where an old day is found: in bytes of any file, rows of any table, Parquet files. Nothing may use the folder."""
    found = [str(path) for path in data.rglob("*") if path.is_file() and MARK.encode() in path.read_bytes()]
    found += [str(path) for path in data.glob("archive/**/*.parquet") if MARK in str(pl.read_parquet(path).rows())]
    line = [sys.executable, "-W", "ignore", "-c", _ROWS, str(data / "warehouse")]
    rows = subprocess.run(line, capture_output=True, text=True, env=environment({"PYTHONPATH": ""}), check=True).stdout
    assert "event_rows" in rows
    return found + [row for row in rows.splitlines() if MARK in row]


def test_old_days_go_beside_traffic_and_stay_away(start: Start, tmp_path: Path) -> None:
    up, file = start("--site", SITE).wait_ready(), imported(tmp_path)
    refused = footfall("forget", "--expired", "--site", SITE, "--dry-run", "--data", str(up.data))
    assert refused.returncode == 1 and "no `retention_days`" in refused.stderr
    grown(up, file)
    before = {source: digests(replay(up.data, "--source", source)) for source in ("broker", "archive")}["archive"]
    keep(up.data, DAYS)
    with traffic(up) as sent:
        dry = expire(up.data, "--dry-run")
        assert up.stats(**ALWAYS)["pageviews"] >= 4 * VISITORS + 6
        receipt = expire(up.data, "--yes")
    # A visit is a page view, a search that follows from it, a custom event and an engagement.
    removed = receipt["removed"]
    assert (removed["events"], removed["sessions"]) == (2 * 4 * VISITORS + 5, 2 * VISITORS + 5)
    assert dry["removed"].items() <= removed.items() and dry["dry_run"]
    assert receipt["remains"] == [] and removed["archive_files"] > 0
    up.shows({"pageviews": 2 * VISITORS + 1 + len(sent)})
    again = take(up.data, file)
    assert (again["accepted"], again["duplicates"], again["reasons"]) == (0, 1, {"too_old": 5})
    flushed(up.data)
    told = {source: replay(up.data, "--dry-run", "--source", source) for source in ("broker", "archive")}
    assert all(day["equal"] for days in told.values() for day in days)
    after = digests(told["broker"])
    assert after == digests(told["archive"])
    # Of the days that are over nothing else changed.
    yesterday = min(after)
    assert after[yesterday] == before[yesterday] and len(after) < len(before)
    status, sums = audit(up.data)
    assert (status, sums["expired"], sums["erased"]) == (0, removed["events"], 0), sums
    assert footfall("doctor", "--data", str(up.data)).returncode == 0
    numbers = up.stats(**ALWAYS)
    assert up.stop() == 0
    assert traces(up.data) == []
    up = start("--site", SITE).wait_ready()
    up.shows(numbers)
    assert audit(up.data)[1]["expired"] == removed["events"]


def test_up_waits_a_day_and_finishes_what_a_kill_broke_off(start: Start, tmp_path: Path) -> None:
    up = start("--site", SITE).wait_ready()
    grown(up, imported(tmp_path))
    pageviews = 4 * VISITORS + 6
    assert up.stop() == 0
    keep(up.data, DAYS)
    up = start("--site", SITE).wait_ready()
    until(lambda: "In a day all before goes for good" in up.said(), "it says what is going to go")
    up.shows({"pageviews": pageviews})
    assert up.stop() == 0
    # As if the setting had been there for a day.
    seen = up.data / "checkpoint" / "retention"
    version, _, value = seen.read_bytes().partition(b"\n")
    noted = json.loads(value)
    noted[SITE]["since"] -= DAY
    seen.write_bytes(version + b"\n" + json.dumps(noted).encode())
    journal = up.data / "checkpoint" / "forgetting"
    up = start("--site", SITE).wait_ready()
    until(lambda: journal.exists() or "are gone" in up.said(), "it is decided what goes")
    up.kill()
    up = start("--site", SITE).wait_ready()
    up.shows({"pageviews": 2 * VISITORS + 1})
    until(lambda: not journal.exists(), "it is finished")
    assert audit(up.data)[0] == 0
    assert up.stop() == 0
    assert traces(up.data) == []
