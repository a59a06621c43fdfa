"""Annotations: on the chart, in the list below it, and by the API."""

from __future__ import annotations

import html
import json
import re
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask.testing import FlaskClient

from stores.accounts import Accounts
from tests.dashboards.conftest import BERLIN

RANGE = {"from": "2026-03-28", "to": "2026-03-31"}
BOLD = 'A <b>sale</b> & "more"'


def add(client: FlaskClient, day: str, text: str, time: str = "", **more: str) -> int:
    sent = {"deed": "add", "day": day, "time": time, "text": text} | more
    return client.post("/example.com/annotations", data=sent).status_code


def series(client: FlaskClient, **given: str) -> dict[str, Any]:
    page = client.get("/example.com", query_string=given).text
    found = re.search(r'id="series" data-part="series">(.*?)</script>', page)
    assert found is not None
    return dict(json.loads(found[1]))


def test_a_day_is_annotated_and_shown_to_who_reads_its_days(client: FlaskClient) -> None:
    answer = client.post(
        "/example.com/annotations",
        data={"deed": "add", "day": "2026-03-29", "time": "", "text": f" {BOLD}\n", "metric": "visits", **RANGE},
    )
    assert (answer.status_code, "metric=visits" in answer.headers["Location"]) == (303, True)
    assert add(client, "2026-03-29", "Before it", "09:30") == 303
    page = client.get(answer.headers["Location"]).text
    assert "<b>sale" not in page
    listed = html.unescape(page.partition('aria-label="Annotations"')[2].partition("</ul>")[0])
    assert listed.index(BOLD) < listed.index("29 Mar 2026, 09:30")
    found = client.get("/api/v1/annotations", query_string={"site": "example.com"} | RANGE).get_json()
    assert found == {"rows": [
        {"date": "2026-03-29", "time": None, "text": BOLD},
        {"date": "2026-03-29", "time": "09:30", "text": "Before it"},
    ]}  # fmt: skip
    assert BOLD not in html.unescape(client.get("/example.com?from=2026-03-30&to=2026-03-31").text)
    assert client.get("/api/v1/annotations", query_string={"site": "other.example"} | RANGE).get_json() == {"rows": []}


def test_each_is_at_the_step_of_the_chart_that_it_falls_into(client: FlaskClient) -> None:
    add(client, "2026-03-29", "a day")
    add(client, "2026-03-29", "a time", "15:40")
    by_day = series(client, **RANGE)
    assert by_day["notes"] == [[1, "a day"], [1, "a time"]]
    by_hour = series(client, **{"from": "2026-03-29", "to": "2026-03-29"})
    starts = [datetime.fromtimestamp(at, ZoneInfo(BERLIN)) for at in by_hour["times"]]
    assert [(starts[step].hour, words) for step, words in by_hour["notes"]] == [(0, "a day"), (15, "a time")]
    by_week = series(client, **{"from": "2026-01-01", "to": "2026-06-30"})
    for step, _ in by_week["notes"]:
        start = datetime.fromtimestamp(by_week["times"][step], ZoneInfo(BERLIN)).date()
        assert start <= date(2026, 3, 29) < start + timedelta(days=7)


def test_it_is_removed(client: FlaskClient, accounts: Accounts) -> None:
    add(client, "2026-03-29", "gone soon")
    page = client.get("/example.com", query_string=RANGE).text
    number = re.search(r'name="annotation" value="(\d+)"', page)
    assert number is not None
    sent = {"deed": "remove", "annotation": number[1]}
    assert client.post("/other.example/annotations", data=sent).status_code == 400
    assert client.post("/example.com/annotations", data=sent).status_code == 303
    assert "gone soon" not in client.get("/example.com", query_string=RANGE).text
    assert client.post("/example.com/annotations", data=sent).status_code == 400


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"day": "2026-03-32"}, "day must be a day as YYYY-MM-DD"),
        ({"day": ""}, "day must be a day"),
        ({"time": "25:00"}, "time must be a time as HH:MM"),
        ({"text": "  "}, "a text of 1 to 500 characters"),
        ({"text": "x" * 501}, "a text of 1 to 500 characters"),
        ({"text": "a\0b"}, "a text of 1 to 500 characters"),
        ({"deed": "forget"}, "deed must be one of add, remove"),
        ({"deed": "remove", "annotation": "x"}, "annotation must be a whole number"),
    ],
    ids=str,
)
def test_what_cannot_be_is_told(client: FlaskClient, sent: dict[str, str], said: str) -> None:
    answer = client.post(
        "/example.com/annotations", data={"deed": "add", "day": "2026-03-29", "time": "", "text": "x"} | sent
    )
    assert answer.status_code == 400
    assert said in html.unescape(answer.text)
