"""Snowplow's tracker protocol, version 2: events of short keys, with self-describing JSON inside some of them.

Its own collector takes whatever it can read and judges later. Here an event is judged at once, so a request of which
nothing can be taken is answered with a status that trackers do not send again: 400 or 403, also for what is too large.
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote_plus

import msgspec
from msgspec.structs import replace

from activity import url as addresses
from activity.compat import iglu
from activity.compat.forms import parameters
from activity.compat.parts import GIF, from_base64, header, key_in
from activity.compat.protocol import (
    Answer,
    Outcome,
    Protocol,
    Route,
    Tracked,
    TrackerBatch,
    TrackerRequest,
    encoded,
    refused,
    worst,
)
from activity.compat.tables.snowplow import FIELDS, ITEM, NOTES, ORDER, PINGS, STRUCTURED, Payload
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
    too_many,
    tracked,
    whole,
    worth,
)
from activity.event import EventType
from activity.incoming import Incoming, Limits, Revenue, time_of
from activity.refusal import Reason, Refusal

_POST = "/com.snowplowanalytics.snowplow/tp2"
_NOT_ALLOWED = frozenset((Reason.UNKNOWN_SITE, Reason.WRONG_ORIGIN, Reason.NOT_ALLOWED))
_EARLIEST, _LATEST = 631_152_000_000, 4_102_444_800_000  # 1990 and 2100: a clock beyond is not worth comparing with
_FARTHEST = 365 * 86_400_000  # ms that a clock's time of an event and of its sending are apart
_PLAIN_KEYS = {"cx": "co", "ue_px": "ue_pr"}
_IN_BASE64 = re.compile(rb'"(cx|ue_px)"\s{0,8}:\s{0,8}"([^"]*)')
_AS_IT_IS = '{}[]":,/'  # of JSON in a query
_LEADS_TO = "leads to "  # of the answer, before an address
_NOBODY = "00000000-0000-0000-0000-000000000000"  # how an app that tracks anonymously names its user


class _Envelope(msgspec.Struct, frozen=True):
    data: list[Payload]


class _Made(msgspec.Struct):
    """What an event amounts to besides what all events have."""

    kind: EventType
    name: str = ""
    props: dict[str, object] = {}
    url: str = ""  # of a screen; else that of the payload
    title: str = ""
    more: dict[str, Any] = {}  # further arguments of `tracked`


# The entities beside an event, by the name in their schema, and the properties that they become.
_Beside = tuple[dict[str, list[object]], Mapping[str, object]]
_SMALL = 2_048  # characters of entities that are made to properties with every event
_NOTHING_BESIDE: _Beside = {}, {}
_KEYS = frozenset(Payload.__struct_fields__)
_decode = msgspec.json.Decoder(_Envelope).decode
_NUMBERS = frozenset(("pp_mix", "pp_max", "pp_miy", "pp_may", "tr_tx", "tr_sh", "ti_pr", "ti_qu"))

# Entities that a tracker adds by itself to every event, by the name in their schema; see FIELDS.
_OWN_ENTITIES = frozenset(
    (
        "web_page", "client_session", "browser_context", "mobile_context", "geolocation_context", "PerformanceTiming",
        "PerformanceNavigationTiming", "cookies", "http_client_hints", "screen", "application_context",
        "screen_summary",
    )
)  # fmt: skip
# Events that happen without the visitor.
_PASSIVE = frozenset(
    (
        "application_error", "timing", "ad_impression", "screen_end", "ping_event", "application_background",
        "application_foreground", "application_install", "diagnostic_error", "performance_timing", "error_event",
        "percent_progress_event", "buffer_start_event", "buffer_end_event", "quality_change_event", "ready_event",
    )
)  # fmt: skip
_VENDORS = ("com.snowplowanalytics.", "com.google.", "org.w3", "org.ietf")  # a site's own are not of these


def read(request: TrackerRequest, limits: Limits) -> TrackerBatch | Answer:
    """Read the events of a request. Never raises."""
    batch = _read(request, limits)
    query, body = request.query, request.body
    if "cx" not in query and "ue_px" not in query and b"cx" not in body and b"ue_px" not in body:
        return batch
    if all(map(_is_understood, batch.items)):
        return batch
    plain = b"" if request.path == iglu.WEBHOOK else _plain(body)
    return replace(batch, plain=plain, plain_query=_plain_query(query))


def _read(request: TrackerRequest, limits: Limits) -> TrackerBatch:
    if request.path == iglu.WEBHOOK:
        payloads = iglu.payloads(request, limits)
        return _batch(payloads, request, limits, "gif" if request.method == "GET" else "")
    if request.path == iglu.REDIRECT:
        return _read_click(request, limits)
    return _read_query(request, limits) if request.method == "GET" else _read_body(request, limits)


def _read_body(request: TrackerRequest, limits: Limits) -> TrackerBatch:
    credential = key_in(request.headers)
    try:
        payloads: list[Any] = list(_decode(request.body).data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        body = from_json(request.body, limits)
        if isinstance(body, Refusal):
            return refused(body, credential)
        given = listed(obj(body).get("data"))
        given = body if given is None and (isinstance(body, list) or "e" in obj(body)) else given
        payloads = [given] if isinstance(given, dict) else given
        if not isinstance(payloads, list):
            detail = '`data` is missing: send {"schema": …, "data": […]}'
            return refused(Refusal(0, Reason.MISSING_FIELD, detail), credential)
    return _batch(payloads, request, limits)


def _batch(payloads: Sequence[Any] | Refusal, request: TrackerRequest, limits: Limits, form: str = "") -> TrackerBatch:
    credential = key_in(request.headers)
    if isinstance(payloads, Refusal):
        return refused(payloads, credential, form)
    if len(payloads) > limits.events:
        return refused(too_many(len(payloads), limits.events), credential, form)
    anonymous = b"sp-anonymous" in request.headers
    items: list[Incoming | Refusal] = []
    spelt = "", ""
    beside: _Beside | Refusal = _NOTHING_BESIDE
    for index, each in enumerate(payloads):
        payload = each if type(each) is Payload else _payload(index, each)
        if isinstance(payload, Refusal):
            items.append(payload)
            continue
        if (payload.cx, payload.co) != spelt:  # many events have the same beside them, which may be as large as all
            spelt = payload.cx, payload.co
            beside = _beside(payload, limits)
        items.append(_event(index, payload, beside, anonymous, limits))
    return TrackerBatch(sent_at=None, items=items, credential=credential, form=form)


def _read_click(request: TrackerRequest, limits: Limits) -> TrackerBatch:
    """Read a link that counts a click and leads on, if the site lets it lead there: the service asks for that."""
    given = parameters(request.query, limits)
    click = given if isinstance(given, Refusal) else iglu.click(given)
    if isinstance(click, Refusal):
        return refused(click, key_in(request.headers))
    payload, target = click
    batch = _batch([payload], request, limits, _LEADS_TO + target)
    if isinstance(batch.items[0], Refusal):
        return replace(batch, form="")
    return replace(batch, leads_to=target)


def _read_query(request: TrackerRequest, limits: Limits) -> TrackerBatch:
    given = parameters(request.query, limits)
    if not isinstance(given, Refusal) and given.get("e") == "pv" and not given.get("url"):
        given["url"] = header(request.headers, b"referer", 4096)  # of the page with the image
    return _batch(given if isinstance(given, Refusal) else [given], request, limits, "gif")


def _is_understood(item: Incoming | Refusal) -> bool:
    """Return whether nothing is wrong with an event, as far as that can be told without its site."""
    if isinstance(item, Refusal):
        return False
    url, kind = item.url, item.type
    if not (url.startswith("/") or addresses.parse(url) if url else kind is not EventType.PAGEVIEW):
        return False
    if (kind is EventType.CUSTOM and not item.name) or (kind is EventType.SEARCH and item.search is None):
        return False
    try:
        at = time_of(item.ts)
    except ValueError:
        return False
    sent_at = item.sent_at if isinstance(item, Tracked) else None
    return at is None or (_EARLIEST <= at < _LATEST and (sent_at is None or abs(sent_at - at) < _FARTHEST))


def _plain(body: bytes) -> bytes:
    """Return what a dead letter keeps of a body that has JSON in base64: the same with it as a text, else b""."""
    found, count = _IN_BASE64.subn(_as_text, body)
    return found if count else b""


def _plain_query(query: str) -> bytes:
    """Return what a dead letter keeps of a query that has JSON in base64: the same with it as a text, else b""."""
    plain, others = [], []
    for pair in query.replace("&amp;", "&").split("&"):
        name, _, value = pair.partition("=")
        key = _PLAIN_KEYS.get(unquote_plus(name))
        if key and value:  # before the others: the first counts, and it does before what is no base64
            plain.append(f"{key}={quote(_decoded(unquote_plus(value)), safe=_AS_IT_IS)}")
        else:
            others.append(pair)
    return "&".join([*plain, *others]).encode("utf-8", "replace") if plain else b""


def _decoded(value: str) -> str:
    return from_base64(value.encode("utf-8", "replace")).decode("utf-8", "replace")


def _as_text(found: re.Match[bytes]) -> bytes:
    """Return a key's JSON as a text with its name; not the quotation mark at its end, which may be missing."""
    key = found[1].decode()
    return b'"%s":%s' % (_PLAIN_KEYS[key].encode(), encoded(_decoded(found[2].decode("utf-8", "replace")))[:-1])


