"""PostHog's capture API, as its Python, browser, mobile and other clients speak it.

The browser sends JSON, JSON in gzip under `text/plain`, with `sendBeacon` a form with base64, and in its first releases
LZ-String's. Flags, recordings, surveys and the configuration get an answer that turns them off.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from activity.compat import forms, lz_string, values
from activity.compat.parts import first, from_base64, header
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
from activity.compat.tables.posthog import CAMPAIGN, FIELDS, HARMLESS, NOT_KEPT, NOTES, OFF, SERVER_SIDE, STATE
from activity.event import EventType
from activity.incoming import Incoming, Limits, time_of
from activity.refusal import Reason, Refusal

_CAPTURE = ("/batch", "/e", "/i/v0/e", "/i/v0/ai", "/i/v0/ai/batch", "/capture", "/track", "/engage")
_V1 = "/i/v1/analytics/events"
_CONFIG = re.compile(r"/array/([A-Za-z0-9_-]{1,128})/config(\.js)?")
_TAKEN: dict[str, dict[str, object]] = {"": {"status": 1}, "v1": {"results": {}}}  # by the form of the answer
# A form with `data`, which may come behind `ver`, `compression`, …; or with the fields of an event.
_FORM = re.compile(rb"(?:[\w.-]{1,32}+=[\w.%+-]{0,512}+&){0,8}(?:data|batch|event|distinct_id)=")
_IN_FORM = ("data", "batch", "event")  # the fields of a form that may hold all of it as JSON
_LONGEST_AGO = 365 * 86_400_000  # ms
_LONGEST_LZ = 256 * 1024  # bytes of it, which hold some 1.5 MB of JSON, and take 0.1 s
_GZIP = b"\x1f\x8b"
# The ids that clients make for those who are not known: UUIDs, and of browsers once five numbers of other lengths.
_MADE = re.compile(
    r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|(?:[0-9a-f]{10,16}-){2}(?:[0-9a-f]{4,10}-){2}[0-9a-f]{10,16}",
    re.IGNORECASE,
)

# What the visitor does himself among the events that the clients record by themselves; all names begin with `$`.
_INTERACTIVE = frozenset(("$autocapture", "$rageclick", "$dead_click", "$copy_autocapture"))
_PASSIVE = frozenset(("survey shown", "Deep Link Opened")) | {
    f"Application {what}" for what in ("Installed", "Updated", "Opened", "Became Active", "Backgrounded")
}
# Names for nobody, which stem from a mistake in the caller: no user has one.
_NOBODY = frozenset((
    "anonymous", "guest", "distinctid", "distinct_id", "id", "not_authenticated", "email", "undefined", "true", "false",
    "none", "null", "nan", "0", "[object object]",
))  # fmt: skip
_COOKIELESS = "$posthog_cookieless"  # the id of all whom the server is to tell apart
_ALIASES = frozenset(("$create_alias", "$merge_dangerously"))
_TRAITS = frozenset(("$identify", "$set", "$set_once"))
# What clients send beside the events, and is none: recordings and maps of what was clicked, and what went wrong there.
_NO_EVENTS = frozenset((
    "$snapshot", "$snapshot_items", "$performance_event", "$$heatmap", "$$client_ingestion_warning",
))  # fmt: skip


def _read(request: TrackerRequest, limits: Limits) -> TrackerBatch | Answer:
    path = request.path
    if path in HARMLESS:
        return Answer(200, encoded(HARMLESS[path]))
    if path.startswith("/array"):
        return _config(path)
    query = forms.parameters(request.query, limits)
    if isinstance(query, Refusal):
        return refused(query)
    form = "v1" if path == _V1 else ""
    content = _content(request, query, limits)
    if isinstance(content, Refusal):
        return refused(content, form=form)
    body, query = content
    batch = _batch(request, query, body, form, limits)
    return batch if body is request.body or isinstance(batch, Answer) else replace(batch, plain=body)


def _is_of_group(event: object) -> bool:
    """Return whether a `$groupidentify` is in the name of the group itself, as servers send it: that is no visitor."""
    fields = values.obj(event)
    given = values.obj(fields.get("properties"))
    name = f"${values.text(given.get('$group_type'))}_{values.text(given.get('$group_key'))}"
    return values.text(fields.get("distinct_id")) == name


def _is_kept(event: object) -> bool:
    """Return whether an event is one of a visitor: not a group's own, nor a piece of a recording."""
    name = event.get("event") if isinstance(event, dict) else None
    if not isinstance(name, str):
        return True
    return name not in _NO_EVENTS and (name != "$groupidentify" or not _is_of_group(event))


