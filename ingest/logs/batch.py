"""What some lines of a log came to: events to publish, refusals by their reason, and lines that are not understood.

Addresses never leave the import: in a line that goes to the dead letters they are masked.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from activity import blocks
from activity.blocks import Block
from activity.event import DEAD_LETTER_TOPIC
from activity.refusal import DeadLetter
from brokers.base import Columns, Record
from ingest.dead_letters import Sent, mask
from ingest.logs.formats import LONGEST

WHERE = "import"

_encode = msgspec.json.Encoder().encode


class InColumns(msgspec.Struct):
    """Events of lines as columns, all of one topic."""

    topic: str
    lines: list[int]  # the index of each event's line in `Accepted`, ascending
    block: bytes  # see `activity.blocks`


@dataclass
class Accepted:
    """The lines of which events are made, an entry each in the first three; and these events.

    Each line has an event of its own, and may have more that follow from it, such as a search: these come later."""

    ids: list[str] = field(default_factory=list)  # of the line's own event, 32 hex digits
    visitors: list[str] = field(default_factory=list)  # 16 hex digits
    bots: list[bool] = field(default_factory=list)
    in_columns: list[InColumns] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def records(self, indexes: Sequence[int]) -> list[list[Record]]:
        """Return of each of the lines at these indexes (ascending) the records of its events, its own first."""
        found: dict[int, list[Record]] = {index: [] for index in indexes}
        for topic, lines, block in self._columns(indexes):
            for line, record in zip(lines, Columns(topic, block).records(), strict=True):
                found[line].append(record)
        return list(found.values())

    def publishable(self, indexes: Sequence[int]) -> list[Columns]:
        """Return the events of the lines at these indexes (ascending)."""
        return [Columns(topic, block) for topic, _, block in self._columns(indexes)]

    def _columns(self, indexes: Sequence[int]) -> Iterator[tuple[str, list[int], Block]]:
        """Yield what some lines have in columns: the topic, each event's line, and the events."""
        is_wanted = np.zeros(len(self), bool)
        is_wanted[indexes] = True
        for its in self.in_columns:
            block, rows = blocks.unpack(its.block), is_wanted[its.lines].nonzero()[0]
            if len(rows) == block.size:
                yield its.topic, its.lines, block
            elif len(rows):
                yield its.topic, [its.lines[row] for row in rows], block.take(rows)


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
