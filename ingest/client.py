"""Whose word counts for the client's address: `X-Forwarded-For` is read only from listed proxies.

The list is walked from its right end, the end nearest to us: each proxy that is itself listed is believed
about the one before it, and the first address that is not listed is the client. What a client wrote into
the header on its own stays to the left of that and is never reached.

Which visitor a request comes from, without knowing who that is.

The salt of a day makes the id, so an id lives a day. A visit that crosses midnight keeps the id it began
with: while the day is young, the id that the same request would have had the day before is looked up, and if
it was active within the gap that ends a visit, it goes on. What was decided is stored in the event, so
nothing downstream ever needs the salt.

`of` and `named` answer from memory and may be called on an event loop. What they need from the live store is
fetched before by `look_up`, which may wait for it, when `has_to_look_up` says so: seldom, since the salts are there
ahead of their day. A live store that is away makes of a visit over midnight two.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from threading import Lock
from typing import Any, NamedTuple, Protocol

from activity.event import named_visitor, visitor_id
from activity.geo import canonical_address
from ingest.http import Headers
from ingest.outbox import Memory, Unavailable
from stores.base import StoreUnreachable

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
        peer = canonical_address(peer) or peer
        if not self._networks or not self._is_proxy(peer):
            return peer
        chain = b",".join(value for name, value in headers if name == b"x-forwarded-for")
        for hop in reversed(chain.decode("latin-1").split(",")):
            address = canonical_address(hop)
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


_DAY = 86_400_000
_GAP = 1_800_000
_YOUNG = 4 * _GAP  # of a day, in which yesterday's visits may still go on
KEPT = 50_000  # visitors of a young day, and as many of the day before; who is forgotten is looked up again


class Live(Memory, Protocol):
    """What the service needs of the live store."""

    waits: bool

    @property
    def problem(self) -> str: ...
    def salt(self, day: str) -> bytes: ...
    def last_active(self, site: str, visitor: str) -> int | None: ...
    def import_key(self, site: str) -> bytes: ...
    def add_up(self, counts: Sequence[tuple[str, int, int]]) -> list[int] | None: ...


class LookUp(NamedTuple):
    """What a request's visitors depend on."""

    sites: Sequence[str]
    address: str
    user_agent: str
    received_at: int
    named: bool  # whether it may name its visitors


class Visitors:
    """Cookieless ids. Keeps the salts of three days, the keys of sites whose senders name visitors, and of a young
    day whom yesterday has nothing to do with and whose visit goes on."""

    def __init__(self, live: Live, split: Callable[[], object] = lambda: None) -> None:
        """`split` is called for each visitor of whom it is not known whether a visit of yesterday goes on."""
        self._live = live
        self._split = split
        self._lock = Lock()
        self._salts: dict[int, bytes] = {}
        self._keys: dict[str, bytes] = {}
        self._new: OrderedDict[str, None] = OrderedDict()
        self._going_on: OrderedDict[str, int] = OrderedDict()  # yesterday's ids, and when they were last active
        self._new_day = -1

    def of(self, site: str, address: str, user_agent: str, received_at: int) -> str:
        """The visitor of a request; never waits."""
        day = received_at // _DAY
        visitor = visitor_id(self.salt(received_at), site, address, user_agent)
        if received_at - day * _DAY < _YOUNG and visitor not in self._new:
            before = visitor_id(self._salt(day - 1), site, address, user_agent)
            with self._lock:
                active = self._going_on.get(before)
                if active is not None and received_at - active <= _GAP:
                    self._going_on[before] = max(active, received_at)
                    return before
                _keep(self._new, visitor, None)
        return visitor

    def named(self, site: str, name: str) -> str:
        """The visitor whom a trusted sender names; never waits. Raises `Unavailable` when `look_up` got no key."""
        key = self._keys.get(site)
        if key is None:
            raise Unavailable(f"the key that makes visitors' ids of {site} is out of reach: {self._live.problem}")
        return named_visitor(site, key, name)

    def salt(self, received_at: int) -> bytes:
        """The day's salt; never waits."""
        return self._salt(received_at // _DAY)

    def may_have_to_look_up(self, received_at: int, named: bool) -> bool:
        """False, told at a glance, for most requests."""
        day, into_it = divmod(received_at, _DAY)
        return named or into_it < _YOUNG or day not in self._salts

    def has_to_look_up(self, wanted: LookUp) -> bool:
        day, into_it = divmod(wanted.received_at, _DAY)
        young = into_it < _YOUNG
        if day not in self._salts or (young and day - 1 not in self._salts):
            return True
        if wanted.named and any(site not in self._keys for site in wanted.sites):
            return True
        return young and any(self._unknown(site, wanted) for site in wanted.sites)

    def look_up(self, wanted: LookUp) -> None:
        """Fetch what `of` and `named` need. May wait for the live store, for as long as that has patience."""
        day, into_it = divmod(wanted.received_at, _DAY)
        self._fetch_salts(day - 1, day)
        for site in wanted.sites:
            if wanted.named and site not in self._keys:
                with suppress(StoreUnreachable):  # `named` says so, to whom it concerns
                    self._keys[site] = self._live.import_key(site)
            if into_it < _YOUNG and self._unknown(site, wanted):
                before = visitor_id(self._salt(day - 1), site, wanted.address, wanted.user_agent)
                try:
                    active = self._live.last_active(site, before)
                except StoreUnreachable:
                    self._split()
                    continue
                if active is not None:
                    with self._lock:
                        _keep(self._going_on, before, max(active, self._going_on.get(before, 0)))

    def look_ahead(self, now: int) -> None:
        """Fetch the salts before their day, and anew those that were this process's own. May wait."""
        day = now // _DAY
        self._fetch_salts(day - 1, day, day + 1)
        with self._lock:
            if day != self._new_day:
                self._new_day = day
                self._new.clear()
                self._going_on.clear()

    def _unknown(self, site: str, wanted: LookUp) -> bool:
        """Whether it is not known here that a visitor of a young day is new, or goes on with yesterday's visit."""
        day = wanted.received_at // _DAY
        if visitor_id(self._salt(day), site, wanted.address, wanted.user_agent) in self._new:
            return False
        active = self._going_on.get(visitor_id(self._salt(day - 1), site, wanted.address, wanted.user_agent))
        return active is None or wanted.received_at - active > _GAP

    def _fetch_salts(self, *days: int) -> None:
        for day in days:
            salt = self._live.salt(time.strftime("%Y-%m-%d", time.gmtime(day * _DAY // 1000)))
            with self._lock:
                self._salts[day] = salt
                if len(self._salts) > 3:
                    self._salts = {kept: value for kept, value in self._salts.items() if abs(kept - day) <= 2}

    def _salt(self, day: int) -> bytes:
        salt = self._salts.get(day)
        if salt is None:  # the store did not answer in time: `look_ahead` fetches it as soon as it does
            salt = self._salts.setdefault(day, secrets.token_bytes(16))
        return salt


def _keep(kept: OrderedDict[str, Any], key: str, value: object) -> None:
    kept[key] = value
    if len(kept) > KEPT:
        kept.popitem(last=False)
