"""Streams of server-sent events, on the event loop: who watches holds a connection and no thread.

A route that answers with `text/event-stream` tells how things are now, as one event, and ends. Here that is the
beginning: the same request is asked again every second, once for all whose requests are alike, and each of them is
sent the event whenever it has changed. So a crowd costs what one watcher costs, and every route checks every second
whether who asked still may. A stream ends when the route refuses, when its reader goes, or when the server stops.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from infra.processes.pools import WSGI, Pool, PoolSize, Work, whole
from ingest.asgi import Scope
from ingest.http import Headers, Message, Receive, Response, Send, respond, text_response

STREAMS = PoolSize(2, 64, 20.0)
WATCHERS = 500
HEARTBEAT = 15.0  # seconds without an event, after which a comment shows both ends that the other is there
_EVERY = 1.0  # seconds between two questions
_SHARE = 2  # times as long as the last question took: a busy server is asked less often
_RETRY_AFTER = 20
_COMMENT = b": nothing new\n\n"


class _Key(NamedTuple):
    """What an answer depends on: requests that are alike in this share their questions."""

    address: str
    path: str
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]


class Streams:
    """All streams of a server."""

    def __init__(self, application: WSGI) -> None:
        self.pool = Pool("streams", application, STREAMS)
        self._watched: dict[_Key, _Watched] = {}
        self._watchers = 0
        self._draining = False

    def drain(self) -> None:
        """End all streams, and begin no other."""
        self._draining = True
        for watched in [*self._watched.values()]:
            watched.end()

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send a stream until it ends or its reader disconnects. The request has no body to wait for any more."""
        if self._draining or self._watchers >= WATCHERS:
            await respond(send, scope["method"], _full())
            return
        self._watchers += 1
        watched = self._join(scope)
        left = asyncio.ensure_future(receive())
        try:
            await watched.send_to(scope, left, send)
        finally:
            left.cancel()
            self._watchers -= 1
            watched.leave()

    def _join(self, scope: Scope) -> _Watched:
        headers = tuple(header for header in scope["headers"] if header[0] != b"last-event-id")
        key = _Key(scope["client"][0] if scope["client"] else "", scope["path"], scope["query_string"], headers)
        found = self._watched.get(key)
        if found is None or found.over:
            found = _Watched(self.pool, {**scope, "headers": list(headers)})
            self._watched[key] = found
            found.task.add_done_callback(lambda _: self._forget(key, found))
        found.watchers += 1
        return found

    def _forget(self, key: _Key, watched: _Watched) -> None:
        if self._watched.get(key) is watched:
            del self._watched[key]


class _Watched:
    """One request that is asked again and again, and those who watch its answers."""

    def __init__(self, pool: Pool, scope: Scope) -> None:
        self.watchers = 0
        self.over = False
        self._pool = pool
        self._scope = scope
        self._answer: Response | None = None
        self._changed = asyncio.get_running_loop().create_future()
        self.task = asyncio.get_running_loop().create_task(self._ask_again_and_again())

    def leave(self) -> None:
        """Count one watcher less; without any, nothing is asked any more."""
        self.watchers -= 1
        if not self.watchers:
            self.end()

    def end(self) -> None:
        """Ask nothing any more, and end the streams."""
        self.over = True
        self.task.cancel()
        self._tell()

    async def send_to(self, scope: Scope, left: asyncio.Future[Message], send: Send) -> None:
        """Send each new event to one watcher; `left` is done once that one has gone.

        A watcher that reads slowly misses events, and gets the latest when there is room for it."""
        begun = False
        sent: bytes | None = None
        while True:
            changed, answer = self._changed, self._answer
            if not begun and answer is not None:
                if not _is_stream(answer):
                    await respond(send, scope["method"], answer)
                    return
                headers = [header for header in answer.headers if header[0].lower() != b"content-length"]
                await send({"type": "http.response.start", "status": answer.status, "headers": headers})
                begun = True
                sent = answer.body if _has_seen(scope["headers"], answer.body) else None
            if begun and answer is not None and answer.body != sent:
                sent = answer.body
                await send({"type": "http.response.body", "body": sent, "more_body": True})
            if self.over or left.done():
                break
            done, _ = await asyncio.wait({changed, left}, timeout=HEARTBEAT, return_when=asyncio.FIRST_COMPLETED)
            if begun and not done:
                await send({"type": "http.response.body", "body": _COMMENT, "more_body": True})
        if begun:
            await send({"type": "http.response.body", "body": b""})
        else:
            await respond(send, scope["method"], _full())

    async def _ask_again_and_again(self) -> None:
        loop = asyncio.get_running_loop()
        while not self.over:
            began = loop.time()
            answer = await self._ask()
            if answer is not None and _is_stream(answer):
                if self._answer is None or self._answer.body != answer.body:
                    self._answer = answer
                    self._tell()
            elif self._answer is None or (answer is not None and answer.status < 500):
                # A refusal ends the streams; a store that does not answer for a moment ends none that has begun.
                self._answer = self._answer or answer
                self.over = True
                self._tell()
                return
            await asyncio.sleep(max(_EVERY, _SHARE * (loop.time() - began)))

    async def _ask(self) -> Response | None:
        """Return the answer; None if there was no thread for the question, or it met an error."""
        if not await self._pool.take():
            return None
        work = Work(b"")
        task = self._pool.start(work, whole(self._scope, b"", work))
        await asyncio.wait({task})
        if task.exception() is not None:
            return None
        begin, body = work.answer.get_nowait(), b""
        while not work.answer.empty():
            body += work.answer.get_nowait().get("body", b"")
        return Response(begin["status"], list(begin["headers"]), body)

    def _tell(self) -> None:
        """Wake the watchers."""
        changed, self._changed = self._changed, asyncio.get_running_loop().create_future()
        if not changed.done():
            changed.set_result(None)


def _is_stream(answer: Response) -> bool:
    kinds = [value for name, value in answer.headers if name.lower() == b"content-type"]
    return answer.status == 200 and any(kind.startswith(b"text/event-stream") for kind in kinds)


def _has_seen(headers: Headers, event: bytes) -> bool:
    """Whether a watcher that comes back names the id of this event as the last one that he got."""
    last = next((value for name, value in headers if name == b"last-event-id"), b"")
    return bool(last) and b"id: %b\n" % last in event


def _full() -> Response:
    text = f"Too many watch at once here ({WATCHERS} may), or the server stops: ask again in {_RETRY_AFTER} seconds.\n"
    response = text_response(503, text)
    return response._replace(headers=[*response.headers, (b"retry-after", b"%d" % _RETRY_AFTER)])
