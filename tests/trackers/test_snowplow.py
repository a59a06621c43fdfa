"""Snowplow's own trackers, of Python and of the browser, against the service."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from playwright.sync_api import Browser

from tests.ingest.conftest import AGENT, Log, Running
from tests.patience import patient
from tests.trackers.conftest import IDS, SECRET
from tests.trackers.letters import judged, letter_of
from tests.trackers.proxy import DROP, Proxy

POST = "/com.snowplowanalytics.snowplow/tp2"
PAGE = {"e": "pv", "eid": "e-1", "aid": IDS["snowplow"], "url": "https://example.com/", "duid": "d"}


def seen(log: Log, screen: str = "1280x720") -> list[dict[str, Any]]:
    """What all trackers here send is there once."""
    (page,) = log.events()
    (search,) = log.events("footfall.search")
    custom = {event["name"]: event for event in log.events("footfall.custom")}
    assert (page["type"], page["title"]) == ("pageview", "Shop")
    assert (search["term"], search["results"]) == ("red hat", 3)
    assert sorted(custom) == ["add", "signed_up"]
    assert custom["add"]["props"] == {"category": "cart", "label": "hat", "property": "size", "value": 9.5}
    schema = "iglu:com.acme/signed_up/jsonschema/1-0-0"
    assert custom["signed_up"]["props"] == {"plan": "pro", "seats": 3, "tags": '["a","b"]', "schema": schema}
    everything = [page, search, *custom.values()]
    assert len({event["visitor"] for event in everything}) == 1
    assert {(event["protocol"], event["screen"]) for event in everything} == {("snowplow", screen)}
    assert not log.records("footfall.dead-letter")
    return everything


@pytest.mark.parametrize("how", [[], ["plain"], ["get"], ["get", "plain"]], ids=" ".join)
def test_the_tracker_of_python(server: Running, log: Log, run: Callable[..., str], how: list[str]) -> None:
    assert run("snowplow.py", f"http://127.0.0.1:{server.port}", IDS["snowplow"], *how) == "5 delivered\n"
    page, *_, last = seen(log)
    assert (page["url"], page["source"]) == ("https://example.com/shop?utm_source=letter", "letter")
    assert (last["user"], last["language"]) == ("user-1", "de-DE")
    (ping,) = log.events("footfall.engagement")
    assert ping["props"] == {"max_y": 700} and ping["visitor"] == page["visitor"]


@pytest.mark.parametrize(("how", "failures"), [([], [429, DROP, 503]), (["get"], [503, DROP, 0, 429, DROP])])
def test_nothing_is_lost_or_twice_when_python_sends_again(
    proxy: Proxy, log: Log, run: Callable[..., str], how: list[str], failures: list[int]
) -> None:
    proxy.failures = failures
    run("snowplow.py", f"{proxy.url}/compat/snowplow", IDS["snowplow"], *how)
    assert [passed.status for passed in proxy.passed].count(200) == (5 if how else 1)
    assert not proxy.failures
    seen(log)
    assert len(log.events("footfall.engagement")) == 1


@pytest.mark.parametrize("method", ["post", "get"])
def test_the_tracker_of_the_browser(proxy: Proxy, log: Log, browser: Browser, site: str, method: str) -> None:
    proxy.failures = [503, DROP]
    context = browser.new_context(user_agent=AGENT, locale="de-DE", screen={"width": 1280, "height": 720})
    shown = context.new_page()
    shown.goto(f"{site}/snowplow.html?" + urlencode({"url": proxy.url, "key": IDS["snowplow"], "method": method}))
    shown.wait_for_function("delivered === 4", timeout=patient(20_000))
    context.close()
    assert {503, DROP} <= {passed.status for passed in proxy.passed}
    page, *_, last = seen(log)
    assert page["url"].startswith(f"{site}/snowplow.html?")
    assert (last["user"], last["language"]) == ("user-1", "de-DE")


def test_the_browser_without_cookies(server: Running, log: Log, browser: Browser, site: str) -> None:
    context = browser.new_context(user_agent=AGENT, screen={"width": 1280, "height": 720})
    shown = context.new_page()
    given = {"url": f"http://127.0.0.1:{server.port}", "key": IDS["snowplow"], "anonymous": "1"}
    shown.goto(f"{site}/snowplow.html?" + urlencode(given))
    shown.wait_for_function("delivered === 4", timeout=patient(20_000))
    assert not context.cookies()
    context.close()
    everything = seen(log)
    assert not any("user" in event or "visitor=named" in event["enriched_by"] for event in everything)


def test_a_key_counts_for_address_agent_and_old_times(server: Running, log: Log) -> None:
    phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X)"
    old = {**PAGE, "ip": "192.0.2.7", "ua": phone, "ttm": "1500000000000"}
    key = {"Authorization": f"Bearer {SECRET}"}
    assert server.post({"data": [{**old, "page": "with"}]}, key, path=POST).status == 200
    assert server.post({"data": [{**old, "page": "without", "eid": "e-2"}]}, path=POST).status == 200
    with_key, without = sorted(log.events(), key=lambda event: event["title"])
    assert (with_key["occurred_at"], with_key["os"]) == (1_500_000_000_000, "iOS")
    assert without["clamped"] and without["os"] != "iOS"


def test_a_bad_event_of_a_batch_can_be_mended(server: Running, log: Log) -> None:
    body = {"schema": "iglu:…", "data": [PAGE, {**PAGE, "eid": "e-2", "e": "xx"}]}
    answer = server.post(body, path=POST)
    assert (answer.status, answer.body, answer.headers["x-footfall-refused"]) == (200, b"ok", "wrong_type")
    letter = letter_of(log)
    good, repaired = judged(server, letter, letter.received.replace(b'"xx"', b'"pv"')).events
    (stored,) = log.events()
    assert good.id == stored["id"] != repaired.id
    assert good.visitor == repaired.visitor == stored["visitor"]


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_what_came_in_base64_is_kept_as_what_it_says(server: Running, log: Log, method: str) -> None:
    thing = {"schema": "iglu:com.acme/thing/jsonschema/1-0-0", "data": {"host": "192.0.2.77"}}
    cx = base64.urlsafe_b64encode(json.dumps({"data": [thing]}).encode()).decode().rstrip("=")
    bad = {**PAGE, "url": "nonsense", "cx": cx}
    answer = server.post({"data": [bad]}, path=POST) if method == "POST" else server.get(f"/i?{urlencode(bad)}")
    assert (answer.status, answer.headers["x-footfall-refused"]) == (400, "invalid_url")
    letter = letter_of(log)
    masked = json.dumps({"data": [{**thing, "data": {"host": "0.0.0.0"}}]})
    kept = {**PAGE, "url": "nonsense", "co": masked}
    found = json.loads(letter.received) if method == "POST" else {"data": [dict(parse_qsl(letter.received.decode()))]}
    assert (found, cx in letter.sender) == ({"data": [kept]}, False)
    (event,) = judged(server, letter, letter.received.replace(b"nonsense", b"https://example.com/a")).events
    assert event.site == "example.com"


@pytest.mark.parametrize("body", [b"", b"{", b'{"data": 7}', b"\xff\0", json.dumps({"data": [7]}).encode()])
def test_garbage_is_answered_in_words_and_kept(server: Running, log: Log, body: bytes) -> None:
    answer = server.post(body, path=POST)
    assert answer.status == 400 and answer.body
    assert letter_of(log).received == body


def test_a_site_that_is_not_known_is_not_sent_again(server: Running, log: Log) -> None:
    assert server.post({"data": [{**PAGE, "aid": "nobody"}]}, path=POST).status == 403
    assert not log.events()