def answer(outcome: Outcome) -> Answer:
    """Return `ok` or a GIF, or what was wrong if nothing could be taken."""
    if outcome.form.startswith(_LEADS_TO):  # whatever became of the click: who follows a link gets there
        target = outcome.form.removeprefix(_LEADS_TO).encode("ascii")
        return Answer(302, b"", b"text/plain", ((b"location", target),))
    reasons = {refusal.reason for refusal in outcome.refused}
    if outcome.taken or reasons <= {Reason.OPTED_OUT}:
        return Answer(200, GIF, b"image/gif") if outcome.form == "gif" else Answer(200, b"ok", b"text/plain")
    status = 403 if reasons <= _NOT_ALLOWED else 400
    return Answer(status, worst(outcome).encode(), b"text/plain; charset=utf-8")


def _payload(index: int, given: Any) -> Payload | Refusal:
    if not isinstance(given, dict):
        return Refusal(index, Reason.UNKNOWN_FIELD_TYPE, "an event of `data` is no object: send its keys")
    return Payload(**{key: text(value, 2**20) for key, value in given.items() if key in _KEYS})


def _event(index: int, given: Payload, beside: _Beside | Refusal, anonymous: bool, limits: Limits) -> Tracked | Refusal:
    if isinstance(beside, Refusal):
        return replace(beside, index=index)
    entities, shared = beside
    made = _made(index, given, entities, limits)
    if isinstance(made, Refusal):
        return made
    props = made.props
    if shared:
        props.update(shared)
    screen = "" if given.url else _one_of(entities, "screen").get("name") or (given.page if given.e == "pv" else "")
    sent_at = whole(given.stm) if given.stm and not given.ttm else None
    return tracked(
        made.kind,
        limits,
        site=given.aid or _host(given.url),
        url=made.url or given.url or (screen_url(screen) if screen else ""),
        referrer=given.refr,
        title=made.title or given.page,
        name=made.name,
        props=props,
        id=given.eid,
        ts=given.ttm or given.dtm or None,
        sent_at=sent_at if sent_at is not None and 0 <= sent_at < _LATEST else None,
        user="" if anonymous else given.uid,
        screen=given.res,
        language=given.lang,
        client="" if anonymous else _client(given, entities),
        address=given.ip,
        agent=given.ua,
        **made.more,
    )


