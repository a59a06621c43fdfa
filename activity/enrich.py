"""Turns an event as it was sent into the event that is stored: the last step that may look anything up.

Everything that depends on the request, on the site's configuration or on data files is computed here, once, and
stored with the versions of the data it came from; a replay never computes it again. The tracking service calls
`enrich` for every event, so it is written for speed: a bounded cache keeps what address, referrer and site decide as
a half-filled event, and the rest is filled into a copy of it in a few microseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

import msgspec
from msgspec.structs import replace

from activity import amount
from activity.attribution import origin, original_host, referrer_host
from activity.compat.protocol import Tracked
from activity.definitions import kept_since
from activity.event import Event, EventType, content_id, derived_id, event_id
from activity.geo import NOWHERE, Place
from activity.incoming import Incoming, Revenue, time_of
from activity.refusal import Reason, Refusal
from activity.search_terms import SEARCH_PARAMETERS, search_term, tidy_term
from activity.sources import VERSION as SOURCES_VERSION
from activity.url import host_of, in_letters, parameters, without_session_ids, without_www
from activity.url import parse as parse_address
from activity.user_agent import Agent, data_version

DAY = 86_400_000
OLDEST = 72 * 3_600_000  # ms before its arrival that an untrusted event may have happened
NEWEST = 60_000  # ms after its arrival, for clocks that run ahead
EARLIEST, LATEST = 631_152_000_000, 4_102_444_800_000  # 1990 and 2100: what a trusted time must lie between
LONGEST_ENGAGEMENT = DAY
_JANUARY_1970 = 631_152_000  # ms since 1970: as much as the seconds that `time_of` knows as such

_PAGEVIEW = EventType.PAGEVIEW  # reading a member of an enumeration is a call
_PASSIVE = frozenset((EventType.ENGAGEMENT, EventType.WEB_VITAL, EventType.IDENTIFY))
_encode = msgspec.json.Encoder().encode
_CACHED = 512  # characters of address and referrer together, to bound the memory of the cache

_VISITOR_NEEDS_KEY = (
    "`visitor` is only taken with the site's secret key: send `Authorization: Bearer KEY`, or leave it out"
)
_NO_PAGE = re.compile(r"(?:about|blob|data|javascript):|(?:null|undefined|none)$", re.IGNORECASE)
_OF_APP = re.compile(r"(?!https?:)[a-z][a-z0-9+.-]*://[^/?#]*(.*)", re.IGNORECASE | re.DOTALL)
_END_OF_AUTHORITY = re.compile(r"[/?#]|$")
_WHOLE_URL = 'is no address of a page: send it whole, such as "https://example.com/pricing"'
_NO_TERM = (
    'the search has no term: send "search": {"term": "…"}, or an address with one of the site\'s search parameters'
)
_NO_NAME = '`name` is missing from the event: one of type "custom" needs it, such as "signup"'


class SiteRules(msgspec.Struct, frozen=True, cache_hash=True):
    """The part of a site's configuration that an event depends on."""

    domain: str
    timezone: str = "UTC"  # IANA name
    search_parameters: tuple[str, ...] = SEARCH_PARAMETERS
    origins: tuple[str, ...] = ()  # further origins of the site: "https://shop.example.org"
    retention_days: int | None = None  # None keeps for ever
    expired_before: int = 0  # what occurred before (Unix ms) has been removed already, and stays away

    def kept_since(self, now: int) -> int:
        """Returns when the first day begins of which events are taken now (Unix ms)."""
        oldest = 0 if self.retention_days is None else kept_since(now, self.retention_days)
        return max(oldest, self.expired_before)

    def own_hosts(self) -> frozenset[str]:
        """Returns the hosts of the domain and of the further origins: lower case, own letters, without `www.`."""
        return _own_hosts(self.domain, self.origins)

    def owns(self, host: str) -> bool:
        """Whether a host (lower case, without port) is one of the site's own hosts or a subdomain of one."""
        return _owns(self.own_hosts(), host)


