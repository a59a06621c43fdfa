"""The ASGI front of the dashboards: it reads each request to its end, then runs it on a thread of one of its pools.

No thread waits for a slow client: the body has arrived before a thread is taken, and the answer is complete before it
is sent, so a thread is either working or free. Only commands and exports are sent as they are written. Requests that
must not wait for each other have separate pools:

    probes      /live, /ready and /metrics
    commands    /control/… with the owner's token; a replay may hold a thread for hours, and its lines are sent as
                they are written
    exports     /<site>/export/…, also below /share/<token>: files of any size, as fast as their reader takes them
    questions   POST /sql, and / in ClickHouse's protocol: a statement may take 30 seconds
    streams     /<site>/…/stream, also below /share/<token>: what `infra.processes.streams` asks for those who watch
    pages       the rest: pages, API, files

A request that finds all threads of its pool busy waits for one. It gets a 503 with `Retry-After` if too many wait
already or no thread becomes free in time. One Flask application answers all of them and makes all checks.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from urllib.parse import parse_qsl

from dashboards.app import MAX_BODY
from infra.processes.pools import WSGI, Pool, PoolSize, Work, busy, failed, send_whole, whole
from infra.processes.streams import Streams
from ingest.asgi import Scope
from ingest.http import Bodies, Receive, Send, Unread, respond, text_response, unread

_EXPORT = re.compile(r"(?:/share/[^/]*)?/[^/]*/export/[^/]*")
_STREAM = re.compile(r"(?:/share/[^/]*)?/[^/]*/[^/]*/stream")
_STREAMED = 10  # lines of a command's answer, or pieces of an export, that may wait to be sent

PROBES = PoolSize(2, 32, 10.0)
COMMANDS = PoolSize(16, 16, 20.0)
EXPORTS = PoolSize(2, 8, 20.0)
QUESTIONS = PoolSize(4, 16, 20.0)
PAGES = PoolSize(8, 64, 20.0)


class Front:
    """The ASGI application.

    `is_owner` checks an `Authorization` header for the owner's token; it is None if no commands are served."""

    def __init__(self, application: WSGI, is_owner: Callable[[bytes], bool] | None = None) -> None:
        self._is_owner = is_owner
        self._bodies = Bodies()
        self._probes = Pool("probes", application, PROBES)
        self._commands = Pool("commands", application, COMMANDS)
        self._exports = Pool("exports", application, EXPORTS)
        self._questions = Pool("questions", application, QUESTIONS)
        self._pages = Pool("pages", application, PAGES)
        self._streams = Streams(application)

    def drain(self) -> None:
        """End what has no end of its own; the server calls this when it begins to stop."""
        self._streams.drain()

    def _leave(self) -> None:
        """Drop what threads still work at for clients that are gone."""
        for pool in (self._probes, self._commands, self._exports, self._questions, self._pages, self._streams.pool):
            pool.leave()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            await self._http(scope, receive, send)
        elif kind == "lifespan":
            for state in ("startup", "shutdown"):
                await receive()
                if state == "shutdown":
                    self._leave()
                await send({"type": f"lifespan.{state}.complete"})
        elif kind == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        pool = self._pool(scope)
        body = await self._bodies.read(receive, scope["headers"], None if pool is self._commands else MAX_BODY)
        if isinstance(body, Unread):
            await self._without_body(body, scope, receive, send)
            return
        if scope["method"] == "GET" and _STREAM.fullmatch(scope["path"]):
            await self._streams.serve(scope, receive, send)
            return
        if not await pool.take():
            await respond(send, scope["method"], busy(pool))
            return
        streamed = pool in (self._commands, self._exports)
        work = Work(body, _STREAMED if streamed else 0)
        task = pool.start(work, whole(scope, body, work))
        try:
            if streamed:
                await _stream(work, task, scope, receive, send)
            else:
                await send_whole(work, task, scope, receive, send)
        finally:
            work.leave()

    def _pool(self, scope: Scope) -> Pool:
        path: str = scope["path"]
        if path in ("/live", "/ready", "/metrics"):
            return self._probes
        if path in ("/sql", "/") and scope["method"] == "POST":
            return self._questions
        if path == "/" and _has_statement(scope["query_string"]):
            return self._questions
        if _EXPORT.fullmatch(path):
            return self._exports
        if path.startswith("/control/") and self._is_owner is not None:
            authorization = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            if self._is_owner(authorization):
                return self._commands
        return self._pages

    async def _without_body(self, why: Unread, scope: Scope, receive: Receive, send: Send) -> None:
        too_large = text_response(413, f"A request may have {MAX_BODY} bytes here: send less.\n")
        if why is Unread.STILL_COMING:
            await self._bodies.answer_early(receive, send, too_large)
        else:
            await respond(send, scope["method"], too_large if why is Unread.TOO_LARGE else unread(why))


def _has_statement(query: bytes) -> bool:
    """Whether a query string has the parameter that has a statement in ClickHouse's protocol, however it is written."""
    return any(name == "query" for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True))


async def _stream(work: Work, task: asyncio.Task[None], scope: Scope, receive: Receive, send: Send) -> None:
    """Send the answer piece by piece, until it ends or the client disconnects.

    An answer that meets an error after its beginning has no end: the server closes the connection."""
    left = asyncio.ensure_future(receive())
    begun = False
    try:
        while not (left.done() or (task.done() and work.answer.empty())):
            more = asyncio.ensure_future(work.answer.get())
            await asyncio.wait({more, task, left}, return_when=asyncio.FIRST_COMPLETED)
            if more.done():
                await send(more.result())
                begun = True
            else:
                more.cancel()
        if not begun and task.done() and task.exception() is not None:
            await respond(send, scope["method"], failed())
    finally:
        left.cancel()
