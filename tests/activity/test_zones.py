"""The closed list of time zones against the three that have to know each of them."""

from __future__ import annotations

from importlib.resources import files
from zoneinfo import ZoneInfo

import polars as pl
import pytest

import stores
from activity.zones import ZONES, not_known


def known_to_polars(zone: str) -> bool:
    try:
        pl.Series([0]).cast(pl.Datetime("ms", "UTC")).dt.convert_time_zone(zone)
    except BaseException:  # a panic is no Exception
        return False
    return True


def test_the_table_holds_just_what_all_three_know() -> None:
    """A failure after an update shows the names to put into the table, or to take out."""
    python = set(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())
    warehouse = stores.connect_warehouse("chdb://")
    try:
        clickhouse = set(warehouse.query("SELECT time_zone FROM system.time_zones")["time_zone"])
    finally:
        warehouse.close()
    assert set(ZONES) == {zone for zone in python & clickhouse if known_to_polars(zone)}


def test_python_opens_every_one() -> None:
    assert all(ZoneInfo(zone).key == zone for zone in ZONES)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("europe/berlin", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("New York", "America/New_York"),
        ("Europe/Berlni", "Europe/Berlin"),
        ("posix/Japan", "Japan"),
    ],
)
def test_a_near_name_is_offered(given: str, meant: str) -> None:
    assert not_known(given).endswith(f"Did you mean {meant}?")


@pytest.mark.parametrize("given", ["localtime", "", "CEST", "Mars/Olympus", "x" * 10_000])
def test_nothing_is_offered_for_what_resembles_none(given: str) -> None:
    assert "Did you mean" not in not_known(given)
    assert len(not_known(given)) < 200
