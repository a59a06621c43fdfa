"""A topic that nobody looks at, made early in the run for a test that comes late."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from brokers import connect
from brokers.conformance import numbered
from brokers.pulsar.admin import Admin
from brokers.pulsar.settings import parse
from tests.once import Once
from tests.servers import pulsar as part


class Idle(NamedTuple):
    url: str
    topic: str
    since: float  # of this machine's monotonic clock


@pytest.fixture(scope="session")
def idle(once: Once, pulsar: str) -> Idle:
    """A topic with records that nobody has looked at since, and one that Pulsar itself made."""

    def make(_: Path) -> str:
        url = part.url(pulsar, f"public/idle-{time.time_ns()}")
        broker = connect(url)
        try:
            broker.create_topic("kept", 1)
            broker.publish(numbered("kept", 0, 100))
            bare = Admin(parse(url, {}))
            bare.request("PUT", f"/persistent/{parse(url, {}).namespace}/bare/partitions", 1)
            broker.publish(numbered("bare", 0, 100))
            bare.close()
        finally:
            broker.close()
        return json.dumps(Idle(url, "kept", time.monotonic()))

    return Idle(*json.loads(once("idle", make)))
