"""A flipped byte and a truncation of each kind of file in the data folder: noticed, named, and mended where it can be.

All tests damage a copy of one small folder, whose `up` was killed. A damage leaves the file's time as it was, as a disk
that forgets does. Where the other kinds of damage are tested:

    checkpoint and its segments              `tests/pipeline/test_recover.py`, `test_losses.py`
    parts of events, sessions, rollups       `tests/pipeline/test_recover.py`, `test_losses.py`
    spool                                    `tests/ingest/test_spool.py`
    a log or sites that are no such files    `test_unreadable.py`

A sites file that is cut between two entries is a good one with fewer sites, and nobody can tell.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import ALWAYS, SITE, Up, footfall, secret_key, until
from tests.e2e.proof import ALL, flushed
from tests.e2e.test_losses import EVENTS, filled, table

pytestmark = pytest.mark.slow

Damage = Callable[[Path], None]
FILTER = '[["is","page",["/1"]]]'
PASSWORD = "a-password-of-this-test"


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x55
    _overwrite(file, bytes(content))


def cut(file: Path) -> None:
    _overwrite(file, file.read_bytes()[: file.stat().st_size * 2 // 3])


def _overwrite(file: Path, content: bytes) -> None:
    at = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(at.st_atime_ns, at.st_mtime_ns))


DAMAGE: dict[str, Damage] = {"flipped": flip, "cut": cut}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Four days of one site: in the log, the warehouse, the day tables, the archive; with a user."""
    data = tmp_path_factory.mktemp("corruption") / "data"
    up = Up(data, "--site", SITE)
    try:
        up.wait_ready()
        filled(up)
        flushed(data)
        assert up.stop() == 0
        up = Up(data).wait_ready()  # days are built at once that have not changed since the start
        built = "SELECT count() AS days FROM day_builds FINAL WHERE valid"
        until(lambda: up.sql(built)[0]["days"] >= 2, "days are built")
        until(lambda: b"\nfootfall_days_to_build 0.0" in up.get("/metrics")[1], "no day is left to build")
        assert up.stop() == 0
        up = Up(data).wait_ready()  # what was built is in the checkpoint
        until(lambda: b"day_builds" in checkpoint(data) and up.get("/ready")[0] == 200, "the checkpoint knows")
        up.kill()
        log = sqlite3.connect(data / "log.db")  # folds the write-ahead log back
        log.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        log.close()
    finally:
        up.end()
    yield data


def checkpoint(data: Path) -> bytes:
    return (data / "checkpoint" / "unit-0").read_bytes()


@pytest.fixture
def data(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "data", symlinks=True)


@pytest.fixture
def begin(data: Path) -> Iterator[Callable[[], Up]]:
    started: list[Up] = []

    def start() -> Up:
        started.append(Up(data).wait_ready())
        return started[-1]

    yield start
    for up in started:
        up.end()


def parts(data: Path, name: str) -> list[Path]:
    """The parts of a table that count: those that a merge has replaced lie beside them for a while."""
    found = {}
    for path in table(data, name).iterdir():
        if named := re.fullmatch(r"(\d+|all)_(\d+)_(\d+)_(\d+)(?:_\d+)?", path.name):
            found[path] = (named[1], *map(int, named.groups()[1:]))
    return [
        path
        for path, (partition, first, last, level) in found.items()
        if not any(p == partition and f <= first and last <= t and up > level for p, f, t, up in found.values())
    ]


def noted(data: Path, name: str) -> list[Path]:
    """Those of them with blocks that the checkpoint lists: the loss of one that came after it is nothing to anybody."""
    listed = json.loads(checkpoint(data).split(b"\n", 2)[2])["parts"]
    blocks = [(partition, first, last) for table, partition, first, last, *_ in listed if table == name]

    def covers(path: Path) -> bool:
        partition, low, high = path.name.split("_")[:3]
        return any(partition == of and int(low) <= first and last <= int(high) for of, first, last in blocks)

    return [path for path in parts(data, name) if covers(path)]


def rows(of: list[Path]) -> Path:
    """The largest file of values in these parts."""
    return max((file for part in of for file in part.glob("*.bin")), key=lambda file: file.stat().st_size)


def numbers(up: Up) -> tuple[Any, ...]:
    """The events of all time, those of some visits, and those of each day; empty when it does not answer."""
    with suppress(AssertionError, OSError):
        first = (datetime.now(UTC) - timedelta(days=6)).date().isoformat()
        by_day = up.api("timeseries", metric="events", interval="day", first=first)["rows"]
        return (
            up.stats(SITE, **ALWAYS)["events"],
            up.api("stats", filters=FILTER, **ALWAYS)["events"],
            [(row["time"], row["value"]) for row in by_day if row["value"]],
        )
    return ()


