"""The board in a real Chromium that asks for German: its words, its chart, and the choice of another language."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from dashboards.links import VIEWS
from tests.dashboards.test_browser import DAYS, address, browser, page

__all__ = ["address", "browser", "page"]

pytestmark = pytest.mark.real


def tip(page: Page) -> str:
    """What the chart tells in its middle."""
    over = page.locator("#chart .u-over")
    box = over.bounding_box()
    assert box is not None
    over.hover(position={"x": box["width"] / 2 + 1, "y": 40})
    expect(page.locator(".tip")).to_be_visible()
    return page.locator(".tip").inner_text()


def test_a_german_browser_reads_german_until_another_language_is_chosen(browser: Browser, address: str) -> None:
    context = browser.new_context(locale="de-DE", viewport={"width": 1280, "height": 900})
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(f"{address}/example.com?{DAYS}&compare=previous")
    expect(page.get_by_role("link", name=re.compile("^Seitenaufrufe"))).to_be_visible()
    expect(page.locator("#figure-bounce_rate strong")).to_have_text(re.compile(r"^\d+\s%$"))
    told = tip(page)
    assert "März 2026" in told
    assert "Besucher" in told
    assert "zuvor" in told
    expect(page.locator(".list[data-part=country]").get_by_text("Unbekannt").first).to_be_attached()

    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("link", name=re.compile("^Page views"))).to_be_visible()
    assert "lang=" not in page.url
    assert DAYS in page.url
    told = tip(page)
    assert "Mar 2026" in told
    assert "visitors" in told
    page.get_by_role("navigation", name="Views").get_by_role("link", name="Visits").click()
    expect(page.get_by_role("heading", name="Visits")).to_be_visible()

    page.get_by_role("link", name="Deutsch").click()
    expect(page.get_by_role("heading", name="Besuche")).to_be_visible()
    again = context.new_page()
    again.goto(f"{address}/example.com/live")
    pause = again.locator("[data-pause]")
    expect(pause).to_have_text("Pause")
    pause.click()
    expect(pause).to_have_text("Fortsetzen")
    pause.click()
    expect(pause).to_have_text("Pause")
    context.close()
    assert not wrong


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_german_words_fit_and_axe_finds_nothing(browser: Browser, address: str, width: int) -> None:
    context = browser.new_context(
        locale="de-DE", viewport={"width": width, "height": 800}, color_scheme="dark" if width == 390 else "light"
    )
    page = context.new_page()
    views = (f"/example.com/{view}?period=7d" for view in VIEWS)
    more = ("/example.com?period=7d", "/example.com/list/page?period=7d", "/quiet.example", "/", "/example.com/saved")
    for path in (*more, *views):
        page.goto(address + path)
        expect(page.locator("html")).to_have_attribute("lang", "de")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        found = Axe().run(page)
        assert not found.violations_count, f"{path}: {found.generate_report()}"
    context.close()
