"""Segment's tracking API, with the dialects of RudderStack and Jitsu.

One message an event, alone or in a batch; the write key comes as the user of HTTP Basic, in the body, in the query or
in a header of its own. `messageId` stays the same when a client sends again.
Source: https://segment.com/docs/connections/sources/catalog/libraries/server/http-api and the clients' own code.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from activity.compat import forms, jitsu, values
from activity.compat.envelopes import events_of, key_of, opened
from activity.compat.parts import from_base64, header, is_true
from activity.compat.protocol import (
    Answer,
    Field,
    Outcome,
    Protocol,
    Route,
    TrackerBatch,
    TrackerRequest,
    encoded,
    refused,
    worst,
)
from activity.compat.segment_messages import KINDS, Sender, event_of, from_object, parse, time_or_none
from activity.incoming import Limits
from activity.refusal import Reason, Refusal

# Bytes that Segment takes. RudderStack's and Jitsu's clients may send what fits a request.
LARGEST_EVENT = 32 * 1024
LARGEST_BATCH = 500 * 1024
# Counters and faults that clients keep of themselves, and who of RudderStack's users are one.
_ANSWERED = ("v1/m", "v1/merge", "rsaMetrics")
_SHORT = {"t": "track", "p": "page", "s": "screen", "i": "identify", "g": "group", "a": "alias", "b": "batch"}
_BATCHES = ("batch", "import")
_OF_RUDDERSTACK = b'"channel"'  # a field of all of its messages, and of nobody else's
_KEY = re.compile(rb'"writeKey"\s*:\s*"([^"\\]{1,512})"')
_IMAGE = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
_TAKEN: dict[str, dict[str, object]] = {"jitsu": {"ok": True}, jitsu.FORM: {"status": "ok"}}
_QUOTED = re.compile('"[^"]*"')  # as pages of AMP have their visitor's id
_OF_IMAGE = frozenset(("data", "cookie_domain", "process_headers"))  # parameters that are none of the message
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def read(request: TrackerRequest, limits: Limits) -> TrackerBatch | Answer:
    """Return the messages of a request as events. Never raises."""
    path = request.path.strip("/")
    if path in _ANSWERED:
        return Answer(200, encoded({"success": True}))
    if path.removeprefix("v1/").startswith("projects/"):
        return _settings(path.removeprefix("v1/").split("/")[1], request.headers)
    query = forms.parameters(request.query, limits) if request.query else {}
    if isinstance(query, Refusal):
        return refused(query)
    if path in jitsu.PATHS:
        return jitsu.read(request, query, limits)
    name = path.rpartition("/")[2]
    kind = _SHORT.get(name, name)
    if name == "sourceConfig":
        return _source(_key(request.headers, query, None))
    if request.method == "GET":
        return _from_image(kind, query, request.headers, limits, is_jitsu=path.startswith("api/"))
    body, is_jitsu = request.body, path.startswith("api/s")
    form = "jitsu" if is_jitsu else ""
    most = largest = limits.body_bytes
    if len(body) > LARGEST_EVENT and not is_jitsu and _OF_RUDDERSTACK not in body:
        most, largest = min(most, LARGEST_BATCH), LARGEST_EVENT
    if len(body) > most:
        return refused(values.too_large(len(body), most), _key(request.headers, query, _KEY.search(body)), form)
    is_clean = b"\\u0000" not in body
    if kind in _BATCHES or b'"batch"' in body or body.lstrip()[:1] in (b"[", b'"'):
        found = opened(body, limits, is_small=is_clean and len(body) <= largest)
        if isinstance(found, Refusal):
            return refused(found, _key(request.headers, query, _KEY.search(body)), form)
        envelope = found.envelopes[0]
        if found.events is not None:
            key = _key(request.headers, query, envelope.writeKey)
            if found.events > limits.events:
                return refused(values.too_many(found.events, limits.events), key, form)
            sender = _sender(key, limits, largest, is_clean=is_clean, is_jitsu=is_jitsu)
            sent_at = None if envelope.sentAt is None else time_or_none(envelope.sentAt)
            items = events_of(found, sender, kind if kind in KINDS else "")
            key = key or key_of(found)
            return TrackerBatch(sent_at=sent_at, items=items, credential=key, form=form)
        if kind in _BATCHES:
            detail = '`batch` is missing: send {"batch": […]}, or one message to its own path, such as /v1/track'
            key = _key(request.headers, query, envelope.writeKey)
            return refused(Refusal(0, Reason.MISSING_FIELD, detail), key, form)
    message = parse(0, body, Sender(limits, largest, is_clean))
    if isinstance(message, Refusal):
        return refused(message, _key(request.headers, query, _KEY.search(body)), form)
    key = _key(request.headers, query, message.writeKey)
    item = event_of(0, message, kind if kind in KINDS else "", _sender(key, limits, is_jitsu=is_jitsu))
    return TrackerBatch(sent_at=None, items=[item], credential=key, form=form)


def answer(outcome: Outcome) -> Answer:
    """Return what the clients expect: 200 if anything was taken, since none of them can send a part again."""
    if outcome.taken or all(refusal.reason is Reason.OPTED_OUT for refusal in outcome.refused):
        if outcome.form == "image":
            return Answer(200, _IMAGE, b"image/gif")
        content = _TAKEN.get(outcome.form, {"success": True})
        return Answer(200, encoded(content | {"refused": outcome.refused} if outcome.refused else content))
    reasons = {refusal.reason for refusal in outcome.refused}
    status = 400
    if reasons == {Reason.UNKNOWN_SITE}:
        status = 401
    elif reasons <= {Reason.WRONG_ORIGIN, Reason.NOT_ALLOWED, Reason.UNKNOWN_SITE}:
        status = 403
    # Some clients read `code` and `message`, and send again for ever what has none.
    code = outcome.refused[0].reason
    problem = {"success": False, "code": code, "message": worst(outcome), "refused": outcome.refused}
    return Answer(status, encoded(problem))


def _from_image(
    kind: str, query: Mapping[str, str], headers: Mapping[bytes, bytes], limits: Limits, *, is_jitsu: bool = False
) -> TrackerBatch:
    """Return the message that the address of an image holds: base64 of JSON, parameters with dots in their names, or,
    of Jitsu, both."""
    nested: dict[str, Any] = {}
    plain = b""
    if data := query.get("data"):
        plain = from_base64(data.encode("utf-8", "replace"))
        nested = values.obj(values.from_json(plain, limits))
        if not nested:
            detail = "`data` must be base64 of a JSON object: encode the message so"
            key = _key(headers, query, _KEY.search(plain))
            batch = refused(Refusal(0, Reason.MALFORMED, detail), key, "image")
            return replace(batch, plain=plain) if plain.lstrip()[:1] in (b"{", b"[") else batch
    if not data or is_jitsu:
        for name, value in query.items():
            if name not in _OF_IMAGE:
                _put(nested, name, value)
    if is_true(query.get("process_headers")):  # the page that shows the image
        page = values.obj(values.obj(nested.setdefault("context", {})).setdefault("page", {}))
        page.setdefault("url", header(headers, b"referer", 4096))
    key = _key(headers, query, nested.get("writeKey"))
    item = event_of(0, from_object(nested), kind if kind in KINDS else "", _sender(key, limits, is_jitsu=is_jitsu))
    return TrackerBatch(sent_at=None, items=[item], credential=key, form="image", plain=plain)


def _put(message: dict[str, Any], name: str, value: str) -> None:
    """Set a member of a message, with dots between the names of the objects around it."""
    *outer, last = name.split(".", 3)
    for step in outer:
        following = message.setdefault(step, {})
        message = following if isinstance(following, dict) else {}
    message[last] = value[1:-1] if last == "anonymousId" and _QUOTED.fullmatch(value) else value


def _key(headers: Mapping[bytes, bytes], query: Mapping[str, str], in_body: object) -> str:
    """Return the write key. That of the body comes before others: a dead letter leaves out the one that is returned.

    Jitsu's clients have it in a header, and in the body without its secret."""
    if given := headers.get(b"x-write-key"):
        return given.decode("latin-1").strip()
    if isinstance(in_body, re.Match):
        in_body = in_body[1].decode("utf-8", "replace")
    if isinstance(in_body, str) and in_body:
        return values.text(in_body, 512).strip()
    if in_query := query.get("writeKey") or query.get("writekey"):
        return values.text(in_query, 512).strip()
    scheme, _, content = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return content.decode("latin-1").strip()
    if scheme.lower() == b"basic":
        return from_base64(content).decode("latin-1").removesuffix(":").strip()  # of a file's end, say
    return ""


