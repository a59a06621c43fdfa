"""Times as senders write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FARTHEST = 253_402_300_799_999  # the last millisecond of the year 9999
_SECONDS = (631_152_000, 4_102_444_800)  # 1990 to 2100; as milliseconds all of it is in the first weeks of 1970
_NUMBER = re.compile(r"-?\d{9,17}(\.\d{1,9})?", re.ASCII)
# A day, or a day and a time; `fromisoformat` takes any character between the two, and more in the offset.
_ISO = re.compile(
    r"(\d{4}-?\d\d-?\d\d|\d{4}-?W\d\d(-?\d)?)"
    r"([T ]\d\d(:?\d\d(:?\d\d([.,]\d+)?)?)? ?(Z|[+-]\d\d(:?\d\d)?)?)?",
    re.ASCII,
)
_NO_TIME = "is no time: send Unix milliseconds or ISO 8601, or leave it out"


def time_of(value: object) -> int | None:
    """Milliseconds of Unix milliseconds (a number, or its digits) or of ISO 8601 text (UTC where it names no zone);
    None for None.

    Raises ValueError, in words that go on after the field's name, for what is no time between the years 1 and 9999,
    and for seconds: taken for milliseconds, they would be a day in January 1970."""
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip().upper()
        if not _NUMBER.fullmatch(text):
            return _iso(text)
        value = float(text) if "." in text else int(text)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_FARTHEST <= value <= _FARTHEST:
        raise ValueError(_NO_TIME)
    if _SECONDS[0] <= value < _SECONDS[1]:
        raise ValueError("looks like seconds: send Unix milliseconds or ISO 8601")
    return int(value)


def _iso(text: str) -> int:
    try:
        if not _ISO.fullmatch(text):
            raise ValueError(text)
        at = datetime.fromisoformat(text.replace(" Z", "Z").replace(" +", "+").replace(" -", "-"))
    except ValueError:
        raise ValueError(_NO_TIME) from None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return (at - _EPOCH) // timedelta(milliseconds=1)
