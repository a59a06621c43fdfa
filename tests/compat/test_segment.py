"""Requests as Segment's, RudderStack's and Jitsu's clients send them, and what becomes of each of their fields."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity.compat import segment
from activity.compat.protocol import Answer, Outcome, Tracked, TrackerBatch, TrackerRequest
from activity.compat.registry import find
from activity.compat.segment_messages import Message
from activity.event import EventType
from activity.incoming import DEFAULT_LIMITS, Revenue, Search
from activity.refusal import Reason, Refusal

PAGE = {"url": "https://example.com/a?q=shoes", "path": "/a", "referrer": "https://r.example/", "title": "A"}
BASIC = {b"authorization": b"Basic " + base64.b64encode(b"the-key:")}


def read(path: str, body: object = b"", query: str = "", headers: dict[bytes, bytes] | None = None) -> Any:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    method = "POST" if sent else "GET"
    return segment.read(TrackerRequest(method, path, query, headers or {}, sent), DEFAULT_LIMITS)


def one(path: str, body: object = b"", query: str = "", headers: dict[bytes, bytes] | None = None) -> Tracked:
    batch = read(path, body, query, headers)
    assert isinstance(batch, TrackerBatch)
    (event,) = batch.items
    assert isinstance(event, Tracked), event
    return event


def message(kind: str = "track", **more: object) -> dict[str, object]:
    basic = {"track": {"event": "Signed Up"}, "page": {"properties": {"url": "/a"}}, "screen": {"name": "Cart"}}
    return {"type": kind, "anonymousId": "a", "messageId": "m-1", **basic.get(kind, {}), **more}


def test_a_page_of_the_browser() -> None:
    # What @segment/analytics-next sends to /v1/p, shortened where parts repeat.
    sent = {
        "timestamp": "2026-11-28T09:00:00.000Z", "integrations": {}, "userId": None, "anonymousId": "4c9e",
        "type": "page", "name": "Pricing", "category": "Docs",
        "properties": {**PAGE, "search": "?q=shoes", "name": "Pricing", "category": "Docs", "plan": {"name": "pro"}},
        "context": {
            "page": {**PAGE, "search": "?q=shoes"}, "userAgent": "Mozilla/5.0", "locale": "de-DE",
            "userAgentData": {"brands": [], "mobile": False}, "library": {"name": "analytics.js", "version": "next"},
            "timezone": "Europe/Berlin", "campaign": {"name": "spring", "source": "mail"},
        },
        "messageId": "ajs-next-1", "writeKey": "the-key", "sentAt": "2026-11-28T09:00:01.000Z", "_metadata": {},
    }  # fmt: skip
    batch = read("/v1/p", sent, headers=BASIC)
    assert batch.credential == "the-key"
    assert batch.items == [
        Tracked(
            site="", type=EventType.PAGEVIEW, url=f"{PAGE['url']}&utm_source=mail&utm_campaign=spring",
            referrer="https://r.example/", title="A", language="de-DE", id="ajs-next-1", client="4c9e",
            props={"name": "Pricing", "category": "Docs", "plan": '{"name":"pro"}'}, agent="Mozilla/5.0",
            ts="2026-11-28T09:00:00.000Z", sent_at=1_795_856_401_000,
        )
    ]  # fmt: skip


def test_a_batch_of_a_server() -> None:
    # rudder-sdk-python: Basic alone, the traits in the context.
    batch = read(
        "/v1/batch",
        {
            "batch": [
                message("identify", userId=12, context={"traits": {"plan": "pro"}, "ip": "198.51.100.7"}),
                message("track", event="Order Completed", properties={"total": 12.5, "currency": "EUR", "coupon": "x"}),
                message("alias", previousId="old", userId="new"),
                message("group", groupId="g", traits={"size": 3}),
                message("screen", name="Cart / Pay"),
                message("track", event="Products Searched", properties={"query": "shoes", "results": 3}),
                message("track", event="search", properties={"term": "hats"}),
                {"type": "track", "event": "nobody's"},
                "no message",
                message("page", properties=[], context=[]),
            ],
            "sentAt": "2026-11-28T09:00:01+00:00",
        },
        headers=BASIC,
    )
    assert (batch.credential, batch.sent_at) == ("the-key", 1_795_856_401_000)
    identify, order, alias, group, screen, searched, named, *refused = batch.items
    assert (identify.type, identify.user, identify.client) == (EventType.IDENTIFY, "12", "a")
    assert (identify.props, identify.address) == ({"plan": "pro"}, "198.51.100.7")
    assert (order.revenue, order.props) == (Revenue(12.5, "EUR"), {"coupon": "x"})
    assert (alias.type, alias.client, alias.user) == (EventType.IDENTIFY, "old", "new")
    assert (group.name, group.props, group.interactive) == ("group", {"size": 3, "groupId": "g"}, False)
    assert (screen.type, screen.url, screen.title) == (EventType.PAGEVIEW, "/Cart%20/%20Pay", "Cart / Pay")
    assert (searched.type, searched.search) == (EventType.SEARCH, Search("shoes", 3))
    assert (named.type, named.search) == (EventType.SEARCH, Search("hats"))
    assert [(refusal.index, refusal.reason) for refusal in refused] == [
        (7, Reason.MISSING_FIELD), (8, Reason.UNKNOWN_FIELD_TYPE), (9, Reason.MISSING_FIELD),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("screen", {"name": None, "category": "Feed"}, {"url": "/Feed", "title": "Feed"}),
        ("screen", {"name": "", "properties": {"name": "Home"}}, {"url": "/Home", "title": "Home"}),
        ("alias", {"userId": "u"}, {"client": "a", "user": "u"}),
        ("track", {"event": "Completed Order", "properties": {"total": 30, "currency": "USD"}},
         {"revenue": Revenue(30, "USD")}),
        ("track", {"event": "Order Completed", "properties": {"revenue": 25, "total": 30}},
         {"revenue": Revenue(25), "props": {"total": 30}}),
        ("track", {"event": "Order Refunded", "properties": {"total": "30", "currency": "USD"}},
         {"revenue": Revenue("-30", "USD")}),
        *(
            ("track", {"event": name, "properties": {"total": 30, **no_revenue}}, {"revenue": Revenue(30)})
            for name in ("order_completed", "orderCompleted", "Order-Completed", "ORDER COMPLETED")
            for no_revenue in ({}, {"revenue": None}, {"revenue": ""})
        ),
        ("track", {"event": "order_completed", "properties": {"revenue": 0, "total": 30}}, {"revenue": Revenue(0)}),
        ("track", {"event": "Order Completed", "properties": {"value": 12}}, {"revenue": Revenue(12), "props": {}}),
        ("track", {"event": "Cart Viewed", "properties": {"value": 12}}, {"revenue": None, "props": {"value": 12}}),
        ("track", {"event": "checkout_started", "properties": {"revenue": 12}}, {"revenue": None}),
        ("track", {"event": "products_searched", "properties": {"query": "hats"}}, {"search": Search("hats")}),
        *(
            ("track", {"event": name}, {"interactive": False})
            for name in ("Application Foregrounded", "application_opened", "Experiment Viewed", "Video Content Playing")
        ),
        ("track", {"event": "Video Playback Started"}, {"interactive": True}),
        *((kind, {"userId": nobody, "anonymousId": nobody, "previousId": nobody}, None) for kind in ("track", "alias")
          for nobody in ("undefined", "None", "(null)", " ", "0" * 16)),
        ("alias", {"userId": "u", "anonymousId": "null", "previousId": "None"}, None),
        *(("track", {"anonymousId": nobody, "userId": "u"}, {"client": "u", "user": "u"})
          for nobody in ("undefined", "null", "00000000-0000-0000-0000-000000000000", "  ", False, [], {}, None)),
        *(("track", {"userId": nobody}, {"client": "a", "user": ""})
          for nobody in ("None", "nil", "(null)", " ", False, [], {}, "null")),
        ("track", {"userId": 0}, {"user": "0"}),
        ("alias", {"previousId": "undefined", "userId": "u"}, {"client": "a", "user": "u"}),
        ("page", {"context": {"referrer": {"type": "web", "url": "https://r.example/"}}},
         {"referrer": "https://r.example/"}),
        ("page", {"context": {"referrer": "https://r.example/", "page": {"referrer": "https://s.example/"}}},
         {"referrer": "https://s.example/"}),
        ("page", {"context": {"referrer": {"url": ["https://r.example/"]}}}, {"referrer": ""}),
        ("page", {"context": {"referrer": "https://r.example/"}}, {"referrer": "https://r.example/"}),
        *(("page", {"userId": 5, "context": {"referrer": named}}, {"user": "5", "referrer": meant})
          for named, meant in (({"url": "https://r.example/"}, "https://r.example/"), ({"url": 5}, ""), (["a"], ""))),
        *(("page", {"context": {"campaign": campaign}}, {"url": "/a?utm_source=news&utm_campaign=may"})
          for campaign in ({"source": "news", "name": "may"}, {"utm_source": "news", "utm_campaign": "may"},
                           {"source": "news", "campaign": "may"})),
        ("page", {"context": {"campaign": "may"}}, {"url": "/a"}),
        ("page", {"properties": {"path": "/s", "search": "?q=shoes"}}, {"url": "/s?q=shoes", "props": {}}),
        ("page", {"properties": {"url": "/s"}, "context": {"page": {"search": "?q=shoes"}}}, {"url": "/s"}),
    ],
)  # fmt: skip
def test_what_a_message_amounts_to(
    kind: str, fields: dict[str, object], expected: dict[str, object] | None
) -> None:
    if expected is None:
        (refused,) = read(f"/v1/{kind}", message(kind, **fields)).items
        assert refused.reason is Reason.MISSING_FIELD
        return
    event = one(f"/v1/{kind}", message(kind, **fields))
    assert {field: getattr(event, field) for field in expected} == expected


def test_the_context_of_a_batch_is_that_of_its_messages() -> None:
    own = message("track", context={"locale": "fr", "active": False})
    batch = read("/v1/batch", {"batch": [own, message()], "context": {"locale": "de", "ip": "198.51.100.7"}})
    assert [(event.language, event.address, event.interactive) for event in batch.items] == [
        ("fr", "198.51.100.7", False), ("de", "198.51.100.7", True),
    ]  # fmt: skip


def test_the_referrer_of_a_batch_is_that_of_its_messages() -> None:
    for named in ("https://r.example/", {"url": "https://r.example/"}):
        (event,) = read("/v1/batch", {"batch": [message()], "context": {"referrer": named}}).items
        assert event.referrer == "https://r.example/"


def test_where_the_key_may_stand() -> None:
    assert read("/v1/track", message(), headers=BASIC).credential == "the-key"
    assert read("/v1/track", message(writeKey="in-body"), headers=BASIC).credential == "in-body"
    assert read("/beacon/v1/batch", {"batch": [message()]}, "writeKey=in-query").credential == "in-query"
    assert read("/v1/batch", b'{"writeKey": "secret-12345", "batch": [', headers=BASIC).credential == "secret-12345"
    jitsu = read("/api/s/s2s/track", message(writeKey="id:***"), headers={b"x-write-key": b"id:secret"})
    assert (jitsu.credential, jitsu.items[0].site) == ("id:secret", "id")
    ends = {b"authorization": b"Basic " + base64.b64encode(b"the-key\n:")}  # as of a file
    assert read("/v1/track", message(), headers=ends).credential == "the-key"
    assert read("/v1/track", message(writeKey=" in-body\n")).credential == "in-body"
    without = read("/api/s/page", {"type": "page", "context": {"page": PAGE}})
    assert (without.items[0].site, without.items[0].client) == ("example.com", "")


def test_two_slashes_are_one() -> None:
    assert [item.name for item in read("/b", {"batch": [message()]}).items] == ["Signed Up"]
    for path in ("//v1/track", "/v1//track/", "//compat/segment//v1/track"):
        found = find(path, {})
        assert found is not None and (found[0].name, found[2]) == ("segment", "/v1/track")


def test_an_amp_page_quotes_its_visitor() -> None:
    query = urlencode({"writeKey": "k", "anonymousId": '"amp-1"', "context.page.url": "https://example.com/a"})
    assert one("/pixel/v1/page", query=query).client == "amp-1"


def test_an_image_of_jitsus_has_both_ways_and_may_ask_for_its_page() -> None:
    data = base64.b64encode(json.dumps({"event": "Opened", "properties": {"a": 1}}).encode()).decode()
    event = one("/api/px/track", query=urlencode({"data": data, "anonymousId": "a", "properties.b": "2"}))
    assert (event.name, event.client, event.props) == ("Opened", "a", {"a": 1, "b": "2"})
    page = {b"referer": b"https://example.com/mail"}
    assert one("/api/px/page", query="process_headers=true", headers=page).url == "https://example.com/mail"
    assert one("/api/px/page", query="process_headers=1&context.page.url=/b", headers=page).url == "/b"


@pytest.mark.parametrize(
    ("url", "fragment", "becomes"),
    [
        ("https://example.com/app?a=1", "#/basket", "https://example.com/app?a=1#/basket"),
        ("https://example.com/app", "", "https://example.com/app"),
        ("https://example.com/app#/own", "#/basket", "https://example.com/app#/own"),
    ],
)
def test_the_route_that_jitsus_client_has_apart(url: str, fragment: str, becomes: str) -> None:
    sent = {"title": "A", "url": url, "path": "/app", "hash": fragment, "search": "", "width": 1280, "height": 720}
    event = one("/api/s/page", message("page", properties={**sent, "plan": "pro"}))
    assert (event.url, event.props) == (becomes, {"plan": "pro"})
    # Where nothing says that they are the window's, they are the sender's own.
    for hash_ in (5, "9f86d081", "basket"):
        of_others = one("/v1/page", message("page", properties={"url": url, "width": 3, "height": 2, "hash": hash_}))
        assert (of_others.url, of_others.props) == (url, {"width": 3, "height": 2, "hash": hash_})


def test_the_path_or_the_message_names_the_kind() -> None:
    kinds = {"t": "custom", "p": "pageview", "s": "pageview", "i": "identify", "g": "custom"}
    for short, kind in kinds.items():
        sent = message(type=None, name="N", properties={"url": "/a"})
        assert one(f"/v1/{short}", sent).type == kind
    assert one("/api/s/event", message("page")).type is EventType.PAGEVIEW
    assert one("/v1/import", {"batch": [message("page")]}).type is EventType.PAGEVIEW


def test_an_image() -> None:
    query = {
        "writeKey": "k", "anonymousId": "a", "event": "Opened", "properties.plan": "pro",
        "context.page.url": PAGE["url"], "context.userAgent": "Mozilla/5.0",
    }  # fmt: skip
    event = one("/pixel/v1/track", query=urlencode(query))
    assert (event.name, event.props, event.url, event.agent) == ("Opened", {"plan": "pro"}, PAGE["url"], "Mozilla/5.0")
    data = base64.b64encode(json.dumps(message(writeKey="k")).encode()).decode().rstrip("=")
    batch = read("/v1/pixel/track", query=f"data={data}")
    assert (batch.credential, batch.items[0].name, batch.form) == ("k", "Signed Up", "image")
    assert read("/v1/pixel/track", query="data=%25").items[0].reason is Reason.MALFORMED


def test_limits() -> None:
    large = message(properties={"x": "é" * 17_000})
    assert read("/v1/track", large).items[0].reason is Reason.TOO_LARGE
    kept, refused = read("/v1/batch", {"batch": [message(), large]}).items
    assert isinstance(kept, Tracked)
    assert (refused.reason, refused.index) == (Reason.TOO_LARGE, 1)
    assert one("/v1/track", {**large, "channel": "web"}).name == "Signed Up"  # RudderStack's clients may
    too_many = read("/v1/batch", {"batch": [message()] * 1_001, "writeKey": "k"})
    assert [refusal.reason for refusal in too_many.items] == [Reason.TOO_MANY]
    over = read("/v1/batch", {"batch": [large] * 20, "writeKey": "the-secret"})
    assert (over.items[0].reason, over.credential) == (Reason.TOO_LARGE, "the-secret")


def test_a_dead_letter_has_what_an_image_hides_in_base64() -> None:
    sent = json.dumps(message(context={"ip": "203.0.113.9"}, writeKey="the-secret", type="no type", b="é" * 3)).encode()
    for data in (base64.b64encode(sent), base64.urlsafe_b64encode(sent).rstrip(b"=")):
        batch = read("/v1/pixel/track", query=urlencode({"data": data, "writeKey": "of-the-page"}))
        assert (batch.plain, batch.credential) == (sent, "the-secret")
        assert read("/v1/pixel/track", batch.plain).items == batch.items  # as a repair reads it
        for cut in range(len(data) - 9, len(data) - 5):
            broken = read("/v1/pixel/track", query=urlencode({"data": data[:cut]}))
            assert broken.items[0].reason is Reason.MALFORMED
            assert b"203.0.113.9" in broken.plain and sent.startswith(broken.plain[:-2])
            assert broken.credential == "the-secret"
    assert read("/v1/pixel/track", query="data=no+json").plain == b""


def test_rudderstacks_word_for_no_referrer() -> None:
    assert one("/v1/page", message("page", context={"page": {"url": "/a", "referrer": "$direct"}})).referrer == ""


def test_what_needs_no_events() -> None:
    assert read("/v1/m", {"series": []}) == Answer(200, b'{"success":true}')
    answer = read("/v1/projects/k/settings", headers={b"host": b"stats.example.com"})
    own = json.loads(answer.body)["integrations"]["Segment.io"]
    assert own == {"apiKey": "k", "apiHost": "stats.example.com/v1", "protocol": "https"}
    plain = read("/v1/projects/k/settings", headers={b"host": b"stats.lan", b"origin": b"http://shop.lan"})
    assert b'"protocol":"http"' in plain.body
    source = json.loads(read("/sourceConfig", headers=BASIC).body)["source"]
    assert (source["id"], source["enabled"], source["destinations"]) == ("the-key", True, [])


def test_answers() -> None:
    bad, unknown = Refusal(0, Reason.MALFORMED, "mend it"), Refusal(1, Reason.UNKNOWN_SITE, "add it")
    opted_out = Refusal(0, Reason.OPTED_OUT, "…")

    def answer(taken: int, *refused: Refusal, form: str = "") -> tuple[int, object]:
        given = segment.answer(Outcome(form, taken, 0, refused))
        return given.status, json.loads(given.body) if given.content_type == b"application/json" else given.body[:6]

    assert answer(1) == (200, {"success": True})
    assert answer(1, form="jitsu") == (200, {"ok": True})
    assert answer(1, form="image") == (200, b"GIF89a")
    refused = [{"index": 0, "reason": "malformed", "detail": "mend it"}]
    assert answer(1, bad) == (200, {"success": True, "refused": refused})
    assert answer(0, bad) == (
        400, {"success": False, "code": "malformed", "message": "mend it", "refused": refused},
    )  # fmt: skip
    assert answer(0, unknown)[0] == 401
    assert answer(0, unknown, Refusal(0, Reason.WRONG_ORIGIN, ""))[0] == 403
    assert answer(0, opted_out, opted_out)[0] == 200


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just("\ud800")),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)
NAMES = [*Message.__struct_fields__, "batch"]
MESSAGES = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, JSON))
PATHS = [route.path for route in segment.PROTOCOL.routes]


@given(
    st.sampled_from([*PATHS, "/api/s/x/y"]),
    st.one_of(st.binary(), MESSAGES.map(json.dumps).map(str.encode), st.lists(MESSAGES, max_size=3).map(
        lambda items: json.dumps({"batch": items}).encode())),
    st.text(st.characters(max_codepoint=255), max_size=40),
    st.binary(max_size=20),
)  # fmt: skip
def test_any_bytes_are_events_refusals_or_an_answer(path: str, body: bytes, query: str, authorization: bytes) -> None:
    found = find(f"/compat/segment{path}", {})
    assert found is not None
    for method in ("GET", "POST"):
        headers = {b"authorization": b"Basic " + authorization, b"x-write-key": authorization}
        result = segment.read(TrackerRequest(method, found[2], query, headers, body), DEFAULT_LIMITS)
        if isinstance(result, TrackerBatch):
            for item in result.items:
                encoded = msgspec.json.encode(item)
                assert isinstance(item, Refusal) or msgspec.json.decode(encoded, type=Tracked)  # as long as it may be
                assert b"\\u0000" not in encoded.replace(b"\\\\", b"")
            result.credential.encode()


# What is put into a message of a kind for a field of the table, and what it becomes.
SAMPLES: dict[str, tuple[str, object, object]] = {
    "type": ("track", "identify", EventType.IDENTIFY),
    "anonymousId": ("track", "x9", "x9"),
    "previousId": ("alias", "x9", "x9"),
    "properties": ("track", {"x": "x9"}, "x9"),
    "properties.revenue": ("track", 12.5, 12.5),
    "properties.query": ("track", "x9", "x9"),
    "properties.currency": ("track", "EUR", "EUR"),
    "properties.url": ("page", "/x9", "/x9"),
    "properties.path": ("page", "/x9", "/x9"),
    "properties.referrer": ("page", "x9", "x9"),
    "properties.title": ("page", "x9", "x9"),
    "properties.search": ("page", "?x=9", "/a?x=9"),
    "properties.name": ("screen", "x9", "x9"),
    "properties.initial_referring_domain": ("page", "x9", None),
    "properties.initial_referrer": ("page", "x9", None),
    "properties.referring_domain": ("page", "x9", None),
    "properties.tab_url": ("page", "x9", None),
    "properties.hash": ("page", "#/x9", "/a#/x9"),
    "properties.width": ("page", 1280, None),
    "properties.height": ("page", 720, None),
    "name": ("page", "x9", "x9"),
    "category": ("page", "x9", "x9"),
    "groupId": ("group", "x9", "x9"),
    "traits": ("identify", {"x": "x9"}, "x9"),
    "context.traits": ("identify", {"x": "x9"}, "x9"),
    "context.campaign": ("page", {"source": "x9"}, "/a?utm_source=x9"),
    "context.screen.width": ("track", 1920, "1920x1080"),
    "context.active": ("track", False, False),
    "context.page.url": ("track", "/x9", "/x9"),
    "context.page.path": ("track", "/x9", "/x9"),
    "context.page.search": ("page", "?x=9", "/a?x=9"),
    "sentAt": ("track", "2026-11-28T09:00:01Z", 1_795_856_401_000),
}
_WHERE = {
    "visitor": "client", "term": "search.term", "currency": "revenue.currency", "revenue": "revenue.amount",
}  # fmt: skip


@pytest.mark.parametrize("field", segment.PROTOCOL.fields, ids=lambda field: field.theirs)
def test_each_line_of_the_table_is_true(field: Any) -> None:
    kind, value, expected = SAMPLES.get(field.theirs, ("track", "x9", "x9"))
    sent: dict[str, Any] = json.loads(json.dumps(message(kind, userId="u")))
    sent |= {"context": {"screen": {"height": 1080}}}
    if field.theirs == "properties.query":
        sent["event"] = "Products Searched"
    if field.theirs == "properties.currency":
        sent["properties"] = {"revenue": 1}
    if field.theirs == "properties.path":
        sent.pop("properties", None)
    if field.theirs.endswith(".search"):
        sent["properties"] = {"path": "/a"}
    if field.theirs == "properties.name":
        sent.pop("name")
    if field.theirs in ("properties.width", "properties.height"):
        sent["properties"]["hash"] = ""
    before = read("/v1/batch", {"batch": [sent]}).items[0]
    inner = sent
    *outer, last = field.theirs.split(".")
    for step in outer:
        inner = inner.setdefault(step, {})
    inner[last] = value
    batch = read("/v1/batch", {"batch": [sent]} if field.theirs != "writeKey" else {"batch": [sent], "writeKey": "x9"})
    (event,) = batch.items
    if field.theirs == "writeKey":
        assert batch.credential == expected
    elif field.ours == "":
        assert event == before
        assert field.note
    elif field.ours == "props":
        assert expected in event.props.values()
    else:
        found: object = event
        for step in _WHERE.get(field.ours, field.ours).split("."):
            found = getattr(found, step)
        assert found == expected
