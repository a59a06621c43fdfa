"""The pipeline's steps in other processes, as a user asks for it: the same sessions, and what cannot be is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from pathlib import Path

import pytest

import stores
from tests.e2e.harness import PATIENCE, command, environment, footfall, until
from tests.e2e.ingesting import ingesting
from tests.e2e.proof import replay


def workers_of(loader: subprocess.Popen[bytes]) -> list[int]:
    """The processes below a loader."""
    tasks = Path(f"/proc/{loader.pid}/task").glob("*/children")
    return [int(pid) for children in tasks for pid in children.read_text().split()]


@pytest.mark.slow
def test_a_loader_with_workers_stores_each_event_once_though_a_worker_and_the_loader_are_killed(
    tmp_path: Path, clickhouse: str
) -> None:
    data = tmp_path / "data"
    env = {"FOOTFALL_WAREHOUSE": clickhouse, "FOOTFALL_DATA": str(data)}
    warehouse = stores.connect_warehouse(clickhouse)
    warehouse.migrate()

    def stored() -> int:
        return int(warehouse.query("SELECT count() FROM events").item())

    def load() -> subprocess.Popen[bytes]:
        return subprocess.Popen([*command(), "load", "--runner", "processes://2"], env=environment(env))

    assert footfall("site", "add", "a.example", env=env).returncode == 0
    sent = 0
    shared = {"FOOTFALL_SITES": str(data / "sites.toml"), "FOOTFALL_BROKER": f"sqlite://{data}/log.db"}
    with ingesting(tmp_path / "ingest", env | shared) as ingest:
        until(ingest.ready, "ingest is ready")

        def send(count: int) -> None:
            nonlocal sent
            for _ in range(count):
                page = f"https://a.example/{sent}"
                ingest.collect({"site": "a.example", "type": "pageview", "url": page, "id": uuid.uuid4().hex})
                sent += 1

        send(40)
        loader = load()
        try:
            until(lambda: stored() == sent, "the loader has stored the events")
            os.kill(until(lambda: workers_of(loader), "there are workers")[0], signal.SIGKILL)
            send(40)
            until(lambda: stored() == sent, "the events after a worker's death are stored")
            left = workers_of(loader)
            loader.kill()
            loader.wait()
            until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), "its workers have ended")
            send(40)
            loader = load()
            until(lambda: stored() == sent, "the events after the loader's death are stored")
        finally:
            loader.terminate()
            assert loader.wait(PATIENCE) == 0
    reports = replay(data, "--dry-run", env=env)
    assert [report["equal"] for report in reports] == [True]
    assert sum(report["events"] for report in reports) == sent
    warehouse.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--runner", "processes://2"], "an embedded warehouse belongs to one process"),
        (["--runner", "flink://127.0.0.1:9", "--warehouse", "clickhouse://h:1/d"], "cannot read the log of sqlite:"),
        (
            ["--runner", "flink://127.0.0.1:9", "--warehouse", "clickhouse://h:1/d", "--broker", "kafka://h:1"],
            "name a place that all workers reach by --exchange",
        ),
        (["--runner", "spark://h:1"], "spark:// is not known"),
        (["--runner", "processes://none", "--warehouse", "clickhouse://h:1/d"], "the number of processes"),
    ],
)
def test_what_workers_elsewhere_could_not_open_is_refused_in_words(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    done = footfall("load", "--data", str(tmp_path), *arguments)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())
