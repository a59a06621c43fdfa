"""The walk of `test_flink.py` inside Flink's network: Kafka, S3, a warehouse, events, a loader on Flink, a replay here.

    python -m tests.e2e.on_flink URL FOLDER

It makes the file `exchanged` in the folder when frames are in the exchange. The last line says in JSON how many events
were sent, how many are stored, what the replays report, and what is left in the exchange.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

import brokers
import stores
from activity.event import ALL_TOPICS
from stores.backends import Bucket, parse_location
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
    s3 = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    s3.start()
    host, s3_port = s3.get_host_and_port()
    endpoint = f"http://{host}:{s3_port}"
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket="footfall")
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
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
            s3.stop()
            server.communicate("", timeout=PATIENCE)


def walk(url: str, folder: Path, env: dict[str, str]) -> dict[str, object]:
    """Load on Flink what is in Kafka, then replay it in one process, and from the archive on Flink."""
    events = history(5, 4_000)
    broker = brokers.connect(env["FOOTFALL_BROKER"])
    for topic in ALL_TOPICS:
        broker.create_topic(topic, 4, -1)
    broker.publish([record(event) for event in events])
    broker.close()
    warehouse = stores.connect_warehouse(env["FOOTFALL_WAREHOUSE"])
    warehouse.migrate()
    sent = len({event.id for event in events})

    def stored() -> int:
        return int(warehouse.query("SELECT count() FROM events").item())

    exchange = Bucket(parse_location(env["FOOTFALL_EXCHANGE"]))
    runner = ["--runner", url]
    with subprocess.Popen([*command(), "load", *runner], env=environment(env)) as loader:
        try:
            until(lambda: exchange.keys(""), "frames are exchanged", 3 * PATIENCE)
            (folder / "exchanged").touch()
            until(lambda: stored() == sent, "the events are stored", 3 * PATIENCE)
        finally:
            loader.terminate()
            loader.wait(PATIENCE)
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
