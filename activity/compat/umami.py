"""Umami's `/api/send` and `/api/batch`, as its tracker and clients on servers use them; `/api/collect` of version 1."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from activity.compat.parts import NOT_RIGHT, bearer, first, header, is_page, members, missing, page_of
from activity.compat.protocol import (
    Answer,
    Field,
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
from activity.compat.values import (
    from_json,
    listed,
    named_search,
    number,
    obj,
    since_1970,
    text,
    too_many,
    tracked,
    who,
    worth,
)
from activity.event import EventType
from activity.incoming import Incoming, Limits, Revenue
from activity.refusal import Reason, Refusal

_BATCH = "batch"
_TYPES = {
    "event": EventType.PAGEVIEW,
    "pageview": EventType.PAGEVIEW,
    "identify": EventType.IDENTIFY,
    "performance": EventType.WEB_VITAL,
    "engagement": EventType.ENGAGEMENT,
}
_LINKS_OUT = frozenset(("outbound-link", "outbound-link-click"))  # as Umami's documentation names them
_NOT_ENCODED = re.compile(r"%(?![0-9A-Fa-f]{2})")
_VITALS = ("lcp", "inp", "cls", "fcp", "ttfb")
_CACHE = "footfall"  # its clients send it back with the next event, and nothing follows from it
_USER = {
    "id": "footfall",
    "username": "footfall",
    "role": "user",
    "createdAt": "2025-01-01T00:00:00.000Z",
    "isAdmin": False,
}


def read(request: TrackerRequest, limits: Limits) -> TrackerBatch | Answer:
    """Return the events of a request: one, or those of a batch."""
    if request.path == "/api/heartbeat":
        return Answer(200, encoded({"ok": True}))
    if request.path == "/api/record":  # recordings of the screen, which are not kept
        return Answer(200, encoded({"ok": True}))
    if request.path == "/api/auth/verify":
        return Answer(200, encoded(_USER))
    given = from_json(request.body, limits)
    if request.path == "/api/auth/login":
        return _logged_in(given)
    if isinstance(given, dict) and given.get("type") == "error":  # what went wrong in the page's own script
        return Answer(200, encoded({"ok": False, "reason": "errors_disabled"}))
    credential = bearer(request.headers) or header(request.headers, b"x-umami-api-key")
    if credential in ("None", "null", "undefined"):  # of clients that did not log in
        credential = ""
    if isinstance(given, Refusal):
        return refused(given, credential)
    named = is_page(request.headers)
    if request.path != "/api/batch":
        return TrackerBatch(sent_at=None, items=[_event(0, given, named, limits)], credential=credential)
    given = listed(given)
    if isinstance(given, dict) and "payload" in given:
        given = [given]
    if not isinstance(given, list):
        return refused(Refusal(0, Reason.MALFORMED, 'the body is no list: send [{"type": …}, …]'), credential)
    if len(given) > limits.events:
        return refused(too_many(len(given), limits.events), credential)
    items: list[Incoming | Refusal] = [_event(index, each, named, limits) for index, each in enumerate(given)]
    return TrackerBatch(sent_at=None, items=items, credential=credential, form=_BATCH)


def _event(index: int, given: object, from_page: bool, limits: Limits) -> Tracked | Refusal:
    if not isinstance(given, dict):
        detail = 'the event is no object: send {"type": "event", "payload": {…}}'
        return Refusal(index, Reason.MALFORMED, detail)
    payload = given.get("payload")
    if not isinstance(payload, dict):
        return missing(index, "payload", 'send {"website": …, "url": …}')
    kind = _TYPES.get(text(given.get("type"), 16).lower() or "event")
    if kind is None:
        detail = f"`type` {text(given.get('type'), 64)!r} is not known: send one of {', '.join(_TYPES)}"
        return Refusal(index, Reason.UNKNOWN_FIELD_TYPE, detail)
    website = payload.get("website")
    if website is None or website == "":
        return missing(index, "payload.website", "send the id of the website, and write it into `ids` of its site")
    props = members(first(payload, "data", "event_data"), "data")
    name = text(first(payload, "name", "event_name", "event_value"), 128).strip()
    if event_type := payload.get("event_type"):
        props = {**props, "event_type": event_type}
    commerce = obj(props.get("commerce")) if props else {}
    order = text(commerce.get("orderId"), 100) if commerce else ""
    search = None
    if kind is EventType.PAGEVIEW and name:
        search = named_search(name, props)
        kind = EventType.CUSTOM if search is None else EventType.SEARCH
        if name in _LINKS_OUT and props.get("url"):
            kind = EventType.OUTBOUND
    elif kind is EventType.WEB_VITAL:
        props = {vital: payload[vital] for vital in _VITALS if payload.get(vital) is not None}
    if (tag := payload.get("tag")) is not None and tag != "":
        props = {**props, "tag": tag}
    url, host = text(payload.get("url")), text(payload.get("hostname"), 253)
    if payload.get("url") == "" and kind is EventType.PAGEVIEW:  # as a browser completes an empty address
        url = "/"
    timestamp = payload.get("timestamp")
    user = who(payload.get("id"), 256).strip()
    return tracked(
        kind,
        limits,
        site=website,
        url=_whole(url, host),
        referrer=_whole(text(payload.get("referrer")), host),
        title=_decoded(text(payload.get("title"))),
        name=name if kind is EventType.CUSTOM else "",
        props=props,
        search=search,
        id=f"order {order}" if order else None,
        ts=None if timestamp is None else since_1970(timestamp),
        user=user,
        screen=payload.get("screen"),
        language=payload.get("language"),
        engaged_ms=payload.get("engagement") if kind is EventType.ENGAGEMENT else 0,
        revenue=_paid(commerce) if order else worth(props.get("revenue"), props.get("currency")) if props else None,
        client="" if from_page else user,
        address=payload.get("ip"),
        agent=payload.get("userAgent"),
    )


def _paid(commerce: dict[str, Any]) -> Revenue | None:
    """Return what an order was worth: its items, shipping and tax; None if one of them is no number."""
    items = commerce.get("items")
    amounts: list[float | None] = [_amount(commerce.get(part, 0)) for part in ("shipping", "tax")]
    for item in items if isinstance(items, list) else []:
        price, quantity = _amount(obj(item).get("price")), number(obj(item).get("quantity", 1))
        amounts.append(None if price is None or quantity is None else price * quantity)
    known = [amount for amount in amounts if amount is not None]
    return worth(round(sum(known), 4), commerce.get("currency")) if len(known) == len(amounts) else None


def _amount(given: object) -> float | None:
    paid = worth(given)
    return None if paid is None else number(paid.amount)


def _whole(url: str, host: str) -> str:
    """Return an address whole: the tracker sends it so, clients on servers send the path and the host."""
    if not url or (url[0] != "/" and "://" in url[:16]):
        return url
    if not page_of(url):
        return ""
    host = (host.partition("://")[2] if "://" in host else host).partition("/")[0].strip()
    if host and url.startswith(f"//{host}"):
        return f"https:{url}"
    path = url if url[0] == "/" else f"/{url}"
    return f"https://{host}{path}" if host else path


def _decoded(title: str) -> str:
    """Return a title as it stands in the page: the trackers of version 2 encode it as an address."""
    if "%" not in title or _NOT_ENCODED.search(title):
        return title
    try:
        return unquote(title, errors="strict")
    except UnicodeDecodeError:
        return title


def _logged_in(given: object) -> Answer:
    """Return the password as the token: with it the client's events come, and only then does it have to be a key."""
    password = text(obj(given).get("password"), 256)
    if not password:
        return _error(401, "send the site's key, one of its `write_keys`, as the password")
    return Answer(200, encoded({"token": password, "user": _USER}))


