"""Which protocol a request belongs to, by its path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from activity.compat import ga4, goatcounter, matomo, openpanel, plausible, posthog, segment, snowplow, umami
from activity.compat.protocol import Protocol, Route

PROTOCOLS: tuple[Protocol, ...] = (
    segment.PROTOCOL,
    plausible.PROTOCOL,
    umami.PROTOCOL,
    ga4.PROTOCOL,
    snowplow.PROTOCOL,
    posthog.PROTOCOL,
    matomo.PROTOCOL,
    openpanel.PROTOCOL,
    goatcounter.PROTOCOL,
)
PREFIX = "/compat/"
_SLASHES = re.compile("/{2,}")
_CACHED = 64  # characters of a path, to bound the memory of the cache

BY_NAME: dict[str, Protocol] = {protocol.name: protocol for protocol in PROTOCOLS}


def find(path: str, headers: Mapping[bytes, bytes]) -> tuple[Protocol, Route, str] | None:
    """Return the protocol of a path, its route, and the path as the protocol reads it; None if it is nobody's."""
    candidates = (_cached_candidates if len(path) <= _CACHED else _candidates)(path)
    if len(candidates) == 1 and not candidates[0][1].header:
        return candidates[0]
    if not _SLASHES.sub("/", path).startswith(PREFIX):
        candidates = [found for found in candidates if not found[1].header or _bears(headers, found[1].header)]
    # A request that bears the header of a protocol is that one's.
    return next((found for found in candidates if found[1].header), candidates[0] if candidates else None)


def _bears(headers: Mapping[bytes, bytes], name: bytes) -> bool:
    """Return whether a request has a header, or asks, as a CORS preflight does, whether it may come with it."""
    if name in headers:
        return True
    asked = headers.get(b"access-control-request-headers")
    return asked is not None and name in [each.strip() for each in asked.lower().split(b",")]


def _candidates(path: str) -> list[tuple[Protocol, Route, str]]:
    """Return whose routes a path may be, and the path as they read it.

    A client whose address ends in a slash puts its own behind: servers take two for one."""
    path = _SLASHES.sub("/", path)
    if path.startswith(PREFIX):
        name, _, inner = path[len(PREFIX) :].partition("/")
        rest = "/" + inner.rstrip("/")
        protocol = BY_NAME.get(name)
        return [(protocol, route, rest) for route in protocol.routes if _fits(route, rest)] if protocol else []
    rest = path.rstrip("/")
    found = [*_EXACT.get(rest, ()), *(each for each in _PREFIXES if _fits(each[1], rest))]
    return [(protocol, route, rest) for protocol, route in found]


_cached_candidates = lru_cache(maxsize=1024)(_candidates)


def _fits(route: Route, path: str) -> bool:
    return path == route.path or (route.prefix and path.startswith(route.path + "/"))


_EXACT: dict[str, list[tuple[Protocol, Route]]] = {}
_PREFIXES = [(protocol, route) for protocol in PROTOCOLS for route in protocol.routes if route.prefix]
for _protocol in PROTOCOLS:
    for _route in _protocol.routes:
        if not _route.prefix:
            _EXACT.setdefault(_route.path, []).append((_protocol, _route))
