"""OpenPanel's own client for Node against the service, and what it sends again."""

from __future__ import annotations

from collections.abc import Callable

from tests.ingest.conftest import Log, Running
from tests.trackers.conftest import IDS, SECRET
from tests.trackers.letters import judged, letter_of
from tests.trackers.proxy import DROP, Proxy

HEADERS = {"openpanel-client-id": IDS["openpanel"], "openpanel-client-secret": SECRET, "openpanel-sdk-name": "node"}


def seen(log: Log) -> None:
    """What `clients/openpanel.mjs` sends is there once."""
    pages = {event["id"]: event for event in log.events()}
    searches = {event["id"]: event for event in log.events("footfall.search")}
    others = {event["id"]: event for event in log.events("footfall.custom")}
    (page,), (search,) = pages.values(), searches.values()
    custom = {event.get("name", ""): event for event in others.values()}
    assert page["url"] == "https://example.com/shop?utm_source=letter"
    assert (page["title"], page["source"]) == ("Shop", "letter")
    assert (search["term"], search["results"]) == ("red hat", 3)
    assert len(others) == 3
    assert custom["signup"]["props"] == {"plan": "pro", "seats": 3, "tags": '["a"]'}
    assert (custom["revenue"]["revenue"], custom["revenue"]["currency"]) == ("9.9", "EUR")
    assert custom[""]["type"] == "identify"
    assert custom[""]["props"] == {"email": "ann@example.com", "tier": "gold"}
    everything = [page, search, *custom.values()]
    assert {event["user"] for event in everything} == {"user-1"}
    assert len({event["visitor"] for event in everything}) == 1
    assert {event["protocol"] for event in everything} == {"openpanel"}


def test_the_client_for_node(server: Running, log: Log, run: Callable[..., str]) -> None:
    url = f"http://127.0.0.1:{server.port}"
    assert run("openpanel.mjs", url, IDS["openpanel"], SECRET, "now") == "5 delivered\n"
    seen(log)


def test_nothing_is_lost_or_twice_when_it_sends_again(proxy: Proxy, log: Log, run: Callable[..., str]) -> None:
    proxy.failures = [429, 503, DROP]
    assert run("openpanel.mjs", proxy.url, IDS["openpanel"], SECRET) == "5 delivered\n"
    assert sorted(passed.status for passed in proxy.passed) == [DROP, 200, 200, 200, 200, 200, 429, 503]
    seen(log)


def test_what_is_no_event_of_a_site_is_answered_as_by_openpanel(server: Running, log: Log) -> None:
    body = {"type": "track", "payload": {"name": "signup"}}
    unknown = server.post(body, {"openpanel-client-id": "nobody"}, "/track")
    assert (unknown.status, unknown.json()["error"]) == (401, "Unauthorized")
    assert not log.events("footfall.custom")


def test_a_letter_is_judged_again_though_another_tracker_has_its_path(server: Running, log: Log) -> None:
    body = {"type": "track", "payload": {"properties": {"plan": "pro"}}}
    answer = server.post(body, HEADERS, "/track")
    assert (answer.status, answer.json()["error"]) == (400, "Bad Request")
    letter = letter_of(log)
    assert (letter.site, letter.topic) == ("example.com", "/track")
    assert SECRET.encode() not in letter.received + letter.sender.encode()
    again = judged(server, letter, letter.received.replace(b'"payload": {', b'"payload": {"name": "signup", '))
    assert again.refused == []
    (event,) = again.events
    assert event.site == "example.com"
    assert b'"protocol":"openpanel"' in (event.records[0].value or b"")
