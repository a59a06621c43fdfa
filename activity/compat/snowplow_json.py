"""The JSON inside Snowplow's events: what a self-describing event amounts to, and the entities beside one."""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any

import msgspec

from activity import url as addresses
from activity.compat.tables.snowplow import Payload
from activity.compat.values import (
    cut,
    from_json,
    listed,
    number,
    obj,
    screen_url,
    search_of,
    taken_back,
    text,
    worth,
)
from activity.event import EventType
from activity.incoming import Limits, Revenue
from activity.refusal import Reason, Refusal


class Made(msgspec.Struct):
    """What an event amounts to besides what all events have."""

    kind: EventType
    name: str = ""
    props: dict[str, object] = {}
    url: str = ""  # of a screen; else that of the payload
    title: str = ""
    more: dict[str, Any] = {}  # further arguments of `tracked`


# The entities beside an event, by the name in their schema, and the properties that they become.
Beside = tuple[dict[str, list[object]], Mapping[str, object]]
_SMALL = 2_048  # characters of entities that are made to properties with every event
NOTHING_BESIDE: Beside = {}, {}
# Entities that a tracker adds by itself to every event, by the name in their schema; see FIELDS.
_OWN_ENTITIES = frozenset(
    (
        "web_page", "client_session", "browser_context", "mobile_context", "geolocation_context", "PerformanceTiming",
        "PerformanceNavigationTiming", "cookies", "http_client_hints", "screen", "application_context",
        "screen_summary",
    )
)  # fmt: skip
# Of those that came later the sites' own of the same name are not renamed.
_OWN_OF_LATE = frozenset(("application", "application_lifecycle", "desktop_context"))
# Events that happen without the visitor.
_PASSIVE = frozenset(
    (
        "application_error", "timing", "ad_impression", "screen_end", "ping_event", "application_background",
        "application_foreground", "application_install", "diagnostic_error", "performance_timing", "error_event",
        "percent_progress_event", "buffer_start_event", "buffer_end_event", "quality_change_event", "ready_event",
        "ad_break_start_event", "ad_break_end_event", "ad_start_event", "ad_quartile_event", "ad_complete_event",
        "cmp_visible", "create_element", "expose_element", "obscure_element", "destroy_element", "list_item_view",
        "scroll_changed", "deep_link_received",
    )
)  # fmt: skip
_ENVELOPES = ("unstruct_event", "payload_data")
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_VENDORS = ("com.snowplowanalytics.", "com.google.", "org.w3", "org.ietf")  # a site's own are not of these


def self_described(index: int, given: Payload, entities: dict[str, list[object]], limits: Limits) -> Made | Refusal:
    """Return what a self-describing event amounts to, by the name in its schema. It may come without its envelope."""
    event = _json(index, "ue_px", given.ue_px, given.ue_pr, limits)
    if isinstance(event, Refusal):
        return event
    described = obj(obj(event).get("data"))
    vendor, name = _schema(described.get("schema"))
    if not name:
        described = obj(event)
        vendor, name = _schema(described.get("schema"))
    if not name or name in _ENVELOPES:
        detail = '`ue_pr` has no event: send {"data": {"schema": "iglu:VENDOR/NAME/jsonschema/1-0-0", "data": {…}}}'
        return Refusal(index, Reason.MISSING_FIELD, detail)
    data = described.get("data")
    props: dict[str, object] = dict(data) if isinstance(data, dict) else {} if data is None else {"data": data}
    if not vendor.startswith(_VENDORS):
        return Made(EventType.CUSTOM, name, {**props, "schema": described["schema"]})
    if name == "screen_view":
        screen = props.pop("name", None)
        if not screen and not _UUID.fullmatch(text(props.get("id"), 64)):  # as which each view has another
            screen = props.pop("id", None)
        if not screen_url(screen):  # then its page has an address, or what stands beside it a name
            if not given.url and not screen_url(one_of(entities, "screen").get("name")):
                return Refusal(index, Reason.MISSING_FIELD, "the screen has neither `name` nor `url`: send one")
            return Made(EventType.PAGEVIEW, props=props)
        return Made(EventType.PAGEVIEW, props=props, url=screen_url(screen), title=text(screen, 512))
    if name == "site_search":
        terms = props.pop("terms", None)
        term = " ".join(text(each, 256) for each in terms) if isinstance(terms, list) else terms
        return Made(EventType.SEARCH, props=props, more={"search": search_of(term, props.pop("totalResults", None))})
    if name == "link_click" and _leads_out(given.url, text(props.get("targetUrl"))):
        return Made(EventType.OUTBOUND, props={"url": props.pop("targetUrl"), **props})
    if name == "submit_form":
        return Made(EventType.FORM, text(props.get("formId"), 128), props)
    if name == "web_vitals":
        return Made(EventType.WEB_VITAL, name, props)
    if name == "snowplow_ecommerce_action":
        action = text(props.pop("type", None) or name, 128)
        return Made(EventType.CUSTOM, action, props, more={"revenue": _worth_of(action, entities)})
    if name == "screen_end" and "screen_summary" in entities:
        seen = number(one_of(entities, "screen_summary").get("foreground_sec"))
        return Made(EventType.ENGAGEMENT, props=props, more={"engaged_ms": round((seen or 0) * 1_000)})
    return Made(EventType.CUSTOM, name, props, more={"interactive": name not in _PASSIVE})


