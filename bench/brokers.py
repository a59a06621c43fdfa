"""Our Kafka adapter against the bare client beneath it, on a real Kafka that this bench starts and stops.

    python -m bench.brokers [--events N] [--json]

Both publish the same 400-byte records with the same settings, batch by batch, each batch acked before the next.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from bench.log import BATCH, in_batches, line
from brokers import connect
from brokers.base import Broker, Record
from brokers.conformance import read_all
from brokers.partitioner import partition_of
from infra.dev import kafka


def bare_publish(producer: Producer, topic: str, batches: list[list[Record]]) -> None:
    for batch in batches:
        for record in batch:
            producer.produce(topic, record.value, record.key, partition_of(record.key or b"", 4))
        assert producer.flush(30) == 0


def bare_read(address: str, topic: str, partition: int) -> list[tuple[bytes, bytes]]:
    consumer = Consumer({"bootstrap.servers": address, "group.id": "bench", "enable.auto.commit": False})
    end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1]
    consumer.assign([TopicPartition(topic, partition, 0)])
    found: list[tuple[bytes, bytes]] = []
    while len(found) < end:
        found += [(message.key(), message.value()) for message in consumer.consume(10_000, 0.1)]
    consumer.close()
    return found


def ours_read(broker: Broker, topic: str, partition: int) -> list[tuple[bytes | None, bytes | None]]:
    return [(record.key, record.value) for record in read_all(broker, topic, partition)]


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(address: str, events: int) -> list[dict[str, object]]:
    batches = [[record._replace(topic="ours") for record in batch] for batch in in_batches(events, BATCH)]
    broker = connect(f"kafka://{address}")
    for topic in ("ours", "bare"):
        broker.create_topic(topic, 4)
    producer = Producer(
        {
            "bootstrap.servers": address,
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 1,
            "compression.type": "lz4",
        }
    )
    warm = batches[:2]
    broker.publish([record for batch in warm for record in batch])
    bare_publish(producer, "bare", warm)
    ours = timed(lambda: [broker.publish(batch) for batch in batches])
    peer = timed(lambda: bare_publish(producer, "bare", batches))
    for partition in range(4):
        assert ours_read(broker, "ours", partition) == bare_read(address, "bare", partition)
    ours_reading = timed(lambda: [ours_read(broker, "ours", partition) for partition in range(4)])
    peer_reading = timed(lambda: [bare_read(address, "bare", partition) for partition in range(4)])
    broker.close()
    rates = {
        "kafka-publish-500": (events / ours, events / peer),
        "kafka-read": (events / ours_reading, events / peer_reading),
    }
    return [line(name, ours, peer, "records/s", round(peer / 2, 1)) for name, (ours, peer) in rates.items()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        address = kafka.start(Path(folder), port=0)
        try:
            lines = measure(address, options.events)
        finally:
            kafka.server(Path(folder)).stop()
    for each in lines:
        print(json.dumps(each) if options.json else "  ".join(f"{key}={value}" for key, value in each.items()))
    return 0 if all(each["met"] for each in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
