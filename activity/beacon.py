"""What a sender sends, as it sends it: the JSON of `POST /collect` and the parameters of `GET /collect.gif`.

A body is read in one go into typed structs. Only when that fails is it taken apart, so that the event at
fault is refused alone, in words, and its neighbours are kept. Nothing here knows the site, the visitor or
the time: `enrich` does. Texts come out clean: valid Unicode without NUL and lone surrogates (each replaced
by U+FFFD, or dropped), cut to the lengths below.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import parse_qsl

import msgspec

from activity.event import EventType, PropValue
from activity.refusal import Reason, Refusal

_TYPES = ", ".join(kind.value for kind in EventType)


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


class _Whole(msgspec.Struct):
    events: list[Incoming]
    sent_at: int | float | str | None = None


class _Parts(msgspec.Struct):
    events: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    sent_at: msgspec.Raw = msgspec.Raw(b"null")


_whole = msgspec.json.Decoder(_Whole)
_parts = msgspec.json.Decoder(_Parts)
_single = msgspec.json.Decoder(Incoming)


def parse(body: bytes, *, limits: Limits = DEFAULT_LIMITS) -> Batch:
    """The events of a `POST /collect` body (already decompressed): one event, or
    `{"sent_at": …, "events": […]}`. Every event has its place in `items`, as itself or as its refusal; a body
    that cannot be read at all is one refusal with index 0. Never raises.
    """
    if len(body) > limits.body_bytes:
        return _refused(
            Reason.TOO_LARGE,
            f"the body has {len(body)} bytes and may have {limits.body_bytes}: send fewer events a request",
        )
    try:
        whole = _whole.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _taken_apart(body, limits)
    if len(whole.events) > limits.events:
        return _too_many(len(whole.events), limits)
    nul = b"\\" in body and b"\\u0000" in body
    return _batch(whole.sent_at, [_tidy(i, event, limits, nul) for i, event in enumerate(whole.events)])


def parse_query(query: str, *, page: str = "", limits: Limits = DEFAULT_LIMITS) -> Batch:
    """The one event of a `GET /collect.gif?…`: the fields of the JSON as parameters, `term` and `results` for
    a search, `props` as JSON text. `type` is a page view unless given; `url` is `page` (the request's
    `Referer`) unless given. Never raises.
    """
    try:
        given = parse_qsl(query[: limits.body_bytes], errors="replace", max_num_fields=200)
    except ValueError:
        return _refused(Reason.TOO_MANY, "the address has more than 200 parameters: leave some out")
    fields: dict[str, Any] = {"type": "pageview", "url": page}
    fields.update((name, value) for name, value in given if value)
    if not fields["url"]:
        del fields["url"]
    if "term" in fields:
        results = str(fields.pop("results", ""))
        fields["search"] = {"term": fields.pop("term"), "results": int(results) if _is_number(results) else None}
    for name in ("ts", "sent_at", "engaged_ms"):
        if _is_number(fields.get(name, "")):
            fields[name] = int(fields[name])
    if "props" in fields:
        try:
            fields["props"] = json.loads(fields["props"])
        except (ValueError, RecursionError):
            return _refused(Reason.MALFORMED, '`props` is not JSON: send an object such as {"plan":"pro"}')
    return _batch(fields.pop("sent_at", None), [_from_object(0, fields, limits)])


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


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FARTHEST = 253_402_300_799_999  # the last millisecond of the year 9999


def _refused(reason: Reason, detail: str) -> Batch:
    return Batch(None, [Refusal(0, reason, detail)])


def _too_many(count: int, limits: Limits) -> Batch:
    return _refused(
        Reason.TOO_MANY,
        f"{count} events in one request and at most {limits.events} are taken: send them in several requests",
    )


def _batch(sent_at: object, items: list[Incoming | Refusal]) -> Batch:
    if sent_at is None:
        return Batch(None, items)
    try:
        return Batch(time_of(sent_at), items)  # type: ignore[arg-type]
    except (ValueError, OverflowError, TypeError, AttributeError):
        return _refused(
            Reason.INVALID_TIME, "`sent_at` is no time: send Unix milliseconds or ISO 8601, or leave it out"
        )


def _taken_apart(body: bytes, limits: Limits) -> Batch:
    """The slow way, for a single event or a body in which something is wrong."""
    text = body.decode("utf-8", "replace").lstrip("\ufeff")
    if not text.isascii():
        body = text.encode()
    try:
        parts = _parts.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return _whole_by_hand(text, limits)
    if parts.events is msgspec.UNSET:
        return _batch(_raw(parts.sent_at), [_from_bytes(0, body, limits)])
    if len(parts.events) > limits.events:
        return _too_many(len(parts.events), limits)
    return _batch(_raw(parts.sent_at), [_from_bytes(i, bytes(event), limits) for i, event in enumerate(parts.events)])


def _whole_by_hand(text: str, limits: Limits) -> Batch:
    """With the standard library, which reads lone surrogates; what it cannot read is no JSON object."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        return _refused(
            Reason.MALFORMED,
            f"the body is not JSON ({error}): send one event, or {{\"events\": […]}}" if text.strip()
            else "the body is empty: send one event as JSON, or {\"events\": […]}",
        )  # fmt: skip
    if not isinstance(whole, dict):
        return _refused(
            Reason.MALFORMED,
            f'the body is {_a(type(whole).__name__)}, not an object: send one event, or {{"events": […]}}',
        )
    if "events" not in whole:
        return _batch(whole.get("sent_at"), [_from_object(0, whole, limits)])
    events = whole["events"]
    if not isinstance(events, list):
        return _refused(Reason.UNKNOWN_FIELD_TYPE, "`events` must be a list of events")
    if len(events) > limits.events:
        return _too_many(len(events), limits)
    return _batch(whole.get("sent_at"), [_from_object(i, event, limits) for i, event in enumerate(events)])


