"""The page of operation over a running `footfall up`: what came in, what waits, what was not understood, what ran."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.e2e.harness import SITE, Up, until


def ops(up: Up) -> dict[str, Any]:
    status, body = up.get("/api/v1/ops")
    assert status == 200, body
    return dict(json.loads(body))


def test_it_tells_what_came_what_was_not_understood_and_what_ran(start: Callable[..., Up]) -> None:
    up = start("--site", SITE).wait_ready()
    for number in range(3):
        up.collect(url=f"https://{SITE}/{number}")
    status, _, _ = up.post(b"this is no JSON")
    assert status == 400
    until(lambda: ops(up)["loading"] and ops(up)["loading"]["events"] == 3, "the events are loaded")
    until(lambda: sum(each["letters"] for each in ops(up)["dead_letters"]) == 1, "the dead letter is stored")
    until(lambda: ops(up)["loading"]["waiting"] == 0, "the counts of the door are loaded, too")
    told = ops(up)
    assert sum(each["events"] for each in told["minutes"]) <= 3  # the minute that runs is not over
    assert told["problem"] is None
    topics = {each["name"]: each["partitions"] for each in told["broker"]["topics"]}
    views = topics["footfall.pageview"]
    assert [each["committed"] for each in views] == [each["end"] for each in views]
    assert sum(each["end"] is not None for each in views) >= 1
    assert {each["table"]: each["stored_rows"] for each in told["tables"]}["event_rows"] == 3
    assert told["disks"][0]["path"] == str(up.data)
    assert 0 < told["disks"][0]["free_bytes"] < told["disks"][0]["total_bytes"]
    until(lambda: {each["name"]: each["ran"] for each in ops(up)["chores"]}["day-tables"], "the day builder looked")
    assert {each["error"] for each in ops(up)["chores"]} == {""}
    status, page = up.get("/ops")
    assert status == 200
    assert "footfall.pageview" in page.decode()
    assert up.stop() == 0
