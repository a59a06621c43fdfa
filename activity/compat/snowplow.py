"""Snowplow's tracker protocol, version 2: events of short keys, with self-describing JSON inside some of them.

Its own collector takes whatever it can read and judges later. Here an event is judged at once, so a request of which
nothing can be taken is answered with a status that trackers do not send again: 400 or 403, also for what is too large.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, unquote_plus

import msgspec
from msgspec.structs import replace

from activity import url as addresses
from activity.compat import iglu, times
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
from activity.compat.snowplow_json import NOTHING_BESIDE, Beside, Made, entities_beside, one_of, self_described
from activity.compat.tables.snowplow import FIELDS, ITEM, NOTES, ORDER, PINGS, STRUCTURED, Payload
from activity.compat.values import (
    NOBODY,
    from_json,
    listed,
    number,
    obj,
    screen_url,
    text,
    too_many,
    tracked,
    whole,
    worth,
)
from activity.event import EventType
from activity.incoming import Incoming, Limits, time_of
from activity.refusal import Reason, Refusal

_POST = "/com.snowplowanalytics.snowplow/tp2"
_NOT_ALLOWED = frozenset((Reason.UNKNOWN_SITE, Reason.WRONG_ORIGIN, Reason.NOT_ALLOWED))
_EARLIEST, _LATEST = 631_152_000_000, 4_102_444_800_000  # 1990 and 2100: a clock beyond is not worth comparing with
_FARTHEST = 365 * 86_400_000  # ms that a clock's time of an event and of its sending are apart
_PLAIN_KEYS = {"cx": "co", "ue_px": "ue_pr"}
_IN_BASE64 = re.compile(rb'"(cx|ue_px)"\s{0,8}:\s{0,8}"([^"]*)')
_AS_IT_IS = '{}[]":,/'  # of JSON in a query
_LEADS_TO = "leads to "  # of the answer, before an address
_OWN_TO_EACH = frozenset(("e", "eid", "ue_px", "ue_pr"))  # which a query does not have for all events of a body
_WITH_COMMA = re.compile(r"-?\d{1,15},(?:\d{1,2}|\d{4,15})", re.ASCII)  # a number of some languages; no thousands


class _Envelope(msgspec.Struct, frozen=True):
    data: list[Payload]


_KEYS = frozenset(Payload.__struct_fields__)
_SHARED = _KEYS - _OWN_TO_EACH
_LONGEST = {"cx": 2**20, "co": 2**20}  # characters; they are read once for all events
_decode = msgspec.json.Decoder(_Envelope).decode
_NUMBERS = frozenset(("pp_mix", "pp_max", "pp_miy", "pp_may", "tr_tx", "tr_sh", "ti_pr", "ti_qu"))

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
    if request.query and len(payloads) <= limits.events:  # of more none is read
        query = parameters(request.query, limits)
        if isinstance(query, Refusal):
            return refused(query, credential)
        told = ((key, value) for key, value in query.items() if value and key in _SHARED)  # what is empty says nothing
        if shared := {key: text(value, _LONGEST.get(key, 4096)) for key, value in told}:
            made = [each if type(each) is Payload else _payload(index, each) for index, each in enumerate(payloads)]
            payloads = [replace(each, **shared) if isinstance(each, Payload) else each for each in made]
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
    beside: Beside | Refusal = NOTHING_BESIDE
    for index, each in enumerate(payloads):
        payload = each if type(each) is Payload or type(each) is Refusal else _payload(index, each)
        if isinstance(payload, Refusal):
            items.append(payload)
            continue
        if (payload.cx, payload.co) != spelt:  # many events have the same beside them, which may be as large as all
            spelt = payload.cx, payload.co
            beside = entities_beside(payload, limits)
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


def _event(index: int, given: Payload, beside: Beside | Refusal, anonymous: bool, limits: Limits) -> Tracked | Refusal:
    if isinstance(beside, Refusal):
        return replace(beside, index=index)
    entities, shared = beside
    made = _made(index, given, entities, limits)
    if isinstance(made, Refusal):
        return made
    props = made.props
    if shared:
        props.update(shared)
    screen = "" if given.url else one_of(entities, "screen").get("name") or (given.page if given.e == "pv" else "")
    sent_at = whole(given.stm) if given.stm and not given.ttm else None
    if sent_at is not None and sent_at < times.MILLIS[0]:  # in seconds, or of a clock that was never set
        sent_at = int(times.of_number(sent_at) or 0)
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
    if given.duid and given.duid not in NOBODY:  # as most have it
        return given.duid
    for found in (given.tnuid, given.nuid, one_of(entities, "client_session").get("userId")):
        if found and (type(found) is not str or found not in NOBODY):
            return found
    return given.uid


def _made(index: int, given: Payload, entities: dict[str, list[object]], limits: Limits) -> Made | Refusal:
    kind = given.e
    if kind == "pv":
        return Made(EventType.PAGEVIEW, props={})
    if kind == "pp":
        return Made(EventType.ENGAGEMENT, props=_named(given, PINGS))
    if kind == "ue":
        return self_described(index, given, entities, limits)
    if kind == "se":
        props = _named(given, STRUCTURED)
        if given.se_va:
            props["value"] = _as_number(given.se_va)
        return Made(EventType.CUSTOM, given.se_ac or given.se_ca, props)
    if kind == "tr":
        more = {"revenue": worth(given.tr_tt, given.tr_cu)}
        return Made(EventType.CUSTOM, "transaction", _named(given, ORDER), more=more)
    if kind == "ti":
        return Made(EventType.CUSTOM, "transaction_item", _named(given, ITEM), more={"interactive": False})
    if not kind:
        return Refusal(index, Reason.MISSING_FIELD, "`e` is missing: send pv, pp, se, ue, tr or ti")
    return Refusal(index, Reason.UNKNOWN_FIELD_TYPE, f"`e` {kind[:32]!r} is not known: send pv, pp, se, ue, tr or ti")


def _named(given: Payload, names: dict[str, str]) -> dict[str, object]:
    told = ((name, key, getattr(given, key)) for key, name in names.items())
    return {name: _as_number(value) if key in _NUMBERS else value for name, key, value in told if value != ""}


def _as_number(value: str) -> object:
    found = number(value.replace(",", ".") if "," in value and _WITH_COMMA.fullmatch(value) else value)
    return value if found is None else int(found) if float(found).is_integer() else found


PROTOCOL = Protocol(
    name="snowplow",
    title="Snowplow",
    routes=(
        Route(_POST, ("GET", "POST")),
        Route("/com.snowplowanalytics.snowplow/tp1", ("GET",)),
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
