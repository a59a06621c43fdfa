"""Real parts shared by all tests: started once a session when first asked for, on free ports, stopped at the end.

FOOTFALL_TEST_KAFKA, …_KAFKA3, …_DISKLESS, …_PULSAR and …_REDIS name one that runs already, such as a vendor's own
(infra/compose.yaml)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

import pytest

from infra.dev import diskless as diskless_part
from infra.dev import kafka as kafka_part
from infra.dev import kafka3 as kafka3_part
from infra.dev import pulsar as pulsar_part
from infra.dev import redis as redis_part
from tests.require import require


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`127.0.0.1:PORT` of a real Kafka of this session's own. Use topics with names of your own."""
    if given := os.environ.get("FOOTFALL_TEST_KAFKA"):
        yield given
        return
    missing = kafka_part.available()
    require("kafka", not missing, missing)
    folder = tmp_path_factory.mktemp("kafka")
    try:
        yield kafka_part.start(folder, port=0)
    finally:
        kafka_part.server(folder).stop()


@pytest.fixture(scope="session")
def kafka3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`127.0.0.1:PORT,127.0.0.1:PORT,127.0.0.1:PORT` of three real Kafka brokers of this session's own."""
    if given := os.environ.get("FOOTFALL_TEST_KAFKA3"):
        yield given
        return
    missing = kafka3_part.available()
    require("kafka3", not missing, missing)
    folder = tmp_path_factory.mktemp("kafka3")
    try:
        yield kafka3_part.start(folder, port=0)
    finally:
        kafka3_part.server(folder).stop()


@pytest.fixture(scope="session")
def diskless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`127.0.0.1:PORT` of a Kafka protocol without a disk: Tansu on an S3 of this session's own."""
    if given := os.environ.get("FOOTFALL_TEST_DISKLESS"):
        yield given
        return
    missing = diskless_part.available()
    require("diskless", not missing, missing)
    folder = tmp_path_factory.mktemp("diskless")
    try:
        yield diskless_part.start(folder, port=0)
    finally:
        diskless_part.server(folder).stop()


@pytest.fixture(scope="session")
def pulsar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`127.0.0.1:PORT?admin=http://127.0.0.1:PORT` of a real Pulsar of this session's own."""
    if given := os.environ.get("FOOTFALL_TEST_PULSAR"):
        yield given
        return
    missing = pulsar_part.available()
    require("pulsar", not missing, missing)
    folder = tmp_path_factory.mktemp("pulsar")
    try:
        yield pulsar_part.start(folder, port=0)
    finally:
        pulsar_part.server(folder).stop()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`redis://127.0.0.1:PORT/0` of a real Redis of this session's own."""
    if given := os.environ.get("FOOTFALL_TEST_REDIS"):
        yield given
        return
    missing = redis_part.available()
    require("redis", not missing, missing)
    folder = tmp_path_factory.mktemp("redis")
    try:
        yield f"redis://{redis_part.start(folder, port=0)}/0"
    finally:
        redis_part.server(folder).stop()


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print a line that is seen whether the test passes or not, such as what it measured."""

    def write(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{line}\n")

    return write
