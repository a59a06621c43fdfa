"""`ga4mp`, which speaks Google Analytics' Measurement Protocol, against the service; and what `gtag.js` sends."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.ingest.conftest import Log, Running
from tests.trackers.conftest import IDS, SECRET
from tests.trackers.letters import judged, letter_of
from tests.trackers.proxy import DROP, Proxy

HIT = {"v": "2", "tid": IDS["ga4"], "cid": "12.34", "_p": "171", "_s": "1", "dl": "https://example.com/shop?q=hat"}


def seen(log: Log) -> list[dict[str, Any]]:
    """What `clients/ga4.py` sends is there once."""
    (page,) = log.events()
    (search,) = log.events("footfall.search")
    custom = {event["type"]: event for event in log.events("footfall.custom")}
    assert (page["type"], page["title"], page["source"]) == ("pageview", "Shop", "letter")
    assert (search["term"], search["results"]) == ("red hat", 3)
    assert len(log.events("footfall.custom")) == 2
    assert (custom["custom"]["name"], custom["custom"]["props"]) == ("signed_up", {"plan": "pro", "seats": 3})
    assert custom["identify"]["props"] == {"plan": "pro"}
    everything = [page, search, *custom.values()]
    assert len({event["visitor"] for event in everything}) == 1
    assert {(event["protocol"], event["user"], event.get("bot", "")) for event in everything} == {("ga4", "user-1", "")}
    assert not log.records("footfall.dead-letter")
    return everything


def test_the_client_of_python(server: Running, log: Log, run: Callable[..., str]) -> None:
    assert run("ga4.py", f"http://127.0.0.1:{server.port}", IDS["ga4"]) == "sent\n"
    seen(log)


def test_nothing_is_lost_or_twice_when_python_sends_again(proxy: Proxy, log: Log, run: Callable[..., str]) -> None:
    proxy.failures = [429, 0, DROP, 503, 0, 0, DROP]
    run("ga4.py", f"{proxy.url}/compat/ga4", IDS["ga4"], SECRET)
    assert not proxy.failures
    seen(log)


def test_the_browser_sends_a_hit_alone_or_several_in_lines(server: Running, log: Log) -> None:
    alone = f"/g/collect?{urlencode({**HIT, 'en': 'page_view', 'dt': 'Shop'})}"
    lines = b"en=view_search_results&ep.search_term=hat\r\nen=signed_up&ep.plan=pro&epn.seats=3&_et=1200"
    several = f"/g/collect?{urlencode({**HIT, '_s': '2'})}"
    for _ in range(2):
        assert server.get(alone).status == 204
        answer = server.post(lines, {"Origin": "https://example.com"}, path=several)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == "https://example.com"
    (page,) = log.events()
    (search,) = log.events("footfall.search")
    found, signed_up = sorted(log.events("footfall.custom"), key=lambda event: str(event["name"]), reverse=True)
    assert (page["title"], search["term"]) == ("Shop", "hat")
    assert (found["name"], found["interactive"]) == ("view_search_results", False)
    assert (signed_up["props"], signed_up["engaged_ms"]) == ({"plan": "pro", "seats": 3}, 1200)
    assert len({event["visitor"] for event in (page, search, found, signed_up)}) == 1


def test_a_key_counts_for_address_agent_and_old_times(server: Running, log: Log) -> None:
    phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X)"
    for secret in (SECRET, "another"):
        body = {
            "client_id": secret, "ip_override": "192.0.2.7", "user_agent": phone,
            "timestamp_micros": 1_500_000_000_000_000,
            "events": [{"name": "page_view", "params": {"page_location": "https://example.com/"}}],
        }  # fmt: skip
        path = f"/mp/collect?measurement_id={IDS['ga4']}&api_secret={secret}"
        assert server.post(body, path=path).status == 204
    with_key, without = sorted(log.events(), key=lambda event: int(event["occurred_at"]))
    assert (with_key["occurred_at"], with_key["os"]) == (1_500_000_000_000, "iOS")
    assert without["clamped"] and without.get("os") != "iOS"


def test_the_validation_stores_nothing(server: Running, log: Log) -> None:
    answer = server.post({"client_id": "1", "events": [{"name": "_a"}]}, path="/debug/mp/collect?measurement_id=G-1")
    (message,) = answer.json()["validationMessages"]
    assert (answer.status, message["validationCode"]) == (200, "NAME_INVALID")
    assert not log.events("footfall.custom")


@pytest.mark.parametrize(("secret", "site"), [(SECRET, "example.com"), ("a-secret-of-google", "")])
def test_what_is_not_understood_is_kept_without_its_secret_and_can_be_mended(
    server: Running, log: Log, secret: str, site: str
) -> None:
    body = {"client_id": "1", "events": [{"name": "a", "params": {"secret": secret}}]}
    whole = json.dumps(body).encode()
    answer = server.post(whole[:-1], path=f"/mp/collect?measurement_id={IDS['ga4']}&api_secret={secret}")
    assert (answer.status, answer.headers["x-footfall-refused"]) == (204, "malformed")
    letter = letter_of(log)
    assert secret not in str(letter)
    assert letter.site == site
    (event,) = judged(server, letter, letter.received + b"}").events
    assert event.site == "example.com"
