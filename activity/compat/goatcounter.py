"""GoatCounter's `/count`, as its script in pages calls it, and `/api/v0/count`, as servers do."""

from __future__ import annotations

import re
from typing import Any

from activity.attribution import names_origin
from activity.compat.forms import form, parameters
from activity.compat.parts import GIF, NOT_RIGHT, bearer, header, is_true, missing, page_of, password
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
from activity.compat.screens import size
from activity.compat.values import from_json, listed, text, too_many, tracked, whole
from activity.event import EventType
from activity.incoming import Incoming, Limits
from activity.refusal import Reason, Refusal
from activity.url import host_of

_HITS = "hits"
_HOST = re.compile(r"[\w-]+(?:\.[\w-]+)*\.?(?::\d{1,5})?")
# What its own program for logs asks before it sends hits: whether the key may, of which 2 stands for "count".
_ME = encoded({"user": {"id": 1}, "token": {"name": "footfall", "permissions": 2}})
_ROBOTS = 150  # from here on the script's numbers for what shows the page
_NO_HITS = 'the body has no hits: send {"hits": [{"path": "/"}, …]}'


def read(request: TrackerRequest, limits: Limits) -> TrackerBatch | Answer:
    """Return the one event of a page's request, or the hits of a server's."""
    if request.path == "/api/v0/count":
        return _hits(request, limits)
    if request.path == "/api/v0/me":
        return _me(request)
    if b"prefetch" in request.headers.get(b"sec-purpose", request.headers.get(b"purpose", b"")).lower():
        return Answer(200, GIF, b"image/gif")  # nobody has seen the page yet
    given = parameters(request.query, limits)
    if not isinstance(given, Refusal) and not given.get("p") and request.body:
        given = form(request.body, limits)
    if isinstance(given, Refusal):
        return refused(given)
    site = request.path.removeprefix("/count").strip("/") or _host(request)
    path = given.get("p", "")
    if path[:1] not in ("/", "") and not is_true(given.get("e")):
        path = _without_host(path, given.get("h") or _host(request))
    hit = {"path": path, "title": given.get("t"), "ref": given.get("r"), "size": given.get("s")}
    hit |= {"query": given.get("q"), "event": given.get("e"), "bot": given.get("b"), "host": given.get("h")}
    return TrackerBatch(sent_at=None, items=[_event(0, hit, site, limits)])


def _without_host(path: str, host: str) -> str:
    """Return a path without the host of its page, which many put before it to tell several apart."""
    return path[len(host) :] if host and path.lower().startswith(f"{host.lower()}/") else path


def _me(request: TrackerRequest) -> Answer:
    """Return that the key may send hits: whether it is one of a site shows with them."""
    if bearer(request.headers) or password(request.headers):
        return Answer(200, _ME)
    return Answer(401, encoded({"error": "send the site's key: Authorization: Bearer KEY"}))


def _hits(request: TrackerRequest, limits: Limits) -> TrackerBatch:
    credential = bearer(request.headers) or password(request.headers)
    given = from_json(request.body, limits)
    if isinstance(given, Refusal):
        return refused(given, credential, _HITS)
    hits = listed(given.get("hits") if isinstance(given, dict) else given)
    if not isinstance(hits, list) or not hits:
        return refused(Refusal(0, Reason.MALFORMED, _NO_HITS), credential, _HITS)
    if len(hits) > limits.events:
        return refused(too_many(len(hits), limits.events), credential, _HITS)
    items: list[Incoming | Refusal] = [_event(index, hit, "", limits) for index, hit in enumerate(hits)]
    return TrackerBatch(sent_at=None, items=items, credential=credential, form=_HITS)


def _host(request: TrackerRequest) -> str:
    """Return the host of the page that sent a request."""
    page = header(request.headers, b"origin") or header(request.headers, b"referer")
    return host_of(page.partition("://")[2].partition("/")[0].lower())


def _event(index: int, hit: object, site: str, limits: Limits) -> Tracked | Refusal:
    if not isinstance(hit, dict):
        return Refusal(index, Reason.MALFORMED, 'the hit is no object: send {"path": "/"}')
    is_event = is_true(hit.get("event"))
    path = text(hit.get("path")) if is_event else page_of(hit.get("path"))
    if not path:
        return missing(index, "path", "send the page's path, or the name of an event")
    bot = whole(hit.get("bot")) or 0
    if 0 < bot < _ROBOTS:
        return Refusal(index, Reason.UNKNOWN_FIELD_TYPE, f"bot {bot} stands for nothing: send 0, or {_ROBOTS} or more")
    if bot > 0:
        return Refusal(index, Reason.NOT_ALLOWED, f"the page says that a robot shows it (bot {bot}): it is not counted")
    more: dict[str, Any] = {}
    if is_event:
        kind, url = EventType.CUSTOM, ""
        more["name"] = path
    else:
        is_whole = path.startswith(("/", "https://", "http://"))
        kind, url = EventType.PAGEVIEW, path if is_whole else f"/{path}"
        if query := text(hit.get("query")).lstrip("?"):
            url = _with_query(url, query)
        if hit.get("host") and url[0] == "/" and _HOST.fullmatch(host := text(hit["host"], 253).strip()):
            url = f"https://{host}{url}"
    return tracked(
        kind,
        limits,
        site=site,
        url=url,
        referrer=hit.get("ref"),
        title=hit.get("title"),
        screen=_screen(hit.get("size")),
        ts=hit.get("created_at") or None,
        client=hit.get("session") or "",
        address=hit.get("ip"),
        agent=hit.get("user_agent"),
        **more,
    )


