"""Each adapter against the bare client library that it uses, on a real broker that this bench starts and stops.

    python -m bench.brokers [--broker kafka|pulsar] [--events N] [--json | --markdown]

Both write the same records of 400 bytes with the same settings, batch by batch, each batch acked before the next. Both
read them back over connections that stay open: key, value, position and time, which a reader needs to resume. They take
turns in short rounds and the best round of each counts, so that a busy moment affects both or neither. The records that
they read are compared first. Python's garbage collector runs as rarely as in the processes that read a broker.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pulsar as pulsar_client
from confluent_kafka import Consumer, Producer, TopicPartition

from bench.harness import Result, report, result, timed
from bench.log import BATCH, in_batches
from brokers import connect
from brokers.base import Record
from brokers.conformance import read_all
from brokers.routing import partition_of
from tests.servers import kafka, pulsar

PARTITIONS = 4
ROUNDS = 7
TARGET = 0.8
Found = tuple[bytes | None, bytes | None, tuple[int, ...], int]  # key, value, position, time


class Bare(Protocol):
    """A client library used as its documentation shows, for records of a key and a value."""

    def publish(self, topic: str, batches: list[list[Record]]) -> None:
        """Publish the batches, each acked before the next."""

    def read(self, topic: str, partition: int, count: int) -> list[Found]:
        """Read the first `count` records of a partition."""

    def close(self) -> None:
        """Close the connections."""


class BareKafka(Bare):
    """confluent-kafka."""

    def __init__(self, address: str) -> None:
        self._producer = Producer({
            "bootstrap.servers": address, "enable.idempotence": True, "acks": "all", "linger.ms": 1,
            "compression.type": "lz4",
        })  # fmt: skip
        self._consumer = Consumer({
            "bootstrap.servers": address, "group.id": "bench", "enable.auto.commit": False,
            "auto.offset.reset": "earliest", "fetch.wait.max.ms": 20, "queued.max.messages.kbytes": 32_768,
        })  # fmt: skip

    def publish(self, topic: str, batches: list[list[Record]]) -> None:
        for batch in batches:
            for record in batch:
                self._producer.produce(topic, record.value, record.key, partition_of(record.key or b"", PARTITIONS))
            assert self._producer.flush(30) == 0

    def read(self, topic: str, partition: int, count: int) -> list[Found]:
        self._consumer.assign([TopicPartition(topic, partition, 0)])
        found: list[Found] = []
        while len(found) < count:
            found += [
                (message.key(), message.value(), (message.offset(),), message.timestamp()[1])
                for message in self._consumer.consume(min(10_000, count - len(found)), 0.1)
            ]
        return found

    def close(self) -> None:
        self._producer.flush(30)
        self._consumer.close()


class BarePulsar(Bare):
    """pulsar-client."""

    def __init__(self, address: str) -> None:
        self._client = pulsar_client.Client(
            f"pulsar://{address.partition('?')[0]}",
            logger=pulsar_client.FileLogger(pulsar_client.LoggerLevel.Error, "/dev/null"),
        )
        self._producers: dict[str, list[Any]] = {}

    def _of(self, topic: str) -> list[Any]:
        if topic not in self._producers:
            self._producers[topic] = [
                self._client.create_producer(
                    f"{topic}-partition-{partition}", compression_type=pulsar_client.CompressionType.LZ4,
                    batching_enabled=True, batching_max_publish_delay_ms=1, max_pending_messages=0,
                )
                for partition in range(PARTITIONS)
            ]  # fmt: skip
        return self._producers[topic]

    def publish(self, topic: str, batches: list[list[Record]]) -> None:
        producers = self._of(topic)
        failed = []

        def acked(result: Any, _: Any) -> None:
            if result != pulsar_client.Result.Ok:
                failed.append(result)

        for batch in batches:
            for record in batch:
                key = record.key or b""
                producers[partition_of(key, PARTITIONS)].send_async(record.value, acked, partition_key=key.decode())
            for producer in producers:
                producer.flush()
            assert not failed

    def read(self, topic: str, partition: int, count: int) -> list[Found]:
        reader = self._client.create_reader(f"{topic}-partition-{partition}", pulsar_client.MessageId.earliest)
        found: list[Found] = []
        for _ in range(count):
            message = reader.read_next(10_000)
            where = message.message_id()
            order = (where.ledger_id(), where.entry_id(), where.batch_index())
            found.append((message.partition_key().encode(), message.data(), order, message.publish_timestamp()))
        reader.close()
        return found

    def close(self) -> None:
        self._client.close()


BROKERS: dict[str, tuple[Any, Callable[[str], Bare]]] = {"kafka": (kafka, BareKafka), "pulsar": (pulsar, BarePulsar)}


def measure(name: str, address: str, events: int) -> list[Result]:
    """Return the results of publishing and reading `events` records, after comparing what both sides read."""
    broker, bare = connect(f"{name}://{address}"), BROKERS[name][1](address)
    batches = [[record._replace(topic="ours") for record in batch] for batch in in_batches(events, BATCH)]
    for topic in ("ours", "bare"):
        broker.create_topic(topic, PARTITIONS)

    def publish() -> None:
        for batch in batches:
            broker.publish(batch)

    publish_bare = partial(bare.publish, "bare", batches)
    publishing = [(timed(publish), timed(publish_bare)) for _ in range(ROUNDS)]
    counts = []
    for partition in range(PARTITIONS):
        ours = read_all(broker, "ours", partition)
        counts.append(len(ours))
        theirs = bare.read("bare", partition, len(ours))
        assert [(record.key, record.value) for record in ours] == [found[:2] for found in theirs]

    def read() -> None:
        for partition in range(PARTITIONS):
            read_all(broker, "ours", partition)

    def read_bare() -> None:
        for partition in range(PARTITIONS):
            bare.read("bare", partition, counts[partition])

    reading = [(timed(read), timed(read_bare)) for _ in range(ROUNDS)]
    broker.close()
    bare.close()
    lines = []
    for what, rounds, count in ((f"publish-{BATCH}", publishing, events), ("read", reading, sum(counts))):
        ours, theirs = zip(*rounds, strict=True)
        rate, peer = (count / min(cost.wall for cost in each) for each in (ours, theirs))
        cpu, peer_cpu = (round(min(cost.cpu for cost in each) / count * 1e6, 2) for each in (ours, theirs))
        met = rate >= TARGET * peer
        cpus: dict[str, object] = {"cpu_us": cpu, "peer_cpu_us": peer_cpu}
        lines.append(result(f"{name}-{what}", rate, peer, "records/s", TARGET, met=met, **cpus))
    return lines


def markdown(lines: list[Result]) -> str:
    """Return the results as a table in Markdown."""
    rows = [f"| {each['name']} | {each['ours']:,.0f} | {each['peer']:,.0f} | {each['ratio']} |" for each in lines]
    return "\n".join(
        ["| | adapter, records/s | bare client, records/s | ratio |", "| --- | ---: | ---: | ---: |", *rows]
    )


def main() -> int:
    """Run the bench; return 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", choices=[*BROKERS], action="append", help="only this one; may be repeated")
    parser.add_argument("--events", type=int, default=50_000, help="records a round")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="accepted for uniformity: so it is without")
    shown.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    lines = []
    gc.set_threshold(10_000, 20, 20)
    for name in options.broker or BROKERS:
        part = BROKERS[name][0]
        with tempfile.TemporaryDirectory() as folder:
            try:
                lines += measure(name, part.start(Path(folder).resolve(), port=0), options.events)
            finally:
                part.server(Path(folder).resolve()).stop()
    if options.markdown:
        print(markdown(lines))
        return 0 if all(each["met"] for each in lines) else 1
    return report(lines)


if __name__ == "__main__":
    sys.exit(main())
