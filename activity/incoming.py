"""One event as its sender gives it, before anything is known of site, visitor or time.

Times as senders write them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec

from activity.event import EventType, PropValue
from activity.refusal import Reason, Refusal


class Limits(msgspec.Struct, frozen=True):
    """What a request may hold; more is refused in words."""

    body_bytes: int = 1_000_000  # after decompression
    events: int = 1_000  # a request
    props: int = 30  # an event


class Search(msgspec.Struct, frozen=True, omit_defaults=True):
    term: str
    results: int | None = None


class Incoming(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event as its sender gives it; what is absent is empty. Unknown fields are ignored."""

    site: str
    type: EventType
    url: str
    referrer: str = ""
    title: str = ""
    name: str = ""
    props: dict[str, PropValue] = {}
    search: Search | None = None
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    ts: int | float | str | None = None  # Unix milliseconds or ISO 8601
    visitor: str = ""  # a name for the visitor; only of trusted senders
    user: str = ""
    screen: str = ""
    language: str = ""
    engaged_ms: int | float = 0  # of an engagement: milliseconds visible and focused since the last one


class Batch(msgspec.Struct, frozen=True):
    """A request's events in their order. `sent_at` is Unix milliseconds, None when it was not given or is
    no time: then nothing is known of the sender's clock, and every event is used as it stands."""

    sent_at: int | None
    items: list[Incoming | Refusal]


DEFAULT_LIMITS = Limits()

# Longest texts, in characters; what is longer is cut.
_LONGEST = {
    "site": 253,
    "url": 4096,
    "referrer": 4096,
    "title": 512,
    "name": 128,
    "visitor": 256,
    "user": 256,
    "screen": 32,
    "language": 35,
}
_LONGEST_KEY = 128
_LONGEST_PROP = 1024


def tidy(index: int, event: Incoming, limits: Limits, nul: bool = True) -> Incoming | Refusal:
    """The event with its texts cut and, where there may be a `nul`, without it."""
    if not (
        nul
        or event.props
        or len(event.url) > 4096
        or len(event.referrer) > 4096
        or len(event.title) > 512
        or len(event.site) + len(event.name) + len(event.visitor) + len(event.user) > 128
        or len(event.screen) + len(event.language) > 32
    ):
        return event  # the common case, told at a glance
    changed: dict[str, Any] = {}
    for name, longest in _LONGEST.items():
        text = getattr(event, name)
        if text and (len(text) > longest or "\0" in text):
            changed[name] = _cut(text, longest)
    if event.id is not None and "\0" in event.id:
        changed["id"] = event.id.replace("\0", "") or None
    if event.props:
        if len(event.props) > limits.props:
            return Refusal(
                index,
                Reason.TOO_MANY,
                f"`props` has {len(event.props)} entries and may have {limits.props}: send fewer",
            )
        changed["props"] = {_cut(key, _LONGEST_KEY): _tidy_prop(value) for key, value in event.props.items()}
    if event.search is not None and "\0" in event.search.term:
        changed["search"] = Search(event.search.term.replace("\0", ""), event.search.results)
    return msgspec.structs.replace(event, **changed) if changed else event


def _cut(text: str, longest: int) -> str:
    return text.replace("\0", "")[:longest]


def _tidy_prop(value: PropValue) -> PropValue:
    if isinstance(value, str):
        return _cut(value, _LONGEST_PROP)
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**53) <= value <= 2**53:
        return str(value)[:_LONGEST_PROP]  # beyond what every JSON reader keeps exactly
    return value


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
