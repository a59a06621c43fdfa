"""Where a visitor is, as far as a database that the user brings tells: country, region, city.

Any MMDB will do: the nested records of GeoLite2, GeoIP2 and DB-IP, or the flat ones of IPinfo. The address
is looked up and forgotten: nothing here keeps it, a cache included.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

LONGEST = 128


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
    return value[:LONGEST] if isinstance(value, str) else ""
