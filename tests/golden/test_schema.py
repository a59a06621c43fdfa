"""A warehouse of each schema that there was: `migrate` brings it up to date, and its views answer the same."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import stores
from stores import migrate
from stores.days import DayTables
from stores.warehouse import Warehouse

HERE = Path(__file__).parent
# Of each migration that was released, by name, the SHA-256 of its text. A new one joins them, none ever changes.
RELEASED: dict[str, str] = json.loads((HERE / "schema.json").read_text())
AT = "toDateTime64('2026-03-04 05:06:07.089', 3, 'UTC')"
OF_PAGE = "'page', '/', 1, 1, 0, 0 FROM numbers(2)"

# Rows as they were written, by the migration that made their table, and with the columns that it had then.
ROWS: dict[int, list[str]] = {
    1: [
        "INSERT INTO event_rows (site, visitor, id_hi, id_lo, type, occurred_at, received_at, url, path, props, "
        f"revenue, batch, deleted) SELECT 'a.example', number, 7, number, 'pageview', {AT}, {AT}, "
        "'https://a.example/', '/', '{}', '1.5', 1, 0 FROM numbers(3)",
        "INSERT INTO event_rows (site, visitor, id_hi, id_lo, type, occurred_at, received_at, batch, deleted) "
        f"SELECT 'a.example', 2, 7, 2, 'pageview', {AT}, {AT}, 2, 1",
        "INSERT INTO session_rows (site, visitor, session_id, started_at, ended_at, events, pageviews, entry_page, "
        f"batch, deleted) SELECT 'a.example', number, number, {AT}, {AT}, 1, 1, '/', 1, 0 FROM numbers(2)",
        f"INSERT INTO rollup_1m_rows SELECT 'a.example', toStartOfMinute({AT}), {OF_PAGE}",
        f"INSERT INTO rollup_1h_rows SELECT 'a.example', toStartOfHour({AT}), {OF_PAGE}",
        f"INSERT INTO dead_letter_rows SELECT {AT}, 'footfall.dead-letter', 'malformed', 'x', 1",
    ],
    3: [
        "INSERT INTO day_values (site, day, dimension, value, version, visits) VALUES "
        "('a.example', '2026-03-04', '', '', 5, 9)",
        "INSERT INTO day_builds (site, zone, day, version, valid) VALUES ('a.example', 'UTC', '2026-03-04', 5, 1)",
        "INSERT INTO day_horizons VALUES (5, [1])",
    ],
    4: ["INSERT INTO day_visits (site, day, version, visitor) VALUES ('a.example', '2026-03-04', 5, 1)"],
    7: ["INSERT INTO month_builds VALUES ('a.example', 'UTC', '2026-03-01', 5, ['2026-03-04'], [5])"],
    9: ["INSERT INTO day_sites VALUES ('a.example', 'UTC', 5, 1)"],
}
VIEWS = {
    "events": "id", "sessions": "session_id", "rollup_1m": "bucket", "rollup_1h": "bucket", "dead_letters": "bytes",
}  # fmt: skip


def text_of(name: str) -> str:
    return {f"{number:03d}-{each}": text for number, each, text in migrate.available()}[name]


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_migration_is_never_edited(name: str) -> None:
    assert hashlib.sha256(text_of(name).encode()).hexdigest() == RELEASED[name]


def answers(warehouse: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    return {view: warehouse.query(f"SELECT * FROM {view} ORDER BY {key}").rows() for view, key in VIEWS.items()}


def test_each_schema_comes_up_to_date_and_its_views_answer_the_same() -> None:
    warehouse = stores.connect_warehouse("chdb://")
    expected = None
    for upto in range(1, len(RELEASED) + 1):
        for table in warehouse.query("SELECT name FROM system.tables WHERE database = currentDatabase()").to_series():
            warehouse.command(f"DROP TABLE {table} SYNC")
        apply(warehouse, upto)
        assert warehouse.migrate() == [name for name in NAMES if int(name[:3]) > upto], upto
        found = answers(warehouse)
        expected = expected or found
        assert found == expected, upto
        if upto >= 3:
            # A day that was built by an older edition is built again, so that its columns of now are filled.
            assert DayTables(warehouse).builds() == {("a.example", "UTC", date(2026, 3, 4)): False}
    assert expected is not None
    assert {view: len(rows) for view, rows in expected.items()} == {
        "events": 2, "sessions": 2, "rollup_1m": 1, "rollup_1h": 1, "dead_letters": 1,
    }  # fmt: skip
    warehouse.close()


NAMES = [f"{number:03d}-{name}" for number, name, _ in migrate.available()]


def apply(warehouse: Warehouse, upto: int) -> None:
    """The schema of a former version, with rows of its time."""
    for statement in migrate.statements(migrate._CREATE_APPLIED):
        warehouse.command(statement)
    for name in NAMES[:upto]:
        for statement in migrate.statements(text_of(name)):
            warehouse.command(statement)
        for statement in ROWS.get(int(name[:3]), []):
            warehouse.command(statement)
        number, _, rest = name.partition("-")
        warehouse.command(f"INSERT INTO schema_migrations (number, name) VALUES ({int(number)}, '{rest}')")
