"""Imported lines as events: what `footfall import` sends through the same topics as everything else.

A log line becomes a page view (and the search that its URL holds) as if the page had sent it, except for who
and when: the visitor is a keyed hash under the site's kept import key, the time is the log's. Its id is a hash
of the line and of how often the same line stood in the file before, so that a file imported again makes the
same events, and two identical lines stay two. A line of our own events names its visitor and its time.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec

from activity import beacon, geo
from activity.beacon import Incoming
from activity.enrich import SiteRules, enrich
from activity.event import DEAD_LETTER_TOPIC, Event, import_visitor, named_visitor
from activity.refusal import Reason, Refusal
from activity.user_agent import Agent
from brokers.base import Record
from infra import access_log, log_columns
from infra.fragments import LONG, Fragments, Made, Page, Visitor
from infra.log_client import Client, client_of

_Answer = TypeVar("_Answer")

WHERE = "import"
PROTOCOL = "import"

# Addresses never leave this module: in a line that goes to the dead letters they are masked (a time of day is none).
# A number before the groups may be that of a file or a line, put there by `grep`; what follows may be a port.
_ADDRESS = re.compile(
    rb"(?<![\w.])\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\w.])"
    rb"|(?:(?<![\w:])|(?<=[G-Zg-z_]:))(?!(?:\d{4}:)?\d\d:\d\d:\d\d?(?![\w:]))"
    rb"(?:[0-9a-fA-F]{0,4}:){2,9}(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]{0,4})(?::\d{1,5})?(?![\w:])"
)
_object = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.Encoder().encode


@dataclass
class Batch:
    """What some lines came to; `made` is what the accepted ones did."""

    lines: int = 0
    made: list[Made] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    refused_lines: list[tuple[int, str]] = field(default_factory=list)  # number, why: for people to mend
    not_understood: list[tuple[int, bytes, str]] = field(default_factory=list)  # number, line, why

    def refuse(self, reason: str, count: int = 1) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + count


class LogLines:
    """Lines of a web server's log, of one file: repeats are counted within it."""

    def __init__(
        self, shape: str, site: SiteRules, key: bytes, received_at: int, places: geo.Reader | None
    ) -> None:
        self._shape = shape
        self._parse = access_log.PARSERS[shape]
        self._repeats: dict[bytes, int] = {}
        self._fragments = Fragments(site, received_at, PROTOCOL)
        source = geo.version(places)
        # Kept for one import, by address: the event never sees it.
        looked_up = lru_cache(16_384)(lambda ip: geo.lookup(places, ip, source))

        def visitor(ip: str, agent: str | None) -> Visitor:
            hashed = import_visitor(key, site.domain, ip, agent or "")
            return self._fragments.visitor(hashed, agent, looked_up(ip))

        self._outcome = _kept(32_768, self._outcome_of)
        self._visitor = _kept(65_536, visitor)

    def _outcome_of(self, host: str, text: str, status: str, referrer: str | None) -> Page | str:
        """The page that a request asked for; a text is why it is no page view."""
        request = access_log.request_of(Client("", host), 0, text, status, referrer, None)
        refusal = access_log.refusal(request)
        if refusal is not None:
            return refusal
        page = self._fragments.page(host, request.target, request.referrer)
        return str(page.reason) if isinstance(page, Refusal) else page

    def read_all(self, first: int, lines: Sequence[bytes], batch: Batch) -> None:
        """Put what the lines say into the batch; `first` is the number of the first."""
        if self._shape == "json":
            _one_by_one(self, range(len(lines)), first, lines, batch)
            return
        pages: list[Page] = []
        visitors: list[Visitor] = []

        def outcome(host: str, request: str, status: str, referrer: str | None) -> tuple[str | None, int | None]:
            found = self._outcome(host, request, status, referrer)
            if isinstance(found, str):
                return found, None
            pages.append(found)
            return None, len(pages) - 1

        def visitor(ip: str, agent: str | None) -> int:
            visitors.append(self._visitor(ip, agent))
            return len(visitors) - 1

        accepted, refused, left = log_columns.read(
            lines, self._shape == "common", client_of, outcome, visitor, self._fragments.times
        )
        for line, at, its_page, its_visitor in zip(*accepted, strict=True):
            batch.made.append(self._fragments.make(pages[its_page], visitors[its_visitor], self._id(line), at))
        for reason, count in refused.items():
            batch.refuse(reason, count)
        _one_by_one(self, left, first, lines, batch)

    def read(self, number: int, line: bytes, batch: Batch) -> None:
        """Put what the line says into the batch."""
        if len(line) > access_log.LONGEST:
            batch.not_understood.append((number, line, f"longer than {access_log.LONGEST} bytes"))
            return
        request = self._parse(access_log.decoded(line))
        if isinstance(request, access_log.NotUnderstood):
            batch.not_understood.append((number, line, request.why))
            return
        refusal = access_log.refusal(request)
        if refusal is not None:
            batch.refuse(refusal)
            return
        ip, at, _, target, _, referrer, agent, host = request
        page = self._fragments.page(host, target, referrer)
        first, end = self._fragments.times
        if not isinstance(page, Refusal) and not first <= at < end:
            page = self._fragments.refusal(page, at)
        if isinstance(page, Refusal):
            batch.refuse(str(page.reason))
            batch.refused_lines.append((number, page.detail))
        else:
            batch.made.append(self._fragments.make(page, self._visitor(ip, agent), self._id(line), at))

    def _id(self, line: bytes) -> str:
        """Different for each line of the file, the same for that line in the file imported again."""
        digest = blake2b(line, digest_size=16).digest()
        repeat = self._repeats.get(digest, 0)
        self._repeats[digest] = repeat + 1
        return f"{digest.hex()}-{repeat}"


