"""Fields of JSON and of tables that may say one thing or another: what they say beside the other fields of a line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from activity.enrich import SiteRules
from ingest.logs import formats
from ingest.logs.formats import NotUnderstood, Request
from tests.ingest.logs.plainly import together
from tests.ingest.logs.test_json_lines import AGENT, FROM, ISO, NOON

SITE = SiteRules("example.com", origins=("https://10.0.0.4",))
PLAIN = Request("192.0.2.7", NOON, "GET", "/a", 200, FROM, AGENT)
GIVEN: dict[str, Any] = {
    "time": ISO, "ip": "192.0.2.7", "method": "GET", "uri": "/a", "status": 200, "referer": FROM, "user_agent": AGENT,
}  # fmt: skip
SERVER = "198.51.100.3"


def read(*without: str, **given: Any) -> Request | NotUnderstood:
    """Return what a line comes to, one by one; many of them come to the same."""
    line = json.dumps({name: value for name, value in GIVEN.items() if name not in without} | given)
    together([line.encode()] * 3, "json", SITE, 3)
    return formats.json(line)


@pytest.mark.parametrize("given", [
    {"visitor_client_ip": "192.0.2.7", "server": {"address": SERVER}},
    {"server": {"address": SERVER, "port": 443}, "network": {"peer": {"address": "192.0.2.7"}}},
    {"address": SERVER, "visitor_client_ip": "192.0.2.7"},
    {"host": "192.0.2.7", "server": {"address": SERVER}},
    {"host": "192.0.2.7", "address": "Berlin"},
    {"host": "192.0.2.7", "address": "somebody@example.com"},
    {"host": "192.0.2.7", "address": "0.0.0.0:3000"},
    {"host": "192.0.2.7", "address": "[::]:3000"},
    {"host": "192.0.2.7", "address": SERVER},
    {"host": "192.0.2.7", "address": "10.0.0.4:80"},
    {"address": "192.0.2.7"},
])  # fmt: skip
def test_an_address_is_the_clients_where_nothing_else_is(given: dict[str, Any]) -> None:
    found = read("ip", **given)
    assert isinstance(found, Request)
    assert found._replace(host="") == PLAIN and found.host in ("", SERVER)


def test_a_host_of_a_servers_network_is_the_pages_beside_a_visitors_address() -> None:
    assert read("ip", host="10.0.0.4:80", address="192.0.2.7") == PLAIN._replace(host="10.0.0.4")
    assert read("ip", host="www.example.com", address="192.0.2.7") == PLAIN._replace(host="www.example.com")


@pytest.mark.parametrize("name", ["local", "server", "listener", "user"])
def test_an_address_in_an_object_is_no_client(name: str) -> None:
    assert isinstance(read("ip", **{name: {"address": SERVER}}), NotUnderstood)
    assert isinstance(read("ip", address="0.0.0.0:3000"), NotUnderstood)


@pytest.mark.parametrize(("clock", "zone"), [
    ("14:00:00+02:00", "+02:00"), ("14:00:00 +0200", "+0200"), ("12:00:00Z", "+02:00"), ("12:00:00 UTC", "-07:00"),
    ("14:00:00", "+02:00"), ("02:00:00 PM", "+02:00"), ("12:00:00", ""), ("12:00:00", "UTC"),
])  # fmt: skip
def test_a_zone_beside_a_clock_counts_where_the_clock_has_none(clock: str, zone: str) -> None:
    day = "6/1/2025" if clock.endswith("M") else "2025-06-01"
    assert read(date=day, time=clock, timezone=zone) == PLAIN


@pytest.mark.parametrize("given", [
    {"request": {"params": {"id": "5"}, "query": {}}}, {"req": {"params": {"controller": "users", "id": "5"}}},
    {"request_params": {"password": "secret", "token": "abc"}}, {"request_params": '{"password":"secret"}'},
    {"request_params": "password=secret&email=a%40b.example"}, {"request_param": "password=secret"},
    {"queryParams": "{}"}, {"queryParams": "{'q': 'x'}"}, {"queryParameters": "{q=x, page=2}"}, {"queryParams": "[]"},
    {"request_args": "ImmutableMultiDict([('q', 'x')])"}, {"request_args": "['x']"}, {"request_args": "[q=x]"},
    {"queryParams": "{q=x}"}, {"queryParams": "MultiMap{q=x}"}, {"query_params": "<QueryDict: {}>"},
    {"search": "q=x"}, {"referrer_url_query": "q=x"}, {"referrer": {"url": {"query": "q=x", "path": "/z"}}},
])  # fmt: skip
def test_what_only_resembles_a_query_is_no_part_of_the_address(given: dict[str, Any]) -> None:
    found = read(**given)
    assert isinstance(found, Request) and found.target == "/a"


@pytest.mark.parametrize("given", [
    {"query_params": {"q": ["x"]}}, {"queryParams": '{"q": "x"}'}, {"queryParams": "?q=x"}, {"request_args": "q=x"},
    {"query_params": "{}", "search": "?q=x"}, {"query": "q=x", "search": "q=x"}, {"args": "q=x", "queryParams": "{}"},
    {"referrer_url_query": "q=y", "request_url_query": "q=x"},
])  # fmt: skip
def test_a_query_in_a_field_of_its_own_is_the_addresss(given: dict[str, Any]) -> None:
    assert read(**given) == PLAIN._replace(target="/a?q=x")


@pytest.mark.parametrize("name", ["service", "serviceRequest", "webservice", "access_service", "origin", "backend"])
@pytest.mark.parametrize("inside", [False, True])
def test_an_object_of_any_name_may_hold_the_request(name: str, inside: bool) -> None:
    request = {"client_ip": "192.0.2.7", **{part: GIVEN[part] for part in GIVEN if part not in ("time", "ip")}}
    assert read(*GIVEN, time=ISO, **{name: {"request": request} if inside else request}) == PLAIN
    line = f'192.0.2.7 - - [01/Jun/2025:12:00:00 +0000] "GET /a HTTP/1.1" 200 5 "{FROM}" "{AGENT}"'
    assert read(*GIVEN, **{name: {"name": "web", "log": line}}) == PLAIN


@pytest.mark.parametrize("name", ["service", "originServer", "server", "upstream", "backend", "destination", "local"])
@pytest.mark.parametrize("field", ["host", "ip", "addr", "address"])
def test_an_address_of_a_server_is_no_client(name: str, field: str) -> None:
    assert isinstance(read("ip", **{name: {field: SERVER}}), NotUnderstood)
    assert read("ip", **{name: {field: SERVER}, "visitor_client_ip": "192.0.2.7"}) == PLAIN


def test_the_host_of_a_service_is_not_the_pages() -> None:
    request = {part: GIVEN[part] for part in GIVEN if part != "time"}
    line = {"time": ISO, "service": {"host": "www.example.com", "uri": "/b"}, "visit": request}
    assert read(*GIVEN, **line) == PLAIN


def test_what_a_server_behind_answered_is_not_what_the_visitor_got() -> None:
    assert read("ip", visitor={"ip": "192.0.2.7"}, upstream={"status": 502, "uri": "/b"}) == PLAIN
    assert read("ip", "status", status="info", service={"client_ip": "192.0.2.7", "status": 200}) == PLAIN


@pytest.mark.parametrize("word", ["REDACTED", "null", "undefined", "***", "(null)", "None"])
def test_a_target_that_was_taken_out_is_not_the_home_page(word: str) -> None:
    for given in ({"uri": word}, {"uri": "", "path": word}, {"request": word, "url": ""}):
        assert isinstance(read("uri", **given), NotUnderstood)
    assert read("uri", uri=word, url="/a") == read("uri", url="/a", request=word) == PLAIN


def test_an_object_written_as_text_is_looked_into_for_the_target() -> None:
    assert read("uri", request='{"uri": "/a"}') == PLAIN
    assert isinstance(read("uri", request='{"id": 1}'), NotUnderstood)


def test_a_target_that_was_not_sent_is_none() -> None:
    assert read("uri", uri="-") == read("uri", uri="") == PLAIN._replace(target="")


@pytest.mark.parametrize("given", [
    {"code": 0}, {"code": 5}, {"response": "1234"}, {"response": "204"}, {"result_code": 0}, {"code": 1200},
])  # fmt: skip
def test_a_number_beside_a_status_in_words_may_be_anything(given: dict[str, Any]) -> None:
    found = read(status="success", **given)
    assert isinstance(found, NotUnderstood) and "status" in found.why


@pytest.mark.parametrize("name", ["code", "status_code", "http_response_code"])
def test_a_status_beside_a_status_in_words_is_one(name: str) -> None:
    assert read(status="info", **{name: "200 OK"}) == PLAIN


def test_only_where_blanks_are_written_so_a_plus_is_one() -> None:
    iis = {"CIp": "192.0.2.7", "CsMethod": "GET", "CsUriStem": "/a", "ScStatus": "200", "Referer": FROM}
    for agent in ("MyApp/1.2.3+45", "ExampleBot/1.0+(+https://bot.example/)", "a/1+b %20", "+" * 40):
        assert read(user_agent=agent) == PLAIN._replace(agent=agent)
    assert read(user_agent=AGENT.replace(" ", "+")) == read(user_agent=AGENT.replace(" ", "%20")) == PLAIN
    found = read(*GIVEN, **iis, time=ISO, UserAgent="ExampleBot/1.0+(x;+y)")
    assert found == PLAIN._replace(agent="ExampleBot/1.0 (x; y)")
