"""What can be asked while `up` runs: the API, and SQL by the command and over HTTP, read-only both."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.e2e.harness import SITE, Up, fetch, footfall, running, secret_key, until

pytestmark = pytest.mark.slow

NOON = 1_772_539_200_000  # 2026-03-03 12:00 UTC
MINUTE = 60_000
DAY = "2026-03-03"
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Mobile/15E148 Safari/604.1"
)


def event(visitor: str, minute: float, path: str, **more: Any) -> dict[str, Any]:
    return {
        "site": SITE,
        "type": "pageview",
        "url": f"https://{SITE}{path}",
        "visitor": visitor,
        "ts": int(NOON + minute * MINUTE),
    } | more


# Three visitors, four visits. Ann: two pages and a search in 4 minutes, then, 31 minutes on, one page, a bounce.
# Bob: one page with engaged time, a bounce still. Cat, on a phone: two pages and a custom event in 2 minutes.
ANN = [
    event("ann", 0, "/", referrer="https://news.ycombinator.com/item?id=1"),
    event("ann", 1, "/pricing"),
    event("ann", 4, "/find?q=Red++Shoes"),
    event("ann", 35.1, "/"),
]
BOB = [event("bob", 5, "/", type="pageview"), event("bob", 6, "/", type="engagement", engaged_ms=30_000)]
CAT = [
    event("cat", 10, "/?utm_source=letter&utm_medium=email"),
    event("cat", 11, "/pricing"),
    event("cat", 12, "/pricing", type="custom", name="signup", props={"plan": "pro", "seats": 3}),
]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("sql") / "data", "--site", SITE, "--site", "quiet.example") as started:
        key = secret_key(started.data)
        started.send(ANN + BOB, key)
        for each in CAT:
            headers = {"Authorization": f"Bearer {key}", "User-Agent": PHONE}
            assert started.post(each, headers)[0] == 202
        until(lambda: started.stats(first=DAY, last=DAY)["events"] == 10, "all events are in the numbers")
        yield started


def ask(up: Up, statement: str, **parameters: str) -> tuple[int, str]:
    status, _, body = fetch(f"{up.dashboards}/sql?{urlencode(parameters)}", statement.encode())
    return status, body.decode()


def rows(up: Up, by: str, **parameters: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = up.api("breakdown", by=by, first=DAY, last=DAY, **parameters)["rows"]
    return found


def test_stats_are_those_of_the_definitions(up: Up) -> None:
    # 9 sent and 1 search found in an address. Seconds: 4 × 60, 0, 60, 2 × 60, over four visits. A bounce is a visit
    # with one interactive event: Ann's second, Bob's. Engaged are two visits with several page views, and one with the
    # only engagement, which took 30 seconds.
    assert up.stats(first=DAY, last=DAY) == {
        "visitors": 3,
        "visits": 4,
        "pageviews": 7,
        "searches": 1,
        "events": 10,
        "views_per_visit": 7 / 4,
        "bounce_rate": 0.5,
        "visit_duration": (240 + 0 + 60 + 120) / 4,
        "engagement_rate": 3 / 4,
        "engaged_time": 30 / 4,
        "bots": 0,
    }


def test_days_are_those_of_the_time_zone_asked_for(up: Up) -> None:
    tomorrow = "2026-03-04"
    assert up.stats(first=tomorrow, last=tomorrow)["events"] == 0
    there = up.api("stats", first=tomorrow, last=tomorrow, timezone="Pacific/Auckland")
    assert there["events"] == 10


def test_a_series_has_every_step(up: Up) -> None:
    series = up.api("timeseries", metric="pageviews", interval="hour", first=DAY, last=DAY)
    assert [row["value"] for row in series["rows"]] == [0] * 12 + [7] + [0] * 11
    month = up.api("timeseries", metric="visits", interval="day", first="2026-03-01", last="2026-03-31")
    assert [row["value"] for row in month["rows"]] == [0, 0, 4] + [0] * 28


def test_breakdowns(up: Up) -> None:
    assert [(row["value"], row["visitors"], row["pageviews"]) for row in rows(up, "page")] == [
        ("/", 3, 4),
        ("/pricing", 2, 2),
        ("/find", 1, 1),
    ]
    assert {(row["value"], row["visits"]) for row in rows(up, "entry_page")} == {("/", 4)}
    assert {(row["value"], row["visits"]) for row in rows(up, "exit_page")} == {("/", 2), ("/find", 1), ("/pricing", 1)}
    assert {(row["value"], row["visits"]) for row in rows(up, "source")} == {
        ("news.ycombinator.com", 1),
        ("letter", 1),
        ("", 2),
    }
    assert [(row["value"], row["events"]) for row in rows(up, "search")] == [("Red Shoes", 1)]
    assert [(row["value"], row["events"]) for row in rows(up, "event")] == [("signup", 1)]
    assert {(row["value"], row["visitors"]) for row in rows(up, "device")} == {("desktop", 2), ("mobile", 1)}
    assert {row["value"] for row in rows(up, "browser")} == {"Firefox", "Safari"}
    assert len(rows(up, "page", limit=1)) == 1


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/api/v1/stats", 400, "site is needed: one of example.com, quiet.example"),
        ("/api/v1/stats?site=example.com", 400, "from and to are needed"),
        ("/api/v1/stats?site=example.com&from=2026-03-03", 400, "to is needed"),
        ("/api/v1/stats?site=example.com&from=2026-3-3&to=2026-03-03", 400, "YYYY-MM-DD"),
        ("/api/v1/stats?site=example.com&from=2026-03-04&to=2026-03-03", 400, "from"),
        ("/api/v1/stats?site=example.com&from=2026-03-03&to=2026-03-03&timezone=Mars/Base", 400, "Mars/Base"),
        ("/api/v1/stats?site=elsewhere.example&from=2026-03-03&to=2026-03-03", 404, "footfall site add elsewhere"),
        ("/api/v1/breakdown?site=example.com&from=2026-03-03&to=2026-03-03", 400, "by is needed: one of page"),
        ("/api/v1/breakdown?site=example.com&from=2026-03-03&to=2026-03-03&by=shoe", 400, "not 'shoe'"),
        ("/api/v1/breakdown?site=example.com&from=2026-03-03&to=2026-03-03&by=page&limit=0", 400, "limit must be"),
        ("/api/v1/timeseries?site=example.com&from=2026-03-03&to=2026-03-03&metric=x", 400, "metric must be"),
        ("/api/v1/timeseries?site=example.com&from=2026-03-03&to=2026-03-03&interval=x", 400, "interval must be"),
        ("/api/v1/nothing", 404, ""),
    ],
)
def test_a_mistake_is_answered_in_words(up: Up, path: str, status: int, words: str) -> None:
    found, body = up.get(path)
    assert found == status, body
    assert words in json.loads(body)["error"]


def test_the_command_asks_the_process_that_owns_the_data(up: Up) -> None:
    where = ("--data", str(up.data))
    statement = "SELECT type, count() AS n FROM events GROUP BY type ORDER BY type"
    done = footfall("sql", statement, "--json", *where)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"type": "custom", "n": 1},
        {"type": "engagement", "n": 1},
        {"type": "pageview", "n": 7},
        {"type": "search", "n": 1},
    ]
    done = footfall("sql", "-", "--format", "CSVWithNames", *where, input="SELECT visitor, pageviews FROM sessions")
    assert sorted(int(row["pageviews"]) for row in csv.DictReader(io.StringIO(done.stdout))) == [1, 1, 2, 3]
    assert up.process.poll() is None


def test_the_tables_that_are_promised(up: Up) -> None:
    promised = "site, visitor, session_id, started_at, ended_at, events, pageviews, searches"
    found = up.sql(f"SELECT {promised}, entry_page, exit_page, is_bounce FROM sessions ORDER BY started_at LIMIT 1")
    assert found[0]["site"] == SITE
    assert (found[0]["pageviews"], found[0]["searches"], found[0]["events"]) == (3, 1, 4)
    assert (found[0]["entry_page"], found[0]["exit_page"], found[0]["is_bounce"]) == ("/", "/find", False)
    assert up.sql("SELECT received_at, topic, reason, bytes FROM dead_letters") == []
    assert up.sql("SELECT props FROM events WHERE name = 'signup'") == [{"props": '{"plan":"pro","seats":3}'}]
    for grain in ("rollup_1m", "rollup_1h"):
        total = up.sql(f"SELECT sum(pageviews) AS n FROM {grain} WHERE dimension = ''")
        assert int(total[0]["n"]) == 7, grain


def test_formats_and_parameters_over_http(up: Up) -> None:
    count = "SELECT count() AS n FROM events WHERE path = {path:String}"
    assert ask(up, count, param_path="/pricing") == (200, "3\n")
    status, body = ask(up, f"{count} FORMAT JSON", param_path="/pricing")
    assert int(json.loads(body)["data"][0]["n"]) == 3
    headers = {"Content-Type": "application/json"}
    status, named, answer = fetch(f"{up.dashboards}/sql", b'{"query": "SELECT 1 AS a FORMAT CSV"}', headers)
    assert (status, answer, named["content-type"]) == (200, b"1\n", "text/csv; charset=utf-8")


REFUSED = [
    "DROP TABLE event_rows",
    "DROP VIEW events",
    "INSERT INTO event_rows (site) VALUES ('x')",
    "ALTER TABLE event_rows DELETE WHERE 1",
    "TRUNCATE TABLE session_rows",
    "CREATE TABLE mine (a Int8) ENGINE = Memory",
    "SET max_execution_time = 0",
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "SELECT file('/etc/passwd')",
    "SELECT * FROM url('http://127.0.0.1/', 'LineAsString')",
    "SELECT * FROM remote('127.0.0.1', system.one)",
    "SELECT * FROM system.query_log",
    "SELECT 1 INTO OUTFILE '/tmp/footfall-out'",
    "SELECT 1; SELECT 2",
    "SELECT sleep(3)",
    "SYSTEM SHUTDOWN",
]


@pytest.mark.parametrize("statement", REFUSED)
def test_what_is_no_plain_question_is_refused(up: Up, statement: str) -> None:
    status, words = ask(up, statement)
    assert status == 400, words
    assert len(words.strip()) > 15
    assert "Traceback" not in words


def test_a_parameter_is_a_value_and_nothing_else(up: Up) -> None:
    hostile = " || file($x$/etc/hostname$x$) || "
    status, words = ask(up, "SELECT '%(a)s' AS x", param_a=hostile)
    assert (status, "no parameter 'a'" in words) == (400, True), words
    assert ask(up, "SELECT '%(a)s', {a:String}", param_a=hostile) == (200, f"%(a)s\t{hostile}\n")
    count = "SELECT count() FROM events WHERE path IN {paths:Array(String)} AND url LIKE '%/%'"
    done = footfall("sql", count, "--format", "TSV", "--param", "paths=['/pricing','/find']", "--data", str(up.data))
    assert done.stdout == ask(up, count, param_paths="['/pricing','/find']")[1] == "5\n"
    refused = footfall("sql", "SELECT '%(a)s'", "--param", f"a={hostile}", "--data", str(up.data))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "declares no parameter 'a'" in refused.stderr
    assert footfall("sql", "SELECT 1", "--param", "a", "--data", str(up.data)).returncode == 2


def test_secrets_of_the_data_folder_are_out_of_reach(up: Up) -> None:
    for name in ("owner.json", "sites.toml"):
        secret = up.data / name
        assert secret.is_file()
        for statement in (f"SELECT file('{secret}')", f"SELECT * FROM file('{secret}', 'LineAsString')"):
            status, words = ask(up, statement)
            assert status == 400
            assert "is not open to readers" in words


@pytest.mark.parametrize("statement", ["SELEC 1", "SELECT nothing FROM events", "SELECT 1 FORMAT Nonsense", ""])
def test_a_statement_with_a_mistake_is_told_so(up: Up, statement: str) -> None:
    status, words = ask(up, statement)
    assert status == 400, words
    assert words.strip()


def test_the_command_refuses_alike(up: Up) -> None:
    for statement in ("DROP TABLE event_rows", "SELECT file('/etc/passwd')", "SELEC 1"):
        done = footfall("sql", statement, "--data", str(up.data))
        assert done.returncode == 1, statement
        assert done.stdout == ""
        assert done.stderr.startswith("Error: "), done.stderr
        assert "Traceback" not in done.stderr


def test_a_question_without_end_is_broken_off_and_the_next_is_answered(up: Up) -> None:
    status, words = ask(up, "SELECT number FROM numbers(100000000000)")
    assert status == 400, words
    status, words = ask(up, "SELECT arraySort(groupArray(number)) FROM numbers(10000000000)")
    assert status == 400, words
    assert "memory" in words.lower()
    assert ask(up, "SELECT 1") == (200, "1\n")


def test_a_form_of_a_foreign_page_cannot_ask(up: Up) -> None:
    """A page that somebody visits must not read the numbers through their browser."""
    headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"}
    _, named, _ = fetch(f"{up.dashboards}/sql", b"SELECT 1", headers)
    assert "access-control-allow-origin" not in named
