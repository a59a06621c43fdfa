"""In a real Chromium: people visit a small site, and the page of the numbers shows exactly what they did.

FOOTFALL_TEST_SCREENSHOT=docs/dashboard.png writes the picture of the README (see `tests/e2e/seed.py`).
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, BrowserType, Locator, Page, expect, sync_playwright

from tests.e2e import mmdb, seed
from tests.e2e.harness import AGENT, Up, footfall, running, secret_key, until
from tests.e2e.site import serving
from tests.patience import patient
from tests.require import require

pytestmark = [pytest.mark.real, pytest.mark.slow]

SHOWN = round(patient(30_000))  # ms; far above what it takes, for a machine that is busy
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
SITES = tuple(f"{name}.example" for name in ("walk", "bot", "plain", "file", "long", "queue", "shop"))


def launched(chromium: BrowserType, *more: str) -> Browser:
    return chromium.launch(executable_path=shutil.which("chromium"), args=[*QUIET, *more])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    require("chromium", shutil.which("chromium") is not None, "apt-get install chromium")
    with sync_playwright() as playwright:
        opened = launched(playwright.chromium)
        expect.set_options(timeout=SHOWN)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def person(browser: Browser) -> Iterator[Browser]:
    """A browser that is no robot whatever it sends. What a page sends while it goes away bears the browser's own
    agent, not the one that its profile pretends; by that it would be a bot's."""
    opened = launched(browser.browser_type, f"--user-agent={CHROME}")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("browser")
    mmdb.write(folder / "places.mmdb", seed.PLACES)
    more = [word for site in SITES for word in ("--site", site)]
    places = ("--geo", str(folder / "places.mmdb"), "--proxies", "127.0.0.1")
    with running(folder / "data", *more, *places) as started:
        yield started


