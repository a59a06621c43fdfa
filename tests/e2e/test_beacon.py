"""What the beacon does, by doing it in a real Chromium: what arrives is what happened, once each, in order."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.e2e.harness import Up, running, until
from tests.e2e.shop import (
    BETWEEN,
    HOME,
    HOOK,
    HOOKED,
    PAGES,
    all_arrived,
    check_hooked,
    check_looked,
    check_walk,
    sent,
    shop,
    told,
)
from tests.e2e.test_browser import CHROME, QUIET
from tests.require import require

pytestmark = [pytest.mark.real, pytest.mark.slow]

NAMES = (
    "walk", "hash", "hashall", "query", "hook", "odd", "consent", "away", "cache", "ahead", "frame", "silent", "package"
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    require("chromium", shutil.which("chromium") is not None, "apt-get install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=[*QUIET, f"--user-agent={CHROME}"],
            ignore_default_args=["--disable-back-forward-cache"],
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    more = ["--proxies", "127.0.0.1", *(word for name in NAMES for word in ("--site", f"{name}.example"))]
    with running(tmp_path_factory.mktemp("beacon") / "data", *more) as started:
        yield started


@pytest.fixture
def context(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Makes browser profiles; an exception in a page, or what its policy refuses, fails the test."""
    opened: list[BrowserContext] = []
    wrong: list[str] = []

    def make(**options: Any) -> BrowserContext:
        made = browser.new_context(**options)
        made.on("weberror", lambda error: wrong.append(str(error.error)))
        made.on("console", lambda said: wrong.append(said.text) if "Security Policy" in said.text else None)
        opened.append(made)
        return made

    yield make
    for made in opened:
        made.close()
    assert not wrong


Context = Callable[..., BrowserContext]


def walk(page: Page, address: str) -> None:
    page.goto(f"{address}/")
    page.locator("#tagged b").click()
    page.locator("#label").click(position={"x": 2, "y": 2})
    page.mouse.wheel(0, 5000)
    until(lambda: page.evaluate("scrollY > 1000"), "the page is scrolled")
    page.evaluate("footfall('order', {items: 2}, {revenue: {amount: '49.90', currency: 'EUR'}})")
    until(lambda: page.evaluate("performance.now() > 1500"), "the page was looked at")
    page.locator("#out i").click()
    page.wait_for_url("**/elsewhere?*")


def test_each_thing_that_a_visitor_does_arrives_once_and_in_order(up: Up, context: Context) -> None:
    here = context()
    page = here.new_page()
    with shop(up.tracking, "walk.example", PAGES) as made:
        made.code = """addEventListener('click', event => {
            for (const end = performance.now() + 60; event.target.id == 'label' && performance.now() < end;);
        })"""
        made.pages = PAGES | {"/": HOME.replace("PORT", made.address.rpartition(":")[2])}
        walk(page, made.address)
        page.goto(f"{made.address}/")
        with here.expect_page() as tab:
            page.locator("#blank").click(button="middle")
        until(lambda: ("pageview", "", "/pricing") in told(made.events()[-2:]), "the tab is counted")
        tab.value.close()
        page.locator("#top").click()
        page.locator("#file").click()
        page.locator("#find input").fill("red shoes")
        page.get_by_role("button", name="Find").click()
        page.wait_for_url("**/search?*")
        page.goto(f"{made.address}/missing")
        check_walk(made)
        here.close()
        check_looked(made)
        vitals = [event for event in made.events() if event["type"] == "web_vital"]
        first = {event["name"]: event["props"]["value"] for event in vitals[:3]}
        assert {*first} == {"LCP", "CLS", "INP"}
        assert first["LCP"] > 0
        assert 0 <= first["CLS"] < 1
        assert first["INP"] >= 56  # told in steps of 8 ms
        all_arrived(up, "walk.example", made)


