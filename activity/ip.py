"""An IP address in its one canonical spelling, so that one client is one visitor however a server writes it."""

from __future__ import annotations

import re
from ipaddress import ip_address

_LONGEST = 64  # characters: an IPv6 address with a zone, in brackets, with a port
_LEADING_ZEROS = re.compile(r"(?<![0-9A-Fa-f])0+(?=[0-9])")


def canonical(text: str) -> str | None:
    """The address of "192.0.2.1:51000", "[2001:DB8::1]:443", "::ffff:192.0.2.1", "fe80::1%eth0" or "192.000.002.001",
    without port, brackets and zone, lower case and shortest; an IPv4 address mapped into IPv6 is the IPv4 address.
    None for what is no address. Never raises."""
    text = text.strip()
    if len(text) > _LONGEST:
        return None
    if text.startswith("["):
        text, bracket, port = text[1:].partition("]")
        if not bracket or ":" not in text or (port and not _is_port(port)):
            return None
    elif (colon := text.rfind(":")) > text.rfind(".") >= 0:  # dotted, so what follows the last colon is a port
        if not _is_port(text[colon:]):
            return None
        text = text[:colon]
    text = text.partition("%")[0]
    if "." in text:
        text = _LEADING_ZEROS.sub("", text)
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)


def _is_port(text: str) -> bool:
    return text[:1] == ":" and text[1:].isascii() and text[1:].isdigit() and len(text) <= 6
