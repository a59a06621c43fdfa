"""Google Analytics 4: the Measurement Protocol of servers and apps, and what `gtag.js` sends from the browser."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from activity import url as addresses
from activity.compat import forms, times, values
from activity.compat.parts import header, is_true, somebody
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
from activity.compat.tables.ga4 import BROWSER_NAMES, CAMPAIGN, FIELDS, NOT_KEPT, NOTES
from activity.event import EventType
from activity.incoming import LONGEST_USER, Incoming, Limits, time_of
from activity.refusal import Reason, Refusal

_DEBUG = "/debug/mp/collect"
_BROWSER = "/g/collect"

_KINDS = {
    "page_view": EventType.PAGEVIEW,
    "screen_view": EventType.PAGEVIEW,
    "user_engagement": EventType.ENGAGEMENT,
    "file_download": EventType.DOWNLOAD,
    "form_submit": EventType.FORM,
    "search": EventType.SEARCH,
    "view_search_results": EventType.SEARCH,
    "page_not_found": EventType.NOT_FOUND,
}
_VITALS = frozenset(("CLS", "FCP", "FID", "INP", "LCP", "TTFB"))
# What happens without the visitor, or is told of his page by another event.
# fmt: off
_PASSIVE = frozenset((
    "session_start", "first_visit", "first_open", "scroll", "video_progress", "view_search_results", "exception",
    "app_exception", "app_update", "os_update", "app_clear_data", "app_remove", "ad_impression", "ad_exposure",
    "experiment_impression", "campaign_details", "ad_query", "firebase_campaign", "notification_foreground",
    "notification_receive", "notification_send",
))
# fmt: on
_CAMPAIGN = frozenset(name for name, _ in CAMPAIGN.values())
_SALES = frozenset(("purchase", "in_app_purchase", "ecommerce_purchase", "refund"))
_ITEM = re.compile(r"pr\d{1,3}")
_SCREENS = ("screen_name", "firebase_screen", "firebase_screen_class", "screen_class")
_OF_COOKIE = re.compile(r"GA1\.\d{1,2}(?:-\d{1,2})?\.(?=\d)", re.ASCII)  # before the visitor's id in Google's cookie
_DENIED = frozenset("pqmu")
_HOST = re.compile(r"(www\.(?=[^/?#]))?([^/?#:]+)")  # of an address without its scheme
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")


def _read(request: TrackerRequest, limits: Limits) -> TrackerBatch | Answer:
    query = forms.parameters(request.query, limits)
    if isinstance(query, Refusal):
        return refused(query)
    if request.path == _BROWSER:
        return _hits(request, query, limits)
    credential = query.get("api_secret", "")[:253].strip()
    site = (query.get("measurement_id") or query.get("firebase_app_id") or "")[:253].strip()
    content = values.from_json(request.body, limits)
    if isinstance(content, Refusal):
        batch = refused(content, credential)
    elif not isinstance(content, dict):
        detail = 'the body is no object: send {"client_id": …, "events": [{"name": …, "params": {…}}]}'
        batch = refused(Refusal(0, Reason.UNKNOWN_FIELD_TYPE, detail), credential)
    else:
        batch = TrackerBatch(sent_at=None, items=_sent(content, site, limits), credential=credential)
    return _validated(batch, content) if request.path == _DEBUG else batch


def _sent(content: dict[str, Any], site: str, limits: Limits) -> list[Incoming | Refusal]:
    events = values.listed(content.get("events"))
    events = [events] if isinstance(events, dict) else events
    if not isinstance(events, list) or not events:
        return [Refusal(0, Reason.MISSING_FIELD, '`events` is missing: send a list of {"name": …, "params": {…}}')]
    if len(events) > limits.events:
        return [values.too_many(len(events), limits.events)]
    user = values.text(content.get("user_id"), LONGEST_USER)
    client = _client(content.get("client_id")) or _client(content.get("app_instance_id")) or somebody(user)
    if not client:
        return [Refusal(0, Reason.MISSING_FIELD, "`client_id` is missing: send the id of the visitor")]
    device = values.obj(content.get("device"))
    # Each may be as large as the request, so none is left for every event to make a text of.
    shared: dict[str, Any] = {
        "site": site,
        "client": client,
        "user": user,
        "address": values.text(content.get("ip_override"), 64),
        "agent": values.text(content.get("user_agent"), 1024),
        "language": values.text(device.get("language"), 35),
        "screen": values.text(device.get("screen_resolution"), 32),
    }
    at = _millis(content.get("timestamp_micros"))
    if at is not None and not isinstance(at, int):
        at = values.text(at, 64)
    items: list[Incoming | Refusal] = [_event(index, event, at, shared, limits) for index, event in enumerate(events)]
    told_of_user = content.get("user_properties")
    traits = {
        name: given.get("value") if isinstance(given, dict) else given
        for name, given in (_params(told_of_user) if told_of_user else {}).items()
    }
    if traits and shared["user"]:
        # Clients send them with every request: told once a day, they are known, until they change.
        told = None
        if isinstance(at, int):
            known = values.text(values.cut(traits, limits))
            told = f"user {at // 86_400_000}|{shared['user']}|{shared['client']}|{known}"
        items.append(values.tracked(EventType.IDENTIFY, limits, props=traits, ts=at, id=told, **shared))
    return items


def _event(index: int, event: object, at: object, shared: Mapping[str, Any], limits: Limits) -> Tracked | Refusal:
    if not isinstance(event, dict):
        return Refusal(index, Reason.UNKNOWN_FIELD_TYPE, 'the event is no object: send {"name": …, "params": {…}}')
    name = values.text(event.get("name"), 128)
    if not name.strip():
        return Refusal(index, Reason.MISSING_FIELD, '`name` is missing: give the event its name, such as "sign_up"')
    params = _params(event.get("params"))
    own = event.get("timestamp_micros") or params.get("timestamp_micros")
    given = dict(shared)
    given["user"] = given["user"] or params.get("user_id")
    given["language"] = given["language"] or params.get("language")
    given["screen"] = given["screen"] or params.get("screen_resolution")
    return _tracked(name, params, given, limits, ts=at if own is None else _millis(own))


def _tracked(
    name: str,
    params: Mapping[str, Any],
    given: Mapping[str, Any],
    limits: Limits,
    *,
    ts: object = None,
    sent_as: str | None = None,
) -> Tracked:
    kind = _KINDS.get(name, EventType.CUSTOM)
    props = {key: value for key, value in params.items() if key not in NOT_KEPT}
    url = values.text(params.get("page_location")) or _path(params.get("page_path"), given["site"])
    search, revenue, interactive, told_as, is_order = None, None, name not in _PASSIVE, "", False
    if name == "campaign_details":  # an event of its own that tells where the visit came from
        url = values.with_campaign(url or "/", {utm: params.get(utm) for utm in CAMPAIGN})
    elif url and not _CAMPAIGN.isdisjoint(params):
        url = values.with_campaign(url, {utm: params.get(name) for utm, (name, _) in CAMPAIGN.items()})
    if kind is EventType.SEARCH:
        results = props.get("results", props.get("number_of_results"))
        search = values.search_of(params.get("search_term"), results)
        if search is None:
            kind = EventType.CUSTOM
        elif name == "view_search_results":
            told_as = name  # the page view, whose address may have the term, is the search then
    elif name == "page_view" and not url:
        url = values.screen_url(params["page_title"]) if params.get("page_title") else ""
    elif name == "screen_view" and not url:
        url = values.screen_url(next(filter(None, map(params.get, _SCREENS)), None))
    elif name == "click" and str(params.get("outbound", True)).lower() == "true" and params.get("link_url"):
        kind = EventType.OUTBOUND
    elif name in _VITALS and "metric_value" in props:
        kind, props = EventType.WEB_VITAL, {name: props["metric_value"]}
    elif name in _SALES:
        revenue = values.worth(props.get("value"), props.get("currency"))
        if revenue is not None:
            props = {key: value for key, value in props.items() if key not in ("value", "currency")}
        if revenue is not None and name == "refund":
            revenue = values.taken_back(revenue)
        # A page of thanks that is loaded again tells of the same; paying back may happen in several parts.
        if is_order := name != "refund" and bool(props.get("transaction_id")):
            sent_as = f"{name} {values.text(props['transaction_id'], 100)}"
    if kind in (EventType.OUTBOUND, EventType.DOWNLOAD) and "link_url" in props:
        props = {"url": props.pop("link_url")} | props
    if kind is not EventType.SEARCH and params.get("search_term"):
        props["search_term"] = params["search_term"]
    referrer, is_ignored = params.get("page_referrer"), params.get("ignore_referrer")
    if is_ignored and referrer and is_true(is_ignored):  # such as the page where the visitor has just paid
        props["page_referrer"], referrer = referrer, ""
    return values.tracked(
        kind,
        limits,
        name=name if kind is EventType.CUSTOM else params.get("form_name") or params.get("form_id") or "",
        url=url,
        referrer=referrer,
        title=params.get("page_title"),
        props=props,
        search=search,
        revenue=revenue,
        id=sent_as,
        ts=ts,
        engaged_ms=0 if is_order else params.get("engagement_time_msec") or 0,
        interactive=interactive,
        told_as=told_as,
        **given,
    )


def _hits(request: TrackerRequest, query: Mapping[str, str], limits: Limits) -> TrackerBatch:
    """Read what the browser sends: what all events share in the query, and each event in a line of the body. An
    event that the query names is that of lines without a name, and no further one: some send all of it in both.

    An event without a name is refused, and its neighbours are not."""
    lines = [line for line in request.body.decode("utf-8", "replace").splitlines() if line.strip()] or [""]
    if len(lines) > limits.events:
        return refused(values.too_many(len(lines), limits.events))
    items: list[Incoming | Refusal] = []
    given: dict[str, Any] = {}
    query = {name: values.text(value) for name, value in query.items()}
    if request.method == "GET" and query.get("en") == "page_view" and not (query.get("dl") or query.get("dp")):
        query["dl"] = header(request.headers, b"referer", 4096)  # of the page with the image
    shared, traits = _told(query)
    for index, line in enumerate(lines):
        own = forms.parameters(line, limits) if line else {}
        if isinstance(own, Refusal):
            items.append(Refusal(index, own.reason, own.detail))
            continue
        hit = {**query, **own}
        if not hit.get("en", "").strip():
            detail = "`en` is missing: give the event its name, such as page_view"
            items.append(Refusal(index, Reason.MISSING_FIELD, detail))
            continue
        own_params, own_traits = _told(own)
        params = {**shared, **own_params}
        shared.pop("engagement_time_msec", None)  # the time of the request, which counts once
        traits |= own_traits
        if "value" not in params:
            params.pop("currency", None)
        given = {
            "site": hit.get("tid", "").strip(),
            "client": "" if _is_denied(hit) else _client(hit.get("cid")),
            "user": hit.get("uid"),
            "address": hit.get("_uip"),
            "language": params.pop("language", ""),
            "screen": params.pop("screen_resolution", ""),
        }
        items.append(_tracked(values.text(hit["en"], 128), params, given, limits, sent_as=_sent_as(hit, index)))
    if traits and given.get("user"):
        items.append(values.tracked(EventType.IDENTIFY, limits, props=traits, id=_sent_as(query, "user"), **given))
    return TrackerBatch(sent_at=None, items=items, form="browser")


def _told(hit: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the parameters of a hit tell of the event and of the user, by the names of the other protocol."""
    params: dict[str, Any] = {ours: hit[theirs] for theirs, ours in BROWSER_NAMES.items() if theirs in hit}
    traits: dict[str, Any] = {}
    for key, value in hit.items():
        kind, dot, name = key.partition(".")
        if dot and kind in ("ep", "epn"):
            params[name] = _number(value) if kind == "epn" else value
        elif dot and kind in ("up", "upn"):
            traits[name] = _number(value) if kind == "upn" else value
        elif _ITEM.fullmatch(key):
            params[key] = value
    return params, traits


