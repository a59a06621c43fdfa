"""Lines of own events: the quick way of usual lines gives what the way of all others gives."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from activity import beacon, codec
from activity.enrich import enrich
from activity.event import named_visitor, topic_of, visitor_key
from activity.refusal import Refusal
from activity.user_agent import Agent
from brokers.base import Record
from ingest.logs import formats
from ingest.logs.batch import Batch
from ingest.logs.events import PROTOCOL
from ingest.logs.reader import batches, reader
from tests.ingest.logs.plainly import KEY, RECEIVED_AT, SITE, own_values, records_of

PROPS: list[Any] = [
    {}, {"plan": "pro", "n": 3, "ok": True, "none": None, "x": 1.5}, {"long": "x" * 1_025}, {"big": 2**60}, [],
    {"k" * 129: 1}, {f"n{number}": number for number in range(31)}, {"in": {"side": 1}}, {"edge": 2**53}, {"nul": "\0"},
]  # fmt: skip
VALUES: dict[str, list[Any]] = {
    "type": ["pageview", "custom", "search", "identify", "nothing", None],
    "url": ["https://example.com/?q=shoes", "/pricing", "", 7, "https://example.com/ü",
            "https://e.example/" + "x" * 5_000],
    "ts": [1_780_000_000_000, "2026-06-01T12:00:00Z", 1_780_000_000, None, 1e300, 10**30, True, "yesterday", 0],
    "visitor": ["ann", "", None, 7, "a\0b", "x" * 300],
    "user": ["u1", ""],
    "site": ["example.com", "other.example", None, 7],
    "id": ["one", "", None, 7, "i\0d"],
    "referrer": ["https://www.google.com/", "events", "sent_at", None],
    "name": ["signup", "", "\ud800"],
    "props": PROPS,
    "search": [{"term": "red", "results": 3}, {"term": ""}, "red", {"term": "a", "results": 3.0}, None],
    "revenue": [{"amount": "12.50", "currency": "eur"}, {"amount": 7}, 12, None],
    "engaged_ms": [1_000, 1.5, -1, "7", 10**30],
    "interactive": [False, "no", None],
    "sent_at": [1_780_000_000_000, "never"],
    "events": [[], [{"type": "pageview", "url": "https://example.com/a", "site": "example.com", "ts": 5}], "x"],
}  # fmt: skip
NEEDED = {"type": "pageview", "url": "https://example.com/", "ts": 1_780_000_000_000, "visitor": "ann"}


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=4, unique=True))
    return NEEDED | {name: draw(st.sampled_from(VALUES[name])) for name in names}


def read(lines: list[bytes]) -> Batch:
    (batch,) = batches([lines], reader("events", SITE, KEY, RECEIVED_AT, None))
    return batch


def taken(batch: Batch) -> list[list[Record]]:
    """The records of each accepted line; what is told of its own event beside them is right."""
    found, accepted = records_of(batch), batch.accepted
    own = [codec.decode(first.value or b"") for first, *_ in found]
    told = list(zip(accepted.ids, accepted.visitors, accepted.bots, strict=True))
    assert told == [(event.id, event.visitor, bool(event.bot)) for event in own]
    return found


def plainly(event: dict[str, Any]) -> list[Record]:
    """The records of one event by `enrich` and the codec alone; none where it is not taken."""
    line = json.dumps(event | {"site": SITE.domain}).encode()
    try:
        msgspec.json.decode(line)
        (item,) = beacon.parse(line).items
    except ValueError:
        return []
    if isinstance(item, Refusal) or event.get("ts") is None or event.get("site", SITE.domain) != SITE.domain:
        return []
    visitor = named_visitor(SITE.domain, KEY, item.visitor or item.user)
    made = enrich(
        item, site=SITE, visitor=visitor, received_at=RECEIVED_AT, agent=Agent(), fresh_id="", protocol=PROTOCOL,
        trusted=True,
    )  # fmt: skip
    if isinstance(made, Refusal) or not (event.get("visitor") or event.get("user")):
        return []
    key = visitor_key(SITE.domain, visitor)
    return [Record(topic_of(its.type), key, codec.encode(its)) for its in made]


@given(st.lists(events(), min_size=1, max_size=6))
@example([NEEDED, NEEDED | {"props": PROPS[1]}, NEEDED | {"events": []}])
@settings(max_examples=300, deadline=None)
def test_a_usual_event_is_read_as_one_with_a_field_that_nobody_knows(given_events: list[dict[str, Any]]) -> None:
    quick = read([json.dumps(event).encode() + b"\r\n" for event in given_events])
    slow = read([json.dumps(event | {"nobody_knows": [1]}).encode() for event in given_events])
    assert taken(quick) == taken(slow) == [made for event in given_events if (made := plainly(event))]
    assert (quick.refused, quick.refused_lines) == (slow.refused, slow.refused_lines)
    assert [number for number, *_ in quick.not_understood] == [number for number, *_ in slow.not_understood]


def test_usual_events_are_stored_as_they_were_sent() -> None:
    sent = NEEDED | {"type": "custom", "name": "signup", "props": PROPS[1], "site": "example.com", "user": "u1"}
    pathless = NEEDED | {"url": "/x?q=a"}
    batch = read([json.dumps(sent).encode(), b"", b"# top", b"{", b"[]", json.dumps(pathless).encode()])
    (event,) = (codec.decode(value) for value in own_values(batch))
    assert (event.type, event.name, event.props, event.user) == ("custom", "signup", PROPS[1], "u1")
    assert event.occurred_at == NEEDED["ts"]
    assert (batch.refused, len(batch.not_understood)) == ({"empty": 1, "comment": 1, "invalid_url": 1}, 2)


@pytest.mark.parametrize(("before", "behind"), [
    ("[", ","), ("  ", ","), ("[", "]"), ("", " ]"), ("2025-06-01T12:00:00Z ", ""),
    ("<190>Jun  1 12:00:00 web app: ", ""), ("2025-06-01T12:00:00Z stdout F ", ""), ("web-1  | ", ""),
])  # fmt: skip
def test_what_stands_around_an_event_is_no_part_of_it(before: str, behind: str) -> None:
    sent = NEEDED | {"type": "custom", "name": "ü\\x6e", "props": PROPS[1]}
    line = (before + json.dumps(sent, ensure_ascii=False) + behind).encode()
    assert formats.detect([line]) == "events"
    found = read([line])
    assert found.not_understood == []
    assert taken(found) == taken(read([json.dumps(sent).encode()]))


@pytest.mark.parametrize(("value", "meant"), [
    (r'"a\x22b"', 'a"b'), ("-", "-"), ("NaN", "NaN"), ("", None), ("007", "007"),
])  # fmt: skip
def test_a_value_that_is_not_quite_json_costs_no_event(value: str, meant: str | None) -> None:
    line = json.dumps(NEEDED | {"props": {"plan": "?"}}).replace('"?"', value)
    assert formats.detect([line.encode()]) == "events"
    assert taken(read([line.encode()])) == taken(read([json.dumps(NEEDED | {"props": {"plan": meant}}).encode()]))


@pytest.mark.parametrize("value", [b"1e999", b'"\xff"', rb'"\ud800"', b"1" * 5_000, b"[" * 5_000])
def test_an_event_with_a_value_that_nobody_can_keep_is_not_understood(value: bytes) -> None:
    line = json.dumps(NEEDED | {"props": {"plan": "?"}}).encode().replace(b'"?"', value)
    found = read([line, b"[" + line + b","])
    assert (len(found.accepted), [number for number, *_ in found.not_understood]) == (0, [1, 2])


@pytest.mark.parametrize("more", [{"method": "GET"}, {"status": "paid"}, {"method": "card", "status": "paid"}])
def test_an_event_with_a_field_that_requests_have_is_an_event(more: dict[str, str]) -> None:
    for event in (NEEDED, NEEDED | {"type": "custom", "name": "login"}):
        assert formats.detect([json.dumps(event | more).encode()]) == "events"
    assert formats.detect([json.dumps({"ts": 5, "url": "/", "method": "GET", "status": 200}).encode()]) is None
