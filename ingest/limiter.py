"""Rate limits by address, network and site, set so that a flood is refused and a person never is.

Rates are written in the syntax of the `limits` package and counted in fixed windows that begin at multiples of their
length, so all processes share the same windows. The counting is done here, in bounded memory, because it happens for
every event and must not block: the package's own memory storage starts a thread per hit and grows with every address.
Where processes share a Redis, `synchronise` adds up in the background the counters that are near their limit; while the
Redis is unreachable, each process limits by its own counts.

An address is only kept as a keyed hash, and only until its window is over or newer addresses need the room.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable
from hashlib import blake2b
from statistics import median_low
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from limits import parse_many

from activity.incoming import Batch
from activity.refusal import Reason, Refusal

if TYPE_CHECKING:
    from stores.base import Live

KEPT = 50_000  # addresses counted in each window, and as many networks
_SHARED_FROM = 8  # a counter is shared once it reaches 1/8 of its limit, which ordinary visitors never do
_MAPPED = bytes(10) + b"\xff\xff"
_NOT_PUBLIC_6 = (b"", b"\x00", b"\xfc", b"\xfd", b"\xfe")  # loopback, unique local, link local


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of a site in the sites file: each one or more rates such as `10000/minute`, separated by `;`.

    A limit that is not given is that of all sites, or else that of `DEFAULTS`. An IPv6 address stands for its /64,
    which is one subscriber's. A network is a /24 of IPv4 or a /48 of IPv6. Events sent with the site's secret key are
    not counted."""

    address: str | None = None
    network: str | None = None
    site: str | None = None


# A person sends about ten events a minute, so eight hundred can click at once behind one office's address.
DEFAULTS = Limits(address="3000/10 seconds; 10000/minute", network="100000/minute", site="600000/minute")


def windows(own: Limits | bool, overall: Limits | bool) -> dict[str, list[tuple[int, int]]] | None:
    """Return the windows of each kind of limit as pairs (events, seconds), or None if nothing is limited.

    `own` are the site's limits and `overall` those of all sites; True stands for the defaults and False for no limits.
    Raises ValueError if a limit is not written as a rate."""
    if own is False or (own is True and overall is False):
        return None
    given = [limits for limits in (own, overall) if isinstance(limits, Limits)] + [DEFAULTS]
    found = {}
    for kind in ("address", "network", "site"):
        text = next(rates for limits in given if (rates := getattr(limits, kind)) is not None)
        try:
            found[kind] = [(item.amount, item.get_expiry()) for item in parse_many(text)]
        except ValueError:
            found[kind] = []
        if not found[kind] or not all(amount and seconds for amount, seconds in found[kind]):
            raise ValueError(f"{kind} {text!r} is no rate; write it like 10000/minute, or limits = false for none")
    return found


class Sender(msgspec.Struct, frozen=True, gc=False):
    """Where a request comes from; kept only while the request is answered.

    An address that is not public, such as that of a proxy that is not listed, may stand for a whole network: its
    `line` is empty, and only its network and site are limited."""

    line: bytes
    network: bytes
    key: bytes  # both are hashed with it: at most 64 bytes, forgotten when the day is over


def sender(address: str, key: bytes) -> Sender:
    """Return the sender for a client's address. `key` is the salt of the day."""
    if ":" not in address:
        try:
            packed = socket.inet_pton(socket.AF_INET, address)  # `ipaddress` takes twenty times as long
        except OSError:  # not an IP address, for example on a Unix socket
            return Sender(b"", b"", key)
        return Sender(packed if _is_public_4(packed[0], packed[1]) else b"", packed[:3], key)
    packed = _packed_6(address)
    if len(packed) == 4:
        return Sender(packed if _is_public_4(packed[0], packed[1]) else b"", packed[:3], key)
    return Sender(b"" if packed[:1] in _NOT_PUBLIC_6 else packed[:8], packed[:6], key)


def _packed_6(address: str) -> bytes:
    """Return 16 bytes, 4 for an IPv4 address mapped into IPv6, or none if it is not an address."""
    try:
        packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    except OSError:
        return b""
    return packed[12:] if packed.startswith(_MAPPED) else packed


def _is_public_4(first: int, second: int) -> bool:
    if first == 172:
        return not 16 <= second < 32
    if first == 100:
        return not 64 <= second < 128
    return first not in (0, 10, 127) and (first, second) not in ((192, 168), (169, 254))


class _Near(NamedTuple):
    """A counter near its limit: its name in all processes, and the count that they have of it so far."""

    name: str
    shared: int


class _Table:
    """The counters of one kind of limit in the current window of one length."""

    def __init__(self, kind: str, seconds: int) -> None:
        self.kind, self.seconds = kind, seconds
        self.start = self.end = 0.0
        self.counts: dict[int, int] = {}
        self.near: dict[int, _Near] = {}

    def open(self, now: float) -> None:
        """Begin the window that `now` falls in, with all counters at 0."""
        self.start = now // self.seconds * self.seconds
        self.end = self.start + self.seconds
        self.counts, self.near = {}, {}

    def make_room(self) -> dict[int, int]:
        """Drop the smaller counters, at least half of all, and return the rest: a flood's senders have large ones."""
        few = median_low(self.counts.values())
        self.counts = {place: count for place, count in self.counts.items() if count > few}
        self.near = {place: near for place, near in self.near.items() if place in self.counts}
        return self.counts


