"""The warehouse keeps what it is given, once a token, and gives it back in the same columns."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import polars as pl
import pytest

import stores
from activity import columns, rollup, session
from stores.base import QueryFailed, StoreUnreachable, Unusable
from stores.frames import without_empty
from stores.warehouse import Warehouse
from tests.stores import frames

END = 2**42


@pytest.fixture(autouse=True)
def emptied(warehouse: Warehouse) -> None:
    for table in ("event_rows", "session_rows", "rollup_1h_rows", "dead_letter_rows"):
        warehouse.command(f"TRUNCATE TABLE {table}")


def all_events(warehouse: Warehouse, **how: object) -> pl.DataFrame:
    asked = {"site": None, "visitors": None, "start_ms": 0, "end_ms": END} | how
    parts = list(warehouse.events_between(**asked))
    return pl.concat(parts) if parts else pl.DataFrame(schema=columns.COLUMNS)


def test_events_come_back_in_the_same_columns_and_values(warehouse: Warehouse) -> None:
    given = frames.events(500)
    warehouse.insert("event_rows", frames.marked(given, 1), "same-1")
    assert all_events(warehouse).schema == pl.Schema(columns.COLUMNS)
    assert frames.same(given, all_events(warehouse))
    assert frames.same(given.filter(pl.col("site") == "a.example"), all_events(warehouse, site="a.example"))


def test_events_come_back_with_ids_for_texts_too(warehouse: Warehouse) -> None:
    given = frames.events(40_000).with_columns(
        source=pl.format("ä{}", pl.int_range(pl.len()) // 3), city=pl.lit("")
    )  # fmt: skip
    warehouse.insert("event_rows", frames.marked(given, 1), "ids-1")
    kinds = columns.kinds_as_ids(columns.COLUMNS)
    found = all_events(warehouse, kinds=kinds)
    assert found.schema == pl.Schema(kinds)
    assert frames.same(given, columns.as_texts(found))


def test_a_text_that_is_no_utf8_comes_as_bytes(warehouse: Warehouse) -> None:
    for ids in (False, True):
        found = warehouse.query("SELECT toLowCardinality(unhex('61ff')) AS odd, toLowCardinality('ä') AS text", ids=ids)
        assert found.rows() == [(b"a\xff", "ä")]


def hollow(count: int) -> pl.DataFrame:
    """Events of which many columns hold nothing, and those that may be null hold 0."""
    zero = pl.lit(0, dtype=pl.Int64)
    return frames.events(count).with_columns(
        pl.lit(False).alias("interactive"), pl.lit("").alias("path"), pl.lit("").alias("country"),
        zero.alias("engaged_ms"), zero.alias("results"), zero.alias("sent_at"),
    )  # fmt: skip


def test_columns_that_hold_nothing_come_back_as_they_were(warehouse: Warehouse) -> None:
    given = hollow(20)
    missing = given.with_columns(pl.lit(None, dtype=pl.Int64).alias("sent_at"), results=pl.Series([None] * 19 + [0]))
    one_else = given.with_columns(path=pl.Series([""] * 19 + ["/"]))
    for number, rows in enumerate((given, missing, one_else, columns.as_ids(given))):
        warehouse.command("TRUNCATE TABLE event_rows")
        warehouse.insert("event_rows", frames.marked(rows, 1), f"empty {number}")
        assert frames.same(columns.as_texts(rows), all_events(warehouse))


@pytest.mark.parametrize("ids", [False, True])
def test_columns_that_hold_nothing_are_not_sent(warehouse: Warehouse, ids: bool) -> None:
    given = hollow(20).with_columns(sent_at=pl.lit(None, dtype=pl.Int64))
    types = warehouse.types_of("event_rows")
    sent = without_empty(columns.as_ids(given) if ids else given, types, ["country"]).columns
    assert {"site", "visitor", "props", "results", "country"} <= {*sent}
    assert not {"interactive", "path", "engaged_ms", "sent_at", "region", "language", "user"} & {*sent}


def test_a_value_that_is_not_a_columns_own_default_is_kept(warehouse: Warehouse) -> None:
    described = warehouse.query("DESCRIBE TABLE day_builds")
    assert described.filter(pl.col("name") == "edition")["default_expression"].item() == "1"
    warehouse.insert("day_builds", pl.DataFrame({"site": ["c.example"], "edition": [0]}), "no edition")
    assert warehouse.query("SELECT edition FROM day_builds WHERE site = 'c.example'").item() == 0
    warehouse.command("DELETE FROM day_builds WHERE site = 'c.example'")


def test_many_rows_with_texts_as_ids_come_back_as_texts(warehouse: Warehouse) -> None:
    given = frames.events(columns.MANY + 1)
    warehouse.insert("event_rows", columns.as_ids(frames.marked(given[:100], 1)), "some ids")
    warehouse.insert("event_rows", frames.marked(given[100:], 1), "many texts")
    assert frames.same(given, all_events(warehouse))


def test_a_token_writes_once_even_with_other_rows(warehouse: Warehouse) -> None:
    first, other = frames.events(50, seed=1), frames.events(50, seed=2)
    warehouse.insert("event_rows", frames.marked(first, 1), "once")
    warehouse.insert("event_rows", frames.marked(first, 1), "once")
    warehouse.insert("event_rows", frames.marked(other, 1), "once")
    assert warehouse.query("SELECT count() AS n FROM event_rows").item() == 50
    warehouse.insert("event_rows", frames.marked(first, 2), "twice")
    assert warehouse.query("SELECT count() AS n FROM event_rows").item() == 100
    assert frames.same(first, all_events(warehouse))


def test_a_large_frame_is_one_block(warehouse: Warehouse) -> None:
    given = frames.events(200_000, days=1)
    pieces = pl.concat([given[:70_000], given[70_000:]], rechunk=False)
    warehouse.insert("event_rows", frames.marked(pieces, 1), "block")
    counted = (
        "SELECT count() AS n FROM system.parts WHERE table = 'event_rows' AND database = currentDatabase() AND active"
    )
    assert warehouse.query(counted).item() == 1


def test_an_empty_frame_and_a_wrong_column(warehouse: Warehouse) -> None:
    warehouse.insert("event_rows", frames.events(0), "nothing")
    with pytest.raises(ValueError, match="event_rows has no column colour; it has site"):
        warehouse.insert("event_rows", frames.events(1).with_columns(colour=pl.lit("red")), "x")
    with pytest.raises(QueryFailed, match="UNKNOWN_TABLE"):
        warehouse.insert("no_such_table", frames.events(1), "x")


def test_the_view_shows_the_last_version_with_identifiers_in_hexadecimal(warehouse: Warehouse) -> None:
    given = frames.events(10).with_columns(id_hi=pl.lit(5, dtype=pl.UInt64), visitor=pl.lit(10, dtype=pl.UInt64))
    warehouse.insert("event_rows", frames.marked(given, 1), "v1")
    warehouse.insert("event_rows", frames.marked(given.head(4).with_columns(path=pl.lit("/new")), 2), "v2")
    warehouse.insert("event_rows", frames.marked(given[4:6], 3, deleted=1), "v3")
    shown = warehouse.query("SELECT id, visitor, path, revenue, occurred_at FROM events")
    assert shown.height == 8
    assert (shown["path"] == "/new").sum() == 4
    assert set(shown["visitor"]) == {"000000000000000a"}
    expected = {f"{5:016x}{low:016x}" for low in given["id_lo"].to_list()[:4] + given["id_lo"].to_list()[6:]}
    assert set(shown["id"]) == expected
    assert shown["occurred_at"].dtype == pl.Int64


@pytest.mark.parametrize("count", [1, 500, 20_000])
def test_lookup_events_are_those_live_before_the_batch(warehouse: Warehouse, count: int) -> None:
    given = frames.events(20_000, seed=3)
    warehouse.insert("event_rows", frames.marked(given, 5), "known-1")
    gone = given.head(100)
    warehouse.insert("event_rows", frames.marked(gone, 6, deleted=1), "known-2")
    keys = given.sample(count, seed=1)
    unknown = frames.events(50, seed=99)
    asked = pl.concat([keys, unknown, keys])
    assert warehouse.lookup_events(asked, 5).is_empty()
    assert frames.same(keys, warehouse.lookup_events(asked, 6))
    assert frames.same(keys.join(gone, on="id_lo", how="anti"), warehouse.lookup_events(asked, 7))


def test_lookup_events_follow_an_event_that_was_moved_to_another_day(warehouse: Warehouse) -> None:
    before = frames.events(1)
    after = before.with_columns(pl.col("occurred_at") + frames.DAY_MS)
    warehouse.insert("event_rows", frames.marked(before, 1), "moved-1")
    warehouse.insert("event_rows", frames.marked(before, 2, deleted=1), "moved-2")
    warehouse.insert("event_rows", frames.marked(after, 2), "moved-3")
    assert frames.same(after, warehouse.lookup_events(before, 3))
    assert frames.same(after, all_events(warehouse))


def test_events_of_some_visitors(warehouse: Warehouse) -> None:
    given = frames.events(2_000, seed=4)
    warehouse.insert("event_rows", frames.marked(given, 1), "asof-1")
    later = frames.events(500, seed=5)
    warehouse.insert("event_rows", frames.marked(later, 2), "asof-2")
    wanted = given.select("site", "visitor").unique().head(7)
    start, end = frames.START + 1000, frames.START + 2 * frames.DAY_MS
    expected = pl.concat([given, later]).filter(pl.col("occurred_at").is_between(start, end, closed="left"))
    both = expected.join(wanted, on=["site", "visitor"], how="semi")
    found = all_events(warehouse, visitors=wanted, start_ms=start, end_ms=end)
    assert frames.same(both, found)


def test_places_of_some_persons_around_some_days(warehouse: Warehouse) -> None:
    given = frames.events(400, days=4)
    gone = given[:20]
    warehouse.insert("event_rows", frames.marked(given, 1), "places 1")
    warehouse.insert("event_rows", frames.marked(gone, 2, deleted=1), "places 2")
    warehouse.insert("event_rows", frames.marked(given[20:40].with_columns(bot=pl.lit("now")), 3), "places 3")
    visitors = given.select("site", "visitor").unique().sort("visitor")[:30]
    span = frames.START + 1_000_000, frames.START + 4 * frames.DAY_MS
    first = frames.START // frames.DAY_MS
    found = warehouse.places_around(visitors, *span, range(first + 1, first + 3), 3)
    day = pl.col("occurred_at") // frames.DAY_MS - first
    wanted = given[40:].filter(day.is_in([0, 3]) & (pl.col("bot") == "") & (pl.col("occurred_at") >= span[0]))
    wanted = wanted.join(visitors, on=["site", "visitor"], how="semi")
    assert wanted.height
    assert frames.same(found, wanted.select(found.columns))


def test_sessions_and_rollups_come_back(warehouse: Warehouse) -> None:
    events = frames.events(3_000, seed=6)
    given = frames.sessions(events)
    warehouse.insert("session_rows", frames.marked(given, 1), "s-1")
    found = warehouse.sessions_between(None, 0, END)
    assert found.schema == pl.Schema(session.COLUMNS)
    assert frames.same(given, found)
    sums = rollup.roll_up(events, events.head(0), 3_600_000)
    warehouse.insert("rollup_1h_rows", sums, "r-1")
    retracted = rollup.roll_up(events.head(0), events.head(1000), 3_600_000)
    warehouse.insert("rollup_1h_rows", retracted, "r-2")
    left = rollup.roll_up(events[1000:], events.head(0), 3_600_000)
    order = ["site", "bucket", "dimension", "value"]
    assert warehouse.rollups_between("rollup_1h", None, 0, END).sort(order).equals(left.sort(order))
    with pytest.raises(ValueError, match="no rollup; there are rollup_1m, rollup_1h"):
        warehouse.rollups_between("rollup_2h", None, 0, END)


def test_bytes_that_are_no_text_are_kept(warehouse: Warehouse) -> None:
    letter = {"received_at": [7], "topic": ["t"], "reason": ["r"], "bytes": [b"\xff\x00'\n"], "batch": [1]}
    warehouse.insert("dead_letter_rows", pl.DataFrame(letter), "d-1")
    assert warehouse.query("SELECT * FROM dead_letters").row(0)[:4] == (7, "t", "r", b"\xff\x00'\n")


def test_parameters_are_values_not_text(warehouse: Warehouse) -> None:
    hostile = "a'; DROP TABLE event_rows; --\n\\"
    found = warehouse.query("SELECT {x:String} AS x, {y:Array(UInt64)} AS y", {"x": hostile, "y": [1, 2]})
    assert found.row(0) == (hostile, [1, 2])


def test_threads_ask_and_insert_at_once(warehouse: Warehouse) -> None:
    wrong: list[object] = []

    def insert(worker: int) -> None:
        for turn in range(5):
            frame = frames.events(100, seed=1000 + worker * 10 + turn, days=1)
            warehouse.insert("event_rows", frames.marked(frame, 1), f"thread-{worker}-{turn}")

    def ask() -> None:
        for _ in range(20):
            count = warehouse.query("SELECT count() AS n FROM event_rows").item()
            if count % 100:
                wrong.append(count)

    threads = [threading.Thread(target=insert, args=(worker,)) for worker in range(3)]
    threads += [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert warehouse.query("SELECT count() AS n FROM event_rows").item() == 1500


def test_what_was_acked_survives_a_kill_and_its_token_too(tmp_path: Path) -> None:
    script = f"""
