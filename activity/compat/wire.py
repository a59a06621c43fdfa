"""What clients of several protocols send or expect around their events: keys in headers, and a pixel for an answer."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping

# One transparent pixel, GIF89a.
GIF = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00"
    b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)


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
