"""Dead letters: requests that could not be understood are kept as they were received, within an hourly budget.

Each site has a budget of dead letters and bytes per hour, and all requests for unknown sites share a tenth of it. Once
a budget is used up, further requests are only counted by reason; when the hour is over, or the process ends, one more
dead letter per site (`counted_only`) holds those counts.
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
from ingest.entry import Entry

KEPT_BYTES = 16_384  # of one request: a longer one is cut, and `length` gives its full length
DEAD_LETTERS_AN_HOUR = 1_000  # for a site, in each process
BYTES_AN_HOUR = 1_000_000
_UNKNOWN_SITES_PART = 10  # requests for unknown sites share a tenth of a site's budget
_HOUR_MS = 3_600_000

# The reasons for which bytes could not be understood, as opposed to understood and not allowed.
NOT_UNDERSTOOD = frozenset(
    {Reason.MALFORMED, Reason.UNKNOWN_FIELD_TYPE, Reason.MISSING_FIELD, Reason.INVALID_URL, Reason.INVALID_TIME}
)

_encode = msgspec.json.Encoder().encode


class _Hour:
    """What one site has used of its budget for the current hour."""

    def __init__(self) -> None:
        self.dead_letters = self.bytes = 0
        self.counted: Counter[str] = Counter()
        self.counted_bytes = 0


class DeadLetters:
    """Turns requests that were not understood into dead letters, for one process. Safe to call from several threads."""

    def __init__(self, count: Callable[[str], object]) -> None:
        """`count` is called with `dead_letters_kept` or `dead_letters_counted` once per request."""
        self._count = count
        self._lock = Lock()
        self._hour = 0
        self._sites: dict[str, _Hour] = {}  # by domain; "" stands for all unknown sites

    def keep(self, site: str, refusal: Refusal, received: bytes, where: str, received_at: int) -> list[Entry]:
        """Keep or count one request, and return the entries to publish for it.

        `site` is the domain of a known site, or "". `received` is the request as it came, `received_at` is in Unix
        milliseconds. The entries include the counts of the hour before, if this request is the first of a new hour."""
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
        """Return the counts to publish if the hour of the last dead letters is over by `now` (Unix milliseconds)."""
        with self._lock:
            return self._begin(now)

    def close(self, now: int) -> list[Entry]:
        """Return the counts to publish before the process ends."""
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
        """Return one dead letter for each site that went over its budget, and start all budgets afresh."""
        entries = []
        for site, hour in self._sites.items():
            if hour.counted:
                requests = hour.counted.total()
                reasons = dict(hour.counted)
                counts = {"site": site, "requests": requests, "bytes": hour.counted_bytes, "reasons": reasons}
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
    """Return the host and port of an `Origin` header, or "" if it is not a URL."""
    try:
        return urlsplit(origin.decode("latin-1")).netloc
    except ValueError:
        return ""
