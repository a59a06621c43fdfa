"""The audit, an erasure and the doctor on a folder with N events: how long each takes, and who waits meanwhile.

Makes days of N / days events as `up` would have left them: in the log, the archive, the warehouse and the checkpoint,
all by the product's own code. Each record of the log has a time of its own and so a row of its own, which is the worst
that the log can be asked to read. Then `footfall up` runs on the folder, builds its days, and is asked by commands.
`cpu` is the seconds of CPU of the command and of the process that does it, with what that does beside.

The audit's peer is Python that reads the same day of the log and decodes each record by msgspec, and adds up nothing.
The erasure's peer is grep, which looks through all files for the visitor's id once and changes nothing. The doctor's
is the start of the command (`footfall --version`). The targets are absolute, for a day of 5 million events and a
visitor among 20 million.

    ./dev bench account [--events N] [--days N] [--keep FOLDER] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import polars as pl

from activity import rollup
from activity.columns import COLUMNS
from activity.definitions import DAY_MS, HOUR_MS
from activity.event import TOPICS, EventType, topic_of, visitor_key
from bench.harness import FOOTFALL, Cost, Result, Up, percentile, report, result, timed, up
from bench.panels import wait_built
from bench.replay import FIRST, _folder, events_of_day, site_names
from brokers.base import Record, TopicPartition
from infra.processes import control
from infra.settings import Settings
from infra.wiring import Parts
from pipeline import archive, erasure
from pipeline.unit import ONE

SITES = 4
SITE = site_names(SITES)[0]
REGULAR = f"{0xFEEDBEEF:016x}"  # comes to the site all the time
_RARELY = 50_000  # of so many events one is his
_PUBLISHED = 2_000  # at once
TARGET_DAY, TARGET_HOUR, TARGET_FORGET, TARGET_DOCTOR = 30.0, 1.0, 60.0, 2.0  # s


def records(events: pl.DataFrame) -> list[Record]:
    """The records that the door would have written for these events."""
    ids = {"v": pl.lit(1), "id": rollup.hex16("id_hi") + rollup.hex16("id_lo"), "visitor": rollup.hex16("visitor")}
    given = [name for name in COLUMNS if name not in ("id_hi", "id_lo", "visitor", "props") and _is_given(events[name])]
    value = pl.struct(**ids, **{name: pl.col(name) for name in given}).struct.json_encode()
    topics = {kind.value: topic_of(kind) for kind in EventType}
    rows = events.select(value.alias("value"), "type", "site", ids["visitor"].alias("visitor"), "received_at")
    return [
        Record(topics[kind], visitor_key(site, visitor), text.encode(), timestamp=at)
        for text, kind, site, visitor, at in rows.iter_rows()
    ]


def _is_given(column: pl.Series) -> bool:
    return not column.null_count() and not (column.dtype == pl.String and (column == "").all())


def hours(events: int, days: int) -> Iterator[pl.DataFrame]:
    """The events of each hour of the days before today."""
    first = time.time_ns() // 1_000_000 // DAY_MS * DAY_MS - days * DAY_MS
    later = first - int(datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC).timestamp()) * 1000
    is_his = pl.int_range(pl.len()) % _RARELY == 0
    after_midnight = None
    for day in range(days):
        made = events_of_day(day, events // days, SITES, named=True).with_columns(
            pl.col("occurred_at", "received_at") + later,
            visitor=pl.when(is_his).then(pl.lit(int(REGULAR, 16), pl.UInt64)).otherwise("visitor"),
            site=pl.when(is_his).then(pl.lit(SITE)).otherwise("site"),
        )
        frame = made if after_midnight is None else pl.concat([after_midnight, made]).sort("occurred_at")
        end = first + (day + 1) * DAY_MS
        for start in range(end - DAY_MS, end, HOUR_MS):
            yield frame.filter(pl.col("occurred_at").is_between(start, start + HOUR_MS, closed="left"))
        after_midnight = frame.filter(pl.col("occurred_at") >= end)


def make(folder: Path, events: int, days: int) -> None:
    """Publish, load and archive the events hour by hour, by a clock that goes along."""
    now, total = 0, 0
    with Parts(Settings.load({}, {"data": folder})) as parts:
        parts.create_topics()
        loader = parts.loader(ONE)
        loader.clock = lambda: now
        for frame in hours(events, days):
            for part in frame.iter_slices(_PUBLISHED):
                parts.broker.publish(records(part))
            now = int(frame["received_at"][-1]) + 1
            loader.drain(loader.ends())
            tombstones = partial(erasure.load, parts.checkpoint)
            done = loader.checkpoint().positions
            archive.flush(loader.runner, parts.broker, parts.archive, done, loader.unit.name, tombstones)
            total += frame.height
            print(f"made {total:,} events", file=sys.stderr)


def last_day(folder: Path) -> int:
    """When the last day with events begins, in ms."""
    with Parts(Settings.load({}, {"data": folder})) as parts:
        positions = [(topic, n, bounds) for topic in TOPICS for n in range(parts.broker.partitions(topic))
                     if (bounds := parts.broker.bounds(TopicPartition(topic, n)))]  # fmt: skip
        last = max(parts.broker.timestamp_of(TopicPartition(topic, n), found.last) for topic, n, found in positions)
    return last // DAY_MS * DAY_MS


def decoded(folder: Path, day: int) -> Cost:
    """What it costs to read a day of the log and decode each record, nothing more."""

    class Receipt(msgspec.Struct, gc=False):
        id: str
        visitor: str
        site: str
        received_at: int

    decode = msgspec.json.Decoder(Receipt).decode

    def work() -> None:
        with Parts(Settings.load({}, {"data": folder})) as parts:
            broker = parts.broker
            for topic in TOPICS:
                for number in range(broker.partitions(topic)):
                    place = TopicPartition(topic, number)
                    upto = broker.position_at(place, day + DAY_MS)
                    if upto is not None:
                        for some in broker.read_range(place, broker.position_at(place, day), upto, 20_000):
                            for each in some:
                                decode(each.value or b"{}")

    return timed(work)


def searched(folder: Path) -> float:
    """The seconds in which grep looks through every file for the regular visitor's id once."""
    begun = time.perf_counter()
    subprocess.run(["grep", "-rlF", REGULAR, str(folder)], stdout=subprocess.DEVNULL, check=False)
    return time.perf_counter() - begun


