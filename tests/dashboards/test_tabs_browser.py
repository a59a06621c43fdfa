"""The tabs of the board's cards in a real Chromium: what they show is asked for when they are opened."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from stores.warehouse import Warehouse
from tests.dashboards.test_browser import DAYS, add, address, browser, page

__all__ = ["address", "browser", "page"]

pytestmark = pytest.mark.real

OPEN = ["Exit", "Sources", "Name", "Countries", "Systems", "Custom"]


def tabs(href: str | None) -> str:
    return parse_qs(urlsplit(href or "").query).get("tabs", [""])[0]


def test_a_tab_shows_its_list_and_the_address_and_all_links_name_it(page: Page, address: str) -> None:
    page.goto(f"{address}/example.com?{DAYS}")
    page.evaluate("window.same = true")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    shown = page.locator(".list[data-part=exit_page]:not([aria-busy])")
    page.locator("#tab-exit_page").click()
    expect(shown.locator("tbody tr").first).to_be_visible()
    page.locator("#tab-os").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".list[data-part=os]:not([aria-busy]) tbody tr").first).to_be_visible()
    assert [path for path in asked if "/card/" in path] == ["/example.com/card/exit_page", "/example.com/card/os"]
    assert page.evaluate("window.same")
    expect(page.locator("[data-tabs][aria-current]")).to_have_text(OPEN)
    assert tabs(page.url) == "exit_page,os"
    before = {name: tabs(page.locator(f"#tab-{name}").get_attribute("href")) for name in ("page", "city", "device")}
    assert before == {"page": "os", "city": "exit_page,city,os", "device": "exit_page"}
    assert Axe().run(page).violations_count == 0

    # The server writes the same addresses as the script did.
    links = "[...document.querySelectorAll('#board a, .periods a')].map((link) => link.href)"
    by_script = page.evaluate(links)
    page.reload()
    expect(page.locator("[data-tabs][aria-current]")).to_have_text(OPEN)
    assert [sorted(parse_qs(urlsplit(link).query).items()) for link in page.evaluate(links)] == [
        sorted(parse_qs(urlsplit(link).query).items()) for link in by_script
    ]
    shown.locator("tbody a").first.click()
    expect(page.locator(".chip")).to_have_count(1)
    assert tabs(page.url) == "exit_page,os"
    page.locator("#tab-page").click()
    page.locator("#tab-device").click()
    expect(page.locator(".list[data-part=device]:not([aria-busy])")).to_be_visible()
    assert "tabs" not in page.url


def test_a_new_event_shows_in_a_tab_that_was_opened(page: Page, address: str, warehouse: Warehouse) -> None:
    page.goto(f"{address}/example.com?period=7d")
    page.locator("#tab-entry_page").click()
    shown = page.locator(".list[data-part=entry_page]:not([aria-busy])")
    expect(shown).to_be_visible()
    expect(shown).not_to_contain_text("/fresh")
    add(warehouse, "example.com", 90, 1)
    expect(shown).to_contain_text("/fresh")
    expect(page.locator("#tab-entry_page")).to_have_attribute("aria-current", "true")


def test_of_two_tabs_opened_at_once_the_last_one_stays(page: Page, address: str) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/card/entry_page?*", hold)
    page.goto(f"{address}/example.com?{DAYS}")
    with page.expect_request("**/card/entry_page?*"):
        page.locator("#tab-entry_page").click()
    busy = page.locator(".list[data-part=entry_page][aria-busy]")
    expect(busy).to_be_visible()
    page.locator("#tab-exit_page").click()
    shown = page.locator(".list[data-part=exit_page]:not([aria-busy]) tbody tr")
    expect(shown.first).to_be_visible()
    rows = shown.all_text_contents()
    with page.expect_response("**/card/entry_page?*"):
        held[0].fulfill(body="<p>too late</p>", content_type="text/html")
    page.evaluate("new Promise(requestAnimationFrame)")
    assert shown.all_text_contents() == rows
    expect(page.get_by_text("too late")).to_have_count(0)
    assert tabs(page.url) == "exit_page"


def test_a_tab_that_cannot_be_loaded_leads_to_the_page_that_has_it(page: Page, address: str) -> None:
    page.goto(f"{address}/example.com?{DAYS}")
    page.evaluate("window.same = true")
    # As somebody who has been signed out meanwhile is led to the login.
    page.route("**/card/os?*", lambda route: route.fulfill(status=302, headers={"Location": f"{address}/example.com"}))
    page.locator("#tab-os").click()
    expect(page.locator(".list[data-part=os]:not([aria-busy]) tbody tr").first).to_be_visible()
    assert not page.evaluate("window.same")
    assert tabs(page.url) == "os"
