"""The core of the door: request parts in; records, refusals and all that the answer needs out.

No socket, no broker and no clock: whoever serves hands in a `Request` and the time, publishes the entries
(`outbox`) and lets `answers` speak. An event is refused alone and for a named reason; what cannot be
understood goes to the dead letters as it was received. The client's address is used here, for the visitor
id and the place, and goes no further.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import zlib
from dataclasses import dataclass, field

import msgspec

from activity import agent, beacon, codec, place
from activity.beacon import Incoming, Limits
from activity.enrich import SiteRules, enrich
from activity.event import DEAD_LETTER_TOPIC, Event, topic_of, visitor_key
from activity.refusal import Reason, Refusal
from activity.visitor import named_visitor
from brokers.base import Record
from ingest.http import Request
from ingest.outbox import Entry, Touch
from ingest.proxies import Proxies
from ingest.sites import Site, Sites, is_domain
from ingest.visitors import Live, Visitors

__all__ = ["Collected", "Collector", "Live", "Options"]

# Why bytes could not be understood, as opposed to understood and not allowed.
_NOT_UNDERSTOOD = frozenset(
    {Reason.MALFORMED, Reason.UNKNOWN_FIELD_TYPE, Reason.MISSING_FIELD, Reason.INVALID_URL, Reason.INVALID_TIME}
)
_DEAD_LETTER_BYTES = 500_000
_GZIP = b"\x1f\x8b"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator decides about the door."""

    limits: Limits = Limits()
    honour_opt_out: bool = True  # Sec-GPC and DNT
    trusted_proxies: tuple[str, ...] = ()  # whose X-Forwarded-For is believed
    rate_limited: bool = False  # ask the live store before each request
    spool_bytes: int = 1 << 30
    queue_bytes: int = 64 << 20

    @property
    def max_body(self) -> int:
        return self.limits.body_bytes


@dataclass(slots=True)
class Collected:
    """What a request came to. `entries` of the events come first, each with its sender's index in `owners`;
    behind them may stand a dead letter."""

    entries: list[Entry] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    pixel: bool = False


class _DeadLetter(msgspec.Struct):
    """The value of a record on the topic of dead letters. `bytes` is base64 of what was received."""

    topic: str
    where: str
    reason: str
    detail: str
    received_at: int
    bytes: str
    length: int  # of what was received; `bytes` may be cut


_encode = msgspec.json.Encoder().encode


