"""Why an event is refused: a closed set of reasons, each with words that reach the sender.

A refusal is a value, never an exception. Every reason here is something for the sender to correct, except
`RATE_LIMITED`, which the sender should retry.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from activity.event import DEAD_LETTER_TOPIC


class Reason(StrEnum):
    """Why an event was refused, by the name that the sender sees."""

    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    UNKNOWN_FIELD_TYPE = "wrong_type"
    MISSING_FIELD = "missing_field"
    INVALID_URL = "invalid_url"
    INVALID_TIME = "invalid_time"
    TOO_OLD = "too_old"
    UNKNOWN_SITE = "unknown_site"
    WRONG_ORIGIN = "wrong_origin"
    NOT_ALLOWED = "not_allowed"
    OPTED_OUT = "opted_out"
    RATE_LIMITED = "rate_limited"
    TOO_MANY = "too_many"


# The HTTP status of a response when no event was taken; the highest among its refusals wins.
STATUS: dict[Reason, int] = {
    Reason.UNKNOWN_SITE: 403,
    Reason.WRONG_ORIGIN: 403,
    Reason.NOT_ALLOWED: 403,
    Reason.TOO_LARGE: 413,
    Reason.RATE_LIMITED: 429,
}


class Refusal(msgspec.Struct, frozen=True):
    """One refused event: its index in the request, the reason, and a sentence that says what to do about it."""

    index: int
    reason: Reason
    detail: str


COUNTED_ONLY = "counted_only"  # the reason of a dead letter that holds the sum of those that were not kept
NO_ENVELOPE = "not an envelope"  # of a record on the dead-letter topic that is no `DeadLetter`


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """What was received and could not be understood. As JSON it is the value of a record on the dead-letter topic."""

    # A `Reason`, `COUNTED_ONLY` for the sum of those that were not kept, the words of an import, or OUTCOMES.
    reason: str
    received_at: int  # Unix milliseconds
    bytes: str  # base64 of what was received, or of its beginning
    where: str = ""  # the path of the request that brought it, or `import`
    topic: str = DEAD_LETTER_TOPIC
    detail: str = ""  # what the sender was told
    length: int | None = None  # of what was received, in bytes
    id: str = ""  # see `letter_id`; "" of an import's and of an older one, which are told apart by what they hold
    site: str = ""  # the domain of a known site, where one could be made out
    visitor: str = ""  # of that site, or of none: 16 hex digits
    sender: msgspec.Raw = msgspec.Raw(b"{}")  # as JSON, what else its repair needs to know of the sender


def letter_id(received_at: int, own: str) -> str:
    """Return the id of a request received at `received_at` (Unix milliseconds), and of its dead letter: the time in 12
    hex digits, so that a letter is found by it, and then `own`, 16 hex digits."""
    return f"{received_at:012x}{own}"


# The reason of a record on the dead-letter topic that is no dead letter: its bytes are `OutcomeCounts`.
OUTCOMES = "outcomes"


class OutcomeCounts(msgspec.Struct, frozen=True):
    """What became of the events that came to a process of the tracking service, as JSON; `id` names the record.

    Each count has the hour of receipt (its beginning, Unix milliseconds), the site ("" for none that is known), the
    outcome, its reason and how many. Accepted events are counted as the records that they became."""

    id: str
    counts: list[tuple[int, str, str, str, int]]
