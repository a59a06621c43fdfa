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
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from threading import Lock
from typing import NamedTuple, Protocol

import msgspec
from limits import parse_many

KEPT = 20_000  # addresses, and as many networks; the longest unheard makes room
_SHARED_FROM = 8  # counters are shared from this part of their limit on: ordinary visitors never get there


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

Window = tuple[int, int]  # events, seconds


class Windows(NamedTuple):
    """A site's limits as they are counted."""

    site_key: bytes
    address: tuple[Window, ...]
    network: tuple[Window, ...]
    site: tuple[Window, ...]


def windows(site: str, own: Limits | bool, overall: Limits | bool) -> Windows | None:
    """By the site's `own` limits and those of all sites, of which True means the defaults and False none; None when
    nothing is to be counted. Raises ValueError when one is not written as a rate."""
    if own is False or (own is True and overall is False):
        return None
    given = [limits for limits in (own, overall) if isinstance(limits, Limits)] + [DEFAULTS]

    def counted(name: str) -> tuple[Window, ...]:
        text = next(rates for limits in given if (rates := getattr(limits, name)) is not None)
        try:
            found = tuple((item.amount, item.get_expiry()) for item in parse_many(text))
        except ValueError:
            found = ()
        if not found or not all(amount and seconds for amount, seconds in found):
            raise ValueError(f"{name} {text!r} is no rate; write it like 10000/minute, or limits = false for none")
        return found

    site_key = blake2b(site.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return Windows(site_key, counted("address"), counted("network"), counted("site"))


class Sender(NamedTuple):
    """Whence a request comes, as long as it is answered. An address that is not public, such as that of a proxy
    that is not listed, stands for a whole network and has no `line`."""

    line: bytes
    network: bytes
    key: bytes  # by which both are hashed: at most 64 bytes, forgotten when the day is over


def sender(address: str, key: bytes) -> Sender:
    packed = _packed(address)
    if len(packed) == 4:
        return Sender(packed if _is_public_4(packed[0], packed[1]) else b"", packed[:3], key)
    return Sender(b"" if packed[:1] in _NOT_PUBLIC_6 else packed[:8], packed[:6], key)


_MAPPED = bytes(10) + b"\xff\xff"
_NOT_PUBLIC_6 = (b"", b"\x00", b"\xfc", b"\xfd", b"\xfe")  # loopback, unique local, link local


def _packed(address: str) -> bytes:
    """4 or 16 bytes, none for what is no address, such as a Unix socket's. `ipaddress` takes twenty times as long."""
    try:
        if ":" not in address:
            return socket.inet_pton(socket.AF_INET, address)
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


class _Window:
    __slots__ = ("events", "most", "number", "seconds", "shared_from", "unshared")

    def __init__(self, most: int, seconds: int) -> None:
        self.most, self.seconds = most, seconds
        self.shared_from = max(1, most // _SHARED_FROM)
        self.number = 0  # which of the windows of this length it is
        self.events = 0
        self.unshared = 0  # of these, what other processes do not know of


class _Counter:
    """One address, network or site. As long as there is `room` before `until`, an event costs one subtraction."""

    __slots__ = ("given", "granted", "room", "until", "windows")

    def __init__(self, windows: tuple[Window, ...]) -> None:
        self.given = windows
        self.windows = [_Window(most, seconds) for most, seconds in windows]
        self.granted = self.room = 0
        self.until = 0.0

    def settle(self, now: float) -> None:
        """Count in the windows what was taken of the room, and find how much there is now."""
        taken = self.granted - self.room
        room, until = math.inf, math.inf
        for window in self.windows:
            number = int(now // window.seconds)
            if number != window.number:
                window.number, window.events, window.unshared = number, 0, 0
            else:
                window.events += taken
                window.unshared += taken
            # Look again where it becomes near: from there on it is shared.
            end = window.most if window.events >= window.shared_from else window.shared_from
            room = min(room, end - window.events)
            until = min(until, (number + 1) * window.seconds)
        self.granted = self.room = max(0, int(room))
        self.until = until

    def left(self) -> int:
        return max(0, min(window.most - window.events for window in self.windows))

    def full_for(self, events: int, now: float) -> float:
        """Seconds until the windows that have no room for so many are over."""
        return max(
            (w.seconds - now % w.seconds for w in self.windows if w.most - w.events < events),
            default=0.0,
        )

    def add(self, events: int) -> None:
        for window in self.windows:
            window.events += events
            window.unshared += events

    def near(self) -> Iterator[_Window]:
        return (window for window in self.windows if window.events >= window.shared_from)


class _Table:
    """The counters of one kind, those settled longest ago first."""

    def __init__(self, kind: str, near: OrderedDict[str, _Counter]) -> None:
        self._kind = kind
        self._near = near
        self._counters: OrderedDict[int, _Counter] = OrderedDict()

    def counter(self, subject: bytes, windows: tuple[Window, ...], key: bytes, now: float, events: int) -> _Counter:
        """The counter; it is settled unless it has room."""
        place = hash(key + subject)  # keyed by the process besides
        counter = self._counters.get(place)
        if counter is None or counter.given is not windows:
            counter = self._counters[place] = _Counter(windows)
            if len(self._counters) > KEPT:
                self._counters.popitem(last=False)
        if now >= counter.until or counter.room < events:
            counter.settle(now)
            self._counters.move_to_end(place)
            if any(counter.near()):
                name = f"{self._kind}:{blake2b(subject, digest_size=12, key=key).hexdigest()}"
                self._near[name] = counter
                if len(self._near) > KEPT:
                    self._near.popitem(last=False)
        return counter


class Allowed(NamedTuple):
    events: int
    retry_after: int = 0  # seconds until there is room for more, 0 when all are allowed


class Limiter:
    """Counts for one process, by several threads."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = Lock()
        self._near: OrderedDict[str, _Counter] = OrderedDict()  # by the name that all processes have for it
        self._addresses = _Table("address", self._near)
        self._networks = _Table("network", self._near)
        self._sites = _Table("site", self._near)

    def take(self, windows: Windows, sender: Sender, events: int) -> Allowed:
        """How many of `events` may be taken now; they are counted, those beyond are not."""
        now = self._clock()
        site, key = windows.site_key, sender.key
        with self._lock:
            counters = [
                self._networks.counter(sender.network + site, windows.network, key, now, events),
                self._sites.counter(site, windows.site, key, now, events),
            ]
            if sender.line:
                counters.append(self._addresses.counter(sender.line + site, windows.address, key, now, events))
            if min([counter.room for counter in counters]) < events:
                return self._take_the_last(counters, events, now)
            for counter in counters:
                counter.room -= events
        return Allowed(events)

    def _take_the_last(self, counters: list[_Counter], events: int, now: float) -> Allowed:
        for counter in counters:
            counter.settle(now)
        allowed = min(events, *(counter.left() for counter in counters))
        wait = max(counter.full_for(events, now) for counter in counters)
        for counter in counters:
            counter.add(allowed)
            counter.settle(now)
        return Allowed(allowed, math.ceil(wait) if allowed < events else 0)

    def synchronise(self, shared: Shared) -> None:
        """Tell the other processes what was counted here and learn what they have. May wait for them: not for the
        thread that answers."""
        with self._lock:
            now = self._clock()
            told: list[tuple[str, _Counter, _Window, int, int, int]] = []
            for name, counter in list(self._near.items()):
                counter.settle(now)
                near = list(counter.near())
                if not near:
                    del self._near[name]
                for window in near:
                    shared_name = f"{name}:{window.seconds}:{window.number}"
                    told.append((shared_name, counter, window, window.number, window.unshared, window.events))
        if not told:
            return
        totals = shared.add_up([(name, unshared, window.seconds) for name, _, window, _, unshared, _ in told])
        if totals is None:
            return
        with self._lock:
            now = self._clock()
            for (_, counter, window, number, unshared, events), total in zip(told, totals, strict=True):
                counter.settle(now)
                if window.number == number:
                    window.events += total - events
                    window.unshared -= unshared
                    counter.settle(now)
