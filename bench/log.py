"""The embedded log against a plain SQLite table with one row per record, both fsync'd at each commit.

    python -m bench.log [--events N] [--json]

Both store the same records, which are read back and compared before anything is timed. Publishing is timed with one
process and with two that write into the same file at once.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from bench.harness import report, result, timed
from brokers.base import Record, TopicPartition
from brokers.conformance import read_all
from brokers.routing import partition_of
from brokers.sqlite.broker import SqliteBroker

BATCH, SMALL = 500, 20
ROUNDS = 3
WRITERS = 2

Publish = Callable[[Path, list[list[Record]]], "SqliteBroker | sqlite3.Connection"]


def records(count: int) -> list[Record]:
    """Return records with values of 400 bytes, keyed by visitors that return in a Zipf-like way."""
    rng = random.Random(1)
    value = rng.randbytes(400)
    visitors = [b"example.com/%016x" % rng.getrandbits(64) for _ in range(max(count // 10, 1))]
    return [Record("t", visitors[int(len(visitors) * rng.random() ** 3)], value) for _ in range(count)]


def publish_ours(folder: Path, batches: list[list[Record]]) -> SqliteBroker:
    """Publish batches to the embedded log and return it open."""
    broker = SqliteBroker(f"sqlite://{folder}/log.db")
    broker.create_topic("t", 4)
    for batch in batches:
        broker.publish(batch)
    return broker


def publish_table(folder: Path, batches: list[list[Record]]) -> sqlite3.Connection:
    """Insert batches into a plain table and return its database open."""
    db = sqlite3.connect(folder / "table.db", isolation_level=None, timeout=60)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE IF NOT EXISTS ends (partition PRIMARY KEY, next)")
    db.execute(
        "CREATE TABLE IF NOT EXISTS t"
        " (partition, number, at, key, value, PRIMARY KEY (partition, number)) WITHOUT ROWID"
    )
    for batch in batches:
        db.execute("BEGIN IMMEDIATE")
        following = dict(db.execute("SELECT partition, next FROM ends").fetchall())
        rows = []
        now = time.time_ns() // 1_000_000
        for record in batch:
            partition = partition_of(record.key or b"", 4)
            number = following.get(partition, 0)
            rows.append((partition, number, now, record.key, record.value))
            following[partition] = number + 1
        db.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)", rows)
        db.executemany("INSERT OR REPLACE INTO ends VALUES (?, ?)", following.items())
        db.execute("COMMIT")
    return db


def _write(publish: Publish, folder: Path, count: int, ready: Any, done: Any) -> None:
    batches = in_batches(count, BATCH)
    ready.wait()
    opened = publish(folder, batches)
    done.wait()
    opened.close()


def rate_of_two(publish: Publish, count: int) -> float:
    """Return the records per second that two processes write into one file, in the best round."""
    context = multiprocessing.get_context("spawn")
    best = 0.0
    for _ in range(ROUNDS):
        ready, done = context.Barrier(WRITERS + 1), context.Barrier(WRITERS + 1)
        with tempfile.TemporaryDirectory() as folder:
            publish(Path(folder), []).close()  # SQLite fails if two processes create the WAL at once
            arguments = (publish, Path(folder), count // WRITERS, ready, done)
            writers = [context.Process(target=_write, args=arguments) for _ in range(WRITERS)]
            for writer in writers:
                writer.start()
            ready.wait()
            start = time.perf_counter()
            done.wait()
            best = max(best, count / (time.perf_counter() - start))
            for writer in writers:
                writer.join()
    return best


class Rates(NamedTuple):
    """Records per second, and CPU microseconds per record."""

    rate: float
    cpu_us: float


def rates(publish: Publish, size: int, count: int) -> Rates:
    """Return the best rates of all rounds, for batches of `size` records."""
    batches = in_batches(count, size)
    best = Rates(0.0, 1e9)
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            opened = []
            cost = timed(lambda: opened.append(publish(Path(folder), batches)))  # noqa: B023 - called at once
            opened[0].close()
        best = Rates(max(best.rate, count / cost.wall), min(best.cpu_us, cost.cpu / count * 1e6))
    return best


def in_batches(count: int, size: int) -> list[list[Record]]:
    """Return `count` records in batches of `size`."""
    everything = records(count)
    return [everything[at : at + size] for at in range(0, count, size)]


def same_content(count: int) -> None:
    """Assert that the log and the table give back the same records."""
    batches = in_batches(count, BATCH)
    with tempfile.TemporaryDirectory() as folder:
        broker, db = publish_ours(Path(folder), batches), publish_table(Path(folder), batches)
        for partition in range(4):
            ours = [(record.key, record.value) for record in read_all(broker, "t", partition)]
            theirs = db.execute("SELECT key, value FROM t WHERE partition = ? ORDER BY number", (partition,)).fetchall()
            assert ours == theirs
        broker.close()
        db.close()


def read_rates(count: int) -> tuple[float, float]:
    """Return the records per second read from the log and from the table, in the best round."""
    batches = in_batches(count, BATCH)
    with tempfile.TemporaryDirectory() as folder:
        broker, db = publish_ours(Path(folder), batches), publish_table(Path(folder), batches)
        ours = theirs = 1e9

        def read() -> None:
            for partition in range(4):
                log = TopicPartition("t", partition)
                bounds = broker.bounds(log)
                assert bounds
                for _found in broker.read_range(log, None, bounds.last):
                    pass

        def read_table() -> None:
            for partition in range(4):
                db.execute("SELECT * FROM t WHERE partition = ? ORDER BY number", (partition,)).fetchall()

        for _ in range(ROUNDS):
            ours = min(ours, timed(read).wall)
            theirs = min(theirs, timed(read_table).wall)
        broker.close()
        db.close()
    return count / ours, count / theirs


def main() -> int:
    """Run the bench; return 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--json", action="store_true", help="accepted for uniformity: the output is JSON lines")
    options = parser.parse_args()
    same_content(min(options.events, 10_000))
    large, large_peer = rates(publish_ours, BATCH, options.events), rates(publish_table, BATCH, options.events)
    two, two_peer = rate_of_two(publish_ours, options.events), rate_of_two(publish_table, options.events)
    few = max(options.events // 10, SMALL)
    small, small_peer = rates(publish_ours, SMALL, few), rates(publish_table, SMALL, few)
    read, read_peer = read_rates(options.events)
    lines = [
        result("publish-500", large.rate, large_peer.rate, "records/s", 120_000, met=large.rate >= 120_000),
        result("publish-500-two-processes", two, two_peer, "records/s", 120_000, met=two >= 120_000),
        result("publish-20-cpu", small.cpu_us, small_peer.cpu_us, "CPU us a record", 20, met=small.cpu_us <= 20),
        result("read", read, read_peer, "records/s", 400_000, met=read >= 400_000),
    ]
    return report(lines)


if __name__ == "__main__":
    sys.exit(main())
