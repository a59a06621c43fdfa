"""A dead letter at the front door again, against what the door itself makes of the same requests."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import stores
from activity import codec
from activity.event import Event
from activity.refusal import COUNTED_ONLY, NO_ENVELOPE, DeadLetter, letter_id
from ingest.client import Visitors
from ingest.collect import Collected, Collector, Options
from ingest.dead_letters import DeadLetters, mask, site_in
from ingest.http import Request
from ingest.limiter import Limiter
from ingest.repair import Judged, Repair, sent_of
from ingest.sites import Sites
from stores.letters import Letter
from tests.ingest.conftest import AGENT, KEY, SITES, pageview

AT = 1_760_000_000_000  # an afternoon


class Door:
    """A front door, and the repair of what it buries."""

    def __init__(self, folder: Path) -> None:
        (folder / "sites.toml").write_text(f"limits = false\n{SITES}")
        sites, live = Sites(folder / "sites.toml"), stores.connect_live(str(folder / "live"))
        visitors = Visitors(live)
        buried = DeadLetters(lambda _: None)
        self._collector = Collector(sites, visitors, Options(), None, Limiter(), buried)
        visitors.look_ahead(AT)
        self.repair = Repair(sites, live)
        self.live = live

    def collect(self, body: object, at: int = AT, query: bytes | None = None, **headers: str) -> tuple[Any, ...]:
        """The events that are accepted, and the letter, if there is one."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {"user-agent": AGENT, **headers}
        fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()]
        read = self._collector.read_pixel if query is not None else self._collector.read
        path = "/collect" if query is None else "/collect.gif"
        submission = read(Request("POST", path, query or b"", fields, sent, "198.51.100.7"))
        if wanted := self._collector.wanted(submission, at):
            self._collector._visitors.look_up(wanted)
        collected: Collected = self._collector.judge(submission, at)
        values = [value for entry in collected.entries for topic, _, value in entry.messages]
        events = [codec.decode(value) for value in values[: len(values) - _is_buried(values)]]
        return events, stored(values[-1]) if _is_buried(values) else None


def _is_buried(values: list[bytes]) -> bool:
    return bool(values) and b'"bytes":' in values[-1]


def stored(value: bytes) -> Letter:
    """A letter as the warehouse gives it."""
    sent = msgspec.json.decode(value, type=DeadLetter)
    return Letter(
        id=sent.id,
        received_at=sent.received_at,
        topic=sent.where,
        reason=sent.reason,
        site=sent.site,
        visitor=sent.visitor,
        detail=sent.detail,
        length=sent.length or 0,
        sender=bytes(sent.sender).decode(),
        received=base64.b64decode(sent.bytes),
    )


def events(judged: Judged) -> list[Event]:
    assert (judged.refused, judged.problem) == ([], "")
    return [codec.decode(record.value or b"") for event in judged.events for record in event.records]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    made = Door(tmp_path_factory.mktemp("door"))
    yield made
    made.live.close()


def test_a_mended_request_comes_to_what_it_should_have_come_to(door: Door) -> None:
    whole = json.dumps(pageview(id="x", title="Home", url="https://example.com/find?q=shoes"))
    (expected, search), _ = door.collect(whole.encode())
    _, letter = door.collect(whole[:-1].encode())
    assert letter is not None
    assert events(door.repair.judge(letter, whole.encode())) == [expected, search]
    assert door.repair.judge(letter, letter.received).refused[0].reason == "malformed"


SENT = st.builds(
    dict,
    url=st.sampled_from(["https://example.com/a", "https://example.com/b?q=x", 7, "nowhere"]),
    id=st.sampled_from([None, None, "one", "two"]),
    ts=st.sampled_from([None, None, AT - 1000, "tomorrow"]),
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(SENT, min_size=1, max_size=6), st.integers(0, 50))
def test_what_was_accepted_with_a_letter_is_the_same_event_when_it_is_replayed(
    door: Door, sent: list[dict[str, Any]], delay: int
) -> None:
    body = {"sent_at": AT - delay, "events": [pageview(**each) for each in sent]}
    accepted, letter = door.collect(body)
    if letter is None:
        return

    def good(each: dict[str, Any]) -> dict[str, Any]:
        url = each["url"] if str(each["url"]).startswith("https") else "https://example.com/mended"
        return each | {"url": url, "ts": None if each["ts"] == "tomorrow" else each["ts"]}

    mended = json.dumps(body | {"events": [pageview(**good(each)) for each in sent]}).encode()
    once, again = (events(door.repair.judge(letter, mended)) for _ in range(2))
    assert once == again
    assert {event.id: event for event in accepted}.items() <= {event.id: event for event in once}.items()
    assert len([event for event in once if event.type == "pageview"]) == len(sent)


