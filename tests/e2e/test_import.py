"""`footfall import`: logs of web servers and own events become right numbers by the time the command returns.

What a log holds is counted by a script of its own, `tests/oracles/access_log.py`; of the small log with every
oddity the counts also stand here, made by hand.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.e2e.harness import AGENT, COMMAND_PATIENCE, PATIENCE, ROOT, SITE, command, environment, footfall, until
from tests.e2e.proof import in_log
from tests.require import require

pytestmark = pytest.mark.slow

ODDITIES = ROOT / "tests" / "data" / "oddities.log"
BY_HAND = {
    "lines": 49,
    "accepted": 32,
    "bots": 5,
    "refused": 12,
    "not_understood": 5,
    "searches": 3,
    "reasons": {"asset": 3, "status": 4, "method": 4, "empty": 1},
}
STORED_BY_HAND = {"pageviews": 27, "searches": 2, "bots": 5, "visitors": 14, "visits": 15}


def importing(data: Path, *arguments: str | Path, site: str = SITE, **options: Any) -> dict[str, Any]:
    """The summary of one import that must succeed."""
    done = footfall("import", *map(str, arguments), "--site", site, "--data", str(data), "--json", **options)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def asked(data: Path, statement: str) -> list[dict[str, Any]]:
    """`footfall sql`, which finds the running owner or is one."""
    done = footfall("sql", statement, "--json", "--data", str(data))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def stored(data: Path, site: str = SITE) -> dict[str, int]:
    """What an import came to, of a site, in one question."""
    (numbers,) = asked(
        data,
        f"""SELECT
            countIf(type = 'pageview' AND bot = '') AS pageviews,
            countIf(type = 'search' AND bot = '') AS searches,
            countIf(type = 'pageview' AND bot != '') AS bots,
            (SELECT uniqExact(visitor) FROM sessions WHERE site = '{site}') AS visitors,
            (SELECT count() FROM sessions WHERE site = '{site}') AS visits
        FROM events WHERE site = '{site}'""",
    )
    return {name: int(number) for name, number in numbers.items()}


def counted(log: Path) -> dict[str, Any]:
    """What the independent script counts."""
    script = [sys.executable, str(ROOT / "tests" / "oracles" / "access_log.py"), str(log)]
    done = subprocess.run(script, capture_output=True, text=True, check=True, env=environment({"PYTHONPATH": ""}))
    return dict(json.loads(done.stdout))


def with_site(data: Path, *more: str) -> Path:
    for domain in (SITE, *more):
        assert footfall("site", "add", domain, "--data", str(data)).returncode == 0
    return data


def combined(ip: str, at: datetime, target: str, agent: str = AGENT) -> str:
    return f'{ip} - - [{at:%d/%b/%Y:%H:%M:%S +0000}] "GET {target} HTTP/1.1" 200 512 "-" "{agent}"'


def summary(report: dict[str, Any], names: Sequence[str] = tuple(BY_HAND)) -> dict[str, Any]:
    return {name: report[name] for name in names}


@pytest.mark.parametrize("running", [True, False], ids=["beside up", "without up"])
def test_a_log_with_every_oddity_is_counted_as_by_hand_and_again_adds_nothing(
    start: Start, tmp_path: Path, running: bool
) -> None:
    data = tmp_path / "data"
    up = start("--site", SITE).wait_ready() if running else None
    if up is None:
        with_site(data)
    report = importing(data, ODDITIES)
    assert summary(report) == BY_HAND
    assert report["duplicates"] == 0
    # Right when the command returns: nothing is awaited here.
    assert stored(data) == STORED_BY_HAND
    if up is not None:
        page = up.stats(first="2024-03-05", last="2024-03-06")
        told = {"visitors": 14, "visits": 15, "pageviews": 27, "searches": 2}
        assert {name: page[name] for name in told} == told
    visits = asked(
        data,
        "SELECT toString(started_at) AS at, pageviews, entry_page, exit_page FROM sessions ORDER BY started_at",
    )
    assert [(v["at"][:19], int(v["pageviews"]), v["entry_page"], v["exit_page"]) for v in visits[:3]] == [
        ("2024-03-05 10:00:00", 2, "/", "/pricing"),  # 30:00 later is the same visit
        ("2024-03-05 11:00:01", 5, "/about", "/about"),  # 30:01 later is not
        ("2024-03-05 12:00:00", 4, "/a", "/find"),  # the log had /b before /a and /find before /c
    ]
    assert ("2024-03-05 22:30:00", 2) in [(v["at"][:19], int(v["pageviews"])) for v in visits]  # +02:00 and UTC
    letters = asked(data, "SELECT reason, bytes FROM dead_letters")
    assert len(letters) == 5
    assert not [letter for letter in letters if "192.0.2." in letter["bytes"]]
    assert any("[99/Mar/2024:15:02:00 +0000]" in letter["bytes"] for letter in letters)
    again = importing(data, ODDITIES)
    assert (again["accepted"], again["duplicates"]) == (0, 32)
    assert stored(data) == STORED_BY_HAND
    assert int(asked(data, "SELECT count() AS n FROM dead_letters")[0]["n"]) == 5


def test_the_script_counts_the_oddities_as_by_hand() -> None:
    found = counted(ODDITIES)
    assert {**summary(found, ("lines", "accepted", "bots", "refused", "not_understood", "reasons"))} == {
        name: value for name, value in BY_HAND.items() if name != "searches"
    }
    assert (found["pageviews"], found["searches"], found["visitors"], found["visits"]) == (27, 2, 14, 15)


def test_gzip_stdin_json_lines_and_own_events(start: Start, tmp_path: Path) -> None:
    data = tmp_path / "data"
    start("--site", SITE, "--site", "nginx.example", "--site", "own.example").wait_ready()
    packed = tmp_path / "log.gz"
    packed.write_bytes(gzip.compress(ODDITIES.read_bytes()))
    assert summary(importing(data, packed)) == BY_HAND
    with ODDITIES.open("rb") as piped:
        through = importing(data, "-", stdin=piped)
    assert (through["lines"], through["accepted"], through["duplicates"]) == (49, 0, 32)
    assert stored(data) == STORED_BY_HAND

    begin = datetime(2023, 7, 1, 12, tzinfo=UTC)

    def nginx(minutes: int, **fields: str) -> str:
        at = (begin + timedelta(minutes=minutes)).isoformat()
        usual = {"time_iso8601": at, "remote_addr": "203.0.113.9", "status": "200", "http_user_agent": AGENT}
        return json.dumps(usual | {"http_referer": "-"} | fields)

    lines = tmp_path / "nginx.jsonl"
    lines.write_text(
        "\n".join(
            [
                nginx(0, request="GET /j HTTP/1.1", http_referer="https://duckduckgo.com/"),
                nginx(30, request_method="GET", request_uri="/j/two?q=lamp"),
                nginx(31, request="GET /j.css HTTP/1.1"),
                nginx(32, request="GET /bot HTTP/1.1", http_user_agent="Googlebot/2.1"),
                nginx(61, request="GET /j/three HTTP/1.1"),
                '{"remote_addr": "203.0.113.9"}',
                '{"remote_addr": ',
            ]
        )
    )
    report = importing(data, lines, site="nginx.example")
    assert (report["lines"], report["accepted"], report["bots"], report["refused"], report["not_understood"]) == (
        7, 4, 1, 1, 2,
    )  # fmt: skip
    assert stored(data, "nginx.example") == {"pageviews": 3, "searches": 1, "bots": 1, "visitors": 1, "visits": 2}
    visits = asked(data, "SELECT source FROM sessions WHERE site = 'nginx.example' ORDER BY started_at")
    assert [visit["source"] for visit in visits] == ["duckduckgo.com", ""]

    def own(visitor: str, minutes: int, **more: Any) -> dict[str, Any]:
        ts = int((begin + timedelta(minutes=minutes)).timestamp() * 1000)
        return {"type": "pageview", "url": "https://own.example/", "visitor": visitor, "ts": ts} | more

    without_time = own("ann", 5)
    del without_time["ts"]
    events = [
        own("ann", 0),
        own("ann", 29, url="https://own.example/x?q=tea"),
        own("ann", 60, type="custom", name="signup", props={"plan": "a"}, interactive=True),
        own("bob", 0, ts="2019-01-01T00:00:00Z"),
        without_time,
        own("", 3),
    ]
    backfill = tmp_path / "events.jsonl"
    backfill.write_text("".join(json.dumps(event) + "\n" for event in events))
    own_site = ("--site", "own.example", "--data", str(data))
    command_line = ["import", str(backfill), "--format", "events", "--json", *own_site]
    done = footfall(*command_line)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["lines"], report["accepted"], report["refused"]) == (6, 4, 2)
    assert "line 5: `ts` is missing" in done.stderr
    assert stored(data, "own.example") == {"pageviews": 3, "searches": 1, "bots": 0, "visitors": 2, "visits": 3}
    assert json.loads(footfall(*command_line).stdout)["duplicates"] == 4
    assert stored(data, "own.example") == {"pageviews": 3, "searches": 1, "bots": 0, "visitors": 2, "visits": 3}


def test_the_live_watermark_is_neither_moved_nor_waited_for(start: Start, tmp_path: Path) -> None:
    up = start("--site", SITE, "--site", "past.example").wait_ready()
    up.collect(url=f"https://{SITE}/before")
    until(lambda: up.stats()["visits"] == 1, "the live visit is in the numbers")
    now = datetime.now(UTC)
    log = tmp_path / "times.log"
    # Ten years ago, this week, and a day ahead (a server with a wrong clock): an hour of one visitor each.
    begins = [now - timedelta(days=3650), now - timedelta(days=3), now + timedelta(days=1)]
    log.write_text(
        "".join(
            combined(f"198.51.100.{n}", begin + timedelta(minutes=20 * step), f"/{step}") + "\n"
            for n, begin in enumerate(begins)
            for step in range(4)
        )
    )
    assert importing(up.data, log, site="past.example")["accepted"] == 12
    assert stored(up.data, "past.example") == {"pageviews": 12, "searches": 0, "bots": 0, "visitors": 3, "visits": 3}
    # Had the import moved the watermark a day ahead, this would be late, and in no visit until a rebuild.
    up.collect(url=f"https://{SITE}/after")
    until(lambda: up.stats()["pageviews"] == 2, "the next live event is in the numbers")
    assert up.stats()["visits"] == 1
    (visit,) = up.sql(f"SELECT pageviews, exit_page FROM sessions WHERE site = '{SITE}'")
    assert (int(visit["pageviews"]), visit["exit_page"]) == (2, "/after")
    metrics = dict(line.rsplit(" ", 1) for line in up.get("/metrics")[1].decode().splitlines() if line[0] != "#")
    assert float(metrics["footfall_watermark_age_seconds"]) >= 0
    assert all(report["equal"] for report in replayed(up.data))


def replayed(data: Path) -> list[dict[str, Any]]:
    done = footfall("replay", "--from", "2000-01-01", "--to", "2099-01-01", "--dry-run", "--json", "--data", str(data))
    assert done.returncode == 0, done.stderr + done.stdout
    return [json.loads(line) for line in done.stdout.splitlines()]


def big_log(path: Path, lines: int) -> Path:
    """Visits of three page views ten minutes apart, written interleaved, every fourth with a search."""
    begin = datetime(2022, 5, 1, tzinfo=UTC)
    with path.open("w") as out:
        for n in range(lines):
            visitor, step = n // 3 % 2_000, n // 6_000 * 3 + n % 3
            at = begin + timedelta(seconds=visitor, minutes=10 * (n % 3), hours=n // 6_000)
            query = f"?q=term{n % 7}" if n % 4 == 0 else ""
            out.write(combined(f"10.0.{visitor // 250}.{visitor % 250}", at, f"/page/{step}{query}") + "\n")
    return path


def test_killed_in_its_middle_and_run_again_it_is_exact(tmp_path: Path) -> None:
    """Beside a running `up`: `tests/infra/test_import.py`."""
    data = tmp_path / "data"
    log = big_log(tmp_path / "big.log", 60_000)
    with_site(data)
    expected = counted(log)
    line = [*command(), "import", "-", "--site", SITE, "--data", str(data)]
    with subprocess.Popen(
        line, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        # Most of the log and an open pipe: it waits in its middle for more, with one batch published.
        process.stdin.write(log.read_bytes()[: log.stat().st_size * 3 // 4])
        process.stdin.flush()
        until(lambda: in_log(data / "log.db", "footfall.pageview") >= 10_000, "some of it is published", 120)
        process.kill()
    assert process.returncode == -9
    report = importing(data, log)
    assert (report["lines"], report["accepted"] + report["duplicates"]) == (60_000, 60_000)
    assert report["duplicates"] >= 10_000
    assert report["accepted"] >= 15_000
    numbers = {name: expected[name] for name in ("pageviews", "searches", "visitors", "visits")}
    assert numbers["pageviews"] == 60_000
    assert stored(data) == numbers | {"bots": 0}
    assert importing(data, log)["accepted"] == 0
    assert stored(data) == numbers | {"bots": 0}
    assert all(report["equal"] for report in replayed(data))


def interrupted(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)


def bereft(process: subprocess.Popen[str]) -> None:
    """Kill the process that reads its lines, which is told by what it was started with."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (reading,) = (pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(int(reading), signal.SIGKILL)