def answer(outcome: Outcome) -> Answer:
    """Return the session of an event, or how many of a batch were processed and why the others were not."""
    if outcome.form == _BATCH:
        details = [
            {"index": refusal.index, "response": {"error": {"message": refusal.detail, "code": refusal.reason}}}
            for refusal in outcome.refused
        ]
        size = outcome.taken + len(details)
        counts = {"size": size, "processed": outcome.taken, "errors": len(details), "details": details}
        return Answer(200, encoded({**counts, "cache": _CACHE}))
    if not outcome.refused:
        return Answer(200, encoded({"cache": _CACHE, "sessionId": _CACHE, "visitId": _CACHE}))
    reason = outcome.refused[0].reason
    if reason is Reason.UNKNOWN_SITE or reason in NOT_RIGHT:
        return _error(400, worst(outcome))
    return _error(413 if reason is Reason.TOO_LARGE else 403, worst(outcome))


def _error(status: int, message: str) -> Answer:
    code = {400: "bad-request", 401: "unauthorized", 403: "forbidden", 413: "payload-too-large"}[status]
    return Answer(status, encoded({"error": {"message": message, "code": code, "status": status}}))


FIELDS = (
    Field("type", "type", "an `event` with a name is a custom event, without one a page view, as is `pageview`"),
    Field("website", "site", "an id of the site"),
    Field("hostname", "url", "the host, where the address is a path"),
    Field("url", "url"),
    Field("referrer", "referrer"),
    Field("title", "title", "decoded, since some versions encode it"),
    Field("name", "name", "`outbound-link-click` and `outbound-link` with a `url` are links followed out"),
    Field("data", "props", "nested values as JSON text"),
    Field("data.revenue", "revenue", "and kept as a property"),
    Field("data.currency", "revenue", "and kept as a property"),
    Field("data.commerce", "revenue", "with an `orderId`: of its items, shipping and tax; and kept as a property"),
    Field("data.commerce.orderId", "id", "an order that is told twice is one"),
    Field("event_name", "name", "of version 1"),
    Field("event_value", "name", "of version 1"),
    Field("event_type", "props", "of version 1"),
    Field("event_data", "props", "of version 1"),
    Field("tag", "props", "`tag`"),
    Field("id", "user", "a server's events of one id are one visitor's; in a page, visitors are cookieless"),
    Field("timestamp", "ts", "Unix seconds"),
    Field("screen", "screen"),
    Field("language", "language"),
    Field("engagement", "engaged_ms"),
    Field("lcp", "props", "of a `performance`"),
    Field("inp", "props", "of a `performance`"),
    Field("cls", "props", "of a `performance`"),
    Field("fcp", "props", "of a `performance`"),
    Field("ttfb", "props", "of a `performance`"),
    Field("ip", "address", "counts with a secret key"),
    Field("userAgent", "agent", "counts with a secret key"),
    Field("browser", "", "read from the browser's agent"),
    Field("os", "", "read from the browser's agent"),
    Field("device", "", "read from the browser's agent"),
    Field("vid", "", "an id in the browser's storage; visitors are cookieless here"),
    Field("link", "", "of Umami's own redirects, which are no clients"),
    Field("pixel", "", "of Umami's own pixels, which are no clients"),
    Field("type error", "", "what went wrong in the page's own script is answered and not kept"),
    Field("header x-umami-api-key", "", "a secret key, as that of `Authorization: Bearer KEY`"),
    Field("header x-umami-cache", "", "what was answered to the event before; nothing has to be kept in the page"),
)

