"""`footfall broker move` from one real broker to the next, and back, under a stream of known events.

The senders never stop: they send again what nobody answered. At each stop the move begins beside the running `up`, is
killed with -9 in its middle, and goes on; `up` goes on too, on the next broker. Each event counts once, and what is
replayed from a broker has the digests of the one before.
"""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.e2e.conftest import Start
from tests.e2e.harness import SITE, Up, command, environment, footfall, until
from tests.e2e.proof import assert_rollups_equal_a_group_by, by_script, digests, flushed, in_log, replay
from tests.e2e.stream import EVENTS, VISITORS, Stream
from tests.e2e.test_brokers import without_topics
from tests.patience import patient
from tests.require import require
from tests.servers import kafka as kafka_part
from tests.servers import pulsar as pulsar_part

pytestmark = pytest.mark.slow

TOPIC = "footfall.pageview"
PARTITIONS = 4


class Stop(NamedTuple):
    """A broker on the way, and how many page view records are in its log, as its own client sees it."""

    url: str
    held: Callable[[], int]


def in_sqlite(file: Path) -> Stop:
    return Stop(f"sqlite://{file}", lambda: in_log(file, TOPIC))


def in_kafka(address: str, client: str = "") -> Stop:
    def held() -> int:
        consumer = Consumer({"bootstrap.servers": address, "group.id": "looks", "log_level": 0})
        try:
            parts = [TopicPartition(TOPIC, n) for n in range(PARTITIONS)]
            ends = [consumer.get_watermark_offsets(part, timeout=patient(30)) for part in parts]
            return sum(high for _, high in ends)
        except KafkaException:  # the topic is not there yet
            return 0
        finally:
            consumer.close()

    return Stop(f"kafka://{address}{client}", held)


def in_pulsar(address: str) -> Stop:
    namespace = f"public/move-{time.time_ns()}"
    admin = address.partition("admin=")[2]

    def held() -> int:
        try:
            with urllib.request.urlopen(f"{admin}/admin/v2/persistent/{namespace}/{TOPIC}/partitioned-stats") as answer:
                return int(json.load(answer)["msgInCounter"])
        except OSError:
            return 0

    return Stop(pulsar_part.url(address, namespace), held)


def move(data: Path, one: Stop, other: Stop) -> subprocess.CompletedProcess[str]:
    return footfall("broker", "move", one.url, other.url, "--json", "--data", str(data))


def killed(data: Path, one: Stop, other: Stop) -> None:
    """A move that is killed once records have arrived, before it is done."""
    before = other.held()
    process = subprocess.Popen(
        [*command(), "broker", "move", one.url, other.url, "--data", str(data)],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: other.held() > before or process.poll() is not None, "records arrive")
    finally:
        process.kill()
    assert process.wait() == -9


def replayed(data: Path, stop: Stop) -> dict[tuple[str, str], str]:
    reports = replay(data, "--source", "broker", env={"FOOTFALL_BROKER": stop.url})
    assert [report["equal"] for report in reports] == [True] * len(reports)
    return digests(reports)


def hop(start: Start, up: Up, stream: Stream, one: Stop, other: Stop) -> Up:
    """From `one` to `other` with the stream going on."""
    data = up.data
    if not other.url.startswith("sqlite:"):
        killed(data, one, other)
    beside = move(data, one, other)
    assert beside.returncode == 1, beside.stderr
    assert "footfall up" in beside.stderr
    copied = [json.loads(line) for line in beside.stdout.splitlines()]
    assert {line["switched"] for line in copied} == {False}
    assert up.stop() == 0
    before = replayed(data, one)
    done = move(data, one, other)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["switched"] for line in lines} == {True}
    there = sum(line["records"] for line in lines if line["topic"] == TOPIC)
    assert there == one.held()
    assert replayed(data, other) == before
    again = move(data, one, other)
    assert (again.returncode, again.stdout) == (0, ""), again.stderr
    after = start(env={"FOOTFALL_BROKER": other.url}).wait_ready()
    stream.up = after
    return after