def _with_query(url: str, query: str) -> str:
    """Return a page's address with the query of the browser's; of one that has a query itself, as a canonical link may,
    with the campaign that this leaves out. A route stays behind it, and what its own query has is not said twice."""
    address, mark, fragment = url.partition("#")
    page, _, own = address.partition("?")
    of_route = fragment.partition("?")[2]
    if query in (own, of_route):  # as most are
        return url
    told = {pair.partition("=")[0] for pair in f"{own}&{of_route}".split("&")}
    pairs = [(pair.partition("=")[0], pair) for pair in query.split("&")]
    added = [pair for name, pair in pairs if name not in told and (not own or names_origin(name))]
    return f"{page}?{'&'.join([own, *added] if own else added)}{mark}{fragment}" if added else url


def _screen(given: object) -> str:
    """Return a size "1920,1080,1" as 1920x1080. Of a width alone, as newer pages tell it, the height is not known."""
    return size(",".join(text(part, 8) for part in given[:2]) if isinstance(given, list) else text(given, 32))


def answer(outcome: Outcome) -> Answer:
    """Return the pixel, or for hits the status and why each of those not counted was not."""
    if outcome.form == _HITS:
        return _answer_to_hits(outcome)
    if not outcome.refused:
        return Answer(200, GIF, b"image/gif")
    why = "".join(each if " " <= each <= "~" else "?" for each in worst(outcome)[:512]).encode()
    status = 400 if outcome.refused[0].reason in NOT_RIGHT else 202
    return Answer(status, GIF, b"image/gif", ((b"x-goatcounter", b"not counted: " + why),))


def _answer_to_hits(outcome: Outcome) -> Answer:
    if not outcome.refused:
        return Answer(202, encoded({"status": "ok"}))
    reasons = {refusal.reason for refusal in outcome.refused}
    if not outcome.taken and not reasons & NOT_RIGHT:
        return Answer(413 if Reason.TOO_LARGE in reasons else 403, encoded({"error": worst(outcome)}))
    return Answer(400, encoded({"errors": {str(refusal.index): refusal.detail for refusal in outcome.refused}}))


FIELDS = (
    Field("p", "url", "the page's path, before which its host may stand; of an event its name"),
    Field("q", "url", "the page's query: all of it if the path has none, else its campaign"),
    Field("h", "url", "the page's host; without it, it is the site's"),
    Field("t", "title"),
    Field("r", "referrer"),
    Field("e", "type", "an event is a custom event"),
    Field("s", "screen", "a width alone is no size"),
    Field("b", "", "a page that says it is shown by a robot is refused"),
    Field("rnd", "", "keeps the request out of caches"),
    Field("path", "url", "of a hit; of an event its name"),
    Field("query", "url", "of a hit"),
    Field("host", "url", "of a hit"),
    Field("title", "title", "of a hit"),
    Field("ref", "referrer", "of a hit"),
    Field("event", "type", "of a hit"),
    Field("size", "screen", "of a hit"),
    Field("bot", "", "of a hit: one by a robot is refused"),
    Field("created_at", "ts", "of a hit"),
    Field("session", "client", "of a hit"),
    Field("ip", "address", "of a hit; counts with a secret key"),
    Field("user_agent", "agent", "of a hit; counts with a secret key"),
    Field("location", "", "of a hit: the place is that of the address"),
    Field("no_sessions", "", "every hit belongs to a visit here"),
    Field("filter", "", "what is counted follows from the site, not from the request"),
)

NOTES = """\
The script gets another address. Behind `/count/` stands an id of the site, or nothing if the page's host is the site's
domain:

```html
<script data-goatcounter="https://stats.example.com/count/shop-code" async src="…/count.js"></script>
<noscript><img src="https://stats.example.com/count/shop-code?p=/page"></noscript>
```

A server sends its hits to `https://stats.example.com/api/v0/count` with `Authorization: Bearer KEY`, or with the key as
the password of HTTP Basic. The sites file:

```toml
[[site]]
domain = "example.com"
ids = ["shop-code"]
write_keys = ["a secret of 16 characters or more"]
```

What differs:

- GoatCounter's events have no id. A hit with `created_at` is the same event if it comes twice; a page's is another.
- `goatcounter import` sends logs here, with the key as `GOATCOUNTER_API_KEY`; while nothing can be stored it is told to
  wait (429, `X-Rate-Limit-Reset`), for it sends nothing again after a 503.
- `session` tells a server's visitors apart; without it their `ip` and `user_agent` do.
- A page's referrer that is no address, such as a name of a newsletter, is kept and is no source: use `utm_source`.
"""

PROTOCOL = Protocol(
    name="goatcounter",
    title="GoatCounter",
    routes=(Route("/count", ("GET", "POST"), prefix=True), Route("/api/v0/count"), Route("/api/v0/me", ("GET",))),
    read=read,
    answer=answer,
    heeds=(b"referer",),
    fields=FIELDS,
    notes=NOTES,
    away=429,
    wait=b"x-rate-limit-reset",
)
