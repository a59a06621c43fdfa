"""Requests of other trackers' clients, on their way to the events and answers that `activity.compat` makes of them."""

from __future__ import annotations

from typing import NamedTuple

from activity.compat.protocol import Answer, Outcome, Protocol, TrackerBatch, TrackerRequest
from activity.compat.registry import find
from activity.incoming import Limits
from activity.refusal import Refusal
from ingest.http import Headers, Request, Response

_SHORTEST_SECRET = 8  # characters; what is shorter is an id, and could stand in the bytes by chance
_TOLD = b"x-footfall-refused, retry-after"


class Tracker(NamedTuple):
    """The protocol of a request, and how it is answered."""

    protocol: Protocol
    form: str = ""

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


def read(found: Found, request: Request, body: bytes, limits: Limits) -> TrackerBatch | Answer:
    """Read the events of a request. `body` is unpacked."""
    query = request.query.decode("latin-1")
    return found.protocol.read(
        TrackerRequest(request.method, found.path, query, dict(request.headers), body), limits
    )


def response(answer: Answer, headers: Headers) -> Response:
    """Return a protocol's answer as a response, with these further headers."""
    return Response(
        answer.status,
        [
            (b"content-type", answer.content_type),
            (b"content-length", b"%d" % len(answer.body)),
            (b"cache-control", b"no-store"),
            *answer.headers,
            *headers,
        ],
        answer.body,
    )


def without_secret(received: bytes, credential: str) -> bytes:
    """Return the bytes of a request without the credential in them, for a dead letter."""
    return received.replace(credential.encode(), b"KEY") if len(credential) >= _SHORTEST_SECRET else received


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


def preflight(request: Request, methods: tuple[str, ...]) -> Response:
    """Return the answer to a CORS preflight request: whatever headers the page wants to send, it may."""
    headers = dict(request.headers)
    asked = headers.get(b"access-control-request-headers", b"authorization, content-type, content-encoding")
    return Response(
        204,
        [
            *cors(headers.get(b"origin")),
            (b"access-control-allow-methods", ", ".join((*methods, "OPTIONS")).encode()),
            (b"access-control-allow-headers", asked),
            (b"access-control-max-age", b"86400"),
        ],
    )
