"""`footfall doctor` over an installation that runs, that does not, and that is broken in several ways at once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import brokers
from tests.e2e.harness import SITE, Up, footfall, today, until
from tests.servers import kafka

Start = Callable[..., Up]
ALL = [
    "processes", "sites", "secrets", "disk", "clock", "spool", "broker", "broker clock", "retention", "lag",
    "checkpoint", "schema", "rows", "dead letters", "archive",
]  # fmt: skip


def doctor(data: Path, *arguments: str, status: int | None = 0) -> dict[str, dict[str, str]]:
    """What each check says, the worst first; the exit status is `status`, for who waits None: 0 or 1."""
    nobody = ("--port", "0", "--dashboards-port", "0")  # whatever else runs on this machine at the usual ports
    done = footfall("doctor", "--json", "--data", str(data), *nobody, *arguments)
    assert done.returncode in ((0, 1) if status is None else (status,)), done.stdout + done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert list(dict.fromkeys(line["check"] for line in lines)) == ALL
    assert all(set(line) == {"check", "state", "finding", "remedy"} for line in lines)
    assert all(line["remedy"] for line in lines if line["state"] in ("warning", "wrong")), lines
    worst = {"wrong": 0, "warning": 1, "not asked": 2, "ok": 3}
    told: dict[str, dict[str, str]] = {}
    for line in sorted(lines, key=lambda line: worst[line["state"]]):
        told.setdefault(line["check"], line)
    return told


def states(told: dict[str, dict[str, str]], *but: str) -> dict[str, str]:
    """The checks that are not ok."""
    return {name: line["state"] for name, line in told.items() if line["state"] != "ok" and name not in but}


def loaded(up: Up, count: int) -> None:
    for number in range(count):
        up.collect(url=f"https://{SITE}/{number}")
    until(lambda: up.stats()["pageviews"] == count, "the page views are in the numbers")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def stored_columns(data: Path) -> list[Path]:
    """The files with the columns of the stored events, of a small part one."""
    described = list((data / "warehouse" / "store").rglob("columns.txt"))
    parts = [path.parent for path in described if b"session_hint" in path.read_bytes()]
    found = [path for part in parts for path in part.glob("data.bin")]
    assert found
    return found


def files(data: Path) -> dict[str, bytes]:
    """The files that say something; what the engine itself writes while it is open is not among them."""
    kept = ("archive", "checkpoint", "live", "sites.toml", "log.db")
    there = [path for name in kept for path in ((data / name).rglob("*") if (data / name).is_dir() else [data / name])]
    return {str(path): path.read_bytes() for path in there if path.is_file()}


def test_a_healthy_installation_runs_stops_and_is_left_as_it_is(
    start: Start, record_property: Callable[[str, object], None]
) -> None:
    up = start("--site", SITE).wait_ready()
    loaded(up, 3)
    until(lambda: not states(doctor(up.data, status=None)), "all is well")
    page = footfall("doctor", "--data", str(up.data))
    assert page.returncode == 0
    assert "0 wrong, 0 warning, 0 not asked, 15 ok" in page.stdout
    record_property("said", f"doctor, of what runs and is well: {page.stdout.splitlines()[-1].rpartition(' for ')[2]}")
    assert up.stop() == 0
    before = files(up.data)
    told = doctor(up.data)
    assert states(told) == {"processes": "warning"}
    assert told["rows"]["finding"] == "nothing is lost; 3 rows of events"
    assert files(up.data) == before


def test_what_is_broken_beside_a_running_one_is_named(start: Start) -> None:
    up = start("--site", SITE).wait_ready()
    loaded(up, 3)
    data = up.data
    assert footfall("archive", "flush", "--data", str(data)).returncode == 0
    (archived,) = data.glob("archive/site=*/**/*.parquet")
    flip(archived)
    for salt in (data / "live" / "salts").iterdir():
        salt.unlink()
    (data / "sites.toml").chmod(0o644)
    (data / "spool").mkdir(exist_ok=True)
    (data / "spool" / "1-2-3.spool.damaged").write_bytes(b"lost")
    told = doctor(data, status=1)
    assert states(told) == dict.fromkeys(("secrets", "spool", "archive"), "wrong")
    assert archived.name in told["archive"]["finding"]
    assert "1-2-3.spool.damaged" in told["spool"]["finding"]
    page = footfall("doctor", "--data", str(data)).stdout
    assert f"chmod 600 {data}/sites.toml" in page
    assert "the salt of today is missing" in page or today() != up.since
    assert "damaged" not in doctor(data, "--all", status=1)["rows"]["finding"]
    flip(stored_columns(data)[0])
    assert doctor(data, status=1)["rows"]["state"] == "ok"
    rows = doctor(data, "--all", status=1)["rows"]
    assert (rows["state"], "event_rows" in rows["finding"]) == ("wrong", True)
    (data / "sites.toml").write_text("[[site]\n")
    assert doctor(data, status=1)["sites"]["state"] == "wrong"


def test_what_is_broken_while_nothing_runs_is_named(start: Start) -> None:
    up = start("--site", SITE).wait_ready()
    loaded(up, 3)
    up.kill()
    data = up.data
    (checkpoint,) = data.glob("checkpoint/unit-0")
    flip(checkpoint)
    log = sqlite3.connect(data / "log.db")
    log.execute("DELETE FROM logs WHERE topic = (SELECT id FROM topics WHERE name = 'footfall.session')")
    log.execute("DELETE FROM topics WHERE name = 'footfall.session'")
    log.commit()
    log.close()
    data.chmod(0o755)
    told = doctor(data, status=1)
    assert data.stat().st_mode & 0o777 == 0o755
    assert states(told) == {
        "processes": "warning",
        "secrets": "wrong",
        "broker": "wrong",
        "retention": "not asked",
        "lag": "not asked",
        "checkpoint": "wrong",
    }
    assert told["broker"]["finding"] == "footfall.session is missing"
    assert "topics apply" in told["broker"]["remedy"]
    assert "unit-0" in told["checkpoint"]["finding"]
    assert str(up.process.pid) not in told["processes"]["finding"]
    assert "owner.json is still there" in told["processes"]["finding"]


@pytest.mark.slow
def test_rows_that_were_lost_and_a_log_that_is_gone(start: Start) -> None:
    up = start("--site", SITE).wait_ready()
    loaded(up, 3)
    assert footfall("sql", "SELECT 1", "--data", str(up.data)).returncode == 0
    assert up.stop() == 0
    for part in {path.parent for path in stored_columns(up.data)}:
        part.rename(part.parent / "detached" / part.name)
    for path in up.data.glob("log.db*"):
        path.unlink()
    (up.data / "archive" / "_manifest" / "head.json").unlink()
    for folder in up.data.glob("archive/site=*"):
        os.utime(folder, (0, 0))
    told = doctor(up.data, status=1)
    assert states(told, "processes") == {
        "archive": "wrong", "broker": "wrong", "broker clock": "not asked", "retention": "not asked",
        "lag": "not asked", "rows": "wrong",
    }  # fmt: skip
    assert "event_rows" in told["rows"]["finding"]
    assert "is gone" in told["broker"]["finding"]
    assert not (up.data / "log.db").exists()


@pytest.mark.slow
def test_a_process_that_hangs_and_a_broker_that_does_not_answer_hide_nothing(
    start: Start, record_property: Callable[[str, object], None]
) -> None:
    up = start("--site", SITE).wait_ready()
    loaded(up, 1)
    silent = socket.create_server(("127.0.0.1", 0))
    pids = [pid for pid in up.group() if pid != up.process.pid]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        told = doctor(up.data, "--broker", f"kafka://127.0.0.1:{silent.getsockname()[1]}", status=1)
        took = time.monotonic() - begun
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        silent.close()
    assert states(told) == {
        "processes": "wrong", "broker": "wrong", "broker clock": "not asked", "retention": "not asked",
        "lag": "not asked", "schema": "wrong", "rows": "not asked", "dead letters": "not asked",
    }  # fmt: skip
    assert told["archive"]["state"] == told["disk"]["state"] == "ok"
    record_property("said", f"doctor, of a process and a broker that hang: {took:.1f} s")


def test_another_broker_than_that_of_the_running_one_is_said(start: Start, tmp_path: Path) -> None:
    up = start("--site", SITE).wait_ready()
    told = doctor(up.data, "--broker", f"sqlite://{tmp_path}/other.db", status=1)
    assert states(told, "retention", "broker clock", "lag")["processes"] == "wrong"
    assert "this command was told" in told["processes"]["finding"]
    assert not (tmp_path / "other.db").exists()


def test_no_data_folder_and_one_that_a_command_holds(start: Start, tmp_path: Path) -> None:
    done = footfall("doctor", "--data", str(tmp_path / "none"))
    assert (done.returncode, "there is no data folder" in done.stderr) == (1, True)
    assert not (tmp_path / "none").exists()
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o700)
    assert states(doctor(empty)) == {
        "processes": "warning", "sites": "warning", "schema": "not asked", "rows": "not asked",
        "dead letters": "not asked", "broker clock": "not asked", "retention": "not asked", "lag": "not asked",
    }  # fmt: skip
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("arguments", [("--al",), ("--port", "x")])
def test_wrong_usage(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert footfall("doctor", *arguments, "--data", str(tmp_path)).returncode == 2


@pytest.mark.slow
@pytest.mark.real
def test_a_kafka_that_lost_its_settings_and_then_its_process(start: Start, own_kafka: kafka.Server) -> None:
    url = f"kafka://{own_kafka.address()}"
    up = start("--site", SITE, "--broker", url).wait_ready()
    loaded(up, 2)
    until(lambda: not states(doctor(up.data, "--broker", url, status=None)), "all is well")
    with contextlib.closing(brokers.connect(url)) as broker:
        broker.create_topic("footfall.pageview", 4, 3_600_000)
        broker.delete_topic("footfall.session")
        until(lambda: "footfall.session" not in broker.topics(), "the topic is gone")
    told = doctor(up.data, "--broker", url, status=1)
    assert states(told) == {"broker": "wrong", "retention": "warning"}
    assert told["broker"]["finding"] == "footfall.session is missing"
    own_kafka.stop()
    told = doctor(up.data, "--broker", url, status=1)
    assert states(told, "processes") == {
        "broker": "wrong", "broker clock": "not asked", "retention": "not asked", "lag": "not asked",
    }  # fmt: skip
    assert "does not answer" in told["broker"]["finding"]
