"""Whom a line of a log is about: what stands before the time, read field by field.

The client is the first field that is an address, in any spelling: with a port, in brackets, a chain of proxies of
which the first part is the client, or behind the name of a file, which `grep` puts before it. The field before may
name the virtual host.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from activity.geo import canonical_address

_FIELDS = 16  # of a line are looked at
_LONGEST = 400  # characters of a field: the name of a file, and an address
_KEPT = 128  # characters of what stands before the time: the answers for longer ones are not kept
_LABEL = re.compile(r"[a-z0-9_-]+")


class Client(NamedTuple):
    """Whom a line is about, and the virtual host where it names one."""

    ip: str
    host: str


def client_of(head: str) -> Client | None:
    """The client of what stands before the time: its first address. The field before that may name the host."""
    return (_client_kept if len(head) <= _KEPT else _client_of)(head)


def _client_of(head: str) -> Client | None:
    fields = head.split(None, _FIELDS)[:_FIELDS]
    for index, field in enumerate(fields):
        address = address_in(field)
        if address is None:
            continue
        following = fields[index + 1] if index + 1 < len(fields) else ""
        if _is_our_own(field, address) and address_in(following) is not None:
            continue
        return Client(address, _host_in(fields[index - 1]) if index else "")
    return None


_client_kept = lru_cache(maxsize=16_384)(_client_of)


def address_in(field: str) -> str | None:
    """The first address of a field, canonical: the field itself, of a chain of proxies the first, or what follows the
    name of a file, which `grep` puts before it."""
    if len(field) > _LONGEST:
        return None
    for part in field.strip('"').split(","):
        address = canonical_address(part) or _after_file_name(part)
        if address is not None:
            return address
    return None


def _after_file_name(text: str) -> str | None:
    _, colon, rest = text.partition(":")
    while colon:
        number, colon, after = rest.partition(":")
        address = canonical_address(rest)
        if address is not None and not _is_unused(address):
            # A number of a line before an IPv6 address reads like a part of it.
            other = canonical_address(after) if _is_number(number) else None
            return address if other is None or _is_unused(other) else None
        rest = after
    return None


def _is_unused(address: str) -> bool:
    parsed = ip_address(address)
    return parsed.is_reserved and not parsed.is_loopback


def _is_our_own(field: str, address: str) -> bool:
    """Whether an address before another one is the virtual host, for a server that has no other name."""
    its_port = field.endswith((":80", ":443")) and ("." in field or "]" in field)
    return "," not in field and (its_port or ip_address(address).is_loopback)


def _host_in(field: str) -> str:
    """The host of "example.com" or "intranet:8080", after the name of a file too; "" for what is none."""
    parts = field.lower().split(":")
    has_port = len(parts) > 1 and _is_number(parts[-1])
    host = parts[-2 if has_port else -1].rstrip(".")
    labels = host.split(".")
    named = all(_LABEL.fullmatch(label) for label in labels) and not host.replace(".", "").isdigit()
    return host if named and (has_port or len(labels) > 1 or host == "localhost") else ""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
