"""Pulsar forgets by its defaults what no subscription holds; a topic that the adapter made keeps it. Needs time."""

from __future__ import annotations

import time

import pytest

from brokers import connect
from brokers.base import TopicPartition
from brokers.conformance import numbered, numbers, read_all
from brokers.pulsar.admin import Admin
from brokers.pulsar.broker import PulsarBroker
from brokers.pulsar.settings import parse
from tests.brokers.conftest import Idle

IDLE_SECONDS = 180  # Pulsar looks for inactive topics each minute, and deletes those inactive for one


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.last
def test_nothing_is_forgotten_without_a_subscription(idle: Idle) -> None:
    time.sleep(max(0.0, idle.since + IDLE_SECONDS - time.monotonic()))
    broker = connect(idle.url)
    assert isinstance(broker, PulsarBroker)
    admin = Admin(parse(idle.url, {}))
    try:
        path = f"/persistent/{parse(idle.url, {}).namespace}"
        assert admin.get(f"{path}/bare-partition-0/internalStats").status == 404, "the vendor's defaults are not on"
        broker.seal(TopicPartition(idle.topic, 0))
        broker.publish(numbered(idle.topic, 100, 1))
        admin.request("POST", f"{path}/{idle.topic}-partition-0/trim")
        assert numbers(read_all(broker, idle.topic)) == list(range(101))
        bounds = broker.bounds(TopicPartition(idle.topic, 0))
        assert bounds and bounds.first.order[0] < bounds.last.order[0], "there was no rollover"
    finally:
        broker.close()
        admin.close()
