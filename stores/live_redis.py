"""The way to a Redis that may be gone: whoever asks while it is away is told at once, nobody waits twice.

Live state shared by all processes through Redis. Keys, each under the prefix (`footfall:` by default):

`salt:DAY` and `key:SITE` (16 bytes), `seen:KEY` (24 hours; those beyond an hour's share, minutes), `active:SITE`
(sorted set, visitor by last activity in ms), `pages:SITE:MINUTE` (sorted set, path by views), `limit:NAME` (a number)
and `probe`.

A Redis that is gone, stopped or too slow holds nobody up: from the first failure on this process goes on with what it
knows itself, until Redis answers again. Then its salts are proposed to the others; the rest is only this process's.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Event, Lock, Thread
from typing import Any, NamedTuple

from stores.backends import Connection
from stores.base import Unreachable
from stores.live import (
    ACTIVE_MS,
    CURRENT_MS,
    LONGEST_PATH,
    PAGES_MINUTES,
    REMEMBERED_S,
    SALT_BYTES,
    TOP_PAGES,
    Presence,
    Remembered,
    salt_expires,
)

log = logging.getLogger(__name__)

PATIENCE = 0.5  # seconds for one question: a Redis that is well takes milliseconds
_PROBE_EVERY = 1.0


class Link:
    """A `Connection` that is not used from its first failure on until it takes a write again, which a thread of its
    own finds out."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = Lock()
        self._closed = Event()
        self.problem = ""  # why it is away, "" while it answers

    @contextmanager
    def speaking(self) -> Iterator[Any]:
        """The client. Raises `Unreachable`: after `PATIENCE` the first time, then at once."""
        if self.problem:
            raise Unreachable(self.problem)
        try:
            with self._connection.speaking() as client:
                yield client
        except Unreachable as error:
            self._lost(str(error))
            raise
        except self._connection.errors as error:  # out of memory, a replica, no permission
            why = f"Redis at {self._connection.shown} refuses ({error})"
            self._lost(why)
            raise Unreachable(why) from error

    def close(self) -> None:
        self._closed.set()
        self._connection.close()

    def _lost(self, why: str) -> None:
        with self._lock:
            if self.problem or self._closed.is_set():
                return
            self.problem = why
        log.warning("Each process goes on with what it knows itself: %s", why)
        Thread(target=self._wait_for_it, name="redis-probe", daemon=True).start()

    def _wait_for_it(self) -> None:
        while not self._closed.wait(_PROBE_EVERY):
            try:
                self._connection.client.set(f"{self._connection.prefix}probe", b"", ex=1)
            except self._connection.errors:
                continue
            self.problem = ""
            log.warning("Redis at %s answers again", self._connection.shown)
            return


IDS_AN_HOUR = 100_000  # of each process that are remembered for a day; what comes beyond, for a few minutes
_BEYOND_S = 300
MAX_ACTIVE = 1_000_000  # visitors of a site
MAX_PAGES = 1_000  # of a site and minute
_MINUTE_MS = 60_000


class _Salt(NamedTuple):
    secret: bytes
    expires: float
    shared: bool  # whether Redis has it, or only this process


