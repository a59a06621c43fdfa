"""A request and an answer as plain values, so that the core knows no server.

Both shells (`asgi`, `app`) turn what their server gives them into a `Request` and a `Response` back.
Header names are lower-case bytes; `peer` is the address of the socket, before any proxy is believed.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

Headers = list[tuple[bytes, bytes]]


class Request(NamedTuple):
    method: str
    path: str
    query: bytes
    headers: Headers
    body: bytes
    peer: str


class Response(NamedTuple):
    status: int
    headers: Headers
    body: bytes = b""


_encode = msgspec.json.Encoder().encode


def json_response(status: int, content: object, headers: Headers | None = None) -> Response:
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
