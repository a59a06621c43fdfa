"""Messages of Segment's clients as events: track, page, screen, identify, group and alias."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import msgspec

from activity.compat import values
from activity.compat.protocol import Tracked
from activity.event import EventType
from activity.incoming import Limits, Revenue, Search, time_of
from activity.refusal import Reason, Refusal

KINDS = ("track", "page", "screen", "identify", "group", "alias")
_SEARCHES = frozenset(("products searched", "product searched"))
# What an app does by itself: it makes no visit engaged.
_PASSIVE = frozenset(
    f"application {what}" for what in ("installed", "updated", "opened", "backgrounded", "crashed")
) | {"install attributed", "push notification received"}
_OF_ADDRESS = frozenset(("url", "path", "referrer", "title", "search"))  # properties that a page is told by
_UTM = (("source", "source"), ("medium", "medium"), ("name", "campaign"), ("term", "term"), ("content", "content"))
_NOTHING: tuple[object, ...] = (None, "", [], {}, False)


class _Page(msgspec.Struct, gc=False):
    url: Any = None
    path: Any = None
    referrer: Any = None
    title: Any = None


class _Screen(msgspec.Struct, gc=False):
    width: Any = None
    height: Any = None


class Context(msgspec.Struct, gc=False):
    """What a message says of its visitor's surroundings."""

    page: _Page | None = None
    campaign: dict[str, Any] | None = None
    screen: _Screen | None = None
    traits: dict[str, Any] | None = None
    ip: Any = None
    userAgent: Any = None  # noqa: N815 - a name of theirs
    locale: Any = None
    active: Any = None


class Message(msgspec.Struct, gc=False):
    """A message, typed only as far as it has parts: `values.tracked` takes leaves of any type."""

    type: Any = None
    messageId: Any = None  # noqa: N815
    userId: Any = None  # noqa: N815
    anonymousId: Any = None  # noqa: N815
    previousId: Any = None  # noqa: N815
    groupId: Any = None  # noqa: N815
    event: Any = None
    name: Any = None
    category: Any = None
    properties: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None
    context: Context | None = None
    timestamp: Any = None
    originalTimestamp: Any = None  # noqa: N815
    sentAt: Any = None  # noqa: N815
    writeKey: Any = None  # noqa: N815


class Sender(NamedTuple):
    """What holds for all messages of a request."""

    limits: Limits
    site: str = ""  # that the write key names, "" where only the sites file knows it
    shared: Context | None = None  # the context of a batch, for messages that do not say otherwise
    may_be_nobody: bool = False  # Jitsu's client without ids: then the visitor is the cookieless one of the request
    by_page: bool = False  # without a key, the page's host names the site


class _Told(NamedTuple):
    """What the kinds of messages differ in."""

    type: EventType
    props: Mapping[str, Any]
    url: Any = ""
    referrer: Any = ""
    title: Any = ""
    name: str = ""
    search: Search | None = None
    revenue: Revenue | None = None
    interactive: bool = True


_NO_CONTEXT = Context()
_NO_PAGE = _Page()
_decoder = msgspec.json.Decoder(Message)


def parse(index: int, raw: bytes | msgspec.Raw, limits: Limits, largest: int) -> Message | Refusal:
    """Return a message from its JSON, at most `largest` bytes, or the refusal with what to mend. Never raises."""
    if (length := memoryview(raw).nbytes) > largest:
        detail = f"the message has {length} bytes and may have {largest}: send fewer properties"
        return Refusal(index, Reason.TOO_LARGE, detail)
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        parsed = values.from_json(bytes(raw), limits)
    if isinstance(parsed, Refusal):
        return Refusal(index, parsed.reason, parsed.detail)
    if not isinstance(parsed, dict):
        return Refusal(index, Reason.UNKNOWN_FIELD_TYPE, 'a message is an object: send {"type": "track", …}')
    return from_object(parsed)


def from_object(parsed: Mapping[str, Any]) -> Message:
    """Return a message of which some part may be no object; properties that are none become one property."""
    known = {name: parsed[name] for name in Message.__struct_fields__ if name in parsed}
    for name in ("properties", "traits"):
        given = known.get(name)
        known[name] = given if isinstance(given, dict) else None if given in _NOTHING else {name: given}
    return Message(**known | {"context": context_of(parsed.get("context"))})


def context_of(given: object) -> Context:
    """Return a context of which some part may be no object."""
    parts = values.obj(given)
    page, screen = values.obj(parts.get("page")), values.obj(parts.get("screen"))
    return Context(
        _Page(*(page.get(name) for name in _Page.__struct_fields__)) if page else None,
        values.obj(parts.get("campaign")) or None,
        _Screen(screen.get("width"), screen.get("height")) if screen else None,
        values.obj(parts.get("traits")) or None,
        *(parts.get(name) for name in ("ip", "userAgent", "locale", "active")),
    )


