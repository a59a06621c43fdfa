"""What some lines of a log came to: events to publish, refusals by their reason, and lines that are not understood.

Addresses never leave the import: in a line that goes to the dead letters they are masked.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from activity import codec
from activity.event import DEAD_LETTER_TOPIC, Event, topic_of, visitor_key
from activity.refusal import DeadLetter
from brokers.base import Record
from ingest.dead_letters import Sent, mask
from ingest.logs.formats import LONGEST

WHERE = "import"

_encode = msgspec.json.Encoder().encode


@dataclass
class Accepted:
    """The lines of which events are made, an entry each in all lists."""

    ids: list[str] = field(default_factory=list)  # of the line's own event, 32 hex digits
    visitors: list[str] = field(default_factory=list)  # 16 hex digits
    bots: list[bool] = field(default_factory=list)
    topics: list[str] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    searches: dict[int, Record] = field(default_factory=dict)  # of the search that follows from it, by its index here

    def __len__(self) -> int:
        return len(self.ids)

    def records(self, indexes: Sequence[int]) -> list[Record]:
        """Return the records of the lines' own events, of the lines at these indexes."""
        return list(map(Record, *(map(its.__getitem__, indexes) for its in (self.topics, self.keys, self.values))))

    def add(self, events: list[Event]) -> None:
        """Add a line of which these events are made: its own, and the search that follows where there is one."""
        first = events[0]
        key = visitor_key(first.site, first.visitor)
        if len(events) > 1:
            self.searches[len(self)] = Record(topic_of(events[1].type), key, codec.encode(events[1]))
        self.ids.append(first.id)
        self.visitors.append(first.visitor)
        self.bots.append(bool(first.bot))
        self.topics.append(topic_of(first.type))
        self.keys.append(key)
        self.values.append(codec.encode(first))


@dataclass
class Batch:
    """What some lines came to. Each line is accepted, refused or not understood, and counted in one of the three."""

    lines: int = 0
    shape: str = ""  # of the lines, where it is not the file's: the `#Fields` of a W3C log may change inside it
    accepted: Accepted = field(default_factory=Accepted)
    refused: dict[str, int] = field(default_factory=dict)  # lines by reason
    refused_lines: list[tuple[int, str]] = field(default_factory=list)  # number, why: for people to mend
    not_understood: list[tuple[int, bytes, str]] = field(default_factory=list)  # number, line, why

    def refuse(self, reason: str, count: int = 1) -> None:
        """Count `count` lines as refused for this reason."""
        self.refused[reason] = self.refused.get(reason, 0) + count


def masked(line: bytes) -> str:
    """Return the line as a dead letter may hold it: base64, without addresses, the first `LONGEST` bytes of it."""
    return base64.b64encode(mask(line)[:LONGEST]).decode()


def dead_letter(line: str, reason: str, received_at: int, site: str, shape: str) -> Record:
    """Make the dead letter of a line, given as `masked` returns it; `received_at` is milliseconds UTC."""
    sender = msgspec.Raw(_encode(Sent(protocol=WHERE, shape=shape)))
    letter = DeadLetter(
        reason=reason, received_at=received_at, bytes=line, where=WHERE, site=site, sender=sender
    )
    return Record(DEAD_LETTER_TOPIC, line[:64].encode(), _encode(letter))
