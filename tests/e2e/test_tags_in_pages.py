"""Tags and the package in pages of a real Chromium, with no service behind: what they send is seen as it leaves."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

from ingest import assets
from ingest.http import Request
from tests.e2e.harness import until
from tests.e2e.test_browser import CHROME, QUIET
from tests.require import require

pytestmark = [pytest.mark.real, pytest.mark.slow]

_PACKAGE = Path(assets.__file__).parent / "static" / "npm" / "index.js"
_HEAD = "<!doctype html><link rel=icon href=data:,>"
_START = "<script type=module>import {start} from '/package.js'; start(OPTIONS); self.started = 1</script>"


class Web:
    """A page at any address, with a script of any name beside it. An event is answered unless `holds`."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.text = ""
        self.holds = False
        self.sent: list[dict[str, str]] = []
        page.route("**/*", self._answer)

    def _answer(self, route: Route) -> None:
        path = "/" + route.request.url.split("/", 3)[3]
        if path == "/collect":
            self.sent += route.request.post_data_json["events"]
            if not self.holds:
                route.fulfill(status=202)
        elif path == "/package.js":
            route.fulfill(path=_PACKAGE, content_type="text/javascript")
        elif path.endswith(".js"):
            script = assets.script(Request("GET", path, b"", [], b"", "::1")).body
            route.fulfill(body=script, content_type="text/javascript")
        else:
            route.fulfill(body=_HEAD + self.text, content_type="text/html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    require("chromium", shutil.which("chromium") is not None, "apt-get install chromium")
    with sync_playwright() as playwright:
        line = [*QUIET, f"--user-agent={CHROME}"]
        opened = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=line)
        yield opened
        opened.close()


@pytest.fixture
def web(browser: Browser) -> Iterator[Web]:
    context = browser.new_context()
    wrong: list[str] = []
    context.on("weberror", lambda error: wrong.append(str(error.error)))
    yield Web(context.new_page())
    context.close()
    assert not wrong


def seen(web: Web, condition: Callable[[], bool], what: str) -> None:
    """Wait, and let what the page asks for be answered meanwhile: Playwright answers only while it is called."""
    until(lambda: web.page.evaluate("1") == 1 and condition(), what)


@pytest.mark.parametrize(
    ("tag", "options", "sites"),
    [
        ("data-site=example.com", "{src: '/beacon.js'}", ["example.com"]),
        ("data-site=Example.com", "{src: '/beacon.all.js', site: 'example.com'}", ["Example.com"]),
        ("data-site=https://www.example.com:443/a", "{src: '/b.js', site: ' EXAMPLE.com. '}",
         ["https://www.example.com:443/a"]),
        ("", "{src: '/beacon.js'}", ["www.example.com"]),
        ("", "{src: '/beacon.js', site: 'example.com'}", ["www.example.com"]),
        ("", "{src: '/beacon.js', site: 'other.example'}", ["other.example", "www.example.com"]),
        ("data-site=other.example", "{src: '/beacon.js'}", ["other.example", "www.example.com"]),
        ("data-site=example.com.au", "{src: '/beacon.js'}", ["example.com.au", "www.example.com"]),
    ],
)  # fmt: skip
def test_the_package_starts_no_site_that_a_tag_counts(web: Web, tag: str, options: str, sites: list[str]) -> None:
    web.text = f"<script defer {tag} src=/beacon.js></script>" + _START.replace("OPTIONS", options)
    web.page.goto("http://www.example.com/")
    web.page.wait_for_function("self.started && !!self.footfall")
    scripts = web.page.evaluate("[...document.scripts].filter(script => script.src).length")
    assert scripts == len(sites)
    seen(web, lambda: len(web.sent) >= len(sites), "each site has its page view")
    assert sorted(event["site"] for event in web.sent) == sites


def test_an_event_that_a_page_drops_lets_no_later_one_wait(web: Web) -> None:
    web.holds = True
    web.text = (
        "<script>look = event => event.name != 'drop'</script>"
        "<script defer data-site=example.com data-before=look src=/beacon.consent.queue.js></script>"
    )
    web.page.goto("http://www.example.com/")
    web.page.wait_for_function("!!self.footfall")
    seen(web, lambda: bool(web.sent), "the page is counted, and its answer waits")
    web.page.evaluate("footfall('drop'); history.pushState(0, '', '/about'); dispatchEvent(new Event('pagehide'))")
    seen(web, lambda: web.sent[-1]["url"].endswith("/about"), "the next page does not wait for the answer")
    assert {event["type"] for event in web.sent} == {"pageview"}
