"""Segment's and RudderStack's own clients, unchanged but for the URL, also when the network and the service fail."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest

import stores
from activity import codec
from activity.event import TOPICS
from ingest.repair import Repair
from ingest.sites import Sites
from tests.ingest.conftest import Log, Running
from tests.ingest.test_repair import stored
from tests.trackers.conftest import IDS, SECRET
from tests.trackers.letters import judged, letter_of
from tests.trackers.proxy import DROP, Proxy

KEY = IDS["segment"]
PAGE = "https://example.com/pricing?utm_source=mail"


@pytest.mark.parametrize("script", ["segment_python.py", "segment_node.mjs", "rudder_python.py", "rudder_node.mjs"])
def test_nothing_is_lost_and_nothing_twice(script: str, run: Callable[..., str], proxy: Proxy, log: Log) -> None:
    proxy.failures = [429, DROP, 503]
    run(script, proxy.url, KEY)
    assert proxy.failures == []
    assert [passed.status for passed in proxy.passed[:3]] == [429, DROP, 503]
    assert {passed.status for passed in proxy.passed[3:]} == {200}
    by_topic = {topic: log.events(topic) for topic in TOPICS if log.events(topic)}
    assert {topic: len(events) for topic, events in by_topic.items()} == {
        "footfall.pageview": 1, "footfall.search": 1, "footfall.custom": 2,
    }  # fmt: skip
    (page,), (search,) = by_topic["footfall.pageview"], by_topic["footfall.search"]
    custom, identify = sorted(by_topic["footfall.custom"], key=lambda event: event["type"])
    assert (page["url"], page["title"], page["referrer"]) == (PAGE, "Pricing", "https://r.example/")
    assert (page["utm_source"], page["protocol"]) == ("mail", "segment")
    assert (search["term"], search["results"]) == ("shoes", 3)
    assert (custom["name"], custom["props"]) == ("Signed Up", {"plan": "pro", "seats": 3})
    assert (identify["user"], identify["props"]) == ("user-1", {"company": "Example"})
    events = (page, search, custom, identify)
    assert len({event["visitor"] for event in events}) == 1
    assert not any(event.get("bot") for event in events)


def test_only_a_server_with_its_secret_speaks_for_a_visitor(run: Callable[..., str], server: Running, log: Log) -> None:
    run("segment_python.py", f"http://127.0.0.1:{server.port}", KEY)
    run("segment_python.py", f"http://127.0.0.1:{server.port}", SECRET)
    assert [event.get("browser", "") for event in log.events("footfall.search")] == ["", "Firefox"]


def test_an_event_sent_again_with_a_user_is_the_same(server: Running, log: Log) -> None:
    """The browser's client adds the user to events that it sends again, once it knows him."""
    sent = {"event": "Signed Up", "anonymousId": "a", "messageId": "again", "writeKey": KEY}
    answers = [server.post({**sent, **more}, path="/v1/t") for more in ({"userId": None}, {"userId": "user-1"})]
    assert [(answer.status, answer.json()) for answer in answers] == [(200, {"success": True})] * 2
    assert [event["name"] for event in log.events("footfall.custom")] == ["Signed Up"]


def test_a_request_that_is_garbage_is_answered_and_kept(server: Running, log: Log, tmp_path: Path) -> None:
    garbage = f'{{"writeKey": "{SECRET}", "batch": [{{"type": "track", "event": "Signed Up", "userId": "a"'.encode()
    answer = server.post(garbage, path="/v1/batch")
    assert answer.status == 400
    assert answer.json()["code"] == "malformed"
    assert "not JSON" in answer.json()["message"]
    neighbours = {"writeKey": SECRET, "batch": [
        {"type": "track", "event": "Kept", "userId": "a", "messageId": "kept"}, {"type": "track", "userId": "a"},
    ]}  # fmt: skip
    answer = server.post(neighbours, path="/compat/segment/v1/batch")
    assert (answer.status, answer.json()["refused"][0]["reason"]) == (200, "missing_field")
    assert [event["name"] for event in log.events("footfall.custom")] == ["Kept"]
    left = {"batch": [{"type": "track", "event": "Left", "userId": "a"}]}
    assert server.post(left, path=f"/beacon/v1/batch?writeKey={KEY}").status == 200
    unknown = server.post({"event": "x", "anonymousId": "a", "writeKey": "nobody's"}, path="/v1/track")
    assert (unknown.status, unknown.json()["code"]) == (401, "unknown_site")

    letters = [json.loads(record.value or b"") for record in log.records("footfall.dead-letter")]
    assert [letter["reason"] for letter in letters] == ["malformed", "missing_field"]
    held = [base64.b64decode(letter["bytes"]) for letter in letters]
    assert not any(SECRET.encode() in each for each in held)

    # Mended, the request is what it should have been.
    (tmp_path / "sites.toml").write_text((Path(server.broker_url[9:]).parent / "sites.toml").read_text())
    repair = Repair(Sites(tmp_path / "sites.toml"), stores.connect_live(str(tmp_path / "live")))
    letter = stored(log.records("footfall.dead-letter")[0].value or b"")
    judged = repair.judge(letter, held[0] + b"}]}")
    assert (judged.problem, judged.refused) == ("", [])
    assert [codec.decode(event.records[0].value or b"").name for event in judged.events] == ["Signed Up"]


def test_what_an_image_brings_in_base64_is_kept_as_what_it_says(server: Running, log: Log) -> None:
    said = {"event": "", "userId": "a", "writeKey": SECRET, "context": {"ip": "192.0.2.77"}}
    data = base64.b64encode(json.dumps(said).encode()).decode()
    answer = server.get(f"/v1/pixel/track?{urlencode({'data': data})}")
    assert (answer.status, answer.headers["x-footfall-refused"]) == (400, "missing_field")
    letter = letter_of(log)
    kept = {**said, "writeKey": "KEY", "context": {"ip": "0.0.0.0"}}
    assert (json.loads(letter.received), data in letter.sender) == (kept, False)
    (event,) = judged(server, letter, letter.received.replace(b'"event": ""', b'"event": "Mended"')).events
    assert event.site == "example.com"