@pytest.mark.parametrize(
    ("deed", "status", "told"),
    [
        (interrupted, 130, "interrupted: nothing is lost"),
        pytest.param(
            bereft, 1, "was ended; run the import again",
            marks=pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are listed on Linux"),
        ),
    ],
)  # fmt: skip
def test_it_ends_while_its_pipe_is_quiet(
    tmp_path: Path, deed: Callable[[subprocess.Popen[str]], None], status: int, told: str
) -> None:
    data = with_site(tmp_path / "data")
    log = big_log(tmp_path / "big.log", 48_000)
    line = [*command(), "import", "-", "--site", SITE, "--data", str(data)]
    said = tmp_path / "said"
    with (
        said.open("w") as stderr,
        subprocess.Popen(
            line, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=stderr, text=True
        ) as process,
    ):
        try:
            assert process.stdin is not None
            process.stdin.write(log.read_text())
            process.stdin.flush()  # and not closed: there may be more
            until(lambda: in_log(data / "log.db", "footfall.pageview") >= 10_000, "some of it is published", PATIENCE)
            deed(process)
            assert process.wait(COMMAND_PATIENCE) == status
        finally:
            process.kill()
    words = said.read_text()
    assert told in words
    assert not [fault for fault in ("Traceback", "Fatal") if fault in words], words
    report = importing(data, log)
    assert report["duplicates"] >= 10_000
    assert report["accepted"] + report["duplicates"] == 48_000
    assert stored(data)["pageviews"] == 48_000


