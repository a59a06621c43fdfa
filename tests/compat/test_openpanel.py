"""OpenPanel's events, as its clients in pages and on servers send them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity.compat.openpanel import PROTOCOL
from activity.compat.protocol import Answer, Outcome
from activity.event import EventType
from activity.incoming import Revenue, Search
from activity.refusal import Reason, Refusal
from tests.compat import reading
from tests.compat.reading import VALUES, Sent

PATH = "/track"
PAGE = {"openpanel-client-id": "shop", "Origin": "https://example.com", "openpanel-sdk-name": "web"}
SERVER = {"openpanel-client-id": "shop", "openpanel-client-secret": "KEY", "openpanel-sdk-name": "node"}
VIEW = {"__path": "https://example.com/a", "__title": "Home", "__referrer": "https://search.example/"}


def sent(kind: str, payload: dict[str, Any], headers: dict[str, str] = SERVER) -> Sent:
    return Sent(PATH, {"type": kind, "payload": payload}, headers)


def tracked(name: str, headers: dict[str, str] = SERVER, profile: Any = None, **properties: Any) -> Sent:
    return sent("track", {"name": name, "properties": properties, "profileId": profile}, headers)


def test_a_page_view_of_a_page() -> None:
    event = reading.event(PROTOCOL, tracked("screen_view", PAGE, "u-1", **VIEW, plan="pro"))
    assert (event.type, event.url, event.title) == (EventType.PAGEVIEW, "https://example.com/a", "Home")
    assert (event.site, event.referrer, event.props) == ("shop", "https://search.example/", {"plan": "pro"})
    assert (event.user, event.client, event.ts) == ("u-1", "", None)


def test_a_server_names_its_visitor_and_a_screen_is_a_page() -> None:
    at = "2025-06-01T12:00:00.000Z"
    screen = tracked("screen_view", SERVER | {"x-client-ip": "192.0.2.1"}, 7, __path="Cart", __timestamp=at)
    found = reading.batch(PROTOCOL, screen)
    (event,) = found.items
    assert found.credential == "KEY"
    assert event == reading.event(
        PROTOCOL, tracked("screen_view", SERVER, "7", __path="/Cart", __timestamp=at, __ip="192.0.2.1")
    )
    assert (event.client, event.address, event.ts) == ("7", "192.0.2.1", at)


@pytest.mark.parametrize(
    ("kind", "payload", "expected"),
    [
        ("track", {"name": "signup", "properties": {"a": [1]}, "groups": ["g"]},
         {"type": EventType.CUSTOM, "name": "signup", "props": {"a": "[1]", "groups": '["g"]'}, "url": ""}),
        ("track", {"name": "link_out", "properties": {"href": "https://a.example/", "text": "A"}},
         {"type": EventType.OUTBOUND, "props": {"url": "https://a.example/", "text": "A"}}),
        ("track", {"name": "search", "properties": {"q": "hats"}},
         {"type": EventType.SEARCH, "search": Search("hats"), "name": ""}),
        ("track", {"name": "revenue", "properties": {"__revenue": 1999, "currency": "EUR"}},
         {"revenue": Revenue(19.99, "EUR"), "name": "revenue"}),
        ("identify", {"profileId": 7, "email": "a@example.com", "properties": {"tier": "pro"}},
         {"type": EventType.IDENTIFY, "user": "7", "props": {"email": "a@example.com", "tier": "pro"}}),
        ("increment", {"profileId": "7", "property": "visits", "value": 2},
         {"type": EventType.CUSTOM, "name": "increment", "interactive": False,
          "props": {"property": "visits", "value": 2}}),
        ("alias", {"profileId": "7", "alias": "old"}, {"type": EventType.IDENTIFY, "user": "7", "client": "old"}),
    ],
)  # fmt: skip
def test_the_kinds_of_events(kind: str, payload: dict[str, Any], expected: dict[str, Any]) -> None:
    event = reading.event(PROTOCOL, sent(kind, payload))
    assert {field: getattr(event, field) for field in expected} == expected


def test_the_answers() -> None:
    ok = PROTOCOL.answer(Outcome("", 1, 0, ()))
    assert (ok.status, set(json.loads(ok.body))) == (200, {"deviceId", "sessionId"})
    for reason, status in ((Reason.UNKNOWN_SITE, 401), (Reason.MALFORMED, 400), (Reason.TOO_LARGE, 413)):
        refused = PROTOCOL.answer(Outcome("", 0, 0, (Refusal(0, reason, "why"),)))
        assert (refused.status, json.loads(refused.body)["message"]) == (status, "why")
    for body in (b"", b"[]", {"type": "x", "payload": {}}, {"type": "track"}, {"type": "track", "payload": {}}):
        assert reading.answered(PROTOCOL, reading.batch(PROTOCOL, Sent(PATH, body, SERVER))).status == 400
    for wrong in (tracked("screen_view"), sent("identify", {}), sent("alias", {"profileId": "7"})):
        assert reading.answered(PROTOCOL, reading.batch(PROTOCOL, wrong)).status == 400
    for harmless in (sent("replay", {"payload": "…"}), sent("group", {}), Sent("/track/device-id", method="GET")):
        answer = reading.read(PROTOCOL, harmless)
        assert isinstance(answer, Answer)
        assert answer.status == 200


@given(
    st.binary() | VALUES,
    st.sampled_from(["track", "identify", "increment", "decrement", "alias", "x"]),
    st.dictionaries(st.sampled_from(["name", "profileId", "properties", "groups", "alias"]), VALUES),
    st.dictionaries(st.sampled_from(["__path", "__revenue", "__timestamp", "__ip", "__identify", "q"]), VALUES),
)
def test_any_body_is_answered(body: object, kind: str, payload: dict[str, Any], properties: dict[str, Any]) -> None:
    reading.holds_for_any(PROTOCOL, Sent(PATH, body))
    reading.holds_for_any(PROTOCOL, sent(kind, payload))
    named = {"name": "screen_view", "profileId": 1, **payload, "properties": properties}
    reading.holds_for_any(PROTOCOL, sent(kind, named))


def test_each_line_of_the_table_is_true() -> None:
    known = {"firstName": "Ann", "lastName": "Lee", "email": "a@example.com", "avatar": "https://a.example/x.png"}
    counted = sent("increment", {"profileId": "7", "property": "visits", "value": 4})
    own = "payload.properties."
    reading.table_is_true(
        PROTOCOL,
        {
            "type": (sent("identify", {"profileId": "7"}), "identify"),
            "payload.name": (tracked("signup"), "signup"),
            "payload.properties": (tracked("signup", plan="pro"), "pro"),
            own + "__path": (tracked("screen_view", **VIEW), "/a"),
            own + "__title": (tracked("screen_view", **VIEW), "Home"),
            own + "__referrer": (tracked("screen_view", **VIEW), "search.example"),
            own + "__revenue": (tracked("revenue", __revenue=1999), 19.99),
            own + "currency": (tracked("revenue", __revenue=1999, currency="EUR"), "EUR"),
            own + "href": (tracked("link_out", href="https://a.example/"), "a.example"),
            own + "__timestamp": (tracked("a", __timestamp="2025-06-01T12:00:00Z"), "2025-06-01T12:00:00Z"),
            own + "__ip": (tracked("a", __ip="192.0.2.7"), "192.0.2.7"),
            own + "__identify": (tracked("a", __identify={"profileId": "u-1"}), "u-1"),
            own + "__deviceId": (tracked("a", __deviceId="a-mark"), "a-mark"),
            "payload.profileId": (tracked("a", SERVER, "u-1"), "u-1"),
            "payload.groups": (sent("track", {"name": "a", "groups": ["g-1"]}), "g-1"),
            **{f"payload.{name}": (sent("identify", {"profileId": "7", **known}), known[name]) for name in known},
            "payload.property": (counted, "visits"),
            "payload.value": (counted, 4),
            "payload.alias": (sent("alias", {"profileId": "7", "alias": "old"}), "old"),
            "header openpanel-client-id": (tracked("a"), "shop"),
            "header openpanel-client-secret": (tracked("a"), "KEY"),
            "header x-client-ip": (tracked("a", SERVER | {"x-client-ip": "192.0.2.7"}), "192.0.2.7"),
            "header openpanel-sdk-name": (tracked("a"), "node"),
            "header openpanel-sdk-version": (tracked("a", SERVER | {"openpanel-sdk-version": "a-mark"}), "a-mark"),
            **{kind: (sent(kind, {"id": "a-mark"}), "a-mark") for kind in ("replay", "group", "assign_group")},
        },
    )
