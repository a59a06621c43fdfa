"""Replay from the archive: events a second, the peak of memory, and the time to the first digest.

Makes an archive and a warehouse of N events, as the live run would have left them, and has `footfall replay` rebuild
them in a process of its own, once for a tenth of the days and once for all: memory must not grow with the window. The
peer is one ClickHouse query (chDB) that counts the sessions of the same Parquet files; the counts must agree.

    ./dev bench replay [--events N] [--days N] [--keep FOLDER] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import polars as pl

from bench.harness import FOOTFALL, report, result

SITE = "bench.example"
FIRST = date(2026, 3, 1)
DAY_MS = 86_400_000
TARGET_RATE, TARGET_BYTES, TARGET_FIRST, TARGET_FLAT, TARGET_CLICKHOUSE = 150_000, 1e9, 10.0, 1.10, 8.0


class Replayed(NamedTuple):
    """What one replay cost: seconds in all and to the first digest, peak memory of all its processes, its reports."""

    wall: float
    first: float
    peak: int
    reports: list[dict[str, Any]]


def site_names(count: int) -> list[str]:
    """The sites of an archive with so many of them."""
    return [SITE] if count == 1 else [f"shop-{number:02}.example" for number in range(1, count + 1)]


def events_of_day(number: int, count: int, sites: int = 1, *, named: bool = False) -> pl.DataFrame:
    """The events of one day: visits of about four events, some of which go on after midnight.

    A visitor comes to one of the sites. With `named`, custom events have names, as those of a real site do."""
    import numpy as np
    import polars as pl

    from activity.columns import COLUMNS

    rng = np.random.default_rng(number)
    length = rng.geometric(0.25, count // 3)
    visit = np.repeat(np.arange(len(length)), length)[:count]
    count = len(visit)
    begin = (FIRST - date(1970, 1, 1)).days * DAY_MS + number * DAY_MS
    start = begin + rng.integers(0, DAY_MS, len(length))
    step = rng.exponential(90_000, count).astype(np.int64)
    gone = np.cumsum(step)
    first = np.searchsorted(visit, np.arange(visit[-1] + 1))
    at = start[visit] + gone - gone[first][visit]
    kind = rng.choice(["pageview", "pageview", "pageview", "search", "engagement", "custom"], count)

    def words(prefix: str, n: int) -> Any:
        return pl.Series([f"{prefix}{i}" for i in range(n)]).gather(rng.zipf(1.4, count) % n)

    path = words("/article/", 20_000)
    made = {
        "visitor": rng.integers(1, 2**64 - 1, len(length), dtype=np.uint64)[visit],
        "id_hi": rng.integers(0, 2**63, count, dtype=np.uint64),
        "id_lo": rng.integers(0, 2**63, count, dtype=np.uint64),
        "occurred_at": at, "type": kind, "engaged_ms": rng.integers(0, 9000, count), "path": path,
        "url": "https://" + SITE + path, "title": "About " + path, "referrer": words("https://site.example/", 500),
        "source": words("source", 40), "medium": words("m", 5), "channel": words("channel ", 12),
        "utm_campaign": words("c", 20), "country": words("C", 60), "region": words("R", 300),
        "city": words("city ", 2_000), "browser": words("Browser ", 8), "os": words("OS ", 6),
        "device": words("device", 3), "language": words("l", 30), "term": words("term ", 300),
    }  # fmt: skip
    if sites > 1:
        site = pl.Series(site_names(sites)).gather(made["visitor"] % np.uint64(sites))
        made |= {"site": site, "host": site, "url": "https://" + site + path}
    if named:
        made["name"] = pl.Series(made["term"]).str.replace("term", "event").set(pl.Series(kind != "custom"), "")
    fixed = {"site": SITE, "host": SITE, "props": "{}", "protocol": "footfall", "clamped": False}
    absent = {"sent_at": pl.Int64(), "results": pl.Int64()}
    frame = pl.DataFrame(made).with_columns(
        received_at="occurred_at",
        interactive=pl.col("type") != "engagement",
        **{name: pl.lit(value) for name, value in fixed.items() if name not in made},
        **{name: pl.lit(None, dtype=kind) for name, kind in absent.items()},
    )
    texts = [name for name in COLUMNS if name not in frame.columns]
    return frame.with_columns(pl.lit("").alias(name) for name in texts).select(COLUMNS.keys()).sort("occurred_at")


def make(folder: Path, events: int, days: int, sites: int = 1, *, named: bool = False) -> None:
    """Write the archive, the warehouse and the checkpoint below `folder`."""
    import polars as pl

    import stores
    from activity import rollup, session
    from pipeline import archive as archiving
    from pipeline.checkpoint import Checkpoint, CheckpointRepository
    from pipeline.io import warehouse_writes

    warehouse = stores.connect_warehouse(f"chdb://{folder}/warehouse")
    warehouse.migrate()
    archive = stores.connect_archive(f"file://{folder}/archive")
    state = session.empty_state()
    total = 0
    for day in range(days):
        frame = events_of_day(day, events // days, sites, named=named)
        total += frame.height
        writes = warehouse_writes(warehouse, "bench", day + 1)
        writes["events"](frame.with_columns(deleted=pl.lit(False)), str(day))
        for grain, size in rollup.GRAINS.items():
            writes[grain](rollup.roll_up(frame, frame.clear(), size), str(day))
        step = session.advance(state, frame, 0)
        writes["sessions"](step.changes, str(day))
        state, _ = session.prune(step.state, int(frame["received_at"][0]) + DAY_MS)
        placed = frame.with_columns(
            topic=pl.lit("footfall.custom"), partition=pl.lit(0, dtype=pl.Int32), position=pl.lit("0"),
            published_at="received_at",
        )  # fmt: skip
        committed = archive.committed()
        archive.commit(committed.version, list(archiving._write(archive, placed, "0", str(day))), committed.positions)
        print(f"made {total:,} events", file=sys.stderr)
    repository = CheckpointRepository(stores.connect_checkpoint(f"file://{folder}/checkpoint"), "0")
    watermark = ((FIRST - date(1970, 1, 1)).days + days + 3) * DAY_MS
    repository.swap(Checkpoint(generation="bench", partitions=4, batch=days, watermark=watermark, events=total))
    warehouse.close()


def memory(pid: int) -> int:
    """The bytes that a process and its children have resident."""
    total = 0
    with contextlib.suppress(OSError, IndexError):
        total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            total += memory(int(child))
    return total


def replayed(folder: Path, days: int) -> Replayed:
    """Replay the first days of the archive by the command, in a process of its own."""
    last = FIRST + timedelta(days=days - 1)
    command = [*FOOTFALL, "replay", "--data", str(folder), "--from", str(FIRST), "--to", str(last)]
    begun, first, peak = time.monotonic(), 0.0, 0
    with tempfile.TemporaryFile("w+b") as out:
        process = subprocess.Popen([*command, "--source", "archive", "--json"], stdout=out, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            peak = max(peak, memory(process.pid))
            if not first and os.fstat(out.fileno()).st_size:
                first = time.monotonic() - begun
            time.sleep(0.05)
        wall = time.monotonic() - begun
        out.seek(0)
        reports = [json.loads(line) for line in out.read().splitlines()]
    if process.returncode not in (0, 1) or not reports:
        raise SystemExit(f"the replay failed with status {process.returncode}")
    return Replayed(wall, first, peak, reports)


QUERY = """
SELECT sum(length(arraySplit((at, gap) -> gap > 1800000, ats, arrayDifference(ats)))) FROM (
  SELECT arraySort(groupArray(occurred_at)) AS ats
  FROM file('{files}', Parquet) WHERE bot = '' GROUP BY site, visitor)
