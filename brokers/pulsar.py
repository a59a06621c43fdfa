"""`pulsar://host:6650/tenant/namespace`: Apache Pulsar.

* Topics are partitioned, made explicitly, and kept for their retention: see `brokers.pulsar_topics`.
* A publish is acked by the ledger's quorum; what the client sends again is dropped by the topic's deduplication.
* A position is (ledger, entry, index in the batch): see `brokers.pulsar_ledgers`. The end of a partition is asked
  of the admin service, never taken from an acknowledgement.
* Times are publish times by the producer's clock, one for each batch.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from brokers.base import (
    Bounds,
    BrokerError,
    Capability,
    Description,
    Gone,
    NoSuchTopic,
    Position,
    Record,
    Setting,
    Stored,
    TopicInfo,
    Unreachable,
    Unsent,
    WrongIncarnation,
)
from brokers.options import no_partition
from brokers.outgoing import place
from brokers.positions import MADE_AGAIN
from brokers.pulsar_admin import Admin
from brokers.pulsar_client import PulsarClient, TopicMissing
from brokers.pulsar_cursors import Cursors, Log
from brokers.pulsar_groups import Groups
from brokers.pulsar_ledgers import Ends, LedgerReader, Ledgers, Order
from brokers.pulsar_removal import remove_before, seal
from brokers.pulsar_settings import PulsarSettings, parse
from brokers.pulsar_topics import Described, Topics

_DESCRIPTION_SECONDS = 1.0


def connect(url: str, secrets: dict[str, str] | None = None) -> PulsarBroker:
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
        self._ledgers = LedgerReader(self._admin, self._topics.path, self.url)
        self._groups = Groups(self._admin, self._topics.path, self._ledgers, self.url)
        self._ends = Ends()
        self._cursors = Cursors(self._client, self._crossed, self.url)
        self._described: dict[str, tuple[float, Described]] = {}
        self._closed = False

    def ping(self, timeout: float = 5.0) -> str:
        self._open()
        version = self._admin.ask("GET", "/brokers/version", timeout=timeout).body.decode()
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
        self._describe(name)
        return self._topics.settings(name)

    # Topics

    def create_topic(self, name: str, partitions: int = 4, retention_ms: int = -1, replication: int = 1) -> None:
        self._open()
        self._described.pop(name, None)
        self._topics.create(name, partitions, retention_ms, replication)

    def topics(self) -> dict[str, TopicInfo]:
        self._open()
        return {name: info for name in self._topics.names() if (info := self._topics.info(name))}

    def partitions(self, topic: str) -> int:
        return self._describe(topic).partitions

    def delete_topic(self, name: str) -> None:
        self._describe(name)
        self._forget(name)
        self._topics.delete(name)

    # Publishing

    def publish(self, records: Sequence[Record]) -> None:
        self._open()
        limit = self._settings.max_record_bytes
        outgoing = place(records, self._known_partitions, limit)
        for topic, partition in outgoing.logs:
            if not self._client.has_producer(topic, partition):
                self._describe(topic)  # a producer could make the topic, if nobody looked
        try:
            sent = self._client.send(records, outgoing.logs)
        except TopicMissing as error:
            raise self._no_topic(str(error)) from error
        if sent.no_topic:
            for topic, _ in outgoing.logs:
                self._forget(topic)
                self._describe(topic)  # raises NoSuchTopic for the one that is gone
        if sent.failed:
            for topic, _ in outgoing.logs:
                self._described.pop(topic, None)  # ask anew next time: why it failed may be seen then
            failed = sorted({*sent.failed, *sent.too_large})
            message = f"{self.url}: {len(failed)} of {len(records)} records are not durable ({sent.reason}): send again"
            if len(failed) == len(records) and not sent.too_large:
                raise Unreachable(message)
            raise Unsent(message, failed)
        outgoing.too_large.extend(sent.too_large)
        outgoing.raise_too_large(records, limit)

    def _known_partitions(self, topic: str) -> int:
        """Partition counts are fixed, so a description of any age will do; a deleted topic shows when sending."""
        known = self._described.get(topic)
        return known[1].partitions if known else self._describe(topic).partitions

    # Reading

    def bounds(self, topic: str, partition: int) -> Bounds | None:
        log, view = self._look(topic, partition)
        last = self._last(log, view)
        if view.first is None or last is None:
            return None
        return Bounds(Position(view.first, log.incarnation), Position(last, log.incarnation))

    def read_range(
        self, topic: str, partition: int, after: Position | None, upto: Position, batch: int = 10_000
    ) -> Iterator[list[Stored]]:
        log, view = self._look(topic, partition)
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
                    raise Unreachable(f"{self.url}: {topic}[{partition}] gives nothing after {cursor.at}: retry")

    def read_after(
        self, topic: str, partition: int, after: Position | None, limit: int = 10_000, wait: float = 0.0
    ) -> list[Stored]:
        log, view = self._look(topic, partition)
        start = self._start(log, view, after)
        with self._cursors.at(log, start) as cursor:
            found = cursor.peek(limit, self._last(log, view), wait, self._settings.timeout)
            cursor.skip(found)
        return found

    def end_before(self, topic: str, partition: int, after: Position | None, limit: int) -> Position | None:
        log, view = self._look(topic, partition)
        start = self._start(log, view, after)
        with self._cursors.at(log, start) as cursor:
            found = cursor.peek(limit, self._last(log, view), 0, self._settings.timeout)
        return found[-1].position if found else None

    def position_at(self, topic: str, partition: int, timestamp_ms: int) -> Position | None:
        log, view = self._look(topic, partition)
        if view.last_entry is None:
            return None
        found = view.before(*self._ledgers.at_time(topic, partition, timestamp_ms))
        return None if found is None else Position(self._ledgers.last(topic, partition, found), log.incarnation)

    def timestamp_of(self, topic: str, partition: int, position: Position) -> int:
        log, view = self._look(topic, partition)
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
            raise Gone(f"{log.topic}[{log.partition}]: there is no record at {position}")
        return found[0].timestamp

    # Groups

    def remember(self, group: str, topic: str, partition: int, position: Position) -> None:
        log, view = self._look(topic, partition)
        self._check(log, view, position)
        self._groups.remember(group, log, view, position)

    def recall(self, group: str, topic: str, partition: int) -> Position | None:
        self._check_partition(topic, partition)
        return self._groups.recall(group, topic, partition)

    def seal(self, topic: str, partition: int) -> None:
        """End the ledger that is written to; see `brokers.pulsar_removal`."""
        self._check_partition(topic, partition)
        seal(self._admin, self._topics, topic, partition)

    def remove_before(self, topic: str, partition: int, position: Position) -> None:
        """Drop the ledgers before `position`, as retention would; for the conformance suite and for operators."""
        self._check_partition(topic, partition)
        timeout = self._settings.timeout
        remove_before(self._admin, self._topics, self._ledgers, topic, partition, position, timeout)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._cursors.forget()
            self._client.close()
            self._admin.close()

    def _open(self) -> None:
        if self._closed:
            raise BrokerError(f"{self.url} is closed: connect again")

    def _forget(self, topic: str) -> None:
        self._described.pop(topic, None)
        self._cursors.forget(topic)
        self._client.forget(topic)

    def _no_topic(self, topic: str) -> NoSuchTopic:
        self._described.pop(topic, None)
        return NoSuchTopic(f"topic {topic} does not exist on {self.url}: create it first")

    def _describe(self, topic: str) -> Described:
        self._open()
        now = time.monotonic()
        known = self._described.get(topic)
        if known is None or now - known[0] > _DESCRIPTION_SECONDS:
            described = self._topics.describe(topic)
            if described is None:
                raise self._no_topic(topic)
            known = self._described[topic] = (now, described)
        return known[1]

    def _check_partition(self, topic: str, partition: int) -> Log:
        described = self._describe(topic)
        if not 0 <= partition < described.partitions:
            raise no_partition(topic, partition, described.partitions)
        return Log(topic, partition, described.incarnation)

    def _look(self, topic: str, partition: int) -> tuple[Log, Ledgers]:
        log = self._check_partition(topic, partition)
        return log, self._ledgers.view(topic, partition)

    def _last(self, log: Log, view: Ledgers) -> Order | None:
        return view.last_entry and self._ledgers.last(log.topic, log.partition, view.last_entry)

    def _check(self, log: Log, view: Ledgers, position: Position) -> None:
        if position.incarnation != log.incarnation:
            raise WrongIncarnation(
                f"{log.topic}[{log.partition}]: position {position} belongs to another incarnation than"
                f" {log.incarnation}: {MADE_AGAIN}"
            )
        if len(position.order) != 3 or view.beyond(position.order):
            raise WrongIncarnation(
                f"{log.topic}[{log.partition}]: position {position} lies beyond the end: the checkpoint belongs to"
                " another log, or the log was restored from an older copy"
            )

    def _start(self, log: Log, view: Ledgers, after: Position | None) -> Order | None:
        """Where to read on, once it is certain that nothing behind `after` was removed. None: from the first kept."""
        if after is None:
            return None
        self._check(log, view, after)
        if any(ledger == after.order[0] for ledger, _ in view.held):
            return after.order
        first = view.first
        if first is None and after.order[0] == view.current:
            return after.order
        next_ledger = first[0] if first else view.current
        if self._ends.nothing_between(log.topic, log.partition, after.order, next_ledger):
            return None if first else after.order
        if self._groups.vouches(log, view, after):
            return None if first else after.order
        raise _gone(log, after)

    def _crossed(self, log: Log, last: Order, order: Order) -> None:
        """A reader came from one ledger to another: was there one between them?"""
        view = self._ledgers.view(log.topic, log.partition)
        following = [ledger for ledger, _ in view.held if ledger > last[0]]
        if any(ledger == last[0] for ledger, _ in view.held) and following[:1] == [order[0]]:
            self._ends.passed(log.topic, log.partition, last, order[0])
        else:
            self._start(log, view, Position(last, log.incarnation))


def _gone(log: Log, position: Position) -> Gone:
    return Gone(
        f"{log.topic}[{log.partition}]: records about {position} were removed by retention: read them from the archive,"
        " or go on from the first kept"
    )