NOTES = """\
The tracker gets the host; a client on a server, the base of the address:

```html
<script defer src="…/script.js" data-website-id="94db1cb1-74f4-4a40-ad6c-962362670409" data-host-url="https://stats.example.com"></script>
```

```python
umami.set_url_base("https://stats.example.com")
umami.login("footfall", KEY)  # only if it gives the address or the agent of its visitors
umami.set_website_id("94db1cb1-74f4-4a40-ad6c-962362670409")
```

The sites file:

```toml
[[site]]
domain = "example.com"
ids = ["94db1cb1-74f4-4a40-ad6c-962362670409"]
write_keys = ["a secret of 16 characters or more"]
```

What differs:

- `login` takes any password and gives it back as the token: whether it is a key of the site shows with the events. `ip`
  and `userAgent` count only then.
- Umami's events have no id, and its clients send none again. One that has a `timestamp` is the same event if it comes
  twice.
- A custom event named `search` with a property `query`, `term` or `q` is a search.
- `identify` without an `id` keeps its data as properties of that one event.
- Robots are kept and counted apart, where Umami answers `{"beep": "boop"}`.
- `@umami/node` sends as `Mozilla/5.0 Umami/…`, which is a program's agent and counts as a robot's: give it the
  `userAgent` of its visitor.
"""

PROTOCOL = Protocol(
    name="umami",
    title="Umami",
    routes=(
        Route("/api/send"),
        Route("/api/batch"),
        Route("/api/collect"),
        Route("/api/record"),
        Route("/api/heartbeat", ("GET",)),
        Route("/api/auth/login"),
        Route("/api/auth/verify"),
    ),
    read=read,
    answer=answer,
    fields=FIELDS,
    notes=NOTES,
)
