"""Sessions and their digests as three others find them: ClickHouse's SQL, DuckDB's SQL and a plain loop.

Each of them follows the definition in words and shares no code with the product (`tests/oracles/sessions.py`,
`tests/oracles/digest.py`).
"""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activity import rollup, session
from activity.definitions import DAY_MS, GAP_MS, HOUR_MS
from tests.activity.test_open_events import requests
from tests.oracles import digest
from tests.oracles.sessions import Digests, by_clickhouse, by_duckdb
from tests.require import require

T0 = 20_000 * DAY_MS
SCHEMA = session.STATE_COLUMNS | {"bot": pl.String()}
NAMES = [name for name, kind in session.STATE_COLUMNS.items() if kind == pl.String() and name not in ("site", "type")]
TEXTS = ["", "a", "b\\t", "tab\there", "line\nfeed\r", "ünï", "'\"", "\u2028", "-"]
# Around a gap, around a midnight, and every now and then.
STEPS = [0, 1, 1_000, GAP_MS - 1, GAP_MS, GAP_MS + 1, HOUR_MS, 8 * HOUR_MS, 23 * HOUR_MS, DAY_MS]
VISITORS = [0, 1, 2**63, 2**64 - 1]


def visits(dice: random.Random, steps: list[list[int]], never_pauses: int) -> list[dict[str, Any]]:
    """The events of a visitor for each list of steps (ms), and of one who does not pause for so many events.

    With copies that differ, and with events of a bot."""
    rows: list[dict[str, Any]] = []
    for own in [*steps, [29 * 60_000 + 7] * never_pauses]:
        site, visitor = dice.choice(["a.example", "b.example"]), dice.choice(VISITORS)
        at = T0 + dice.randrange(3) * 8 * HOUR_MS
        for number, step in enumerate([0, *own]):
            at += step
            place = {"site": site, "visitor": visitor, "id_hi": number % 3, "id_lo": 2**64 - 1 - len(rows)}
            rows.append(place | {"bot": "", "occurred_at": at, "received_at": at + 5} | fields(dice))
    for row in dice.choices(rows, k=dice.randrange(9)):
        sooner = {name: row[name] - dice.choice([0, 0, 1, -1, HOUR_MS]) for name in ("received_at", "occurred_at")}
        rows.append(row | fields(dice) | sooner)
    bots = [row | {"visitor": 77, "bot": "crawler"} for row in rows[:2]]
    return dice.sample(rows + bots, len(rows) + 2)


def fields(dice: random.Random) -> dict[str, Any]:
    told = dict.fromkeys(NAMES, "") | {name: dice.choice(TEXTS) for name in dice.sample(NAMES, dice.randrange(5))}
    return told | {
        "type": dice.choice(["pageview", "pageview", "search", "custom", "engagement"]),
        "interactive": dice.random() < 0.5,
        "engaged_ms": dice.choice([0, 0, 4_000, 10_000, 10_001]),
    }


def ours(events: pl.DataFrame) -> Digests:
    persons = events.filter(pl.col("bot") == "").select(session.STATE_COLUMNS.keys())
    formed = session.sessions(session.canonical(persons)).with_columns(day=pl.col("started_at") // DAY_MS)
    return {
        (str(site), date(int(str(day)))): rollup.session_digest(some)
        for (site, day), some in formed.partition_by("site", "day", as_dict=True).items()
    }


def date(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()


def by_loop(folder: Path) -> Digests:
    return {(str(told["site"]), str(told["day"])): str(told["sha256"]) for told in digest.digests(folder)}


def assert_all_agree(events: pl.DataFrame, folder: Path) -> Digests:
    (folder / "site=all").mkdir(exist_ok=True)
    events.write_parquet(folder / "site=all" / "events.parquet")
    files, found = f"{folder}/site=*/*.parquet", ours(events)
    assert by_clickhouse(files) == found
    assert by_duckdb(files) == found
    assert by_loop(folder) == found
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archive")


@given(
    st.integers(0, 2**32),
    st.lists(st.lists(st.sampled_from(STEPS), max_size=12), min_size=1, max_size=4),
    st.sampled_from([0, 0, 45, 90, 150]),
)
@settings(deadline=None, max_examples=25)
def test_clickhouse_duckdb_and_a_loop_give_our_digests(
    folder: Path, seed: int, steps: list[list[int]], never_pauses: int
) -> None:
    rows = visits(random.Random(seed), steps, never_pauses)
    assert assert_all_agree(pl.DataFrame(rows, schema=SCHEMA), folder)


def test_of_a_session_of_very_many_events_they_agree(folder: Path) -> None:
    blank = {name: "" for name, kind in SCHEMA.items() if kind == pl.String()}
    rows = [
        blank | {"site": "a.example", "visitor": 5, "id_hi": 1, "id_lo": number, "received_at": T0, "type": "custom",
                 "occurred_at": T0 + number, "interactive": False, "engaged_ms": 1}
        for number in range(10_001)
    ]  # fmt: skip
    assert assert_all_agree(pl.DataFrame(rows, schema=SCHEMA), folder) != (
        assert_all_agree(pl.DataFrame(rows[:-1], schema=SCHEMA), folder)
    )


def test_of_a_real_log_they_agree(tmp_path: Path) -> None:
    log = os.environ.get("FOOTFALL_TEST_ACCESS_LOG", "")
    require("a real access log", Path(log).is_file(), "let FOOTFALL_TEST_ACCESS_LOG name one (combined format)")
    events = requests(Path(log)).with_columns(bot=pl.lit(""))
    assert len(assert_all_agree(events, tmp_path)) >= 2
