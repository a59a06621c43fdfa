"""The ASGI front of the dashboards: it reads each request to its end, then runs it on a thread of one of five pools.

No thread waits for a slow client: the body has arrived before a thread is taken, and the answer is complete before it
is sent, so a thread is either working or free. Only commands and exports are sent as they are written. Requests that
must not wait for each other have separate pools:

    probes      /live, /ready and /metrics
    commands    /control/… with the owner's token; a replay may hold a thread for hours, and its lines are sent as
                they are written
    exports     /<site>/export/…: files of any size, as fast as their reader takes them
    questions   POST /sql, and / in ClickHouse's protocol: a statement may take 30 seconds
    pages       the rest: pages, API, files

A request that finds all threads of its pool busy waits for one. It gets a 503 with `Retry-After` if too many wait
already or no thread becomes free in time. One Flask application answers all of them and makes all checks.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from a2wsgi import WSGIMiddleware

from dashboards.app import MAX_BODY
from ingest.asgi import Scope
from ingest.http import Bodies, Message, Receive, Response, Send, Unread, respond, text_response, unread

log = logging.getLogger(__name__)

_SLICE = 64 << 10  # bytes of an answer sent at a time
_STREAMED = 10  # lines of a command's answer, or pieces of an export, that may wait to be sent
_GONE = "footfall.gone"

WSGI = Callable[[Any, Any], Any]


class PoolSize(NamedTuple):
    """The bounds of a pool."""

    threads: int
    waiting: int  # requests that may wait for a thread
    seconds: float  # that a request waits at most


PROBES = PoolSize(2, 32, 10.0)
COMMANDS = PoolSize(16, 16, 20.0)
EXPORTS = PoolSize(2, 8, 20.0)
QUESTIONS = PoolSize(4, 16, 20.0)
PAGES = PoolSize(8, 64, 20.0)


class Pool:
    """The threads for one kind of request."""

    def __init__(self, name: str, application: WSGI, size: PoolSize) -> None:
        self.name = name
        self.size = size
        self._run: Any = WSGIMiddleware(_contained(application), workers=size.threads)
        self._free = asyncio.Semaphore(size.threads)
        self._waiting = 0

    async def take(self) -> bool:
        """Reserve a thread; return False if too many wait already or none becomes free in time."""
        if self._free.locked() and self._waiting >= self.size.waiting:
            return False
        self._waiting += 1
        try:
            async with asyncio.timeout(self.size.seconds):
                await self._free.acquire()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
        return True

    def start(self, work: Work, scope: Scope) -> asyncio.Task[None]:
        """Run the request on the reserved thread, which is free again once the application has returned."""
        task = asyncio.get_running_loop().create_task(self._run(scope, work.receive, work.keep))
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._free.release()
        if not task.cancelled():
            task.exception()  # marks it as seen; `_contained` has logged it


class Work:
    """A request that runs on a thread: its body, and the queue of its answer's messages, at most `most` (0: any)."""

    def __init__(self, body: bytes, most: int = 0) -> None:
        self.gone = threading.Event()
        self.answer: asyncio.Queue[Message] = asyncio.Queue(most)
        self._body = body

    async def receive(self) -> Message:
        """Return the whole body as one ASGI message."""
        body, self._body = self._body, b""
        return {"type": "http.request", "body": body, "more_body": False}

    async def keep(self, message: Message) -> None:
        """Queue a message of the answer, unless the client is gone."""
        if not self.gone.is_set():
            await self.answer.put(message)

    def leave(self) -> None:
        """Drop the answer because no client reads it: the thread stops at the next piece."""
        self.gone.set()
        while not self.answer.empty():
            self.answer.get_nowait()


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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            await self._http(scope, receive, send)
        elif kind == "lifespan":
            for state in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{state}.complete"})
        elif kind == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        pool = self._pool(scope)
        body = await self._bodies.read(receive, scope["headers"], None if pool is self._commands else MAX_BODY)
        if isinstance(body, Unread):
            await self._without_body(body, scope, receive, send)
            return
        if not await pool.take():
            await respond(send, scope["method"], _busy(pool))
            return
        streamed = pool in (self._commands, self._exports)
        work = Work(body, _STREAMED if streamed else 0)
        task = pool.start(work, _whole(scope, body, work))
        try:
            if streamed:
                await _stream(work, task, scope, receive, send)
            else:
                await _send_whole(work, task, scope, send)
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
        if path.count("/") == 3 and path.split("/")[2] == "export":
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


def _contained(application: WSGI) -> WSGI:
    """Wrap the application so that a failure, even a library's panic or exit, ends only its request. Logs it.

    A request whose client is gone ends at the next piece of its answer."""

    def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        gone: threading.Event = environ["asgi.scope"][_GONE]
        try:
            answer = application(environ, start_response)
            try:
                for piece in answer:
                    if gone.is_set():
                        return
                    yield piece
            finally:
                if hasattr(answer, "close"):
                    answer.close()
        except GeneratorExit:
            raise
        except BaseException as error:
            log.exception("%s %r ended in an error", environ["REQUEST_METHOD"], environ["PATH_INFO"])
            raise RuntimeError("the request ended in an error") from error

    return call


def _whole(scope: Scope, body: bytes, work: Work) -> Scope:
    """Return the scope for a request whose body has arrived: with its length, and without the framing it came in."""
    framing = (b"content-length", b"transfer-encoding")
    headers = [header for header in scope["headers"] if header[0] not in framing]
    if body or scope["method"] == "POST":
        headers.append((b"content-length", b"%d" % len(body)))
    return {**scope, "headers": headers, _GONE: work.gone}


async def _send_whole(work: Work, task: asyncio.Task[None], scope: Scope, send: Send) -> None:
    """Send the answer once it is complete."""
    await asyncio.wait({task})
    if task.exception() is not None:
        await respond(send, scope["method"], _failed())
        return
    await send(work.answer.get_nowait())
    while True:
        message = work.answer.get_nowait()
        piece = memoryview(message.get("body", b""))
        for at in range(0, len(piece), _SLICE):
            await send({"type": "http.response.body", "body": bytes(piece[at : at + _SLICE]), "more_body": True})
        if not message.get("more_body"):
            await send({"type": "http.response.body", "body": b""})
            return


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
            await respond(send, scope["method"], _failed())
    finally:
        left.cancel()


def _failed() -> Response:
    return text_response(500, "This request met an error here, told in the server's log.\n")


def _busy(pool: Pool) -> Response:
    seconds = round(pool.size.seconds)
    text = f"Too many {pool.name} are under way ({pool.size.threads} at a time): ask again in {seconds} seconds.\n"
    response = text_response(503, text)
    return response._replace(headers=[*response.headers, (b"retry-after", b"%d" % seconds)])
