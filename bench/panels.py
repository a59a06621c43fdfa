"""How long the dashboards' panels take over 31 days, against the same questions asked of the raw rows.

Makes a month of N events, as the live run would have left them. The peer is plain SQL over every event and session of
the month (chDB, in a process of its own, while nothing else runs), and where DuckDB is installed also DuckDB on the
Parquet files of the archive. Ours is `footfall up` on the same folder, asked by HTTP while 500 page views a second
arrive: each panel of the API, the page, and the page in Chromium with an empty cache. All answers are compared before
ours are timed. The page is timed against what it shows: the numbers, the chart and the first list of each card. It also
asks for the range before, in which this data has nothing; the peer is asked for that too.

What visits did in order (a funnel, what follows a page, the latest visits) has the target of filtered panels, since it
reads each visit.

The page of today, which has what the traffic sent, is printed only.

With filters, the numbers and two lists are compared and timed for each of some filters; the page is timed only. As the
peer takes long for each, they are left out of more than two million events unless `--filters` is given.

    ./dev bench panels [--events N] [--days N] [--sites N] [--keep FOLDER] [--json] [--no-browser] [--[no-]filters]
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import math
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from bench._panel_peers import FILTERS, JOURNEYS, RAW, STEPS
from bench.harness import Result, Up, percentile, report, result, up
from bench.ingest import user_agents
from bench.replay import FIRST, _folder, make, site_names
from bench.sustained import lag_of
from dashboards.pages import CARDS
from tests.e2e import mmdb

RATE, BATCH = 500, 100  # page views a second, and a request
WARM_UPS, ROUNDS, LOADS = 2, 30, 7
FILTERED_ROUNDS, FILTERED_EVENTS = 20, 2_000_000  # how often, and up to how many events by default
BUILT_WITHIN = 600.0  # s
TARGET_P50, TARGET_P95, TARGET_READY, TARGET_BUILD = 100.0, 300.0, 500.0, 5.0  # ms, ms, ms, s
TARGET_PAGE, TARGET_LIST, TARGET_DUCKDB = 50.0, 100.0, 1.0  # times faster
TARGET_LOAD = 80.0  # kB
TARGET_FILTERED = 1_500.0  # ms, p95

# When every list and the chart are there, by the clock that begins with the navigation.
_WATCH = """
(() => {
  const look = () => {
    const lists = [...document.querySelectorAll(".list[data-part]")];
    const filled = lists.length > 0 && lists.every((list) => list.querySelector("table, p"));
    if (filled && document.querySelector("#chart canvas")) window.drawnAt = performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})()"""
_DRAWN = """() => new Promise((resolve, reject) => {
  const look = () => window.drawnAt ? resolve(window.drawnAt) : requestAnimationFrame(look);
  setTimeout(() => reject(new Error("the page was not drawn within 30 s")), 30000);
  look();
})"""
_LOADED = """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .reduce((sum, each) => sum + Math.max(each.transferSize, each.encodedBodySize), 0)"""
_QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


class Asked(NamedTuple):
    """The milliseconds that a peer took for a question, and its rows."""

    ms: float
    rows: list[dict[str, Any]]


class Took(NamedTuple):
    """The milliseconds of a request under traffic."""

    p50: float
    p95: float

    def against(self, peer: float) -> dict[str, float]:
        """How many times faster than the peer, and the p95, as parts of a result."""
        return {"ratio": peer / self.p50, "p95": round(self.p95, 1)}


def prepare(folder: Path, wanted: dict[str, int]) -> None:
    """Make the data, unless it is there. Raises SystemExit if other data is."""
    note = folder / "made.json"
    if not (folder / "checkpoint").exists():
        make(folder, **wanted, named=True)
        note.write_text(json.dumps(wanted))
    elif not note.exists() or json.loads(note.read_text()) != wanted:
        raise SystemExit(f"{folder} holds other data: {note.read_text() if note.exists() else 'of another bench'}")
    mmdb.write(folder / "places.mmdb", {})  # with a geo database the page has its list of countries


def answers(peer: str, *given: object) -> dict[str, Asked]:
    """A peer's answers, by a process of its own."""
    command = [sys.executable, "-m", "bench._panel_peers", peer, *map(str, given)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {name: Asked(*asked) for name, asked in json.loads(done.stdout).items()}


def compare(name: str, ours: dict[str, Any], peer: list[dict[str, Any]]) -> None:
    """Raise SystemExit unless an answer of the API has the peer's rows, with all numbers that the peer has."""
    rows = ours.get("rows", [ours])
    if len(rows) != len(peer):
        raise SystemExit(f"{name}: {len(rows)} rows, by the peer {len(peer)}")
    for number, (row, other) in enumerate(zip(rows, peer, strict=True)):
        for column in other.keys() - {"bucket"}:
            if not _equal(row[column], other[column]):
                raise SystemExit(f"{name}, row {number}: {column} is not as the peer has it in {other}: {row}")


def _equal(one: Any, other: Any) -> bool:
    return math.isclose(one, other, rel_tol=1e-9) if isinstance(other, float) else bool(one == other)


def wait_built(running: Up) -> None:
    """Wait until the days before today are built."""
    deadline = time.monotonic() + BUILT_WITHIN
    while (left := gauges(running).get("footfall_days_to_build")) != 0:
        waiting = "/metrics does not say how many days there are to build" if left is None else f"{left:.0f} are left"
        if time.monotonic() > deadline:
            raise SystemExit(f"the days were not built within {BUILT_WITHIN:.0f} s: {waiting}")
        print(waiting, file=sys.stderr)
        time.sleep(2)


def gauges(running: Up) -> dict[str, float]:
    """The numbers of `/metrics` that have no labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{running.dashboards}/metrics") as answer:
        found = re.findall(r"^(\w+) (\S+)$", answer.read().decode(), re.MULTILINE)
    return {name: float(value) for name, value in found}


@contextlib.contextmanager
def traffic(running: Up, site: str) -> Iterator[Callable[[], float]]:
    """Send page views until the block ends. Gives a function for the events a second that were taken until now.

    That function raises SystemExit if a request was not taken whole."""
    stop, begun, taken, failed = threading.Event(), time.monotonic(), [0], []

    def send() -> None:
        agents, address = user_agents(), f"http://127.0.0.1:{running.tracking}/collect"
        for number in itertools.count():
            if stop.wait(max(0.0, begun + number * BATCH / RATE - time.monotonic())):
                return
            pages = range(number * BATCH, (number + 1) * BATCH)
            events = [{"site": site, "type": "pageview", "url": f"https://{site}/live/{n % 5_000}"} for n in pages]
            headers = {"User-Agent": agents[number % len(agents)], "Content-Type": "text/plain"}
            request = urllib.request.Request(address, json.dumps({"events": events}).encode(), headers)
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    accepted = json.load(answer)["accepted"]
            except (OSError, http.client.HTTPException) as error:
                failed.append(str(error))
                return
            taken[0] += accepted
            if accepted != BATCH:
                failed.append(f"{accepted} of {BATCH} events were taken")
                return

    def rate() -> float:
        if failed:
            raise SystemExit(f"the traffic stopped: {failed[0]}")
        return taken[0] / (time.monotonic() - begun)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield rate
    finally:
        stop.set()
        sender.join()


def addresses(running: Up, site: str, days: int) -> dict[str, str]:
    """Where each panel is, and the page."""
    begin, span = f"http://127.0.0.1:{running.dashboards}", f"from={FIRST}&to={FIRST + timedelta(days=days - 1)}"
    lists = {name: name.removeprefix("breakdown-") for name in RAW if name.startswith("breakdown-")}
    return {
        "stats": f"{begin}/api/v1/stats?site={site}&{span}",
        "timeseries": f"{begin}/api/v1/timeseries?site={site}&{span}&interval=day",
        **{name: f"{begin}/api/v1/breakdown?site={site}&{span}&by={by}" for name, by in lists.items()},
        "funnel": f"{begin}/api/v1/funnel?site={site}&{span}&steps={quote(json.dumps(STEPS))}",
        "paths": f"{begin}/api/v1/paths?site={site}&{span}&path={quote(json.dumps(STEPS[0][2]))}",
        "visits": f"{begin}/api/v1/visits?site={site}&{span}",
        "page": f"{begin}/{site}?{span}",
    }


def fetch(address: str) -> bytes:
    """The body of an answer."""
    with urllib.request.urlopen(address, timeout=120) as answer:
        body: bytes = answer.read()
    return body


def took(address: str, rounds: int = ROUNDS) -> Took:
    """What a request takes, over and over."""
    times = []
    for _ in range(WARM_UPS + rounds):
        begun = time.perf_counter()
        fetch(address)
        times.append((time.perf_counter() - begun) * 1e3)
    return Took(percentile(times[WARM_UPS:], 0.5), percentile(times[WARM_UPS:], 0.95))


def measured(running: Up, site: str, days: int, raw: dict[str, Asked], duckdb: dict[str, Asked]) -> Iterator[Result]:
    """The results of all panels and of the page, whose answers are compared before the first is timed."""
    places = addresses(running, site, days)
    for name in (*RAW, *JOURNEYS):
        found = json.loads(fetch(places[name]))
        for peer in (raw, duckdb):
            if name in peer:
                compare(name, found, peer[name].rows)
    for name in RAW:
        ours, shown = took(places[name]), name.replace("_", "-")
        quick = ours.p50 < TARGET_P50 and ours.p95 < TARGET_P95
        yield result(
            f"panels/{shown}", ours.p50, raw[name].ms, "ms", TARGET_P50, met=quick, **ours.against(raw[name].ms)
        )
        if name == "breakdown-page":
            yield faster(f"{shown}-vs-raw", ours, raw[name].ms, TARGET_LIST)
        if name in duckdb:
            yield faster(f"{shown}-vs-duckdb", ours, duckdb[name].ms, TARGET_DUCKDB)
    others = {f"breakdown-{name}" for names in CARDS.values() for name in names[1:]}  # behind tabs
    shown_raw = sum(asked.ms for name, asked in raw.items() if name not in JOURNEYS and name not in others)
    yield faster("page-vs-raw", took(places["page"]), shown_raw, TARGET_PAGE)
    for name in JOURNEYS:
        ours = took(places[name], FILTERED_ROUNDS)
        met, against = ours.p95 < TARGET_FILTERED, ours.against(raw[name].ms)
        yield result(f"panels/{name}", ours.p50, raw[name].ms, "ms", TARGET_FILTERED, met=met, **against)


def filtered(running: Up, site: str, days: int, peer: dict[str, Asked]) -> Iterator[Result]:
    """The results of panels with filters, whose answers are compared before the first is timed; the page is printed."""
    places = addresses(running, site, days)
    asked = {name: f"&filters={quote(json.dumps(each.asked))}" for name, each in FILTERS.items()}
    panels = {"stats": "stats", "page": "breakdown-page", "source": "breakdown-source"}
    every = [(name, panel) for name in FILTERS for panel in panels]
    for name, panel in every:
        found = json.loads(fetch(places[panels[panel]] + asked[name]))
        compare(f"filter-{name}-{panel}", found, peer[f"{name}-{panel}"].rows)
    for name, panel in every:
        ours, raw = took(places[panels[panel]] + asked[name], FILTERED_ROUNDS), peer[f"{name}-{panel}"].ms
        met, against = ours.p95 < TARGET_FILTERED, ours.against(raw)
        yield result(f"panels/filter-{name}-{panel}", ours.p50, raw, "ms", TARGET_FILTERED, met=met, **against)
    for name, filters in asked.items():
        page = took(places["page"] + filters, FILTERED_ROUNDS)
        print(f"page with filter {name}: p50 {page.p50:.0f} ms, p95 {page.p95:.0f} ms", file=sys.stderr)


def of_today(running: Up, site: str) -> None:
    """Print what the page of today takes, which is not over: the events of the traffic until now, without and with a
    filter."""
    begin = f"http://127.0.0.1:{running.dashboards}"
    events = json.loads(fetch(f"{begin}/api/v1/stats?site={site}&period=today"))["events"]
    for name, filters in {"all": "", **{name: quote(json.dumps(each.asked)) for name, each in FILTERS.items()}}.items():
        page = took(f"{begin}/{site}?period=today&filters={filters}", FILTERED_ROUNDS)
        shown = f"p50 {page.p50:.0f} ms, p95 {page.p95:.0f} ms"
        print(f"page of today, {events:,} events, {name}: {shown}", file=sys.stderr)


def faster(name: str, ours: Took, peer: float, target: float) -> Result:
    """The result of something that has to be so many times faster than the peer."""
    return result(f"panels/{name}", ours.p50, peer, "ms", target, met=peer >= target * ours.p50, **ours.against(peer))


def shown(address: str) -> Iterator[Result]:
    """The results of the page in Chromium, each load with an empty cache; none where there is no Chromium."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        print("no Chromium to load the page in: apt-get install chromium", file=sys.stderr)
        return
    ready, loaded = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_QUIET)
        for _ in range(LOADS):
            with browser.new_context(viewport={"width": 1280, "height": 960}) as context:
                page = context.new_page()
                page.add_init_script(_WATCH)
                page.goto(address)
                ready.append(page.evaluate(_DRAWN))
                loaded.append(page.evaluate(_LOADED) / 1e3)
        browser.close()
    middle = statistics.median(ready)
    slowest = round(max(ready), 1)
    yield result("panels/page-ready", middle, TARGET_READY, "ms", TARGET_READY, met=middle < TARGET_READY, max=slowest)
    yield result("panels/first-load", loaded[0], TARGET_LOAD, "kB", TARGET_LOAD, met=loaded[0] <= TARGET_LOAD)


def built(running: Up) -> Iterator[Result]:
    """The result of building a day, by `/metrics`."""
    found = gauges(running)
    if found["footfall_built_days_total"]:  # none, where they were built by an earlier run
        most = found["footfall_day_build_seconds_max"]
        yield result("panels/build-day", most, TARGET_BUILD, "s", TARGET_BUILD, met=most < TARGET_BUILD)


def main() -> int:
    """Run the bench; return 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--days", type=int, default=31)
    parser.add_argument("--sites", type=int, default=1, help="how many sites share the events; the first is asked for")
    parser.add_argument("--keep", type=Path, help="make the data there, or take what was made there before")
    parser.add_argument("--json", action="store_true", help="accepted for uniformity: the output is JSON lines")
    parser.add_argument("--no-browser", action="store_true", help="do not load the page in Chromium")
    parser.add_argument("--filters", action=argparse.BooleanOptionalAction, help="ask with filters, too")
    args = parser.parse_args()
    filters = args.events <= FILTERED_EVENTS if args.filters is None else args.filters
    with _folder(args.keep) as folder:
        prepare(folder, {"events": args.events, "days": args.days, "sites": args.sites})
        sites, site = site_names(args.sites), site_names(args.sites)[0]
        raw, duckdb = (answers(peer, folder, site, args.days) for peer in ("raw", "duckdb"))
        chosen = answers("filtered", folder, site, args.days) if filters else {}
        flags = ["--geo", str(folder / "places.mmdb"), *(word for name in sites for word in ("--site", name))]
        with up(folder, *flags) as running, traffic(running, site) as rate:
            wait_built(running)

            def results() -> Iterator[Result]:
                yield from measured(running, site, args.days, raw, duckdb)
                if filters:
                    yield from filtered(running, site, args.days, chosen)
                of_today(running, site)
                if not args.no_browser:
                    yield from shown(addresses(running, site, args.days)["page"])
                yield from built(running)

            missed = report(results())
            print(f"{rate():.0f} page views a second, {lag_of(running)} s behind in the end", file=sys.stderr)
    return missed


if __name__ == "__main__":
    sys.exit(main())