def event_of(index: int, message: Message, kind: str, sender: Sender) -> Tracked | Refusal:
    """Return the event of a message of a kind, "" for the one that it names itself. Never raises."""
    if not kind:
        kind = message.type if isinstance(message.type, str) else "track" if message.event else ""
        if kind not in KINDS:
            words = f"{kind[:64]!r} is no type of a message" if kind else "`type` is missing from the message"
            reason = Reason.UNKNOWN_FIELD_TYPE if kind else Reason.MISSING_FIELD
            return Refusal(index, reason, f"{words}: send one of {', '.join(KINDS)}")
    user = values.text(message.userId) if message.userId else ""
    client = values.text(message.anonymousId) if message.anonymousId else user
    if kind == "alias":
        client = values.text(message.previousId)
        if not client or not user:
            return Refusal(index, Reason.MISSING_FIELD, "an alias needs `previousId` and `userId`: send both")
    elif not client and not sender.may_be_nobody:
        return Refusal(index, Reason.MISSING_FIELD, "the message names nobody: send `anonymousId` or `userId`")
    context = message.context or _NO_CONTEXT
    if sender.shared is not None:
        context = _merged(context, sender.shared)
    told = _TELL[kind](message, context)
    if isinstance(told, str):
        return Refusal(index, Reason.MISSING_FIELD, told)
    screen = context.screen
    return values.tracked(
        told.type,
        sender.limits,
        site=sender.site or (_host(told.url) if sender.by_page else ""),
        url=_with_campaign(told.url, context.campaign) if context.campaign else told.url,
        referrer=told.referrer,
        title=told.title,
        name=told.name,
        props=told.props,
        search=told.search,
        id=message.messageId,
        ts=message.timestamp or message.originalTimestamp,
        user=user,
        screen=f"{values.text(screen.width)}x{values.text(screen.height)}" if screen and screen.width else "",
        language=context.locale,
        revenue=told.revenue,
        interactive=told.interactive and context.active is not False,
        client=client,
        address=context.ip,
        agent=context.userAgent,
        sent_at=None if message.sentAt is None else time_or_none(message.sentAt),
    )


def _track(message: Message, context: Context) -> _Told | str:
    name = values.text(message.event)
    if not name.strip("\0 "):
        return '`event` is missing: send its name, such as "Signed Up"'
    page, props = context.page or _NO_PAGE, message.properties or {}
    low = name.lower()
    search = values.search_of(props.get("query"), props.get("results")) if low in _SEARCHES else None
    search = search or values.named_search(name, props)
    amount = "total" if low == "order completed" and "revenue" not in props else "revenue"
    revenue = values.worth(props[amount], props.get("currency")) if amount in props else None
    if revenue is not None:
        props = {key: value for key, value in props.items() if key not in (amount, "currency")}
    kind = EventType.CUSTOM if search is None else EventType.SEARCH
    where = (page.url or page.path, page.referrer, page.title)
    return _Told(kind, props, *where, name, search, revenue, low not in _PASSIVE)


def _page(message: Message, context: Context) -> _Told | str:
    page, given = context.page or _NO_PAGE, message.properties or {}
    url = given.get("url") or page.url or given.get("path") or page.path or _named(message)
    if not url:
        return "the page has no address: send `properties.url` or `context.page.url`"
    props = {key: value for key, value in given.items() if key not in _OF_ADDRESS}
    referrer = given.get("referrer") or page.referrer
    title = given.get("title") or page.title or message.name
    return _Told(EventType.PAGEVIEW, _with_names(props, message), url, referrer, title)


def _screen(message: Message, _: Context) -> _Told | str:
    url = _named(message)
    if not url:
        return "the screen has no `name`: send it"
    return _Told(EventType.PAGEVIEW, _with_names(message.properties or {}, message), url, "", message.name)


def _identify(message: Message, context: Context) -> _Told | str:
    page = context.page or _NO_PAGE
    return _Told(EventType.IDENTIFY, message.traits or context.traits or {}, page.url or page.path, page.referrer)


def _group(message: Message, context: Context) -> _Told | str:
    page = context.page or _NO_PAGE
    props = {**(message.traits or context.traits or {}), "groupId": message.groupId}
    return _Told(EventType.CUSTOM, props, page.url or page.path, page.referrer, name="group", interactive=False)


def _alias(_: Message, __: Context) -> _Told | str:
    return _Told(EventType.IDENTIFY, {})


_TELL = {
    "track": _track, "page": _page, "screen": _screen, "identify": _identify, "group": _group, "alias": _alias,
}  # fmt: skip


def time_or_none(value: object) -> int | None:
    """Return Unix milliseconds; None for what is no time, as if it had not been sent."""
    try:
        return time_of(value)
    except ValueError:
        return None


def _named(message: Message) -> str:
    return values.screen_url(message.name) if message.name else ""


def _with_names(props: Mapping[str, Any], message: Message) -> dict[str, Any]:
    names = {"name": message.name, "category": message.category}
    return {**props, **{name: value for name, value in names.items() if value not in (None, "")}}


def _merged(own: Context, shared: Context) -> Context:
    pairs = zip(msgspec.structs.astuple(own), msgspec.structs.astuple(shared), strict=True)
    return Context(*(theirs if mine is None else mine for mine, theirs in pairs))


def _host(url: object) -> str:
    try:
        return urlsplit(values.text(url)).hostname or ""
    except ValueError:
        return ""


def _with_campaign(url: object, campaign: Mapping[str, Any]) -> object:
    """Return an address with the campaign that the context names, unless it has one itself."""
    if not isinstance(url, str) or not url or "utm_" in url:
        return url
    found = {f"utm_{ours}": values.text(campaign[theirs]) for theirs, ours in _UTM if campaign.get(theirs)}
    if not found:
        return url
    address, mark, fragment = url.partition("#")
    return f"{address}{'&' if '?' in address else '?'}{urlencode(found)}{mark}{fragment}"
