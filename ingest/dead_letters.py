"""Dead letters: requests that could not be understood are kept as they were received, within an hourly budget.

Addresses in them are masked before they are written; so a broken gzip is kept as what it unpacks to. What else was
known of the sender is kept beside the bytes, so that `ingest.repair` can judge the request again as it should have
come.

Each site has a budget of dead letters and bytes per hour, and all requests for unknown sites share a tenth of it. Once
a budget is used up, further requests are only counted by reason; when the hour is over, or the process ends, one more
dead letter per site (`counted_only`) holds those counts.
"""

from __future__ import annotations

import base64
import re
import secrets
import zlib
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from threading import Lock
from urllib.parse import urlsplit

import msgspec

from activity.event import DEAD_LETTER_TOPIC
from activity.geo import NOWHERE, Place
from activity.refusal import COUNTED_ONLY, DeadLetter, Reason, letter_id
from activity.user_agent import Agent
from ingest.entry import Entry
from ingest.http import ZSTD, is_packed, is_utf8

KEPT_BYTES = 16_384  # of one request: a longer one is cut, and `length` gives its full length
DEAD_LETTERS_AN_HOUR = 1_000  # for a site, in each process
BYTES_AN_HOUR = 1_000_000
_UNKNOWN_SITES_PART = 10  # requests for unknown sites share a tenth of a site's budget
_HOUR_MS = 3_600_000

# The reasons for which bytes could not be understood, as opposed to understood and not allowed.
NOT_UNDERSTOOD = frozenset(
    {Reason.MALFORMED, Reason.UNKNOWN_FIELD_TYPE, Reason.MISSING_FIELD, Reason.INVALID_URL, Reason.INVALID_TIME}
)

_STEP = 32  # bytes of a broken gzip that are unpacked at once: where it breaks, what they held is lost
_PLAIN = (b"", b"identity", b"gzip", b"x-gzip")  # gzip is known by its first bytes, whatever the header says

# A time of day is no address. A number before the groups may be that of a file or a line, put there by `grep`; what
# follows may be a port. Before an address may stand the end of a percent encoding, or of an escape in JSON.
_COLON = rb"(?::|%3[Aa])"
_TIME = rb"(?:\d{4}" + _COLON + rb")?\d\d" + _COLON + rb"\d\d" + _COLON + rb"\d\d?(?![\w:])"
_ESCAPED = rb"(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrtbf])"
_ADDRESS = re.compile(
    rb"(?:(?<![\w.])|" + _ESCAPED + rb")\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?!\w|\.\w)"
    rb"|(?:(?<![\w:])|(?<=[G-Zg-z_]:)|" + _ESCAPED + rb")(?!" + _TIME + rb")"
    rb"(?:[0-9a-fA-F]{0,4}" + _COLON + rb"){2,9}(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]{0,4})(?::\d{1,5})?(?![\w:])"
)
_SITE = re.compile(rb'"site"\s{0,8}:\s{0,8}"([\w.:-]{1,253})"|(?:^|&)site=([\w.:-]{1,253})(?:&|$)')
_encode = msgspec.json.Encoder().encode


