"""The tracking service as a small ASGI application.

A request awaits the broker's ack on the event loop, so it needs no thread. The service is opened when the lifespan
starts: that is in the worker process, after the fork, where broker clients have to be created. It is closed when the
lifespan ends and no request is left, and closing settles every entry that was handed in.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Generator, MutableMapping
from typing import Any

from ingest.http import Bodies, Headers, Message, Receive, Request, Send, Unread, respond, unread
from ingest.service import Service

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
ASGIApplication = Callable[[Scope, Receive, Send], Awaitable[None]]

# Exceptions that end a process or a task, not only a request. Any other BaseException is the panic of a library.
_ENDINGS = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)


class Application:
    """The ASGI application. Calls `open_service` once in each worker, when its lifespan starts."""

    def __init__(self, open_service: Callable[[], Service]) -> None:
        self._open_service = open_service
        self._service: Service | None = None
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
                    self._service = self._open_service()
                except Exception as error:
                    log.exception("The service does not open")
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                if self._service is not None:
                    self._service.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self._service
        assert service is not None, "served without the lifespan protocol"
        method: str = scope["method"]
        headers: Headers = scope["headers"]
        client = scope["client"]
        peer = client[0] if client else ""
        body = b""
        if method == "POST":
            found = await self._body(receive, headers, service.max_body)
            if isinstance(found, bytes) and len(found) > service.max_body:  # but it has arrived whole
                await respond(send, method, service.too_large())
                return
            if found is Unread.TOO_LARGE:
                await self._bodies.answer_early(receive, send, service.too_large())
                return
            if isinstance(found, Unread):
                await respond(send, method, unread(found))
                return
            body = found
        scheme = scope.get("scheme", "http")
        request = Request(method, scope["path"], scope["query_string"], headers, body, peer, scheme)
        await respond(send, method, await service.handle(request))

    async def _body(self, receive: Receive, headers: Headers, limit: int) -> bytes | Unread:
        """Read the whole body. Most arrive together with their header, and those need no deadline."""
        receiving = receive()
        if not isinstance(receiving, Coroutine):
            return await self._bodies.read(receive, headers, limit)
        try:
            waits_for = receiving.send(None)
        except StopIteration as at_once:
            message: Message = at_once.value
            if message["type"] == "http.request" and not message.get("more_body"):
                body: bytes = message.get("body", b"")
                return body
            first: Awaitable[Message] = _immediate(message)
        else:
            first = _Started(receiving, waits_for)
        firsts = [first]

        def receive_rest() -> Awaitable[Message]:
            return firsts.pop() if firsts else receive()

        return await self._bodies.read(receive_rest, headers, limit)


class _Started:
    """An awaitable that runs a coroutine to its end after it was started by hand and is waiting for `waits_for`."""

    def __init__(self, coroutine: Coroutine[Any, Any, Message], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, Message]:
        coroutine, waits_for = self._coroutine, self._waits_for
        try:
            while True:
                try:
                    got = yield waits_for
                except BaseException as error:
                    waits_for = coroutine.throw(error)
                else:
                    waits_for = coroutine.send(got)
        except StopIteration as end:
            message: Message = end.value
            return message


async def _immediate(message: Message) -> Message:
    return message