class EventLines:
    """JSON lines of our own events, each with its time and its visitor."""

    def __init__(self, site: SiteRules, key: bytes, received_at: int) -> None:
        self._site = site
        self._key = key
        self._received_at = received_at

    def read_all(self, first: int, lines: Sequence[bytes], batch: Batch) -> None:
        """Put what the lines say into the batch; `first` is the number of the first."""
        _one_by_one(self, range(len(lines)), first, lines, batch)

    def read(self, number: int, line: bytes, batch: Batch) -> None:
        """Put what the line says into the batch."""
        try:
            given = _object.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            batch.not_understood.append((number, line, f"no JSON object: {error}"))
            return
        problem = self._problem(given)
        if problem is not None:
            batch.refuse(str(problem.reason))
            batch.refused_lines.append((number, problem.detail))
            return
        incoming = beacon.parse(_encode(given | {"site": self._site.domain})).items[0]
        made = incoming if isinstance(incoming, Refusal) else self._enriched(incoming)
        if isinstance(made, Refusal):
            batch.refuse(str(made.reason))
            batch.refused_lines.append((number, made.detail))
        else:
            batch.made.append(Made.of(made))

    def _problem(self, given: dict[str, Any]) -> Refusal | None:
        if given.get("ts") is None:
            return Refusal(0, Reason.MISSING_FIELD, "`ts` is missing: an imported event needs the time it happened")
        if not given.get("visitor") and not given.get("user"):
            return Refusal(0, Reason.MISSING_FIELD, "`visitor` is missing: any text that names the same visitor again")
        if given.get("site", self._site.domain) != self._site.domain:
            detail = f"the event is for {given['site']!r}; import it with --site {given['site']}"
            return Refusal(0, Reason.UNKNOWN_SITE, detail)
        return None

    def _enriched(self, incoming: Incoming) -> list[Event] | Refusal:
        return enrich(
            incoming,
            site=self._site,
            visitor=named_visitor(self._site.domain, self._key, incoming.visitor or incoming.user),
            received_at=self._received_at,
            agent=Agent(),
            fresh_id=secrets.token_hex(16),
            protocol=PROTOCOL,
            trusted=True,
        )


Reader = LogLines | EventLines


def reader(
    shape: str, site: SiteRules, key: bytes, received_at: int, places: geo.Reader | None
) -> Reader:
    """What reads the lines of one file; `shape` is one of `access_log.FORMATS`."""
    if shape == "events":
        return EventLines(site, key, received_at)
    return LogLines(shape, site, key, received_at, places)


def batches(lines: Iterable[Sequence[bytes]], reader: Reader) -> Iterator[Batch]:
    """A batch for each of the lists of lines. Empty lines count and are nothing else."""
    number = 1
    for some in lines:
        batch = Batch(len(some))
        reader.read_all(number, some, batch)
        number += len(some)
        yield batch


def _one_by_one(reader: Reader, indexes: Iterable[int], first: int, lines: Sequence[bytes], batch: Batch) -> None:
    for index in indexes:
        line = lines[index].rstrip(b"\r\n")
        if not line.strip():
            batch.refuse("empty")
        elif access_log.is_comment(line):
            batch.refuse("comment")
        else:
            reader.read(first + index, line, batch)


def _kept(size: int, function: Callable[..., _Answer]) -> Callable[..., _Answer]:
    """The function with its last answers kept, but for long texts: these are mostly unique, and many."""
    cached = lru_cache(size)(function)

    def asked(*texts: str | None) -> _Answer:
        return (cached if sum(map(len, filter(None, texts))) <= LONG else function)(*texts)

    return asked


def masked(line: bytes) -> str:
    """The line as a dead letter may hold it: base64, without addresses, and of a monstrous one the beginning."""
    return base64.b64encode(_ADDRESS.sub(b"0.0.0.0", line)[: access_log.LONGEST]).decode()


def dead_letter(line: str, reason: str, received_at: int) -> Record:
    """`line` as `masked` gives it."""
    value = {"reason": reason, "received_at": received_at, "bytes": line, "where": WHERE}
    return Record(DEAD_LETTER_TOPIC, line[:64].encode(), _encode(value))