def _batch(
    request: TrackerRequest, query: Mapping[str, str], body: bytes, form: str, limits: Limits
) -> TrackerBatch | Answer:
    content = values.from_json(body, limits)
    if isinstance(content, Refusal):
        return refused(content, form=form)
    shared = values.obj(content)
    events = shared.get("batch", [content]) if isinstance(content, dict) else content
    if isinstance(events, str):  # a list that was written as a text
        events = values.from_json(events.encode("utf-8", "replace"), limits)
    events = values.listed(events)
    if not isinstance(events, list):
        what = "the body is neither an event nor a list of events"
        detail = f'{what}: send {{"api_key": …, "batch": [{{"event": …, "distinct_id": …}}]}}'
        return refused(Refusal(0, Reason.UNKNOWN_FIELD_TYPE, detail), form=form)
    kept = [event for event in events if _is_kept(event)]
    if events and not kept:
        return Answer(200, encoded(_TAKEN[form]))
    events = kept
    if len(events) > limits.events:
        return refused(values.too_many(len(events), limits.events), form=form)
    credential = _token(shared) or query.get("api_key") or query.get("token") or _bearer(request.headers)
    credential = credential or next(filter(None, map(_token, events)), "")
    sent = request.headers.get(b"posthog-request-timestamp", b"").decode("latin-1") if form else ""
    sent_at = _time(shared.get("sent_at") or sent or query.get("sent_at") or query.get("_"))
    items: list[Incoming | Refusal] = [
        _event(index, event, request.path, credential, sent_at, limits) for index, event in enumerate(events)
    ]
    return TrackerBatch(sent_at=None, items=items, credential=credential, form=form)


def _content(
    request: TrackerRequest, query: dict[str, str], limits: Limits
) -> tuple[bytes, dict[str, str]] | Refusal:
    """Return the JSON of a request, which may be in a form or in the query, and packed, or in base64; and what stands
    beside it in either."""
    data = request.body
    if request.method == "GET" or not data:
        data = query.get("data", "").encode("utf-8", "surrogatepass")
    elif _FORM.match(data) or forms.is_multipart(data):
        form = forms.form(data, limits)
        if isinstance(form, Refusal):
            return form
        data = _of_form(form)
        query = {**form, **query}
    if data.lstrip()[:1] in (b"{", b"[", b""):
        return data, query
    if (query.get("compression") or header(request.headers, b"content-encoding", 16)) in ("lz64", "lz-string"):
        if len(data) > _LONGEST_LZ:
            return values.too_large(len(data), _LONGEST_LZ)
        text = lz_string.unpacked(data, limits.body_bytes)
        if text is None:
            detail = f"the body has more than {limits.body_bytes} characters unpacked: send fewer events in each"
            return Refusal(0, Reason.TOO_LARGE, detail)
        return text or data, query
    plain = from_base64(data)
    if plain.startswith(_GZIP):
        plain = _unpacked(plain, limits)
        if len(plain) > limits.body_bytes:
            return values.too_large(len(plain), limits.body_bytes, "unpacked, the body")
    # What is no base64 either is refused as no JSON, in words about what was sent.
    return plain if plain.lstrip()[:1] in (b"{", b"[") or plain.startswith(_GZIP) else data, query


