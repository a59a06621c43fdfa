"""Umami's and GoatCounter's rows and days as JSON: of their APIs, and of programs for databases."""

from __future__ import annotations

import base64
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ingest.logs.files import ImportFailed
from tests.ingest.migration import exports
from tests.ingest.migration.exports import Files, actions, exported, numbers, taken, zipped

_EVENT: dict[str, Any] = {
    "id": "e1", "websiteId": "w1", "sessionId": "s1", "createdAt": "2024-05-01T12:00:00.000Z", "hostname": exports.SITE,
    "urlPath": "/pricing", "urlQuery": "plan=a", "referrerPath": "/search", "referrerQuery": None,
    "referrerDomain": "www.google.com", "country": "DE", "city": "Berlin", "device": "laptop", "os": "Windows 10",
    "browser": "edge-chromium", "pageTitle": "Pricing", "eventType": 1, "eventName": None, "hasData": 0,
}  # fmt: skip
_OTHER = _EVENT | {"id": "e2", "createdAt": "2024-05-01T12:01:00.000Z", "eventType": 2, "eventName": "signup"}
_TABLE = [
    {"website_event_id": None, "event_id": each["id"], "website_id": "w1", "session_id": "s1", "visit_id": "v1",
     "created_at": each["createdAt"], "url_path": "/pricing", "url_query": "plan=a",
     "referrer_domain": "www.google.com",
     "referrer_path": "/search", "page_title": "Pricing",
     "event_type": each["eventType"], "event_name": each["eventName"]}
    for each in (_EVENT, _OTHER)
]  # fmt: skip
_SESSION = [{"session_id": "s1", "website_id": "w1", "browser": "edge-chromium", "os": "Windows 10", "device": "laptop",
             "country": "DE", "city": "Berlin"}]  # fmt: skip
_DATA = [{"event_data_id": "d1", "website_id": "w1", "website_event_id": "e2", "data_key": "seats", "string_value": "3",
          "number_value": 3.0, "date_value": None, "data_type": 2}]  # fmt: skip


_OF_OTHERS = [{"session_data_id": "x", "website_id": "w1", "session_id": "s1", "data_key": "a", "string_value": "b"}]


def _phpmyadmin(**tables: Any) -> str:
    parts: list[Any] = [{"type": "header", "version": "5.2"}, {"type": "database", "name": "umami"}]
    return json.dumps(parts + [{"type": "table", "name": name, "data": rows} for name, rows in tables.items()])


EVENTS: dict[str, Files] = {
    "a page of the API": {"events.json": json.dumps({"data": [_EVENT, _OTHER], "count": 2, "page": 1, "pageSize": 20})},
    "pages of the API": {"1.json": json.dumps({"data": [_EVENT]}), "2.json": json.dumps({"data": [_OTHER]})},
    "pages one after the other": {"all.json": json.dumps({"data": [_EVENT]}) + "\n" + json.dumps({"data": [_OTHER]})},
    "an array": {"events.json": json.dumps([_EVENT, _OTHER])},
    "lines": {"events.jsonl": json.dumps(_EVENT) + "\n" + json.dumps(_OTHER) + "\n"},
    "tables as arrays": {"website_event.json": json.dumps(_TABLE), "session.json": json.dumps(_SESSION),
        "event_data.json": json.dumps(_DATA)},
    "DBeaver": {"e.json": json.dumps({"website_event": _TABLE}, indent=1), "s.json": json.dumps({"session": _SESSION})},
    "phpMyAdmin": {"e.json": _phpmyadmin(website_event=_TABLE), "s.json": _phpmyadmin(session=_SESSION)},
    "phpMyAdmin's database": {"umami.json": _phpmyadmin(
        event_data=_DATA, link=[{"link_id": "x"}], session=_SESSION, session_data=_OF_OTHERS, user=[{"user_id": "u"}],
        website=[{"website_id": "w1", "name": "x"}], website_event=_TABLE)},
    "CSV and JSON": {"website_event.json": json.dumps(_TABLE), "session.csv": exports.UMAMI_SESSIONS},
}  # fmt: skip


