"""The page in a real Chromium: the chart, an event that comes while it is open, a phone, the empty page."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, expect, sync_playwright
from werkzeug.serving import make_server

import hatch_build
from dashboards.access import COOKIE, Access
from dashboards.app import create
from stores.base import Live
from stores.warehouse import Warehouse
from tests.dashboards.conftest import NOW, Visit, event_rows, ms, session_rows
from tests.dashboards.test_build import ROOT
from tests.patience import patient

pytestmark = pytest.mark.real

TOKEN = "let me in, please"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        reason = "Chromium is not installed: apt-get install chromium"
        if os.environ.get("FOOTFALL_TEST_REQUIRE") == "all":
            pytest.fail(reason)
        pytest.skip(reason)
    hatch_build.build(ROOT)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        expect.set_options(timeout=patient(30_000))
        yield opened
        opened.close()


@contextmanager
def serving(app: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    with serving(app) as address:
        yield address


@pytest.fixture
def closed(warehouse: Warehouse, live: Live, sites: dict[str, str]) -> Iterator[str]:
    """The same pages behind a token."""
    access = Access(secret=TOKEN)
    app = create(warehouse, lambda: sites, live, control=None, collect_url="", access=access, clock=lambda: ms(NOW))
    with serving(app) as address:
        yield address


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(patient(30_000))
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    yield opened
    context.close()
    assert not wrong


def add(warehouse: Warehouse, site: str, visitor: int, minutes_ago: int) -> None:
    visit = Visit(visitor, NOW - timedelta(minutes=minutes_ago), [(0, "pageview", "/fresh", "")], site=site)
    warehouse.insert("event_rows", event_rows([visit]), f"event {site} {visitor}")
    warehouse.insert("session_rows", session_rows([visit]), f"session {site} {visitor}")


def test_a_new_event_shows_without_reload_and_nothing_else_moves(
    page: Page, address: str, warehouse: Warehouse
) -> None:
    page.goto(f"{address}/example.com?period=7d")
    visits = page.locator("#figure-visits strong")
    before = int(visits.inner_text())
    page.locator("label", has_text="Exit").click()
    page.locator("#figure-pageviews").click()
    expect(page.locator("#drawn")).to_have_text("Page views")
    page.evaluate("window.same = true")
    add(warehouse, "example.com", 70, 1)
    expect(visits).to_have_text(str(before + 1))
    expect(page.locator(".list[data-part=exit_page]")).to_contain_text("/fresh")
    expect(page.locator("[data-current]")).to_have_text("2")
    assert page.get_by_label("Exit").is_checked()
    assert page.evaluate("window.same")
    assert "metric=pageviews" in page.url


def test_the_empty_page_becomes_the_board_by_itself(page: Page, address: str, warehouse: Warehouse) -> None:
    page.goto(f"{address}/quiet.example")
    expect(page.get_by_text("Waiting for the first visit")).to_be_visible()
    add(warehouse, "quiet.example", 71, 1)
    expect(page.locator("#figure-visitors strong")).to_have_text("1")
    expect(page.locator("#chart canvas")).to_be_visible()
    expect(page.get_by_role("navigation", name="Period")).to_be_visible()


def test_a_domain_is_added_from_the_page(page: Page, address: str) -> None:
    page.goto(f"{address}/")
    page.get_by_label("Add a site").fill("new.example")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("heading", name="Count the visits of new.example")).to_be_visible()


@pytest.mark.parametrize("width", [320, 768])
@pytest.mark.parametrize(
    "path", ["/example.com?period=7d", "/example.com?from=2026-03-01&to=2026-03-31", "/other.example", "/"]
)
def test_no_width_makes_the_page_scroll_sideways(page: Page, address: str, width: int, path: str) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(address + path)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_numbers_need_no_script(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/example.com?from=2026-03-27&to=2026-03-30")
    expect(page.locator("#figure-pageviews strong")).to_have_text("9")
    page.get_by_text("Show as a table").click()
    expect(page.locator(".numbers tbody tr")).to_have_count(4)
    page.locator("label", has_text="Browsers").click()
    expect(page.get_by_role("rowheader", name="Safari")).to_be_visible()
    context.close()


def sign_in(page: Page, token: str) -> None:
    page.get_by_label("Token or password").fill(token)
    page.get_by_role("button", name="Sign in").click()


def test_one_signs_in_stays_fresh_and_signs_out(browser: Browser, closed: str, warehouse: Warehouse) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(f"{closed}/example.com?period=7d")
    expect(page.get_by_label("Token or password")).to_be_focused()
    sign_in(page, "something else")
    expect(page.get_by_role("alert")).to_have_text("This is not the token.")
    sign_in(page, TOKEN)
    page.wait_for_url(f"{closed}/example.com?period=7d")
    visits = page.locator("#figure-visits strong")
    before = int(visits.inner_text())
    add(warehouse, "example.com", 72, 1)
    expect(visits).to_have_text(str(before + 1), timeout=30_000)
    cookie = next(cookie for cookie in context.cookies() if cookie.get("name") == COOKIE)
    assert cookie.get("httpOnly") and cookie.get("sameSite") == "Strict"
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token or password")).to_be_visible()
    page.goto(f"{closed}/example.com")
    expect(page.get_by_label("Token or password")).to_be_visible()
    context.close()


def test_an_open_page_whose_session_ended_leads_to_the_login(browser: Browser, closed: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{closed}/example.com")
    sign_in(page, TOKEN)
    expect(page.locator("#board")).to_be_visible()
    context.clear_cookies()
    expect(page.get_by_label("Token or password")).to_be_visible(timeout=30_000)
    context.close()


def test_a_link_of_another_site_shows_the_page_to_who_is_signed_in(browser: Browser, closed: str, address: str) -> None:
    """The cookie stays at home when another site leads here, and comes with the second request, from our own page."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{closed}/example.com")
    sign_in(page, TOKEN)
    expect(page.locator("#board")).to_be_visible()
    page.route(
        "http://other.test/",
        lambda route: route.fulfill(body=f'<a href="{closed}/example.com">Numbers</a>', content_type="text/html"),
    )
    page.goto("http://other.test/")
    page.get_by_role("link", name="Numbers").click()
    expect(page.locator("#board")).to_be_visible()
    context.clear_cookies()
    page.goto("http://other.test/")
    page.get_by_role("link", name="Numbers").click()
    expect(page.get_by_label("Token or password")).to_be_visible()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_the_login_fits_and_can_be_read(browser: Browser, closed: str, tmp_path: Path, scheme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 700}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{closed}/example.com")
    sign_in(page, "no")
    expect(page.get_by_role("alert")).to_be_visible()
    page.screenshot(path=tmp_path / f"login-{scheme}-{width}.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    style = "getComputedStyle(document.querySelector('{}')).{}"
    assert page.evaluate(style.format(".wrong", "color")) != page.evaluate(style.format(".login", "backgroundColor"))
    context.close()
