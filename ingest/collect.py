"""The sans-IO core of the service: a request in; the entries to publish and the refusals out.

It uses no socket, no broker and no clock: `service` hands in a `Request` and the time, publishes the entries through
the `outbox` and writes the response. Each event is refused on its own, for a reason from a closed set; a request that
cannot be understood is kept as a dead letter, as it was received. The client's address is used here for the visitor id,
the place and the rate limits, and goes no further.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import msgspec

from activity import beacon, client_hints, codec, geo
from activity import user_agent as agent
from activity.beacon import Incoming, Limits
from activity.compat.protocol import Answer, Tracked, TrackerBatch
from activity.enrich import enrich
from activity.event import Event, derived_id, topic_of, visitor_key
from activity.refusal import DeadLetter, Reason, Refusal, letter_id
from ingest import trackers
from ingest.client import LookUp, Proxies, Visitors
from ingest.dead_letters import KEPT_BYTES, NOT_UNDERSTOOD, DeadLetters, Sent, host_of, mask, site_in
from ingest.entry import Entry
from ingest.http import Request, Response, as_utf8, plain
from ingest.limiter import Limiter, Room, sender
from ingest.sites import Sites
from ingest.terms import SiteTerms, Terms, may_not_lead, unknown_site

_PAGE_BYTES = 2_048  # of a `Referer`, in a dead letter


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the service."""

    limits: Limits = Limits()
    trusted_proxies: tuple[str, ...] = ()  # whose X-Forwarded-For is believed

    @property
    def max_body(self) -> int:
        """The largest body in bytes, compressed or not."""
        return self.limits.body_bytes


class Submission(msgspec.Struct, gc=False):
    """A parsed request, before any of its events is accepted or refused."""

    batch: beacon.Batch
    headers: dict[bytes, bytes]
    address: str
    user_agent: str
    where: str  # the path of the request
    protocol: str
    received: bytes  # the body (unpacked, where that was possible) or query as it came, for a dead letter
    opted_out: bool  # by Sec-GPC or DNT
    tracker: trackers.Tracker | None = None  # how another tracker's request is answered
    query: str | None = None  # of another tracker's request with a body


class Collected(msgspec.Struct):
    """The result of judging a request.

    `entries` holds one entry per accepted event, then any dead letters. `owners` gives for each event's entry the index
    of that event in the request. `refused_sites` has the site of each refusal, "" for none that is known."""

    received_at: int  # Unix milliseconds
    entries: list[Entry] = []
    owners: list[int] = []
    refused: list[Refusal] = []
    refused_sites: list[str] = []
    pixel: bool = False
    tracker: trackers.Tracker | None = None
    origin: bytes | None = None  # the `Origin` header
    request: str = ""  # the id of the request (`letter_id`), once it needs one
    retry_after: int = 0  # seconds, when events were refused for their rate
    fits: bool = True  # whether all of them would be taken together then