class RedisLive:
    waits = True

    def __init__(self, url: str) -> None:
        connection = Connection(url, PATIENCE)
        self.url = connection.shown
        self._prefix = connection.prefix
        self._link = Link(connection)
        self._salts: dict[str, _Salt] = {}
        self._keys: dict[str, bytes] = {}
        self._hour = 0
        self._ids = 0  # remembered in this hour
        # Of the time in which Redis is away.
        self._remembered = Remembered()
        self._presence = Presence()

    @property
    def problem(self) -> str:
        return self._link.problem

    def salt(self, day: str) -> bytes:
        now = time.time()
        known = self._salts.get(day)
        if known and known.shared and known.expires > now:
            return known.secret
        if known is None or known.expires <= now:
            known = _Salt(secrets.token_bytes(SALT_BYTES), salt_expires(day, now), shared=False)
        try:
            secret = self._secret(f"salt:{day}", known.secret, round(known.expires))
            known = known._replace(secret=secret, shared=True)
        except Unreachable:
            pass
        self._salts = {kept: salt for kept, salt in self._salts.items() if salt.expires > now} | {day: known}
        return known.secret

    def import_key(self, site: str) -> bytes:
        key = self._keys.get(site)
        if key is None:
            key = self._keys[site] = self._secret(f"key:{site}", secrets.token_bytes(SALT_BYTES), None)
        return key

    def seen(self, keys: Sequence[bytes]) -> list[bytes | None]:
        if not keys:
            return []
        here = self._remembered.seen(keys)
        try:
            with self._link.speaking() as redis:
                found = redis.mget([self._seen_key(key) for key in keys])
        except Unreachable:
            return here
        return [shared if shared is not None else own for shared, own in zip(found, here, strict=True)]

    def remember(self, items: Mapping[bytes, bytes]) -> None:
        seconds = REMEMBERED_S if self._within_the_share(len(items)) else _BEYOND_S
        try:
            with self._link.speaking() as redis, redis.pipeline(transaction=False) as pipe:
                for key, value in items.items():
                    pipe.set(self._seen_key(key), value, ex=seconds)
                pipe.execute()
        except Unreachable:
            self._remembered.remember(items)

    def touch(self, site: str, visitor: str, path: str, at_ms: int) -> None:
        self.touch_many([(site, visitor, path, at_ms)])

    def touch_many(self, touches: Iterable[tuple[str, str, str, int]]) -> None:
        touches = list(touches)
        try:
            self._touch(touches)
        except Unreachable:
            self._presence.touch_many(touches)

    def _touch(self, touches: Iterable[tuple[str, str, str, int]]) -> None:
        active: defaultdict[str, dict[str, int]] = defaultdict(dict)
        pages: defaultdict[tuple[str, int], Counter[str]] = defaultdict(Counter)
        for site, visitor, path, at_ms in touches:
            active[site][visitor] = max(at_ms, active[site].get(visitor, 0))
            if path:
                pages[site, at_ms // _MINUTE_MS][path[:LONGEST_PATH]] += 1
        with self._link.speaking() as redis, redis.pipeline(transaction=False) as pipe:
            for site, visitors in active.items():
                key = f"{self._prefix}active:{site}"
                pipe.zadd(key, visitors, gt=True)
                pipe.zremrangebyscore(key, "-inf", max(visitors.values()) - ACTIVE_MS)
                pipe.zremrangebyrank(key, 0, -MAX_ACTIVE - 1)
                pipe.pexpire(key, ACTIVE_MS)
            for (site, minute), views in pages.items():
                key = f"{self._prefix}pages:{site}:{minute}"
                for path, count in views.items():
                    pipe.zincrby(key, count, path)
                pipe.zremrangebyrank(key, 0, -MAX_PAGES - 1)
                pipe.pexpire(key, (PAGES_MINUTES + 1) * _MINUTE_MS)
            pipe.execute()

    def last_active(self, site: str, visitor: str) -> int | None:
        here = self._presence.last_active(site, visitor)
        try:
            with self._link.speaking() as redis:
                at = redis.zscore(f"{self._prefix}active:{site}", visitor)
        except Unreachable:
            if here is None:
                raise
            return here
        return max((int(known) for known in (at, here) if known is not None), default=None)

    def current(self, site: str, now_ms: int) -> int:
        try:
            with self._link.speaking() as redis:
                return int(redis.zcount(f"{self._prefix}active:{site}", f"({now_ms - CURRENT_MS}", now_ms))
        except Unreachable:
            return self._presence.current(site, now_ms)

    def top_pages(self, site: str, now_ms: int, minutes: int) -> list[tuple[str, int]]:
        now = now_ms // _MINUTE_MS
        keys = [f"{self._prefix}pages:{site}:{now - ago}" for ago in range(min(minutes, PAGES_MINUTES))]
        try:
            with self._link.speaking() as redis:
                found = redis.zunion(keys, withscores=True) if keys else []
        except Unreachable:
            return self._presence.top_pages(site, now_ms, minutes)
        pages = [(path.decode("utf-8", "replace"), int(count)) for path, count in found]
        return sorted(pages, key=lambda page: (-page[1], page[0]))[:TOP_PAGES]

    def add_up(self, counts: Sequence[tuple[str, int, int]]) -> list[int] | None:
        try:
            with self._link.speaking() as redis, redis.pipeline(transaction=False) as pipe:
                for name, events, seconds in counts:
                    key = f"{self._prefix}limit:{name}"
                    pipe.incrby(key, events)
                    pipe.expire(key, 2 * seconds)
                return [int(total) for total in pipe.execute()[::2]]
        except Unreachable:
            return None

    def close(self) -> None:
        self._link.close()

    def _secret(self, name: str, proposal: bytes, expires: int | None) -> bytes:
        with self._link.speaking() as redis:
            key = self._prefix + name
            redis.set(key, proposal, nx=True, exat=expires)
            secret: bytes = redis.get(key)
        return secret

    def _seen_key(self, key: bytes) -> bytes:
        return f"{self._prefix}seen:".encode() + key

    def _within_the_share(self, ids: int) -> bool:
        hour = int(time.time() // 3600)
        if hour != self._hour:
            self._hour, self._ids = hour, 0
        self._ids += ids
        return self._ids <= IDS_AN_HOUR
