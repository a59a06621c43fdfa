"""`redis-lists://host:6379/0`: a broker for Footfall over Redis lists, as somebody else would add it, in 60 lines.

`brokers.log_store` keeps the contract and requires of a store the methods below; `test_conformance.py` beside this file
tests all of it, with one import. A list's first number is stored beside it, because `LTRIM` starts to count again.
"""

import redis

from brokers.base import Capability, Unreachable
from brokers.log_store import LogStoreBroker


class RedisLists(LogStoreBroker):
    capabilities = {
        "durable": Capability(True, "as far as Redis is told: --appendonly yes --appendfsync always"),
        "shared": Capability(True, "any number of processes and machines"),
        "replication": Capability(False, "asynchronous, by Redis's own means"),
        "retention": Capability(True, "by age, when records are published; held back by remembered positions"),
    }

    def __init__(self, url, secrets):
        super().__init__(url, Store(url.replace("redis-lists:", "redis:", 1), secrets))


class Store:
    def __init__(self, url, secrets):
        self.redis = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=2, **secrets)
        self.get, self.put, self.put_if_absent = (self.bounded(name) for name in ("get", "set", "setnx"))
        self.close = self.redis.close

    def bounded(self, name):
        return lambda *words: self.together(lambda pipe: getattr(pipe, name)(*words))[0]

    def together(self, queue, *watched):
        try:
            return self.redis.transaction(queue, *watched)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise Unreachable(f"Redis does not answer ({error}): retry, or look at the URL") from error

    def ping(self, timeout):
        return f"Redis {self.bounded('info')('server')['redis_version']}"

    def names(self, prefix):
        return [name.decode() for name in self.bounded("keys")(prefix + "*")]

    def delete(self, names):
        self.bounded("delete")(*names, *(name + ":first" for name in names))

    def append(self, entries):
        self.together(lambda pipe: [pipe.rpush(name, entry) for name, entry in entries])

    def span(self, name):
        first, length = self.together(lambda pipe: pipe.get(name + ":first").llen(name))
        return int(first or 0), int(first or 0) + length

    def read(self, name, start, count):
        def queue(pipe):
            first = int(pipe.get(name + ":first") or 0)
            pipe.multi()
            pipe.lrange(name, start - first, start - first + count - 1) if start >= first else pipe.lrange(name, 1, 0)

        return self.together(queue, name + ":first")[0]

    def drop(self, name, start):
        def queue(pipe):
            first = int(pipe.get(name + ":first") or 0)
            pipe.multi()
            pipe.ltrim(name, max(start - first, 0), -1).set(name + ":first", max(start, first))

        self.together(queue, name + ":first")
