"""The engine and Polars compute the same checksums, and rows that differ in anything have others."""

from __future__ import annotations

import polars as pl
import pytest

from activity import columns, rollup, session
from stores import checksum
from stores.warehouse import KEYS, Warehouse
from tests.stores import frames

END = 2**42


def sums(events: pl.DataFrame) -> tuple[int, int, int]:
    return events.height, of_rows(events, KEYS), of_rows(events, columns.COLUMNS)


def of_rows(frame: pl.DataFrame, names: object) -> int:
    return checksum.total(checksum.row_checksums(frame, names))  # type: ignore[arg-type]


def another(value: object) -> object:
    if isinstance(value, bool):
        return not value
    return f"{value}ä" if isinstance(value, str) else (value or 0) + 1  # type: ignore[operator]


@pytest.fixture
def events(warehouse: Warehouse) -> pl.DataFrame:
    """Stored under batch 2; an older version of each, and deleted ones, are stored as well."""
    for table in ("event_rows", "session_rows", "rollup_1m_rows"):
        warehouse.command(f"TRUNCATE TABLE {table}")
    live, gone = frames.events(1_000), frames.events(50, seed=1)
    warehouse.insert("event_rows", frames.marked(live.with_columns(title=pl.lit("old")), 1), "checksum old")
    warehouse.insert("event_rows", frames.marked(live, 2), "checksum live")
    warehouse.insert("event_rows", frames.marked(gone, 1), "checksum gone 1")
    warehouse.insert("event_rows", frames.marked(gone, 2, deleted=1), "checksum gone 2")
    return live


@pytest.mark.parametrize("shards", [1, 8])
def test_the_engine_adds_up_live_events_by_shard(warehouse: Warehouse, events: pl.DataFrame, shards: int) -> None:
    of_shard = {number: events.filter(pl.col("visitor") % shards == number) for number in range(shards)}
    assert warehouse.event_checksums(None, 0, END, 2, shards) == {n: sums(some) for n, some in of_shard.items()}
    for number, some in of_shard.items():
        read = pl.concat(list(warehouse.events_between(None, None, 0, END, shard=(number, shards))))
        assert frames.same(read, some)


def test_the_engine_adds_up_events_of_which_it_has_one_version(warehouse: Warehouse, events: pl.DataFrame) -> None:
    warehouse.command("TRUNCATE TABLE event_rows")
    warehouse.insert("event_rows", frames.marked(events, 1), "checksum one version")
    of_shard = {number: events.filter(pl.col("visitor") % 4 == number) for number in range(4)}
    assert warehouse.event_checksums(None, 0, END, 1, 4) == {n: sums(some) for n, some in of_shard.items()}
    gone = events[:1]
    warehouse.insert("event_rows", frames.marked(gone.with_columns(id_lo=pl.lit(1, pl.UInt64)), 2, 1), "checksum gone")
    assert warehouse.event_checksums(None, 0, END, 2, 1) == {0: sums(events)}


def test_the_engine_adds_up_what_was_asked_for(warehouse: Warehouse, events: pl.DataFrame) -> None:
    day = frames.START, frames.START + frames.DAY_MS
    some = events.filter(pl.col("occurred_at").is_between(*day, closed="left") & (pl.col("site") == "a.example"))
    assert warehouse.event_checksums("a.example", *day, 2, 1) == {0: sums(some)}
    assert warehouse.event_checksums(None, 0, END, 0, 1) == {}


def test_the_engine_adds_up_sessions(warehouse: Warehouse, events: pl.DataFrame) -> None:
    formed = frames.sessions(events)
    warehouse.insert("session_rows", frames.marked(formed.with_columns(events=pl.lit(0)), 1), "checksum sessions old")
    warehouse.insert("session_rows", frames.marked(formed, 2), "checksum sessions")
    assert warehouse.sessions_checksum(None, 0, END) == (formed.height, of_rows(formed, session.COLUMNS))
    one = formed.filter(pl.col("site") == "a.example")
    assert warehouse.sessions_checksum("a.example", 0, END) == (one.height, of_rows(one, session.COLUMNS))
    assert warehouse.sessions_checksum("c.example", 0, END) == (0, 0)


def test_counts_have_the_checksum_of_their_totals(warehouse: Warehouse, events: pl.DataFrame) -> None:
    """However they are cut: here in two halves of the same visitors' events, in rows that the engine has not merged."""
    whole = rollup.roll_up(events, events.clear(), rollup.GRAINS["rollup_1m"])
    halves = [rollup.roll_up(half, half.clear(), rollup.GRAINS["rollup_1m"]) for half in (events[:500], events[500:])]
    for number, half in enumerate(halves):
        warehouse.insert("rollup_1m_rows", half, f"checksum rollup {number}")
    of_whole = checksum.counts_checksum(whole, rollup.KEY, rollup.COUNTS)
    assert sum(checksum.counts_checksum(h, rollup.KEY, rollup.COUNTS) for h in halves) % 2**64 == of_whole
    assert warehouse.rollup_checksum("rollup_1m", None, 0, END) == of_whole
    for name in (*rollup.KEY, *rollup.COUNTS):
        assert checksum.counts_checksum(altered(whole, name), rollup.KEY, rollup.COUNTS) != of_whole
    assert warehouse.rollup_checksum("rollup_1m", "c.example", 0, END) == 0


def altered(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """The frame with another value of a column in its first row."""
    value = pl.Series(name, [another(frame[name][0])], frame.schema[name])
    return frame.with_columns(pl.concat([value, frame[name][1:]]))


@pytest.mark.parametrize("name", columns.COLUMNS)
def test_another_value_of_any_column_makes_another_checksum(name: str) -> None:
    events = frames.events(50)
    assert of_rows(altered(events, name), columns.COLUMNS) != of_rows(events, columns.COLUMNS)


def test_ids_have_the_checksum_of_their_texts() -> None:
    events = frames.events(50).with_columns(host=pl.lit("only.example"))
    for some in (events, events.clear()):
        assert of_rows(columns.as_ids(some), columns.COLUMNS) == of_rows(some, columns.COLUMNS)


def test_what_the_values_have_in_common_does_not_hide_that_they_differ() -> None:
    of = {"a": pl.String(), "b": pl.String(), "n": pl.Int64(), "m": pl.Int64()}
    rows = [
        [("x", "y", 1, 2), ("z", "y", 3, 4)],
        [("z", "y", 1, 2), ("x", "y", 3, 4)],  # swapped between rows
        [("x", "y", 3, 2), ("z", "y", 1, 4)],
        [("y", "x", 1, 2), ("z", "y", 3, 4)],  # swapped between columns
        [("x", "y", 2, 1), ("z", "y", 3, 4)],
        [("xy", "", 1, 2), ("z", "y", 3, 4)],  # moved over to the next text
        [("x", "y", 2, 2), ("z", "y", 2, 4)],  # with the same sums
        [("x", "y", None, 2), ("z", "y", 3, 4)],
        [("x", "y", 0, 2), ("z", "y", 3, 4)],
        [("x", "y", -1, 2), ("z", "y", 3, 4)],
    ]
    made = {of_rows(pl.DataFrame(some, schema=of, orient="row"), of) for some in rows}
    assert len(made) == len(rows)
    backwards = pl.DataFrame(rows[0][::-1], schema=of, orient="row")
    assert of_rows(backwards, of) in made
