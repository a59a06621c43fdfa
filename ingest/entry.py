"""What the service hands to its outbox, and what becomes of it.

`collect` and `dead_letters` make an `Entry` of an event or a letter, and `outbox` gives each its `Verdict`, or the
request its `Unavailable`. `service` turns these into the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

import msgspec


class Unavailable(Exception):
    """The request could not be made durable now; its sender should retry after `retry_after` seconds."""

    retry_after = 5


class Verdict(Enum):
    """What became of an entry."""

    ACCEPTED = "accepted"
    REUSED = "id_reused"  # accepted, although the sender used the id before for other content
    DUPLICATE = "duplicate"
    TOO_LARGE = "too_large"


Message = tuple[str, bytes | None, bytes]  # topic, key, value
Touch = tuple[str, str, int]  # a visitor's activity, for the live view: site, visitor, Unix milliseconds


class Entry(msgspec.Struct, gc=False):
    """The messages that one event of a sender becomes; they are made durable together or not at all."""

    messages: Sequence[Message]  # each becomes a record once the outbox has numbered it
    memory_key: bytes | None = None  # the key for recognising duplicates; None if the event has no id
    event_id: bytes = b""
    touch: Touch | None = None

    @property
    def site(self) -> str:
        """The site of its events, which their key (`visitor_key`) begins with; "" of a dead letter."""
        key = self.messages[0][1]
        return "" if key is None else key.rpartition(b"/")[0].decode()


Settled = Callable[[list[Verdict] | Unavailable], None]  # is given the verdicts, or why there are none
