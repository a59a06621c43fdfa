"""One HTTP connection, and the table of all connections of a worker: uvicorn's protocol with bounds for its client.

uvicorn on its own waits for ever for the rest of a header, and for a reader that takes nothing, and takes any number of
connections. Here one sweep a second over the connections of a worker, and no timer per request, enforces:

    a header                     HEADER_SECONDS and HEADER_BYTES, then 408 or 431
    the next bytes of an answer  must be taken within TAKE_SECONDS, then the connection is reset
    between two requests         KEEP_ALIVE seconds, then the connection is closed
    connections of a worker      CONNECTIONS, or half of the files that the system grants; beyond, the one that has
                                 been idle for longest makes room, and where all are busy the new one gets a 503

Bodies are bounded where they are read (`ingest.http`). What is not HTTP gets a 400; every refusal says why in words.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import re
import resource
import socket
import struct
import sys
from collections import OrderedDict
from http import HTTPStatus
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LINGER = 1.0
KEEP_ALIVE = 75
HEADER_SECONDS = 15.0
HEADER_BYTES = 64 << 10
TAKE_SECONDS = 30.0
CONNECTIONS = 2000
FILES = 2 * CONNECTIONS + 192  # what we ask the system for
_REFUSED = 100  # connections beyond the limit that are closed gently, after their 503 was read
_RETRY_AFTER = 5
_AT_ONCE = struct.pack("ii", 1, 0)
_TOO_LARGE = f"A header may have {HEADER_BYTES} bytes: send fewer or smaller fields.\n"

# Linux, netinet/in.h; the socket module does not name them. A packet whose TTL is below the bound is dropped.
_IP_MINTTL, _IPV6_MINHOPCOUNT = 21, 73
ALL, NONE = 0, 255  # those whose packets have this TTL at least

# The name of the field as it may begin a line; the one in its place is as long, so that no length changes.
_UPGRADE, _NOT_UPGRADE = re.compile(rb"^upgrade:", re.IGNORECASE | re.MULTILINE), b"x-grade:"
_HAS_BODY = (b"content-length", b"transfer-encoding")


class Connections:
    """The connections of one worker, the one that has been without a request for longest first."""

    def __init__(self, stopping: mmap.mmap) -> None:
        self.by_use: OrderedDict[Connection, None] = OrderedDict()
        self.most = min(CONNECTIONS, _files_granted() // 2)
        self.draining = False
        self._stopping = stopping

    @property
    def server_stops(self) -> bool:
        """Whether the master has been told to stop, and not this worker alone."""
        return self._stopping[0] != 0

    def add(self, connection: Connection) -> bool:
        """Count one more, for which an idle one is closed if necessary; False when all are busy."""
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
        self.by_use.pop(connection, None)
        connection.counted = False


class Config(uvicorn.Config):
    """uvicorn's settings, which each protocol is given, and with them the table that it enters itself in."""

    all: Connections


