"""How much more several loaders load than one: `footfall load --unit K/N` for N = 1, 2 and 4 over the same log.

The same events lie in an embedded log of eight partitions; the warehouse is the embedded engine behind ClickHouse's
HTTP protocol, in a process of its own, empty each time. What was stored when the last loader had its first batch is
left out, and so is the time until then: starting a process is not loading. All of it shares the cores of the machine,
the warehouse too, so more loaders than cores show what sharing costs.

    ./dev bench loaders [--events N] [--json]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.flink import fill
from bench.harness import FOOTFALL, report, result

SERVER = Path(__file__).parents[1] / "tests" / "stores" / "clickhouse_http.py"
PARTITIONS = 8
TARGETS = {2: 1.0, 4: 0.9}  # of one loader's rate: what more loaders than cores may cost


def loaded(folder: Path, log: Path, count: int, events: int) -> float:
    """The events a second of so many loaders."""
    import stores

    (folder / "clickhouse").mkdir(parents=True)
    line = [sys.executable, str(SERVER), str(folder / "clickhouse"), "ann", ""]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"clickhouse://ann@127.0.0.1:{server.stdout.readline().strip()}/web"
        env = os.environ | {
            "FOOTFALL_DATA": str(folder),
            "FOOTFALL_BROKER": f"sqlite://{log}",
            "FOOTFALL_WAREHOUSE": url,
        }
        warehouse = stores.connect_warehouse(url)
        warehouse.migrate()
        subprocess.run([*FOOTFALL, "units", str(count)], env=env, check=True, capture_output=True)
        units = [["--unit", f"{number}/{count}"] if count > 1 else [] for number in range(1, count + 1)]
        running = [subprocess.Popen([*FOOTFALL, "load", *unit], env=env, stderr=subprocess.DEVNULL) for unit in units]
        try:
            return _rate(warehouse, running, events)
        finally:
            for loader in running:
                loader.terminate()
            for loader in running:
                loader.wait(60)
            warehouse.close()
            server.communicate("", timeout=60)


def _rate(warehouse: Any, running: list[subprocess.Popen[bytes]], events: int) -> float:
    """Events a second from the first batch of the last loader to the end."""
    begun, before = 0.0, 0
    while True:
        if any(loader.poll() is not None for loader in running):
            raise SystemExit("a loader ended")
        batches, stored = warehouse.query(
            "SELECT uniqExact(batch % {n:UInt32}), count() FROM event_rows", {"n": len(running)}
        ).row(0)
        if not begun and batches == len(running):
            begun, before = time.monotonic(), stored
        if stored == events:
            return (events - before) / (time.monotonic() - begun)
        time.sleep(0.2)


def main() -> int:
    """Run the bench; return 1 if the target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="accepted for uniformity: the output is JSON lines")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="footfall-bench-") as temporary:
        folder = Path(temporary)
        fill(folder / "log.sqlite", args.events, PARTITIONS)
        rates = {
            count: loaded(folder / str(count), folder / "log.sqlite", count, args.events) for count in (1, *TARGETS)
        }
    return report(
        result(f"loaders/{count}", rates[count], rates[1], "events/s", target, met=rates[count] >= target * rates[1])
        for count, target in TARGETS.items()
    )


if __name__ == "__main__":
    sys.exit(main())