class Collector:
    """Judges requests by the sites' rules. One a process; not for several threads at once."""

    def __init__(self, sites: Sites, live: Live, options: Options, places: place.Reader | None) -> None:
        self._sites = sites
        self._live = live
        self._options = options
        self._places = places
        self._place_source = place.version(places)
        self._proxies = Proxies(options.trusted_proxies)
        self._visitors = Visitors(live)
        self._rules: dict[str, tuple[Site, SiteRules]] = {}
        agent.parse("Mozilla/5.0")  # the matchers are built now, not in the first request

    def collect(self, request: Request, received_at: int) -> Collected:
        """A `POST /collect`."""
        collected = Collected()
        body = request.body
        if body[:2] == _GZIP:
            unpacked = _unpack(body, self._options.max_body)
            if isinstance(unpacked, Refusal):
                collected.refused.append(unpacked)
                self._bury(collected, body, "/collect", received_at)
                return collected
            body = unpacked
        batch = beacon.parse(body, limits=self._options.limits)
        self._judge(collected, request, batch, received_at, "footfall")
        self._bury(collected, request.body, "/collect", received_at)
        return collected

    def collect_pixel(self, request: Request, received_at: int) -> Collected:
        """A `GET /collect.gif`: the page is the parameter `url`, or what the browser names as the referring page."""
        collected = Collected(pixel=True)
        page = next((value for name, value in request.headers if name == b"referer"), b"").decode("latin-1")
        batch = beacon.parse_query(request.query.decode("latin-1"), page=page, limits=self._options.limits)
        self._judge(collected, request, batch, received_at, "pixel")
        self._bury(collected, request.query, "/collect.gif", received_at)
        return collected

    def _judge(
        self, collected: Collected, request: Request, batch: beacon.Batch, received_at: int, protocol: str
    ) -> None:
        asked = dict(request.headers)
        if self._options.honour_opt_out and (asked.get(b"sec-gpc") == b"1" or asked.get(b"dnt") == b"1"):
            detail = "the visitor's browser asks not to be counted (Sec-GPC or DNT): nothing is stored"
            collected.refused += [Refusal(index, Reason.OPTED_OUT, detail) for index in range(len(batch.items))]
            return
        address = self._proxies.client(request.peer, request.headers)
        user_agent = asked.get(b"user-agent", b"").decode("utf-8", "replace")
        if self._options.rate_limited and not self._live.allow(address, len(batch.items)):
            detail = "too many events from this address: send them again later, slower"
            collected.refused += [Refusal(index, Reason.RATE_LIMITED, detail) for index in range(len(batch.items))]
            return
        parsed_agent = agent.parse(user_agent)
        where = place.lookup(self._places, address, self._place_source)
        visitor, visitor_site = "", ""
        for index, item in enumerate(batch.items):
            if isinstance(item, Refusal):
                collected.refused.append(item)
                continue
            known = self._known(item.site)
            if known is None:
                collected.refused.append(_unknown_site(index, item.site))
                continue
            site, rules = known
            trusted = False
            if site.origins and (origin := asked.get(b"origin")) and origin.decode("latin-1") not in site.origins:
                collected.refused.append(_wrong_origin(index, origin, site))
                continue
            if authorization := asked.get(b"authorization"):
                trusted = _is_key(authorization, site)
                if not trusted:
                    detail = f"the key in `Authorization` is not that of {site.domain}: see the sites file"
                    collected.refused.append(Refusal(index, Reason.NOT_ALLOWED, detail))
                    continue
            if trusted and item.visitor:
                its_visitor = named_visitor(site.domain, self._live.import_key(site.domain), item.visitor)
            else:
                if visitor_site != site.domain:
                    visitor_site = site.domain
                    visitor = self._visitors.of(site.domain, address, user_agent, received_at)
                its_visitor = visitor
            enriched = enrich(
                item,
                site=rules,
                visitor=its_visitor,
                received_at=received_at,
                agent=parsed_agent,
                fresh_id=secrets.token_hex(16) if item.id is None and item.ts is None else "",
                sent_at=batch.sent_at,
                place=where,
                protocol=protocol,
                trusted=trusted,
                index=index,
            )
            if isinstance(enriched, Refusal):
                collected.refused.append(enriched)
            else:
                collected.entries.append(_entry(item, enriched))
                collected.owners.append(index)

    def _known(self, domain: str) -> tuple[Site, SiteRules] | None:
        site = self._sites.get(domain)
        if site is None:
            site = self._sites.get(domain.lower())
            if site is None:
                return None
        known = self._rules.get(site.domain)
        if known is None or known[0] is not site:
            known = self._rules[site.domain] = (site, _rules(site))
        return known

    def _bury(self, collected: Collected, received: bytes, where: str, received_at: int) -> None:
        """Behind the events, a dead letter of what could not be understood, as it was received."""
        for refusal in collected.refused:
            if refusal.reason in _NOT_UNDERSTOOD:
                letter = _DeadLetter(
                    topic=DEAD_LETTER_TOPIC,
                    where=where,
                    reason=refusal.reason,
                    detail=refusal.detail,
                    received_at=received_at,
                    bytes=base64.b64encode(received[:_DEAD_LETTER_BYTES]).decode(),
                    length=len(received),
                )
                collected.entries.append(Entry((Record(DEAD_LETTER_TOPIC, None, _encode(letter)),)))
                return


def _entry(item: Incoming, enriched: list[Event]) -> Entry:
    event = enriched[0]
    key = visitor_key(event.site, event.visitor)
    event_id = bytes.fromhex(event.id)
    memory_key = None
    if item.id is not None:
        memory_key = f"{event.site}\0{item.id}".encode("utf-8", "surrogatepass")
    elif item.ts is not None:
        memory_key = event_id
    return Entry(
        tuple([Record(topic_of(each.type), key, codec.encode(each)) for each in enriched]),
        memory_key,
        event_id,
        None if event.bot else Touch(event.site, event.visitor, event.path, event.occurred_at),
    )


def _rules(site: Site) -> SiteRules:
    if site.search_parameters:
        return SiteRules(site.domain, site.timezone, site.search_parameters, site.origins)
    return SiteRules(site.domain, timezone=site.timezone, origins=site.origins)


def _unknown_site(index: int, domain: str) -> Refusal:
    name = domain[:253]
    command = f"`footfall site add {name}`" if is_domain(name) else "`footfall site add DOMAIN`"
    return Refusal(index, Reason.UNKNOWN_SITE, f"{name!r} is not a site here: add it with {command}")


def _wrong_origin(index: int, origin: bytes, site: Site) -> Refusal:
    return Refusal(
        index,
        Reason.WRONG_ORIGIN,
        f"{origin.decode('latin-1')[:100]!r} is not among the origins of {site.domain}: add it in the sites file",
    )


def _is_key(authorization: bytes, site: Site) -> bool:
    kind, _, key = authorization.partition(b" ")
    return site.key is not None and kind.lower() == b"bearer" and hmac.compare_digest(key.strip(), site.key.encode())


def _unpack(body: bytes, limit: int) -> bytes | Refusal:
    """The decompressed body, never more than `limit` bytes of it in memory."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        return Refusal(0, Reason.MALFORMED, f"the body begins like gzip and is not ({error}): send it again, or plain")
    if len(unpacked) > limit:
        return Refusal(
            0, Reason.TOO_LARGE, f"decompressed, a request may have {limit} bytes: send fewer events in each"
        )
    if not unpacker.eof:
        return Refusal(0, Reason.MALFORMED, "the gzip body ends too early: send it again whole")
    return unpacked
