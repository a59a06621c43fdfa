"""A dead letter once more at the front door: its bytes, mended or not, judged as what its sender should have sent then.

A request is parsed, looked up and enriched as `collect` does it, under the time, visitor, place and browser that the
letter kept. A line of an import is read as the import reads it, and a record that was no event as the pipeline would.
Ids follow from what was sent, or from the letter's id and the place in its request, so what was accepted with the
letter, or by a replay before, is the same event.
"""

from __future__ import annotations

import re
from itertools import count
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from activity import beacon, codec
from activity import user_agent as agent
from activity.beacon import Batch, Incoming
from activity.compat.protocol import Answer, Tracked, TrackerBatch
from activity.enrich import enrich
from activity.event import TOPICS, Event, client_visitor, derived_id, named_visitor, topic_of, visitor_key
from activity.geo import NOWHERE
from activity.refusal import COUNTED_ONLY, NO_ENVELOPE, Refusal
from brokers.base import Record
from ingest import trackers
from ingest.dead_letters import KEPT_BYTES, Sent
from ingest.http import Request, is_packed, unpack
from ingest.limiter import Limiter
from ingest.migration import PRODUCTS
from ingest.sites import Sites
from ingest.terms import SiteTerms, unknown_site
from stores.base import Live
from stores.letters import Letter

_encode = msgspec.json.Encoder().encode
_NAMES_A_SITE = re.compile(r"(?:^|&)site=")


class Mended(NamedTuple):
    """One event that a letter came to: what tells it, and its records."""

    site: str
    visitor: str  # 16 hex digits
    id: str  # 32 hex digits
    records: list[Record]


class Judged(NamedTuple):
    """What a letter came to. It counts as mended only if nothing in it is refused and there is no problem."""

    events: list[Mended]
    refused: list[Refusal]
    problem: str  # why it cannot be judged at all, or ""


