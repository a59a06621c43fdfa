"""analytics.js in a real Chromium, given nothing but another `cdnURL`: its settings tell it where to send."""

from __future__ import annotations

import time

from playwright.sync_api import Page

from tests.ingest.conftest import Log
from tests.patience import patient
from tests.trackers.conftest import IDS
from tests.trackers.proxy import DROP, Proxy

KEY = IDS["segment"]


def test_nothing_is_lost_and_nothing_twice(proxy: Proxy, site: str, page: Page, log: Log) -> None:
    proxy.failures = [0, 429, DROP, 503]  # the first is what it asks for its settings
    page.goto(f"{site}/segment.html?url={proxy.url}&key={KEY}")
    page.wait_for_function("window.done")
    deadline = time.monotonic() + patient(30)
    while [passed.status for passed in proxy.passed if passed.method == "POST"].count(200) < 4:
        assert time.monotonic() < deadline
        page.wait_for_timeout(20)
    assert page.evaluate("window.failed") == []
    assert proxy.failures == []
    assert proxy.passed[0].path == f"/v1/projects/{KEY}/settings"
    (view,) = log.events()
    (search,) = log.events("footfall.search")
    signup, identify = sorted(log.events("footfall.custom"), key=lambda event: event["type"])
    assert (view["url"], view["title"]) == ("https://example.com/pricing?utm_source=mail", "Pricing")
    assert (search["term"], search["results"]) == ("shoes", 3)
    assert (signup["name"], signup["props"]) == ("Signed Up", {"plan": "pro", "seats": 3})
    assert (identify["user"], identify["props"]) == ("user-1", {"company": "Example"})
    events = (view, search, signup, identify)
    assert len({event["visitor"] for event in events}) == 1
    assert {(event["browser"], event.get("bot", "")) for event in events} == {("Chrome", "")}
