"""What must be quick: ids taken lately, who is there now, salts, shared limits. In this process, or in a Redis.

Who is there now, in the memory of one process: bounded in time, entries and bytes.

When there are too many visitors or pages, those of the site that has most of them give way: of the visitors the
half that was silent longest, of the pages those with the fewest views. So a flood of new addresses costs the other
sites nothing and the flooded one its rarest pages.

Live state of one process; what has to outlive it (salts, import keys) lies in a folder.

Several processes may share the folder: a secret is written aside and linked into place, which only the first
can do, and everybody reads the one that is there. The ids taken lately and who is there are this process's own, and
no counter is added up with another's: several processes that serve one door need Redis.

The ids that the door has taken lately, in the memory of one process: bounded in entries and bytes.

They lie in four generations, each of a quarter of the entries or of the time; the oldest is forgotten whole. An id
that is forgotten too early costs nothing: the pipeline recognises it.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from statistics import median_low
from threading import Lock
from urllib.parse import quote, unquote

from stores import backends
from stores.backends import Location, parse_url
from stores.base import Live, Unreadable, Unusable

__all__ = ["connect_live", "salt_expires"]

SALT_BYTES = 16
REMEMBERED_S = 86_400
ACTIVE_MS = 3_600_000
CURRENT_MS = 300_000
PAGES_MINUTES = 30
TOP_PAGES = 10
LONGEST_PATH = 512  # characters of a page that are kept for the top pages


def connect_live(url: str) -> Live:
    """`file:///folder` or a plain path (for one process that serves the door), or `redis://host:port/db`.

    The option of Redis is `prefix`."""
    place = parse_url(url)
    match place.scheme:
        case "file":

            return FolderLive(place)
        case "redis" | "rediss":
            from stores.live_redis import RedisLive

            return RedisLive(url)
    raise Unusable(f"{place.shown}: the live store is a folder (file:///path) or redis://host:6379/0")


def salt_expires(day: str, now: float) -> float:
    """When a day's salt has to be gone: 48 hours after the day began (Unix seconds).

    A salt asked for later than that (a clock was set back, a test has its own days) lives 48 hours from now."""
    end = (datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(hours=48)).timestamp()
    return end if end > now else now + 48 * 3600


MAX_VISITORS = 100_000
MAX_PAGES = 20_000  # of all sites and minutes
MAX_PAGE_BYTES = 8 << 20
_MINUTE_MS = 60_000
_PRUNE_EVERY = 10_000


class Presence:
    """The last activity of every visitor of the last hour, and page views by the minute of the last thirty."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._active: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self._pages: defaultdict[str, defaultdict[int, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
        self._visitors = 0
        self._entries_of: Counter[str] = Counter()
        self._bytes_of: Counter[str] = Counter()
        self._entries = self._bytes = 0  # of all sites together
        self._latest = 0
        self._until_prune = _PRUNE_EVERY

    def touch_many(self, touches: Iterable[tuple[str, str, str, int]]) -> None:
        with self._lock:
            for site, visitor, path, at_ms in touches:
                active = self._active[site]
                before = active.get(visitor)
                if before is None:
                    self._visitors += 1
                if before is None or at_ms > before:
                    active[visitor] = at_ms
                if at_ms > self._latest:
                    self._latest = at_ms
                if path:
                    self._view(site, path[:LONGEST_PATH], at_ms // _MINUTE_MS)
                self._until_prune -= 1
                if self._visitors > MAX_VISITORS or self._until_prune <= 0:
                    self._prune()

    def last_active(self, site: str, visitor: str) -> int | None:
        with self._lock:
            return self._active[site].get(visitor) if site in self._active else None

    def current(self, site: str, now_ms: int) -> int:
        with self._lock:
            active = self._active.get(site, {})
            return sum(now_ms - CURRENT_MS < at <= now_ms for at in active.values())

    def top_pages(self, site: str, now_ms: int, minutes: int) -> list[tuple[str, int]]:
        now = now_ms // _MINUTE_MS
        total: Counter[str] = Counter()
        with self._lock:
            for minute, pages in self._pages.get(site, {}).items():
                if now - min(minutes, PAGES_MINUTES) < minute <= now:
                    total.update(pages)
        return sorted(total.items(), key=lambda page: (-page[1], page[0]))[:TOP_PAGES]

    def _view(self, site: str, path: str, minute: int) -> None:
        pages = self._pages[site][minute]
        views = pages[path] = pages.get(path, 0) + 1
        if views == 1:
            self._add(site, 1, sys.getsizeof(path))
            if self._entries > MAX_PAGES:
                self._drop_pages(max(self._entries_of, key=self._entries_of.__getitem__))
            elif self._bytes > MAX_PAGE_BYTES:
                self._drop_pages(max(self._bytes_of, key=self._bytes_of.__getitem__))

    def _add(self, site: str, entries: int, size: int) -> None:
        self._entries_of[site] += entries
        self._bytes_of[site] += size
        self._entries += entries
        self._bytes += size

    def _prune(self) -> None:
        self._until_prune = _PRUNE_EVERY
        for active in self._active.values():
            for visitor in [visitor for visitor, at in active.items() if at < self._latest - ACTIVE_MS]:
                del active[visitor]
        if sum(map(len, self._active.values())) > MAX_VISITORS:
            active = max(self._active.values(), key=len)
            for visitor in sorted(active, key=active.__getitem__)[: len(active) // 2 + 1]:
                del active[visitor]
        self._visitors = sum(map(len, self._active.values()))
        for site, minutes in self._pages.items():
            for minute in [m for m in minutes if m < self._latest // _MINUTE_MS - PAGES_MINUTES]:
                del minutes[minute]
            self._weigh(site)

    def _drop_pages(self, site: str) -> None:
        """Those with the fewest views, at least half of them."""
        minutes = self._pages[site]
        few = median_low([views for pages in minutes.values() for views in pages.values()])
        for minute, pages in list(minutes.items()):
            kept = {path: views for path, views in pages.items() if views > few}
            minutes[minute] = Counter(kept)
        self._weigh(site)

    def _weigh(self, site: str) -> None:
        minutes = self._pages[site].values()
        size = sum(sys.getsizeof(path) for pages in minutes for path in pages)
        self._add(site, sum(map(len, minutes)) - self._entries_of[site], size - self._bytes_of[site])


class FolderLive:
    waits = False
    problem = ""

    def __init__(self, place: Location) -> None:
        if place.options:
            raise Unusable(f"{place.shown}: unknown option {', '.join(sorted(place.options))}; it has none")
        self.url = place.shown
        self._salts = place.folder / "salts"
        self._keys = place.folder / "keys"
        for folder in (self._salts, self._keys):
            backends.make_folder(folder)
            folder.chmod(0o700)
        self._lock = Lock()
        self._known: dict[Path, bytes] = {}
        self._remembered = Remembered()
        self._presence = Presence()
        self._forget_salts()

    def salt(self, day: str) -> bytes:
        path = self._salts / quote(day, safe="")
        if path not in self._known:
            expires = salt_expires(day, time.time())
            self._forget_salts()
            return self._secret(path, round(expires))
        return self._known[path]

    def import_key(self, site: str) -> bytes:
        return self._secret(self._keys / f"{quote(site, safe='')}.key", None)

    def seen(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._remembered.seen(keys)

    def remember(self, items: Mapping[bytes, bytes]) -> None:
        self._remembered.remember(items)

    def touch(self, site: str, visitor: str, path: str, at_ms: int) -> None:
        self._presence.touch_many([(site, visitor, path, at_ms)])

    def touch_many(self, touches: Iterable[tuple[str, str, str, int]]) -> None:
        self._presence.touch_many(touches)

    def last_active(self, site: str, visitor: str) -> int | None:
        return self._presence.last_active(site, visitor)

    def current(self, site: str, now_ms: int) -> int:
        return self._presence.current(site, now_ms)

    def top_pages(self, site: str, now_ms: int, minutes: int) -> list[tuple[str, int]]:
        return self._presence.top_pages(site, now_ms, minutes)

    def add_up(self, counts: Sequence[tuple[str, int, int]]) -> None:
        """There is nobody to add up with."""

    def close(self) -> None:
        """Nothing is held open between calls."""

    def _secret(self, path: Path, expires: int | None) -> bytes:
        """The 16 bytes of a file, made if it is not there; a salt's file is stamped with its expiry."""
        with self._lock:
            if path in self._known:
                return self._known[path]
            if not path.exists():
                self._make(path, expires)
            secret = path.read_bytes()
            if len(secret) != SALT_BYTES:
                raise Unreadable(
                    str(path), f"it has {len(secret)} bytes instead of {SALT_BYTES}", "delete it, and a new one is made"
                )
            self._known[path] = secret
            return secret

    def _make(self, path: Path, expires: int | None) -> None:
        aside = path.with_name(f".{secrets.token_hex(4)}.partial")
        backends.write_file(aside, secrets.token_bytes(SALT_BYTES))
        aside.chmod(0o600)
        if expires is not None:
            os.utime(aside, (expires, expires))
        try:
            os.link(aside, path)
        except FileExistsError:
            pass
        finally:
            aside.unlink()
        backends.sync_folder(path.parent)

    def _forget_salts(self) -> None:
        """Without its salt, a day's visitor ids can be told from nobody's address any more."""
        now = time.time()
        with self._lock:
            for path in self._salts.iterdir():
                if not unquote(path.name).startswith(".") and path.stat().st_mtime <= now:
                    path.unlink(missing_ok=True)
                    self._known.pop(path, None)


MAX_REMEMBERED = 200_000
_GENERATIONS = 4
_LONGEST = 96  # bytes: the ids of the beacon and a site's name have less


class Remembered:
    def __init__(self) -> None:
        self._lock = Lock()
        self._most = max(1, MAX_REMEMBERED // _GENERATIONS)
        self._generations: deque[tuple[float, dict[bytes, bytes]]] = deque()

    def __len__(self) -> int:
        return sum(len(items) for _, items in self._generations)

    def seen(self, keys: Sequence[bytes]) -> list[bytes | None]:
        with self._lock:
            self._forget()
            generations = [items for _, items in reversed(self._generations)]
        found: list[bytes | None] = []
        for key in keys:
            short = key if len(key) <= _LONGEST else _short(key)
            value = None
            for items in generations:
                if (value := items.get(short)) is not None:
                    break
            found.append(value)
        return found

    def remember(self, items: Mapping[bytes, bytes]) -> None:
        now = time.monotonic()
        with self._lock:
            for key, value in items.items():
                newest = self._generations[-1] if self._generations else None
                if newest is None or len(newest[1]) >= self._most or now - newest[0] > REMEMBERED_S / _GENERATIONS:
                    newest = (now, {})
                    self._generations.append(newest)
                    self._forget()
                newest[1][_short(key)] = value

    def _forget(self) -> None:
        oldest = time.monotonic() - REMEMBERED_S
        while self._generations and (len(self._generations) > _GENERATIONS or self._generations[0][0] < oldest):
            self._generations.popleft()


def _short(key: bytes) -> bytes:
    """As good as the key and never long: what a sender calls an event may be."""
    return key if len(key) <= _LONGEST else blake2b(key).digest()
