"""One event as its sender wrote it: its fields, its limits and its times, before `enrich` looks at site or visitor."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec

from activity.event import EventType, PropValue
from activity.refusal import Reason, Refusal


class Limits(msgspec.Struct, frozen=True):
    """How much one request may hold; a request over a limit is refused in words."""

    body_bytes: int = 1_000_000  # after decompression
    events: int = 1_000  # per request
    props: int = 30  # per event


class Search(msgspec.Struct, frozen=True, omit_defaults=True):
    """A search on the site: the term, and how many results it had (None when the page did not say)."""

    term: str
    results: int | None = None


class Incoming(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event as its sender wrote it. Absent fields have their defaults; unknown fields are ignored."""

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
    visitor: str = ""  # a name for the visitor; only trusted senders may give one
    user: str = ""
    screen: str = ""
    language: str = ""
    engaged_ms: int | float = 0  # of an engagement: ms visible and focused since the last one


class Batch(msgspec.Struct, frozen=True):
    """The events of one request, in the order sent; each is an `Incoming` or the `Refusal` in its place.

    `sent_at` is Unix milliseconds by the sender's clock. It is None when the sender gave none: then nothing is known
    about that clock, and the times of the events are used as they are.
    """

    sent_at: int | None
    items: list[Incoming | Refusal]


DEFAULT_LIMITS = Limits()

# The longest texts, in characters; longer ones are cut.
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
    """Returns the event with its texts cut to the longest allowed, in characters, and NUL characters removed.

    `index` is the event's place in its request and goes into the refusal. `nul=False` says that no text can hold a
    NUL. Returns a `Refusal` (TOO_MANY) when the event has more than `limits.props` props. Never raises.
    """
    if not (
        nul
        or event.props
        or len(event.url) > 4096
        or len(event.referrer) > 4096
        or len(event.title) > 512
        or len(event.site) + len(event.name) + len(event.visitor) + len(event.user) > 128
        or len(event.screen) + len(event.language) > 32
    ):
        return event  # the common case: nothing to cut
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
        return str(value)[:_LONGEST_PROP]  # more than every JSON reader keeps exactly
    return value


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FARTHEST = 253_402_300_799_999  # the last millisecond of the year 9999
_SECONDS = (631_152_000, 4_102_444_800)  # 1990 to 2100; read as milliseconds, these are the first weeks of 1970
_NUMBER = re.compile(r"-?\d{9,17}(\.\d{1,9})?", re.ASCII)
# A day, or a day and a time; `fromisoformat` alone would allow any character between them and more in the offset.
_ISO = re.compile(
    r"(\d{4}-?\d\d-?\d\d|\d{4}-?W\d\d(-?\d)?)"
    r"([T ]\d\d(:?\d\d(:?\d\d([.,]\d+)?)?)? ?(Z|[+-]\d\d(:?\d\d)?)?)?",
    re.ASCII,
)
_NO_TIME = "is no time: send Unix milliseconds or ISO 8601, or leave it out"


def time_of(value: object) -> int | None:
    """Returns Unix milliseconds for a number, its digits or ISO 8601 text (UTC if it names no zone); None for None.

    Raises ValueError for anything that is not a time between the years 1 and 9999, and for seconds, which would be a
    day in January 1970 if read as milliseconds. The message continues a sentence that starts with the field's name.
    """
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
