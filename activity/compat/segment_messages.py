"""Messages of Segment's clients as events: track, page, screen, identify, group and alias."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from activity.compat import values
from activity.compat.parts import first, is_false, is_nothing, members, somebody
from activity.compat.protocol import Tracked
from activity.event import EventType
from activity.incoming import LONGEST_USER, Limits, Revenue, Search, time_of
from activity.refusal import Reason, Refusal

KINDS = ("track", "page", "screen", "identify", "group", "alias")
# Names of events as `_plain` has them: people write them in several ways.
_SEARCHES = frozenset(("productssearched", "productsearched"))
_BOUGHT = frozenset(("ordercompleted", "completedorder"))  # the latter by the first edition of Segment's names
_GIVEN_BACK = frozenset(("orderrefunded", "refundedorder"))
_AMOUNTS = ("revenue", "total", "value")  # of an order, the first that is there
# What they call the revenue of these is not paid then.
_NOT_PAID = frozenset(("checkoutstarted", "startedcheckout", "orderupdated", "ordercancelled", "ordercanceled"))
# What an app or a page does by itself: it makes no visit engaged.
_PASSIVE = frozenset(
    f"application{what}" for what in ("installed", "updated", "opened", "backgrounded", "foregrounded", "crashed")
) | {
    "installattributed", "deeplinkopened", "pushnotificationreceived", "experimentviewed", "videocontentplaying",
    "videoadplaying",
}  # fmt: skip
# Properties of a page that tell its address and referrer, or repeat them.
_OF_ADDRESS = frozenset((
    "url", "path", "referrer", "title", "search", "tab_url", "referring_domain", "initial_referrer",
    "initial_referring_domain",
))  # fmt: skip
_OF_WINDOW = frozenset(("hash", "width", "height"))  # of each page, by the library below Jitsu's client
_NO_REFERRER = "$direct"  # as RudderStack's client for browsers has it
# By the name behind `utm_`, those that a campaign has here.
_UTM = {ours: (ours, f"utm_{ours}") for ours in ("source", "medium", "term", "content")} | {
    "campaign": ("name", "campaign", "utm_campaign")
}
_NOTHING: tuple[object, ...] = (None, "", [], {}, False)


# Texts of lengths that can be stored. What is longer, or of another type, is read the slow way, by `from_object`.
_Address = Annotated[str, msgspec.Meta(max_length=4096)] | None
_Title = Annotated[str, msgspec.Meta(max_length=512)] | None
_Id = Annotated[str, msgspec.Meta(max_length=LONGEST_USER)] | None
_Short = Annotated[str, msgspec.Meta(max_length=128)] | None
_Agent = Annotated[str, msgspec.Meta(max_length=1024)] | None
_Language = Annotated[str, msgspec.Meta(max_length=35)] | None
_Time = int | float | _Short


class _Page(msgspec.Struct, gc=False):
    url: _Address = None
    path: _Address = None
    referrer: _Address = None
    title: _Title = None
    search: _Address = None


class _Screen(msgspec.Struct, gc=False):
    width: int | float | None = None
    height: int | float | None = None


class Context(msgspec.Struct, gc=False):
    """What a message says of its visitor's surroundings."""

    page: _Page | None = None
    campaign: dict[str, Any] | None = None
    screen: _Screen | None = None
    traits: dict[str, Any] | None = None
    referrer: Any = None
    ip: _Short = None
    userAgent: _Agent = None  # noqa: N815 - a name of theirs
    locale: _Language = None
    active: bool | None = None


class Message(msgspec.Struct, gc=False):
    """A message of which each text is clean and has a length that can be stored; properties are as they came."""

    type: _Short = None
    messageId: _Address = None  # noqa: N815
    userId: _Id = None  # noqa: N815
    anonymousId: _Id = None  # noqa: N815
    previousId: _Id = None  # noqa: N815
    groupId: _Id = None  # noqa: N815
    event: _Short = None
    name: _Title = None
    category: _Title = None
    properties: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None
    context: Context | None = None
    timestamp: _Time = None
    originalTimestamp: _Time = None  # noqa: N815
    sentAt: _Time = None  # noqa: N815
    writeKey: _Title = None  # noqa: N815


