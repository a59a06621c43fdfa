"""The Kafka client in pure Python: kafka-python, for small function packages and where no wheel of librdkafka fits.

It reaches about a twentieth of librdkafka's rate. Its constructors connect, so each client is made when it is first
needed, within a bound.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from uuid import UUID

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, errors
from kafka import TopicPartition as Place
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.net.compat import KafkaNetClient
from kafka.net.sasl.oauth import AbstractTokenProvider
from kafka.structs import OffsetAndMetadata

from brokers.base import BrokerError, Gone, Position, Record, Refused, Stored, TopicPartition, Unreachable, Unsupported
from brokers.kafka.client import RecentRefusal, bad_credentials, no_answer, not_allowed
from brokers.kafka.kafka_python_patches import apply_patches
from brokers.kafka.probe import find_listener
from brokers.kafka.settings import KafkaSettings
from brokers.kafka.tokens import Tokens
from brokers.routing import Logs, Sent, TopicDescription

Answer = TypeVar("Answer")
_LOGIN = (errors.SaslAuthenticationFailedError, errors.UnsupportedSaslMechanismError)
_NO_TOPIC = (errors.UnknownTopicOrPartitionError, errors.UnknownTopicIdError)


class PythonClient:
    """See `brokers.kafka.client.Client`."""

    def __init__(self, settings: KafkaSettings) -> None:
        apply_patches()
        logging.getLogger("kafka").setLevel(logging.INFO)  # below, it logs what it sends: passwords too
        self._settings = settings
        self._timeout = settings.timeout
        self._lock = threading.RLock()  # the admin client may be used by one thread at a time
        self._admin_client: Any = None
        self._producer: Any = None
        self._idle: list[Any] = []
        self._closed = False
        self._tokens = Tokens(settings)
        self._common = _common(settings, self._tokens)
        self._refusal = RecentRefusal()

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (*_LOGIN, errors.AuthorizationError) as error:
            raise self._refused(error) or BrokerError(str(error)) from error
        except (errors.KafkaConnectionError, errors.KafkaTimeoutError, OSError) as error:
            raise self._refusal.get() or no_answer(self._settings, str(error) or type(error).__name__) from error
        except errors.InvalidReplicationFactorError as error:
            raise Unsupported(f"{self._settings.shown}: {error}") from error
        except errors.KafkaError as error:
            if error.retriable:  # such as that it knows no node which answers
                raise Unreachable(f"{self._settings.shown} does not answer ({error}): retry") from error
            raise BrokerError(f"{self._settings.shown}: {error}") from error

    def _refused(self, error: Exception) -> Refused | None:
        if isinstance(error, Refused):
            return error
        if isinstance(error, _LOGIN):
            return bad_credentials(self._settings, str(error))
        return not_allowed(self._settings, str(error)) if isinstance(error, errors.AuthorizationError) else None

    def _note_failure(self, error: Exception) -> None:
        """Keep the reason why a connection failed: the library retries even a failed login until the time is over.

        Over TLS it loses the broker's answer to a login when the broker then closes the connection."""
        if self._settings.sasl and str(error).endswith("socket disconnected"):
            error = errors.SaslAuthenticationFailedError("it ends the connection during the login")
        self._refusal.note(self._refused(error))

    def _make(self, kind: Callable[..., Any], timeout: float, **config: Any) -> Any:
        """Make a client of the library, which connects at once.

        None is made if no broker listens, and one that fails is closed: it would leave its sockets open."""
        find_listener(self._settings, timeout)
        if self._settings.mechanism == "OAUTHBEARER":
            self._tokens.token()
        clients: list[Any] = []

        def watched(**given: Any) -> Any:
            client = KafkaNetClient(**given)
            connect = client._manager.get_connection

            def connecting(*args: Any, **kwargs: Any) -> Any:
                connection = connect(*args, **kwargs)
                connection.init_future.add_errback(self._note_failure)
                return connection

            client._manager.get_connection = connecting
            clients.append(client)
            return client

        try:
            return kind(**self._common, bootstrap_timeout_ms=int(timeout * 1000), kafka_client=watched, **config)
        except errors.KafkaTimeoutError as error:
            clients[0].close()
            raise self._refusal.get() or error from None

    def _request(self, operation: Callable[[Any], Answer], timeout: float | None = None) -> Answer:
        deadline = time.monotonic() + (timeout or self._timeout)
        with self._lock, self._named_errors():
            while True:
                if self._admin_client is None:
                    self._admin_client = self._make(
                        KafkaAdminClient, timeout or self._timeout, request_timeout_ms=int(self._timeout * 1000)
                    )
                try:
                    return operation(self._admin_client)
                except errors.KafkaError as error:  # such as that a coordinator is being elected
                    if not isinstance(error, errors.BrokerResponseError):
                        # Once its broker has been away, an admin client may never find a node again.
                        admin, self._admin_client = self._admin_client, None
                        admin.close()
                    if not error.retriable or time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)

    def ping(self, timeout: float) -> str:
        cluster = self._request(lambda admin: admin.describe_cluster(), timeout)
        return f"cluster {cluster['cluster_id']} of {len(cluster['brokers'])} broker(s)"

    def describe(self, topic: str) -> TopicDescription | None:
        def operation(admin: Any) -> TopicDescription | None:
            try:
                found = admin.describe_topics([topic])[0]
            except _NO_TOPIC:
                return None
            if found["error_code"] in [error.errno for error in _NO_TOPIC]:
                return None
            if found["error_code"]:
                raise errors.for_code(found["error_code"])(topic)
            number = UUID(str(found.get("topic_id") or UUID(int=0)))
            partitions = found["partitions"]
            incarnation = number.hex if number.int else ""
            return TopicDescription(len(partitions), incarnation, len(partitions[0]["replica_nodes"]))

        return self._request(operation)

    def topics(self) -> list[str]:
        return sorted(name for name in self._request(lambda admin: admin.list_topics()) if name[:2] != "__")

    def create(self, topic: str, partitions: int, replication: int, config: Mapping[str, str]) -> None:
        def operation(admin: Any) -> None:
            try:
                admin.create_topics([NewTopic(topic, partitions, replication, topic_configs=dict(config))])
            except errors.TopicAlreadyExistsError:
                return

        self._request(operation)

    def configure(self, topic: str, config: Mapping[str, str]) -> None:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs=dict(config))
        self._request(lambda admin: admin.alter_configs([resource]))

    def config(self, topic: str) -> Mapping[str, str]:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        found = self._request(lambda admin: admin.describe_configs([resource], config_filter="all"))
        return {name: str(entry["value"]) for name, entry in found["topic"][topic].items()}

    def delete(self, topic: str) -> None:
        self._request(lambda admin: admin.delete_topics([topic]))

    def delete_before(self, partition: TopicPartition, offset: int) -> None:
        self._request(lambda admin: admin.delete_records({Place(*partition): offset}))

    # Publishing

    def send(self, records: Sequence[Record], logs: Logs) -> Sent:
        if not logs:
            return Sent()
        producer = self._producing()
        futures: dict[int, Any] = {}
        failed: list[int] = []
        too_large: list[int] = []
        reason, no_topic, broken = "", False, False
        refused: Refused | None = None
        for index, number in [(index, number) for (_, number), indexes in logs.items() for index in indexes]:
            topic, key, value, headers, _, at = records[index]
            try:
                futures[index] = producer.send(topic, value, key, list(headers), number, at)
            except errors.MessageSizeTooLargeError:
                too_large.append(index)
            except (errors.KafkaError, Refused) as error:
                failed.append(index)
                reason = str(error)
                refused = refused or self._refused(error)
                broken = True
        with suppress(errors.KafkaTimeoutError):  # a record that is not settled says so below
            producer.flush(self._timeout)  # wakes the sender, which otherwise sleeps out its poll of 100 ms
        deadline = time.monotonic() + self._timeout + 5  # each is settled within delivery_timeout_ms
        for index, future in futures.items():
            try:
                if future.get(timeout=max(deadline - time.monotonic(), 0.001)).offset < 0:
                    failed.append(index)  # see `Flight`: a success without an offset is none
                    reason = "acknowledged without an offset"
            except errors.MessageSizeTooLargeError:
                too_large.append(index)
            except (errors.KafkaError, Refused) as error:
                failed.append(index)
                reason = str(error) or type(error).__name__
                no_topic = no_topic or isinstance(error, _NO_TOPIC)
                refused = refused or self._refused(error) or self._refusal.get()
                broken = broken or not isinstance(error, _NO_TOPIC)
        if broken:
            self._discard(producer)
        return Sent(failed, too_large, no_topic, reason, refused)

    def _producing(self) -> Any:
        with self._lock, self._named_errors():
            if self._producer is None:
                milliseconds = int(self._timeout * 1000)
                compression = self._settings.compression
                self._producer = self._make(
                    KafkaProducer,
                    self._timeout,
                    acks="all",
                    enable_idempotence=True,
                    linger_ms=self._settings.linger_ms,
                    batch_size=self._settings.batch_bytes,
                    compression_type=None if compression == "none" else compression,
                    # The library insists that one request and its wait fit in the delivery's bound.
                    request_timeout_ms=max(milliseconds - self._settings.linger_ms - 1, 1),
                    delivery_timeout_ms=milliseconds,
                    max_block_ms=milliseconds,
                    max_request_size=self._settings.max_record_bytes + 65_536,
                )
            return self._producer

    def _discard(self, producer: Any) -> None:
        """Drop a producer after a failure, which it seldom survives; the next publish makes a new one.

        Once a batch has expired it accepts records and may never send one, and once a login has failed it always
        fails."""
        with self._lock:
            if self._producer is not producer:
                return
            self._producer = None
        producer._sender.force_close()  # `close` alone first waits for answers that never come
        with suppress(errors.KafkaTimeoutError):
            producer.close(timeout=self._timeout)

    # Reading

    def ends(self, partition: TopicPartition) -> tuple[int, int]:
        where = Place(*partition)
        with self._reading() as consumer:
            milliseconds = int(self._timeout * 1000)
            low = consumer.beginning_offsets([where], timeout_ms=milliseconds)[where]
            high = consumer.end_offsets([where], timeout_ms=milliseconds)[where]
        return low, high

    def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> int | None:
        where = Place(*partition)
        with self._reading() as consumer:
            found = consumer.offsets_for_times({where: max(timestamp_ms, 0)}, timeout_ms=int(self._timeout * 1000))
        return found[where].offset if found.get(where) and found[where].offset >= 0 else None

    @contextmanager
    def cursor(self, partition: TopicPartition, incarnation: str, start: int) -> Iterator[PythonCursor]:
        with self._reading() as consumer:
            yield PythonCursor(consumer, Place(*partition), incarnation, start)

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        """Lend a consumer. One that failed is closed: like a producer, it may never find a broker that came back."""
        consumer = self._borrow()
        usable = True
        try:
            with self._named_errors():
                yield consumer
        except Exception:
            usable = False
            raise
        finally:
            if usable and not self._closed:
                consumer.unsubscribe()
                self._idle.append(consumer)
            else:
                consumer.close()

    def _borrow(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            with self._named_errors():
                return self._make(
                    KafkaConsumer,
                    self._timeout,
                    group_id=None,
                    enable_auto_commit=False,
                    auto_offset_reset="none",
                    isolation_level="read_committed",
                    allow_auto_create_topics=False,
                    fetch_max_wait_ms=20,
                    client_rack=self._settings.zone,
                    fetch_max_bytes=self._settings.fetch_bytes,
                    max_partition_fetch_bytes=self._settings.partition_fetch_bytes,
                    request_timeout_ms=int(self._timeout * 1000),
                )

    # Groups

    def commit(self, group: str, partition: TopicPartition, offset: int, note: str) -> None:
        where = Place(*partition)

        def operation(admin: Any) -> None:
            outcome = admin.alter_group_offsets(group, {where: OffsetAndMetadata(offset, note, -1)})[where]
            if outcome is not errors.NoError:
                raise outcome(f"group {group} was not remembered")

        self._request(operation)

    def committed(self, group: str, partition: TopicPartition) -> tuple[int, str] | None:
        where = Place(*partition)
        found = self._request(lambda admin: admin.list_group_offsets({group: [where]}))[group].get(where)
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


class PythonCursor:
    """See `brokers.kafka.client.OffsetCursor`."""

    def __init__(self, consumer: Any, where: Place, incarnation: str, start: int) -> None:
        self.next = start
        self._consumer = consumer
        self._where = where
        self._incarnation = incarnation
        consumer.assign([where])
        consumer.seek(where, start)

    def take(self, limit: int, wait: float) -> list[Stored]:
        # The library returns nothing when only control records have arrived, and then its position has moved.
        deadline = time.monotonic() + wait
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
                return [self._stored(one) for one in found]

    def _stored(self, one: Any) -> Stored:
        position = Position((one.offset,), self._incarnation)
        return Stored(position, one.timestamp, one.key, one.value, tuple(one.headers))


def _common(settings: KafkaSettings, tokens: Tokens) -> dict[str, Any]:
    config: dict[str, Any] = {
        "bootstrap_servers": settings.servers.split(","),
        "client_id": settings.client_id,
        "security_protocol": settings.protocol,
        "socket_options": [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)],
        "connections_max_idle_ms": max(settings.idle_ms, int(settings.timeout * 1000) + 1),  # or a reader refuses
        "metadata_max_age_ms": settings.metadata_age_ms,
        "reconnect_backoff_max_ms": 1_000,  # the library's 30 s would outlast a broker's restart by that much
        "ssl_cafile": settings.ca or None,
        "ssl_certfile": settings.certificate or None,
        "ssl_keyfile": settings.key or None,
    }
    if settings.mechanism == "OAUTHBEARER":
        config.update(sasl_mechanism="OAUTHBEARER", sasl_oauth_token_provider=_TokenProvider(tokens))
    elif settings.sasl:
        config.update(
            sasl_mechanism=settings.sasl,
            sasl_plain_username=settings.username,
            sasl_plain_password=settings.password,
        )
    return config


class _TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # a base without types
    """The library calls it at each connection."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def token(self) -> str:
        return self._tokens.token()[0]
