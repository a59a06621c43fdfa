"""Live state shared by all processes through Redis. Keys, each under the prefix (`footfall:` by default):

`salt:DAY` and `key:SITE` (16 bytes), `seen:KEY` (24 hours), `active:SITE` (sorted set, visitor by last activity
in ms), `pages:SITE:MINUTE` (sorted set, path by views), and what the `limits` library keeps for its windows.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from limits import parse as parse_rate
from limits.storage import storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter

from stores.base import Unusable
from stores.live import (
    ACTIVE_MS,
    CURRENT_MS,
    DEFAULT_RATE,
    PAGES_MINUTES,
    REMEMBERED_S,
    SALT_BYTES,
    TOP_PAGES,
    salt_expires,
)
from stores.redis_client import Connection

_MINUTE_MS = 60_000


class RedisLive:
    def __init__(self, url: str) -> None:
        self._redis = Connection(url, ("rate",))
        self.url = self._redis.shown
        self._prefix = self._redis.prefix
        self._salts: dict[str, tuple[bytes, float]] = {}
        try:
            self._rate = parse_rate(self._redis.options.get("rate", DEFAULT_RATE))
        except ValueError as error:
            raise Unusable(f"{self.url}: rate is written as in 6000/minute ({error})") from error
        storage = storage_from_string(
            self._redis.bare_url, key_prefix=f"{self._prefix}limit", socket_timeout=5, socket_connect_timeout=5
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)

    def salt(self, day: str) -> bytes:
        now = time.time()
        known = self._salts.get(day)
        if known and known[1] > now:
            return known[0]
        expires = salt_expires(day, now)
        secret = self._secret(f"salt:{day}", round(expires))
        self._salts = {kept: entry for kept, entry in self._salts.items() if entry[1] > now}
        self._salts[day] = (secret, expires)
        return secret

    def import_key(self, site: str) -> bytes:
        return self._secret(f"key:{site}", None)

    def seen(self, keys: Sequence[bytes]) -> list[bytes | None]:
        if not keys:
            return []
        with self._redis.speaking() as redis:
            found: list[bytes | None] = redis.mget([self._seen_key(key) for key in keys])
        return found

    def remember(self, items: Mapping[bytes, bytes]) -> None:
        with self._redis.speaking() as redis, redis.pipeline(transaction=False) as pipe:
            for key, value in items.items():
                pipe.set(self._seen_key(key), value, ex=REMEMBERED_S)
            pipe.execute()

    def touch(self, site: str, visitor: str, path: str, at_ms: int) -> None:
        self.touch_many([(site, visitor, path, at_ms)])

    def touch_many(self, touches: Iterable[tuple[str, str, str, int]]) -> None:
        active: defaultdict[str, dict[str, int]] = defaultdict(dict)
        pages: defaultdict[tuple[str, int], Counter[str]] = defaultdict(Counter)
        for site, visitor, path, at_ms in touches:
            active[site][visitor] = max(at_ms, active[site].get(visitor, 0))
            if path:
                pages[site, at_ms // _MINUTE_MS][path] += 1
        with self._redis.speaking() as redis, redis.pipeline(transaction=False) as pipe:
            for site, visitors in active.items():
                key = f"{self._prefix}active:{site}"
                pipe.zadd(key, visitors, gt=True)
                pipe.zremrangebyscore(key, "-inf", max(visitors.values()) - ACTIVE_MS)
                pipe.pexpire(key, ACTIVE_MS)
            for (site, minute), views in pages.items():
                key = f"{self._prefix}pages:{site}:{minute}"
                for path, count in views.items():
                    pipe.zincrby(key, count, path)
                pipe.pexpire(key, (PAGES_MINUTES + 1) * _MINUTE_MS)
            pipe.execute()

    def last_active(self, site: str, visitor: str) -> int | None:
        with self._redis.speaking() as redis:
            at = redis.zscore(f"{self._prefix}active:{site}", visitor)
        return None if at is None else int(at)

    def current(self, site: str, now_ms: int) -> int:
        with self._redis.speaking() as redis:
            return int(redis.zcount(f"{self._prefix}active:{site}", f"({now_ms - CURRENT_MS}", now_ms))

    def top_pages(self, site: str, now_ms: int, minutes: int) -> list[tuple[str, int]]:
        now = now_ms // _MINUTE_MS
        keys = [f"{self._prefix}pages:{site}:{now - ago}" for ago in range(min(minutes, PAGES_MINUTES))]
        with self._redis.speaking() as redis:
            found = redis.zunion(keys, withscores=True) if keys else []
        pages = [(path.decode("utf-8", "replace"), int(count)) for path, count in found]
        return sorted(pages, key=lambda page: (-page[1], page[0]))[:TOP_PAGES]

    def allow(self, key: str, n: int = 1) -> bool:
        with self._redis.speaking():
            return self._limiter.hit(self._rate, key, cost=n)

    def close(self) -> None:
        self._redis.close()

    def _secret(self, name: str, expires: int | None) -> bytes:
        with self._redis.speaking() as redis:
            key = self._prefix + name
            redis.set(key, secrets.token_bytes(SALT_BYTES), nx=True, exat=expires)
            secret: bytes = redis.get(key)
        return secret

    def _seen_key(self, key: bytes) -> bytes:
        return f"{self._prefix}seen:".encode() + key