class Collector:
    """Judges requests by the rules of their sites. One per process."""

    def __init__(
        self,
        sites: Sites,
        visitors: Visitors,
        options: Options,
        places: geo.Reader | None,
        limiter: Limiter,
        dead_letters: DeadLetters,
    ) -> None:
        self._visitors = visitors
        self._options = options
        self._places = places
        self._place_source = geo.version(places)
        self._proxies = Proxies(options.trusted_proxies)
        self._limiter = limiter
        self._dead_letters = dead_letters
        self._terms = SiteTerms(sites, limiter)
        agent.parse("Mozilla/5.0")  # builds the matchers now rather than in the first request

    def read(self, request: Request) -> Submission:
        """Parse a `POST /collect`. A body that cannot be read becomes a refusal in the submission."""
        body = plain(request.body, request.headers, self._options.max_body)
        if isinstance(body, Refusal):
            return self._submission(request, beacon.Batch(None, [body]), "footfall", request.body)
        body = as_utf8(body, request.headers)
        batch = beacon.parse(body, limits=self._options.limits)
        return self._submission(request, batch, "footfall", body)

    def read_pixel(self, request: Request) -> Submission:
        """Parse a `GET /collect.gif`. The page is the parameter `url`, else the `Referer` header."""
        page = next((value for name, value in request.headers if name == b"referer"), b"").decode("latin-1")
        batch = beacon.parse_query(request.query.decode("latin-1"), page=page, limits=self._options.limits)
        return self._submission(request, batch, "pixel", request.query)

    def read_tracker(self, found: trackers.Found, request: Request) -> Submission | Response:
        """Parse a request of another tracker's client; return the answer instead if it needs no events."""
        protocol, body = found.protocol, request.body
        unpacked = plain(body, request.headers, self._options.max_body)
        if isinstance(unpacked, Refusal):
            batch: TrackerBatch | Answer = TrackerBatch(None, [unpacked])
        else:
            body = as_utf8(unpacked, request.headers)
            batch = trackers.read(found, request, body, self._options.limits)
        if isinstance(batch, Answer):
            return trackers.response(batch, trackers.cors(dict(request.headers).get(b"origin")))
        sent_query = batch.plain_query or request.query
        received, query = (body, sent_query.decode("latin-1")) if body else (sent_query, None)
        if batch.plain:
            received, query = batch.plain, query or ""
        received = trackers.without_secret(received, batch.credential)
        submission = self._submission(request, batch, protocol.name, received)
        submission.tracker = trackers.Tracker(protocol, batch.form, bool(batch.leads_to))
        submission.query = query
        return submission

    def _submission(self, request: Request, batch: beacon.Batch, protocol: str, received: bytes) -> Submission:
        headers = dict(request.headers)
        return Submission(
            batch,
            headers,
            self._proxies.client(request.peer, request.headers),
            headers.get(b"user-agent", b"").decode("utf-8", "replace"),
            request.path,
            protocol,
            received,
            headers.get(b"sec-gpc") == b"1" or headers.get(b"dnt") == b"1",
        )

    def wanted(self, submission: Submission, received_at: int) -> LookUp | None:
        """Return what has to be looked up in the live store before `judge`; None for most requests."""
        named = b"authorization" in submission.headers or _has_clients(submission.batch)
        if submission.opted_out or not self._visitors.may_have_to_look_up(received_at, named):
            return None
        sites = list(self._sites_of(submission)) or [site for site in self._sites_of_letter(submission) if site]
        others = self._told_senders(submission) if self._visitors.is_young(received_at) else ()
        look_up = LookUp(sites, submission.address, submission.user_agent, received_at, named, others)
        return look_up if self._visitors.has_to_look_up(look_up) else None

    def judge(self, submission: Submission, received_at: int) -> Collected:
        """Accept or refuse each event of a request received at `received_at` (Unix milliseconds). Never blocks.

        Raises `Unavailable` if the request names a visitor and the key for the site's visitor ids cannot be reached."""
        collected = Collected(
            received_at,
            pixel=submission.protocol == "pixel",
            tracker=submission.tracker,
            origin=submission.headers.get(b"origin"),
        )
        items = submission.batch.items
        if (refusal := self.leads_astray(submission)) is not None:
            collected.refused.append(refusal)
            collected.tracker = submission.tracker and trackers.Tracker(submission.tracker.protocol)
        elif submission.opted_out:
            detail = "the visitor's browser asks not to be counted (Sec-GPC or DNT): nothing is stored"
            collected.refused += [Refusal(index, Reason.OPTED_OUT, detail) for index in range(len(items))]
        else:
            self._judge(collected, submission, received_at)
        if collected.refused:
            collected.refused_sites += [
                self._site_of(submission, items[refusal.index]) for refusal in collected.refused
            ]
            if not submission.opted_out:
                self._keep_dead_letter(collected, submission, received_at)
        return collected

    def _site_of(self, submission: Submission, item: Incoming | Refusal) -> str:
        """Return the domain of an item's site, "" if it names none that is known."""
        if isinstance(item, Refusal):
            return ""
        if submission.tracker is None:
            return self._terms.domain(item.site)
        terms = self._terms_of(submission, item.site)
        return terms.domain if terms else ""

    def leads_astray(self, submission: Submission) -> Refusal | None:
        """Return the refusal of a link that would lead where its site does not let it."""
        batch = submission.batch
        if not isinstance(batch, TrackerBatch) or not batch.leads_to:
            return None
        item = batch.items[0]
        site = "" if isinstance(item, Refusal) else item.site
        return may_not_lead(batch.leads_to, site, self._terms_of(submission, site))

    def _terms_of(self, submission: Submission, spelt: str) -> Terms | None:
        """Return the terms for events of a request whose site is spelt like this."""
        batch = submission.batch
        if isinstance(batch, TrackerBatch):
            return self._terms.of_tracker(submission.protocol, spelt, batch.credential, submission.headers)
        return self._terms.of(spelt, submission.headers)

    def _sites_of(self, submission: Submission) -> Iterator[str]:
        """Yield the domains of the known sites among a request's events, each once, in order."""
        by_name: dict[str, Incoming] = {}
        for item in submission.batch.items:
            if isinstance(item, Incoming):
                by_name.setdefault(item.site, item)
        yield from dict.fromkeys(known for item in by_name.values() if (known := self._site_of(submission, item)))

    def _judge(self, collected: Collected, submission: Submission, received_at: int) -> None:
        batch, address, refused = submission.batch, submission.address, collected.refused
        whole = submission.tracker is not None
        room = Room(self._limiter, sender(address, self._visitors.salt(received_at)), batch, whole)
        parsed_agent = client_hints.parse(submission.user_agent, submission.headers)
        where = geo.lookup(self._places, address, self._place_source)
        terms: Terms | None = None
        spelt: str | None = None  # the site of `terms`, spelt as in the previous event
        visitor, key, visitor_site = "", b"", ""
        known: dict[tuple[str, ...], tuple[str, bytes, agent.Agent, geo.Place]] = {}  # whom other trackers' events name
        for index, item in enumerate(batch.items):
            if isinstance(item, Refusal):
                given = room.for_unknown_site(self._terms.limits_of_unknown_sites())
                refused.append(item if given else room.refusal(index))
                continue
            if item.site != spelt:
                spelt = item.site
                terms = self._terms_of(submission, spelt)
            if terms is None:
                given = room.for_unknown_site(self._terms.limits_of_unknown_sites())
                refused.append(unknown_site(index, item.site) if given else room.refusal(index))
                continue
            domain, rules, limits, trusted, _, problem = terms
            if not trusted and limits is not None and not room.for_site(item.site, limits):
                refused.append(room.refusal(index))
                continue
            if problem is not None:
                refused.append(Refusal(index, *problem))
                continue
            its_place, sent_at = where, batch.sent_at
            if type(item) is Tracked:
                who = domain, item.client, item.address, item.agent
                if who not in known:
                    known[who] = self._tracked(item, submission, terms, received_at, (parsed_agent, where))
                its_visitor, its_key, its_agent, its_place = known[who]
                sent_at = sent_at if item.sent_at is None else item.sent_at
            elif trusted and item.visitor:
                its_visitor = self._visitors.named(domain, item.visitor)
                its_key = visitor_key(domain, its_visitor)
                its_agent = _program(parsed_agent, submission.user_agent)
            else:
                if visitor_site != domain:
                    visitor_site = domain
                    visitor = self._visitors.of(domain, address, submission.user_agent, received_at)
                    key = visitor_key(domain, visitor)
                its_visitor, its_key, its_agent = visitor, key, parsed_agent
            enriched = enrich(
                item,
                site=rules,
                visitor=its_visitor,
                received_at=received_at,
                agent=its_agent,
                fresh_id=_fresh_id(collected, received_at, index) if item.id is None and not item.ts else "",
                sent_at=sent_at,
                place=its_place,
                protocol=submission.protocol,
                trusted=trusted,
                index=index,
            )
            if isinstance(enriched, Refusal):
                refused.append(enriched)
            else:
                collected.entries.append(_entry(item, enriched, its_key))
                collected.owners.append(index)
        collected.retry_after = room.retry_after
        collected.fits = room.fits

    def _tracked(
        self, item: Tracked, submission: Submission, terms: Terms, received_at: int, seen: tuple[agent.Agent, geo.Place]
    ) -> tuple[str, bytes, agent.Agent, geo.Place]:
        """Return visitor, the visitor's key, agent and place of another tracker's event. `seen` is of the request.

        A server of the site's own gives the visitor's address and agent, and what it leaves out is not known: its own
        would be those of no visitor."""
        address, user_agent = submission.address, submission.user_agent
        parsed, place = seen
        if terms.trusted:
            address, user_agent = _told(item, submission)
            place = geo.lookup(self._places, address, self._place_source) if address else geo.NOWHERE
            parsed = agent.parse(user_agent)
        if item.client:
            visitor = self._visitors.client(terms.domain, item.client)
            parsed = _program(parsed, user_agent)
        else:
            visitor = self._visitors.of(terms.domain, address or submission.address, user_agent, received_at)
        return visitor, visitor_key(terms.domain, visitor), parsed, place

    def _told_senders(self, submission: Submission) -> list[tuple[str, str]]:
        """Return address and agent of each visitor of whom a server of the site's own tells without an id."""
        told = []
        for item in submission.batch.items:
            if type(item) is Tracked and not item.client and (item.address or item.agent):
                terms = self._terms_of(submission, item.site)
                if terms is not None and terms.trusted:
                    address, user_agent = _told(item, submission)
                    told.append((address or submission.address, user_agent))
        return list(dict.fromkeys(told))

    def _told_visitors(self, submission: Submission, received_at: int) -> list[str]:
        """Return by the place of an event the visitor of whom a server of the site's own tells, "" of any other."""
        if not self._told_senders(submission):
            return []
        visitors = []
        for item in submission.batch.items:
            visitor = ""
            if type(item) is Tracked and not item.client:
                terms = self._terms_of(submission, item.site)
                if terms is not None and terms.trusted:
                    address, user_agent = _told(item, submission)
                    who = terms.domain, address or submission.address, user_agent
                    visitor = self._visitors.of(*who, received_at)
            visitors.append(visitor)
        return visitors

    def _keep_dead_letter(self, collected: Collected, submission: Submission, received_at: int) -> None:
        """Append a dead letter after the events if a part of the request could not be understood."""
        refusal = next((refusal for refusal in collected.refused if refusal.reason in NOT_UNDERSTOOD), None)
        if refusal is None:
            return
        budget, site = self._sites_of_letter(submission)
        letter = DeadLetter(
            id=_request_id(collected, received_at),
            reason=refusal.reason,
            detail=refusal.detail,
            where=submission.where,
            received_at=received_at,
            bytes="",
            site=site,
            visitor=self._visitors.of(site, submission.address, submission.user_agent, received_at),
            sender=self._sender(submission, site, received_at),
        )
        encoding = submission.headers.get(b"content-encoding", b"")
        received = self._terms.without_secrets(submission.received)
        collected.entries += self._dead_letters.keep(budget, letter, received, encoding)

    def _sites_of_letter(self, submission: Submission) -> tuple[str, str]:
        """Return the domains of the known sites whose budget a dead letter of the request uses, and whose letter it is.

        Each may be "". What is only read out of bytes that are no request uses nobody's budget."""
        budget = next(self._sites_of(submission), "")
        if not budget and submission.tracker is not None:
            terms = self._terms_of(submission, "")
            budget = terms.domain if terms else ""
        if not budget:
            budget = self._terms.domain(host_of(submission.headers.get(b"origin", b"")))
        return budget, budget or self._terms.domain(site_in(submission.received))

    def _sender(self, submission: Submission, site: str, received_at: int) -> msgspec.Raw:
        """Return what a repair of the request needs to know of its sender."""
        terms = self._terms_of(submission, site) if site else None
        page = submission.headers.get(b"referer", b"")
        sent = Sent(
            protocol=submission.protocol,
            query=None if submission.query is None else self._masked(submission.query, submission),
            cut=submission.query is not None and len(submission.query) > KEPT_BYTES,
            headers={
                name.decode(): self._masked(submission.headers[name].decode("latin-1"), submission)[:_PAGE_BYTES]
                for name in (submission.tracker.protocol.heeds if submission.tracker else ())
                if name in submission.headers
            },
            visitors=self._told_visitors(submission, received_at),
            trusted=terms is not None and terms.trusted,
            origin=submission.headers.get(b"origin", b"").decode("latin-1")[:253],
            page=mask(page[:_PAGE_BYTES]).decode("latin-1") if submission.protocol == "pixel" else "",
            others={
                domain: self._visitors.of(domain, submission.address, submission.user_agent, received_at)
                for domain in self._sites_of(submission)
                if domain != site
            },
            agent=client_hints.parse(submission.user_agent, submission.headers),
            browser=not _is_program(submission.user_agent),
            place=geo.lookup(self._places, submission.address, self._place_source),
        )
        return msgspec.Raw(msgspec.json.encode(sent))

    def _masked(self, text: str, submission: Submission) -> str:
        """Return a query or a header without addresses and secrets, as a dead letter keeps it."""
        batch = submission.batch
        credential = batch.credential if isinstance(batch, TrackerBatch) else ""
        plain = self._terms.without_secrets(trackers.without_secret(text.encode("latin-1"), credential))
        return mask(plain).decode("latin-1")[:KEPT_BYTES]


