"""Threads for kinds of requests: each kind has a pool of its own, and a bound on how many wait for a thread.

A request comes here whole. Its answer is put into a queue, message by message, and whoever sends it takes it from
there, so that a thread never waits for a client's connection.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from a2wsgi import WSGIMiddleware

from ingest.asgi import Scope
from ingest.http import Message, Receive, Response, Send, respond, text_response

log = logging.getLogger(__name__)

_SLICE = 64 << 10  # bytes of an answer sent at a time
_GONE = "footfall.gone"

WSGI = Callable[[Any, Any], Any]


class PoolSize(NamedTuple):
    """The bounds of a pool."""

    threads: int
    waiting: int  # requests that may wait for a thread
    seconds: float  # that a request waits at most


class Pool:
    """The threads for one kind of request."""

    def __init__(self, name: str, application: WSGI, size: PoolSize) -> None:
        self.name = name
        self.size = size
        self._run: Any = WSGIMiddleware(_contained(application), workers=size.threads)
        self._free = asyncio.Semaphore(size.threads)
        self._waiting = 0
        self._works: dict[asyncio.Task[None], Work] = {}

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
        self._works[task] = work
        task.add_done_callback(self._ended)
        return task

    def leave(self) -> None:
        """Drop all answers: the server stops, and a thread that goes on finds no event loop to hand its answer to."""
        for work in self._works.values():
            work.leave()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._free.release()
        del self._works[task]
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


class _Gone(Exception):
    """Nobody wants the answer of a request any more."""


def _contained(application: WSGI) -> WSGI:
    """Wrap the application so that a failure, even a library's panic or exit, ends only its request. Logs it.

    A request whose client is gone ends at the next piece of its answer."""

    def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        gone: threading.Event = environ["asgi.scope"][_GONE]

        def start(*given: Any) -> Any:
            if gone.is_set():
                raise _Gone
            return start_response(*given)

        try:
            answer = application(environ, start)
            try:
                for piece in answer:
                    if gone.is_set():
                        raise _Gone
                    yield piece
                if gone.is_set():
                    raise _Gone
            finally:
                if hasattr(answer, "close"):
                    answer.close()
        except (GeneratorExit, _Gone):
            raise
        except BaseException as error:
            log.exception("%s %r ended in an error", environ["REQUEST_METHOD"], environ["PATH_INFO"])
            raise RuntimeError("the request ended in an error") from error

    return call


def whole(scope: Scope, body: bytes, work: Work) -> Scope:
    """Return the scope for a request whose body has arrived: with its length, and without the framing it came in."""
    framing = (b"content-length", b"transfer-encoding")
    headers = [header for header in scope["headers"] if header[0] not in framing]
    if body or scope["method"] == "POST":
        headers.append((b"content-length", b"%d" % len(body)))
    return {**scope, "headers": headers, _GONE: work.gone}


async def send_whole(work: Work, task: asyncio.Task[None], scope: Scope, receive: Receive, send: Send) -> None:
    """Send the answer once it is complete, unless the client has gone."""
    left = asyncio.ensure_future(receive())
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        left.cancel()
    if not task.done():
        return
    if task.exception() is not None:
        await respond(send, scope["method"], failed())
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


def failed() -> Response:
    """Return the answer to a request that met an error."""
    return text_response(500, "This request met an error here, told in the server's log.\n")


def busy(pool: Pool) -> Response:
    """Return the answer to a request for which the pool has no thread."""
    seconds = round(pool.size.seconds)
    text = f"Too many {pool.name} are under way ({pool.size.threads} at a time): ask again in {seconds} seconds.\n"
    response = text_response(503, text)
    return response._replace(headers=[*response.headers, (b"retry-after", b"%d" % seconds)])
