"""Events that do not read as they should: mended where the sense is plain, else refused in words.

Only what the fast path of `beacon` does not take comes here.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from activity.event import EventType
from activity.incoming import Incoming, Limits, tidy
from activity.refusal import Reason, Refusal

_TYPES = ", ".join(kind.value for kind in EventType)
_single = msgspec.json.Decoder(Incoming)
_FIELDS = frozenset(Incoming.__struct_fields__)
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


def from_bytes(index: int, value: bytes, limits: Limits) -> Incoming | Refusal:
    """The event with this JSON text, or why not, under `index`."""
    try:
        return tidy(index, _single.decode(value), limits)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        event = json.loads(value)
    except (ValueError, RecursionError) as error:
        return Refusal(index, Reason.MALFORMED, f"the event is not JSON ({error}): leave it out or mend it")
    return from_object(index, event, limits)


def from_object(index: int, event: object, limits: Limits) -> Incoming | Refusal:
    """An event read by hand: null stands for absent, lone surrogates are replaced; else refused in words."""
    if not isinstance(event, dict):
        return Refusal(
            index,
            Reason.UNKNOWN_FIELD_TYPE,
            f'the event is {described(type(event).__name__)}, not an object: send {{"site": …, "type": …, "url": …}}',
        )
    present = {name: _valid(value) for name, value in event.items() if name in _FIELDS and value is not None}
    try:
        return tidy(index, msgspec.convert(present, Incoming), limits)
    except msgspec.ValidationError as error:
        return Refusal(index, *_explained(str(error), present))


def _valid(value: object) -> object:
    """The value of a field with lone surrogates, which no UTF-8 can hold, replaced: in its names too, where it is
    an object. No field goes deeper."""
    if isinstance(value, dict):
        return {_text(name): _text(inner) for name, inner in value.items()}
    return _text(value)


def _text(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
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


def described(python_type: str) -> str:
    """A JSON value of this Python type in words, with its article."""
    return {"list": "a list", "str": "a text", "bool": "true or false", "NoneType": "null"}.get(python_type, "a number")
