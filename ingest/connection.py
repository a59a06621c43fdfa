"""One HTTP connection, and the table of all connections of a worker: uvicorn's protocol with bounds for its client.

uvicorn alone waits forever for the rest of a header and for a client that does not read its answer, and it accepts any
number of connections. Here one sweep per second over the connections of a worker, with no timer per request, enforces:

    a header                     HEADER_SECONDS and HEADER_BYTES, then 408 or 431
    the next bytes of an answer  must be taken within TAKE_SECONDS, then the connection is reset
    between two requests         KEEP_ALIVE seconds, then the connection is closed
    connections of a worker      CONNECTIONS, or half of the files that the system grants; beyond, the one that has
                                 been idle for longest is closed, and if all are busy the new one gets a 503

Bodies are bounded where they are read (`ingest.http`). Bytes that are not HTTP get a 400. Every refusal says why.

A POST that arrives whole in one read, as nearly every event does, is answered without a task (`Exchange`): it is handed
to `Config.direct`, and its answer is written by a callback. uvicorn parses it like any other, and everything else is
left to uvicorn and ASGI: bodies in pieces or in chunks, other methods, senders that ask before they send or do not read
their answers. The task and the messages of ASGI for an event cost more than judging it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import mmap
import re
import resource
import socket
import struct
import sys
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ingest.http import ENDINGS, FAULT, Reply, Request, Response, peer_address

log = logging.getLogger(__name__)

LINGER = 1.0
KEEP_ALIVE = 75
HEADER_SECONDS = 15.0
HEADER_BYTES = 64 << 10
TAKE_SECONDS = 30.0
CONNECTIONS = 2000
FILES = 2 * CONNECTIONS + 192  # open files that we ask the system for
_REFUSED = 100  # connections beyond the limit that stay open until their 503 was read; the others are closed at once
_RETRY_AFTER = 5
_AT_ONCE = struct.pack("ii", 1, 0)
_TOO_LARGE = f"A header may have {HEADER_BYTES} bytes: send fewer or smaller fields.\n"

# Linux, netinet/in.h; the socket module does not name them. A packet whose TTL is below the bound is dropped.
_IP_MINTTL, _IPV6_MINHOPCOUNT = 21, 73
ALL, NONE = 0, 255  # bounds that let all packets through, or none

# The field name at the start of a line, and a replacement of the same length, so that no length changes.
_UPGRADE, _NOT_UPGRADE = re.compile(rb"^upgrade:", re.IGNORECASE | re.MULTILINE), b"x-grade:"
_HAS_BODY = (b"content-length", b"transfer-encoding")


class Connections:
    """The connections of one worker, ordered by their latest request, oldest first."""

    def __init__(self, stopping: mmap.mmap) -> None:
        self.by_use: OrderedDict[Connection, None] = OrderedDict()
        self.most = min(CONNECTIONS, _files_granted() // 2)
        self.draining = False
        self._stopping = stopping

    @property
    def server_stops(self) -> bool:
        """Whether the whole server is stopping, and not this worker alone."""
        return self._stopping[0] != 0

    def add(self, connection: Connection) -> bool:
        """Add a connection, closing an idle one if necessary; return False if all are busy."""
        if len(self.by_use) >= self.most:
            idle = next((other for other in self.by_use if not other.busy), None)
            if idle is None:
                return False
            self.remove(idle)
            idle.transport.close()
        self.by_use[connection] = None
        connection.counted = True
        return True

    def remove(self, connection: Connection) -> None:
        """Forget a connection; it may be gone already."""
        self.by_use.pop(connection, None)
        connection.counted = False


class Config(uvicorn.Config):
    """uvicorn's settings, which every connection is given, and with them the table of connections."""

    all: Connections
    direct: Callable[[Request, Reply], None] | None  # takes requests without a task and ASGI's messages
    drain: Callable[[], None] | None  # ends the answers that would never end, when the server begins to stop


class _Nobody:
    """Stands for the event that a task would wait for."""

    def set(self) -> None:
        """Wake nobody."""


class Exchange:
    """A request that is answered without a task.

    It stands in for uvicorn's `RequestResponseCycle` in `Connection.cycle`, and has every attribute that uvicorn's
    protocol and this module read or set there."""

    __slots__ = ("_connection", "body", "disconnected", "keep_alive", "response_complete")
    message_event = _Nobody()
    more_body = False  # it is only begun when the whole body is there
    response_started = False

    def __init__(self, connection: Connection, *, keep_alive: bool) -> None:
        self._connection: Connection | None = connection
        self.body = b""
        self.keep_alive = keep_alive
        self.disconnected = self.response_complete = False

    def reply(self, response: Response) -> None:
        """Send the answer, unless the client has gone."""
        connection, self._connection = self._connection, None  # else the two would keep each other in memory
        if connection is not None and not self.disconnected:
            self.response_complete = True
            connection.answered(self.keep_alive, response)


