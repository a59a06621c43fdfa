"""The binary protocol through the vendor's client: a producer and readers for each partition, and records as messages.

The client routes nothing: each producer belongs to one partition, so that a key lies in the same one on every broker.
A producer keeps its name and numbers its batches, and the topic's deduplication drops what the client sends again after
a lost connection.

A key of text becomes the message's partition key, which every Pulsar client shows. What Pulsar's keys and properties
cannot hold (bytes, repeated names, an order) is packed into properties whose names begin with `footfall-`.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, pairwise
from typing import Any

import pulsar

from brokers.base import BadCredentials, BrokerError, NotAllowed, Record, TopicPartition, Unreachable
from brokers.pulsar.settings import PulsarSettings
from brokers.routing import Logs, Sent

_OPERATION_SECONDS = 3  # for making a producer or a reader
_COMPRESSION = {
    "none": pulsar.CompressionType.NONE,
    "lz4": pulsar.CompressionType.LZ4,
    "snappy": pulsar.CompressionType.SNAPPY,
    "zlib": pulsar.CompressionType.ZLib,
    "zstd": pulsar.CompressionType.ZSTD,
}
_NO_TOPIC = (pulsar.TopicNotFound, pulsar.TopicTerminated)


_PREFIX = "footfall-"
_KEY = "footfall-key"  # base64 of a key that is empty or not text
_HEADERS = "footfall-headers"  # JSON: [[name, base64], …]

Headers = tuple[tuple[str, bytes], ...]


class TopicMissing(Exception):
    """The topic of a producer or a reader does not exist."""


def pack(key: bytes | None, headers: Headers) -> tuple[str | None, dict[str, str] | None]:
    """Return the partition key and the properties of a record's message."""
    name, properties = None, {}
    if key is not None:
        try:
            name = key.decode()
        except UnicodeDecodeError:
            name = None
        if not name:
            properties[_KEY] = b64encode(key).decode()
    if headers:
        try:
            plain = {header: value.decode() for header, value in headers}
        except UnicodeDecodeError:
            plain = {}
        names = [header.encode() for header, _ in headers]
        if plain and all(one < two for one, two in pairwise(names)) and not any(n.startswith(_PREFIX) for n in plain):
            properties |= plain
        else:
            properties[_HEADERS] = json.dumps([[header, b64encode(value).decode()] for header, value in headers])
    return name or None, properties or None


def unpack(name: str, properties: dict[str, str]) -> tuple[bytes | None, Headers]:
    """Return the key and the headers of a message's record."""
    key = name.encode() if name else None
    if not properties:
        return key, ()
    if (packed := properties.pop(_KEY, None)) is not None:
        key = b64decode(packed)
    if (listed := properties.pop(_HEADERS, None)) is not None:
        return key, tuple((header, b64decode(value)) for header, value in json.loads(listed))
    return key, tuple(sorted((header, value.encode()) for header, value in properties.items()))


class _Acknowledgements:
    """The acknowledgements that one `send` waits for. They arrive on the client's thread.

    Their positions are ignored, because a batch that was sent twice is acknowledged without one."""

    def __init__(self) -> None:
        self.failed: list[tuple[int, Any]] = []
        self._settled = 0
        self._expected = -1
        self._complete = threading.Event()

    def settle(self, index: int, result: Any, _message_id: Any) -> None:
        if result != pulsar.Result.Ok:
            self.failed.append((index, result))
        self._settled += 1
        if self._settled == self._expected:
            self._complete.set()

    def await_all(self, expected: int, timeout: float) -> bool:
        self._expected = expected
        return self._settled == expected or self._complete.wait(timeout)


@dataclass(eq=False)
class _Producer:
    """A partition's producer, and the number of publishes that use it now."""

    producer: Any
    users: int = 0


