"""Live state that all processes share through Redis, and what a process does while Redis is away.

Keys, each under the prefix (`footfall:` by default): `salt:DAY` and `key:SITE` (16 bytes), `seen:KEY` (for 24 hours,
or for minutes beyond an hour's share), `active:SITE` (a sorted set: visitor by last activity in ms), `limit:NAME` (a
number) and `probe`.

A Redis that is gone, stopped or too slow holds nobody up. The first call that fails has waited for at most half a
second; from then on every call is answered at once by what this process knows itself, until a thread finds that Redis
takes a write again. Then this process proposes its salts to the others; all else that it noted meanwhile stays its own.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Event, Lock, Thread
from typing import Any, NamedTuple

from stores.backends import RedisConnection
from stores.base import StoreUnreachable
from stores.live import (
    ACTIVE_MS,
    CURRENT_MS,
    REMEMBERED_S,
    SALT_BYTES,
    ActiveVisitors,
    Remembered,
    salt_expires,
)

log = logging.getLogger(__name__)

PATIENCE = 0.5  # seconds for one call: a healthy Redis takes milliseconds
_PROBE_EVERY = 1.0


class Link:
    """A connection that is not used from its first failure on, until a thread finds that Redis takes a write again."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._lock = Lock()
        self._closed = Event()
        self.problem = ""  # why it is away, "" while it answers

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """The client. Raises `StoreUnreachable`: after `PATIENCE` the first time, then at once."""
        if self.problem:
            raise StoreUnreachable(self.problem)
        try:
            with self._connection.connected() as client:
                yield client
        except StoreUnreachable as error:
            self._lost(str(error))
            raise
        except self._connection.errors as error:  # out of memory, a replica, no permission
            why = f"Redis at {self._connection.safe_url} refuses ({error})"
            self._lost(why)
            raise StoreUnreachable(why) from error

    def close(self) -> None:
        """Close the connection, and stop looking for Redis."""
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
            log.warning("Redis at %s answers again", self._connection.safe_url)
            return


IDS_AN_HOUR = 100_000  # a process has so many remembered for a day; those beyond for a few minutes
_BEYOND_S = 300
MAX_ACTIVE = 1_000_000  # visitors of a site


class _Salt(NamedTuple):
    secret: bytes
    expires: float
    shared: bool  # whether Redis has it, or only this process


class RedisLive:
    """The `Live` store of several processes, see the module."""

    waits = True

    def __init__(self, url: str) -> None:
        connection = RedisConnection(url, PATIENCE)
        self.url = connection.safe_url
        self._prefix = connection.prefix
        self._link = Link(connection)
        self._salts: dict[str, _Salt] = {}
        self._keys: dict[str, bytes] = {}
        self._hour = 0
        self._ids = 0  # remembered in this hour
        # For the time in which Redis is away.
        self._remembered = Remembered()
        self._active = ActiveVisitors()

    @property
    def problem(self) -> str:
        return self._link.problem

    def salt(self, day: str) -> bytes:
        now = time.time()
        salt = self._salts.get(day)
        if salt and salt.shared and salt.expires > now:
            return salt.secret
        if salt is None or salt.expires <= now:
            salt = _Salt(secrets.token_bytes(SALT_BYTES), salt_expires(day, now), shared=False)
        try:
            secret = self._secret(f"salt:{day}", salt.secret, round(salt.expires))
            salt = salt._replace(secret=secret, shared=True)
        except StoreUnreachable:
            pass
        self._salts = {other: kept for other, kept in self._salts.items() if kept.expires > now} | {day: salt}
        return salt.secret

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
            with self._link.connected() as redis:
                found = redis.mget([self._seen_key(key) for key in keys])
        except StoreUnreachable:
            return here
        return [shared if shared is not None else own for shared, own in zip(found, here, strict=True)]

    def remember(self, items: Mapping[bytes, bytes]) -> None:
        seconds = REMEMBERED_S if self._within_the_share(len(items)) else _BEYOND_S
        try:
            with self._link.connected() as redis, redis.pipeline(transaction=False) as pipe:
                for key, value in items.items():
                    pipe.set(self._seen_key(key), value, ex=seconds)
                pipe.execute()
        except StoreUnreachable:
            self._remembered.remember(items)

    def touch_many(self, touches: Iterable[tuple[str, str, int]]) -> None:
        touches = list(touches)
        try:
            self._touch(touches)
        except StoreUnreachable:
            self._active.touch_many(touches)

    def _touch(self, touches: Iterable[tuple[str, str, int]]) -> None:
        active: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for site, visitor, at_ms in touches:
            active[site][visitor] = max(at_ms, active[site].get(visitor, 0))
        with self._link.connected() as redis, redis.pipeline(transaction=False) as pipe:
            for site, visitors in active.items():
                key = f"{self._prefix}active:{site}"
                latest = max(visitors.values())
                pipe.zremrangebyscore(key, latest + ACTIVE_MS, "+inf")  # noted before the clock was set back
                pipe.zadd(key, visitors, gt=True)
                pipe.zremrangebyscore(key, "-inf", latest - ACTIVE_MS)
                pipe.zremrangebyrank(key, 0, -MAX_ACTIVE - 1)
                pipe.pexpire(key, ACTIVE_MS)
            pipe.execute()

    def last_active(self, site: str, visitor: str) -> int | None:
        here = self._active.last_active(site, visitor)
        try:
            with self._link.connected() as redis:
                at = redis.zscore(f"{self._prefix}active:{site}", visitor)
        except StoreUnreachable:
            if here is None:
                raise
            return here
        return max((int(time_ms) for time_ms in (at, here) if time_ms is not None), default=None)

    def current(self, site: str, now_ms: int) -> int:
        try:
            with self._link.connected() as redis:
                return int(redis.zcount(f"{self._prefix}active:{site}", f"({now_ms - CURRENT_MS}", now_ms))
        except StoreUnreachable:
            return self._active.current(site, now_ms)

    def forget(self, site: str, visitors: Sequence[str]) -> None:
        self._active.forget(site, visitors)
        if visitors:
            with self._link.connected() as redis:
                redis.zrem(f"{self._prefix}active:{site}", *visitors)

    def add_up(self, counts: Sequence[tuple[str, int, int]]) -> list[int] | None:
        try:
            with self._link.connected() as redis, redis.pipeline(transaction=False) as pipe:
                for name, events, seconds in counts:
                    key = f"{self._prefix}limit:{name}"
                    pipe.incrby(key, events)
                    pipe.expire(key, 2 * seconds)
                return [int(total) for total in pipe.execute()[::2]]
        except StoreUnreachable:
            return None

    def close(self) -> None:
        self._link.close()

    def _secret(self, name: str, proposal: bytes, expires: int | None) -> bytes:
        with self._link.connected() as redis:
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
