"""Checks whether a broker is fit: publishes to a topic of its own, reads it back, and compares the topics."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from activity.event import ALL_TOPICS, DEAD_LETTER_TOPIC, TOPICS
from brokers.base import (
    Administered,
    BadCredentials,
    Broker,
    BrokerError,
    NotAllowed,
    Position,
    Record,
    TopicPartition,
    Unreachable,
    Untrusted,
)
from infra.topics import COPIES, REPLAY_MS, TopicSpec, copied, copies, kept, plan

_ROUNDS = 100
_ROUNDS_SECONDS = 3.0
_SECONDS = 1.5  # how long to publish for the throughput
_BATCH = 500
_RECORD_BYTES = 400

_KINDS: dict[type[BrokerError], str] = {
    Unreachable: "unreachable",
    Untrusted: "tls",
    BadCredentials: "credentials",
    NotAllowed: "authorisation",
}


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong with the broker."""

    kind: str
    text: str  # what is wrong, and what to do


class Report(msgspec.Struct):
    """What the check found before it ended. Rates are in records of 400 bytes per second, in batches of 500."""

    url: str
    product: str = ""
    version: str = ""
    brokers: int = 0
    features: tuple[str, ...] = ()
    capabilities: dict[str, Any] = {}
    round_trip_ms: dict[str, float] = {}  # p50 and p99, from publishing a record until it is read
    published_per_second: int = 0
    read_per_second: int = 0
    problems: list[Problem] = []
    notes: list[str] = []


def check(broker: Broker, timeout: float) -> Report:
    """Checks `broker`, waiting `timeout` seconds for its first answer, and leaves nothing behind on it.

    An error of the broker ends the check and is the last problem of the report.
    """
    report = Report(broker.url, problems=[], notes=[])
    try:
        _describe(broker, timeout, report)
        _servers(broker, report)
        _topics(broker, report)
        _scratch(broker, report)
    except BrokerError as error:
        kind = next((name for of, name in _KINDS.items() if isinstance(error, of)), "broker")
        report.problems.append(Problem(kind, str(error)))
    return report


def _describe(broker: Broker, timeout: float, report: Report) -> None:
    if isinstance(broker, Administered):
        report.product, report.version, report.brokers, report.features = broker.describe(timeout)
    else:
        report.product, report.brokers = broker.ping(timeout), 1
    report.capabilities = {name: msgspec.to_builtins(found) for name, found in broker.capabilities.items()}


def _topics(broker: Broker, report: Report) -> None:
    if not broker.topics().keys() & set(ALL_TOPICS):
        report.notes.append("there are no topics yet: `footfall up` makes them, or `footfall topics apply`")
        return
    report.problems += topic_problems(broker)


def topic_problems(broker: Broker) -> Iterator[Problem]:
    """What is wrong with the topics of `broker`, which has some; its retention included."""
    there = broker.topics()
    for change in plan(broker, TopicSpec()):
        if change.how == "create":
            todo = "`footfall up` makes it, or `footfall topics apply`"
            yield Problem("missing topic", f"{change.topic} is missing: {todo}")
        else:
            todo = change.note or "`footfall topics apply` sets it"
            kind = {"partitions": "partitions", "copies": "replication"}.get(change.what, "settings")
            yield Problem(kind, f"{change.topic} has {change.what} {change.held}, not {change.wanted}: {todo}")
    for name in (*TOPICS, DEAD_LETTER_TOPIC):
        held = there.get(name)
        if held is not None and 0 <= held.retention_ms < REPLAY_MS:
            text = (
                f"{name} is kept {kept(held.retention_ms)}, and the replay of a day reads {kept(REPLAY_MS)}: keep it"
                " longer with `footfall topics apply --retention-days`, or replay from the archive"
            )
            yield Problem("retention", text)


def _servers(broker: Broker, report: Report) -> None:
    if broker.capabilities["replication"].supported and copies(broker) < COPIES:
        report.notes.append(f"{report.brokers} server(s), so {copied(copies(broker))} of each event; three are safer")


def _scratch(broker: Broker, report: Report) -> None:
    topic = f"footfall.check-{secrets.token_hex(6)}"
    broker.create_topic(topic, 2, replication=copies(broker))
    try:
        last = _read_back(broker, topic, report)
        _round_trips(broker, topic, last, report)
        _throughput(broker, topic, report)
    finally:
        broker.delete_topic(topic)


def _read_back(broker: Broker, topic: str, report: Report) -> Position | None:
    sent = [Record(topic, b"key %d" % n, b"\xff\x00 %d" % n, (("name", b"\x00%d" % n),), 0) for n in range(20)]
    broker.publish(sent)
    first = TopicPartition(topic, 0)
    found = broker.read_after(first, None, len(sent), wait=10.0)
    while found and len(found) < len(sent) and (more := broker.read_after(first, found[-1].position, wait=10.0)):
        found += more
    if [(r.key, r.value, r.headers) for r in found] != [(r.key, r.value, r.headers) for r in sent]:
        text = f"of {len(sent)} acknowledged records {len(found)} were read back, not all equal: do not use this broker"
        report.problems.append(Problem("read back", text))
    return found[-1].position if found else None


def _round_trips(broker: Broker, topic: str, after: Position | None, report: Report) -> None:
    took: list[float] = []
    record = Record(topic, b"key", bytes(_RECORD_BYTES), (), 0)
    begun = time.perf_counter()
    while len(took) < _ROUNDS and time.perf_counter() - begun < _ROUNDS_SECONDS:
        start = time.perf_counter()
        broker.publish([record])
        found = broker.read_after(TopicPartition(topic, 0), after, wait=10.0)
        if not found:
            report.problems.append(Problem("read back", "a record that was acknowledged could not be read within 10 s"))
            return
        took.append((time.perf_counter() - start) * 1000)
        after = found[-1].position
    took.sort()
    report.round_trip_ms = {name: round(took[int(len(took) * p)], 2) for name, p in (("p50", 0.5), ("p99", 0.99))}


def _throughput(broker: Broker, topic: str, report: Report) -> None:
    batch = [Record(topic, b"key", secrets.token_bytes(_RECORD_BYTES), (), 1) for _ in range(_BATCH)]
    count, begun = 0, time.perf_counter()
    while (took := time.perf_counter() - begun) < _SECONDS:
        broker.publish(batch)
        count += _BATCH
    report.published_per_second = round(count / took)
    second = TopicPartition(topic, 1)
    bounds = broker.bounds(second)
    assert bounds is not None
    begun = time.perf_counter()
    found = sum(len(records) for records in broker.read_range(second, None, bounds.last))
    report.read_per_second = round(found / (time.perf_counter() - begun))
    if found != count:
        text = f"{count} records were acknowledged and {found} are there: do not use this broker"
        report.problems.append(Problem("read back", text))