@pytest.mark.parametrize("script", ["", "all"])
def test_the_pages_of_both_kinds_of_routers(up: Up, context: Context, script: str) -> None:
    page = context().new_page()
    with shop(up.tracking, f"hash{script}.example", PAGES, script=script) as made:
        made.twice = True
        page.goto(f"{made.address}/")
        for number, change in enumerate(("location.hash = '/about'", "location.hash = '!/pricing'", "history.back()")):
            page.evaluate(change)
            sent(made, number + 2)
            # A place on the page, and the route again: nothing.
            page.evaluate("location.hash += ''")
        page.evaluate("location.hash = 'top'")
        page.evaluate("history.pushState({}, '', '/app#/'); history.replaceState({}, '', '/app?tab=2')")
        page.evaluate("footfall('end')")
        events = sent(made, 6)
        assert told(events) == [
            ("pageview", "", "/"),
            ("pageview", "", "/#/about"),
            ("pageview", "", "/#!/pricing"),
            ("pageview", "", "/#/about"),
            ("pageview", "", "/app"),
            ("custom", "end", "/app"),
        ]
        all_arrived(up, f"hash{script}.example", made)
        views = f"SELECT path FROM events WHERE site = 'hash{script}.example' AND type = 'pageview'"
        assert sorted(row["path"] for row in up.sql(views)) == ["/", "/#!/pricing", "/#/about", "/#/about", "/app"]


def test_routes_behind_a_query_are_pages_and_another_query_is_none(up: Up, context: Context) -> None:
    page = context().new_page()
    with shop(up.tracking, "query.example", PAGES, script="") as made:
        page.goto(f"{made.address}/?utm_source=n#/")
        for address in ("/?utm_source=n#/login", "/?utm_source=m#/login/?a=2", "/#/login#top", "/?utm_source=m#/home"):
            page.evaluate("address => history.replaceState(0, '', address)", address)
        page.evaluate("location.hash = 'top'; history.replaceState(0, '', '/?tab=2#top'); footfall('end')")
        assert told(sent(made, 4)) == [
            ("pageview", "", "/?utm_source=n"),
            ("pageview", "", "/?utm_source=n#/login"),
            ("pageview", "", "/?utm_source=m#/home"),
            ("custom", "end", "/?utm_source=m#/home"),
        ]


def test_what_json_cannot_hold_goes_as_text_and_stops_no_queue(up: Up, context: Context) -> None:
    page = context().new_page()
    form = "<form id=ask action=/pricing><input name=id></form>"
    with shop(up.tracking, "odd.example", {"/": form}, 'data-before="look"', "clicks.consent.queue") as made:
        made.code = """
            addEventListener('submit', event => event.preventDefault())
            function look(event) { if (event.name == 'lost') event.self = event }"""
        page.goto(f"{made.address}/")
        page.evaluate(
            """() => {
                const circle = {}
                circle.self = circle
                footfall('lost')
                footfall('order', {a: 1, circle}, {revenue: {amount: 10n, currency: 'EUR'}, user: 7n})
                footfall('find', null, {type: 'search', search: {term: 'x', results: circle}})
                document.forms.ask.id.react = circle
                document.forms.ask.requestSubmit()
                footfall('last')
            }"""
        )
        events = sent(made, 5)
        names = [(event["type"], event.get("name", "")) for event in events]
        assert names == [("pageview", ""), ("custom", "order"), ("search", "find"), ("form", "ask"), ("custom", "last")]
        assert events[1]["revenue"] == {"amount": "10", "currency": "EUR"}
        assert (events[1]["user"], events[1]["props"]) == ("7", {"a": 1, "circle": "[object Object]"})
        assert events[2]["search"] == {"term": "x", "results": "[object Object]"}


