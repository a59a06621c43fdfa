"""A record as a Pulsar message and back.

A key of text is the message's partition key, which every Pulsar client shows. What Pulsar's keys and properties
cannot hold (no bytes, no repeated names, no order) is packed into properties whose names begin with `footfall-`.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from itertools import pairwise

_OURS = "footfall-"
KEY = "footfall-key"  # base64 of a key that is empty or no text
HEADERS = "footfall-headers"  # JSON: [[name, base64], …]

Headers = tuple[tuple[str, bytes], ...]


def pack(key: bytes | None, headers: Headers) -> tuple[str | None, dict[str, str] | None]:
    """Partition key and properties of a message."""
    name, properties = None, {}
    if key is not None:
        try:
            name = key.decode()
        except UnicodeDecodeError:
            name = None
        if not name:
            properties[KEY] = b64encode(key).decode()
    if headers:
        try:
            plain = {header: value.decode() for header, value in headers}
        except UnicodeDecodeError:
            plain = {}
        names = [header.encode() for header, _ in headers]
        if plain and all(one < two for one, two in pairwise(names)) and not any(n.startswith(_OURS) for n in plain):
            properties |= plain
        else:
            properties[HEADERS] = json.dumps([[header, b64encode(value).decode()] for header, value in headers])
    return name or None, properties or None


def unpack(name: str, properties: dict[str, str]) -> tuple[bytes | None, Headers]:
    """Key and headers of a record."""
    key = name.encode() if name else None
    if not properties:
        return key, ()
    if (packed := properties.pop(KEY, None)) is not None:
        key = b64decode(packed)
    if (listed := properties.pop(HEADERS, None)) is not None:
        return key, tuple((header, b64decode(value)) for header, value in json.loads(listed))
    return key, tuple(sorted((header, value.encode()) for header, value in properties.items()))
