"""Whose word counts for the client's address: `X-Forwarded-For` is read only from listed proxies.

The list is walked from its right end, the end nearest to us: each proxy that is itself listed is believed
about the one before it, and the first address that is not listed is the client. What a client wrote into
the header on its own stays to the left of that and is never reached.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from activity.ip import canonical
from ingest.http import Headers

_MET = 1024


class Proxies:
    """The listed proxies, as addresses or networks (`10.0.0.0/8`, `::1`)."""

    def __init__(self, listed: Iterable[str] = ()) -> None:
        self._networks: list[IPv4Network | IPv6Network] = []
        for text in listed:
            try:
                self._networks.append(_plain(ip_network(text.strip(), strict=False)))
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
        return any(parsed in network for network in self._networks)

    def client(self, peer: str, headers: Headers) -> str:
        """The client's address in its canonical spelling: the peer's, or what the chain of listed proxies says."""
        peer = canonical(peer) or peer
        if not self._networks or not self._is_proxy(peer):
            return peer
        chain = b",".join(value for name, value in headers if name == b"x-forwarded-for")
        for hop in reversed(chain.decode("latin-1").split(",")):
            address = canonical(hop)
            if address is None:
                break
            peer = address
            if not self._lists(address):
                break
        return peer


def _plain(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """A network of IPv4 addresses mapped into IPv6 as the IPv4 network that it is."""
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return network if mapped is None or network.prefixlen < 96 else IPv4Network((mapped, network.prefixlen - 96))
