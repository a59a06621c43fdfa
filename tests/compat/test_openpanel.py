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


@given(st.integers(-10_000_000, 10_000_000), st.sampled_from([str, float]))
def test_cents_that_were_computed_are_whole(cents: int, sent_as: type) -> None:
    """Of a price times 100 in floating point, and of such a text."""
    paid = reading.event(PROTOCOL, tracked("a", __revenue=sent_as(cents / 100 * 100), currency="EUR"))
    assert (paid.revenue, paid.props) == (Revenue(cents / 100, "EUR"), {"currency": "EUR"})
    if cents % 100:
        no_cents = reading.event(PROTOCOL, tracked("a", __revenue=sent_as(cents / 100)))
        assert (no_cents.revenue, no_cents.props) == (None, {"__revenue": sent_as(cents / 100)})


@pytest.mark.parametrize("sent", [1998.9999999999998, 434.99999999999994, 30.000000000000004, "1998.9999999999998"])
def test_the_cents_of_a_price_times_100(sent: object) -> None:
    paid = reading.event(PROTOCOL, tracked("a", __revenue=sent)).revenue
    assert paid is not None and paid.amount in (19.99, 4.35, 0.3)


def test_a_batch_is_taken_event_by_event() -> None:
    a, bad = {"type": "track", "payload": {"name": "a"}}, {"type": "track", "payload": {"name": ""}}
    replay, nested = {"type": "replay", "payload": {}}, {"type": "batch", "payload": [a]}
    sent_together = {"type": "batch", "payload": [replay, bad, a, replay, nested, 7]}
    found = reading.batch(PROTOCOL, Sent(PATH, sent_together, SERVER))
    assert [isinstance(item, Refusal) for item in found.items] == [True, False, True, True]
    answer = reading.answered(PROTOCOL, found)
    told = json.loads(answer.body)
    assert (answer.status, told["accepted"]) == (202, 3)
    assert [(each["index"], each["reason"]) for each in told["rejected"]] == [
        (1, "validation"), (4, "validation"), (5, "validation"),
    ]  # fmt: skip
    for wrong in ([], None, {}):
        empty = reading.batch(PROTOCOL, sent("batch", wrong))
        assert reading.answered(PROTOCOL, empty).status == 400
    only = reading.read(PROTOCOL, sent("batch", [replay]))
    assert isinstance(only, Answer) and json.loads(only.body) == {"accepted": 1, "rejected": []}
    unknown = Outcome("batch ", 0, 0, (Refusal(0, Reason.UNKNOWN_SITE, "why"),))
    assert PROTOCOL.answer(unknown).status == 401


def test_the_paths_of_older_clients() -> None:
    at = "2025-06-01T12:00:00Z"
    older = Sent("/event", {"name": "a", "timestamp": at, "profileId": "7", "properties": {"plan": "pro"}}, SERVER)
    found = reading.batch(PROTOCOL, older)
    assert found.items == reading.batch(PROTOCOL, tracked("a", SERVER, "7", plan="pro", __timestamp=at)).items
    assert reading.answered(PROTOCOL, found)[:2] == (202, b"ok")
    for kind in ("identify", "increment", "decrement"):
        path = "/profile" if kind == "identify" else f"/profile/{kind}"
        payload = {"profileId": "7", "property": "visits", "value": 2}
        assert reading.event(PROTOCOL, Sent(path, payload, SERVER)) == reading.event(PROTOCOL, sent(kind, payload))
        assert isinstance(reading.batch(PROTOCOL, Sent(path, [], SERVER)).items[0], Refusal)


def test_a_page_view_as_the_first_releases_spelt_it() -> None:
    view = tracked("screen_view", path="/a", title="Home", referrer="https://search.example/", plan="pro")
    event = reading.event(PROTOCOL, view)
    assert (event.url, event.title, event.referrer) == ("/a", "Home", "https://search.example/")
    assert event.props == {"plan": "pro"}
    kept = reading.event(PROTOCOL, tracked("screen_view", __path="/b", path="/a", title="Home"))
    assert (kept.url, kept.title, kept.props) == ("/b", "", {"path": "/a", "title": "Home"})


