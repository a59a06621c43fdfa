"""What the server owes to clients that speak HTTP, and to those that come while it stops or renews its workers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import until
from tests.ingest.conftest import Log, Running, pageview, read_answer, request_bytes
from tests.ingest.test_serving import Sender
from tests.patience import patient

Start = Callable[..., Running]
KEPT = {"Connection": "keep-alive"}


@pytest.fixture
def served(server: Running) -> Iterator[socket.socket]:
    with server.connect() as connection:
        yield connection


def event(title: str) -> bytes:
    return json.dumps(pageview(id=title, title=title)).encode()


class Crowd(threading.Thread):
    """Connects again and again and sends a request each time, without waiting for an answer, until it is refused."""

    def __init__(self, server: Running, name: str) -> None:
        super().__init__(name=name)
        self._server = server
        self._sent: list[socket.socket] = []
        self.answers: list[int | str] = []

    def run(self) -> None:
        while len(self._sent) < 300:
            try:
                connection = self._server.connect()
            except OSError:
                break
            self._sent.append(connection)
            with contextlib.suppress(OSError):  # seen below
                connection.sendall(request_bytes("POST", "/collect", event(f"{self.name}-{len(self._sent)}")))
        for connection in self._sent:
            with connection:
                try:
                    self.answers.append(read_answer(connection).status)
                except (OSError, IndexError) as error:
                    self.answers.append(repr(error))

    @property
    def sent(self) -> int:
        return len(self._sent)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_whoever_has_connected_when_the_server_stops_is_answered(
    start: Start, own_log: Log, how: signal.Signals
) -> None:
    server = start("2")
    crowds = [Crowd(server, f"c{number}") for number in range(3)]
    for crowd in crowds:
        crowd.start()
    until(lambda: sum(crowd.sent for crowd in crowds) > 30, "clients come")
    os.killpg(server.process.pid, how)
    for crowd in crowds:
        crowd.join()
    assert server.process.wait(patient(60)) == 0
    assert [answer for crowd in crowds for answer in crowd.answers] == [202] * sum(crowd.sent for crowd in crowds)
    assert len(own_log.events()) == sum(crowd.sent for crowd in crowds)


def workers(server: Running) -> set[int]:
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return set(map(int, children.read_text(encoding="ascii").split()))


def test_new_workers_take_over_without_cutting_a_request(start: Start, own_log: Log) -> None:
    server = start("2")
    before = workers(server)
    senders = [Sender(server, f"s{number}") for number in range(4)]
    for sender in senders:
        sender.start()
    os.kill(server.process.pid, signal.SIGHUP)
    until(lambda: len(workers(server)) == 2 and not workers(server) & before, "both workers are new")
    reached = len(senders[0].acknowledged)
    until(lambda: len(senders[0].acknowledged) > reached + 20, "the new ones serve")
    assert server.stop() == 0
    for sender in senders:
        sender.join()
    assert [sender.cut for sender in senders] == [0] * 4
    assert {each["title"] for each in own_log.events()} == {title for each in senders for title in each.acknowledged}


def test_what_a_worker_that_died_has_counted_stays_counted(start: Start) -> None:
    server = start("2")
    for number in range(20):
        assert server.post(pageview(id=str(number))).status == 202
    before = workers(server)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(workers(server)) == 2 and not workers(server) & before, "both workers are new")
    assert server.post(pageview(id="one more")).status == 202
    assert 'footfall_events_total{outcome="accepted",reason=""} 21' in server.get("/metrics").body.decode()


def test_requests_that_follow_each_other_at_once_are_answered_in_their_order(served: socket.socket) -> None:
    served.sendall(
        request_bytes("GET", "/live", b"", KEPT)
        + request_bytes("POST", "/collect", event("pipelined"), KEPT)
        + request_bytes("GET", "/nothing", b"")
    )
    with served.makefile("rb") as stream:
        said = stream.read()
    assert [int(said[at + 9 : at + 12]) for at in range(len(said)) if said.startswith(b"HTTP/1.1 ", at)] == [
        200, 202, 404,
    ]  # fmt: skip


def test_garbage_behind_a_request_does_not_cost_its_answer(served: socket.socket) -> None:
    served.sendall(request_bytes("POST", "/collect", event("before"), KEPT) + b"\x00\x01 nonsense\r\n\r\n")
    with served.makefile("rb") as stream:
        said = stream.read()
    assert said.startswith(b"HTTP/1.1 202 ")


def test_a_body_in_chunks_is_read_and_one_announced_is_asked_for(served: socket.socket) -> None:
    head = "POST /collect HTTP/1.1\r\nHost: x\r\nUser-Agent: x\r\n"
    body = event("chunked")
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:7], body[7:])) + b"0\r\n\r\n"
    served.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks)
    assert read_answer(served).json()["accepted"] == 1

    body = event("expected")
    served.sendall(f"{head}Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    assert served.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    served.sendall(body)
    assert read_answer(served).json()["accepted"] == 1


@pytest.mark.parametrize("at_once", [True, False])
def test_a_request_that_offers_another_protocol_is_read_like_any(served: socket.socket, at_once: bool) -> None:
    """As the HTTP client of Java does with each first request."""
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQBAAAAAAIAAAAA"}
    body = event(f"upgrade {at_once}")
    request = request_bytes("POST", "/collect", body, offer)
    if at_once:
        served.sendall(request)
    else:
        served.sendall(request.removesuffix(body))
        served.settimeout(0.2)
        with pytest.raises(TimeoutError):
            served.recv(1)  # it waits for the body
        served.settimeout(patient(60))
        served.sendall(body)
    assert read_answer(served).json()["accepted"] == 1
    served.sendall(request_bytes("GET", "/live", b""))
    assert read_answer(served).status == 200


def test_an_offer_in_two_pieces_is_not_taken_for_a_request_without_a_body(served: socket.socket) -> None:
    request = request_bytes("POST", "/collect", event("split"), {"Connection": "Upgrade", "Upgrade": "h2c"})
    at = request.index(b"grade: h2c")
    served.sendall(request[:at])
    served.sendall(request[at:])
    answer = read_answer(served)
    assert answer.status == 202 or b"send the request without" in answer.body


def test_a_head_has_no_body_and_the_connection_goes_on(served: socket.socket) -> None:
    served.sendall(request_bytes("HEAD", "/beacon.js", b"", KEPT) + request_bytes("GET", "/live", b""))
    with served.makefile("rb") as stream:
        head, _, rest = stream.read().partition(b"\r\n\r\n")
    assert b"content-length: 0" not in head.lower()
    assert rest.startswith(b"HTTP/1.1 200 ") and rest.endswith(b"live\n")


@pytest.mark.parametrize("pieces", [1, 40])
def test_a_header_beyond_its_bound_is_refused_in_words_whole_or_in_pieces(server: Running, pieces: int) -> None:
    header = "".join(f"X-{number}: {'x' * 4000}\r\n" for number in range(20))
    request = f"GET /live HTTP/1.1\r\nHost: x\r\n{header}\r\n".encode()
    size = -(-len(request) // pieces)
    with server.connect() as connection:
        for at in range(0, len(request), size):
            connection.sendall(request[at : at + size])
        answer = read_answer(connection)
    assert answer.status == 431
    assert b"smaller fields" in answer.body
    fits = f"GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: {'x' * 60_000}\r\n\r\n".encode()
    assert server.raw(fits).status == 200
