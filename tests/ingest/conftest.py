"""A door of its own for each test: in the process, or behind gunicorn on a real socket."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import brokers
from activity.event import ALL_TOPICS
from brokers.base import Broker, Stored

ROOT = Path(__file__).parents[2]
KEY = "a-secret-key-of-the-site"
SITES = f"""
[[site]]
domain = "example.com"
key = "{KEY}"

[[site]]
domain = "closed.example"
origins = ["https://closed.example"]
"""
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def reasons(self) -> list[str]:
        return [refusal["reason"] for refusal in self.json()["refused"]]


class Running:
    """A server process on a port of its own, spoken to in bytes."""

    def __init__(self, folder: Path, broker_url: str, *arguments: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.broker_url = broker_url
        self.process = subprocess.Popen(
            [
                sys.executable,
                str(Path(__file__).with_name("serve.py")),
                str(self.port),
                str(folder),
                broker_url,
                *arguments,
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
        self.wait_until_ready()

    def wait_until_ready(self, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if self.get("/ready").status == 200:
                    return
            except OSError:
                pass
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError(f"the server is not ready (exit status {self.process.poll()})")
            time.sleep(0.05)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def raw(self, request: bytes) -> Answer:
        with self.connect() as connection:
            connection.sendall(request)
            return read_answer(connection)

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        return self.raw(request_bytes("GET", path, b"", headers))

    def post(self, body: object, headers: dict[str, str] | None = None, path: str = "/collect") -> Answer:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.raw(request_bytes("POST", path, content, headers))

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            os.killpg(self.process.pid, how)
        return self.process.wait(30)


def request_bytes(method: str, path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    fields = {"Host": "127.0.0.1", "User-Agent": AGENT, "Connection": "close", **(headers or {})}
    if method == "POST":
        fields.setdefault("Content-Type", "text/plain;charset=UTF-8")
        fields.setdefault("Content-Length", str(len(body)))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def read_answer(connection: socket.socket) -> Answer:
    stream = connection.makefile("rb")
    status = int(stream.readline().split()[1])
    headers: dict[str, str] = {}
    while (line := stream.readline().strip()) != b"":
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    length = headers.get("content-length")
    body = stream.read(int(length)) if length is not None else stream.read() if status != 304 else b""
    return Answer(status, headers, body)


def records(broker: Broker, topic: str) -> list[Stored]:
    found: list[Stored] = []
    for partition in range(broker.partitions(topic)):
        bounds = broker.bounds(topic, partition)
        if bounds is not None:
            for batch in broker.read_range(topic, partition, None, bounds.last):
                found.extend(batch)
    return found


def events(broker: Broker, topic: str = "footfall.pageview") -> list[dict[str, Any]]:
    return [json.loads(record.value or b"") for record in records(broker, topic)]


def pageview(**more: object) -> dict[str, object]:
    return {"site": "example.com", "type": "pageview", "url": "https://example.com/", **more}


@pytest.fixture
def log_url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/log.sqlite"


@pytest.fixture
def log(log_url: str) -> Iterator[Broker]:
    broker = brokers.connect(log_url)
    for topic in ALL_TOPICS:
        broker.create_topic(topic)
    yield broker
    broker.close()


@pytest.fixture
def start(tmp_path: Path, log_url: str, log: Broker) -> Iterator[Callable[..., Running]]:
    """Starts servers on the test's folder; each is stopped at its end."""
    (tmp_path / "sites.toml").write_text(SITES)
    started: list[Running] = []

    def begin(*arguments: str) -> Running:
        started.append(Running(tmp_path, log_url, *arguments))
        return started[-1]

    yield begin
    for running in started:
        running.stop()


@pytest.fixture
def server(start: Callable[..., Running]) -> Running:
    return start()