class Repair:
    """Judges dead letters by the rules of the sites as they are now."""

    def __init__(self, sites: Sites, live: Live) -> None:
        self._live = live
        self._terms = SiteTerms(sites, Limiter())
        self._limits = beacon.DEFAULT_LIMITS

    def judge(self, letter: Letter, received: bytes, site: str = "") -> Judged:
        """Judge `received` in place of the letter's own bytes; `site` is given to what names none.

        Raises `StoreUnreachable` if the site's key for visitors is needed and out of reach."""
        if letter.reason == COUNTED_ONLY:
            return _cannot("it holds the counts of requests that were not kept: there is nothing to mend")
        if letter.reason == NO_ENVELOPE:
            return _cannot("it was no request: somebody else wrote it to the topic of dead letters")
        if letter.topic in TOPICS:
            return self._record(received)
        if letter.topic == "import":
            return self._lines(letter, received, letter.site or site)
        return self._request(letter, received, site)

    def _request(self, letter: Letter, received: bytes, site: str) -> Judged:
        if letter.length > KEPT_BYTES and received == letter.received:
            return _cannot(f"only its first {KEPT_BYTES} of {letter.length} bytes were kept: edit it, to be whole")
        sent = sent_of(letter)
        if sent.cut:
            return _cannot(f"only {KEPT_BYTES} bytes of its query were kept: it cannot be read again as it came")
        batch = self._parsed(letter, received, sent, site)
        original = self._parsed(letter, letter.received, sent, "")
        if len(batch.items) < len(original.items) and any(
            isinstance(item, Incoming) and item not in original.items for item in batch.items
        ):
            # The changed one may be any of those that are gone, and so get the id of one that is stored.
            return _cannot("events were left out and another one was changed: leave all of them in, in their order")
        numbers = _numbers(batch, original)
        events: list[Mended] = []
        refused: list[Refusal] = []
        for index, item in enumerate(batch.items):
            made = item if isinstance(item, Refusal) else self._event(letter, sent, batch, index, item, numbers[index])
            if isinstance(made, Refusal):
                refused.append(made)
            else:
                events.append(_mended(made))
        return Judged(events, refused, "")

    def _parsed(self, letter: Letter, received: bytes, sent: Sent, site: str) -> Batch:
        if (found := trackers.route_of_letter(letter.topic, sent.protocol)) is not None:
            return self._tracked(found, received, sent, letter.site or site)
        if sent.protocol == "pixel":
            query = received.decode("latin-1")
            query = f"{query}&site={site}" if site and not _NAMES_A_SITE.search(query) else query
            return beacon.parse_query(query, page=sent.page, limits=self._limits)
        if is_packed(received):
            unpacked = unpack(received, self._limits.body_bytes)
            if isinstance(unpacked, Refusal):
                return Batch(None, [unpacked])
            received = unpacked
        return beacon.parse(_with_site(received, site) if site else received, limits=self._limits)

    def _tracked(self, found: trackers.Found, received: bytes, sent: Sent, site: str) -> Batch:
        """The events of another tracker's request. What named its site only by a secret, which is not kept, is given
        the site of the letter."""
        method, query = ("GET", received) if sent.query is None else ("POST", sent.query.encode("latin-1", "replace"))
        body = b"" if sent.query is None else received
        headers = {"origin": sent.origin, **sent.headers} if sent.origin else sent.headers
        kept = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        request = Request(method, found.path, query, kept, body, "")
        batch = trackers.read(found, request, body, self._limits)
        if isinstance(batch, Answer):
            return Batch(None, [])
        items = [
            replace(item, site=site)
            if isinstance(item, Tracked) and self._terms.of_tracker(sent.protocol, item.site, "", {}) is None
            else item
            for item in batch.items
        ]
        return TrackerBatch(sent_at=batch.sent_at, items=items)

    def _event(
        self, letter: Letter, sent: Sent, batch: Batch, index: int, item: Incoming, number: int
    ) -> list[Event] | Refusal:
        origin = {b"origin": sent.origin.encode("latin-1", "replace")} if sent.origin else {}
        tracked = isinstance(item, Tracked)
        terms = (
            self._terms.of_tracker(sent.protocol, item.site or letter.site, "", origin)
            if tracked
            else self._terms.of(item.site, origin)
        )
        if terms is None:
            return unknown_site(index, item.site)
        if terms.problem is not None:
            return Refusal(index, *terms.problem)
        domain = terms.domain
        trusted = sent.trusted and domain == letter.site
        its_agent, place = sent.agent, sent.place
        if isinstance(item, Tracked) and trusted:
            its_agent = agent.parse(item.agent) if item.agent else its_agent
            place = NOWHERE if item.address or not sent.browser else place
        if isinstance(item, Tracked) and item.client:
            visitor = client_visitor(domain, self._live.import_key(domain), item.client)
            program = not (trusted and item.agent.startswith("Mozilla/")) and not sent.browser
            its_agent = msgspec.structs.replace(its_agent, bot="") if program else its_agent
        elif trusted and number < len(sent.visitors) and sent.visitors[number]:
            visitor = sent.visitors[number]
        elif isinstance(item, Tracked) and trusted and item.address:  # which is masked: it is nobody's that is known
            visitor = derived_id(letter.id, str(number))[:16]
        elif trusted and item.visitor:
            visitor = named_visitor(domain, self._live.import_key(domain), item.visitor)
            if not sent.browser:
                its_agent = msgspec.structs.replace(its_agent, bot="")
        else:
            visitor = sent.others.get(domain) or _visitor(letter, domain)
        return enrich(
            item,
            site=terms.rules,
            visitor=visitor,
            received_at=letter.received_at,
            agent=its_agent,
            fresh_id=derived_id(letter.id, str(number)),
            sent_at=item.sent_at if isinstance(item, Tracked) and item.sent_at is not None else batch.sent_at,
            place=place,
            protocol=sent.protocol,
            trusted=trusted,
            index=index,
        )

    def _record(self, received: bytes) -> Judged:
        try:
            event = codec.decode(received)
        except codec.Undecodable as error:
            return _cannot(f"it is still no event: {error.reason}")
        if self._terms.domain(event.site) != event.site:
            return Judged([], [unknown_site(0, event.site)], "")
        return Judged([_mended([event])], [], "")

    def _lines(self, letter: Letter, received: bytes, site: str) -> Judged:
        from ingest.logs import formats
        from ingest.logs.batch import Batch as Lines
        from ingest.logs.reader import reader

        terms = self._terms.of(site, {})
        if terms is None:
            if site:
                return Judged([], [unknown_site(0, site)], "")
            return _cannot("it does not say which site's log it stood in: give it one")
        key = self._live.import_key(terms.domain)
        lines = received.splitlines() or [b""]
        read = Lines()
        known = sent_of(letter).shape
        if known in PRODUCTS:
            return _cannot(f"it is a row of the export of {known}: mend the file, and import it again")
        for shape in (known,) if known else formats.FORMATS:
            read = Lines(len(lines))
            reader(shape, terms.rules, key, letter.received_at, None).read_all(1, lines, read)
            if len(read.accepted) == len(lines):
                break
        else:
            return _cannot(_why(read))
        made = read.accepted
        events = []
        for its_id, visitor, records in zip(made.ids, made.visitors, made.records(range(len(made))), strict=True):
            events.append(Mended(terms.domain, visitor, its_id, records))
        return Judged(events, [], "")