def walk(start: Start, hops: list[tuple[Stop, Stop]]) -> None:
    """Each hop begins where the one before ended, perhaps by another client."""
    up = start("--site", SITE, env={"FOOTFALL_BROKER": hops[0][0].url}).wait_ready()
    stream = Stream(up)
    stream.start()
    for number, (one, other) in enumerate(hops, 1):
        stream.reach(number / (len(hops) + 2))
        up = hop(start, up, stream, one, other)
    stream.join()
    assert stream.acked == EVENTS

    searches = EVENTS // 10
    numbers = {"visitors": VISITORS, "visits": VISITORS, "pageviews": EVENTS, "searches": searches}
    up.shows(numbers, seconds=patient(120))
    (found,) = up.sql("SELECT count() AS n, uniqExact(id) AS ids, uniqExact(url) AS urls FROM events")
    assert {name: int(value) for name, value in found.items()} == {
        "n": EVENTS + searches, "ids": EVENTS + searches, "urls": EVENTS,
    }  # fmt: skip
    assert_rollups_equal_a_group_by(up)
    env = {"FOOTFALL_BROKER": hops[-1][1].url}
    told: list[Any] = []
    for source in ("broker", "archive"):
        reports = replay(up.data, "--source", source, env=env)
        assert [report["equal"] for report in reports] == [True] * len(reports)
        told.append(digests(reports))
    flushed(up.data)
    assert told[0] == told[1] == by_script(up.data)
    assert up.stop() == 0


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One of this file's own: it takes the longest, and nobody waits for the product's topics on the shared one."""
    missing = kafka_part.available()
    require("kafka", not missing, missing)
    folder = tmp_path_factory.mktemp("kafka")
    try:
        yield kafka_part.start(folder, port=0)
    finally:
        kafka_part.server(folder).stop()


@pytest.mark.real
def test_sqlite_to_kafka_to_pulsar_and_back_under_a_stream(
    start: Start, tmp_path: Path, kafka: str, pulsar: str
) -> None:
    without_topics(kafka)
    one, two, middle = in_sqlite(tmp_path / "one.db"), in_sqlite(tmp_path / "two.db"), in_pulsar(pulsar)
    walk(start, [(one, in_kafka(kafka, "?client=kafka-python")), (in_kafka(kafka), middle), (middle, two)])
    without_topics(kafka)


def test_up_on_a_broker_that_was_not_moved_to_says_so(start: Start, tmp_path: Path) -> None:
    up = start("--site", SITE).wait_ready()
    up.collect()
    until(lambda: up.stats()["pageviews"] == 1, "the page view is in the numbers")
    assert up.stop() == 0
    other = f"sqlite://{tmp_path}/other.db"
    up = start(env={"FOOTFALL_BROKER": other}).wait_ready()
    until(lambda: "footfall broker move FROM TO" in up.said(), "it says what to do")
    assert up.stop() == 0
    done = footfall("broker", "move", f"sqlite://{up.data}/log.db", other, "--data", str(up.data))
    assert done.returncode == 0, done.stderr
    up = start(env={"FOOTFALL_BROKER": other}).wait_ready()
    up.collect(url=f"https://{SITE}/b")
    until(lambda: up.stats()["pageviews"] == 2, "both are in the numbers")


def test_wrong_usage_is_told(tmp_path: Path) -> None:
    for arguments in (("sqlite:///a.db", "sqlite:///a.db"), ("sqlite:///a.db", "kafak://h"), ("memory://?x=1", "memory://")):
        done = footfall("broker", "move", *arguments, "--data", str(tmp_path))
        assert done.returncode == 2, done.stderr
    done = footfall("broker", "move", f"sqlite://{tmp_path}/none.db", "memory://", "--data", str(tmp_path))
    assert (done.returncode, "holds no topic" in done.stderr) == (1, True), done.stderr
