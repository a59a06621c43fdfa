"""`redis-streams://host:6379/0`: a broker for Footfall over Redis Streams, as somebody else would add it.

A stream is a partition; its ids, (milliseconds, number), are positions and publish times at once. What each method
promises stands in `brokers.base.Broker`; `test_conformance.py` beside this file tests all of it, with one import.
"""

import json
import secrets as random
import time

import redis

from brokers.base import (
    Bounds,
    BrokerError,
    Capability,
    Gone,
    NoSuchTopic,
    Position,
    Stored,
    TopicInfo,
    Unreachable,
    WrongIncarnation,
)
from brokers.options import check_topic, hide_credentials, no_partition, other_count
from brokers.outgoing import MAX_RECORD_BYTES, place


class RedisStreams:
    capabilities = {
        "durable": Capability(True, "as far as Redis is told: --appendonly yes --appendfsync always"),
        "shared": Capability(True, "any number of processes and machines"),
        "replication": Capability(False, "asynchronous, by Redis's own means"),
        "retention": Capability(False, "noted, nothing is removed by age; a copy gets the time of the copying"),
    }

    def __init__(self, url, secrets):
        self.url = hide_credentials(url)
        self.redis = redis.Redis.from_url(
            url.removeprefix("redis-streams").join(("redis", "")), socket_timeout=2, socket_connect_timeout=2,
            **secrets,
        )  # fmt: skip

    def ask(self, *words):
        return self.all_or_none([words])[0]

    def all_or_none(self, commands):
        if self.redis is None:
            raise BrokerError(f"{self.url} is closed: connect again")
        try:
            with self.redis.pipeline(transaction=len(commands) > 1) as pipe:
                for words in commands:
                    pipe.execute_command(*words)
                return pipe.execute()
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise Unreachable(f"{self.url} does not answer ({error}): retry, or look at the URL") from error

    def ping(self, timeout=5.0):
        return f"Redis {self.ask('INFO', 'server')['redis_version']}"

    def create_topic(self, name, partitions=4, retention_ms=-1, replication=1):
        check_topic(name, partitions, retention_ms, replication)
        self.ask("HSETNX", f"topic:{name}", "made", json.dumps([partitions, random.token_hex(8)]))
        if (held := self.partitions(name)) != partitions:
            raise other_count(name, held, partitions)
        self.all_or_none([("HSET", f"topic:{name}", "retention", retention_ms), ("SADD", "topics", name)])

    def topics(self):
        names = sorted(name.decode() for name in self.ask("SMEMBERS", "topics"))
        return {n: TopicInfo(n, self.partitions(n), int(self.ask("HGET", f"topic:{n}", "retention"))) for n in names}

    def partitions(self, topic):
        return self._made(topic)[0]

    def _made(self, topic):
        if (made := self.ask("HGET", f"topic:{topic}", "made")) is None:
            raise NoSuchTopic(f"topic {topic} does not exist on {self.url}: create it first")
        return json.loads(made)

    def publish(self, records):
        outgoing = place(records, self.partitions, MAX_RECORD_BYTES)
        adding = []
        for (topic, partition), indexes in outgoing.logs.items():
            for _, key, value, headers, *_ in (records[index] for index in indexes):
                fields = [b"h", json.dumps([(name, data.hex()) for name, data in headers])]
                fields += [] if key is None else [b"k", key]
                fields += [] if value is None else [b"v", value]
                adding.append(("XADD", f"log:{topic}:{partition}", "*", *fields))
        if adding:
            self.all_or_none(adding)
        outgoing.raise_too_large(records, MAX_RECORD_BYTES)

    def _log(self, topic, partition, *positions):
        """The stream's name and the topic's incarnation, once `positions` are known to be of this log and kept."""
        count, incarnation = self._made(topic)
        if not 0 <= partition < count:
            raise no_partition(topic, partition, count)
        log = f"log:{topic}:{partition}"
        given = [position for position in positions if position]
        last = self.ask("XREVRANGE", log, "+", "-", "COUNT", 1) if given else []
        removed = _order(self.ask("HGET", f"topic:{topic}", f"removed:{partition}") or b"0-0") if given else ()
        for position in given:
            if position.incarnation != incarnation or position.order > max(removed, _order(last[0][0]) if last else ()):
                raise WrongIncarnation(f"{topic}[{partition}]: position {position} is of another log than this one")
            if position.order < removed:
                raise Gone(f"{topic}[{partition}]: records from {position} on were removed: read them from the archive")
        return log, incarnation

    def _stored(self, found, incarnation):
        return [
            Stored(Position(_order(at), incarnation), _order(at)[0], fields.get(b"k"), fields.get(b"v"),
                   tuple((name, bytes.fromhex(data)) for name, data in json.loads(fields[b"h"])))
            for at, fields in found or ()
        ]  # fmt: skip

    def _range(self, topic, partition, after, upto, limit, command="XRANGE"):
        log, incarnation = self._log(topic, partition, after)
        ends = (_after(after), upto) if command == "XRANGE" else (upto, _after(after))
        return self._stored(self.ask(command, log, *ends, "COUNT", limit), incarnation)

    def bounds(self, topic, partition):
        first, last = (self._range(topic, partition, None, "+", 1, way) for way in ("XRANGE", "XREVRANGE"))
        return Bounds(first[0].position, last[0].position) if first and last else None

    def read_range(self, topic, partition, after, upto, batch=10_000):
        self._log(topic, partition, after, upto)
        if after is None and self._range(topic, partition, None, "+", 1)[0].position > upto:
            raise Gone(f"{topic}[{partition}]: records up to {upto} were removed: read them from the archive")
        while after is None or after < upto:
            found = self._range(topic, partition, after, _id(upto), batch)
            yield found
            after = found[-1].position

    def read_after(self, topic, partition, after, limit=10_000, wait=0.0):
        deadline = time.monotonic() + wait
        while not (found := self._range(topic, partition, after, "+", limit)) and time.monotonic() < deadline:
            log = self._log(topic, partition)[0]
            self.ask("XREAD", "COUNT", 1, "BLOCK", 200, "STREAMS", log, _id(after) if after else "0")
        return found

    def end_before(self, topic, partition, after, limit):
        found = self._range(topic, partition, after, "+", limit)
        return found[-1].position if found else None

    def position_at(self, topic, partition, timestamp_ms):
        found = self._range(topic, partition, None, f"({max(timestamp_ms, 1)}-0", 1, "XREVRANGE")
        return found[0].position if found else None

    def timestamp_of(self, topic, partition, position):
        log, _ = self._log(topic, partition, position)
        if not self.ask("XRANGE", log, _id(position), _id(position)):
            raise Gone(f"{topic}[{partition}]: the record at {position} was removed")
        return position.order[0]

    def remember(self, group, topic, partition, position):
        self._log(topic, partition, position)
        self.ask("HSET", f"topic:{topic}", f"group:{partition}:{group}", str(position))

    def recall(self, group, topic, partition):
        found = self.ask("HGET", f"topic:{topic}", f"group:{partition}:{group}")
        return Position.parse(found.decode()) if found else None

    def remove_before(self, topic, partition, position):
        log, _ = self._log(topic, partition, position)
        last = self.ask("XREVRANGE", log, f"({_id(position)}", "-", "COUNT", 1)
        if last:
            noted = ("HSET", f"topic:{topic}", f"removed:{partition}", last[0][0])
            self.all_or_none([noted, ("XTRIM", log, "MINID", _id(position))])

    def delete_topic(self, name):
        logs = [f"log:{name}:{partition}" for partition in range(self.partitions(name))]
        self.all_or_none([("SREM", "topics", name), ("DEL", f"topic:{name}", *logs)])

    def close(self):
        if self.redis is not None:
            self.redis.close()
        self.redis = None


def _id(position):
    return "-".join(map(str, position.order))


def _after(position):
    return f"({_id(position)}" if position else "-"


def _order(at):
    return tuple(map(int, at.split(b"-")))
