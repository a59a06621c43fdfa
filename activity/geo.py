"""The canonical spelling of an IP address, and the place it belongs to: country, region, city.

One client should be one visitor however a server spells its address, so `canonical_address` comes before every hash
of it. `lookup` finds the place in a database that the user brings. Any MMDB will do: the nested records of GeoLite2,
GeoIP2 and DB-IP, or the flat ones of IPinfo. The address is looked up and forgotten: nothing here keeps it, not even
in a cache.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any, Protocol

import msgspec

_LONGEST_ADDRESS = 64  # characters: an IPv6 address with a zone, in brackets, with a port
_PART = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = re.compile(rf"(?:{_PART}\.){{3}}{_PART}", re.ASCII)  # as nearly all come
_LEADING_ZEROS = re.compile(r"(?<![0-9A-Fa-f])0+(?=[0-9])")


def canonical_address(text: str) -> str | None:
    """Returns the address in its shortest lower-case spelling, without port, brackets and zone.

    Accepts spellings such as "192.0.2.1:51000", "[2001:DB8::1]:443", "::ffff:192.0.2.1" (an IPv4 address mapped into
    IPv6 becomes the IPv4 address), "fe80::1%eth0" and "192.000.002.001". Returns None for anything else, and for a
    text of more than 64 characters. Never raises.
    """
    if _IPV4.fullmatch(text):
        return text
    text = text.strip()
    if len(text) > _LONGEST_ADDRESS:
        return None
    if text.startswith("["):
        text, bracket, port = text[1:].partition("]")
        if not bracket or ":" not in text or (port and not _is_port(port)):
            return None
    elif (colon := text.rfind(":")) > text.rfind(".") >= 0:  # IPv4, so the part after the last colon is a port
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


_LONGEST_NAME = 128


class Reader(Protocol):
    """An opened `maxminddb.Reader`, or anything with the same two methods."""

    def get(self, ip_address: str) -> Any:
        """Returns the record of an address, None when the database has none; raises ValueError for a bad address."""

    def metadata(self) -> Any:
        """Returns an object with `database_type` (text) and `build_epoch` (Unix seconds)."""


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where an address is; a text is "" when it is not known, and has at most 128 characters.

    `source` names the database and when it was built, for an event's `enriched_by`.
    """

    country: str = ""  # ISO 3166-1 alpha-2
    region: str = ""
    city: str = ""
    source: str = ""


NOWHERE = Place()


def lookup(reader: Reader | None, ip: str, source: str = "") -> Place:
    """Returns the place of an IP address according to `reader`, or `NOWHERE` if there is no reader.

    An address that is malformed or not in the database gives a place with empty texts. `source` is copied into the
    result; pass what `version` returned. Raises only what `reader` raises besides ValueError.
    """
    if reader is None:
        return NOWHERE
    try:
        record = reader.get(ip)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        return Place(source=source)
    country = record.get("country")
    if isinstance(country, dict):
        code = country.get("iso_code")
        divisions = record.get("subdivisions")
        region = _name(divisions[0]) if isinstance(divisions, list) and divisions else ""
        city = _name(record.get("city"))
    else:
        code = record.get("country_code") or country
        region, city = _text(record.get("region")), _text(record.get("city"))
    code = _text(code).upper()
    return Place(code if len(code) == 2 else "", region, city, source)


def version(reader: Reader | None) -> str:
    """Returns the database's name and build time (Unix seconds) as "name@time", for `lookup`; "" without a reader."""
    if reader is None:
        return ""
    metadata = reader.metadata()
    return f"{metadata.database_type}@{metadata.build_epoch}".replace(" ", "-")


def _name(entry: object) -> str:
    if isinstance(entry, dict):
        names = entry.get("names")
        if isinstance(names, dict):
            return _text(names.get("en") or next(iter(names.values()), ""))
    return ""


def _text(value: object) -> str:
    return value[:_LONGEST_NAME] if isinstance(value, str) else ""
