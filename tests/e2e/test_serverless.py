"""The functions as AWS runs them, from outside: its own runtime client, API Gateway's and Kafka's events, a real
Kafka, S3 by moto. See `tests.e2e.functions` for what runs how."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.partitioner.default import murmur2

from tests.e2e.functions import Aws, Image, Zip
from tests.serverless import events
from tests.serverless.runtime_api import RuntimeApi

pytestmark = pytest.mark.real

TOPICS = ("footfall.pageview", "footfall.search", "footfall.engagement", "footfall.custom")


@pytest.fixture
def track(kafka: str, topics: None, site: str, zipped: Zip) -> Iterator[RuntimeApi]:
    environ = {"FOOTFALL_BROKER": f"kafka://{kafka}", "FOOTFALL_SITES": f'[[site]]\ndomain = "{site}"\n'}
    with zipped.running("track", **environ) as api:
        yield api


@pytest.fixture
def bucket(aws: Aws) -> str:
    return aws.bucket()


@pytest.fixture
def image(kafka: str, aws: Aws, bucket: str, tmp_path: Path) -> Image:
    return Image(kafka, aws, bucket, tmp_path)


@pytest.fixture(scope="module")
def topics(kafka: str, aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The first tick of the clock after a deployment makes them."""
    Image(kafka, aws, aws.bucket(), tmp_path_factory.mktemp("first")).load(events.clock())


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


def test_as_many_records_as_a_request_can_make_are_published(track: RuntimeApi, kafka: str, site: str) -> None:
    pages = [{"site": site, "type": "pageview", "url": f"https://{site}/{number}?q=x"} for number in range(500)]
    answer = track.invoke(events.http("POST", "/collect", {"events": pages}))
    assert (answer["statusCode"], json.loads(answer["body"])["accepted"]) == (202, 500)
    records = read(kafka, site)
    assert Counter(record.topic for record in records) == {"footfall.pageview": 500, "footfall.search": 500}


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
    track: RuntimeApi, image: Image, kafka: str, site: str, aws: Aws, bucket: str
) -> None:
    for path in ("/", "/pricing", "/signup"):
        page = {"site": site, "type": "pageview", "url": f"https://{site}{path}"}
        assert track.invoke(events.http("POST", "/collect", page))["statusCode"] == 202
    records = read(kafka, site)
    assert len(records) == 3
    rung = events.kafka(records)

    first, second = image.load(rung, rung)
    assert first["events"] >= 3
    assert second == {"batches": 0, "events": 0}
    sessions = f"SELECT * FROM footfall.sessions WHERE site = '{site}'"
    [session] = before = image.rows(sessions)
    assert (int(session["pageviews"]), session["entry_page"], session["exit_page"]) == (3, "/", "/signup")

    again = image.load(rung, events.kafka(records, "SelfManagedKafka"), events.clock())
    assert [answer["events"] for answer in again] == [0, 0, 0], "another instance, the same event"
    assert image.rows(sessions) == before

    assert aws.keys(bucket, "checkpoint/") and not aws.keys(bucket, "archive/")
    assert image.archive(events.clock())["archived"] >= 3
    files = [key for key in aws.keys(bucket) if key.endswith(".parquet") and f"site={site}/" in key]
    tables = [pq.read_table(io.BytesIO(aws.s3.get_object(Bucket=bucket, Key=key)["Body"].read())) for key in files]
    assert sorted(path for table in tables for path in table["path"].to_pylist()) == ["/", "/pricing", "/signup"]


@pytest.mark.parametrize("spool", [{}, {"FOOTFALL_SPOOL": "http://127.0.0.1:1/123456789012/spool"}])
def test_without_a_broker_and_a_spool_the_zip_answers_503(zipped: Zip, site: str, spool: dict[str, str]) -> None:
    """A function's disk is no place to promise anything from: the sender keeps the event and comes again."""
    environ = {"FOOTFALL_BROKER": "kafka://127.0.0.1:1", "FOOTFALL_SITES": f'[[site]]\ndomain = "{site}"\n'}
    with zipped.running("track", **environ, **spool) as api:
        page = {"site": site, "type": "pageview", "url": f"https://{site}/"}
        answer = api.invoke(events.http("POST", "/collect", page))
        # The instance is unwell, not gone: it says so at once the next time.
        again = api.invoke(events.http("POST", "/collect", page))
    assert (answer["statusCode"], again["statusCode"]) == (503, 503), answer
    assert int(answer["headers"]["retry-after"]) > 0
