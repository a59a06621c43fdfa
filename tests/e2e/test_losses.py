"""Rows that the warehouse loses behind our back, and a checkpoint that is damaged: the next start makes them again.

Each damage is done to the stopped data folder by plain file operations. Afterwards the numbers are as before, the
live run, the log and the archive have one digest, one line says what was lost, and nothing counts twice.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.e2e.harness import ALWAYS, SITE, Up, footfall, secret_key, until
from tests.e2e.proof import assert_rollups_equal_a_group_by, by_script, digests, replay

pytestmark = pytest.mark.slow

EVENTS = 600
HOUR = 3_600_000


def table(data: Path, name: str) -> Path:
    (definition,) = (data / "warehouse" / "store").rglob(f"{name}.sql")
    found = re.search(r"UUID '([^']+)'", definition.read_text())
    assert found
    return data / "warehouse" / "store" / found[1][:3] / found[1]


def largest_part(data: Path, name: str) -> Path:
    parts = [path for path in table(data, name).iterdir() if re.match(r"\d+_", path.name)]
    return max(parts, key=lambda path: int((path / "count.txt").read_text()))


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x55
    file.write_bytes(bytes(content))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a part": (lambda data: shutil.rmtree(largest_part(data, "event_rows")), "warehouse has lost 1 part of event_rows"),
    "a table": (lambda data: shutil.rmtree(table(data, "session_rows")), "warehouse has lost"),
    "the warehouse": (lambda data: shutil.rmtree(data / "warehouse"), "warehouse has lost"),
    "a byte of the checkpoint": (lambda data: flip(data / "checkpoint" / "unit-0"), "checkpoint is damaged"),
    "the end of the checkpoint": (
        lambda data: os.truncate(data / "checkpoint" / "unit-0", 80), "checkpoint is damaged",
    ),
}  # fmt: skip


def filled(up: Up) -> None:
    """Events of some days, in the numbers, and reconciled."""
    now, key = time.time_ns() // 1_000_000, secret_key(up.data)
    events: list[dict[str, Any]] = [
        {
            "site": SITE, "type": "pageview", "url": f"https://{SITE}/{n % 7}", "id": f"e{n}", "visitor": f"v{n % 50}",
            "ts": now - 50 * HOUR + n * 5 * 60_000 - (n % 3) * 1_000,
        }
        for n in range(EVENTS)
    ]  # fmt: skip
    for begin in range(0, EVENTS, 200):
        up.send(events[begin : begin + 200], key)
    up.shows({"events": EVENTS}, seconds=120)
    assert footfall("reconcile", "--data", str(up.data)).returncode == 0


def shown(up: Up) -> dict[str, Any]:
    return {"stats": up.stats(SITE, **ALWAYS), "pages": up.api("breakdown", by="page", **ALWAYS)}


def mended(up: Up) -> set[str]:
    """What `/ready` said until it was."""
    said: set[str] = set()

    def ready() -> bool:
        status, body = up.get("/ready")
        said.add(body.decode())
        return status == 200

    until(ready, "it is ready", 120)
    return said


def assert_as_before(up: Up, numbers: dict[str, Any], digest: dict[tuple[str, str], str], source: str) -> None:
    assert shown(up) == numbers
    assert_rollups_equal_a_group_by(up)
    reports = replay(up.data, "--dry-run", "--source", source)
    assert [report["differs"] for report in reports] == [[]] * len(reports)
    assert digests(reports) == digest
    assert by_script(up.data) == digest


def test_what_is_lost_while_nobody_runs_is_made_again_by_the_next_start(start: Start) -> None:
    up = start("--site", SITE).wait_ready()
    filled(up)
    numbers, digest = shown(up), digests(replay(up.data))
    for (what, (damage, told)), source in zip(DAMAGE.items(), cycle(("broker", "archive")), strict=False):
        assert up.stop() == 0
        damage(up.data)
        up = start().wait_ready()
        said = mended(up)
        assert any("again" in text or "replayed" in text for text in said), (what, said)
        assert up.said().count(told) == 1, (what, up.said())
        assert_as_before(up, numbers, digest, source)
    assert list((up.data / "checkpoint" / "damaged").iterdir())
    up.collect(id="next")
    up.shows({"events": EVENTS + 1})


def test_killed_while_it_makes_them_again_the_next_start_goes_on(start: Start) -> None:
    up = start("--site", SITE).wait_ready()
    filled(up)
    numbers, digest = shown(up), digests(replay(up.data))
    assert up.stop() == 0
    shutil.rmtree(up.data / "warehouse")
    for _ in range(2):
        up = start().wait_ready()
        until(lambda: "warehouse has lost" in up.said() or up.get("/ready")[0] == 200, "it makes them again")  # noqa: B023
        up.kill()
    up = start().wait_ready()
    mended(up)
    assert_as_before(up, numbers, digest, "broker")


def test_a_replay_mends_a_part_that_fails_its_checksum(start: Start) -> None:
    up = start("--site", SITE).wait_ready()
    filled(up)
    numbers, digest = shown(up), digests(replay(up.data))
    assert up.stop() == 0
    part = largest_part(up.data, "event_rows")
    flip(max(part.glob("*.bin"), key=lambda file: file.stat().st_size))
    told = replay(up.data, status=1)
    assert any("events" in report["differs"] for report in told)
    assert (part.parent / "detached" / part.name).is_dir()
    up = start().wait_ready()
    mended(up)
    assert_as_before(up, numbers, digest, "broker")
    # The same beside a running `up`, which meets it by itself.
    assert up.stop() == 0
    flip(max(largest_part(up.data, "session_rows").glob("*.bin"), key=lambda file: file.stat().st_size))
    up = start().wait_ready()
    up.get(f"/api/v1/stats?site={SITE}&from=2000-01-01&to=2099-12-31")
    until(lambda: "is broken and set aside" in up.said(), "the broken part is met")
    mended(up)
    assert_as_before(up, numbers, digest, "archive")
