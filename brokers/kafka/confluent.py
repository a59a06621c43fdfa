"""The Kafka client for the hot path: confluent-kafka, which is librdkafka.

One producer serves all threads, and each publish waits for its own delivery reports. Consumers are kept in a pool,
because making one costs threads and a connection. They never join a group.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
)
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.cimpl import NewTopic

from brokers.base import BrokerError, Gone, Position, Record, Refused, Stored, TopicPartition, Unsupported
from brokers.kafka.client import RecentRefusal, bad_credentials, no_answer, not_allowed, untrusted
from brokers.kafka.confluent_reports import Flight, Reports
from brokers.kafka.settings import KafkaSettings
from brokers.kafka.tokens import Tokens
from brokers.routing import Logs, Sent, TopicDescription

_LOGIN = {
    KafkaError._AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
}
_RIGHTS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
_NO_TOPIC = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}


class ConfluentClient:
    """See `brokers.kafka.client.Client`."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._timeout = settings.timeout
        self._last_error = ""
        self._refusal = RecentRefusal()
        self._base = _common(settings) | {"error_cb": self._note_error}
        if settings.mechanism == "OAUTHBEARER":
            self._tokens = Tokens(settings)
            self._base["oauth_cb"] = self._give_token
        self._lock = threading.Lock()
        self._admin_client: AdminClient | None = None
        self._producer: Producer | None = None
        self._reports = Reports()
        self._serving: threading.Thread | None = None
        self._idle: list[Consumer] = []
        self._closing = threading.Event()

    def _note_error(self, error: KafkaError) -> None:
        self._last_error = error.str()
        self._refusal.note(self._refused(error))

    def _give_token(self, _: str) -> tuple[str, float]:
        try:
            return self._tokens.token()
        except Refused as error:  # the library calls this, and reports a failed login in its own words
            self._refusal.note(error)
            raise

    def _config(self) -> dict[str, Any]:
        """Return what every client of the library is made with.

        The token is fetched first: for one that it cannot get, the library would wait 10 s."""
        if "oauth_cb" in self._base:
            self._tokens.token()
        return self._base

    def _refused(self, error: KafkaError) -> Refused | None:
        words = error.str()
        if error.code() in _RIGHTS:
            return not_allowed(self._settings, words)
        if error.code() in _LOGIN:
            return bad_credentials(self._settings, words)
        if error.code() == KafkaError._SSL or "SSL alert" in words:
            return untrusted(self._settings, words)
        return None

    def failure(self, error: Exception) -> BrokerError:
        """Return the contract's error for one of the library's."""
        cause = error.args[0] if error.args else error
        words = cause.str() if isinstance(cause, KafkaError) else str(error) or type(error).__name__
        if isinstance(cause, KafkaError) and (refused := self._refused(cause)):
            return refused
        if self._admin_client is not None:
            self._admin_client.poll(0)  # it calls back for the errors it has met
        if refused := self._refusal.get():
            return refused
        if isinstance(cause, KafkaError) and not (cause.retriable() or cause.code() < 0):
            return BrokerError(f"{self._settings.shown}: {words}")
        detail = f"; {self._last_error}" if self._last_error else ""
        return no_answer(self._settings, words + detail)

    @property
    def _admin(self) -> AdminClient:
        with self._lock:
            if self._admin_client is None:
                self._admin_client = AdminClient(self._config())
            return self._admin_client

    def ping(self, timeout: float) -> str:
        try:
            cluster = self._admin.list_topics(timeout=timeout)
        except KafkaException as error:
            raise self.failure(error) from error
        return f"cluster {cluster.cluster_id} of {len(cluster.brokers)} broker(s)"

    def describe(self, topic: str) -> TopicDescription | None:
        try:
            futures = self._admin.describe_topics(TopicCollection([topic]), request_timeout=self._timeout)
            found = futures[topic].result(self._timeout + 1)
        except KafkaException as error:
            if error.args[0].code() in _NO_TOPIC:
                return None
            raise self.failure(error) from error
        except TimeoutError as error:
            raise self.failure(error) from error
        high, low = found.topic_id.get_most_significant_bits(), found.topic_id.get_least_significant_bits()
        number = (high & (1 << 64) - 1) << 64 | low & (1 << 64) - 1
        incarnation = f"{number:032x}" if number else ""
        return TopicDescription(len(found.partitions), incarnation, len(found.partitions[0].replicas))

    def topics(self) -> list[str]:
        try:
            return sorted(name for name in self._admin.list_topics(timeout=self._timeout).topics if name[:2] != "__")
        except KafkaException as error:
            raise self.failure(error) from error

    def create(self, topic: str, partitions: int, replication: int, config: Mapping[str, str]) -> None:
        new = NewTopic(topic, num_partitions=partitions, replication_factor=replication, config=dict(config))
        try:
            self._result(self._admin.create_topics([new], request_timeout=self._timeout)[topic])
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.INVALID_REPLICATION_FACTOR:
                raise Unsupported(f"{self._settings.shown}: {error.args[0].str()}") from error
            if code != KafkaError.TOPIC_ALREADY_EXISTS:
                raise self.failure(error) from error

    def configure(self, topic: str, config: Mapping[str, str]) -> None:
        entries = [ConfigEntry(k, v, incremental_operation=AlterConfigOpType.SET) for k, v in config.items()]
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
        self._answer(self._admin.incremental_alter_configs([resource], request_timeout=self._timeout)[resource])

    def config(self, topic: str) -> Mapping[str, str]:
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        found = self._answer(self._admin.describe_configs([resource], request_timeout=self._timeout)[resource])
        return {name: entry.value for name, entry in found.items()}

    def delete(self, topic: str) -> None:
        self._answer(self._admin.delete_topics([topic], request_timeout=self._timeout)[topic])

    def delete_before(self, partition: TopicPartition, offset: int) -> None:
        where = Place(*partition, offset)
        self._answer(self._admin.delete_records([where], request_timeout=self._timeout)[where])

    # Publishing

    def send(self, records: Sequence[Record], logs: Logs) -> Sent:
        if not logs:
            return Sent()
        producer = self._producing()
        flight = Flight()
        deadline = time.monotonic() + self._timeout
        failed: list[int] = []
        reason = ""
        produce, report = producer.produce, flight.report
        for (topic, number), indexes in logs.items():
            for index in indexes:
                _, key, value, headers, _, at = records[index]
                sent: Any = list(headers) if headers else None
                while True:
                    try:
                        produce(topic, value, key, number, report, None, at or 0, sent)
                    except BufferError:
                        if time.monotonic() < deadline:
                            self._reports.serve(producer, 0.05)  # the client's queue is full: let some of it leave
                            continue
                        failed.append(index)
                        reason = "the client's queue is full"
                    except KafkaException as error:
                        failed.append(index)
                        reason = error.args[0].str()
                    break
        flight.expected = sum(map(len, logs.values())) - len(failed)
        # librdkafka reports on each record within message.timeout.ms.
        if not self._reports.wait(producer, flight, self._timeout + 5):
            everything = [index for indexes in logs.values() for index in indexes]
            return Sent(everything, reason=f"no report within {self._timeout:.0f} s")
        return self._settled(flight.failures(records, logs), failed, reason)

    def _settled(self, failures: Iterable[tuple[int, KafkaError | None]], failed: list[int], reason: str) -> Sent:
        too_large, no_topic, refused = [], False, None
        for index, error in failures:
            if error is None:
                failed.append(index)
                reason = "acknowledged without an offset"
                continue
            if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                too_large.append(index)
                continue
            failed.append(index)
            reason = error.str()
            no_topic = no_topic or error.code() in _NO_TOPIC
            refused = refused or self._refused(error) or self._refusal.get()
            if error.fatal():
                self._producer = None  # an idempotent producer that lost its sequence cannot go on
        return Sent(failed, too_large, no_topic, reason, refused)

    def _producing(self) -> Producer:
        with self._lock:
            if self._producer is None:
                self._producer = Producer(
                    {
                        **self._config(),
                        "enable.idempotence": True,
                        "acks": "all",
                        "linger.ms": self._settings.linger_ms,
                        "batch.size": self._settings.batch_bytes,
                        "compression.type": self._settings.compression,
                        "message.timeout.ms": int(self._timeout * 1000),
                        "message.max.bytes": self._settings.max_record_bytes + 65_536,
                    }
                )
            if self._serving is None:
                self._serving = threading.Thread(target=self._serve, name="kafka-reports", daemon=True)
                self._serving.start()
            return self._producer

    def _serve(self) -> None:
        while not self._closing.wait(0.1):
            if (producer := self._producer) is not None:
                self._reports.serve(producer, 0)

    # Reading

    def ends(self, partition: TopicPartition) -> tuple[int, int]:
        with self._reading() as consumer:
            try:
                low, high = consumer.get_watermark_offsets(Place(*partition), timeout=self._timeout)
            except KafkaException as error:
                raise self.failure(error) from error
        return low, high

    def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> int | None:
        where = Place(*partition)
        futures = self._admin.list_offsets(
            {where: OffsetSpec.for_timestamp(max(timestamp_ms, 0))},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=self._timeout,
        )
        offset: int = self._answer(futures[where]).offset
        return offset if offset >= 0 else None

    @contextmanager
    def cursor(self, partition: TopicPartition, incarnation: str, start: int) -> Iterator[ConfluentCursor]:
        with self._reading() as consumer:
            consumer.assign([Place(*partition, start)])
            try:
                yield ConfluentCursor(self, consumer, incarnation, start)
            finally:
                with suppress(KafkaException):
                    consumer.unassign()

    @contextmanager
    def _reading(self) -> Iterator[Consumer]:
        """Lend a consumer. One that failed is closed: of a topic that was created a moment ago it may believe stale
        metadata for longer than any caller waits."""
        consumer = self._borrow()
        usable = True
        try:
            yield consumer
        except Exception:
            usable = False
            raise
        finally:
            if usable and not self._closing.is_set():
                self._idle.append(consumer)
            else:
                consumer.close()

    def _borrow(self) -> Consumer:
        try:
            return self._idle.pop()
        except IndexError:
            return Consumer(
                {
                    **self._config(),
                    "group.id": "footfall-reader",  # the library requires one; nothing joins or commits
                    "enable.auto.commit": False,
                    "enable.partition.eof": True,
                    "auto.offset.reset": "error",
                    "isolation.level": "read_committed",
                    "client.rack": self._settings.zone,
                    "fetch.max.bytes": self._settings.fetch_bytes,
                    "max.partition.fetch.bytes": self._settings.partition_fetch_bytes,
                    # A fetch that waits at the end of one partition delays the next one to be read by this long.
                    "fetch.wait.max.ms": 20,
                    "queued.max.messages.kbytes": 32_768,
                }
            )

    # Groups

    def commit(self, group: str, partition: TopicPartition, offset: int, note: str) -> None:
        where = ConsumerGroupTopicPartitions(group, [Place(*partition, offset, note)])
        self._answer(self._admin.alter_consumer_group_offsets([where], request_timeout=self._timeout)[group])

    def committed(self, group: str, partition: TopicPartition) -> tuple[int, str] | None:
        where = ConsumerGroupTopicPartitions(group, [Place(*partition)])
        futures = self._admin.list_consumer_group_offsets([where], request_timeout=self._timeout)
        found = self._answer(futures[group]).topic_partitions[0]
        return (found.offset, found.metadata or "") if found.offset >= 0 else None

    def close(self) -> None:
        self._closing.set()
        if self._serving is not None:
            self._serving.join()
        if self._producer is not None:
            self._producer.flush(self._timeout)
        while self._idle:
            self._idle.pop().close()
        self._producer = self._admin_client = None

    def _result(self, future: Any) -> Any:
        try:
            return future.result(self._timeout + 1)
        except TimeoutError as error:
            raise self.failure(error) from error

    def _answer(self, future: Any) -> Any:
        try:
            return self._result(future)
        except KafkaException as error:
            raise self.failure(error) from error


