"""Several loaders share the partitions, as a user starts them: from one to three beside running traffic, one killed."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import stores
from pipeline.lease import HeldLease
from pipeline.unit import all_of
from tests.e2e.harness import PATIENCE, command, environment, footfall, until
from tests.e2e.ingesting import ingesting
from tests.e2e.proof import replay
from tests.require import require
from tests.servers import kafka


class Deployment:
    """The parts of a deployment that loaders share, and the loaders."""

    def __init__(self, folder: Path, warehouse: str, broker: str = "") -> None:
        data = folder / "data"
        self.data = data
        self.env = {
            "FOOTFALL_WAREHOUSE": warehouse,
            "FOOTFALL_DATA": str(data),
            "FOOTFALL_SITES": str(data / "sites.toml"),
            "FOOTFALL_BROKER": broker or f"sqlite://{data}/log.db",
        }
        self.warehouse = stores.connect_warehouse(warehouse)
        self.warehouse.migrate()
        self.running: list[subprocess.Popen[bytes]] = []

    def stored(self) -> int:
        return int(self.warehouse.query("SELECT count() FROM events").item())

    def start(self, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
        """A loader, and the file with what it says."""
        said = self.data / f"said-{len(self.running)}"
        with said.open("wb") as output:
            line = [*command(), "load", *arguments]
            self.running.append(subprocess.Popen(line, env=environment(self.env), stderr=output))
        return self.running[-1], said

    def loader_of(self, unit: str) -> str:
        """The process that has a unit, "" for none."""
        return HeldLease(stores.connect_checkpoint(f"file://{self.data}/checkpoint"), unit).holder()

    def close(self) -> None:
        for loader in self.running:
            if loader.poll() is None:
                loader.terminate()
                assert loader.wait(PATIENCE) == 0
        self.warehouse.close()


@pytest.fixture
def deployment(tmp_path: Path, clickhouse: str) -> Iterator[Deployment]:
    made = Deployment(tmp_path, clickhouse)
    with contextlib.closing(made):
        yield made


@pytest.fixture
def over_kafka(tmp_path: Path, clickhouse: str) -> Iterator[Deployment]:
    """A deployment with a Kafka of its own, because the topics get another number of partitions."""
    missing = kafka.available()
    require("kafka", not missing, missing)
    server = kafka.server(tmp_path / "kafka")
    try:
        made = Deployment(tmp_path, clickhouse, f"kafka://{kafka.start(server.folder, port=0)}")
        with contextlib.closing(made):
            yield made
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.real
def test_from_one_loader_to_three_and_back_with_one_killed_each_event_is_stored_once(
    tmp_path: Path, over_kafka: Deployment
) -> None:
    deployment, env = over_kafka, over_kafka.env
    assert footfall("site", "add", "a.example", env=env).returncode == 0
    assert footfall("topics", "apply", "--partitions", "6", env=env).returncode == 0
    with ingesting(tmp_path / "ingest", env) as ingest:
        until(ingest.ready, "ingest is ready")
        sent, over = 0, threading.Event()

        def view(browser: str) -> None:
            one = {"site": "a.example", "type": "pageview", "url": "https://a.example/", "id": uuid.uuid4().hex}
            ingest.collect(one, {"User-Agent": browser})

        def send() -> None:
            nonlocal sent
            while not over.wait(0.02):
                view(f"Mozilla/5.0 (X11; Linux x86_64; rv:{sent % 50}.0) Gecko/20100101 Firefox/{sent % 50}.0")
                sent += 1

        sender = threading.Thread(target=send)
        sender.start()
        try:
            one, said = deployment.start()
            until(lambda: deployment.stored() > 40, "one loader stores events")
            done = footfall("units", "3", env=env)
            assert done.returncode == 0, done.stderr
            assert "units: 3 now, 1 before" in done.stderr
            assert one.wait(PATIENCE) == 1
            assert "start a loader for each by --unit K/3" in said.read_text()
            first, second, third = (deployment.start("--unit", f"{number}/3")[0] for number in (1, 2, 3))
            for unit in all_of(3):
                until(lambda name=unit.name: deployment.loader_of(name), f"unit {unit} has its loader")
            standby, said = deployment.start("--unit", "2/3")
            until(lambda: "stands by" in said.read_text(), "the second loader of a unit stands by")
            holder = deployment.loader_of("2-of-3")
            second.kill()
            second.wait()
            until(lambda: deployment.loader_of("2-of-3") not in ("", holder), "the one that stood by has the unit")
        finally:
            over.set()
            sender.join()
        until(lambda: deployment.stored() == sent, "all that was sent is stored")
        assert footfall("units", "1", env=env).returncode == 0
        for loader in (first, standby, third):
            assert loader.wait(PATIENCE) == 1
        deployment.start()
        until(lambda: deployment.loader_of("0"), "one loader has it all")
        told = footfall("units", "--json", env=env)
        (line,) = map(json.loads, told.stdout.splitlines())
        assert (line["unit"], line["partitions"], line["loader"]) == ("1/1", list(range(6)), deployment.loader_of("0"))
        view("Mozilla/5.0 (X11; Linux x86_64; rv:51.0) Gecko/20100101 Firefox/51.0")
        until(lambda: deployment.stored() == sent + 1, "the last event is stored")
    for source in ("broker", "archive"):
        reports = replay(deployment.data, "--dry-run", "--source", source, env=env)
        assert all(report["equal"] for report in reports)
        assert sum(report["events"] for report in reports) == sent + 1


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["load", "--unit", "5/4"], 2, "a unit is written K/N"),
        (["load", "--unit", "2/4", "--warehouse", "chdb:///w"], 1, "belongs to one process"),
        (["units", "4", "--warehouse", "chdb:///w"], 1, "there can be one unit only"),
        (["units", "5"], 1, "there can be 4 units at most"),
        (["load", "--unit", "2/4"], 1, "share them out by `footfall units N`"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    deployment: Deployment, arguments: list[str], status: int, words: str
) -> None:
    done = footfall(*arguments, env=deployment.env)
    assert done.returncode == status
    assert words in " ".join(done.stderr.split())
