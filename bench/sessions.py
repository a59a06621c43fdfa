"""Raw events in Parquet to session rows in Parquet: the Beam graph against ClickHouse, and against per-event Beam.

Peers: one ClickHouse query (chDB, in array form, the fastest of those tried) over the same files and columns; and the
idiomatic per-event Beam pipeline (Sessions windows over dictionaries), measured as a rate on fewer events. Each run is
a whole process, including its start and imports, and the runs alternate. The sessions are compared row by row before
anything is timed.

    ./dev bench sessions [--events N] [--rounds N] [--json]
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

from bench.harness import Cost, report, result, timed_command

# Of ClickHouse's figures, below `LARGE` events and from there on: a small run is half start-up.
LARGE = 20_000_000
TARGET_WALL = 1.0, 0.75
TARGET_CPU = 0.75, 0.6
SHARD = 250_000  # events; a shard is in memory whole, so there are more of them where there are more events
TARGET_PEAK = 1.0  # GB, whatever the number of events
TARGET_PER_EVENT = 50.0
FILES = 8
SHOWN = [
    "visitor", "started_at", "ended_at", "events", "pageviews", "searches", "interactions", "engaged_ms",
    "entry_page", "exit_page", "user", "referrer", "source", "medium", "channel", "utm_campaign",
    "country", "region", "city", "browser", "os", "device", "language",
]  # fmt: skip


def generate(folder: Path, events: int) -> None:
    """Write the events of visitors with geometric visit lengths over three days, some of them out of order."""
    import numpy as np
    import polars as pl

    from activity.session import STATE_COLUMNS

    rng = np.random.default_rng(5)
    visits = events // 4
    length = rng.geometric(0.25, visits)
    visit = np.repeat(np.arange(visits), length)[:events]
    count = len(visit)
    visitor = rng.integers(1, 2**63, visits // 2, dtype=np.uint64)[rng.integers(0, visits // 2, visits)][visit]
    start = 1_790_000_000_000 + rng.integers(0, 3 * 86_400_000, visits)
    at = start[visit] + rng.exponential(90_000, count).astype(np.int64) * (rng.integers(0, 8, count))
    kind = rng.choice(["pageview", "pageview", "pageview", "search", "engagement", "custom"], count)

    def words(prefix: str, n: int) -> Any:
        return pl.Series([f"{prefix}{i}" for i in range(n)]).gather(rng.zipf(1.4, count) % n)

    frame = pl.DataFrame(
        {
            "visitor": visitor, "id_hi": rng.integers(0, 2**63, count, dtype=np.uint64),
            "id_lo": rng.integers(0, 2**63, count, dtype=np.uint64), "occurred_at": at, "type": kind,
            "engaged_ms": rng.integers(0, 9000, count), "path": words("/article/", 20_000),
            "referrer": words("https://site.example/", 500), "source": words("source", 40), "medium": words("m", 5),
            "channel": words("channel ", 12), "utm_campaign": words("c", 20), "country": words("C", 60),
            "region": words("R", 300), "city": words("city ", 2_000), "browser": words("Browser ", 8),
            "os": words("OS ", 6), "device": words("device", 3), "language": words("l", 30),
        }
    ).with_columns(
        site=pl.lit("bench.example"), received_at="occurred_at", user=pl.lit(""),
        interactive=pl.col("type") != "engagement",
    ).select(STATE_COLUMNS.keys())  # fmt: skip
    order = np.argsort(at + rng.integers(0, 60_000, count), kind="stable")
    frame = frame[order]
    for i in range(FILES):
        frame.slice(i * count // FILES, (i + 1) * count // FILES - i * count // FILES).write_parquet(
            folder / f"events-{i}.parquet", compression="zstd"
        )


def ours(folder: Path, out: Path) -> None:
    """Sessionize the files of a folder by the product's Beam graph."""
    from infra import startup

    startup.begin()  # as every process of ours does, before anything heavy is imported

    import polars as pl
    import pyarrow.parquet as pq

    from activity.columns import REPEATING
    from activity.session import STATE_COLUMNS
    from pipeline.run import Run
    from pipeline.runner import Runner

    repeating = [name for name in STATE_COLUMNS if name in REPEATING]

    class ParquetFeed:
        def __init__(self, path: Path) -> None:
            self.path = path

        def batches(self) -> Iterator[pl.DataFrame]:
            with pq.ParquetFile(self.path, read_dictionary=repeating) as file:
                groups = range(file.num_row_groups)
                for some in (groups[i : i + 2] for i in range(0, len(groups), 2)):
                    yield pl.DataFrame(file.read_row_groups(list(some), columns=list(STATE_COLUMNS)))

    feeds = [ParquetFeed(path) for path in sorted(folder.glob("events-*.parquet"))]
    events = sum(pq.read_metadata(feed.path).num_rows for feed in feeds)
    written: list[Future[None]] = []
    with ThreadPoolExecutor(1) as background:

        def write(frame: pl.DataFrame, block: str) -> None:
            written.append(background.submit(frame.write_parquet, out / f"sessions-{block}.parquet"))

        Runner().run(Run(list(feeds), {"sessions": write}, shards=max(32, events // SHARD)))
    for writing in written:
        writing.result()


QUERY = """
SELECT visitor, s[1].1 AS started_at, s[-1].1 AS ended_at, length(s) AS events,
  arrayCount(e -> e.4 = 'pageview', s) AS pageviews, arrayCount(e -> e.4 = 'search', s) AS searches,
  arrayCount(e -> e.5, s) AS interactions, arraySum(e -> e.6, s) AS engaged_ms,
  arrayFirst(e -> e.4 = 'pageview', s).7 AS entry_page, arrayLast(e -> e.4 = 'pageview', s).7 AS exit_page,
  arrayLast(e -> e.8 != '', s).8 AS user, s[1].9 AS referrer, s[1].10 AS source, s[1].11 AS medium, s[1].12 AS channel,
  s[1].13 AS utm_campaign, s[1].14 AS country, s[1].15 AS region, s[1].16 AS city, s[1].17 AS browser, s[1].18 AS os,
  s[1].19 AS device, s[1].20 AS language, sipHash64(visitor, s[1].2, s[1].3) AS session_id
FROM (
  SELECT visitor, arrayJoin(arraySplit((e, gap) -> gap > 1800000, es, arrayDifference(es.1))) AS s
  FROM (
    SELECT visitor, arraySort(groupArray((occurred_at, id_hi, id_lo, type, interactive, engaged_ms, path, user,
      referrer, source, medium, channel, utm_campaign, country, region, city, browser, os, device, language))) AS es
    FROM file('{files}', Parquet) GROUP BY site, visitor
  )
) INTO OUTFILE '{out}' FORMAT Parquet SETTINGS schema_inference_make_columns_nullable = 0
"""


def clickhouse(folder: Path, out: Path) -> None:
    """Sessionize the same files by one ClickHouse query."""
    import chdb

    chdb.query(QUERY.format(files=folder / "events-*.parquet", out=out / "sessions.parquet"))


def per_event(folder: Path, out: Path) -> None:
    """Sessionize as Beam's guide suggests: a dictionary per event, Sessions windows, a summary per group."""
    import apache_beam as beam
    import polars as pl
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from apache_beam.transforms import window

    def summarise(item: Any) -> dict[str, Any]:
        visitor, events = item
        es = sorted(events, key=lambda e: (e["occurred_at"], e["id_hi"], e["id_lo"]))
        views = [e["path"] for e in es if e["type"] == "pageview"]
        return {
            "visitor": visitor, "started_at": es[0]["occurred_at"], "ended_at": es[-1]["occurred_at"],
            "events": len(es),
            "pageviews": len(views), "entry_page": views[0] if views else "", "source": es[0]["source"],
        }  # fmt: skip

    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(flags=[]))
    (
        pipeline
        | beam.Create([str(path) for path in folder.glob("events-*.parquet")])
        | beam.FlatMap(lambda path: pl.read_parquet(path).iter_rows(named=True))
        | beam.Map(lambda e: window.TimestampedValue((e["visitor"], e), e["occurred_at"] / 1000))
        | beam.WindowInto(window.Sessions(1800))
        | beam.GroupByKey()
        | beam.Map(summarise)
        | beam.io.WriteToText(str(out / "sessions"))
    )
    pipeline.run().wait_until_finish()


RUNS = {"ours": ours, "clickhouse": clickhouse, "per_event": per_event}


def run(name: str, folder: Path, out: Path) -> Cost:
    """Return the cost of one run in a process of its own."""
    out.mkdir(parents=True, exist_ok=True)
    return timed_command([sys.executable, "-m", "bench.sessions", "--run", name, str(folder), str(out)])


def aside(work: Callable[..., Any], *arguments: Any) -> Any:
    """Do work in a process of its own: the peak memory of a child begins with that of the process that starts it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def compare(a: Path, b: Path) -> int:
    """Compare two outputs row by row and return the number of sessions. Raises SystemExit if they differ."""
    import polars as pl

    def read(out: Path) -> pl.DataFrame:
        frame = pl.read_parquet(out / "sessions*.parquet").select(SHOWN)
        texts = [pl.col(n).cast(pl.String) for n, kind in frame.schema.items() if kind == pl.Binary]
        numbers = [pl.col(n).cast(pl.Int64) for n in SHOWN[1:8]]
        return frame.with_columns(*texts, *numbers).sort(SHOWN[:3])

    left, right = read(a), read(b)
    if not left.equals(right):
        raise SystemExit(f"the sessions differ: {left.height} rows against {right.height}")
    return left.height


def main() -> int:
    """Run the bench; return 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="accepted for uniformity: the output is JSON lines")
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        RUNS[args.run[0]](Path(args.run[1]), Path(args.run[2]))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        folder, few = root / "events", root / "few"
        for target, count in ((folder, args.events), (few, min(40_000, args.events))):
            target.mkdir()
            aside(generate, target, count)
        run("ours", folder, root / "ours")
        run("clickhouse", folder, root / "clickhouse")
        sessions = aside(compare, root / "ours", root / "clickhouse")
        print(f"{args.events} events, {sessions} sessions, equal row by row", file=sys.stderr)
        runs: dict[str, list[Cost]] = {"ours": [], "clickhouse": []}
        for i in range(args.rounds):
            for name, times in runs.items():
                times.append(run(name, folder, root / f"{name}-{i}"))
        wall, cpu, system, peak = (
            {name: statistics.median(getattr(cost, figure) for cost in times) for name, times in runs.items()}
            for figure in ("wall", "cpu", "system", "peak")
        )
        slow = run("per_event", few, root / "per_event").wall
    rate, slow_rate = args.events / wall["ours"], 40_000 / slow
    large = args.events >= LARGE
    results = []
    for name, found, unit, target in (
        ("clickhouse", wall, "s", TARGET_WALL[large]),
        ("clickhouse-cpu", cpu, "CPU s", TARGET_CPU[large]),
    ):
        mine, peer = found["ours"], found["clickhouse"]
        more = {"system": [round(system[who], 1) for who in ("ours", "clickhouse")]} if found is cpu else {}
        results.append(result(f"sessions/{name}", mine, peer, unit, target, met=mine / peer <= target, **more))
    # The target of this one is for our figure, not for the ratio.
    met = peak["ours"] <= TARGET_PEAK
    results.append(result("sessions/peak", peak["ours"], peak["clickhouse"], "GB", TARGET_PEAK, met=met))
    met = rate / slow_rate >= TARGET_PER_EVENT
    results.append(result("sessions/per-event", rate, slow_rate, "events/s", TARGET_PER_EVENT, met=met))
    return report(results)


if __name__ == "__main__":
    sys.exit(main())
