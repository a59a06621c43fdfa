"""Writes a small MaxMind DB file: IPv4 networks with their country and city, in the format's version 2.0."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

_MARK = b"\xab\xcd\xefMaxMind.com"


def write(path: Path, places: Mapping[str, tuple[str, str]]) -> None:
    """`places` maps a network such as "203.0.113.0/24" to (ISO country, city)."""
    nodes: list[list[int | str | None]] = [[None, None]]
    for network in places:
        address = ipaddress.IPv4Network(network)
        bits = f"{int(address.network_address):032b}"[: address.prefixlen]
        at = 0
        for bit in bits[:-1]:
            below = nodes[at][int(bit)]
            if below is None:
                nodes.append([None, None])
                below = nodes[at][int(bit)] = len(nodes) - 1
            assert isinstance(below, int), f"{network} lies within another network"
            at = below
        nodes[at][int(bits[-1])] = network
    data, offsets = b"", {}
    for network, (country, city) in places.items():
        offsets[network] = len(data)
        data += _encoded({"country": {"iso_code": country}, "city": {"names": {"en": city}}})

    def pointer(entry: int | str | None) -> bytes:
        if entry is None:
            value = len(nodes)
        elif isinstance(entry, int):
            value = entry
        else:
            value = len(nodes) + 16 + offsets[entry]
        return value.to_bytes(3, "big")

    tree = b"".join(pointer(left) + pointer(right) for left, right in nodes)
    metadata = {
        "binary_format_major_version": _Number(5, 2),
        "binary_format_minor_version": _Number(5, 0),
        "build_epoch": _Number(9, 1_700_000_000),
        "database_type": "Test-City",
        "description": {"en": "Made up"},
        "ip_version": _Number(5, 4),
        "languages": ["en"],
        "node_count": _Number(6, len(nodes)),
        "record_size": _Number(5, 24),
    }
    path.write_bytes(tree + bytes(16) + data + _MARK + _encoded(metadata))


class _Number(NamedTuple):
    """A number of one of the format's types."""

    kind: int
    value: int


def _encoded(value: Any) -> bytes:
    if isinstance(value, dict):
        return _control(7, len(value)) + b"".join(_encoded(key) + _encoded(inner) for key, inner in value.items())
    if isinstance(value, list):
        return _control(11, len(value)) + b"".join(_encoded(inner) for inner in value)
    if isinstance(value, _Number):
        digits = value.value.to_bytes((value.value.bit_length() + 7) // 8, "big")
        return _control(value.kind, len(digits)) + digits
    text = value.encode()
    return _control(2, len(text)) + text


def _control(kind: int, size: int) -> bytes:
    """Type and size of what follows; from the eighth type on, the type has a byte of its own."""
    small, further = (size, b"") if size < 29 else (29, bytes([size - 29]))
    if kind > 7:
        return bytes([small, kind - 7]) + further
    return bytes([kind << 5 | small]) + further
