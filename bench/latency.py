"""The time from a POST until the dashboard's API counts its event, under a steady load.

The load is an open loop: events are sent at their scheduled times, one per request, whether earlier ones were answered
or not, so a client that waits cannot hide a stall. Meanwhile a probe posts events to a site of its own and polls
`/api/v1/stats` until each is counted, timed from the start of the POST. The peer is the promised time itself. In the
end every event of the load has to be counted.

    ./dev bench latency [--events N] [--rate 500] [--broker sqlite|kafka|pulsar] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.harness import Up, percentile, report, result, up
from bench.ingest import SITE, Requests, user_agents
from tests.servers import kafka, pulsar

TARGET_SECONDS = 3.0
CONNECTIONS = 32
PROBE = "probe.example"
PARTS: dict[str, Any] = {"kafka": kafka, "pulsar": pulsar}


async def _sender(port: int, due: asyncio.Queue[bytes | None]) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    taken = 0
    while (request := await due.get()) is not None:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        taken += head[9:12] == b"202"
    writer.close()
    return taken


async def load(port: int, events: int, rate: float) -> int:
    """Send events at their scheduled times over kept connections; return how many were accepted."""
    requests, due = Requests(f"{time.time_ns():x}"), asyncio.Queue[bytes | None]()
    senders = [asyncio.create_task(_sender(port, due)) for _ in range(CONNECTIONS)]
    begun = time.perf_counter()
    for number in range(events):
        await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
        due.put_nowait(requests.next())
    for _ in senders:
        due.put_nowait(None)
    return sum(await asyncio.gather(*senders))


def probe(running: Up, days: tuple[str, str], seconds: float) -> list[float]:
    """Probe one event after the other for `seconds`; return the seconds that each took to be counted."""
    found: list[float] = []
    counted = running.stats(PROBE, *days)["events"]
    body = json.dumps({"site": PROBE, "type": "custom", "name": "probe", "url": f"https://{PROBE}/"}).encode()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        begun = time.perf_counter()
        headers = {"User-Agent": user_agents(1)[0]}
        url = f"http://127.0.0.1:{running.tracking}/collect"
        urllib.request.urlopen(urllib.request.Request(url, data=body, headers=headers)).close()
        counted += 1
        while running.stats(PROBE, *days)["events"] < counted:
            time.sleep(0.05)
        found.append(time.perf_counter() - begun)
    return found


async def measure(running: Up, events: int, rate: float) -> tuple[int, list[float]]:
    """Run load and probe together; return the number of events accepted and the probe's times.

    Raises SystemExit if not all accepted events are counted within a minute."""
    today = datetime.datetime.now(datetime.UTC).date()
    days = (str(today), str(today + datetime.timedelta(days=1)))
    await asyncio.to_thread(probe, running, days, 5)
    taken, times = await asyncio.gather(
        load(running.tracking, events, rate), asyncio.to_thread(probe, running, days, events / rate)
    )
    deadline = time.monotonic() + 60
    while running.stats(SITE, *days)["events"] != taken:
        if time.monotonic() > deadline:
            raise SystemExit(f"{taken} events were taken, {running.stats(SITE, *days)['events']} are in the numbers")
        await asyncio.sleep(0.2)
    return taken, times


@contextlib.contextmanager
def broker(name: str, folder: Path) -> Iterator[dict[str, str]]:
    """Start the broker of this name, and yield the environment with which `up` uses it; stop it in the end."""
    if name not in PARTS:
        yield {}
        return
    folder.mkdir()
    try:
        yield {"FOOTFALL_BROKER": f"{name}://{PARTS[name].start(folder, port=0)}"}
    finally:
        PARTS[name].server(folder).stop()


def main() -> int:
    """Run the bench; return 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=30_000)
    parser.add_argument("--rate", type=float, default=500.0, help="events a second")
    parser.add_argument("--json", action="store_true", help="accepted for uniformity: the output is JSON lines")
    parser.add_argument("--broker", choices=["sqlite", *PARTS], default="sqlite", help="a real one is started for it")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="footfall-bench-") as folder,
        broker(options.broker, Path(folder) / "broker") as env,
        up(Path(folder) / "data", "--site", SITE, "--site", PROBE, env=env) as running,
    ):
        taken, times = asyncio.run(measure(running, options.events, options.rate))
    worst = round(max(times), 3)
    return report(
        result(
            f"latency {options.broker} {name}", seconds, TARGET_SECONDS, "s", 1.0,
            met=seconds <= TARGET_SECONDS, worst=worst, events=taken, probes=len(times),
        )
        for name, seconds in (("p50", percentile(times, 0.5)), ("p99", percentile(times, 0.99)))
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