def _worth_of(action: str, entities: dict[str, list[object]]) -> Revenue | None:
    """Return what was paid, or paid back. Other actions may tell of an order, too, such as one that failed."""
    if action == "refund":
        refund = one_of(entities, "refund")
        paid = worth(refund.get("refund_amount"), refund.get("currency"))
        return paid and taken_back(paid)
    order = one_of(entities, "transaction") if action == "transaction" else {}
    return worth(order.get("revenue"), order.get("currency"))


def one_of(entities: dict[str, list[object]], name: str) -> dict[str, Any]:
    """Return the first entity of a name, {} if there is none."""
    return obj(entities.get(name, [None])[0])


def entities_beside(given: Payload, limits: Limits) -> Beside | Refusal:
    """Return the entities beside an event, or the refusal of what are none. They may come without their envelope."""
    if not given.cx and not given.co:
        return NOTHING_BESIDE
    contexts = _json(0, "cx", given.cx, given.co, limits)
    if isinstance(contexts, Refusal):
        return contexts
    found: dict[str, list[object]] = {}
    entities = contexts if isinstance(contexts, list) else listed(obj(contexts).get("data"))
    if isinstance(entities, dict):  # one alone, or what one holds
        entities = [entities if "schema" in entities else contexts]
    for entity in entities if isinstance(entities, list) else []:
        vendor, name = _schema(obj(entity).get("schema"))
        if name in _OWN_OF_LATE and vendor.startswith(_VENDORS):
            continue
        if name in _OWN_ENTITIES and not vendor.startswith(_VENDORS):
            name = f"{vendor}.{name}"
        if name:
            found.setdefault(name, []).append(obj(entity).get("data"))
    props: dict[str, object] = {}
    for name, each in found.items():
        if name not in _OWN_ENTITIES:
            props[f"context.{name}"] = each if len(each) > 1 else each[0]
    return found, cut(props, limits) if len(given.cx) + len(given.co) > _SMALL else props


def _json(index: int, key: str, encoded: str, plain: str, limits: Limits) -> Any:
    """Return the JSON of a key, in base64 or as it is, or the refusal of what is none."""
    try:
        padded = encoded.replace(" ", "+") + "==="
        content = urlsafe_b64decode(padded) if encoded else plain.encode("utf-8", "surrogatepass")
    except (binascii.Error, ValueError):
        return Refusal(index, Reason.MALFORMED, f"`{key}` is no base64: encode it so, or send JSON without base64")
    found = from_json(content, limits)
    return Refusal(index, found.reason, f"`{key}`: {found.detail}") if isinstance(found, Refusal) else found


def _schema(named: object) -> tuple[str, str]:
    """Return vendor and name of "iglu:VENDOR/NAME/jsonschema/1-0-0", also of an address of it, as there once were; both
    are "" if it is no such text."""
    if not isinstance(named, str):
        return "", ""
    path = named.removeprefix("iglu:")
    if "://" in path[:16]:
        path = path.partition("/schemas/")[2]
    parts = path.split("/", 5)
    return (parts[0], text(parts[1], 128)) if len(parts) == 4 else ("", "")


def _leads_out(page: str, target: str) -> bool:
    there, here = addresses.parse(target), addresses.parse(page)
    if there is None:
        return False
    return here is None or addresses.without_www(there.host) != addresses.without_www(here.host)
