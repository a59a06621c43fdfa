"""Umami's own client for Python, and requests as its tracker sends them, against the service."""

from __future__ import annotations

from collections.abc import Callable

from tests.ingest.conftest import Log, Running
from tests.trackers.conftest import IDS, SECRET
from tests.trackers.letters import judged, letter_of

VIEW = {"website": IDS["umami"], "hostname": "example.com", "url": "https://example.com/", "title": "Home"}
PAGE = {"Origin": "https://example.com"}


def test_the_client_for_python(server: Running, log: Log, run: Callable[..., str]) -> None:
    assert run("umami.py", f"http://127.0.0.1:{server.port}", IDS["umami"], SECRET) == "4 delivered\n"
    (page,) = log.events()
    (search,) = log.events("footfall.search")
    custom = {event["name"]: event for event in log.events("footfall.custom")}
    assert page["url"] == "https://example.com/shop?utm_source=letter"
    assert (page["title"], page["source"]) == ("Shop", "letter")
    assert (page["screen"], page["language"]) == ("1920x1080", "en-US")
    assert (search["term"], search["results"]) == ("red hat", 3)
    assert custom["signup"]["props"] == {"plan": "pro", "seats": 3, "tags": '["a"]'}
    assert (custom["paid"]["revenue"], custom["paid"]["currency"]) == ("9.9", "EUR")
    everything = [page, search, *custom.values()]
    assert len(everything) == 4
    assert {event["user"] for event in everything} == {"user-1"}
    assert len({event["visitor"] for event in everything}) == 1
    assert {event["protocol"] for event in everything} == {"umami"}
    assert {event.get("bot", "") for event in everything} == {""}


def test_visitors_of_pages_are_cookieless_whoever_is_logged_in(server: Running, log: Log) -> None:
    for user in (None, "user-2"):
        body = {"type": "event", "payload": {**VIEW, "id": user}}
        answer = server.post(body, {**PAGE, "x-umami-cache": "footfall"}, "/api/send")
        assert answer.status == 200
        assert answer.json()["cache"] == "footfall"
        assert answer.headers["access-control-allow-origin"] == PAGE["Origin"]
    before, after = log.events()
    assert before["visitor"] == after["visitor"]
    assert (before.get("user", ""), after["user"]) == ("", "user-2")


def test_an_identify_of_the_tracker(server: Running, log: Log) -> None:
    body = {"type": "identify", "payload": {**VIEW, "id": "user-3", "data": {"plan": "pro"}}}
    assert server.post(body, PAGE, "/compat/umami/api/send").status == 200
    (event,) = log.events("footfall.custom")
    assert (event["type"], event["user"], event["props"]) == ("identify", "user-3", {"plan": "pro"})


def test_a_timestamp_tells_what_comes_twice(server: Running, log: Log) -> None:
    body = [{"type": "event", "payload": {**VIEW, "timestamp": 1_700_000_000, "id": "user-4"}}] * 2
    answer = server.post(body, {"Authorization": f"Bearer {SECRET}"}, "/api/batch")
    assert answer.json() | {"cache": ""} == {"size": 2, "processed": 2, "errors": 0, "details": [], "cache": ""}
    events = log.events()
    assert len({event["id"] for event in events}) == 1
    assert events[0]["occurred_at"] == 1_700_000_000_000


def test_one_bad_event_of_a_batch_is_mended(server: Running, log: Log) -> None:
    body = [{"type": "event", "payload": VIEW}, {"type": "evnt", "payload": {**VIEW, "title": "Mended"}}]
    answer = server.post(body, {"Authorization": f"Bearer {SECRET}", **PAGE}, "/api/batch")
    assert answer.status == 200
    assert (answer.json()["processed"], answer.json()["details"][0]["index"]) == (1, 1)
    letter = letter_of(log)
    assert letter.site == "example.com"
    assert SECRET.encode() not in letter.received + letter.sender.encode()
    again = judged(server, letter, letter.received.replace(b"evnt", b"event"))
    assert (again.refused, len(again.events)) == ([], 2)
    (stored,) = log.events()
    assert stored["id"] in {event.id for event in again.events}


def test_what_is_no_event_of_a_site_is_answered_as_by_umami(server: Running, log: Log) -> None:
    unknown = server.post({"type": "event", "payload": {**VIEW, "website": "nobody"}}, PAGE, "/api/send")
    garbage = server.post(b"garbage", PAGE, "/api/send")
    for answer in (unknown, garbage):
        assert (answer.status, answer.json()["error"]["code"]) == (400, "bad-request")
    assert not log.events()
    assert letter_of(log).received == b"garbage"
