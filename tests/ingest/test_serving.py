"""The server as a process: draining, half-open connections, kill -9, and a parent that goes away."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

from tests.ingest.conftest import Log, Running, pageview, read_answer, request_bytes
from tests.patience import patient

Start = Callable[..., Running]


class Sender(threading.Thread):
    """Sends events one after the other on a connection kept alive, and notes which were acknowledged."""

    def __init__(self, server: Running, name: str) -> None:
        super().__init__(name=name)
        self._server = server
        self.acknowledged: list[str] = []
        self.cut = 0  # requests that were sent whole and got no answer

    def run(self) -> None:
        number = 0
        while True:
            try:
                connection = self._server.connect()
            except OSError:
                return
            with connection:
                open_ = True
                while open_:
                    number += 1
                    title = f"{self.name}-{number}"
                    body = json.dumps(pageview(id=title, title=title)).encode()
                    try:
                        connection.sendall(request_bytes("POST", "/collect", body, {"Connection": "keep-alive"}))
                        answer = read_answer(connection)
                    except (OSError, IndexError):
                        self.cut += 1
                        break
                    if answer.status == 202:
                        self.acknowledged.append(title)
                    open_ = answer.headers.get("connection") != "close"


def under_load(server: Running, act: Callable[[], None]) -> tuple[set[str], int]:
    senders = [Sender(server, f"s{number}") for number in range(8)]
    for sender in senders:
        sender.start()
    while sum(len(sender.acknowledged) for sender in senders) < 200:
        time.sleep(0.01)
    act()
    for sender in senders:
        sender.join(patient(60))
    return {title for sender in senders for title in sender.acknowledged}, sum(sender.cut for sender in senders)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_cuts_no_request(start: Start, own_log: Log, how: signal.Signals) -> None:
    server = start("2")
    acknowledged, cut = under_load(server, lambda: os.killpg(server.process.pid, how))

    assert server.process.wait(patient(30)) == 0
    assert cut == 0
    assert {event["title"] for event in own_log.events()} == acknowledged


def test_after_kill_9_every_acknowledged_event_is_there(start: Start, own_log: Log) -> None:
    server = start("2")
    acknowledged, _ = under_load(server, lambda: os.killpg(server.process.pid, signal.SIGKILL))
    server.process.wait(patient(30))

    assert acknowledged <= {event["title"] for event in own_log.events()}
    assert start().post(pageview()).status == 202


def test_half_open_connections_do_not_hold_up_the_end(start: Start) -> None:
    server = start()
    nothing, half_a_header, half_a_body = (server.connect() for _ in range(3))
    half_a_header.sendall(b"POST /collect HTTP/1.1\r\nHost: x\r\nConte")
    half_a_body.sendall(b"POST /collect HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{")
    assert server.post(pageview()).status == 202  # all three have been accepted by now

    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < patient(8)
    for connection in (nothing, half_a_header, half_a_body):
        connection.close()


def test_headers_and_bodies_that_dribble_are_ended_in_words(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOUNDS", "HEADER_SECONDS=2 BODY_SECONDS=2")
    server = start()
    with server.connect() as kept, server.connect() as dribbling:
        kept.sendall(request_bytes("GET", "/live", b"", {"Connection": "keep-alive"}))
        assert read_answer(kept).status == 200
        kept.sendall(b"POST /coll")
        dribbling.sendall(b"POST /collect HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n")
        stop = threading.Event()

        def dribble() -> None:
            while not stop.wait(0.1):
                try:
                    dribbling.sendall(b" ")
                except OSError:
                    return

        sender = threading.Thread(target=dribble)
        sender.start()
        answers = [read_answer(kept), read_answer(dribbling)]
        stop.set()
        sender.join()
    assert [answer.status for answer in answers] == [408, 408]
    assert all(b"seconds: send it again" in answer.body for answer in answers)
    assert server.post(pageview()).status == 202


def test_the_server_goes_when_its_parent_does(start: Start) -> None:
    reads, writes = os.pipe()
    server = start(parent=reads)
    os.close(reads)
    assert server.post(pageview()).status == 202

    os.close(writes)
    assert server.process.wait(patient(30)) == 0


def test_counters_speak_for_all_workers(start: Start) -> None:
    server = start("2")
    for number in range(40):
        assert server.post(pageview(id=str(number))).status == 202
    for _ in range(10):
        assert 'footfall_events_total{outcome="accepted",reason=""} 40' in server.get("/metrics").body.decode()


def test_the_raw_socket_rules_of_http_hold(start: Start) -> None:
    server = start()
    for request in (
        b"POST /collect HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"POST /collect HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"nonsense\r\n\r\n",
    ):
        assert server.raw(request).status == 400
    with server.connect() as gone:
        gone.sendall(request_bytes("POST", "/collect", json.dumps(pageview()).encode()))
    assert server.get("/ready").status == 200
