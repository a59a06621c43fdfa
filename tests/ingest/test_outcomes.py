"""The door's account: every event that came is in it once, also what was refused, and it survives the process."""

from __future__ import annotations

from collections.abc import Callable

from tests.ingest.conftest import KEY, Log, Running, pageview

BAD = {"type": "pageview", "site": "example.com"}


def test_a_stop_leaves_the_counts_by_site_outcome_and_reason(start: Callable[..., Running], own_log: Log) -> None:
    server = start()
    searched = pageview(url="https://example.com/?q=cheese")
    assert server.post({"events": [pageview(id="a"), pageview(id="a"), searched, BAD]}).json()["accepted"] == 2
    assert server.post({"events": [pageview(), pageview()]}).status == 202
    assert server.post({"events": [pageview(site="other.example"), pageview(visitor="ann")]}).status == 403
    assert server.post(pageview(visitor="ann"), {"Authorization": f"Bearer {KEY}"}).status == 202
    assert server.post(pageview(), {"DNT": "1"}).status == 400
    assert server.post(b"{").status == 400
    assert server.stop() == 0
    on_the_log = len(own_log.events()) + len(own_log.events("footfall.search"))
    assert own_log.outcomes() == {
        ("example.com", "accepted", ""): on_the_log,
        ("example.com", "duplicate", ""): 1,
        ("", "refused", "missing_field"): 1,
        ("example.com", "refused", "not_allowed"): 1,
        ("example.com", "refused", "opted_out"): 1,
        ("", "refused", "unknown_site"): 1,
        ("", "refused", "malformed"): 1,
    }


def test_the_counts_of_several_processes_add_up(start: Callable[..., Running], own_log: Log) -> None:
    server = start("2")
    for number in range(40):
        assert server.post(pageview(id=str(number))).status == 202
    server.stop()
    assert sum(own_log.outcomes().values()) == len(own_log.events()) == 40