class Asked(NamedTuple):
    """The seconds that a command took, the seconds of CPU, and its lines of JSON."""

    seconds: float
    cpu: float
    lines: list[dict[str, Any]]

    def result(self, name: str, peer: float, target: float, **more: object) -> Result:
        """The result of a bench, by the seconds."""
        met, cpu = self.seconds < target, round(self.cpu, 1)
        return result(f"account/{name}", self.seconds, peer, "s", target, met=met, cpu=cpu, **more)


def asked(folder: Path, *words: str) -> Asked:
    """Runs a command on a folder."""
    owner = control.find(folder)
    begun, before = time.perf_counter(), _cpu(owner)
    command = [*FOOTFALL, *words, "--data", str(folder), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    seconds, cpu = time.perf_counter() - begun, _cpu(owner) - before
    return Asked(seconds, cpu, [json.loads(line) for line in done.stdout.splitlines()])


def _cpu(owner: control.Owner | None) -> float:
    """The seconds of CPU of the commands that have ended, and of the process that works for them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = used.ru_utime + used.ru_stime
    if owner is not None:
        fields = Path(f"/proc/{owner.pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def forgotten(running: Up, day: int, peer: float) -> Result:
    """The result of forgetting the regular visitor while somebody reads the page of a day over and over."""
    date = f"{datetime.fromtimestamp(day / 1000, UTC):%Y-%m-%d}"
    waits: list[float] = []
    failed: list[str] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.wait(0.05):
            begun = time.perf_counter()
            try:
                running.stats(SITE, date, date)
            except OSError as error:
                failed.append(str(error))
            waits.append((time.perf_counter() - begun) * 1e3)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        done = asked(running.data, "forget", "--site", SITE, "--visitor", REGULAR, "--yes")
    finally:
        stop.set()
        reader.join()
    receipt = done.lines[-1]
    if failed or not receipt["removed"]["events"] or receipt["remains"]:
        raise SystemExit(f"readers failed: {failed[:3]}, or it was not forgotten: {receipt}")
    shown = {"reads": len(waits), "p50_ms": round(percentile(waits, 0.5)), "p99_ms": round(percentile(waits, 0.99))}
    return done.result("forget", peer, TARGET_FORGET, **shown)


def audited(folder: Path, name: str, peer: float, target: float, *words: str) -> Result:
    """The result of an audit. Raises SystemExit unless the account sums."""
    done = asked(folder, "audit", *words)
    accepted = sum(line["accepted"] for line in done.lines)
    if not accepted or not all(line["balanced"] for line in done.lines):
        raise SystemExit(f"the account does not sum: {done.lines}")
    return done.result(name, peer, target, events=accepted)


def examined(folder: Path, name: str, peer: float) -> Result:
    """The result of the doctor. Raises SystemExit where it finds that rows are lost or has no answer."""
    done = asked(folder, "doctor")
    if any(line["state"] != "ok" for line in done.lines if line["check"] in ("rows", "checkpoint", "archive")):
        raise SystemExit(f"the doctor finds something wrong: {done.lines}")
    return done.result(name, peer, TARGET_DOCTOR)


def measured(folder: Path) -> Iterator[Result]:
    """All results; the regular visitor is gone afterwards."""
    day = last_day(folder)
    date = f"{datetime.fromtimestamp(day / 1000, UTC):%Y-%m-%d}"
    start = timed(lambda: subprocess.run([*FOOTFALL, "--version"], stdout=subprocess.DEVNULL, check=True)).wall
    yield examined(folder, "doctor-stopped", start)
    peer, grep = decoded(folder, day).wall, searched(folder)
    with up(folder, "--site", SITE) as running:
        wait_built(running)
        yield examined(folder, "doctor", start)
        yield audited(folder, "audit-day", peer, TARGET_DAY, "--from", date, "--to", date)
        yield audited(folder, "audit-hour", peer / 24, TARGET_HOUR, "--hour", f"{date}T23")
        yield forgotten(running, day, grep)
        yield audited(folder, "audit-day-erased", peer, TARGET_DAY, "--from", date, "--to", date)


def main() -> int:
    """Run the bench; return 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--days", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="make the data there, or take what was made there before")
    parser.add_argument("--json", action="store_true", help="accepted for uniformity: the output is JSON lines")
    args = parser.parse_args()
    with _folder(args.keep) as folder:
        if not (folder / "checkpoint").exists():
            make(folder, args.events, args.days)
        return report(measured(folder))


if __name__ == "__main__":
    sys.exit(main())
