"""The CPU cost of accepting an event, against a server that stores nothing.

Peer: a bare ASGI application that reads the body and answers 204, on gunicorn with a plain `UvicornWorker` (uvloop,
httptools); the result also gives the cost on gunicorn's own `asgi` worker. Ours: the whole service (limits, identity,
agent, bots, source, id, account) with each event durable before its 202, with one event per request and with ten. All
have two workers and the same load: events of about 400 bytes, 64 connections kept alive, 2,000 user agents drawn by
Zipf's law. Rounds alternate, and each is compared with its neighbour, because the work done in a second of CPU drifts
by a third within minutes on a shared machine. Afterwards the acknowledged events are compared with those on the broker,
which has to hold every one of them and nothing else. The same events as messages of Segment's clients are measured
beside our own.

    ./dev bench ingest [--events N] [--rounds N] [--json]      FOOTFALL_BENCH_KAFKA=kafka://h:9092 adds Kafka
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import brokers
from activity.event import ALL_TOPICS, TOPICS
from bench.harness import Result, report, result
from brokers.base import TopicPartition

WORKERS = 2
WARM_UP = 30_000  # requests, after which both workers have parsed nearly every agent
CONNECTIONS = 64
TARGETS = {1: 2.4, 10: 0.5}  # by events per request: the cost of an event, in bare requests, at most
SITE = "bench.example"
KEY = "bench-key"  # of Segment's clients
SEGMENT = b"/v1/batch"
SIZE = 400  # bytes of an event's part of the body, at least
TRACKED = 1.5  # the cost of another tracker's event, in our own events of the same size, at most


_WINDOWS, _MAC = "Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7"
_MODELS = ("SM-G99", "SM-A5", "Pixel ", "M2101K", "CPH2", "RMX3")


def user_agents(count: int = 2000) -> list[str]:
    """Return user agents as browsers send them, with varied versions and models."""
    rng = random.Random(7)
    agents: dict[str, None] = {}
    while len(agents) < count:
        chrome = f"Chrome/{rng.randint(90, 141)}.0.{rng.randint(4000, 7300)}.{rng.randint(20, 220)}"
        firefox = rng.randint(78, 143)
        ios = f"{rng.randint(14, 18)}_{rng.randint(0, 7)}"
        android = f"Linux; Android {rng.randint(9, 15)}; {rng.choice(_MODELS)}{rng.randint(1, 99)}"
        webkit = "AppleWebKit/537.36 (KHTML, like Gecko)"
        apple = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
        agent = rng.choice(
            [
                f"({_WINDOWS}) {webkit} {chrome} Safari/537.36",
                f"({_MAC}) {webkit} {chrome} Safari/537.36",
                f"({android}) {webkit} {chrome} Mobile Safari/537.36",
                f"(iPhone; CPU iPhone OS {ios} like Mac OS X) {apple} Version/{ios.replace('_', '.')} Mobile/15E148"
                " Safari/604.1",
                f"(X11; Linux x86_64; rv:{firefox}.0) Gecko/20100101 Firefox/{firefox}.0",
                f"({_WINDOWS}) {webkit} {chrome} Safari/537.36 {chrome.replace('Chrome', 'Edg')}",
            ]
        )
        agents[f"Mozilla/5.0 {agent}"] = None
    return list(agents)


class Requests:
    """Generates the bytes of requests, each event with an id of its own."""

    def __init__(self, run: str) -> None:
        self._rng = random.Random(11)
        self._agents = [agent.encode() for agent in user_agents()]
        self._weights = list(accumulate(1 / rank for rank in range(1, len(self._agents) + 1)))
        self._run = run.encode()
        self._sent = 0

    def next(self, events: int = 1, path: bytes = b"/collect") -> bytes:
        """Return one request with this number of events, our own or for the path of Segment's."""
        agent = self._rng.choices(self._agents, cum_weights=self._weights)[0]
        now = time.time_ns() // 1_000_000
        if path == SEGMENT:
            stamp = datetime.fromtimestamp(now / 1_000, UTC).isoformat(timespec="milliseconds")[:-6].encode()
            visitor = self._rng.randrange(5_000)  # one a request, as our own has
            messages = b",".join([self._message(stamp, visitor) for _ in range(events)])
            body = b'{"writeKey":"%s","sentAt":"%sZ","batch":[%s]}' % (KEY.encode(), stamp, messages)
        else:
            body = b'{"sent_at":%d,"events":[%s]}' % (now, b",".join([self._event(now) for _ in range(events)]))
        body = body.ljust(SIZE * events)
        return (
            b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: %s\r\nContent-Type: text/plain;charset=UTF-8\r\n"
            b"Accept: */*\r\nAccept-Language: en-GB,en;q=0.9\r\nAccept-Encoding: gzip, deflate, br\r\n"
            b"Origin: https://bench.example\r\nReferer: https://bench.example/\r\nContent-Length: %d\r\n\r\n%s"
        ) % (path, agent, len(body), body)

    def _message(self, stamp: bytes, visitor: int) -> bytes:
        self._sent += 1
        return (
            b'{"type":"page","anonymousId":"%d","messageId":"%s-%d","timestamp":"%sZ","context":{"page":{'
            b'"url":"https://bench.example/articles/%d/a-page-of-the-site?ref=newsletter","title":"A page of the site, '
            b'number %d","referrer":"https://www.example.org/links/%d"},"locale":"en-GB","screen":{"width":1920,'
            b'"height":1080}}}'
        ) % (visitor, self._run, self._sent, stamp, self._sent % 400, self._sent % 400, self._sent % 50)

    def _event(self, now: int) -> bytes:
        self._sent += 1
        return (
            b'{"site":"%s","type":"pageview","url":"https://bench.example/articles/%d/'
            b'a-page-of-the-site?ref=newsletter","referrer":"https://www.example.org/links/%d","title":"A page of '
            b'the site, number %d","id":"%s-%d","ts":%d,"screen":"1920x1080","language":"en-GB"}'
        ) % (SITE.encode(), self._sent % 400, self._sent % 50, self._sent % 400, self._run, self._sent, now)


