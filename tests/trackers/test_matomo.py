"""Matomo's own client of npm, and requests in the other forms of its tracking API, against the service."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.trackers import without_secret
from tests.ingest.conftest import Log, Running
from tests.trackers.conftest import IDS, SECRET
from tests.trackers.letters import judged, letter_of
from tests.trackers.proxy import DROP, Proxy

PAGE = {"idsite": IDS["matomo"], "rec": "1", "url": "https://example.com/", "_id": "0123456789abcdef"}


def seen(log: Log) -> None:
    """What `clients/matomo.mjs` sends is there once."""
    (page,) = log.events()
    (search,) = log.events("footfall.search")
    custom = {event["name"]: event for event in log.events("footfall.custom")}
    assert (page["title"], page["source"], page["screen"], page["language"]) == ("Shop", "letter", "1280x720", "de-DE")
    assert (search["term"], search["results"]) == ("red hat", 3)
    assert sorted(custom) == ["add", "goal 3"]
    assert custom["add"]["props"] == {"category": "cart", "label": "hat", "value": 9.5}
    assert (custom["goal 3"]["user"], custom["goal 3"]["revenue"]) == ("user-1", "9.9")
    everything = [page, search, *custom.values()]
    assert {event["url"] for event in everything} == {"https://example.com/shop?utm_source=letter"}
    assert len({event["visitor"] for event in everything}) == 1
    assert {event["protocol"] for event in everything} == {"matomo"}


def test_the_client_of_npm(server: Running, log: Log, run: Callable[..., str]) -> None:
    assert run("matomo.mjs", f"http://127.0.0.1:{server.port}", IDS["matomo"]) == "4 delivered\n"
    seen(log)


def test_nothing_is_lost_or_twice_when_it_sends_again(proxy: Proxy, log: Log, run: Callable[..., str]) -> None:
    proxy.failures = [429, DROP, 503, 0, DROP, DROP]
    told = run("matomo.mjs", proxy.url, IDS["matomo"])
    assert told.count("again after") == 5
    assert [passed.status for passed in proxy.passed] == [429, DROP, 503, 200, DROP, DROP, 204, 200]
    seen(log)


def test_a_token_counts_for_address_agent_and_old_times(server: Running, log: Log) -> None:
    phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X)"
    form = {**PAGE, "cip": "192.0.2.7", "ua": phone, "cdt": "1500000000"}
    answer = server.post(urlencode({**form, "token_auth": SECRET, "send_image": "0"}).encode(), path="/matomo.php")
    assert (answer.status, answer.body) == (204, b"")
    assert server.get("/piwik.php?" + urlencode({**form, "action_name": "without"})).status == 200
    with_token, without = sorted(log.events(), key=lambda event: event.get("title", ""))
    assert (with_token["occurred_at"], with_token["os"]) == (1_500_000_000_000, "iOS")
    assert without["clamped"] and without["os"] != "iOS"


def test_what_has_waited_counts_when_it_happened(server: Running, log: Log) -> None:
    assert server.get("/matomo.php?" + urlencode({**PAGE, "cdo": "3600"})).status == 200
    (event,) = log.events()
    assert event["received_at"] - event["occurred_at"] == 3_600_000


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=8, max_size=20))
def test_a_key_of_any_characters_stays_out_of_dead_letters(key: str) -> None:
    query = urlencode({"token_auth": key})
    ways = [query, query.replace("+", "%20"), quote(key), quote(key, safe="!'()*"), json.dumps({"token_auth": key})]
    ways += [json.dumps({"requests": [f"?{query}"]}), json.dumps({"a": key}, ensure_ascii=False)]
    for way in ways:
        assert b"KEY" in without_secret(way.encode(), key)


def test_one_bad_request_of_many_can_be_mended(server: Running, log: Log) -> None:
    requests = ["?" + urlencode(PAGE), "?" + urlencode({**PAGE, "rec": "0"})]
    body = {"requests": requests, "token_auth": SECRET}
    answer = server.post(body, path="/matomo.php")
    assert answer.json() | {"message": ""} == {
        "status": "success", "tracked": 1, "invalid": 1, "invalid_indices": [1], "message": "",
    }  # fmt: skip
    letter = letter_of(log)
    assert SECRET.encode() not in letter.received
    mended = letter.received.replace(b"rec=0", b"rec=1")
    good, repaired = judged(server, letter, mended).events
    (stored,) = log.events()
    assert good.id == stored["id"] != repaired.id
    assert good.visitor == repaired.visitor == stored["visitor"]


@pytest.mark.parametrize("body", [b"{", b'{"requests": 7}', b"\xff\0", b'{"requests": [7]}'])
def test_garbage_is_answered_in_words_and_kept(server: Running, log: Log, body: bytes) -> None:
    answer = server.post(body, path="/matomo.php")
    assert answer.status == 400 and answer.headers["x-footfall-refused"]
    if body.startswith(b"{"):
        assert json.loads(answer.body)["status"] == "error"
    assert letter_of(log).received == body


def test_an_empty_request_is_no_event(server: Running, log: Log) -> None:
    assert server.get("/matomo.php").status == 200
    assert server.get("/compat/matomo/matomo.php").status == 200
    assert not log.records("footfall.dead-letter")
