"""`footfall import` of a web server's log, from the first line to the right numbers in the warehouse.

The peer is a script that reads the same lines one by one and counts the same things without storing anything
(`tests/oracles/access_log.py`); its counts also prove ours right. Our rate is by the command's own `seconds`, and the
target is four times the script's. (GoatCounter's importer was measured at 9,785 lines/s, and counted the visits of an
old log wrong.)

    ./dev bench import [--events N lines] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

from bench.harness import FOOTFALL, report, result
from bench.ingest import user_agents
from tests.oracles import access_log

TARGET = 4.0  # times the peer's rate
SITE = "bench.example"
BEGIN = 1_780_000_000


def write_log(path: Path, lines: int) -> None:
    """Write a month of a site's log: a third assets, some 404s, searches, crawlers, one line in 10,000 cut short."""
    rng = random.Random(17)
    crawlers = [f"Mozilla/5.0 (compatible; Googlebot/2.{n}; +http://google.com/bot.html)" for n in range(20)]
    agents = [*user_agents(), *crawlers]
    visitors = [
        (f"198.{rng.randrange(18, 20)}.{rng.randrange(256)}.{rng.randrange(256)}", rng.choice(agents))
        for _ in range(max(lines // 12, 1))
    ]
    weights = list(accumulate(1 / (rank + 20) for rank in range(len(visitors))))
    with path.open("w") as log:
        for number in range(lines):
            ip, agent = rng.choices(visitors, cum_weights=weights)[0]
            at = datetime.fromtimestamp(BEGIN + number * 2_592_000 // lines, UTC)
            kind = rng.random()
            if kind < 0.33:
                target = f"/static/file{rng.randrange(60)}.{rng.choice(('css', 'js', 'png'))}"
            elif kind < 0.37:
                target = f"/search?q=word+{rng.randrange(500)}"
            else:
                target = f"/articles/{min(int(rng.paretovariate(0.8)), 9_999)}"
            status = 404 if rng.random() < 0.03 else 200
            referrer = rng.choice(("-", "https://www.example.org/links", f"https://{SITE}/"))
            stamp = f"{at:%d/%b/%Y:%H:%M:%S} +0000"
            line = f'{ip} - - [{stamp}] "GET {target} HTTP/1.1" {status} 5120 "{referrer}" "{agent}"'
            log.write((line if rng.random() > 0.0001 else line[:40]) + "\n")


def imported(log: Path, data: Path) -> tuple[dict[str, Any], float, float]:
    """Import a log; return the command's report, and the wall and CPU seconds of its whole process."""
    subprocess.run([*FOOTFALL, "site", "add", SITE, "--data", str(data)], check=True, stdout=subprocess.DEVNULL)
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [*FOOTFALL, "import", str(log), "--site", SITE, "--data", str(data), "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout.splitlines()[-1]), wall, cpu


def stored(data: Path) -> dict[str, int]:
    """Return the counts in the warehouse, without bots."""
    statement = """
        SELECT countIf(type = 'pageview') AS pageviews, countIf(type = 'search') AS searches,
          uniqExact(visitor) AS visitors,
          (SELECT count() FROM sessions) AS visits
        FROM events WHERE bot = '' FORMAT JSONEachRow"""
    command = [*FOOTFALL, "sql", statement, "--data", str(data)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {name: int(value) for name, value in json.loads(done.stdout).items()}


def main() -> int:
    """Run the bench; return 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000, help="lines")
    parser.add_argument("--json", action="store_true", help="accepted for uniformity: the output is JSON lines")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="footfall-bench-") as folder:
        log, data = Path(folder) / "access.log", Path(folder) / "data"
        write_log(log, options.events)
        told, wall, cpu = imported(log, data)
        begun = time.perf_counter()
        counted = access_log.count(log.read_bytes().splitlines())
        peer = options.events / (time.perf_counter() - begun)
        found = stored(data) | {name: told[name] for name in ("accepted", "bots", "refused", "not_understood")}
    wrong = {name: (value, counted[name]) for name, value in found.items() if value != counted[name]}
    if wrong:
        raise SystemExit(f"the numbers differ from the script's (ours, its): {wrong}")
    rate = told["lines"] / told["seconds"]
    more = {
        "lines": told["lines"], "process_seconds": round(wall, 2), "process_rate": round(told["lines"] / wall),
        "cpu_us_a_line": round(cpu / told["lines"] * 1e6, 1),
    }  # fmt: skip
    return report([result("import", rate, peer, "lines/s", TARGET, met=rate >= TARGET * peer, **more)])


if __name__ == "__main__":
    sys.exit(main())
