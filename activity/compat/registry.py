"""Which protocol a request belongs to, by its path."""

from __future__ import annotations

from collections.abc import Mapping

from activity.compat import ga4, goatcounter, openpanel, plausible, posthog, umami
from activity.compat.protocol import Protocol, Route

PROTOCOLS: tuple[Protocol, ...] = (
    plausible.PROTOCOL,
    umami.PROTOCOL,
    ga4.PROTOCOL,
    posthog.PROTOCOL,
    openpanel.PROTOCOL,
    goatcounter.PROTOCOL,
)
PREFIX = "/compat/"

BY_NAME: dict[str, Protocol] = {protocol.name: protocol for protocol in PROTOCOLS}


def find(path: str, headers: Mapping[bytes, bytes]) -> tuple[Protocol, Route, str] | None:
    """Return the protocol of a path, its route, and the path as the protocol reads it; None if it is nobody's."""
    rest = path.rstrip("/")
    if path.startswith(PREFIX):
        name, _, inner = path[len(PREFIX) :].partition("/")
        protocol = BY_NAME.get(name)
        if protocol is None:
            return None
        rest = "/" + inner.rstrip("/")
        candidates = [(protocol, route) for route in protocol.routes if _fits(route, rest)]
    else:
        candidates = [*_EXACT.get(rest, ())]
        candidates += [found for found in _PREFIXES if _fits(found[1], rest)]
        candidates = [found for found in candidates if not found[1].header or found[1].header in headers]
    if not candidates:
        return None
    # A request that bears the header of a protocol is that one's.
    protocol, route = max(candidates, key=lambda found: bool(found[1].header))
    return protocol, route, rest


def _fits(route: Route, path: str) -> bool:
    return path == route.path or (route.prefix and path.startswith(route.path + "/"))


_EXACT: dict[str, list[tuple[Protocol, Route]]] = {}
_PREFIXES = [(protocol, route) for protocol in PROTOCOLS for route in protocol.routes if route.prefix]
for _protocol in PROTOCOLS:
    for _route in _protocol.routes:
        if not _route.prefix:
            _EXACT.setdefault(_route.path, []).append((_protocol, _route))
