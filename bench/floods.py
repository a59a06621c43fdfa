"""What a flood leaves behind: memory of the tracking process and bytes on disk.

One worker takes page views of as many paths, ids, addresses and agents as there are events and requests, its
limits out of reach, so that only the bounds of what is kept hold; then garbage, which is no JSON, and is kept as dead
letters. Then the same page views from one address with the limits as they come: most are refused.

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
from bench.ingest import SITE, Server, _children, server

BATCH = 25
GARBAGE = 9_000
GARBAGE_BYTES = 100


def address(number: int) -> str:
    return f"{11 + (number >> 16) % 80}.{number >> 8 & 255}.{number & 255}.7"


def batch(number: int) -> bytes:
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
    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.outcomes: Counter[str] = Counter()

    def send(self, body: bytes, where_from: str, agent: str) -> None:
        headers = {"X-Forwarded-For": where_from, "User-Agent": agent}
        self._connection.request("POST", "/collect", body, headers)
        answer = json.loads(self._connection.getresponse().read())
        self.outcomes["accepted"] += answer["accepted"]
        for refusal in answer["refused"]:
            self.outcomes[refusal["reason"]] += 1


def resident_mb(server: Server) -> float:
    total = 0
    for pid in _children(server.process.pid):
        status = Path(f"/proc/{pid}/status").read_text()
        total += int(status.partition("VmRSS:")[2].split()[0])
    return round(total / 1024, 1)


def disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def flood(kind: str, events: int) -> dict[str, object]:
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
    parser = argparse.ArgumentParser(prog="bench floods")
    parser.add_argument("--events", type=int, default=250_000)
    parser.add_argument("--json", action="store_true", help="accepted for uniformity: the output is JSON lines")
    options = parser.parse_args(arguments)
    for kind in ("unlimited", "limited"):
        print(json.dumps(flood(kind, options.events)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
