"""Which protocol a request belongs to, by its path."""

from __future__ import annotations

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
_CACHED = 64  # characters of a path, to bound the memory of the cache

BY_NAME: dict[str, Protocol] = {protocol.name: protocol for protocol in PROTOCOLS}


def find(path: str, headers: Mapping[bytes, bytes]) -> tuple[Protocol, Route, str] | None:
    """Return the protocol of a path, its route, and the path as the protocol reads it; None if it is nobody's."""
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
    if not candidates:
        return None
    # A request that bears the header of a protocol is that one's.
    protocol, route = next((found for found in candidates if found[1].header), candidates[0])
    return protocol, route, rest




def _fits(route: Route, path: str) -> bool:
    return path == route.path or (route.prefix and path.startswith(route.path + "/"))


_EXACT: dict[str, list[tuple[Protocol, Route]]] = {}
_PREFIXES = [(protocol, route) for protocol in PROTOCOLS for route in protocol.routes if route.prefix]
for _protocol in PROTOCOLS:
    for _route in _protocol.routes:
        if not _route.prefix:
            _EXACT.setdefault(_route.path, []).append((_protocol, _route))