def _sent_as(hit: Mapping[str, str], line: object) -> str | None:
    """Return the id of an event that comes again: the page that was opened, the number of its request, and the line."""
    return f"{hit.get('cid', '')} {hit['_p']} {hit.get('_s', '')} {line}" if hit.get("_p") else None


def _is_denied(hit: Mapping[str, str]) -> bool:
    """Return whether the visitor allows no id: then the browser makes up another one for each page. Newer tags may tell
    of it in `gcd` only, where the second letter is about this."""
    told = hit.get("gcs")
    return hit.get("gcd", "")[4:5] in _DENIED if not told else told[3:4] == "0"


def _path(given: object, site: object) -> str:
    """Return a path of the site, with the slash at its begin that some leave out; an address without its scheme as one:
    its host begins with `www.`, or is the site's by which it was sent."""
    found = values.text(given, 4088)
    if not found or found[0] == "/" or "://" in found[:16]:
        return found
    host = _HOST.match(found.lower())
    return f"https://{found}" if host and (host[1] or host[2] == site) else f"/{found}"


def _client(given: object) -> str:
    """Return a visitor's id, also of the whole cookie that the browser keeps it in; "" if that is nobody's."""
    found = values.text(given, 256) if given else ""
    if found in values.NOBODY:
        return ""
    return _OF_COOKIE.sub("", found) if found[:4] == "GA1." else found