def test_a_hook_of_the_page_changes_and_drops_events_and_its_error_loses_none(up: Up, context: Context) -> None:
    page = context().new_page()
    with shop(up.tracking, "hook.example", PAGES, 'data-before="look"') as made:
        made.code = HOOK
        page.goto(f"{made.address}/")
        page.evaluate(f"() => {{{HOOKED}}}")
        went_on = page.evaluate(
            """() => {
                Object.defineProperty(self, 'fetch', {get() { throw new Error('no fetch') }})
                footfall('kept')
                history.pushState({}, '', '/pricing')
                return location.pathname
            }"""
        )
        assert went_on == "/pricing"
        page.goto(f"{made.address}/search")
        events = sent(made, 7, *BETWEEN)
        check_hooked(events[:4])
        assert told(events[4:]) == [("custom", "kept", "/"), ("pageview", "", "/pricing"), ("pageview", "", "/search")]
        page.close()
        all_arrived(up, "hook.example", made)


# Hears of the way back before the beacon does.
ROUTER = """addEventListener('popstate', () => { document.title = 'Home' }, true)
    function go(path) {
        history.pushState({}, '', path)
        document.title = path
    }"""


@pytest.mark.parametrize("script", ["", "all"])
def test_a_page_that_is_left_at_once_has_its_own_title(up: Up, context: Context, script: str) -> None:
    page = context().new_page()
    with shop(up.tracking, "odd.example", PAGES, script=script) as made:
        made.code = ROUTER
        page.goto(f"{made.address}/")
        page.evaluate("go('/about'); history.back()")
        views = [(told([event])[0][2], event["title"]) for event in sent(made, 3, *BETWEEN)]
        assert views == [("/", "Home"), ("/about", "/about"), ("/", "Home")]


LINKS = """<form><input name=matches><svg><a href="//other.example/drawn"><text>x</text></a></svg></form>
    <label data-footfall-event=terms>I take <a href="//other.example/t.pdf">them</a> <input type=checkbox></label>
    <label for=box data-footfall-event=box>Box</label> <input id=box type=checkbox>"""
CLICKS = """document.querySelector('text').dispatchEvent(new MouseEvent('click', {bubbles: true, composed: true}))
    document.querySelector('label a').click()
    document.querySelector('label').click()
    document.querySelector('label').dispatchEvent(new MouseEvent('auxclick', {button: 1, bubbles: true}))
    document.querySelector('label[for]').click()"""


@pytest.mark.parametrize(
    ("code", "script", "does", "wanted"),
    [
        ("Array.prototype.toJSON = () => 'a list'", "all", "footfall('x', {a: [1]})", ["x"]),
        ("Math.random = () => 0.5", "all", "for (const name of 'abc') footfall(name)", ["a", "b", "c"]),
        ("", "all", "const {fetch} = self; self.fetch = () => {}; footfall('x'); self.fetch = fetch", ["x"]),
        ("", "all", "for (let n = 100; n < 400; n++) footfall('' + n)", [str(n) for n in range(100, 400)]),
        ("", "", "History.prototype.pushState.call(history, 0, '', '/a'); history.replaceState(0, '', '/a/?')", ["/a"]),
        ("", "", "for (const to of ['/a/?', '/#/b', '/b']) history.replaceState(0, '', to)", ["/a/?", "/#/b", "/b"]),
        (
            "const go = to => navigation.navigate(to, {history: to[0] == '?' ? 'replace' : 'push'})\n"
            "navigation.addEventListener('navigate', event => event.canIntercept && event.intercept())",
            "", "go('?tab=2'); go('/about'); go('#top')", ["/about"],
        ),
        ("", "", "history.replaceState({}, '', '/?tab=2'); history.pushState({}, ''); location.hash = 'top'", []),
        (
            "addEventListener('click', event => event.target.closest('a') && event.preventDefault())",
            "clicks",
            f"document.body.innerHTML = `{LINKS}`; {CLICKS}",
            ["outbound", "download", "terms", "box"],
        ),
    ],
)  # fmt: skip
def test_a_page_that_is_unlike_others_counts(
    up: Up, context: Context, code: str, script: str, does: str, wanted: list[str]
) -> None:
    page = context().new_page()
    with shop(up.tracking, "odd.example", PAGES, script=script) as made:
        made.code = code
        page.goto(f"{made.address}/")
        page.evaluate(f"() => {{{does}; footfall('end')}}")
        events = told(sent(made, len(wanted) + 2, *BETWEEN))
        assert [name or (path if kind == "pageview" else kind) for kind, name, path in events] == ["/", *wanted, "end"]


