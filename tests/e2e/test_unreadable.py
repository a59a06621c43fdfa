"""A log or a sites file that cannot be read: its name and what to do, no traceback, and nobody starts on half of it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from brokers.sqlite.storage import SCHEMA
from tests.e2e.conftest import Start
from tests.e2e.harness import SITE, footfall, until

pytestmark = pytest.mark.slow

SITES = f'[[site]]\ndomain = "{SITE}"\nkey = "a-key-of-this-test-alone"\n'


def directory(path: Path) -> None:
    path.mkdir()


def garbage(path: Path) -> None:
    path.write_bytes(b"no database and no TOML \xff\xfe" * 500)


def no_toml(path: Path) -> None:
    path.write_text("[[site]\n")


def foreign(path: Path) -> None:
    """Another program's database."""
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE topics (name)")
    db.close()


def overwritten(path: Path) -> None:
    """A log whose first page is in order and whose others are not."""
    db = sqlite3.connect(path)
    db.executescript(SCHEMA)
    db.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))


LOG_USERS = {
    "up": ("up", "--port", "0", "--dashboards-port", "0"),
    "ingest": ("ingest", "--port", "0"),
    "load": ("load",),
    "import": ("import", "access.log", "--site", SITE),
    "replay": ("replay", "--from", "2024-01-01", "--to", "2024-01-02"),
    "topics": ("topics", "list"),
    "broker check": ("broker", "check"),
}
SITES_USERS = {
    "up": ("up", "--port", "0", "--dashboards-port", "0"),
    "ingest": ("ingest", "--port", "0"),
    "site list": ("site", "list"),
    "site add": ("site", "add", "other.example"),
    "site check": ("site", "check"),
    "import": ("import", "access.log", "--site", SITE),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    line = '203.0.113.1 - - [05/Mar/2024:10:00:00 +0000] "GET / HTTP/1.1" 200 1 "-" "x"\n'
    (tmp_path / "access.log").write_text(line)
    made = tmp_path / "data"
    made.mkdir(mode=0o700)
    return made


def refused(data: Path, command: tuple[str, ...]) -> str:
    done = footfall(*command, "--data", str(data), cwd=data.parent)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize(
    ("command", "fault"),
    [*((command, overwritten) for command in LOG_USERS), *(("topics", bad) for bad in (directory, garbage, foreign))],
)
def test_the_log(data: Path, command: str, fault: Callable[[Path], None]) -> None:
    (data / "sites.toml").write_text(SITES)
    fault(data / "log.db")
    said = refused(data, LOG_USERS[command])
    assert str(data / "log.db") in said
    assert "name a file that can be written" in said or ".recover" in said


@pytest.mark.parametrize(
    ("command", "fault"),
    [*((command, garbage) for command in SITES_USERS), *(("site list", fault) for fault in (directory, no_toml))],
)
def test_the_sites(data: Path, command: str, fault: Callable[[Path], None]) -> None:
    fault(data / "sites.toml")
    assert str(data / "sites.toml") in refused(data, SITES_USERS[command])


def test_a_running_server_keeps_the_sites_it_knows_and_says_so(start: Start) -> None:
    up = start("--site", SITE).wait_ready()
    sites = up.data / "sites.toml"
    before = sites.with_name("before.toml")
    sites.rename(before)
    for fault, said in (
        (None, "No such file"), (directory, "Is a directory"), (garbage, "not UTF-8"), (no_toml, "not TOML")
    ):  # fmt: skip
        if fault:
            fault(sites)
        line = re.compile(rf"The sites known before stay in force: {re.escape(str(sites))}.*{said}")
        until(lambda line=line: up.collect()["accepted"] and line.search(up.said()), f"it says {said}")
        sites.rmdir() if sites.is_dir() else sites.unlink(missing_ok=True)
    before.rename(sites)
    assert footfall("site", "add", "other.example", "--data", str(up.data)).returncode == 0
    other = {"site": "other.example", "type": "pageview", "url": "https://other.example/"}
    until(lambda: up.post(other)[0] == 202, "a site that was added later is known")
    assert "Traceback" not in up.said()