def _request_id(collected: Collected, received_at: int) -> str:
    if not collected.request:
        collected.request = letter_id(received_at, secrets.token_hex(8))
    return collected.request

def _fresh_id(collected: Collected, received_at: int, index: int) -> str:
    """Return the id of an event that has nothing to tell it by: a repaired dead letter gives its events the same."""
    return derived_id(_request_id(collected, received_at), str(index))

def _program(parsed: agent.Agent, user_agent: str) -> agent.Agent:
    """Return the agent of a trusted sender that names its visitor.

    The agent of an HTTP library does not make the event a bot's, since the named visitor is a person. An agent that the
    server forwards from its visitor's browser is used unchanged."""
    return msgspec.structs.replace(parsed, bot="") if _is_program(user_agent) else parsed

def _told(item: Tracked, submission: Submission) -> tuple[str, str]:
    """Return address and agent of the visitor of whom a server of the site's own tells; "" for an address not told."""
    user_agent = submission.user_agent
    own = "" if _is_program(user_agent) else submission.address
    return geo.canonical_address(item.address) or own, item.agent or user_agent


def _is_program(user_agent: str) -> bool:
    """Return whether this is the agent of an HTTP library, and not that of a browser."""
    return not user_agent.startswith("Mozilla/")

def _has_clients(batch: beacon.Batch) -> bool:
    return isinstance(batch, TrackerBatch) and any(isinstance(item, Tracked) and item.client for item in batch.items)

def _entry(item: Incoming, enriched: list[Event], key: bytes) -> Entry:
    event = enriched[0]
    event_id = bytes.fromhex(event.id)
    memory_key = None
    if item.id is not None:
        memory_key = f"{event.site}\0{item.id}".encode("utf-8", "surrogatepass")
    elif item.ts is not None:
        memory_key = event_id
    return Entry(
        [(topic_of(event.type), key, codec.encode(event))]
        if len(enriched) == 1
        else [(topic_of(each.type), key, codec.encode(each)) for each in enriched],
        memory_key,
        event_id,
        None if event.bot else (event.site, event.visitor, event.occurred_at),
    )
