"""The same walk over a real Kafka and a real Redis by changing URLs only: the same numbers.

What lies in Kafka is read by a bare kafka-python consumer, what lies in Redis by a bare client; the hash that
chooses partitions is written out here once more.
"""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import redis
from kafka import KafkaConsumer, TopicPartition

from tests.e2e.conftest import Start
from tests.e2e.harness import AGENT, ALWAYS, ROOT, Up, fetch, footfall, until
from tests.e2e.ingesting import ingesting
from tests.e2e.proof import replay
from tests.e2e.stream import EVENTS, VICTIMS, VISITORS, Stream

pytestmark = [pytest.mark.real, pytest.mark.slow]

TOPICS = {
    "pageview": "footfall.pageview",
    "search": "footfall.search",
    "engagement": "footfall.engagement",
    "custom": "footfall.custom",
}
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.1 Mobile/15E148 Safari/604.1"
)


@pytest.fixture
def site() -> str:
    """A site of this test's own, so that tests may share a broker."""
    return f"s{uuid.uuid4().hex[:12]}.example.com"


def walk(up: Up, site: str) -> None:
    """Two visitors and a bot: pages, searches, a custom event, engagement, the pixel, a retry."""

    def send(agent: str, **event: Any) -> dict[str, Any]:
        status, _, answer = up.post({"site": site} | event, {"User-Agent": agent})
        assert status == 202, answer
        return dict(answer)

    def view(agent: str, path: str, **more: Any) -> dict[str, Any]:
        return send(agent, type="pageview", url=f"https://{site}{path}", **more)

    view(AGENT, "/", referrer="https://www.google.com/", id="walk-1")
    assert view(AGENT, "/", referrer="https://www.google.com/", id="walk-1")["duplicates"] == 1
    view(AGENT, "/products")
    view(AGENT, "/find?q=red+shoes")
    send(AGENT, type="custom", name="signup", url=f"https://{site}/products", props={"plan": "team", "seats": 3})
    send(AGENT, type="engagement", url=f"https://{site}/products", engaged_ms=12_000)
    view(PHONE, "/landing?utm_source=letter&utm_medium=email")
    send(PHONE, type="search", url=f"https://{site}/find", search={"term": "blue hats", "results": 0})
    view("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "/")
    pixel = f"{up.tracking}/collect.gif?site={site}&url=https://{site}/noscript"
    assert fetch(pixel, headers={"User-Agent": PHONE})[0] == 200


def shown(up: Up, site: str) -> dict[str, Any]:
    """Everything that the page shows of the walk, but for how long it took."""
    stats = up.stats(site, **ALWAYS)
    del stats["visit_duration"]
    lists = ("page", "entry_page", "exit_page", "source", "channel", "search", "device", "browser", "os")
    return {"stats": stats} | {by: up.api("breakdown", site=site, by=by, **ALWAYS)["rows"] for by in lists}


def walked(up: Up, site: str) -> dict[str, Any]:
    walk(up, site)
    counts = {"visitors": 2, "visits": 2, "pageviews": 5, "searches": 2, "events": 9, "bots": 1}
    up.shows(counts, site)
    assert json.loads(up.get(f"/{site}/now")[1])["current"] == 2
    return shown(up, site)


def published(kafka: str, site: str) -> list[Any]:
    """Every record of the site's visitors that lies in Kafka, as a bare consumer reads it."""
    consumer = KafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    try:
        partitions = [TopicPartition(topic, n) for topic in TOPICS.values() for n in range(4)]
        for topic in TOPICS.values():
            assert consumer.partitions_for_topic(topic) == {0, 1, 2, 3}
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        found = []
        while any(consumer.position(part) < ends[part] for part in partitions):
            for records in consumer.poll(1_000).values():
                found += [record for record in records if record.key.startswith(f"{site}/".encode())]
        return found
    finally:
        consumer.close()


def partition_of(key: bytes, partitions: int) -> int:
    """Java's default partitioner: murmur2 of the key, its sign bit cleared, modulo the partitions."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(key)
    whole = len(key) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at : at + 4], "little") * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = (h * m & mask) ^ k
    if key[whole:]:
        h = (h ^ int.from_bytes(key[whole:], "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return ((h ^ (h >> 15)) & 0x7FFFFFFF) % partitions


def test_the_same_walk_over_kafka_and_redis_gives_the_same_numbers(
    start: Start, tmp_path: Path, kafka: str, redis_url: str, site: str
) -> None:
    """By kafka-python here; the tests below go by the other client."""
    alone = Up(tmp_path / "embedded", "--site", site)
    try:
        expected = walked(alone.wait_ready(), site)
        assert alone.stop() == 0
    finally:
        alone.end()
    parts = {"FOOTFALL_BROKER": f"kafka://{kafka}?client=kafka-python", "FOOTFALL_LIVE": redis_url}
    up = start("--site", site, env=parts).wait_ready()
    assert walked(up, site) == expected
    assert not list((tmp_path / "data").glob("log.db*"))

    # A bare consumer: topic, key, partition and value of each record.
    schema = json.loads((ROOT / "activity" / "schema" / "event.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    records = published(kafka, site)
    kinds = []
    for record in records:
        event = json.loads(record.value)
        validator.validate(event)
        assert record.topic == TOPICS[event["type"]]
        assert record.key == f"{site}/{event['visitor']}".encode()
        assert record.partition == partition_of(record.key, 4)
        assert b"127.0.0.1" not in record.value
        kinds.append((event["type"], event.get("bot", "") != ""))
    assert sorted(kinds) == sorted(
        [("pageview", False)] * 5 + [("search", False)] * 2 + [("custom", False), ("engagement", False)]
        + [("pageview", True)]
    )  # fmt: skip
    assert len({record.key for record in records}) == 3
    custom = next(json.loads(r.value) for r in records if r.topic == TOPICS["custom"])
    assert (custom["name"], custom["props"]) == ("signup", {"plan": "team", "seats": 3})

    # The rest of the house over the same parts: import, replay from both sources.
    log = tmp_path / "access.log"
    log.write_text(f'203.0.113.5 - - [05/Mar/2024:10:00:00 +0000] "GET /old HTTP/1.1" 200 1 "-" "{AGENT}"\n')
    done = footfall("import", str(log), "--site", site, "--data", str(up.data), "--json", env=parts)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accepted"] == 1
    assert up.stats(site, **ALWAYS)["pageviews"] == 6
    for source in ("broker", "archive"):
        reports = replay(up.data, "--site", site, "--source", source, env=parts)
        assert [report["equal"] for report in reports] == [True] * len(reports)
        assert sum(report["sessions"] for report in reports) == 3
    assert up.stop() == 0


def test_killed_in_the_middle_of_a_stream_over_kafka_the_counts_are_exact(
    start: Start, kafka: str, redis_url: str, site: str
) -> None:
    parts = {"FOOTFALL_BROKER": f"kafka://{kafka}", "FOOTFALL_LIVE": redis_url}
    up = start("--site", site, env=parts).wait_ready()
    stream = Stream(up, site)
    stream.start()
    for share, victim in ((0.2, "tracking worker"), (0.4, "core worker"), (0.6, "core master")):
        stream.reach(share)
        os.kill(VICTIMS[victim](up), signal.SIGKILL)
    stream.reach(0.8)
    up.kill()
    up.gone()
    up = stream.up = start(env=parts).wait_ready()
    stream.join()
    searches = EVENTS // 10
    numbers = {"visitors": VISITORS, "visits": VISITORS, "pageviews": EVENTS, "searches": searches}
    up.shows(numbers, site, 120)
    (found,) = up.sql(f"SELECT count() AS n, uniqExact(id) AS ids FROM events WHERE site = '{site}'")
    assert {int(value) for value in found.values()} == {EVENTS + searches}
    for source in ("broker", "archive"):
        reports = replay(up.data, "--site", site, "--source", source, env=parts)
        assert [report["equal"] for report in reports] == [True] * len(reports)
        assert sum(report["sessions"] for report in reports) == VISITORS


def test_two_ingest_processes_share_duplicates_salts_and_who_is_there(
    tmp_path: Path, kafka: str, redis_url: str, site: str
) -> None:
    sites = tmp_path / "sites.toml"
    sites.write_text(f'[[site]]\ndomain = "{site}"\n')
    env = {"FOOTFALL_BROKER": f"kafka://{kafka}", "FOOTFALL_LIVE": redis_url, "FOOTFALL_SITES": str(sites)}
    bare: Any = redis.Redis.from_url(redis_url)
    with ingesting(tmp_path / "one", env) as one, ingesting(tmp_path / "two", env) as two:
        until(one.ready, "the first is ready")
        until(two.ready, "the second is ready")
        event = {"site": site, "type": "pageview", "url": f"https://{site}/shared", "id": "once"}
        before = time.time_ns() // 1_000_000
        assert one.collect(event) == {"accepted": 1, "duplicates": 0, "refused": []}
        assert two.collect(event) == {"accepted": 0, "duplicates": 1, "refused": []}
        assert two.collect(event | {"id": "another"}) == {"accepted": 1, "duplicates": 0, "refused": []}
        after = time.time_ns() // 1_000_000

    records = until(lambda: published(kafka, site), "both are in Kafka")
    assert len(records) == 2
    # One salt for both: one visitor for the same browser, and Redis is where they have it from.
    (visitor,) = {json.loads(record.value)["visitor"] for record in records}
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    salt = bare.get(f"footfall:salt:{day}")
    assert salt is not None
    assert len(salt) == 16
    assert 0 < bare.ttl(f"footfall:salt:{day}") <= 48 * 3600
    # Two ids remembered, for a day.
    remembered = list(bare.scan_iter(match=f"footfall:seen:{site}*"))
    assert len(remembered) == 2
    assert {bare.get(key) for key in remembered} == {bytes.fromhex(json.loads(r.value)["id"]) for r in records}
    assert all(0 < bare.ttl(key) <= 86_400 for key in remembered)
    # One visitor is there now.
    ((active, at),) = bare.zrange(f"footfall:active:{site}", 0, -1, withscores=True)
    assert active.decode() == visitor
    assert before <= at <= after
    # Never an address.
    assert not [key for key in bare.scan_iter() if b"127.0.0.1" in key and b"limit" not in key]
    bare.close()