def _unpacked(packed: bytes, limits: Limits) -> bytes:
    """Return what gzip holds, and of more than a body may have a part of it; what is broken or has more behind it as it
    is."""
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS + 16)
    try:
        content = unpacker.decompress(packed, limits.body_bytes + 1)
    except zlib.error:
        return packed
    is_whole = unpacker.eof and not unpacker.unused_data
    return content if is_whole or len(content) > limits.body_bytes else packed


def _of_form(form: Mapping[str, str]) -> bytes:
    """Return the JSON in one of a form's fields, or of all of them."""
    if [*form] == ["data"]:  # as the browser's client sends it
        return form["data"].encode("utf-8", "surrogatepass")
    held = next((form[name] for name in _IN_FORM if form.get(name, "").lstrip()[:1] in ("{", "[")), "")
    if not held and "data" not in form:
        return encoded(form)
    if "event.properties" in form and (event := values.object_in(held)) is not None:
        props = values.object_in(event.get("properties")) or {}
        return encoded({**event, "properties": props | (values.object_in(form["event.properties"]) or {})})
    return (held or form["data"]).encode("utf-8", "surrogatepass")


def _event(
    index: int, event: object, path: str, credential: str, sent_at: int | None, limits: Limits
) -> Tracked | Refusal:
    if not isinstance(event, dict):
        detail = 'the event is no object: send {"event": …, "distinct_id": …, "properties": {…}}'
        return Refusal(index, Reason.UNKNOWN_FIELD_TYPE, detail)
    given = event.get("properties")
    given = given if type(given) is dict else values.object_in(given) or {}
    options = values.obj(event.get("options"))
    name = values.text(event.get("event") or ("$set" if path == "/engage" else ""), 128)
    distinct = values.text(first(event, "distinct_id", "$distinct_id"), 256).strip()
    distinct = distinct or values.text(given.get("distinct_id"), 256).strip()
    if not name.strip():
        return Refusal(index, Reason.MISSING_FIELD, "`event` is missing: give the event its name, such as \"signup\"")
    if not distinct:
        return Refusal(index, Reason.MISSING_FIELD, "`distinct_id` is missing: send the id of the visitor")
    device = values.text(given.get("$device_id"), 256)
    user = _user(given, options, distinct, device)
    client = device or distinct
    traits: dict[str, Any] = {}
    if name in _TRAITS:
        user = user if name != "$identify" else "" if _is_nobody(distinct) else distinct
        client = device or values.text(given.get("$anon_distinct_id"), 256) or distinct
        for part in ("$set", "$set_once"):
            traits = {**_traits(event.get(part)), **_traits(given.get(part)), **traits}
    elif name in _ALIASES:
        client, user = _linked(name, distinct, client, values.text(given.get("alias"), 256).strip())
    if distinct == _COOKIELESS:
        client, user = "" if device == _COOKIELESS else device, ""
    if given.get("$cookieless_mode") is True or options.get("cookieless_mode") is True:
        client = ""
    ts, sent_at, ago_ms = _when(event, given, options, sent_at)
    token = _token(event)
    kind, fields = _kind(name, given)
    props = traits if kind is EventType.IDENTIFY else fields.pop("props", None) or _props(given)
    if kind is EventType.CUSTOM:
        search = values.named_search(name, props)
        amount = "revenue" if "revenue" in props else "$revenue"
        revenue = values.worth(props.get(amount), props.get("currency")) if amount in props else None
        if search is not None:
            kind = EventType.SEARCH
        elif revenue is not None:
            del props[amount]
            props.pop("currency", None)
        fields |= {"search": search, "revenue": revenue}
    return values.tracked(
        kind,
        limits,
        site="" if token == credential else token,
        url=fields.pop("url", None) or given.get("$current_url") or _by_parts(given) or _screen(given),
        referrer="" if given.get("$referrer") == "$direct" else given.get("$referrer"),
        title=given.get("title"),
        props=props,
        id=event.get("uuid") or given.get("$insert_id") or event.get("messageId"),
        ts=ts,
        ago_ms=ago_ms,
        user=user,
        screen=values.screen_size(given.get("$screen_width"), given.get("$screen_height")),
        language=given.get("$browser_language") or given.get("$locale"),
        client=client,
        address=given.get("$ip"),
        agent=given.get("$raw_user_agent") or given.get("$user_agent") or given.get("$useragent"),
        sent_at=sent_at,
        **fields,
    )