def _sender(
    key: str, limits: Limits, largest: int = 0, *, is_clean: bool = False, is_jitsu: bool = False
) -> Sender:
    """A key of two parts is Jitsu's: the public id of the site, and the secret."""
    site = key.partition(":")[0][:253] if ":" in key else ""
    return Sender(limits, largest, is_clean, site, may_be_nobody=is_jitsu, by_page=is_jitsu and not key)


def _settings(key: str, headers: Mapping[bytes, bytes]) -> Answer:
    """Return what the browser's client asks for before it sends: where to, and that it has no other destination."""
    host = headers.get(b"host", b"").decode("latin-1")
    page = headers.get(b"origin") or headers.get(b"referer") or b""  # a page of https can send to nothing else
    given = b"http" if host.startswith(_LOOPBACK) else headers.get(b"x-forwarded-proto") or page.partition(b":")[0]
    scheme = "http" if given == b"http" else "https"
    own = {"apiKey": key, "apiHost": f"{host}/v1", "protocol": scheme}
    return Answer(200, encoded({"integrations": {"Segment.io": own}, "plan": {}}))


def _source(key: str) -> Answer:
    """Return what RudderStack's client for browsers asks for: that its source is on, and has no destination."""
    source = {"id": key, "name": key, "writeKey": key, "enabled": True, "config": {}, "destinations": []}
    return Answer(200, encoded({"source": source}))


