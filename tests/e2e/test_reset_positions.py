"""A real Kafka loses a topic, and then records that are not loaded yet: it is said, and goes on when it is told to."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import brokers
from activity.event import visitor_key
from brokers.base import TopicPartition
from brokers.kafka.broker import KafkaBroker
from brokers.routing import partition_of
from tests.e2e.conftest import Start
from tests.e2e.harness import SITE, Up, footfall, until
from tests.pipeline.world import event, record
from tests.servers import kafka

pytestmark = [pytest.mark.slow, pytest.mark.real]

TOPIC = "footfall.pageview"


@contextlib.contextmanager
def opened(url: str) -> Iterator[KafkaBroker]:
    with contextlib.closing(brokers.connect(url)) as broker:
        assert isinstance(broker, KafkaBroker)
        yield broker


def sent(up: Up, number: int, name: str) -> None:
    for n in range(number):
        up.collect(id=f"{name}{n}")


def reset(data: Path, url: str, *arguments: str, status: int) -> list[dict[str, Any]]:
    done = footfall("topics", "reset-positions", *arguments, "--json", "--data", str(data), "--broker", url)
    assert done.returncode == status, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_loader_goes_on_after_a_kafka_has_lost_something(start: Start, own_kafka: kafka.Server) -> None:
    url = f"kafka://{own_kafka.address()}"
    up = start("--site", SITE, "--broker", url).wait_ready()
    sent(up, 5, "a")
    up.shows({"pageviews": 5})
    done = footfall("archive", "flush", "--data", str(up.data), "--broker", url)
    assert done.returncode == 0, done.stderr
    assert reset(up.data, url, status=0) == []
    with opened(url) as broker:
        broker.delete_topic(TOPIC)
        until(lambda: TOPIC not in broker.topics(), "the topic is gone")
        broker.create_topic(TOPIC, 4)
        until(lambda: b"reset-positions" in up.get("/ready")[1], "it says what to do")
        until(lambda: up.collect(id="b0")["accepted"], "events are taken again")
        found = reset(up.data, url, status=1)
        assert {(each["keeper"], each["topic"], each["now"]) for each in found} == {
            ("archive", TOPIC, ""), ("unit 0", TOPIC, ""),
        }  # fmt: skip
        assert reset(up.data, url, "--yes", status=0) == found
        up.shows({"pageviews": 6})
        broker.publish([record(event(0, time.time_ns() // 1_000_000, site=SITE))])
        up.shows({"pageviews": 7})
        until(lambda: up.get("/ready")[0] == 200, "everything runs")
        assert up.stop() == 0

        # Records that were not loaded are removed, as kafka-delete-records does.
        now = time.time_ns() // 1_000_000
        broker.publish([record(event(n, now, site=SITE)) for n in range(1, 4)])
        place = TopicPartition(TOPIC, partition_of(visitor_key(SITE, event(0).visitor), 4))
        bounds = broker.bounds(place)
        assert bounds is not None
        broker.remove_before(place, bounds.last)
    up = start("--site", SITE, "--broker", url).wait_ready()
    until(lambda: b"reset-positions" in up.get("/ready")[1], "it says what to do")
    assert reset(up.data, url, "--yes", status=0)
    up.shows({"pageviews": 8})
    assert "Traceback" not in up.said()
