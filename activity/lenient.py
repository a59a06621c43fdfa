"""The lenient reader of events that do not fit their types: it mends them where the sense is plain, else refuses them
in words.

Only what the fast path of `beacon` does not take comes here. Mending loses nothing: a number or a truth value becomes
its text, a list of one text that text, PHP's empty list becomes an empty object, and a nested property JSON text.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from activity.event import EventType
from activity.incoming import Incoming, Limits, Unbounded, tidy
from activity.refusal import Reason, Refusal

_TYPES = ", ".join(kind.value for kind in EventType)
_single = msgspec.json.Decoder(Unbounded)
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
_TEXTS = frozenset(("referrer", "title", "name", "screen", "language", "user", "visitor", "id"))
_IDENTITIES = frozenset(("user", "visitor", "id"))  # a wrong one would make one of many
_HINTS = {
    "site": 'send the site\'s domain, such as "example.com"',
    "type": f"send one of {_TYPES}",
    "url": 'send the page\'s address, such as "https://example.com/pricing"',
    "ts": "send Unix milliseconds or ISO 8601, or leave it out",
    "search": 'send {"term": "…", "results": 12}, or leave it out',
    "revenue": 'send {"amount": 12.5, "currency": "EUR"}, or leave it out',
    "term": "send what was searched for",
}


def from_bytes(index: int, value: bytes, limits: Limits) -> Incoming | Refusal:
    """Read one event from its JSON text; return it, or the refusal that says what to mend. `index` is its place in the
    request."""
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
    """Read one event from parsed JSON; return it, or the refusal that says what to mend. Null means absent, and lone
    surrogates are replaced. `index` is its place in the request."""
    if not isinstance(event, dict):
        return Refusal(
            index,
            Reason.UNKNOWN_FIELD_TYPE,
            f'the event is {described(type(event).__name__)}, not an object: send {{"site": …, "type": …, "url": …}}',
        )
    try:
        present = {name: _valid(value) for name, value in event.items() if name in _FIELDS and value is not None}
        return tidy(index, _converted(present), limits)
    except msgspec.ValidationError as error:
        return Refusal(index, *_explained(str(error), event))
    except RecursionError:
        return Refusal(index, Reason.MALFORMED, "the event is nested too deeply: flatten it")


def _converted(event: dict[str, Any]) -> Unbounded:
    try:
        return msgspec.convert(event, Unbounded)
    except msgspec.ValidationError:
        return msgspec.convert(_mended(event), Unbounded)


def _mended(event: dict[str, Any]) -> dict[str, Any]:
    """Convert values of a wrong type whose sense is plain; leave the others as they are."""
    mended = {name: _mended_text(name, value) if name in _TEXTS else value for name, value in event.items()}
    mended |= {name: mend(event[name]) for name, mend in _MENDED.items() if name in event}
    return {name: value for name, value in mended.items() if value is not None}


def _mended_text(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return value
    if value in ([], {}) or (value is False and name in ("user", "visitor", "referrer")):
        return None  # nobody is logged in, nobody has sent the visitor
    if name == "screen" and isinstance(value, dict | list):
        sides = [value.get("width"), value.get("height")] if isinstance(value, dict) else value
        numbers = [_mended_number(side) for side in sides]
        known = len(numbers) == 2 and all(type(number) is int for number in numbers)
        return "x".join(map(str, numbers)) if known else value
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str) and name not in _IDENTITIES:
        return value[0]
    if isinstance(value, list) and name == "language":
        return _mended_text(name, value[0]) if value[0] is not None else None  # as in `navigator.languages`
    if isinstance(value, float) and value.is_integer() and name in _IDENTITIES:
        value = int(value)  # some languages have one kind of number only
    plain = isinstance(value, int | float) and not (isinstance(value, bool) and name in _IDENTITIES)
    return _as_text(value) if plain else value


def _mended_props(props: Any) -> Any:
    if isinstance(props, str):
        try:
            read = json.loads(props or "{}")
        except ValueError:
            return props
        props = read if isinstance(read, dict | list | None) else props
    if props is None or props == [] or props is False:
        return {}
    if not isinstance(props, dict):
        return props
    return {name: _as_text(value) if isinstance(value, list | dict) else value for name, value in props.items()}


def _mended_search(search: Any) -> Any:
    if isinstance(search, list) and len(search) == 1:
        search = search[0]
    if search in ([], {}, "") or search is False:
        return None
    if not isinstance(search, dict):
        return {"term": _mended_text("term", search)} if isinstance(search, str | int | float) else search
    mended = {name: value for name, value in search.items() if value is not None}
    if "term" in mended:
        mended["term"] = _mended_text("term", mended["term"])
    if "results" in mended:
        mended["results"] = _mended_count(mended["results"])
    return mended


def _mended_revenue(revenue: Any) -> Any:
    if revenue in ([], {}, "") or revenue is False:
        return None
    if not isinstance(revenue, dict):
        return {"amount": revenue} if isinstance(revenue, str | int | float) else revenue
    mended = {name: value for name, value in revenue.items() if value not in (None, "")}
    return mended if "amount" in mended or not revenue.keys() <= {"amount", "currency"} else None


def _mended_count(value: Any) -> Any:
    """Return the whole number that a value holds; some languages part thousands by a point, others by a gap."""
    grouped = isinstance(value, str) and _COUNT.fullmatch(value.strip())
    return int(_NO_DIGITS.sub("", value)) if grouped else _mended_number(value)


def _mended_number(value: Any) -> Any:
    """Return the number that a text holds; an empty text, as a page's template may write it, is no number."""
    if value in ([], {}) or value is False:
        return None
    if isinstance(value, float) and -(2.0**53) <= value <= 2.0**53:
        return int(value)
    if not isinstance(value, str):
        return value
    text = value.strip()
    if _GROUPED.fullmatch(text):
        text = text.replace(",", "")
    if not text:
        return None
    return int(text.partition(".")[0]) if _NUMBER.fullmatch(text) else value


