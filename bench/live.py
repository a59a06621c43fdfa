"""Live micro-batches: the cost of one, and whether memory stays flat over many.

Runs the real parts in a temporary folder: the embedded log, the embedded warehouse and a checkpoint. Each batch holds
500 events from 5,000 visitors that come and go, under a clock that runs ahead of real time, so that sessions close and
the state stays as large as under steady traffic.

Before that, the part of a step that might grow with the open sessions, at 10 k, 100 k and 1 M open visitors
(`bench/open_events.py`); `--open` measures it alone, in less than a minute.

    ./dev bench live [--batches N] [--open] [--json]
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import brokers
import stores
from activity import codec
from activity.event import ALL_TOPICS, Event, EventType, topic_of, visitor_key
from bench import open_events
from bench.harness import percentile, report, result
from brokers.base import Record
from pipeline.live import Loader

EVENTS = 500
SECONDS = 20  # per batch on the loader's clock: an hour is 180 batches, and the state is full after 450
FLAT = 1.10


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def records(rng: random.Random, number: int, now: int) -> list[Record]:
    """Return the records of one batch, with times before `now` (Unix milliseconds)."""
    made = []
    for i in range(EVENTS):
        visitor = f"{number // 90 * 5000 + rng.randrange(5000):016x}"
        path = f"/articles/{rng.randrange(300)}"
        event = Event(
            v=1, id=f"{number * EVENTS + i:032x}", site="bench.example", type=EventType.PAGEVIEW, visitor=visitor,
            occurred_at=now - rng.randrange(SECONDS * 1000), received_at=now, path=path, url="https://x" + path,
            browser="Firefox", os="Linux", device="desktop", source="example.org", channel="Referral",
        )  # fmt: skip
        made.append(Record(topic_of(event.type), visitor_key(event.site, event.visitor), codec.encode(event)))
    return made


def main() -> int:
    """Run the bench; return 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=2000)
    parser.add_argument("--open", action="store_true", help="only measure how a step grows with the open sessions")
    parser.add_argument("--json", action="store_true", help="accepted for uniformity: the output is JSON lines")
    options = parser.parse_args()
    missed = report(open_events.results())
    if options.open:
        return missed
    walls, costs, sizes = [], [], []
    rng = random.Random(3)
    with tempfile.TemporaryDirectory(prefix="footfall-bench-") as folder:
        broker = brokers.connect(f"sqlite://{folder}/log.sqlite")
        for topic in ALL_TOPICS:
            broker.create_topic(topic, 4, -1)
        warehouse = stores.connect_warehouse(f"chdb://{folder}/warehouse")
        warehouse.migrate()
        now = time.time_ns() // 1_000_000
        loader = Loader(broker, warehouse, stores.connect_checkpoint(f"file://{folder}/checkpoint"), clock=lambda: now)
        for number in range(options.batches):
            now += SECONDS * 1000
            broker.publish(records(rng, number, now))
            wall, cpu = time.perf_counter(), time.process_time()
            counters = loader.step()
            walls.append(time.perf_counter() - wall)
            costs.append(time.process_time() - cpu)
            sizes.append(resident())
            if counters is None or counters["dedupe.fresh"] != EVENTS:
                raise SystemExit(f"batch {number} was not loaded whole: {counters}")
            if number % 100 == 99:
                mb = sizes[-1] / 1e6
                print(f"{number + 1} batches, {walls[-1]:.3f} s, {mb:.0f} MB", file=sys.stderr)
        warehouse.close()
        broker.close()
    early, late = max(sizes[: options.batches // 2]), max(sizes)
    last = costs[options.batches // 2 :]
    lines = [
        ("live memory", late / 1e6, early / 1e6, "MB", late / early, FLAT),
        ("live batch CPU", percentile(last, 0.5), 1.0, "s of the cadence", percentile(last, 0.5), 0.5),
        ("live batch p95", percentile(walls[options.batches // 2 :], 0.95), 1.0, "s of the cadence",
         percentile(walls[options.batches // 2 :], 0.95), 1.0),
    ]  # fmt: skip
    return missed | report(
        result(name, ours, peer, unit, target, met=ratio <= target, ratio=ratio)
        for name, ours, peer, unit, ratio, target in lines
    )


if __name__ == "__main__":
    sys.exit(main())
