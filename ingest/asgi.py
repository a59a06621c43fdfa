"""The tracking service as a small ASGI application.

A request awaits the broker's ack on the event loop, so it needs no thread; most need no task either, see `direct`. The
service is opened when the lifespan starts: that is in the worker process, after the fork, where broker clients have to
be created. It is closed when the lifespan ends and no request is left, and closing settles every entry handed in.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ingest.http import ENDINGS, Bodies, Headers, Receive, Reply, Request, Send, Unread, peer_address, respond, unread
from ingest.service import Service

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
ASGIApplication = Callable[[Scope, Receive, Send], Awaitable[None]]


class Application:
    """The ASGI application. Calls `open_service` once in each worker, when its lifespan starts."""

    def __init__(self, open_service: Callable[[], Service]) -> None:
        self._open_service = open_service
        self._service: Service | None = None
        self._bodies = Bodies()

    def direct(self, request: Request, reply: Reply) -> None:
        """Answer a request whose body has arrived whole by calling `reply`, now or later on the event loop.

        `ingest.connection` calls this instead of the ASGI application where it can."""
        service = self._service
        assert service is not None, "served without the lifespan protocol"
        if len(request.body) > service.max_body:
            reply(service.too_large(request.path, request.headers))
        else:
            service.begin(request, reply)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            try:
                await self._http(scope, receive, send)
            except (Exception, *ENDINGS):
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
        peer = peer_address(client[0] if client else "")
        body = b""
        if method == "POST":
            found = await self._bodies.read(receive, headers, service.max_body)
            if found is Unread.STILL_COMING:
                await self._bodies.answer_early(receive, send, service.too_large(scope["path"], headers))
                return
            if found is Unread.TOO_LARGE:
                await respond(send, method, service.too_large(scope["path"], headers))
                return
            if isinstance(found, Unread):
                await respond(send, method, unread(found))
                return
            body = found
        scheme = scope.get("scheme", "http")
        request = Request(method, scope["path"], scope["query_string"], headers, body, peer, scheme)
        await respond(send, method, await service.handle(request))
