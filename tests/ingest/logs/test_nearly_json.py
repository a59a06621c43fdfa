"""Lines that hold an object and are not quite JSON: what stands around it, and what servers write wrongly in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ingest.logs import formats
from ingest.logs.formats import Request
from tests.ingest.logs.test_json_lines import AGENT, FROM, NGINX, NO_HOST, NOON, WHOLE


@pytest.mark.parametrize("before", [
    "<190>Jun  1 12:00:00 web nginx: ", "2025-06-01T12:00:00+00:00 lb haproxy[123]: ", "web-1  | ", "@cee: ",
    "2025-06-01T12:00:03.123456789Z stdout F ", "[", "  ", '<190>1 2025-06-01T12:00:03Z a b 1 c [meta x="1"] ',
])  # fmt: skip
@pytest.mark.parametrize("behind", ["", ",", " ]", "\r"])
def test_what_stands_around_an_object_is_no_part_of_it(before: str, behind: str) -> None:
    line = before + json.dumps(NGINX) + behind
    assert formats.detect([line.encode()]) == "json"
    assert formats.json(line) == NO_HOST


def test_the_time_may_stand_before_the_object() -> None:
    request = {"remote_ip": "192.0.2.7", "method": "GET", "host": "www.example.com", "uri": "/a?q=x",
               "headers": {"User-Agent": [AGENT], "Referer": [FROM]}}  # fmt: skip
    line = json.dumps({"request": request, "status": 200})
    head = "2025/06/01 12:00:00.000\tinfo\thttp.log.access\thandled request\t"
    assert formats.detect([(head + line).encode()]) == "json"
    assert formats.json(head + line) == WHOLE
    assert formats.json("2024-01-01T00:00:00Z " + json.dumps(NGINX)) == NO_HOST


@pytest.mark.parametrize("head", [
    "1.7487792e+09\tinfo\thttp.log.access\thandled request\t", "1748779200.0\tinfo\t\thandled request\t",
    "caddy-1  | 2025/06/01 12:00:00.000\tINFO\thttp.log.access\thandled request\t",
    "2025-06-01T12:00:03.1Z 2025/06/01 12:00:00.000\t\x1b[34mINFO\x1b[0m\thttp.log.access\thandled request\t",
])  # fmt: skip
def test_a_consoles_time_before_an_object_without_one_counts(head: str) -> None:
    assert formats.json(head + json.dumps({**NGINX, "time_iso8601": None})) == NO_HOST


@pytest.mark.parametrize("head", [
    "2025-06-01T12:00:00Z 2025-06-01 14:00:03,123 INFO ", "2025-06-01T12:00:00Z web build 2024-01-01 00:00:00 ",
    "<190>1 2025-06-01T12:00:00Z web app 1 - - since 2024-01-01T00:00:00Z req ", "2025-06-01 12:00:00 ",
    "2025-06-01 14:00:03,123 2025-06-01T12:00:00Z ", "2025-06-01T12:00:03Z 2025-06-01T14:00:00+02:00 ",
    "2025-06-01T12:00:03Z web-1  | 2025-06-01T12:00:00Z ", "web-1 | 2025-06-01T12:00:00Z x 2025-06-01T12:00:09Z ",
    "2025-06-01T12:00:03Z stdout F 2025-06-01T12:00:00Z ", "2025-06-01 12:00:00 INFO 2024-01-01T00:00:00Z ",
])  # fmt: skip
def test_of_the_times_before_an_object_the_lines_own_counts(head: str) -> None:
    assert formats.json(head + json.dumps({**NGINX, "time_iso8601": None})) == NO_HOST


@pytest.mark.parametrize(("time", "expected"), [
    ({"date": "2025-06-01 14:00:00.000000", "timezone_type": 3, "timezone": "Europe/Berlin"}, NOON),
    ({"date": "2025-06-01 14:00:00.000000", "timezone_type": 1, "timezone": "+02:00"}, NOON),
    ({"date": "2025-06-01 12:00:00.000000", "timezone_type": 3, "timezone": "UTC"}, NOON),
    ({"date": "2025-06-01 12:00:00.000000", "timezone_type": 3, "timezone": "Mars/Olympus"}, None),
])  # fmt: skip
def test_a_time_of_php_is_in_its_zone(time: dict[str, Any], expected: int | None) -> None:
    found = formats.json(json.dumps({**NGINX, "time_iso8601": None, "datetime": time}))
    assert (found.at if isinstance(found, Request) else None) == expected


@pytest.mark.parametrize("value", ["", "-", " - ", "0.001, 0.002", "0.001 : 0.002", "007", "NaN", "10.0.0.1:80"])
def test_a_number_that_is_none_costs_no_line(value: str) -> None:
    first = f'{{"upstream_response_time":{value},{json.dumps(NGINX)[1:]}'
    last = f'{json.dumps(NGINX)[:-1]},"upstream_response_time": {value}}}'
    assert formats.json(first) == formats.json(last) == NO_HOST


def test_a_comma_behind_the_last_field_costs_no_line() -> None:
    assert formats.json(json.dumps(NGINX)[:-1] + ",}") == NO_HOST
    inside = f'{{"tags": ["a,]", "b", ], "more": {{"x": 1 ,}}, {json.dumps(NGINX)[1:]}'
    assert formats.json(inside) == NO_HOST


def test_a_tab_in_a_text_costs_no_line() -> None:
    assert formats.json(json.dumps({**NGINX, "http_user_agent": "a b"}).replace("a b", "a\tb")) == NO_HOST._replace(
        agent="a\tb"
    )