class Connection(HttpToolsProtocol):
    """One connection, with deadlines for its client.

    `cycle` is uvicorn's latest request on the connection. The attribute is not documented, but uvicorn offers no other
    way to see whether a request is under way, and its own `shutdown()` does it the same way.
    """

    config: Config
    counted = False  # whether it is in the table; a connection that was refused or closed to make room is not
    _heading = False  # part of a header has arrived
    _heading_bytes = 0  # of the header, received in earlier reads
    _large = False  # this read takes the header, or the header and the body after it, beyond HEADER_BYTES
    _refusal: tuple[int, str] | None = None
    _refused = False
    _one_request = 0  # bytes of body in this read if it holds a whole POST and nothing else
    _exchange: Exchange | None = None  # begun by this read, and not handed over yet
    _since = 0.0  # when the header began, or when the sweep last saw a request under way
    _stuck_since = 0.0  # when the sweep first saw that the client does not read our answer

    @property
    def busy(self) -> bool:
        """Whether a request is under way."""
        return self.cycle is not None and not self.cycle.response_complete and not self.cycle.disconnected

    @property
    def awaits_body(self) -> bool:
        """Whether a request is under way whose body has not fully arrived."""
        return self.busy and self.cycle.more_body

    def idle_since(self, began: float) -> float:
        """Return when the connection became idle, at the earliest `began`; infinity while a request is under way."""
        return float("inf") if self.busy else max(began, self._since)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Enter the connection in the table, or refuse it with a 503 if all are busy."""
        super().connection_made(transport)
        self._all = self.config.all
        self._peer = peer_address(self.client[0] if self.client else "")
        self._since = self.loop.time()
        if self._all.server_stops:
            hear_from(transport.get_extra_info("socket"), ALL)  # else it keeps the bound of a socket that stops
        if not self._all.add(self):
            text = f"Too many connections are busy here: come again in {_RETRY_AFTER} seconds.\n"
            self.refuse(503, text, f"retry-after: {_RETRY_AFTER}\r\n")
            if len(self.connections) > self._all.most + _REFUSED:
                transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the connection out of the table."""
        self._all.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, and refuse a header that is too large."""
        if self._refused:
            return
        if b"pgrade:" in data and not self.awaits_body:
            # We speak only HTTP/1.1, and httptools would take a request that asks for an upgrade as having no body.
            head, blank, rest = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(_NOT_UPGRADE, head) + blank + rest
        self._large = self._heading_bytes + len(data) > HEADER_BYTES
        self._one_request = 0
        if data.startswith(b"POST ") and not self._heading and not self.busy:
            header_end = data.find(b"\r\n\r\n")
            self._one_request = len(data) - header_end - 4 if header_end > 0 else 0
        super().data_received(data)
        if self._heading:
            self._heading_bytes += len(data)
            if self._heading_bytes > HEADER_BYTES:
                self.refuse(431, _TOO_LARGE)

    def on_message_begin(self) -> None:
        """Start the deadline of a header, and mark the connection as used."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._heading = True
        self._since = self.loop.time()
        if self.counted:
            self._all.by_use.move_to_end(self)

    def on_headers_complete(self) -> None:
        """Refuse a header that is too large or asks for an upgrade; else begin the request."""
        self._heading = False
        self._heading_bytes = 0
        if self._large and len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEADER_BYTES:
            self._refusal = 431, _TOO_LARGE
        elif self.parser.should_upgrade() and any(name in _HAS_BODY for name, _ in self.headers):
            self._refusal = 400, "No upgrade of the protocol is known here: send the request without.\n"
        if self._refusal:
            raise ValueError(self._refusal)  # makes the parser give up, and uvicorn call `send_400_response`
        if self._may_be_direct():
            keep_alive = self.parser.should_keep_alive() and self.parser.get_http_version() != "1.0"
            self.cycle = self._exchange = Exchange(self, keep_alive=keep_alive)  # type: ignore[assignment]
        else:
            self._begin_task()
        if self._all.draining:
            self.shutdown()  # this answer is the last

    def _begin_task(self) -> None:
        """Let uvicorn give the request a task, with the scope that it makes at the beginning of a message."""
        url, headers, asks_first = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, asks_first
        self.headers += headers
        super().on_headers_complete()

    def _may_be_direct(self) -> bool:
        """Return whether the request needs nothing that only a task can do, such as waiting for its body."""
        if self._one_request <= 0 or self.config.direct is None or self.flow.write_paused or b"%" in self.url:
            return False
        return (b"content-length", b"%d" % self._one_request) in self.headers and not self.expect_100_continue

    def on_body(self, body: bytes) -> None:
        """Keep the body of a request that needs no task."""
        if self._exchange is None:
            super().on_body(body)
        else:
            self._exchange.body += body

    def on_message_complete(self) -> None:
        """Hand over a request that needs no task."""
        exchange = self._exchange
        if exchange is None:
            super().on_message_complete()
            return
        self._exchange = None
        assert self.config.direct is not None
        path, _, query = self.url.partition(b"?")
        request = Request(
            "POST", path.decode("ascii"), query, self.headers, exchange.body, self._peer, self.scheme or "http"
        )
        try:
            self.config.direct(request, exchange.reply)
        except ENDINGS:
            raise
        except BaseException:
            log.exception("A request failed")
            exchange.reply(FAULT)

    def answered(self, keep_alive: bool, response: Response) -> None:
        """Send the answer to a request that needed no task."""
        fields = (*self.server_state.default_headers, *response.headers)
        self.transport.write(_head(response.status, fields, keep_alive) + response.body)
        if not keep_alive:
            self.transport.close()
        elif self.pipeline:
            self.on_response_complete()

    def resume_writing(self) -> None:
        """Note that the client reads our answer again."""
        self._stuck_since = 0.0
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's signature
        """Answer a request that the parser rejected."""
        self.refuse(*(self._refusal or (400, "The request cannot be read: see RFC 9112.\n")))

    def refuse(self, status: int, text: str, fields: str = "") -> None:
        """Answer without the application, and ignore anything else that this client sends.

        If the answer to an earlier request is under way, the client gets that answer and then the end of the
        connection."""
        self._refused = True
        self._heading = False
        if self.busy and (self.cycle.response_started or not self.cycle.more_body):
            self.shutdown()
            return
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{fields}content-type: text/plain; charset=utf-8\r\n"
        date = b"".join(name + b": " + value + b"\r\n" for name, value in self.server_state.default_headers)
        length = f"content-length: {len(text)}\r\nconnection: close\r\n\r\n{text}"
        self.transport.write(head.encode() + date + length.encode())
        if self.busy:  # its body is broken: to the application it looks as if the client had disconnected
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        # Closing while the client is still sending would reset the connection, and with it the answer.
        self._since = self.loop.time()
        self.transport.write_eof()

    def shutdown(self) -> None:
        """Close the connection after the answer under way, or at once if there is none."""
        if self.busy:
            super().shutdown()
        else:
            self.transport.close()

    def enforce_deadlines(self, now: float) -> None:
        """Give up on a client that is too slow with a header or in reading our answer, or idle for too long.

        `now` is in seconds of the event loop's clock."""
        if self.transport.get_write_buffer_size() == 0:
            self._stuck_since = 0.0
        elif not self._stuck_since:
            self._stuck_since = now
        elif now - self._stuck_since > TAKE_SECONDS:
            # This also discards what the system still holds for it.
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self.transport.abort()
            return
        waited = now - self._since
        if self.busy:
            self._since = now
        elif self._refused:
            if waited > LINGER:
                self.transport.abort()
        elif self._heading:
            if waited > HEADER_SECONDS:
                self.refuse(408, f"The header did not arrive within {HEADER_SECONDS:.0f} seconds: send it again.\n")
        elif waited > (HEADER_SECONDS if self.cycle is None else KEEP_ALIVE):
            self.shutdown()