class Sent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a dead letter was sent, as far as its repair needs it: the `sender` of a `DeadLetter`.

    It has no address of the sender."""

    protocol: str = "footfall"
    query: str | None = None  # of a tracker's request with a body, masked; its path is the letter's
    cut: bool = False  # whether the query is not whole
    headers: dict[str, str] = {}  # those that the tracker's protocol heeds, masked
    visitors: list[str] = []  # of a tracker's events by their place, where a server of the site's own tells of them
    shape: str = ""  # of an imported line, see `formats.known`, or the product that wrote the export
    trusted: bool = False  # with the key of the letter's site
    origin: str = ""  # the `Origin` header
    page: str = ""  # the `Referer` of a pixel, masked, and cut
    others: dict[str, str] = {}  # the sender's visitors at other sites of the request, by domain
    agent: Agent = Agent()
    browser: bool = True  # False for a program, which may send for a person
    place: Place = NOWHERE


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

    def keep(self, site: str, letter: DeadLetter, received: bytes, encoding: bytes = b"") -> list[Entry]:
        """Keep or count one request, and return the entries to publish for it.

        `site` is the domain of the known site whose budget it uses, or "". `letter` lacks the bytes only, `received` is
        the request as it came, and `encoding` the `Content-Encoding` that it says to have. The entries include the
        counts of the hour before, if this request is the first of a new hour."""
        letter, received = _opened(letter, received, encoding)
        with self._lock:
            entries = self._begin(letter.received_at)
            hour = self._sites.setdefault(site, _Hour())
            part = 1 if site else _UNKNOWN_SITES_PART
            kept = min(len(received), KEPT_BYTES) + len(bytes(letter.sender))
            if hour.dead_letters >= DEAD_LETTERS_AN_HOUR // part or hour.bytes + kept > BYTES_AN_HOUR // part:
                hour.counted[letter.reason] += 1
                hour.counted_bytes += len(received)
                self._count("dead_letters_counted")
                return entries
            hour.dead_letters += 1
            hour.bytes += kept
        self._count("dead_letters_kept")
        return [*entries, _entry(letter, received)]

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
                letter = DeadLetter(
                    id=letter_id(now, secrets.token_hex(8)),
                    where="/collect",
                    reason=COUNTED_ONLY,
                    detail=detail,
                    received_at=now,
                    bytes="",
                    length=hour.counted_bytes,
                    site=site,
                )
                entries.append(_entry(letter, _encode(counts)))
        self._sites.clear()
        return entries


def _entry(letter: DeadLetter, received: bytes) -> Entry:
    kept = mask(received[:KEPT_BYTES])
    whole = msgspec.structs.replace(
        letter,
        bytes=base64.b64encode(kept).decode(),
        detail=mask(letter.detail.encode()).decode(),
        length=len(received) if letter.length is None else letter.length,
    )
    return Entry([(DEAD_LETTER_TOPIC, None, _encode(whole))])


def _opened(letter: DeadLetter, received: bytes, encoding: bytes) -> tuple[DeadLetter, bytes]:
    """The letter and its bytes, in which addresses can be masked: of a broken gzip or zlib what comes out of it,
    also if it is packed twice, of an encoding that is not read here nothing. `detail` says what there was."""
    if is_packed(received):
        kept = _unpacked(received)
        if not kept:  # it only begins like that
            return letter, received
        if is_packed(kept):  # twice, as some clients send it
            kept = _unpacked(kept)
        if is_packed(kept) or kept.startswith(ZSTD):
            kept = b""
    elif not received.startswith(ZSTD) and (encoding.strip().lower() in _PLAIN or is_utf8(received)):
        return letter, received
    else:
        kept = b""
    what = "only what could be unpacked" if kept else "nothing"
    told = f"{letter.detail}; {what} is kept of its {len(received)} bytes, SHA-256 {sha256(received).hexdigest()}"
    return msgspec.structs.replace(letter, detail=told, length=max(len(received), len(kept))), kept


def _unpacked(received: bytes) -> bytes:
    """What comes out of a broken gzip or zlib body, one byte more than is kept at most."""
    unpacker, found = zlib.decompressobj(wbits=47), b""
    for at in range(0, len(received), _STEP):
        try:
            found += unpacker.decompress(received[at : at + _STEP], KEPT_BYTES + 1 - len(found))
        except zlib.error:
            break
        if unpacker.eof or len(found) > KEPT_BYTES:
            break
    return found


def mask(received: bytes) -> bytes:
    """Return what was received with 0.0.0.0 for each address in it."""
    return _ADDRESS.sub(b"0.0.0.0", received)


def site_in(received: bytes) -> str:
    """Return the site that a request names which could not be read, as it is spelt; "" if it names none."""
    found = _SITE.search(received[:KEPT_BYTES])
    return (found[1] or found[2]).decode("utf-8", "replace") if found else ""


def host_of(origin: bytes) -> str:
    """Return the host and port of an `Origin` header, or "" if it is not a URL."""
    try:
        return urlsplit(origin.decode("latin-1")).netloc
    except ValueError:
        return ""
