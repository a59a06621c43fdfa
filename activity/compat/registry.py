"""Which protocol a request belongs to, by its path."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from activity.compat import segment
from activity.compat.protocol import Protocol, Route

PROTOCOLS: tuple[Protocol, ...] = (segment.PROTOCOL,)
PREFIX = "/compat/"
_CACHED = 64  # characters of a path, to bound the memory of the cache

BY_NAME: dict[str, Protocol] = {protocol.name: protocol for protocol in PROTOCOLS}


def find(path: str, headers: Mapping[bytes, bytes]) -> tuple[Protocol, Route, str] | None:
    """Return the protocol of a path, its route, and the path as the protocol reads it; None if it is nobody's."""
    rest, candidates = (_cached_candidates if len(path) <= _CACHED else _candidates)(path)
    if not path.startswith(PREFIX):
        candidates = [found for found in candidates if not found[1].header or found[1].header in headers]
    if not candidates:
        return None
    # A request that bears the header of a protocol is that one's.
    protocol, route = next((found for found in candidates if found[1].header), candidates[0])
    return protocol, route, rest


def _candidates(path: str) -> tuple[str, list[tuple[Protocol, Route]]]:
    """Return the path as protocols read it, and whose routes it may be."""
    if path.startswith(PREFIX):
        name, _, inner = path[len(PREFIX) :].partition("/")
        rest = "/" + inner.rstrip("/")
        protocol = BY_NAME.get(name)
        return rest, [(protocol, route) for route in protocol.routes if _fits(route, rest)] if protocol else []
    rest = path.rstrip("/")
    return rest, [*_EXACT.get(rest, ()), *(found for found in _PREFIXES if _fits(found[1], rest))]


_cached_candidates = lru_cache(maxsize=1024)(_candidates)


def _fits(route: Route, path: str) -> bool:
    return path == route.path or (route.prefix and path.startswith(route.path + "/"))


_EXACT: dict[str, list[tuple[Protocol, Route]]] = {}
_PREFIXES = [(protocol, route) for protocol in PROTOCOLS for route in protocol.routes if route.prefix]
for _protocol in PROTOCOLS:
    for _route in _protocol.routes:
        if not _route.prefix:
            _EXACT.setdefault(_route.path, []).append((_protocol, _route))
