"""What the beacon does in a real Firefox: the features of `test_beacon` that depend on the engine.

Opting out and being offline are done by the browser's own switches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e import firefox as browser
from tests.e2e.firefox import Firefox
from tests.e2e.harness import Up, running, until
from tests.e2e.shop import (
    BETWEEN,
    HOME,
    HOOK,
    HOOKED,
    PAGES,
    Shop,
    all_arrived,
    check_hooked,
    check_looked,
    check_walk,
    sent,
    shop,
    told,
)

pytestmark = [pytest.mark.real, pytest.mark.slow]

NAMES = ("walk", "route", "routeall", "hook", "consent", "silent", "away", "leave", "bare")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    with browser.running(tmp_path_factory.mktemp("firefox")) as made:
        yield made


@pytest.fixture
def firefox(opened: Firefox) -> Iterator[Firefox]:
    """An exception in a page, or what its policy refuses, fails the test."""
    opened.errors()
    yield opened
    opened.open("about:blank")
    assert opened.errors() == []


@pytest.fixture(scope="module")
def up(opened: Firefox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    more = [word for name in NAMES for word in ("--site", f"{name}.example")]
    with running(tmp_path_factory.mktemp("beacon") / "data", *more) as started:
        yield started


def test_each_thing_that_a_visitor_does_arrives_once_and_in_order(up: Up, firefox: Firefox) -> None:
    with shop(up.tracking, "walk.example", PAGES) as made:
        made.pages = PAGES | {"/": HOME.replace("PORT", made.address.rpartition(":")[2])}
        firefox.open(f"{made.address}/")
        firefox.click("#tagged b")
        firefox.click("#label")
        firefox.do("scrollBy(0, 5000)")
        until(lambda: firefox.do("return scrollY > 1000"), "the page is scrolled")
        firefox.do("footfall('order', {items: 2}, {revenue: {amount: '49.90', currency: 'EUR'}})")
        until(lambda: firefox.do("return performance.now() > 1500"), "the page was looked at")
        firefox.click("#out i")
        until(lambda: firefox.do("return location.pathname") == "/elsewhere", "it is left")
        firefox.open(f"{made.address}/")
        firefox.click("#blank", browser.MIDDLE)
        until(lambda: told(made.events())[-1:] == [("pageview", "", "/pricing")], "the tab is counted")
        firefox.click("#top")
        firefox.click("#file")
        firefox.write("#find input", "red shoes")
        firefox.click("#find button")
        until(lambda: firefox.do("return location.pathname") == "/search", "it is searched")
        firefox.open(f"{made.address}/missing")
        check_walk(made)
        firefox.open("about:blank")
        check_looked(made)
        vitals = {event["name"]: event["props"]["value"] for event in made.events() if event["type"] == "web_vital"}
        assert {"LCP"} <= {*vitals} <= {"LCP", "CLS", "INP"}  # it has no shifts
        assert vitals["LCP"] > 0
        all_arrived(up, "walk.example", made)


@pytest.mark.parametrize("script", ["", "all"])
def test_the_pages_of_both_kinds_of_routers_with_the_tag_there_twice(up: Up, firefox: Firefox, script: str) -> None:
    with shop(up.tracking, f"route{script}.example", PAGES, script=script) as made:
        made.twice = True
        firefox.open(f"{made.address}/")
        for number, change in enumerate(("location.hash = '/about'", "location.hash = '!/pricing'", "history.back()")):
            firefox.do(change)
            sent(made, number + 2, *BETWEEN)
            firefox.do("location.hash += ''")
        firefox.do("location.hash = 'top'")
        firefox.do("history.pushState({}, '', '/app#/'); history.replaceState({}, '', '/app?tab=2'); footfall('end')")
        assert told(sent(made, 6, *BETWEEN)) == [
            ("pageview", "", "/"),
            ("pageview", "", "/#/about"),
            ("pageview", "", "/#!/pricing"),
            ("pageview", "", "/#/about"),
            ("pageview", "", "/app"),
            ("custom", "end", "/app"),
        ]


def test_a_hook_of_the_page_changes_and_drops_events_and_its_error_loses_none(up: Up, firefox: Firefox) -> None:
    with shop(up.tracking, "hook.example", PAGES, 'data-before="look"') as made:
        made.code = HOOK
        firefox.open(f"{made.address}/")
        firefox.do(HOOKED)
        check_hooked(sent(made, 4, *BETWEEN))


def test_nothing_is_sent_or_stored_before_consent(up: Up, firefox: Firefox) -> None:
    with shop(up.tracking, "consent.example", PAGES, "data-consent") as made:
        firefox.open(f"{made.address}/")
        firefox.do("footfall('before'); footfall.consent(false); footfall('denied')")
        firefox.open(f"{made.address}/pricing")
        firefox.do("footfall('asked')")
        assert (made.posts, kept(firefox), firefox.cookies()) == ([], {}, [])
        firefox.do("footfall.consent(true); footfall('after')")
        assert told(sent(made, 3, *BETWEEN)) == [
            ("pageview", "", "/pricing"),
            ("custom", "asked", "/pricing"),
            ("custom", "after", "/pricing"),
        ]


def kept(firefox: Firefox) -> Any:
    return firefox.do("return {...localStorage}")


@pytest.mark.parametrize("switch", ["privacy.globalprivacycontrol.enabled", "privacy.donottrackheader.enabled", ""])
def test_who_does_not_want_to_be_counted_is_not(up: Up, firefox: Firefox, switch: str) -> None:
    def wish(opted_out: bool) -> None:
        if switch:
            firefox.prefer(switch, opted_out)
        else:
            firefox.do("arguments[0] ? localStorage.footfall_ignore = '1' : localStorage.clear()", opted_out)

    with shop(up.tracking, "silent.example", PAGES) as made:
        firefox.open(f"{made.address}/elsewhere")  # has no tag
        wish(True)
        try:
            firefox.open(f"{made.address}/")
            firefox.do("footfall('x')")
            firefox.click("#tagged")
            firefox.open(f"{made.address}/elsewhere")
        finally:
            wish(False)
        # Had anything been sent before, it would be before this.
        firefox.open(f"{made.address}/pricing")
        assert told(sent(made, 1)) == [("pageview", "", "/pricing")]


def test_what_a_server_in_trouble_turns_away_and_what_happens_offline_arrives_once(up: Up, firefox: Firefox) -> None:
    with shop(up.tracking, "away.example", PAGES) as made:
        made.failing = [503, 429]
        firefox.open(f"{made.address}/")
        sent(made, 1)
        firefox.do("footfall('second')")
        until(lambda: not made.failing, "it was tried again")
        firefox.be_offline(True)
        try:
            firefox.do("footfall('third'); footfall('fourth')")
            assert len(kept(firefox)) >= 2
        finally:
            firefox.be_offline(False)
        until(lambda: kept(firefox) == {}, "nothing waits any more")
        assert [event.get("name", "") for event in made.events()] == ["", "second", "third", "fourth"]
        all_arrived(up, "away.example", made)


def test_what_is_left_is_told_and_a_page_from_the_cache_counts_again(up: Up, firefox: Firefox) -> None:
    with shop(up.tracking, "leave.example", PAGES) as made:
        firefox.open(f"{made.address}/")
        answered(made, firefox, 1)
        # A router's page waits for its title, and is left before that.
        firefox.do(
            """addEventListener('pageshow', event => { self.cached = event.persisted })
            history.pushState({}, '', '/about')
            location.href = '/pricing'"""
        )
        answered(made, firefox, 3)
        firefox.back()
        assert told(sent(made, 4, *BETWEEN)) == [
            ("pageview", "", "/"),
            ("pageview", "", "/about"),
            ("pageview", "", "/pricing"),
            ("pageview", "", "/about"),
        ]
        assert firefox.do("return self.cached")


def answered(made: Shop, firefox: Firefox, count: int) -> None:
    """So many events are sent and taken: Firefox keeps no page that still waits for an answer."""
    sent(made, count, *BETWEEN)
    until(lambda: kept(firefox) == {}, "nothing waits any more")


def test_a_frame_and_a_browser_without_storage_count(up: Up, firefox: Firefox) -> None:
    with shop(up.tracking, "bare.example", PAGES) as made:
        firefox.open(f"{made.address}/framing")
        assert sorted(told(sent(made, 2, *BETWEEN))) == [("pageview", "", "/framed"), ("pageview", "", "/framing")]
        name = "try { localStorage.x } catch (error) { return error.name }"
        assert firefox.in_frame(name) == "SecurityError"
        firefox.in_frame("footfall('inside')")
        sent(made, 3, *BETWEEN)
        firefox.prefer("dom.storage.enabled", False)
        try:
            firefox.open(f"{made.address}/pricing")
            assert firefox.do("return localStorage") is None
            sent(made, 4, *BETWEEN)
            made.failing = [503]
            firefox.do("footfall('bare')")
            until(lambda: [e.get("name") for post in made.posts for e in post].count("bare") == 2, "it is sent again")
            all_arrived(up, "bare.example", made)
        finally:
            firefox.prefer("dom.storage.enabled", True)
        assert told(made.events(*BETWEEN))[2:] == [
            ("custom", "inside", "/framed"),
            ("pageview", "", "/pricing"),
            ("custom", "bare", "/pricing"),
        ]
