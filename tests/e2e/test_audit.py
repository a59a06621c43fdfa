"""The account from outside: it sums to what the sender knows, also after kill -9, and names what is taken away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.e2e.harness import AGENT, SITE, Up, footfall, until
from tests.e2e.stream import VICTIMS

pytestmark = pytest.mark.slow

DELETE = """
import sys, stores
warehouse = stores.connect_warehouse(f"chdb:///{sys.argv[1]}/warehouse")
# Asked before: the engine asks again for each part that it rewrites.
ids = warehouse.query("SELECT DISTINCT id_lo FROM event_rows ORDER BY id_lo LIMIT 10")["id_lo"].to_list()
delete = "ALTER TABLE event_rows DELETE WHERE id_lo IN {ids:Array(UInt64)} SETTINGS mutations_sync = 2"
warehouse.command(delete, {"ids": ids})
warehouse.close()
"""


def audit(data: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit status, and the sums of all hours; a test may run over the end of an hour."""
    done = footfall("audit", "--json", "--data", str(data), *arguments)
    assert done.returncode in (0, 1), done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == (0 if all(line["balanced"] for line in lines) else 1)
    sums: dict[str, Any] = {"refused_by": {}, "mismatches": []}
    for line in lines:
        assert line["received"] == line["accepted"] + line["refused"] + line["duplicate_at_door"]
        for name, value in line.items():
            if isinstance(value, int):
                sums[name] = sums.get(name, 0) + value
        for reason, count in line["refused_by"].items():
            sums["refused_by"][reason] = sums["refused_by"].get(reason, 0) + count
        sums["mismatches"] += line.get("mismatches", [])
    return done.returncode, sums


def send(up: Up, first: int, count: int) -> None:
    """Two events a request, a copy of the first, and one without a site; then one that is no JSON."""
    for number in range(first, first + count):
        page = {"site": SITE, "type": "pageview", "url": f"https://{SITE}/{number}"}
        events = [page | {"id": f"a{number}"}, page | {"id": f"b{number}"}, page | {"id": f"a{number}"}]
        status, _, body = up.post({"events": [*events, {"type": "pageview"}]})
        assert status == 202, body
    status, _, _ = up.post(b"{")
    assert status == 400


def settled(up: Up, accepted: int) -> dict[str, Any]:
    """The account once everything is loaded and the door has sent its counts."""

    def done() -> dict[str, Any] | None:
        _, sums = audit(up.data)
        return sums if sums.get("stored") == accepted and not sums["in_flight"] else None

    return dict(until(done, f"{accepted} events are stored"))


def test_it_sums_to_what_the_sender_knows_and_names_what_is_taken_away(start: Start) -> None:
    up = start("--site", SITE).wait_ready()
    status, nothing = audit(up.data)
    assert (status, nothing["mismatches"]) == (0, [])
    send(up, 0, 20)
    settled(up, 40)
    assert up.stop() == 0  # so the door's counts are in the log
    up = start().wait_ready()
    sums = settled(up, 40)
    known = {"refused": 21, "duplicate_at_door": 20, "accepted": 40, "stored": 40, "duplicate": 0, "unaccounted": 0}
    until(lambda: audit(up.data)[1]["refused"] == 21, "the counts of the door are loaded")
    status, sums = audit(up.data)
    assert (status, {name: sums[name] for name in known}) == (0, known)
    assert sums["refused_by"] == {"missing_field": 20, "malformed": 1}
    assert int(up.sql("SELECT count() AS n FROM dead_letters")[0]["n"]) == 21  # the counts are none

    os.kill(VICTIMS["tracking worker"](up), signal.SIGKILL)
    send_until_it_is_back(up, 100)
    settled(up, 60)
    up.kill()
    up.gone()
    up = start().wait_ready()
    sums = settled(up, 60)
    assert (sums["accepted"] - sums["duplicate"], sums["unaccounted"], sums["mismatches"]) == (60, 0, [])
    assert sums["refused"] <= 42
    flushed = footfall("archive", "flush", "--data", str(up.data))
    assert flushed.returncode == 0, flushed.stderr
    assert up.stop() == 0

    subprocess.run([sys.executable, "-c", DELETE, str(up.data)], check=True)
    status, sums = audit(up.data)
    assert (status, sums["unaccounted"]) == (1, 10)
    assert sum(each["events"] for each in sums["mismatches"]) == 10
    assert all(each["topic"] == "footfall.pageview" and each["first"] for each in sums["mismatches"])
    file = next((up.data / "archive").rglob("*.parquet"))
    file.unlink()
    named = {each.get("file") for each in audit(up.data)[1]["mismatches"]}
    assert str(file.relative_to(up.data / "archive")) in named
    told = footfall("audit", "--data", str(up.data))
    assert told.returncode == 1
    assert "NOT BALANCED" in told.stdout
    assert file.name in told.stdout
    assert footfall("audit", "--from", "2025-01-02", "--to", "2025-01-01", "--data", str(up.data)).returncode == 2
    quiet = footfall("audit", "--hour", "2020-01-01T05", "--json", "--data", str(up.data))
    assert (quiet.returncode, json.loads(quiet.stdout)["balanced"]) == (0, True)


def send_until_it_is_back(up: Up, first: int) -> None:
    """Send ten requests of two events, each again until it is answered."""

    def sent(number: int) -> bool:
        page = {"site": SITE, "type": "pageview", "url": f"https://{SITE}/{number}"}
        try:
            status, _, _ = up.post({"events": [page | {"id": f"{name}{number}"} for name in "ab"]})
        except OSError:
            return False
        return status == 202

    for number in range(first, first + 10):
        until(partial(sent, number), "the door answers")


def test_an_import_a_replay_and_a_move_to_another_broker_change_nothing(start: Start, tmp_path: Path) -> None:
    up = start("--site", SITE).wait_ready()
    send(up, 0, 10)
    settled(up, 20)
    line = '203.0.113.{n} - - [05/Mar/2025:10:00:0{n} +0000] "GET /{n} HTTP/1.1" 200 9 "-" "{agent}"'
    lines = [line.format(n=number, agent=AGENT) for number in range(9)]
    (tmp_path / "access.log").write_text("\n".join([*lines, lines[0], "what is this"]))
    for _ in range(2):
        done = footfall("import", str(tmp_path / "access.log"), "--site", SITE, "--data", str(up.data))
        assert done.returncode == 0, done.stderr
    stored = int(up.sql("SELECT count() AS n FROM events")[0]["n"])
    assert stored in (29, 30)  # a line that came twice is two visits of the same page, or one
    before = settled(up, stored)
    assert (before["accepted"], before["unaccounted"], before["mismatches"]) == (stored, 0, [])
    replayed = footfall("replay", "--from", "2025-03-05", "--to", "2025-03-05", "--json", "--data", str(up.data))
    assert replayed.returncode == 0, replayed.stderr
    assert up.stop() == 0
    _, before = audit(up.data)

    old, new = f"sqlite://{up.data}/log.db", f"sqlite://{tmp_path}/new.db"
    moved = footfall("broker", "move", old, new, "--data", str(up.data))
    assert moved.returncode == 0, moved.stderr
    status, after = audit(up.data, "--broker", new)
    assert (status, after["stored"], after["mismatches"]) == (0, stored, [])
    assert {name: after[name] for name in ("accepted", "duplicate", "beyond_log", "in_flight")} == {
        name: before[name] for name in ("accepted", "duplicate", "beyond_log", "in_flight")
    }
