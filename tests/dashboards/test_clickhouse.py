"""ClickHouse's HTTP protocol as raw requests: what its clients send, and what they read in the answers.

`tests/e2e/test_clickhouse.py` has the clients themselves, as far as they run here. The statements of the drivers for
Java and Go, of DBeaver and of Grafana's data source are replayed: they were read in those programs' published source.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lz4.block
import lz4.frame
import polars as pl
import pytest
import zstandard
from clickhouse_cityhash.cityhash import CityHash128
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from dashboards.access import Access
from dashboards.app import create
from dashboards.clickhouse import native
from stores.base import Live
from stores.warehouse import Warehouse

COUNT = "SELECT count() AS n FROM events WHERE site = 'example.com'"
EVENTS = 21
GO = 54460  # the version of the protocol that the driver for Go claims


def code(answer: TestResponse) -> int:
    """The code of an exception, which header and body have alike."""
    found = re.match(r"Code: (\d+)\. DB::Exception: ", answer.text)
    assert found, answer.text
    assert answer.headers["X-ClickHouse-Exception-Code"] == found[1]
    return int(found[1])


@pytest.mark.parametrize(
    ("method", "sent"),
    [
        ("GET", {"query_string": {"query": COUNT}}),
        ("POST", {"data": COUNT}),
        ("POST", {"data": f"{COUNT};\n"}),
        ("POST", {"data": "FROM events WHERE site = 'example.com'", "query_string": {"query": "SELECT count()"}}),
        ("POST", {"data": {"query": COUNT}}),
        ("POST", {"data": {"query": COUNT}, "content_type": "multipart/form-data"}),
        ("POST", {"data": {"query": "SELECT count() FROM events WHERE site = {s:String}", "param_s": "example.com"}}),
        ("POST", {"data": COUNT, "query_string": {"database": "footfall", "session_id": "a", "buffer_size": "1"}}),
        ("POST", {"data": COUNT, "query_string": {"database": "default", "readonly": "0", "max_threads": "9"}}),
        ("POST", {"data": COUNT, "headers": {"X-ClickHouse-Database": "default", "X-ClickHouse-User": "anybody"}}),
    ],
)
def test_the_ways_to_ask(client: FlaskClient, method: str, sent: dict[str, Any]) -> None:
    answer = client.open("/", method=method, **sent)
    assert (answer.status_code, answer.text) == (200, f"{EVENTS}\n")


def test_without_a_statement_it_is_the_home_page(client: FlaskClient) -> None:
    assert "example.com" in client.get("/").text
    assert client.get("/ping").text == client.get("/replicas_status").text == "Ok.\n"


def test_headers_tell_what_clients_read(client: FlaskClient) -> None:
    answer = client.post("/?query_id=mine-1&session_timezone=Asia/Kolkata", data="SELECT timezone()")
    assert answer.text == "Asia/Kolkata\n"
    assert answer.headers["X-ClickHouse-Query-Id"] == "mine-1"
    assert answer.headers["X-ClickHouse-Timezone"] == "Asia/Kolkata"
    assert answer.headers["X-ClickHouse-Format"] == "TabSeparated"
    assert answer.headers["X-ClickHouse-Server-Display-Name"] == "footfall"
    assert int(json.loads(answer.headers["X-ClickHouse-Summary"])["elapsed_ns"]) > 0
    other = client.post("/?query_id=a%0d%0aX-Bad:1", data="SELECT timezone()")
    assert (other.text, "X-Bad" in other.headers) == ("UTC\n", False)
    assert re.fullmatch(r"[0-9a-f-]{36}", other.headers["X-ClickHouse-Query-Id"])


@pytest.mark.parametrize(
    ("sent", "fmt"),
    [
        ({"data": f"{COUNT} FORMAT JSONCompact"}, "JSONCompact"),
        ({"data": COUNT, "query_string": {"default_format": "RowBinary"}}, "RowBinary"),
        ({"data": COUNT, "headers": {"X-ClickHouse-Format": "Native"}}, "Native"),
    ],
)
def test_the_format_is_the_one_that_was_asked_for(client: FlaskClient, sent: dict[str, Any], fmt: str) -> None:
    answer = client.post("/", **sent)
    assert (answer.status_code, answer.headers["X-ClickHouse-Format"]) == (200, fmt)
    match fmt:
        case "JSONCompact":
            assert answer.get_json()["data"] == [[EVENTS]]
        case "RowBinary":
            assert answer.data == EVENTS.to_bytes(8, "little")
        case "Native":
            assert answer.data.endswith(b"\x06UInt64" + EVENTS.to_bytes(8, "little"))


@pytest.mark.parametrize("value", ["plain", "it's", "back\\slash", "a\ttab\nline", "' OR 1 --", "%s", "é€"])
def test_parameters_are_escaped_by_the_client_and_bound_by_the_engine(client: FlaskClient, value: str) -> None:
    escaped = value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
    literal = value.replace("\\", "\\\\").replace("'", "\\'")
    answer = client.post(
        "/",
        query_string={"param_a": escaped, "param_b": f"['{literal}']", "default_format": "JSONCompact"},
        data="SELECT {a:String}, {b:Array(String)}[1]",
    )
    assert answer.get_json()["data"] == [[value, value]]


@pytest.mark.parametrize(
    ("sent", "expected", "status"),
    [
        ({"data": "SELEKT 1"}, 62, 400),
        ({"data": "SELECT 1; SELECT 2"}, 62, 400),
        ({"data": ""}, 36, 400),
        ({"data": "SELECT nothing FROM events"}, 47, 404),
        ({"data": "SELECT nofunction(1)"}, 46, 404),
        ({"data": "SELECT * FROM nowhere"}, 60, 404),
        ({"data": "SELECT 1 FORMAT Nothing"}, 73, 404),
        ({"data": "SELECT 1", "query_string": {"database": "other"}}, 81, 404),
        ({"data": "DROP TABLE event_rows"}, 164, 400),
        ({"data": "INSERT INTO events (site) VALUES ('x')"}, 164, 400),
        ({"data": b"\x01\xff\x00", "query_string": {"query": "INSERT INTO events FORMAT Native"}}, 164, 400),
        ({"data": "SET readonly = 0"}, 164, 400),
        ({"data": "SELECT 1 SETTINGS readonly = 0"}, 164, 400),
        ({"data": "SELECT file('/etc/passwd')"}, 497, 403),
        ({"data": "SELECT * FROM url('http://127.0.0.1/')"}, 497, 403),
        ({"data": "SELECT * FROM system.query_log"}, 497, 403),
        ({"data": "SELECT * FROM information_schema.tables"}, 497, 403),
        ({"data": "SELECT number FROM numbers(2000000)"}, 396, 400),
        ({"data": "SELECT throwIf(1)"}, 395, 400),
        ({"data": "SELECT 1", "query_string": {"param_a": "1"}}, 36, 400),
        ({"data": "x", "headers": {"Content-Encoding": "br"}}, 36, 415),
        ({"data": "x", "query_string": {"decompress": "1"}}, 36, 400),
        ({"data": "SELECT 1", "query_string": {"default_format": "x y"}}, 36, 400),
        ({"data": {"query": "SELECT * FROM t", "t": (io.BytesIO(b"1"), "t"), "t_structure": "a Int8"}}, 36, 400),
    ],
)
def test_a_refusal_is_an_exception_of_clickhouse(
    client: FlaskClient, sent: dict[str, Any], expected: int, status: int
) -> None:
    answer = client.post("/", **sent)
    assert (code(answer), answer.status_code) == (expected, status)
    assert re.search(r"\([A-Z_]+\)\)?$", answer.text.strip())


@pytest.mark.parametrize(
    "setting",
    [
        *("output_format_schema", "format_schema", "max_memory_usage", "allow_introspection_functions", "profile"),
        *("s3_max_connections", "max_bytes_to_read", "format_template_row", "output_format_json", "compatibility"),
    ],
)
def test_a_setting_that_would_matter_is_refused(client: FlaskClient, setting: str) -> None:
    answer = client.post("/", query_string={setting: "1"}, data="SELECT 1")
    assert code(answer) == 164
    assert setting in answer.text


@pytest.mark.parametrize(
    ("settings", "statement", "expected"),
    [
        ({"limit": "2"}, "SELECT number FROM numbers(9)", "0\n1\n"),
        ({"limit": "2", "offset": "3"}, "SELECT number FROM numbers(9)", "3\n4\n"),
        ({"join_use_nulls": "1"}, "SELECT b FROM (SELECT 1 a) x LEFT JOIN (SELECT 2 a, 3 b) y USING a", "\\N\n"),
        ({"date_time_output_format": "iso"}, "SELECT toDateTime(0, 'UTC')", "1970-01-01T00:00:00Z\n"),
        ({"max_execution_time": "9"}, "SELECT getSetting('max_execution_time')", "9\n"),
        ({"max_execution_time": "0"}, "SELECT getSetting('max_execution_time')", "30\n"),
        ({"max_execution_time": "9999"}, "SELECT getSetting('max_execution_time')", "30\n"),
        ({"max_result_rows": "99999999999"}, "SELECT getSetting('max_result_rows')", "1000000\n"),
        ({"max_result_rows": "1", "result_overflow_mode": "break"}, "SELECT 7", "7\n"),
        ({"readonly": "0"}, "SELECT getSetting('readonly')", "1\n"),
    ],
)
def test_a_harmless_setting_counts_within_the_limits(
    client: FlaskClient, settings: dict[str, str], statement: str, expected: str
) -> None:
    answer = client.post("/", query_string=settings, data=statement)
    assert (answer.status_code, answer.text) == (200, expected)


@pytest.mark.parametrize("value", ["1'; SET readonly = 0", "a b", "x" * 65, "\u00e9", "1\n"])
def test_the_value_of_a_setting_is_a_word(client: FlaskClient, value: str) -> None:
    answer = client.post("/", query_string={"session_timezone": value}, data="SELECT 1")
    assert code(answer) == 36


DECODED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
    "lz4": lz4.frame.decompress,
}
ENCODED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": lambda body: zstandard.ZstdCompressor().compress(body),
    "lz4": lz4.frame.compress,
}


@pytest.mark.parametrize("encoding", DECODED)
def test_bodies_may_be_compressed_both_ways(client: FlaskClient, encoding: str) -> None:
    statement = "SELECT toString(number) FROM numbers(1000)"
    answer = client.post(
        "/",
        query_string={"enable_http_compression": "1"},
        data=ENCODED[encoding](statement.encode()),
        headers={"Content-Encoding": encoding, "Accept-Encoding": f"br;q=0, {encoding}"},
    )
    assert answer.headers["Content-Encoding"] == encoding
    assert DECODED[encoding](answer.data).decode().split() == [str(number) for number in range(1000)]


@pytest.mark.parametrize("encoding", ENCODED)
def test_a_body_that_unpacks_to_too_much_or_is_damaged_is_refused(client: FlaskClient, encoding: str) -> None:
    bomb = ENCODED[encoding](b"SELECT 1" + b" " * 50_000_000)
    answer = client.post("/", data=bomb, headers={"Content-Encoding": encoding})
    assert (code(answer), answer.status_code) == (36, 413)
    damaged = client.post("/", data=b"\x00" * 40, headers={"Content-Encoding": encoding})
    assert (code(damaged), damaged.status_code) == (36, 400)


def unblocked(body: bytes) -> bytes:
    """What ClickHouse's compressed blocks hold; the test below holds this against blocks of the engine's own."""
    pieces = []
    while body:
        method, length, size = struct.unpack("<BII", body[16:25])
        block, body, stated = body[16 : 16 + length], body[16 + length :], body[:16]
        checksum = CityHash128(block)
        assert struct.pack("<QQ", checksum >> 64, checksum & (2**64 - 1)) == stated
        assert method == 0x82
        pieces.append(lz4.block.decompress(block[9:], uncompressed_size=size))
    return b"".join(pieces)


def test_blocks_of_the_engine_are_read(warehouse: Warehouse, tmp_path: Path) -> None:
    warehouse.command("CREATE TABLE blocks (a String CODEC(LZ4)) ENGINE = Log")
    warehouse.command("INSERT INTO blocks SELECT 'hello' FROM numbers(100)")
    (file,) = Path(warehouse._clients.folder).rglob("blocks/a.bin")
    assert unblocked(file.read_bytes()) == b"\x05hello" * 100
    warehouse.command("DROP TABLE blocks")


@pytest.mark.parametrize("rows", [0, 1, 400_000])
def test_an_answer_comes_in_blocks_for_drivers_that_ask_for_them(client: FlaskClient, rows: int) -> None:
    statement = f"SELECT number FROM numbers({rows}) FORMAT RowBinary"
    answer = client.post("/", query_string={"compress": "1"}, data=statement)
    expected = b"".join(number.to_bytes(8, "little") for number in range(rows))
    assert unblocked(answer.data) == expected


COLUMNS = [
    "number", "toUInt8(number % 250)", "toInt256(number)", "toFloat32(number)", "toString(number)", "''",
    "repeat('é', number % 300)", "toLowCardinality(toString(number % 7))", "toLowCardinality(toNullable('x'))",
    "toLowCardinality(toString(number))", "[toLowCardinality(toString(number))]", "toNullable(number)", "NULL",
    "CAST([NULL, 'abc'] AS Array(Nullable(String)))[number % 2 + 1]", "range(number % 5)",
    "[[1, 2], [number]]", "[NULL, number]",
    "map('a', number, 'b', 2)", "map('a', ['x', toString(number)])", "tuple(1, toString(number))", "tuple()",
    "CAST((number, 'x'), 'Tuple(`a b` UInt8, q Nullable(String))')", "[(1, 'x'), (2, toString(number))]",
    "toDateTime(number, 'UTC')", "toDateTime64(number, 3, 'Asia/Kolkata')", "toDate(number % 9)", "toDate32(1)",
    "toDecimal32(1, 2)", "toDecimal64(1, 4)", "toDecimal128(1, 10)", "toDecimal256(1, 40)", "true",
    "CAST('a(, b\\'', 'Enum8(\\'a(, b\\\\\\'\\' = 1)')", "CAST('x', 'Enum16(\\'x\\' = 300)')", "generateUUIDv4(1)",
    "toFixedString('abc', 5)", "toIPv4('1.2.3.4')", "toIPv6('::1')", "INTERVAL 1 DAY", "(1., 2.)::Point",
    "[(1., 2.)]::Ring", "[[[(1., 2.), (3., 4.)]]]::MultiPolygon", "arrayMap(x -> map(x, [x]), [number])",
]  # fmt: skip


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_native_for_newer_clients_differs_by_what_the_protocol_adds(client: FlaskClient, rows: int) -> None:
    """The columns one by one, as the engine writes them, are put together with what the protocol adds."""

    def asked(columns: list[str], version: int) -> bytes:
        names = ", ".join(f"{column} AS c{at}" for at, column in enumerate(columns))
        statement = f"SELECT {names} FROM numbers({rows}) FORMAT Native"
        answer = client.post("/", query_string={"client_protocol_version": str(version)}, data=statement)
        assert answer.status_code == 200, answer.text
        return answer.data

    types = "SELECT " + ", ".join(f"toTypeName({column})" for column in COLUMNS)
    described = client.post("/", data=f"{types} FROM numbers(1) FORMAT JSONCompact").get_json()["data"][0]
    count = bytes([rows]) if rows < 128 else bytes([rows & 127 | 128, rows >> 7])
    expected = b"\x01\x00\x02\xff\xff\xff\xff\x00" + bytes([len(COLUMNS)]) + count
    together = asked(COLUMNS, GO)
    for at, (column, kind) in enumerate(zip(COLUMNS, described, strict=True)):
        alone = asked([column], 0).removeprefix(b"\x01" + count)
        plain = kind.replace("(\n    ", "(").replace(",\n    ", ", ")  # a name is printed over several lines
        stated = _text(plain.replace("DateTime('UTC')", "DateTime"))
        assert alone.startswith(b"\x02c0" + stated), column
        values = alone.removeprefix(b"\x02c0" + stated)
        if "UUID" in column:  # another one each time
            values = together[len(expected) + len(_text(f"c{at}") + stated) + 1 :][: len(values)]
        expected += _text(f"c{at}") + stated + b"\x00" + values
        assert together.startswith(expected), column
    assert len(together) == len(expected)


def _text(text: str) -> bytes:
    return bytes([len(text.encode())]) + text.encode()


def test_native_of_several_blocks_and_of_none(client: FlaskClient) -> None:
    statement = "SELECT number, toLowCardinality(toString(number)) FROM numbers(200000) FORMAT Native"
    old = client.post("/", data=statement).data
    new = client.post("/", query_string={"client_protocol_version": str(GO)}, data=statement).data
    blocks = new.count(b"\x01\x00\x02\xff\xff\xff\xff\x00\x02")
    assert blocks > 1
    assert len(new) == len(old) + blocks * (8 + 2)
    empty = client.post("/", query_string={"client_protocol_version": str(GO)}, data="SELECT 1 WHERE 0 FORMAT Native")
    assert (empty.status_code, empty.data) == (200, b"")


def test_native_of_states_is_refused_to_newer_clients(client: FlaskClient) -> None:
    state = "SELECT uniqState(path) FROM events FORMAT Native"
    assert client.post("/", data=state).status_code == 200
    refused = client.post("/", query_string={"client_protocol_version": str(native.REVISION)}, data=state)
    assert (code(refused), refused.status_code) == (48, 501)


# What programs ask before and beside their users' questions, word for word where words matter.
ASKED_BY_OTHERS = {
    "Java, on connecting": "SELECT currentUser() AS user, timezone() AS timezone, version() AS version LIMIT 1",
    "Java, schemas": "SELECT name AS TABLE_SCHEM, '' AS TABLE_CATALOG FROM system.databases ORDER BY name",
    "Java, tables": """
        SELECT t.database AS TABLE_SCHEM, t.name AS TABLE_NAME,
            if(t.is_temporary = 1, concat('Temporary', t.engine), t.engine) AS TABLE_TYPE, t.comment AS REMARKS,
            CAST(null as Nullable(String)) AS TYPE_CAT, d.engine AS TYPE_SCHEM
        FROM system.tables t JOIN system.databases d ON system.tables.database = system.databases.name
        WHERE t.database LIKE 'footfall' AND t.name LIKE '%' AND (t.engine IN ('View')) AND (t.is_temporary = 0)""",
    "Java, columns": """
        SELECT database AS TABLE_SCHEM, table AS TABLE_NAME, name AS COLUMN_NAME, toInt32(1111) AS DATA_TYPE,
            toInt32(multiIf(character_octet_length IS NOT NULL, character_octet_length,
                system.columns.type == 'Int8', 1, numeric_precision IS NOT NULL, numeric_precision, 0)) AS COLUMN_SIZE,
            toInt32(position(type, 'Nullable(') >= 1 ?1 : 0) as NULLABLE, system.columns.comment AS REMARKS,
            system.columns.default_expression AS COLUMN_DEF, toInt32(system.columns.position) AS ORDINAL_POSITION
        FROM system.columns WHERE database LIKE 'footfall' AND table LIKE 'events' AND name LIKE '%'
        ORDER BY TABLE_SCHEM, TABLE_NAME, ORDINAL_POSITION""",
    "Java, types": """
        SELECT name AS TYPE_NAME, CAST(attrs.c2 AS Nullable(Int32)) AS PRECISION, not(dt.case_insensitive)
        FROM system.data_type_families dt
        LEFT JOIN (SELECT * FROM VALUES (('Int8', 3), ('String', 0))) as attrs ON (dt.name = attrs.c1)
        WHERE alias_to == '' ORDER BY name""",
    "Java, keys": """
        SELECT system.tables.database AS TABLE_SCHEM, trim(c.1) AS COLUMN_NAME FROM system.tables
        ARRAY JOIN arrayZip(splitByChar(',', primary_key), arrayEnumerate(splitByChar(',', primary_key))) as c
        WHERE system.tables.primary_key <> '' AND system.tables.database ILIKE 'footfall'""",
    "DBeaver, tables": """
        SELECT name as TABLE_NAME, engine as TABLE_TYPE, database as TABLE_SCHEM,comment as REMARKS, *
        FROM system.tables WHERE database = 'footfall'""",
    "DBeaver, source": "SHOW CREATE TABLE footfall.events",
    "Go, on connecting": "SELECT displayName(), version(), revision(), timezone()",
    "Grafana, health": "SELECT 1",
    "Grafana, version": "SELECT version()",
    "Grafana, databases": "SHOW DATABASES",
    "Grafana, tables": 'SHOW TABLES FROM "footfall"',
    "Grafana, columns": 'DESC TABLE "footfall"."events"',
    "Grafana, builder": 'SELECT "path", count() FROM "footfall"."events" GROUP BY "path" LIMIT 100',
    "Python, settings": "SELECT name, value, readonly FROM system.settings LIMIT 10000",
    "SQLAlchemy, functions": "SELECT name FROM system.functions WHERE name LIKE 'toStartOf%'",
}


@pytest.mark.parametrize("who", ASKED_BY_OTHERS)
def test_what_other_programs_ask_is_answered(client: FlaskClient, who: str) -> None:
    statement = ASKED_BY_OTHERS[who]
    if who.startswith(("Java", "DBeaver")):
        sent = {"query_string": {"compress": "1", "database": "footfall", "query_id": "a-b"}}
        headers = {"X-ClickHouse-Format": "RowBinaryWithNamesAndTypes", "Authorization": "Basic ZGVmYXVsdDo="}
        answer = client.post("/", data=statement, headers=headers, **sent)
        assert answer.status_code == 200, answer.text
        assert answer.headers["X-ClickHouse-Format"] == "RowBinaryWithNamesAndTypes"
        assert len(unblocked(answer.data)) > 20
    elif who.startswith(("Go", "Grafana")):
        given = {"database": "default", "default_format": "Native", "client_protocol_version": str(GO)}
        given |= {"enable_http_compression": "1"}
        answer = client.post("/", data=statement, query_string=given, headers={"Accept-Encoding": "gzip"})
        assert answer.status_code == 200, answer.text
        assert gzip.decompress(answer.data).startswith(b"\x01\x00\x02\xff\xff\xff\xff\x00")
    else:
        answer = client.post("/", data=statement, headers={"X-ClickHouse-Format": "JSONCompact"})
        assert answer.get_json()["rows"] > 0
    rows = pl.DataFrame(client.post("/", data=f"{statement} FORMAT JSON").get_json()["data"])
    if who in ("Java, tables", "DBeaver, tables", "Grafana, tables"):
        column = "name" if "Grafana" in who else "TABLE_NAME"
        assert {"events", "sessions", "rollup_1m", "rollup_1h", "dead_letters"} <= set(rows[column])


@pytest.fixture
def closed(warehouse: Warehouse, live: Live, sites: dict[str, str]) -> Flask:
    return create(warehouse, lambda: sites, live, control=None, collect_url="", access=Access(secret="the token"))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"X-ClickHouse-User": "default", "X-ClickHouse-Key": "wrong"}, 401),
        ({"X-ClickHouse-User": "default", "X-ClickHouse-Key": "the token"}, 200),
        ({"Authorization": "Basic ZGVmYXVsdDp0aGUgdG9rZW4="}, 200),
        ({"Authorization": "Bearer the token"}, 200),
        ({"X-ClickHouse-Key": "the token", "Origin": "https://evil.example"}, 403),
        ({"X-ClickHouse-Key": "the token", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_token_is_asked_for_in_clickhouses_words(
    closed: Flask, headers: dict[str, str], status: int, method: str
) -> None:
    sent = {"query_string": {"query": "SELECT 1"}} if method == "GET" else {"data": "SELECT 1"}
    answer = closed.test_client().open("/", method=method, headers=headers, **sent)
    assert answer.status_code == status
    if status == 200:
        assert answer.text == "1\n"
    else:
        assert code(answer) == (497 if status == 403 else 516)