class Connection(HttpToolsProtocol):
    """One connection, with deadlines for its client.

    `cycle` is uvicorn's latest request on it. It is no documented attribute, but uvicorn offers no other way to tell
    a connection with a request under way from one without, and its own `shutdown()` asks it in the same way.
    """

    config: Config
    counted = False  # among the connections of the worker; one that was refused, or gave way, is not
    _heading = False  # some of a header is here, and not all
    _heading_bytes = 0  # received with earlier reads
    _large = False  # the read that is being parsed brings the header beyond HEADER_BYTES, or body after it does
    _refusal: tuple[int, str] | None = None
    _refused = False
    _since = 0.0  # when the header began, or when the sweep last saw a request under way
    _stuck_since = 0.0  # when the sweep first saw bytes that the client does not take

    @property
    def busy(self) -> bool:
        """Whether a request is under way."""
        return self.cycle is not None and not self.cycle.response_complete and not self.cycle.disconnected

    @property
    def awaits_body(self) -> bool:
        """Whether a request is under way of which not everything has arrived."""
        return self.busy and self.cycle.more_body

    def idle_since(self, began: float) -> float:
        """When this connection began to wait for a request, but not before `began`; never, where one is under way."""
        return float("inf") if self.busy else max(began, self._since)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._all = self.config.all
        self._since = self.loop.time()
        if self._all.server_stops:
            hear_from(transport.get_extra_info("socket"), ALL)  # inherited from a socket that has been made deaf
        if not self._all.add(self):
            text = f"Too many connections are busy here: come again in {_RETRY_AFTER} seconds.\n"
            self.refuse(503, text, f"retry-after: {_RETRY_AFTER}\r\n")
            if len(self.connections) > self._all.most + _REFUSED:
                transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if b"pgrade:" in data and not self.awaits_body:
            # We speak nothing but HTTP/1.1, and httptools takes a request that asks for more as one without a body.
            head, blank, rest = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(_NOT_UPGRADE, head) + blank + rest
        self._large = self._heading_bytes + len(data) > HEADER_BYTES
        super().data_received(data)
        if self._heading:
            self._heading_bytes += len(data)
            if self._heading_bytes > HEADER_BYTES:
                self.refuse(431, _TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._heading = True
        self._since = self.loop.time()
        if self.counted:
            self._all.by_use.move_to_end(self)

    def on_headers_complete(self) -> None:
        self._heading = False
        self._heading_bytes = 0
        if self._large and len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEADER_BYTES:
            self._refusal = 431, _TOO_LARGE
        elif self.parser.should_upgrade() and any(name in _HAS_BODY for name, _ in self.headers):
            self._refusal = 400, "No upgrade of the protocol is known here: send the request without.\n"
        if self._refusal:
            raise ValueError(self._refusal)  # makes the parser give up, and uvicorn call `send_400_response`
        super().on_headers_complete()
        if self._all.draining:
            self.shutdown()  # this answer is the last

    def resume_writing(self) -> None:
        self._stuck_since = 0.0
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's signature
        """Answer what the parser did not take."""
        self.refuse(*(self._refusal or (400, "The request cannot be read: see RFC 9112.\n")))

    def refuse(self, status: int, text: str, fields: str = "") -> None:
        """Answer without the application, and hear no more of this client.

        An earlier request whose answer is under way gets that answer and then the end of the connection."""
        self._refused = True
        self._heading = False
        if self.busy and (self.cycle.response_started or not self.cycle.more_body):
            self.shutdown()
            return
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{fields}content-type: text/plain; charset=utf-8\r\n"
        date = b"".join(name + b": " + value + b"\r\n" for name, value in self.server_state.default_headers)
        length = f"content-length: {len(text)}\r\nconnection: close\r\n\r\n{text}"
        self.transport.write(head.encode() + date + length.encode())
        if self.busy:  # its body is broken: the application is told what it is told of a client that went
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        # Closing while the client is still sending would reset the connection, and with it the answer.
        self._since = self.loop.time()
        self.transport.write_eof()

    def shutdown(self) -> None:
        """Close once the answer under way is out, at once where there is none."""
        if self.busy:
            super().shutdown()
        else:
            self.transport.close()

    def enforce_deadlines(self, now: float) -> None:
        """Give up on a client that takes longer over a header, over our answer or over nothing than we wait."""
        if self.transport.get_write_buffer_size() == 0:
            self._stuck_since = 0.0
        elif not self._stuck_since:
            self._stuck_since = now
        elif now - self._stuck_since > TAKE_SECONDS:
            # What the system still holds for it goes too.
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


def hear_from(sock: Any, ttl: int) -> None:
    """Have the system drop packets to this socket whose TTL is below `ttl` (RFC 5082), where it can.

    With 255, which next to no system sends, a listening socket takes part in no new handshake. One that is under way
    is finished, and what comes of it inherits the bound, until it is lifted."""
    if sys.platform == "linux":
        for level, option in ((socket.IPPROTO_IP, _IP_MINTTL), (socket.IPPROTO_IPV6, _IPV6_MINHOPCOUNT)):
            with contextlib.suppress(OSError):  # an IPv4 socket has only the one, an IPv6 socket both
                sock.setsockopt(level, option, ttl)


def _files_granted() -> int:
    """How many files this process may have open, raised as far as we need and the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES:
        soft = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return FILES if soft == resource.RLIM_INFINITY else soft
