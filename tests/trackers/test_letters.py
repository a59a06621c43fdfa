"""A tracker's dead letter holds no secret, and its repair gives the events of the door, and those that are mended."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import stores
from activity import codec
from activity.event import Event
from activity.refusal import Refusal
from ingest import trackers
from ingest.client import Visitors
from ingest.collect import Collector, Options, Submission
from ingest.dead_letters import KEPT_BYTES, DeadLetters
from ingest.http import Request
from ingest.limiter import Limiter
from ingest.repair import Judged, Repair
from ingest.sites import Sites, parse
from stores.letters import Letter
from tests.ingest.conftest import AGENT
from tests.ingest.test_repair import stored
from tests.trackers.conftest import IDS, SECRET, SITES

AT = 1_760_000_000_000  # an afternoon
ADDRESS = "203.0.113.9"


class Taken(NamedTuple):
    """What came of a request."""

    events: list[Event]
    refused: list[Refusal]
    letter: Letter | None


class Door:
    """The front door, and the repair of what it buries."""

    def __init__(self, folder: Path) -> None:
        sites = Sites(sites=parse(SITES, ""), limits=False)
        self.live = stores.connect_live(str(folder / "live"))
        self.visitors = Visitors(self.live)
        self.visitors.look_ahead(AT)
        self.collector = Collector(sites, self.visitors, Options(), None, Limiter(), DeadLetters(lambda _: None))
        self.repair = Repair(sites, self.live)

    def send(
        self, path: str, body: Any = None, query: str = "", method: str = "POST", at: int = AT, **headers: str
    ) -> Taken:
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {"user-agent": AGENT, **{name.replace("_", "-"): value for name, value in headers.items()}}
        fields = [(name.encode(), value.encode()) for name, value in named.items()]
        request = Request(method, path, query.encode(), fields, content, "198.51.100.7")
        found = trackers.route(path, dict(fields))
        assert found is not None
        submission = self.collector.read_tracker(found, request)
        assert isinstance(submission, Submission)
        if wanted := self.collector.wanted(submission, at):
            self.visitors.look_up(wanted)
        judged = self.collector.judge(submission, at)
        values = [value for entry in judged.entries for _, _, value in entry.messages]
        letters = [stored(value) for value in values if b'"bytes":' in value]
        events = [codec.decode(value) for value in values if b'"bytes":' not in value]
        return Taken(events, judged.refused, letters[0] if letters else None)

    def again(self, letter: Letter | None, *replaced: tuple[bytes, bytes]) -> Judged:
        assert letter is not None
        received = letter.received
        for wrong, right in replaced:
            assert wrong in received
            received = received.replace(wrong, right)
        return self.repair.judge(letter, received)


def told(event: Event) -> tuple[str, ...]:
    """What must be as the door made it."""
    return event.id, event.visitor, event.user, event.bot, event.browser


def repaired(judged: Judged) -> list[tuple[str, ...]]:
    assert (judged.refused, judged.problem) == ([], "")
    return [told(codec.decode(record.value or b"")) for event in judged.events for record in event.records]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    made = Door(tmp_path_factory.mktemp("door"))
    yield made
    made.live.close()


def test_a_server_s_batch_with_addresses_is_repaired_to_the_events_of_the_door(door: Door) -> None:
    def event(name: str, number: int) -> dict[str, Any]:
        its_id = f"00000000-0000-4000-8000-00000000000{number}"
        return {"event": name, "uuid": its_id, "distinct_id": "u1", "properties": {"$ip": ADDRESS}}

    batch = {"api_key": SECRET, "batch": [event("a", 1), event("", 2)]}
    taken = door.send("/batch", batch, user_agent="posthog-python/7.0")
    whole = {"api_key": SECRET, "batch": [event("a", 1), event("b", 2)]}
    expected = door.send("/batch", whole, user_agent="posthog-python/7.0")
    assert [told(each) for each in taken.events] == [told(expected.events[0])]
    assert [each.bot for each in expected.events] == ["", ""]
    again = door.again(taken.letter, (b'"event": ""', b'"event": "b"'))
    assert repaired(again) == [told(each) for each in expected.events]


def test_visitors_of_whom_a_server_tells_without_an_id_stay_apart_in_a_repair(door: Door) -> None:
    def hit(path: str, number: int) -> dict[str, Any]:
        at = f"2025-10-09T08:5{number}:00Z"
        return {"path": path, "created_at": at, "ip": f"203.0.113.{number}", "user_agent": AGENT}

    server = {"authorization": f"Bearer {SECRET}", "user_agent": "Go-http-client/2.0"}
    taken, whole = (
        door.send("/api/v0/count", {"hits": [hit("/a", 1), hit(path, 2), hit("/c", 3)]}, **server)
        for path in ("", "/b")
    )
    assert len({each.visitor for each in whole.events}) == 3
    assert {(each.browser, each.bot) for each in whole.events} == {("Firefox", "")}
    assert [told(each) for each in taken.events] == [told(whole.events[0]), told(whole.events[2])]
    first, mended, last = repaired(door.again(taken.letter, (b'"path": ""', b'"path": "/b"')))
    assert [first, last] == [told(each) for each in taken.events]
    assert mended[1] not in {first[1], last[1]}, "its address is not known any more, so it is a visitor of its own"
    assert mended[2:] == first[2:]


def test_who_wants_to_be_anonymous_stays_so_in_a_repair(door: Door) -> None:
    def event(kind: str, number: int) -> dict[str, str]:
        its_id = f"00000000-0000-4000-8000-00000000000{number}"
        page = {"url": "https://example.com/a", "aid": IDS["snowplow"], "p": "web", "tv": "js-4"}
        return {**page, "e": kind, "eid": its_id, "duid": "0b1c2d3e-0000-4000-8000-000000000001", "uid": "alice"}

    schema = "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4"
    path = "/com.snowplowanalytics.snowplow/tp2"
    taken = door.send(path, {"schema": schema, "data": [event("pv", 1), event("", 2)]}, sp_anonymous="*")
    whole = door.send(path, {"schema": schema, "data": [event("pv", 1), event("pv", 2)]}, sp_anonymous="*")
    assert {each.user for each in whole.events} == {""}
    again = door.again(taken.letter, (b'"e": ""', b'"e": "pv"'))
    assert repaired(again) == [told(each) for each in whole.events]


def test_a_query_that_was_not_kept_whole_is_not_read_again(door: Door) -> None:
    page = f"https://example.com/{'a' * KEPT_BYTES}"
    query = f"v=2&tid={IDS['ga4']}&cid=1&dl={page}"
    taken = door.send("/g/collect", b"en=page_view\r\n_et=1", query=query)
    assert taken.letter is not None
    assert "of its query were kept" in door.repair.judge(taken.letter, b"en=page_view\r\nen=b").problem


@pytest.mark.parametrize(
    ("path", "body", "query"),
    [
        ("/batch", b'{"api_key": "%s", "batch": [{"event": "a"}', ""),
        ("/batch", b'{"api_key": "%s", "batch": "x"}', ""),
        ("/matomo.php", b'{"token_auth": "%s", "requests": ["?idsite=7&rec=1"]', ""),
        ("/v1/batch", b'{"writeKey": "%s", "batch": [', ""),
        ("/e", b'{"api_key": "pub", "event": ""}', "api_key=%s"),
        ("/mp/collect", b"{", "measurement_id=G-ABCDEF1234&api_secret=%s"),
    ],
)
def test_no_secret_is_in_a_letter(door: Door, path: str, body: bytes, query: str) -> None:
    taken = door.send(path, body.replace(b"%s", SECRET.encode()), query=query.replace("%s", SECRET))
    assert taken.letter is not None
    assert SECRET.encode() not in taken.letter.received
    assert SECRET not in taken.letter.sender + taken.letter.detail


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("GET", "/i", "e=zz"),
        ("GET", "/r/tp2", "u=nonsense"),
        ("GET", "/com.snowplowanalytics.iglu/v1", "a=1"),
        ("POST", "/com.snowplowanalytics.iglu/v1", "schema=iglu:a.b/c/jsonschema/1-0-0&dtm=nonsense"),
    ],
)
@pytest.mark.parametrize("key", ["cx", "ue_px"])
def test_no_address_is_hidden_in_a_letter(door: Door, method: str, path: str, query: str, key: str) -> None:
    content = json.dumps({"data": [{"schema": "iglu:a.b/c/jsonschema/1-0-0", "data": {"host": ADDRESS}}]})
    hidden = base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")
    body = {"a": 1} if method == "POST" else None
    letter = door.send(path, body, f"{query}&aid={IDS['snowplow']}&{key}={hidden}", method).letter
    assert letter is not None
    kept = letter.received.decode() + letter.sender
    assert "host" in kept and "0.0.0.0" in kept
    assert hidden not in kept and ADDRESS not in kept


def test_a_key_does_not_stand_for_a_site_that_is_named_and_unknown(door: Door) -> None:
    body = {"n": "pageview", "u": "https://example.com/a", "d": "example.com,rollup.example"}
    taken = door.send("/api/event", body, authorization=f"Bearer {SECRET}")
    assert [each.site for each in taken.events] == ["example.com"]
    assert [each.reason for each in taken.refused] == ["unknown_site"]


def test_a_visit_of_whom_a_server_tells_goes_on_over_midnight(door: Door) -> None:
    midnight = AT // 86_400_000 * 86_400_000 + 86_400_000

    def view(at: int) -> str:
        body = {"n": "pageview", "u": "https://example.com/a", "d": "example.com"}
        forwarded = {"authorization": f"Bearer {SECRET}", "x_forwarded_for": ADDRESS}
        [event] = door.send("/api/event", body, at=at, **forwarded).events
        door.live.touch_many([(event.site, event.visitor, at)])
        return event.visitor

    assert view(midnight - 10_000) == view(midnight + 10_000)
