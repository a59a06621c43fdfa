"""Graphs whose workers are other processes of this machine, and what goes wrong with a runner, in words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from apache_beam.runners.portability.fn_api_runner.worker_handlers import WorkerHandler

from brokers.base import BrokerError, Unreachable, Unsent
from pipeline import portable, workers
from stores.base import StoreError, Unreadable
from tests.e2e.harness import until
from tests.patience import patient
from tests.pipeline import travelling
from tests.pipeline.travelling import readers
from tests.servers.process import ROOT, free_port


@pytest.fixture(scope="module")
def runner() -> Iterator[portable.ProcessExecutor]:
    made = portable.executor("processes://2", travelling.command())
    assert isinstance(made, portable.ProcessExecutor)
    yield made
    made.close()


def test_a_graph_runs_in_two_other_processes(runner: portable.ProcessExecutor, tmp_path: Path) -> None:
    expected = travelling.prepare(tmp_path)
    counted = runner.execute(travelling.summing(tmp_path), "test")
    assert travelling.sums(tmp_path) == expected
    assert counted == {"lines.read": sum(int(text.split()[0]) for text in expected.values())}
    assert len(readers(tmp_path)) == 2
    assert os.getpid() not in readers(tmp_path)


def test_the_processes_stay_for_the_next_graph(runner: portable.ProcessExecutor, tmp_path: Path) -> None:
    seen = []
    for name in ("first", "second"):
        travelling.prepare(tmp_path / name)
        runner.execute(travelling.summing(tmp_path / name), "test")
        seen.append(readers(tmp_path / name))
    assert seen[0] == seen[1]


def test_an_id_that_comes_again_is_not_taken_for_the_former(
    runner: portable.ProcessExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flink gives the workers of every job the same ids; one that is let go of late must not lose its next job."""
    monkeypatch.setattr(workers, "_SECONDS_TO_END", 3_600.0)
    expected = travelling.prepare(tmp_path / "first") and travelling.prepare(tmp_path / "second")
    monkeypatch.setattr(WorkerHandler, "_worker_id_counter", 10_000)
    runner.execute(travelling.summing(tmp_path / "first"), "test")
    late = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    assert len(late) >= 2  # those of earlier runs, too
    monkeypatch.setattr(WorkerHandler, "_worker_id_counter", 10_000)
    (tmp_path / "second" / "wait").touch()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(runner.execute, travelling.summing(tmp_path / "second"), "test")
        until(lambda: readers(tmp_path / "second") or running.done(), "a worker reads")
        for timer in late:
            timer.function(*timer.args)
            timer.cancel()
        (tmp_path / "second" / "wait").unlink()
        running.result()
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()
    assert travelling.sums(tmp_path / "second") == expected


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("unreachable", Unreachable, "kafka://h:1 does not answer:\ntry again"),
        ("unsent", Unsent, "2 records are not durable"),
        ("unreadable", Unreadable, "/x/y: it is cut off; replay its days"),
    ],
)
def test_the_error_of_a_step_comes_back_as_its_class(
    runner: portable.ProcessExecutor, name: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises((BrokerError, StoreError, portable.RunnerError)) as raised:
        runner.execute(travelling.raising(name), "test")
    assert (type(raised.value), str(raised.value)) == (kind, message)


def test_an_error_is_found_in_the_text_of_another_language() -> None:
    text = (
        "java.lang.RuntimeException: Error received from SDK harness for instruction 1: Traceback (most recent call"
        ' last):\n  File "a.py", line 1, in b\nstores.base.Unreadable: /x/y: it is cut off\n\n'
        "During handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n"
        "RuntimeError: stores.base.Unreadable: /x/y: it is cut off [while running 'Step']\n\n\tat java.base/Thread.run"
    )
    assert (type(portable.fault(text)), str(portable.fault(text))) == (Unreadable, "/x/y: it is cut off")
    assert type(portable.fault("brokers.other.TheirOwn: it is away [while running 'Step']")) is BrokerError


def test_an_error_of_no_class_of_ours_says_what_python_said(runner: portable.ProcessExecutor) -> None:
    with pytest.raises(portable.JobFailed, match=r"^ZeroDivisionError: no step knows this.*\[while running"):
        runner.execute(travelling.raising("this"), "test")


# Beam's threads that read from the dead process say so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_killed_process_fails_the_run_and_not_the_next(runner: portable.ProcessExecutor, tmp_path: Path) -> None:
    with pytest.raises(portable.JobFailed, match="a worker process was killed by signal 9"):
        runner.execute(travelling.raising("killed"), "test")
    expected = travelling.prepare(tmp_path)
    runner.execute(travelling.summing(tmp_path), "test")
    assert travelling.sums(tmp_path) == expected


def test_the_processes_end_with_the_executor(tmp_path: Path) -> None:
    with_one = portable.executor("processes://1", travelling.command())
    assert isinstance(with_one, portable.ProcessExecutor)
    pids = with_one.pids()
    assert len(pids) == 1
    with_one.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_killed_driver_leaves_no_process(tmp_path: Path) -> None:
    travelling.prepare(tmp_path)
    (tmp_path / "wait").touch()
    command = [sys.executable, "-m", "tests.pipeline.travelling", "processes://2", "sum", "sums", str(tmp_path)]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT)
    until(lambda: len(readers(tmp_path)) == 2, "both workers read")
    pids = readers(tmp_path)
    driver.kill()
    driver.communicate()
    (tmp_path / "wait").unlink()  # what a step does in the middle is not broken off
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "they are gone")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("spark://h:1", "begins with neither"),
        ("processes://", "number of processes"),
        ("processes://0", "number of processes"),
        ("processes://2?x=1", "no options"),
        ("flink://h", "HOST:PORT"),
        ("flink://h:99999", "HOST:PORT"),
        ("flink://h:1/x", "path"),
        ("flink://h:1?rest=h", "rest is to be HOST:PORT"),
        ("flink://h:1?parallelism=0", "parallelism"),
        ("flink://h:1?paralelism=2", "no option paralelism"),
        ("flink://h:1?rest=h:1&rest=h:2", "twice"),
    ],
)
def test_a_wrong_url_is_refused_in_words(url: str, says: str) -> None:
    with pytest.raises(portable.InvalidRunner, match=says) as raised:
        portable.executor(url, travelling.command())
    assert "flink://HOST:PORT" in str(raised.value)


def test_a_job_service_that_is_not_there_says_what_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "_JOB_SERVER_SECONDS", 1.0)
    travelling.prepare(tmp_path)
    runner = portable.executor(f"flink://127.0.0.1:{free_port()}?workers=127.0.0.1:1", travelling.command())
    with pytest.raises(portable.RunnerUnreachable, match="start Beam's Flink job server"):
        runner.execute(travelling.summing(tmp_path), "test")


def test_a_port_has_one_pool_only() -> None:
    pool = workers.WorkerPool(0, travelling.command())
    first = workers.PoolServer(pool)
    with pytest.raises(OSError, match="is taken"):
        workers.PoolServer(pool, int(first.address.rpartition(":")[2]))
    first.close()


def test_the_pool_ends_at_a_signal() -> None:
    command = [sys.executable, "-m", "infra.cli", "workers", "--listen", str(free_port())]
    pool = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert pool.stderr is not None
    assert any("workers at 127.0.0.1:" in line for line in pool.stderr)
    pool.send_signal(signal.SIGTERM)
    pool.communicate(timeout=patient(30))
    assert pool.returncode == 0
