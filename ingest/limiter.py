"""How much one address, one network and one site may send: a flood is refused, a person never is.

The rates are written in the words of the `limits` package and counted in fixed windows that begin at multiples
of their length, so that every process has the same. The counting itself is done here, in bounded memory, because
it is done for every event and must wait for nobody: the package's own memory storage starts a thread a hit and
grows with every address. Where processes share a Redis, the counters that come near their limit are added up
across them in the background (`synchronise`); when it is away, each process goes on with what it counts itself.

An address is only kept as a keyed hash, and only until its window has passed or newer ones need the room.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from statistics import median_low
from threading import Lock
from typing import NamedTuple, Protocol

import msgspec
from limits import parse_many

KEPT = 50_000  # addresses in each window, and as many networks
_SHARED_FROM = 8  # counters are shared from this part of their limit on: ordinary visitors never get there
_MAPPED = bytes(10) + b"\xff\xff"
_NOT_PUBLIC_6 = (b"", b"\x00", b"\xfc", b"\xfd", b"\xfe")  # loopback, unique local, link local


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be sent to a site, as the sites file says it: one or more rates such as `10000/minute`, separated by
    `;`. What is not given is as for all sites, or as in `DEFAULTS`.

    An IPv6 address stands for its /64, which is one line's. A network is a /24 of IPv4 or a /48 of IPv6. Events with
    the site's secret key are not counted."""

    address: str | None = None
    network: str | None = None
    site: str | None = None


# A person sends about ten events a minute, so that eight hundred may click through one office's address at once.
DEFAULTS = Limits(address="3000/10 seconds; 10000/minute", network="100000/minute", site="600000/minute")


def windows(own: Limits | bool, overall: Limits | bool) -> dict[str, list[tuple[int, int]]] | None:
    """(events, seconds) of each window by kind, by a site's `own` limits and those of all sites, of which True means
    the defaults and False none; None when nothing is to be counted. Raises ValueError when one is not written as a
    rate."""
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
    """Whence a request comes, as long as it is answered. An address that is not public, such as that of a proxy
    that is not listed, stands for a whole network and has no `line`."""

    line: bytes
    network: bytes
    key: bytes  # by which both are hashed: at most 64 bytes, forgotten when the day is over


def sender(address: str, key: bytes) -> Sender:
    """Whence a request of this address comes. `key` is the day's salt; see `Sender`."""
    if ":" not in address:
        try:
            packed = socket.inet_pton(socket.AF_INET, address)  # `ipaddress` takes twenty times as long
        except OSError:  # no address, such as a Unix socket's
            return Sender(b"", b"", key)
        return Sender(packed if _is_public_4(packed[0], packed[1]) else b"", packed[:3], key)
    packed = _packed_6(address)
    if len(packed) == 4:
        return Sender(packed if _is_public_4(packed[0], packed[1]) else b"", packed[:3], key)
    return Sender(b"" if packed[:1] in _NOT_PUBLIC_6 else packed[:8], packed[:6], key)


def _packed_6(address: str) -> bytes:
    """16 bytes, 4 of an IPv4 address that is mapped into IPv6, none for what is no address."""
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


class Shared(Protocol):
    """What the limiter needs of the live store."""

    def add_up(self, counts: Sequence[tuple[str, int, int]]) -> list[int] | None: ...


class _Near(NamedTuple):
    """A counter that has come near its limit: the name that all processes have for it, and what they know of."""

    name: str
    shared: int


class _Table:
    """The counters of one kind in the window of one length that is open now."""

    def __init__(self, kind: str, seconds: int) -> None:
        self.kind, self.seconds = kind, seconds
        self.start = self.end = 0.0
        self.counts: dict[int, int] = {}
        self.near: dict[int, _Near] = {}

    def open(self, now: float) -> None:
        self.start = now // self.seconds * self.seconds
        self.end = self.start + self.seconds
        self.counts, self.near = {}, {}

    def make_room(self) -> None:
        """Those that have sent least give way, at least half of them: a flood has sent most."""
        few = median_low(self.counts.values())
        self.counts = {place: count for place, count in self.counts.items() if count > few}
        self.near = {place: near for place, near in self.near.items() if place in self.counts}


class Rules(NamedTuple):
    """A site's limits as a limiter counts them: (table, most) of each window."""

    site_key: bytes
    address: tuple[tuple[_Table, int], ...]
    network: tuple[tuple[_Table, int], ...]
    site: tuple[tuple[_Table, int], ...]


class Allowed(msgspec.Struct, frozen=True, gc=False):
    events: int
    retry_after: int = 0  # seconds until there is room for more, 0 when all are allowed


class Limiter:
    """Counts for one process, by several threads."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = Lock()
        self._tables: dict[tuple[str, int], _Table] = {}

    def rules(self, site: str, own: Limits | bool, overall: Limits | bool) -> Rules | None:
        """See `windows`."""
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

    def take(self, rules: Rules, sender: Sender, events: int) -> Allowed:
        """How many of `events` may be taken now; they are counted, those beyond are not."""
        now = self._clock()
        site, key = rules.site_key, sender.key
        subjects = [(key + site, rules.site), (key + sender.network + site, rules.network)]
        if sender.line:
            subjects.append((key + sender.line + site, rules.address))
        allowed, wait = events, 0.0
        counted = []
        with self._lock:
            for subject, limits in subjects:
                place = hash(subject)  # keyed by the process besides
                for table, most in limits:
                    if not table.start <= now < table.end:
                        table.open(now)
                    count = table.counts.get(place, 0)
                    if count + events > most:
                        allowed = max(0, min(allowed, most - count))
                        wait = max(wait, table.end - now)
                    counted.append((table, place, count, most, subject))
            if allowed:
                for table, place, count, most, subject in counted:
                    counts = table.counts
                    if not count and len(counts) >= KEPT:
                        table.make_room()
                        counts = table.counts
                    counts[place] = count = count + allowed
                    if count * _SHARED_FROM >= most and place not in table.near:
                        name = blake2b(subject, digest_size=12, key=key, person=b"limit").hexdigest()
                        table.near[place] = _Near(f"{table.kind}:{name}:{table.seconds}:{table.start:.0f}", 0)
            if not wait:
                return Allowed(allowed)
        return Allowed(allowed, math.ceil(wait))

    def synchronise(self, shared: Shared) -> None:
        """Tell the other processes what was counted here and learn what they have. May wait for them: not for the
        thread that answers."""
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
        totals = shared.add_up([(near.name, count - near.shared, table.seconds) for table, _, _, near, count in pending])
        if totals is None:
            return
        with self._lock:
            for (table, start, place, near, count), total in zip(pending, totals, strict=True):
                if table.start == start and place in table.near:
                    table.counts[place] += total - count
                    table.near[place] = near._replace(shared=total)
