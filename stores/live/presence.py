"""Who is there now, in the memory of one process: bounded in time, entries and bytes.

When there are too many visitors or pages, those of the site that has most of them give way: of the visitors the
half that was silent longest, of the pages those with the fewest views. So a flood of new addresses costs the other
sites nothing and the flooded one its rarest pages.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from statistics import median_low
from threading import Lock

from stores.live import ACTIVE_MS, CURRENT_MS, LONGEST_PATH, PAGES_MINUTES, TOP_PAGES

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
                active[visitor] = at_ms if before is None else max(at_ms, before)
                self._latest = max(self._latest, at_ms)
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
        pages[path] += 1
        if pages[path] == 1:
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
