"""The process that reads the lines of an import: what goes wrong beside it is told in words, and never in a thread."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from activity.enrich import SiteRules
from ingest.logs.files import ImportFailed
from ingest.logs.worker import Task, Worker
from tests.patience import patient

TASK = Task(SiteRules("example.com"), b"key", 1_748_858_400_000, None)


@pytest.fixture
def fallen() -> Iterator[list[str]]:
    """What threads ended in."""
    found: list[str] = []
    before, threading.excepthook = threading.excepthook, lambda fault: found.append(repr(fault.exc_value))
    yield found
    threading.excepthook = before


def feeding() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "feeding"]


def endless() -> Iterator[bytes]:
    while True:
        yield b"nothing that is a line of a log\n"


def test_an_import_that_is_given_up_leaves_no_thread_behind(fallen: list[str]) -> None:
    with Worker(TASK) as worker:
        assert next(worker.batches("combined", endless(), 2_000)).lines == 2_000
    for thread in feeding():
        thread.join(30)
    assert (feeding(), fallen) == ([], [])


def broken() -> Iterator[bytes]:
    yield b"a line\n"
    raise ValueError("I/O operation on closed file")


def killed(worker: Worker) -> None:
    worker._process.kill()


def nothing(_: Worker) -> None:
    pass


@pytest.mark.parametrize(
    ("lines", "deed", "told"),
    [(broken, nothing, "the lines cannot be read: I/O operation"), (endless, killed, "run the import again")],
)
def test_what_ends_it_is_told(
    fallen: list[str], lines: Callable[[], Iterator[bytes]], deed: Callable[[Worker], None], told: str
) -> None:
    with Worker(TASK) as worker:
        deed(worker)
        with pytest.raises(ImportFailed, match=told):
            list(worker.batches("combined", lines(), 1))
    for thread in feeding():
        thread.join(30)
    assert (feeding(), fallen) == ([], [])


LINE = b'192.0.2.1 - - [01/Jun/2025:12:00:00 +0000] "GET / HTTP/1.1" 200 12 "-" "Mozilla/5.0"\n'


class Waiting:
    """Lines of which the last are awaited."""

    def __init__(self) -> None:
        self.end = threading.Event()
        self.waited_in_vain = False

    def __iter__(self) -> Iterator[bytes]:
        yield LINE
        self.waited_in_vain = not self.end.wait(patient(60))


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    lines = Waiting()
    yield lines
    assert not lines.waited_in_vain
    lines.end.set()
    for thread in feeding():
        thread.join(patient(30))
    assert feeding() == []


def test_a_fault_of_the_reading_is_told_while_lines_are_awaited(
    waiting: Waiting, capfd: pytest.CaptureFixture[str]
) -> None:
    with Worker(TASK._replace(key=None)) as worker:  # with which no visitor can be named
        with pytest.raises(ImportFailed, match="run the import again"):
            list(worker.batches("combined", waiting, 1))
        assert not waiting.waited_in_vain
    assert "Traceback" in capfd.readouterr().err


def test_the_end_of_the_process_is_told_while_lines_are_awaited(waiting: Waiting) -> None:
    with Worker(TASK) as worker:
        reading = worker.batches("combined", waiting, 1)
        assert next(reading).lines == 1
        worker._process.kill()
        with pytest.raises(ImportFailed, match="run the import again"):
            next(reading)


def test_a_fault_of_the_publishing_waits_for_no_line(waiting: Waiting) -> None:
    def publishing(worker: Worker) -> None:
        for _ in worker.batches("combined", waiting, 1):
            raise ValueError("the disk is full")

    with Worker(TASK) as worker, pytest.raises(ValueError, match="disk"):
        publishing(worker)


def test_a_file_that_is_given_up_while_it_is_quiet_keeps_no_other_from_being_read(waiting: Waiting) -> None:
    with Worker(TASK) as worker:
        reading = worker.batches("combined", waiting, 1)
        assert next(reading).lines == 1
        (batch,) = worker.batches("combined", [LINE] * 3, 10)
        assert (batch.lines, len(batch.accepted)) == (3, 3)


def test_ctrl_c_is_nothing_to_the_process_however_early() -> None:
    with Worker(TASK) as worker:
        for _ in range(2):
            assert worker._process.pid is not None
            os.kill(worker._process.pid, signal.SIGINT)
            (batch,) = worker.batches("combined", [LINE], 10)
            assert batch.lines == 1


def given_up(worker: Worker) -> None:
    reading = worker.batches("combined", endless(), 2_000)
    assert len(next(reading).not_understood) == 2_000


def ended(worker: Worker) -> None:
    killed(worker)
    with pytest.raises(ImportFailed):
        list(worker.batches("combined", [LINE], 1))


@pytest.mark.parametrize("deed", [given_up, ended])
def test_the_file_after_one_that_was_given_up_is_read_whole(
    fallen: list[str], deed: Callable[[Worker], None]
) -> None:
    with Worker(TASK) as worker:
        deed(worker)
        for _ in range(2):
            (batch,) = worker.batches("combined", [LINE] * 3, 10)
            assert (batch.lines, len(batch.accepted)) == (3, 3)
    for thread in feeding():
        thread.join(30)
    assert (feeding(), fallen) == ([], [])
