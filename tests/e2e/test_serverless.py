"""The functions as AWS runs them, from outside: its own runtime client, API Gateway's and Kafka's events, a real
Kafka, S3 by moto. `track` runs from the packaged zip with nothing else to import; `load`, whose image cannot be
built here, from this environment, which holds what the image would."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.partitioner.default import murmur2
from moto.server import ThreadedMotoServer

from tests.patience import patient
from tests.serverless import events, function
from tests.serverless.runtime_api import RuntimeApi

pytestmark = pytest.mark.real

TOPICS = ("footfall.pageview", "footfall.search", "footfall.engagement", "footfall.custom")


@pytest.fixture(scope="module")
def task(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return function.unpack(package, tmp_path_factory.mktemp("task"))


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return function.install_runtime(tmp_path_factory.mktemp("runtime"))


@pytest.fixture
def site() -> str:
    """A site of this test's own, so that tests may share a broker."""
    return f"s{uuid.uuid4().hex[:12]}.example.com"


@pytest.fixture
def track(kafka: str, topics: None, site: str, task: Path, runtime: Path, tmp_path: Path) -> Iterator[RuntimeApi]:
    """The zip, unpacked, and run with no other package in sight."""
    environ = {
        "FOOTFALL_BROKER": f"kafka://{kafka}",
        "FOOTFALL_DATA": str(tmp_path / "scratch"),
        "FOOTFALL_SITES": f'[[site]]\ndomain = "{site}"\n',
    }
    python = [sys.executable, "-S"]
    with function.running(
        "infra.serverless.track",
        cwd=task,
        python=python,
        python_path=runtime,
        environ=environ,
        log=tmp_path / "track.log",
    ) as api:
        yield api


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="eu-central-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    server.stop()


def make_bucket(s3: Any) -> str:
    name = f"footfall-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return name


@pytest.fixture
def bucket(s3: Any) -> str:
    return make_bucket(s3)


class Load:
    """The loader's function over a warehouse and a bucket of this test's own."""

    def __init__(self, kafka: str, s3: Any, bucket: str, folder: Path) -> None:
        endpoint = s3.meta.endpoint_url
        self.warehouse = folder / "warehouse"
        self._folder = folder
        self._environ = {
            "FOOTFALL_BROKER": f"kafka://{kafka}",
            "FOOTFALL_DATA": str(folder / "scratch"),
            "FOOTFALL_WAREHOUSE": f"chdb://{self.warehouse}",
            "FOOTFALL_ARCHIVE": f"s3://{bucket}/archive?endpoint={endpoint}",
            "FOOTFALL_CHECKPOINT": f"s3://{bucket}/checkpoint?endpoint={endpoint}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "HOME": str(folder),
        }

    def run(self, *happenings: Any) -> list[dict[str, int]]:
        """What one instance of the function answers to them; it is gone afterwards."""
        with function.running(
            "infra.serverless.load",
            cwd=function.ROOT,
            python=[sys.executable],
            python_path=function.ROOT,
            environ=self._environ,
            log=self._folder / f"load-{uuid.uuid4().hex}.log",
        ) as api:
            return [api.invoke(happening, timeout=patient(120)) for happening in happenings]

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Asked of the engine itself, in a process of its own, since one process owns the folder."""
        script = (
            "import sys, chdb.session as s; print(s.Session(sys.argv[1]).query(sys.argv[2], 'JSONEachRow'), end='')"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(self.warehouse), sql], text=True, capture_output=True, check=True
        )
        return [json.loads(line) for line in done.stdout.splitlines() if line]


@pytest.fixture
def load(kafka: str, s3: Any, bucket: str, tmp_path: Path) -> Load:
    return Load(kafka, s3, bucket, tmp_path)


@pytest.fixture(scope="module")
def topics(kafka: str, s3: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The first tick of the clock after a deployment makes them."""
    Load(kafka, s3, make_bucket(s3), tmp_path_factory.mktemp("first")).run(events.clock())


