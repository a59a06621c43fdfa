"""The binary protocol: producers and readers, one of each for a partition, through the vendor's client.

The client routes nothing: each producer belongs to one partition, so that a key lies where it lies on every broker.
A producer keeps its name and numbers its batches, and the topic's deduplication drops what the client sends again
after a lost connection.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import pulsar

from brokers.base import BadCredentials, BrokerError, NotAllowed, Record, Unreachable
from brokers.pulsar_messages import pack
from brokers.pulsar_settings import PulsarSettings

_OPERATION_SECONDS = 3  # for making a producer or a reader
_COMPRESSION = {
    "none": pulsar.CompressionType.NONE,
    "lz4": pulsar.CompressionType.LZ4,
    "snappy": pulsar.CompressionType.SNAPPY,
    "zlib": pulsar.CompressionType.ZLib,
    "zstd": pulsar.CompressionType.ZSTD,
}
_NO_TOPIC = (pulsar.TopicNotFound, pulsar.TopicTerminated)


class TopicMissing(Exception):
    """The topic of a producer or reader is not there."""


class Sent(NamedTuple):
    """What became of a batch: the indexes that failed, by kind, and the last failure in words."""

    failed: Sequence[int] = ()
    too_large: Sequence[int] = ()
    no_topic: bool = False
    reason: str = ""


class _Flight:
    """The acknowledgements that one `send` waits for; they come on the client's thread.

    Their positions are not looked at: a batch sent twice is acknowledged without one."""

    def __init__(self) -> None:
        self.failed: list[tuple[int, Any]] = []
        self._settled = 0
        self._expected = -1
        self._landed = threading.Event()

    def settle(self, index: int, result: Any, _message_id: Any) -> None:
        if result != pulsar.Result.Ok:
            self.failed.append((index, result))
        self._settled += 1
        if self._settled == self._expected:
            self._landed.set()

    def landed(self, expected: int, timeout: float) -> bool:
        self._expected = expected
        return self._settled == expected or self._landed.wait(timeout)


@dataclass(eq=False)
class _Outlet:
    """A partition's producer, and how many publishes are on their way through it."""

    producer: Any
    flights: int = 0


class PulsarClient:
    """Connects when first used, so that a process may fork before it."""

    def __init__(self, settings: PulsarSettings) -> None:
        self._settings = settings
        self._client: Any = None
        self._outlets: dict[tuple[str, int], _Outlet] = {}
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._name = f"footfall-{secrets.token_hex(6)}"
        self._number = count(1)

    def failure(self, error: Exception) -> BrokerError:
        if isinstance(error, pulsar.AuthenticationError):
            return BadCredentials(f"{self._settings.shown}: the token or certificate is wrong or has expired ({error})")
        if isinstance(error, pulsar.AuthorizationError):
            return NotAllowed(f"{self._settings.shown}: the token or certificate does not allow this ({error})")
        return Unreachable(f"{self._settings.shown} does not answer ({error}): retry, or look at the URL")

    def send(self, records: Sequence[Record], logs: dict[tuple[str, int], list[int]]) -> Sent:
        """Publish `records` by the indexes of each (topic, partition); returns when all are settled."""
        flight, queued = _Flight(), 0
        outlets: list[_Outlet] = []
        try:
            outlets.extend(self._outlet(log) for log in logs)  # those before one that fails are given back
            for outlet, indexes in zip(outlets, logs.values(), strict=True):
                send = outlet.producer.send_async
                for index in indexes:
                    _, key, value, headers, _, at = records[index]
                    name, properties = pack(key, headers)
                    send(value, partial(flight.settle, index), properties, name, event_timestamp=at)
                queued += len(indexes)
            if not flight.landed(queued, self._settings.timeout + 5):
                every = [index for indexes in logs.values() for index in indexes]
                return Sent(every, reason=f"no acknowledgement within {self._settings.timeout:.0f} s")
        finally:
            with self._lock:
                for outlet in outlets:
                    outlet.flights -= 1
        failed = [index for index, result in flight.failed if result != pulsar.Result.MessageTooBig]
        too_large = [index for index, result in flight.failed if result == pulsar.Result.MessageTooBig]
        gone = (pulsar.Result.TopicNotFound, pulsar.Result.TopicTerminated, pulsar.Result.AlreadyClosed)
        reason = str(flight.failed[-1][1]) if flight.failed else ""
        return Sent(failed, too_large, any(result in gone for _, result in flight.failed), reason)

    def has_producer(self, topic: str, partition: int) -> bool:
        return (topic, partition) in self._outlets

    def reader(self, topic: str, partition: int, start: tuple[int, int] | None) -> Any:
        """A reader from that entry, inclusive, or from the first one kept."""
        where = pulsar.MessageId.earliest if start is None else pulsar.MessageId(partition, *start)
        name = self._partition(topic, partition)
        return self._made(topic, lambda: self._connected().create_reader(name, where, start_message_id_inclusive=True))

    def forget(self, topic: str) -> None:
        """Close the producers of a topic that is no more; left open they would make it again."""
        with self._lock:
            found = [self._outlets.pop(key) for key in list(self._outlets) if key[0] == topic]
        for outlet in found:
            _close(outlet.producer)

    def close(self) -> None:
        with self._lock:
            outlets, self._outlets = list(self._outlets.values()), {}
            client, self._client = self._client, None
        for outlet in outlets:
            _close(outlet.producer)
        if client is not None:
            _close(client)

    def _partition(self, topic: str, partition: int) -> str:
        return f"persistent://{self._settings.namespace}/{topic}-partition-{partition}"

    def _outlet(self, log: tuple[str, int]) -> _Outlet:
        """The log's, counted as in use. A lost connection is tried again ever more rarely: a new one is made then."""
        with self._lock:
            found = self._outlets.get(log)
            if found is not None and (found.flights or found.producer.is_connected()):
                found.flights += 1
                return found
        if not self._making.acquire(timeout=self._settings.timeout):
            raise Unreachable(f"{self._settings.shown} does not answer: retry")
        try:
            with self._lock:
                now = self._outlets.get(log)
            if now is None or now is found:
                now = _Outlet(self._make_producer(*log))
                if found is not None:
                    _close(found.producer)
            with self._lock:
                self._outlets[log] = now
                now.flights += 1
            return now
        finally:
            self._making.release()

    def _make_producer(self, topic: str, partition: int) -> Any:
        return self._made(
            topic,
            lambda: self._connected().create_producer(
                self._partition(topic, partition),
                producer_name=f"{self._name}-{next(self._number)}",
                send_timeout_millis=int(self._settings.timeout * 1000),
                compression_type=_COMPRESSION[self._settings.compression],
                max_pending_messages=0,
                batching_enabled=True,
                batching_max_publish_delay_ms=max(self._settings.linger_ms, 1),
            ),
        )

    def _made(self, topic: str, make: Callable[[], Any]) -> Any:
        """Tried again within the timeout: a broker that has just started takes its time to load a topic."""
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
                    # What goes wrong is raised; the client's own words would go to standard output.
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
