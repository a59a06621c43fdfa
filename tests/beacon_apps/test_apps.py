"""The recipes of docs/beacon.md in applications of React, Next, Vue and Svelte, walked through in a real Chromium.

What arrives is what happened, once each, in order: with the page, its referrer and its title.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.beacon_apps import building
from tests.beacon_apps.front import BLANK, MEASURED, Front, front
from tests.e2e.harness import SITE, Up, running, until
from tests.e2e.test_browser import CHROME, QUIET
from tests.patience import patient
from tests.require import require

pytestmark = [pytest.mark.real, pytest.mark.slow]

# Where the page that sends on to another has its address for a moment.
PASSED = (("react", "/hash"), ("next", "/"), ("next", "/tag"))
Seen = tuple[str, str, str, str, str]  # type and name of an event, its page, the page before it and the title


@pytest.fixture(scope="module")
def folder() -> Path:
    require("chromium", shutil.which("chromium") is not None, "apt-get install chromium")
    return building.built()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("apps") / "data", "--site", SITE) as started:
        yield started


@pytest.fixture(scope="module")
def made(up: Up, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    served = {name: folder / path for name, path in building.SERVED.items()}
    with front(up.tracking, served, tmp_path_factory.mktemp("front") / "key.pem") as opened:
        yield opened


@pytest.fixture(scope="module")
def browser(made: Front) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        line = [*QUIET, "--ignore-certificate-errors", f"--user-agent={CHROME}", f"--host-resolver-rules={made.rule}"]
        opened = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=line)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a profile of its own; an exception in it fails the test."""
    wrong: list[str] = []
    context = browser.new_context()
    context.set_default_timeout(patient(30_000))
    context.on("weberror", lambda error: wrong.append(str(error.error)))
    context.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    yield context.new_page()
    context.close()
    assert not wrong


def visit(page: Page, made: Front, origin: str, start: str) -> None:
    """What a visitor does, as `expected` has it. `start` is the path that is opened."""

    def click(name: str, title: str = "") -> None:
        page.get_by_role("link" if name in ("Home", "Shoes", "Old") else "button", name=name).click()
        if title:
            page.get_by_role("heading", name=title).wait_for()

    page.goto(origin + start)
    page.wait_for_function("!!self.footfall")
    page.evaluate("self.loaded = 'once'")
    click("Sign up")
    click("Shoes", "All shoes")
    click("Size")
    page.wait_for_url("**size=42")
    click("Mount 0")
    click("Mount 1")
    click("Old", "Our sale")
    page.get_by_role("textbox").fill("red shoes")
    click("Find", "Found")
    until(lambda: made.events(origin)[-1]["title"] == "Found", "the search is sent")
    page.go_back()
    page.get_by_role("heading", name="Our sale").wait_for()
    click("Home", "Welcome")
    click("Sign up")
    assert page.evaluate("self.loaded") == "once"


def expected(home: str, base: str, old: bool, form: bool) -> list[Seen]:
    """`home` is the first page and `base` what all others begin with; `old` if the page that redirects was there."""
    shoes, sale, search = f"{base}/shoes", f"{base}/sale", f"{base}/search?q=red+shoes"
    redirected = [("pageview", "", f"{base}/old", shoes, "Old")] if old else []
    before = f"{base}/old" if old else shoes
    return [
        ("pageview", "", home, "", "Welcome"),
        ("custom", "early", home, "", "Welcome"),
        ("custom", "signup", home, "", "Welcome"),
        ("pageview", "", shoes, home, "All shoes"),
        *redirected,
        ("pageview", "", sale, before, "Our sale"),
        *([("form", "", sale, before, "Our sale")] if form else []),
        ("pageview", "", search, sale, "Found"),
        ("pageview", "", sale, search, "Our sale"),
        ("pageview", "", home, sale, "Welcome"),
        ("custom", "signup", home, sale, "Welcome"),
    ]


def seen(events: list[dict[str, Any]], origin: str) -> list[Seen]:
    """Events as `expected` has them; without the searches that the service found in addresses."""
    return [
        (e["type"], e.get("name") or "", e["url"].removeprefix(origin), e["referrer"].removeprefix(origin), e["title"])
        for e in events
        if e["type"] not in (*MEASURED, "search")
    ]


def stored(up: Up, origin: str) -> list[dict[str, Any]]:
    """The rows of an application."""
    return up.sql(f"SELECT * FROM events WHERE site = '{SITE}' AND startsWith(url, '{origin}/')")


@pytest.mark.parametrize(
    ("app", "start"),
    [
        ("react", "/"), ("react", "/hash"), ("strict", "/"), ("vue", "/"), ("vue", "/hash"), ("svelte", "/"),
        ("snippet", "/"), ("next", "/"), ("next", "/tag"),
    ],
)  # fmt: skip
def test_what_a_visitor_does_arrives_once_and_in_order(up: Up, made: Front, page: Page, app: str, start: str) -> None:
    origin = f"https://{app}{start.rstrip('/').replace('/', '-')}.example.com"
    base = {"/": "", "/hash": "/hash#"}.get(start, start)
    package = app != "snippet" and start != "/tag"  # these two have a tag of `beacon.js`
    wanted = expected(start, base, old=(app, start) in PASSED, form=package)
    visit(page, made, origin, start)
    if package:  # nothing more is told when consent is withdrawn
        until(lambda: len(made.events(origin)) >= len(wanted), "all is sent")
        page.get_by_role("button", name="Stop").click()
        page.get_by_role("button", name="Sign up").click()
    page.goto(f"{origin}{BLANK}")
    until(lambda: sorted(seen(stored(up, origin), origin)) == sorted(wanted), "each is stored, once")
    assert seen(made.events(origin), origin) == wanted
    assert [row["term"] for row in stored(up, origin) if row["type"] == "search"] == ["red shoes"]


def test_each_recipe_of_the_page_is_built() -> None:
    assert {*building.recipes()} == {*building.RECIPES}
