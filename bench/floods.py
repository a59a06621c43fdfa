"""The effect of a flood: memory of the tracking process and bytes on disk.

First one worker accepts page views that all differ in path and id, from requests that all differ in address and agent,
with rate limits out of reach, so that only the bounds of its memory hold. Then it gets garbage that is not JSON, which
is kept as dead letters. Last, the same page views come from one address under the default limits: most are refused.

    ./dev bench floods [--events N] [--json]
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import brokers
from activity.event import ALL_TOPICS
from bench.ingest import SITE, Server, children, server

BATCH = 25
GARBAGE = 9_000
GARBAGE_BYTES = 100


def address(number: int) -> str:
    """Return a public address for a number, a different one for each below 5 million."""
    return f"{11 + (number >> 16) % 80}.{number >> 8 & 255}.{number & 255}.7"


def batch(number: int) -> bytes:
    """Return the body of a request with BATCH events, none of them sent before."""
    now = time.time_ns() // 1_000_000
    events = [
        {
            "site": SITE,
            "type": "pageview",
            "url": f"https://{SITE}/a/path/that/nobody/asked/for/before/{number:06}/{index:03}",
            "id": f"{number:032}-{index:03}",
            "ts": now,
        }
        for index in range(BATCH)
    ]
    return json.dumps({"sent_at": now, "events": events}).encode()


class Sender:
    """Sends requests over one connection and counts the outcomes of their events."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.outcomes: Counter[str] = Counter()

    def send(self, body: bytes, where_from: str, agent: str) -> None:
        """Send a body as if from the address `where_from`."""
        headers = {"X-Forwarded-For": where_from, "User-Agent": agent}
        self._connection.request("POST", "/collect", body, headers)
        answer = json.loads(self._connection.getresponse().read())
        self.outcomes["accepted"] += answer["accepted"]
        for refusal in answer["refused"]:
            self.outcomes[refusal["reason"]] += 1


def resident_mb(server: Server) -> float:
    """Return the resident memory of the server's workers in MB."""
    total = 0
    for pid in children(server.process.pid):
        status = Path(f"/proc/{pid}/status").read_text()
        total += int(status.partition("VmRSS:")[2].split()[0])
    return round(total / 1024, 1)


def disk_bytes(folder: Path) -> int:
    """Return the size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def flood(kind: str, events: int) -> dict[str, object]:
    """Flood one kind of server (see `bench.ingest_server`) and return the figures."""
    with tempfile.TemporaryDirectory(prefix="footfall-bench-") as text:
        folder = Path(text)
        url = f"sqlite://{folder}/log.sqlite"
        broker = brokers.connect(url)
        for topic in ALL_TOPICS:
            broker.create_topic(topic)
        broker.close()
        with server(kind, url, str(folder / "own"), workers=1) as own:
            sender = Sender(own.port)
            for number in range(40):
                sender.send(batch(10_000_000 + number), "198.51.100.1", "Mozilla/5.0 Firefox/140.0")
            before, sender.outcomes = resident_mb(own), Counter()
            for number in range(events // BATCH):
                where_from = address(number) if kind == "unlimited" else "198.51.100.1"
                sender.send(batch(number), where_from, f"Mozilla/5.0 (X11; Linux x86_64) Firefox/{number}.0")
            found: dict[str, object] = {
                "name": f"floods {kind}",
                "rss_before_mb": before,
                "rss_after_mb": resident_mb(own),
                "outcomes": dict(sender.outcomes),
            }
            if kind == "unlimited":
                disk = disk_bytes(folder)
                for number in range(GARBAGE):
                    sender.send(os.urandom(GARBAGE_BYTES), address(number), "Mozilla/5.0 Firefox/140.0")
                found |= {"garbage_bytes": GARBAGE * GARBAGE_BYTES, "garbage_on_disk": disk_bytes(folder) - disk}
            return found


def main(arguments: list[str] | None = None) -> int:
    """Run the bench, which has figures but no target; return 0."""
    parser = argparse.ArgumentParser(prog="bench floods")
    parser.add_argument("--events", type=int, default=250_000)
    parser.add_argument("--json", action="store_true", help="accepted for uniformity: the output is JSON lines")
    options = parser.parse_args(arguments)
    for kind in ("unlimited", "limited"):
        print(json.dumps(flood(kind, options.events)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
