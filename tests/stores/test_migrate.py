"""Migrations: applied once and in order; for a cluster made from the same files."""

from __future__ import annotations

import polars as pl
import pytest

from stores import migrate
from stores.base import Unusable
from stores.warehouse import Warehouse


def test_files_are_numbered_without_gaps() -> None:
    assert [number for number, _, _ in migrate.available()] == list(range(1, len(migrate.available()) + 1))


def test_a_second_run_applies_nothing_and_the_table_says_what_was(warehouse: Warehouse) -> None:
    assert warehouse.migrate() == []
    applied = warehouse.query("SELECT number, name FROM schema_migrations ORDER BY number")
    assert applied.rows() == [(number, name) for number, name, _ in migrate.available()]


def test_an_interrupted_run_goes_on(warehouse: Warehouse) -> None:
    warehouse.command("DELETE FROM schema_migrations WHERE number = 2")
    warehouse.command("DROP VIEW sessions")
    assert warehouse.migrate() == ["002-views"]
    assert warehouse.query("SELECT count() AS n FROM sessions").item() == 0


def test_a_database_of_another_version_is_refused() -> None:
    def query(sql: str) -> pl.DataFrame:
        return pl.DataFrame({"number": [1], "name": ["other-tables"]})

    with pytest.raises(Unusable, match="migration 1 was applied as 'other-tables', here it is 'tables'"):
        migrate.apply(query, lambda sql, params: None)


def test_a_cluster_has_replicated_tables_behind_distributed_ones(warehouse: Warehouse) -> None:
    plain = [one for _, _, text in migrate.available() for one in migrate.statements(text)]
    clustered = [one for _, _, text in migrate.available() for one in migrate.statements(text, "main")]
    tables = [one for one in plain if one.startswith("CREATE TABLE")]
    twice = [*tables, *(one for one in plain if "ADD COLUMN" in one)]
    assert len(clustered) == len(plain) + len(twice)
    assert all("ON CLUSTER 'main'" in one for one in clustered)
    joined = "\n".join(clustered)
    assert "non_replicated_deduplication_window" not in joined
    tokens = [one for one in tables if "non_replicated_deduplication_window" in one]
    assert joined.count(" replicated_deduplication_window = ") == len(tokens)
    local = [one for one in clustered if one.startswith("CREATE") and "_local ON CLUSTER" in one]
    assert len(local) == len(tables)
    assert all("ENGINE = Replicated" in one for one in local)
    assert (
        "CREATE TABLE IF NOT EXISTS event_rows ON CLUSTER 'main' AS event_rows_local\n"
        "ENGINE = Distributed('main', currentDatabase(), event_rows_local, cityHash64(site, visitor))"
    ) in clustered
    assert "ALTER TABLE event_rows_local ON CLUSTER 'main' MATERIALIZE INDEX by_batch" in clustered
    for table in ("day_builds_local", "day_builds"):
        assert f"ALTER TABLE {table} ON CLUSTER 'main' ADD COLUMN IF NOT EXISTS edition UInt16 DEFAULT 1" in clustered
    for statement in [*plain, *clustered]:
        formatted = warehouse.query("SELECT formatQuery({s:String}) AS f", {"s": statement}).item()
        assert formatted.startswith(("CREATE", "ALTER TABLE"))
        assert "--" not in statement
