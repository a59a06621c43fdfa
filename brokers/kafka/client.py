"""What the Kafka adapter requires of a client library, and the errors that both libraries share.

When a broker is there and refuses, librdkafka and kafka-python say so in their own ways, and neither says it where it
matters: a failed login ends as a time-out. The clients find the cause; the messages are made here, so that they are the
same for both.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from brokers.base import BadCredentials, NotAllowed, Record, Refused, Stored, TopicPartition, Unreachable, Untrusted
from brokers.kafka.settings import KafkaSettings
from brokers.routing import Logs, Sent, TopicDescription

_CERTIFICATE_WANTED = ("certificate required", "bad certificate", "unknown ca", "certificate unknown")
_REFUSAL_SECONDS = 12.0  # a refusal is met again at each reconnection: at most 10 s apart


class OffsetCursor(Protocol):
    """Reads one partition from an offset. `next` is where it stands: past control records, which take offsets too."""

    next: int

    def take(self, limit: int, wait: float) -> list[Stored]:
        """Return at most `limit` records; wait for the first one, for the end of the log or for `wait` seconds."""


class Client(Protocol):
    """One client library. Every method is bounded by the settings' timeout and raises only `BrokerError`s."""

    def ping(self, timeout: float) -> str:
        """Return the cluster's id and the number of its brokers."""

    def describe(self, topic: str) -> TopicDescription | None:
        """Return the topic, None if there is none. Its incarnation is Kafka's topic id in hex, "" without one."""

    def topics(self) -> list[str]:
        """Return the names of all topics but the broker's own."""

    def create(self, topic: str, partitions: int, replication: int, config: Mapping[str, str]) -> None:
        """Create a topic; an existing one is left as it is."""

    def configure(self, topic: str, config: Mapping[str, str]) -> None:
        """Set settings of a topic and leave the others."""

    def config(self, topic: str) -> Mapping[str, str]:
        """Return all settings of a topic."""

    def delete(self, topic: str) -> None: ...

    def delete_before(self, partition: TopicPartition, offset: int) -> None:
        """Remove the records before `offset`, as retention would."""

    def send(self, records: Sequence[Record], logs: Logs) -> Sent:
        """Publish the records at the indexes in `logs`, and return once each is acknowledged or has failed."""

    def ends(self, partition: TopicPartition) -> tuple[int, int]:
        """Return the first offset kept and the next offset of committed records."""

    def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> int | None:
        """Return the first offset stamped at or after `timestamp_ms`, None if there is none."""

    def cursor(self, partition: TopicPartition, incarnation: str, start: int) -> AbstractContextManager[OffsetCursor]:
        """Lend a cursor that stands at offset `start`; its records' positions have this incarnation."""

    def commit(self, group: str, partition: TopicPartition, offset: int, note: str) -> None:
        """Store an offset and a note for a group."""

    def committed(self, group: str, partition: TopicPartition) -> tuple[int, str] | None:
        """Return the offset and the note that `commit` stored last."""

    def close(self) -> None: ...


class RecentRefusal:
    """The last refusal that a library met in the background, apart from the call that fails because of it."""

    def __init__(self) -> None:
        self._met: tuple[float, Refused] | None = None

    def note(self, refused: Refused | None) -> None:
        """Keep a refusal; None leaves the last one."""
        if refused is not None:
            self._met = (time.monotonic(), refused)

    def get(self) -> Refused | None:
        """Return the last refusal unless it is too old to explain a failure of now."""
        return self._met[1] if self._met and time.monotonic() - self._met[0] < _REFUSAL_SECONDS else None


def no_answer(settings: KafkaSettings, words: str) -> Unreachable:
    """Return the error for a broker that does not answer; `words` are the library's."""
    todo = "retry, or look at the URL" if settings.tls else "retry, or look at the URL (a TLS port needs tls=true)"
    return Unreachable(f"{settings.shown} does not answer ({words}): {todo}")


def untrusted(settings: KafkaSettings, words: str) -> Untrusted:
    """Return the error for a TLS handshake that fails."""
    if any(alert in words.lower() for alert in _CERTIFICATE_WANTED):
        given = f"not the certificate in {settings.certificate}" if settings.certificate else "a client certificate"
        todo = f"the broker wants {given}: give certificate=FILE&key=FILE of an authority that it knows"
    elif "wrong version number" in words.lower() or "record layer failure" in words.lower():
        todo = "the broker does not speak TLS on this port: take its TLS port, or tls=false"
    else:
        believed = f"the authority in {settings.ca}" if settings.ca else "an authority of this system"
        todo = (
            f"the broker's certificate is not for this host name or not of {believed}: give ca=FILE, the certificate"
            " of the authority that signed it"
        )
    return Untrusted(f"{settings.shown}: {todo} ({words})")


def bad_credentials(settings: KafkaSettings, words: str) -> BadCredentials:
    """Return the error for a login that fails."""
    if settings.sasl in ("OAUTHBEARER", "MSK-IAM"):
        who, todo = "the token", "check that it is of the right audience and has not expired, and who may log in"
    else:
        who = f"user {settings.username!r}" if settings.username else "a client without a user"
        todo = "check the user name and the password among the secrets, and that the broker offers this sasl="
    return BadCredentials(f"{settings.shown}: the broker refuses {who} ({words}): {todo}")


def not_allowed(settings: KafkaSettings, words: str) -> NotAllowed:
    """Return the error for an operation that the user has no permission for."""
    who = f"user {settings.username!r}" if settings.username and settings.sasl else "this client"
    return NotAllowed(
        f"{settings.shown}: {who} may not do this ({words}): ask who runs the broker for an ACL that allows it"
        " (Describe, Read, Write, Create, Delete, Alter, DescribeConfigs and AlterConfigs on topics footfall.*, Read on"
        " groups footfall*)"
    )