class PulsarClient:
    """Connects when first used, so that a process may fork before it."""

    def __init__(self, settings: PulsarSettings) -> None:
        self._settings = settings
        self._client: Any = None
        self._producers: dict[TopicPartition, _Producer] = {}
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._name = f"footfall-{secrets.token_hex(6)}"
        self._number = count(1)

    def failure(self, error: Exception) -> BrokerError:
        """Return the contract's error for one of the library's."""
        if isinstance(error, pulsar.AuthenticationError):
            return BadCredentials(f"{self._settings.shown}: the token or certificate is wrong or has expired ({error})")
        if isinstance(error, pulsar.AuthorizationError):
            return NotAllowed(f"{self._settings.shown}: the token or certificate does not allow this ({error})")
        return Unreachable(f"{self._settings.shown} does not answer ({error}): retry, or look at the URL")

    def send(self, records: Sequence[Record], logs: Logs) -> Sent:
        """Publish the records at the indexes in `logs`, and return once each is acknowledged or has failed."""
        acknowledgements, queued = _Acknowledgements(), 0
        producers: list[_Producer] = []
        try:
            # Those made before one that fails are released below.
            producers.extend(self._producer(partition) for partition in logs)
            for used, indexes in zip(producers, logs.values(), strict=True):
                send = used.producer.send_async
                for index in indexes:
                    _, key, value, headers, _, at = records[index]
                    name, properties = pack(key, headers)
                    send(value, partial(acknowledgements.settle, index), properties, name, event_timestamp=at)
                queued += len(indexes)
            if not acknowledgements.await_all(queued, self._settings.timeout + 5):
                every = [index for indexes in logs.values() for index in indexes]
                return Sent(every, reason=f"no acknowledgement within {self._settings.timeout:.0f} s")
        finally:
            with self._lock:
                for used in producers:
                    used.users -= 1
        failed = [index for index, result in acknowledgements.failed if result != pulsar.Result.MessageTooBig]
        too_large = [index for index, result in acknowledgements.failed if result == pulsar.Result.MessageTooBig]
        gone = (pulsar.Result.TopicNotFound, pulsar.Result.TopicTerminated, pulsar.Result.AlreadyClosed)
        reason = str(acknowledgements.failed[-1][1]) if acknowledgements.failed else ""
        return Sent(failed, too_large, any(result in gone for _, result in acknowledgements.failed), reason)

    def has_producer(self, partition: TopicPartition) -> bool:
        return partition in self._producers

    def reader(self, partition: TopicPartition, start: tuple[int, int] | None) -> Any:
        """Return a reader that starts with the entry (ledger, entry), or with the first one kept if it is None."""
        where = pulsar.MessageId.earliest if start is None else pulsar.MessageId(partition.number, *start)
        name = self._name_of(partition)

        def make() -> Any:
            return self._connected().create_reader(name, where, start_message_id_inclusive=True)

        return self._retry(partition.topic, make)

    def forget(self, topic: str) -> None:
        """Close the producers of a topic that is deleted; left open, they would create it again."""
        with self._lock:
            found = [self._producers.pop(key) for key in list(self._producers) if key.topic == topic]
        for each in found:
            _close(each.producer)

    def close(self) -> None:
        with self._lock:
            producers, self._producers = list(self._producers.values()), {}
            client, self._client = self._client, None
        for each in producers:
            _close(each.producer)
        if client is not None:
            _close(client)

    def _name_of(self, partition: TopicPartition) -> str:
        return f"persistent://{self._settings.namespace}/{partition.topic}-partition-{partition.number}"

    def _producer(self, partition: TopicPartition) -> _Producer:
        """Return the partition's producer, counted as used.

        The library retries a lost connection ever more rarely, so one that is not connected is replaced."""
        with self._lock:
            found = self._producers.get(partition)
            if found is not None and (found.users or found.producer.is_connected()):
                found.users += 1
                return found
        if not self._making.acquire(timeout=self._settings.timeout):
            raise Unreachable(f"{self._settings.shown} does not answer: retry")
        try:
            with self._lock:
                now = self._producers.get(partition)
            if now is None or now is found:
                now = _Producer(self._make_producer(partition))
                if found is not None:
                    _close(found.producer)
            with self._lock:
                self._producers[partition] = now
                now.users += 1
            return now
        finally:
            self._making.release()

    def _make_producer(self, partition: TopicPartition) -> Any:
        return self._retry(
            partition.topic,
            lambda: self._connected().create_producer(
                self._name_of(partition),
                producer_name=f"{self._name}-{next(self._number)}",
                send_timeout_millis=int(self._settings.timeout * 1000),
                compression_type=_COMPRESSION[self._settings.compression],
                max_pending_messages=0,
                batching_enabled=True,
                batching_max_publish_delay_ms=max(self._settings.linger_ms, 1),
            ),
        )

    def _retry(self, topic: str, make: Callable[[], Any]) -> Any:
        """Retry within the timeout: a broker that has just started takes its time to load a topic."""
        deadline = time.monotonic() + self._settings.timeout
        while True:
            try:
                return make()
            except _NO_TOPIC as error:
                raise TopicMissing(topic) from error
            except pulsar.Timeout as error:
                if time.monotonic() + _OPERATION_SECONDS > deadline:
                    raise self.failure(error) from error
            except pulsar.PulsarException as error:
                raise self.failure(error) from error

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                s = self._settings
                auth = None
                if s.token:
                    auth = pulsar.AuthenticationToken(s.token)
                elif s.certificate:
                    auth = pulsar.AuthenticationTLS(s.certificate, s.key)
                self._client = pulsar.Client(
                    s.service,
                    authentication=auth,
                    operation_timeout_seconds=_OPERATION_SECONDS,
                    connection_timeout_ms=_OPERATION_SECONDS * 1000,
                    # Errors are raised; the client's own messages would go to standard output.
                    logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull),
                    tls_trust_certs_file_path=s.ca or None,
                    tls_validate_hostname=True,
                )
            return self._client


def _close(closing: Any) -> None:
    try:
        closing.close()
    except pulsar.PulsarException:
        return  # it was closed by the other side
