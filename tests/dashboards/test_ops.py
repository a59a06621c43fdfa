"""The page of operation: what the process tells and what the warehouse answers, for people and for programs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl
import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser

from dashboards.app import create
from dashboards.formats import size
from dashboards.operation import (
    ArchiveState,
    AuditedHour,
    BrokerState,
    Chore,
    Disk,
    Loading,
    Operation,
    PartitionState,
    TopicState,
)
from stores.base import Live
from stores.warehouse import Warehouse
from tests.dashboards import test_browser as real
from tests.dashboards.conftest import NOW, ms

browser = real.browser
AT = ms(NOW)
HOUR = AT - AT % 3_600_000
LONG = "no-room-" * 30
TOLD = Operation(
    Loading(2.5, 1234, AT - 90_000, 1000, 3, 2, 1),
    BrokerState(
        "sqlite:///log.db",
        (TopicState("footfall.pageview", 86_400_000, (PartitionState(0, "17", "1251", 1234),)),),
    ),
    ArchiveState("file:///archive", 12, 34_567),
    ("2 spool files with 99 bytes wait for the broker in /spool",),
    (Disk("/data", 250_000_000, 1_000_000_000),),
    (Chore("reconcile", AT - 60_000, AT + 540_000), Chore("archive-flush", AT - 5_000, AT + 55_000, LONG)),
    7,
    "chdb:///warehouse",
    (
        AuditedHour(HOUR, 1060, 40, 1020, 1000, 20, 0, 0, 0, True),
        AuditedHour(HOUR - 3_600_000, 90, 0, 90, 80, 0, 0, 0, 0, False, ("archive: a/b.parquet is gone",)),
    ),
)


@pytest.fixture
def application(warehouse: Warehouse, live: Live) -> Flask:
    def minute(ago: int, site: str, events: int) -> dict[str, object]:
        return {"site": site, "bucket": AT - AT % 60_000 - ago * 60_000, "dimension": "", "value": "", "events": events}

    counted = [minute(1, "example.com", 30), minute(1, "other.example", 12), minute(60, "example.com", 5)]
    pages = [minute(1, "example.com", 30) | {"dimension": "page", "value": "/"}, minute(61, "example.com", 99)]
    warehouse.insert("rollup_1m_rows", pl.DataFrame([*counted, *pages]), "minutes")
    letters = [
        {"received_at": AT - hours * 3_600_000, "topic": "footfall.dead-letter", "reason": reason, "bytes": b"x"}
        for hours, reason in ((1, "not_json"), (2, "not_json"), (3, "too_large"), (30, "old"))
    ]
    warehouse.insert("dead_letter_rows", pl.DataFrame(letters), "letters")
    outcome = {"site": "example.com", "hour": AT - 3_600_000, "outcome": "refused", "reason": "rate_limited"}
    warehouse.insert("loss_account", pl.DataFrame([outcome | {"events": 8}]), "outcomes")
    return create(
        warehouse,
        lambda: {"example.com": "UTC"},
        live,
        control=None,
        collect_url="",
        operation=lambda: TOLD,
        clock=lambda: AT,
    )


@pytest.fixture
def client(application: Flask) -> FlaskClient:
    return application.test_client()


def test_programs_get_what_the_process_tells_and_what_the_warehouse_counts(client: FlaskClient) -> None:
    told = client.get("/api/v1/ops").get_json()
    assert told["loading"]["waiting"] == 1234
    assert told["loading"]["oldest"] == "2026-03-31T09:58:30+00:00"
    assert told["broker"]["topics"][0]["partitions"] == [
        {"number": 0, "committed": "17", "end": "1251", "waiting": 1234}
    ]
    assert [each["events"] for each in told["minutes"]] == [5, *[0] * 58, 42]
    assert [(each["reason"], each["letters"]) for each in told["dead_letters"]] == [("not_json", 2), ("too_large", 1)]
    assert told["outcomes"] == [{"outcome": "refused", "reason": "rate_limited", "counted": 8}]
    assert {each["table"]: each["stored_rows"] for each in told["tables"]}["dead_letter_rows"] == 4
    assert told["chores"][1]["error"] == LONG
    account = told["audited"][1]
    assert account["hour"] == "2026-03-31T09:00:00+00:00"
    assert (account["accepted"], account["stored"], account["balanced"]) == (90, 80, False)
    assert (told["days_built"], told["days_waiting"], told["problem"]) == (0, 7, None)


def test_the_page_says_the_same(client: FlaskClient) -> None:
    page = client.get("/ops").text
    for words in (
        "1,234 records, the oldest published 1m 30s ago", "0.8 on average, 42 at most", "too_large", "kept for 24 h",
        "34,567 events in 12 files", "250 MB of 1.0 GB free (25%)", "in 9m 00s", LONG, "rate_limited", "7 waiting",
        "2 spool files with 99 bytes", "1,060", "not balanced", "archive: a/b.parquet is gone",
    ):  # fmt: skip
        assert words in page, words
    assert "old" not in [cell.strip() for cell in page.replace("<", ">").split(">")]


def test_a_process_that_only_shows_pages_says_so(app: Flask) -> None:
    page = app.test_client().get("/ops").text
    assert "this process does not load events now" in page
    assert app.test_client().get("/api/v1/ops").get_json()["loading"] is None


def test_a_problem_stands_at_the_top(warehouse: Warehouse, live: Live) -> None:
    told = create(
        warehouse, dict, live, control=None, collect_url="", problem=lambda: "rows are made again", clock=lambda: AT
    )
    assert '<p class="wrong" role="alert">rows are made again</p>' in told.test_client().get("/ops").text


@given(st.integers(0, 2**60))
def test_a_size_is_short_and_says_about_how_much(count: int) -> None:
    amount, unit = size(count).split(" ")
    factor = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert float(amount) * factor == pytest.approx(count, rel=0.06)
    assert unit == "TB" or len(amount) <= 4


@pytest.mark.real
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_it_fits_and_axe_finds_nothing(
    browser: Browser, application: Flask, scheme: Literal["light", "dark"], width: int, tmp_path: Path
) -> None:
    with real.serving(application) as address:
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme
        )
        page = context.new_page()
        page.goto(f"{address}/ops")
        for summary in page.locator("main summary").all():
            summary.click()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        found = Axe().run(page)
        assert not found.violations_count, found.generate_report()
        page.screenshot(path=tmp_path / f"ops-{scheme}-{width}.png", full_page=True)
        context.close()
