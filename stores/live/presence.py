"""Who is there now, in the memory of one process: bounded by time, pruned as it grows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from threading import Lock

from stores.live import ACTIVE_MS, CURRENT_MS, PAGES_MINUTES, TOP_PAGES

_MINUTE_MS = 60_000
_PRUNE_EVERY = 10_000


class Presence:
    """The last activity of every visitor of the last hour, and page views by the minute of the last thirty."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._active: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self._pages: defaultdict[str, defaultdict[int, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
        self._latest = 0
        self._until_prune = _PRUNE_EVERY

    def touch_many(self, touches: Iterable[tuple[str, str, str, int]]) -> None:
        with self._lock:
            for site, visitor, path, at_ms in touches:
                active = self._active[site]
                active[visitor] = max(at_ms, active.get(visitor, 0))
                self._latest = max(self._latest, at_ms)
                if path:
                    self._pages[site][at_ms // _MINUTE_MS][path] += 1
                self._until_prune -= 1
            if self._until_prune <= 0:
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

    def _prune(self) -> None:
        self._until_prune = _PRUNE_EVERY
        for active in self._active.values():
            for visitor in [visitor for visitor, at in active.items() if at < self._latest - ACTIVE_MS]:
                del active[visitor]
        for minutes in self._pages.values():
            for minute in [m for m in minutes if m < self._latest // _MINUTE_MS - PAGES_MINUTES]:
                del minutes[minute]