def test_what_was_accepted_stays_the_same_where_the_event_at_fault_is_left_out(door: Door) -> None:
    first, second = pageview(title="first"), pageview(title="second")
    accepted, letter = door.collect({"events": [pageview(url=7), first, second]})
    assert letter is not None
    left = json.dumps({"events": [first, second]}).encode()
    assert events(door.repair.judge(letter, left)) == accepted
    changed = json.dumps({"events": [second, pageview(title="mended"), first]}).encode()
    made = {event.title: event.id for event in events(door.repair.judge(letter, changed))}
    assert [made["first"], made["second"]] == [event.id for event in accepted]
    assert len(set(made.values())) == 3
    alone = door.repair.judge(letter, json.dumps(pageview(title="mended")).encode())
    assert "leave all of them in" in alone.problem


def test_an_event_of_another_site_of_the_request_has_its_visitor(door: Door) -> None:
    there = pageview(site="closed.example", url="https://closed.example/", id="there")
    accepted, letter = door.collect({"events": [pageview(id="here"), there, pageview(url=7)]})
    assert letter is not None and letter.site == "example.com"
    whole = json.dumps({"events": [pageview(id="here"), there, pageview(id="mended")]}).encode()
    assert events(door.repair.judge(letter, whole))[:2] == accepted


def test_a_pixel_keeps_the_page_that_it_was_on(door: Door) -> None:
    _, letter = door.collect(b"", query=b"site=example.com&props=nonsense", referer="https://example.com/page")
    assert letter is not None
    (event,) = events(door.repair.judge(letter, letter.received.replace(b"nonsense", b'{"a":1}')))
    assert (event.path, event.props, event.protocol) == ("/page", {"a": 1}, "pixel")


def test_a_named_visitor_needs_the_key_that_the_letter_came_with(door: Door) -> None:
    wrong = pageview(visitor="ann", screen=[1])
    mended = json.dumps(pageview(visitor="ann")).encode()
    (expected,), _ = door.collect(mended, authorization=f"Bearer {KEY}", user_agent="shop/1")
    _, letter = door.collect(wrong, authorization=f"Bearer {KEY}", user_agent="shop/1")
    assert letter is not None
    (event,) = events(door.repair.judge(letter, mended))
    assert (event.visitor, event.bot, event.occurred_at) == (expected.visitor, "", AT)
    _, letter = door.collect(wrong)
    assert letter is not None
    assert [each.reason for each in door.repair.judge(letter, mended).refused] == ["not_allowed"]


def test_an_origin_that_may_not_send_may_not_after_a_repair_either(door: Door) -> None:
    wrong = {"site": "closed.example", "type": "pageview", "url": 7}
    _, letter = door.collect(wrong, origin="https://other.example")
    assert letter is not None
    assert letter.site == "closed.example"
    mended = json.dumps(wrong | {"url": "https://closed.example/"}).encode()
    assert [each.reason for each in door.repair.judge(letter, mended).refused] == ["wrong_origin"]


def test_a_letter_without_a_sender_is_of_a_visitor_of_its_own(door: Door) -> None:
    body = json.dumps(pageview()).encode()
    ids = [letter_id(AT, "0" * 15 + end) for end in "12"]
    made = []
    for its_id in ids:
        letter = stored(msgspec.json.encode(DeadLetter(id=its_id, reason="malformed", received_at=AT, bytes="")))
        made += events(door.repair.judge(letter, body))
    first, second = made
    assert first.visitor != second.visitor
    assert (first.site, first.received_at, first.bot) == ("example.com", AT, "")


def test_a_site_is_given_to_what_names_none(door: Door) -> None:
    body = {"events": [{"type": "pageview", "url": "https://example.com/"}, pageview(site="closed.example")]}
    _, letter = door.collect(body)
    assert letter is not None
    assert [each.reason for each in door.repair.judge(letter, letter.received).refused] == ["missing_field"]
    made = events(door.repair.judge(letter, letter.received, "example.com"))
    assert [event.site for event in made] == ["example.com", "closed.example"]
    unknown = door.repair.judge(letter, letter.received, "nowhere.example").refused
    assert [each.reason for each in unknown] == ["unknown_site"]


