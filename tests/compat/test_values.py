"""What all protocols make of values: it can be stored, and nothing is silently less."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activity.compat import forms, screens, values
from activity.compat.protocol import Tracked
from activity.event import EventType
from activity.incoming import DEFAULT_LIMITS, Search, time_of
from activity.refusal import Reason, Refusal

TEXTS = st.one_of(st.text(), st.text(st.characters(exclude_categories=[])), st.just("\0a\ud800"))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, st.just(10**400))
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner), st.dictionaries(TEXTS, inner)), max_leaves=10
)
NAMES = ("site", "url", "referrer", "title", "name", "user", "screen", "language", "client", "agent", "id", "ts")


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3), st.dictionaries(TEXTS, VALUES, max_size=3), VALUES)
def test_an_event_of_any_values_can_be_stored(fields: dict[str, Any], props: dict[str, Any], engaged: Any) -> None:
    event = values.tracked(EventType.CUSTOM, DEFAULT_LIMITS, **fields, props=props, engaged_ms=engaged)
    encoded = msgspec.json.encode(event)
    again = msgspec.json.decode(encoded, type=Tracked)  # holds the lengths, and types, of each field
    assert msgspec.json.encode(again) == encoded
    assert b"\\u0000" not in encoded.replace(b"\\\\", b"")
    assert not any(isinstance(value, list | dict) for value in event.props.values())


@settings(max_examples=40)
@given(st.dictionaries(TEXTS.filter(lambda name: not values._is_address(name)), SCALARS, max_size=35))
def test_properties_that_are_left_out_are_named(props: dict[str, Any]) -> None:
    kept = values.properties(props, DEFAULT_LIMITS)
    names = [*dict.fromkeys(values.text(name, 128) for name in props)]
    if len(names) <= DEFAULT_LIMITS.props:
        assert [*kept] == names
    else:
        assert [*kept][:-1] == names[: DEFAULT_LIMITS.props - 1]
        assert str(kept[values.LEFT_OUT]).startswith(", ".join(names[DEFAULT_LIMITS.props - 1 :])[:900])


def test_values_keep_their_sense() -> None:
    given = {"n": 2**53 + 1, "f": 0.5, "b": True, "none": None, "list": [1, {"a": "é"}], "text": "a\0b"}
    assert values.properties(given, DEFAULT_LIMITS) == {
        "n": "9007199254740993", "f": 0.5, "b": True, "none": None, "list": '[1,{"a":"é"}]', "text": "ab",
    }  # fmt: skip
    assert values.prop(float("nan")) == "nan"
    assert values.prop(float("nan")) == "nan"
    assert values.text(12.0) == "12"
    assert values.text(None) == ""
    assert values.whole("12.00") == 12
    assert values.whole("1.5") is None
    assert values.whole(True) is None
    assert values.number(" 1.5e3 ") == 1500
    assert values.number("") is None
    assert values.number(float("inf")) is None
    assert values.seconds("1700000000.25") == 1_700_000_000_250
    assert values.screen_url("Cart / Überblick") == "/Cart%20/%20%C3%9Cberblick"
    long_ids = [values.identity("x" * 200 + end) for end in "ab"]
    assert long_ids[0] != long_ids[1]


@given(st.integers(631_152_000_000, 4_102_444_799_999))
def test_a_time_is_the_same_in_all_notations(at: int) -> None:
    written = datetime.fromtimestamp(at / 1_000, UTC).isoformat(timespec="milliseconds")
    for spelt in (at, float(at), str(at), f" {at}", at * 1_000, at * 1_000_000, written, f"{written[:-6]}Z",
                  f"{written}[UTC]", f"{written[:-6]} UTC", f"{written[:-6]}Z\0"):  # fmt: skip
        assert time_of(values.moment(spelt)) == at, spelt
    assert values.since_1970(at // 1_000) == values.since_1970(str(at // 1_000)) == at // 1_000 * 1_000


def test_what_is_no_time_is_refused_by_enrich_and_nothing_is_known_of_none() -> None:
    for never in (None, 0, 0.0, "0", "", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"):
        assert values.moment(never) is None and values.since_1970(never) is None, never
    for wrong in ("yesterday", "20", "2026-11-28T", "2026-11-28T20:05:02.123Z" + " " * 50, "²" * 13, [], True):
        assert values.moment(wrong) == values.text(wrong, 64)


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(1920, 1080, "1920x1080"), ("1920", 1080.0, "1920x1080"), (411.4, 914.9, "411x914"), (0, 5, ""), (5, None, ""),
     (True, 5, ""), (100_000, 1, "100000x1"), (10**40, 1, f"1{'0' * 31}"), ("wide", 5, "")],
)  # fmt: skip
def test_the_size_of_a_screen(width: object, height: object, size: str) -> None:
    assert values.screen_size(width, height) == size


def test_a_size_that_no_screen_has_is_none() -> None:
    for size in ("undefinedxundefined", "NaNxNaN", "0x0", "nullxnull", "0x1080", "1920x0", "0", "0.0x5"):
        assert values.tracked(EventType.PAGEVIEW, DEFAULT_LIMITS, screen=size).screen == ""
    for size in ("1920x1080", "100x2000", "390x844", "1600x900"):
        assert values.tracked(EventType.PAGEVIEW, DEFAULT_LIMITS, screen=size).screen == size


def test_worth() -> None:
    assert values.worth("$ 12.50", "usd") == values.Revenue("12.50", "usd")
    assert values.worth(12) == values.Revenue(12)
    for nothing in ("", "free", None, True, [], float("nan")):
        assert values.worth(nothing) is None


def test_a_custom_event_named_search_is_one() -> None:
    assert values.named_search("Search", {"Query": "shoes", "results": "3"}) == Search("shoes", 3)
    assert values.named_search("search", {"colour": "red"}) is None
    assert values.named_search("signup", {"query": "shoes"}) is None


@given(st.one_of(st.binary(), VALUES.map(lambda value: json.dumps(value).encode() if value != 10**400 else b"")))
def test_any_bytes_are_json_or_refused(body: bytes) -> None:
    read = values.from_json(body, DEFAULT_LIMITS)
    if isinstance(read, Refusal):
        assert read.reason is Reason.MALFORMED
    msgspec.json.encode(values.prop(read))


def test_hostile_bodies_are_refused() -> None:
    for body in (b"[" * 100_000, b"", b"\xef\xbb\xbf", b"1" * 6_000):
        assert isinstance(values.from_json(body, DEFAULT_LIMITS), Refusal)
    assert values.from_json(b'\xef\xbb\xbf{"a": "\\ud800"}', DEFAULT_LIMITS) == {"a": "\ufffd"}
    large = values.from_json(b" " * (DEFAULT_LIMITS.body_bytes + 1), DEFAULT_LIMITS)
    assert isinstance(large, Refusal)
    assert large.reason is Reason.TOO_LARGE


@given(st.one_of(st.text(), st.text("a=&+%2C3é")))
def test_any_query_is_read(query: str) -> None:
    read = forms.parameters(query, DEFAULT_LIMITS)
    if "\ufffd" not in str(parse_qsl(query, keep_blank_values=True, errors="replace")) and "amp;" not in query:
        assert read == dict(reversed(parse_qsl(query, keep_blank_values=True)))
    assert isinstance(forms.parameters("&" * 500, DEFAULT_LIMITS), Refusal)
    assert forms.parameters("a=1&a=2&b=", DEFAULT_LIMITS) == {"a": "1", "b": ""}


@pytest.mark.parametrize(
    ("spelt", "size"),
    [
        ("1920x1080", "1920x1080"), ("1920X1080", "1920x1080"), ("1920 x 1080", "1920x1080"),
        ("1920,1080,1.5", "1920x1080"), ("1920,1080", "1920x1080"), ("1920x1080x24", "1920x1080"),
        ("411.43x914.29", "411x914"), ("1920\u00d71080", "1920x1080"), ("1920px*1080px", "1920x1080"), ("77x9", "77x9"),
        ("0x0", ""), ("1920", ""), ("1920x", ""), ("unknown", ""), ("undefinedxundefined", ""), ("-5x7", ""),
        ("411,43x914,29", "411x914"), ("411,4 x 914", "411x914"), ("411,42857*914,28571", "411x914"),
        ("1920x1080,24", "1920x1080"), ("1920x1080, 24 bit", "1920x1080"), ("375x667@2x", "375x667"),
        ("375,667@2x", "375x667"), ("411.4x914.2x2.6", "411x914"), ("411.4,914.2,2.6", "411x914"),
        ("1920.0*1080", "1920x1080"), ("1920x1080,1.5", "1920x1080"),
        ("411.429x914.286", "411x914"), ("1920.000x1080.000", "1920x1080"),
        ("1,920x1,080", ""), ("1,920*1080", ""), ("1920x1,080", ""), ("1.920x1.080", ""), ("1.920,1.080", ""),
        ("1920,1080x24", ""), ("411,429x914,286", ""), ("1920x1080,240", ""), ("4.1,5x9", ""), ("1920-1080", ""),
        ("1e3x9", ""), ("9" * 32 + "x9", ""), ("", ""),
    ],
)  # fmt: skip
def test_a_size_in_every_notation_that_clients_have(spelt: str, size: str) -> None:
    assert screens.size(spelt) == size


@pytest.mark.parametrize("tag", ["undefined", "null", "None", "C", "C.UTF-8", "POSIX", "*"])
def test_what_names_no_language_is_none(tag: str) -> None:
    assert values.language_tag(tag) == ""


@pytest.mark.parametrize("nobody", [None, True, False, [], {}, ["u"], {"id": "u"}, "", "undefined", "0" * 16])
def test_what_is_no_text_and_no_number_names_nobody(nobody: object) -> None:
    assert values.who(nobody, 256) == ""
    assert (values.who(7, 256), values.who("u", 256)) == ("7", "u")


@given(st.lists(st.text("0123456789,.x*@ ", max_size=32), min_size=1, max_size=3))
def test_any_text_is_a_size_or_none(parts: list[str]) -> None:
    found = screens.size("x".join(parts))
    assert found == "" or screens.size(found) == found


@pytest.mark.parametrize("tag", ["utm_source", "mtm_campaign", "matomo_campaign", "pk_kwd", "piwik_campaign"])
def test_an_address_with_a_campaign_gets_no_other(tag: str) -> None:
    assert values.with_campaign(f"/a?{tag}=x", {"source": "news"}) == f"/a?{tag}=x"
    assert values.with_campaign(f"/a?my_{tag}=x", {"source": "news"}) == f"/a?my_{tag}=x&utm_source=news"
