"""PostHog's protocol: what its clients send becomes the events that are meant, and the answers are PostHog's."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activity.compat.posthog import PROTOCOL
from activity.compat.protocol import Answer, Field, Outcome, Tracked, TrackerBatch, TrackerRequest
from activity.event import EventType
from activity.incoming import DEFAULT_LIMITS
from activity.refusal import Reason, Refusal
from tests.compat import reading
from tests.compat.reading import Sent

TOKEN = "phc_public"
OF_OLD = "1717b8279504bb-0d284ce1b5de5f-5313f6f-3845a0-1717b8279524ed"  # as the browser's client once made ids
UUID = "01946f6e-3f3a-7c0e-9a54-0f1d2c3b4a59"
BROWSER = {
    "token": TOKEN, "$lib": "web", "$device_id": UUID, "distinct_id": UUID, "$is_identified": False,
    "$current_url": "https://example.com/a?utm_source=news", "$referrer": "$direct", "title": "A",
    "$screen_width": 1280, "$screen_height": 960, "$browser_language": "en-GB", "$raw_user_agent": "Mozilla/5.0",
    "utm_source": "news", "$session_id": "s", "$sdk_debug_retry_queue_size": 0,
}  # fmt: skip


def read(
    content: object, path: str = "/batch", query: str = "", method: str = "POST", **headers: str
) -> TrackerBatch | Answer:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    known = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return PROTOCOL.read(TrackerRequest(method, path, query, known, body), DEFAULT_LIMITS)


def batch(content: object, path: str = "/batch", query: str = "", method: str = "POST", **headers: str) -> TrackerBatch:
    found = read(content, path, query, method, **headers)
    assert isinstance(found, TrackerBatch)
    return found


def one(event: dict[str, Any], **shared: Any) -> Tracked:
    (item,) = batch({"api_key": TOKEN, "batch": [{"distinct_id": "ann", **event}], **shared}).items
    assert isinstance(item, Tracked), item
    return item


def test_a_page_view_of_the_browser() -> None:
    event = {"uuid": "u-1", "event": "$pageview", "properties": BROWSER, "timestamp": "2026-11-01T10:00:00.000Z"}
    found = batch([event], "/e", "sent_at=1793527201000&ip=0")
    (item,) = found.items
    assert found.credential == TOKEN
    assert item == Tracked(
        site="",
        type=EventType.PAGEVIEW,
        url="https://example.com/a?utm_source=news",
        title="A",
        id="u-1",
        ts="2026-11-01T10:00:00.000Z",
        screen="1280x960",
        language="en-GB",
        client=UUID,
        agent="Mozilla/5.0",
        sent_at=1793527201000,
    )


EVENT = {"event": "signup", "distinct_id": "ann", "properties": {"plan": "pro"}}
TEXT = json.dumps({"api_key": TOKEN, **EVENT})


# The same text as lz-string's own `compressToBase64` packs it.
PACKED = (
    "N4IghgDglg+g1gUwJ4gFwAIQQBYGMYQCuARgDZS4gA0mCAbggHYAuamAzlAOaOETWYAJlHbMojXMxhRBbcI0YCsAJwD2EBMrEJ2b"
    "UBFJhFGFapABfc0A"
)


@pytest.mark.parametrize(
    ("content", "path", "query", "method"),
    [
        (TEXT.encode(), "/capture", "", "POST"),
        (base64.b64encode(TEXT.encode()), "/e", "compression=base64", "POST"),
        (f"data={quote(base64.b64encode(TEXT.encode()).decode())}".encode(), "/e", "", "POST"),
        (f"data={base64.b64encode(TEXT.encode()).decode()}".encode(), "/e", "", "POST"),
        (f"data={quote(TEXT)}".encode(), "/track", "", "POST"),
        (b"", "/e", urlencode({"data": base64.b64encode(TEXT.encode()).decode()}), "GET"),
        (b"\xef\xbb\xbf [" + TEXT.encode() + b"]", "/i/v0/e", "", "POST"),
        ({"token": TOKEN, "batch": [EVENT]}, "/batch", "", "POST"),
        ([EVENT], "/e", f"api_key={TOKEN}", "POST"),
        (b"data=" + quote(PACKED).encode(), "/e", "compression=lz64", "POST"),
        (b"compression=lz64&data=" + quote(PACKED).encode(), "/e", "", "POST"),
        (b"ver=1.2.3&ip=1&data=" + quote(TEXT).encode(), "/e", "", "POST"),
        (urlencode({"data": json.dumps(EVENT), "api_key": TOKEN}).encode(), "/track", "", "POST"),
        (urlencode({"api_key": TOKEN, "data": base64.b64encode(json.dumps(EVENT).encode())}).encode(), "/e", "",
         "POST"),
        (urlencode({"api_key": TOKEN, "batch": json.dumps([EVENT])}).encode(), "/batch", "", "POST"),
        (urlencode({"batch": json.dumps([EVENT]), "token": TOKEN}).encode(), "/batch", "", "POST"),
        (base64.b64encode(gzip.compress(TEXT.encode())), "/e", "compression=gzip", "POST"),
        (b"data=" + quote(base64.b64encode(gzip.compress(TEXT.encode()))).encode(), "/e", "", "POST"),
        (PACKED.encode(), "/capture", "compression=lz64", "POST"),
    ],
)  # fmt: skip
def test_every_form_that_a_client_sends_is_the_same_event(content: object, path: str, query: str, method: str) -> None:
    found = batch(content, path, query, method)
    assert found.credential == TOKEN
    assert found.items == [one(EVENT)]


def test_what_is_packed_too_well_is_refused_for_its_size() -> None:
    bomb = "IY18aQ==", "A" * 300_000  # of a few letters, and of many
    small = msgspec.structs.replace(DEFAULT_LIMITS, body_bytes=20)
    of_gzip = base64.b64encode(gzip.compress(b" " * 30_000_000)).decode()
    for packed, limits in zip((*bomb, of_gzip), (small, DEFAULT_LIMITS, DEFAULT_LIMITS), strict=True):
        query = "" if packed is of_gzip else "compression=lz64"
        found = PROTOCOL.read(TrackerRequest("POST", "/e", query, {}, packed.encode()), limits)
        assert isinstance(found, TrackerBatch)
        (item,) = found.items
        assert isinstance(item, Refusal) and item.reason is Reason.TOO_LARGE


def test_blanks_around_a_key_are_none_of_it() -> None:
    assert batch({"api_key": f" {TOKEN}\n", **EVENT}).credential == TOKEN


def test_how_a_body_is_packed_may_stand_in_a_header() -> None:
    found = batch(PACKED.encode(), "/batch", content_encoding="lz64")
    assert (found.credential, found.items) == (TOKEN, [one(EVENT)])


def test_the_time_of_sending_may_stand_beside_the_event_in_a_form() -> None:
    form = {"sent_at": "2026-11-01T10:00:00+00:00", "data": json.dumps(EVENT), "api_key": TOKEN}
    (item,) = batch(urlencode(form).encode(), "/track").items
    assert isinstance(item, Tracked) and item.sent_at == 1793527200000


@pytest.mark.parametrize(
    "name", ["$snapshot", "$snapshot_items", "$performance_event", "$$heatmap", "$$client_ingestion_warning"]
)
def test_what_is_no_event_is_answered_and_not_kept(name: str) -> None:
    told = {"event": name, "distinct_id": "ann", "properties": {"$current_url": "https://example.com/"}}
    assert batch({"api_key": TOKEN, "batch": [told, EVENT]}).items == [one(EVENT)]
    alone = read({"api_key": TOKEN, **told})
    assert isinstance(alone, Answer) and (alone.status, alone.body) == (200, b'{"status":1}')


def test_a_group_is_no_visitor() -> None:
    told = {"event": "$groupidentify", "properties": {"$group_type": "company", "$group_key": "a", "$group_set": {}}}
    of_itself = {**told, "distinct_id": "$company_a"}
    found = batch({"api_key": TOKEN, "batch": [of_itself, EVENT, {**told, "distinct_id": "ann"}]})
    assert [getattr(item, "name", "") for item in found.items] == ["signup", "$groupidentify"]
    alone = read({"api_key": TOKEN, **of_itself})
    assert isinstance(alone, Answer) and (alone.status, alone.body) == (200, b'{"status":1}')


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_a_dead_letter_has_what_a_cut_form_hides_in_base64(cut: int) -> None:
    data = base64.b64encode(json.dumps({**EVENT, "properties": {"$ip": "203.0.113.9"}, "x": "y" * 9}).encode())
    found = batch(b"data=" + quote(data.rstrip(b"=")[:-cut]).encode(), "/e")
    assert isinstance(found.items[0], Refusal) and found.items[0].reason is Reason.MALFORMED
    assert b"203.0.113.9" in found.plain
    content = b'{"properties": {"$ip": "203.0.113.9"}}'
    packed = gzip.compress(content)
    assert batch(b"data=" + quote(base64.b64encode(packed)).encode(), "/e").plain == content
    for broken in (packed[:12] + b"\xff" * 9, packed[:-9], packed * 2):
        assert batch(b"data=" + quote(base64.b64encode(broken)).encode(), "/e").plain == broken  # a letter unpacks it


def test_a_new_client_sends_its_key_in_a_header_and_the_time_in_another() -> None:
    sent = batch(
        {"created_at": "2026-11-01T09:00:00Z", "batch": [{**EVENT, "options": {"cookieless_mode": True}}]},
        "/i/v1/analytics/events",
        authorization=f"Bearer {TOKEN}",
        posthog_request_timestamp="2026-11-01T10:00:00Z",
    )
    (item,) = sent.items
    assert isinstance(item, Tracked)
    assert (sent.credential, item.sent_at, item.client) == (TOKEN, 1793527200000, "")
    answer = PROTOCOL.answer(Outcome(sent.form, 1, 0, ()))
    assert (answer.status, answer.body) == (200, b'{"results":{}}')


@pytest.mark.parametrize(
    ("event", "wanted"),
    [
        ({"event": "$screen", "properties": {"$screen_name": "Sign up"}}, {"type": "pageview", "url": "/Sign%20up"}),
        (
            {"event": "$pageleave", "properties": {"$current_url": "/a", "$prev_pageview_duration": 12.5}},
            {"type": "engagement", "engaged_ms": 12_500, "props": None},
        ),
        (
            {"event": "search", "properties": {"query": "shoes", "results": 3}},
            {"type": "search", "search": {"term": "shoes", "results": 3}},
        ),
        (
            {"event": "buy", "properties": {"revenue": 12.5, "currency": "eur", "plan": "pro"}},
            {"type": "custom", "revenue": {"amount": 12.5, "currency": "eur"}, "props": {"plan": "pro"}},
        ),
        (
            {"event": "$identify", "distinct_id": "ann", "properties": {"$anon_distinct_id": UUID},
             "$set": {"plan": "pro"}, "$set_once": {"plan": "free", "since": 2026}},
            {"type": "identify", "user": "ann", "client": UUID, "props": {"plan": "pro", "since": 2026}},
        ),
        ({"event": "$set", "$set": {"plan": "pro"}}, {"type": "identify", "user": "ann", "props": {"plan": "pro"}}),
        (
            {"event": "$create_alias", "distinct_id": UUID, "properties": {"distinct_id": UUID, "alias": "ann"}},
            {"type": "identify", "user": "ann", "client": UUID},
        ),
        (
            {"event": "$autocapture", "properties": {"$external_click_url": "https://b.example/"}},
            {"type": "outbound", "props": {"url": "https://b.example/"}},
        ),
        ({"event": "Application Opened"}, {"type": "custom", "name": "Application Opened", "interactive": False}),
        ({"event": "a", "distinct_id": "[object Object]"}, {"client": None, "user": None}),
        ({"event": "a", "distinct_id": '"Anonymous"'}, {"user": None}),
        ({"event": "$autocapture", "properties": {"$el_text": "Go"}}, {"type": "custom", "props": {"$el_text": "Go"}}),
        (
            {"event": "$web_vitals", "properties": {"$web_vitals_LCP_value": 5, "$web_vitals_LCP_event": {}}},
            {"type": "web_vital", "props": {"LCP": 5}},
        ),
        ({"event": "$feature_flag_called"}, {"type": "custom", "interactive": False}),
        *(
            ({"event": "$identify", "distinct_id": nobody, "properties": {"$anon_distinct_id": UUID}},
             {"type": "identify", "user": None, "client": UUID})
            for nobody in ("anonymous", "Guest", "undefined", "None", "0", '"null"')
        ),
        *(
            ({"event": "$create_alias", "distinct_id": "ann", "properties": {"alias": made}},
             {"type": "identify", "user": "ann", "client": made})
            for made in (UUID, OF_OLD)
        ),
        ({"event": "$create_alias", "distinct_id": OF_OLD, "properties": {"alias": "ann"}},
         {"user": "ann", "client": OF_OLD}),
        ({"event": "$create_alias", "distinct_id": "ann", "properties": {"alias": "undefined"}},
         {"user": "ann", "client": "ann"}),
        ({"event": "$create_alias", "distinct_id": UUID, "properties": {}}, {"user": None, "client": UUID}),
        ({"event": "$merge_dangerously", "properties": {"alias": "ann@b.example"}},
         {"user": "ann", "client": "ann@b.example"}),
        ({"event": "$merge_dangerously", "distinct_id": "null", "properties": {"alias": UUID}},
         {"user": None, "client": UUID}),
        ({"event": "a", "distinct_id": OF_OLD}, {"client": OF_OLD, "user": None}),
        ({"event": "a", "distinct_id": "$posthog_cookieless", "properties": {"$device_id": "$posthog_cookieless"}},
         {"client": None, "user": None}),
        ({"event": "$screen", "properties": {"$current_url": "https://example.com/cart"}},
         {"type": "pageview", "url": "https://example.com/cart"}),
        *(
            ({"event": "$screen", "properties": {"$current_url": told}}, {"type": "pageview", "url": url})
            for told, url in (("app/home", "/app/home"), ("/home?a=1", "/home?a=1"),
                              ("myapp://home", "/myapp%3A//home"), ("HTTP://b.example/", "HTTP://b.example/"))
        ),
        ({"event": "$screen"}, {"type": "pageview", "url": ""}),
        ({"event": "$pageview", "properties": {"$screen_name": "Home"}}, {"type": "pageview", "url": "/Home"}),
        ({"event": "buy", "properties": {"$screen_name": "Home"}}, {"type": "custom", "url": "/Home"}),
        ({"event": "$web_vitals", "properties": {"$web_vitals_INP_value": None, "$web_vitals_CLS_value": 0}},
         {"props": {"CLS": 0}}),
        ({"event": "a", "distinct_id": UUID}, {"client": UUID, "user": None}),
        ({"event": "a", "properties": {"$device_id": UUID, "$is_identified": True}}, {"client": UUID, "user": "ann"}),
        ({"event": "a", "distinct_id": 42}, {"client": "42", "user": "42"}),
        ({"event": "a", "offset": 1_000}, {"ts": 1793527199000}),
    ],
)  # fmt: skip
def test_events_become_what_they_mean(event: dict[str, Any], wanted: dict[str, Any]) -> None:
    found = msgspec.to_builtins(one(event, sent_at="2026-11-01T10:00:00Z"))
    assert {name: found.get(name) for name in wanted} == wanted


def test_one_bad_event_does_not_take_its_neighbours() -> None:
    found = batch({"api_key": TOKEN, "batch": [EVENT, 5, {"event": "a"}, {"distinct_id": "a"}, EVENT]}).items
    refused = [item for item in found if isinstance(item, Refusal)]
    wrong, missing = Reason.UNKNOWN_FIELD_TYPE, Reason.MISSING_FIELD
    assert [(refusal.index, refusal.reason) for refusal in refused] == [(1, wrong), (2, missing), (3, missing)]
    answer = PROTOCOL.answer(Outcome("", 2, 0, tuple(refused)))
    assert (answer.status, answer.body) == (200, b'{"status":1}')


def test_events_of_two_projects_in_one_request_stay_apart() -> None:
    found = batch([{**EVENT, "properties": {"token": token}} for token in ("phc_a", "phc_b")], "/e")
    assert found.credential == "phc_a"
    assert [item.site for item in found.items if isinstance(item, Tracked)] == ["", "phc_b"]


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        (Reason.MALFORMED, 400, "invalid_payload"),
        (Reason.UNKNOWN_SITE, 401, "invalid_api_key"),
        (Reason.WRONG_ORIGIN, 403, "wrong_origin"),
        (Reason.TOO_LARGE, 413, "payload_too_large"),
        (Reason.RATE_LIMITED, 503, "throttled"),
    ],
)
def test_an_answer_says_what_is_wrong_as_posthog_does(reason: Reason, status: int, code: str) -> None:
    answer = PROTOCOL.answer(Outcome("", 0, 0, (Refusal(0, reason, "because"),)))
    said = json.loads(answer.body)
    assert (answer.status, said["code"], said["detail"]) == (status, code, "because")
    told = PROTOCOL.answer(Outcome("v1", 0, 0, (Refusal(0, reason, "because"),)))
    assert (told.status, json.loads(told.body)["error_description"]) == (status, "because")


def test_who_asks_not_to_be_counted_is_told_nothing() -> None:
    assert PROTOCOL.answer(Outcome("", 0, 0, (Refusal(0, Reason.OPTED_OUT, ""),))).status == 200


def test_flags_recordings_and_configuration_are_off() -> None:
    for path in ("/flags", "/decide", f"/array/{TOKEN}/config"):
        answer = read(b"", path, method="GET")
        assert isinstance(answer, Answer)
        said = json.loads(answer.body)
        assert answer.status == 200
        assert not said["sessionRecording"] and said["featureFlags"] == {}
    script = read(b"", f"/array/{TOKEN}/config.js", method="GET")
    assert isinstance(script, Answer)
    assert f'["{TOKEN}"]'.encode() in script.body and script.content_type == b"application/javascript"
    other = read(b"", "/array/a'b\"/config.js", method="GET")
    assert isinstance(other, Answer) and other.status == 404


EVENTS = {
    "properties.alias": "$create_alias",
    "properties.$screen_name": "$screen",
    "properties.$prev_pageview_duration": "$pageleave",
    "properties.$external_click_url": "$autocapture",
    "properties.$web_vitals_LCP_value": "$web_vitals",
    "properties.query": "search",
    "properties.$anon_distinct_id": "$identify",
    "$set": "$set", "properties.$set": "$set", "$set_once": "$set_once", "properties.$set_once": "$set_once",
}  # fmt: skip
VALUES: dict[str, object] = {
    "offset": 1_000, "timestamp": "2026-11-01T10:00:00Z", "properties.$time": 1793527200, "properties.revenue": 77,
    "sent_at": "2026-11-01T10:00:00Z", "properties.$revenue": 77, "properties.$prev_pageview_duration": 7.5,
    "$set": {"a": "MARK"}, "properties.$set": {"a": "MARK"}, "$set_once": {"a": "MARK"},
    "properties.$set_once": {"a": "MARK"}, "properties.$screen_width": 77, "properties.$screen_height": 77,
}  # fmt: skip
# What a field needs beside it, and what it takes away where it is set.
BESIDE: dict[str, dict[str, object]] = {
    "properties.$screen_width": {"$screen_height": 9}, "properties.$screen_height": {"$screen_width": 9},
    "properties.$host": {"$pathname": "/a"}, "properties.currency": {"revenue": 5},
    "properties.utm_source": {"$lib": "web"},
}  # fmt: skip


SWITCHES = (
    "$cookieless_mode", "cookieless_mode", "$ignore_sent_at", "disable_skew_correction",
    "$process_person_profile", "process_person_profile", "$is_identified",
)  # fmt: skip


@pytest.mark.parametrize("field", PROTOCOL.fields, ids=lambda field: field.theirs)
def test_the_table_is_true(field: Field) -> None:
    place, _, name = field.theirs.rpartition(".")
    event: dict[str, Any] = {"event": EVENTS.get(field.theirs, "thing"), "properties": {}}
    event["properties"] |= BESIDE.get(field.theirs, {})
    if field.theirs not in ("distinct_id", "properties.distinct_id"):
        event["distinct_id"] = "ann"
    if name in SWITCHES:
        ways = (batch([event | {place: {name: on}}], "/e", "_=1793527200000") for on in (True, False))
        one_way, other_way = (way.items[0] for way in ways)
        assert getattr(one_way, field.ours) != getattr(other_way, field.ours)
        return
    (event.setdefault(place, {}) if place else event)[name] = VALUES.get(field.theirs, "MARK")
    found = batch([event], "/e", "_=1793527200000")
    (item,) = found.items
    assert isinstance(item, Tracked), item
    held = msgspec.json.encode({"site": found.credential} if field.ours == "site" else item).decode()
    if not field.ours:
        assert "MARK" not in held
    elif field.theirs in VALUES and "MARK" not in str(VALUES[field.theirs]):
        assert getattr(item, field.ours)
    else:
        assert "MARK" in held
        assert "MARK" in str(msgspec.to_builtins(getattr(item, field.ours))) or field.ours == "site"


@settings(deadline=None)
@given(
    st.sampled_from(["/batch", "/e", "/engage", "/i/v1/analytics/events", "/array", "/array/x/config.js", "/flags"]),
    st.binary(max_size=200) | st.binary(max_size=50).map(lambda some: b"data=" + some),
    st.text(st.characters(max_codepoint=255), max_size=50),
    st.sampled_from(["GET", "POST"]),
)
def test_any_bytes_have_an_answer(path: str, body: bytes, query: str, method: str) -> None:
    checked(PROTOCOL.read(TrackerRequest(method, path, query, {b"authorization": body[:9]}, body), DEFAULT_LIMITS))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800\0"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_NAMES = st.sampled_from([field.theirs.rpartition(".")[2] for field in PROTOCOL.fields])
_TYPES = st.sampled_from(["$pageview", "$screen", "$identify", "$web_vitals", "$pageleave", "search", "$set", "buy"])


@settings(deadline=None)
@given(
    st.dictionaries(_NAMES, _JSON, max_size=6),
    st.dictionaries(_NAMES, _JSON, max_size=6),
    _TYPES | _JSON,
    st.sampled_from(["/batch", "/engage", "/i/v1/analytics/events"]),
)
def test_fields_of_any_kind_make_an_event_or_a_refusal(
    event: dict[str, Any], properties: dict[str, Any], name: object, path: str
) -> None:
    whole = {"distinct_id": "ann", **event, "event": name, "properties": properties}
    checked(read({"api_key": event.get("token"), "sent_at": event.get("offset"), "batch": [whole]}, path))


def checked(found: TrackerBatch | Answer) -> None:
    """What was read can be stored: its texts are as long as they may be, and valid Unicode."""
    if isinstance(found, Answer):
        return
    for item in found.items:
        if isinstance(item, Tracked):
            assert msgspec.json.decode(msgspec.json.encode(item), type=Tracked).type == item.type
    refused = tuple(item for item in found.items if isinstance(item, Refusal))
    assert PROTOCOL.answer(Outcome(found.form, len(found.items) - len(refused), 0, refused)).status < 500


def test_a_piece_of_a_recording_is_answered_and_not_kept() -> None:
    event = {"event": "e", "distinct_id": "d"}
    (kept,) = reading.batch(PROTOCOL, Sent("/e", [{**event, "event": "$snapshot"}, event])).items
    assert isinstance(kept, Tracked) and kept.name == "e"
    alone = reading.read(PROTOCOL, Sent("/e", {**event, "event": "$snapshot"}))
    assert isinstance(alone, Answer) and alone.status == 200