@lru_cache(maxsize=1024)
def _own_hosts(domain: str, origins: tuple[str, ...]) -> frozenset[str]:
    hosts = {without_www(in_letters(domain.lower()))}
    for entry in origins:
        address = parse_address(entry if "://" in entry else f"https://{entry}")
        if address is not None:
            hosts.add(without_www(address.host))
    return frozenset(hosts)


@lru_cache(maxsize=4096)
def _owns(hosts: frozenset[str], host: str) -> bool:
    host = without_www(in_letters(host))
    return host in hosts or any(host.endswith(f".{own}") for own in hosts)


class _Page(msgspec.Struct, frozen=True):
    """What an event takes from its address, referrer and site; every event with the same three shares it."""

    template: Event
    term: str  # the search term in the address


def _page(site: SiteRules, url: str, referrer: str) -> _Page | None:
    address = parse_address(url)
    if address is None:
        return None
    query = parameters(address.query) if address.query else {}
    host = referrer_host(referrer) if referrer else ""
    if host and (without_www(host) == without_www(original_host(address.host)) or site.owns(host)):
        host = ""  # a click inside the site is not an origin
    came = origin(query, host)
    template = Event(
        v=1,
        id="",
        site=site.domain,
        type=EventType.PAGEVIEW,
        visitor="",
        occurred_at=0,
        received_at=0,
        url=address.url,
        host=address.host,
        path=address.path,
        referrer=without_session_ids(referrer),
        **msgspec.structs.asdict(came),
    )
    return _Page(template, search_term(query, site.search_parameters))


_cached_page = lru_cache(maxsize=4096)(_page)


