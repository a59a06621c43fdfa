"""The same warehouse over ClickHouse's HTTP protocol: the client's other transport, the real engine behind it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

import stores
from stores import migrate
from stores.base import QueryFailed, QueryRefused, Unusable
from stores.cover import Period
from stores.days import DayTables
from stores.filters import Filter
from stores.warehouse import Warehouse
from tests.patience import patient
from tests.stores import frames
from tests.stores.read_only import limited

END = 2**42


@contextmanager
def served(folder: Path, *shards: str) -> Iterator[str]:
    line = [sys.executable, Path(__file__).with_name("clickhouse_http.py"), folder, "ann", "s3cret", *shards]
    server = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    yield f"127.0.0.1:{server.stdout.readline().strip()}"
    server.communicate("", timeout=patient(30))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("ch")) as place:
        yield place


@pytest.fixture(scope="module")
def remote(address: str) -> Iterator[Warehouse]:
    opened = stores.connect_warehouse(f"clickhouse://ann:s3cret@{address}/web")
    assert opened.migrate() == [f"{number:03d}-{name}" for number, name, _ in migrate.available()]
    assert opened.migrate() == []
    yield opened
    opened.close()


def test_rows_go_in_once_and_come_back(remote: Warehouse) -> None:
    given = frames.events(500)
    remote.insert("event_rows", frames.marked(given, 1), "r-1")
    remote.insert("event_rows", frames.marked(given, 1), "r-1")
    assert remote.query("SELECT count() AS n FROM event_rows").item() == 500
    assert frames.same(given, pl.concat(remote.events_between(None, None, 0, END)))
    keys = pl.concat([given.head(40), frames.events(40, seed=9)])
    assert frames.same(given.head(40), remote.lookup_events(keys, 2))
    wanted = given.select("site", "visitor").unique().head(3)
    theirs = given.join(wanted, on=["site", "visitor"], how="semi")
    assert frames.same(theirs, pl.concat(remote.events_between(None, wanted, 0, END)))


def test_questions_are_answered(remote: Warehouse) -> None:
    given = frames.events(500, seed=3)
    remote.insert("session_rows", frames.marked(frames.sessions(given), 1), "s-1")
    tables, first = DayTables(remote), date(2024, 3, 29)
    period = Period("a.example", "Europe/Berlin", first, date(2024, 4, 3))
    visits = frames.sessions(given).filter(pl.col("site") == "a.example")
    german = visits.filter(pl.col("country") == "DE").height
    for built in (False, True):
        cover = tables.cover(period)
        assert cover.built == built
        assert tables.stats(cover)["visits"] == visits.height
        # Visits of days that are not built go along with the question, those of a built day are in a table.
        chosen = tables.cover(period, [Filter("is", "country", ("DE",))])
        assert chosen.made is not None
        assert tables.stats(chosen)["visits"] == german
        assert [row["visits"] for row in tables.breakdowns(chosen, ["country"], 9)["country"]] == [german]
        assert len(tables.breakdowns(cover, ["country"], 2)["country"]) == 2
        tables.build("a.example", "Europe/Berlin", first + timedelta(days=1))
        tables.move_horizon([1])
    hostile = "a'; DROP TABLE event_rows; --\n\\\t"
    assert remote.query("SELECT {x:String} AS x", {"x": hostile}).item() == hostile


def test_readers_are_held_by_both_walls(remote: Warehouse) -> None:
    assert remote.read_only("SELECT {a:UInt8} + 1 AS n", "JSONEachRow", {"a": "2"}).body == b'{"n":3}\n'
    with pytest.raises(QueryRefused, match="the function file is not open"):
        remote.read_only("SELECT file('/etc/hostname')")
    with pytest.raises(QueryRefused, match="add a LIMIT"):
        limited.answer(remote, "SELECT number FROM numbers(100)", rows=10)
    readers = next(iter(remote._read_only._by_limits.values()))
    with pytest.raises(QueryFailed, match="READONLY"), readers.lend() as client:
        client.command("DROP TABLE event_rows")


def test_a_wrong_password_is_said_without_saying_it(address: str) -> None:
    with pytest.raises(Unusable, match=r"ann:\*\*\*@.*does not take this user and password") as caught:
        stores.connect_warehouse(f"clickhouse://ann:wrong@{address}/web")
    assert "wrong@" not in str(caught.value)


def test_a_cluster_answers_once_the_rows_are_on_their_shards(tmp_path: Path) -> None:
    """What is said of rows, such as that a day's are all there, is written after them."""
    with served(tmp_path, "2") as place:
        over = stores.connect_warehouse(f"clickhouse://ann:s3cret@{place}/web?cluster=main")
        over.command("CREATE TABLE told_local (waits UInt64) ENGINE = MergeTree ORDER BY waits")
        over.command("CREATE TABLE told AS told_local ENGINE = Distributed('main', 'web', told_local, waits)")
        over.command("INSERT INTO told SELECT getSetting('distributed_foreground_insert') + number FROM numbers(2)")
        by_shard = "SELECT toUInt32(_shard_num) AS shard, waits FROM told ORDER BY shard"
        assert over.query(by_shard).rows() == [(1, 2), (2, 1)]
        over.close()
