"""Streams of events from outside: what many watch is asked once, and a stream ends when it has to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.harness import PATIENCE, until
from tests.e2e.watching import Event, Watcher
from tests.infra.processes.test_front import Server, serve

__all__ = ["serve"]

Watch = Callable[..., Watcher]


@pytest.fixture
def watch() -> Iterator[Watch]:
    opened: list[Watcher] = []

    def begin(server: Server, name: str = "now", **headers: str) -> Watcher:
        opened.append(Watcher(f"http://127.0.0.1:{server.port}/x/{name}/stream", headers))
        return opened[-1]

    yield begin
    for watcher in opened:
        watcher.close()


def asked(server: Server) -> int:
    return int(server.ask("/asked").body)


def test_a_crowd_is_told_once_a_change_and_asked_for_as_one(serve: Callable[..., Server], watch: Watch) -> None:
    server = serve()
    crowd = [watch(server) for _ in range(60)]
    assert [watcher.next() for watcher in crowd] == [Event("first", "now first")] * 60
    assert {watcher.headers["content-type"] for watcher in crowd} == {"text/event-stream; charset=utf-8"}
    before = asked(server)
    server.ask("/tell?text=second")
    assert [watcher.next() for watcher in crowd] == [Event("second", "now second")] * 60
    assert asked(server) - before < 60
    assert server.ask("/ready").status == 200


def test_others_are_told_what_theirs_is(serve: Callable[..., Server], watch: Watch) -> None:
    server = serve()
    mine, yours = watch(server, "mine"), watch(server, "yours")
    assert [mine.next(), yours.next()] == [Event("first", "mine first"), Event("first", "yours first")]
    server.ask("/tell?text=second")
    assert [mine.next(), yours.next()] == [Event("second", "mine second"), Event("second", "yours second")]


def test_nobody_asks_when_nobody_watches_any_more(serve: Callable[..., Server], watch: Watch) -> None:
    server = serve()
    watcher = watch(server)
    watcher.next()
    watcher.close()
    other = watch(server, "other")  # it is asked on and on, so its events tell that time has passed
    before = None
    for number in range(4):
        server.ask(f"/tell?text=t{number}")
        other.until(f"t{number}")
        before, seen = asked(server), before
    assert seen is not None
    assert asked(server) - seen <= 3  # of the other alone


def test_who_comes_back_goes_on_where_he_was(serve: Callable[..., Server], watch: Watch) -> None:
    server = serve()
    assert watch(server).next() == Event("first", "now first")
    back, late = watch(server, **{"Last-Event-ID": "first"}), watch(server, **{"Last-Event-ID": "older"})
    assert late.next() == Event("first", "now first")
    server.ask("/tell?text=second")
    assert back.next() == late.next() == Event("second", "now second")


def test_a_quiet_stream_says_that_it_is_there(serve: Callable[..., Server], watch: Watch) -> None:
    watcher = watch(serve("HEARTBEAT=0.2"))
    assert watcher.next() == Event("first", "now first")
    assert watcher.next() == Event("", "")


@pytest.mark.parametrize("status", [401, 404, 303])
def test_a_refusal_ends_the_stream_and_a_fault_does_not(
    serve: Callable[..., Server], watch: Watch, status: int
) -> None:
    server = serve()
    watcher = watch(server)
    watcher.next()
    server.ask("/tell?text=broken&status=503")
    before = asked(server)
    until(lambda: asked(server) > before, "it is asked while it does not know")
    server.ask("/tell?text=better")
    watcher.until("better")
    server.ask(f"/tell?text=over&status={status}")
    assert b"over" not in watcher.rest()
    refused = watch(server)
    assert (refused.status, refused.rest()) == (status, b"id: over\ndata: now over\n\n")


def test_one_too_many_is_told_and_a_place_is_free_at_once(serve: Callable[..., Server], watch: Watch) -> None:
    server = serve("WATCHERS=2")
    first, second = watch(server), watch(server, "other")
    assert first.next() and second.next()
    refused = watch(server)
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) > 0
    assert b"2 may" in refused.rest()
    first.close()
    until(lambda: watch(server).status == 200, "the place is free")


def test_streams_end_when_the_server_stops_and_it_does_not_wait_for_them(
    serve: Callable[..., Server], watch: Watch
) -> None:
    server = serve()
    crowd = [watch(server, name) for name in ("a", "b", "a")]
    assert all(watcher.next() for watcher in crowd)
    server.process.terminate()
    assert [watcher.rest() for watcher in crowd] == [b""] * 3
    assert server.process.wait(PATIENCE) == 0
    assert "did not finish" not in server.said()