class _Connection(asyncio.Protocol):
    def __init__(self, load: _Load) -> None:
        self._load = load
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        request = self._load.take()
        if request is None:
            self._transport.close()
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lowered = head.lower()
        at = lowered.find(b"content-length: ")
        length = int(lowered[at + 16 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(body) >= length:
            self._buffer = body[length:]
            self._load.answered(head[9:12])
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.ended()


class _Load:
    """A closed loop of load: each connection sends its next request when it has its answer."""

    def __init__(self, requests: Requests, count: int, events: int, path: bytes) -> None:
        self._requests = requests
        self._events = events  # per request
        self._path = path
        self._left = count
        self.statuses: dict[bytes, int] = {}
        self._open = CONNECTIONS
        self.done = asyncio.get_running_loop().create_future()

    def take(self) -> bytes | None:
        if self._left == 0:
            return None
        self._left -= 1
        return self._requests.next(self._events, self._path)

    def answered(self, status: bytes) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def ended(self) -> None:
        self._open -= 1
        if self._open == 0 and not self.done.done():
            self.done.set_result(None)


async def _drive(
    port: int, requests: Requests, count: int, events: int = 1, path: bytes = b"/collect"
) -> dict[bytes, int]:
    loop = asyncio.get_running_loop()
    load = _Load(requests, count, events, path)
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: _Connection(load), "127.0.0.1", port)
    await load.done
    return load.statuses


class Server(NamedTuple):
    """A server process under load."""

    process: subprocess.Popen[bytes]
    port: int

    def cpu_seconds(self) -> float:
        """Return the user and system time of the workers; gunicorn's arbiter does no work per request."""
        ticks = 0
        for pid in children(self.process.pid):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


def children(parent: int) -> list[int]:
    """Return the ids of the child processes of a process."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


@contextlib.contextmanager
def server(kind: str, *arguments: str, workers: int = WORKERS) -> Iterator[Server]:
    """Run a server of `bench.ingest_server` until the block ends. Raises SystemExit if it does not start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.ingest_server", kind, str(port), str(workers), *arguments],
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 30
        while len(children(process.pid)) < workers or not _answers(port):
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit(f"the {kind} server did not start")
            time.sleep(0.1)
        yield Server(process, port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return connection.recv(12)[9:10] == b"2"
    except OSError:
        return False


def stored(url: str) -> int:
    """Return the number of event records on the broker, read from its log."""
    broker = brokers.connect(url)
    total = 0
    for topic in TOPICS:
        for partition in range(broker.partitions(topic)):
            log = TopicPartition(topic, partition)
            bounds = broker.bounds(log)
            if bounds is not None:
                for batch in broker.read_range(log, None, bounds.last):
                    total += len(batch)
    broker.close()
    return total


class _Round(NamedTuple):
    cpu: float  # seconds, of all workers
    wall: float
    statuses: dict[bytes, int]


def measure(name: str, url: str, folder: Path, requests: int, rounds: int) -> list[Result]:
    """Return a result for each number of events per request: `requests` a round with one event, a quarter with ten."""
    counts = {1: requests, 10: requests // 4}
    broker = brokers.connect(url)
    for topic in ALL_TOPICS:
        broker.create_topic(topic)
    broker.close()
    before = stored(url)
    acknowledged = 0
    bare: list[float] = []  # microseconds per request
    gunicorn: list[float] = []
    ours: dict[int, list[float]] = {events: [] for events in counts}  # microseconds per event
    speeds: dict[int, list[float]] = {events: [] for events in counts}  # events per second
    tracked: dict[int, list[float]] = {events: [] for events in counts}  # microseconds per event of Segment's
    with server("uvicorn") as peer, server("gunicorn") as second, server("ours", url, str(folder)) as own:
        load = Requests(f"{time.time_ns():x}")
        for each in (peer, second, own):
            statuses = asyncio.run(_drive(each.port, load, WARM_UP))
        acknowledged += statuses[b"202"]
        for _ in range(rounds):
            bare.append(_round(peer, load, requests, 1).cpu / requests * 1e6)
            for events, count in counts.items():
                found = _round(own, load, count, events)
                if set(found.statuses) != {b"202"}:
                    raise SystemExit(f"not every request was taken: {found.statuses}")
                acknowledged += count * events
                ours[events].append(found.cpu / (count * events) * 1e6)
                speeds[events].append(count * events / found.wall)
                found = _round(own, load, count, events, SEGMENT)
                if set(found.statuses) != {b"200"}:
                    raise SystemExit(f"not every request of Segment's was taken: {found.statuses}")
                acknowledged += count * events
                tracked[events].append(found.cpu / (count * events) * 1e6)
            gunicorn.append(_round(second, load, requests, 1).cpu / requests * 1e6)
    kept = stored(url) - before
    if kept != acknowledged:
        raise SystemExit(f"{acknowledged} events were acknowledged and {kept} are on {name}")
    lines = []
    for events, own_cpu in ours.items():
        ratio = statistics.median(mine / peer for mine, peer in zip(own_cpu, bare, strict=True))
        lines.append(
            result(
                f"ingest {name}, {events} a request",
                statistics.median(own_cpu),
                statistics.median(bare),
                "CPU us an event",
                TARGETS[events],
                met=ratio <= TARGETS[events],
                ratio=ratio,
                gunicorn=round(statistics.median(gunicorn), 1),
                events_per_second=round(statistics.median(speeds[events])),
                acknowledged=acknowledged,
                stored=kept,
            )
        )
    for events, own_cpu in ours.items():
        ratio = statistics.median(theirs / mine for theirs, mine in zip(tracked[events], own_cpu, strict=True))
        lines.append(
            result(
                f"ingest {name}, of Segment's, {events} a request",
                statistics.median(tracked[events]),
                statistics.median(own_cpu),
                "CPU us an event",
                TRACKED,
                met=ratio <= TRACKED,
                ratio=ratio,
            )
        )
    return lines


def _round(server: Server, requests: Requests, count: int, events: int, path: bytes = b"/collect") -> _Round:
    cpu, wall = server.cpu_seconds(), time.perf_counter()
    statuses = asyncio.run(_drive(server.port, requests, count, events, path))
    return _Round(server.cpu_seconds() - cpu, time.perf_counter() - wall, statuses)


def main(arguments: list[str] | None = None) -> int:
    """Run the bench; return 1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="bench ingest")
    parser.add_argument("--events", type=int, default=40_000, help="requests of one event a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="accepted for uniformity: the output is JSON lines")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="footfall-bench-") as folder:
        targets = {"sqlite": f"sqlite://{folder}/log.sqlite"}
        if kafka := os.environ.get("FOOTFALL_BENCH_KAFKA"):
            targets["kafka"] = kafka
        measured = (
            measure(name, url, Path(folder) / name, options.events, options.rounds) for name, url in targets.items()
        )
        return report(each for lines in measured for each in lines)


if __name__ == "__main__":
    sys.exit(main())
