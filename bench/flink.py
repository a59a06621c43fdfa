"""The same plan on Flink and in one process: what a cluster costs, and how long a micro-batch takes on a warm one.

Raw events lie in an embedded log that both read; their sessions and event rows are left in a shared folder. A bounded
run reads all events, a micro-batch 50,000. On Flink the CPU of all its processes counts: JobManager, TaskManager, job
server, workers and the driver. In the end a worker is killed in the middle of a bounded run: how much longer that takes
is the time to recover. Needs what `./dev flink start` needs.

    ./dev bench flink [--events N] [--rounds N] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.plan import Plan
    from pipeline.resources import Outcome

from bench.harness import report, result

TARGET_CPU = 2.0
TARGET_SECONDS = 2.0
BATCH = 50_000
SHARDS = 8
PARTITIONS = 4


def fill(log: Path, events: int, partitions: int = PARTITIONS) -> None:
    """Write page views of many visitors to an embedded log, spread over its partitions."""
    import random

    import brokers
    from activity import codec
    from activity.event import ALL_TOPICS, Event, EventType, topic_of, visitor_key
    from brokers.base import Record

    dice = random.Random(5)
    broker = brokers.connect(f"sqlite://{log}")
    for topic in ALL_TOPICS:
        broker.create_topic(topic, partitions, -1)
    for first in range(0, events, 10_000):
        records = []
        for number in range(first, min(first + 10_000, events)):
            at = 1_790_000_000_000 + dice.randrange(86_400_000)
            path = f"/articles/{dice.randrange(5_000)}"
            event = Event(
                v=1, id=f"{number:032x}", site="bench.example", type=EventType.PAGEVIEW,
                visitor=f"{dice.randrange(events // 4 + 1):016x}", occurred_at=at, received_at=at, path=path,
                url="https://bench.example" + path, browser="Firefox", os="Linux", device="desktop", channel="Direct",
            )  # fmt: skip
            records.append(Record(topic_of(event.type), visitor_key(event.site, event.visitor), codec.encode(event)))
        broker.publish(records)
    broker.close()


def plan(log: Path, exchange: str, name: str, most: int) -> Plan:
    """The plan of a run over the first `most` events of the log."""
    import brokers
    from activity.event import TOPICS
    from brokers.base import TopicPartition
    from pipeline.checkpoint import PartitionRange
    from pipeline.plan import Plan

    broker = brokers.connect(f"sqlite://{log}")
    ranges = [
        PartitionRange(topic, partition, None, str(upto))
        for topic in TOPICS
        for partition in range(PARTITIONS)
        if (upto := broker.end_before(TopicPartition(topic, partition), None, -(-most // PARTITIONS)))
    ]
    broker.close()
    staged = ["sessions", "events", "tally"]
    url = f"sqlite://{log}"
    return Plan(
        id=name, broker=url, exchange=exchange, ranges=ranges, staged=staged, token=name, batch=1, shards=SHARDS
    )


def measure(url: str, folder: Path, events: int, rounds: int, pids: list[int]) -> dict[str, list[list[float]]]:
    """Run both alternately; returns the wall and CPU seconds and the exchanged MB of each run by name.

    The last of `pids` is the worker pool's."""
    import brokers
    from infra import worker
    from infra.settings import Settings
    from pipeline import portable
    from pipeline.exchange import connect_exchange
    from pipeline.resources import Parts
    from pipeline.runner import RemoteRunner, Runner

    log, exchange = folder / "log.sqlite", str(folder / "exchange")
    broker = brokers.connect(f"sqlite://{log}")
    runners = {
        "here": Runner(),
        "flink": RemoteRunner(portable.executor(url, worker.command(Settings.load({}))), exchange, SHARDS),
    }
    found: dict[str, list[list[float]]] = {}
    sessions: dict[str, int] = {}
    for turn in range(rounds + 1):  # the first is to warm up
        for size, most in (("all", events), ("batch", min(BATCH, events)), ("start", PARTITIONS)):
            for where, runner in runners.items():
                name = f"{where}-{size}-{turn}"
                made = plan(log, f"{exchange}/{name}", name, most)
                parts = Parts(connect_exchange(made.exchange), broker)
                wall, cpu, size_mb, rows = timed(lambda: runner.execute(made, parts), pids, exchange)  # noqa: B023 (called at once)
                if turn:
                    found.setdefault(f"{where}-{size}", []).append([wall, cpu, size_mb])
                if sessions.setdefault(size, rows) != rows:
                    raise SystemExit(f"{name}: {rows} sessions, {sessions[size]} before")
                print(f"{name}: {wall:.1f} s, {cpu:.1f} CPU s, {size_mb:.0f} MB, {rows} sessions", file=sys.stderr)
    made = plan(log, f"{exchange}/killed", "killed", events)
    parts = Parts(connect_exchange(made.exchange), broker)
    killer = threading.Thread(target=kill_a_worker, args=(pids[-1], exchange))
    killer.start()
    wall, cpu, size_mb, rows = timed(lambda: runners["flink"].execute(made, parts), pids, exchange)
    killer.join()
    found["killed"] = [[wall, cpu, size_mb]]
    if rows != sessions["all"]:
        raise SystemExit(f"with a killed worker {rows} sessions, {sessions['all']} before")
    broker.close()
    return found


