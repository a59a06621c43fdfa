"""A steady stream for minutes: how far `footfall up` lags behind it, and what it takes of the two cores.

Page views of visitors that come and go are published to the log of a running `footfall up`, so many a second, by a
process of its own: what tracking costs is measured by `./dev bench ingest`. Once a second `/metrics` is asked for the
lag: all that was published longer ago is in the numbers. In the end every event that was sent has to be there.

    ./dev bench sustained [--rate N] [--minutes N] [--json]
"""

from __future__ import annotations

import argparse
import datetime
import random
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from bench.harness import Up, percentile, report, result, up

SITE = "bench.example"
TARGET_LAG = 3.0  # s
_TICK = 0.1  # s between two publishes
_STAY = 20  # s that a visitor stays
_SETTLE = 60.0  # s


def publish(log: str, rate: int, seconds: float) -> None:
    """Publish `rate` events a second for so long, with the times at which they are published."""
    import brokers
    from activity import codec
    from activity.event import Event, EventType, topic_of, visitor_key
    from brokers.base import Record

    broker, dice = brokers.connect(log), random.Random(3)
    begun, sent = time.monotonic(), 0
    while (passed := time.monotonic() - begun) < seconds:
        now, due = time.time_ns() // 1_000_000, int(passed * rate) - sent
        records = []
        for number in range(sent, sent + due):
            visitor = f"{int(passed / _STAY) * 10**9 + dice.randrange(rate * _STAY // 4 + 1):016x}"
            path = f"/articles/{dice.randrange(5_000)}"
            event = Event(
                v=1, id=f"{number:032x}", site=SITE, type=EventType.PAGEVIEW, visitor=visitor, occurred_at=now,
                received_at=now, path=path, url="https://x" + path, browser="Firefox", os="Linux", device="desktop",
                source="example.org", channel="Referral",
            )  # fmt: skip
            records.append(Record(topic_of(event.type), visitor_key(SITE, visitor), codec.encode(event)))
        broker.publish(records)
        sent += due
        time.sleep(max(0.0, begun + passed + _TICK - time.monotonic()))
    broker.close()
    print(sent)


def lag_of(running: Up) -> float | None:
    """The seconds that the loader is behind, None before it has begun."""
    with urllib.request.urlopen(f"http://127.0.0.1:{running.dashboards}/metrics") as answer:
        found = re.search(r"^footfall_lag_seconds (\S+)$", answer.read().decode(), re.MULTILINE)
    return float(found[1]) if found else None


def counted(running: Up) -> int:
    """How many page views the dashboards have."""
    today = datetime.datetime.now(datetime.UTC).date()
    days = [str(today + datetime.timedelta(days=n)) for n in (-1, 0)]
    return int(running.stats(SITE, *days)["pageviews"])


def main() -> int:
    """Run the bench; return 1 if the target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--json", action="store_true", help="accepted for uniformity: the output is JSON lines")
    parser.add_argument("--publish", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.publish:
        publish(args.publish, args.rate, args.minutes * 60)
        return 0
    lags: list[float] = []
    with tempfile.TemporaryDirectory(prefix="footfall-bench-") as temporary:
        data = Path(temporary)
        (data / "sites.toml").write_text(f'[[site]]\ndomain = "{SITE}"\n')
        env = {"FOOTFALL_SITES": str(data / "sites.toml")}
        with up(data, env=env) as running:
            while lag_of(running) is None:
                time.sleep(0.1)
            stream = ["--rate", str(args.rate), "--minutes", str(args.minutes), "--publish", f"sqlite://{data}/log.db"]
            line = [sys.executable, "-m", "bench.sustained", *stream]
            with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as publisher:
                while publisher.poll() is None:
                    time.sleep(1)
                    lags.append(lag_of(running) or 0.0)
                sent = int(publisher.communicate()[0])
            deadline = time.monotonic() + _SETTLE
            while (found := counted(running)) != sent:
                if time.monotonic() > deadline:
                    raise SystemExit(f"{sent} events were sent, {found} page views are counted")
                time.sleep(0.5)
    rate = sent / (args.minutes * 60)
    half = lags[len(lags) // 2 :]
    more = {"events": sent, "p50": round(percentile(lags, 0.5), 2), "p99": round(percentile(lags, 0.99), 2)}
    grown = percentile(half, 0.5) / max(0.1, percentile(lags[: len(lags) // 2], 0.5))
    return report(
        [
            result("sustained/lag", max(lags), TARGET_LAG, "s", 1.0, met=max(lags) <= TARGET_LAG, **more),
            result("sustained/rate", rate, args.rate, "events/s", 0.99, met=rate >= 0.99 * args.rate),
            result("sustained/lag-grows", percentile(half, 0.5), percentile(lags, 0.5), "s", 1.5, met=grown <= 1.5,
                   ratio=grown),
        ]
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
