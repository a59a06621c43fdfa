"""Plausible's Events API, as its tracker in browsers and clients on servers use it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from activity.compat.forms import form
from activity.compat.parts import NOT_RIGHT, bearer, first, header, is_false, is_true, members, missing
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
from activity.compat.values import from_json, named_search, number, object_in, search_of, text, tracked, who, worth
from activity.event import EventType
from activity.incoming import Limits
from activity.refusal import Reason, Refusal
from activity.url import host_of

_KINDS = {
    "pageview": EventType.PAGEVIEW,
    "engagement": EventType.ENGAGEMENT,
    "pageleave": EventType.ENGAGEMENT,  # its name at first
    "Outbound Link: Click": EventType.OUTBOUND,
    "Cloaked Link: Click": EventType.OUTBOUND,  # of Plausible's plugin for WordPress
    "File Download": EventType.DOWNLOAD,
    "Form: Submission": EventType.FORM,
    "WP Form Completions": EventType.FORM,
    "404": EventType.NOT_FOUND,
}
_MOST_SITES = 50  # of one request
_FORWARDED_FOR = re.compile(r'(?:^|[;,\s])for="?([^;,"]{1,64})', re.IGNORECASE)


def read(request: TrackerRequest, limits: Limits) -> TrackerBatch | Answer:
    """Return the event of a request, once for each domain that it names."""
    if request.path == "/api/health":
        return Answer(200, encoded({"status": "ok"}))
    credential = bearer(request.headers)
    given: Any = from_json(request.body, limits)
    if isinstance(given, Refusal) and b"=" in request.body and request.body.lstrip()[:1] not in (b"{", b"["):
        given = form(request.body, limits)
    if isinstance(given, Refusal):
        return refused(given, credential)
    if not isinstance(given, dict):
        detail = 'the body is no object: send {"name": "pageview", "url": …, "domain": …}'
        return refused(Refusal(0, Reason.MALFORMED, detail), credential)
    event = _event(given, _address(request.headers), limits)
    if isinstance(event, Refusal):
        return refused(event, credential)
    url = event.url.partition("#")[0]
    domains = who(first(given, "d", "domain"), 4096) or host_of(url.partition("://")[2].partition("/")[0].lower())
    sites = list(dict.fromkeys(filter(None, map(_domain, domains.split(",")))))
    if not sites:
        return refused(missing(0, "domain", "send the site's domain"), credential)
    if len(sites) > _MOST_SITES:
        detail = f"`domain` names {len(sites)} domains and at most {_MOST_SITES} are taken: send several events"
        return refused(Refusal(0, Reason.TOO_MANY, detail), credential)
    return TrackerBatch(sent_at=None, items=[replace(event, site=site) for site in sites], credential=credential)


def _address(headers: Mapping[bytes, bytes]) -> str:
    """Return the visitor's address, or the chain that it begins, as a server of the site gives it; "" without one."""
    if found := header(headers, b"x-plausible-ip") or header(headers, b"x-forwarded-for"):
        return found
    if b"forwarded" not in headers:
        return ""
    return ",".join(_FORWARDED_FOR.findall(header(headers, b"forwarded")))


def _event(given: dict[str, Any], address: str, limits: Limits) -> Tracked | Refusal:
    name = text(first(given, "n", "name"))
    if not name.strip():
        return missing(0, "name", 'send "pageview", or the name of a goal')
    url = text(first(given, "u", "url"))
    if not url:
        return missing(0, "url", "send the page's address")
    url, _, fragment = url.partition("#")
    if fragment and is_true(first(given, "h", "hashMode")):
        url += f"#{fragment}" if fragment[0] in "/!" else f"#/{fragment}"
    props = _properties(first(given, "m", "meta", "p", "props"), limits)
    kind = _KINDS.get(name, EventType.CUSTOM)
    search = None
    if kind is EventType.ENGAGEMENT:
        scrolled = number(given.get("sd"))
        if scrolled is not None and scrolled >= 0:
            props = {"scroll_depth": min(scrolled, 100), **props}
    elif kind is EventType.CUSTOM:
        if name == "WP Search Queries":  # of Plausible's plugin for WordPress
            search = search_of(props.get("search_query"), props.get("result_count"))
        else:
            search = named_search(name, props)
        if search is not None:
            kind = EventType.SEARCH
    paid = first(given, "$", "revenue")
    return tracked(
        kind,
        limits,
        url=url,
        referrer=first(given, "r", "referrer"),
        name=name if kind is EventType.CUSTOM else "",
        props=props,
        search=search,
        engaged_ms=given.get("e") if kind is EventType.ENGAGEMENT else 0,
        revenue=worth(object_in(paid) or paid) if paid else None,
        interactive=not is_false(first(given, "i", "interactive")),
        address=address,
    )


