"""`start`: `footfall up` on the test's own data folder, ended with the test; and what loaders and functions run on."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import functions
from tests.e2e.harness import PATIENCE, Up
from tests.require import require
from tests.serverless import function
from tests.servers import kafka

Start = Callable[..., Up]
SERVER = Path(__file__).parents[1] / "stores" / "clickhouse_http.py"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start(*arguments, env=…)`; a second call in a test is a next start on the same folder."""
    started: list[Up] = []

    def begin(*arguments: str, **options: Any) -> Up:
        started.append(Up(tmp_path / "data", *arguments, **options))
        return started[-1]

    yield begin
    for up in started:
        up.end()


@pytest.fixture
def clickhouse(tmp_path: Path) -> Iterator[str]:
    """A warehouse behind ClickHouse's HTTP protocol, with a password."""
    with _clickhouse(tmp_path / "clickhouse") as port:
        yield f"clickhouse://ann:s3cret@127.0.0.1:{port}/web"


@pytest.fixture
def clickhouse_cluster(tmp_path: Path) -> Iterator[str]:
    """The same over two shards."""
    with _clickhouse(tmp_path / "cluster", "2") as port:
        yield f"clickhouse://ann:s3cret@127.0.0.1:{port}/web?cluster=main"


@contextmanager
def _clickhouse(folder: Path, *shards: str) -> Iterator[str]:
    folder.mkdir()
    line = [sys.executable, SERVER, folder, "ann", "s3cret", *shards]
    server = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    yield server.stdout.readline().strip()
    server.communicate("", timeout=PATIENCE)


@pytest.fixture(scope="module")
def aws() -> Iterator[functions.Aws]:
    """moto: S3 and SQS."""
    with functions.aws() as started:
        yield started


@pytest.fixture(scope="module")
def task(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip, unpacked."""
    return function.unpack(package, tmp_path_factory.mktemp("task"))


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Lambda has."""
    return function.install_runtime(tmp_path_factory.mktemp("runtime"))


@pytest.fixture
def zipped(task: Path, runtime: Path, aws: functions.Aws, tmp_path: Path) -> functions.Zip:
    """The functions of the zip."""
    return functions.Zip(task, runtime, aws, tmp_path)


@pytest.fixture(scope="session")
def template(package: Path) -> dict[str, Any]:
    """The CloudFormation resources that the package was made for."""
    return function.template(package)


@pytest.fixture
def site() -> str:
    """A site of this test's own, so that tests may share a broker."""
    return f"s{uuid.uuid4().hex[:12]}.example.com"


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kafka.Server]:
    """A Kafka of this module's own, to be killed."""
    missing = kafka.available()
    require("kafka", not missing, missing)
    folder = tmp_path_factory.mktemp("kafka")
    try:
        kafka.start(folder, port=0)
        yield kafka.server(folder)
    finally:
        server = kafka.server(folder)
        if server.log.exists():
            sys.stdout.write(server.log.read_text()[-4_000:])  # shown where a test failed
        server.stop()
