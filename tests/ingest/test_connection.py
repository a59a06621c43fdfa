"""One connection in the process, fed by hand: whatever the reads that requests arrive in, the answers are the same."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import mmap
import socket
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

import brokers
from activity.event import ALL_TOPICS
from activity.incoming import Limits
from ingest.asgi import Application
from ingest.collect import Collector, Options
from ingest.connection import Config, Connection, Connections
from ingest.http import FAULT, Reply, Request
from ingest.service import Service
from ingest.sites import Sites
from ingest.spool import FolderSpool
from stores import connect_live
from tests.ingest.conftest import KEY, SITES, Log, pageview, request_bytes
from tests.patience import patient

KEPT = {"Connection": "keep-alive"}
LARGEST = 2000


def post(body: bytes, path: str = "/collect", **headers: str) -> bytes:
    return request_bytes("POST", path, body, {**KEPT, **headers})


def chunked(body: bytes) -> bytes:
    head = f"POST /collect HTTP/1.1\r\nHost: t.example\r\nTransfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n"
    return head.encode() + body + b"\r\n0\r\n\r\n"


GOOD = json.dumps(pageview(title="r\r\n\r\nn")).encode()
KINDS = {
    "an event": (post(GOOD), 202),
    "an event in chunks": (chunked(GOOD), 202),
    "an event of a bold sender": (post(GOOD, Expect="100-continue"), 202),
    "an event and a query": (post(GOOD, "/collect?x=%31"), 202),
    "no JSON": (post(b"{"), 400),
    "no body": (post(b""), 400),
    "a blank line as its body": (post(b"\r\n\r\n"), 400),
    "too much": (post(b"x" * (LARGEST + 1)), 413),
    "elsewhere": (post(GOOD, "/elsewhere"), 404),
    "elsewhere, escaped": (post(GOOD, "/else%77here"), 404),
    "a question": (request_bytes("GET", "/live", b"", KEPT), 200),
}
LAST = {
    "": (b"", 0),
    "the last of its connection": (request_bytes("POST", "/collect", GOOD), 202),
    "of an old client": (post(GOOD).replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"Connection: keep-alive\r\n", b""), 202),
}
# No answer if that to an earlier request is under way: the connection then ends after it.
BROKEN = {
    "": b"",
    "garbage": b"\x16\x03\x01 POST\r\n\r\n",
    "line feeds alone": b"POST /collect HTTP/1.1\nContent-Length: 9\n\n",
    "two lengths": b"POST /collect HTTP/1.1\r\nContent-Length: 9\r\nContent-Length: 8\r\n\r\n",
}


class Peer:
    """A client of one connection, whose bytes are handed over in the pieces that the server shall read."""

    def __init__(self, app: Application) -> None:
        self.config = Config(
            app, http=Connection, ws="none", lifespan="off", interface="asgi3", log_config=None, access_log=False
        )
        self.config.load()
        self.config.all = Connections(mmap.mmap(-1, 1))
        self.config.direct = app.direct
        self._socket, self._theirs = socket.socketpair()

    async def __aenter__(self) -> Peer:
        loop = asyncio.get_running_loop()
        self.connection = Connection(self.config, ServerState(), {}, loop)
        await loop.connect_accepted_socket(lambda: self.connection, self._theirs)
        self._reader, self._writer = await asyncio.open_connection(sock=self._socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.connection.transport.abort()
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def feed(self, piece: bytes, turns: int = 0) -> None:
        self.connection.data_received(piece)
        for _ in range(turns):
            await asyncio.sleep(0)

    async def answer(self) -> tuple[int, bytes]:
        async with asyncio.timeout(patient(60)):
            status = 100
            while status == 100:
                head = await self._reader.readuntil(b"\r\n\r\n")
                status = int(head.split()[1])
            lines = [line.partition(b": ") for line in head.split(b"\r\n")]
            length = next(int(value) for name, _, value in lines if name == b"content-length")
            return status, await self._reader.readexactly(length)

    async def end(self) -> bytes:
        async with asyncio.timeout(patient(60)):
            return await self._reader.read()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """`run(scenario)` runs `scenario(app, log)` on an event loop with an open service."""
    (tmp_path / "sites.toml").write_text(SITES)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        broker = brokers.connect("memory://")
        for topic in ALL_TOPICS:
            broker.create_topic(topic)
        service = Service(
            broker=broker,
            live=connect_live(f"file://{tmp_path}/live"),
            sites=Sites(tmp_path / "sites.toml"),
            spool=FolderSpool(tmp_path / "spool"),
            options=Options(limits=Limits(body_bytes=LARGEST)),
        )
        app = Application(lambda: service)
        app._service = service
        yield lambda scenario: runner.run(scenario(app, Log(broker)))
        service.close()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from([*KINDS]), min_size=1, max_size=4),
    st.sampled_from([*LAST]),
    st.sampled_from([*BROKEN]),
    st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 3)), max_size=6),
)
def test_answers_are_those_of_each_request_alone_whatever_the_reads(
    run: Callable[..., None], kinds: list[str], last: str, broken: str, cuts: list[tuple[int, int]]
) -> None:
    asked = [KINDS[kind] for kind in kinds] + ([LAST[last]] if last else [])
    stream = b"".join(request for request, _ in asked) + BROKEN[broken]

    async def scenario(app: Application, log: Log) -> None:
        async with Peer(app) as peer:
            start = 0
            for cut, turns in sorted(cuts):
                await peer.feed(stream[start : cut % len(stream)], turns) if cut % len(stream) > start else None
                start = max(start, cut % len(stream))
            await peer.feed(stream[start:])
            assert [(await peer.answer())[0] for _ in asked] == [status for _, status in asked]
            if broken:
                assert (await peer.end())[:12] in (b"", b"HTTP/1.1 400")
            elif last:
                assert await peer.end() == b""
        taken = [status for _, status in asked].count(202)
        assert len(log.events()) == taken

    run(scenario)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith(("an event", "no", "a blank", "else"))])
def test_a_request_in_one_read_is_answered_as_one_in_two(run: Callable[..., None], kind: str) -> None:
    async def scenario(app: Application, _: Log) -> None:
        request, _status = KINDS[kind]
        async with Peer(app) as peer:
            await peer.feed(request)
            whole = await peer.answer()
            await peer.feed(request[:-1])
            await peer.feed(request[-1:])
            assert await peer.answer() == whole

    run(scenario)


def test_whoever_goes_before_the_answer_harms_nobody(run: Callable[..., None]) -> None:
    async def scenario(app: Application, log: Log) -> None:
        async with Peer(app) as gone, Peer(app) as stays:
            await gone.feed(post(GOOD))
            gone.connection.transport.abort()
            await stays.feed(post(GOOD))
            assert (await stays.answer())[0] == 202
        assert len(log.events()) == 2

    run(scenario)


def test_a_connection_that_is_over_is_freed_without_the_garbage_collector(run: Callable[..., None]) -> None:
    async def scenario(app: Application, _: Log) -> None:
        gc.disable()
        try:
            peer = Peer(app)
            async with peer:
                await peer.feed(post(GOOD))
                assert (await peer.answer())[0] == 202
            freed = asyncio.Event()
            weakref.finalize(peer.connection, freed.set)
            del peer
            async with asyncio.timeout(patient(60)):
                await freed.wait()
        finally:
            gc.enable()

    run(scenario)


def test_a_connection_told_to_end_gives_the_answer_under_way_first(run: Callable[..., None]) -> None:
    async def scenario(app: Application, _: Log) -> None:
        async with Peer(app) as peer:
            await peer.feed(post(GOOD))
            assert peer.connection.busy
            peer.connection.shutdown()
            assert (await peer.answer())[0] == 202
            assert await peer.end() == b""

    run(scenario)


FAULTS = [ValueError("ours"), BaseException("a panic")]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_a_500_and_the_connection_goes_on(
    run: Callable[..., None], fault: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(request: Request, reply: Reply) -> None:
        raise fault

    async def scenario(app: Application, _: Log) -> None:
        async with Peer(app) as peer:
            peer.config.direct = broken
            await peer.feed(post(GOOD))
            assert await peer.answer() == (500, FAULT.body)
            peer.config.direct = app.direct
            await peer.feed(post(GOOD))
            assert (await peer.answer())[0] == 202

    run(scenario)
    assert str(fault) in caplog.text


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_after_a_look_up_is_a_500_too(
    run: Callable[..., None], fault: BaseException, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise fault

    async def scenario(app: Application, _: Log) -> None:
        async with Peer(app) as peer:
            with monkeypatch.context() as patch:
                patch.setattr(Collector, "judge", broken)
                await peer.feed(post(GOOD, Authorization=f"Bearer {KEY}"))
                assert await peer.answer() == (500, FAULT.body)
            await peer.feed(post(GOOD, Authorization=f"Bearer {KEY}"))
            assert (await peer.answer())[0] == 202

    run(scenario)
    assert str(fault) in caplog.text


def test_a_fault_in_the_answer_is_a_500_too(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("no answer")

    async def scenario(app: Application, log: Log) -> None:
        async with Peer(app) as peer:
            with monkeypatch.context() as patch:
                patch.setattr("ingest.service._all_accepted", broken)
                await peer.feed(post(GOOD))
                assert await peer.answer() == (500, FAULT.body)
            await peer.feed(post(GOOD))
            assert (await peer.answer())[0] == 202
        assert len(log.events()) == 2

    run(scenario)
    assert "no answer" in caplog.text
