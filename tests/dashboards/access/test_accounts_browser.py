"""The pages of accounts in Chromium: by keyboard, at the width of a phone, in both themes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from playwright.sync_api import Browser, Page, expect

from dashboards.access import COOKIE, Access
from stores.accounts import Accounts
from stores.accounts.roles import Grants, Role
from tests.dashboards import test_browser as real
from tests.dashboards.access.conftest import PASSWORD, SITE

pytestmark = pytest.mark.real
browser, page = real.browser, real.page


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Accounts]:
    opened = Accounts(tmp_path / "accounts.db")
    opened.users.add("ann@example.com", PASSWORD, Grants({"*": Role.OWNER}))
    yield opened
    opened.close()


@pytest.fixture
def address(application: Callable[[Access], Flask], store: Accounts) -> Iterator[str]:
    with real.serving(application(Access(accounts=store))) as address:
        yield address


def test_somebody_signs_in_and_adds_a_viewer_by_keyboard(page: Page, address: str, store: Accounts) -> None:
    page.goto(f"{address}/people")
    page.keyboard.type("ann@example.com")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="People")).to_be_visible()
    page.get_by_label("Name").focus()
    page.keyboard.type("bob")
    page.keyboard.press("Tab")
    page.keyboard.type("viewer")
    page.keyboard.press("Tab")
    page.keyboard.type(SITE)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("The password of bob, shown only now")
    assert dict(store.users.get("bob").grants) == {SITE: Role.VIEWER}
    page.locator(".who summary").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Audit log")).to_be_visible()
    page.get_by_role("link", name="Audit log").press("Enter")
    expect(page.get_by_role("cell", name="added a user: viewer of example.com: bob")).to_be_visible()
    page.locator(".who summary").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone_or_against_the_rules_of_axe(
    browser: Browser, address: str, store: Accounts, scheme: Literal["light", "dark"]
) -> None:
    store.users.add(f"{'long-name.' * 8}@example.com", PASSWORD, Grants({SITE: Role.ADMIN}))
    store.tokens.add("t" * 100, ["read"], SITE, 30)
    store.audit.add(f"{'long-name.' * 8}@example.com", "2001:db8:1234:5678:9abc:def0:1234:5678", "did", "x" * 300)
    context = browser.new_context(viewport={"width": 320, "height": 700}, color_scheme=scheme)
    session = store.users.start_session(store.users.get("ann@example.com"))
    context.add_cookies([{"name": COOKIE, "value": session, "url": address}])
    page = context.new_page()
    for path in ("/people", "/tokens", "/audit", "/account", "/login"):
        if path == "/login":
            context.clear_cookies()
        page.goto(address + path)
        for entry in page.locator("main summary").all():
            entry.click()
        assert page.evaluate("document.documentElement.scrollWidth") == 320, path
        found = Axe().run(page)
        assert not found.violations_count, f"{path}: {found.generate_report()}"
    context.close()
