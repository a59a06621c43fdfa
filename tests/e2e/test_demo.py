"""`footfall up --demo`: every list and view of the shop has something to show, and a second start adds no day twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.harness import Up, fetch, running, until
from tests.e2e.watching import Watcher

pytestmark = pytest.mark.slow

SITE = "shop.example"
LISTS = (
    "page", "entry_page", "exit_page", "source", "channel", "campaign", "utm_source", "utm_medium", "utm_term",
    "utm_content", "search", "language", "device", "browser", "os", "event", "outbound", "download", "not_found",
)  # fmt: skip
STEPS = [["is", "event", ["Add to basket"]], ["is", "page", ["/cart"]], ["is", "event", ["Purchase"]]]
READY = "the demo's two months are in the numbers"


def api(up: Up, name: str, **parameters: str) -> Any:
    query = "&".join(f"{key}={quote(value)}" for key, value in parameters.items())
    status, _, body = fetch(f"{up.dashboards}/api/v1/{name}?site={SITE}&{query}")
    assert status == 200, body
    return json.loads(body)


def past(up: Up) -> list[dict[str, Any]]:
    """The numbers of each day that is over, of those that both starts know."""
    last = date.fromisoformat(up.since) - timedelta(days=1)
    span = {"from": (last - timedelta(days=20)).isoformat(), "to": last.isoformat()}
    return list(api(up, "timeseries", interval="day", **span)["rows"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def up(folder: Path) -> Iterator[Up]:
    with running(folder / "data", "--demo", "--site", SITE) as started:
        until(lambda: READY in started.said(), "the two months are there")
        yield started


def test_every_list_and_view_has_something_to_show(up: Up) -> None:
    numbers = api(up, "stats", period="30d")
    assert min(numbers.values()) > 0  # and all are exact: nothing is "approximate"
    for by in LISTS:
        assert len(api(up, "breakdown", by=by, period="30d")["rows"]) > 1, by
    reached = [row["reached"] for row in api(up, "funnel", period="30d", steps=json.dumps(STEPS))["rows"]]
    assert reached == sorted(reached, reverse=True)
    assert reached[-1] > 0
    cohorts = api(up, "retention", period="30d")["rows"]
    assert len(cohorts) >= 4
    assert cohorts[1]["came"][1] > 0
    searches = api(up, "searches", period="30d")["rows"]
    assert {row["without_results"] > 0 for row in searches} == {True, False}
    assert len(api(up, "paths", period="30d", path='["/"]')["rows"]) > 3
    for view in ("", "/visits", "/paths", "/searches", "/retention"):
        status, _, page = fetch(f"{up.dashboards}/{SITE}{view}?period=30d")
        assert status == 200
        assert b"<tbody>" in page, view


def test_somebody_is_there_and_the_page_of_this_moment_moves(up: Up) -> None:
    assert api(up, "realtime")["pageviews"] > 0
    watcher = Watcher(f"{up.dashboards}/{SITE}/live/stream")
    first, second = watcher.next(), watcher.next()
    watcher.close()
    assert first and second
    assert first.id != second.id


def test_a_next_start_goes_on_and_adds_nothing_to_the_days_that_are_over(up: Up, folder: Path) -> None:
    before = past(up)
    assert all(row["visits"] > 100 for row in before)
    assert up.stop() == 0
    state = folder / "data" / "demo.json"
    assert state.stat().st_mode & 0o777 == 0o600
    kept = json.loads(state.read_bytes())
    state.write_text(json.dumps(kept | {"until": kept["until"] - 3 * 86_400_000}))  # three days are sent again
    with running(folder / "data", "--demo", "--site", SITE) as again:
        until(lambda: READY in again.said(), "it goes on")
        again.since = up.since
        assert past(again) == before