class Sender(NamedTuple):
    """What holds for all messages of a request."""

    limits: Limits
    largest: int = 0  # bytes of a message, at most
    is_clean: bool = False  # the request has no NUL in any text
    site: str = ""  # that the write key names, "" where only the sites file knows it
    shared: Context | None = None  # the context of a batch, for messages that do not say otherwise
    may_be_nobody: bool = False  # Jitsu's client without ids: then the visitor is the cookieless one of the request
    by_page: bool = False  # without a key, the page's host names the site


class _Told(NamedTuple):
    """What the kinds of messages differ in; texts are clean."""

    type: EventType
    props: Mapping[str, Any]
    page: _Page
    name: str = ""
    search: Search | None = None
    revenue: Revenue | None = None
    interactive: bool = True


_NO_CONTEXT = Context()
_NO_PAGE = _Page()
_message = msgspec.json.Decoder(Message)
# How long a text may be, by the field of a message, a context or a page.
_LONGEST: dict[str, int] = {
    field.name: kind.max_length
    for part in (Message, Context, _Page)
    for field in msgspec.inspect.type_info(part).fields  # type: ignore[attr-defined]
    for kind in getattr(field.type, "types", ())
    if isinstance(kind, msgspec.inspect.StrType) and kind.max_length is not None
}
_TIMES = ("timestamp", "originalTimestamp", "sentAt")


def parse(index: int, raw: bytes | msgspec.Raw, sender: Sender) -> Message | Refusal:
    """Return a message from its JSON, or the refusal that says what to mend. Never raises."""
    if (length := memoryview(raw).nbytes) > sender.largest:
        detail = f"the message has {length} bytes and may have {sender.largest}: send fewer properties"
        return Refusal(index, Reason.TOO_LARGE, detail)
    try:
        if sender.is_clean:
            return _message.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    parsed = values.from_json(bytes(raw), sender.limits)
    if isinstance(parsed, Refusal):
        return Refusal(index, parsed.reason, parsed.detail)
    if not isinstance(parsed, dict):
        return Refusal(index, Reason.UNKNOWN_FIELD_TYPE, 'a message is an object: send {"type": "track", …}')
    return from_object(parsed)


def from_object(parsed: Mapping[str, Any]) -> Message:
    """Return a message of which parts may be of other types: texts become ones, properties that are no object one."""
    known = _texts(Message, parsed)
    for name in ("properties", "traits"):
        given = parsed.get(name)
        known[name] = None if given in _NOTHING else members(given, name)
    for name in _TIMES:
        if values.number(parsed.get(name)) is not None and not isinstance(parsed[name], str):
            known[name] = parsed[name]
    return Message(**known, context=context_of(parsed.get("context")))


def context_of(given: object) -> Context:
    """Return a context of which parts may be of other types."""
    parts = values.obj(given)
    page, screen = values.obj(parts.get("page")), values.obj(parts.get("screen"))
    return Context(
        page=_Page(**_texts(_Page, page)) if page else None,
        campaign=values.obj(parts.get("campaign")) or None,
        screen=_Screen(values.number(screen.get("width")), values.number(screen.get("height"))) if screen else None,
        traits=values.obj(parts.get("traits")) or None,
        active=False if is_false(parts.get("active")) else None,
        **{**_texts(Context, parts), "referrer": _referrer(parts.get("referrer")) or None},
    )


