"""`footfall import`: each line is accounted for, bots apart, and nothing is ever counted twice."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import AGENT, SITE, Up, command, environment, footfall, until

pytestmark = pytest.mark.slow

BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
FEED = f"https://{SITE}/"


def line(ip: str, minute: int, request: str, status: int = 200, agent: str = AGENT, referrer: str = "-") -> str:
    stamp = f"02/Jun/2025:10:{minute:02}:00 +0000"
    return f'{ip} - - [{stamp}] "{request}" {status} 512 "{referrer}" "{agent}"'


# Ann reads two pages and searches, Bob comes back after more than half an hour, a crawler comes, and oddities.
LOG = [
    line("203.0.113.1", 0, "GET / HTTP/1.1", referrer="https://www.google.com/"),
    line("203.0.113.1", 0, "GET /style.css HTTP/1.1"),
    line("203.0.113.1", 5, "GET /a HTTP/1.1", 304),
    line("203.0.113.1", 6, "GET /search?q=blue+shoes HTTP/1.1"),
    line("203.0.113.2", 1, "GET / HTTP/1.1"),
    line("203.0.113.2", 32, "GET / HTTP/1.1"),
    line("203.0.113.2", 32, "GET / HTTP/1.1"),
    line("203.0.113.3", 7, "GET / HTTP/1.1", agent=BOT),
    line("203.0.113.4", 8, "POST /form HTTP/1.1"),
    line("203.0.113.4", 8, "GET /gone HTTP/1.1", 404),
    "what is this",
    "203.0.113.9 broken [02/Jun/2025",
    "",
]
COUNTS = {"lines": 13, "accepted": 7, "duplicates": 0, "bots": 1, "refused": 4, "not_understood": 2}
AGAIN = COUNTS | {"accepted": 0, "duplicates": 7, "bots": 0}
NUMBERS = {"visitors": 2, "visits": 3, "pageviews": 6, "searches": 1, "bots": 1}


@pytest.fixture
def data(tmp_path: Path) -> str:
    folder = str(tmp_path / "data")
    assert footfall("site", "add", SITE, "--data", folder).returncode == 0
    return folder


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "access.log"
    path.write_text("\n".join(LOG) + "\n", encoding="utf-8")
    return path


def imported(*arguments: str, **options: Any) -> dict[str, Any]:
    done = footfall("import", *arguments, "--site", SITE, "--json", **options)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["lines"] == sum(result[group] for group in ("accepted", "duplicates", "refused", "not_understood"))
    return dict(result)


def counts(result: dict[str, Any]) -> dict[str, int]:
    return {name: result[name] for name in COUNTS}


def rows(statement: str, data: str) -> list[dict[str, Any]]:
    done = footfall("sql", statement, "--json", "--data", data)
    assert done.returncode == 0, done.stderr
    return [json.loads(text) for text in done.stdout.splitlines()]


def numbers(data: str) -> dict[str, int]:
    (found,) = rows(
        "SELECT uniqExact(visitor) AS visitors, count() AS visits, sum(pageviews) AS pageviews, "
        "sum(searches) AS searches, (SELECT countIf(bot != '') FROM events) AS bots FROM sessions",
        data,
    )
    return {name: int(value) for name, value in found.items()}


def test_every_line_is_accounted_for_and_a_second_import_adds_nothing(data: str, log: Path) -> None:
    assert counts(imported(str(log), "--data", data)) == COUNTS
    assert numbers(data) == NUMBERS
    assert counts(imported(str(log), "--data", data)) == AGAIN
    assert numbers(data) == NUMBERS
    letters = rows("SELECT reason, bytes FROM dead_letters ORDER BY bytes", data)
    assert [letter["bytes"] for letter in letters] == ["0.0.0.0 broken [02/Jun/2025", "what is this"]
    assert not Path(data).joinpath("log.db").read_bytes().count(b"203.0.113.")


def test_gzip_and_stdin_are_the_same_lines(data: str, log: Path, tmp_path: Path) -> None:
    packed = tmp_path / "access.log.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()))
    assert counts(imported(str(packed), "--data", data)) == COUNTS
    with log.open() as stdin:
        assert counts(imported("-", "--data", data, stdin=stdin)) == AGAIN
    assert numbers(data) == NUMBERS


def test_many_lines_that_are_not_understood_are_kept_once(data: str, tmp_path: Path) -> None:
    path = tmp_path / "mixed.log"
    path.write_text("\n".join([LOG[0], *(f"what is line {number}" for number in range(4_500))]), encoding="utf-8")
    for _ in range(2):
        assert imported(str(path), "--data", data)["not_understood"] == 4_500
        assert [int(row["n"]) for row in rows("SELECT count() AS n FROM dead_letters", data)] == [4_500]


def test_own_events_keep_their_times_and_visitors(data: str, tmp_path: Path) -> None:
    events = [
        {"type": "pageview", "url": f"{FEED}a", "ts": 1_000_000_000_000, "visitor": "ann"},
        {"type": "custom", "url": f"{FEED}a", "name": "signup", "ts": "2001-09-09T01:50:00Z", "visitor": "ann"},
        {"type": "pageview", "url": f"{FEED}b", "ts": 1_000_000_000_000, "visitor": "bob", "id": "x" * 128},
        {"type": "pageview", "url": f"{FEED}c", "visitor": "ann"},
        {"type": "pageview", "url": "nowhere", "ts": 1_000_000_000_000, "visitor": "ann"},
        {"type": "pageview", "url": f"{FEED}c", "ts": 1_000_000_000_000, "visitor": "ann", "site": "other.example"},
    ]
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(map(json.dumps, events)) + "\n{\n", encoding="utf-8")
    result = imported(str(path), "--data", data)
    assert counts(result) == {
        "lines": 7, "accepted": 3, "duplicates": 0, "bots": 0, "refused": 3, "not_understood": 1
    }  # fmt: skip
    assert result["reasons"] == {"missing_field": 1, "invalid_url": 1, "unknown_site": 1}
    (found,) = rows("SELECT count() AS visits, sum(events) AS events, min(started_at) AS first FROM sessions", data)
    assert (int(found["visits"]), int(found["events"]), found["first"]) == (2, 3, "2001-09-09 01:46:40.000")
    assert imported(str(path), "--data", data, "--format", "events")["duplicates"] == 3


@pytest.mark.parametrize(
    ("content", "arguments", "told"),
    [
        (b"\x00\x01\x02\n" * 5, (), "no known format"),
        (b"hello\n" * 20_000, ("--format", "combined"), "not one of"),
        (gzip.compress("\n".join(LOG * 500).encode())[:-200], (), "breaks off"),
    ],
    ids=["no log", "wrong format", "cut gzip"],
)
def test_what_cannot_be_read_is_told_in_words(
    data: str, tmp_path: Path, content: bytes, arguments: tuple[str, ...], told: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    done = footfall("import", str(path), "--site", SITE, "--data", data, *arguments)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_files_that_are_wrong_keep_no_other_from_being_imported(data: str, log: Path, tmp_path: Path) -> None:
    broken = "\n".join(line("198.51.100.1", 0, f"GET /{number} HTTP/1.1") for number in range(300)).encode() + b"\n"
    (tmp_path / "a.log").write_bytes(b"2025/06/02 10:00:00 [error] 7#7: *1 open() failed\n")
    (tmp_path / "aa.log").write_bytes(LOG[0].encode() + b"\n" * 200 + b"hello\n" * 5)
    (tmp_path / "ab.log").write_bytes(gzip.compress(broken)[:-8])
    (tmp_path / "ac.log").write_bytes(gzip.compress(b"") + b"hello")
    files = [str(tmp_path / "absent.log"), str(tmp_path / "*.log")]
    done = footfall("import", *files, "--site", SITE, "--data", data, "--json", "--dry-run")
    shown = {Path(found["file"]).name: found["accepted"] for found in map(json.loads, done.stdout.splitlines())}
    assert (done.returncode, shown) == (1, {"aa.log": 1, "ab.log": 300, "ac.log": 0, "access.log": 7}), done.stderr
    done = footfall("import", *files, "--site", SITE, "--data", data, "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["accepted"], report["duplicates"]) == (1, 307, 1), done.stderr
    for told in ("absent.log cannot", "a.log: no known format", "ab.log breaks off", "ac.log: behind the packed"):
        assert told in done.stderr
    assert "Traceback" not in done.stderr
    # Loaded when the command returns, as after any other import.
    assert numbers(data)["pageviews"] == NUMBERS["pageviews"] + 300
    done = footfall("import", str(tmp_path / "absent.log"), "--site", SITE, "--data", data)
    assert (done.returncode, done.stdout, "waiting" in done.stderr) == (1, "", False)


def test_an_unknown_site_is_told_how_to_be_added(data: str, log: Path) -> None:
    done = footfall("import", str(log), "--site", "other.example", "--data", data)
    assert done.returncode == 1
    assert "footfall site add other.example" in done.stderr


def test_beside_live_traffic_and_killed_in_its_middle_it_ends_exact(start: Callable[..., Up], tmp_path: Path) -> None:
    up = start("--site", SITE).wait_ready()
    path = tmp_path / "large.log"
    visitors, views = 400, 30
    path.write_text(
        "".join(
            line(f"198.51.{n // 250}.{n % 250}", minute, f"GET /{n}/{minute} HTTP/1.1") + "\n"
            for minute in range(views)
            for n in range(visitors)
        ),
        encoding="utf-8",
    )
    importing = [*command(), "import", str(path), "--site", SITE, "--data", str(up.data)]
    broken = subprocess.Popen(importing, env=environment(), stderr=subprocess.PIPE)
    until(lambda: rows("SELECT count() AS n FROM events", str(up.data))[0]["n"], "a part of it is stored")
    os.kill(broken.pid, signal.SIGKILL)
    broken.communicate()
    up.collect()
    result = imported(str(path), "--data", str(up.data))
    assert result["accepted"] + result["duplicates"] == visitors * views
    stored = up.stats(first="2025-06-02", last="2025-06-02")
    assert (stored["visitors"], stored["visits"], stored["pageviews"]) == (visitors, visitors, visitors * views)
    assert up.stats()["pageviews"] == 1
    assert imported(str(path), "--data", str(up.data))["accepted"] == 0
