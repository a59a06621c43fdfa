"""Whose word counts for the client's address: `X-Forwarded-For` is read only from listed proxies.

The list is walked from its right end, the end nearest to us: each proxy that is itself listed is believed
about the one before it, and the first address that is not listed is the client. What a client wrote into
the header on its own stays to the left of that and is never reached.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from ingest.http import Headers

_MET = 1024


class Proxies:
    """The listed proxies, as addresses or networks (`10.0.0.0/8`, `::1`)."""

    def __init__(self, listed: Iterable[str] = ()) -> None:
        self._networks: list[IPv4Network | IPv6Network] = []
        for text in listed:
            try:
                self._networks.append(ip_network(text.strip(), strict=False))
            except ValueError as error:
                raise ValueError(
                    f"{text!r} is not an address or network of a proxy; write it as 10.0.0.7 or 10.0.0.0/8"
                ) from error
        self._met: set[str] = set()  # listed proxies that connected, never a visitor's address

    def _is_proxy(self, peer: str) -> bool:
        if peer in self._met:
            return True
        if not self._lists(peer):
            return False
        if len(self._met) < _MET:
            self._met.add(peer)
        return True

    def _lists(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None)
        return any((mapped or parsed) in network for network in self._networks)

    def client(self, peer: str, headers: Headers) -> str:
        """The client's address: the peer's, or what the chain of listed proxies says."""
        if not self._networks or not self._is_proxy(peer):
            return peer
        chain = b",".join(value for name, value in headers if name == b"x-forwarded-for")
        for hop in reversed(chain.decode("latin-1").split(",")):
            address = _bare(hop.strip())
            if address is None:
                break
            peer = address
            if not self._lists(address):
                break
        return peer


def _bare(hop: str) -> str | None:
    """An address of the chain without port and brackets; None for what is not an address."""
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    try:
        return str(ip_address(hop.partition("%")[0]))  # a zone means nothing to anybody but its own machine
    except ValueError:
        return None
