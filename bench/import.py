"""`footfall import` of a web server's log, from the first line to the right numbers in the warehouse.

The peer is a script that reads the same lines one by one and counts the same things without storing anything
(`tests/oracles/access_log.py`); its counts also prove ours right. Our rate is by the command's own `seconds`, and the
target is four times the script's. (GoatCounter's importer was measured at 9,785 lines/s, and counted the visits of an
old log wrong.) The same requests as a W3C log, and as own events, are held to our rate for the log: no format is to be
much slower than another, and events, of which none is refused, are to come at half of it at least.

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
from collections.abc import Callable
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from bench.harness import FOOTFALL, report, result
from bench.ingest import user_agents
from tests.oracles import access_log

TARGET = 4.0  # times the peer's rate
OTHERS = {"w3c": 0.75, "events": 0.5}  # of our rate for the combined log
SITE = "bench.example"
BEGIN = 1_780_000_000


class Hit(NamedTuple):
    """One request."""

    ip: str
    at: datetime
    target: str
    status: int
    referrer: str
    agent: str


def combined(hit: Hit) -> str:
    """Return a line of a combined log."""
    stamp = f"{hit.at:%d/%b/%Y:%H:%M:%S} +0000"
    return f'{hit.ip} - - [{stamp}] "GET {hit.target} HTTP/1.1" {hit.status} 5120 "{hit.referrer}" "{hit.agent}"'


def w3c(hit: Hit) -> str:
    """Return a line of a W3C log, as IIS writes it, whose fields are `FIELDS`."""
    path, _, query = hit.target.partition("?")
    agent = hit.agent.replace(" ", "+")
    return f"{hit.at:%Y-%m-%d %H:%M:%S} {hit.ip} GET {path} {query or '-'} {hit.status} {hit.referrer} {agent} 15"


def event(hit: Hit) -> str:
    """Return an event of our own."""
    at, url = int(hit.at.timestamp() * 1_000), f"https://{SITE}{hit.target}"
    return json.dumps({"type": "pageview", "url": url, "ts": at, "visitor": hit.ip, "referrer": hit.referrer})


FIELDS = "#Fields: date time c-ip cs-method cs-uri-stem cs-uri-query sc-status cs(Referer) cs(User-Agent) time-taken"
FORMS: dict[str, tuple[str, Callable[[Hit], str]]] = {  # what stands above the lines, and a line
    "combined": ("", combined), "w3c": (FIELDS, w3c), "events": ("", event),
}  # fmt: skip


def write_log(path: Path, lines: int, form: str = "combined") -> None:
    """Write a month of a site's log as visits, each page followed by its assets where the visit has none of them yet.

    A visitor comes once or a few times and reads three pages on average, minutes apart; there are searches, 404s,
    crawlers, and one line in 10,000 is cut short. Nearly half of the lines are assets."""
    head, text = FORMS[form]
    rng = random.Random(17)
    people = user_agents()
    crawlers = [f"Mozilla/5.0 (compatible; Googlebot/2.{n}; +http://google.com/bot.html)" for n in range(20)]
    visitors = [
        (f"198.{rng.randrange(18, 20)}.{rng.randrange(256)}.{rng.randrange(256)}", rng.choice(people))
        for _ in range(max(lines // 8, 1))
    ]
    requests: list[tuple[int, str]] = []

    def request(at: float, ip: str, target: str, referrer: str, agent: str) -> None:
        status = 404 if rng.random() < 0.03 else 200
        line = text(Hit(ip, datetime.fromtimestamp(int(at), UTC), target, status, referrer, agent))
        requests.append((int(at), line if rng.random() > 0.0001 else line[:40]))

    while len(requests) < lines:
        ip, agent = rng.choice(visitors) if rng.random() > 0.01 else ("198.18.0.1", rng.choice(crawlers))
        at, referrer = BEGIN + rng.random() * 2_592_000, rng.choice(("-", "https://www.example.org/links"))
        for number in range(min(int(rng.paretovariate(1.2)), 50)):
            is_search = rng.random() < 0.06
            page = f"search?q=word+{rng.randrange(500)}" if is_search else f"articles/{_popular(rng)}"
            request(at, ip, f"/{page}", referrer, agent)
            referrer = f"https://{SITE}/{page}"
            for _ in range(2 if number == 0 else rng.random() < 0.3):
                asset = f"/static/file{rng.randrange(60)}.{rng.choice(('css', 'js', 'png'))}"
                request(at + rng.random() * 2, ip, asset, referrer, agent)
            at += 5 + rng.expovariate(1 / 90)
    requests.sort(key=itemgetter(0))
    with path.open("w") as log:
        log.write(head and head + "\n")
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
    results = [result("import", rate, peer, "lines/s", TARGET, met=rate >= TARGET * peer, **more(told, wall, cpu))]
    for form, target in OTHERS.items():
        with tempfile.TemporaryDirectory(prefix="footfall-bench-") as folder:
            log, data = Path(folder) / form, Path(folder) / "data"
            write_log(log, options.events, form)
            told, wall, cpu = imported(log, data)
        its = told["lines"] / told["seconds"]
        met = its >= target * rate
        results.append(result(f"import_{form}", its, rate, "lines/s", target, met=met, **more(told, wall, cpu)))
    return report(results)


def more(told: dict[str, Any], wall: float, cpu: float) -> dict[str, Any]:
    """Return what else is told of an import: of its whole process, with its start and its end."""
    return {
        "lines": told["lines"], "process_seconds": round(wall, 2), "process_rate": round(told["lines"] / wall),
        "cpu_us_a_line": round(cpu / told["lines"] * 1e6, 1),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