def enrich(
    incoming: Incoming,
    *,
    site: SiteRules,
    visitor: str,
    received_at: int,
    agent: Agent,
    fresh_id: str,
    sent_at: int | None = None,
    place: Place = NOWHERE,
    protocol: str = "footfall",
    trusted: bool = False,
    index: int = 0,
) -> list[Event] | Refusal:
    """Returns the events to store for one that was sent, or the reason why it is refused.

    The list has the event itself, then a derived search if it is a page view whose address has a search term.

    `visitor` is 16 hex digits (see `activity.event`); `received_at` and `sent_at` are Unix milliseconds; `fresh_id`
    (32 hex digits, new for each call) becomes the id of an event with neither `id` nor `ts`. `trusted` (the request
    had the site's secret key, or it is an import) lifts the clamp on times and allows a named visitor. `index` goes
    into the refusal.

    Refuses with INVALID_URL, INVALID_TIME, TOO_OLD, MISSING_FIELD or NOT_ALLOWED. Never raises for anything that
    `beacon` accepts.
    """
    if incoming.visitor and not trusted:
        return Refusal(index, Reason.NOT_ALLOWED, _VISITOR_NEEDS_KEY)
    # Long addresses are mostly unique: they would push the others out of the cache and fill the memory.
    pages = _cached_page if len(incoming.url) + len(incoming.referrer) <= _CACHED else _page
    page = pages(site, incoming.url, incoming.referrer)
    tracked = type(incoming) is Tracked
    client, ago_ms = "", 0
    if type(incoming) is Tracked:
        client, ago_ms = incoming.client, incoming.ago_ms
        if page is None:
            page = _tracked_page(site, incoming, pages)
        if incoming.told_as and page is not None:
            incoming = _told_by_page(incoming, page.term)
    if page is None:
        return Refusal(index, Reason.INVALID_URL, f"`url` {incoming.url[:100]!r} {_WHOLE_URL}")
    ts = None if incoming.ts == "" and not trusted else incoming.ts
    if ts is None and not ago_ms:
        occurred_at, clamped = received_at, False
    else:
        when = _occurred(received_at - ago_ms if ts is None else ts, sent_at, received_at, trusted, tracked)
        if isinstance(when, str):
            return Refusal(index, Reason.INVALID_TIME, when)
        occurred_at, clamped = when
    if (site.retention_days is not None or site.expired_before) and occurred_at < site.kept_since(received_at):
        return Refusal(index, Reason.TOO_OLD, _too_old(occurred_at, site))
    kind = incoming.type
    is_pageview = kind is _PAGEVIEW
    term, results = page.term, None
    if not is_pageview or incoming.search is not None:
        term, results = _searched(incoming, page.term)
        if kind is EventType.SEARCH and not term:
            return Refusal(index, Reason.MISSING_FIELD, _NO_TERM)
        if kind is EventType.CUSTOM and not incoming.name:
            return Refusal(index, Reason.MISSING_FIELD, _NO_NAME)
    if incoming.id is not None:
        identity = event_id(site.domain, incoming.id, _encode(_sent_again(incoming) if tracked else incoming))
    elif ts is not None:
        identity = content_id(site.domain, visitor, _encode(_lasting(incoming) if tracked else incoming))
    else:
        identity = fresh_id
    event = replace(
        page.template,
        id=identity,
        type=kind,
        visitor=visitor,
        occurred_at=occurred_at,
        received_at=received_at,
        sent_at=sent_at,
        clamped=clamped,
        title=incoming.title,
        language=incoming.language,
        screen=incoming.screen,
        browser=agent.browser,
        browser_version=agent.browser_version,
        os=agent.os,
        os_version=agent.os_version,
        device=agent.device,
        bot=agent.bot,
        protocol=protocol,
        enriched_by=enriched_by(place.source, named=bool(incoming.visitor or client)),
    )
    if place is not NOWHERE:
        event = replace(event, country=place.country, region=place.region, city=place.city)
    if incoming.user:
        event = replace(event, user=incoming.user)
    searches: list[Event] = []
    if not is_pageview:
        interactive = incoming.interactive and kind not in _PASSIVE
        event = replace(event, interactive=interactive, term=term, results=results)
    elif term:
        derived = derived_id(identity, "search")
        searches = [replace(event, id=derived, type=EventType.SEARCH, interactive=False, term=term, results=results)]
    if incoming.name or incoming.props or incoming.engaged_ms:
        engaged_ms = int(min(max(incoming.engaged_ms, 0), LONGEST_ENGAGEMENT))
        event = replace(event, name=incoming.name, props=incoming.props, engaged_ms=engaged_ms)
    if incoming.revenue is not None:
        event = replace(event, **_revenue(incoming.revenue))
    return [event, *searches]


@lru_cache(maxsize=64)
def enriched_by(place_source: str = "", *, named: bool = False) -> str:
    """Returns the versions of all data behind an event, as "name=version" separated by blanks, for `enriched_by`.

    It ends with "visitor=named" if the sender `named` the visitor: such an id lasts, others change every day.
    """
    place = f" place={place_source}" if place_source else ""
    return f"{data_version()} sources={SOURCES_VERSION}{place}{' visitor=named' if named else ''}"


def _tracked_page(site: SiteRules, incoming: Incoming, pages: Callable[..., _Page | None]) -> _Page | None:
    """The page of a tracker's event that names its path only, or none, as what happens on a server has none.

    An app has addresses with a scheme of its own, `app://localhost/settings`: what counts of them is the path."""
    url = incoming.url
    if of_app := _OF_APP.fullmatch(url):
        path = of_app[1]
        url = path if path.startswith("/") else f"/{path}"
    if (url[:1] != "/" or url[:2] == "//") and (whole := _of_own_host(site, url)):
        return pages(site, whole, incoming.referrer)
    if url.startswith("/"):
        return pages(site, f"https://{site.domain}{url}", incoming.referrer)
    if (url and not _NO_PAGE.match(url)) or incoming.type is _PAGEVIEW:
        return None
    template = Event(v=1, id="", site=site.domain, type=incoming.type, visitor="", occurred_at=0, received_at=0)
    return _Page(template, "")


