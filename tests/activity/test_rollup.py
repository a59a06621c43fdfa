"""Rollups and digests are what their words say: compared with plain Python over the same rows."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity import columns, rollup, session
from activity.columns import COLUMNS
from activity.definitions import DAY_MS, MINUTE_MS

T0 = 1_711_756_800_000


def events(count: int, seed: int, days: int = 2, engaged: int = 5_000) -> pl.DataFrame:
    dice = random.Random(seed)
    rows = [
        {name: "" for name, kind in COLUMNS.items() if kind == pl.String()}
        | {
            "site": dice.choice(["a.example", "b.example"]), "visitor": dice.randrange(50), "id_hi": number,
            "id_lo": seed, "type": dice.choice(["pageview", "search", "custom", "engagement"]),
            "occurred_at": T0 + dice.randrange(days * DAY_MS), "engaged_ms": dice.randrange(engaged),
            "path": dice.choice(["/", "/ä", ""]), "term": dice.choice(["t", "u"]), "name": dice.choice(["n", ""]),
            "source": dice.choice(["s", ""]), "country": dice.choice(["DE", "FR"]), "bot": dice.choice(["", "", "b"]),
        }
        for number in range(count)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=COLUMNS)


def plainly(fresh: pl.DataFrame, retracted: pl.DataFrame, grain: int) -> set[tuple[Any, ...]]:
    sums: defaultdict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for weight, frame in ((1, fresh), (-1, retracted)):
        for e in frame.filter(pl.col("bot") == "").iter_rows(named=True):
            for dimension, (column, only) in rollup.DIMENSIONS.items():
                if only in (None, e["type"]):
                    key = (e["site"], e["occurred_at"] // grain * grain, dimension, e[column] if column else "")
                    adds = (1, e["type"] == "pageview", e["type"] == "search", e["engaged_ms"])
                    sums[key] = [sum_ + weight * add for sum_, add in zip(sums[key], adds, strict=True)]
    return {(*key, *counts) for key, counts in sums.items() if any(counts)}


@pytest.mark.parametrize("ids", [False, True], ids=["texts", "ids"])
@pytest.mark.parametrize("grain", [MINUTE_MS, 60 * MINUTE_MS])
@pytest.mark.parametrize(
    ("fresh", "retracted"),
    [
        (events(3_000, 1), events(0, 2)),
        (events(3_000, 1), events(300, 3, days=40)),  # few rows in many buckets
        (events(300, 1), events(300, 1)),  # nothing is left
        (events(300, 1, engaged=2**55), events(20, 2)),  # sums that a float does not hold
        (events(0, 1), events(50, 2)),
        (events(0, 1), events(0, 1)),
    ],
    ids=["fresh", "far apart", "all taken back", "large", "only taken back", "none"],
)
def test_a_rollup_is_a_sum_by_key(fresh: pl.DataFrame, retracted: pl.DataFrame, grain: int, ids: bool) -> None:
    given = (columns.as_ids(fresh), columns.as_ids(retracted)) if ids else (fresh, retracted)
    made = rollup.roll_up(*given, grain)
    assert made.schema == pl.Schema(rollup.COLUMNS)
    rows = made.rows()
    assert len(rows) == len(set(rows))
    assert set(rows) == plainly(fresh, retracted, grain)


def escaped(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, str):
        return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return str(value)


@pytest.mark.parametrize("count", [0, 1, 9_999, 20_001])
def test_a_digest_is_the_hash_of_sorted_lines(count: int) -> None:
    dice = random.Random(count)
    texts = ["", "ä", "a\\b", "t\tt", "n\nn\r", "/plain"]
    clean = {"channel", "language"}  # columns without anything to escape
    rows = [
        {name: dice.choice(texts if name not in clean else ["", "x"]) if kind == pl.String() else
         dice.random() < 0.5 if kind == pl.Boolean() else dice.randrange(2**64 if kind == pl.UInt64() else 2**40)
         for name, kind in session.COLUMNS.items()}
        for _ in range(count)
    ]  # fmt: skip
    lines = []
    for row in rows:
        ids = [f"{row[name]:016x}" for name in ("visitor", "session_id")]
        rest = [escaped(row[name]) for name in rollup.DIGEST_FIELDS if name not in ("visitor", "session_id")]
        lines.append("\t".join([*ids, *rest]) + "\n")
    sessions = pl.DataFrame(rows, schema=session.COLUMNS)
    assert rollup.session_digest(sessions) == hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def test_identifiers_are_written_in_sixteen_digits() -> None:
    numbers = [0, 1, 0xFFFF, 0x1_0000, 2**63, 2**64 - 1, 0x0123_4567_89AB_CDEF]
    made = pl.DataFrame({"n": numbers}, schema={"n": pl.UInt64}).select(rollup.hex16("n")).to_series()
    assert made.to_list() == [f"{number:016x}" for number in numbers]


@given(st.lists(st.integers(0, 400), min_size=1, max_size=30))
def test_ids_are_numbered_alike_wherever_they_lie_among_all_that_were_ever_given(which: list[int]) -> None:
    known = pl.Series([f"text {number}" for number in range(401)]).cast(pl.Categorical)
    column = known.gather(which)
    numbers, values = columns.numbered(column)
    assert values.is_unique().all()
    assert values.gather(numbers).to_list() == [f"text {number}" for number in which]