@pytest.mark.parametrize("form", EVENTS)
def test_rows_of_umami(tmp_path: Path, form: str) -> None:
    batch, (page, signup) = taken(list(exported(tmp_path, "umami", EVENTS[form]).rows()))
    assert (batch.refused, batch.not_understood) == ({}, [])
    assert (page.type, page.path, page.title, page.source) == ("pageview", "/pricing", "Pricing", "google.com")
    assert (page.browser, page.os_version, page.device) == ("Edge", "10", "desktop")
    assert (signup.type, signup.name, signup.occurred_at) == ("custom", "signup", 1_714_564_860_000)
    assert signup.props == ({"seats": 3} if form in ("tables as arrays", "phpMyAdmin's database") else {})
    assert page.visitor == signup.visitor


def test_what_is_broken_in_a_file_of_several_tables_counts_once(tmp_path: Path) -> None:
    text = _phpmyadmin(event_data=_DATA, session=_SESSION, website_event=_TABLE)[:-1]
    batch, _ = taken(list(exported(tmp_path, "umami", {"umami.json": text}).rows()))
    assert (len(batch.accepted), len(batch.not_understood)) == (2, 1)


def test_rows_have_their_own_ids_in_any_form(tmp_path: Path) -> None:
    ids = set()
    for number, files in enumerate(EVENTS.values()):
        (tmp_path / str(number)).mkdir()
        rows = actions(list(exported(tmp_path / str(number), "umami", files).rows()))
        ids.add(tuple(row.event["id"] for row in rows))
    assert ids == {("umami:e1", "umami:e2")}


_SERIES = {"pageviews": [{"x": "2024-05-01 00:00:00", "y": 3}, {"x": "2024-05-03 00:00:00", "y": 5}],
           "sessions": [{"x": "2024-05-01 00:00:00", "y": 2}, {"x": "2024-05-03 00:00:00", "y": 1}]}  # fmt: skip


def test_days_of_umami(tmp_path: Path) -> None:
    days = {"2024-05-01": [2, 0, 3], "2024-05-03": [1, 0, 5]}
    assert numbers(tmp_path, "umami", {"pageviews.json": json.dumps(_SERIES)}) == days
    text = json.dumps(_SERIES).replace(" 00:00:00", "T00:00:00Z").replace('"y"', '"t"')
    assert numbers(tmp_path, "umami", {"pageviews.json": text}) == days


RANGE: Files = {"browsers.csv": "x,y\r\nchrome,14\r\n", "pages.csv": "x,y\r\n/,20\r\n"}


def test_the_answer_that_holds_the_export_of_a_range(tmp_path: Path) -> None:
    text = json.dumps({"zip": base64.b64encode(zipped(RANGE)).decode()})
    assert numbers(tmp_path, "umami", {"export.json": text}, date(2024, 5, 1)) == {"2024-05-01": [14, 0, 0]}


def test_the_metrics_of_the_api_are_of_the_day_that_is_named(tmp_path: Path) -> None:
    files: Files = {"browsers.json": json.dumps([{"x": "chrome", "y": 14}, {"x": "ios", "y": "8"}])}
    assert numbers(tmp_path, "umami", files, date(2024, 5, 1)) == {"2024-05-01": [22, 0, 0]}


NO_DAYS = {
    "months": ({"pageviews": [{"x":
    "2024-04-01 00:00:00", "y": 3}, {"x": "2024-05-01 00:00:00", "y": 3}], "sessions": []},
        "is of hours or months"),
    "hours": ({"pageviews": [{"x": "2024-05-01 13:00:00", "y": 3}], "sessions": []}, "is of hours or months"),
    "one day": ({"pageviews": [{"x": "2024-05-02 00:00:00", "y": 3}], "sessions": []}, "ask /pageviews with unit=day"),
    "an error": ({"error": {"message": "Unauthorized"}}, "Umami's answer is"),
    "numbers of a range": ({"pageviews": {"value": 3}, "visitors": {"value": 1}}, "none of Umami's tables"),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_DAYS)
def test_what_is_not_of_days_is_said_in_words(tmp_path: Path, name: str) -> None:
    answer, words = NO_DAYS[name]
    with pytest.raises(ImportFailed, match=words):
        list(exported(tmp_path, "umami", {"a.json": json.dumps(answer)}).rows())


