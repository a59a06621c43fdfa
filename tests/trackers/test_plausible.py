"""Plausible's own tracker in a real Chromium, and servers' requests, against the service."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.ingest.conftest import Log, Running
from tests.patience import patient
from tests.require import require
from tests.trackers.conftest import CLIENTS, SECRET
from tests.trackers.letters import judged, letter_of
from tests.trackers.proxy import Proxy

VIEW = {"n": "pageview", "u": "https://example.com/a", "d": "example.com", "r": None, "v": 36}
PAGE = {"Origin": "https://example.com"}
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(node_modules: Path) -> Iterator[str]:
    """A server of pages on a port of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(CLIENTS)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    require("chromium", shutil.which("chromium") is not None, "apt-get install chromium")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", f"--user-agent={CHROME}"]
        opened = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(user_agent=CHROME)
    context.set_default_timeout(patient(30_000))
    yield context.new_page()
    context.close()


def test_the_tracker_in_a_browser(proxy: Proxy, site: str, page: Page, log: Log) -> None:
    page.goto(f"{site}/plausible.html?url={proxy.url}&key=example.com")
    page.wait_for_function("window.delivered")
    assert page.evaluate("window.statuses") == [{"status": 202}] * 4
    deadline = time.monotonic() + patient(30)
    while len(proxy.passed) < 5:  # the engagement with the first page, which the second page view sends
        assert time.monotonic() < deadline
        page.wait_for_timeout(20)
    assert {(passed.path, passed.status, passed.answer) for passed in proxy.passed} == {("/api/event", 202, b"ok")}
    first, thanks = sorted(log.events(), key=lambda event: event["path"])
    (search,) = log.events("footfall.search")
    (signup,) = log.events("footfall.custom")
    (engaged,) = log.events("footfall.engagement")
    assert (first["url"], first["source"]) == ("https://example.com/shop?utm_source=letter", "letter")
    assert thanks["path"] == "/thanks"
    assert (search["term"], search["results"], search["path"]) == ("red hat", 3, "/shop")
    assert (signup["name"], signup["props"]) == ("signup", {"plan": "pro", "seats": 3})
    assert (signup["revenue"], signup["currency"]) == ("9.9", "EUR")
    assert engaged["path"] == "/shop"
    assert 0 <= engaged["props"]["scroll_depth"] <= 100
    everything = [first, thanks, search, signup, engaged]
    assert len({event["visitor"] for event in everything}) == 1
    assert {event["protocol"] for event in everything} == {"plausible"}
    assert {event.get("bot", "") for event in everything} == {""}


@pytest.mark.parametrize("status", [429, 503])
def test_the_tracker_is_told_that_an_event_is_not_stored(
    proxy: Proxy, site: str, page: Page, log: Log, status: int
) -> None:
    """It sends none again: its callback has the status, by which the page can."""
    proxy.failures = [status]
    page.goto(f"{site}/plausible.html?url={proxy.url}&key=example.com")
    page.wait_for_function("window.delivered")
    assert page.evaluate("window.statuses") == [{"status": status}, *[{"status": 202}] * 3]
    assert [event["path"] for event in log.events()] == ["/thanks"]


def test_a_list_of_domains_fans_out_and_tells_what_is_dropped(server: Running, log: Log) -> None:
    answer = server.post({**VIEW, "d": "example.com,unknown.example"}, PAGE, "/api/event")
    assert (answer.status, answer.body, answer.headers["x-plausible-dropped"]) == (202, b"ok", "1")
    assert answer.headers["access-control-allow-origin"] == PAGE["Origin"]
    (event,) = log.events()
    assert event["site"] == "example.com"


def test_a_server_gives_its_visitors_address_with_a_key(server: Running, log: Log) -> None:
    for address in ("192.0.2.1", "192.0.2.2, 10.0.0.1"):
        for key in ({"Authorization": f"Bearer {SECRET}"}, {}):
            headers = {"X-Forwarded-For": address, "User-Agent": CHROME, **key}
            body = {"name": "pageview", "url": "https://example.com/s", "domain": "example.com"}
            assert server.post(body, headers, "/compat/plausible/api/event").status == 202
    visitors = [event["visitor"] for event in log.events()]
    assert len(visitors) == 4
    assert len(set(visitors)) == 3  # without a key, both are the server's own


def test_garbage_is_answered_as_by_plausible_and_can_be_mended(server: Running, log: Log) -> None:
    answer = server.post(b'{"n": "pageview", "d": "example.com"}', PAGE, "/api/event")
    assert answer.status == 400
    assert "`url` is missing" in answer.json()["errors"]["request"][0]
    letter = letter_of(log)
    assert letter.site == "example.com"
    again = judged(server, letter, letter.received.replace(b'"n"', b'"u": "https://example.com/m", "n"'))
    assert (again.refused, [event.site for event in again.events]) == ([], ["example.com"])


def test_health(server: Running) -> None:
    assert server.get("/api/health").status == 200
