"""Segment's, RudderStack's and Jitsu's clients in a real Chromium, unchanged but for the URL and the key."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page

from tests.e2e.harness import until
from tests.ingest.conftest import Log
from tests.trackers.conftest import IDS
from tests.trackers.proxy import DROP, Passed, Proxy

KEY = IDS["segment"]


def opened(page: Page, address: str, proxy: Proxy, key: str) -> None:
    page.goto(f"{address}?{urlencode({'url': proxy.url, 'key': key})}")


def posts(proxy: Proxy) -> list[Passed]:
    return [passed for passed in list(proxy.passed) if passed.method == "POST"]


def all_are_taken(proxy: Proxy, page: Page) -> None:
    """Back when each of the four messages has been answered with 200. The page goes on meanwhile."""

    def taken() -> bool:
        page.wait_for_timeout(20)
        return [passed.status for passed in posts(proxy)].count(200) == 4

    until(taken, "all messages are taken")
    assert proxy.failures == []


def all_arrived_once(log: Log) -> None:
    (view,) = log.events()
    (search,) = log.events("footfall.search")
    signup, identify = sorted(log.events("footfall.custom"), key=lambda event: event["type"])
    assert (view["url"], view["title"]) == ("https://example.com/pricing?utm_source=mail", "Pricing")
    assert (view["referrer"], view["props"]) == ("https://r.example/", {"name": "Pricing"})
    assert (search["term"], search["results"]) == ("shoes", 3)
    assert (signup["name"], signup["props"]) == ("Signed Up", {"plan": "pro", "seats": 3})
    assert (identify["user"], identify["props"]) == ("user-1", {"company": "Example"})
    events = (view, search, signup, identify)
    assert len({event["visitor"] for event in events}) == 1
    assert {(event["browser"], event.get("bot", ""), event["path"]) for event in events} == {("Chrome", "", "/pricing")}


def test_segments_client_loses_nothing_and_sends_nothing_twice(proxy: Proxy, site: str, page: Page, log: Log) -> None:
    """It is given nothing but another `cdnURL`: the settings that it asks for there tell it where to send."""
    proxy.failures = [0, 429, DROP, 503]  # the first is what it asks for its settings
    opened(page, f"{site}/segment.html", proxy, KEY)
    page.wait_for_function("window.done")
    all_are_taken(proxy, page)
    assert page.evaluate("window.failed") == []
    assert proxy.passed[0].path == f"/v1/projects/{KEY}/settings"
    all_arrived_once(log)


def test_rudderstacks_client_loses_nothing_and_sends_nothing_twice(
    proxy: Proxy, site: str, page: Page, log: Log
) -> None:
    proxy.at, proxy.failures = "/v1/", [429, DROP, 503]
    opened(page, f"{site}/rudder.html", proxy, KEY)
    all_are_taken(proxy, page)
    assert sorted(passed.status for passed in posts(proxy)) == [DROP, 200, 200, 200, 200, 429, 503]
    all_arrived_once(log)


@pytest.mark.parametrize("key", [f"{KEY}:any", ""])
def test_jitsus_client_is_understood_with_a_key_and_without(
    key: str, proxy: Proxy, site: str, page: Page, log: Log
) -> None:
    """It takes no key without a colon. With none, the page's host names the site."""
    opened(page, f"{site}/jitsu.html", proxy, key)
    all_are_taken(proxy, page)
    page.wait_for_function("window.done")
    assert page.evaluate("window.failed") == []
    all_arrived_once(log)


def test_jitsus_client_tells_the_route_of_a_page(proxy: Proxy, site: str, page: Page, log: Log) -> None:
    """It leaves the fragment out of a page's address, and sends it apart."""
    opened(page, f"{site}/jitsu.html", proxy, f"{KEY}:any")
    all_are_taken(proxy, page)
    page.evaluate("location.hash = '#/basket'")
    page.evaluate("analytics.page()")
    until(lambda: len(log.events()) == 2, "the second page is counted")
    (view,) = (event for event in log.events() if event["host"] == "127.0.0.1")
    assert (view["path"], view.get("props", {})) == ("/jitsu.html#/basket", {})


def test_what_jitsus_client_lost_it_says_and_what_came_counts_once(
    proxy: Proxy, site: str, page: Page, log: Log
) -> None:
    """The first is turned away. Of the second only the answer is lost, and the browser may send it again by itself."""
    proxy.at, proxy.failures = "/api/s/", [503, DROP]
    opened(page, f"{site}/jitsu.html", proxy, f"{KEY}:any")
    page.wait_for_function("window.done")
    assert "failed with error: 503" in page.evaluate("window.failed[0]")
    assert proxy.failures == []
    assert log.events() == []
    assert len(log.events("footfall.search")) == 1
    assert len(log.events("footfall.custom")) == 2
