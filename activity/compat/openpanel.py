"""OpenPanel's `/track`, as its clients in browsers, apps and on servers use it, and the paths of the older ones."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from activity.attribution import is_unset, names_origin
from activity.compat.parts import NOT_RIGHT, first, header, is_page, members, missing, page_of
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
    leaving_out,
    refused,
    worst,
)
from activity.compat.values import (
    from_json,
    listed,
    named_search,
    number,
    obj,
    screen_url,
    text,
    too_many,
    tracked,
    who,
    worth,
)
from activity.event import EventType
from activity.incoming import Incoming, Limits
from activity.refusal import Reason, Refusal
from activity.url import parameters

_TYPES = ("track", "identify", "increment", "decrement", "alias", "replay", "group", "assign_group")
_OLDER = {"/profile": "identify", "/profile/increment": "increment", "/profile/decrement": "decrement"}
_BATCH = "batch"
_IPS = (b"openpanel-client-ip", b"x-client-ip")  # headers
_NOBODY = "footfall"  # what a page is told as the id of its device
_NOT_KEPT = frozenset(("replay", "group", "assign_group"))
_TRAITS = ("firstName", "lastName", "email", "avatar")
# Clients hold recordings back, in memory, until they have been told a session.
_SESSION = encoded({"deviceId": _NOBODY, "sessionId": _NOBODY})
_OF_PAGE = ("title", "referrer")
_OWN = "__"  # what OpenPanel's own properties begin with
_INEXACT = 1e-6  # by how much cents may miss a whole number: 19.99 * 100 is 1998.9999999999998
_STORE_ITSELF = {("utm_source", "google-play"), ("utm_medium", "organic")}  # of an app that nobody advertised
_OF_STORE = re.compile(r"(?:[a-z_]{1,20}=[^&\s]*&){0,8}utm_[a-z]{1,10}(?:=|%3D)")


def read(request: TrackerRequest, limits: Limits) -> TrackerBatch | Answer:
    """Return the event of a request, or those of a batch."""
    if request.path == "/track/device-id":
        return Answer(200, _SESSION)
    credential = header(request.headers, b"openpanel-client-secret")
    given = from_json(request.body, limits)
    if isinstance(given, Refusal):
        return refused(given, credential)
    form = ""
    if request.path != "/track":
        given, form = _as_now(request.path, given), "event" if request.path == "/event" else ""
    kind = given.get("type") if isinstance(given, dict) else None
    if kind == "batch":
        return _batch(listed(given.get("payload")), request, credential, limits)
    if isinstance(kind, str) and kind in _NOT_KEPT:
        return Answer(200, _SESSION)
    return TrackerBatch(sent_at=None, items=[_event(0, given, request, limits)], credential=credential, form=form)


def _as_now(path: str, given: object) -> object:
    """Return what older clients send to paths of their own as newer ones do."""
    if path != "/event":
        return {"type": _OLDER[path], "payload": given}
    if not isinstance(given, dict):
        return given
    props = members(given.get("properties"), "properties")
    at = given.get("timestamp")
    return {"type": "track", "payload": {**given, "properties": {"__timestamp": at, **props}}}


def _batch(events: object, request: TrackerRequest, credential: str, limits: Limits) -> TrackerBatch | Answer:
    if not isinstance(events, list) or not events:
        return refused(missing(0, "payload", 'send a list of {"type": …, "payload": {…}}'), credential)
    if len(events) > limits.events:
        return refused(too_many(len(events), limits.events), credential)
    left_out = [place for place, each in enumerate(events) if text(obj(each).get("type"), 32) in _NOT_KEPT]
    if len(left_out) == len(events):
        return Answer(202, encoded({"accepted": len(events), "rejected": []}))
    kept = [each for place, each in enumerate(events) if place not in left_out] if left_out else events
    items: list[Incoming | Refusal] = [_event(index, each, request, limits) for index, each in enumerate(kept)]
    return TrackerBatch(sent_at=None, items=items, credential=credential, form=leaving_out(_BATCH, left_out))


def _event(index: int, given: object, request: TrackerRequest, limits: Limits) -> Tracked | Refusal:
    if not isinstance(given, dict):
        detail = 'the event is no object: send {"type": "track", "payload": {…}}'
        return Refusal(index, Reason.MALFORMED, detail)
    kind, payload = text(given.get("type"), 32).lower(), given.get("payload")
    if kind not in _TYPES:
        detail = f"`type` {kind!r} is not known: send one of {', '.join(_TYPES)}"
        return Refusal(index, Reason.UNKNOWN_FIELD_TYPE, detail)
    if not isinstance(payload, dict):
        return missing(index, "payload", 'send {"name": …, "properties": {…}}')
    props = members(payload.get("properties"), "properties")
    user = _id(payload.get("profileId")) or _id(props.get("profileId"))
    user = user or _id(obj(props.get("__identify")).get("profileId"))
    device = _id(props.get("__deviceId"))
    sender = {
        "site": header(request.headers, b"openpanel-client-id", 253),
        "user": user,
        "client": "" if is_page(request.headers) else user or ("" if device == _NOBODY else device),
        "address": text(props.get("__ip"), 64) or max((header(request.headers, name, 64) for name in _IPS), key=bool),
        "ts": first(props, "__timestamp"),
    }
    if kind == "track":
        return _track(index, payload, props, sender, limits)
    return _profile(index, kind, payload, props, sender, limits)


def _id(given: object) -> str:
    """Return an id; "" for what its clients send of a guest, such as 0."""
    return who(given, 256) if given else ""


def _track(
    index: int, payload: dict[str, Any], props: dict[str, Any], sender: dict[str, Any], limits: Limits
) -> Tracked | Refusal:
    name = text(payload.get("name"), 128)
    if not name:
        return missing(index, "payload.name", 'send "screen_view", or the name of an event')
    kind, search = EventType.CUSTOM, None
    path = page_of(props.get("__path"))
    cents = number(props.get("__revenue"))
    kept = {key: value for key, value in props.items() if not key.startswith(_OWN) and key != "profileId"}
    if name == "screen_view":
        kind = EventType.PAGEVIEW
        if not path:  # the first releases spelt them so
            path, props = page_of(kept.pop("path", "")), {f"{_OWN}{key}": kept.pop(key, "") for key in _OF_PAGE} | props
        if not path:
            return missing(index, "payload.properties.__path", "send the page's address, or the name of the screen")
    elif name == "link_out":
        kind = EventType.OUTBOUND
        kept = {("url" if key == "href" else key): value for key, value in kept.items()}
    elif (search := named_search(name, kept)) is not None:
        kind = EventType.SEARCH
    if payload.get("groups"):
        kept["groups"] = payload["groups"]
    if cents is not None and abs(cents - round(cents)) > _INEXACT:  # perhaps no cents are meant
        kept["__revenue"], cents = props["__revenue"], None
    url = path if "://" in path[:16] or not path else screen_url(path) if path[0] != "/" else path
    referrer = text(props.get("__referrer"))
    if "utm_" in referrer and _OF_STORE.match(referrer):
        url, referrer = _from_store(url, referrer), ""
    return tracked(
        kind,
        limits,
        url=url,
        referrer=referrer,
        title=props.get("__title"),
        name=name if kind is EventType.CUSTOM else "",
        props=kept,
        search=search,
        revenue=None if cents is None else worth(round(cents) / 100, props.get("currency")),
        **sender,
    )


def _from_store(url: str, told: str) -> str:
    """Return the address of an app's screen with the campaign that its store tells: `utm_source=ads&…`. An address that
    has an origin keeps it, and that the store was the store is no origin."""
    campaign = (told if "=" in told else unquote(told)).replace("#", "%23")
    address, mark, fragment = url.partition("#")
    page, _, query = address.partition("?")
    own = parameters(f"{query}&{fragment.replace('?', '&')}")
    said = {pair for pair in parameters(campaign).items() if names_origin(pair[0]) and not is_unset(pair[1])}
    if not url or any(map(names_origin, own)) or said <= _STORE_ITSELF:
        return url
    return f"{page}?{f'{query}&' if query else ''}{campaign}{mark}{fragment}"


def _profile(
    index: int, kind: str, payload: dict[str, Any], props: dict[str, Any], sender: dict[str, Any], limits: Limits
) -> Tracked | Refusal:
    """Return what was learnt of a user; a count of him that goes up or down is an event of its own."""
    if not sender["user"]:
        return missing(index, "payload.profileId", "send the id of the user")
    if kind in ("increment", "decrement"):
        counted: dict[str, Any] = {name: payload[name] for name in ("property", "value") if name in payload}
        return tracked(EventType.CUSTOM, limits, name=kind, props=counted, interactive=False, **sender)
    if kind == "alias":
        alias = _id(payload.get("alias"))
        if not alias:
            return missing(index, "payload.alias", "send the id by which the user was known before")
        sender = {**sender, "client": alias}
    traits = {name: payload[name] for name in _TRAITS if payload.get(name) is not None}
    own = {name: value for name, value in props.items() if not name.startswith(_OWN) and name != "profileId"}
    return tracked(EventType.IDENTIFY, limits, props={**traits, **own}, **sender)


def answer(outcome: Outcome) -> Answer:
    """Return a session, or the error that OpenPanel has; its clients send again what is not answered 200 or 401.

    A batch is taken event by event: its answer tells which were not."""
    form = outcome.form.partition(" ")[0]
    reasons = {refusal.reason for refusal in outcome.refused}
    if form == _BATCH and (outcome.taken or reasons & NOT_RIGHT or reasons <= {Reason.OPTED_OUT}):
        return _answer_to_batch(outcome)
    if not outcome.refused:
        return Answer(202, b"ok", b"text/plain") if form == "event" else Answer(200, _SESSION)
    reason = outcome.refused[0].reason
    if reason in NOT_RIGHT:
        status, error = 400, "Bad Request"
    elif reason is Reason.TOO_LARGE:
        status, error = 413, "Payload Too Large"
    else:
        status, error = 401, "Unauthorized"
    return Answer(status, encoded({"status": status, "error": error, "message": worst(outcome)}))


def _answer_to_batch(outcome: Outcome) -> Answer:
    """Return how many were taken, those that are not kept among them, and which were not."""
    rejected = [
        {"index": place, "reason": "validation", "error": refusal.detail}
        for place, refusal in zip(outcome.places, outcome.refused, strict=True)
    ]
    return Answer(202, encoded({"accepted": outcome.taken + len(outcome.left_out), "rejected": rejected}))


FIELDS = (
    Field("type", "type", "a `batch` has a list of events as its `payload`"),
    Field("timestamp", "ts", "of an older client's event, to `/event`"),
    Field("payload.name", "name", "`screen_view` is a page view, `link_out` a link followed out"),
    Field("payload.properties", "props", "nested values as JSON text"),
    Field("payload.properties.__path", "url", "a screen's name becomes a path"),
    Field("payload.properties.path", "url", "of a `screen_view` without `__path`; so are `title` and `referrer`"),
    Field("payload.properties.__title", "title"),
    Field("payload.properties.__referrer", "referrer", "a campaign that a store tells an app becomes that of `url`"),
    Field("payload.properties.__revenue", "revenue", "in cents, as OpenPanel has it; parts of a cent are kept"),
    Field("payload.properties.currency", "revenue", "and kept as a property"),
    Field("payload.properties.href", "props", "`url`, of a `link_out`"),
    Field("payload.properties.__timestamp", "ts", "without it, an event happened when it came"),
    Field("payload.properties.__version", "", "of an app; tell it as a property of your own"),
    Field("payload.properties.__buildNumber", "", "as above"),
    Field("payload.properties.__ip", "address", "counts with a secret"),
    Field("payload.properties.profileId", "user", "if there is no `payload.profileId`"),
    Field("payload.properties.__identify", "user", "its `profileId`"),
    Field("payload.properties.__deviceId", "client", "of a server's event without a `profileId`, but for `footfall`"),
    Field("payload.profileId", "user", "and the visitor, of a server's events; visitors of pages are cookieless"),
    Field("payload.groups", "props", "`groups`, as JSON text"),
    Field("payload.firstName", "props", "of an `identify`"),
    Field("payload.lastName", "props", "of an `identify`"),
    Field("payload.email", "props", "of an `identify`"),
    Field("payload.avatar", "props", "of an `identify`"),
    Field("payload.property", "props", "of an `increment` or `decrement`, a custom event that makes no visit engaged"),
    Field("payload.value", "props", "of an `increment` or `decrement`"),
    Field("payload.alias", "client", "of an `alias`: the visitor who had that id is the user"),
    Field("header openpanel-client-id", "site", "an id of the site"),
    Field("header openpanel-client-secret", "", "a secret key, one of the site's `write_keys`"),
    Field("header openpanel-client-ip", "address", "counts with a secret"),
    Field("header x-client-ip", "address", "counts with a secret"),
    Field("header openpanel-sdk-name", "", "which client it is, which changes nothing"),
    Field("header openpanel-sdk-version", "", "which client it is, which changes nothing"),
    Field("type replay", "", "recordings of the screen are answered and not kept"),
    Field("type group", "", "groups of users are answered and not kept"),
    Field("type assign_group", "", "groups of users are answered and not kept"),
)

NOTES = """\
The client gets another `apiUrl`, a page's script the same as a setting of `op('init', …)`:

