"""The processes that answer readers' questions: exact and fresh, bounded, and ended when nothing else helps."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import stores
from stores.base import StoreError, TooManyQueries
from stores.read_only import client
from stores.warehouse import Warehouse
from tests.e2e.harness import until
from tests.stores import frames
from tests.stores.read_only import limited

# One call of a function that looks at no clock, for hours.
ENDLESS = "SELECT arrayLevenshteinDistance(range(1000000), arrayReverse(range(1000000)))"


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    opened = stores.connect_warehouse(f"chdb://{tmp_path_factory.mktemp('its')}/ware house")
    opened.migrate()
    yield opened
    opened.close()


def asked(warehouse: Warehouse, statement: str) -> list[list[object]]:
    found: list[list[object]] = json.loads(warehouse.read_only(statement, "JSONCompact").body)["data"]
    return found


def test_an_answer_has_what_was_written_before_the_question(warehouse: Warehouse) -> None:
    """Between inserts, merges and mutations: the same as the owner sees, each time."""
    views = {
        "events": "SELECT count(), sum(cityHash64(id, title)) FROM events",
        "rollups": "SELECT count(), sum(pageviews) FROM rollup_1m",
    }
    rollup = "INSERT INTO rollup_1m_rows (site, bucket, dimension, value, pageviews) SELECT 'a', 0, '', '', 1"
    for turn in range(24):
        given = frames.marked(frames.events(30, seed=turn % 8), turn + 1)
        warehouse.insert("event_rows", given, f"fresh-{turn}")
        warehouse.command(f"{rollup} FROM numbers({turn + 1})")
        match turn % 6:
            case 2:
                warehouse.command("OPTIMIZE TABLE event_rows FINAL")
                warehouse.command("OPTIMIZE TABLE rollup_1m_rows FINAL")
            case 3:
                warehouse.command(f"ALTER TABLE event_rows UPDATE title = 'm{turn}' WHERE id_lo % 3 = 0")
            case 4:
                warehouse.command("ALTER TABLE event_rows DELETE WHERE id_lo % 7 = 1")
            case 5:
                warehouse.command("DELETE FROM event_rows WHERE id_lo % 7 = 2")  # waits for the two before it, too
        for name, statement in views.items():
            before = warehouse.query(statement).row(0)
            there = asked(warehouse, statement)[0]
            after = warehouse.query(statement).row(0)  # a mutation that runs may end between the two
            assert [str(value) for value in there] in [[str(value) for value in row] for row in (before, after)], name
    warehouse.command("TRUNCATE TABLE event_rows")
    assert warehouse.read_only("SELECT count() FROM events").body == b"0\n"


def test_a_new_table_is_seen_after_a_migration(warehouse: Warehouse) -> None:
    assert asked(warehouse, "SELECT 1")
    warehouse.command("DROP VIEW rollup_1m")
    warehouse.command("DELETE FROM schema_migrations WHERE number = 2 SETTINGS mutations_sync = 2")
    with pytest.raises(StoreError, match="nothing_here"):
        asked(warehouse, "SELECT nothing_here FROM rollup_1m")
    assert warehouse.migrate() == ["002-views"]
    assert asked(warehouse, "SELECT count() FROM rollup_1m")


class Asking(threading.Thread):
    """A question without end, and what came of it."""

    def __init__(self, warehouse: Warehouse, seconds: int) -> None:
        super().__init__()
        self.warehouse, self.seconds, self.said = warehouse, seconds, ""
        self.start()

    def run(self) -> None:
        try:
            limited.answer(self.warehouse, ENDLESS, seconds=self.seconds)
        except StoreError as error:
            self.said = str(error)


def test_a_question_that_does_not_notice_its_end_is_ended(warehouse: Warehouse) -> None:
    asking = Asking(warehouse, 1)
    assert warehouse.query("SELECT 1 AS n").item() == 1
    asking.join()
    assert asking.said == "it took over 1 s: ask for fewer days or one site (it was ended)"
    assert warehouse.read_only("SELECT 3").body == b"3\n"


def test_others_are_answered_while_one_runs_on(warehouse: Warehouse) -> None:
    asking = Asking(warehouse, 120)
    until(lambda: len(warehouse._read_only._free) < client.AT_ONCE, "it has its turn")
    assert warehouse.query("SELECT 1 AS n").item() == 1
    assert warehouse.read_only("SELECT 2").body == b"2\n"
    assert asking.is_alive()
    warehouse._read_only.reset()
    asking.join()
    assert "ask again" in asking.said


def test_memory_that_the_engine_does_not_count_is_bounded_too(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "SHARE", 512 << 20)
    warehouse._read_only.reset()
    with pytest.raises(StoreError, match="it needs over"):
        limited.answer(warehouse, "SELECT length(groupArray(number)) FROM numbers(1000000000)", memory=1 << 40)
    assert warehouse.read_only("SELECT 1").body == b"1\n"
    warehouse._read_only.reset()


def test_the_sum_over_all_readers_is_what_is_stated() -> None:
    assert client.AT_ONCE * client.SHARE <= client.MEMORY
    assert client.LIMITS.memory < client.SHARE


def test_a_question_too_many_is_told_to_come_again(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE", 0.01)
    with warehouse._read_only._turn(), warehouse._read_only._turn(), pytest.raises(TooManyQueries, match="ask again"):
        warehouse.read_only("SELECT 1")
    assert warehouse.read_only("SELECT 1").body == b"1\n"


def test_a_process_that_is_gone_is_started_again(warehouse: Warehouse) -> None:
    for _ in range(2):
        assert warehouse.read_only("SELECT 1").body == b"1\n"
        for process in warehouse._read_only._processes:
            if process is not None:
                process._process.kill()


def test_readers_end_with_their_owner(tmp_path: Path) -> None:
    script = (
        "import sys, stores\n"
        "warehouse = stores.connect_warehouse(sys.argv[1])\n"
        "warehouse.migrate()\n"
        "warehouse.read_only('SELECT 1')\n"
        "pids = [each._process.pid for each in warehouse._read_only._processes if each]\n"
        "print(*pids, flush=True)\n"
        f'warehouse.read_only("{ENDLESS}")\n'
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script, f"chdb://{tmp_path}/warehouse"], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    pids = [int(pid) for pid in owner.stdout.readline().split()]
    assert len(pids) == 1
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    until(lambda: not _runs(pids[0]), "the reader has ended")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
