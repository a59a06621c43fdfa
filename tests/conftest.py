"""Real parts shared by all tests: started once a run when first asked for, on free ports, stopped at its end.

FOOTFALL_TEST_KAFKA, …_KAFKA3, …_DISKLESS, …_PULSAR and …_REDIS name one that runs already, such as a vendor's own
(infra/compose.yaml)."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import HealthCheck, settings

from tests import rerun, s3, schedule
from tests.once import Once
from tests.require import require
from tests.serverless import function
from tests.servers import diskless as diskless_part
from tests.servers import flink as flink_part
from tests.servers import kafka as kafka_part
from tests.servers import kafka3 as kafka3_part
from tests.servers import process
from tests.servers import pulsar as pulsar_part
from tests.servers import redis as redis_part

# How long an example takes says how busy the machine is.
settings.register_profile("footfall", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("footfall")

PARTS: dict[str, Any] = {
    "kafka": kafka_part,
    "kafka3": kafka3_part,
    "diskless": diskless_part,
    "pulsar": pulsar_part,
    "redis": redis_part,
    "flink": flink_part,
}
ONCE = pytest.StashKey[Once]()
SAID = "said"


def pytest_addoption(parser: pytest.Parser) -> None:
    rerun.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    given = getattr(config, "workerinput", {}).get("once")  # the controller's
    config.stash[ONCE] = Once(Path(given or Path(tempfile.gettempdir(), f"footfall-once-{uuid.uuid4().hex}")))
    if given is None:
        config.pluginmanager.register(Whole(config), "footfall-whole")
    schedule.register(config)
    rerun.register(config)


def pytest_unconfigure() -> None:
    process.let_go()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=schedule.order)


class Whole:
    """What the process does that sees the whole run: alone, or by workers that pytest-xdist has started."""

    def __init__(self, config: pytest.Config) -> None:
        self._once = config.stash[ONCE]
        self._said: list[str] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput["once"] = str(self._once.shared)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            self._said += [str(line) for name, line in report.user_properties if name == SAID]

    def pytest_sessionfinish(self) -> None:
        for name, part in PARTS.items():
            if (folder := self._once.folder(name)).exists():
                part.server(folder).stop()
        shutil.rmtree(self._once.shared, ignore_errors=True)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self._said:
            terminalreporter.write_sep("=", "what was measured")
            for line in self._said:
                terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def once(pytestconfig: pytest.Config) -> Once:
    """Makes something once for all processes of the run."""
    return pytestconfig.stash[ONCE]


def started(once: Once, name: str) -> str:
    if given := os.environ.get(f"FOOTFALL_TEST_{name.upper()}"):
        return given
    missing = PARTS[name].available()
    require(name, not missing, missing)
    return once(name, lambda folder: str(PARTS[name].start(folder, port=0)))


@pytest.fixture(scope="session")
def kafka(once: Once) -> str:
    """`127.0.0.1:PORT` of a real Kafka of this run's own. Use topics with names of your own."""
    return started(once, "kafka")


@pytest.fixture(scope="module")
def kafka3(once: Once) -> Iterator[str]:
    """`127.0.0.1:PORT,127.0.0.1:PORT,127.0.0.1:PORT` of three real Kafka brokers of this run's own.

    One file alone uses them, so they end with it: idle they take a tenth of a core."""
    yield started(once, "kafka3")
    once.undo("kafka3", lambda folder: PARTS["kafka3"].server(folder).stop())


@pytest.fixture(scope="session")
def diskless(once: Once) -> str:
    """`127.0.0.1:PORT` of a Kafka protocol without a disk: Tansu on an S3 of this run's own."""
    return started(once, "diskless")


@pytest.fixture(scope="session")
def pulsar(once: Once) -> str:
    """`127.0.0.1:PORT?admin=http://127.0.0.1:PORT` of a real Pulsar of this run's own."""
    return started(once, "pulsar")


@pytest.fixture(scope="session")
def redis_url(once: Once) -> str:
    """`redis://127.0.0.1:PORT/0` of a real Redis of this run's own."""
    address = started(once, "redis")
    return address if "://" in address else f"redis://{address}/0"


@pytest.fixture(scope="session")
def flink(once: Once) -> flink_part.Flink:
    """A real Flink of this run's own with Beam's job server and a pool of workers; `run` runs a module that reaches it.

    A test may kill its workers and its TaskManager, and starts that again."""
    missing = flink_part.available()
    require("flink", not missing, missing)
    once("flink", flink_part.start)
    return flink_part.server(once.folder("flink"))


@pytest.fixture(scope="session")
def package(once: Once) -> Path:
    """The packaged zip of the tracking function."""
    return Path(once("package", lambda _: str(function.packaged())))


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Print a line that is seen at the end whether the test passes or not, such as what it measured."""
    return lambda line: request.node.user_properties.append((SAID, line))


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    before = {name: os.environ.get(name) for name in keys}
    os.environ.update(keys)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    with s3.serving() as endpoint:
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="footfall")
        client.close()
        yield endpoint
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture
def s3_url(s3_endpoint: str, tmp_path: Path) -> str:
    """A prefix of its own for each test."""
    return f"s3://footfall/{tmp_path.name}?endpoint={s3_endpoint}"
