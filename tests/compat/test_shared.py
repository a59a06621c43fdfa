"""What holds for all protocols alike: a request costs what it holds, and no address of a visitor stays a property."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity.compat import ga4, matomo, openpanel, plausible, posthog, segment, snowplow, umami, values
from activity.compat.protocol import Protocol, Tracked
from activity.compat.segment_messages import shared_by
from activity.incoming import DEFAULT_LIMITS
from tests.compat.reading import Sent, batch, event

LISTS = [[each] for each in range(12)]  # values that are no texts, each another
MESSAGE = {"anonymousId": "a", "event": "e", "properties": {"url": "/a"}, "userId": "u"}
ITEM = {"client_id": LISTS[0], "user_id": LISTS[1], "ip_override": LISTS[2], "user_agent": LISTS[3]}
ITEM |= {"device": {"language": LISTS[4], "screen_resolution": LISTS[5]}, "timestamp_micros": LISTS[6]}
CONTEXT = {"campaign": {"source": LISTS[0], "name": LISTS[1]}, "traits": {"a": LISTS[2], "b": LISTS[3]}}
CONTEXT |= {"page": {"referrer": LISTS[4], "title": LISTS[5]}, "locale": LISTS[6], "userAgent": LISTS[7]}
SHARING = {
    "ga4": (ga4.PROTOCOL, Sent("/mp/collect", {**ITEM, "events": [{"name": "a"}] * 4})),
    "segment": (
        segment.PROTOCOL,
        Sent("/v1/batch", {"batch": [{**MESSAGE, "type": kind} for kind in ("track", "page", "identify", "group")] * 2,
                           "context": CONTEXT, "sentAt": LISTS[8]}),
    ),
    "posthog": (
        posthog.PROTOCOL,
        Sent("/batch", {"token": LISTS[0], "batch": [{"event": "a", "distinct_id": "b"}] * 4, "sent_at": LISTS[1]}),
    ),
    "matomo": (matomo.PROTOCOL, Sent("/matomo.php", {"requests": ["?rec=1&url=/a"] * 4, "token_auth": LISTS[0]})),
}  # fmt: skip


@pytest.mark.parametrize(("protocol", "sent"), SHARING.values(), ids=SHARING)
def test_what_events_share_is_made_to_text_once(
    protocol: Protocol, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    as_json = values._as_json

    def counted(value: object) -> str:
        made.append(as_json(value))
        return made[-1]

    monkeypatch.setattr(values, "_as_json", counted)
    assert len(batch(protocol, sent).items) >= 4
    shared = {as_json(each) for each in LISTS}
    assert [each for each, times in Counter(made).items() if times > 1 and each in shared] == []


def test_what_messages_take_from_a_batch_is_bounded() -> None:
    traits = {f"trait {number}": "x" * 2_000 for number in range(5_000)}
    shared = shared_by({"traits": traits, "campaign": {"source": "x" * 5_000}}, DEFAULT_LIMITS)
    assert shared.campaign == {"source": "x" * 512}
    assert shared.traits is not None and len(shared.traits) < 200
    assert max(len(str(value)) for value in shared.traits.values()) == 1_024


@given(st.dictionaries(st.text(), st.integers() | st.lists(st.integers()) | st.text(), max_size=45))
def test_cut_properties_are_the_same_properties(props: dict[str, Any]) -> None:
    whole = values.properties(props, DEFAULT_LIMITS)
    assert values.properties(values.cut(props, DEFAULT_LIMITS), DEFAULT_LIMITS) == whole


ADDRESS = "203.0.113.9"
NAMES = ("ip", "IP", "$ip", "ipAddress", "uip", "ip_override", "$client_ip", "last_login-ip", "X-Forwarded-For")
WITH_ADDRESSES: dict[str, Any] = {
    **dict.fromkeys(NAMES, ADDRESS), "visitor": {"ip": ADDRESS, "ips": 1, "firstIp": [ADDRESS]}, "zip": "10115",
    "description": "of a ship",
}  # fmt: skip
ENTITY = {"schema": "iglu:com.acme/thing/jsonschema/1-0-0", "data": WITH_ADDRESSES}
GIVEN: dict[str, tuple[Protocol, Sent]] = {
    "ga4": (ga4.PROTOCOL, Sent("/mp/collect", {"client_id": "a", "events": [{"name": "a", "params": WITH_ADDRESSES}]})),
    "segment": (segment.PROTOCOL, Sent("/v1/track", {**MESSAGE, "properties": WITH_ADDRESSES})),
    "traits": (segment.PROTOCOL, Sent("/v1/identify", {**MESSAGE, "traits": WITH_ADDRESSES})),
    "posthog": (
        posthog.PROTOCOL,
        Sent("/e", {"token": "t", "event": "a", "distinct_id": "a",
                    "properties": {**WITH_ADDRESSES, "$geoip_city_name": "Berlin", "$geoip_latitude": 52.5}}),
    ),
    "umami": (umami.PROTOCOL, Sent("/api/send", {"type": "event", "payload": {
        "website": "w", "url": "/a", "name": "n", "data": WITH_ADDRESSES}})),
    "plausible": (plausible.PROTOCOL, Sent("/api/event", {
        "name": "n", "url": "https://example.com/", "props": WITH_ADDRESSES})),
    "openpanel": (openpanel.PROTOCOL, Sent("/track", {
        "type": "track", "payload": {"name": "n", "properties": WITH_ADDRESSES}})),
    "snowplow": (snowplow.PROTOCOL, Sent("/com.snowplowanalytics.snowplow/tp2", {"data": [
        {"e": "ue", "aid": "a", "ue_pr": f'{{"data":{values.text(ENTITY)}}}'}]})),
    "matomo": (matomo.PROTOCOL, Sent("/matomo.php", query=f"rec=1&idsite=7&ca=1&uip={ADDRESS}&ip={ADDRESS}&zip=10115")),
}  # fmt: skip


@pytest.mark.parametrize(("protocol", "sent"), GIVEN.values(), ids=GIVEN)
def test_an_address_of_the_visitor_is_no_property(protocol: Protocol, sent: Sent) -> None:
    found = event(protocol, sent)
    assert isinstance(found, Tracked)
    assert ADDRESS not in str(found.props)
    assert "Berlin" not in str(found.props) and 52.5 not in found.props.values()
    assert found.props["zip"] == "10115"
    if protocol is not matomo.PROTOCOL:
        assert found.props["visitor"] == '{"ip":"","ips":1,"firstIp":""}'
        assert found.props["description"] == "of a ship"