def test_a_clock_that_is_set_engages_nobody_and_a_page_that_grows_was_seen_in_part(up: Up, context: Context) -> None:
    page = context().new_page()
    with shop(up.tracking, "odd.example", PAGES) as made:
        made.code = "Object.prototype.extend = () => 0; grow = () => document.body.after(document.body.cloneNode(1))"
        page.goto(f"{made.address}/")
        page.mouse.wheel(0, 5000)
        until(lambda: page.evaluate("scrollY > 0 && Date.now() > performance.timing.loadEventEnd + 1e3"), "it is seen")
        page.evaluate("() => { const now = Date.now; Date.now = () => now() + 36e5; grow() }")
        page.goto(f"{made.address}/elsewhere")
        page.goto(f"{made.address}/pricing")  # sends what is left of the queue, too
        sent(made, 2, *BETWEEN)
        check_looked(made, 2)
        vitals = {event["name"] for event in made.events() if event["type"] == "web_vital"}
        assert {"LCP", "CLS"} <= vitals <= {"LCP", "CLS", "INP"}


def kept(page: Page) -> Any:
    return page.evaluate("({...localStorage})")


def test_nothing_is_sent_or_stored_before_consent(up: Up, context: Context) -> None:
    here = context()
    page = here.new_page()
    with shop(up.tracking, "consent.example", PAGES, "data-consent") as made:
        page.goto(f"{made.address}/")
        page.evaluate("footfall('before'); footfall.consent(false); footfall('denied')")
        page.goto(f"{made.address}/pricing")
        page.evaluate("footfall('asked')")
        assert (made.posts, kept(page), here.cookies()) == ([], {}, [])
        page.evaluate("footfall.consent(true); footfall('after')")
        events = sent(made, 3, *BETWEEN)
        assert told(events) == [
            ("pageview", "", "/pricing"),
            ("custom", "asked", "/pricing"),
            ("custom", "after", "/pricing"),
        ]
        page.close()
        all_arrived(up, "consent.example", made)
    # A beacon that has no such feature takes nobody's consent for granted.
    with shop(up.tracking, "consent.example", PAGES, "data-consent", script="") as made:
        page = here.new_page()
        page.goto(f"{made.address}/")
        page.evaluate("footfall('x')")
        page.wait_for_load_state("networkidle")
        assert made.posts == []


@pytest.mark.parametrize(
    "wish",
    [
        "try { localStorage.footfall_ignore = '1' } catch {}",
        "Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', {value: true})",
        "Object.defineProperty(Navigator.prototype, 'doNotTrack', {value: '1'})",
    ],
)
def test_who_does_not_want_to_be_counted_is_not(up: Up, context: Context, wish: str) -> None:
    here = context()
    here.add_init_script(wish)
    with shop(up.tracking, "silent.example", PAGES) as made:
        page = here.new_page()
        page.goto(f"{made.address}/")
        page.evaluate("footfall('x')")
        page.locator("#tagged").click()
        page.goto(f"{made.address}/pricing")
        page.wait_for_load_state("networkidle")
        assert made.posts == []
        assert {*kept(page)} <= {"footfall_ignore"}


def test_what_a_server_in_trouble_turns_away_and_what_happens_offline_arrives_once(up: Up, context: Context) -> None:
    here = context()
    page = here.new_page()
    with shop(up.tracking, "away.example", PAGES) as made:
        made.failing = [503, 429, 408]
        page.goto(f"{made.address}/")
        sent(made, 1)
        page.evaluate("footfall('second')")
        until(lambda: not made.failing, "it was tried again")
        here.set_offline(True)
        page.evaluate("footfall('third'); footfall('fourth')")
        assert kept(page) != {}
        here.set_offline(False)
        events = sent(made, 4)
        assert [event.get("name", "") for event in events] == ["", "second", "third", "fourth"]
        all_arrived(up, "away.example", made)
        until(lambda: kept(page) == {}, "nothing waits any more")