SETTINGS max_threads = 2
"""


def clickhouse(folder: Path) -> None:
    """Count the sessions of the files by one query."""
    import chdb

    print(chdb.query(QUERY.format(files=folder / "archive/site=*/type=*/date=*/hour=*/*.parquet")))


def counted(folder: Path) -> tuple[float, int]:
    """Seconds and answer of the peer, in a process of its own."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "bench.replay", "--count", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.monotonic() - begun, int(done.stdout)


@contextlib.contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="footfall-bench-") as temporary:
        yield Path(temporary)


def main() -> int:
    """Run the bench; return 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--days", type=int, help="over how many days; by default half a million events a day")
    parser.add_argument("--keep", type=Path, help="make the data there, or take what was made there before")
    parser.add_argument("--json", action="store_true", help="accepted for uniformity: the output is JSON lines")
    parser.add_argument("--count", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.count:
        clickhouse(Path(args.count))
        return 0
    days = args.days or max(2, args.events // 500_000)
    with _folder(args.keep) as folder:
        if not (folder / "checkpoint").exists():
            make(folder, args.events, days)
        few = replayed(folder, max(1, days // 10))
        ours = replayed(folder, days + 1)
        peer, sessions = counted(folder)
    if sum(line["sessions"] for line in ours.reports) != sessions or not all(line["equal"] for line in ours.reports):
        raise SystemExit(f"the replay does not have the {sessions} sessions of the files, or was not equal")
    events = sum(line["events"] for line in ours.reports)
    rate = events / ours.wall
    return report(
        [
            result("replay/rate", rate, events / peer, "events/s", TARGET_RATE, met=rate >= TARGET_RATE),
            result("replay/clickhouse", ours.wall, peer, "s", TARGET_CLICKHOUSE,
                   met=ours.wall / peer <= TARGET_CLICKHOUSE),
            result("replay/memory", ours.peak / 1e6, few.peak / 1e6, "MB", TARGET_FLAT,
                   met=ours.peak <= TARGET_FLAT * few.peak and ours.peak <= TARGET_BYTES),
            result("replay/first-digest", ours.first, few.first, "s", TARGET_FIRST, met=ours.first <= TARGET_FIRST),
        ]
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
