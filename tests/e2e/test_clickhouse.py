"""Clients of ClickHouse against a running `up`, as they are: clickhouse-connect and curl."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from tests.e2e.harness import SITE, Up, running, secret_key, until
from tests.e2e.test_sql import ANN, BOB, CAT, DAY
from tests.require import require

pytestmark = pytest.mark.slow


class Server(NamedTuple):
    """A running `up`, and its token; "" if it has none."""

    up: Up
    token: str

    def client(self, **options: Any) -> Client:
        address = urlsplit(self.up.dashboards)
        given = {"username": "reader", "password": self.token} | options
        return clickhouse_connect.get_client(host=address.hostname, port=address.port, **given)


@pytest.fixture(scope="module", params=["", "clicks and houses"], ids=["open", "token"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    env = {"FOOTFALL_DASHBOARDS_TOKEN": request.param} if request.param else {}
    with running(tmp_path_factory.mktemp("clickhouse") / "data", "--site", SITE, env=env) as up:
        started = Server(up, request.param)
        up.send(ANN + BOB + CAT, secret_key(up.data))
        with started.client() as client:
            until(lambda: client.command("SELECT count() FROM events") == 10, "all events are stored")
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.client() as opened:
        yield opened


def test_rows_frames_and_arrow(client: Client) -> None:
    statement = "SELECT path, count() AS n, max(occurred_at) AS last FROM events GROUP BY path ORDER BY n DESC, path"
    found = client.query(statement)
    assert found.column_names == ("path", "n", "last")
    assert [row[:2] for row in found.result_rows] == [("/", 5), ("/pricing", 3), ("/find", 2)]
    assert found.result_rows[0][2].isoformat() == f"{DAY}T12:35:06"
    assert client.query_df(statement)["n"].to_list() == [5, 3, 2]
    assert client.query_arrow(statement)["path"].to_pylist() == ["/", "/pricing", "/find"]


def test_parameters_are_bound_by_the_server(client: Client) -> None:
    found = client.query(
        "SELECT {word:String} AS word, count() AS n FROM events WHERE path IN {paths:Array(String)}",
        parameters={"word": "it's\ta \\ %s", "paths": ["/", "/find"]},
    )
    assert found.result_rows == [("it's\ta \\ %s", 7)]


def test_an_answer_is_streamed_in_blocks(client: Client) -> None:
    with client.query_row_block_stream("SELECT number FROM numbers(200000)") as blocks:
        lengths = [len(block) for block in blocks]
    assert sum(lengths) == 200_000
    assert len(lengths) > 1


def test_the_views_are_found_and_described(client: Client) -> None:
    views = {"events", "sessions", "rollup_1m", "rollup_1h", "dead_letters", "loss_account"}
    assert views <= set(str(client.command("SHOW TABLES")).split())
    assert client.command("EXISTS TABLE events") == 1
    assert client.command("EXISTS TABLE nothing") == 0
    described = {name: kind for name, kind, *_ in client.query("DESCRIBE TABLE events").result_rows}
    assert described["occurred_at"] == "DateTime64(3, 'UTC')"
    columns = client.query("SELECT name FROM system.columns WHERE database = 'footfall' AND table = 'sessions'")
    assert ("started_at",) in columns.result_rows


@pytest.mark.parametrize(
    "statement",
    ["DROP TABLE event_rows", "CREATE TABLE x (a Int8) ENGINE = Memory", "ALTER TABLE event_rows DELETE WHERE 1"],
)
def test_what_changes_something_is_refused_as_read_only(client: Client, statement: str) -> None:
    with pytest.raises(DatabaseError, match="READONLY") as refused:
        client.command(statement)
    assert refused.value.code == 164


def test_an_insert_is_refused_as_read_only(client: Client) -> None:
    with pytest.raises(DatabaseError, match="READONLY"):
        client.insert("event_rows", [["x"]], column_names=["site"])
    assert client.command("SELECT count() FROM events") == 10


def test_an_error_of_the_engine_keeps_its_code(client: Client) -> None:
    with pytest.raises(DatabaseError, match="UNKNOWN_IDENTIFIER") as refused:
        client.query("SELECT nothing FROM events")
    assert refused.value.code == 47


def test_statements_may_travel_as_a_form(server: Server) -> None:
    with server.client(form_encode_query_params=True, database="footfall") as client:
        assert client.ping()
        found = client.query("SELECT count() FROM events WHERE path = {path:String}", parameters={"path": "/find"})
        assert found.result_rows == [(2,)]


def test_a_token_is_asked_for_if_there_is_one(server: Server) -> None:
    if server.token:
        with pytest.raises(ClickHouseError, match="516"):
            server.client(password="wrong")
    else:
        with server.client(password="whatever") as client:
            assert client.command("SELECT 1") == 1


def test_curl(server: Server) -> None:
    require("curl", shutil.which("curl") is not None, "apt-get install curl")

    def curl(*arguments: str) -> str:
        line = ["curl", "--silent", "--compressed", "-H", f"X-ClickHouse-Key: {server.token}", *arguments]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout

    address, statement = f"{server.up.dashboards}/", "SELECT count() FROM events"
    assert curl(f"{address}ping") == "Ok.\n"
    assert curl(address, "--data-binary", statement) == "10\n"
    assert curl("-G", address, "--data-urlencode", f"query={statement} FORMAT CSV") == "10\n"
    assert curl(address, "--data", statement) == "10\n"