def _kind(name: str, given: Mapping[str, Any]) -> tuple[EventType, dict[str, Any]]:
    """Return the type of an event by its name, and the fields that differ by type."""
    if name == "$pageview":
        return EventType.PAGEVIEW, {}
    if name == "$screen":
        return EventType.PAGEVIEW, {"url": _screen(given) or _screen_at(given)}
    if name == "$pageleave":
        return EventType.ENGAGEMENT, {"engaged_ms": values.seconds(given.get("$prev_pageview_duration")) or 0}
    if name in _TRAITS or name in _ALIASES:
        return EventType.IDENTIFY, {}
    if name == "$autocapture" and given.get("$external_click_url"):
        props = _props(given)
        return EventType.OUTBOUND, {"props": {"url": props.pop("$external_click_url"), **props}}
    if name == "$web_vitals":
        measured = {
            key.removeprefix("$web_vitals_").removesuffix("_value"): value
            for key, value in given.items()
            if value is not None and key.startswith("$web_vitals_") and key.endswith("_value")
        }
        return EventType.WEB_VITAL, {"props": measured}
    passive = (name.startswith("$") and name not in _INTERACTIVE) or name in _PASSIVE
    return EventType.CUSTOM, {"name": name, "interactive": not passive}


def _props(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties that are the site's own, without what a client adds to all events."""
    browser = given.get("$lib") == "web"
    return {
        key: value
        for key, value in given.items()
        if key not in NOT_KEPT
        and not (key[:1] == "$" and (key.startswith(STATE) or key.endswith(SERVER_SIDE)))
        and not (browser and key in CAMPAIGN)
    }


def _traits(part: object) -> dict[str, Any]:
    """Return what the site tells of a user, without what the browser adds of his first page."""
    given = values.obj(part)
    return {key: value for key, value in given.items() if not key.startswith("$") and key not in CAMPAIGN}


def _user(given: Mapping[str, Any], options: Mapping[str, Any], distinct: str, device: str) -> str:
    """Return the user that an event names. Who is not known yet has a UUID, which the clients make."""
    if given.get("$user_id"):
        return values.text(given["$user_id"], 256)
    if given.get("$is_identified") is True:
        return distinct
    personless = False in (given.get("$process_person_profile"), options.get("process_person_profile"))
    unknown = bool(device) or personless or given.get("$is_identified") is False or _MADE.fullmatch(distinct)
    return "" if unknown or _is_nobody(distinct) else distinct


def _is_nobody(name: str) -> bool:
    return name.strip("'\"").lower() in _NOBODY


def _linked(name: str, distinct: str, client: str, alias: str) -> tuple[str, str]:
    """Return whom an alias links to which user. Its two ids come in either order: the one that a client made is the
    visitor's, and a name for nobody is that of no user."""
    if not alias or _is_nobody(alias):
        return client, "" if _MADE.fullmatch(distinct) or _is_nobody(distinct) else distinct
    if name == "$merge_dangerously" or (_MADE.fullmatch(alias) and not _MADE.fullmatch(distinct)):
        return alias, "" if _is_nobody(distinct) else distinct
    return client, alias


def _screen(given: Mapping[str, Any]) -> str:
    """Return the address of an app's screen, which apps name with all of its events; "" without one."""
    name = given.get("$screen_name")
    return values.screen_url(name) if name else ""


def _screen_at(given: Mapping[str, Any]) -> str:
    """Return the address of a screen without a name: that of its page, or a path made of what else the app calls it."""
    told = values.text(given.get("$current_url")).strip()
    return told if told[:8].lower().startswith(("/", "http://", "https://")) else values.screen_url(told)


def _when(
    event: Mapping[str, Any], given: Mapping[str, Any], options: Mapping[str, Any], sent_at: int | None
) -> tuple[object, int | None, int]:
    """Return when an event happened and when it was sent, by the client's clock, or how long before it was sent."""
    sent_at = _time(event.get("sent_at")) or sent_at
    ts, ago_ms = event.get("timestamp"), 0
    if ts is None:
        offset = values.whole(event.get("offset"))
        ts = sent_at - offset if offset is not None and sent_at is not None else values.seconds(given.get("$time"))
        ago_ms = min(max(offset or 0, 0), _LONGEST_AGO) if ts is None else 0
    if given.get("$ignore_sent_at") is True or options.get("disable_skew_correction") is True:
        sent_at = None
    return ts, sent_at, ago_ms


def _by_parts(given: Mapping[str, Any]) -> str:
    """Return the address of a page that is told by its host and path; a path of the site without a host."""
    host, path = values.text(given.get("$host"), 253), values.text(given.get("$pathname"))
    return f"https://{host}{path}" if host and path[:1] == "/" else path


def _time(value: object) -> int | None:
    if value is None:
        return None
    try:
        return time_of(values.moment(value))
    except ValueError:
        return None


def _token(event: object) -> str:
    fields = values.obj(event)
    found = fields.get("api_key") or fields.get("token") or fields.get("$token")
    return values.text(found or values.obj(fields.get("properties")).get("token"), 253).strip()


def _bearer(headers: Mapping[bytes, bytes]) -> str:
    kind, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return key.strip()[:253] if kind.lower() == "bearer" else ""


def _config(path: str) -> Answer:
    found = _CONFIG.fullmatch(path)
    if found is None:
        return Answer(404, encoded({"detail": "only /array/TOKEN/config and config.js are here"}))
    config = {"token": found[1], **OFF}
    if not found[2]:
        return Answer(200, encoded(config))
    script = b"(function(w,k){w[k]=w[k]||{};w[k][%s]={config:%s,siteApps:[]}})(window,'_POSTHOG_REMOTE_CONFIG')"
    return Answer(200, script % (encoded(found[1]), encoded(config)), b"application/javascript")


def _answer(outcome: Outcome) -> Answer:
    reasons = {refusal.reason for refusal in outcome.refused}
    if outcome.taken or reasons <= {Reason.OPTED_OUT}:
        return Answer(200, encoded(_TAKEN[outcome.form]))
    status, kind, code = 400, "validation_error", "invalid_payload"
    if reasons & {Reason.UNKNOWN_SITE, Reason.NOT_ALLOWED}:
        status, kind, code = 401, "authentication_error", "invalid_api_key"
    elif Reason.WRONG_ORIGIN in reasons:
        status, kind, code = 403, "permission_denied", "wrong_origin"
    elif Reason.TOO_LARGE in reasons:
        status, code = 413, "payload_too_large"
    elif Reason.RATE_LIMITED in reasons:
        status, kind, code = 503, "throttled_error", "throttled"
    detail = worst(outcome)
    if outcome.form == "v1":
        return Answer(status, encoded({"error": code, "error_description": detail}))
    return Answer(status, encoded({"type": kind, "code": code, "detail": detail, "attr": None}))


PROTOCOL = Protocol(
    name="posthog",
    title="PostHog",
    routes=(
        *(Route(path, ("GET", "POST")) for path in (*_CAPTURE, *HARMLESS)),
        Route(_V1),
        Route("/array", ("GET",), prefix=True),
    ),
    read=_read,
    answer=_answer,
    heeds=(b"posthog-request-timestamp",),
    fields=FIELDS,
    notes=NOTES,
    slow_down=503,  # the browser's client gives up after a 429
)
