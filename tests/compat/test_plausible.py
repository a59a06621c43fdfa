"""Plausible's events, as its tracker and servers send them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity.compat.plausible import PROTOCOL
from activity.compat.protocol import Outcome
from activity.event import EventType
from activity.incoming import Revenue, Search
from activity.refusal import Reason, Refusal
from tests.compat import reading
from tests.compat.reading import VALUES, Sent

PATH = "/api/event"
VIEW = {"n": "pageview", "v": 36, "u": "https://example.com/a?utm_source=x#top", "d": "example.com", "r": None}
PING = {"n": "engagement", "sd": 40, "d": "example.com", "u": "https://example.com/a", "p": {}, "e": 4200, "v": 36}


def sent(**fields: Any) -> Sent:
    return Sent(PATH, {**VIEW, **fields})


def test_a_page_view() -> None:
    event = reading.event(PROTOCOL, sent(r="https://search.example/", p={"plan": "pro", "nested": {"a": [1]}}))
    assert (event.type, event.url) == (EventType.PAGEVIEW, "https://example.com/a?utm_source=x")
    assert (event.site, event.referrer) == ("example.com", "https://search.example/")
    assert (event.name, event.client, event.id, event.ts) == ("", "", None, None)
    assert event.props == {"plan": "pro", "nested": '{"a":[1]}'}


def test_the_long_names_of_a_server() -> None:
    body = {"name": "Signup", "url": "https://example.com/a", "domain": "www.example.com", "props": '{"plan": "pro"}'}
    body |= {"referrer": "https://a.example/", "revenue": {"currency": "EUR", "amount": "12.50"}, "interactive": False}
    headers = {"Authorization": "Bearer KEY", "X-Forwarded-For": "192.0.2.1, 10.0.0.1"}
    found = reading.batch(PROTOCOL, Sent(PATH, body, headers))
    (event,) = found.items
    assert found.credential == "KEY"
    assert event.type is EventType.CUSTOM
    assert event == reading.event(
        PROTOCOL,
        Sent(
            PATH,
            {"n": "Signup", "u": "https://example.com/a", "p": {"plan": "pro"}, "r": "https://a.example/", "i": "false"}
            | {"$": {"currency": "EUR", "amount": "12.50"}},
            {"X-Plausible-IP": "192.0.2.1"},
        ),
    )
    assert event.revenue == Revenue("12.50", "EUR")


@pytest.mark.parametrize(
    ("fields", "kind", "name", "more"),
    [
        ({"n": "Outbound Link: Click", "p": {"url": "https://a.example/"}}, EventType.OUTBOUND, "", {}),
        ({"n": "File Download", "p": {"url": "https://example.com/a.pdf"}}, EventType.DOWNLOAD, "", {}),
        ({"n": "Form: Submission"}, EventType.FORM, "", {}),
        ({"n": "404", "p": {"path": "/a"}}, EventType.NOT_FOUND, "", {}),
        ({"n": "search", "p": {"query": "shoes", "results": 3}}, EventType.SEARCH, "", {"search": Search("shoes", 3)}),
        ({"n": "WP Search Queries", "p": {"search_query": "hats", "result_count": "0"}}, EventType.SEARCH, "",
         {"search": Search("hats", 0)}),
        ({"n": "search", "p": {"colour": "red"}}, EventType.CUSTOM, "search", {}),
        ({"n": "engagement", "e": 4200, "sd": 40}, EventType.ENGAGEMENT, "",
         {"engaged_ms": 4200, "props": {"scroll_depth": 40}}),
        ({"n": "pageleave", "sd": 25, "p": {"plan": "pro"}}, EventType.ENGAGEMENT, "",
         {"props": {"scroll_depth": 25, "plan": "pro"}}),
        ({"n": "engagement", "sd": 101}, EventType.ENGAGEMENT, "", {"props": {"scroll_depth": 100}}),
        ({"n": "engagement", "sd": -1, "p": {}}, EventType.ENGAGEMENT, "", {"props": {}}),
        ({"n": "WP Form Completions", "p": {"path": "/contact"}}, EventType.FORM, "", {"props": {"path": "/contact"}}),
        ({"n": "Signup", "p": "a text"}, EventType.CUSTOM, "Signup", {"props": {"props": "a text"}}),
        ({"n": "Signup", "p": "[]"}, EventType.CUSTOM, "Signup", {"props": {}}),
        ({"n": "Signup", "i": False}, EventType.CUSTOM, "Signup", {"interactive": False}),
        ({"h": 1, "u": "https://example.com/#/b"}, EventType.PAGEVIEW, "", {"url": "https://example.com/#/b"}),
        ({"h": 1, "u": "https://example.com/#b"}, EventType.PAGEVIEW, "", {"url": "https://example.com/#/b"}),
    ],
)  # fmt: skip
def test_what_the_tracker_names(fields: dict[str, Any], kind: EventType, name: str, more: dict[str, Any]) -> None:
    event = reading.event(PROTOCOL, sent(**fields))
    assert (event.type, event.name) == (kind, name)
    assert {field: getattr(event, field) for field in more} == more


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({"X-Forwarded-For": " unknown, 192.0.2.1, 10.0.0.1"}, "192.0.2.1"),
        ({"X-Forwarded-For": "unknown"}, ""),
        ({"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.2"}, "192.0.2.1"),
        ({"X-Forwarded-For": "192.0.2.1", "X-Plausible-IP": "192.0.2.3"}, "192.0.2.3"),
        ({"Forwarded": 'by=10.0.0.1;For="[2001:db8::1]:4711", for=10.0.0.2;proto=https'}, "[2001:db8::1]:4711"),
        ({"Forwarded": "for=unknown, for=192.0.2.4"}, "192.0.2.4"),
        ({"Forwarded": "proto=https;before=192.0.2.5"}, ""),
        ({}, ""),
    ],
)
def test_the_visitors_address_in_the_headers(headers: dict[str, str], address: str) -> None:
    body = {"n": "pageview", "u": "https://example.com/"}
    assert reading.event(PROTOCOL, Sent(PATH, body, headers)).address == address


def test_a_list_of_domains_fans_out() -> None:
    items = reading.batch(PROTOCOL, sent(d="example.com, www.shop.example,example.com,")).items
    assert [item.site for item in items if not isinstance(item, Refusal)] == ["example.com", "shop.example"]
    (few,) = reading.batch(PROTOCOL, sent(d=",".join(f"{n}.example" for n in range(60)))).items
    assert isinstance(few, Refusal)
    assert reading.event(PROTOCOL, sent(d="")).site == "example.com"


def test_the_answers() -> None:
    ok = PROTOCOL.answer(Outcome("", 1, 0, ()))
    assert (ok.status, ok.body, ok.headers) == (202, b"ok", ())
    unknown = Refusal(1, Reason.UNKNOWN_SITE, "no")
    partly = PROTOCOL.answer(Outcome("", 1, 0, (unknown,)))
    assert (partly.status, partly.body, partly.headers) == (202, b"ok", ((b"x-plausible-dropped", b"1"),))
    assert PROTOCOL.answer(Outcome("", 0, 0, (unknown,))).status == 202
    assert PROTOCOL.answer(Outcome("", 0, 0, (Refusal(0, Reason.TOO_LARGE, "no"),))).status == 413
    for body in (b"", b"garbage", b"[]", {"n": "pageview"}, {"u": "https://example.com/"}):
        answer = reading.answered(PROTOCOL, reading.batch(PROTOCOL, Sent(PATH, body)))
        assert answer.status == 400
        assert json.loads(answer.body)["errors"]["request"][0]
    health = reading.read(PROTOCOL, Sent("/api/health", method="GET"))
    assert getattr(health, "status", 0) == 200


NAMES = ("n", "name", "u", "url", "d", "domain", "r", "p", "m", "$", "i", "h", "sd", "e")


@given(st.binary() | st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8), st.text())
def test_any_body_is_answered(body: object, name: str) -> None:
    reading.holds_for_any(PROTOCOL, Sent(PATH, body))
    reading.holds_for_any(PROTOCOL, sent(n=name, d=name, p={name: name}, h=1))


def test_each_line_of_the_table_is_true() -> None:
    bare = {"n": "goal", "u": "https://example.com/"}
    paid = {"currency": "EUR", "amount": 12}
    full = {"name": "goal", "url": "https://example.com/long", "domain": "example.com"}
    reading.table_is_true(
        PROTOCOL,
        {
            "n": (sent(n="goal"), "custom"),
            "name": (Sent(PATH, full), "goal"),
            "u": (sent(u="https://example.com/u"), "/u"),
            "url": (Sent(PATH, full), "/long"),
            "d": (sent(d="shop.example"), "shop.example"),
            "domain": (Sent(PATH, full), "example.com"),
            "r": (sent(r="https://r.example/"), "r.example"),
            "referrer": (Sent(PATH, full | {"referrer": "https://r.example/"}), "r.example"),
            **{key: (Sent(PATH, bare | {key: {"plan": "pro"}}), "pro") for key in ("p", "props", "m", "meta")},
            "$": (sent(**{"$": paid}), "EUR"),
            "revenue": (sent(revenue=paid), 12),
            "i": (sent(i=False), False),
            "interactive": (sent(interactive=False), False),
            "h": (sent(h=1, u="https://example.com/#/b"), "#/b"),
            "hashMode": (sent(hashMode=1, u="https://example.com/#/b"), "#/b"),
            "sd": (Sent(PATH, PING), 40),
            "e": (Sent(PATH, PING), 4200),
            "v": (sent(v=987_654), 987_654),
            "w": (sent(w=987_654), 987_654),
            "screen_width": (sent(screen_width=987_654), 987_654),
            "header X-Forwarded-For": (Sent(PATH, bare, {"X-Forwarded-For": "192.0.2.7"}), "192.0.2.7"),
            "header Forwarded": (Sent(PATH, bare, {"Forwarded": "for=192.0.2.7;proto=https"}), "192.0.2.7"),
            "header X-Plausible-IP": (Sent(PATH, bare, {"X-Plausible-IP": "192.0.2.7"}), "192.0.2.7"),
        },
    )
