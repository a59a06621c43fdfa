"""Google Analytics' protocols: what its clients send becomes the events that are meant, answered as Google does."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activity.compat.ga4 import PROTOCOL
from activity.compat.protocol import Answer, Field, Outcome, Tracked, TrackerBatch, TrackerRequest
from activity.compat.tables.ga4 import CAMPAIGN
from activity.enrich import SiteRules, enrich
from activity.event import Event, EventType
from activity.incoming import DEFAULT_LIMITS, Revenue, Search
from activity.refusal import Reason, Refusal
from activity.user_agent import NO_AGENT

NOW = 1_793_527_200_000
PAGE = "https://example.com/a"
HIT = {
    "v": "2", "tid": "G-1", "gtm": "45je", "_p": "171", "cid": "12.34", "ul": "en-GB", "sr": "1280x960", "_s": "1",
    "sid": "1793527200", "sct": "1", "seg": "0", "dl": PAGE, "dr": "https://b.example/", "dt": "A", "gcs": "G111",
}  # fmt: skip


def read(content: object, path: str = "/mp/collect", query: str = "measurement_id=G-1", method: str = "POST") -> Any:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return PROTOCOL.read(TrackerRequest(method, path, query, {}, body), DEFAULT_LIMITS)


def sent(*events: object, **shared: object) -> list[Any]:
    found = read({"client_id": "12.34", **shared, "events": events})
    assert isinstance(found, TrackerBatch)
    return list(found.items)


def hits(lines: bytes = b"", **hit: str) -> list[Any]:
    found = read(lines, "/g/collect", urlencode({**HIT, **hit}))
    assert isinstance(found, TrackerBatch)
    return list(found.items)


def test_a_page_view_of_the_browser() -> None:
    (item,) = hits(en="page_view", _et="1234")
    assert item == Tracked(
        site="G-1",
        type=EventType.PAGEVIEW,
        url=PAGE,
        referrer="https://b.example/",
        title="A",
        id="12.34 171 1 0",
        language="en-GB",
        screen="1280x960",
        engaged_ms=1234,
        client="12.34",
    )


def test_events_of_the_browser_share_the_query_and_each_is_a_line() -> None:
    sale = b"en=purchase&ep.plan=pro&epn.value=12.5&cu=EUR&pr1=idA~pr2"
    scroll, nameless, purchase = hits(b"\r\n".join((b"en=scroll&epn.percent_scrolled=90&_et=5", b"_et=2", sale, b"")))
    assert (scroll.name, scroll.interactive, scroll.props) == ("scroll", False, {"percent_scrolled": 90})
    assert isinstance(nameless, Refusal) and nameless.reason is Reason.MISSING_FIELD
    assert (purchase.url, purchase.id, purchase.interactive) == (PAGE, "12.34 171 1 2", True)
    assert (purchase.revenue, purchase.props) == (Revenue(12.5, "EUR"), {"plan": "pro", "pr1": "idA~pr2"})


@pytest.mark.parametrize(
    ("sent_as", "known_as"),
    [("12.34", "12.34"), ("GA1.1.1693472812.1612345670", "1693472812.1612345670"), ("GA1.2-2.12.34", "12.34"),
     ("GA1.1.", "GA1.1."), ("undefined", ""), ("null", ""), ("(null)", ""), ("None", "")],
)  # fmt: skip
def test_whom_an_id_means(sent_as: str, known_as: str) -> None:
    assert hits(en="a", cid=sent_as)[0].client == known_as
    (item,) = sent({"name": "a"}, client_id=sent_as)
    assert item.client == known_as if known_as else item.reason is Reason.MISSING_FIELD


@pytest.mark.parametrize("nobody", [None, "", "undefined", "(null)"])
def test_of_several_ids_those_of_somebody_count(nobody: object) -> None:
    def known(**ids: object) -> Any:
        (item,) = sent({"name": "purchase", "params": {"value": 5}}, **{"client_id": nobody, **ids})
        return (item.client, item.user) if isinstance(item, Tracked) else item.reason

    assert known(app_instance_id="i") == known(app_instance_id="i", user_id=nobody) == ("i", "")
    assert known(app_instance_id=nobody, user_id="ann") == ("ann", "ann")
    assert known(app_instance_id=nobody, user_id=nobody) is Reason.MISSING_FIELD


def test_the_time_of_a_request_counts_once() -> None:
    assert [item.engaged_ms for item in hits(b"en=a\r\nen=b\r\nen=c&_et=7", _et="1000")] == [1000, 0, 7]


def test_blanks_around_a_site_are_none_of_its_id_and_a_name_is_more_than_blanks() -> None:
    (hit,) = hits(en="a", tid=" G-1 ")
    events = [{"name": "a"}, {"name": " "}]
    found = read({"client_id": "1", "events": events}, query="measurement_id=+G-1&api_secret=k+")
    assert (hit.site, found.items[0].site, found.credential) == ("G-1", "G-1", "k")
    assert [item.reason for item in (*hits(en=" "), found.items[1])] == [Reason.MISSING_FIELD] * 2


def test_a_query_names_the_event_of_lines_without_a_name_and_is_none_beside_them() -> None:
    sale = {"en": "purchase", "epn.value": "12.5", "cu": "EUR"}
    for body in (urlencode(sale), urlencode({**HIT, **sale})):
        (item,) = hits(body.encode(), **sale)
        assert (item.name, item.revenue) == ("purchase", Revenue(12.5, "EUR"))
    assert [item.name for item in hits(b"en=b\r\nen=c&ep.x=1", en="a")] == ["b", "c"]
    assert [item.name for item in hits(b"ep.x=1\r\nen=c", en="a")] == ["a", "c"]  # of lines that take what they share
    assert [item.name for item in hits(b"{}", en="a")] == ["a"]


def test_a_path_that_begins_with_the_sites_host_is_an_address() -> None:
    for path, url in (("example.com/x", "https://example.com/x"), ("example.comb/x", "/example.comb/x")):
        assert hits(en="page_view", tid="example.com", dl="", dp=path)[0].url == url
    assert hits(en="page_view", tid="", dl="", dp="?a=1")[0].url == "/?a=1"


def test_an_image_shows_which_page_it_is_on() -> None:
    def shown(method: str, **hit: str) -> Any:
        query = urlencode({name: value for name, value in {**HIT, **hit}.items() if value})
        headers = {b"referer": b"https://example.com/shown"}
        (item,) = PROTOCOL.read(TrackerRequest(method, "/g/collect", query, headers, b""), DEFAULT_LIMITS).items  # type: ignore[union-attr]
        return item.url

    assert shown("GET", en="page_view", dl="") == "https://example.com/shown"
    assert shown("GET", en="page_view") == shown("POST", en="page_view") == PAGE
    assert shown("GET", en="page_view", dl="", dp="/p") == "/p"
    assert shown("GET", en="e", dl="") == ""
    assert shown("POST", en="page_view", dl="", dt="") == ""


@pytest.mark.parametrize("ignored", [True, "true", "1", 1, False, "false", None])
def test_a_referrer_may_be_one_that_the_visitor_did_not_come_from(ignored: object) -> None:
    paid = "https://pay.example/"
    (item,) = sent({"name": "page_view", "params": {
        "page_location": PAGE, "page_referrer": paid, "ignore_referrer": ignored}})  # fmt: skip
    wanted = ("", {"page_referrer": paid}) if ignored in (True, "true", "1") else (paid, {})
    assert (item.referrer, item.props) == wanted
    assert [hits(en="page_view", ir=ir)[0].referrer for ir in ("1", "0")] == ["", HIT["dr"]]


def test_without_consent_the_visitor_is_the_one_without_a_cookie() -> None:
    (item,) = hits(en="page_view", gcs="G100")
    assert item.client == ""


def test_a_request_of_a_server() -> None:
    page, search, user = sent(
        {"name": "page_view", "params": {"page_location": PAGE, "session_id": 7, "engagement_time_msec": 100}},
        {"name": "search", "params": {"search_term": "shoes", "number_of_results": "3"}},
        user_id="ann",
        timestamp_micros=1793527200000000,
        user_properties={"plan": {"value": "pro"}, "seats": 3},
    )
    assert (page.type, page.url, page.props, page.engaged_ms) == (EventType.PAGEVIEW, PAGE, {}, 100)
    assert (search.type, search.search) == (EventType.SEARCH, Search("shoes", 3))
    assert (user.type, user.props) == (EventType.IDENTIFY, {"plan": "pro", "seats": 3})
    for item in (page, search, user):
        assert (item.site, item.client, item.user, item.ts) == ("G-1", "12.34", "ann", 1793527200000)


@pytest.mark.parametrize(
    ("name", "params", "wanted"),
    [
        ("screen_view", {"firebase_screen": "Sign up"}, {"type": "pageview", "url": "/Sign%20up"}),
        ("page_view", {"page_path": "/a"}, {"type": "pageview", "url": "/a"}),
        ("page_view", {"page_path": "about/team"}, {"url": "/about/team"}),
        ("page_view", {"page_path": "www.example.com/x"}, {"url": "https://www.example.com/x"}),
        ("page_view", {"page_path": "WWW.example.com:8080?x=1"}, {"url": "https://WWW.example.com:8080?x=1"}),
        ("page_view", {"page_path": "wwwhat/www.b"}, {"url": "/wwwhat/www.b"}),
        ("page_view", {"page_path": "index.html"}, {"url": "/index.html"}),
        ("page_view", {"page_path": "www./x"}, {"url": "/www./x"}),
        ("page_view", {"page_path": "https://example.com/b"}, {"url": "https://example.com/b"}),
        ("user_engagement", {"engagement_time_msec": "900"}, {"type": "engagement", "engaged_ms": 900}),
        ("click", {"outbound": "true", "link_url": "https://b.example/"}, {"type": "outbound", "props": {
            "url": "https://b.example/", "outbound": "true"}}),
        ("file_download", {"link_url": "/a.pdf"}, {"type": "download", "props": {"url": "/a.pdf"}}),
        ("form_submit", {"form_id": "login"}, {"type": "form", "name": "login"}),
        ("view_search_results", {"search_term": "red shoes", "page_location": f"{PAGE}?q=hats"}, {"type": "search"}),
        ("search", {}, {"type": "custom", "name": "search"}),
        ("refund", {"value": 5, "currency": "EUR"}, {"revenue": {"amount": "-5", "currency": "EUR"}}),
        ("purchase", {"value": 5, "transaction_id": "T1", "engagement_time_msec": 9}, {"engaged_ms": None}),
        ("purchase", {"value": 5, "transaction_id": "T1"}, {"id": "purchase T1", "props": {"transaction_id": "T1"}}),
        ("add_to_cart", {"value": 5, "currency": "EUR"}, {"revenue": None, "props": {"value": 5, "currency": "EUR"}}),
        ("campaign_details", {"source": "news", "medium": "email", "campaign": "may"},
         {"type": "custom", "url": "/?utm_source=news&utm_medium=email&utm_campaign=may", "interactive": False}),
        ("page_view", {"page_path": "/a?utm_source=b", "campaign_source": "a"}, {"url": "/a?utm_source=b"}),
        ("page_view", {"page_path": "/apk_list", "campaign_source": "a"}, {"url": "/apk_list?utm_source=a"}),
        ("refund", {"value": 5, "transaction_id": "T1"}, {"id": None}),
        ("page_view", {"page_path": "/a", "campaign_source": "a", "campaign_name": "may"},
         {"url": "/a?utm_source=a&utm_campaign=may", "props": None}),
        ("LCP", {"metric_value": 900, "metric_id": "x"}, {"type": "web_vital", "props": {"LCP": 900}}),
        ("first_visit", {}, {"type": "custom", "interactive": False}),
        ("notification_receive", {}, {"type": "custom", "interactive": False}),
        ("screen_view", {"screen_class": "Main"}, {"url": "/Main", "props": {"screen_class": "Main"}}),
        ("screen_view", {"screen_class": "Main", "screen_name": "Cart"}, {"url": "/Cart"}),
        ("screen_view", {}, {"type": "pageview", "url": ""}),
        ("sign_up", {"method": "mail"}, {"type": "custom", "name": "sign_up", "props": {"method": "mail"}}),
    ],
)  # fmt: skip
def test_events_become_what_they_mean(name: str, params: dict[str, Any], wanted: dict[str, Any]) -> None:
    (item,) = sent({"name": name, "params": params})
    found = msgspec.to_builtins(item)
    assert {name: found.get(name) for name in wanted} == wanted


@pytest.mark.parametrize("parameter", ["q", "term"])
def test_a_search_that_the_page_view_told_counts_once_by_the_rules_of_the_site(parameter: str) -> None:
    rules = SiteRules("example.com", search_parameters=("term",))
    lines = b"en=page_view\r\nen=view_search_results&ep.search_term=red++shoes&epn.results=3"
    events: list[Event] = []
    for item in hits(lines, dl=f"{PAGE}?{parameter}=red+shoes"):
        given = {"visitor": "0" * 16, "received_at": NOW, "agent": NO_AGENT, "fresh_id": "f" * 32}
        found = enrich(item, site=rules, **given)
        assert isinstance(found, list), found
        events += found
    searches = [event for event in events if event.type is EventType.SEARCH]
    assert [event.term for event in searches] == ["red shoes"]
    assert not any(event.interactive for event in events[1:])
    if parameter == "term":
        told = events[-1]
        assert (told.type, told.name, told.term) == (EventType.CUSTOM, "view_search_results", "")
        assert told.props == {"results": 3, "search_term": "red shoes"}


def test_what_is_known_of_a_user_is_told_once_a_day_and_when_it_changes() -> None:
    def known_as(user: str, client: str = "1", day: int | None = 20_000, plan: str = "pro") -> str | None:
        at = {} if day is None else {"timestamp_micros": day * 86_400_000_000 + 7}
        item = sent({"name": "a"}, user_id=user, client_id=client, user_properties={"plan": plan}, **at)[-1]
        assert item.type is EventType.IDENTIFY
        return str(item.id) if item.id else None

    assert known_as("ann") == known_as("ann") is not None
    others = [known_as("bob"), known_as("ann", "2"), known_as("ann", day=20_001), known_as("ann", plan="free")]
    assert len({known_as("ann"), *others}) == 5
    assert known_as("ann", day=None) is None


def test_one_bad_event_does_not_take_its_neighbours() -> None:
    found = sent({"name": "a"}, 5, {"params": {}}, {"name": "b"})
    assert [getattr(item, "reason", None) for item in found] == [
        None, Reason.UNKNOWN_FIELD_TYPE, Reason.MISSING_FIELD, None,
    ]  # fmt: skip


def test_a_visitor_without_an_id_is_refused() -> None:
    (item,) = sent({"name": "a"}, client_id="")
    assert item.reason is Reason.MISSING_FIELD


def test_the_answer_is_204_whatever_was_understood() -> None:
    refusal = Refusal(0, Reason.MALFORMED, "because")
    assert [PROTOCOL.answer(Outcome("", n, 0, (refusal,) * (1 - n))).status for n in (0, 1)] == [204, 204]
    for reason, status in ((Reason.TOO_LARGE, 413), (Reason.RATE_LIMITED, 429)):
        assert PROTOCOL.answer(Outcome("", 0, 0, (Refusal(0, reason, "because"),))).status == status


def test_the_validation_says_what_is_wrong_and_stores_nothing() -> None:
    good = read({"client_id": "1", "events": [{"name": "a"}]}, "/debug/mp/collect")
    assert isinstance(good, Answer) and json.loads(good.body) == {"validationMessages": []}
    bad = read({"client_id": "1", "events": [{"name": "_a"}, {}]}, "/debug/mp/collect")
    codes = [message["validationCode"] for message in json.loads(bad.body)["validationMessages"]]
    assert codes == ["VALUE_REQUIRED", "NAME_INVALID"]
    nobody = read({"events": [{"name": "a"}]}, "/debug/mp/collect")
    assert json.loads(nobody.body)["validationMessages"][0]["fieldPath"] == "client_id"
    for wrong, place in (({"timestamp_micros": "yesterday"}, "timestamp_micros"),
                         ({"events": [{"name": "page_view"}]}, "events.params"),
                         ({"events": [{"name": "screen_view"}]}, "events.params")):  # fmt: skip
        refused = read({"client_id": "1", "events": [{"name": "a"}], **wrong}, "/debug/mp/collect")
        (message,) = json.loads(refused.body)["validationMessages"]
        assert message["fieldPath"] == place and message["validationCode"].startswith("VALUE_")
    none = read(b"\xff", "/debug/mp/collect")
    assert json.loads(none.body)["validationMessages"][0]["validationCode"] == "VALUE_INVALID"


NAMES = {
    **dict.fromkeys((f"params.{name}" for name in (
        "screen_name", "firebase_screen", "firebase_screen_class", "screen_class")), "screen_view"),
    "params.search_term": "search",
    "params.number_of_results": "search", "params.value": "purchase", "params.currency": "purchase",
    "params.transaction_id": "purchase", "params.link_url": "file_download", "cu": "purchase",
}  # fmt: skip
VALUES: dict[str, object] = {
    "timestamp_micros": 77_000, "event.timestamp_micros": 77_000, "params.timestamp_micros": 77_000, "params.value": 77,
    "params.engagement_time_msec": 77, "params.number_of_results": 77, "_et": "77",
    "user_properties": {"a": {"value": 77}},
    **dict.fromkeys(("device.screen_resolution", "params.screen_resolution", "sr"), "77x77"),
}  # fmt: skip
BESIDE: dict[str, dict[str, object]] = {
    "params.number_of_results": {"search_term": "a"}, "params.currency": {"value": 5},
    **{f"params.{name}": {"page_location": PAGE} for name, _ in CAMPAIGN.values()},
}  # fmt: skip


@pytest.mark.parametrize("field", PROTOCOL.fields, ids=lambda field: field.theirs)
def test_the_table_is_true(field: Field) -> None:
    place, _, name = field.theirs.rpartition(".")
    if name in ("ignore_referrer", "ir"):
        referred = {"page_location": PAGE, "page_referrer": "MARK77", "ignore_referrer": "1"}
        items = hits(en="a", dr="MARK77", ir="1") if name == "ir" else sent({"name": "a", "params": referred})
        assert "MARK77" in str(getattr(items[0], field.ours))
        return
    value, kind = VALUES.get(field.theirs, "MARK77"), NAMES.get(field.theirs, "thing")
    if field in PROTOCOL.fields[[field.theirs for field in PROTOCOL.fields].index("tid") :] and place != "params":
        if field.theirs in ("gcs", "gcd"):
            assert [hits(en="a", gcs=gcs)[0].client for gcs in ("G101", "G110", "G1--")] == ["12.34", "", "12.34"]
            ways = ("13l3l3l3l1l1", "13r3t3r3r5l1", "13p3p3p3p5l1", "13q3u3q3q5l1", "x", "")
            assert [hits(en="a", gcs="", gcd=gcd)[0].client for gcd in ways] == ["12.34"] * 2 + [""] * 2 + ["12.34"] * 2
            assert hits(en="a", gcs="G111", gcd="13p3p3p3p5l1")[0].client == "12.34"
            return
        hit = {"en": kind, "uid": "ann", **({"epn.value": "5"} if field.theirs == "cu" else {})}
        if field.theirs == "dp":
            hit["dl"] = ""
        items = hits(**{**hit, field.theirs: str(value)})
        found: object = items[-1 if place == "up" else 0]
    elif field.theirs in ("measurement_id", "firebase_app_id", "api_secret"):
        batch = read({"client_id": "1", "events": [{"name": "a"}]}, query=f"{name}={value}")
        found = {"site": batch.credential or batch.items[0].site}
    else:
        event: dict[str, Any] = {"name": kind, "params": {**BESIDE.get(field.theirs, {})}}
        shared: dict[str, Any] = {"user_id": "ann"} if name == "user_properties" else {}
        if field.theirs == "app_instance_id":
            shared["client_id"] = None
        if place == "device":
            shared["device"] = {name: value}
        else:
            (event["params"] if place == "params" else event if place == "event" else shared)[name] = value
        found = sent(event, **shared)[-1]
    assert not isinstance(found, Refusal), found
    held = msgspec.to_builtins(found)
    if field.ours:
        assert "77" in str(held[field.ours])
    else:
        assert "77" not in str(held)


@settings(deadline=None)
@given(
    st.sampled_from(["/mp/collect", "/debug/mp/collect", "/g/collect"]),
    st.binary(max_size=200) | st.binary(max_size=50).map(lambda some: b"en=page_view&dl=" + some),
    st.text(st.characters(max_codepoint=255), max_size=50),
    st.sampled_from(["GET", "POST"]),
)
def test_any_bytes_have_an_answer(path: str, body: bytes, query: str, method: str) -> None:
    checked(read(body, path, query, method))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800\0"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_NAMES = st.sampled_from([field.theirs.rpartition(".")[2] for field in PROTOCOL.fields])
_TYPES = st.sampled_from(["page_view", "screen_view", "purchase", "refund", "search", "click", "LCP", "form_submit"])


@settings(deadline=None)
@given(st.dictionaries(_NAMES, _JSON, max_size=6), st.dictionaries(_NAMES, _JSON, max_size=6), _TYPES | _JSON)
def test_fields_of_any_kind_make_an_event_or_a_refusal(
    shared: dict[str, Any], params: dict[str, Any], name: object
) -> None:
    checked(read({"client_id": 1, **shared, "events": [{"name": name, "params": params}]}))


@settings(deadline=None)
@given(st.dictionaries(_NAMES, st.text(), max_size=6), _TYPES)
def test_texts_of_any_kind_make_an_event(hit: dict[str, str], name: str) -> None:
    checked(read(b"", "/g/collect", urlencode({**hit, "en": name}, errors="replace")))


def checked(found: TrackerBatch | Answer) -> None:
    """What was read can be stored: its texts are as long as they may be, and valid Unicode."""
    if isinstance(found, Answer):
        return
    for item in found.items:
        if isinstance(item, Tracked):
            assert msgspec.json.decode(msgspec.json.encode(item), type=Tracked).type == item.type
    refused = tuple(item for item in found.items if isinstance(item, Refusal))
    assert PROTOCOL.answer(Outcome(found.form, len(found.items) - len(refused), 0, refused)).status < 500