@pytest.fixture(scope="module")
def right(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    """The numbers of the whole folder."""
    data = shutil.copytree(whole, tmp_path_factory.mktemp("right") / "data", symlinks=True)
    up = Up(data)
    try:
        up.wait_ready()
        return until(lambda: numbers(up), "it answers")  # type: ignore[no-any-return]
    finally:
        up.end()


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", ["day_values", "day_visits", "day_builds", "day_sites", "day_horizons"])
def test_day_tables(data: Path, begin: Callable[[], Up], right: tuple[Any, ...], name: str, how: str) -> None:
    for path in set(table(data, name).glob("*_*_*_*")) - set(parts(data, name)):
        shutil.rmtree(path)  # of the parts that were merged into it, the engine would make the part again
    DAMAGE[how](rows(noted(data, name)))
    up = begin()
    said = re.compile(rf"part of {name} is broken and set aside|day tables have lost rows of [^\n]*{name}")
    until(lambda: numbers(up) == right and said.search(up.said()), f"{name} is said and the numbers are right")
    assert right[0] == EVENTS
    assert "Traceback" not in up.said()


@pytest.mark.parametrize("how", DAMAGE)
def test_the_list_of_migrations(data: Path, begin: Callable[[], Up], right: tuple[Any, ...], how: str) -> None:
    DAMAGE[how](rows(parts(data, "schema_migrations")))
    up = begin()
    until(lambda: numbers(up) == right, "the numbers are right")
    assert ("Which migrations were applied cannot be read" in up.said()) == (how == "flipped")


def flip_in_a_record(log: Path) -> None:
    """Where SQLite notices nothing: one letter of an address."""
    content = bytearray(log.read_bytes())
    content[content.index(b'"path":"/1"') + 9] ^= 1
    _overwrite(log, bytes(content))


def test_a_letter_of_a_record_in_the_log(data: Path) -> None:
    flip_in_a_record(data / "log.db")
    done = footfall("replay", *ALL, "--data", str(data))
    assert done.returncode == 1
    assert str(data / "log.db") in done.stderr
    assert re.search(r"footfall\.pageview\S* *[^\n]*records up to offset \d+, published together at \d{4}-\d\d-\d\d "
                     r"\d\d:\d\d:\d\d UTC, are broken", done.stderr), done.stderr  # fmt: skip
    assert "replay --source archive" in done.stderr
    done = footfall("replay", *ALL, "--source", "archive", "--data", str(data))
    assert done.returncode == 0, done.stderr


def test_a_log_that_is_cut(data: Path) -> None:
    cut(data / "log.db")
    done = footfall("up", "--data", str(data), "--port", "0", "--dashboards-port", "0")
    assert done.returncode == 1
    assert str(data / "log.db") in done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize("how", DAMAGE)
def test_accounts(data: Path, how: str) -> None:
    password = data.parent / "password"
    password.write_text(PASSWORD + "\n")
    line = ("ann@example.com", "--role", "owner", "--password-file", str(password), "--data", str(data))
    assert footfall("user", "add", *line).returncode == 0
    file = data / "accounts.db"
    if how == "cut":
        cut(file)
    else:
        _overwrite(file, b"\x00" + file.read_bytes()[1:])
    done = footfall("user", "list", "--data", str(data))
    assert done.returncode == 1
    assert str(file) in done.stderr
    assert "put a copy of it back" in done.stderr


ARCHIVE = {
    "index": "_manifest/head.json",
    "list of a day": "_manifest/20*.json",
    "file": "site=*/**/*.parquet",
}


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("what", ARCHIVE)
def test_the_archive(data: Path, what: str, how: str) -> None:
    damaged = max((data / "archive").glob(ARCHIVE[what]), key=lambda file: file.stat().st_size)
    DAMAGE[how](damaged)
    check = ("archive", "check", "--data", str(data))
    done = footfall(*check)
    assert done.returncode == 1, done.stdout + done.stderr
    assert str(damaged) in done.stdout
    replayed = ("replay", *ALL, "--source", "archive", "--dry-run", "--data", str(data))
    done = footfall(*replayed)
    assert done.returncode == 1
    assert "archive check --mend" in done.stderr
    done = footfall(*check, "--mend")
    assert (done.returncode, done.stdout.count("mended: ")) == (0, 1), done.stdout + done.stderr
    assert footfall(*check).returncode == 0
    assert footfall(*replayed).returncode == 0


def test_a_file_of_the_archive_whose_events_the_log_no_longer_has_is_named_with_its_hour(data: Path) -> None:
    damaged = max((data / "archive").glob(ARCHIVE["file"]), key=lambda file: file.stat().st_size)
    flip(damaged)
    log = sqlite3.connect(data / "log.db")
    log.execute("DELETE FROM batches")
    log.execute("UPDATE logs SET first = next")
    log.commit()
    log.close()
    before = damaged.read_bytes()
    done = footfall("archive", "check", "--mend", "--data", str(data))
    assert done.returncode == 1, done.stdout + done.stderr
    date, hour = re.findall(r"date=(\S+)/hour=(\d\d)/", str(damaged))[0]
    assert f"{damaged}: its checksum is not that of the manifest" in done.stdout
    assert f", {date} {hour}:00); the log has 0 of these" in done.stdout
    assert damaged.read_bytes() == before


@pytest.mark.parametrize("how", DAMAGE)
def test_a_salt(data: Path, begin: Callable[[], Up], how: str) -> None:
    salt = max((data / "live" / "salts").iterdir())
    DAMAGE[how](salt)
    up = begin()
    until(lambda: up.collect()["accepted"] and f"{salt} is damaged" in up.said(), "the salt is named")
    assert "Traceback" not in up.said()


@pytest.mark.parametrize("how", DAMAGE)
def test_the_key_by_which_visitors_are_named(data: Path, begin: Callable[[], Up], how: str) -> None:
    (key,) = (data / "live" / "keys").iterdir()
    whole = key.read_bytes()
    DAMAGE[how](key)
    up = begin()
    event = {"site": SITE, "type": "pageview", "url": f"https://{SITE}/", "visitor": "v1"}
    bearer = {"Authorization": f"Bearer {secret_key(data)}"}
    status, _, answer = up.post(event, bearer)
    assert (status, str(key) in str(answer)) == (503, True), answer
    assert str(key) in up.said()
    assert "Traceback" not in up.said()
    assert up.collect()["accepted"] == 1
    key.write_bytes(whole)
    assert up.post(event, bearer)[0] == 202


NEW = 200


def sent(up: Up, number: int, name: str) -> None:
    """Events of now, of the visitors that there are, ten a request."""
    key = secret_key(up.data)
    for begin in range(0, number, 10):
        event = {"site": SITE, "type": "pageview", "url": f"https://{SITE}/"}
        up.send([event | {"id": f"{name}{n}", "visitor": f"v{n % 50}"} for n in range(begin, begin + 10)], key)


LOST = re.compile(r"The log has lost its last records[^\n]*footfall\.pageview\[\d\] \d+@\S+ to \d+@")


@pytest.fixture(params=DAMAGE)
def shortened(request: pytest.FixtureRequest, data: Path, begin: Callable[[], Up]) -> Up:
    """A start over a write-ahead log that was damaged: SQLite takes what comes behind the damage for unwritten."""
    up = begin()
    sent(up, NEW, "a")
    up.shows({"events": EVENTS + NEW})
    up.kill()
    DAMAGE[request.param](data / "log.db-wal")
    return begin()


def test_what_comes_after_a_write_ahead_log_was_damaged_counts(shortened: Up) -> None:
    assert LOST.search(shortened.said())
    sent(shortened, 3 * NEW, "b")
    shortened.shows({"events": EVENTS + 4 * NEW})
    until(lambda: shortened.get("/ready")[0] == 200, "everything runs")
    flushed(shortened.data)
    assert shortened.stop() == 0
    done = footfall("audit", "--json", "--data", str(shortened.data))
    assert done.returncode == 1  # the hour in which they came is named
    assert '"where":"log"' in done.stdout.replace(" ", "")
    assert "Traceback" not in shortened.said() + done.stderr


def test_a_log_that_is_gone_goes_on_where_it_was(data: Path, begin: Callable[[], Up]) -> None:
    log = sqlite3.connect(data / "log.db")
    partitions = dict(log.execute("SELECT name, partitions FROM topics"))
    log.close()
    for file in data.glob("log.db*"):
        file.unlink()
    up = begin()
    assert LOST.search(up.said())
    sent(up, NEW, "c")
    up.shows({"events": EVENTS + NEW})
    until(lambda: up.get("/ready")[0] == 200, "everything runs")
    flushed(data)
    assert up.stop() == 0
    log = sqlite3.connect(data / "log.db")
    assert dict(log.execute("SELECT name, partitions FROM topics")) == partitions
    log.close()
    done = footfall("replay", *ALL, "--source", "archive", "--data", str(data))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in up.said() + done.stderr


def test_an_import_goes_on_behind_an_older_copy_of_the_log(data: Path, begin: Callable[[], Up]) -> None:
    older = data.parent / "older.db"
    shutil.copy(data / "log.db", older)
    up = begin()
    sent(up, NEW, "a")
    up.shows({"events": EVENTS + NEW})
    assert up.stop() == 0
    for file in data.glob("log.db*"):
        file.unlink()
    shutil.copy(older, data / "log.db")
    doctor = footfall("doctor", "--json", "--data", str(data))
    assert "goes on behind" in doctor.stdout
    lines = data.parent / "access.log"
    lines.write_text("".join(
        f'10.0.0.{n} - - [{datetime.now(UTC) - timedelta(minutes=5):%d/%b/%Y:%H:%M:%S} +0000] "GET /{n} HTTP/1.1" 200 9'
        f' "-" "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"\n' for n in range(3 * NEW // 4)
    ))  # fmt: skip
    done = footfall("import", str(lines), "--site", SITE, "--json", "--data", str(data))
    assert done.returncode == 0, done.stderr
    assert LOST.search(done.stderr)
    begin().shows({"events": EVENTS + NEW + 3 * NEW // 4})
