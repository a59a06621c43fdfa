"""Who sent a request: the client's address behind trusted proxies (`Proxies`) and the cookieless visitor (`Visitors`).

`Proxies` reads `X-Forwarded-For` only on connections from listed proxies. It walks the header from the right, the end
nearest to us: each listed proxy is trusted to name the hop before it, and the first address that is not listed is the
client. Anything that a client wrote into the header itself stands further left and is never reached.

`Visitors` derives a visitor's id from the salt of the day, so an id lasts one day. A visit that crosses midnight UTC
keeps the id it began with: in the first two hours of a day it also computes the id that the request would have had the
day before, and keeps that one if it was active within the session gap. The event stores the id that was chosen, so
nothing downstream needs the salt.

`of` and `named` answer from memory, so they may be called on an event loop. `look_up` fetches what they need from the
live store and may block; call it first when `has_to_look_up` says so, which is rare because salts are fetched ahead
of their day. While the live store is unreachable, a visit over midnight counts as two.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from threading import Lock
from typing import Any, NamedTuple

from activity.event import client_visitor, named_visitor, visitor_id
from activity.geo import canonical_address
from ingest.entry import Unavailable
from ingest.http import Headers
from stores.base import Live, StoreUnreachable, Unreadable

log = logging.getLogger(__name__)

_MET = 1024  # proxies remembered as listed, at most
_DAY = 86_400_000  # milliseconds, as are the next two
_GAP = 1_800_000  # ends a visit
_YOUNG = 4 * _GAP  # at the start of a day, when visits of the day before may still continue
KEPT = 50_000  # visitors remembered of a young day, and as many of the day before; the others are looked up again


class Proxies:
    """The trusted proxies, listed as addresses or networks (`10.0.0.0/8`, `::1`)."""

    def __init__(self, listed: Iterable[str] = ()) -> None:
        """Raises ValueError if an entry is not an address or a network."""
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
        if not self.lists(peer):
            return False
        if len(self._met) < _MET:
            self._met.add(peer)
        return True

    def lists(self, address: str) -> bool:
        """Return whether a canonical address is one of the trusted proxies."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def client(self, peer: str, headers: Headers) -> str:
        """Return the client's address in canonical form: `peer`, which is so, or the one that listed proxies give."""
        if not self._networks or not self._is_proxy(peer):
            return peer
        chain = b",".join(value for name, value in headers if name == b"x-forwarded-for")
        for hop in reversed(chain.decode("latin-1").split(",")):
            address = canonical_address(hop)
            if address is None:
                break
            peer = address
            if not self.lists(address):
                break
        return peer


class LookUp(NamedTuple):
    """The parts of a request that its visitors' ids depend on."""

    sites: Sequence[str]
    address: str
    user_agent: str
    received_at: int  # Unix milliseconds
    named: bool  # whether the request may name its visitors
    others: Sequence[tuple[str, str]] = ()  # address and agent of further visitors of whom it tells

    def senders(self) -> list[tuple[str, str]]:
        """Return address and agent of each visitor of the request."""
        return [(self.address, self.user_agent), *self.others]


