"""Times as senders write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FARTHEST = 253_402_300_799_999  # the last millisecond of the year 9999


def time_of(value: int | float | str | None) -> int | None:
    """Milliseconds of Unix milliseconds or of ISO 8601 text (UTC where it names no zone); None for None.

    Raises ValueError for what is no time between the years 1 and 9999."""
    if value is None:
        return None
    if isinstance(value, str):
        at = datetime.fromisoformat(value.strip())
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        return (at - _EPOCH) // timedelta(milliseconds=1)
    if not -_FARTHEST <= value <= _FARTHEST:
        raise ValueError("beyond the calendar")
    return int(value)
