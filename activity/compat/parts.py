"""Small parts of a request that several protocols have in common. Nothing here raises."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from activity.compat.values import NOBODY, object_in, text
from activity.refusal import Reason, Refusal

# One transparent pixel.
GIF = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00"
    b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x01D\x00;"
)
_ONE_ALPHABET = bytes.maketrans(b" -_", b"++/")  # a form's "+" has become a blank
_NOT_BASE64 = bytes(byte for byte in range(256) if byte > 127 or not (chr(byte).isalnum() or byte in b" -_+/"))
_FALSE = frozenset(("false", "0", "off", "no"))
_TRUE = frozenset(("true", "1", "on", "yes"))
_NO_PAGE = frozenset(("undefined", "null"))

# Why Footfall cannot understand an event, as opposed to why it does not take it.
NOT_RIGHT = frozenset(
    (
        Reason.MALFORMED,
        Reason.UNKNOWN_FIELD_TYPE,
        Reason.MISSING_FIELD,
        Reason.INVALID_URL,
        Reason.INVALID_TIME,
        Reason.TOO_MANY,
    )
)


def first(given: Mapping[str, Any], *names: str) -> Any:
    """Return the first of these fields that is given and not empty; None if none is."""
    for name in names:
        value = given.get(name)
        if value is not None and value != "":
            return value
    return None


def members(value: object, name: str) -> dict[str, Any]:
    """Return the members of an object, also of one that a text holds as JSON; anything else that is not empty as one
    property with this name."""
    if (found := object_in(value)) is not None:
        return found
    return {} if value is None or value is False or value == "" or value == [] else {name: value}


def is_true(value: object) -> bool:
    """Return whether a value stands for yes: true, 1, "on", "yes"."""
    return text(value, 8).lower() in _TRUE


def is_false(value: object) -> bool:
    """Return whether a value stands for no: false, 0, "off", "no". An absent one does not."""
    return text(value, 8).lower() in _FALSE


def is_nothing(value: object) -> bool:
    """Return whether a value stands for none: also false, and what is empty. Zero is one."""
    return value is False or (not value and not isinstance(value, int | float))


def somebody(name: str | None) -> str:
    """Return an id of somebody; "" for what a program sends that has none."""
    return "" if not name or name in NOBODY or name.isspace() else name


def page_of(given: object) -> str:
    """Return a page's address, path or screen, at most 4,096 characters; "" for what a script writes that has none.

    Whatever else names nobody may name a page; "/undefined" is where a broken link leads."""
    found = text(given)
    return "" if found in _NO_PAGE else found


def missing(index: int, field: str, hint: str) -> Refusal:
    """Return the refusal of an event without one of its fields."""
    return Refusal(index, Reason.MISSING_FIELD, f"`{field}` is missing from the event: {hint}")


def header(headers: Mapping[bytes, bytes], name: bytes, longest: int = 512) -> str:
    """Return the value of a header as text, "" if it is not there."""
    return headers.get(name, b"")[:longest].decode("latin-1").strip()


def bearer(headers: Mapping[bytes, bytes]) -> str:
    """Return the token of an `Authorization: Bearer` header, "" if there is none."""
    kind, _, token = header(headers, b"authorization").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def password(headers: Mapping[bytes, bytes]) -> str:
    """Return the password of `Authorization: Basic …`, "" if there is none."""
    kind, _, content = headers.get(b"authorization", b"").partition(b" ")
    return from_base64(content).partition(b":")[2].decode("utf-8", "replace") if kind.lower() == b"basic" else ""


def key_in(headers: Mapping[bytes, bytes]) -> str:
    """Return the key of `Authorization: Bearer KEY`, or the user of `Authorization: Basic …`; "" if there is none."""
    kind, _, key = headers.get(b"authorization", b"").strip().partition(b" ")
    if kind.lower() == b"bearer":
        return key.strip().decode("latin-1")
    if kind.lower() != b"basic":
        return ""
    try:
        return b64decode(key).partition(b":")[0].decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""


def from_base64(encoded: bytes) -> bytes:
    """Return what base64 stands for, in either alphabet, with or without padding, and of one that is cut off what there
    is. Other characters are skipped."""
    plain = encoded.translate(_ONE_ALPHABET, _NOT_BASE64)
    if len(plain) % 4 == 1:
        plain = plain[:-1]
    return b64decode(plain + b"=" * (-len(plain) % 4))


def is_page(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a page in a browser sent the request: only browsers tell its origin."""
    return b"origin" in headers
