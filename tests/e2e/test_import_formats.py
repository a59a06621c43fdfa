"""`footfall import` of what servers, balancers and CDNs write: found by itself, shown before, and right on the page."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from tests.e2e.harness import Up, footfall, running
from tests.ingest.logs.test_known_formats import AGENT, KNOWN

pytestmark = pytest.mark.slow

PAGE = {"visits": 1, "visitors": 1, "pageviews": 1, "searches": 1}
NAMES = ["iis", "cloudfront", "alb", "s3", "haproxy", "caddy", "traefik", "bunny", "ltsv"]
SITES = {name: f"{name}.example" for name in NAMES}
OWN, PACKED, DRY, LAID_OUT = "own.example", "packed.example", "dry.example", "laid.example"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    sites = [word for site in (*SITES.values(), OWN, PACKED, DRY, LAID_OUT) for word in ("--site", site)]
    with running(tmp_path_factory.mktemp("formats") / "data", *sites) as started:
        yield started


def importing(up: Up, site: str, *arguments: str | Path) -> tuple[int, list[dict[str, object]], str]:
    done = footfall("import", *map(str, arguments), "--site", site, "--data", str(up.data), "--json")
    assert "Traceback" not in done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def counted(up: Up, site: str) -> dict[str, int]:
    answer = json.loads(up.get(f"/api/v1/stats?site={site}&from=2025-06-01&to=2025-06-01")[1])
    return {name: answer[name] for name in PAGE}


def test_formats_are_found_and_their_visits_stand_on_the_page(up: Up, tmp_path: Path) -> None:
    for name, site in SITES.items():
        log = tmp_path / f"{name}.log"
        log.write_text(KNOWN[name][1] + "\n", encoding="utf-8")
        status, (report,), told = importing(up, site, log)
        assert (status, report["accepted"], report["not_understood"]) == (0, 1, 0), told
        assert f"{log}: {KNOWN[name][0]}" in told
        assert counted(up, site) == PAGE, name
    _, (again,), _ = importing(up, SITES["iis"], tmp_path / "iis.log")
    assert (again["accepted"], again["duplicates"]) == (0, 1)


def test_the_servers_own_format_string(up: Up, tmp_path: Path) -> None:
    log = tmp_path / "own.log"
    log.write_text(f"1748779200.000|10.0.0.1|192.0.2.7, 10.0.0.9|GET /find?q=x HTTP/1.1|200|{AGENT}\nhello\n")
    own = "$msec|$remote_addr|$http_x_forwarded_for|$request|$status|$http_user_agent"
    status, (report,), told = importing(up, OWN, log, "--log-format", own)
    assert (status, report["accepted"], report["not_understood"]) == (0, 1, 1)
    assert "line 2: 'hello' ($msec has no end: no '|' follows)" in told
    assert counted(up, OWN) == PAGE
    (letter,) = up.sql(f"SELECT sender FROM dead_letters WHERE site = '{OWN}'")
    assert json.loads(letter["sender"])["shape"] == f"layout {own}"
    for wrong, why in (("$remote_addr $status", "no time"), ("%t %h%r %s", "nothing separates %h")):
        status, _, told = importing(up, OWN, log, "--log-format", wrong)
        assert (status, why in told) == (2, True), told
    assert importing(up, OWN, log, "--log-format", own, "--format", "common")[0] == 2


def test_rotated_files_packed_in_all_ways_are_one_log(up: Up, tmp_path: Path) -> None:
    def line(minute: int) -> bytes:
        text = f'192.0.2.7 - - [01/Jun/2025:12:{minute:02}:00 +0000] "GET /?q=x HTTP/1.1" 200 1 "-" "{AGENT}"\n'
        return text.encode()

    (tmp_path / "access.log").write_bytes(line(30))
    (tmp_path / "access.log.1").write_bytes(line(20))
    (tmp_path / "access.log.2.bz2").write_bytes(bz2.compress(line(10)))
    (tmp_path / "access.log.3.xz").write_bytes(lzma.compress(line(5)))
    (tmp_path / "access.log.4.zst").write_bytes(zstandard.ZstdCompressor().compress(line(0)))
    with zipfile.ZipFile(tmp_path / "access.log.zip", "w") as archive:
        archive.writestr("old/access.log.5", line(1))
    with tarfile.open(tmp_path / "access.log.tgz", "w:gz") as tar:
        entry = tarfile.TarInfo("old/access.log.6")
        entry.size = len(line(2))
        tar.addfile(entry, io.BytesIO(line(2)))
    status, (report,), told = importing(up, PACKED, tmp_path / "access.log*")
    assert (status, report["accepted"]) == (0, 7), told
    assert [told.index(f"access.log{end}: combined") for end in (".4.zst", ".3.xz", ".2.bz2", ".1")] == sorted(
        told.index(f"access.log{end}: combined") for end in (".4.zst", ".3.xz", ".2.bz2", ".1")
    )
    assert counted(up, PACKED) == {"visits": 1, "visitors": 1, "pageviews": 7, "searches": 7}


def test_objects_over_lines_and_tables_are_read(up: Up, tmp_path: Path) -> None:
    log, table = tmp_path / "search.json", tmp_path / "export.csv"
    log.write_text(json.dumps({"hits": {"hits": [{"_source": json.loads(KNOWN["caddy"][1])}]}}, indent=2))
    table.write_text(
        "Timestamp;Client IP;Method;URL;Status;User Agent\n"
        f'2025-06-01T12:05:00Z;192.0.2.7;GET;https://www.example.com/a?q=x;200;"{AGENT}"\n'
    )
    status, (report,), told = importing(up, LAID_OUT, log, table)
    assert (status, report["accepted"], report["not_understood"]) == (0, 2, 0), told
    assert counted(up, LAID_OUT) == {"visits": 1, "visitors": 1, "pageviews": 2, "searches": 2}


def test_a_dry_run_shows_what_would_be_read_and_takes_nothing(up: Up, tmp_path: Path) -> None:
    log, other = tmp_path / "web.log", tmp_path / "other.log"
    log.write_text(KNOWN["elb"][1] + "\n" + KNOWN["elb"][1].replace(" 200 200 ", " x x ") + "\n")
    other.write_text('{"level":"info","msg":"started"}\n')
    status, (shown,), told = importing(up, DRY, log, "--dry-run")
    assert (status, shown["format"], shown["accepted"], shown["not_understood"]) == (0, "elb", 1, 1), told
    (event,) = shown["events"]  # type: ignore[misc]
    assert (event["url"], event["browser"]) == ("https://www.example.com/a?q=x", "Firefox")
    (problem,) = shown["problems"]  # type: ignore[misc]
    assert problem.endswith("(no field holds a status: status is 'x')")
    done = footfall("import", str(log), "--site", DRY, "--data", str(up.data), "--dry-run")
    assert "2025-06-01 12:00:00Z  https://www.example.com/a?q=x  Firefox" in done.stdout
    assert "1 would be accepted" in done.stdout
    status, _, told = importing(up, DRY, other, "--dry-run")
    assert (status, "the nearest is json: no field has a name that is known for the time" in told) == (1, True)
    (stored,) = up.sql(f"SELECT (SELECT count() FROM events WHERE site = '{DRY}') AS events, count() AS letters "
                       f"FROM dead_letters WHERE site = '{DRY}'")  # fmt: skip
    assert (int(stored["events"]), int(stored["letters"])) == (0, 0)
