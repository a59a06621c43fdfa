"""Who keeps guessing has to wait: wrong secrets are counted by the sender's network, and by the name of an account."""

from __future__ import annotations

import hashlib
import ipaddress

from limits import RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from dashboards.access.hosts import Refusal, host_address

WRONG = (RateLimitItemPerMinute(10), RateLimitItemPerHour(100))  # of one network, or for one name
_SUBNET = 48  # bits of an IPv6 address: the network that a provider gives one customer


class Attempts:
    """The wrong secrets of the last hour. `who` is an address, `name` that of an account, or "" if none was given."""

    def __init__(self) -> None:
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    def waits(self, who: str, name: str = "") -> Refusal | None:
        """The refusal of somebody who has to wait, even with the right secret; None if nobody has to."""
        if all(self._limiter.test(item, key) for key in _keys(who, name) for item in WRONG):
            return None
        what = "passwords for this name, or from this address" if name else "tokens from this address"
        return Refusal(429, f"too many wrong {what}; try again in a minute, later after many more")

    def count_wrong(self, who: str, name: str = "") -> None:
        """Counts a wrong secret."""
        for key in _keys(who, name):
            for item in WRONG:
                self._limiter.hit(item, key)


def _keys(who: str, name: str) -> list[str]:
    # A hash, so that a name is no more than its length in memory and is no address.
    named = [f"name {hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()}"] if name else []
    return [_network(who), *named]


def _network(who: str) -> str:
    """The network of an address that one attacker can have many of, else the address."""
    address = host_address(who)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(address), _SUBNET), strict=False))
    return who
