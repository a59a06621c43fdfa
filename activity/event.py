"""The one record on the wire, its topics, and the ids of events and visitors.

The tracking service builds an `Event` from a request once it has computed everything that depends on the request,
on configuration or on data files: visitor, corrected time, page, source, agent, place, bot verdict. A topic holds
the event's JSON (`codec`), so a replay needs nothing but the topic. An event never holds an IP address. The
pipeline does not build an `Event` per record: it reads the same JSON straight into columns (`activity.columns`,
a separate module because a tracking function should not have to ship a frame library).

Event ids make a retry the same event. They are 128-bit BLAKE2b hashes, 32 lowercase hex digits, and always cover
the content that was sent: an event sent twice has one id whatever the order of arrival, and the same sender id with
other content is another event, without anybody having to decide which came first. What changes between attempts
(when it was sent, when it arrived) is not part of the content.

Visitor ids tell visitors apart without knowing who they are. They are keyed 64-bit hashes, 16 lowercase hex digits,
and the key decides for how long two visits can be recognised as the same visitor's. The daily salt is forgotten
after 48 hours, so nobody can trace a cookieless id back to an address; a site's import key is kept, so a second
import of the same log gives the same ids. Each kind of id is hashed with its own personalisation, so equal
input never gives equal ids of two kinds.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from hashlib import blake2b
from typing import Literal

import msgspec

SCHEMA_VERSION = 1


class EventType(StrEnum):
    """What a visitor did, by the name it has on the wire."""

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
    """One thing that a visitor did. Times are Unix milliseconds (int64); an absent text is "", never null."""

    v: Literal[1]
    id: str  # 32 lowercase hex digits
    site: str
    type: EventType
    visitor: str  # 16 lowercase hex digits
    occurred_at: int
    received_at: int
    sent_at: int | None = None
    clamped: bool = False
    interactive: bool = True  # two of these make a visit no bounce; pings, vitals and derived searches are not
    user: str = ""
    session_hint: str = ""
    url: str = ""  # as sent, without a fragment that is no route
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
    protocol: str = "footfall"  # how it arrived: footfall, pixel, import, ...
    bot: str = ""  # "" for a person, else why we take it for a bot
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
    """Returns the topic that events of this type are published to, one of `TOPICS`."""
    return _OWN_TOPIC.get(kind, "footfall.custom")


def visitor_key(site: str, visitor: str) -> bytes:
    """Returns the record key in UTF-8.

    All events of one visitor share it, so they have the same partition number in every topic.
    """
    return f"{site}/{visitor}".encode()


def event_id(site: str, sender_id: str, content: bytes) -> str:
    """Returns the id of an event whose sender gave it `sender_id`: 32 hex digits.

    `content` is the event as sent, in any canonical encoding that leaves out the times of sending and arrival.
    """
    return _digest(_SENT, content, site, sender_id)


def event_ids(site: str, sender_ids: Iterable[str], contents: Iterable[bytes]) -> list[str]:
    """Returns the ids of many events, as `event_id` does of one; the sender's ids are plain ASCII."""
    ids: list[str] = []
    for sender_id, content in zip(sender_ids, contents, strict=True):
        digest = _SENT.copy()
        digest.update(f"{site}\0{len(sender_id)}\0{sender_id}\0".encode() + content)
        ids.append(digest.hexdigest())
    return ids


def content_id(site: str, visitor: str, content: bytes) -> str:
    """Returns the id (32 hex digits) of an event that has a client time in its `content` but no sender id.

    The same thing done by the same visitor in the same millisecond is therefore one event.
    """
    return _digest(_CONTENT, content, site, visitor)


def derived_id(parent: str, kind: str) -> str:
    """Returns the id (32 hex digits) of an event derived from another, such as the search in a page view's address."""
    return _digest(_DERIVED, b"", parent, kind)


# One hash for each use, to be copied: setting one up takes longer than hashing an event.
_SENT, _CONTENT, _DERIVED = (blake2b(digest_size=16, person=use) for use in (b"sent", b"content", b"derived"))


def _digest(use: blake2b, content: bytes, first: str, second: str) -> str:
    digest = use.copy()
    # The second text may hold anything, so its length goes before it: no two pairs give the same bytes.
    digest.update(f"{first}\0{len(second)}\0{second}\0".encode("utf-8", "surrogatepass") + content)
    return digest.hexdigest()


def visitor_id(salt: bytes, site: str, ip: str, user_agent: str) -> str:
    """Returns the cookieless visitor id, 16 hex digits, for the day of `salt` (16 random bytes; 64 at most)."""
    return _visitor_digest(salt, b"cookieless", f"{site}\0{ip}\0{user_agent}")


def import_visitor(key: bytes, site: str, ip: str, user_agent: str) -> str:
    """Returns the visitor id (16 hex digits) of an imported log line.

    `key` is the site's import key, 64 bytes at most.
    """
    return _visitor_digest(key, b"import", f"{site}\0{ip}\0{user_agent}")


def named_visitor(site: str, key: bytes, visitor: str) -> str:
    """Returns the id (16 hex digits) of a visitor that a trusted sender names itself.

    `key` is the site's import key, 64 bytes at most; `visitor` is the sender's name for the visitor.
    """
    return _visitor_digest(key, b"named", f"{site}\0{visitor}")


def client_visitor(site: str, key: bytes, client: str) -> str:
    """Returns the id (16 hex digits) of a visitor whom a tracker tells apart by an id of its own.

    `key` is the site's import key. Anybody can send such an id, so it is never that of a visitor whom a trusted sender
    names.
    """
    return _visitor_digest(key, b"client", f"{site}\0{client}")


def _visitor_digest(key: bytes, use: bytes, text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key, person=use).hexdigest()
