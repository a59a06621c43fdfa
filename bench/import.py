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
from operator import itemgetter
from pathlib import Path
from typing import Any

from bench.harness import FOOTFALL, report, result
from bench.ingest import user_agents
from tests.oracles import access_log

TARGET = 4.0  # times the peer's rate
SITE = "bench.example"
BEGIN = 1_780_000_000


def write_log(path: Path, lines: int) -> None:
    """Write a month of a site's log as visits, each page followed by its assets where the visit has none of them yet.

    A visitor comes once or a few times and reads three pages on average, minutes apart; there are searches, 404s,
    crawlers, and one line in 10,000 is cut short. About a third of the lines are assets."""
    rng = random.Random(17)
    people = user_agents()
    crawlers = [f"Mozilla/5.0 (compatible; Googlebot/2.{n}; +http://google.com/bot.html)" for n in range(20)]
    visitors = [
        (f"198.{rng.randrange(18, 20)}.{rng.randrange(256)}.{rng.randrange(256)}", rng.choice(people))
        for _ in range(max(lines // 8, 1))
    ]
    requests: list[tuple[int, str]] = []

    def request(at: float, ip: str, target: str, referrer: str, agent: str) -> None:
        stamp = f"{datetime.fromtimestamp(at, UTC):%d/%b/%Y:%H:%M:%S} +0000"
        status = 404 if rng.random() < 0.03 else 200
        line = f'{ip} - - [{stamp}] "GET {target} HTTP/1.1" {status} 5120 "{referrer}" "{agent}"'
        requests.append((int(at), line if rng.random() > 0.0001 else line[:40]))

    while len(requests) < lines:
        ip, agent = rng.choice(visitors) if rng.random() > 0.01 else ("198.18.0.1", rng.choice(crawlers))
        at, referrer = BEGIN + rng.random() * 2_592_000, rng.choice(("-", "https://www.example.org/links"))
        for number in range(int(rng.paretovariate(1.2))):
            is_search = rng.random() < 0.06
            page = f"search?q=word+{rng.randrange(500)}" if is_search else f"articles/{_popular(rng)}"
            request(at, ip, f"/{page}", referrer, agent)
            referrer = f"https://{SITE}/{page}"
            for _ in range(2 if number == 0 else rng.random() < 0.3):
                asset = f"/static/file{rng.randrange(60)}.{rng.choice(('css', 'js', 'png'))}"
                request(at + rng.random() * 2, ip, asset, referrer, agent)
            at += 5 + rng.expovariate(1 / 90)
            if number == 50:
                break
    requests.sort(key=itemgetter(0))
    with path.open("w") as log:
        log.writelines(f"{line}\n" for _, line in requests[:lines])


def _popular(rng: random.Random) -> int:
    return min(int(rng.paretovariate(0.8)), 9_999)


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
    parser.add_argument("--events", type=int, default=1_000_000, help="lines")
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