def shared_by(given: object, limits: Limits) -> Context:
    """Return the context of a batch, of which each message takes what it does not say itself: bounded, for that."""
    context = context_of(given)
    campaign, traits = context.campaign, context.traits
    if campaign:
        names = [name for theirs in _UTM.values() for name in theirs if campaign.get(name)]
        campaign = {name: values.text(campaign[name], 512) for name in names} or None
    bounded = {**values.cut(traits, limits)} if traits else None
    return msgspec.structs.replace(context, campaign=campaign, traits=bounded)


def _texts(part: type[msgspec.Struct], given: Mapping[str, Any]) -> dict[str, Any]:
    names = [name for name in part.__struct_fields__ if name in _LONGEST and not is_nothing(given.get(name))]
    return {name: values.text(given[name], _LONGEST[name]) for name in names}


def event_of(index: int, message: Message, kind: str, sender: Sender) -> Tracked | Refusal:
    """Return the event of a message of a kind, "" for the one that it names itself. Never raises."""
    if not kind:
        kind = message.type or ("track" if message.event else "")
        if kind not in KINDS and (kind := kind.strip().lower()) not in KINDS:
            words = f"{kind[:64]!r} is no type of a message" if kind else "`type` is missing from the message"
            reason = Reason.UNKNOWN_FIELD_TYPE if kind else Reason.MISSING_FIELD
            return Refusal(index, reason, f"{words}: send one of {', '.join(KINDS)}")
    user = somebody(message.userId) if message.userId else ""
    client = somebody(message.anonymousId) if message.anonymousId else ""
    client = client or user
    if kind == "alias":
        client = somebody(message.previousId) or somebody(message.anonymousId)
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
    page, screen = told.page, context.screen
    referrer = page.referrer or ("" if context.referrer is None else _referrer(context.referrer))
    url = page.url or _with_search(page)
    return Tracked(
        site=sender.site or (_host(url) if sender.by_page else ""),
        type=told.type,
        url=_with_campaign(url, context.campaign) if context.campaign and url else url,
        referrer="" if referrer == _NO_REFERRER else referrer,
        title=page.title or "",
        name=told.name,
        props=values.properties(told.props, sender.limits) if told.props else {},
        search=told.search,
        id=values.identity(message.messageId),
        ts=values.moment(message.timestamp or message.originalTimestamp),
        user=user,
        screen=values.screen_size(screen.width, screen.height) if screen else "",
        language=values.language_tag(context.locale) if context.locale else "",
        revenue=told.revenue,
        interactive=told.interactive and context.active is not False,
        client=client,
        address=values.first_address(context.ip) if context.ip else "",
        agent=context.userAgent or "",
        sent_at=None if message.sentAt is None else time_or_none(message.sentAt),
    )


def _track(message: Message, context: Context) -> _Told | str:
    name = message.event or ""
    if not name.strip():
        return '`event` is missing: send its name, such as "Signed Up"'
    page, props = context.page or _NO_PAGE, message.properties
    low = _plain(name)
    if not props:
        return _Told(EventType.CUSTOM, {}, page, name, interactive=low not in _PASSIVE)
    search = values.search_of(props.get("query"), props.get("results")) if low in _SEARCHES else None
    search = search or values.named_search(name, props)
    is_order = low in _BOUGHT or low in _GIVEN_BACK
    amount = "revenue"
    if is_order:
        amount = next((each for each in _AMOUNTS if props.get(each) not in (None, "")), amount)
    is_paid = amount in props and low not in _NOT_PAID
    revenue = values.worth(props[amount], props.get("currency")) if is_paid else None
    if revenue is not None and low in _GIVEN_BACK:
        revenue = values.taken_back(revenue)
    if revenue is not None:
        props = {key: value for key, value in props.items() if key not in (amount, "currency")}
    kind = EventType.CUSTOM if search is None else EventType.SEARCH
    return _Told(kind, props, page, name, search, revenue, low not in _PASSIVE)


