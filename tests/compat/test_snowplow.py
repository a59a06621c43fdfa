"""What Snowplow's trackers send, as events; see `tests/trackers/test_snowplow.py` for the trackers themselves."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity.compat import iglu, snowplow, snowplow_json
from activity.compat.protocol import Field, Outcome, Tracked, TrackerBatch, TrackerRequest
from activity.compat.snowplow import PROTOCOL
from activity.compat.values import from_json
from activity.event import EventType
from activity.incoming import DEFAULT_LIMITS, Limits, Revenue
from activity.refusal import Reason, Refusal

IGLU = "iglu:com.snowplowanalytics.snowplow"
TP2 = "/com.snowplowanalytics.snowplow/tp2"
HOOK, ORDER = "/com.snowplowanalytics.iglu/v1", "iglu:com.acme/order/jsonschema/1-0-0"
EVERY = {"aid": "shop-app", "eid": "8f2c", "dtm": "1790000000000", "stm": "1790000001000", "duid": "d1", "p": "web"}
PAGE = {**EVERY, "e": "pv", "url": "https://example.com/a", "page": "A", "refr": "https://search.example/"}


def post(*events: Any, headers: dict[bytes, bytes] | None = None) -> TrackerBatch:
    body = json.dumps({"schema": f"{IGLU}/payload_data/jsonschema/1-0-4", "data": events}).encode()
    return read("POST", TP2, b"", body, headers)


def read(method: str, path: str, query: bytes, body: bytes, headers: dict[bytes, bytes] | None = None) -> TrackerBatch:
    request = TrackerRequest(method, path, query.decode("latin-1"), headers or {}, body)
    batch = PROTOCOL.read(request, DEFAULT_LIMITS)
    assert isinstance(batch, TrackerBatch)
    return batch


def one(given: dict[str, Any], **more: Any) -> Tracked:
    (event,) = post({**given, **more}).items
    assert isinstance(event, Tracked), event
    return event


def described(name: str, data: object, vendor: str = IGLU) -> str:
    inner = {"schema": f"{vendor}/{name}/jsonschema/1-0-0", "data": data}
    return json.dumps({"schema": f"{IGLU}/unstruct_event/jsonschema/1-0-0", "data": inner})


def entities(**by_name: object) -> str:
    data = [{"schema": f"{IGLU}/{name}/jsonschema/1-0-0", "data": each} for name, each in by_name.items()]
    return json.dumps({"schema": f"{IGLU}/contexts/jsonschema/1-0-0", "data": data})


def base64url(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def test_a_page_view_of_the_browser_tracker() -> None:
    cx = base64url(entities(web_page={"id": "1"}, cart={"n": 2}))
    event = one(PAGE, cx=cx, res="1280x720", lang="de-DE", uid="u")
    assert event == Tracked(
        site="shop-app", type=EventType.PAGEVIEW, url="https://example.com/a", referrer="https://search.example/",
        title="A", id="8f2c", ts="1790000000000", sent_at=1790000001000, user="u", screen="1280x720",
        language="de-DE", client="d1", props={"context.cart": '{"n":2}'},
    )  # fmt: skip


def test_an_event_in_a_query_is_that_of_a_body() -> None:
    batch = read("GET", "/i", urlencode(PAGE).encode(), b"")
    assert (batch.items, batch.form) == ([one(PAGE)], "gif")


@pytest.mark.parametrize(
    ("name", "data", "kind", "event_name", "props"),
    [
        ("site_search", {"terms": ["red", "hat"], "totalResults": 3, "pageResults": 2}, "search", "",
         {"pageResults": 2}),
        ("link_click", {"targetUrl": "https://other.example/x", "elementId": "l"}, "outbound", "",
         {"url": "https://other.example/x", "elementId": "l"}),
        ("link_click", {"targetUrl": "https://www.example.com/b"}, "custom", "link_click",
         {"targetUrl": "https://www.example.com/b"}),
        ("submit_form", {"formId": "f", "elements": [{"name": "n"}]}, "form", "f",
         {"formId": "f", "elements": '[{"name":"n"}]'}),
        ("web_vitals", {"lcp": 12.5}, "web_vital", "web_vitals", {"lcp": 12.5}),
        ("screen_view", {"name": "My cart", "id": "s"}, "pageview", "", {"id": "s"}),
        ("add_to_cart", {"sku": "1"}, "custom", "add_to_cart", {"sku": "1"}),
        ("consent_granted", None, "custom", "consent_granted", {}),
    ],
)  # fmt: skip
def test_a_self_describing_event(name: str, data: object, kind: str, event_name: str, props: dict[str, Any]) -> None:
    for key, value in (("ue_pr", described(name, data)), ("ue_px", base64url(described(name, data)))):
        event = one({**PAGE, "e": "ue", key: value})
        assert (event.type, event.name, event.props) == (kind, event_name, props)
        assert event.url == ("/My%20cart" if name == "screen_view" else PAGE["url"])
        if name == "site_search":
            assert event.search is not None and (event.search.term, event.search.results) == ("red hat", 3)


def test_an_event_of_a_site_of_its_own_keeps_its_schema() -> None:
    event = one({**EVERY, "e": "ue", "ue_pr": described("link_click", {"a": 1}, "iglu:com.acme")})
    assert (event.type, event.name) == (EventType.CUSTOM, "link_click")
    assert event.props == {"a": 1, "schema": "iglu:com.acme/link_click/jsonschema/1-0-0"}


@pytest.mark.parametrize("plus", ["+", "%2B"])
def test_base64_of_the_plain_alphabet_in_a_query_may_have_its_plus_unescaped(plus: str) -> None:
    inside = base64.b64encode(described("sign_up", {"plan": "~~>>~~>>~~>>"}).encode()).decode()
    assert "+" in inside
    query = urlencode({**PAGE, "e": "ue"}) + "&ue_px=" + inside.replace("+", plus)
    (event,) = read("GET", "/i", query.encode(), b"").items
    assert isinstance(event, Tracked)
    assert event.props == {"plan": "~~>>~~>>~~>>"}


def test_what_happens_without_the_visitor_is_not_interactive() -> None:
    assert not one({**EVERY, "e": "ue", "ue_pr": described("application_error", {})}).interactive
    assert not one({**EVERY, "e": "ti", "ti_id": "1"}).interactive
    assert one({**EVERY, "e": "tr", "tr_id": "1"}).interactive


def test_worth_of_an_order() -> None:
    assert one({**EVERY, "e": "tr", "tr_tt": "9.90", "tr_cu": "EUR"}).revenue == Revenue("9.90", "EUR")
    action = described("snowplow_ecommerce_action", {"type": "transaction"}, f"{IGLU}.ecommerce")
    event = one({**EVERY, "e": "ue", "ue_pr": action, "co": entities(transaction={"revenue": 5, "currency": "USD"})})
    assert (event.name, event.revenue) == ("transaction", Revenue(5, "USD"))


@pytest.mark.parametrize(
    ("action", "beside", "revenue"),
    [
        ("refund", {"refund": {"transaction_id": "t", "refund_amount": 20, "currency": "GBP"}}, Revenue("-20", "GBP")),
        ("refund", {"refund": {"transaction_id": "t"}}, None),
        ("trns_error", {"transaction": {"revenue": 5, "currency": "USD"}, "transaction_error": {"code": 1}}, None),
    ],
)
def test_only_what_was_paid_is_worth_something(action: str, beside: dict[str, Any], revenue: Revenue | None) -> None:
    made = described("snowplow_ecommerce_action", {"type": action}, f"{IGLU}.ecommerce")
    event = one({**EVERY, "e": "ue", "ue_pr": made, "co": entities(**beside)})
    assert (event.name, event.revenue) == (action, revenue)


def test_how_long_a_screen_was_seen() -> None:
    summary = entities(screen_summary={"foreground_sec": 12.5, "background_sec": 3}, screen={"name": "Cart"})
    event = one({**EVERY, "e": "ue", "ue_pr": described("screen_end", {}), "co": summary})
    assert (event.type, event.engaged_ms, event.url, event.props) == (EventType.ENGAGEMENT, 12_500, "/Cart", {})


def test_without_an_app_id_the_host_names_the_site() -> None:
    named = {key: value for key, value in PAGE.items() if key != "aid"}
    assert (one(named).site, one({**named, "url": "nonsense"}).site) == ("example.com", "")


def test_by_what_visitors_are_told_apart() -> None:
    page = {key: value for key, value in PAGE.items() if key != "duid"}
    app, nobody = {"userId": "app"}, {"userId": "00000000-0000-0000-0000-000000000000"}
    assert one(page).client == ""
    assert one(page, uid="u").client == "u"
    assert one(page, uid="u", co=entities(client_session=app)).client == "app"
    assert one(page, co=entities(client_session=nobody)).client == ""
    assert one(page, tnuid="n", uid="u").client == "n"
    assert one(PAGE, tnuid="n", uid="u").client == "d1"
    (event,) = post({**PAGE, "uid": "u"}, headers={b"sp-anonymous": b"*"}).items
    assert isinstance(event, Tracked) and (event.client, event.user) == ("", "")


@pytest.mark.parametrize("nobody", ["undefined", "null", "00000000-0000-0000-0000-000000000000"])
def test_an_id_that_is_nobodys_is_none(nobody: str) -> None:
    assert (one(PAGE, duid=nobody).client, one(PAGE, duid=nobody, uid=nobody, tnuid="n").client) == ("", "n")


def test_what_the_query_of_a_body_says_counts_for_all_events(monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps({"data": [{**PAGE, "aid": "other"}, 5, {**PAGE, "url": "/b"}]}).encode()
    cx = base64url(entities(mine={"n": 1}))
    batch = read("POST", TP2, f"aid=app&tnuid=n&eid=same&e=se&ue_pr=x&cx={cx}&zz=1".encode(), body)
    first, refused, last = batch.items
    assert isinstance(first, Tracked) and isinstance(last, Tracked) and isinstance(refused, Refusal)
    assert (refused.index, first.type, first.id) == (1, EventType.PAGEVIEW, EVERY["eid"])
    assert {(each.site, each.client, str(each.props)) for each in (first, last)} == {
        ("app", "d1", str({"context.mine": '{"n":1}'}))
    }
    assert read("POST", TP2, b"url=&aid=&cx=&duid", body).items == read("POST", TP2, b"", body).items
    monkeypatch.setattr(snowplow, "replace", None)  # too many events are not even made
    (over,) = read("POST", TP2, b"aid=app", json.dumps({"data": [PAGE] * 1_001}).encode()).items
    assert isinstance(over, Refusal) and over.reason is Reason.TOO_MANY
    (many,) = read("POST", TP2, b"&".join([b"a=1"] * 501), body).items
    assert isinstance(many, Refusal) and many.reason is Reason.TOO_MANY


@pytest.mark.parametrize("name", [{}, {"name": None}, {"name": " "}])
def test_a_screen_without_a_name_is_its_page_or_the_screen_beside_it(name: dict[str, object]) -> None:
    told = {"id": "4f1c4a0e-0d6e-4a8e-9a55-2f5f1b1f9f11", **name}
    screen = {**EVERY, "e": "ue", "ue_pr": described("screen_view", told)}
    event = one(screen, url=PAGE["url"], page="A")
    assert (event.type, event.url, event.title) == (EventType.PAGEVIEW, PAGE["url"], "A")
    assert one(screen, co=entities(screen={"name": "Cart"})).url == "/Cart"
    assert isinstance(post(screen).items[0], Refusal)


def test_a_true_time_is_not_corrected() -> None:
    event = one(PAGE, ttm="1780000000000")
    assert (event.ts, event.sent_at) == ("1780000000000", None)


def test_a_clock_that_was_never_set_is_corrected() -> None:
    event = one(PAGE, dtm="259200000", stm="259260000")
    assert (event.ts, event.sent_at) == ("259200000", 259_260_000)


def test_a_key_of_the_site() -> None:
    assert post(PAGE, headers={b"authorization": b"Bearer k"}).credential == "k"
    assert post(PAGE, headers={b"authorization": b"Basic " + base64.b64encode(b"k:")}).credential == "k"


def test_one_bad_event_does_not_take_its_neighbours() -> None:
    bad: list[tuple[Any, Reason]] = [
        (7, Reason.UNKNOWN_FIELD_TYPE),
        ({**PAGE, "e": "xx"}, Reason.UNKNOWN_FIELD_TYPE),
        (EVERY, Reason.MISSING_FIELD),
        ({**PAGE, "cx": "a"}, Reason.MALFORMED),
        ({**PAGE, "e": "ue", "ue_px": "é"}, Reason.MALFORMED),
        ({**PAGE, "e": "ue", "ue_pr": "{}"}, Reason.MISSING_FIELD),
    ]
    numbers = {**PAGE, "dtm": 1790000000000, "page": None, "cd": [1]}
    items = post(numbers, *(each for each, _ in bad), PAGE).items
    assert isinstance(items[0], Tracked) and items[0].ts == "1790000000000"
    assert [each.reason for each in items[1:-1] if isinstance(each, Refusal)] == [reason for _, reason in bad]
    assert [each.index for each in items[1:-1] if isinstance(each, Refusal)] == list(range(1, len(items) - 1))
    assert items[-1] == one(PAGE)


@pytest.mark.parametrize(
    "wrong", [{"e": "xx"}, {"url": "nonsense"}, {"dtm": "yesterday"}, {"dtm": "1"}, {"e": "se"}, {"cx": "eyJ"}]
)
def test_a_dead_letter_has_what_is_hidden_in_base64(wrong: dict[str, str]) -> None:
    cx, ue_px = entities(mine={"host": "203.0.113.9", "é": "\""}), described("thing", {"host": "203.0.113.8"})
    bad = {**PAGE, "cx": base64url(cx), "ue_px": base64.b64encode(ue_px.encode()).decode(), **wrong}
    good = {**PAGE, "cx": base64url(cx)}
    posted = post(good, bad)
    assert b"203.0.113.9" in posted.plain and b"203.0.113.8" in posted.plain
    assert json.loads(posted.plain)["data"][0] == {**PAGE, "co": cx}
    image = read("GET", "/i", urlencode(bad).encode(), b"")
    assert b"203.0.113.8" in image.plain_query and (b"203.0.113.9" in image.plain_query or "cx" in wrong)
    images, letters = read("GET", "/i", image.plain_query, b""), read("POST", TP2, b"", posted.plain)
    for batch, again in ((posted, letters), (image, images)):  # as a repair reads it
        assert [_told(item) for item in again.items] == [_told(item) for item in batch.items]
    cut = json.dumps({"data": [bad]}).encode()[:-9]
    assert b"203.0.113.8" in read("POST", "/tp2", b"", cut).plain


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("GET", "/r/tp2", "u=nonsense"),
        ("GET", "/r/tp2", "u=https://example.com/&dtm=nonsense"),
        ("GET", HOOK, "a=1"),
        ("GET", HOOK, f"schema={ORDER}&dtm=nonsense"),
        ("POST", HOOK, f"schema={ORDER}&dtm=nonsense"),
        ("POST", TP2, "a=1"),
        ("GET", "/i", "e=zz&amp;a=1"),
    ],
)
@pytest.mark.parametrize("between", ["&", "&amp;"])
def test_no_way_in_hides_anything_in_base64(method: str, path: str, query: str, between: str) -> None:
    cx, ue_px = entities(mine={"host": "203.0.113.9", "é": "\""}), described("thing", {"host": "203.0.113.8"})
    hidden = base64url(cx), base64.b64encode(ue_px.encode()).decode()
    sent = between.join([f"{query}&aid=k&co=x&ue_pr=x", f"cx={hidden[0]}", f"ue_px={quote(hidden[1])}"]).encode()
    body = b'{"cx": "kept"}' if method == "POST" else b""
    batch = read(method, path, sent, body)
    assert b'"host": "203.0.113.9"' in unquote_to_bytes(batch.plain_query)
    assert b"203.0.113.9" in batch.plain_query and b"203.0.113.8" in batch.plain_query
    assert not any(each[:40].encode() in unquote_to_bytes(batch.plain_query) for each in hidden)
    again = read(method, path, batch.plain_query, body)
    if path != HOOK or method != "GET":  # where `ue_px` is a property of the event's own
        assert [_told(item) for item in again.items] == [_told(item) for item in batch.items]
    assert again.leads_to == batch.leads_to


def _told(item: object) -> object:
    return item.reason if isinstance(item, Refusal) else item


def test_what_is_understood_has_nothing_for_a_dead_letter() -> None:
    page = {**PAGE, "cx": base64url(entities(mine={"host": "203.0.113.9"}))}
    for batch in (post(page, {**page, "url": "/a"}), read("GET", "/i", urlencode(page).encode(), b"")):
        assert batch.plain == b"" and not any(isinstance(item, Refusal) for item in batch.items)


def test_answers() -> None:
    refused = (Refusal(0, Reason.MALFORMED, "mend it"),)
    assert PROTOCOL.answer(Outcome("", 1, 0, ()))[:3] == (200, b"ok", b"text/plain")
    assert PROTOCOL.answer(Outcome("gif", 0, 1, ()))[0:3:2] == (200, b"image/gif")
    assert PROTOCOL.answer(Outcome("", 1, 0, refused)).status == 200
    assert PROTOCOL.answer(Outcome("", 0, 0, refused))[:2] == (400, b"mend it")
    # 413 would be sent again for ever.
    assert PROTOCOL.answer(Outcome("", 0, 0, (Refusal(0, Reason.TOO_LARGE, ""),))).status == 400
    assert PROTOCOL.answer(Outcome("", 0, 0, (Refusal(0, Reason.UNKNOWN_SITE, ""),))).status == 403
    assert PROTOCOL.answer(Outcome("", 0, 0, (Refusal(0, Reason.OPTED_OUT, ""),))).status == 200


@pytest.mark.parametrize(
    ("query", "body", "props"),
    [
        (f"schema={ORDER}&aid=app&p=mob&n=5&cv=x", b"", [{"n": "5"}]),
        (f"schema={ORDER}&aid=app", b'{"n": 5}', [{"n": 5}]),
        (f"schema={ORDER}&aid=app", b'[{"n": 5}, {"n": 6}]', [{"n": 5}, {"n": 6}]),
        (f"schema={ORDER}&aid=app", b"n=a+b", [{"n": "a b"}]),
        ("aid=app", json.dumps({"schema": ORDER, "data": {"n": 5}}).encode(), [{"n": 5}]),
    ],
)
def test_what_comes_to_the_iglu_webhook(query: str, body: bytes, props: list[dict[str, Any]]) -> None:
    batch = read("POST" if body else "GET", HOOK, f"{query}&eid=e1&ttm=1780000000000&url=/a".encode(), body)
    ids = [getattr(item, "id", "") for item in batch.items]
    assert len(ids) == len(set(ids)) and ids[0] == "e1"
    for item, own in zip(batch.items, props, strict=True):
        assert isinstance(item, Tracked)
        assert (item.site, item.name, item.url, item.ts) == ("app", "order", "/a", "1780000000000")
        assert item.props == {**own, "schema": ORDER}


def test_an_event_of_the_webhook_needs_a_schema() -> None:
    for body in (b"", b"{}", b"a=1", b"[5]", b"{"):
        (refused,) = read("POST" if body else "GET", HOOK, b"aid=app&a=1", body).items
        assert isinstance(refused, Refusal) and refused.reason in (Reason.MISSING_FIELD, Reason.MALFORMED)


def test_what_events_of_the_webhook_share_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    content, decoded = entities(mine={"n": 1}, screen={"name": "S"}), []

    def counted(found: bytes, limits: Limits) -> Any:
        decoded.append(found)
        return from_json(found, limits)

    monkeypatch.setattr(snowplow_json, "from_json", counted)
    for shared in ({"cx": base64url(content)}, {"co": content}):
        decoded.clear()
        batch = read("POST", HOOK, urlencode({"schema": ORDER, "eid": "e" * 5_000, **shared}).encode(), b"[1, 2, 3]")
        assert decoded.count(content.encode()) == 1
        assert [getattr(item, "props", None) for item in batch.items] == [
            {"data": number, "schema": ORDER, "context.mine": '{"n":1}'} for number in (1, 2, 3)
        ]
        assert len({getattr(item, "id", None) for item in batch.items}) == 3
    broken = read("POST", HOOK, f"schema={ORDER}&cx=eyJ".encode(), b"[1, 2, 3]").items
    assert [each.index for each in broken if isinstance(each, Refusal)] == [0, 1, 2]


def test_too_many_events_of_the_webhook_are_not_even_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(iglu, "encoded")
    (refused,) = read("POST", HOOK, f"schema={ORDER}".encode(), json.dumps([1] * 1_001).encode()).items
    assert isinstance(refused, Refusal) and refused.reason is Reason.TOO_MANY


def test_a_link_counts_a_click_and_leads_on() -> None:
    def link(target: str, **more: str) -> TrackerBatch:
        return read("GET", "/r/tp2", urlencode({"u": target, "aid": "app", **more}).encode(), b"")

    batch = link("https://example.com/ü?a=1#b", duid="d", url="https://mail.example/")
    (event,) = batch.items
    assert isinstance(event, Tracked) and (event.site, event.name, event.client) == ("app", "uri_redirect", "d")
    assert (event.props, event.url) == ({"uri": "https://example.com/ü?a=1#b"}, "https://mail.example/")
    assert batch.leads_to == "https://example.com/%C3%BC?a=1#b"
    for refused in ((), (Refusal(0, Reason.OPTED_OUT, ""),)):
        answer = PROTOCOL.answer(Outcome(batch.form, 1 - len(refused), 0, refused))
        assert (answer.status, answer.headers) == (302, ((b"location", batch.leads_to.encode()),))
    (own,) = link("https://example.com/", e="se", se_ac="open").items
    assert isinstance(own, Tracked) and own.name == "open"
    broken = link("https://example.com/", e="zz")
    assert (isinstance(broken.items[0], Refusal), broken.leads_to, broken.form) == (True, "", "")
    for wrong in ("", "/a", "javascript:alert(1)", "https://a@b.example/", "https://a.example\\@b.example/",
                  "https://a.example/\r\nX: 1", "http://[a"):  # fmt: skip
        batch = link(wrong)
        assert isinstance(batch.items[0], Refusal) and batch.leads_to == ""
        assert PROTOCOL.answer(Outcome(batch.form, 0, 0, (batch.items[0],))).status == 400


@given(st.binary(), st.sampled_from(["GET", "POST"]), st.sampled_from(["/i", HOOK, "/r/tp2"]))
def test_any_bytes_are_read(content: bytes, method: str, path: str) -> None:
    batch = read(method, path, content, content)
    read(method, path, f"schema={ORDER}&u=https://a.example/".encode() + content, content)
    refused = tuple(item for item in batch.items if isinstance(item, Refusal))
    answer = PROTOCOL.answer(Outcome(batch.form, len(batch.items) - len(refused), 0, refused))
    assert all(b"\n" not in value and b"\r" not in value for _, value in answer.headers)


VALUES = st.one_of(st.text(), st.none(), st.integers(), st.lists(st.text()), st.just("\0\ud800"), st.just("eyJ"))
KEYS = st.sampled_from([*(field.theirs for field in PROTOCOL.fields if " " not in field.theirs), "e", "e"])
KINDS = st.sampled_from(["pv", "pp", "se", "ue", "tr", "ti", "x"])


@given(st.lists(st.one_of(VALUES, st.dictionaries(KEYS, st.one_of(VALUES, KINDS)))))
def test_any_events_are_read(events: list[Any]) -> None:
    assert len(post(*events).items) == len(events)


def sent_with(field: Field) -> tuple[dict[str, Any], dict[str, Any]]:
    """An event without the field, and the same with it."""
    theirs, _, name = field.theirs.partition(" ")
    marked: dict[str, Any] = {theirs: "17"}
    kind = next((kind for kind in ("pp", "se", "tr", "ti") if theirs.startswith(f"{kind}_")), "pv")
    plain = {**EVERY, "e": kind}
    if theirs.startswith("ue_"):
        plain = {**EVERY, "e": "ue", "ue_pr": described("x", {})}
        marked = {"ue_pr": "", theirs: described("x", {"k": "17"})}
    elif theirs in ("cx", "co"):
        data: dict[str, Any] = dict.fromkeys(("userId", "name", "revenue", "refund_amount", "foreground_sec"), "17")
        marked = {theirs: entities(**{name or "mine": data})}
        if name in ("transaction", "refund"):
            action = described("snowplow_ecommerce_action", {"type": name}, f"{IGLU}.ecommerce")
            plain["ue_pr"], plain["e"] = action, "ue"
        if name == "screen_summary":
            plain["ue_pr"], plain["e"] = described("screen_end", {}), "ue"
        if name == "client_session":
            plain.pop("duid")
    if theirs.endswith("x") and theirs in ("cx", "ue_px"):
        marked[theirs] = base64url(marked[theirs])
    if theirs in ("tnuid", "nuid"):
        plain.pop("duid")
    if theirs in ("stm", "res"):
        marked = {"stm": "1790000000017"} if theirs == "stm" else {"res": "17x17"}
    if theirs == "tr_cu":
        plain["tr_tt"] = "1"
    return plain, marked


@pytest.mark.parametrize("field", [each for each in PROTOCOL.fields if "=" not in each.theirs], ids=lambda f: f.theirs)
def test_the_table_is_true(field: Field) -> None:
    plain, marked = sent_with(field)
    before, after = one(plain), one(plain, **marked)
    if not field.ours:
        assert after == before
    elif field.ours == "props":
        added = {name: value for name, value in after.props.items() if before.props.get(name) != value}
        assert len(added) == 1 and "17" in str(*added.values())
        if field.note.startswith("`"):
            assert set(added) == {field.note.split("`")[1]}
    else:
        found = after.revenue and after.revenue.currency if field.ours == "currency" else getattr(after, field.ours)
        assert "17" in str(found)
        assert found != (getattr(before, field.ours, None))


@pytest.mark.parametrize("field", [each for each in PROTOCOL.fields if "=" in each.theirs], ids=lambda f: f.theirs)
def test_the_table_of_kinds_is_true(field: Field) -> None:
    kind, _, name = field.theirs.removeprefix("e=").partition(" ")
    data = {"terms": ["a"], "targetUrl": "https://other.example/", "name": "n"}
    beside = entities(screen_summary={"foreground_sec": 1}) if name == "screen_end" else ""
    sent = {**PAGE, "e": kind, "ue_pr": described(name or "x", data), "co": beside}
    assert one(sent).type == field.note.split("`")[1]
