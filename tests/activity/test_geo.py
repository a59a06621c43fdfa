"""Places as the kinds of MMDB in use record them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from activity.geo import NOWHERE, Place, lookup, version

NESTED = {
    "country": {"iso_code": "DE", "names": {"en": "Germany"}},
    "subdivisions": [{"iso_code": "BE", "names": {"de": "Land Berlin", "en": "State of Berlin"}}],
    "city": {"names": {"de": "Berlin"}},
}


class Records:
    """A reader over a dictionary; as maxminddb's, it raises ValueError for what is no address."""

    def __init__(self, records: dict[str, Any]) -> None:
        self.records = records

    def get(self, ip_address: str) -> Any:
        if "." not in ip_address:
            raise ValueError(f"{ip_address!r} does not appear to be an IPv4 or IPv6 address.")
        return self.records.get(ip_address)

    def metadata(self) -> Any:
        return SimpleNamespace(database_type="DBIP City Lite", build_epoch=1_760_000_000)


@pytest.mark.parametrize(
    ("record", "place"),
    [
        (NESTED, Place("DE", "State of Berlin", "Berlin")),
        ({"country": {"iso_code": "fr"}}, Place("FR")),
        ({"country": "US", "region": "Oregon", "city": "Bend"}, Place("US", "Oregon", "Bend")),
        ({"country_code": "NL", "country": "Netherlands"}, Place("NL")),
        ({"country": 5, "subdivisions": [], "city": None}, Place()),
        ("text", Place()),
        (None, Place()),
    ],
)
def test_records(record: object, place: Place) -> None:
    assert lookup(Records({"192.0.2.1": record}), "192.0.2.1") == place


def test_no_database_and_no_address() -> None:
    assert lookup(None, "192.0.2.1") is NOWHERE
    assert lookup(Records({}), "unknown", "db@1") == Place(source="db@1")
    assert (version(None), version(Records({}))) == ("", "DBIP-City-Lite@1760000000")
