"""Events of log lines, put together from encoded parts.

Most of an imported event is the same for all lines of one page, and the rest for all of one agent, but for id,
visitor and time. So `enrich` and the codec are asked once a page and once an agent, and their bytes are kept. The
outcome is, byte for byte, what they would have made of each line.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import msgspec

from activity import codec, user_agent
from activity.enrich import DAY, EARLIEST, LATEST, SiteRules, enrich
from activity.event import Event, EventType, derived_id, event_id, topic_of, visitor_key
from activity.geo import NOWHERE, Place
from activity.incoming import Incoming
from activity.refusal import Refusal
from brokers.base import Record
from infra.access_log import as_text

_ID, _VISITOR = "0" * 32, "0" * 16
LONG = 1024  # characters of a page's address and referrer: longer ones are mostly unique
_NO_UTF8 = re.compile("[\udc80-\udcff]")
_encode = msgspec.json.Encoder().encode


class Made(NamedTuple):
    """What an accepted line came to."""

    id: str  # of the line's own event, 32 hex digits
    visitor: str  # 16 hex digits
    bot: bool
    search: bool
    records: tuple[Record, ...]  # of the line's own event, and of the search in its address where there is one

    @classmethod
    def of(cls, events: list[Event]) -> Made:
        first = events[0]
        key = visitor_key(first.site, first.visitor)
        records = tuple(Record(topic_of(event.type), key, codec.encode(event)) for event in events)
        return cls(first.id, first.visitor, bool(first.bot), events[-1].type is EventType.SEARCH, records)


class Page(NamedTuple):
    """What all views of one page have in common."""

    incoming: Incoming
    sent: bytes  # what its id is computed from, up to the sender's id
    events: tuple[bytes, ...]  # of each event, what lies between `received_at` and the agent


class Visitor(NamedTuple):
    """What all views by one visitor have in common."""

    name: str
    digits: bytes
    key: bytes
    bot: bool
    encoded: bytes  # of an event, what follows the page


class _Agent(NamedTuple):
    bot: bool
    encoded: bytes  # of an event, what follows the page


class Fragments:
    """Makes the page views of one site's log lines, all received at one moment."""

    def __init__(self, site: SiteRules, received_at: int, protocol: str) -> None:
        self._site = site
        self._received_at = received_at
        self._protocol = protocol
        earliest = EARLIEST
        if site.retention_days is not None:
            earliest = max(EARLIEST, received_at - site.retention_days * DAY)
        self.times = earliest, LATEST  # ms, from and before: of any other time nothing is taken
        encoded = _encode(site.domain)
        self._heads = tuple(
            b'{"v":1,"id":"%%b","site":%b,"type":"%b","visitor":"%%b","occurred_at":%%d,"received_at":%d'
            % (encoded.replace(b"%", b"%%"), kind.encode(), received_at)
            for kind in (EventType.PAGEVIEW, EventType.SEARCH)
        )
        self._topics = tuple(topic_of(kind) for kind in (EventType.PAGEVIEW, EventType.SEARCH))
        self._cached_page = lru_cache(32_768)(self._page)
        self._agent = lru_cache(16_384)(self._agent_of)

    def page(self, host: str, target: str, referrer: str) -> Page | Refusal:
        """What a page view of this page comes to at any time."""
        # Long addresses are mostly unique and would push the others out.
        return (self._cached_page if len(target) + len(referrer) <= LONG else self._page)(host, target, referrer)

    def visitor(self, visitor: str, agent_text: str | None, place: Place) -> Visitor:
        """`visitor` (16 hex digits) at a place, with the agent that the log names."""
        bot, rest = self._agent(agent_text and agent_text[: user_agent.LONGEST], place)
        return Visitor(visitor, visitor.encode(), visitor_key(self._site.domain, visitor), bot, rest)

    def refusal(self, page: Page, at: int) -> Refusal:
        """Why nothing is taken of a time that is not within `times`."""
        refused = self._enriched(msgspec.structs.replace(page.incoming, ts=at))
        assert isinstance(refused, Refusal)
        return refused

    def make(self, page: Page, visitor: Visitor, sender_id: str, at: int) -> Made:
        """The events of one request at `at` (ms, within `times`); `sender_id` is plain ASCII."""
        name, digits, key, bot, rest = visitor
        content = b'%b"id":"%b","ts":%d}' % (page.sent, sender_id.encode(), at)
        identity = event_id(self._site.domain, sender_id, content)
        view = Record(self._topics[0], key, self._heads[0] % (identity.encode(), digits, at) + page.events[0] + rest)
        if len(page.events) == 1:
            return Made(identity, name, bot, False, (view,))
        derived = derived_id(identity, "search").encode()
        search = Record(self._topics[1], key, self._heads[1] % (derived, digits, at) + page.events[1] + rest)
        return Made(identity, name, bot, True, (view, search))

    def _page(self, host: str, target: str, referrer: str) -> Page | Refusal:
        origin = f"https://{host or self._site.domain}"
        # Its id is computed with U+FFFD for a byte that is no UTF-8, and always was: a log imported again adds nothing.
        sent_as = Incoming(
            site=self._site.domain,
            type=EventType.PAGEVIEW,
            url=origin + _clean(as_text(target)),
            referrer=_clean(as_text(referrer)),
            id="-",
            ts=self._received_at,
        )
        incoming = msgspec.structs.replace(
            sent_as, url=origin + _clean(_escaped(target)), referrer=_clean(_escaped(referrer))
        )
        made = self._enriched(incoming)
        if isinstance(made, Refusal):
            return made
        sent = _encode(sent_as)
        end = b'"id":"-","ts":%d}' % self._received_at
        assert sent.endswith(end)
        parts = []
        for event, head in zip(made, self._heads, strict=False):
            encoded = codec.encode(event)
            start = len(head % (event.id.encode(), _VISITOR.encode(), self._received_at))
            # No text can hold these bytes: inside one, the quotes would be escaped.
            parts.append(encoded[start : encoded.index(b',"protocol":', start)])
        return Page(incoming, sent.removesuffix(end), tuple(parts))

    def _agent_of(self, text: str | None, place: Place) -> _Agent:
        sample = self._page("", "/", "")
        assert not isinstance(sample, Refusal)
        found = user_agent.Agent() if text is None else user_agent.parse(text)
        made = self._enriched(sample.incoming, found, place)
        assert not isinstance(made, Refusal)
        encoded = codec.encode(made[0])
        head = self._heads[0] % (made[0].id.encode(), _VISITOR.encode(), self._received_at)
        assert encoded.startswith(head + sample.events[0])
        return _Agent(bool(found.bot), encoded[len(head) + len(sample.events[0]) :])

    def _enriched(
        self, incoming: Incoming, found: user_agent.Agent = user_agent.Agent(), place: Place = NOWHERE  # noqa: B008 (frozen)
    ) -> list[Event] | Refusal:
        return enrich(
            incoming,
            site=self._site,
            visitor=_VISITOR,
            received_at=self._received_at,
            agent=found,
            fresh_id=_ID,
            place=place,
            protocol=self._protocol,
            trusted=True,
        )


def _escaped(text: str) -> str:
    """With each byte that is no UTF-8 percent-encoded, so that it is kept."""
    return text if text.isascii() else _NO_UTF8.sub(lambda byte: f"%{ord(byte.group()) - 0xDC00:02X}", text)


def _clean(text: str) -> str:
    """A text of a log as an event may hold it: without control characters."""
    return text if text.isprintable() else "".join(char for char in text if char >= " " and char != "\x7f")
