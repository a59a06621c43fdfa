"""The walk of `test_flink.py` inside Flink's network: Kafka, S3, a warehouse, events, a loader on Flink, a replay here.

    python -m tests.e2e.on_flink URL FOLDER

The events are sent in thirds, each when the one before is stored. While the first and the second are loaded, it makes
the file `exchanged-N` in the folder when frames are in the exchange, for the test to kill something; while the third is
loaded, it kills the loader and starts another one. The last line says in JSON how many events were sent, how many are
stored, what the replays report, and what is left in the exchange.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import boto3
import msgspec

import brokers
import stores
from activity.event import ALL_TOPICS, Event
from stores.backends import Bucket, parse_location
from tests import s3
from tests.e2e.harness import PATIENCE, command, environment, until
from tests.e2e.proof import replay
from tests.pipeline.test_live import history
from tests.pipeline.world import record
from tests.servers import kafka

SERVER = Path(__file__).parents[1] / "stores" / "clickhouse_http.py"


def main(url: str, folder: Path) -> dict[str, object]:
    """Walk; returns what happened."""
    kafka_server = kafka.server(folder / "kafka")
    address = kafka.start(kafka_server.folder, 0)
    (folder / "clickhouse").mkdir()
    line = [sys.executable, SERVER, folder / "clickhouse", "ann", ""]
    with (
        s3.serving() as endpoint,
        subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server,
    ):
        boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket="footfall")
        assert server.stdout is not None
        try:
            port = server.stdout.readline().strip()
            env = {
                "FOOTFALL_DATA": str(folder / "data"),
                "FOOTFALL_BROKER": f"kafka://{address}",
                "FOOTFALL_WAREHOUSE": f"clickhouse://ann@127.0.0.1:{port}/web",
            }
            for name in ("archive", "checkpoint", "exchange"):
                env[f"FOOTFALL_{name.upper()}"] = f"s3://footfall/{name}?endpoint={endpoint}"
            return walk(url, folder, env)
        finally:
            kafka_server.stop()
            server.communicate("", timeout=PATIENCE)


def recent(events: list[Event]) -> list[Event]:
    """The same events so much closer together that none is beyond the horizon when the last third is loaded."""
    now, last = time.time_ns() // 1_000_000, max(event.occurred_at for event in events)

    def moved(event: Event) -> Event:
        at = now - (last - event.occurred_at) // 40
        return msgspec.structs.replace(event, occurred_at=at, received_at=at + event.received_at - event.occurred_at)

    return [moved(event) for event in events]


def walk(url: str, folder: Path, env: dict[str, str]) -> dict[str, object]:
    """Load on Flink what comes into Kafka, then replay it in one process, and from the archive on Flink."""
    events = recent(history(5, 6_000))
    broker = brokers.connect(env["FOOTFALL_BROKER"])
    for topic in ALL_TOPICS:
        broker.create_topic(topic, 4, -1)
    warehouse = stores.connect_warehouse(env["FOOTFALL_WAREHOUSE"])
    warehouse.migrate()
    exchange = Bucket(parse_location(env["FOOTFALL_EXCHANGE"]))
    runner = ["--runner", url]
    sent = 0

    def stored() -> int:
        return int(warehouse.query("SELECT count() FROM events").item())

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([*command(), "load", *runner], env=environment(env))

    loader = start()
    try:
        for number in range(3):
            begin, end = (len(events) * third // 3 for third in (number, number + 1))
            broker.publish([record(event) for event in events[begin:end]])
            sent = len({event.id for event in events[:end]})
            until(lambda: exchange.keys(""), "frames are exchanged", 3 * PATIENCE)
            (folder / f"exchanged-{number}").touch()
            if number == 2:
                loader.kill()
                loader.wait()
                loader = start()
            until(lambda want=sent: stored() == want, "the events are stored", 6 * PATIENCE)
            until(lambda: not exchange.keys(""), "the batch is committed", 3 * PATIENCE)
    finally:
        loader.terminate()
        loader.wait(PATIENCE)
        broker.close()
    found = {
        "sent": sent,
        "stored": stored(),
        "reports": replay(folder / "data", "--dry-run", env=env),
        "on_flink": replay(folder / "data", "--dry-run", "--source", "archive", *runner, env=env),
        "left": exchange.keys(""),
    }
    warehouse.close()
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], Path(sys.argv[2]))) + "\n")