def _raw(value: msgspec.Raw) -> object:
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""  # no time


def _from_bytes(index: int, value: bytes, limits: Limits) -> Incoming | Refusal:
    try:
        return _tidy(index, _single.decode(value), limits)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        event = json.loads(value)
    except (ValueError, RecursionError) as error:
        return Refusal(index, Reason.MALFORMED, f"the event is not JSON ({error}): leave it out or mend it")
    return _from_object(index, event, limits)


def _from_object(index: int, event: object, limits: Limits) -> Incoming | Refusal:
    """An event read by hand: null stands for absent, lone surrogates are replaced; else refused in words."""
    if not isinstance(event, dict):
        return Refusal(
            index,
            Reason.UNKNOWN_FIELD_TYPE,
            f'the event is {_a(type(event).__name__)}, not an object: send {{"site": …, "type": …, "url": …}}',
        )
    present = {name: _valid(value) for name, value in event.items() if value is not None}
    try:
        return _tidy(index, msgspec.convert(present, Incoming), limits)
    except msgspec.ValidationError as error:
        return Refusal(index, *_explained(str(error), present))


def _valid(value: object) -> object:
    """The value with lone surrogates, which no UTF-8 can hold, replaced."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_valid(name): _valid(inner) for name, inner in value.items()}
    return value


def _explained(message: str, event: dict[str, Any]) -> tuple[Reason, str]:
    """What msgspec found wrong, in words that say what to do."""
    if missing := _MISSING.search(message):
        name = missing[1]
        where = "`search`" if "$.search" in message else "the event"
        return Reason.MISSING_FIELD, f"`{name}` is missing from {where}: {_HINTS.get(name, 'add it')}"
    if "Invalid enum value" in message:
        return Reason.UNKNOWN_FIELD_TYPE, (
            f"`type` {str(event.get('type'))[:64]!r} is not known: send one of {_TYPES}; "
            'an action of your own is "custom" with a `name`'
        )
    place = _PLACE.search(message)
    field = (place[1] if place else "").lstrip(".") or "the event"
    if field == "id" and isinstance(event.get("id"), str):
        return Reason.MALFORMED, "`id` must have 1 to 128 characters: shorten it, or leave it out"
    if field.startswith("props"):
        return Reason.UNKNOWN_FIELD_TYPE, (
            "`props` must be an object whose values are text, numbers, true, false or null: flatten what is nested"
        )
    wanted = _EXPECTED.search(message)
    kind = _KINDS.get(wanted[1], f"of type {wanted[1]}") if wanted else "of another type"
    return Reason.UNKNOWN_FIELD_TYPE, f"`{field}` must be {kind}: {_HINTS.get(field, 'send it so, or leave it out')}"


_MISSING = re.compile(r"missing required field `(\w+)`")
_PLACE = re.compile(r"at `\$([^`]*)`")
_EXPECTED = re.compile(r"Expected `([^`]+)`")
_KINDS = {
    "str": "text",
    "str | null": "text",
    "int": "a whole number",
    "int | null": "a whole number",
    "int | float": "a number",
    "int | float | str | null": "a time (Unix milliseconds or ISO 8601)",
    "object": "an object",
    "object | null": "an object",
}
_HINTS = {
    "site": 'send the site\'s domain, such as "example.com"',
    "type": f"send one of {_TYPES}",
    "url": 'send the page\'s address, such as "https://example.com/pricing"',
    "ts": "send Unix milliseconds or ISO 8601, or leave it out",
    "search": 'send {"term": "…", "results": 12}, or leave it out',
    "term": "send what was searched for",
}


def _a(python_type: str) -> str:
    return {"list": "a list", "str": "a text", "bool": "true or false", "NoneType": "null"}.get(python_type, "a number")


def _is_number(text: object) -> bool:
    return isinstance(text, str) and text.isascii() and text.removeprefix("-").isdigit() and len(text) < 19


def _tidy(index: int, event: Incoming, limits: Limits, nul: bool = True) -> Incoming | Refusal:
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
