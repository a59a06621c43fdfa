"""The one record on the wire.

An `Event` is what the door makes of a request once everything that depends on the request, on configuration
or on data files has been computed: visitor, corrected time, page, source, agent, place, bot verdict. What
lies in a topic is its JSON (`codec`), so a replay needs nothing but the topic. Never an IP address.

The pipeline never builds an `Event` an event: it reads the same JSON straight into columns
(`activity.columns`, apart from here because a tracking function must not carry a frame library to take one).

Ids that make a retry the same event: 32 lowercase hex digits, a 128-bit BLAKE2b hash.

What was sent is always part of the id. So an event sent twice has one id, whatever the order of arrival, and
the same sender id with other content is another event with another id, which nobody has to decide first.
What changes between attempts (when it was sent, when it arrived) is no part of the content.

Who did it, without knowing who it is: a visitor is a keyed 64-bit hash, 16 lowercase hex digits.

The key decides how long two visits can be told to be the same visitor's. The daily salt, forgotten after
48 hours, makes a cookieless id that nobody can trace back to an address; a site's import key, which is kept,
makes ids that a second import of the same log repeats. Each use has its own personalisation, so ids of one
kind never meet those of another by chance of equal input.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import blake2b
from typing import Literal

import msgspec

SCHEMA_VERSION = 1


class EventType(StrEnum):
    PAGEVIEW = "pageview"
    SEARCH = "search"
    ENGAGEMENT = "engagement"
    CUSTOM = "custom"
    OUTBOUND = "outbound"
    DOWNLOAD = "download"
    FORM = "form"
    NOT_FOUND = "not_found"
    WEB_VITAL = "web_vital"
    IDENTIFY = "identify"


PropValue = str | int | float | bool | None


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing a visitor did. Times are int64 milliseconds UTC; an absent text is empty, never null."""

    v: Literal[1]
    id: str  # 32 lowercase hex digits
    site: str
    type: EventType
    visitor: str  # 16 lowercase hex digits
    occurred_at: int
    received_at: int
    sent_at: int | None = None
    clamped: bool = False
    interactive: bool = True  # counts against a bounce; pings, vitals and derived searches do not
    user: str = ""
    session_hint: str = ""
    url: str = ""  # as sent, without fragment
    host: str = ""  # lower case, without port
    path: str = ""
    title: str = ""
    referrer: str = ""
    utm_source: str = ""
    utm_medium: str = ""
    utm_campaign: str = ""
    utm_term: str = ""
    utm_content: str = ""
    source: str = ""  # "" is direct
    medium: str = ""
    channel: str = ""
    term: str = ""  # the search term
    results: int | None = None  # how many results the search had, when the page said so
    name: str = ""
    props: dict[str, PropValue] = {}
    revenue: str = ""  # decimal digits, at most four after the point
    currency: str = ""
    engaged_ms: int = 0
    language: str = ""
    screen: str = ""
    browser: str = ""
    browser_version: str = ""
    os: str = ""
    os_version: str = ""
    device: str = ""  # desktop, mobile, tablet, tv, ...
    country: str = ""  # ISO 3166-1 alpha-2
    region: str = ""
    city: str = ""
    protocol: str = "footfall"  # which door it came by: footfall, pixel, import, ...
    bot: str = ""  # "" is a person; else why it is taken for a bot
    enriched_by: str = ""  # versions of the data that agent, bot, place and channel came from


TOPICS: tuple[str, ...] = ("footfall.pageview", "footfall.search", "footfall.engagement", "footfall.custom")
SESSION_TOPIC = "footfall.session"
DEAD_LETTER_TOPIC = "footfall.dead-letter"
ALL_TOPICS: tuple[str, ...] = (*TOPICS, SESSION_TOPIC, DEAD_LETTER_TOPIC)
DEFAULT_PARTITIONS = 4

_OWN_TOPIC = {
    EventType.PAGEVIEW: "footfall.pageview",
    EventType.SEARCH: "footfall.search",
    EventType.ENGAGEMENT: "footfall.engagement",
}


def topic_of(kind: EventType) -> str:
    return _OWN_TOPIC.get(kind, "footfall.custom")


def visitor_key(site: str, visitor: str) -> bytes:
    """The record's key: all of one visitor's events of every type share it, hence the partition number."""
    return f"{site}/{visitor}".encode()


def event_id(site: str, sender_id: str, content: bytes) -> str:
    """The id of an event to which its sender gave `sender_id`; `content` is the event as sent, in any
    canonical encoding that leaves out the times of sending and arrival."""
    return _digest(_SENT, content, site, sender_id)


def content_id(site: str, visitor: str, content: bytes) -> str:
    """The id of an event without a sender's id, whose content carries the client's time: the same thing
    done by the same visitor in the same millisecond is one event."""
    return _digest(_CONTENT, content, site, visitor)


def derived_id(parent: str, kind: str) -> str:
    """The id of an event that follows from another (a search from the page view whose URL holds it)."""
    return _digest(_DERIVED, b"", parent, kind)


# One for each use, to be copied: setting one up takes longer than hashing an event.
_SENT, _CONTENT, _DERIVED = (blake2b(digest_size=16, person=use) for use in (b"sent", b"content", b"derived"))


def _digest(use: blake2b, content: bytes, first: str, second: str) -> str:
    digest = use.copy()
    # The second text is of any kind, so its length stands before it: no two pairs run together alike.
    digest.update(f"{first}\0{len(second)}\0{second}\0".encode("utf-8", "surrogatepass") + content)
    return digest.hexdigest()


def visitor_id(salt: bytes, site: str, ip: str, user_agent: str) -> str:
    """The cookieless visitor of the day to which `salt` (16 random bytes; at most 64) belongs."""
    return _visitor_digest(salt, b"cookieless", f"{site}\0{ip}\0{user_agent}")


def import_visitor(key: bytes, site: str, ip: str, user_agent: str) -> str:
    """The visitor of an imported log line, under the site's kept import key (at most 64 bytes)."""
    return _visitor_digest(key, b"import", f"{site}\0{ip}\0{user_agent}")


def named_visitor(site: str, key: bytes, visitor: str) -> str:
    """The visitor whom a trusted sender names by a text of its own, under the site's kept import key."""
    return _visitor_digest(key, b"named", f"{site}\0{visitor}")


def _visitor_digest(key: bytes, use: bytes, text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key, person=use).hexdigest()
