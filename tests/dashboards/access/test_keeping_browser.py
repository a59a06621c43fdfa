"""The pages that keep something for a site in Chromium: at the width of a phone, in both themes, by keyboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, time
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from playwright.sync_api import Browser, Page, expect

from dashboards.access import COOKIE, Access
from stores.accounts import Accounts
from stores.accounts.roles import Grants, Role
from stores.accounts.saved import Kind
from tests.dashboards import test_browser as real
from tests.dashboards.access.conftest import PASSWORD, SITE

pytestmark = pytest.mark.real
browser, page = real.browser, real.page

FILTERS = quote('[["contains","page",["/sh"]]]')
STEPS = quote('[["is","page",["/"]],["is","goal",["Signed up"]]]')
HOME = quote('[["is","page",["/"]]]')
COLOURS = ("ground", "surface", "ink", "quiet", "line", "accent", "wash", "bar", "before", "up", "down")
LONG = "a-very-long-name-" * 5


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Accounts]:
    opened = Accounts(tmp_path / "accounts.db")
    opened.users.add("ann", PASSWORD, Grants({"*": Role.OWNER}))
    for name in ("Signed up", LONG):
        opened.saved.add(SITE, Kind.GOAL, name, '[["is","event",["signup"]]]', None)
        opened.saved.add(SITE, Kind.SEGMENT, name, '[["contains","page",["/sh"]]]', opened.users.get("ann").id)
        opened.saved.add(SITE, Kind.FUNNEL, name, '[["is","page",["/"]],["is","goal",["Signed up"]]]', None)
        opened.annotations.add(SITE, date(2026, 3, 29), time(2, 30), name)
        opened.shares.add(SITE, name, "ann", days=30, files=True, origins=[f"https://{'long-name.' * 8}example"])
    yield opened
    opened.close()


@pytest.fixture
def address(application: Callable[[Access], Flask], store: Accounts) -> Iterator[str]:
    with real.serving(application(Access(accounts=store))) as address:
        yield address


def sign_in(page: Page, address: str, store: Accounts) -> None:
    session = store.users.start_session(store.users.get("ann"))
    page.context.add_cookies([{"name": COOKIE, "value": session, "url": address}])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone_or_against_the_rules_of_axe(
    browser: Browser, address: str, store: Accounts, scheme: Literal["light", "dark"]
) -> None:
    locked = store.shares.add(SITE, "locked", "ann", password=PASSWORD)
    guest = store.shares.add(SITE, "guest", "ann")
    context = browser.new_context(viewport={"width": 320, "height": 700}, color_scheme=scheme)
    page = context.new_page()
    sign_in(page, address, store)
    kept = (f"?period=7d&filters={FILTERS}", f"/saved?filters={FILTERS}", f"/funnel?period=7d&steps={STEPS}", "/shares")
    for path in (*(f"/{SITE}{each}" for each in kept), f"/share/{locked}", f"/share/{guest}/{SITE}?period=7d"):
        page.goto(address + path)
        # A menu closes by a click elsewhere, so it comes last.
        for openers in ("main .entries summary", ".annotations summary", ".segments summary"):
            for opener in page.locator(openers).all():
                opener.click()
        assert page.evaluate("document.documentElement.scrollWidth") == 320, path
        for box in page.locator(".segments[open] > div, .segments[open] form").all():
            assert box.evaluate("each => each.getBoundingClientRect().right") <= 320, path
        found = Axe().run(page)
        assert not found.violations_count, f"{path}: {found.generate_report()}"
    context.close()


@pytest.mark.parametrize(("theme", "scheme"), [("dark", "light"), ("light", "dark")])
def test_an_address_may_choose_the_theme(
    browser: Browser, address: str, store: Accounts, theme: str, scheme: Literal["light", "dark"]
) -> None:
    token = store.shares.add(SITE, "themed", "ann")
    grounds = []
    for chosen, system in ((theme, scheme), ("system", theme)):
        context = browser.new_context(color_scheme="dark" if system == "dark" else "light")
        page = context.new_page()
        page.goto(f"{address}/share/{token}/{SITE}?period=7d&theme={chosen}")
        style = "name => getComputedStyle(document.documentElement).getPropertyValue(name)"
        grounds.append([page.evaluate(style, f"--{name}") for name in COLOURS] + [page.evaluate(style, "color-scheme")])
        context.close()
    assert grounds[0][:-1] == grounds[1][:-1]
    assert grounds[0][-1] == theme


def test_filters_are_saved_by_keyboard_for_oneself(page: Page, address: str, store: Accounts) -> None:
    sign_in(page, address, store)
    page.goto(f"{address}/{SITE}?period=7d&filters={HOME}")
    page.locator(".segments summary").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Save these filters as").focus()
    page.keyboard.type("Home")
    page.keyboard.press("Tab")
    page.keyboard.type("Only")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("listitem").filter(has_text="Page is")).to_be_visible()
    page.locator(".segments summary").click()
    expect(page.get_by_role("link", name="Home only you")).to_have_attribute("aria-current", "true")
    page.get_by_role("region", name="Goals").get_by_role("link", name="Signed up").click()
    expect(page.get_by_role("listitem").filter(has_text="Goal is Signed up")).to_be_visible()


def test_the_chart_tells_what_was_annotated(page: Page, address: str, store: Accounts) -> None:
    sign_in(page, address, store)
    page.goto(f"{address}/{SITE}?from=2026-03-27&to=2026-03-31")
    over = page.locator("#chart .u-over")
    box = over.bounding_box()
    assert box is not None
    over.hover(position={"x": box["width"] / 2, "y": 40})  # the third of five days
    note = page.locator(".tip .note").first
    expect(note).to_have_text("Signed up")
    line = page.locator(".tip .value").bounding_box()
    told = note.bounding_box()
    assert line is not None
    assert told is not None
    assert told["height"] < 2 * line["height"], "it stands as close as the other lines"
