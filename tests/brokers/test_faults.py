"""The sentences that kill their broker, on brokers of their own: Kafka by both client libraries, and Pulsar."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from brokers.conformance import FAULTS, Sentence, Subject
from tests.require import require
from tests.servers import kafka as kafka_part
from tests.servers import pulsar as pulsar_part

pytestmark = [pytest.mark.real, pytest.mark.slow]

# How a part is named in a URL, and the part.
PARTS: dict[str, tuple[str, Any]] = {
    "confluent": ("kafka://{}?client=confluent&timeout_ms=5000", kafka_part),
    "kafka-python": ("kafka://{}?client=kafka-python&timeout_ms=5000", kafka_part),
    "pulsar": ("pulsar://{}&timeout_ms=20000", pulsar_part),
}


@pytest.fixture(scope="module", params=PARTS)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    pattern, part = PARTS[request.param]
    missing = part.available()
    require(request.param, not missing, missing)
    folder = tmp_path_factory.mktemp("mortal")
    server = part.server(folder)
    try:
        address = part.start(folder, port=0)
        port = int(address.partition("?")[0].rpartition(":")[2])
        found = Subject(pattern.format(address), kill=server.kill, start=lambda: part.start(folder, port=port))
        yield found
        found.close()
    finally:
        server.stop()


@pytest.mark.parametrize("sentence", FAULTS, ids=str)
def test_it_dies_and_comes_back(sentence: Sentence, subject: Subject) -> None:
    sentence(subject)
