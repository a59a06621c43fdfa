"""The dashboards' server from outside: what one client does, another does not feel.

The server is the real one, over an application that panics, waits and streams as it is told (`serve_front.py`).
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import PATIENCE, ROOT, until
from tests.ingest.conftest import Answer, read_answer, request_bytes

OWNER = {"Authorization": "Bearer owner"}
Connect = Callable[[], socket.socket]


class Server:
    """One on a port of its own, spoken to in bytes."""

    def __init__(self, said: Path, *bounds: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._said = said
        with said.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("serve_front.py")), str(self.port), *bounds],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=output,
                stderr=output,
            )
        until(self._answers, "the server answers")

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.said()
        try:
            return self.ask("/ready").status == 200
        except OSError:
            return False

    def said(self) -> str:
        return self._said.read_text(encoding="utf-8", errors="replace")

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def ask(self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        with self.connect() as connection:
            connection.sendall(request_bytes("GET" if body is None else "POST", path, body or b"", headers))
            return read_answer(connection)

    def workers(self) -> str:
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=True
        )
        return found.stdout


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def start(*bounds: str) -> Server:
        started.append(Server(tmp_path / f"{len(started)}.log", *bounds))
        return started[-1]

    yield start
    for server in started:
        server.process.terminate()
        server.process.wait(PATIENCE)


@pytest.fixture
def connections() -> Iterator[list[socket.socket]]:
    opened: list[socket.socket] = []
    yield opened
    for connection in opened:
        connection.close()


def closed(connection: socket.socket) -> bytes:
    """What came until the server closed the connection."""
    received = []
    try:
        while piece := connection.recv(65536):
            received.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(received)


@pytest.mark.parametrize("path", ["/panic", "/exit"])
def test_a_panic_or_an_exit_is_a_500_of_its_request_and_said_once(serve: Callable[..., Server], path: str) -> None:
    server = serve()
    before = server.workers()
    answer = server.ask(path)
    assert answer.status == 500
    assert b"log" in answer.body
    assert server.ask("/ready").status == 200
    assert server.workers() == before
    assert server.said().count(f"GET {path!r} ended in an error") == 1
    assert server.said().count("Traceback") == 1


def test_hundreds_of_silent_and_dribbling_connections_keep_nobody_waiting(
    serve: Callable[..., Server], connections: list[socket.socket]
) -> None:
    server = serve()
    half_a_body = b"POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1"
    for number in range(250):
        connections.append(server.connect())
        if number >= 50:
            connections[-1].sendall(b"G" if number < 150 else half_a_body)
    server.ask("/release?n=1")
    assert [server.ask("/ready").status, server.ask("/ended").status] == [200, 200]
    assert server.ask("/sql", b"SELECT 1").body == b"SELECT 1"


def test_slow_questions_fill_their_own_pool_alone_and_one_too_many_is_told_when_to_come_again(
    serve: Callable[..., Server],
) -> None:
    server = serve()
    answers: list[Answer] = []
    asking = [
        threading.Thread(target=lambda n=n: answers.append(server.ask("/sql", b"%d" % n)))  # type: ignore[misc]
        for n in range(24)
    ]
    for thread in asking:
        thread.start()
    until(lambda: len(answers) == 4, "those beyond 4 at work and 16 waiting are answered")
    assert [answer.status for answer in answers] == [503] * 4
    assert all(int(answer.headers["retry-after"]) > 0 and b"questions" in answer.body for answer in answers)
    # A statement in the address is a question too, however that is written; the home page is none.
    assert [server.ask(path).status for path in ("/?%71uery=1", "/?a=query=1")] == [503, 404]
    with server.connect() as command:
        command.sendall(request_bytes("POST", "/control/lines", b"{}", OWNER))
        assert [server.ask("/ready").status, server.ask("/step").status] == [200, 200]
        until(lambda: b"line" in command.recv(65536), "the command goes on")
    server.ask("/release?n=20")
    for thread in asking:
        thread.join()
    assert sorted(answer.status for answer in answers) == [200] * 20 + [503] * 4
    assert len({answer.body for answer in answers if answer.status == 200}) == 20


def test_readers_that_take_nothing_hold_no_thread_and_are_left_in_the_end(
    serve: Callable[..., Server], connections: list[socket.socket]
) -> None:
    server = serve("TAKE_SECONDS=4")
    for _ in range(12):
        connections.append(server.connect())
        connections[-1].sendall(request_bytes("GET", "/much", b""))
    assert server.ask("/ended").status == 200
    patient = server.connect()
    connections.append(patient)
    patient.sendall(request_bytes("GET", "/much", b""))
    assert len(closed(patient)) > 24 << 20
    until(lambda: all(is_reset(connection) for connection in connections[:12]), "the others are left")


def test_lines_of_a_command_come_as_they_are_made_and_it_ends_when_its_reader_goes(
    serve: Callable[..., Server],
) -> None:
    server = serve()
    with server.connect() as command:
        command.sendall(request_bytes("POST", "/control/lines", b"x" * (3 << 20), OWNER))
        server.ask("/step")
        received = b""
        while b"line\n" not in received:
            received += command.recv(65536)
        assert received.startswith(b"HTTP/1.1 200")
        assert server.ask("/ended").body == b"0"

    def told() -> bool:
        server.ask("/step")
        return server.ask("/ended").body == b"1"

    until(told, "the command has ended")
    assert server.ask("/control/lines", b"x" * (3 << 20)).status == 413


def test_every_header_of_a_connection_has_a_deadline_and_so_has_a_body(serve: Callable[..., Server]) -> None:
    server = serve("HEADER_SECONDS=2", "BODY_SECONDS=2")
    with server.connect() as silent, server.connect() as second, server.connect() as dribbling, server.connect() as big:
        second.sendall(request_bytes("GET", "/ready", b"", {"Connection": "keep-alive"}))
        assert read_answer(second).status == 200
        second.sendall(b"GET /ready HT")
        dribbling.sendall(b"POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        stop = threading.Event()

        def dribble() -> None:
            while not stop.wait(0.1):
                try:
                    dribbling.sendall(b"S")
                except OSError:
                    return

        thread = threading.Thread(target=dribble)
        thread.start()
        big.sendall(b"GET /ready HTTP/1.1\r\n" + b"".join(b"A%d: %s\r\n" % (n, b"x" * 8000) for n in range(9)))
        assert closed(silent) == b""
        assert closed(second).startswith(b"HTTP/1.1 408")
        assert read_answer(dribbling).status == 408
        stop.set()
        thread.join()
        assert closed(big).startswith(b"HTTP/1.1 431")
    assert server.ask("/ready").status == 200


def test_connections_are_bounded_and_an_idle_one_makes_room_for_the_next(
    serve: Callable[..., Server], connections: list[socket.socket]
) -> None:
    server = serve("CONNECTIONS=12")
    for _ in range(40):
        connections.append(server.connect())
        connections[-1].sendall(b"G")
    assert server.ask("/ready").status == 200
    assert closed(connections[0]) == b""
    for connection in connections:
        connection.close()
    # Each of these stays busy, but one whose request is not read yet, which may have to make room itself.
    def one_more() -> list[socket.socket]:
        connections.append(server.connect())
        connections[-1].sendall(request_bytes("POST", "/sql", b"1"))
        return [each for each in connections[40:] if b"connections are busy" in peek(each)]

    refused = read_answer(until(one_more, "one is refused")[0])
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) > 0
    for connection in connections:
        connection.close()
    until(lambda: server.ask("/release?n=20").status == 200, "there is room again")


def test_bodies_that_are_half_here_have_a_bound_together(
    serve: Callable[..., Server], connections: list[socket.socket]
) -> None:
    server = serve("UNFINISHED_BYTES=100000")
    head = b"POST /sql HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 90000\r\n\r\n"
    for _ in range(2):
        connections.append(server.connect())
        connections[-1].sendall(head + b"x" * 80_000)
    told = until(lambda: [found for c in connections if (found := peek(c))], "one of them is refused")
    assert told[0].startswith(b"HTTP/1.1 503")
    server.ask("/release?n=1")
    assert server.ask("/sql", b"SELECT 1").status == 200


def is_reset(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, 0)
    return bool(poll.poll(0))


def peek(connection: socket.socket) -> bytes:
    connection.settimeout(0.05)
    try:
        return connection.recv(65536, socket.MSG_PEEK)
    except OSError:
        return b""
    finally:
        connection.settimeout(PATIENCE)


def test_a_request_that_is_under_way_when_the_signal_comes_is_answered(serve: Callable[..., Server]) -> None:
    server = serve()
    with server.connect() as connection:
        connection.sendall(request_bytes("GET", "/nap", b"", {"Connection": "keep-alive"}))
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)  # it sleeps
        server.process.terminate()
        connection.settimeout(PATIENCE)
        assert read_answer(connection).body == b"rested\n"
    assert server.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("below", ["", "/share/token"])
def test_an_export_that_fails_has_no_end(serve: Callable[..., Server], below: str) -> None:
    server = serve()
    with server.connect() as connection:
        connection.sendall(request_bytes("GET", f"{below}/x/export/broken.csv", b""))
        received = closed(connection)
    assert received.startswith(b"HTTP/1.1 200")
    assert received.count(b"a row\n") == 1000
    assert b"chunked" in received
    assert not received.endswith(b"0\r\n\r\n")
    assert server.ask(f"{below}/x/export/none").status == 500
    assert server.said().count("ended in an error") == 2


def test_an_export_ends_when_its_reader_goes_and_no_other_request_waits_for_it(serve: Callable[..., Server]) -> None:
    server = serve()
    with server.connect() as first, server.connect() as second:
        for connection in (first, second):
            connection.sendall(request_bytes("GET", "/x/export/endless", b""))
            assert connection.recv(12) == b"HTTP/1.1 200"
        assert server.ask("/ended").body == b"0"
    until(lambda: server.ask("/ended").body == b"2", "both streams have ended")


def test_what_a_thread_still_does_for_a_client_that_is_gone_ends_with_the_server(serve: Callable[..., Server]) -> None:
    server = serve()
    with server.connect() as connection:
        connection.sendall(request_bytes("GET", "/nap", b""))
        until(lambda: server.ask("/naps").body == b"1", "it sleeps")
    server.process.terminate()
    assert server.process.wait(PATIENCE) == 0
    assert "never awaited" not in server.said()
    assert "Traceback" not in server.said()