def _properties(given: object, limits: Limits) -> dict[str, Any]:
    """Return an object's members, or those of the one that a text holds as JSON."""
    if isinstance(given, str):
        held = from_json(given.encode("utf-8", "replace"), limits)
        given = given if isinstance(held, Refusal) else held
    return members(given, "props")


def _domain(spelt: str) -> str:
    spelt = spelt.strip()
    if "://" in spelt:
        spelt = host_of(spelt.partition("://")[2].partition("/")[0])
    return spelt.removeprefix("www.")


def answer(outcome: Outcome) -> Answer:
    """Return 202, also when nothing was counted, with the number of events dropped; 400 for what cannot be right."""
    reasons = {refusal.reason for refusal in outcome.refused}
    if not outcome.taken and reasons & NOT_RIGHT:
        return Answer(400, encoded({"errors": {"request": [worst(outcome)]}}))
    if not outcome.taken and Reason.TOO_LARGE in reasons:
        return Answer(413, encoded({"errors": {"request": [worst(outcome)]}}))
    dropped = ((b"x-plausible-dropped", b"%d" % len(outcome.refused)),) if outcome.refused else ()
    return Answer(202, b"ok", b"text/plain; charset=utf-8", dropped)


FIELDS = (
    Field("n", "type", "`pageview`, `engagement` (once `pageleave`), names of the tracker like `Outbound Link: Click`"),
    Field("name", "name", "the long form of `n`; of a goal of your own, its name"),
    Field("u", "url", "in hash mode with its fragment, which then begins with `/`; else without"),
    Field("url", "url", "the long form of `u`"),
    Field("d", "site", "with commas between them, several sites get the event"),
    Field("domain", "site", "the long form of `d`; if there is none, the host of the address"),
    Field("r", "referrer"),
    Field("referrer", "referrer"),
    Field("p", "props", "nested values as JSON text, which Plausible leaves out"),
    Field("props", "props"),
    Field("m", "props"),
    Field("meta", "props"),
    Field("$", "revenue", "`{currency, amount}`"),
    Field("revenue", "revenue", "the long form of `$`"),
    Field("i", "interactive"),
    Field("interactive", "interactive"),
    Field("h", "url", "hash mode"),
    Field("hashMode", "url", "the long form of `h`"),
    Field("sd", "props", "`scroll_depth` of an engagement, in per cent"),
    Field("e", "engaged_ms"),
    Field("v", "", "the tracker's version, which changes nothing"),
    Field("screen_width", "", "the long form of `w`"),
    Field("w", "", "the window's width, of old trackers; the kind of device is read from the browser's agent"),
    Field("header X-Forwarded-For", "address", "counts with a secret key, or from a proxy that is trusted"),
    Field("header X-Plausible-IP", "address", "before all others; counts with a secret key"),
    Field("header Forwarded", "address", "its `for`, if there is no other; counts with a secret key"),
)

NOTES = """\
In the page, the tracker gets another `endpoint`; the domain is the site's, or one of its `ids`:

```js
import { init, track } from '@plausible-analytics/tracker'
init({ domain: 'example.com', endpoint: 'https://stats.example.com/api/event' })
```

As a script: `<script defer data-domain="example.com" data-api="https://stats.example.com/api/event" src="…"></script>`.

A server sends `User-Agent` and `X-Forwarded-For` of its visitor, as for Plausible, and one header more, with which they
count: `Authorization: Bearer KEY`, of which the sites file says

```toml
[[site]]
domain = "example.com"
write_keys = ["a secret of 16 characters or more"]
```

What differs:

- Visitors are cookieless here as there. What came in twice cannot be told from what happened twice: Plausible's events
  have no id, and its tracker sends none again.
- A custom event named `search` with a property `query`, `term` or `q` is a search, as is `WP Search Queries` of the
  plugin for WordPress. `404` is a missing page.
- An event for an unknown site, or of a browser that asks not to be counted, is answered with 202 and
  `x-plausible-dropped`.
- Robots are kept and counted apart, where Plausible drops them.
"""

PROTOCOL = Protocol(
    name="plausible",
    title="Plausible",
    routes=(Route("/api/event"), Route("/api/health", ("GET",))),
    read=read,
    answer=answer,
    fields=FIELDS,
    notes=NOTES,
)
