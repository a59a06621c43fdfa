"""Reading what senders send: neighbours are kept, and each refusal says what to do."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity.beacon import Batch, Incoming, Limits, Search, parse, parse_query, time_of
from activity.event import EventType
from activity.incoming import Revenue
from activity.refusal import Reason, Refusal

VIEW: dict[str, Any] = {"site": "example.com", "type": "pageview", "url": "https://example.com/"}


def body(*events: object, **more: object) -> bytes:
    return json.dumps({"events": events, **more}).encode()


def only(batch: Batch) -> Incoming | Refusal:
    (item,) = batch.items
    return item


def event(item: Incoming | Refusal) -> Incoming:
    assert isinstance(item, Incoming), item
    return item


def test_one_event_and_a_batch_of_them() -> None:
    single = parse(json.dumps(VIEW).encode())
    several = parse(body(VIEW, VIEW, sent_at=1_700_000_000_000))
    assert single == Batch(None, [Incoming(site="example.com", type=EventType.PAGEVIEW, url=VIEW["url"])])
    assert several == Batch(1_700_000_000_000, single.items * 2)
    assert parse(json.dumps({**VIEW, "sent_at": "2023-11-14T22:13:20Z"}).encode()).sent_at == 1_700_000_000_000


@pytest.mark.parametrize(
    ("wrong", "reason", "word"),
    [
        ({"site": None}, Reason.MISSING_FIELD, "`site`"),
        ({"url": 5}, Reason.UNKNOWN_FIELD_TYPE, "`url` must be text"),
        ({"type": "visit"}, Reason.UNKNOWN_FIELD_TYPE, "'visit'"),
        ({"props": ["a"]}, Reason.UNKNOWN_FIELD_TYPE, "give each value a name"),
        ({"props": "x"}, Reason.UNKNOWN_FIELD_TYPE, "`props` must be an object"),
        ({"props": {str(n): n for n in range(31)}}, Reason.TOO_MANY, "31 entries"),
        ({"id": ""}, Reason.MALFORMED, "1 to 128"),
        ({"id": "x" * 129}, Reason.MALFORMED, "1 to 128"),
        ({"id": [7]}, Reason.UNKNOWN_FIELD_TYPE, "`id` must be text"),
        ({"title": ["a", "b"]}, Reason.UNKNOWN_FIELD_TYPE, "`title` must be text"),
        ({"user": {"id": 5}}, Reason.UNKNOWN_FIELD_TYPE, "`user` must be text"),
        ({"user": True}, Reason.UNKNOWN_FIELD_TYPE, "`user` must be text"),
        ({"visitor": {"n": 1}}, Reason.UNKNOWN_FIELD_TYPE, "`visitor` must be text"),
        ({"ts": True}, Reason.UNKNOWN_FIELD_TYPE, "`ts` must be a time"),
        ({"ts": [1]}, Reason.UNKNOWN_FIELD_TYPE, "`ts` must be a time"),
        ({"search": {"results": 1}}, Reason.MISSING_FIELD, "`term` is missing from `search`"),
        ({"search": {"term": "a", "results": "many"}}, Reason.UNKNOWN_FIELD_TYPE, "`search.results`"),
        ({"search": {"term": "a", "results": "1" + ".234" * 2_000}}, Reason.UNKNOWN_FIELD_TYPE, "`search.results`"),
        ({"engaged_ms": "long"}, Reason.UNKNOWN_FIELD_TYPE, "`engaged_ms` must be a number"),
    ],
)
def test_a_wrong_event_is_refused_alone(wrong: dict[str, Any], reason: Reason, word: str) -> None:
    first, refused, last = parse(body(VIEW, {**VIEW, **wrong}, VIEW)).items
    assert isinstance(refused, Refusal)
    assert (refused.index, refused.reason) == (1, reason)
    assert word in refused.detail
    assert event(first) == event(last)


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ({"user": 42}, {"user": "42"}),
        ({"user": False, "visitor": []}, {"user": "", "visitor": ""}),
        ({"id": 7, "title": 3.5, "name": True}, {"id": "7", "title": "3.5", "name": "true"}),
        ({"title": [], "referrer": {}}, {"title": "", "referrer": ""}),
        ({"props": []}, {"props": {}}),
        ({"props": ""}, {"props": {}}),
        ({"props": '{"plan":"pro"}'}, {"props": {"plan": "pro"}}),
        (
            {"props": {"cart": {"n": 2, "of": [{}]}, "tags": ["a", "\ud800"], "no": None, "n": 1}},
            {"props": {"cart": '{"n":2,"of":[{}]}', "tags": '["a","\ufffd"]', "no": None, "n": 1}},
        ),
        ({"search": {"term": "x", "results": "12"}}, {"search": Search("x", 12)}),
        ({"search": {"term": 501, "results": 12.0}}, {"search": Search("501", 12)}),
        ({"search": {"term": "x", "results": ""}}, {"search": Search("x")}),
        ({"search": "shoes"}, {"search": Search("shoes")}),
        ({"search": []}, {"search": None}),
        ({"engaged_ms": "1500"}, {"engaged_ms": 1500}),
        ({"engaged_ms": "12.5"}, {"engaged_ms": 12}),
        ({"search": {"term": "x", "results": 12.7}}, {"search": Search("x", 12)}),
        ({"user": 42.0, "id": 7.0}, {"user": "42", "id": "7"}),
        ({"language": ["de", "en"]}, {"language": "de"}),
        ({"props": "null"}, {"props": {}}),
        ({"props": "[]"}, {"props": {}}),
        ({"type": "PageView"}, {"type": EventType.PAGEVIEW}),
        ({"type": "page_view"}, {"type": EventType.PAGEVIEW}),
        ({"type": "notFound"}, {"type": EventType.NOT_FOUND}),
        ({"interactive": "false"}, {"interactive": False}),
        ({"interactive": 0}, {"interactive": False}),
        ({"interactive": "1"}, {"interactive": True}),
        ({"revenue": {"amount": 1, "currency": None}}, {"revenue": Revenue(1)}),
        ({"revenue": {"amount": None, "currency": "EUR"}}, {"revenue": None}),
        ({"search": {"term": "x", "results": False}}, {"search": Search("x")}),
        ({"search": {"term": "x", "results": []}}, {"search": Search("x")}),
        ({"search": {"term": "x", "results": "1,234"}}, {"search": Search("x", 1234)}),
        ({"engaged_ms": []}, {"engaged_ms": 0}),
        ({"screen": {"width": 1920, "height": 1080}}, {"screen": "1920x1080"}),
        ({"screen": [1920, 1080]}, {"screen": "1920x1080"}),
        ({"language": [None]}, {"language": ""}),
        ({"title": ["a"], "referrer": False}, {"title": "a", "referrer": ""}),
        ({"search": ["shoes"]}, {"search": Search("shoes")}),
        ({"search": {"term": ["x"], "results": "1.234"}}, {"search": Search("x", 1234)}),
        ({"search": {"term": "x", "results": "1\u202f234\u202f567"}}, {"search": Search("x", 1_234_567)}),
        ({"screen": ["1920", 1080.0]}, {"screen": "1920x1080"}),
        ({"interactive": "off"}, {"interactive": False}),
        ({"ts": []}, {"ts": ""}),
    ],
)
def test_a_wrong_type_whose_sense_is_plain_counts(sent: dict[str, Any], read: dict[str, Any]) -> None:
    items = [event(item) for item in parse(body(VIEW, {**VIEW, **sent})).items]
    assert {name: getattr(items[1], name) for name in read} == read
    alone = event(only(parse(json.dumps({**VIEW, **sent}).encode())))
    assert alone == items[1]


@pytest.mark.parametrize("brackets", ["[]", ('{"a":', "}")])
@pytest.mark.parametrize("depth", [10, 300, 900, 990, 100_000])
def test_nested_however_deep_it_is_taken_or_refused_in_words(brackets: str | tuple[str, str], depth: int) -> None:
    opening, closing = brackets
    nested = opening * depth + ("1" if closing == "}" else "") + closing * depth
    item = only(parse(json.dumps({**VIEW, "props": {"a": 0}}).replace("0", nested).encode()))
    assert isinstance(item, Incoming) or item.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("raw", "reason", "word"),
    [
        (b"", Reason.MALFORMED, "empty"),
        (b"{", Reason.MALFORMED, "not JSON"),
        (b"\x00\x01", Reason.MALFORMED, "not JSON"),
        (b"[1]", Reason.MALFORMED, "a list"),
        (b'"{"', Reason.MALFORMED, "a text"),
        (b'{"a":1}\n{', Reason.MALFORMED, "not JSON"),
        (b"null", Reason.MALFORMED, "null"),
        (b'{"events":{}}', Reason.UNKNOWN_FIELD_TYPE, "list"),
        (b"[" * 100_000, Reason.MALFORMED, "JSON"),
        (b"a=" + b" " * 900_000 + b"\nx", Reason.MALFORMED, "not JSON"),
        (b" " * 1_000_001, Reason.TOO_LARGE, "1000001 bytes"),
        (b'{"events":[' + b"1," * 1000 + b"1]}", Reason.TOO_MANY, "1001 events"),
        (body(VIEW, sent_at="yesterday"), Reason.INVALID_TIME, "`sent_at`"),
        (body(VIEW, sent_at={}), Reason.INVALID_TIME, "`sent_at`"),
        (body(VIEW, sent_at=True), Reason.INVALID_TIME, "`sent_at`"),
        (body(VIEW, sent_at=1_748_779_200), Reason.INVALID_TIME, "looks like seconds"),
    ],
)
def test_a_body_that_cannot_be_read_is_one_refusal(raw: bytes, reason: Reason, word: str) -> None:
    refused = only(parse(raw))
    assert isinstance(refused, Refusal)
    assert (refused.index, refused.reason) == (0, reason)
    assert word in refused.detail


TWO = body(VIEW, VIEW)
ONE = json.dumps(VIEW)


@pytest.mark.parametrize(
    ("raw", "count"),
    [
        (json.dumps([VIEW, VIEW]).encode(), 2),
        (f"{ONE}\n{ONE}\r\n\n".encode(), 2),
        (json.dumps({"events": VIEW}).encode(), 1),
        (json.dumps({"events": {"0": VIEW, "2": VIEW}}).encode(), 2),
        (json.dumps(TWO.decode()).encode(), 2),
        (TWO + b"\0", 2),
        (body(VIEW, sent_at=""), 1),
        (b"data=" + quote(TWO).encode(), 2),
        (b"payload=" + TWO, 2),
        (urlencode(VIEW).encode() + b"\r\n", 1),
    ],
)
def test_a_body_whose_sense_is_plain_counts(raw: bytes, count: int) -> None:
    assert parse(raw).items == [Incoming(site="example.com", type=EventType.PAGEVIEW, url=VIEW["url"])] * count


def test_an_event_that_is_no_object_is_refused_alone() -> None:
    items = parse(body(VIEW, 5, [], "x", None, VIEW)).items
    assert [isinstance(item, Incoming) for item in items] == [True, False, False, False, False, True]
    assert [item.index for item in items if isinstance(item, Refusal)] == [1, 2, 3, 4]


def test_texts_come_out_as_valid_unicode_without_nul() -> None:
    raw = (
        b'{"events":[{"site":"example.com","type":"pageview","url":"https://example.com/","title":"a\\u0000b"},'
        b'{"site":"example.com","type":"pageview","url":"https://example.com/","title":"a\\ud800b"},'
        b'{"site":"example.com","type":"pageview","url":"https://example.com/","title":"a\xffb"},'
        b'{"site":"example.com","type":"custom","url":"https://example.com/","name":"n",'
        b'"props":{"\\udfff":"\\ud83d\\ude00\\u0000"}}]}'
    )
    items = [event(item) for item in parse(raw).items]
    assert [item.title for item in items[:3]] == ["ab", "a\ufffdb", "a\ufffdb"]
    assert items[3].props == {"\ufffd": "\U0001f600"}


def test_long_texts_are_cut_unknown_fields_ignored_null_is_absent() -> None:
    long = {**VIEW, "title": "t" * 9000, "props": {"k" * 900: "v" * 9000}, "colour": "red", "referrer": None}
    item = event(only(parse(body(long))))
    assert (len(item.title), item.referrer) == (512, "")
    assert [(len(key), len(str(value))) for key, value in item.props.items()] == [(128, 1024)]


def test_numbers_that_json_readers_disagree_on_are_kept_as_text() -> None:
    item = event(only(parse(body({**VIEW, "props": {"n": 2**60, "m": -5}}))))
    assert item.props == {"n": str(2**60), "m": -5}


def test_the_pixel() -> None:
    batch = parse_query("site=example.com&url=https%3A%2F%2Fexample.com%2F%3Fq%3Dx&title=a+b&ts=17&id=1")
    item = event(only(batch))
    assert (item.type, item.url, item.title, item.ts, item.id) == (
        EventType.PAGEVIEW, "https://example.com/?q=x", "a b", 17, "1",
    )  # fmt: skip
    assert event(only(parse_query("site=e.com", page="https://e.com/a"))).url == "https://e.com/a"
    searched = event(only(parse_query("site=e.com&url=https://e.com&type=search&term=shoes&results=0")))
    assert searched.search is not None
    assert (searched.search.term, searched.search.results) == ("shoes", 0)
    assert event(only(parse_query("site=e.com&url=https://e.com&props=%7B%22a%22%3A1%7D"))).props == {"a": 1}


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", Reason.MISSING_FIELD),
        ("site=e.com", Reason.MISSING_FIELD),
        ("site=e.com&url=https://e.com&type=x", Reason.UNKNOWN_FIELD_TYPE),
        ("site=e.com&url=https://e.com&props={", Reason.MALFORMED),
        ("&".join(["a=1"] * 201), Reason.TOO_MANY),
        ("site=e.com&url=https://e.com&sent_at=x", Reason.INVALID_TIME),
    ],
)
def test_a_wrong_pixel(query: str, reason: Reason) -> None:
    refused = only(parse_query(query))
    assert isinstance(refused, Refusal)
    assert refused.reason is reason


def test_times() -> None:
    assert time_of(None) is None
    assert time_of(1_700_000_000_000.9) == time_of("2023-11-14T23:13:20+01:00") == 1_700_000_000_000
    assert time_of("2023-11-14") == 1_699_920_000_000
    assert time_of("1700000000000") == time_of(" 1700000000000.9 ") == time_of("20231114T221320Z") == 1_700_000_000_000
    assert time_of("2023-11-14 22:13:20") == time_of("2023-11-14t22:13:20,0004z") == 1_700_000_000_000
    assert time_of("2023-W46-2") == 1_699_920_000_000


@pytest.mark.parametrize(
    "wrong",
    [
        "", "now", 10**30, float("inf"), float("nan"), True, [], {}, "2023-11-14x22:13:20", "2023-11-14\u00a022:13:20",
        "2023-11-14T22:13:20+01:00:30", "2023-11-14T", "2023-11-14T22:13:20 CET", "2023-11", "22:13:20", "1e12",
        "\u0662\u0660\u0662\u0663-11-14", "2023-11-14T22:13:20.5+01:00.5", "12345678", "1" * 30,
    ],
)  # fmt: skip
def test_what_is_no_time_is_not_read(wrong: Any) -> None:
    with pytest.raises(ValueError, match="is no time: send Unix milliseconds or ISO 8601"):
        time_of(wrong)


@pytest.mark.parametrize("seconds", [1_748_779_200, 1_748_779_200.123, "1748779200", "1748779200.123", 631_152_000])
def test_seconds_are_not_taken_for_milliseconds(seconds: Any) -> None:
    with pytest.raises(ValueError, match="looks like seconds: send Unix milliseconds or ISO 8601"):
        time_of(seconds)


LONG_TEXT = st.builds(lambda text, times: text * times, st.text(max_size=9), st.sampled_from([1, 8, 40, 600]))
SENT = st.fixed_dictionaries(
    {"site": LONG_TEXT, "type": st.sampled_from([kind.value for kind in EventType]), "url": LONG_TEXT},
    optional={
        **dict.fromkeys(("referrer", "title", "name", "visitor", "user", "screen", "language"), LONG_TEXT),
        "id": st.text(min_size=1, max_size=128),
        "ts": st.none() | st.integers(0, 2**43),
        "search": st.fixed_dictionaries({"term": LONG_TEXT}),
        "props": st.dictionaries(LONG_TEXT, LONG_TEXT | st.integers(-(2**60), 2**60) | st.none(), max_size=40),
        "engaged_ms": st.integers(0, 10**6),
    },
)


@given(SENT)
def test_an_event_is_read_alike_whatever_comes_beside_it(sent: dict[str, Any]) -> None:
    """Beside one that is at fault it is read by hand, else in one go."""
    (alone,) = parse(body(sent)).items
    beside, _ = parse(body(sent, 5)).items
    assert alone == beside
    assert only(parse(json.dumps(sent).encode())) == alone


ANY_TEXT = st.text(max_size=5) | st.sampled_from(["\ud800", "a\udfff", "\0"])  # JSON can spell lone surrogates


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["events", "sent_at", *Incoming.__struct_fields__]) | ANY_TEXT, inner, max_size=6
    ),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_nothing_that_is_sent_makes_it_raise(raw: bytes) -> None:
    for item in parse(raw, limits=Limits(body_bytes=2000)).items:
        assert isinstance(item, Incoming | Refusal)
        assert msgspec.json.encode(item)
    parse_query(raw.decode("utf-8", "replace"))
