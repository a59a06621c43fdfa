"""The page of this moment: its numbers, its stream, and that it moves by itself in a real Chromium."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Browser, Page, expect

from dashboards.realtime import Realtime, event
from stores.base import Live
from stores.warehouse import Warehouse
from tests.dashboards.conftest import NOW, Visit, event_rows, ms
from tests.dashboards.test_browser import address, browser, page
from tests.e2e.harness import until

__all__ = ["address", "browser", "page"]

ODD = "/fresh?<b>&\"'"


def happen(
    warehouse: Warehouse, site: str, visitor: int, seconds_ago: int, kind: str = "pageview", text: str = ""
) -> None:
    visit = Visit(visitor, NOW - timedelta(seconds=seconds_ago), [(0, kind, ODD, text)], site=site)
    rows = event_rows([visit]).with_columns(id_lo=ms(visit.start))
    warehouse.insert("event_rows", rows, f"{site} {visitor} {seconds_ago} {kind}")


def test_the_moment_is_what_happened_lately(client: FlaskClient, warehouse: Warehouse, live: Live) -> None:
    for visitor, ago, kind, text in ((1, 30, "pageview", ""), (1, 20, "custom", "buy"), (2, 200, "pageview", ""),
                                     (3, 400, "pageview", ""), (2, 10, "engagement", ""), (4, 1900, "pageview", "")):
        happen(warehouse, "moment.example", visitor, ago, kind, text)
    moment = Realtime(warehouse, live, lambda: ms(NOW)).of("moment.example")
    assert (moment.visitors, moment.pageviews) == (2, 3)
    assert [row["pageviews"] for row in moment.minutes] == [0] * 22 + [1, 0, 0, 1, 0, 0, 1, 0]
    assert moment.minutes[-1]["time"] == ms(NOW)
    assert moment.lists["page"] == [{"value": ODD, "visitors": 2}]
    assert [(event["type"], event["name"]) for event in moment.events] == [
        ("custom", "buy"), ("pageview", ""), ("pageview", ""), ("pageview", "")
    ]  # fmt: skip
    quiet = client.get("/api/v1/realtime?site=quiet.example").get_json()
    assert (quiet["visitors"], quiet["pageviews"], quiet["events"], quiet["page"]) == (0, 0, [], [])
    assert len(quiet["minutes"]) == 30


def test_watchers_share_a_question(warehouse: Warehouse, live: Live) -> None:
    """The moment is the same one, whoever asks for it, until it is a second old."""
    realtime = Realtime(warehouse, live, lambda: ms(NOW))
    first = realtime.of("example.com")
    assert realtime.of("example.com") is first
    assert realtime.of("other.example") is not first
    until(lambda: realtime.of("example.com") is not first, "it is asked again")
    assert realtime.of("example.com").mark == first.mark


def test_an_event_cannot_be_broken_by_what_is_in_it() -> None:
    text = "a\r\nid: forged\n\ndata: x\rretry: 1\u2028y"
    lines = event("m", text).get_data(as_text=True).split("\n")
    assert lines[:2] == ["retry: 3000", "id: m"]
    assert all(line.startswith("data: ") for line in lines[2:-2])
    assert lines[-2:] == ["", ""]
    assert "\r" not in "".join(lines)


def test_the_stream_tells_the_parts_of_the_page(client: FlaskClient) -> None:
    told = client.get("/example.com/live/stream?period=7d")
    assert told.mimetype == "text/event-stream"
    assert told.headers["Cache-Control"] == "no-store"
    text = "\n".join(line.removeprefix("data: ") for line in told.text.splitlines() if line.startswith("data: "))
    page = client.get("/example.com/live?period=7d").text
    parts = re.findall(r'data-part="(\w+)"', text)
    assert parts == re.findall(r'data-part="(\w+)"', page)
    assert {"visitors", "pageviews", "minutes", "numbers", "page", "source", "country", "events"} == set(parts)
    assert "<html" not in text


def test_the_page_moves_by_itself(page: Page, address: str, warehouse: Warehouse) -> None:
    page.goto(f"{address}/quiet.example/live")
    page.evaluate("window.same = true")
    expect(page.get_by_text("Nothing in the last 30 minutes.")).to_be_visible()
    page.get_by_text("Show as a table").click()
    happen(warehouse, "quiet.example", 80, 70)
    happen(warehouse, "quiet.example", 80, 60, "custom", "signup")
    happen(warehouse, "quiet.example", 81, 600)
    expect(page.locator("[data-part=visitors] strong")).to_have_text("1")
    expect(page.locator("[data-part=pageviews] strong")).to_have_text("2")
    expect(page.locator(".timeline li")).to_have_count(3)
    expect(page.locator(".timeline li").first).to_contain_text("signup")
    expect(page.locator(".list[data-part=page]")).to_contain_text(ODD)
    expect(page.locator("[data-part=numbers] td").filter(has_text="1")).to_have_count(2)
    expect(page.locator("[data-part=numbers]")).to_be_visible()
    assert page.evaluate("window.same")


def test_it_can_be_paused(page: Page, address: str, warehouse: Warehouse) -> None:
    page.goto(f"{address}/other.example/live")
    page.get_by_role("button", name="Pause").click()
    happen(warehouse, "other.example", 82, 30)
    second = page.context.new_page()
    second.goto(f"{address}/other.example/live")
    expect(second.locator("[data-part=visitors] strong")).to_have_text("1")
    expect(page.locator("[data-part=visitors] strong")).to_have_text("0")
    page.get_by_role("button", name="Go on").press("Enter")
    expect(page.locator("[data-part=visitors] strong")).to_have_text("1")


def test_it_needs_no_script(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/example.com/live?period=7d")
    expect(page.locator("[data-part=visitors] strong")).to_have_text("1")
    expect(page.get_by_role("button", name="Pause")).not_to_be_visible()
    page.get_by_role("link", name="Load again").click()
    expect(page.get_by_role("heading", name="Live")).to_be_visible()
    assert "period=7d" in page.url
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_it_fits(
    browser: Browser, address: str, warehouse: Warehouse, tmp_path: Path, scheme: str, width: int
) -> None:
    for visitor in range(100, 112):
        happen(warehouse, "example.com", visitor, 20 * (visitor - 98))
        happen(warehouse, "example.com", visitor, 90 * (visitor - 98))
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{address}/example.com/live")
    expect(page.locator(".timeline li")).to_have_count(12)
    page.screenshot(path=tmp_path / f"live-{scheme}-{width}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
