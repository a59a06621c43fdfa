"""The page in a real Chromium: the chart, an event that comes while it is open, filters, lists, a phone, the login."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from playwright.sync_api import Browser, Page, expect, sync_playwright
from werkzeug.serving import make_server

import hatch_build
from dashboards import lists
from dashboards.access import COOKIE, Access
from dashboards.app import create
from dashboards.links import VIEWS
from stores.base import Live
from stores.warehouse import Warehouse
from tests.dashboards.conftest import NOW, Visit, event_rows, ms, session_rows
from tests.dashboards.test_build import ROOT
from tests.patience import patient
from tests.require import require

pytestmark = pytest.mark.real

TOKEN = "let me in, please"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    require("chromium", chromium is not None, "apt-get install chromium")
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
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    for server in {"address", "closed"} & set(request.fixturenames):
        request.getfixturevalue(server)  # so that the page, which asks it every second, is closed before it
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
    page.get_by_role("link", name="Exit", exact=True).click()
    page.locator("#figure-pageviews").click()
    expect(page.locator("#drawn")).to_have_text("Page views")
    page.evaluate("window.same = true")
    add(warehouse, "example.com", 70, 1)
    expect(visits).to_have_text(str(before + 1))
    expect(page.locator(".list[data-part=exit_page]")).to_contain_text("/fresh")
    expect(page.locator("[data-current]")).to_have_text("2")
    expect(page.get_by_role("link", name="Exit", exact=True)).to_have_attribute("aria-current", "true")
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


LONG = json.dumps([["is", "page", ["/" + "x-" * 99]], ["contains_not", "prop:" + "x-" * 50, ["x"]], ["is", "os", [""]]])


LONG_STEPS = json.dumps([["is", "page", ["/"]], ["contains", "page", ["/" + "x-" * 99]]])


@pytest.mark.parametrize("width", [320, 768])
@pytest.mark.parametrize(
    "path",
    [
        "/example.com?period=7d",
        "/example.com?from=2026-03-01&to=2026-03-31",
        f"/example.com?period=7d&filters={LONG}",
        f"/example.com/list/page?period=7d&filters={LONG}",
        "/example.com/list/page?period=7d&sort=events",
        *(f"/example.com/{view}?period=7d" for view in VIEWS),
        f"/example.com/funnel?period=7d&steps={LONG_STEPS}",
        f"/example.com/paths?period=7d&path={json.dumps(['/' + 'x-' * 99])}",
        f"/example.com/visit/{6:016x}-{1006:016x}?period=7d",
        "/other.example",
        "/",
    ],
)
def test_no_width_makes_the_page_scroll_sideways(page: Page, address: str, width: int, path: str) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(address + path)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if "example.com" in path and "/live" not in path:
        page.get_by_text("Add filter").click()
        expect(page.locator("#filter-values")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    if path.startswith("/example.com?"):
        page.get_by_text("Export", exact=True).click()
        expect(page.get_by_role("link", name="Events as CSV")).to_be_in_viewport(ratio=1)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_numbers_need_no_script(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/example.com?from=2026-03-27&to=2026-03-30")
    expect(page.locator("#figure-pageviews strong")).to_have_text("9")
    page.get_by_text("Show as a table").click()
    expect(page.locator(".numbers tbody tr")).to_have_count(4)
    page.get_by_role("link", name="Browsers").click()
    expect(page.get_by_role("rowheader", name="Safari")).to_be_visible()
    context.close()


DAYS = "from=2026-03-27&to=2026-03-30"


def test_a_click_on_a_row_shows_its_visits_and_the_cross_shows_all_again(page: Page, address: str) -> None:
    page.goto(f"{address}/example.com?{DAYS}")
    visits = page.locator("#figure-visits strong")
    every = visits.inner_text()
    page.locator("#figure-pageviews").click()
    page.get_by_role("link", name="google.com").click()
    expect(page.get_by_role("listitem").filter(has_text="google.com")).to_be_visible()
    expect(visits).to_have_text("1")
    expect(page.locator(".list[data-part=page] tbody tr")).to_have_count(1)
    expect(page.locator("#drawn")).to_have_text("Page views")
    page.get_by_role("link", name="is, turn into is not").click()
    expect(visits).to_have_text(str(int(every) - 1))
    page.get_by_role("link", name="Remove filter Source is not google.com").click()
    expect(visits).to_have_text(every)
    expect(page.locator(".chip")).to_have_count(0)
    assert DAYS in page.url
    assert "metric=pageviews" in page.url


def test_a_chosen_metric_is_kept_by_links_and_forms(page: Page, address: str) -> None:
    page.goto(f"{address}/example.com?{DAYS}")
    page.locator("#figure-searches").click()
    page.get_by_text("Add filter").click()
    page.get_by_label("Values").fill("/shoes")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#drawn")).to_have_text("Searches")
    page.locator("#figure-visitors").click()
    page.get_by_role("link", name="Show all pages").click()
    page.get_by_role("link", name="/shoes", exact=True).click()
    expect(page.locator("#drawn")).to_have_text("Visitors")


def test_a_filter_is_added_by_the_keyboard(page: Page, address: str) -> None:
    page.goto(f"{address}/example.com?{DAYS}")
    button = page.locator(".filters summary").first
    button.focus()
    page.keyboard.press("Enter")
    name = page.get_by_label("Name of the property")
    expect(page.get_by_label("What")).to_be_visible()
    expect(name).not_to_be_visible()
    page.get_by_label("What").select_option("Property")
    expect(name).to_be_visible()
    page.keyboard.press("Escape")
    expect(name).not_to_be_visible()
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_label("What").select_option("Goal")
    page.get_by_label("How").select_option("is not")
    page.get_by_label("Values").fill("signup\n/cart")
    page.get_by_label("Values").press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".chip")).to_have_attribute("title", "Goal is not signup or /cart")
    expect(page.locator("#figure-visits strong")).to_have_text("4")


def test_codes_of_countries_have_names_in_chips(page: Page, address: str) -> None:
    page.goto(f'{address}/example.com?period=7d&filters=[["is","country",["DE","FR"]]]')
    expect(page.locator(".chip .values")).to_have_text("Germany or France")
    expect(page.get_by_role("link", name="Remove filter Country is Germany or France")).to_be_visible()


def test_numbers_under_a_filter_stay_fresh_and_keep_the_focus(page: Page, address: str, warehouse: Warehouse) -> None:
    page.goto(f'{address}/example.com?period=7d&filters=[["is","page",["/fresh"]]]')
    visits = page.locator("#figure-visits strong")
    before = int(visits.inner_text())
    add(warehouse, "example.com", 73, 1)
    expect(visits).to_have_text(str(before + 1))
    row = page.locator(".list[data-part=source]").get_by_role("link", name="Direct")
    row.focus()
    page.evaluate("window.same = true")
    add(warehouse, "example.com", 74, 1)
    expect(visits).to_have_text(str(before + 2))
    expect(row).to_be_focused()
    assert page.evaluate("window.same")


def test_a_whole_list_is_searched_sorted_and_paged(page: Page, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "ROWS", 2)
    page.goto(f"{address}/example.com?{DAYS}")
    page.get_by_role("link", name="Show all pages").click()
    expect(page.get_by_role("heading", name="Pages")).to_be_visible()
    values = page.locator(".whole tbody th")
    expect(page.locator(".pager")).to_contain_text("1–2 of 3")
    page.get_by_role("link", name="Page", exact=True).click()
    expect(values).to_have_text(["/", "/cart"])
    expect(page.get_by_role("columnheader", name="Page", exact=True)).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("link", name="Next").click()
    expect(values).to_have_text(["/shoes"])
    expect(page.locator(".pager")).to_contain_text("3–3 of 3")
    page.get_by_role("link", name="Previous").click()
    page.get_by_role("searchbox", name="Search in pages").fill("ho")
    page.get_by_role("button", name="Search").click()
    expect(values).to_have_text(["/shoes"])
    page.get_by_role("link", name="Yesterday").click()
    expect(page.get_by_text("Nothing here contains “ho”.")).to_be_visible()
    page.go_back()
    page.get_by_role("link", name="/shoes").click()
    expect(page.locator("#figure-visits strong")).to_have_text("3")
    expect(page.locator(".chip")).to_have_attribute("title", "Page is /shoes")


def test_lists_and_rows_are_saved_as_files(page: Page, address: str) -> None:
    page.goto(f"{address}/example.com/list/page?{DAYS}&sort=value")
    with page.expect_download() as saved:
        page.get_by_role("link", name="CSV").click()
    assert pl.read_csv(saved.value.path())["value"].to_list() == page.locator(".whole tbody th").all_inner_texts()
    page.goto(f"{address}/example.com?{DAYS}")
    page.get_by_text("Export", exact=True).press("Enter")
    with page.expect_download() as saved:
        page.get_by_role("link", name="Events as Parquet").press("Enter")
    assert pl.read_parquet(saved.value.path())["path"].n_unique() == 4


def test_filters_and_lists_need_no_script(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(f"{address}/example.com?{DAYS}")
    page.get_by_role("link", name="/shoes").first.click()
    expect(page.locator("#figure-visits strong")).to_have_text("3")
    page.get_by_text("Add filter").click()
    page.get_by_label("What").select_option("Property")
    expect(page.get_by_label("Name of the property")).to_be_visible()
    page.get_by_label("What").select_option("Search term")
    page.get_by_label("How").select_option("contains")
    page.get_by_label("Values").fill("red")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#figure-visits strong")).to_have_text("1")
    page.get_by_role("link", name="Show all sources").click()
    page.get_by_role("link", name="Clear all").click()
    expect(page.locator(".whole tbody th")).to_have_count(4)
    page.get_by_role("link", name="Overview").click()
    expect(page.locator("#figure-visits strong")).to_have_text("7")
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


def test_from_the_overview_to_a_visit_and_back(page: Page, address: str) -> None:
    page.goto(f"{address}/example.com?{DAYS}")
    page.get_by_role("link", name="Visits", exact=True).click()
    page.get_by_role("link", name="30 Mar 2026, 00:10:00").click()
    expect(page.locator(".timeline li")).to_have_count(3)
    expect(page.locator(".timeline")).to_contain_text("signup on /cart")
    page.get_by_role("link", name="All visits").click()
    expect(page.get_by_role("heading", name="Visits")).to_be_visible()
    assert DAYS in page.url


def test_a_path_is_followed_page_by_page(page: Page, address: str) -> None:
    page.goto(f"{address}/example.com/paths?{DAYS}")
    page.get_by_role("link", name="/", exact=True).click()
    page.get_by_role("link", name="/shoes", exact=True).click()
    expect(page.get_by_role("navigation", name="Path")).to_contain_text("/shoes")
    expect(page.get_by_text("The visit ended")).to_be_visible()
    page.get_by_role("link", name="To where they end").click()
    expect(page.get_by_role("columnheader", name="Last page")).to_be_visible()


def test_a_funnel_is_made_step_by_step_without_script(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/example.com/funnel?{DAYS}")
    for what, values in (("Page", "/cart"), ("Event", "signup")):
        page.locator("#step-what").select_option(what)
        page.locator("#step-values").fill(values)
        page.get_by_role("button", name="Add step").click()
    rows = page.locator("table.funnel tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(1)).to_contain_text("2. Event is signup")
    expect(rows.nth(1).locator("td").first).to_have_text("1")
    page.get_by_role("link", name="Remove step Page is /cart").click()
    expect(rows).to_have_count(1)
    context.close()


SEEN = ["/", "/quiet.example", f"/example.com?{DAYS}", f"/example.com/list/page?{DAYS}", "/example.com/nothing",
        *(f"/example.com/{view}?{DAYS}" for view in VIEWS), f"/example.com/funnel?{DAYS}&steps={LONG_STEPS}",
        f"/example.com/visit/{6:016x}-{1006:016x}", f"/example.com?{DAYS}&filters={LONG}"]  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible_by_the_rules_of_axe(browser: Browser, address: str, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    wrong = {}
    for path in SEEN:
        page.goto(address + path)
        for menu in page.locator("details.menu > summary").all()[-1:]:
            menu.click()
        found = Axe().run(page)
        wrong |= {path: found.generate_report()} if found.violations_count else {}
    context.close()
    assert not wrong, "\n".join(wrong.values())
