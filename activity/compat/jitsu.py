"""What clients of Jitsu's version 1 send: an event with what the client adds beside it, or apart in `eventn_ctx`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from activity.compat import values
from activity.compat.parts import first, header, members
from activity.compat.protocol import Tracked, TrackerBatch, TrackerRequest, refused
from activity.event import EventType
from activity.incoming import Incoming, Limits
from activity.refusal import Reason, Refusal

PATHS = ("api/v1/event", "api/v1/s2s/event")
FORM = "jitsu 1"  # of the answer
_KINDS = {
    "pageview": EventType.PAGEVIEW, "page_view": EventType.PAGEVIEW, "page": EventType.PAGEVIEW,
    "user_identify": EventType.IDENTIFY, "identify": EventType.IDENTIFY,
}  # fmt: skip
# What the client adds to all events: read, or told by something else.
_ADDED = frozenset((
    "api_key", "src", "event_type", "event_id", "eventn_ctx", "eventn_data", "eventn_ctx_event_id", "user", "ids",
    "user_agent", "parsed_ua", "utc_time", "_timestamp", "local_tz_offset", "referer", "url", "page_title", "doc_path",
    "doc_host", "doc_search", "doc_encoding", "screen_resolution", "vp_size", "user_language", "utm", "click_id",
    "source_ip", "location",
))  # fmt: skip
_IDS = frozenset(("anonymous_id", "hashed_anonymous_id", "id", "internal_id"))


def read(request: TrackerRequest, query: Mapping[str, str], limits: Limits) -> TrackerBatch:
    """Return the events of a request: one, or a list of them. Never raises."""
    key = query.get("token") or header(request.headers, b"x-auth-token")
    content = values.from_json(request.body, limits)
    if isinstance(content, Refusal):
        return refused(content, key, FORM)
    events = content if isinstance(content, list) else [content]
    key = key or next((found for each in events if (found := values.text(values.obj(each).get("api_key"), 253))), "")
    if len(events) > limits.events:
        return refused(values.too_many(len(events), limits.events), key, FORM)
    items: list[Incoming | Refusal] = [_event(index, each, limits) for index, each in enumerate(events)]
    return TrackerBatch(sent_at=None, items=items, credential=key, form=FORM)


def _event(index: int, event: object, limits: Limits) -> Tracked | Refusal:
    if not isinstance(event, dict):
        detail = 'the event is no object: send {"event_type": "pageview", "url": …}'
        return Refusal(index, Reason.UNKNOWN_FIELD_TYPE, detail)
    name = values.text(event.get("event_type"), 128)
    if not name:
        detail = "`event_type` is missing: send pageview, user_identify or a name of your own"
        return Refusal(index, Reason.MISSING_FIELD, detail)
    kind = _KINDS.get(name, EventType.CUSTOM)
    told = {**event, **values.obj(event.get("eventn_ctx"))}
    who = values.obj(told.get("user"))
    user = values.text(first(who, "id", "internal_id"), 256)
    props = {key: value for key, value in event.items() if key not in _ADDED}
    props |= members(event.get("eventn_data"), "eventn_data")
    if kind is EventType.IDENTIFY:
        props = {key: value for key, value in who.items() if key not in _IDS} | props
    search, revenue = None, None
    if kind is EventType.CUSTOM:
        if search := values.named_search(name, props):
            kind = EventType.SEARCH
        revenue = values.worth(props.get("revenue"), props.get("currency"))
        if revenue is not None:
            props = {key: value for key, value in props.items() if key not in ("revenue", "currency")}
    url = _address(told)
    return values.tracked(
        kind,
        limits,
        url=values.with_campaign(url, values.obj(told.get("utm"))) if url else "",
        referrer=told.get("referer"),
        title=told.get("page_title"),
        name=name if kind is EventType.CUSTOM else "",
        props=props,
        search=search,
        id=first(told, "event_id", "eventn_ctx_event_id"),
        ts=first(told, "utc_time", "_timestamp"),
        user=user,
        screen=told.get("screen_resolution"),
        language=told.get("user_language"),
        revenue=revenue,
        client=first(who, "anonymous_id", "hashed_anonymous_id") or user,
        address=told.get("source_ip"),
        agent=told.get("user_agent"),
    )


def _address(told: Mapping[str, Any]) -> str:
    """Return the address of the page, whole or put together of its parts."""
    if url := values.text(told.get("url")):
        return url
    host, path = values.text(told.get("doc_host"), 253), values.text(told.get("doc_path"))
    search = values.text(told.get("doc_search")).removeprefix("?")
    whole = f"{path or '/'}?{search}" if search else path
    return f"https://{host}{whole or '/'}" if host else whole
