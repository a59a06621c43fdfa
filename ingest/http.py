"""Requests and responses as plain values, and reading a request's body with bounds.

`asgi` and `wsgi` build a `Request` from what their server gives them and send the `Response`, so the core depends on no
server. Header names are lower-case bytes; `peer` is what `peer_address` makes of the socket's, before any proxy is
trusted.

`Bodies` reads a body to its end before any work is done with it: within BODY_SECONDS, up to a limit for the one body,
and up to UNFINISHED_BYTES for all unfinished bodies of the process. A slow sender costs its connection and the bytes it
has sent so far, never a thread, and many slow senders together cost no more than that second bound.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import re
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from enum import Enum
from typing import Any, NamedTuple

import msgspec

from activity.geo import canonical_address
from activity.refusal import Reason, Refusal

Headers = list[tuple[bytes, bytes]]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BODY_SECONDS = 30.0  # for a whole body
UNFINISHED_BYTES = 64 << 20  # received so far of all unfinished bodies of a process
RETRY_AFTER = 5  # seconds
_CHECK_EVERY = 1.0  # seconds between two looks at the deadlines
_DISCARD_AT_MOST = 64 << 20  # bytes read and dropped of a body that is too large, so that its sender reads the answer
_CLOSE = (b"connection", b"close")
_OPENS_JSON = (b"{", b"[", b"")
_PACKED = (b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
ZSTD = b"\x28\xb5\x2f\xfd"
_WINDOW = 8 << 20  # bytes that unpacking zstd may hold
_MEMBERS = 16  # of gzip, or frames of zstd, one behind the other, in a body at most
_WIDE = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_CHARSET = re.compile(
    rb"charset=\"?(iso-8859-(?:1[013-6]|[1-9])|windows-125[0-8]|utf-16(?:le|be)?)(?![\w-])", re.IGNORECASE
)
_NARROW = {"iso-8859-1": "windows-1252"}  # as browsers read it
_LONGEST_TYPE = 256  # bytes
_encode = msgspec.json.Encoder().encode

# Exceptions that end a process or a task, not only a request. Any other BaseException is the panic of a library.
ENDINGS = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)


class Request(msgspec.Struct, frozen=True, gc=False):
    """A request with its whole body. `query` is the raw query string."""

    method: str
    path: str
    query: bytes
    headers: Headers
    body: bytes
    peer: str
    scheme: str = "http"


class Response(NamedTuple):
    """A whole response."""

    status: int
    headers: Headers
    body: bytes = b""


Reply = Callable[[Response], None]


class Unread(Enum):
    """Why a body was not read."""

    SLOW = "slow"  # too slow, or its sender disconnected
    CROWDED = "crowded"  # too many unfinished bodies
    TOO_LARGE = "too large"
    STILL_COMING = "too large, and its sender is still sending"


def is_packed(body: bytes) -> bool:
    """Return whether a body begins like gzip or zlib, whatever its headers say; no text does."""
    return body[:2] in _PACKED


def unpack(body: bytes, limit: int) -> bytes | Refusal:
    """Decompress a gzip or zlib body, at most `limit` + 1 bytes of it; a refusal if it is larger or broken."""
    unpacked, unpacker = b"", zlib.decompressobj(wbits=47)
    try:
        for _ in range(_MEMBERS):
            unpacked += unpacker.decompress(body, limit + 1 - len(unpacked))
            body = unpacker.unused_data
            if not is_packed(body) or len(unpacked) > limit:
                break
            unpacker = zlib.decompressobj(wbits=47)
    except zlib.error as error:
        return Refusal(0, Reason.MALFORMED, f"the body begins like gzip and is not ({error}): send it again, or plain")
    if len(unpacked) > limit:
        return _too_large_unpacked(limit)
    if not unpacker.eof:
        return Refusal(0, Reason.MALFORMED, "the gzip body ends too early: send it again whole")
    return unpacked


def plain(body: bytes, headers: Headers, limit: int) -> bytes | Refusal:
    """Return a body unpacked, at most `limit` + 1 bytes, or why it cannot be.

    gzip, zlib and zstd are known by their first bytes; deflate without a head by what the headers say."""
    if body[:1] in _OPENS_JSON:  # as most do
        return body
    if is_packed(body):
        unpacked = unpack(body, limit)
        return unpack(unpacked, limit) if isinstance(unpacked, bytes) and is_packed(unpacked) else unpacked
    if body.isascii():  # which nothing is that is packed
        return body
    if body.startswith(ZSTD):
        return _of_zstd(body, limit)
    packing = _header(headers, b"content-encoding").strip().lower()
    if packing not in (b"br", b"deflate"):
        return body
    if packing == b"deflate":
        with contextlib.suppress(zlib.error):
            unpacker = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
            found = unpacker.decompress(body, limit + 1)
            if unpacker.eof or len(found) > limit:
                return found if len(found) <= limit else _too_large_unpacked(limit)
    if is_utf8(body):  # and not packed at all, as some clients send it
        return body
    detail = "packed with Brotli" if packing == b"br" else "broken, or cut: it says deflate"
    return Refusal(0, Reason.MALFORMED, f"the body is {detail}: pack it with gzip or zstd, or send it plain")


def _of_zstd(body: bytes, limit: int) -> bytes | Refusal:
    try:
        import zstandard
    except ImportError:  # a function is packaged without it
        return Refusal(0, Reason.MALFORMED, "the body is packed with zstd: pack it with gzip, or send it plain")
    zstd = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    unpacked = b""
    try:
        for _ in range(_MEMBERS):
            with zstd.stream_reader(body) as reader:  # the one that can be bounded cannot tell whether the frame ended
                if len(unpacked) + len(reader.read(limit + 1 - len(unpacked))) > limit:
                    return _too_large_unpacked(limit)
            unpacker = zstd.decompressobj()
            unpacked += unpacker.decompress(body)
            body = unpacker.unused_data
            if not unpacker.eof:
                return Refusal(0, Reason.MALFORMED, "the zstd body ends too early: send it again whole")
            if not body:
                return unpacked
    except zstandard.ZstdError as error:
        return Refusal(0, Reason.MALFORMED, f"the body begins like zstd and is not ({error}): send it again, or plain")
    return Refusal(0, Reason.MALFORMED, f"the zstd body has more than {_MEMBERS} frames: pack it as one")


def _too_large_unpacked(limit: int) -> Refusal:
    detail = f"decompressed, a request may have {limit} bytes: send fewer events in each"
    return Refusal(0, Reason.TOO_LARGE, detail)


def as_utf8(body: bytes, headers: Headers) -> bytes:
    """Return a body in UTF-8: one of another charset, which its type names or a mark at its begin tells, decoded."""
    if not body or (body.isascii() and b"\0" not in body[:2]):  # as most are
        return body
    charset = _WIDE.get(body[:2], "")
    if not charset:
        found = _CHARSET.search(_header(headers, b"content-type")[:_LONGEST_TYPE])
        charset = found[1].decode().lower() if found else ""
    is_narrow = charset and not charset.startswith("utf-16")
    if not charset or (is_narrow and is_utf8(body)):  # JSON is UTF-8, whatever a program says of all that it sends
        return body
    try:
        text = body.decode(_NARROW.get(charset, charset))
    except UnicodeError:
        return body
    return text.encode() if text.lstrip("\ufeff \t\r\n")[:1] in ("{", "[") else body  # it is what it says


def _header(headers: Headers, wanted: bytes) -> bytes:
    for name, value in headers:
        if name == wanted:
            return value
    return b""


def is_utf8(body: bytes) -> bool:
    """Return whether a body is text in UTF-8."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