def _host(url: str) -> str:
    page = addresses.parse(url)
    return page.host if page else ""


def _client(given: Payload, entities: dict[str, list[object]]) -> object:
    found: object = given.duid or given.tnuid or given.nuid
    if not found:
        found = _one_of(entities, "client_session").get("userId")
    return given.uid if not found or found == _NOBODY else found


def _made(index: int, given: Payload, entities: dict[str, list[object]], limits: Limits) -> _Made | Refusal:
    kind = given.e
    if kind == "pv":
        return _Made(EventType.PAGEVIEW, props={})
    if kind == "pp":
        return _Made(EventType.ENGAGEMENT, props=_named(given, PINGS))
    if kind == "ue":
        return _described(index, given, entities, limits)
    if kind == "se":
        props = _named(given, STRUCTURED)
        if given.se_va:
            props["value"] = _as_number(given.se_va)
        return _Made(EventType.CUSTOM, given.se_ac or given.se_ca, props)
    if kind == "tr":
        more = {"revenue": worth(given.tr_tt, given.tr_cu)}
        return _Made(EventType.CUSTOM, "transaction", _named(given, ORDER), more=more)
    if kind == "ti":
        return _Made(EventType.CUSTOM, "transaction_item", _named(given, ITEM), more={"interactive": False})
    if not kind:
        return Refusal(index, Reason.MISSING_FIELD, "`e` is missing: send pv, pp, se, ue, tr or ti")
    return Refusal(index, Reason.UNKNOWN_FIELD_TYPE, f"`e` {kind[:32]!r} is not known: send pv, pp, se, ue, tr or ti")