def test_a_real_log_gives_what_an_independent_script_counts(start: Start, tmp_path: Path) -> None:
    log = os.environ.get("FOOTFALL_TEST_ACCESS_LOG", "")
    require("a real access log", Path(log).is_file(), "let FOOTFALL_TEST_ACCESS_LOG name one (combined format)")
    copied = Path(shutil.copy(log, tmp_path / "access.log"))
    expected = counted(copied)
    up = start("--site", SITE).wait_ready()
    report = importing(up.data, copied)
    names = ("lines", "accepted", "bots", "refused", "not_understood", "reasons")
    assert summary(report, names) == summary(expected, names)
    assert report["searches"] == expected["with_search"]
    numbers = {name: expected[name] for name in ("pageviews", "searches", "visitors", "visits")}
    assert stored(up.data) == numbers | {"bots": expected["bots"]}
    first, last = (f"{datetime.fromtimestamp(expected[name], UTC):%Y-%m-%d}" for name in ("first", "last"))
    page = up.stats(first=first, last=last)
    assert {name: page[name] for name in numbers} == numbers
    again = importing(up.data, copied)
    assert (again["accepted"], again["duplicates"]) == (0, expected["accepted"])
    assert stored(up.data) == numbers | {"bots": expected["bots"]}
    reports = replayed(up.data)
    assert sum(report["sessions"] for report in reports) == numbers["visits"]
    assert all(report["equal"] for report in reports)
