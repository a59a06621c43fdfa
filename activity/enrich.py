"""From what was sent to what is stored: the last step in which anything may be looked up or decided.

All that depends on the request, on the site's configuration or on data files is computed here, once, and
stored with the versions of the data it came from; a replay never computes it again. `enrich` is called for
every event at the door, so it is written for speed: addresses, origins and agents are answered from bounded
caches, and an event costs a few microseconds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from activity import search
from activity.address import Address, parameters, without_www
from activity.address import parse as parse_address
from activity.agent import Agent, data_version
from activity.beacon import Incoming, time_of
from activity.event import Event, EventType
from activity.event_id import content_id, derived_id, event_id
from activity.origin import DIRECT, Origin, origin, referrer_host
from activity.place import NOWHERE, Place
from activity.refusal import Reason, Refusal
from activity.sources import VERSION as SOURCES_VERSION

DAY = 86_400_000
OLDEST = 72 * 3_600_000  # ms before arrival that an untrusted event may have happened
NEWEST = 60_000  # ms after arrival, for clocks that run ahead
EARLIEST, LATEST = 631_152_000_000, 4_102_444_800_000  # 1990 and 2100: what a trusted time must lie between
LONGEST_ENGAGEMENT = DAY

_PASSIVE = frozenset((EventType.ENGAGEMENT, EventType.WEB_VITAL, EventType.IDENTIFY))
_encode = msgspec.json.Encoder().encode


class SiteRules(msgspec.Struct, frozen=True):
    """What of a site's configuration an event depends on."""

    domain: str
    timezone: str = "UTC"  # IANA name
    search_parameters: tuple[str, ...] = search.PARAMETERS
    origins: tuple[str, ...] = ()  # further origins of the site: "https://shop.example.org"
    retention_days: int | None = None  # None keeps for ever

    def own_hosts(self) -> frozenset[str]:
        """The hosts of the domain and of the further origins, lower case and without `www.`."""
        return _own_hosts(self.domain, self.origins)

    def owns(self, host: str) -> bool:
        """Whether a host (lower case, no port) is one of them or lies under one of them."""
        return _owns(self.own_hosts(), host)


@lru_cache(maxsize=1024)
def _own_hosts(domain: str, origins: tuple[str, ...]) -> frozenset[str]:
    hosts = {without_www(domain.lower())}
    for entry in origins:
        address = parse_address(entry if "://" in entry else f"https://{entry}")
        if address is not None:
            hosts.add(without_www(address.host))
    return frozenset(hosts)