def test_a_page_from_the_browsers_cache_counts_again(up: Up, context: Context) -> None:
    page = context().new_page()
    with shop(up.tracking, "cache.example", PAGES) as made:
        page.goto(f"{made.address}/")
        page.evaluate("addEventListener('pageshow', e => { self.cached = e.persisted })")
        page.goto(f"{made.address}/pricing")
        page.evaluate("history.back()")
        assert told(sent(made, 3, *BETWEEN)) == [("pageview", "", path) for path in ("/", "/pricing", "/")]
        assert page.evaluate("self.cached")


def test_a_page_that_was_rendered_ahead_counts_when_it_is_seen(up: Up, tmp_path: Path) -> None:
    """Chromium by itself: one that Playwright has in its hands throws away what it rendered ahead."""
    require("chromium", shutil.which("chromium") is not None, "apt-get install chromium")
    with shop(up.tracking, "ahead.example", PAGES) as made:
        made.ahead = "/pricing"
        made.code = """
            addEventListener('DOMContentLoaded', () => {
                if (!document.prerendering) return
                footfall('ahead')
                fetch('/ready')
            })
            const started = () => performance.getEntriesByType('navigation')[0].activationStart
            const seen = () => footfall('seen', {ahead: started() > 0})
            document.addEventListener('prerenderingchange', seen)
            const go = async () => {
                while ((await (await fetch('/ahead')).text()) != 'yes') await new Promise(r => setTimeout(r, 50))
                location.href = '/pricing'
            }
            if (location.pathname == '/search') go()"""
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"]
        line = ["chromium", *options, f"--user-data-dir={tmp_path}"]
        chromium = subprocess.Popen([*line, f"{made.address}/search"], stderr=subprocess.DEVNULL)
        try:
            events = sent(made, 4, *BETWEEN)
            all_arrived(up, "ahead.example", made)
        finally:
            chromium.terminate()
            chromium.wait()
        assert told(events) == [
            ("pageview", "", "/search"),
            ("pageview", "", "/pricing"),
            ("custom", "ahead", "/pricing"),
            ("custom", "seen", "/pricing"),
        ]
        assert events[-1]["props"] == {"ahead": True}


def test_a_frame_without_storage_counts(up: Up, context: Context) -> None:
    page = context().new_page()
    with shop(up.tracking, "frame.example", PAGES) as made:
        page.goto(f"{made.address}/framing")
        events = sent(made, 2, *BETWEEN)
        assert sorted(told(events)) == [("pageview", "", "/framed"), ("pageview", "", "/framing")]
        framed = next(frame for frame in page.frames if frame.url.endswith("/framed"))
        assert framed.evaluate("try { localStorage.x } catch (error) { error.name }") == "SecurityError"
        framed.evaluate("footfall('inside')")
        sent(made, 3, *BETWEEN)
        page.close()
        all_arrived(up, "frame.example", made)


def test_the_package_loads_the_beacon_once_and_what_was_told_before_waits(up: Up, context: Context) -> None:
    page = context().new_page()
    with shop(up.tracking, "package.example", PAGES) as made:
        page.goto(f"{made.address}/elsewhere")
        page.evaluate(
            """async () => {
                const {start, footfall} = await import('/package.js')
                footfall('early', {plan: 'pro'})
                const options = {src: '/shop/s.js', site: 'package.example', endpoint: '/shop/e', consent: true}
                start(options)
                start(options)
                footfall.consent(true)
            }"""
        )
        events = sent(made, 2, *BETWEEN)
        assert told(events) == [("pageview", "", "/elsewhere"), ("custom", "early", "/elsewhere")]
        page.close()
        all_arrived(up, "package.example", made)