class Rules(NamedTuple):
    """A site's limits in the form that a limiter counts by: (table, most events) for each window."""

    site_key: bytes
    address: tuple[tuple[_Table, int], ...]
    network: tuple[tuple[_Table, int], ...]
    site: tuple[tuple[_Table, int], ...]


class Allowed(msgspec.Struct, frozen=True, gc=False):
    """How many events were accepted."""

    events: int
    retry_after: int = 0  # seconds until there is room for more, 0 when all are allowed
    fits: bool = True  # whether all or none could be asked for, as so many can be allowed at once


class Limiter:
    """Counts the events of one process. Safe to call from several threads."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = Lock()
        self._tables: dict[tuple[str, int], _Table] = {}

    def rules(self, site: str, own: Limits | bool, overall: Limits | bool) -> Rules | None:
        """Return the rules to pass to `take`, or None if nothing is limited. Arguments as in `windows`."""
        found = windows(own, overall)
        if found is None:
            return None

        def counted(kind: str) -> tuple[tuple[_Table, int], ...]:
            return tuple(
                (self._tables.setdefault((kind, seconds), _Table(kind, seconds)), most)
                for most, seconds in found[kind]
            )

        site_key = blake2b(site.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return Rules(site_key, counted("address"), counted("network"), counted("site"))

    def take(self, rules: Rules, sender: Sender, events: int, whole: bool = False) -> Allowed:
        """Return how many of `events` are within the limits now. Only those are counted.

        With `whole` it is all or none, unless there are more than could ever be allowed."""
        now = self._clock()
        site, key = rules.site_key, sender.key
        network, line = sender.network, sender.line
        # Python also salts `hash` in each process.
        subjects = [(hash(key + site), rules.site, b""), (hash(key + network + site), rules.network, network)]
        if line:
            subjects.append((hash(key + line + site), rules.address, line))
        allowed, wait, fits = events, 0.0, True
        with self._lock:
            for place, limits, _ in subjects:
                for table, most in limits:
                    if not table.start <= now < table.end:
                        table.open(now)
                    left = most - table.counts.get(place, 0)
                    if left < events:
                        allowed = max(0, min(allowed, left))
                        wait = max(wait, table.end - now)
                        fits = fits and events <= most
            if whole and fits and allowed < events:
                allowed = 0
            if allowed:
                for place, limits, part in subjects:
                    for table, most in limits:
                        counts = table.counts
                        count = counts.get(place, 0)
                        if not count and len(counts) >= KEPT:
                            counts = table.make_room()
                        counts[place] = count = count + allowed
                        if count * _SHARED_FROM >= most and place not in table.near:
                            subject = key + part + site
                            name = blake2b(subject, digest_size=12, key=key, person=b"limit").hexdigest()
                            table.near[place] = _Near(f"{table.kind}:{name}:{table.seconds}:{table.start:.0f}", 0)
        return Allowed(allowed, math.ceil(wait) if wait else 0, fits or not whole)

    def synchronise(self, live: Live) -> None:
        """Exchange the counters near their limit with the other processes.

        May wait for the live store, so do not call it from a thread that answers requests."""
        with self._lock:
            now = self._clock()
            pending = [
                (table, table.start, place, near, table.counts[place])
                for table in self._tables.values()
                if table.start <= now < table.end
                for place, near in table.near.items()
            ]
        if not pending:
            return
        counts = [(near.name, count - near.shared, table.seconds) for table, _, _, near, count in pending]
        totals = live.add_up(counts)
        if totals is None:
            return
        with self._lock:
            for (table, start, place, near, count), total in zip(pending, totals, strict=True):
                if table.start == start and place in table.near:
                    table.counts[place] += total - count
                    table.near[place] = near._replace(shared=total)


class Room:
    """Counts the events of one request against the limits of its sender."""

    def __init__(self, limiter: Limiter, sender: Sender, batch: Batch, whole: bool = False) -> None:
        """With `whole` the sender can only send all of it again, so what may fit later is refused as a whole."""
        self._limiter = limiter
        self._whole = whole
        self._sender = sender
        self._items = batch.items
        self._left: dict[str, int] = {}  # events still allowed, by the site as the events spell it
        self.retry_after = 0
        self.fits = True  # whether all of the request could be allowed at once, later

    def for_site(self, site: str, limits: Rules) -> bool:
        """Return whether one more event of the site is within its limits.

        The first call for a site reserves room for all of its events in the request, so the first ones are accepted and
        the last ones refused."""
        left = self._left.get(site)
        if left is None:
            items = self._items
            same = 1 if len(items) == 1 else [getattr(item, "site", None) for item in items].count(site)
            left = self._take(limits, same)
        self._left[site] = left - 1
        return left > 0

    def for_unknown_site(self, limits: Rules | None) -> bool:
        """Return whether one more event for an unknown site is within the limits."""
        return limits is None or self._take(limits, 1) > 0

    def refusal(self, index: int) -> Refusal:
        """Return the refusal of the event at `index` for its rate."""
        return Refusal(
            index,
            Reason.RATE_LIMITED,
            f"too many events from this address, its network or for the site: send it again in {self.retry_after} "
            "seconds, slower; a server of the site's own sends with its key",
        )

    def _take(self, limits: Rules, events: int) -> int:
        allowed = self._limiter.take(limits, self._sender, events, self._whole)
        self.fits = self.fits and allowed.fits
        if allowed.retry_after > self.retry_after:
            self.retry_after = allowed.retry_after
        return allowed.events
