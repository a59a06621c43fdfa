"""The inventory of a real warehouse: whole, and after what it should notice."""

from __future__ import annotations

import polars as pl

from activity.definitions import DAY_MS, HOUR_MS
from stores import inventory, migrate
from stores.inventory import Letters
from stores.warehouse import Warehouse
from tests.stores import frames

NOW = 1_790_035_200_000  # 2026-09-22T00:00:00Z


def events(count: int, at: int, protocol: str) -> pl.DataFrame:
    """So many events that occurred and were received at one moment."""
    times = {"occurred_at": pl.lit(at), "received_at": pl.lit(at), "protocol": pl.lit(protocol)}
    seed = at % 1_000_003 + len(protocol)
    return frames.events(count, seed=seed).with_columns(**times).with_columns(batch=pl.lit(1), deleted=pl.lit(0))


def test_a_whole_warehouse_misses_nothing(warehouse: Warehouse) -> None:
    found = inventory.of(warehouse, NOW)
    assert (found.missing, found.foreign, found.absent, found.broken) == ([], [], [], "")
    assert (found.letters, found.ahead, found.today) == ([], 0, 0)


def test_events_of_today_and_of_the_future_are_counted(warehouse: Warehouse) -> None:
    now = NOW + HOUR_MS
    for count, at, protocol in (
        (5, NOW + 1, "footfall"),
        (6, NOW - 1, "footfall"),  # of yesterday
        (7, NOW + 1, "import"),
        (8, now + HOUR_MS, "pixel"),
    ):
        warehouse.insert("event_rows", events(count, at, protocol), f"{at}-{protocol}")
    found = inventory.of(warehouse, now)
    assert (found.today, found.ahead, found.latest) == (13, 8, now + HOUR_MS)
    parts = warehouse.parts()
    assert parts is not None
    assert found.parts == [list(row) for row in parts.iter_rows()]
    assert sum(row[4] for row in found.parts) == 26


def test_dead_letters_are_counted_by_day_and_reason(warehouse: Warehouse) -> None:
    ages = {"new": [1, 2, 20], "old": [30, 47], "both": [3, 25, 26], "older": [50]}
    rows = [(NOW - hours * HOUR_MS, "t", reason, b"x", 1) for reason, all_of in ages.items() for hours in all_of]
    names = ["received_at", "topic", "reason", "bytes", "batch"]
    warehouse.insert("dead_letter_rows", pl.DataFrame(rows, schema=names, orient="row"), "letters")
    assert inventory.of(warehouse, NOW).letters == [Letters("new", 3, 0), Letters("both", 1, 2)]
    assert inventory.of(warehouse, NOW + 30 * DAY_MS).letters == []


def test_a_schema_behind_ahead_and_without_a_view(warehouse: Warehouse) -> None:
    last = migrate.available()[-1]
    warehouse.command("DELETE FROM schema_migrations WHERE number = {n:UInt32}", {"n": last[0]})
    warehouse.command("INSERT INTO schema_migrations (number, name) VALUES (999, 'later')")
    warehouse.command("DROP VIEW sessions")
    found = inventory.of(warehouse, NOW)
    assert (found.missing, found.foreign, found.absent) == ([f"{last[0]:03d}-{last[1]}"], ["999-later"], ["sessions"])
    for table in ("dead_letter_rows", "event_rows", migrate.APPLIED):
        warehouse.command(f"DROP TABLE {table}")
    empty = inventory.of(warehouse, NOW)
    assert len(empty.missing) == len(migrate.available())
    assert (empty.today, empty.letters) == (0, [])
