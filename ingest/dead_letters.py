"""What could not be understood is kept as it was received, and what comes without end is counted.

A site has so many letters and bytes an hour, requests of no known site share a tenth as much. What comes beyond is
counted by reason; when the hour is over, or the process ends, one more letter (`counted_only`) holds the counts.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable
from threading import Lock
from urllib.parse import urlsplit

import msgspec

from activity.event import DEAD_LETTER_TOPIC
from activity.refusal import DeadLetter, Reason, Refusal
from ingest.outbox import Entry

KEPT_BYTES = 16_384  # of one letter: what is longer is cut, and `length` says how long it was
DEAD_LETTERS_AN_HOUR = 1_000  # of a site, in each process
BYTES_AN_HOUR = 1_000_000
_UNKNOWN_SITES_PART = 10  # requests of no known site: a tenth of that
_HOUR_MS = 3_600_000

# Why bytes could not be understood, as opposed to understood and not allowed.
NOT_UNDERSTOOD = frozenset(
    {Reason.MALFORMED, Reason.UNKNOWN_FIELD_TYPE, Reason.MISSING_FIELD, Reason.INVALID_URL, Reason.INVALID_TIME}
)

_encode = msgspec.json.Encoder().encode


class _Hour:
    """What one site has had of its hour."""

    def __init__(self) -> None:
        self.dead_letters = self.bytes = 0
        self.counted: Counter[str] = Counter()
        self.counted_bytes = 0


class DeadLetters:
    """Those of one process. `count` is counts `dead_letters_kept` or `dead_letters_counted` for each."""

    def __init__(self, count: Callable[[str], object]) -> None:
        self._count = count
        self._lock = Lock()
        self._hour = 0
        self._sites: dict[str, _Hour] = {}  # of known sites, and ""

    def keep(self, site: str, refusal: Refusal, received: bytes, where: str, received_at: int) -> list[Entry]:
        """What is to be published for a request with such a refusal. `site` is a known one, or ""."""
        with self._lock:
            entries = self._begin(received_at)
            hour = self._sites.setdefault(site, _Hour())
            part = 1 if site else _UNKNOWN_SITES_PART
            kept = received[:KEPT_BYTES]
            if hour.dead_letters >= DEAD_LETTERS_AN_HOUR // part or hour.bytes + len(kept) > BYTES_AN_HOUR // part:
                hour.counted[refusal.reason] += 1
                hour.counted_bytes += len(received)
                self._count("dead_letters_counted")
                return entries
            hour.dead_letters += 1
            hour.bytes += len(kept)
        self._count("dead_letters_kept")
        return [*entries, _entry(refusal.reason, refusal.detail, where, received_at, kept, len(received))]

    def end_hour(self, now: int) -> list[Entry]:
        """What is to be published when the hour of the last letters is over."""
        with self._lock:
            return self._begin(now)

    def close(self, now: int) -> list[Entry]:
        """What is to be published before the process ends."""
        with self._lock:
            return self._sum_up(now)

    def _begin(self, now: int) -> list[Entry]:
        hour = now // _HOUR_MS
        if hour == self._hour:
            return []
        entries = self._sum_up(now)
        self._hour = hour
        return entries

    def _sum_up(self, now: int) -> list[Entry]:
        """One letter for each site that had more than is kept; all sites begin anew."""
        entries = []
        for site, hour in self._sites.items():
            if hour.counted:
                requests = hour.counted.total()
                counts = {"site": site, "requests": requests, "bytes": hour.counted_bytes, "reasons": hour.counted}
                detail = f"{requests} more requests could not be understood than an hour has room for"
                entries.append(_entry("counted_only", detail, "/collect", now, _encode(counts), hour.counted_bytes))
        self._sites.clear()
        return entries


def _entry(reason: str, detail: str, where: str, received_at: int, kept: bytes, length: int) -> Entry:
    dead_letter = DeadLetter(
        where=where,
        reason=reason,
        detail=detail,
        received_at=received_at,
        bytes=base64.b64encode(kept).decode(),
        length=length,
    )
    return Entry([(DEAD_LETTER_TOPIC, None, _encode(dead_letter))])


def host_of(origin: bytes) -> str:
    """The host and port of an `Origin` header, "" when it is none."""
    try:
        return urlsplit(origin.decode("latin-1")).netloc
    except ValueError:
        return ""
