"""`POST /sql`: the ways to send a statement, the formats of its answer, and what is refused."""

from __future__ import annotations

import io
import json
from contextlib import ExitStack

import polars as pl
import pytest
from flask.testing import FlaskClient

from stores.read_only import client as readers

COUNT = "SELECT count() AS n FROM events WHERE site = 'example.com'"
EVENTS = 21


@pytest.mark.parametrize(
    "sent",
    [
        {"data": COUNT},
        {"data": COUNT + ";"},
        {"data": COUNT, "content_type": "text/plain"},
        {"data": COUNT, "content_type": "application/x-www-form-urlencoded"},  # what curl -d says
        {"data": {"query": COUNT}},
        {"json": {"query": COUNT}},
        {"query_string": {"query": COUNT}},
        {"query_string": {"query": "SELECT count() AS n"}, "data": "FROM events WHERE site = 'example.com'"},
        {
            "query_string": {"param_site": "example.com"},
            "data": "SELECT count() FROM events WHERE site = {site:String}",
        },
    ],
)
def test_the_ways_to_send_a_statement(client: FlaskClient, sent: dict[str, object]) -> None:
    response = client.post("/sql", **sent)  # type: ignore[arg-type]
    assert (response.status_code, response.text) == (200, f"{EVENTS}\n")
    assert response.content_type == "text/tab-separated-values; charset=utf-8"


@pytest.mark.parametrize(
    ("fmt", "content_type"),
    [
        ("JSON", "application/json"),
        ("JSONEachRow", "application/x-ndjson"),
        ("CSVWithNames", "text/csv; charset=utf-8"),
        ("Parquet", "application/vnd.apache.parquet"),
    ],
)
def test_formats_by_clause_by_parameter_and_by_header(client: FlaskClient, fmt: str, content_type: str) -> None:
    answers = [
        client.post("/sql", data=f"{COUNT} FORMAT {fmt}"),
        client.post(f"/sql?default_format={fmt}", data=COUNT),
        client.post("/sql", json={"query": COUNT, "default_format": fmt}),
        client.post("/sql", data=COUNT, headers={"X-ClickHouse-Format": fmt}),
    ]
    assert {(answer.status_code, answer.content_type) for answer in answers} == {(200, content_type)}
    for answer in answers:
        match fmt:
            case "JSON":
                assert int(answer.get_json()["data"][0]["n"]) == EVENTS
            case "JSONEachRow":
                assert int(json.loads(answer.text)["n"]) == EVENTS
            case "CSVWithNames":
                assert answer.text == f'"n"\n{EVENTS}\n'
            case "Parquet":
                assert pl.read_parquet(io.BytesIO(answer.data)).item() == EVENTS


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("", "no statement"),
        ("  \n", "no statement"),
        ("SELEKT 1", "not one statement that can be read"),
        ("SELECT 1; SELECT 2", "not one statement"),
        ("DROP TABLE event_rows", "is no question"),
        ("INSERT INTO event_rows (site) VALUES ('x')", "is no question"),
        ("SELECT * FROM file('/etc/passwd', 'LineAsString')", "function file is not open"),
        ("SELECT file('/etc/passwd')", "function file is not open"),
        ("SELECT * FROM url('http://127.0.0.1/', 'LineAsString')", "table function url is not open"),
        ("SELECT * FROM system.processes", "database system is not open"),
        ("SELECT 1 SETTINGS readonly = 0", "settings are fixed"),
        ("SELECT nothing FROM events", "nothing"),
        ("SELECT {site:String}", "site"),
        ("SELECT number FROM numbers(2000000)", "add a LIMIT"),
    ],
)
def test_what_is_refused_is_told_in_words(client: FlaskClient, statement: str, words: str) -> None:
    response = client.post("/sql", data=statement)
    assert response.status_code == 400
    assert response.content_type.startswith("text/plain")
    assert words in response.text


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        ({"json": [COUNT]}, 400, "a JSON body must be an object"),
        ({"data": "{", "content_type": "application/json"}, 400, "a JSON body must be an object"),
        ({"json": {"query": 1}}, 400, "query must be a text"),
        ({"data": COUNT, "query_string": {"default_format": "J SON"}}, 400, "the name of a format"),
        ({"data": COUNT, "query_string": {"default_format": "Yaml9"}}, 400, "Yaml9"),
        ({"data": b"SELECT '\xff'"}, 400, "not UTF-8"),
        ({"data": b"x" * (2 << 20)}, 413, "exceeds"),
        ({"data": "SELECT 1 FORMAT a" + " " * 1_000_000}, 413, "exceeds"),
        ({"data": "SELECT 1 FORMAT a" + " " * 300_000}, 400, "at most 100000 are read"),
        ({"data": "SELECT 1 FORMAT a" + " " * 90_000}, 400, "Unknown format a"),
        ({"data": "[" * 400_000, "content_type": "application/json"}, 400, "a JSON body must be an object"),
        ({"data": '{"query": "SELECT 1 \\ud800"}', "content_type": "application/json"}, 400, "surrogate"),
        (
            {"data": "SELECT '%(a)s'", "query_string": {"param_a": "' || file('/etc/passwd') || '"}},
            400,
            "no parameter 'a'",
        ),
        ({"data": "SELECT 1", "query_string": {"param_" + "a" * 100: "1"}}, 400, "at most 64 characters"),
    ],
)
def test_a_request_that_is_none(client: FlaskClient, sent: dict[str, object], status: int, words: str) -> None:
    response = client.post("/sql", **sent)  # type: ignore[arg-type]
    assert response.status_code == status
    assert words in response.text


def test_a_percent_sign_beside_a_parameter(client: FlaskClient) -> None:
    statement = "SELECT count() FROM events WHERE site = {site:String} AND path LIKE '%' AND '50%s' != ''"
    response = client.post("/sql?param_site=example.com", data=statement)
    assert (response.status_code, response.text) == (200, f"{EVENTS}\n")


def test_too_many_at_once_are_told_when_to_come_again(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "PATIENCE", 0.01)
    turns = client.application.extensions["footfall"].warehouse._read_only._turn
    with ExitStack() as held:
        for _ in range(readers.AT_ONCE):
            held.enter_context(turns())
        response = client.post("/sql", data=COUNT)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "10")
    assert "ask again" in response.text
    assert client.post("/sql", data=COUNT).status_code == 200


def test_only_posted(client: FlaskClient) -> None:
    response = client.get("/sql?query=SELECT+1")
    assert response.status_code == 405
    assert "sent by POST" in response.text
