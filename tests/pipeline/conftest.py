"""A loader over real parts: in this process alone, and with workers in other processes.

Without workers the log, the warehouse and the checkpoint are embedded. With them the warehouse is behind ClickHouse's
HTTP protocol, as workers in other processes cannot open an embedded one; the log is a file that they read too.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import live, portable
from pipeline.runner import RemoteRunner
from tests.patience import patient
from tests.pipeline import travelling
from tests.pipeline.world import World

SERVER = Path(__file__).parents[1] / "stores" / "clickhouse_http.py"


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a world in which nothing has happened. Making all tables anew takes longer than many a test."""
    world = World(tmp_path_factory.mktemp("empty"))
    world.close()
    return world.folder


@pytest.fixture
def world(empty: Path, tmp_path: Path) -> Iterator[World]:
    """A copy of that world."""
    made = World(shutil.copytree(empty, tmp_path, symlinks=True, dirs_exist_ok=True))
    yield made
    made.close()


@pytest.fixture
def loader(world: World) -> live.Loader:
    return world.loader


@pytest.fixture(scope="session")
def executor() -> Iterator[portable.Executor]:
    made = portable.executor("processes://2", travelling.command())
    yield made
    made.close()


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    command = [sys.executable, SERVER, tmp_path_factory.mktemp("clickhouse"), "ann", ""]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    yield f"clickhouse://ann@127.0.0.1:{server.stdout.readline().strip()}"
    server.communicate("", timeout=patient(30))


@pytest.fixture
def wide_world(tmp_path: Path, clickhouse: str, executor: portable.Executor) -> Iterator[World]:
    """A world whose runs have workers in other processes."""
    runner = RemoteRunner(executor, str(tmp_path / "exchange"), shards=3)
    made = World(tmp_path, f"{clickhouse}/world_{uuid.uuid4().hex[:12]}", runner)
    yield made
    made.close()
