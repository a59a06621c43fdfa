"""A real Flink runs graphs on workers of its own, and workers and TaskManagers are killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import until
from tests.patience import patient
from tests.pipeline import travelling
from tests.pipeline.travelling import readers
from tests.servers import flink as part
from tests.servers.flink import Flink

pytestmark = [pytest.mark.real, pytest.mark.slow]

MODULE = "tests.pipeline.travelling"
SECONDS = patient(180)

Say = Callable[[str], None]
Begin = Callable[[Path], "subprocess.Popen[str]"]


@pytest.fixture
def begin(flink: Flink) -> Iterator[Begin]:
    """`begin(folder)` starts the graph, and is back when a worker is in the middle of a file, where it waits."""
    started: list[subprocess.Popen[str]] = []

    def begin(folder: Path) -> subprocess.Popen[str]:
        (folder / "wait").touch()
        driver = flink.begin(MODULE, flink.url(parallelism=2, processes=2), folder.name, "sums", str(folder))
        started.append(driver)
        until(lambda: readers(folder), "a worker reads", SECONDS)
        return driver

    yield begin
    for driver in started:
        driver.kill()
        driver.wait()
        if driver.stdout is not None:
            driver.stdout.close()


def finish(driver: subprocess.Popen[str], folder: Path) -> dict[str, object]:
    (folder / "wait").unlink()
    said, _ = driver.communicate(timeout=SECONDS)
    return dict(json.loads(said.splitlines()[-1]))


def test_a_graph_runs_at_parallelism_two_on_warm_workers(flink: Flink, tmp_path: Path, say: Say) -> None:
    seconds, seen, workers = [], [], set(flink.workers())
    for name in ("cold", "warm", "again"):
        folder = tmp_path / name
        expected = travelling.prepare(folder)
        answer = flink.run(
            MODULE, flink.url(parallelism=2, processes=2), folder.name, "sums", str(folder), timeout=SECONDS
        )
        assert travelling.sums(folder) == expected
        assert answer["counters"] == {"lines.read": 40_000}
        seconds.append(answer["seconds"])
        seen.append(readers(folder))
    assert set.union(*seen) <= workers
    assert set(flink.workers()) == workers
    say(f"Flink: a small job took {seconds} s")


def test_a_killed_worker_changes_nothing(flink: Flink, begin: Begin, tmp_path: Path) -> None:
    expected = travelling.prepare(tmp_path)
    driver = begin(tmp_path)
    earlier = set(flink.workers())
    killed = min(readers(tmp_path))
    os.kill(killed, signal.SIGKILL)
    until(lambda: readers(tmp_path) & set(flink.workers()) - earlier, "another worker reads", SECONDS)
    finish(driver, tmp_path)
    assert travelling.sums(tmp_path) == expected
    assert killed not in flink.workers()


def test_a_killed_task_manager_changes_nothing(flink: Flink, begin: Begin, tmp_path: Path) -> None:
    expected = travelling.prepare(tmp_path)
    driver = begin(tmp_path)
    flink.task_managers[0].kill()
    part.start_task_manager(flink, 1)
    answer = finish(driver, tmp_path)
    assert travelling.sums(tmp_path) == expected, answer


def test_ctrl_c_cancels_the_job(flink: Flink, begin: Begin, tmp_path: Path) -> None:
    travelling.prepare(tmp_path)
    driver = begin(tmp_path)
    driver.send_signal(signal.SIGINT)
    driver.communicate(timeout=SECONDS)
    assert driver.returncode != 0
    assert flink.jobs(tmp_path.name) == ["CANCELED"]
    (tmp_path / "wait").unlink()
    expected = travelling.prepare(tmp_path / "next")
    flink.run(MODULE, flink.url(parallelism=2, processes=2), "next", "sums", str(tmp_path / "next"), timeout=SECONDS)
    assert travelling.sums(tmp_path / "next") == expected
    assert not travelling.sums(tmp_path)


def test_a_job_whose_driver_was_killed_is_cancelled_by_the_next_of_its_name(
    flink: Flink, begin: Begin, tmp_path: Path
) -> None:
    travelling.prepare(tmp_path / "first")
    driver = begin(tmp_path / "first")
    driver.kill()
    driver.communicate()
    assert flink.jobs("first") == ["RUNNING"]
    expected = travelling.prepare(tmp_path / "second")
    flink.run(MODULE, flink.url(parallelism=2, processes=2), "first", "sums", str(tmp_path / "second"), timeout=SECONDS)
    assert travelling.sums(tmp_path / "second") == expected
    assert not travelling.sums(tmp_path / "first")
    assert flink.jobs("first") == ["CANCELED", "FINISHED"]


def test_a_permanent_error_ends_the_job_and_comes_back_as_its_class(flink: Flink) -> None:
    answer = flink.run(MODULE, flink.url(), "raising", "raises", "unreadable", timeout=SECONDS)
    assert (answer["error"], answer["message"]) == ("Unreadable", "/x/y: it is cut off; replay its days")


def test_workers_of_the_drivers_machine_do_as_well(flink: Flink, tmp_path: Path) -> None:
    expected = travelling.prepare(tmp_path)
    url = flink.url(parallelism=2, processes=2).replace(f"workers={part.HOST}:50000&", "")
    flink.run(MODULE, url, "local", "sums", str(tmp_path), timeout=SECONDS)
    assert travelling.sums(tmp_path) == expected
    assert not readers(tmp_path) & set(flink.workers())


def test_nobody_outside_its_network_reaches_it(flink: Flink) -> None:
    listening = f"import socket; socket.create_connection(('127.0.0.1', {part.PORT}), 5)"
    inside = subprocess.run([*flink.inside(), "python3", "-c", listening], capture_output=True, check=False)
    assert inside.returncode == 0, inside.stderr
    interfaces = subprocess.run(
        [*flink.inside(), "cat", "/proc/net/dev"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.splitlines()[2:]
    assert [line.partition(":")[0].strip() for line in interfaces] == ["lo"]
