"""A checkpoint in Redis. It is as durable as that Redis is: use one with `appendfsync always`, or a replica.

A value is a hash with its version and bytes, swapped by a script, which Redis runs alone; a segment is a string.
"""

from __future__ import annotations

import secrets

from stores.base import Lost, Unreadable
from stores.checkpoint import aside, checked
from stores.redis_client import Connection

_SWAP = """
local version = redis.call('HGET', KEYS[1], 'version') or ''
if version ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'value', ARGV[3])
return 1
"""


class RedisCheckpoint:
    def __init__(self, url: str) -> None:
        self._redis = Connection(url)
        self.url = self._redis.shown
        self._values = f"{self._redis.prefix}checkpoint:value:"
        self._segments = f"{self._redis.prefix}checkpoint:segment:"
        self._swap = self._redis.client.register_script(_SWAP)

    def load(self, name: str) -> tuple[bytes, str] | None:
        with self._redis.speaking() as redis:
            version, value = redis.hmget(self._values + checked(name), "version", "value")
        return None if version is None else (value, version.decode())

    def swap(self, name: str, value: bytes, expected: str | None) -> str:
        version = secrets.token_hex(8)
        with self._redis.speaking():
            won = self._swap(keys=[self._values + checked(name)], args=[expected or "", version, value])
        if not won:
            raise Lost(f"{name} was written by another process since it was read: load it again")
        return version

    def put(self, name: str, data: bytes) -> None:
        with self._redis.speaking() as redis:
            redis.set(self._segments + checked(name), data)

    def get(self, name: str) -> bytes:
        with self._redis.speaking() as redis:
            data: bytes | None = redis.get(self._segments + checked(name))
        if data is None:
            raise Unreadable(
                f"{self.url} {name}", "the segment is missing", "put it back from a copy, or start over with a replay"
            )
        return data

    def delete(self, name: str) -> None:
        with self._redis.speaking() as redis:
            redis.delete(self._values + checked(name), self._segments + checked(name))

    def set_aside(self, name: str) -> str:
        new = aside(name)
        with self._redis.speaking() as redis:
            for kind in (self._values, self._segments):
                if redis.exists(kind + name):
                    redis.rename(kind + name, kind + new)
        return new

    def names(self, prefix: str = "") -> list[str]:
        found = set()
        with self._redis.speaking() as redis:
            for kind in (self._values, self._segments):
                pattern = "".join(f"[{c}]" if c in "*?[\\" else c for c in kind + prefix) + "*"
                found |= {key.decode().removeprefix(kind) for key in redis.scan_iter(pattern, count=1000)}
        return sorted(found)

    def close(self) -> None:
        self._redis.close()