class Visitors:
    """Derives the cookieless ids of visitors.

    Keeps in memory the salts of three days, the keys of sites whose senders name their visitors, and for the first two
    hours of a day the visitors known to be new and those whose visit of yesterday continues."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._lock = Lock()
        self._salts: dict[int, bytes] = {}
        self._keys: dict[str, bytes] = {}
        self._damaged: dict[str, str] = {}  # sites whose key cannot be read, and why
        self._new: OrderedDict[str, None] = OrderedDict()
        self._going_on: OrderedDict[str, int] = OrderedDict()  # yesterday's ids, and when they were last active
        self._new_day = -1

    def of(self, site: str, address: str, user_agent: str, received_at: int) -> str:
        """Return the id of the visitor who sent a request at `received_at` (Unix milliseconds). Never blocks."""
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
        """Return the id of a visitor named by a trusted sender. Never blocks.

        Raises `Unavailable` if `look_up` could not fetch the site's key."""
        return named_visitor(site, self._key(site), name)

    def client(self, site: str, client: str) -> str:
        """Return the id of a visitor with an id of a tracker's. Never blocks. Raises `Unavailable` as `named` does."""
        return client_visitor(site, self._key(site), client)

    def _key(self, site: str) -> bytes:
        key = self._keys.get(site)
        if key is None:
            why = self._damaged.get(site, self._live.problem)
            raise Unavailable(f"the key that makes visitors' ids of {site} is out of reach: {why}")
        return key

    def salt(self, received_at: int) -> bytes:
        """Return the salt of the day that `received_at` (Unix milliseconds) falls in. Never blocks."""
        return self._salt(received_at // _DAY)

    def is_young(self, received_at: int) -> bool:
        """Return whether visits of the day before may still continue."""
        return received_at % _DAY < _YOUNG

    def may_have_to_look_up(self, received_at: int, named: bool) -> bool:
        """Return False if there is certainly nothing to look up, which holds for most requests and is cheap to see."""
        day, into_it = divmod(received_at, _DAY)
        return named or into_it < _YOUNG or day not in self._salts

    def has_to_look_up(self, wanted: LookUp) -> bool:
        """Return whether `look_up` has to run before `of` and `named`."""
        day, into_it = divmod(wanted.received_at, _DAY)
        young = into_it < _YOUNG
        if day not in self._salts or (young and day - 1 not in self._salts):
            return True
        if wanted.named and any(site not in self._keys for site in wanted.sites):
            return True
        return young and any(self._unknown(site, who, wanted) for site in wanted.sites for who in wanted.senders())

    def look_up(self, wanted: LookUp) -> int:
        """Fetch what `of` and `named` need. May block on the live store until its own timeout.

        Return for how many visitors the store did not say whether yesterday's visit continues: they count as new."""
        split = 0
        day, into_it = divmod(wanted.received_at, _DAY)
        self._fetch_salts(day - 1, day)
        for site in wanted.sites:
            if wanted.named and site not in self._keys:
                with suppress(StoreUnreachable):  # `named` raises for it, if it is called
                    self._fetch_key(site)
            for who in wanted.senders():
                if into_it >= _YOUNG or not self._unknown(site, who, wanted):
                    continue
                before = visitor_id(self._salt(day - 1), site, *who)
                try:
                    active = self._live.last_active(site, before)
                except StoreUnreachable:
                    split += 1
                    continue
                if active is not None:
                    with self._lock:
                        _keep(self._going_on, before, max(active, self._going_on.get(before, 0)))
        return split

    def look_ahead(self, now: int) -> None:
        """Fetch the salts of yesterday, today and tomorrow, replacing any that this process made up. May block.

        `now` is in Unix milliseconds."""
        day = now // _DAY
        self._fetch_salts(day - 1, day, day + 1)
        with self._lock:
            if day != self._new_day:
                self._new_day = day
                self._new.clear()
                self._going_on.clear()

    def _unknown(self, site: str, who: tuple[str, str], wanted: LookUp) -> bool:
        """Return whether memory does not tell if the visitor is new or continues yesterday's visit."""
        day = wanted.received_at // _DAY
        if visitor_id(self._salt(day), site, *who) in self._new:
            return False
        active = self._going_on.get(visitor_id(self._salt(day - 1), site, *who))
        return active is None or wanted.received_at - active > _GAP

    def _fetch_key(self, site: str) -> None:
        """Fetch a site's key, which `named` raises for if it is damaged."""
        try:
            self._keys[site] = self._live.import_key(site)
            self._damaged.pop(site, None)
        except Unreadable as error:
            if self._damaged.get(site) != str(error):
                log.error("Events of %s that name their visitor are not taken: %s", site, error)
            self._damaged[site] = str(error)

    def _fetch_salts(self, *days: int) -> None:
        for day in days:
            salt = self._live.salt(time.strftime("%Y-%m-%d", time.gmtime(day * _DAY // 1000)))
            with self._lock:
                self._salts[day] = salt
                if len(self._salts) > 3:
                    self._salts = {kept: value for kept, value in self._salts.items() if abs(kept - day) <= 2}

    def _salt(self, day: int) -> bytes:
        salt = self._salts.get(day)
        if salt is None:  # the store did not answer in time; `look_ahead` replaces this one as soon as it does
            salt = self._salts.setdefault(day, secrets.token_bytes(16))
        return salt


def _plain(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Return a network of IPv4 addresses mapped into IPv6 as an IPv4 network; any other unchanged."""
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return network if mapped is None or network.prefixlen < 96 else IPv4Network((mapped, network.prefixlen - 96))


def _keep(kept: OrderedDict[str, Any], key: str, value: object) -> None:
    kept[key] = value
    if len(kept) > KEPT:
        kept.popitem(last=False)
