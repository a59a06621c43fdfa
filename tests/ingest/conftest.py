"""A service of its own for each test: in the process, or behind gunicorn on a real socket."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pytest

import brokers
from activity.event import ALL_TOPICS
from brokers.base import Broker, Position, Stored, TopicPartition
from ingest.counters import Counters
from tests.patience import patient

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

    def __init__(self, folder: Path, broker_url: str, workers: str = "1", parent: int | None = None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.broker_url = broker_url
        script = str(Path(__file__).with_name("serve.py"))
        inherited = () if parent is None else (parent,)
        self.process = subprocess.Popen(
            [sys.executable, script, str(self.port), str(folder), broker_url, workers, *map(str, inherited)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
            pass_fds=inherited,
        )
        self.wait_until_ready()

    def wait_until_ready(self, seconds: float = patient(60)) -> None:
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
        return socket.create_connection(("127.0.0.1", self.port), timeout=patient(60))

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
        return self.process.wait(patient(60))


def request_bytes(method: str, path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    fields = {"Host": "127.0.0.1", "User-Agent": AGENT, "Connection": "close", **(headers or {})}
    if method == "POST":
        fields.setdefault("Content-Type", "text/plain;charset=UTF-8")
        fields.setdefault("Content-Length", str(len(body)))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def read_answer(connection: socket.socket) -> Answer:
    with connection.makefile("rb") as stream:
        return _read(stream)


def _read(stream: BinaryIO) -> Answer:
    status = int(stream.readline().split()[1])
    headers: dict[str, str] = {}
    while (line := stream.readline().strip()) != b"":
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    length = headers.get("content-length")
    body = stream.read(int(length)) if length is not None else stream.read() if status != 304 else b""
    return Answer(status, headers, body)


def is_outcomes(record: Stored) -> bool:
    return b'"reason":"outcomes"' in (record.value or b"")


class Log:
    """The broker as one test sees it: only what came since the test began."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._start: dict[TopicPartition, Position | None] = {
            partition: self._last(partition) for topic in ALL_TOPICS for partition in self._partitions(topic)
        }

    @classmethod
    def everything(cls, broker: Broker, topic: str = "footfall.pageview") -> list[dict[str, Any]]:
        """The events of a topic from its beginning."""
        log = cls(broker)
        log._start = dict.fromkeys(log._start)
        return log.events(topic)

    def outcomes(self) -> dict[tuple[str, str, str], int]:
        """What became of the events, by site, outcome and reason, as the log has it."""
        found: Counter[tuple[str, str, str]] = Counter()
        for record in self._records("footfall.dead-letter"):
            if is_outcomes(record):
                held = base64.b64decode(json.loads(record.value or b"")["bytes"])
                for _, site, outcome, reason, count in json.loads(held)["counts"]:
                    found[site, outcome, reason] += count
        return dict(found)

    def records(self, topic: str) -> list[Stored]:
        """Without the counts of outcomes, which come every few seconds."""
        return [record for record in self._records(topic) if not is_outcomes(record)]

    def _records(self, topic: str) -> list[Stored]:
        found: list[Stored] = []
        for partition in self._partitions(topic):
            last = self._last(partition)
            if last is not None:
                for batch in self.broker.read_range(partition, self._start[partition], last):
                    found.extend(batch)
        return found

    def events(self, topic: str = "footfall.pageview") -> list[dict[str, Any]]:
        return [json.loads(record.value or b"") for record in self.records(topic)]

    def _partitions(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for number in range(self.broker.partitions(topic))]

    def _last(self, partition: TopicPartition) -> Position | None:
        bounds = self.broker.bounds(partition)
        return bounds.last if bounds else None


def value(counters: Counters, name: str) -> float:
    """One that has no labels."""
    return next(sample.value for metric in counters.collect() for sample in metric.samples if sample.name == name)


def counted(counters: Counters) -> dict[tuple[str, str], float]:
    """What became of the events, by outcome and reason, where there were any."""
    samples = (sample for metric in counters.collect() for sample in metric.samples)
    return {
        (sample.labels["outcome"], sample.labels["reason"]): sample.value
        for sample in samples
        if sample.name == "footfall_events_total" and sample.value
    }


def pageview(**more: object) -> dict[str, object]:
    return {"site": "example.com", "type": "pageview", "url": "https://example.com/", **more}


def prepare(folder: Path) -> str:
    """A folder with sites and a log; returns the log's URL."""
    (folder / "sites.toml").write_text(SITES)
    url = f"sqlite://{folder}/log.sqlite"
    broker = brokers.connect(url)
    for topic in ALL_TOPICS:
        broker.create_topic(topic)
    broker.close()
    return url


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for all tests of a module."""
    folder = tmp_path_factory.mktemp("service")
    running = Running(folder, prepare(folder))
    yield running
    running.stop()


@pytest.fixture
def log(server: Running) -> Iterator[Log]:
    broker = brokers.connect(server.broker_url)
    yield Log(broker)
    broker.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts servers on the test's own folder; each is stopped at its end."""
    url = prepare(tmp_path)
    started: list[Running] = []

    def begin(workers: str = "1", parent: int | None = None) -> Running:
        started.append(Running(tmp_path, url, workers, parent))
        return started[-1]

    yield begin
    for running in started:
        running.stop()


@pytest.fixture
def own_log(tmp_path: Path, start: Callable[..., Running]) -> Iterator[Log]:
    """The log of the servers that `start` starts."""
    broker = brokers.connect(f"sqlite://{tmp_path}/log.sqlite")
    yield Log(broker)
    broker.close()