_FIELDS = (
    Field("writeKey", "site", "also as the user of HTTP Basic, in `X-Write-Key` or in the query"),
    Field("type", "type", "page and screen are page views, track is custom, identify and alias are identify"),
    Field("messageId", "id"),
    Field("anonymousId", "visitor", "without one, `userId` tells visitors apart"),
    Field("userId", "user", "not `null`, `undefined` and such, which name no visitor either"),
    Field("previousId", "visitor", "an alias links it to `userId`; `anonymousId` where there is none"),
    Field("groupId", "props"),
    Field("event", "name", '"Products Searched" with a `query`, and "search" with a term, are searches'),
    Field("name", "props", "of a page or screen; it is the title where there is none, and a screen's address"),
    Field("properties.name", "title", "of a screen without `name`, and its address"),
    Field("category", "props", "of a screen without any name, its name"),
    Field("properties", "props", "lists and objects as JSON text"),
    Field("properties.url", "url", "of a page; before that of the context"),
    Field("properties.path", "url", "of a page that has no `url`"),
    Field("properties.referrer", "referrer", "of a page; `$direct` is none"),
    Field("properties.title", "title", "of a page, and its path if nothing else names that"),
    Field("properties.search", "url", "of a page that has no `url`, behind its path; else the address has it"),
    Field("properties.tab_url", "", "of a page: its address"),
    Field("properties.referring_domain", "", "of a page: its referrer has it"),
    Field("properties.initial_referrer", "", "of a page: of the visitor's first one, which has it"),
    Field("properties.initial_referring_domain", "", "of a page: of the visitor's first one, which has it"),
    Field("properties.hash", "url", "of a page: empty or `#…`, as Jitsu's client has it; any other is a property"),
    Field("properties.width", "", "of a page that has such a `hash`: of the window"),
    Field("properties.height", "", "of a page that has such a `hash`: of the window"),
    Field("properties.query", "term", 'of "Products Searched"'),
    Field("properties.revenue", "revenue", 'or `total`, `value` of "Order Completed" and, negative, "Order Refunded"'),
    Field("properties.currency", "currency", "beside `revenue`"),
    Field("traits", "props", "of an identify or a group"),
    Field("context.traits", "props", "of an identify or a group that has no `traits`; else they repeat what was sent"),
    Field("context.page.url", "url"),
    Field("context.page.path", "url", "where there is no `url`: a path of the site"),
    Field("context.page.referrer", "referrer"),
    Field("context.referrer.url", "referrer", "where the page names none; `context.referrer` as a text, too"),
    Field("context.page.title", "title"),
    Field("context.page.search", "url", "where there is no `url`, behind the path; else the address has it"),
    Field("context.sessionId", "", "visits are told apart by their times, for all trackers alike"),
    Field("context.campaign", "url", "as its `utm_` parameters, where it has none; its members with or without `utm_`"),
    Field("context.ip", "address", "with a secret key; used for place and visitor, never stored"),
    Field("context.userAgent", "agent", "with a secret key"),
    Field("context.locale", "language"),
    Field("context.screen.width", "screen", "with `height`, as 1920x1080"),
    Field("context.active", "interactive", "false for what happens without the visitor"),
    Field("context.userAgentData", "", "browser and system are read from the visitor's agent"),
    Field("context.library", "", "says nothing about the visitor"),
    Field("context.timezone", "", "days are those of the site's own time zone"),
    Field("context.app", "", "says nothing about the visit; send what you need as a property"),
    Field("context.device", "", "kind and system are read from the visitor's agent; an advertising id is never kept"),
    Field("context.os", "", "read from the visitor's agent"),
    Field("context.network", "", "says nothing about the visit"),
    Field("timestamp", "ts"),
    Field("originalTimestamp", "ts", "where there is no `timestamp`"),
    Field("sentAt", "sent_at", "corrects the sender's clock; of the batch, or of each message"),
    Field("integrations", "", "names destinations of theirs"),
    Field("channel", "", "the sender's kind of platform; such messages may have more than 32 KB"),
    Field("_metadata", "", "of the library itself"),
)
_NOTES = """
Give the sites file the write keys: a public one, as it stands in pages and apps, among `ids`; one that only your
servers have among `write_keys` (16 characters at least). Only with the latter count `context.ip` and
`context.userAgent` of the visitor, and times older than three days.

    [[site]]
    domain = "example.com"
    ids = ["the-key-in-the-browser"]
    write_keys = ["the-key-of-our-servers"]

Of Jitsu's keys, `id:secret`, the first part is the public one; the whole is that of a server. In a page, @jitsu/js
takes no key of one part: write `the-key-in-the-browser:any`, or no `writeKey`, and the page's host names the site. It
sends nothing again: of what fails, only its `errorPolicy` hears. Clients of Jitsu's version 1 send here, too
(`/api/v1/event`, with `?token=` the key): `pageview`, `user_identify` and custom events, of which all that the client
does not add by itself is a property.

Then change the address, and nothing else:

| client | its line |
| --- | --- |
| segment-analytics-python | `analytics.host = "https://stats.example.com"` |
| @segment/analytics-node | `new Analytics({ writeKey, host: "https://stats.example.com" })` |
| @segment/analytics-next | `AnalyticsBrowser.load({ writeKey, cdnURL: "https://stats.example.com" })` |
| rudder-sdk-python | `rudder_analytics.dataPlaneUrl = "https://stats.example.com"` |
| @rudderstack/rudder-sdk-node | `new RudderAnalytics(writeKey, { dataPlaneUrl: "https://stats.example.com" })` |
| @rudderstack/analytics-js | `analytics.load(writeKey, url, { configUrl: url })`, `url` as the others |
| @jitsu/js | `jitsuAnalytics({ host: "https://stats.example.com", writeKey })` |

What differs: an event is answered once it is durable. A batch of an app with zeros or nothing where a message was to
be, or several of them one behind the other, is read all the same. A batch of which some messages cannot be used is
answered with 200 and a list `refused` that says why; those are kept as dead letters. One of which none can be used gets
400, or 401 for an unknown key. A message of Segment's has 32 KB at most and a batch 500 KB, as theirs. Group calls are
kept as custom events named `group`. The `revenue` of "Checkout Started", "Order Updated" and "Order Cancelled" is a
property: it is not paid then. These names may be written in any way: `order_completed` is "Order Completed". Of more
than 30 properties the first 29 are kept, and `props_left_out` names the others.
"""

PROTOCOL = Protocol(
    name="segment",
    title="Segment, RudderStack and Jitsu",
    routes=(
        *(Route(f"/v1/{name}") for name in (*KINDS, *_BATCHES, *_SHORT)),
        *(Route(f"/{path}") for path in (*_ANSWERED, *jitsu.PATHS)),
        Route("/b"),
        Route("/v1/projects", ("GET",), prefix=True),
        Route("/projects", ("GET",), prefix=True),
        Route("/sourceConfig", ("GET",)),
        Route("/v1/pixel", ("GET",), prefix=True),
        Route("/pixel/v1", ("GET",), prefix=True),
        Route("/beacon/v1/batch"),
        Route("/api/s", prefix=True),
        Route("/api/px", ("GET",), prefix=True),
    ),
    read=read,
    answer=answer,
    heeds=(b"referer",),
    fields=_FIELDS,
    notes=_NOTES,
)
