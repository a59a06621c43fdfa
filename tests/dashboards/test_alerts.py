"""Alerts: when a value fires, by laws; and the page where they are managed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser

from dashboards.access import Access
from dashboards.alerts.judging import KINDS, LEAST_USUAL, MARGIN, fires, of_usual, told, unfit
from dashboards.app import create
from stores.accounts import FILE, Accounts
from stores.base import Live
from stores.warehouse import Warehouse
from tests.dashboards import test_browser as real
from tests.dashboards.conftest import BERLIN, NOW, ms

browser = real.browser
SITE = "example.com"
NAMES = st.sampled_from(sorted(KINDS))
THRESHOLDS = st.floats(0.01, 1_000_000)
VALUES = st.floats(0, 2_000_000)


def run(name: str, threshold: float, values: list[float]) -> list[bool]:
    firing, states = False, []
    for value in values:
        firing = fires(KINDS[name], threshold, value, firing)
        states.append(firing)
    return states


@given(NAMES, THRESHOLDS, st.lists(VALUES, max_size=30))
def test_it_fires_when_the_threshold_is_reached_and_is_over_only_beyond_the_margin(
    name: str, threshold: float, values: list[float]
) -> None:
    high = KINDS[name].high
    for (before, after), value in zip(pairwise([False, *run(name, threshold, values)]), values, strict=True):
        reached = value >= threshold if high else value <= threshold
        beyond = value <= threshold * (1 - MARGIN) if high else value > threshold * (1 + MARGIN)
        if reached:
            assert after
        if beyond:
            assert not after
        if not reached and not beyond:
            assert after == before


@given(NAMES, THRESHOLDS, st.lists(st.floats(-0.09, 0.09), min_size=1, max_size=50))
def test_a_value_that_wavers_around_the_threshold_is_told_once(
    name: str, threshold: float, wavering: list[float]
) -> None:
    states = [False, *run(name, threshold, [threshold * (1 + part) for part in wavering])]
    assert sum(one != other for one, other in pairwise(states)) <= 1


@given(st.integers(0, 10**6), st.lists(st.integers(0, 10**6), min_size=4, max_size=4))
def test_one_odd_week_does_not_change_what_is_usual_beyond_its_neighbours(now: int, former: list[int]) -> None:
    found = of_usual(now, former)
    least, most = sorted(former)[1:3]
    if (least + most) / 2 < LEAST_USUAL:
        assert found is None
    else:
        assert found is not None
        assert found * least <= now * (1 + 1e-9)
        assert found * most >= now * (1 - 1e-9)


@given(NAMES, st.booleans(), st.floats(allow_nan=True, allow_infinity=True))
def test_what_can_be_watched_can_fire_and_be_over(name: str, of_site: bool, threshold: float) -> None:
    wrong = unfit(name, threshold, of_site)
    assert (not wrong) <= (of_site is KINDS[name].of_site and threshold > 0)
    if not wrong:
        kind = KINDS[name]
        assert fires(kind, threshold, threshold, False)
        assert not fires(kind, threshold, 0 if kind.high else 2 * threshold, True)
        assert told(name, threshold)


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    opened = Accounts(tmp_path / FILE, lambda: ms(NOW))
    yield opened
    opened.close()


@pytest.fixture
def application(warehouse: Warehouse, live: Live, accounts: Accounts) -> Flask:
    sites = {SITE: BERLIN, "other.example": "UTC"}
    access = Access(accounts=accounts)
    return create(warehouse, lambda: sites, live, control=None, collect_url="", access=access, clock=lambda: ms(NOW))


def test_an_alert_is_added_told_and_removed_on_the_page(application: Flask, accounts: Accounts) -> None:
    client = application.test_client()
    form = {"deed": "add", "kind": "silence", "threshold": "30", "target": "ann@example.com"}
    assert client.post(f"/{SITE}/alerts", data=form).status_code == 303
    answer = client.post(f"/{SITE}/alerts", data=form | {"target": "https://hooks.example.com/x"})
    mail, hook = accounts.alerts.all(SITE)
    assert (answer.status_code, hook.secret in answer.text) == (200, True)
    accounts.alerts.note(mail, 45.0, True)
    page = client.get(f"/{SITE}/alerts").text
    assert "fires: no event for 45 minutes" in page
    assert hook.secret not in page
    for wrong, words in (
        ({"threshold": "x"}, "threshold must be a number"),
        ({"threshold": "nan"}, "the threshold of silence"),
        ({"kind": "lag"}, "cannot be watched here"),
        ({"target": "ftp://x.example"}, "is no address of a webhook"),
        ({"target": "nobody"}, "is no e-mail address"),
        ({}, "there is such an alert already"),
    ):
        refused = client.post(f"/{SITE}/alerts", data=form | wrong)
        assert (refused.status_code, words in refused.text) == (400, True), words
    other = client.post("/other.example/alerts", data={"deed": "remove", "alert": str(mail.id)})
    assert other.status_code == 400
    assert client.post(f"/{SITE}/alerts", data={"deed": "remove", "alert": str(mail.id)}).status_code == 303
    assert accounts.alerts.all() == [hook]


@pytest.mark.real
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_axe_finds_nothing(
    browser: Browser, application: Flask, accounts: Accounts, scheme: Literal["light", "dark"], tmp_path: Path
) -> None:
    accounts.alerts.add(SITE, "visitors", 500, f"https://hooks.example.com/{'x' * 300}")
    accounts.alerts.note(accounts.alerts.all()[0], 512.0, True)
    accounts.alerts.note_failed(accounts.alerts.due()[0], "no-room-" * 30)
    with real.serving(application) as address:
        context = browser.new_context(viewport={"width": 320, "height": 700}, color_scheme=scheme)
        page = context.new_page()
        page.goto(f"{address}/{SITE}/alerts")
        page.locator("main summary").click()
        assert page.evaluate("document.documentElement.scrollWidth") == 320
        found = Axe().run(page)
        assert not found.violations_count, found.generate_report()
        page.screenshot(path=tmp_path / f"alerts-{scheme}.png", full_page=True)
        context.close()
