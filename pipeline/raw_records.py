"""Erasing records from a log: events, published sessions and dead letters of those who are forgotten.

A broker that cannot erase keeps them until its retention is over; then the receipt says when that is.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import msgspec

from activity import columns
from activity.definitions import HOUR_MS
from activity.erasure import Erasures, Expiry
from activity.event import DEAD_LETTER_TOPIC, SESSION_TOPIC, TOPICS, visitor_key
from activity.refusal import OUTCOMES
from brokers.base import Broker, Erasing, Stored, TopicPartition
from brokers.routing import partition_of

_HOLDING = (*TOPICS, SESSION_TOPIC, DEAD_LETTER_TOPIC)

Remains = list[dict[str, Any]]
# Takes how many events of which hours of receipt (ms) are about to go, and a name by which that counts once.
Count = Callable[[Mapping[int, int], str], None]


def erase_records(
    broker: Broker, site: str, erasures: Erasures, user: str, needles: Sequence[str], now: int, count: Count
) -> tuple[int, Remains]:
    """Erase the records that tombstones of a site cover; returns how many, and what remains and until when.

    `user` is whose tombstone is among them, "" for nobody's. `needles` are texts by which a dead letter names one of
    them; `now` is in ms. Each event is counted before it goes."""
    there = broker.topics()
    if not isinstance(broker, Erasing):
        return 0, [_until(broker, name, there[name].retention_ms, now) for name in _HOLDING if name in there]
    visitors = [each.visitor for each in erasures.tombstones if each.visitor]
    keys = {visitor_key(site, visitor) for visitor in visitors}
    containing = [visitor.encode() for visitor in visitors]
    # A record of the user that is not loaded yet may be of a visitor whom nobody knows.
    containing += [msgspec.json.encode(user)] if user else []

    def events(records: Sequence[Stored]) -> list[bool]:
        found, bad = columns.decode([record.value or b"" for record in records])
        gone = [False] * len(records)
        covered = found.filter(erasures.covered(found))
        for row in covered["row"]:
            gone[row] = True
        if covered.height:
            text = b"".join(records[row].value or b"" for row in covered["row"])
            count(Counter(covered["received_at"] // HOUR_MS * HOUR_MS), _named(records[0], text))
        for row in bad:  # a published session is no event, either
            gone[row] = records[row].key in keys and bool(records[row].value)
        return gone

    def letters(records: Sequence[Stored]) -> list[bool]:
        return [_names(record.value or b"", site, needles) for record in records]

    def partitions(name: str) -> list[TopicPartition]:
        of_topic = there[name].partitions if name in there else 0
        whole = bool(user) or name == DEAD_LETTER_TOPIC
        numbers = range(of_topic) if whole or not of_topic else sorted({partition_of(key, of_topic) for key in keys})
        return [TopicPartition(name, number) for number in numbers]

    # The dead letters first: of the others the broker knows what to look for, in all of its files, once.
    erased = broker.erase(partitions(DEAD_LETTER_TOPIC), [], letters)
    if containing:
        named = [partition for name in (*TOPICS, SESSION_TOPIC) for partition in partitions(name)]
        erased += broker.erase(named, containing, events)
    return erased, []


def expire_records(broker: Broker, expiry: Expiry, now: int, count: Count) -> tuple[int, Remains]:
    """Erase the events, sessions and dead letters of a site that have expired; returns as `erase_records`."""
    there = broker.topics()
    if not isinstance(broker, Erasing):
        return 0, [_until(broker, name, there[name].retention_ms, now) for name in _HOLDING if name in there]
    erasures, key = Erasures((), (expiry,)), f"{expiry.site}/".encode()

    def wanted(records: Sequence[Stored]) -> list[bool]:
        # Records that are looked at together are of one topic.
        kind = next((_kind(record.value) for record in records if record.value), _Other())
        if kind.session_id or kind.reason:
            return [bool(record.value) and _is_older(_kind(record.value), expiry) for record in records]
        gone = [False] * len(records)
        rows = [row for row, record in enumerate(records) if record.key and record.key.startswith(key)]
        if not rows:
            return gone
        found, _ = columns.decode([records[row].value or b"" for row in rows])
        covered = found.filter(erasures.expired(found))
        for row in covered["row"]:
            gone[rows[row]] = True
        if covered.height:
            text = b"".join(records[rows[row]].value or b"" for row in covered["row"])
            count(Counter(covered["received_at"] // HOUR_MS * HOUR_MS), _named(records[0], text))
        return gone

    of_topics = [
        TopicPartition(name, number) for name in _HOLDING if name in there for number in range(there[name].partitions)
    ]
    return broker.erase(of_topics, [], wanted), []


class _Other(msgspec.Struct):
    """What a record has that is no event, as far as it matters here: of a dead letter, or of a session."""

    site: str = ""
    reason: str = ""
    received_at: int = 0
    session_id: str = ""
    started_at: int = 0


def _kind(value: bytes | None) -> _Other:
    try:
        return msgspec.json.decode(value or b"", type=_Other)
    except msgspec.MsgspecError:
        return _Other()


def _is_older(other: _Other, expiry: Expiry) -> bool:
    at = other.started_at if other.session_id else other.received_at
    return other.site == expiry.site and at < expiry.occurred_before and other.reason != OUTCOMES


def _named(first: Stored, values: bytes) -> str:
    return f"{first.position}/{blake2b(values, digest_size=16).hexdigest()}"


class _Letter(msgspec.Struct):
    reason: str = ""
    bytes: str = ""
    site: str = ""
    visitor: str = ""


def _names(value: bytes, site: str, needles: Sequence[str]) -> bool:
    """Whether a dead letter in its envelope is of the site's visitor, or what was received has one of the texts."""
    try:
        letter = msgspec.json.decode(value, type=_Letter)
        received = base64.b64decode(letter.bytes, validate=True)
    except (msgspec.MsgspecError, binascii.Error, ValueError):
        letter, received = _Letter(), value
    if letter.site == site and letter.visitor in needles:
        return True
    if letter.reason == OUTCOMES:
        return False
    # The envelope's own text has the letter's id, and the visitors that its sender is at other sites.
    texts = (received, value) if letter.site in ("", site) else (value,)
    return any(needle.encode() in text for needle in needles for text in texts)


def _until(broker: Broker, topic: str, retention_ms: int, now: int) -> dict[str, Any]:
    where = f"{topic} on {broker.url}"
    if retention_ms < 0:
        return {"where": where, "why": "the broker keeps raw records for ever: give the topic a retention"}
    until = datetime.fromtimestamp((now + retention_ms) / 1000, UTC)
    # Whoever reads them again leaves them out, by the tombstones.
    why = "the broker's retention" + (", also letters that name them" if topic == DEAD_LETTER_TOPIC else "")
    return {"where": where, "until": until.isoformat(timespec="seconds"), "why": why}