def read(address: str, site: str) -> list[Any]:
    """The site's records of the four topics, by a consumer that knows nothing of ours."""
    consumer = KafkaConsumer(bootstrap_servers=address, enable_auto_commit=False)
    try:
        parts = [TopicPartition(topic, p) for topic in TOPICS for p in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(parts)
        ends = consumer.end_offsets(parts)
        consumer.seek_to_beginning(*parts)
        found: list[Any] = []
        while any(consumer.position(part) < end for part, end in ends.items()):
            for records in consumer.poll(timeout_ms=1000).values():
                found += records
        return [record for record in found if json.loads(record.value)["site"] == site]
    finally:
        consumer.close()


def test_a_request_to_the_zip_is_a_record_on_kafka(track: RuntimeApi, kafka: str, site: str) -> None:
    page = {"site": site, "type": "pageview", "url": f"https://{site}/pricing?q=x", "title": "Prices"}
    answer = track.invoke(events.http("POST", "/collect", page))
    assert (answer["statusCode"], json.loads(answer["body"])) == (202, {"accepted": 1, "duplicates": 0, "refused": []})

    records = read(kafka, site)
    pages = [record for record in records if record.topic == "footfall.pageview"]
    assert [record.topic for record in records if record not in pages] == ["footfall.search"], "q is a search"
    [record] = pages
    event = json.loads(record.value)
    assert (event["path"], event["title"], event["browser"]) == ("/pricing", "Prices", "Chrome")
    assert record.key.decode() == f"{site}/{event['visitor']}"
    assert {r.partition for r in records} == {record.partition}, "one visitor, one partition number"
    assert record.partition == (murmur2(record.key) & 0x7FFFFFFF) % 4
    assert not [r for r in records if b"203.0.113" in r.value + r.key], "the address went no further than the request"


def test_the_zip_answers_like_the_service(track: RuntimeApi, kafka: str, site: str) -> None:
    assert track.invoke(events.http("GET", "/live"))["statusCode"] == 200
    script = track.invoke(events.http("GET", "/beacon.js"))
    assert script["statusCode"] == 200 and script["headers"]["content-type"].startswith("text/javascript")
    picture = track.invoke(events.http("GET", "/collect.gif", query=f"site={site}&url=https%3A%2F%2F{site}%2Fnoscript"))
    assert base64.b64decode(picture["body"]).startswith(b"GIF89a")
    beacon = events.http(
        "POST", "/collect", {"site": site, "type": "custom", "name": "signup", "url": f"https://{site}/"}
    )
    beacon["body"], beacon["isBase64Encoded"] = base64.b64encode(beacon["body"].encode()).decode(), True
    assert track.invoke(beacon)["statusCode"] == 202
    unknown = track.invoke(
        events.http("POST", "/collect", {"site": "no.example", "type": "pageview", "url": "https://no.example/"})
    )
    assert unknown["statusCode"] == 403 and "no.example" in unknown["body"]
    assert track.invoke(events.http("POST", "/collect", "{not json"))["statusCode"] == 400
    again = events.http(
        "POST", "/collect", {"site": site, "type": "pageview", "url": f"https://{site}/", "id": "order-1"}
    )
    assert [json.loads(track.invoke(again)["body"])["duplicates"] for _ in range(2)] == [0, 1]

    assert sorted(json.loads(r.value).get("path", "") for r in read(kafka, site)) == ["/", "/", "/noscript"]


def test_a_kafka_event_becomes_sessions_once(
    track: RuntimeApi, load: Load, kafka: str, site: str, s3: Any, bucket: str
) -> None:
    for path in ("/", "/pricing", "/signup"):
        page = {"site": site, "type": "pageview", "url": f"https://{site}{path}"}
        assert track.invoke(events.http("POST", "/collect", page))["statusCode"] == 202
    records = read(kafka, site)
    assert len(records) == 3
    rung = events.kafka(records)

    first, second = load.run(rung, rung)
    assert first["events"] >= 3
    assert second == {"batches": 0, "events": 0, "archived": 0}
    sessions = f"SELECT * FROM footfall.sessions WHERE site = '{site}'"
    [session] = before = load.rows(sessions)
    assert (int(session["pageviews"]), session["entry_page"], session["exit_page"]) == (3, "/", "/signup")

    again = load.run(rung, events.kafka(records, "SelfManagedKafka"), events.clock())
    assert [answer["events"] for answer in again] == [0, 0, 0], "another instance, the same event"
    assert again[-1]["archived"] >= 3, "the clock brings the archive up to date"
    assert load.rows(sessions) == before

    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert [key for key in keys if key.startswith("checkpoint/")]
    files = [key for key in keys if key.endswith(".parquet") and f"site={site}/" in key]
    tables = [pq.read_table(io.BytesIO(s3.get_object(Bucket=bucket, Key=key)["Body"].read())) for key in files]
    assert sorted(path for table in tables for path in table["path"].to_pylist()) == ["/", "/pricing", "/signup"]


def test_without_a_broker_the_zip_answers_503(task: Path, runtime: Path, site: str, tmp_path: Path) -> None:
    """A function's disk is no place to promise anything from: the sender keeps the event and comes again."""
    with function.running(
        "infra.serverless.track",
        cwd=task,
        python=[sys.executable, "-S"],
        python_path=runtime,
        environ={
            "FOOTFALL_BROKER": "kafka://127.0.0.1:1",
            "FOOTFALL_DATA": str(tmp_path / "scratch"),
            "FOOTFALL_SITES": f'[[site]]\ndomain = "{site}"\n',
        },
        log=tmp_path / "track.log",
    ) as api:
        page = {"site": site, "type": "pageview", "url": f"https://{site}/"}
        answer = api.invoke(events.http("POST", "/collect", page))
    assert answer["statusCode"] == 503, answer
    assert int(answer["headers"]["retry-after"]) > 0