def _hit(path: str, *days: tuple[str, int], event: bool = False) -> dict[str, Any]:
    stats = [{"day": day, "hourly": [0] * 23 + [count], "daily": count} for day, count in days]
    total = sum(count for _, count in days)
    return {"count": total, "path_id": 1, "path": path, "event": event, "title": "", "stats": stats}


_HITS = [_hit("/", ("2024-05-01", 3), ("2024-05-02", 1)), _hit("signup", ("2024-05-01", 2), event=True)]
HITS: dict[str, Files] = {
    "one": {"hits.json": json.dumps({"hits": _HITS, "total": 6, "more": False})},
    "two": {f"{number}.json": json.dumps({"hits": [hit], "total": 6}) for number, hit in enumerate(_HITS)},
    "pretty": {"hits.json": json.dumps({"hits": _HITS}, indent=2)},
}


@pytest.mark.parametrize("name", HITS)
def test_days_of_goatcounter(tmp_path: Path, name: str) -> None:
    found = exported(tmp_path, "goatcounter", HITS[name])
    rows = [(str(total.day), row.dimension, row.value, row.visitors, row.pageviews, row.events)
            for total in found.rows() for row in total.rows if row.value != "events"]  # fmt: skip
    assert found.of_days
    assert rows == [
        ("2024-05-01", "page", "/", 3, 3, 3), ("2024-05-02", "page", "/", 1, 1, 1),
        ("2024-05-01", "event", "signup", 2, 0, 2),
    ]  # fmt: skip
    days = {"2024-05-01": [0, 0, 3], "2024-05-02": [0, 0, 1]}
    assert numbers(tmp_path, "goatcounter", HITS[name]) == days


def test_more_paths_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    list(exported(tmp_path, "goatcounter", {"a.json": json.dumps({"hits": _HITS, "more": True})}).rows())
    assert "a.json says that there are more paths" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "words"),
    [({"stats": [{"id": "1", "name": "Firefox", "count": 3}], "more": False}, "is of the whole time: ask "
    "/api/v0/stats/hits"),
     ({"error": "unknown token"}, "GoatCounter's answer is: unknown token")],
)  # fmt: skip
def test_what_is_not_of_days_of_goatcounter(tmp_path: Path, answer: dict[str, Any], words: str) -> None:
    with pytest.raises(ImportFailed, match=words):
        list(exported(tmp_path, "goatcounter", {"a.json": json.dumps(answer)}).rows())


def test_without_sessions_each_view_is_of_its_own_visitor(tmp_path: Path) -> None:
    none = "00000000-0000-0000-0000-000000000000"
    head = "2Path,Title,Event,Session,Bot,Referrer,Referrer scheme,Date\n"
    text = head + f"/,,false,{none},0,,,2024-05-01T12:00:00Z\n/,,false,{none},0,,,2024-05-01T12:00:00Z\n"
    _, events = taken(list(exported(tmp_path, "goatcounter", {"a.csv": text}).rows()))
    assert len({event.visitor for event in events}) == 2


_CLOUD = """\
website_id,session_id,event_id,event_type,url_path,url_query,utm_source,utm_medium,gclid,created_at
w1,s1,e1,1,/a,,news,email,,1714564800
w1,s1,e2,1,/b#top,utm_source=own,news,,,1714564860000
w1,s1,e3,1,/c,,,,xyz,2024-05-01 12:02:00
"""


def test_tags_of_umami_that_stand_in_columns(tmp_path: Path) -> None:
    _, events = taken(list(exported(tmp_path, "umami", {"website_event.csv": _CLOUD}).rows()))
    found = [(event.path, event.utm_source, event.channel, event.occurred_at % 3_600_000) for event in events]
    assert found == [
        ("/a", "news", "Email", 0), ("/b", "own", "Referral", 60_000), ("/c", "", "Paid Search", 120_000),
    ]  # fmt: skip


def test_events_of_umami_without_ids_are_no_sessions(tmp_path: Path) -> None:
    text = "session_id,browser,url_path,event_type,created_at\ns1,chrome,/,1,2024-05-01 12:00:00\n"
    with pytest.raises(ImportFailed, match="the column 'event_id' of website_event is missing"):
        list(exported(tmp_path, "umami", {"website_event.csv": text}).rows())