class ConfluentCursor:
    """See `brokers.kafka.client.OffsetCursor`."""

    def __init__(self, client: ConfluentClient, consumer: Consumer, incarnation: str, start: int) -> None:
        self.next = start
        self._client = client
        self._consumer = consumer
        self._incarnation = incarnation

    def take(self, limit: int, wait: float) -> list[Stored]:
        first = self._consumer.poll(wait)
        if first is None:
            return []
        messages: list[Any] = [first]
        if limit > 1 and first.error() is None:
            messages += self._consumer.consume(limit - 1, 0)
        incarnation = self._incarnation
        found: list[Stored] = []
        for message in messages:
            if message.error() is None:
                offset, headers = message.offset(), tuple(message.headers() or ())
                position = Position((offset,), incarnation)
                found.append(Stored(position, message.timestamp()[1], message.key(), message.value(), headers))
                self.next = offset + 1
            else:
                self._handle_event(message)
        return found

    def _handle_event(self, message: Any) -> None:
        """Act on an event that the library delivers in place of a record."""
        error = message.error()
        if error.code() == KafkaError._PARTITION_EOF:
            self.next = max(self.next, message.offset())
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise Gone(f"{message.topic()}[{message.partition()}]: retention removed offset {self.next}")
        else:
            raise self._client.failure(KafkaException(error))


def _common(settings: KafkaSettings) -> dict[str, Any]:
    config: dict[str, Any] = {
        "bootstrap.servers": settings.servers,
        "client.id": settings.client_id,
        "security.protocol": settings.protocol,
        "socket.timeout.ms": int(settings.timeout * 1000),
        "socket.keepalive.enable": True,
        "connections.max.idle.ms": settings.idle_ms,
        "metadata.max.age.ms": settings.metadata_age_ms,
        # The library accepts no answer above this, and an answer may be somewhat larger than the fetch allows.
        "receive.message.max.bytes": max(100_000_000, 2 * settings.fetch_bytes),
        "allow.auto.create.topics": False,
        "log_level": 2,  # errors are raised, with what the library said last
    }
    files = {"ssl.ca.location": settings.ca, "ssl.certificate.location": settings.certificate}
    files["ssl.key.location"] = settings.key
    config.update({name: path for name, path in files.items() if path})
    if settings.sasl:
        config["sasl.mechanism"] = settings.mechanism
    if settings.sasl and settings.mechanism != "OAUTHBEARER":
        config.update({"sasl.username": settings.username, "sasl.password": settings.password})
    return config