@pytest.mark.parametrize("guest", [0, False, [], {}, "", None, "undefined"])
def test_where_a_guest_is_nobody_another_id_counts(guest: object) -> None:
    for others in ({"profileId": "u"}, {"__identify": {"profileId": "u"}},
                   {"profileId": guest, "__identify": {"profileId": "u"}}):  # fmt: skip
        event = reading.event(PROTOCOL, tracked("a", SERVER, guest, **others))
        assert (event.user, event.client) == ("u", "u")
    assert reading.event(PROTOCOL, tracked("a", SERVER, guest, __deviceId=guest)).client == ""
    for unknown in (sent("identify", {"profileId": guest}), sent("alias", {"profileId": "u", "alias": guest})):
        assert isinstance(reading.batch(PROTOCOL, unknown).items[0], Refusal)


ADS = "utm_source=ads&utm_medium=cpc"


@pytest.mark.parametrize("path", [
    "/home?utm_source=letter", "/home?a=1&UTM_campaign=may", "/home?mtm_campaign=may", "/home?pk_kwd=x", "/home?ref=b",
    "/home?source=b", "/home?gclid=5", "/home?msclkid=5", "/home#utm_source=letter", "/#/home?ref=b",
    "app://home?utm_source=letter",
])  # fmt: skip
def test_an_origin_of_its_own_is_no_stores(path: str) -> None:
    event = reading.event(PROTOCOL, tracked("screen_view", __path=path, __referrer=ADS))
    assert (event.url, event.referrer) == (path, "")


@pytest.mark.parametrize("path", ["/home?utm_source=", "/home?page=5", "/home?reference=b", "/home?a=1#/b"])
def test_what_is_no_origin_leaves_the_stores(path: str) -> None:
    url = reading.event(PROTOCOL, tracked("screen_view", __path=path, __referrer=ADS)).url
    address, mark, fragment = path.partition("#")
    assert url == f"{address}&{ADS}{mark}{fragment}"


@pytest.mark.parametrize("told", [
    "utm_source=google-play&utm_medium=organic", "utm_source%3Dgoogle-play%26utm_medium%3Dorganic",
    "utm_source=google-play", "utm_source=(not%20set)&utm_medium=(not%20set)", "utm_source=(not+set)",
    "utm_source=google-play&utm_medium=organic&utm_campaign=(not%20set)&utm_term=", "anid=x&utm_source=google-play",
])  # fmt: skip
def test_that_the_store_was_the_store_is_no_campaign(told: str) -> None:
    event = reading.event(PROTOCOL, tracked("screen_view", __path="/home", __referrer=told))
    assert (event.url, event.referrer) == ("/home", "")


@pytest.mark.parametrize("told", [
    "utm_source=google-play&utm_medium=cpc", "utm_source=google-play&utm_medium=organic&utm_campaign=may",
    "gclid=5&utm_source=google-play&utm_medium=organic", "utm_source=google&utm_medium=organic",
])  # fmt: skip
def test_what_a_store_tells_of_more_is_a_campaign(told: str) -> None:
    assert reading.event(PROTOCOL, tracked("screen_view", __path="/home", __referrer=told)).url == f"/home?{told}"
    assert reading.event(PROTOCOL, tracked("a", __referrer=told)).url == ""  # no page


def test_a_screen_may_be_called_like_nobody() -> None:
    for name in ("None", "nil", "NaN", "/undefined"):
        assert reading.event(PROTOCOL, tracked("screen_view", __path=name)).url == f"/{name.lstrip('/')}"
        assert reading.event(PROTOCOL, tracked("screen_view", path=name)).url == f"/{name.lstrip('/')}"
        assert reading.event(PROTOCOL, tracked(name)).name == name
    for nothing in ("undefined", "null"):
        assert reading.event(PROTOCOL, tracked("screen_view", __path=nothing, path="/a")).url == "/a"
        for view in (tracked("screen_view", __path=nothing), tracked("screen_view", path=nothing)):
            assert isinstance(reading.batch(PROTOCOL, view).items[0], Refusal)