def kill_a_worker(pool: int, exchange: str) -> None:
    """Kill a worker of the pool as soon as a frame is exchanged."""
    while not any(Path(exchange).rglob("*.arrow")):
        time.sleep(0.05)
    os.kill(min(children_of([pool])), signal.SIGKILL)


def timed(work: Callable[[], Outcome], pids: list[int], exchange: str) -> tuple[float, float, float, int]:
    """The wall and CPU seconds of a run, those of the cluster's processes included, the MB that it exchanged, and how
    many sessions it made."""
    used, begun = seconds_of([os.getpid(), *pids]), time.perf_counter()
    outcome = work()
    wall, after = time.perf_counter() - begun, seconds_of([os.getpid(), *pids])
    size = sum(path.stat().st_size for path in Path(exchange).rglob("*.arrow")) / 1e6
    rows = sum(frame.height for _, frame in outcome.frames("sessions"))
    outcome.close()
    return wall, after - used, size, rows


def children_of(pids: list[int]) -> set[int]:
    """The processes that these have started and that run."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) in pids:
            found.add(int(path.parent.name))
    return found


def seconds_of(pids: list[int]) -> float:
    """The CPU seconds that processes and their children have used so far."""
    ticks = 0
    for pid in {*pids, *children_of(pids)}:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Run the bench; return 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="accepted for uniformity: the output is JSON lines")
    parser.add_argument("--inside", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        url, folder, pids = args.inside
        print(json.dumps(measure(url, Path(folder), args.events, args.rounds, [int(pid) for pid in pids.split(",")])))
        return 0
    from tests.servers import flink as part

    with tempfile.TemporaryDirectory(prefix="footfall-bench-") as temporary:
        folder = Path(temporary)
        fill(folder / "log.sqlite", args.events)
        begun = time.perf_counter()
        part.start(folder / "flink")
        cluster = part.server(folder / "flink")
        started = time.perf_counter() - begun
        try:
            pids = ",".join(map(str, [*cluster.pids(), cluster.pool.pid()]))
            inside = ["--inside", cluster.url(parallelism=2, processes=2), str(folder), pids]
            options = ["--events", str(args.events), "--rounds", str(args.rounds)]
            found = cluster.run("bench.flink", *inside, *options, timeout=3600)
        finally:
            cluster.stop()
    wall, cpu, exchanged = (
        {name: statistics.median(run[at] for run in runs) for name, runs in found.items()} for at in (0, 1, 2)
    )
    ratio, seconds = cpu["flink-all"] / cpu["here-all"], wall["flink-batch"]
    more = {
        "wall": round(wall["flink-all"], 2),
        "wall_here": round(wall["here-all"], 2),
        "cluster_start": round(started, 1),
        "job_start": round(wall["flink-start"], 2),
        "exchanged_mb": round(exchanged["flink-all"], 1),
        "recovery": round(wall["killed"] - wall["flink-all"], 1),
    }
    met = ratio <= TARGET_CPU
    bounded = result("flink/cpu", cpu["flink-all"], cpu["here-all"], "CPU s", TARGET_CPU, met=met, **more)
    met = seconds <= TARGET_SECONDS
    here = wall["here-batch"]
    batch = result("flink/micro-batch", seconds, here, "s", TARGET_SECONDS, met=met, ratio=seconds)
    return report([bounded, batch])


if __name__ == "__main__":
    sys.exit(main())