class Bodies:
    """Reads the request bodies of one process, on its event loop."""

    def __init__(self) -> None:
        self._unfinished = 0
        # One timer for all: a timer per request would cost more than the rest of reading most bodies.
        self._deadlines: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def read(self, receive: Receive, headers: Headers, limit: int | None) -> bytes | Unread:
        """Return the whole body, or why it was not read.

        `limit` is in bytes; None means that this sender may send any amount, beyond the bound of the process too."""
        if limit is not None and _content_length(headers) > limit:
            return Unread.STILL_COMING
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        self._deadlines[task] = loop.time() + BODY_SECONDS
        if self._timer is None:
            self._timer = loop.call_later(_CHECK_EVERY, self._cancel_late, loop)
        chunks: list[bytes] = []
        size = 0
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return Unread.SLOW
                chunk: bytes = message.get("body", b"")
                if not message.get("more_body"):
                    if limit is not None and size + len(chunk) > limit:
                        return Unread.TOO_LARGE
                    return b"".join((*chunks, chunk)) if chunks else chunk
                chunks.append(chunk)
                size += len(chunk)
                self._unfinished += len(chunk)
                if limit is not None and size > limit:
                    return Unread.STILL_COMING
                if limit is not None and self._unfinished > UNFINISHED_BYTES:
                    return Unread.CROWDED
        except asyncio.CancelledError:
            if task not in self._late or task.uncancel():
                raise
            return Unread.SLOW
        finally:
            self._unfinished -= size
            self._deadlines.pop(task, None)
            self._late.discard(task)

    def _cancel_late(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel the tasks whose body is late."""
        now = loop.time()
        for task in [task for task, deadline in self._deadlines.items() if deadline < now]:
            del self._deadlines[task]
            self._late.add(task)
            task.cancel()
        self._timer = loop.call_later(_CHECK_EVERY, self._cancel_late, loop) if self._deadlines else None

    async def answer_early(self, receive: Receive, send: Send, response: Response) -> None:
        """Answer a sender whose body is too large, and discard what it still sends.

        A sender that is still sending when the connection closes may never see the answer. So the whole answer is sent,
        but not its end until the body has ended: until then the server keeps receiving."""
        await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
        await send({"type": "http.response.body", "body": response.body, "more_body": True})
        size = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BODY_SECONDS):
                while size < _DISCARD_AT_MOST:
                    message = await receive()
                    size += len(message.get("body", b""))
                    if not message.get("more_body"):
                        break
        await send({"type": "http.response.body", "body": b""})


def peer_address(address: str) -> str:
    """Return the canonical form of a socket's address; of one that is not an IP address, itself."""
    return canonical_address(address) or address


def json_response(status: int, content: object, headers: Headers | None = None) -> Response:
    """Return a JSON response with its type and length, and these further headers."""
    body = _encode(content)
    return Response(
        status,
        [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            *(headers or ()),
        ],
        body,
    )


def text_response(status: int, text: str, content_type: bytes = b"text/plain; charset=utf-8") -> Response:
    """Return a response in UTF-8 that no cache keeps."""
    body = text.encode()
    return Response(
        status,
        [
            (b"content-type", content_type),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ],
        body,
    )


FAULT = text_response(500, "This is a fault of the server, and its log says more: send all of it again later.\n")


def unread(why: Unread) -> Response:
    """Return the answer to a request whose body was not read, unless it was too large."""
    if why is Unread.CROWDED:
        text = f"Too much is being sent here at once: send it again in {RETRY_AFTER} seconds.\n"
        response = text_response(503, text)
        return response._replace(headers=[*response.headers, (b"retry-after", b"%d" % RETRY_AFTER), _CLOSE])
    response = text_response(408, f"The body did not arrive within {BODY_SECONDS:.0f} seconds: send it again.\n")
    return response._replace(headers=[*response.headers, _CLOSE])


async def respond(send: Send, method: str, response: Response) -> None:
    """Send a whole response, without its body if the request's method is HEAD."""
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else response.body})


def _content_length(headers: Headers) -> int:
    for name, value in headers:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0