def _described(index: int, given: Payload, entities: dict[str, list[object]], limits: Limits) -> _Made | Refusal:
    """Return what a self-describing event amounts to, by the name in its schema."""
    event = _json(index, "ue_px", given.ue_px, given.ue_pr, limits)
    if isinstance(event, Refusal):
        return event
    described = obj(obj(event).get("data"))
    vendor, name = _schema(described.get("schema"))
    if not name:
        detail = '`ue_pr` has no event: send {"data": {"schema": "iglu:VENDOR/NAME/jsonschema/1-0-0", "data": {…}}}'
        return Refusal(index, Reason.MISSING_FIELD, detail)
    data = described.get("data")
    props: dict[str, object] = dict(data) if isinstance(data, dict) else {} if data is None else {"data": data}
    if not vendor.startswith(_VENDORS):
        return _Made(EventType.CUSTOM, name, {**props, "schema": described["schema"]})
    if name == "screen_view":
        screen = props.pop("name", None)
        return _Made(EventType.PAGEVIEW, props=props, url=screen_url(screen), title=text(screen, 512))
    if name == "site_search":
        terms = props.pop("terms", None)
        term = " ".join(text(each, 256) for each in terms) if isinstance(terms, list) else terms
        return _Made(EventType.SEARCH, props=props, more={"search": search_of(term, props.pop("totalResults", None))})
    if name == "link_click" and _leads_out(given.url, text(props.get("targetUrl"))):
        return _Made(EventType.OUTBOUND, props={"url": props.pop("targetUrl"), **props})
    if name == "submit_form":
        return _Made(EventType.FORM, text(props.get("formId"), 128), props)
    if name == "web_vitals":
        return _Made(EventType.WEB_VITAL, name, props)
    if name == "snowplow_ecommerce_action":
        action = text(props.pop("type", None) or name, 128)
        return _Made(EventType.CUSTOM, action, props, more={"revenue": _worth_of(action, entities)})
    if name == "screen_end" and "screen_summary" in entities:
        seen = number(_one_of(entities, "screen_summary").get("foreground_sec"))
        return _Made(EventType.ENGAGEMENT, props=props, more={"engaged_ms": round((seen or 0) * 1_000)})
    return _Made(EventType.CUSTOM, name, props, more={"interactive": name not in _PASSIVE})


def _worth_of(action: str, entities: dict[str, list[object]]) -> Revenue | None:
    """Return what was paid, or paid back. Other actions may tell of an order, too, such as one that failed."""
    if action == "refund":
        refund = _one_of(entities, "refund")
        paid = worth(refund.get("refund_amount"), refund.get("currency"))
        return paid and taken_back(paid)
    order = _one_of(entities, "transaction") if action == "transaction" else {}
    return worth(order.get("revenue"), order.get("currency"))


def _one_of(entities: dict[str, list[object]], name: str) -> dict[str, Any]:
    """Return the first entity of a name, {} if there is none."""
    return obj(entities.get(name, [None])[0])


def _beside(given: Payload, limits: Limits) -> _Beside | Refusal:
    """Return the entities beside an event, or the refusal of what are none."""
    if not given.cx and not given.co:
        return _NOTHING_BESIDE
    contexts = _json(0, "cx", given.cx, given.co, limits)
    if isinstance(contexts, Refusal):
        return contexts
    found: dict[str, list[object]] = {}
    entities = obj(contexts).get("data")
    for entity in entities if isinstance(entities, list) else []:
        vendor, name = _schema(obj(entity).get("schema"))
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
    """Return vendor and name of "iglu:VENDOR/NAME/jsonschema/1-0-0"; both are "" if it is no such text."""
    parts = named.removeprefix("iglu:").split("/") if isinstance(named, str) else []
    return (parts[0], text(parts[1], 128)) if len(parts) == 4 else ("", "")


def _leads_out(page: str, target: str) -> bool:
    there, here = addresses.parse(target), addresses.parse(page)
    if there is None:
        return False
    return here is None or addresses.without_www(there.host) != addresses.without_www(here.host)


def _named(given: Payload, names: dict[str, str]) -> dict[str, object]:
    found = {name: (key, getattr(given, key)) for key, name in names.items()}
    return {
        name: _as_number(value) if key in _NUMBERS else value for name, (key, value) in found.items() if value != ""
    }


def _as_number(value: str) -> object:
    found = number(value)
    return value if found is None else int(found) if float(found).is_integer() else found


PROTOCOL = Protocol(
    name="snowplow",
    title="Snowplow",
    routes=(
        Route(_POST, ("GET", "POST")),
        Route("/i", ("GET",)),
        Route("/ice.png", ("GET",)),
        Route(iglu.WEBHOOK, ("GET", "POST")),
        Route(iglu.REDIRECT, ("GET",)),
    ),
    read=read,
    answer=answer,
    heeds=(b"sp-anonymous", b"referer"),
    fields=FIELDS,
    notes=NOTES,
)
