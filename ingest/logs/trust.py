"""Which part of a chain of proxies is the client of a log line.

Each proxy adds the address that it was asked by at the right end of `X-Forwarded-For`; what stands further left came
with the request, and whoever sent that may have made it up. Where the import is told which proxies are trusted, a
chain is walked from the right, and the first address that is not listed is the client, as the front door does
(`ingest.client.Proxies`). A line whose own address is not listed was not passed on by a proxy: that address is the
client. Where no proxies are told, the first public address of a chain counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from ipaddress import ip_address, ip_network

from ingest.client import Proxies

_INTERNAL = tuple(
    ip_network(network)
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "100.64.0.0/10",
                    "::1/128", "fc00::/7", "fe80::/10")
)  # fmt: skip
_trusted: ContextVar[Proxies | None] = ContextVar("trusted proxies", default=None)


@contextmanager
def trusting(proxies: Sequence[str]) -> Iterator[None]:
    """Read lines as passed on by these addresses and networks only; where there are none, as without it.

    Raises ValueError as `Proxies` does."""
    before = _trusted.set(Proxies(proxies) if proxies else None)
    try:
        yield
    finally:
        _trusted.reset(before)


def trusted() -> Proxies | None:
    """Return the proxies that are trusted here; None where the import was told of none."""
    return _trusted.get()


def is_proxy(address: str) -> bool:
    """Return whether a line with this canonical address may have been passed on for somebody else."""
    proxies = trusted()
    return is_internal(address) if proxies is None else proxies.lists(address)


@lru_cache(maxsize=4_096)
def is_internal(address: str) -> bool:
    """Return whether a canonical address is one of a network of somebody's own: behind it may stand anybody."""
    parsed = ip_address(address)
    return any(parsed in network for network in _INTERNAL if network.version == parsed.version)


def client_in(chain: Sequence[str | None]) -> str | None:
    """Return the client of a chain of canonical addresses, the nearest to us last; None for a part that is none."""
    proxies = trusted()
    if proxies is None:
        addresses = [address for address in chain if address is not None]
        return next((address for address in addresses if not is_internal(address)), addresses[0] if addresses else None)
    client = None
    for address in reversed(chain):
        if address is None:
            break
        client = address
        if not proxies.lists(address):
            break
    return client