```js
const op = new OpenPanel({ clientId: '3f1c2a9e-0000-4a40-ad6c-962362670409', apiUrl: 'https://stats.example.com' })
```

A server has its `clientSecret`, too: a key of the site. Then `x-client-ip`, `user-agent` and old times count. The sites
file:

```toml
[[site]]
domain = "example.com"
ids = ["3f1c2a9e-0000-4a40-ad6c-962362670409"]
write_keys = ["a secret of 16 characters or more"]
```

What differs:

- OpenPanel's events have no id. One that its client sends again, because the answer was lost, is another event, unless
  it has a `__timestamp`: then it is the same.
- Visitors of pages are cookieless here as there. Our answer has no id of a visitor, so `getDeviceId()` is `footfall`
  for everybody.
- An event without `__path` has no page: only `screen_view` tells one.
- A batch has as many events as a request may have here, 1,000.
- An app tells all its life, with each event, what its store said when it was installed (`__referrer`). A campaign in it
  counts for each visit, but for those whose address has an origin of its own (`utm_…`, `ref`, a click id). What says
  only that the store was the store (`utm_source=google-play&utm_medium=organic`, `(not set)`) is none: the visit is
  direct.
- A custom event named `search` with a property `query`, `term` or `q` is a search.
"""

PROTOCOL = Protocol(
    name="openpanel",
    title="OpenPanel",
    routes=(
        Route("/track", header=b"openpanel-client-id"),
        Route("/track/device-id", ("GET",), header=b"openpanel-client-id"),
        Route("/event", header=b"openpanel-client-id"),
        *(Route(path, header=b"openpanel-client-id") for path in _OLDER),
    ),
    read=read,
    answer=answer,
    heeds=(b"openpanel-client-id",),
    fields=FIELDS,
    notes=NOTES,
)