def _page(message: Message, context: Context) -> _Told | str:
    page, given = context.page or _NO_PAGE, message.properties
    props: Mapping[str, Any] = {}
    if given:
        own = _Page(**_texts(_Page, given))
        referrer, title = own.referrer or page.referrer, own.title or page.title
        page = _Page(own.url or page.url, own.path or page.path, referrer, title, own.search or page.search)
        props = {key: value for key, value in given.items() if key not in _OF_ADDRESS}
        fragment = given.get("hash")
        if isinstance(fragment, str) and fragment[:1] in ("", "#"):  # the address came without it; it may be a route
            props = {key: value for key, value in props.items() if key not in _OF_WINDOW}
            if fragment and page.url and "#" not in page.url:
                page.url = f"{page.url}{fragment}"[:4096]
    if message.name or message.category:
        props = _with_names(props, message)
        path = page.path or _named(message.name)
        page = _Page(page.url, path, page.referrer, page.title or message.name, page.search)
    if not (page.url or page.path) and page.title:
        page = _Page(None, _named(page.title), page.referrer, page.title, page.search)
    if not (page.url or page.path):
        return "the page has no address: send `properties.url` or `context.page.url`"
    return _Told(EventType.PAGEVIEW, props, page)


def _screen(message: Message, _: Context) -> _Told | str:
    given = message.properties or {}
    name = message.name or values.text(given.get("name"), 512) or message.event or message.category
    if not name:
        return "the screen has no `name`: send it"
    return _Told(EventType.PAGEVIEW, _with_names(given, message), _Page(_named(name), title=name))


def _identify(message: Message, context: Context) -> _Told | str:
    return _Told(EventType.IDENTIFY, message.traits or context.traits or {}, context.page or _NO_PAGE)


def _group(message: Message, context: Context) -> _Told | str:
    props = {"groupId": message.groupId, **(message.traits or context.traits or {})}
    return _Told(EventType.CUSTOM, props, context.page or _NO_PAGE, "group", interactive=False)


def _alias(_: Message, __: Context) -> _Told | str:
    return _Told(EventType.IDENTIFY, {}, _NO_PAGE)


_TELL = {
    "track": _track, "page": _page, "screen": _screen, "identify": _identify, "group": _group, "alias": _alias,
}  # fmt: skip


def time_or_none(value: object) -> int | None:
    """Return Unix milliseconds; None for what is no time, as if it had not been sent."""
    try:
        return time_of(values.moment(value))
    except ValueError:
        return None


@lru_cache(maxsize=1024)
def _plain(name: str) -> str:
    """Return the name of an event without what differs by habit: order_completed, orderCompleted, "Order Completed"."""
    return "".join(filter(str.isalnum, name.lower()))


def _referrer(given: object) -> str:
    """Return the address of what the context names as the referrer, by itself or in an object."""
    url = given.get("url") if isinstance(given, dict) else given
    return values.text(url) if isinstance(url, str) else ""


def _named(name: str | None) -> str:
    return values.screen_url(name)[:4096] if name else ""


def _with_search(page: _Page) -> str:
    """Return the path of a page that has no address, with its query."""
    if not page.path or not page.search or "?" in page.path:
        return page.path or ""
    return f"{page.path}?{page.search.removeprefix('?')}"[:4096]


def _with_names(props: Mapping[str, Any], message: Message) -> dict[str, Any]:
    names = {"name": message.name, "category": message.category}
    return {**props, **{name: value for name, value in names.items() if value}}


def _merged(own: Context, shared: Context) -> Context:
    pairs = zip(msgspec.structs.astuple(own), msgspec.structs.astuple(shared), strict=True)
    return Context(*(theirs if mine is None else mine for mine, theirs in pairs))


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "")[:253]
    except ValueError:
        return ""


def _with_campaign(url: str, campaign: Mapping[str, Any]) -> str:
    """Return an address with the campaign that the context names, unless it has one itself."""
    return values.with_campaign(url, {ours: first(campaign, *theirs) for ours, theirs in _UTM.items()})