import os, signal, stores
from tests.stores import frames
warehouse = stores.connect_warehouse("chdb://{tmp_path}")
warehouse.migrate()
warehouse.insert("event_rows", frames.marked(frames.events(100), 1), "kept")
print("acked", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    check = f"""
import stores
from tests.stores import frames
warehouse = stores.connect_warehouse("chdb://{tmp_path}")
assert warehouse.migrate() == []
warehouse.insert("event_rows", frames.marked(frames.events(100), 1), "kept")
print(warehouse.query("SELECT count() AS n FROM event_rows").item())
warehouse.close()
"""
    first = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert first.stdout == "acked\n", first.stderr
    second = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert second.stdout == "100\n", second.stderr


def test_the_engine_merges_one_at_a_time_in_a_folder_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "a b&c=d%41+#"
    script = f"""
import stores
from urllib.parse import quote
warehouse = stores.connect_warehouse("chdb://" + quote({str(folder)!r}))
merges = "background_pool_size", "background_merges_mutations_concurrency_ratio"
settings = warehouse.query("SELECT name, value FROM system.server_settings")
print({{name: value for name, value in settings.iter_rows() if name in merges}})
warehouse.close()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    found = {"background_pool_size": "1", "background_merges_mutations_concurrency_ratio": "1"}
    assert done.stdout == f"{found}\n", done.stderr
    assert (folder / "owner.lock").exists()


def test_a_folder_belongs_to_one_process(tmp_path: Path) -> None:
    script = f"""
import stores
warehouse = stores.connect_warehouse("chdb://{tmp_path}")
print("open", flush=True)
input()
warehouse.close()
"""
    owner = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "open\n"
        with pytest.raises(Unusable, match=f"is open in process {owner.pid}.*stop it first"):
            stores.connect_warehouse(f"chdb://{tmp_path}")
        owner.communicate("\n")
    assert owner.returncode == 0


def test_wrong_urls_say_what_to_do() -> None:
    with pytest.raises(Unusable, match="a warehouse is chdb:///folder or clickhouse://"):
        stores.connect_warehouse("postgres://x")
    with pytest.raises(Unusable, match="unknown option fsync"):
        stores.connect_warehouse("chdb:///tmp/x?fsync=1")
    with pytest.raises(Unusable, match=r"no folder with a \? in its name"):
        stores.connect_warehouse("chdb:///tmp/x%3Fy")
    with pytest.raises(StoreUnreachable, match=r"clickhouse://u:\*\*\*@127.0.0.1:1/x does not answer"):
        stores.connect_warehouse("clickhouse://u:secret@127.0.0.1:1/x")


def test_deleted_rows_stay_deleted_when_all_is_merged_into_one_part(warehouse: Warehouse) -> None:
    warehouse.command("TRUNCATE TABLE event_rows")
    given = frames.events(600, seed=41)
    warehouse.insert("event_rows", frames.marked(given, 1), "merged/1")
    warehouse.insert("event_rows", frames.marked(given.head(200), 2, deleted=1), "merged/2")
    warehouse.command("OPTIMIZE TABLE event_rows FINAL")
    assert warehouse.count_events() == 400
    assert warehouse.query("SELECT count() FROM events").item() == 400


def test_days_of_few_rows_are_read_together_and_a_day_of_many_in_parts(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = frames.events(300, days=60), frames.events(400, seed=1, days=1, start=frames.START + 60 * frames.DAY_MS)
    monkeypatch.setattr("stores.warehouse._CHUNK_ROWS", 100)
    for number, given in enumerate((few, many, frames.events(200, seed=2, start=frames.START + 61 * frames.DAY_MS))):
        warehouse.insert("event_rows", frames.marked(given, 1), f"days {number}")
    parts = list(warehouse.events_between(None, None, 0, END))
    days = [(part["occurred_at"].min() // frames.DAY_MS, part["occurred_at"].max() // frames.DAY_MS) for part in parts]
    assert days == sorted(days)
    assert 3 <= sum(last - first > 5 for first, last in days) <= 4
    alone = frames.START // frames.DAY_MS + 60
    assert sum(part.height for part, (first, last) in zip(parts, days, strict=True) if first == last == alone) == 400
    assert sum(part.height for part in parts) == 900 == pl.concat(parts)["id_lo"].n_unique()
