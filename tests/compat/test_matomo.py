"""What Matomo's clients send, as events; see `tests/trackers/test_matomo.py` for a client itself."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity.compat.matomo import PROTOCOL
from activity.compat.protocol import Answer, Field, Outcome, Tracked, TrackerBatch, TrackerRequest
from activity.event import EventType
from activity.incoming import DEFAULT_LIMITS, Revenue
from activity.refusal import Reason, Refusal

PAGE = {"idsite": "7", "rec": "1", "url": "https://example.com/a", "_id": "0123456789abcdef"}


def read(
    query: bytes = b"", body: bytes = b"", method: str = "POST", headers: dict[bytes, bytes] | None = None
) -> TrackerBatch | Answer:
    request = TrackerRequest(method, "/matomo.php", query.decode("latin-1"), headers or {}, body)
    return PROTOCOL.read(request, DEFAULT_LIMITS)


def batch(query: bytes = b"", body: bytes = b"", **more: Any) -> TrackerBatch:
    found = read(query, body, **more)
    assert isinstance(found, TrackerBatch)
    return found


def one(sent: dict[str, Any], headers: dict[bytes, bytes] | None = None, **more: Any) -> Tracked:
    (event,) = batch(urlencode(sent | more).encode(), method="GET", headers=headers).items
    assert isinstance(event, Tracked), event
    return event


def many(*requests: Any, **more: Any) -> TrackerBatch:
    return batch(body=json.dumps({"requests": requests, **more}).encode())


def test_a_page_view_of_a_page() -> None:
    more = {"action_name": "A", "urlref": "https://search.example/", "r": "123456", "h": "9", "m": "5", "s": "3"}
    more |= {"pv_id": "aB3dEf", "res": "1280x720", "lang": "de-DE,de;q=0.9", "uid": "u", "dimension2": "blue"}
    more |= {"cvar": '{"1":["plan","pro"]}', "pf_net": "12", "uadata": "{}", "cookie": "1"}
    assert one(PAGE, **more) == Tracked(
        site="7", type=EventType.PAGEVIEW, url="https://example.com/a", referrer="https://search.example/", title="A",
        id="123456|0123456789abcdef|aB3dEf||9|5|3", user="u", screen="1280x720", language="de-DE",
        client="0123456789abcdef", props={"dimension2": "blue", "plan": "pro"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "kind", "name", "props"),
    [
        ({"e_c": "Cart", "e_a": "Add", "e_n": "hat", "e_v": "2"}, "custom", "Add",
         {"category": "Cart", "label": "hat", "value": 2}),
        ({"search": "hat", "search_cat": "c", "search_count": "0"}, "search", "", {"category": "c"}),
        ({"link": "https://other.example/"}, "outbound", "", {"url": "https://other.example/"}),
        ({"download": "https://example.com/a.zip"}, "download", "", {"url": "https://example.com/a.zip"}),
        ({"ping": "1"}, "engagement", "", {}),
        ({"idgoal": "3", "revenue": "5"}, "custom", "goal 3", {"goal": "3"}),
        ({"idgoal": "0", "ec_id": "o1", "revenue": "9.5", "ec_tx": "1", "ec_items": '[["s","n","c",1,1]]'}, "custom",
         "order", {"order_id": "o1", "tax": "1", "items": '[["s","n","c",1,1]]'}),
        ({"idgoal": "0", "revenue": "9.5"}, "custom", "cart", {"value": 9.5}),
        ({"c_n": "ad", "c_p": "x"}, "custom", "content_impression", {"content": "ad", "piece": "x"}),
        ({"c_n": "ad", "c_i": "click"}, "custom", "content_interaction", {"content": "ad", "interaction": "click"}),
        ({"ca": "1", "fa_id": "f"}, "custom", "custom_action", {"fa_id": "f"}),
        ({"ma_id": "m", "ma_ti": "Film"}, "custom", "custom_action", {"ma_ti": "Film"}),
        ({"fa_vid": "v", "fa_name": "f"}, "custom", "custom_action", {"fa_name": "f"}),
        ({"ma_id": "m", "action_name": ""}, "pageview", "", {}),
        ({"action_name": "404/URL = /x/From = /"}, "not_found", "", {}),
        ({"_pks": "s1", "_pkp": "5"}, "pageview", "", {"sku": "s1", "price": "5"}),
        ({"idgoal": "-1", "search": "", "link": ""}, "pageview", "", {}),
    ],
)  # fmt: skip
def test_what_a_request_is(sent: dict[str, str], kind: str, name: str, props: dict[str, Any]) -> None:
    event = one(PAGE, **sent)
    assert (event.type, event.name, event.props) == (kind, name, props)
    assert event.interactive == (name not in ("content_impression", "custom_action"))
    paid = "revenue" in sent and name != "cart"
    assert event.revenue == (Revenue(sent["revenue"]) if paid else None)
    if kind == "search":
        assert event.search is not None and (event.search.term, event.search.results) == ("hat", 0)


def test_a_form_counts_like_a_query() -> None:
    form = urlencode({**PAGE, "cip": "192.0.2.1", "ua": "U", "token_auth": "secret"}).encode()
    found = batch(b"send_image=0", form)
    assert (found.form, found.credential) == ("empty", "secret")
    (event,) = found.items
    assert isinstance(event, Tracked) and (event.address, event.agent) == ("192.0.2.1", "U")
    assert batch(form, method="GET").items == [event]


def test_many_requests_at_once() -> None:
    text = "?" + urlencode(PAGE)
    found = many(text, PAGE, text.removeprefix("?"), 7, "?a=1", {**PAGE, "rec": 1, "idsite": 7}, token_auth="secret")
    good = one(PAGE)
    assert [found.items[index] for index in (0, 1, 2, 5)] == [good] * 4
    assert [(each.index, each.reason) for each in found.items[3:5] if isinstance(each, Refusal)] == [
        (3, Reason.UNKNOWN_FIELD_TYPE),
        (4, Reason.MISSING_FIELD),
    ]
    assert (found.form, found.credential) == ("bulk", "secret")


def test_requests_keep_their_places_beside_blank_ones() -> None:
    found = many("", PAGE, "", "", 7, "?a=1", PAGE, "")
    assert [isinstance(item, Refusal) for item in found.items] == [False, True, True, False]
    refused = tuple(item for item in found.items if isinstance(item, Refusal))
    told = json.loads(PROTOCOL.answer(Outcome(found.form, 2, 0, refused)).body)
    assert (told["tracked"], told["invalid"], told["invalid_indices"]) == (2, 2, [4, 5])
    for blanks in ([""], ["", ""]):
        nothing = tuple(item for item in many(*blanks).items if isinstance(item, Refusal))
        assert [item.reason for item in nothing] == [Reason.MISSING_FIELD] * len(blanks)
        assert PROTOCOL.answer(Outcome("bulk", 0, 0, nothing)).status == 400


def test_a_token_may_stand_in_each_request_or_in_a_header() -> None:
    assert many({**PAGE, "token_auth": "own"}).credential == "own"
    assert batch(urlencode(PAGE).encode(), headers={b"authorization": b"Bearer k"}).credential == "k"
    assert many(PAGE, send_image=0).form == "empty"
    assert batch(urlencode({**PAGE, "send_image": "false"}).encode()).form == "empty"


def test_times() -> None:
    assert one(PAGE, cdt="1700000000").ts == 1_700_000_000_000
    assert one(PAGE, cdt="2026-01-02 03:04:05").ts == "2026-01-02 03:04:05"
    assert one(PAGE, cdt="1700000000", cdo="60").ts == 1_699_999_940_000
    waited = one(PAGE, cdo="60")
    assert (waited.ts, waited.ago_ms) == (None, 60_000)


def test_what_is_sent_again_has_its_id() -> None:
    sent = {**PAGE, "rand": "1", "pv_id": "a"}
    assert one(sent).id == one(sent, cdo="60").id is not None
    others = [one(sent, **{name: "2"}).id for name in ("rand", "pv_id", "_id", "cdt", "h", "m", "s")]
    assert len({one(sent).id, *others}) == 8
    nobody = {key: value for key, value in PAGE.items() if key != "_id"}
    assert one(nobody, rand="1").id is None  # a constant in an image's address would make all visits one
    assert one(nobody, rand="1", pv_id="a").id is not None
    assert one(PAGE).id is None
    order = {**PAGE, "idgoal": "0", "ec_id": "o1"}
    assert one(order, rand="1").id == one(order, rand="2").id != one(order, ec_id="o2").id


def test_by_what_visitors_are_told_apart() -> None:
    assert one(PAGE, cid="c", uid="u").client == "c"
    assert one(PAGE, uid="u").client == PAGE["_id"]
    nobody = {key: value for key, value in PAGE.items() if key != "_id"}
    assert one(nobody, uid="u").client == "u"
    assert one(nobody).client == ""


def test_a_campaign_that_an_app_names() -> None:
    named = {**PAGE, "_rcn": "spring", "_rck": "hats"}
    assert one(named).url == "https://example.com/a?utm_campaign=spring&utm_term=hats"
    assert one(named, _refts="1700000000").url == PAGE["url"]


def test_a_page_that_is_not_named() -> None:
    plain = {"idsite": "7", "rec": "1"}
    assert one(plain, {b"referer": b"https://example.com/there"}).url == "https://example.com/there"
    assert one(plain, action_name="My screen").url == "/My%20screen"
    assert one(plain, e_c="c", e_a="a").url == ""
    (refused,) = batch(urlencode(plain).encode(), method="GET").items
    assert isinstance(refused, Refusal) and refused.reason is Reason.MISSING_FIELD


def test_answers() -> None:
    refused = (Refusal(1, Reason.MALFORMED, "mend it"),)
    assert read(method="GET") == Answer(200, b"Events of Matomo's tracking API are taken here.\n", b"text/plain")
    script = PROTOCOL.read(TrackerRequest("GET", "/js", "", {}, b""), DEFAULT_LIMITS)
    assert isinstance(script, Answer) and script.status == 404
    assert PROTOCOL.answer(Outcome("gif", 1, 0, ()))[0:3:2] == (200, b"image/gif")
    assert PROTOCOL.answer(Outcome("empty", 0, 1, ()))[:2] == (204, b"")
    assert PROTOCOL.answer(Outcome("", 0, 0, refused))[:2] == (400, b"mend it")
    assert PROTOCOL.answer(Outcome("", 0, 0, (Refusal(0, Reason.TOO_LARGE, ""),))).status == 413
    assert PROTOCOL.answer(Outcome("gif", 0, 0, (Refusal(0, Reason.OPTED_OUT, ""),))).status == 200
    some = PROTOCOL.answer(Outcome("bulk", 2, 1, refused))
    assert (some.status, json.loads(some.body)) == (
        200,
        {"status": "success", "tracked": 3, "invalid": 1, "invalid_indices": [1], "message": "mend it"},
    )
    none = PROTOCOL.answer(Outcome("bulk", 0, 0, refused))
    assert (none.status, json.loads(none.body)["status"]) == (400, "error")


@given(st.binary(), st.binary(), st.sampled_from(["GET", "POST"]))
def test_any_bytes_are_read(query: bytes, body: bytes, method: str) -> None:
    read(query, body, method)
    read(query, b"{" + body, method)


VALUES = st.one_of(st.text(), st.none(), st.integers(), st.floats(), st.lists(st.text()), st.just("\0\ud800"))
KEYS = st.sampled_from([field.theirs for field in PROTOCOL.fields])


@given(st.lists(st.one_of(VALUES, st.dictionaries(KEYS, VALUES).map(lambda given: {**given, "rec": 1}))))
def test_any_requests_are_read(requests: list[Any]) -> None:
    blank = requests.count("")
    assert len(many(*requests).items) == len(requests) - (0 if blank == len(requests) else blank)


BESIDE: dict[str, dict[str, str]] = {
    "e_": {"e_c": "c", "e_a": "a"},
    "c_": {"c_n": "n"},
    "ec_": {"idgoal": "0", "revenue": "1"},
    "search_": {"search": "s"},
    "revenue": {"idgoal": "1"},
    "pv_id": {"rand": "1"},
    "_rck": {"_rcn": "spring"},
    "h": {"rand": "1"},
    "m": {"rand": "1"},
    "s": {"rand": "1"},
}
MARKED = {
    "rec": "1", "url": "https://example.com/17", "cvar": '{"1":["k","17"]}', "_cvar": '{"1":["k","17"]}',
    "cdt": "1700000017", "ping": "1", "idgoal": "17", "ca": "1", "ma_id": "17", "fa_vid": "17",
    "res": "17x17",
}  # fmt: skip


@pytest.mark.parametrize("field", PROTOCOL.fields, ids=lambda field: field.theirs)
def test_the_table_is_true(field: Field) -> None:
    theirs = field.theirs
    prefixes = (key for key in BESIDE if key.endswith("_") and theirs.startswith(key))
    beside = BESIDE.get(theirs) or BESIDE.get(next(prefixes, ""), {})
    plain = {key: value for key, value in {**PAGE, **beside}.items() if key != theirs or key in ("rec", "url")}
    marked = {theirs: MARKED.get(theirs, "17")}
    if theirs == "cdo":
        marked["cdt"] = "1700000034"
    before, after = one(plain), one(plain, **marked)
    if not field.ours:
        assert after == before
    elif field.ours == "type":
        assert (before.type, after.type) == ("pageview", field.note.split("`")[1])
    elif field.ours == "props":
        added = {name: value for name, value in after.props.items() if before.props.get(name) != value}
        assert "17" in str(*added.values())
        if field.note.startswith("`"):
            assert field.note.split("`")[1] in added
    else:
        found = after.search and after.search.results if field.ours == "results" else getattr(after, field.ours)
        assert "17" in str(found) and found != getattr(before, field.ours, None)


def test_a_query_of_other_letters() -> None:
    assert one(PAGE, search="größe").search == one(PAGE, search="größe").search is not None
    raw = b"idsite=7&rec=1&search=gr%C3%B6%C3%9Fe&url=" + quote("https://example.com/é").encode()
    (event,) = batch(raw, method="GET").items
    assert isinstance(event, Tracked) and event.search is not None and event.search.term == "größe"
