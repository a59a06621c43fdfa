"""OpenPanel's `/track`, as its clients in browsers, apps and on servers use it."""

from __future__ import annotations

from typing import Any

from activity.compat.parts import NOT_RIGHT, first, header, is_page, members, missing
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
from activity.compat.values import from_json, named_search, number, obj, screen_url, text, tracked, worth
from activity.event import EventType
from activity.incoming import Limits
from activity.refusal import Reason, Refusal

_TYPES = ("track", "identify", "increment", "decrement", "alias", "replay", "group", "assign_group")
_NOT_KEPT = frozenset(("replay", "group", "assign_group"))
_TRAITS = ("firstName", "lastName", "email", "avatar")
# Clients hold recordings back, in memory, until they have been told a session.
_SESSION = encoded({"deviceId": "footfall", "sessionId": "footfall"})
_OWN = "__"  # what OpenPanel's own properties begin with


def read(request: TrackerRequest, limits: Limits) -> TrackerBatch | Answer:
    """Return the event of a request."""
    if request.path == "/track/device-id":
        return Answer(200, _SESSION)
    credential = header(request.headers, b"openpanel-client-secret")
    given = from_json(request.body, limits)
    if isinstance(given, Refusal):
        return refused(given, credential)
    if not isinstance(given, dict):
        detail = 'the body is no object: send {"type": "track", "payload": {…}}'
        return refused(Refusal(0, Reason.MALFORMED, detail), credential)
    kind = text(given.get("type"), 32)
    if kind in _NOT_KEPT:
        return Answer(200, _SESSION)
    payload = given.get("payload")
    if kind not in _TYPES:
        detail = f"`type` {kind!r} is not known: send one of {', '.join(_TYPES)}"
        return refused(Refusal(0, Reason.UNKNOWN_FIELD_TYPE, detail), credential)
    if not isinstance(payload, dict):
        return refused(missing(0, "payload", 'send {"name": …, "properties": {…}}'), credential)
    props = members(payload.get("properties"), "properties")
    user = text(first(payload, "profileId") or obj(props.get("__identify")).get("profileId"), 256)
    sender = {
        "site": header(request.headers, b"openpanel-client-id", 253),
        "user": user,
        "client": "" if is_page(request.headers) else user,
        "address": text(props.get("__ip"), 64) or header(request.headers, b"x-client-ip", 64),
        "ts": first(props, "__timestamp"),
    }
    if kind == "track":
        event = _track(payload, props, sender, limits)
    else:
        event = _profile(kind, payload, props, sender, limits)
    return TrackerBatch(sent_at=None, items=[event], credential=credential)


def _track(payload: dict[str, Any], props: dict[str, Any], sender: dict[str, Any], limits: Limits) -> Tracked | Refusal:
    name = text(payload.get("name"), 128)
    if not name:
        return missing(0, "payload.name", 'send "screen_view", or the name of an event')
    kind, search = EventType.CUSTOM, None
    path = text(first(props, "__path"))
    cents = number(props.get("__revenue"))
    kept = {key: value for key, value in props.items() if not key.startswith(_OWN) and key != "profileId"}
    if name == "screen_view":
        kind = EventType.PAGEVIEW
        if not path:
            return missing(0, "payload.properties.__path", "send the page's address, or the name of the screen")
    elif name == "link_out":
        kind = EventType.OUTBOUND
        kept = {("url" if key == "href" else key): value for key, value in kept.items()}
    elif (search := named_search(name, kept)) is not None:
        kind = EventType.SEARCH
    if payload.get("groups"):
        kept["groups"] = payload["groups"]
    return tracked(
        kind,
        limits,
        url=path if "://" in path[:16] or not path else screen_url(path) if path[0] != "/" else path,
        referrer=props.get("__referrer"),
        title=props.get("__title"),
        name=name if kind is EventType.CUSTOM else "",
        props=kept,
        search=search,
        revenue=None if cents is None else worth(cents / 100, props.get("currency")),
        **sender,
    )


def _profile(
    kind: str, payload: dict[str, Any], props: dict[str, Any], sender: dict[str, Any], limits: Limits
) -> Tracked | Refusal:
    """Return what was learnt of a user; a count of him that goes up or down is an event of its own."""
    if not sender["user"]:
        return missing(0, "payload.profileId", "send the id of the user")
    if kind in ("increment", "decrement"):
        counted: dict[str, Any] = {name: payload[name] for name in ("property", "value") if name in payload}
        return tracked(EventType.CUSTOM, limits, name=kind, props=counted, interactive=False, **sender)
    if kind == "alias":
        alias = text(payload.get("alias"), 256)
        if not alias:
            return missing(0, "payload.alias", "send the id by which the user was known before")
        sender = {**sender, "client": alias}
    traits = {name: payload[name] for name in _TRAITS if payload.get(name) is not None}
    own = {name: value for name, value in props.items() if not name.startswith(_OWN)}
    return tracked(EventType.IDENTIFY, limits, props={**traits, **own}, **sender)


def answer(outcome: Outcome) -> Answer:
    """Return a session, or the error that OpenPanel has; its clients send again what is not answered 200 or 401."""
    if not outcome.refused:
        return Answer(200, _SESSION)
    reason = outcome.refused[0].reason
    if reason in NOT_RIGHT:
        status, error = 400, "Bad Request"
    elif reason is Reason.TOO_LARGE:
        status, error = 413, "Payload Too Large"
    else:
        status, error = 401, "Unauthorized"
    return Answer(status, encoded({"status": status, "error": error, "message": worst(outcome)}))


FIELDS = (
    Field("type", "type"),
    Field("payload.name", "name", "`screen_view` is a page view, `link_out` a link followed out"),
    Field("payload.properties", "props", "nested values as JSON text"),
    Field("payload.properties.__path", "url", "a screen's name becomes a path"),
    Field("payload.properties.__title", "title"),
    Field("payload.properties.__referrer", "referrer"),
    Field("payload.properties.__revenue", "revenue", "in cents, as OpenPanel has it"),
    Field("payload.properties.currency", "revenue", "and kept as a property"),
    Field("payload.properties.href", "props", "`url`, of a `link_out`"),
    Field("payload.properties.__timestamp", "ts", "without it, an event happened when it came"),
    Field("payload.properties.__ip", "address", "counts with a secret"),
    Field("payload.properties.__identify", "user", "its `profileId`"),
    Field("payload.properties.__deviceId", "", "an id that OpenPanel's server gave; ours are never told to the page"),
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
- A custom event named `search` with a property `query`, `term` or `q` is a search.
"""

PROTOCOL = Protocol(
    name="openpanel",
    title="OpenPanel",
    routes=(
        Route("/track", header=b"openpanel-client-id"),
        Route("/track/device-id", ("GET",), header=b"openpanel-client-id"),
    ),
    read=read,
    answer=answer,
    heeds=(b"openpanel-client-id",),
    fields=FIELDS,
    notes=NOTES,
)
