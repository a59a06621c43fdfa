"""Who holds a data folder and what answers at its ports, with real locks, files and ports."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.doctor import processes
from infra.processes.control import Owner
from infra.processes.lock import DataLock
from infra.settings import Settings

DEAD = 2**22 + 1  # beyond the largest id of a process


@contextmanager
def answering(status: int, body: str) -> Iterator[int]:
    """A port at which every question has this answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def settings(data: Path, port: int = 0, **more: str) -> Settings:
    return Settings.load({"FOOTFALL_DATA": str(data), "FOOTFALL_DASHBOARDS_PORT": "0", **more}, {"port": port})


def told(given: Settings) -> list[tuple[str, str]]:
    found = processes.processes(given, processes.running(given))
    return [(each.state, each.finding) for each in found]


@contextmanager
def held(data: Path, command: str) -> Iterator[None]:
    lock = DataLock(data)
    lock.take(command)
    yield
    lock.release()


NOTHING_RUNS = ("warning", "`footfall up` does not run on this data folder: no event is taken")


def test_nothing_runs(tmp_path: Path) -> None:
    assert told(settings(tmp_path)) == [NOTHING_RUNS]


def test_a_killed_process_left_its_file(tmp_path: Path) -> None:
    Owner(DEAD, "http://127.0.0.1:1").publish(tmp_path)
    said = f"process {DEAD} was killed: its {tmp_path}/owner.json is still there"
    assert told(settings(tmp_path)) == [("warning", said), NOTHING_RUNS]


def test_another_command_holds_the_folder_whatever_a_killed_one_left(tmp_path: Path) -> None:
    Owner(DEAD, "http://127.0.0.1:1").publish(tmp_path)
    with held(tmp_path, "footfall replay"):
        ((state, finding),) = told(settings(tmp_path))
    assert (state, "is held by `footfall replay`, process" in finding) == ("warning", True)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, "ready\n", ("ok", "answers")),
        (503, "not ready: the pipeline does not run\n", ("wrong", "not ready: the pipeline does not run")),
        (200, "ready\nwithout the live store: Redis is away\n", ("warning", "without the live store: Redis is away")),
    ],
)
def test_what_a_running_one_answers(tmp_path: Path, status: int, body: str, expected: tuple[str, str]) -> None:
    with answering(status, body) as port, held(tmp_path, "footfall up"):
        Owner(os.getpid(), f"http://127.0.0.1:{port}").publish(tmp_path)
        ((state, finding),) = told(settings(tmp_path))
        (tracking,) = processes.tracking(settings(tmp_path), port)
    assert (state, expected[1] in finding) == (expected[0], True)
    assert (tracking.state, expected[1] in tracking.finding) == (expected[0], True)


def test_a_port_that_another_program_has(tmp_path: Path) -> None:
    with answering(404, "") as port:
        assert told(settings(tmp_path, port)) == [
            ("wrong", f"another program answers at http://127.0.0.1:{port}"),
            NOTHING_RUNS,
        ]
    with answering(200, "ready\n") as port:
        assert told(settings(tmp_path, port))[0][0] == "warning"


def test_services_are_asked_on_their_own(tmp_path: Path) -> None:
    server = {"FOOTFALL_WAREHOUSE": "clickhouse://localhost/web"}
    with answering(503, "not ready: no broker\n") as port:
        assert told(settings(tmp_path, port, **server)) == [
            ("wrong", f"the service at http://127.0.0.1:{port}: not ready: no broker")
        ]
    assert told(settings(tmp_path, **server))[0][0] == "ok"


def test_other_settings_are_named_and_other_names_of_the_same_are_not(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    ours = settings(tmp_path / "link")
    places = {"broker": f"sqlite://{tmp_path}/data/log.db", "archive": f"file://{tmp_path}/data/archive"}
    assert processes.other_settings(ours, places) == []
    (found,) = processes.other_settings(ours, places | {"broker": "kafka://elsewhere:9092"})
    assert (found.state, found.remedy) == ("wrong", "give this command --broker as the running process has it")
