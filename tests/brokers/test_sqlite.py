"""What only the SQLite log promises: several processes, crashes, retention that waits for its readers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from brokers.base import Record, TopicPartition, Unreachable, Unsent
from brokers.conformance import numbered, read_all
from brokers.sqlite.broker import SqliteBroker
from tests.patience import patient

HOUR_NS = 3600 * 10**9
HOUR_MS = 3_600_000


class Clock:
    def __init__(self) -> None:
        self.ns = 1_700_000_000 * 10**9

    def __call__(self) -> int:
        return self.ns


def _publish(url: str, writer: int, count: int) -> None:
    broker = SqliteBroker(url)
    for number in range(count):
        broker.publish([Record("t", b"writer-%d" % writer, b"%d" % number)])
    broker.close()


def test_processes_publish_at_once_and_nothing_is_lost_or_out_of_order(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/log.db"
    broker = SqliteBroker(url)
    broker.create_topic("t", 2)
    start = multiprocessing.get_context("spawn").Process
    processes = [start(target=_publish, args=(url, writer, 50)) for writer in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(patient(60))
        assert process.exitcode == 0
    found: dict[bytes | None, list[int]] = {}
    for partition in range(2):
        for record in read_all(broker, "t", partition):
            found.setdefault(record.key, []).append(int(record.value or b""))
    assert found == {b"writer-%d" % writer: list(range(50)) for writer in range(3)}
    broker.close()


def test_what_was_acknowledged_is_there_after_kill_9(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/log.db"
    broker = SqliteBroker(url)
    broker.create_topic("t", 1)
    code = (
        "import sys; from brokers.sqlite.broker import SqliteBroker; from brokers.conformance import numbered\n"
        "broker = SqliteBroker(sys.argv[1])\n"
        "for n in range(100_000):\n"
        "    broker.publish(numbered('t', n, 1)); sys.stdout.write(f'{n}\\n'); sys.stdout.flush()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        said = [int(next(writer.stdout)) for _ in range(200)]
        os.kill(writer.pid, signal.SIGKILL)
        said += [int(line) for line in writer.stdout if line.endswith("\n")]
    kept = [int(record.value or b"") for record in read_all(broker, "t")]
    assert kept == list(range(len(kept)))
    assert len(kept) >= len(said)
    broker.close()


def test_retention_goes_by_age_and_waits_for_the_slowest_group(tmp_path: Path) -> None:
    clock = Clock()
    broker = SqliteBroker(f"sqlite://{tmp_path}/log.db", clock_ns=clock)
    broker.create_topic("t", 1, retention_ms=2 * HOUR_MS)
    for hour in range(6):
        broker.publish(numbered("t", hour, 1))
        clock.ns += HOUR_NS
    places = {record.value: record.position for record in read_all(broker, "t")}
    assert set(places) == {b"3", b"4", b"5"}  # each publish removed what was older
    broker.remember("loader", TopicPartition("t", 0), places[b"5"])
    broker.remember("archiver", TopicPartition("t", 0), places[b"3"])
    clock.ns += 10 * HOUR_NS
    broker.retain()
    assert [record.value for record in read_all(broker, "t")] == [b"4", b"5"]
    broker.remember("archiver", TopicPartition("t", 0), places[b"5"])
    broker.retain()
    assert broker.bounds(TopicPartition("t", 0)) is None
    broker.publish(numbered("t", 6, 1))
    after = broker.read_after(TopicPartition("t", 0), places[b"5"])
    assert [record.value for record in after] == [b"6"]  # no offset is used twice
    broker.close()


def test_time_never_goes_back_in_a_log(tmp_path: Path) -> None:
    clock = Clock()
    broker = SqliteBroker(f"sqlite://{tmp_path}/log.db", clock_ns=clock)
    broker.create_topic("t", 1)
    broker.publish(numbered("t", 0, 1))
    clock.ns -= HOUR_NS
    broker.publish(numbered("t", 1, 1))
    first, second = read_all(broker, "t")
    assert first.timestamp == second.timestamp
    broker.close()


def test_a_file_held_by_another_is_unreachable_within_the_bound(tmp_path: Path) -> None:
    broker = SqliteBroker(f"sqlite://{tmp_path}/log.db?timeout_ms=200")
    broker.create_topic("t", 1)
    other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    start = time.monotonic()
    with pytest.raises(Unreachable, match="another process holds it"):
        broker.publish(numbered("t", 0, 1))
    assert time.monotonic() - start < patient(5)
    other.execute("ROLLBACK")
    other.close()
    broker.publish(numbered("t", 0, 1))
    assert len(read_all(broker, "t")) == 1
    broker.close()


def test_a_full_disk_names_every_record_as_unsent(tmp_path: Path) -> None:
    broker = SqliteBroker(f"sqlite://{tmp_path}/log.db")
    broker.create_topic("t", 1)
    with broker._file.transaction() as db:  # the only way to fill a disk without filling the disk
        pass
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(Unsent, match="free disk space") as caught:
        broker.publish([Record("t", None, bytes(100_000)) for _ in range(3)])
    assert caught.value.indexes == (0, 1, 2)
    assert broker.bounds(TopicPartition("t", 0)) is None
    broker.close()


def test_the_wal_is_folded_back_while_a_reader_pauses(tmp_path: Path) -> None:
    broker = SqliteBroker(f"sqlite://{tmp_path}/log.db")
    broker.create_topic("t", 1)
    value = os.urandom(50_000)
    broker.publish([Record("t", None, value) for _ in range(20)])
    bounds = broker.bounds(TopicPartition("t", 0))
    assert bounds
    reading = broker.read_range(TopicPartition("t", 0), None, bounds.last, batch=5)
    next(reading)
    for _ in range(60):
        broker.publish([Record("t", None, value) for _ in range(20)])
    assert (tmp_path / "log.db-wal").stat().st_size < 40 << 20  # of 60 MB written
    assert sum(map(len, reading)) == 15
    broker.close()
