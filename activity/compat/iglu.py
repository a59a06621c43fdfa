"""Two further ways in of Snowplow's collector, as payloads of its protocol: what services send to the Iglu webhook, an
event by its schema, and links that count a click and lead on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from activity.compat.forms import form, parameters
from activity.compat.protocol import TrackerRequest, encoded
from activity.compat.values import from_json, obj, text
from activity.incoming import Limits
from activity.refusal import Reason, Refusal

WEBHOOK = "/com.snowplowanalytics.iglu/v1"
REDIRECT = "/r/tp2"
_SCHEMA = "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0"
_CLICK = "iglu:com.snowplowanalytics.snowplow/uri_redirect/jsonschema/1-0-0"
_OF_PROTOCOL = frozenset((
    "aid", "p", "tv", "nuid", "tnuid", "duid", "uid", "eid", "ttm", "dtm", "stm", "url", "cx", "co",
))  # fmt: skip
_HINT = "send ?schema=iglu:VENDOR/NAME/jsonschema/1-0-0"
_ASCII = "".join(map(chr, range(0x21, 0x7F)))  # what may stand in a header as it is


def payloads(request: TrackerRequest, limits: Limits) -> list[Any] | Refusal:
    """Return the payloads of a request to the webhook: an event each, with what the query says of all of them."""
    query = parameters(request.query, limits)
    if isinstance(query, Refusal):
        return query
    shared = {key: value for key, value in query.items() if key in _OF_PROTOCOL}
    schema = query.get("schema", "")
    content: Any = {key: value for key, value in query.items() if key not in _OF_PROTOCOL | {"schema", "cv"}}
    if request.method == "POST" and request.body:
        is_json = request.body.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")
        content = from_json(request.body, limits) if is_json else form(request.body, limits)
    if isinstance(content, Refusal):
        return content
    made = []
    events = content if isinstance(content, list) else [content]
    for index, each in enumerate(events):
        own = text(obj(each).get("schema"), 256) if not schema else ""
        if not schema and not own:
            return Refusal(0, Reason.MISSING_FIELD, f"`schema` is missing: {_HINT}")
        made.append(_payload(schema or own, obj(each).get("data") if own else each, shared))
        if index and "eid" in shared:
            made[-1]["eid"] = f"{shared['eid']} {index}"
    return made


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
    return _payload(_CLICK, {"uri": target}, shared), quote(target, safe=_ASCII)


def _payload(schema: str, data: object, shared: Mapping[str, str]) -> dict[str, str]:
    event = {"schema": _SCHEMA, "data": {"schema": schema, "data": data}}
    return {**shared, "e": "ue", "ue_pr": encoded(event).decode()}
