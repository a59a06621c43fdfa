"""The one record on the wire.

An `Event` is what the door makes of a request once everything that depends on the request, on configuration
or on data files has been computed: visitor, corrected time, page, source, agent, place, bot verdict. What
lies in a topic is its JSON (`codec`), so a replay needs nothing but the topic. Never an IP address.

The pipeline never builds an `Event` an event: it reads the same JSON straight into columns
(`activity.columns`, apart from here because a tracking function must not carry a frame library to take one).
"""

from __future__ import annotations

from enum import StrEnum
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