@lru_cache(maxsize=256)  # most answers are alike within a second
def _head(status: int, fields: tuple[tuple[bytes, bytes], ...], keep_alive: bool) -> bytes:
    """Return the head of an answer, with `connection: close` unless it keeps the connection alive."""
    if not keep_alive:
        fields += ((b"connection", b"close"),)
    return STATUS_LINE[status] + b"".join([b"%s: %s\r\n" % field for field in fields]) + b"\r\n"


def hear_from(sock: Any, ttl: int) -> None:
    """Have the system drop packets to this socket whose TTL is below `ttl` (RFC 5082). Only Linux can.

    With 255, a TTL that hardly any system sends, a listening socket accepts no new handshake. A handshake that is under
    way is finished, and its connection inherits the bound until it is lifted."""
    if sys.platform == "linux":
        for level, option in ((socket.IPPROTO_IP, _IP_MINTTL), (socket.IPPROTO_IPV6, _IPV6_MINHOPCOUNT)):
            with contextlib.suppress(OSError):  # an IPv4 socket has only the first option, an IPv6 socket has both
                sock.setsockopt(level, option, ttl)


def _files_granted() -> int:
    """Return how many files this process may open, after raising the limit as far as needed and allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES:
        soft = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return FILES if soft == resource.RLIM_INFINITY else soft
