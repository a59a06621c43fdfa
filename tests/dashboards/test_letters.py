"""The page of dead letters: what it shows, and what its forms send."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl
import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser

from activity.refusal import letter_id
from dashboards.app import create
from dashboards.letters import PAGE
from stores.base import Live
from stores.letters import Filter, Letters
from stores.warehouse import Warehouse
from tests.dashboards import test_browser as real
from tests.dashboards.conftest import NOW, ms

browser = real.browser
AT = ms(NOW)
FIRST = letter_id(AT, "0" * 16)


class Door:
    """Stands where the front door is: takes what it is told to take, and keeps it."""

    def __init__(self) -> None:
        self.came: list[tuple[str, bytes]] = []
        self.why = ""

    def __call__(self, its_id: str, sent: bytes) -> str:
        self.came.append((its_id, sent))
        return self.why


@pytest.fixture
def letters(warehouse: Warehouse) -> Letters:
    for table in ("dead_letter_rows", "letter_deeds"):
        warehouse.command(f"TRUNCATE TABLE {table}")
    rows = [
        {
            "received_at": AT - number,
            "topic": "/collect",
            "reason": "malformed",
            "detail": "it has no end",
            "bytes": b'\n{"title":\n"<script>"' if number == 0 else b"\xff\x00" if number == 1 else b"{",
            "id": letter_id(AT - number, "0" * 16),
            "site": "example.com" if number < 2 else "",
            "sender": "{}",
        }
        for number in range(PAGE + 5)
    ]
    warehouse.insert("dead_letter_rows", pl.DataFrame(rows), "letters of the page")
    return Letters(warehouse)


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def application(warehouse: Warehouse, letters: Letters, live: Live, door: Door) -> Flask:
    return create(
        warehouse, lambda: {"example.com": "UTC"}, live, control=None, collect_url="", replay=door, clock=lambda: AT
    )


@pytest.fixture
def client(application: Flask) -> FlaskClient:
    return application.test_client()


def change(client: FlaskClient, deed: str, text: str, its_id: str = FIRST) -> tuple[int, str]:
    answer = client.post("/dead-letters", data={"id": its_id, "deed": deed, "text": text})
    return answer.status_code, answer.text


def test_it_shows_the_letters_a_page_at_a_time(client: FlaskClient) -> None:
    page = client.get("/dead-letters").text
    assert page.count("<textarea") == PAGE - 1
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert "are no text" in page
    last = letter_id(AT - PAGE + 1, "0" * 16)
    assert f"before={last}" in page
    rest = client.get(f"/dead-letters?before={last}").text
    assert (rest.count("<textarea"), "Older ones" in page, "Older ones" in rest) == (5, True, False)
    assert client.get("/dead-letters?site=example.com").text.count("<details") == 2 + page.count("<details") - PAGE
    assert client.get("/dead-letters?before=x").status_code == 400


def test_what_is_not_changed_is_sent_as_it_was_received(client: FlaskClient, door: Door) -> None:
    # A browser sends each end of a line as two characters.
    assert change(client, "replay", '\r\n{"title":\r\n"<script>"')[0] == 303
    assert change(client, "replay", "ignored", letter_id(AT - 1, "0" * 16))[0] == 303
    assert change(client, "replay", '{"title":\r\n"x"}')[0] == 303
    assert [sent for _, sent in door.came] == [b'\n{"title":\n"<script>"', b"\xff\x00", b'{"title":\n"x"}']


def test_a_refusal_stands_above_what_was_sent(client: FlaskClient, door: Door) -> None:
    door.why = "it still has no end"
    status, page = change(client, "replay", "my own words")
    assert status == 400
    assert '<p class="wrong" role="alert">it still has no end</p>' in page
    assert "my own words" in page


def test_deeds_are_noted(client: FlaskClient, letters: Letters, door: Door) -> None:
    assert change(client, "keep", "mended")[0] == 303
    (letter,) = letters.find(Filter(ids=(FIRST,)), 1)
    assert (letter.deed, letter.current) == ("edited", b"mended")
    letters.note("replayed", [(FIRST, b"mended")], AT + 1)
    assert change(client, "keep", "again")[0] == 409
    assert change(client, "discard", "", letter_id(AT - 2, "0" * 16))[0] == 303
    assert [each.id for each in letters.find(Filter(), 2)] == [
        letter_id(AT - 1, "0" * 16),
        letter_id(AT - 3, "0" * 16),
    ]
    assert door.came == []


@pytest.mark.parametrize(("its_id", "status"), [("", 400), ("nonsense", 400), (letter_id(AT, "1" * 16), 404)])
def test_a_letter_that_is_not_there_is_told(client: FlaskClient, its_id: str, status: int) -> None:
    assert change(client, "replay", "x", its_id)[0] == status


def test_a_process_that_only_shows_pages_changes_nothing(
    warehouse: Warehouse, letters: Letters, live: Live
) -> None:
    app = create(warehouse, lambda: {"example.com": "UTC"}, live, control=None, collect_url="")
    assert 'value="replay"' not in app.test_client().get("/dead-letters").text
    assert change(app.test_client(), "discard", "")[0] == 409
    assert len(letters.find(Filter(), 1)) == 1


@pytest.mark.real
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_it_fits_and_axe_finds_nothing(
    browser: Browser, application: Flask, scheme: Literal["light", "dark"], width: int, tmp_path: Path
) -> None:
    with real.serving(application) as address:
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page = context.new_page()
        page.goto(f"{address}/dead-letters?site=example.com")
        for summary in page.locator("main summary").all():
            summary.click()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        found = Axe().run(page)
        assert not found.violations_count, found.generate_report()
        page.screenshot(path=tmp_path / f"letters-{scheme}-{width}.png", full_page=True)
        context.close()