def _of_own_host(site: SiteRules, url: str) -> str:
    """The whole address for one without its scheme, `example.com/a` or `//example.com/a`; "" if no host of the site
    begins it."""
    rest = url.removeprefix("//")
    authority = rest[: _END_OF_AUTHORITY.search(rest).start()]  # type: ignore[union-attr]
    return f"https://{rest}" if "." in authority and site.owns(host_of(authority)) else ""


def _told_by_page(incoming: Tracked, in_url: str) -> Tracked:
    """A search as the custom event that it is where the page view, by the term `in_url`, was the search already."""
    given = incoming.search
    if given is None or not in_url or tidy_term(given.term) != in_url:
        return incoming
    props = {**incoming.props, "search_term": in_url}
    return replace(
        incoming, type=EventType.CUSTOM, name=incoming.told_as, search=None, props=props, interactive=False
    )


def _lasting(incoming: Incoming) -> Incoming:
    """A tracker's event without what may differ when it is sent again under its id, or repaired: its site may have been
    told by a key, which is not kept, nor is an address. The id has the site beside this."""
    ts = None if incoming.id is not None else incoming.ts
    return replace(incoming, ts=ts, sent_at=None, ago_ms=0, site="", address="", agent="")


def _revenue(given: Revenue) -> dict[str, str]:
    """The amount in digits, at most four after the point, and the currency; neither if it is no amount."""
    found = amount.read(given.amount, given.currency)
    return {} if found is None else {"revenue": found[0], "currency": found[1]}


def _sent_again(incoming: Incoming) -> Incoming:
    """A tracker's event as every sending of it has it. Clients add the user to what they send again, once they know."""
    lasting = _lasting(incoming)
    return replace(lasting, user="") if incoming.user and incoming.type is not EventType.IDENTIFY else lasting


def _occurred(
    ts: int | float | str, sent_at: int | None, received_at: int, trusted: bool, tracked: bool
) -> tuple[int, bool] | str:
    """When it happened (Unix ms) and whether that was clamped; or what is wrong with `ts`.

    Both times of a sender may be by a clock that began with the page, which `ts` alone may not; other trackers' clients
    do not know of such a refusal."""
    try:
        created_at = time_of(ts)
    except ValueError as error:
        return f"`ts` {error}"
    assert created_at is not None
    at = created_at if sent_at is None else received_at - (sent_at - created_at)
    if sent_at is None and not trusted and not tracked and abs(created_at) < _JANUARY_1970:
        return "`ts` is in January 1970, as a time since the page began would be: send Unix milliseconds or ISO 8601"
    if trusted:
        if EARLIEST <= at < LATEST:
            return at, False
        return "`ts` is not between 1990 and 2100: correct it, or leave the event out"
    if at < received_at - OLDEST:
        return received_at - OLDEST, True
    if at > received_at + NEWEST:
        return received_at + NEWEST, True
    return at, False


def _searched(incoming: Incoming, in_url: str) -> tuple[str, int | None]:
    """The term and number of results of a page view or search; the sender's own term wins over that of the address."""
    if incoming.type is not EventType.PAGEVIEW and incoming.type is not EventType.SEARCH:
        return "", None
    given = incoming.search
    if given is None:
        return in_url, None
    results = given.results if given.results is not None and 0 <= given.results < 2**53 else None
    return tidy_term(given.term) or in_url, results


def _too_old(occurred_at: int, site: SiteRules) -> str:
    day = datetime.fromtimestamp(occurred_at // 1000, UTC)
    if occurred_at < site.expired_before:
        before = datetime.fromtimestamp(site.expired_before // 1000, UTC)
        return f"it happened on {day:%Y-%m-%d}, and {site.domain} has nothing any more from before {before:%Y-%m-%d}"
    return (
        f"it happened on {day:%Y-%m-%d} and {site.domain} keeps {site.retention_days} days: "
        "leave it out, or raise the site's retention"
    )
