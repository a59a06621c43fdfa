"""Two further ways in of Snowplow's collector, as payloads of its protocol: what services send to the Iglu webhook, an
event by its schema, and links that count a click and lead on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from msgspec.structs import replace

from activity.compat.forms import form, parameters
from activity.compat.protocol import TrackerRequest, encoded
from activity.compat.tables.snowplow import Payload
from activity.compat.values import from_json, identity, obj, text, too_many
from activity.incoming import Limits
from activity.refusal import Reason, Refusal

WEBHOOK = "/com.snowplowanalytics.iglu/v1"
REDIRECT = "/r/tp2"
_SCHEMA = "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0"
_CLICK = "iglu:com.snowplowanalytics.snowplow/uri_redirect/jsonschema/1-0-0"
_OF_PROTOCOL = frozenset((
    "aid", "p", "tv", "nuid", "tnuid", "duid", "uid", "eid", "ttm", "dtm", "stm", "url", "cx", "co",
))  # fmt: skip
_KEPT = _OF_PROTOCOL.intersection(Payload.__struct_fields__)
_ENTITIES = ("cx", "co")
_LONGEST_SCHEMA = 256
_HINT = "send ?schema=iglu:VENDOR/NAME/jsonschema/1-0-0"
_ASCII = "".join(map(chr, range(0x21, 0x7F)))  # what may stand in a header as it is


def payloads(request: TrackerRequest, limits: Limits) -> list[Payload] | Refusal:
    """Return the payloads of a request to the webhook: an event each, with what the query says of all of them."""
    query = parameters(request.query, limits)
    if isinstance(query, Refusal):
        return query
    schema = text(query.get("schema"), _LONGEST_SCHEMA)
    content: Any = {key: value for key, value in query.items() if key not in _OF_PROTOCOL | {"schema", "cv"}}
    if request.method == "POST" and request.body:
        is_json = request.body.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")
        content = from_json(request.body, limits) if is_json else form(request.body, limits)
    if isinstance(content, Refusal):
        return content
    events = content if isinstance(content, list) else [content]
    if len(events) > limits.events:
        return too_many(len(events), limits.events)
    shared = _shared(query)
    made = []
    for index, each in enumerate(events):
        own = text(obj(each).get("schema"), _LONGEST_SCHEMA) if not schema else ""
        if not schema and not own:
            return Refusal(0, Reason.MISSING_FIELD, f"`schema` is missing: {_HINT}")
        described = _described(schema or own, obj(each).get("data") if own else each)
        eid = f"{shared.eid} {index}" if index and shared.eid else shared.eid
        made.append(replace(shared, e="ue", ue_pr=described, eid=eid))
    return made


def _shared(query: Mapping[str, str]) -> Payload:
    """Return what a query says of all events of a request, in texts no longer than an event has them: each may be as
    long as the query, and is read with every event. Only the entities are whole, which are read once."""
    given = {key: text(value, len(value) if key in _ENTITIES else 4096) for key, value in query.items() if key in _KEPT}
    return Payload(**{**given, "eid": identity(query.get("eid")) or ""})


def click(query: Mapping[str, str]) -> tuple[dict[str, str], str] | Refusal:
    """Return the payload of a link that leads on, and where to: an address that may stand in a header."""
    target = query.get("u", "").strip()
    try:
        parts = urlsplit(target)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        is_address = False
    if not is_address or "\\" in target or not target.isprintable():
        detail = "`u` is no address that a link can lead to: send it whole, such as https://example.com/"
        return Refusal(0, Reason.MISSING_FIELD, detail)
    if "e" in query:
        return dict(query), quote(target, safe=_ASCII)
    shared = {key: value for key, value in query.items() if key in _OF_PROTOCOL or key in ("refr", "page", "ip", "ua")}
    return {**shared, "e": "ue", "ue_pr": _described(_CLICK, {"uri": target})}, quote(target, safe=_ASCII)


def _described(schema: str, data: object) -> str:
    return encoded({"schema": _SCHEMA, "data": {"schema": schema, "data": data}}).decode()
