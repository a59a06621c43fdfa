"""Requests of other trackers' clients, on their way to the events and answers that `activity.compat` makes of them."""

from __future__ import annotations

import json
import re
from typing import NamedTuple
from urllib.parse import quote

from activity.compat.protocol import Answer, Outcome, Protocol, TrackerBatch, TrackerRequest
from activity.compat.registry import PREFIX, find
from activity.incoming import Limits
from activity.refusal import Refusal
from ingest.http import Headers, Request, Response, is_utf8

_SHORTEST_SECRET = 8  # characters; what is shorter is an id, and could stand in the bytes by chance
_PLAIN = re.compile(r"[\w.-]+", re.ASCII)
_HEX = re.compile(r"%[0-9A-F]{2}")
_TOLD = b"x-footfall-refused, retry-after"


class Tracker(NamedTuple):
    """The protocol of a request, and how it is answered."""

    protocol: Protocol
    form: str = ""
    leads_on: bool = False  # a link that counts a click, and whose answer leads to its end

    def answer(self, accepted: int, duplicates: int, refused: list[Refusal], headers: Headers) -> Response:
        """Return the answer that the protocol's clients know. `headers` are those that every answer has."""
        answer = self.protocol.answer(Outcome(self.form, accepted, duplicates, tuple(refused)))
        return response(answer, headers)


class Found(NamedTuple):
    """A request to a route of a protocol."""

    protocol: Protocol
    path: str  # without prefix
    methods: tuple[str, ...]


def route(path: str, headers: dict[bytes, bytes]) -> Found | None:
    """Return whose protocol a request speaks; None if it is no tracker's."""
    found = find(path, headers)
    return None if found is None else Found(found[0], found[2], found[1].methods)


def route_of_letter(path: str, protocol: str) -> Found | None:
    """Return the protocol that the request of a dead letter spoke; None if that was no tracker's.

    The letter kept no headers, so its protocol's name tells whose a path is that two have."""
    return route(path if path.startswith(PREFIX) else f"{PREFIX}{protocol}{path}", {})


def read(found: Found, request: Request, body: bytes, limits: Limits) -> TrackerBatch | Answer:
    """Read the events of a request. `body` is unpacked."""
    query = request.query.decode("utf-8" if request.query.isascii() or is_utf8(request.query) else "latin-1")
    return found.protocol.read(
        TrackerRequest(request.method, found.path, query, dict(request.headers), body), limits
    )


def response(answer: Answer, headers: Headers) -> Response:
    """Return a protocol's answer as a response, with these further headers."""
    content = (
        [(b"content-type", answer.content_type), (b"content-length", b"%d" % len(answer.body))]
        if answer.status != 204  # which has no body by definition
        else []
    )
    return Response(
        answer.status, [*content, (b"cache-control", b"no-store"), *answer.headers, *headers], answer.body
    )


def without_secret(received: bytes, credential: str) -> bytes:
    """Return the bytes of a request without the credential in them, for a dead letter."""
    if len(credential) < _SHORTEST_SECRET:
        return received
    for spelt in _spellings(credential):
        received = received.replace(spelt, b"KEY")
    return received


def _spellings(credential: str) -> list[bytes]:
    """Return how clients write a credential into a query or into JSON. Most have one spelling everywhere."""
    if _PLAIN.fullmatch(credential):
        return [credential.encode()]
    ways = [credential, json.dumps(credential)[1:-1], json.dumps(credential, ensure_ascii=False)[1:-1]]
    ways += [json.dumps(credential)[1:-1].replace("/", "\\/")]  # as PHP writes it
    for left in ("", "/", "!'()*", "*"):
        quoted = quote(credential, safe=left, errors="replace")
        ways += [quoted, quoted.replace("%20", "+"), quoted.replace("~", "%7E")]
        ways += [_HEX.sub(lambda found: found[0].lower(), each) for each in ways[-3:]]
    return [way.encode("utf-8", "replace") for way in dict.fromkeys(ways)]


def cors(origin: bytes | None) -> Headers:
    """Return the headers that let a page of any origin read the answer, also when it sends with credentials.

    The answer says only what became of the sender's own events."""
    if origin is None:
        return [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", _TOLD)]
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", _TOLD),
        (b"vary", b"origin"),
    ]


_ASKS_PRIVATE = (b"access-control-request-private-network", b"true")


def preflight(request: Request, methods: tuple[str, ...]) -> Response:
    """Return the answer to a CORS preflight request: whatever headers the page wants to send, it may, and a public page
    may send to a service on a private network."""
    headers = dict(request.headers)
    asked = headers.get(b"access-control-request-headers", b"authorization, content-type, content-encoding")
    return Response(
        204,
        [
            *cors(headers.get(b"origin")),
            (b"access-control-allow-methods", ", ".join((*methods, "OPTIONS")).encode()),
            (b"access-control-allow-headers", asked),
            (b"access-control-max-age", b"86400"),
            *([(b"access-control-allow-private-network", b"true")] if _ASKS_PRIVATE in request.headers else []),
        ],
    )