def sent_of(letter: Letter) -> Sent:
    """How the letter was sent; of one that was kept without it, what its path tells."""
    try:
        sent = msgspec.json.decode(letter.sender, type=Sent)
    except msgspec.MsgspecError:
        sent = Sent()
    if letter.topic.endswith(".gif"):
        sent = msgspec.structs.replace(sent, protocol="pixel")
    return sent


def _cannot(problem: str) -> Judged:
    return Judged([], [], problem)


def _mended(events: list[Event]) -> Mended:
    first = events[0]
    key = visitor_key(first.site, first.visitor)
    records = [Record(topic_of(event.type), key, codec.encode(event)) for event in events]
    return Mended(first.site, first.visitor, first.id, records)


def _visitor(letter: Letter, domain: str) -> str:
    """The visitor of the letter's sender; where it was not known of this site, one that only its events have."""
    if letter.visitor and letter.site == domain:
        return letter.visitor
    return derived_id(letter.visitor or letter.id, domain)[:16]


def _numbers(batch: Batch, received: Batch) -> list[int]:
    """Of each event its place in the request as it was received: of one that stands there unchanged, that one.

    The others take the places that are left, in order. An id may follow from it, see `collect`."""
    places: dict[bytes, list[int]] = {}
    for index, item in enumerate(received.items):
        if isinstance(item, Incoming):
            places.setdefault(_encode(item), []).append(index)
    found: list[int | None] = []
    for item in batch.items:
        same = places.get(_encode(item)) if isinstance(item, Incoming) else None
        found.append(same.pop(0) if same else None)
    taken = set(found)
    left = (place for place in count() if place not in taken)
    return [next(left) if place is None else place for place in found]


def _with_site(received: bytes, site: str) -> bytes:
    """The body with `site` in each event that names none; unchanged where it cannot be read."""
    try:
        body: Any = msgspec.json.decode(received)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return received
    events = body.get("events", [body]) if isinstance(body, dict) else []
    for event in events if isinstance(events, list) else []:
        if isinstance(event, dict) and not event.get("site"):
            event["site"] = site
    return _encode(body)


def _why(read: Any) -> str:
    if read.not_understood:
        return f"the line is not understood: {read.not_understood[0][2]}"
    if read.refused_lines:
        return f"the line is refused: {read.refused_lines[0][1]}"
    return f"the line is refused: {', '.join(read.refused)}"