def _as_text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _mended_time(value: Any) -> Any:
    """None that is empty, as PHP writes it, is an empty text, which is no time either."""
    return "" if value is False or value in ([], {}) else value


def _mended_type(value: Any) -> Any:
    return _KNOWN_TYPES.get(_GAPS.sub("", value.lower()), value) if isinstance(value, str) else value


def _mended_flag(value: Any) -> Any:
    """The truth value that a number or a text is, as languages without one write it."""
    text = value.strip().lower() if isinstance(value, str) else str(value)
    return True if text in ("1", "true", "yes", "on") else False if text in ("0", "false", "no", "off", "") else value


_NUMBER = re.compile(r"-?\d{1,18}(\.\d*)?", re.ASCII)
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+", re.ASCII)  # 1,234
_COUNT = re.compile(r"\d{1,3}(?:[.'\u2019 \u00a0\u202f\u2009]\d{3}){1,5}", re.ASCII)  # 1.234, 1 234, 1'234
_NO_DIGITS = re.compile(r"\D", re.ASCII)
_GAPS = re.compile(r"[\s_-]+")
_KNOWN_TYPES = {kind.value.replace("_", ""): kind.value for kind in EventType}  # PageView, page_view
_MENDED = {
    "type": _mended_type,
    "ts": _mended_time,
    "props": _mended_props,
    "search": _mended_search,
    "engaged_ms": _mended_number,
    "revenue": _mended_revenue,
    "interactive": _mended_flag,
}


def _valid(value: object) -> object:
    """Replace lone surrogates, which UTF-8 cannot hold, in a value and in the names of its properties."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_valid(name): _valid(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_valid(inner) for inner in value]
    return value


def _explained(message: str, event: dict[str, Any]) -> tuple[Reason, str]:
    """Say what msgspec found wrong, and what to do about it."""
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
            '`props` must be an object, such as {"plan": "pro"}: give each value a name'
        )
    wanted = _EXPECTED.search(message)
    kind = _KINDS.get(wanted[1], f"of type {wanted[1]}") if wanted else "of another type"
    return Reason.UNKNOWN_FIELD_TYPE, f"`{field}` must be {kind}: {_HINTS.get(field, 'send it so, or leave it out')}"


def described(python_type: str) -> str:
    """Name a JSON value of this Python type, with its article."""
    return {"list": "a list", "str": "a text", "bool": "true or false", "NoneType": "null"}.get(python_type, "a number")
