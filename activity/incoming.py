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


class Revenue(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an event was worth: an amount, as a number or its digits, and the currency's three letters."""

    amount: int | float | str
    currency: str = ""


LONGEST_USER = 256  # characters


class Unbounded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event as its sender wrote it, with texts of any length.

    Absent fields have their defaults; unknown fields are ignored.
    """

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
    revenue: Revenue | None = None
    interactive: bool = True  # False of what happens without the visitor, such as a pop-up: it makes no visit engaged


def _at_most(characters: int) -> msgspec.Meta:
    return msgspec.Meta(max_length=characters)


class Incoming(Unbounded, frozen=True, kw_only=True, omit_defaults=True):
    """The same with texts of a bounded length, in characters; `tidy` cuts what is longer."""

    site: Annotated[str, _at_most(253)]
    url: Annotated[str, _at_most(4096)]
    referrer: Annotated[str, _at_most(4096)] = ""
    title: Annotated[str, _at_most(512)] = ""
    name: Annotated[str, _at_most(128)] = ""
    visitor: Annotated[str, _at_most(256)] = ""
    user: Annotated[str, _at_most(LONGEST_USER)] = ""
    screen: Annotated[str, _at_most(32)] = ""
    language: Annotated[str, _at_most(35)] = ""


class Batch(msgspec.Struct, frozen=True):
    """The events of one request, in the order sent; each is an `Incoming` or the `Refusal` in its place.

    `sent_at` is Unix milliseconds by the sender's clock. It is None when the sender gave none: then nothing is known
    about that clock, and the times of the events are used as they are.
    """

    sent_at: int | None
    items: list[Incoming | Refusal]


DEFAULT_LIMITS = Limits()

# By the field, what `Incoming` itself says.
_LONGEST: dict[str, int] = {
    field.name: field.type.max_length
    for field in msgspec.inspect.type_info(Incoming).fields  # type: ignore[attr-defined]
    if isinstance(field.type, msgspec.inspect.StrType) and field.type.max_length is not None
}
_LONGEST_KEY = 128
_LONGEST_PROP = 1024


def tidy(index: int, event: Unbounded, limits: Limits) -> Incoming | Refusal:
    """Returns the event with its texts cut to the longest allowed, in characters, and NUL characters removed.

    Numbers in `props` become ones that every JSON reader keeps exactly. `index` is the event's place in its request and
    goes into the refusal. Returns a `Refusal` (TOO_MANY) when the event has more than `limits.props` props. Never
    raises.
    """
    if len(event.props) > limits.props:
        return Refusal(
            index,
            Reason.TOO_MANY,
            f"`props` has {len(event.props)} entries and may have {limits.props}: send fewer",
        )
    fields: dict[str, Any] = {name: getattr(event, name) for name in event.__struct_fields__}
    for name, longest in _LONGEST.items():
        fields[name] = _cut(fields[name], longest)
    if event.id is not None:
        fields["id"] = event.id.replace("\0", "") or None
    if event.props:
        fields["props"] = {_cut(key, _LONGEST_KEY): _tidy_prop(value) for key, value in event.props.items()}
    if event.search is not None:
        fields["search"] = Search(event.search.term.replace("\0", ""), event.search.results)
    return Incoming(**fields)


def has_tidy_props(event: Unbounded, limits: Limits) -> bool:
    """Returns whether `tidy` would leave the props as they are, in an event whose texts hold no NUL."""
    return len(event.props) <= limits.props and all(
        len(key) <= _LONGEST_KEY
        and (
            len(value) <= _LONGEST_PROP
            if isinstance(value, str)
            else not isinstance(value, int) or -(2**53) <= value <= 2**53
        )
        for key, value in event.props.items()
    )


def _cut(text: str, longest: int) -> str:
    return text.replace("\0", "")[:longest]


def _tidy_prop(value: PropValue) -> PropValue:
    if isinstance(value, str):
        return _cut(value, _LONGEST_PROP)
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**53) <= value <= 2**53:
        return str(value)[:_LONGEST_PROP]  # more than every JSON reader keeps exactly
    return value


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
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
    if type(value) is int and _SECONDS[1] <= value <= _FARTHEST:
        return value  # what nearly all senders send
    if value is None:
        return None
    if isinstance(value, str):
        if len(value) == 24 and value[10] == "T" and value[19] == "." and value[23] == "Z":  # as JavaScript writes it
            try:
                return (datetime.fromisoformat(value) - _EPOCH) // _MILLISECOND
            except ValueError:
                pass
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
    return (at - _EPOCH) // _MILLISECOND