@pytest.mark.parametrize("change", [{"reason": COUNTED_ONLY}, {"reason": NO_ENVELOPE}, {"length": 20_000}])
def test_what_cannot_be_repaired_says_why(door: Door, change: dict[str, Any]) -> None:
    _, letter = door.collect(b"{")
    assert letter is not None
    assert door.repair.judge(msgspec.structs.replace(letter, **change), letter.received).problem


def test_a_record_that_was_no_event_is_repaired_as_one(door: Door) -> None:
    (event,), letter = door.collect(pageview(id="y"))
    assert letter is None
    value = codec.encode(event)
    _, buried = door.collect(b"{")
    assert buried is not None
    record = msgspec.structs.replace(buried, topic="footfall.pageview", received=value[:-1])
    assert "no event" in door.repair.judge(record, record.received).problem
    assert events(door.repair.judge(record, value)) == [event]


def test_a_row_of_an_export_is_imported_again_with_it(door: Door) -> None:
    _, buried = door.collect(b"{")
    assert buried is not None
    letter = msgspec.structs.replace(buried, topic="import", sender='{"shape":"umami"}', site="example.com")
    assert "mend the file, and import it again" in door.repair.judge(letter, b"1,2").problem


def test_an_imported_line_is_repaired_by_the_import(door: Door) -> None:
    line = b'0.0.0.0 - - [01/Nov/2025:10:00:00 +0000] "GET /p?q=tea HTTP/1.1" 200 5 "-" "Mozilla/5.0 Firefox/142.0"'
    _, buried = door.collect(b"{")
    assert buried is not None
    for sender in ("{}", '{"shape":"combined"}'):  # of an older import nobody knows the form
        letter = msgspec.structs.replace(buried, topic="import", received=line[:-30], sender=sender, site="")
        assert "which site" in door.repair.judge(letter, line).problem
        assert door.repair.judge(letter, b"nothing", "example.com").problem
        found = events(door.repair.judge(letter, line, "example.com"))
        assert [(event.type, event.path, event.protocol) for event in found] == [
            ("pageview", "/p", "import"),
            ("search", "/p", "import"),
        ]
        assert found == events(door.repair.judge(letter, line, "example.com"))


@pytest.mark.parametrize(
    ("received", "site"),
    [
        (b'{"site": "example.com", "url"', "example.com"),
        (b"type=pageview&site=example.com&props=x", "example.com"),
        (b'{"website":"example.com"}', ""),
        (b"", ""),
    ],
)
def test_the_site_is_found_in_what_cannot_be_read(received: bytes, site: str) -> None:
    assert site_in(received) == site


def test_addresses_are_masked_and_nothing_else() -> None:
    assert mask(b'{"ip":"192.0.2.7","v6":"2001:db8::1","at":"10:20:30"}') == (
        b'{"ip":"0.0.0.0","v6":"0.0.0.0","at":"10:20:30"}'
    )


@pytest.mark.parametrize(
    ("received", "kept"),
    [
        (b"url=https%3A%2F%2Fx%2F%3Fip%3D203.0.113.7&a=1", b"url=https%3A%2F%2Fx%2F%3Fip%3D0.0.0.0&a=1"),
        (b"ip=2001%3Adb8%3A%3A1&a=1", b"ip=0.0.0.0&a=1"),
        (rb'{"title":"from\n203.0.113.7"}', rb'{"title":"from\n0.0.0.0"}'),
        (rb'{"title":"from\t2001:db8::1"}', rb'{"title":"from\t0.0.0.0"}'),
        (b"it came from 203.0.113.7.", b"it came from 0.0.0.0."),
        (b"version 1.2.3.4.5 of v1.2.3.4", b"version 1.2.3.4.5 of v1.2.3.4"),
        (b"at=10%3A20%3A30", b"at=10%3A20%3A30"),
    ],
)
def test_addresses_are_masked_in_a_query_and_in_json(received: bytes, kept: bytes) -> None:
    assert mask(received) == kept


def test_the_page_of_a_pixel_is_masked_and_cut(door: Door) -> None:
    page = "https://example.com/?from=203.0.113.7&" + "x" * 5_000
    _, letter = door.collect(b"", query=b"site=example.com&props=nonsense", referer=page)
    assert letter is not None
    kept = sent_of(letter).page
    assert (len(kept) < 2_100, "203.0.113" in kept, "from=0.0.0.0&" in kept) == (True, False, True)
