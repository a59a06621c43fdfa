"""PostHog's own clients, of Python and of the browser, against the service."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page

from activity.compat.posthog import PROTOCOL
from activity.refusal import Reason, Refusal
from ingest import trackers
from ingest.collect import Collected
from ingest.counters import Counters
from ingest.service import answer
from tests.e2e.harness import until
from tests.ingest.conftest import AGENT, Log, Running
from tests.trackers.conftest import IDS, SECRET
from tests.trackers.letters import judged, letter_of
from tests.trackers.proxy import DROP, Passed, Proxy

KEY = IDS["posthog"]
EVENT = {"event": "$pageview", "distinct_id": "user-1", "properties": {"$current_url": "https://example.com/"}}


def seen(log: Log) -> list[dict[str, Any]]:
    """What both clients send is there once."""
    (page,) = log.events()
    (search,) = log.events("footfall.search")
    custom = {event["type"]: event for event in log.events("footfall.custom")}
    assert (page["type"], page["title"]) == ("pageview", "Shop")
    assert (search["term"], search["results"]) == ("red hat", 3)
    assert len(log.events("footfall.custom")) == 2
    signed_up = {name: custom["custom"]["props"].get(name) for name in ("plan", "seats", "tags")}
    assert (custom["custom"]["name"], signed_up) == ("signed_up", {"plan": "pro", "seats": 3, "tags": '["a","b"]'})
    assert (custom["identify"]["user"], custom["identify"]["props"]["plan"]) == ("user-1", "pro")
    everything = [page, search, custom["custom"], custom["identify"]]
    assert len({event["visitor"] for event in everything}) == 1
    assert {event["protocol"] for event in everything} == {"posthog"}
    assert not any(event.get("bot") for event in everything)
    assert not log.records("footfall.dead-letter")
    return everything


@pytest.mark.parametrize("mode", ["v0", "v1"])
def test_the_client_of_python(server: Running, log: Log, run: Callable[..., str], mode: str) -> None:
    assert run("posthog_python.py", f"http://127.0.0.1:{server.port}", KEY, mode) == "sent\n"
    page, _, signed_up, _ = seen(log)
    assert (page["url"], page["source"]) == ("https://example.com/shop?utm_source=letter", "letter")
    assert set(signed_up["props"]) == {"plan", "seats", "tags"}


def test_nothing_is_lost_or_twice_when_python_sends_again(proxy: Proxy, log: Log, run: Callable[..., str]) -> None:
    proxy.failures = [429, DROP, 503]
    run("posthog_python.py", f"{proxy.url}/compat/posthog", KEY)
    assert [passed.status for passed in proxy.passed] == [429, DROP, 503, 200]
    seen(log)


def opened(browser: Browser, site: str, url: str, **more: str) -> Page:
    context = browser.new_context(user_agent=AGENT, locale="de-DE", screen={"width": 1280, "height": 720})
    shown = context.new_page()
    shown.goto(f"{site}/posthog.html?{urlencode({'url': url, 'key': KEY, **more})}")
    return shown


def sent(proxy: Proxy) -> list[Passed]:
    """The requests of the browser that hold events."""
    return [passed for passed in proxy.passed if passed.method == "POST" and passed.path.startswith("/e/")]


def test_the_client_of_the_browser(proxy: Proxy, log: Log, browser: Browser, site: str) -> None:
    shown = opened(browser, site, proxy.url)
    until(lambda: len(log.events("footfall.custom")) == 2, "the visitor is identified")
    page, search, signed_up, identify = seen(log)
    assert page["url"].startswith(f"{site}/posthog.html?")
    assert (page["screen"], page["language"], page.get("props", {})) == ("1280x720", "de-DE", {})
    assert (signed_up["props"].keys(), identify["props"]) == ({"plan", "seats", "tags"}, {"plan": "pro"})
    assert "user" not in search and page["visitor"] == search["visitor"]
    # The page goes, and says so with a beacon; by now its client knows that it may send gzip, as text/plain.
    until(lambda: any("/config" in passed.path for passed in proxy.passed), "the configuration is asked for")
    shown.goto("about:blank")
    until(lambda: log.events("footfall.engagement"), "the page was left")
    (left,) = log.events("footfall.engagement")
    assert (left["visitor"], left["user"]) == (page["visitor"], "user-1") and left["engaged_ms"] > 0
    assert {passed.status for passed in proxy.passed} <= {200, 204}
    assert sent(proxy)[-1].body[:2] == b"\x1f\x8b"
    shown.context.close()


def test_nothing_is_lost_or_twice_when_the_browser_sends_again(
    proxy: Proxy, log: Log, browser: Browser, site: str
) -> None:
    proxy.at = "/e/"
    shown = opened(browser, site, proxy.url, wait="")
    until(lambda: log.events(), "the page view is there")
    proxy.failures = [503, DROP]
    shown.evaluate("go()")
    until(lambda: len(proxy.failures) == 1, "the first request failed")
    shown.evaluate("posthog.identify('user-1', {plan: 'pro'})")
    until(lambda: not proxy.failures, "the second request failed")
    until(lambda: [passed.status for passed in sent(proxy)].count(200) == 3, "all came again")
    assert {passed.status for passed in sent(proxy)} == {200, 503, DROP}
    seen(log)
    shown.context.close()


def test_a_key_counts_for_address_agent_and_old_times(server: Running, log: Log) -> None:
    phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X)"
    properties = {**EVENT["properties"], "$ip": "192.0.2.7", "$raw_user_agent": phone}  # type: ignore[dict-item]
    old = {**EVENT, "properties": properties, "timestamp": "2017-07-14T02:40:00Z"}
    for key in (SECRET, KEY):
        assert server.post({"api_key": key, **old, "distinct_id": key}, path="/capture/").status == 200
    with_key, without = sorted(log.events(), key=lambda event: int(event["occurred_at"]))
    assert (with_key["occurred_at"], with_key["os"]) == (1_500_000_000_000, "iOS")
    assert without["clamped"] and without.get("os") != "iOS"


def test_what_is_not_understood_is_kept_without_its_secret_and_can_be_mended(server: Running, log: Log) -> None:
    assert server.post({"api_key": "phc_nobody", **EVENT}, path="/e/").status == 401
    assert not log.records("footfall.dead-letter")
    bad = {"distinct_id": "user-1", "properties": {}}
    whole = {"api_key": SECRET, "batch": [{**EVENT, "uuid": "u-1"}, bad]}
    got = server.post(whole, path="/batch/")
    assert (got.status, got.json(), got.headers["x-footfall-refused"]) == (200, {"status": 1}, "missing_field")
    letter = letter_of(log)
    assert SECRET not in str(letter)
    mended = json.loads(letter.received)
    mended["batch"][1]["event"] = "signed_up"
    good, repaired = judged(server, letter, json.dumps(mended).encode()).events
    (stored,) = log.events()
    assert good.id == stored["id"] != repaired.id
    assert good.visitor == repaired.visitor == stored["visitor"]


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_what_came_in_base64_is_kept_as_what_it_says(server: Running, log: Log, method: str) -> None:
    said = json.dumps({"api_key": SECRET, "distinct_id": "user-1", "properties": {"$ip": "192.0.2.77"}})
    data = urlencode({"data": base64.b64encode(said.encode()).decode()})
    got = server.post(data.encode(), path="/e/") if method == "POST" else server.get(f"/e/?{data}")
    assert (got.status, got.headers["x-footfall-refused"]) == (400, "missing_field")
    letter = letter_of(log)
    assert json.loads(letter.received) == {"api_key": "KEY", "distinct_id": "user-1", "properties": {"$ip": "0.0.0.0"}}
    assert data not in letter.sender
    (event,) = judged(server, letter, letter.received.replace(b"{", b'{"event":"a",', 1)).events
    assert event.site == "example.com"


def test_who_sends_too_fast_is_answered_so_that_the_browser_sends_again() -> None:
    collected = Collected(0, refused=[Refusal(0, Reason.RATE_LIMITED, "slower")], retry_after=7)
    collected.tracker = trackers.Tracker(PROTOCOL)
    response = answer(collected, [], Counters())
    assert (response.status, dict(response.headers)[b"retry-after"]) == (503, b"7")


def test_bytes_that_are_no_request_are_answered_as_posthog_does(server: Running, log: Log) -> None:
    got = server.post(b"no event", path="/batch/")
    assert (got.status, got.json()["code"]) == (400, "invalid_payload")
    assert letter_of(log).received == b"no event"
