"""GoatCounter's counts, as its script and servers send them."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity.compat.goatcounter import PROTOCOL
from activity.compat.protocol import Answer, Outcome, TrackerBatch
from activity.event import EventType
from activity.refusal import Reason, Refusal
from tests.compat import reading
from tests.compat.reading import VALUES, Sent

API = "/api/v0/count"
VIEW = {
    "p": "/a", "r": "https://search.example/", "t": "Home é", "s": "1920,1080,1.5", "b": "0", "q": "?q=hats",
    "rnd": "x1y2z",
}  # fmt: skip


def sent(path: str = "/count/shop", headers: dict[str, str] | None = None, method: str = "GET", **fields: str) -> Sent:
    return Sent(path, b"", headers or {}, urlencode({**VIEW, **fields}), method)


def hits(*each: object, **more: Any) -> Sent:
    return Sent(API, {"hits": each, **more}, {"Authorization": "Bearer KEY"})


def test_a_page_view() -> None:
    event = reading.event(PROTOCOL, sent())
    assert (event.type, event.site, event.url) == (EventType.PAGEVIEW, "shop", "/a?q=hats")
    assert (event.title, event.referrer, event.screen) == ("Home é", "https://search.example/", "1920x1080")
    assert (event.id, event.ts, event.client, event.name, event.props) == (None, None, "", "", {})
    assert reading.event(PROTOCOL, sent(method="POST")) == event  # sendBeacon
    assert reading.event(PROTOCOL, sent(p="a?x=1")).url == "/a?x=1"


@pytest.mark.parametrize(
    ("sent", "url"),
    [
        ({"p": "/a?page=2", "q": "?page=2&utm_source=letter"}, "/a?page=2&utm_source=letter"),  # of a canonical link
        ({"p": "/a?page=2", "q": "?page=3&token=x&gclid=1&ref=r"}, "/a?page=2&gclid=1&ref=r"),
        *(({"p": "/a?page=2", "q": f"?page=2&token=x&{name}=5"}, f"/a?page=2&{name}=5")
          for name in ("msclkid", "gbraid", "gad_source", "li_fat_id", "mc_cid", "_hsmi", "MATOMO_campaign")),
        ({"p": "/a?page=2", "q": "?page=2"}, "/a?page=2"),
        ({"p": "/a?", "q": "x=1"}, "/a?x=1"),
        ({"p": "/a?x=1#/b", "q": "?x=1&fbclid=U"}, "/a?x=1&fbclid=U#/b"),
        ({"p": "/a?x=1#top", "q": "?x=1&token=x"}, "/a?x=1#top"),
        ({"p": "/a#/b", "q": "?x=1&utm_source=l"}, "/a?x=1&utm_source=l#/b"),
        ({"p": "/#/b?tab=2", "q": ""}, "/#/b?tab=2"),
        ({"p": "/#/b?tab=2", "q": "?tab=2"}, "/#/b?tab=2"),
        ({"p": "/#/b?tab=2", "q": "?tab=2&utm_source=l"}, "/?utm_source=l#/b?tab=2"),
        ({"p": "/a", "q": "", "h": "www.example.com"}, "https://www.example.com/a"),
        ({"p": "a", "q": "x=1", "h": "localhost:8080"}, "https://localhost:8080/a?x=1"),
        ({"p": "https://example.com/a", "q": "", "h": "www.example.com"}, "https://example.com/a"),
        ({"p": "/a", "q": "", "h": "no host/"}, "/a"),
    ],
)  # fmt: skip
def test_the_address_of_a_page(sent: dict[str, str], url: str) -> None:
    event = reading.event(PROTOCOL, Sent("/count/shop", b"", {}, urlencode(sent), "GET"))
    assert event.url == url
    hit = {name: sent.get(key) for name, key in (("path", "p"), ("query", "q"), ("host", "h"))}
    assert reading.event(PROTOCOL, hits(hit)).url == url


def test_a_path_may_begin_with_the_pages_host() -> None:
    def url(headers: dict[str, str], **query: str) -> str:
        return reading.event(PROTOCOL, Sent("/count/shop", b"", headers, urlencode(query), "GET")).url

    page = {"Referer": "https://www.example.com/"}
    assert url(page, p="www.example.com/a#/b") == "/a#/b"
    assert url({}, p="Shop.example.com/a", h="shop.example.com") == "https://shop.example.com/a"
    assert url(page, p="www.example.community/a") == "/www.example.community/a"
    assert url(page, p="example.html") == "/example.html"
    event = reading.event(PROTOCOL, Sent("/count/shop", b"", page, "p=www.example.com/a&e=1", "GET"))
    assert event.name == "www.example.com/a"


def test_what_a_program_asks_before_it_sends() -> None:
    key = {"Authorization": "Bearer KEY"}
    may = [reading.read(PROTOCOL, Sent("/api/v0/me", b"", headers, "", "GET")) for headers in (key, {})]
    assert [answer.status for answer in may if isinstance(answer, Answer)] == [200, 401]
    assert isinstance(may[0], Answer) and json.loads(may[0].body)["token"]["permissions"] == 2


def test_a_click() -> None:
    event = reading.event(PROTOCOL, sent(p="buy-now", e="true"))
    assert (event.type, event.name, event.url) == (EventType.CUSTOM, "buy-now", "")


@pytest.mark.parametrize("name", ["None", "nil", "NULL", "NaN", "(null)", "0" * 16])
def test_a_page_may_be_called_like_nobody(name: str) -> None:
    assert reading.event(PROTOCOL, sent(p=name)).url == f"/{name}?q=hats"
    assert reading.event(PROTOCOL, hits({"path": f"/{name}"})).url == f"/{name}"


@pytest.mark.parametrize("name", ["undefined", "null", "None", "nil"])
def test_an_event_may_be_called_like_nobody(name: str) -> None:
    assert reading.event(PROTOCOL, sent(p=name, e="true")).name == name
    assert reading.event(PROTOCOL, hits({"path": name, "event": True})).name == name


def test_the_site_is_that_of_the_page_if_the_address_names_none() -> None:
    assert reading.event(PROTOCOL, sent("/count", {"Referer": "https://www.example.com/a"})).site == "www.example.com"
    assert reading.event(PROTOCOL, sent("/count", {"Origin": "https://example.com:8443"})).site == "example.com"
    assert reading.event(PROTOCOL, sent("/count")).site == ""


def test_who_has_not_seen_the_page_is_not_counted() -> None:
    answers = [reading.read(PROTOCOL, sent(headers={"Sec-Purpose": "prefetch;prerender"}))]
    answers.append(reading.read(PROTOCOL, sent(headers={"Purpose": "prefetch"})))
    answers.append(reading.answered(PROTOCOL, reading.batch(PROTOCOL, sent(b="153"))))
    answers.append(reading.answered(PROTOCOL, reading.batch(PROTOCOL, sent(b="7"))))
    assert [answer.status for answer in answers if isinstance(answer, Answer)] == [200, 200, 202, 400]


def test_hits_of_a_server() -> None:
    first = {"path": "/a", "title": "A", "ref": "r", "size": [1, 2, 1], "query": "q=x", "session": "v-1"}
    first |= {"ip": "192.0.2.1", "user_agent": "Mozilla/5.0", "created_at": "2025-06-01T12:00:00Z"}
    others = ({"title": "no path"}, 7, {"path": "buy", "event": True}, {"path": "/", "bot": 150})
    found = reading.batch(PROTOCOL, hits(first, *others))
    assert found.credential == "KEY"
    basic = {"Authorization": f"Basic {base64.b64encode(b'any:KEY').decode()}"}
    assert reading.batch(PROTOCOL, Sent(API, {"hits": [first]}, basic)).credential == "KEY"
    assert [item.reason if isinstance(item, Refusal) else item.type for item in found.items] == [
        EventType.PAGEVIEW, Reason.MISSING_FIELD, Reason.MALFORMED, EventType.CUSTOM, Reason.NOT_ALLOWED,
    ]  # fmt: skip
    event = found.items[0]
    assert not isinstance(event, Refusal)
    assert (event.client, event.address, event.agent) == ("v-1", "192.0.2.1", "Mozilla/5.0")
    assert (event.url, event.screen, event.ts) == ("/a?q=x", "1x2", "2025-06-01T12:00:00Z")
    answer = reading.answered(PROTOCOL, found)
    assert (answer.status, set(json.loads(answer.body)["errors"])) == (400, {"1", "2", "4"})


def test_the_answers() -> None:
    pixel = PROTOCOL.answer(Outcome("", 1, 0, ()))
    assert (pixel.status, pixel.content_type, pixel.body[:6]) == (200, b"image/gif", b"GIF89a")
    assert PROTOCOL.answer(Outcome("", 0, 0, (Refusal(0, Reason.UNKNOWN_SITE, "why\n"),))).headers == (
        (b"x-goatcounter", b"not counted: why?"),
    )
    for query in ("", "p=undefined", "p=null"):
        nothing = reading.answered(PROTOCOL, reading.batch(PROTOCOL, Sent("/count", query=query, method="GET")))
        assert (nothing.status, nothing.body[:3]) == (400, b"GIF")
    ok = PROTOCOL.answer(Outcome("hits", 1, 0, ()))
    assert (ok.status, ok.body) == (202, b'{"status":"ok"}')
    assert PROTOCOL.answer(Outcome("hits", 0, 0, (Refusal(0, Reason.UNKNOWN_SITE, "why"),))).status == 403
    assert PROTOCOL.answer(Outcome("hits", 0, 0, (Refusal(0, Reason.TOO_LARGE, "why"),))).status == 413
    for body in (b"", b"x", b"[]", {"hits": []}):
        assert reading.answered(PROTOCOL, reading.batch(PROTOCOL, Sent(API, body))).status == 400


HITS = st.dictionaries(st.sampled_from(["path", "size", "event", "bot", "created_at", "query", "title"]), VALUES)


@given(st.binary() | VALUES, st.text(st.characters(max_codepoint=255)), st.lists(VALUES | HITS, max_size=4))
def test_anything_is_answered(body: object, query: str, each: list[Any]) -> None:
    reading.holds_for_any(PROTOCOL, Sent(API, body))
    reading.holds_for_any(PROTOCOL, hits(*each))
    reading.holds_for_any(PROTOCOL, Sent("/count", query=query, method="GET"))
    reading.holds_for_any(PROTOCOL, Sent("/count", query="p=%ff&" + query, method="GET"))


def test_each_line_of_the_table_is_true() -> None:
    full = {"path": "/hit", "query": "x=1", "title": "T", "ref": "https://r.example/", "size": "3,4,1", "bot": 0}
    full |= {"created_at": "2025-06-01T12:00:00Z", "session": "v-1", "ip": "192.0.2.7", "user_agent": "X11"}
    marks = {**full, "size": "3x4", "bot": 987_654}
    assert isinstance(reading.read(PROTOCOL, hits({"path": "/", "bot": 987_654})), TrackerBatch)
    reading.table_is_true(
        PROTOCOL,
        {
            "p": (sent(), "/a"),
            "q": (sent(), "q=hats"),
            "t": (sent(), "Home"),
            "r": (sent(), "search.example"),
            "e": (sent(e="1"), "custom"),
            "s": (sent(), "1920x1080"),
            "b": (sent(b="153"), "/a"),
            "rnd": (sent(), "x1y2z"),
            "h": (sent(h="www.example.com"), "www.example.com"),
            "host": (hits({**full, "host": "www.example.com"}), "www.example.com"),
            **{name: (hits(full), mark) for name, mark in marks.items()},
            "event": (hits({**full, "event": True}), "custom"),
            "bot": (hits({**full, "bot": 153}), "/hit"),
            "location": (hits({**full, "location": "a-mark"}), "a-mark"),
            "no_sessions": (hits(full, no_sessions="a-mark"), "a-mark"),
            "filter": (hits(full, filter=["a-mark"]), "a-mark"),
        },
    )
