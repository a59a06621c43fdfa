"""The tracking path as a small ASGI application; everything else goes to Flask behind it.

A request costs its parsing and one future: it awaits the ack, no thread does. The door is opened in the
lifespan's start, in the worker process and therefore after the fork, where broker clients have to be made;
it is closed at the lifespan's end, when no request is left, and closing settles all that was handed in.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ingest.http import Bodies, Headers, Message, Receive, Request, Response, Unread, unread
from ingest.service import Door

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
ASGIApplication = Callable[[Scope, Receive, Send], Awaitable[None]]

# What ends a process or a task, and not a request alone. Any other BaseException is a library's panic.
_ENDINGS = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)


class Application:
    """`open_door` is called once in each worker."""

    def __init__(self, open_door: Callable[[], Door]) -> None:
        self._open_door = open_door
        self._door: Door | None = None
        self._rest: ASGIApplication | None = None
        self._bodies = Bodies()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            try:
                await self._http(scope, receive, send)
            except (Exception, *_ENDINGS):
                raise
            except BaseException as panic:
                raise RuntimeError(f"a library panicked: {panic}") from panic
        elif kind == "lifespan":
            await self._lifespan(receive, send)
        elif kind == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    self._door = self._open_door()
                except Exception as error:
                    log.exception("The door does not open")
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                # What is here now stays: the collector need not look through it again and again.
                gc.collect()
                gc.freeze()
                gc.set_threshold(10_000, 20, 20)
                await send({"type": "lifespan.startup.complete"})
            else:
                if self._door is not None:
                    self._door.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        door = self._door
        assert door is not None, "served without the lifespan protocol: set gunicorn's asgi_lifespan to on"
        path: str = scope["path"]
        method: str = scope["method"]
        if not door.answers(path):
            await self._to_flask(door, scope, receive, send)
            return
        headers: Headers = scope["headers"]
        client = scope["client"]
        peer = client[0] if client else ""
        body = b""
        if method == "POST":
            found = await self._bodies.read(receive, headers, door.max_body)
            if found is Unread.TOO_LARGE:
                await self._bodies.answer_early(receive, send, door.too_large())
                return
            if isinstance(found, Unread):
                await _respond(send, method, unread(found))
                return
            body = found
        request = Request(method, path, scope["query_string"], headers, body, peer)
        await _respond(send, method, await door.handle(request))

    async def _to_flask(self, door: Door, scope: Scope, receive: Receive, send: Send) -> None:
        if self._rest is None:
            from a2wsgi import WSGIMiddleware

            from ingest.wsgi import create

            behind: Any = WSGIMiddleware(create(door), workers=2)  # type: ignore[arg-type]
            self._rest = behind
        assert self._rest is not None
        await self._rest(scope, receive, send)


async def _respond(send: Send, method: str, response: Response) -> None:
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else response.body})
