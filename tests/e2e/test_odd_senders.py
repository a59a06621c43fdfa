"""Events as real senders write them, a little off: taken where the sense is plain, else refused in words."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.harness import ALWAYS, SITE, Up, running, secret_key, until

pytestmark = pytest.mark.slow

MINUTE = 60_000


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("odd") / "data", "--site", SITE, "--site", "note.example") as started:
        yield started


def event(name: str, **more: Any) -> dict[str, Any]:
    return {"site": SITE, "type": "custom", "name": name, "url": f"https://{SITE}/"} | more


@pytest.mark.parametrize(
    ("name", "sent", "stored"),
    [
        ("php", {"props": []}, {"props": "{}"}),
        ("number", {"user": 42}, {"user": "42"}),
        ("nested", {"props": {"cart": {"n": 2}, "tags": ["a"]}}, {"props": {"cart": '{"n":2}', "tags": '["a"]'}}),
        ("empty", {"ts": ""}, {"name": "empty"}),
        ("shop", {"revenue": {"amount": "1.234,50 €", "currency": "eur"}}, {"currency": "EUR"}),
        ("count", {"search": {"term": "x", "results": "12"}}, {"name": "count"}),
    ],
)
def test_a_harmless_wrong_type_does_not_cost_the_event(
    up: Up, name: str, sent: dict[str, Any], stored: dict[str, Any]
) -> None:
    assert up.post(event(name, **sent))[2] == {"accepted": 1, "duplicates": 0, "refused": []}
    where = f"FROM events WHERE site = '{SITE}' AND name = '{name}'"
    (row,) = until(lambda: up.sql(f"SELECT name, user, props, currency {where}"), "it is stored")
    if isinstance(stored.get("props"), dict):
        row["props"] = json.loads(row["props"])
    assert {field: row[field] for field in stored} == stored


CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 Safari/537.36"


@pytest.mark.parametrize(
    ("name", "brands", "browser", "bot"),
    [
        ("plain", "", "Chrome", ""),
        ("brave", '"Brave";v="137", "Chromium";v="137", "Not/A)Brand";v="24"', "Brave", ""),
        ("headless", '"HeadlessChrome";v="137", "Chromium";v="137"', "Chrome", "headless"),
    ],
)
def test_a_browser_may_name_itself_beside_its_agent(up: Up, name: str, brands: str, browser: str, bot: str) -> None:
    headers = {"User-Agent": CHROME} | ({"Sec-CH-UA": brands} if brands else {})
    assert up.post(event(f"agent-{name}"), headers)[2]["accepted"] == 1
    where = f"WHERE site = '{SITE}' AND name = 'agent-{name}'"
    (row,) = until(lambda: up.sql(f"SELECT browser, bot FROM events {where}"), "it is stored")
    assert row == {"browser": browser, "bot": bot}


def test_the_results_of_a_search_may_be_text(up: Up) -> None:
    search = event("", type="search", search={"term": "odd shoes", "results": "12"})
    assert up.post(search)[2]["accepted"] == 1
    found = until(lambda: up.sql("SELECT results FROM events WHERE term = 'odd shoes'"), "it is stored")
    assert [int(row["results"]) for row in found] == [12]


@pytest.mark.parametrize("with_key", [False, True])
def test_a_time_in_seconds_is_refused_with_a_hint_whoever_sends_it(up: Up, with_key: bool) -> None:
    headers = {"Authorization": f"Bearer {secret_key(up.data)}"} if with_key else {}
    now = int(time.time())
    for ts in (now, now + 0.25, str(now)):
        status, named, answer = up.post(event("late", ts=ts), headers)
        assert (status, named["x-footfall-refused"]) == (400, "invalid_time")
        assert "`ts` looks like seconds: send Unix milliseconds" in answer["refused"][0]["detail"]
    status, _, answer = up.post({"sent_at": now, "events": [event("late", ts=now * 1000)]}, headers)
    assert status == 400
    assert "`sent_at` looks like seconds: send Unix milliseconds" in answer["refused"][0]["detail"]


def test_a_visit_with_a_note_before_its_first_page_view_is_not_direct(up: Up) -> None:
    at = int(time.time() * 1000) - 10 * MINUTE
    page = {"site": "note.example", "visitor": "v", "url": "https://note.example/"}
    up.send(
        [
            page | {"type": "custom", "name": "consent", "ts": at},
            page | {"type": "pageview", "referrer": "https://www.google.com/", "ts": at + 1000},
        ],
        secret_key(up.data, "note.example"),
    )

    def sources() -> list[str] | None:
        rows = up.api("breakdown", by="source", site="note.example", **ALWAYS)["rows"]
        return [row["value"] for row in rows if row["events"] == 2]

    assert until(sources, "the visit is whole") == ["google.com"]
