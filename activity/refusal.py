"""Why an event is not taken: a closed set, each with the words that reach its sender.

A refusal is a value, never an exception. It says whose turn it is: everything here is for the sender to
mend, except `RATE_LIMITED`, which is for the sender to retry.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Reason(StrEnum):
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


# The HTTP status of an answer in which nothing was taken; the highest of its refusals wins.
STATUS: dict[Reason, int] = {
    Reason.UNKNOWN_SITE: 403,
    Reason.WRONG_ORIGIN: 403,
    Reason.NOT_ALLOWED: 403,
    Reason.TOO_LARGE: 413,
    Reason.RATE_LIMITED: 429,
}


class Refusal(msgspec.Struct, frozen=True):
    """One event refused: its index in the request, the reason's name, and what to do about it in a sentence."""

    index: int
    reason: Reason
    detail: str


class DeadLetter(msgspec.Struct, frozen=True):
    """What was received and could not be understood: as JSON, the value of a record on the topic of dead letters."""

    topic: str
    where: str  # the path by which it came
    reason: str  # a `Reason`, or `counted_only` for the sum of those that were not kept
    detail: str
    received_at: int  # Unix milliseconds
    bytes: str  # base64 of what was received, perhaps only of its beginning
    length: int  # of what was received, in bytes