def test_a_server_may_name_the_device() -> None:
    assert reading.event(PROTOCOL, tracked("a", __deviceId="d-1")).client == "d-1"
    assert reading.event(PROTOCOL, tracked("a", SERVER, "u-1", __deviceId="d-1")).client == "u-1"
    assert reading.event(PROTOCOL, tracked("a", __deviceId="footfall")).client == ""  # what all pages are told
    assert reading.event(PROTOCOL, tracked("a", PAGE, __deviceId="d-1")).client == ""


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
    for path in ("/event", "/profile"):
        reading.holds_for_any(PROTOCOL, Sent(path, body, SERVER))
    reading.holds_for_any(PROTOCOL, sent("batch", [body if not isinstance(body, bytes) else 1, payload]))
    named = {"name": "screen_view", "profileId": 1, **payload, "properties": properties}
    reading.holds_for_any(PROTOCOL, sent(kind, named))


def test_each_line_of_the_table_is_true() -> None:
    known = {"firstName": "Ann", "lastName": "Lee", "email": "a@example.com", "avatar": "https://a.example/x.png"}
    counted = sent("increment", {"profileId": "7", "property": "visits", "value": 4})
    own = "payload.properties."
    left_out = ("replay", "group", "assign_group")
    reading.table_is_true(
        PROTOCOL,
        {
            "type": (sent("identify", {"profileId": "7"}), "identify"),
            "payload.name": (tracked("signup"), "signup"),
            "payload.properties": (tracked("signup", plan="pro"), "pro"),
            own + "__path": (tracked("screen_view", **VIEW), "/a"),
            own + "path": (tracked("screen_view", path="/old"), "/old"),
            own + "__title": (tracked("screen_view", **VIEW), "Home"),
            own + "__referrer": (tracked("screen_view", **VIEW), "search.example"),
            own + "__revenue": (tracked("revenue", __revenue=1999), 19.99),
            own + "currency": (tracked("revenue", __revenue=1999, currency="EUR"), "EUR"),
            own + "href": (tracked("link_out", href="https://a.example/"), "a.example"),
            own + "__timestamp": (tracked("a", __timestamp="2025-06-01T12:00:00Z"), "2025-06-01T12:00:00Z"),
            own + "__ip": (tracked("a", __ip="192.0.2.7"), "192.0.2.7"),
            own + "__identify": (tracked("a", __identify={"profileId": "u-1"}), "u-1"),
            own + "__deviceId": (tracked("a", __deviceId="a-mark"), "a-mark"),
            "timestamp": (Sent("/event", {"name": "a", "timestamp": "2025-06-01T12:00:00Z"}, SERVER), "2025-06-01"),
            "payload.profileId": (tracked("a", SERVER, "u-1"), "u-1"),
            "payload.properties.__version": (tracked("a", SERVER, __version="9.8.7"), "9.8.7"),
            "payload.properties.__buildNumber": (tracked("a", SERVER, __buildNumber="9.8.7"), "9.8.7"),
            "payload.properties.profileId": (tracked("a", SERVER, profileId="u-1"), "u-1"),
            "payload.groups": (sent("track", {"name": "a", "groups": ["g-1"]}), "g-1"),
            **{f"payload.{name}": (sent("identify", {"profileId": "7", **known}), known[name]) for name in known},
            "payload.property": (counted, "visits"),
            "payload.value": (counted, 4),
            "payload.alias": (sent("alias", {"profileId": "7", "alias": "old"}), "old"),
            "header openpanel-client-id": (tracked("a"), "shop"),
            "header openpanel-client-secret": (tracked("a"), "KEY"),
            "header openpanel-client-ip": (
                tracked("a", SERVER | {"openpanel-client-ip": "192.0.2.8", "x-client-ip": "192.0.2.7"}), "192.0.2.8"
            ),
            "header x-client-ip": (tracked("a", SERVER | {"x-client-ip": "192.0.2.7"}), "192.0.2.7"),
            "header openpanel-sdk-name": (tracked("a"), "node"),
            "header openpanel-sdk-version": (tracked("a", SERVER | {"openpanel-sdk-version": "a-mark"}), "a-mark"),
            **{f"type {kind}": (sent(kind, {"id": "a-mark"}), "a-mark") for kind in left_out},
        },
    )
