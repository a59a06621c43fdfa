"""Exports of a running `up`: the rows of the archive, each once, whoever else is served meanwhile."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.e2e.harness import SITE, Up, fetch, footfall, running, secret_key, until
from tests.e2e.test_sql import ANN, BOB, CAT, DAY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("exports") / "data", "--site", SITE) as started:
        started.send(ANN + BOB + CAT, secret_key(started.data))
        until(lambda: started.stats(first=DAY, last=DAY)["events"] == 10, "all events are in the numbers")
        yield started


def export(up: Up, name: str) -> tuple[dict[str, str], bytes]:
    status, headers, body = fetch(f"{up.dashboards}/{SITE}/export/{name}?from={DAY}&to={DAY}")
    assert status == 200, body
    return headers, body


def test_every_form_has_the_events_of_the_archive(up: Up, tmp_path: Path) -> None:
    done = footfall("archive", "flush", "--data", str(up.data))
    assert done.returncode == 0, done.stderr
    archived = pl.concat(pl.read_parquet(file) for file in (up.data / "archive").rglob("*.parquet"))
    expected = sorted(
        (f"{row['id_hi']:016x}{row['id_lo']:016x}", row["path"], row["props"])
        for row in archived.select("id_hi", "id_lo", "path", "props").to_dicts()
    )
    assert len(expected) == 10
    headers, body = export(up, "events.csv")
    assert headers["transfer-encoding"] == "chunked"
    assert headers["content-disposition"] == f"attachment; filename={SITE}-events-{DAY}-{DAY}.csv"
    rows = list(csv.DictReader(io.StringIO(body.decode())))
    assert sorted((row["id"], row["path"], row["props"]) for row in rows) == expected
    assert [row["occurred_at"] for row in rows] == sorted(row["occurred_at"] for row in rows)
    lines = [json.loads(line) for line in export(up, "events.json")[1].splitlines()]
    assert sorted((row["id"], row["path"], row["props"]) for row in lines) == expected
    frame = pl.read_parquet(io.BytesIO(export(up, "events.parquet")[1]))
    assert sorted(frame.select("id", "path", "props").iter_rows()) == expected


def test_sessions_and_lists_are_those_of_the_api(up: Up) -> None:
    sessions = pl.read_parquet(io.BytesIO(export(up, "sessions.parquet")[1]))
    assert sorted(sessions["pageviews"]) == [1, 1, 2, 3]
    status, _, body = fetch(f"{up.dashboards}/{SITE}/list/page.json?from={DAY}&to={DAY}")
    assert status == 200
    api = up.api("breakdown", by="page", first=DAY, last=DAY)["rows"]
    assert json.loads(body) == [{name: row[name] for name in row if name in json.loads(body)[0]} for row in api]