def _number(value: str) -> object:
    found = values.number(value)
    return value if found is None else int(found) if found == int(found) else found


def _millis(micros: object) -> object:
    """Return Unix milliseconds for microseconds, and for what clients send by mistake: seconds or milliseconds. What is
    no number stays as it is, for `enrich` to refuse."""
    if type(micros) is int and times.MILLIS[0] <= micros // 1_000 < times.MILLIS[1]:
        return micros // 1_000
    found = values.whole(micros) or values.number(micros)
    if found is None:
        return micros
    known = times.of_number(found)
    is_one = known is not None and times.SECONDS[0] <= known / 1_000 < times.SECONDS[1]
    return known if is_one else int(found // 1_000)


def _params(given: object) -> dict[str, Any]:
    """Return the parameters of an event, which some write as a list of {"key": …, "value": …}."""
    if not isinstance(given, list):
        return values.obj(given)
    return {values.text(each["key"], 128): each.get("value") for each in map(values.obj, given) if each.get("key")}


def _validated(batch: TrackerBatch, content: object) -> Answer:
    """Return what Google's validation server says: nothing of an event that would be taken."""
    messages = []
    for item in batch.items:
        if isinstance(item, Refusal):
            code = "VALUE_REQUIRED" if item.reason is Reason.MISSING_FIELD else "VALUE_INVALID"
            place = "client_id" if item.detail.startswith("`client_id`") else "events"
            messages.append({"fieldPath": place, "description": item.detail, "validationCode": code})
            continue
        try:
            time_of(item.ts)
        except ValueError as error:
            description = f"`timestamp_micros` {error}"
            messages.append(
                {"fieldPath": "timestamp_micros", "description": description, "validationCode": "VALUE_INVALID"}
            )
        if item.type is EventType.PAGEVIEW and not (item.url.startswith("/") or addresses.parse(item.url)):
            description = f"{item.url[:100]!r} is no address: send `page_location`, or a screen's `screen_name`"
            messages.append(
                {"fieldPath": "events.params", "description": description, "validationCode": "VALUE_REQUIRED"}
            )
    events = values.obj(content).get("events")
    for index, event in enumerate(events if isinstance(events, list) else []):
        name = values.text(values.obj(event).get("name"), 128)
        if name and not _NAME.fullmatch(name):
            description = f"Event at index: [{index}] is named [{name}]: begin with a letter; use letters, digits and _"
            messages.append({"fieldPath": "events", "description": description, "validationCode": "NAME_INVALID"})
    return Answer(200, encoded({"validationMessages": messages}))


def _answer(outcome: Outcome) -> Answer:
    """Return what Google answers, which is 204 whatever became of the events; not what no sender could know."""
    for reason, status in ((Reason.TOO_LARGE, 413), (Reason.RATE_LIMITED, 429)):
        if not outcome.taken and reason in {refusal.reason for refusal in outcome.refused}:
            return Answer(status, worst(outcome).encode(), b"text/plain; charset=utf-8")
    return Answer(204, b"", b"text/plain")


PROTOCOL = Protocol(
    name="ga4",
    title="Google Analytics 4",
    routes=(Route("/mp/collect"), Route(_DEBUG), Route(_BROWSER, ("GET", "POST"))),
    read=_read,
    answer=_answer,
    heeds=(b"referer",),
    fields=FIELDS,
    notes=NOTES,
)
