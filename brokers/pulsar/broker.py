"""`pulsar://host:6650/tenant/namespace`: Apache Pulsar.

* Topics are partitioned, created explicitly, and kept for their retention: see `brokers.pulsar.topics`.
* A publish is acked by the ledger's quorum. The topic's deduplication drops what the client sends again.
* A position is (ledger, entry, index in the batch): see `brokers.pulsar.ledgers`. The end of a partition comes from the
  admin service, never from an acknowledgement.
* Times are publish times by the producer's clock, one for each batch.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from brokers.base import (
    Bounds,
    Capability,
    Description,
    Gone,
    Position,
    Record,
    Setting,
    Stored,
    TopicInfo,
    TopicPartition,
    Unreachable,
)
from brokers.checks import beyond_end, check_incarnation, check_partition, closed
from brokers.pulsar.admin import Admin
from brokers.pulsar.client import PulsarClient, TopicMissing
from brokers.pulsar.cursors import Cursors
from brokers.pulsar.ledgers import Ends, Groups, LedgerReader, Ledgers, Log, Order
from brokers.pulsar.settings import PulsarSettings, parse
from brokers.pulsar.topics import Topics
from brokers.routing import Router, TopicCache


def connect(url: str, secrets: dict[str, str] | None = None) -> PulsarBroker:
    """Return the adapter. The client connects when it is first used."""
    return PulsarBroker(parse(url, secrets or {}))


class PulsarBroker:
    """See `brokers.base.Broker` for every method's guarantee."""

    capabilities = {
        "durable": Capability(True, "acked by the ledger's quorum of bookies; a copy's safety is the bookie's journal"),
        "shared": Capability(True, "any number of processes and machines"),
        "replication": Capability(True, "copies of each ledger, set when the topic is created"),
        "retention": Capability(True, "by age, a ledger at a time; held back by what groups remember"),
    }

    def __init__(self, settings: PulsarSettings) -> None:
        self.url = settings.shown
        self._settings = settings
        self._admin = Admin(settings)
        self._client = PulsarClient(settings)
        self._topics = Topics(settings, self._admin)
        self._descriptions = TopicCache(self._topics.describe, self.url)
        self._router = Router(self._descriptions.partitions, settings.max_record_bytes)
        self._ledgers = LedgerReader(self._admin, self._topics.partition_path, self.url)
        self._groups = Groups(self._admin, self._topics.partition_path, self._ledgers)
        self._ends = Ends()
        self._cursors = Cursors(self._client, self._crossed, self.url)
        self._closed = False

    def ping(self, timeout: float = 5.0) -> str:
        self._check_open()
        version = self._admin.request("GET", "/brokers/version", timeout=timeout).body.decode()
        service = urlsplit(self._settings.service.split(",")[0])
        try:
            socket.create_connection((service.hostname, service.port), timeout).close()
        except OSError as error:
            raise Unreachable(f"{self.url} does not answer ({error}): retry, or look at the URL") from error
        return f"Pulsar {version}"

    def describe(self, timeout: float = 5.0) -> Description:
        version = self.ping(timeout).removeprefix("Pulsar ")
        features = ("deduplication", "retention without subscriptions")
        return Description("Pulsar", version, self._topics.bookies(), features)

    def topic_settings(self, name: str, replication: int) -> dict[str, Setting]:  # noqa: ARG002
        self.partitions(name)
        return self._topics.settings(name)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._cursors.forget()
            self._client.close()
            self._admin.close()

    # Topics

    def create_topic(self, name: str, partitions: int = 4, retention_ms: int = -1, replication: int = 1) -> None:
        self._check_open()
        self._descriptions.forget(name)
        self._topics.create(name, partitions, retention_ms, replication)

    def topics(self) -> dict[str, TopicInfo]:
        self._check_open()
        return {name: info for name in self._topics.names() if (info := self._topics.info(name))}

    def partitions(self, topic: str) -> int:
        self._check_open()
        return self._descriptions.get(topic).partitions

    def delete_topic(self, name: str) -> None:
        self.partitions(name)
        self._forget(name)
        self._topics.delete(name)

    # Publishing

    def publish(self, records: Sequence[Record]) -> None:
        self._check_open()
        outgoing = self._router.route(records)
        for partition in outgoing.logs:
            if not self._client.has_producer(partition):
                self._descriptions.get(partition.topic)  # a new producer could create a missing topic
        try:
            sent = self._client.send(records, outgoing.logs)
        except TopicMissing as error:
            raise self._descriptions.missing(str(error)) from error
        if sent.no_topic:
            for topic, _ in outgoing.logs:
                self._forget(topic)
                self._descriptions.get(topic)  # raises NoSuchTopic for the one that is gone
        if sent.failed:
            for topic, _ in outgoing.logs:
                self._descriptions.forget(topic)  # fetched again next time: the reason may show then
        outgoing.raise_unsent(sent, self.url)

    # Reading

    def bounds(self, partition: TopicPartition) -> Bounds | None:
        log, view = self._look(partition)
        last = self._last(log, view)
        if view.first is None or last is None:
            return None
        return Bounds(Position(view.first, log.incarnation), Position(last, log.incarnation))

    def read_range(
        self, partition: TopicPartition, after: Position | None, upto: Position, batch: int = 10_000
    ) -> Iterator[list[Stored]]:
        log, view = self._look(partition)
        self._check(log, view, upto)
        start = self._start(log, view, after)
        if view.first is None or upto.order < view.first:
            raise _gone(log, upto)
        with self._cursors.at(log, start) as cursor:
            while cursor.at is None or cursor.at < upto.order:
                found = cursor.take(batch, upto.order, self._settings.timeout)
                if found:
                    yield found
                elif cursor.passed(upto.order):
                    break
                else:
                    raise Unreachable(f"{self.url}: {partition} gives nothing after {cursor.at}: retry")

    def read_after(
        self, partition: TopicPartition, after: Position | None, limit: int = 10_000, wait: float = 0.0
    ) -> list[Stored]:
        log, view = self._look(partition)
        start = self._start(log, view, after)
        with self._cursors.at(log, start) as cursor:
            found = cursor.peek(limit, self._last(log, view), wait, self._settings.timeout)
            cursor.skip(found)
        return found

    def end_before(self, partition: TopicPartition, after: Position | None, limit: int) -> Position | None:
        log, view = self._look(partition)
        start = self._start(log, view, after)
        with self._cursors.at(log, start) as cursor:
            found = cursor.peek(limit, self._last(log, view), 0, self._settings.timeout)
        return found[-1].position if found else None

    def position_at(self, partition: TopicPartition, timestamp_ms: int) -> Position | None:
        log, view = self._look(partition)
        if view.last_entry is None:
            return None
        found = view.before(*self._ledgers.at_time(partition, timestamp_ms))
        return None if found is None else Position(self._ledgers.last(partition, found), log.incarnation)

    def timestamp_of(self, partition: TopicPartition, position: Position) -> int:
        log, view = self._look(partition)
        self._check(log, view, position)
        if view.first is None or position.order < view.first:
            raise _gone(log, position)
        found = self._cursors.time_at(log, position.order)
        return self._read_time(log, position) if found is None else found

    def _read_time(self, log: Log, position: Position) -> int:
        ledger, entry, index = position.order
        before = (ledger, entry, index - 1)  # a reader starts with the whole entry
        with self._cursors.at(log, before) as cursor:
            found = cursor.take(1, position.order, self._settings.timeout)
        if not found:
            raise Gone(f"{log.partition}: there is no record at {position}")
        return found[0].timestamp

    # Groups

    def remember(self, group: str, partition: TopicPartition, position: Position) -> None:
        log, view = self._look(partition)
        self._check(log, view, position)
        self._groups.remember(group, log, view, position)

    def recall(self, group: str, partition: TopicPartition) -> Position | None:
        self._log(partition)
        return self._groups.recall(group, partition)

    def seal(self, partition: TopicPartition) -> None:
        """Close the ledger that is written to, so that retention can remove it; for the conformance suite."""
        self._log(partition)
        self._topics.seal(partition)

    def remove_before(self, partition: TopicPartition, position: Position) -> None:
        """Remove the ledgers before `position`, as retention would; for the conformance suite and for operators."""
        self._log(partition)
        self._topics.remove_before(self._ledgers, partition, position)

    def _check_open(self) -> None:
        if self._closed:
            raise closed(self.url)

    def _forget(self, topic: str) -> None:
        self._descriptions.forget(topic)
        self._cursors.forget(topic)
        self._client.forget(topic)

    def _log(self, partition: TopicPartition) -> Log:
        self._check_open()
        described = self._descriptions.get(partition.topic)
        check_partition(partition, described.partitions)
        return Log(partition, described.incarnation)

    def _look(self, partition: TopicPartition) -> tuple[Log, Ledgers]:
        return self._log(partition), self._ledgers.view(partition)

    def _last(self, log: Log, view: Ledgers) -> Order | None:
        return view.last_entry and self._ledgers.last(log.partition, view.last_entry)

    def _check(self, log: Log, view: Ledgers, position: Position) -> None:
        check_incarnation(log.partition, position, log.incarnation)
        if len(position.order) != 3 or view.beyond(position.order):
            raise beyond_end(log.partition, position)

    def _start(self, log: Log, view: Ledgers, after: Position | None) -> Order | None:
        """Return where to read on, None for the first record kept. Raises `Gone` unless nothing is surely missing."""
        if after is None:
            return None
        self._check(log, view, after)
        if any(ledger == after.order[0] for ledger, _ in view.kept):
            return after.order
        first = view.first
        if first is None and after.order[0] == view.current:
            return after.order
        next_ledger = first[0] if first else view.current
        if self._ends.nothing_between(log.partition, after.order, next_ledger):
            return None if first else after.order
        if self._groups.covers(log, view, after):
            return None if first else after.order
        raise _gone(log, after)

    def _crossed(self, log: Log, last: Order, order: Order) -> None:
        """Raise `Gone` if a ledger lay between the two through which a reader came, and note their ends otherwise."""
        view = self._ledgers.view(log.partition)
        following = [ledger for ledger, _ in view.kept if ledger > last[0]]
        if any(ledger == last[0] for ledger, _ in view.kept) and following[:1] == [order[0]]:
            self._ends.note(log.partition, last, order[0])
        else:
            self._start(log, view, Position(last, log.incarnation))


def _gone(log: Log, position: Position) -> Gone:
    return Gone(
        f"{log.partition}: records about {position} were removed by retention: read them from the archive, or go on"
        " from the first kept: if it is the loader that lacks them, by `footfall topics reset-positions`"
    )
