"""Umami's events, as its tracker and its client for Python send them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity.compat.protocol import Answer, Outcome
from activity.compat.umami import PROTOCOL
from activity.event import EventType
from activity.incoming import Revenue, Search
from activity.refusal import Reason, Refusal
from tests.compat import reading
from tests.compat.reading import VALUES, Sent

PATH = "/api/send"
WEBSITE = "94db1cb1-74f4-4a40-ad6c-962362670409"
VIEW = {
    "website": WEBSITE, "screen": "1920x1080", "language": "en-US", "title": "Home", "hostname": "example.com",
    "url": "https://example.com/a?q=x", "referrer": "https://search.example/",
}  # fmt: skip
PAGE = {"Origin": "https://example.com", "x-umami-cache": "footfall"}


def sent(kind: str = "event", headers: dict[str, str] = PAGE, **fields: Any) -> Sent:
    return Sent(PATH, {"type": kind, "payload": {**VIEW, **fields}}, headers)


def test_a_page_view_of_the_tracker() -> None:
    event = reading.event(PROTOCOL, sent(id="user-1"))
    assert (event.type, event.url, event.title) == (EventType.PAGEVIEW, "https://example.com/a?q=x", "Home")
    assert (event.site, event.referrer, event.screen) == (WEBSITE, "https://search.example/", "1920x1080")
    assert (event.user, event.client, event.id, event.ts) == ("user-1", "", None, None)


def test_a_page_view_of_a_server() -> None:
    at = 1_700_000_000
    server = sent(headers={"Authorization": "Bearer KEY"}, url="/a", id=7, ip="192.0.2.1", timestamp=at, referrer="/b")
    found = reading.batch(PROTOCOL, server)
    (event,) = found.items
    assert found.credential == "KEY"
    assert event.url == "https://example.com/a"
    assert event == reading.event(
        PROTOCOL,
        sent(headers={"Authorization": "Bearer None"}, url="a", id="7", ip="192.0.2.1", timestamp=str(at),
             referrer="https://example.com/b"),
    )  # fmt: skip
    assert (event.client, event.user, event.ts) == ("7", "7", at * 1000)
    assert reading.batch(PROTOCOL, sent(headers={"Authorization": "Bearer None"})).credential == ""
    assert reading.batch(PROTOCOL, sent(headers={"x-umami-api-key": "KEY"})).credential == "KEY"
    assert reading.event(PROTOCOL, sent(hostname="", url="/a")).url == "/a"
    assert reading.event(PROTOCOL, sent(url="/a?to=https://b.example/")).url == "https://example.com/a?to=https://b.example/"


CART = {
    "currency": "usd",
    "items": [{"productId": "a", "price": 10, "quantity": 2}, {"productId": "b", "price": 3.5, "quantity": 1}],
}


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("event", {"name": "signup", "data": {"plan": "pro", "a": [1]}, "tag": "b"},
         {"type": EventType.CUSTOM, "name": "signup", "props": {"plan": "pro", "a": "[1]", "tag": "b"}}),
        ("event", {"name": "search", "data": {"query": "hats"}},
         {"type": EventType.SEARCH, "search": Search("hats"), "name": ""}),
        ("event", {"name": "revenue", "data": {"revenue": 19.99, "currency": "USD"}},
         {"revenue": Revenue(19.99, "USD")}),
        ("event", {"name": "purchase", "data": {"commerce": CART | {"orderId": "o1", "shipping": 5, "tax": 2.5}}},
         {"revenue": Revenue(31, "usd"), "id": "order o1", "name": "purchase"}),
        ("event", {"name": "add", "data": {"commerce": CART}}, {"revenue": None, "id": None}),
        ("event", {"name": "add", "data": {"commerce": {**CART, "orderId": "1", "items": [{"price": "x"}]}}},
         {"revenue": None}),
        ("pageview", {}, {"type": EventType.PAGEVIEW}),
        ("event", {"name": "outbound-link-click", "data": {"url": "https://b.example/"}},
         {"type": EventType.OUTBOUND, "name": "", "props": {"url": "https://b.example/"}}),
        ("event", {"event_type": "click", "event_value": "buy"},
         {"type": EventType.CUSTOM, "name": "buy", "props": {"event_type": "click"}}),
        ("event", {"event_name": "buy", "event_data": {"a": 1}}, {"name": "buy", "props": {"a": 1}}),
        ("identify", {"id": "u", "data": {"plan": "pro"}},
         {"type": EventType.IDENTIFY, "user": "u", "props": {"plan": "pro"}}),
        ("performance", {"lcp": 1200, "cls": 0.1}, {"type": EventType.WEB_VITAL, "props": {"lcp": 1200, "cls": 0.1}}),
        ("engagement", {"engagement": 4200}, {"type": EventType.ENGAGEMENT, "engaged_ms": 4200}),
    ],
)  # fmt: skip
def test_the_kinds_of_events(kind: str, fields: dict[str, Any], expected: dict[str, Any]) -> None:
    event = reading.event(PROTOCOL, sent(kind, **fields))
    assert {field: getattr(event, field) for field in expected} == expected


def test_one_bad_event_of_a_batch_is_refused_alone() -> None:
    good = {"type": "event", "payload": VIEW}
    bad = (7, {"type": "x", "payload": VIEW}, {"type": "event"})
    found = reading.batch(PROTOCOL, Sent("/api/batch", [good, *bad, good]))
    assert [isinstance(item, Refusal) for item in found.items] == [False, True, True, True, False]
    answer = json.loads(reading.answered(PROTOCOL, found).body)
    assert (answer["size"], answer["processed"], answer["errors"]) == (5, 2, 3)
    assert [detail["index"] for detail in answer["details"]] == [1, 2, 3]


def test_the_answers() -> None:
    ok = PROTOCOL.answer(Outcome("", 1, 0, ()))
    assert (ok.status, set(json.loads(ok.body))) == (200, {"cache", "sessionId", "visitId"})
    for reason, status in (
        (Reason.UNKNOWN_SITE, 400),
        (Reason.MALFORMED, 400),
        (Reason.TOO_LARGE, 413),
        (Reason.OPTED_OUT, 403),
    ):
        refused = PROTOCOL.answer(Outcome("", 0, 0, (Refusal(0, reason, "why"),)))
        assert (refused.status, json.loads(refused.body)["error"]["message"]) == (status, "why")
    login = reading.read(PROTOCOL, Sent("/api/auth/login", {"username": "a", "password": "KEY"}))
    assert isinstance(login, Answer)
    assert json.loads(login.body)["token"] == "KEY"
    error = reading.read(PROTOCOL, Sent("/api/send", {"type": "error", "payload": {"website": "w"}}))
    assert isinstance(error, Answer) and (error.status, json.loads(error.body)["ok"]) == (200, False)
    for path, method in (("/api/heartbeat", "GET"), ("/api/record", "POST"), ("/api/auth/verify", "POST")):
        assert getattr(reading.read(PROTOCOL, Sent(path, method=method)), "status", 0) == 200
    assert getattr(reading.read(PROTOCOL, Sent("/api/auth/login", b"x")), "status", 0) == 401


PAYLOADS = st.dictionaries(st.sampled_from([*VIEW, "data", "id", "timestamp"]), VALUES)


@given(st.binary() | VALUES | st.lists(VALUES), PAYLOADS)
def test_any_body_is_answered(body: object, payload: dict[str, Any]) -> None:
    for path in (PATH, "/api/batch", "/api/auth/login"):
        reading.holds_for_any(PROTOCOL, Sent(path, body))
    reading.holds_for_any(PROTOCOL, sent("event", {}, **payload))


def test_each_line_of_the_table_is_true() -> None:
    bare: dict[str, Any] = {
        "url": "https://example.com/u", "referrer": "https://r.example/", "title": "T", "screen": "1x2",
        "language": "de", "ip": "192.0.2.7", "userAgent": "Mozilla/5.0 (X11)", "timestamp": 1_700_000_000,
    }  # fmt: skip
    shown = {"ip": "192.0.2.7", "userAgent": "X11", "timestamp": 1_700_000_000_000}
    left_out = ("browser", "os", "device", "vid", "link", "pixel")
    reading.table_is_true(
        PROTOCOL,
        {
            "type": (sent("identify"), "identify"),
            "website": (sent(), WEBSITE),
            "hostname": (sent(url="/a"), "https://example.com/a"),
            **{name: (sent(**{name: value}), shown.get(name, value)) for name, value in bare.items()},
            "name": (sent(name="signup"), "signup"),
            "data": (sent(data={"plan": "pro"}), "pro"),
            "data.revenue": (sent(name="paid", data={"revenue": 12}), 12),
            "data.currency": (sent(name="paid", data={"revenue": 12, "currency": "EUR"}), "EUR"),
            "data.commerce": (sent(name="paid", data={"commerce": {**CART, "orderId": "o"}}), "23.5"),
            "data.commerce.orderId": (sent(name="paid", data={"commerce": {**CART, "orderId": "o-1"}}), "o-1"),
            **{name: (sent(**{name: "a-mark"}), "a-mark") for name in ("event_name", "event_value", "event_type")},
            "event_data": (sent(name="a", event_data={"a": "a-mark"}), "a-mark"),
            "type error": (Sent("/api/send", {"type": "error", "payload": {"a": "a-mark"}}), "a-mark"),
            "tag": (sent(tag="b"), "b"),
            "id": (sent(id="u-1"), "u-1"),
            "engagement": (sent("engagement", engagement=4200), 4200),
            **{vital: (sent("performance", **{vital: 0.5}), 0.5) for vital in ("lcp", "inp", "cls", "fcp", "ttfb")},
            **{name: (sent(**{name: "a-mark"}), "a-mark") for name in left_out},
            "header x-umami-api-key": (sent(headers={"x-umami-api-key": "a-mark"}), "a-mark"),
            "header x-umami-cache": (sent(headers={"x-umami-cache": "a-mark"}), "a-mark"),
        },
    )


@pytest.mark.parametrize("path", ["/undefined", "/null", "/shop/undefined", "/None"])
def test_where_a_broken_link_leads_is_a_page(path: str) -> None:
    payload = {"website": "w", "hostname": "example.com", "url": path}
    for url in (path, f"https://example.com{path}"):
        sent = Sent("/api/send", {"type": "event", "payload": payload | {"url": url}})
        assert reading.event(PROTOCOL, sent).url == f"https://example.com{path}"


@pytest.mark.parametrize("nothing", ["undefined", "null"])
def test_what_stands_for_no_address_is_no_page(nothing: str) -> None:
    payload = {"website": "w", "hostname": "example.com", "url": nothing, "name": "e"}
    assert reading.event(PROTOCOL, Sent("/api/send", {"type": "event", "payload": payload})).url == ""