@pytest.fixture
def context(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Makes browser profiles; what a page says went wrong fails the test."""
    opened: list[BrowserContext] = []
    wrong: list[str] = []

    def make(**options: Any) -> BrowserContext:
        made = browser.new_context(**({"viewport": {"width": 1280, "height": 960}} | options))
        made.set_default_timeout(SHOWN)
        made.on("weberror", lambda error: wrong.append(str(error.error)))
        made.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        opened.append(made)
        return made

    yield make
    for made in opened:
        made.close()
    assert not wrong


Context = Callable[..., BrowserContext]


def snippet_of(board: Page) -> str:
    """What the empty page tells to paste."""
    expect(board.get_by_text("Waiting for the first visit")).to_be_visible()
    return board.locator("#snippet").inner_text()


def figure(board: Page, name: str) -> Any:
    return board.locator(f"#figure-{name} strong")


def opened(board: Page, name: str) -> Locator:
    """A list of the page, whose tab is opened if it is behind one."""
    for tab in board.locator(f"#tab-{name}").all():
        tab.click()
    found = board.locator(f".list[data-part={name}]:not([aria-busy])")
    expect(found).to_be_visible()
    return found


def rows(board: Page, name: str) -> dict[str, str]:
    """A list of the page, by value, with its last column."""
    shown = opened(board, name).locator("tbody tr")
    return {
        row.locator("th a").text_content() or "": row.locator("td").last.text_content() or ""
        for row in shown.all()
    }


def visit(page: Page, address: str) -> None:
    """Three pages, one of them by the History API, then a custom event and a site search: 4 page views, a derived
    search, a custom event: 6 events."""
    page.goto(f"{address}/")
    page.get_by_role("button", name="About").click()
    page.wait_for_url("**/about")
    page.get_by_role("link", name="Pricing").click()
    page.wait_for_url("**/pricing")
    page.wait_for_load_state()
    page.get_by_role("button", name="Sign up").click()
    page.get_by_label("Search").fill("red  Shoes")
    page.get_by_role("button", name="Find").click()
    page.wait_for_url("**/search?*")
    page.wait_for_load_state("networkidle")


def test_a_visit_shows_on_the_open_page_by_itself_with_exactly_its_numbers(
    up: Up,
    context: Context,
    person: Browser,
    record_testsuite_property: Callable[[str, object], None],
    tmp_path: Path,
) -> None:
    board = context().new_page()
    board.goto(f"{up.dashboards}/walk.example")
    board.evaluate("window.same = true")
    with serving(snippet_of(board)) as address:
        visitor = person.new_page()
        visit(visitor, address)
        begun = time.monotonic()
        expect(figure(board, "events")).to_have_text("6")
        record_testsuite_property("seconds until a visit is shown", round(time.monotonic() - begun, 2))
        assert board.evaluate("window.same"), "it was loaded anew"
        shown = {name: figure(board, name).inner_text() for name in ("visitors", "visits", "pageviews", "searches")}
        assert shown == {"visitors": "1", "visits": "1", "pageviews": "4", "searches": "1"}
        assert figure(board, "views_per_visit").inner_text() == "4.0"
        assert figure(board, "bounce_rate").inner_text() == "0%"
        expect(board.locator("[data-current]")).to_have_text("1")
        assert rows(board, "page") == {"/": "1", "/about": "1", "/pricing": "1", "/search": "1"}
        assert rows(board, "entry_page") == {"/": "1"}
        assert rows(board, "exit_page") == {"/search": "1"}
        assert rows(board, "search") == {"red Shoes": "1"}
        assert rows(board, "event") == {"signup": "1"}
        assert rows(board, "browser") == {"Chrome": "1"}
        assert rows(board, "os") == {"Linux": "1"}
        assert rows(board, "device") == {"desktop": "1"}
        assert rows(board, "source") == {"Direct": "1"}
        board.screenshot(path=tmp_path / "walk.png")

        visitor.get_by_role("link", name="Home").click()
        visitor.wait_for_url(f"{address}/")
        visitor.go_back()
        visitor.wait_for_load_state("networkidle")
        expect(figure(board, "pageviews")).to_have_text("6")
        expect(figure(board, "searches")).to_have_text("2")
        expect(figure(board, "visits")).to_have_text("1")
        visitor.close()
    where = "WHERE site = 'walk.example'"
    assert up.sql(f"SELECT DISTINCT visitor FROM events {where}") == up.sql(f"SELECT visitor FROM sessions {where}")
    custom = up.sql(f"SELECT path, props, title FROM events {where} AND type = 'custom'")
    assert custom == [{"path": "/pricing", "props": '{"plan":"pro","seats":3}', "title": "Pricing"}]


def test_the_same_visit_by_headless_chrome_is_a_bots(up: Up, context: Context) -> None:
    board = context().new_page()
    board.goto(f"{up.dashboards}/bot.example")
    with serving(snippet_of(board)) as address:
        robot = context().new_page()
        visit(robot, address)
        assert "HeadlessChrome" in robot.evaluate("navigator.userAgent")
    expect(board.get_by_text("6 events of bots kept apart")).to_be_visible()
    for name in ("visitors", "visits", "pageviews", "searches", "events"):
        assert figure(board, name).inner_text() == "0", name
    assert rows(board, "page") == {}
    expect(board.locator("[data-current]")).to_have_text("0")


def test_without_javascript_the_picture_counts(up: Up, context: Context) -> None:
    board = context().new_page()
    board.goto(f"{up.dashboards}/plain.example")
    with serving(snippet_of(board)) as address:
        page = context(user_agent=AGENT, java_script_enabled=False).new_page()
        page.goto(f"{address}/pricing")
        page.wait_for_load_state("networkidle")
        expect(figure(board, "pageviews")).to_have_text("1")
        expect(figure(board, "visitors")).to_have_text("1")
        # Of a page elsewhere, browsers tell a picture's server no more than the site; the address can be named.
        assert rows(board, "page") == {"/": "1"}
        named = f'<img alt="" src="{up.tracking}/collect.gif?site=plain.example&url={address}/pricing?q=boots">'
    with serving(f"<noscript>{named}</noscript>") as address:
        page.goto(f"{address}/pricing")
        page.wait_for_load_state("networkidle")
        expect(figure(board, "pageviews")).to_have_text("2")
        expect(figure(board, "searches")).to_have_text("1")
        assert rows(board, "page") == {"/": "1", "/pricing": "1"}
        assert rows(board, "browser") == {"Firefox": "1"}


def test_a_page_in_a_file_counts(up: Up, context: Context, tmp_path: Path) -> None:
    board = context().new_page()
    board.goto(f"{up.dashboards}/file.example")
    file = tmp_path / "draft.html"
    file.write_text(f"<title>Draft</title>{snippet_of(board)}", encoding="utf-8")
    context(user_agent=CHROME).new_page().goto(file.as_uri())
    expect(figure(board, "pageviews")).to_have_text("1")
    assert [name.rpartition("/")[2] for name in rows(board, "page")] == ["draft.html"]


def test_the_beacon_tells_engaged_time(up: Up, person: Browser, context: Context) -> None:
    board = context().new_page()
    board.goto(f"{up.dashboards}/long.example")
    with serving(snippet_of(board).replace("beacon.js", "beacon.time.js")) as address:
        page = person.new_page()
        page.goto(f"{address}/")
        page.evaluate("window.began = performance.now()")
        page.wait_for_function("performance.now() - began > 1200")
        page.goto(f"{address}/pricing")
        expect(figure(board, "pageviews")).to_have_text("2")
        expect(figure(board, "events")).to_have_text("3")
        # Before the second page goes away too, which tells its own time.
        engaged = up.sql("SELECT path, engaged_ms FROM events WHERE site = 'long.example' AND type = 'engagement'")
        page.close()
    assert [row["path"] for row in engaged] == ["/"]
    assert 1_000 <= int(engaged[0]["engaged_ms"]) < 60_000


def tagged(up: Up, script: str) -> str:
    return f'<script defer data-site="queue.example" src="{up.tracking}/{script}"></script>'


def arrived(up: Up, mark: str) -> list[str]:
    """The names, without the mark that they begin with, of the custom events that are stored."""
    rows = up.sql(f"SELECT name FROM events WHERE site = 'queue.example' AND startsWith(name, '{mark}') ORDER BY name")
    return [row["name"].removeprefix(mark) for row in rows]


def arrive(up: Up, mark: str, names: list[str]) -> None:
    until(lambda: arrived(up, mark) == sorted(names), f"{names} of {mark} are stored, and each once")


def test_an_event_too_large_to_outlive_its_page_holds_no_later_one_up(up: Up, browser: Browser) -> None:
    """What a page keeps alive may have 64 KiB together."""
    page = browser.new_page()
    with serving(tagged(up, "beacon.all.js")) as address:
        page.goto(f"{address}/")
        page.evaluate("footfall('large-70', {a: 'x'.repeat(70000)}); footfall('large-after')")
        arrive(up, "large-", ["70", "after"])
        page.evaluate("for (const n of [1, 2, 3]) footfall('large-' + n, {a: 'x'.repeat(40000)})")
        page.goto(f"{address}/pricing")
        page.evaluate("footfall('large-reloaded')")
        arrive(up, "large-", ["70", "after", "1", "2", "3", "reloaded"])
    page.close()


@pytest.mark.parametrize(("count", "size"), [(5, 2_000), (5, 20_000), (3, 90_000), (150, 20_000)])
def test_what_was_gathered_offline_arrives(up: Up, browser: Browser, count: int, size: int) -> None:
    mark = f"offline{count}x{size}-"
    context = browser.new_context()
    page = context.new_page()
    with serving(tagged(up, "beacon.all.js")) as address:
        page.goto(f"{address}/")
        page.wait_for_load_state("networkidle")
        context.set_offline(True)
        page.evaluate(f"for (let n = 0; n < {count}; n++) footfall('{mark}' + n, {{a: 'x'.repeat({size})}})")
        context.set_offline(False)
        page.reload()
        page.evaluate(f"footfall('{mark}after')")
        arrive(up, mark, [*map(str, range(count)), "after"])
    context.close()


@pytest.mark.parametrize("script", ["beacon.js", "beacon.all.js"])
def test_many_events_at_once_all_arrive(up: Up, browser: Browser, script: str) -> None:
    page = browser.new_page()
    mark = f"at-once-{script}-"
    with serving(tagged(up, script)) as address:
        page.goto(f"{address}/")
        page.evaluate(f"for (let n = 0; n < 12; n++) footfall('{mark}' + n, {{a: 'x'.repeat(10000)}})")
        arrive(up, mark, [str(n) for n in range(12)])
    page.close()


@pytest.mark.parametrize("script", ["beacon.js", "beacon.all.js"])
def test_nothing_that_json_cannot_hold_breaks_the_page_or_loses_the_event(
    up: Up, context: Context, script: str
) -> None:
    page = context().new_page()
    mark = f"odd-{script}-"
    with serving(tagged(up, script)) as address:
        page.goto(f"{address}/")
        went_on = page.evaluate(
            """mark => {
                const circle = {}
                circle.self = circle
                const button = document.querySelector('button')
                button.__reactFiber$ = {stateNode: button}
                footfall(mark + 'props', {circle, button, big: 12345678901234567890n, cart: {n: 1}, tags: ['a'], n: 2,
                                          at: new Date(0), get bad() { throw new Error('bad') }})
                footfall(mark + 'text', 'pro')
                footfall(mark + 'none', null)
                return true
            }""",
            mark,
        )
        assert went_on
        arrive(up, mark, ["props", "text", "none"])
    rows = up.sql(f"SELECT name, props FROM events WHERE startsWith(name, '{mark}')")
    props = {row["name"].removeprefix(mark): json.loads(row["props"]) for row in rows}
    assert props["text"] == {"value": "pro"}
    assert props["none"] == {}
    assert props["props"].pop("circle") == "[object Object]"
    assert props["props"].pop("button") == "[object HTMLButtonElement]"
    assert props["props"].pop("bad") == "undefined"
    assert props["props"] == {
        "big": "12345678901234567890", "cart": '{"n":1}', "tags": '["a"]', "n": 2, "at": "1970-01-01T00:00:00.000Z",
    }  # fmt: skip


@pytest.mark.parametrize("script", ["beacon.js", "beacon.all.js"])
def test_a_page_of_a_router_has_its_own_title(up: Up, context: Context, script: str) -> None:
    page = context().new_page()
    here = script.replace(".", "-")
    with serving(tagged(up, script)) as address:
        page.goto(f"{address}/")
        page.evaluate(
            """async here => {
                const later = ms => new Promise(done => setTimeout(done, ms))
                const go = path => history.pushState({}, '', `/${here}/${path}`)
                go('at-once')
                document.title = 'At once'
                go('soon')
                await later(50)
                document.title = 'Soon'
                go('left')
                document.title = 'Left'
                setTimeout(() => { location.href = '/pricing' })
            }""",
            here,
        )
        page.wait_for_url("**/pricing")
        wanted = [("at-once", "At once"), ("left", "Left"), ("soon", "Soon")]

        def titles() -> bool:
            where = f"site = 'queue.example' AND type = 'pageview' AND startsWith(path, '/{here}/')"
            rows = up.sql(f"SELECT path, title FROM events WHERE {where} ORDER BY path")
            return [(row["path"].rpartition("/")[2], row["title"]) for row in rows] == wanted

        until(titles, f"the views are {wanted}")


@pytest.fixture(scope="module")
def full(up: Up) -> str:
    """A site with two weeks of visits and more."""
    sent = seed.send(up, "shop.example", secret_key(up.data, "shop.example"))
    up.shows({"pageviews": sent}, "shop.example")
    # Visits so long ago are rebuilt every ten minutes; nobody here waits for that.
    rebuilt = footfall("reconcile", "--data", str(up.data))
    assert rebuilt.returncode == 0, rebuilt.stderr
    return "shop.example"


def test_the_full_page_shows_what_the_api_says(up: Up, full: str, context: Context) -> None:
    board = context().new_page()
    board.goto(f"{up.dashboards}/")
    board.get_by_role("link", name=full).click()
    for name, words in (("yesterday", "Yesterday"), ("7d", "7 days"), ("30d", "30 days")):
        board.get_by_role("navigation", name="Period").get_by_role("link", name=words, exact=True).click()
        board.wait_for_url(f"**period={name}*")
        numbers = up.api("stats", site=full, period=name)
        for metric in ("visitors", "visits", "pageviews", "searches", "events"):
            expect(figure(board, metric)).to_have_text(f"{numbers[metric]:,}")
        expect(figure(board, "bounce_rate")).to_have_text(f"{numbers['bounce_rate']:.0%}")
        assert numbers["visitors"] > 0
        for by in ("page", "source", "search", "country", "device", "browser", "os"):
            listed = [row["visitors"] for row in up.api("breakdown", by=by, site=full, period=name)["rows"]][:9]
            cells = opened(board, by).locator("tbody tr td:nth-child(2)")
            assert [int(text.replace(",", "")) for text in cells.all_text_contents()] == listed, by
    expect(board.locator("#chart canvas")).to_be_visible()
    assert {*opened(board, "country").locator("th a").all_text_contents()} >= {"Germany", "France"}
    assert int(board.locator("[data-current]").inner_text()) > 0

    board.locator("summary", has_text=full).click()
    board.get_by_role("navigation", name="Sites").get_by_role("link", name="walk.example").click()
    board.wait_for_url("**/walk.example")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_picture(up: Up, full: str, context: Context, scheme: str, tmp_path: Path) -> None:
    """Not a comparison: for people to look at, and in light the one that the README shows."""
    page = context(color_scheme=scheme, viewport={"width": 1280, "height": 1010}, device_scale_factor=1.5).new_page()
    # Whole days, so that the picture does not tell at what hour it was taken.
    last, first = (datetime.now(UTC).date() - timedelta(days=days) for days in (1, 7))
    page.goto(f"{up.dashboards}/{full}?from={first}&to={last}")
    expect(page.locator("#chart canvas")).to_be_visible()
    wanted = os.environ.get("FOOTFALL_TEST_SCREENSHOT") if scheme == "light" else None
    path = Path(wanted) if wanted else tmp_path / f"{scheme}.png"
    page.screenshot(path=path)
    assert 20_000 < path.stat().st_size < 300_000
