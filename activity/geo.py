"""An IP address in its one canonical spelling, so that one client is one visitor however a server writes it.

Where a visitor is, as far as a database that the user brings tells: country, region, city.

Any MMDB will do: the nested records of GeoLite2, GeoIP2 and DB-IP, or the flat ones of IPinfo. The address
is looked up and forgotten: nothing here keeps it, a cache included.
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
    """The address of "192.0.2.1:51000", "[2001:DB8::1]:443", "::ffff:192.0.2.1", "fe80::1%eth0" or "192.000.002.001",
    without port, brackets and zone, lower case and shortest; an IPv4 address mapped into IPv6 is the IPv4 address.
    None for what is no address. Never raises."""
    if _IPV4.fullmatch(text):
        return text
    text = text.strip()
    if len(text) > _LONGEST_ADDRESS:
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


_LONGEST_NAME = 128


class Reader(Protocol):
    """An opened `maxminddb.Reader`, or anything that answers like one."""

    def get(self, ip_address: str) -> Any: ...

    def metadata(self) -> Any: ...


class Place(msgspec.Struct, frozen=True, gc=False):
    """Texts are empty when not known. `source` names the database and its day, for `enriched_by`."""

    country: str = ""  # ISO 3166-1 alpha-2
    region: str = ""
    city: str = ""
    source: str = ""


NOWHERE = Place()


def lookup(reader: Reader | None, ip: str, source: str = "") -> Place:
    """The place of an IP address by `reader`; `NOWHERE` without a reader. `source` is passed through, see
    `version`. An address that is none, or that the database does not hold, has an unknown place."""
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
    """The name and build time (Unix seconds) of the opened database, to be passed to `lookup`; "" for none."""
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
