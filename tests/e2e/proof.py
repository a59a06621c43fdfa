"""Counting again from outside: replays, the digest script, SQL over the raw Parquet, rollups by a GROUP BY."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import chdb

from tests.e2e.harness import ROOT, Up, environment, footfall

ALL = ("--from", "2000-01-01", "--to", "2099-12-31")


def in_log(file: Path, topic: str) -> int:
    """How many records of a topic were ever committed to an embedded log, by SQLite's own client."""
    if not file.exists():
        return 0
    log = sqlite3.connect(file)
    try:
        found = log.execute("SELECT sum(next) FROM logs JOIN topics t ON t.id = topic WHERE name = ?", (topic,))
        return found.fetchone()[0] or 0
    except sqlite3.OperationalError:  # its tables are being made
        return 0
    finally:
        log.close()


def replay(
    data: Path, *arguments: str, status: int = 0, env: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """The reports of a replay of every day, which ends with `status`."""
    done = footfall("replay", *ALL, "--json", "--data", str(data), *arguments, env=env)
    assert done.returncode == status, done.stderr + done.stdout
    return [json.loads(line) for line in done.stdout.splitlines()]


def flushed(data: Path) -> None:
    done = footfall("archive", "flush", "--data", str(data))
    assert done.returncode == 0, done.stderr


def by_script(data: Path) -> dict[tuple[str, str], str]:
    """Digests by the independent script from the archive alone."""
    line = [sys.executable, str(ROOT / "tests" / "oracles" / "digest.py"), str(data / "archive")]
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=environment({"PYTHONPATH": ""}))
    return digests([json.loads(text) for text in done.stdout.splitlines()])


def digests(reports: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    return {(report["site"], report["day"]): report["sha256"] for report in reports if report["sessions"]}


def assert_rollups_equal_a_group_by(up: Up) -> None:
    grains = {"rollup_1m": "toStartOfMinute(occurred_at)", "rollup_1h": "toStartOfHour(occurred_at)"}
    for table, bucket in grains.items():
        counts = "count() AS events, countIf(type = 'pageview') AS pageviews, countIf(type = 'search') AS searches"
        grouped = up.sql(
            f"SELECT site, toUnixTimestamp({bucket}) AS at, {counts}, sum(engaged_ms) AS engaged FROM events "
            "WHERE bot = '' GROUP BY site, at ORDER BY site, at"
        )
        rolled = up.sql(
            "SELECT site, toUnixTimestamp(bucket) AS at, events, pageviews, searches, engaged_ms AS engaged "
            f"FROM {table} WHERE dimension = '' ORDER BY site, at"
        )
        assert [{k: str(v) for k, v in row.items()} for row in rolled] == [
            {k: str(v) for k, v in row.items()} for row in grouped
        ]
        pages = up.sql(
            f"SELECT site, toUnixTimestamp({bucket}) AS at, path AS value, count() AS pageviews FROM events "
            "WHERE bot = '' AND type = 'pageview' GROUP BY ALL ORDER BY ALL"
        )
        rolled = up.sql(
            "SELECT site, toUnixTimestamp(bucket) AS at, value, pageviews "
            f"FROM {table} WHERE dimension = 'page' AND pageviews != 0 ORDER BY ALL"
        )
        assert [{k: str(v) for k, v in row.items()} for row in rolled] == [
            {k: str(v) for k, v in row.items()} for row in pages
        ]


def by_parquet(data: Path, site: str) -> dict[str, Any]:
    """Numbers of a site from the archive's files by one statement: copies dropped, gaps over 30:00 counted."""
    statement = f"""
        WITH raw AS (
            SELECT visitor, id_hi, id_lo, min(received_at) AS first_copy,
                argMin(tuple(occurred_at, type, bot, interactive), received_at) AS e
            FROM file('{data}/archive/site=*/**/*.parquet', Parquet)
            WHERE site = '{site}' GROUP BY visitor, id_hi, id_lo
        ),
        ordered AS (
            SELECT visitor, e.1 AS at, e.2 AS kind, e.4 AS active,
                lagInFrame(toNullable(e.1)) OVER (
                    PARTITION BY visitor ORDER BY e.1, id_hi, id_lo ROWS BETWEEN 1 PRECEDING AND CURRENT ROW
                ) AS before
            FROM raw WHERE e.3 = ''
        ),
        numbered AS (
            SELECT *, sum(before IS NULL OR at - before > 1800000) OVER (PARTITION BY visitor ORDER BY at) AS visit
            FROM ordered
        ),
        visits AS (
            SELECT visitor, visit, count() AS events, countIf(kind = 'pageview') AS views, max(at) - min(at) AS lasted,
                countIf(kind = 'search') AS searches, countIf(active) AS interactions
            FROM numbered GROUP BY visitor, visit
        )
        SELECT uniqExact(visitor) AS visitors, count() AS visits, sum(views) AS pageviews, sum(searches) AS searches,
            sum(events) AS events, countIf(interactions <= 1) AS bounces, sum(lasted) AS duration_ms
        FROM visits"""
    return {name: int(value) for name, value in answered(statement)[0].items()}


def by_page(data: Path, site: str) -> list[tuple[str, int]]:
    """Paths as a person reads them; stored they are percent-encoded."""
    rows = answered(f"""
        SELECT decodeURLComponent(path) AS path, uniqExact(tuple(visitor, id_hi, id_lo)) AS views
        FROM file('{data}/archive/site=*/**/*.parquet', Parquet)
        WHERE site = '{site}' AND bot = '' AND type = 'pageview' GROUP BY path""")
    return [(row["path"], int(row["views"])) for row in rows]


def answered(statement: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in str(chdb.query(statement, "JSONEachRow")).splitlines()]
