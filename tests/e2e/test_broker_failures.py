"""Kafka fails under a tracking port that takes events: killed, started again, paused.

No sender is told 2xx for an event that is not in the log at the end, and each visitor's events are there in order.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.e2e.beacons import TOPIC, under_load
from tests.e2e.harness import until
from tests.patience import patient
from tests.servers import kafka as part

pytestmark = [pytest.mark.real, pytest.mark.slow]


GOES_ON = patient(600)  # beside much load a Kafka that slept loses its session again and again, for minutes


def takes(address: str) -> bool:
    """Whether Kafka takes a record, by a client of its own; it is no beacon's."""
    producer = Producer({"bootstrap.servers": address, "log_level": 0, "message.timeout.ms": 5_000})
    errors: list[object] = []
    producer.produce(TOPIC, b"{}", b"a test's own", on_delivery=lambda error, _: errors.append(error))
    producer.flush(10)
    return errors == [None]


@pytest.fixture(scope="module")
def broker(own_kafka: part.Server) -> part.Server:
    return own_kafka


def test_not_there_yet_at_the_start(tmp_path: Path, broker: part.Server, say: Callable[[str], None]) -> None:
    """The first of this module: the topics are not there either."""
    address = broker.address()
    assert address
    broker.kill()
    with under_load(tmp_path / "ingest", f"kafka://{address}?client=kafka-python&timeout_ms=3000") as service:
        service.load.more(500)
        assert service.spools()
        part.start(broker.folder, int(address.rpartition(":")[2]))
        service.drained()
        service.load.more(500)
    figures = service.judge(address)
    assert figures.refused == 0
    say(f"Kafka started after the tracking port: {figures}")


def test_killed_and_started_again(tmp_path: Path, broker: part.Server, say: Callable[[str], None]) -> None:
    address = broker.address()
    assert address
    with under_load(tmp_path / "ingest", f"kafka://{address}?client=confluent") as service:
        service.load.more(500)
        broker.kill()
        until(service.spools, "events go to the spool")
        service.load.more(500)
        part.start(broker.folder, int(address.rpartition(":")[2]))
        service.drained()
        service.load.more(500)
    figures = service.judge(address)
    assert figures.refused == 0
    say(f"Kafka killed and started again: {figures}")


def test_paused_for_twenty_seconds(tmp_path: Path, broker: part.Server, say: Callable[[str], None]) -> None:
    address = broker.address()
    assert address
    with under_load(tmp_path / "ingest", f"kafka://{address}") as service:
        service.load.more(500)
        (pid,) = broker.pids()
        os.kill(pid, signal.SIGSTOP)
        try:
            begin = time.monotonic()
            until(service.spools, "events go to the spool")
            time.sleep(max(0.0, begin + 20 - time.monotonic()))
        finally:
            os.kill(pid, signal.SIGCONT)
        until(lambda: takes(address), "Kafka takes records again", GOES_ON)
        service.drained()
        service.load.more(500)
    figures = service.judge(address)
    assert figures.refused == 0
    say(f"Kafka paused for 20 s: {figures}")
