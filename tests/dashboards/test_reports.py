"""Reports by e-mail: when one is due, what is in it, and the pages where they are managed and ended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser

from dashboards.access import Access
from dashboards.app import create
from dashboards.ranges import DateRange, last_whole
from dashboards.reports.letter import AFTER_MS, compose, due
from stores.accounts import FILE, Accounts
from stores.accounts.reports import Report
from stores.base import Live
from stores.warehouse import Warehouse
from tests.dashboards import test_browser as real
from tests.dashboards.conftest import BERLIN, NOW, VISITS, Visit, at, event_rows, ms, session_rows

browser = real.browser
SITE = "example.com"
SPAN = DateRange(date(2026, 3, 23), date(2026, 3, 29), BERLIN)
ZONES = st.sampled_from([BERLIN, "UTC", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"])
MOMENTS = st.integers(1_300_000_000_000, 2_100_000_000_000)  # Unix ms: 2011 to 2036
EVERY = st.sampled_from(["week", "month"])


def report(**how: object) -> Report:
    values: dict[str, object] = {
        "id": 1, "site": SITE, "every": "week", "address": "ann@example.com", "key": "the-key", "created": 0,
        "done": None, "sent": None, "tries": 0, "next": 0, "error": "",
    }  # fmt: skip
    return Report(**(values | how))  # type: ignore[arg-type]


@given(EVERY, MOMENTS, ZONES)
def test_the_last_whole_period_is_over_whole_and_followed_by_the_one_that_runs(
    every: str, now: int, zone: str
) -> None:
    span = last_whole(every, now, zone)
    assert span.end_ms <= now
    follows = last_whole(every, span.end_ms + 40 * 86_400_000, zone)
    assert follows.first > span.last
    if every == "week":
        assert (span.days, span.first.weekday()) == (7, 0)
        assert now - span.end_ms < 8 * 86_400_000
    else:
        assert span.first.day == 1
        assert (span.last + timedelta(days=1)).day == 1
        assert span.days <= 31
        assert now - span.end_ms < 32 * 86_400_000
    assert last_whole(every, span.start_ms, zone).last == span.first - timedelta(days=1)


@given(EVERY, MOMENTS, ZONES, st.integers(1, 200))
def test_looking_again_and_again_each_period_is_due_once(every: str, now: int, zone: str, days: int) -> None:
    kept, sent = report(every=every, created=now), []
    for hour in range(0, days * 24, 5):
        span = due(kept, zone, now + hour * 3_600_000)
        if span is not None:
            sent.append(span)
            kept = report(every=every, created=now, done=span.first.isoformat())
    assert all((other.first - one.last).days == 1 for one, other in pairwise(sent))
    assert all(span.end_ms + AFTER_MS > now for span in sent)
    last = last_whole(every, now + (days - 1) * 86_400_000, zone)  # a day before the end, so that there was a look
    assert last in sent or not now < last.end_ms + AFTER_MS <= now + (days - 1) * 86_400_000


def test_a_try_in_vain_waits_for_the_next() -> None:
    monday = ms(datetime(2026, 3, 30, 7, tzinfo=ZoneInfo(BERLIN)))
    assert due(report(), BERLIN, monday) == SPAN
    assert due(report(next=monday + 1), BERLIN, monday) is None
    assert due(report(next=monday), BERLIN, monday) == SPAN
    assert due(report(), BERLIN, monday - 2 * 3_600_000) is None
    assert due(report(done="2026-03-23"), BERLIN, monday) is None


def test_the_message_has_the_numbers_of_the_week_and_their_change(warehouse: Warehouse) -> None:
    odd = Visit(60, at(18, 9), [(0, "pageview", "/", ""), (9, "search", "/", "two\nlines <b>")])
    warehouse.insert("event_rows", event_rows([odd]), "odd-e")
    warehouse.insert("session_rows", session_rows([odd]), "odd-s")
    message = compose(
        warehouse, report(), SPAN, sender="Footfall <f@shop.example>", url="https://stats.example", now_ms=ms(NOW)
    )
    days = [SPAN.first + timedelta(days=n) for n in range(7)]
    visits = [visit for visit in VISITS if visit.site == SITE and not visit.bot and visit.start.date() in days]
    pageviews = sum(len(visit.of("pageview")) for visit in visits)
    before_midnight = 1  # of the visit of 29 March that goes on into the 30th
    plain, html = (part.get_content() for part in message.iter_parts())  # type: ignore[attr-defined]
    assert re.search(rf"^Visits +{len(visits)} \(\+{(len(visits) - 1) * 100}%\)$", plain, re.MULTILINE)
    assert re.search(rf"^Page views +{pageviews - before_midnight} ", plain, re.MULTILINE)
    assert f"<td style=\"text-align: right; font-weight: bold; padding: 4px 0 4px 12px;\">{len(visits)}</td>" in html
    for words in ("red shoes", "google.com", "/shoes", "Direct"):
        assert words in plain
        assert words in html
    page = "https://stats.example/example.com?from=2026-03-23&to=2026-03-29"
    assert page in plain
    assert page.replace("&", "&amp;") in html
    assert message["Subject"] == "example.com: week of 23 March 2026"
    assert message["List-Unsubscribe"] == "<https://stats.example/unsubscribe/the-key>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["Message-ID"] == "<report-1-0-2026-03-23@shop.example>"
    far = f"https://{'statistics.' * 12}example"
    long = compose(warehouse, report(), SPAN, sender="f@shop.example", url=far, now_ms=0)
    assert f"\r\nList-Unsubscribe: <{far}/unsubscribe/the-key>\r\n".encode() in long.as_bytes()
    again = compose(
        warehouse, report(), SPAN, sender="Footfall <f@shop.example>", url="https://stats.example", now_ms=0
    )
    assert again["Message-ID"] == message["Message-ID"]
    earlier = DateRange(date(2026, 3, 16), date(2026, 3, 22), BERLIN)
    former = compose(warehouse, report(), earlier, sender="f@shop.example", url="https://s.example", now_ms=ms(NOW))
    plain, html = (part.get_content() for part in former.iter_parts())  # type: ignore[attr-defined]
    assert "two lines <b>" in plain
    assert "two lines &lt;b&gt;" in html


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


@pytest.fixture
def client(application: Flask) -> FlaskClient:
    return application.test_client()


def test_a_report_is_added_told_and_removed_on_the_page(client: FlaskClient, accounts: Accounts) -> None:
    assert "start Footfall with" in client.get(f"/{SITE}/reports").text
    form = {"deed": "add", "address": "ann@example.com", "every": "week"}
    assert client.post(f"/{SITE}/reports", data=form).status_code == 303
    again = client.post(f"/{SITE}/reports", data=form)
    assert (again.status_code, "gets a weekly report of example.com already" in again.text) == (400, True)
    added = accounts.reports.get(SITE, "ann@example.com", "week")
    accounts.reports.note_failed(added, "550 <no> room")
    page = client.get(f"/{SITE}/reports").text
    assert "550 &lt;no&gt; room; tried again 31 Mar 2026, 10:01:00 UTC" in page
    assert added.key not in page
    assert "<strong>ann@example.com" not in client.get("/other.example/reports").text
    assert client.post("/other.example/reports", data=form | {"deed": "remove"}).status_code == 400
    assert client.post(f"/{SITE}/reports", data=form | {"deed": "remove"}).status_code == 303
    assert accounts.reports.all() == []


def test_a_link_asks_and_only_the_form_ends_it(client: FlaskClient, accounts: Accounts) -> None:
    added = accounts.reports.add(SITE, "ann@example.com", "month")
    page = client.get(f"/unsubscribe/{added.key}")
    assert (page.status_code, "Send no more of them" in page.text) == (200, True)
    assert len(accounts.reports.all()) == 1
    done = client.post(f"/unsubscribe/{added.key}", data={"List-Unsubscribe": "One-Click"})
    assert (done.status_code, "gets no more reports of example.com" in done.text) == (200, True)
    assert accounts.reports.all() == []
    for answer in (client.get(f"/unsubscribe/{added.key}"), client.post(f"/unsubscribe/{added.key}")):
        assert (answer.status_code, "not sent any more" in answer.text) == (404, True)


def test_accounts_that_cannot_be_read_are_told(client: FlaskClient, accounts: Accounts, tmp_path: Path) -> None:
    added = accounts.reports.add(SITE, "ann@example.com", "month")
    (tmp_path / FILE).unlink()
    answer = client.get(f"/unsubscribe/{added.key}")
    assert (answer.status_code, "The accounts cannot be read" in answer.text) == (503, True)


@pytest.mark.real
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_and_the_message_fit_and_axe_finds_nothing(
    browser: Browser,
    application: Flask,
    accounts: Accounts,
    warehouse: Warehouse,
    scheme: Literal["light", "dark"],
    tmp_path: Path,
) -> None:
    long = accounts.reports.add(SITE, f"{'long-name.' * 6}a@{'sub.' * 20}example.com", "week")
    accounts.reports.note_failed(long, "no-room-" * 30)
    message = compose(warehouse, long, SPAN, sender="f@example.com", url="http://127.0.0.1:1", now_ms=ms(NOW))
    html = tmp_path / "report.html"
    html.write_text(list(message.iter_parts())[1].get_content(), encoding="utf-8")  # type: ignore[attr-defined]
    with real.serving(application) as address:
        context = browser.new_context(viewport={"width": 320, "height": 700}, color_scheme=scheme)
        page = context.new_page()
        for number, url in enumerate((f"{address}/{SITE}/reports", f"{address}/unsubscribe/{long.key}", html.as_uri())):
            page.goto(url)
            for summary in page.locator("main summary").all():
                summary.click()
            assert page.evaluate("document.documentElement.scrollWidth") == 320, url
            found = Axe().run(page)
            assert not found.violations_count, f"{url}: {found.generate_report()}"
            page.screenshot(path=tmp_path / f"{scheme}-{number}.png", full_page=True)
        context.close()