@lru_cache(maxsize=8192)
def _owns(hosts: frozenset[str], host: str) -> bool:
    host = without_www(host)
    return host in hosts or any(host.endswith(f".{own}") for own in hosts)


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
    session_hint: str = "",
) -> list[Event] | Refusal:
    """The events to store for one that was sent: one, and a derived search when a page view's address holds a
    search term; or why it is refused.

    `visitor` is 16 hex digits (see `visitor`); `received_at` and `sent_at` are Unix milliseconds; `fresh_id`
    (32 hex digits, new for each call) is used only for an event with neither `id` nor `ts`. `trusted` (the
    site's secret key, or an import) lifts the clamp of times and allows a named visitor. `index` goes into
    the refusal. Refusals: INVALID_URL, INVALID_TIME, TOO_OLD, MISSING_FIELD, NOT_ALLOWED. Never raises.
    """
    if incoming.visitor and not trusted:
        return Refusal(
            index,
            Reason.NOT_ALLOWED,
            "`visitor` is only taken with the site's secret key: send `Authorization: Bearer KEY`, or leave it out",
        )
    address = parse_address(incoming.url)
    if address is None:
        return Refusal(
            index,
            Reason.INVALID_URL,
            f"`url` {incoming.url[:100]!r} is no address of a page: send it whole, such as "
            "\"https://example.com/pricing\"",
        )
    clamped = False
    occurred_at = received_at
    if incoming.ts is not None:
        try:
            created_at = incoming.ts if type(incoming.ts) is int else time_of(incoming.ts)
        except (ValueError, OverflowError):
            created_at = None
        if created_at is None:
            return Refusal(
                index, Reason.INVALID_TIME, "`ts` is no time: send Unix milliseconds or ISO 8601, or leave it out"
            )
        occurred_at = created_at if sent_at is None else received_at - (sent_at - created_at)
        if trusted:
            if not EARLIEST <= occurred_at < LATEST:
                return Refusal(
                    index,
                    Reason.INVALID_TIME,
                    f"`ts` is not between 1990 and 2100: {_hint(occurred_at)}",
                )
        elif occurred_at < received_at - OLDEST:
            occurred_at, clamped = received_at - OLDEST, True
        elif occurred_at > received_at + NEWEST:
            occurred_at, clamped = received_at + NEWEST, True
    if site.retention_days is not None and occurred_at < received_at - site.retention_days * DAY:
        return Refusal(
            index,
            Reason.TOO_OLD,
            f"it happened on {datetime.fromtimestamp(occurred_at // 1000, UTC):%Y-%m-%d} and {site.domain} keeps "
            f"{site.retention_days} days: leave it out, or keep more",
        )
    query = parameters(address.query) if address.query else {}
    kind = incoming.type
    term, results = "", None
    if kind is EventType.PAGEVIEW or kind is EventType.SEARCH:
        if incoming.search is not None:
            term, results = search.tidy(incoming.search.term), incoming.search.results
        elif query:
            term = search.term(query, site.search_parameters)
        if results is not None and not 0 <= results < 2**53:
            results = None
    missing = _missing(kind, term, incoming.name)
    if missing:
        return Refusal(index, Reason.MISSING_FIELD, missing)
    came = _origin(address, query, incoming.referrer, site)
    if incoming.id is not None or incoming.ts is not None:
        content = _encode(incoming)
        if incoming.id is not None:
            key = event_id(site.domain, incoming.id, content)
        else:
            key = content_id(site.domain, visitor, content)
    else:
        key = fresh_id
    is_search = kind is EventType.SEARCH
    event = Event(
        v=1,
        id=key,
        site=site.domain,
        type=kind,
        visitor=visitor,
        occurred_at=occurred_at,
        received_at=received_at,
        sent_at=sent_at,
        clamped=clamped,
        interactive=kind not in _PASSIVE,
        user=incoming.user,
        session_hint=session_hint,
        url=address.url,
        host=address.host,
        path=address.path,
        title=incoming.title,
        referrer=incoming.referrer,
        utm_source=came.utm_source,
        utm_medium=came.utm_medium,
        utm_campaign=came.utm_campaign,
        utm_term=came.utm_term,
        utm_content=came.utm_content,
        source=came.source,
        medium=came.medium,
        channel=came.channel,
        term=term if is_search else "",
        results=results if is_search else None,
        name=incoming.name,
        props=incoming.props,
        engaged_ms=_engaged(incoming.engaged_ms) if incoming.engaged_ms else 0,
        language=incoming.language,
        screen=incoming.screen,
        browser=agent.browser,
        browser_version=agent.browser_version,
        os=agent.os,
        os_version=agent.os_version,
        device=agent.device,
        country=place.country,
        region=place.region,
        city=place.city,
        protocol=protocol,
        bot=agent.bot,
        enriched_by=enriched_by(place.source),
    )
    if not term or is_search:
        return [event]
    return [
        event,
        msgspec.structs.replace(
            event,
            id=derived_id(key, "search"),
            type=EventType.SEARCH,
            interactive=False,
            term=term,
            results=results,
            name="",
            props={},
        ),
    ]


@lru_cache(maxsize=64)
def enriched_by(place_source: str = "") -> str:
    """The versions of all data that `enrich` and `agent` go by, as an event stores them."""
    return f"{data_version()} sources={SOURCES_VERSION}" + (f" place={place_source}" if place_source else "")


def _missing(kind: EventType, term: str, name: str) -> str:
    if kind is EventType.SEARCH and not term:
        return (
            'the search has no term: send "search": {"term": "…"}, or an address with one of the site\'s search '
            "parameters"
        )
    if kind is EventType.CUSTOM and not name:
        return "`name` is missing from the event: an event of type \"custom\" needs one, such as \"signup\""
    return ""


def _origin(address: Address, query: dict[str, str], referrer: str, site: SiteRules) -> Origin:
    host = referrer_host(referrer) if referrer else ""
    if host and (without_www(host) == without_www(address.host) or site.owns(host)):
        host = ""
    return origin(query, host) if host or query else DIRECT


def _engaged(milliseconds: int | float) -> int:
    return int(min(max(milliseconds, 0), LONGEST_ENGAGEMENT))


def _hint(milliseconds: int) -> str:
    if 0 < milliseconds * 1000 < LATEST and milliseconds * 1000 >= EARLIEST:
        return "these look like seconds, send milliseconds"
    return "correct it, or leave the event out"
