"""The Kafka client in pure Python: kafka-python, for small function packages and where no wheel of librdkafka fits.

About a twentieth of librdkafka's rate. Its constructors connect, so each is made when first needed, with a bound.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from uuid import UUID

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition, errors
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.structs import OffsetAndMetadata

from brokers.base import BrokerError, Gone, Record, Unreachable, Unsupported
from brokers.kafka_client import Described, Raw, Sent
from brokers.kafka_settings import KafkaSettings

Answer = TypeVar("Answer")
_NO_TOPIC = (errors.UnknownTopicOrPartitionError, errors.UnknownTopicIdError)


class PythonClient:
    """See `brokers.kafka_client.Client`."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._timeout = settings.timeout
        self._lock = threading.RLock()  # the admin client is not for several threads
        self._admin_client: Any = None
        self._producer: Any = None
        self._idle: list[Any] = []
        self._closed = False

    @contextmanager
    def named_errors(self) -> Any:
        try:
            yield
        except (errors.KafkaConnectionError, errors.KafkaTimeoutError, OSError) as error:
            words = str(error) or type(error).__name__
            raise Unreachable(f"{self._settings.shown} does not answer ({words}): retry, or look at the URL") from error
        except errors.InvalidReplicationFactorError as error:
            raise Unsupported(f"{self._settings.shown}: {error}") from error
        except errors.KafkaError as error:
            if error.retriable:  # such as no node being known to answer
                raise Unreachable(f"{self._settings.shown} does not answer ({error}): retry") from error
            raise BrokerError(f"{self._settings.shown}: {error}") from error

    def _config(self, timeout: float) -> dict[str, Any]:
        """For a constructor. It is not called where nobody listens: failing, it would leave its sockets open."""
        _find_listener(self._settings, timeout)
        return {**_common(self._settings), "bootstrap_timeout_ms": int(timeout * 1000)}

    def _ask(self, question: Callable[[Any], Answer], timeout: float | None = None) -> Answer:
        deadline = time.monotonic() + (timeout or self._timeout)
        with self._lock, self.named_errors():
            while True:
                if self._admin_client is None:
                    self._admin_client = KafkaAdminClient(**self._config(timeout or self._timeout))
                try:
                    return question(self._admin_client)
                except errors.KafkaError as error:  # such as a coordinator that is being made
                    if not isinstance(error, errors.BrokerResponseError):
                        # Once its broker was away, an admin client may never find a node again.
                        admin, self._admin_client = self._admin_client, None
                        admin.close()
                    if not error.retriable or time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)

    def ping(self, timeout: float) -> str:
        cluster = self._ask(lambda admin: admin.describe_cluster(), timeout)
        return f"Kafka, cluster {cluster['cluster_id']} of {len(cluster['brokers'])} broker(s)"

    def describe(self, topic: str) -> Described | None:
        def question(admin: Any) -> Described | None:
            try:
                found = admin.describe_topics([topic])[0]
            except _NO_TOPIC:
                return None
            if found["error_code"] in [error.errno for error in _NO_TOPIC]:
                return None
            number = UUID(str(found.get("topic_id") or UUID(int=0)))
            partitions = found["partitions"]
            return Described(len(partitions), len(partitions[0]["replica_nodes"]), number.hex if number.int else "")

        return self._ask(question)

    def topics(self) -> list[str]:
        return sorted(name for name in self._ask(lambda admin: admin.list_topics()) if name[:2] != "__")

    def create(self, topic: str, partitions: int, replication: int, config: Mapping[str, str]) -> None:
        def question(admin: Any) -> None:
            try:
                admin.create_topics([NewTopic(topic, partitions, replication, topic_configs=dict(config))])
            except errors.TopicAlreadyExistsError:
                return

        self._ask(question)

    def configure(self, topic: str, config: Mapping[str, str]) -> None:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs=dict(config))
        self._ask(lambda admin: admin.alter_configs([resource]))

    def config(self, topic: str) -> Mapping[str, str]:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        held = self._ask(lambda admin: admin.describe_configs([resource], config_filter="all"))
        return _values(held, topic)

    def delete(self, topic: str) -> None:
        self._ask(lambda admin: admin.delete_topics([topic]))

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        self._ask(lambda admin: admin.delete_records({TopicPartition(topic, partition): offset}))

    # Publishing

    def send(self, records: Sequence[Record], partitions: Mapping[int, int]) -> Sent:
        if not partitions:
            return Sent()
        producer = self._producing()
        futures: dict[int, Any] = {}
        failed: list[int] = []
        too_large: list[int] = []
        reason, no_topic, timed_out = "", False, False
        for index, number in partitions.items():
            topic, key, value, headers, _ = records[index]
            try:
                futures[index] = producer.send(topic, value, key, list(headers), number)
            except errors.MessageSizeTooLargeError:
                too_large.append(index)
            except errors.KafkaError as error:
                failed.append(index)
                reason = str(error)
        with suppress(errors.KafkaTimeoutError):  # what is not settled says so below
            producer.flush(self._timeout)  # wakes the sender, which otherwise sleeps out its poll of 100 ms
        deadline = time.monotonic() + self._timeout + 5  # each is settled within delivery_timeout_ms
        for index, future in futures.items():
            try:
                if future.get(timeout=max(deadline - time.monotonic(), 0.001)).offset < 0:
                    failed.append(index)  # see `kafka_confluent`: a success without an offset is none
                    reason = "acknowledged without an offset"
            except errors.MessageSizeTooLargeError:
                too_large.append(index)
            except errors.KafkaError as error:
                failed.append(index)
                reason = str(error) or type(error).__name__
                no_topic = no_topic or isinstance(error, _NO_TOPIC)
                timed_out = timed_out or isinstance(error, errors.KafkaTimeoutError)
        if timed_out:
            self._discard(producer)
        return Sent(failed, too_large, no_topic, reason)

    def _producing(self) -> Any:
        with self._lock, self.named_errors():
            if self._producer is None:
                milliseconds = int(self._timeout * 1000)
                compression = self._settings.compression
                config = self._config(self._timeout)
                # The library insists that one request and its wait fit in the delivery's bound.
                config["request_timeout_ms"] = max(milliseconds - self._settings.linger_ms - 1, 1)
                self._producer = KafkaProducer(
                    **config,
                    acks="all",
                    enable_idempotence=True,
                    linger_ms=self._settings.linger_ms,
                    compression_type=None if compression == "none" else compression,
                    delivery_timeout_ms=milliseconds,
                    max_block_ms=milliseconds,
                    max_request_size=self._settings.max_record_bytes + 65_536,
                )
            return self._producer

    def _discard(self, producer: Any) -> None:
        """The library forgets batches that were on their way when an older one expires: such a producer takes records
        and sends none for ever. The next publish makes a new one."""
        with self._lock:
            if self._producer is not producer:
                return
            self._producer = None
        producer._sender.force_close()  # closing alone waits first for what will never come
        with suppress(errors.KafkaTimeoutError):
            producer.close(timeout=self._timeout)

    # Reading

    def ends(self, topic: str, partition: int) -> tuple[int, int]:
        where = TopicPartition(topic, partition)
        consumer = self._borrow()
        try:
            with self.named_errors():
                milliseconds = int(self._timeout * 1000)
                low = consumer.beginning_offsets([where], timeout_ms=milliseconds)[where]
                high = consumer.end_offsets([where], timeout_ms=milliseconds)[where]
        finally:
            self._idle.append(consumer)
        return low, high

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        where = TopicPartition(topic, partition)
        consumer = self._borrow()
        try:
            with self.named_errors():
                found = consumer.offsets_for_times({where: max(timestamp_ms, 0)}, timeout_ms=int(self._timeout * 1000))
        finally:
            self._idle.append(consumer)
        return found[where].offset if found.get(where) and found[where].offset >= 0 else None

    def cursor(self, topic: str, partition: int, start: int) -> _Cursor:
        return _Cursor(self, self._borrow(), TopicPartition(topic, partition), start)

    def _borrow(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            with self.named_errors():
                return KafkaConsumer(
                    **self._config(self._timeout),
                    group_id=None,
                    enable_auto_commit=False,
                    auto_offset_reset="none",
                    isolation_level="read_committed",
                    allow_auto_create_topics=False,
                    fetch_max_wait_ms=20,
                )

    def give_back(self, consumer: Any) -> None:
        if self._closed:
            consumer.close()
        else:
            consumer.unsubscribe()
            self._idle.append(consumer)

    # Groups

    def commit(self, group: str, topic: str, partition: int, offset: int, note: str) -> None:
        where = TopicPartition(topic, partition)
        settled = self._ask(
            lambda admin: admin.alter_group_offsets(group, {where: OffsetAndMetadata(offset, note, -1)})
        )
        outcome = settled[where]
        if outcome is not errors.NoError:
            raise BrokerError(f"{self._settings.shown}: group {group} was not remembered ({outcome.__name__})")

    def committed(self, group: str, topic: str, partition: int) -> tuple[int, str] | None:
        where = TopicPartition(topic, partition)
        found = self._ask(lambda admin: admin.list_group_offsets({group: [where]}))[group].get(where)
        return (found.offset, found.metadata or "") if found is not None and found.offset >= 0 else None

    def close(self) -> None:
        self._closed = True
        with self._lock:
            if self._producer is not None:
                self._producer.close(timeout=self._timeout)
            if self._admin_client is not None:
                self._admin_client.close()
            while self._idle:
                self._idle.pop().close()
            self._producer = self._admin_client = None


class _Cursor:
    """See `brokers.kafka_client.Cursor`."""

    def __init__(self, client: PythonClient, consumer: Any, where: TopicPartition, start: int) -> None:
        self.next = start
        self._client = client
        self._consumer = consumer
        self._where = where
        consumer.assign([where])
        consumer.seek(where, start)

    def take(self, limit: int, wait: float) -> list[Raw]:
        """The library returns nothing when control records alone arrived, and then has moved on."""
        deadline = time.monotonic() + wait
        with self._client.named_errors():
            while True:
                left = max(deadline - time.monotonic(), 0)
                try:
                    polled = self._consumer.poll(timeout_ms=min(int(left * 1000), 100), max_records=limit)
                except errors.OffsetOutOfRangeError as error:
                    raise Gone(f"{self._where}: retention removed offset {self.next}") from error
                found = polled.get(self._where, ())
                moved = self._consumer.position(self._where) > self.next
                self.next = self._consumer.position(self._where)
                if found or moved or left <= 0:
                    return [(each.offset, each.timestamp, each.key, each.value, tuple(each.headers)) for each in found]

    def close(self) -> None:
        self._client.give_back(self._consumer)


def _find_listener(settings: KafkaSettings, timeout: float) -> None:
    """Raises OSError unless one of the brokers takes a connection."""
    servers = settings.servers.split(",")
    for server in servers:
        host, _, port = server.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=timeout / len(servers)).close()
            return
        except OSError:
            if server == servers[-1]:
                raise


def _values(held: Any, topic: str) -> dict[str, str]:
    """name -> value out of describe_configs' answer."""
    configs = held["topic"][topic]
    return {name: str(entry["value"]) for name, entry in configs.items()}


def _common(settings: KafkaSettings) -> dict[str, Any]:
    config: dict[str, Any] = {
        "bootstrap_servers": settings.servers.split(","),
        "client_id": "footfall",
        "security_protocol": settings.protocol,
        "request_timeout_ms": int(settings.timeout * 1000),
        "ssl_cafile": settings.ca or None,
        "ssl_certfile": settings.certificate or None,
        "ssl_keyfile": settings.key or None,
    }
    if settings.sasl:
        config.update(
            sasl_mechanism=settings.sasl,
            sasl_plain_username=settings.username,
            sasl_plain_password=settings.password,
        )
    return config
