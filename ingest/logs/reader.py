"""Reads the lines of one file into batches: lines of a log by columns, lines of our own events one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any

import msgspec

from activity import beacon
from activity.enrich import DAY, SiteRules, enrich
from activity.event import Event, EventType, content_id, named_visitor
from activity.event import event_id as sent_id
from activity.geo import Reader as PlaceReader
from activity.incoming import DEFAULT_LIMITS, Incoming, has_tidy_props, time_of
from activity.refusal import Reason, Refusal
from activity.user_agent import Agent
from ingest.logs.batch import Batch
from ingest.logs.events import LONG, PROTOCOL, EventWriter
from ingest.logs.formats import LONGEST
from ingest.logs.formats.json_lines import mended
from ingest.logs.together import Common, Together, common_of
from ingest.logs.vectorized import LogLines, says_nothing

_object = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.Encoder().encode
_NO_AGENT = Agent()
_NOT_DECODED = (msgspec.DecodeError, UnicodeError, RecursionError)


class _Usual(Incoming, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """An event as nearly all lines have it: with no other fields than those of an event, each of its type."""


_usual = msgspec.json.Decoder(_Usual)


class EventLines:
    """Reads JSON lines of our own events, each with its time and its visitor.

    What usual events have in common is enriched once: all but who and when, and what few events have."""

    def __init__(self, site: SiteRules, key: bytes, received_at: int) -> None:
        self._site = site
        self._received_at = received_at
        self._begin = b'{"site":' + _encode(site.domain) + b","
        self._visitor = lru_cache(65_536)(partial(named_visitor, site.domain, key))
        self._takes_day = EventWriter(site, key, received_at, None).takes_day
        self._kept_common = lru_cache(16_384)(self._common)

    def pieces(self, lines: Sequence[bytes]) -> Iterable[Sequence[bytes]]:
        """Return the lines in pieces of one shape: all of them together."""
        return [lines]

    def read_all(self, first: int, lines: Sequence[bytes], batch: Batch) -> None:
        """Put into `batch` what the lines come to; `first` is the number of the first line in its file."""
        together = Together()
        for number, raw in enumerate(lines, first):
            line = raw.rstrip(b"\r\n")
            incoming = self._usual(line)
            if incoming is not None and self._is_added(incoming, together):
                continue
            if why := says_nothing(line):
                batch.refuse(why)
            else:
                self._read_one(number, line, batch, together)
        batch.accepted = together.accepted()

    def _usual(self, line: bytes) -> Incoming | None:
        """Return the event of a line that leaves nothing in doubt; None of any other line."""
        if not line.startswith(b"{") or len(line) > LONGEST or b"\\u0000" in line:
            return None
        try:
            found = _usual.decode(self._begin + line[1:])  # a site of its own counts: it comes behind ours
        except _NOT_DECODED:
            return None
        is_ours = found.ts is not None and (found.visitor or found.user) and found.site == self._site.domain
        is_tidy = not found.props or has_tidy_props(found, DEFAULT_LIMITS)
        return found if is_ours and is_tidy else None

    def _is_added(self, incoming: Incoming, together: Together) -> bool:
        """Add a usual event; return whether it is taken. To one that is not, something has to be said in words."""
        if incoming.props or incoming.search or incoming.revenue or incoming.engaged_ms:
            made = self._enriched(incoming)
            if isinstance(made, list):
                together.add_made(made)
            return isinstance(made, list)
        try:
            at = time_of(incoming.ts)
        except ValueError:
            return False
        is_short = len(incoming.url) + len(incoming.referrer) + len(incoming.title) <= LONG
        common = (self._kept_common if is_short else self._common)(
            incoming.type, incoming.url, incoming.referrer, incoming.title, incoming.name, incoming.screen,
            incoming.language, incoming.interactive, bool(incoming.visitor),
        )  # fmt: skip
        if common is None or at is None or not self._takes_day(at // DAY):
            return False
        visitor = self._visitor(incoming.visitor or incoming.user)
        content, domain = _encode(incoming), self._site.domain
        if incoming.id is None:
            event_id = content_id(domain, visitor, content)
        else:
            event_id = sent_id(domain, incoming.id, content)
        together.add(event_id, visitor, incoming.user, at, common)
        return True

    def _common(
        self, kind: EventType, url: str, referrer: str, title: str, name: str, screen: str, language: str,
        interactive: bool, is_named: bool,
    ) -> Common | None:  # fmt: skip
        """Return what usual events with these fields have in common; None where they are refused."""
        sample = Incoming(
            site=self._site.domain, type=kind, url=url, referrer=referrer, title=title, name=name, screen=screen,
            language=language, interactive=interactive, visitor="-" if is_named else "", ts=self._received_at,
        )  # fmt: skip
        made = self._enriched(sample)
        return None if isinstance(made, Refusal) else common_of(made)

    def _read_one(self, number: int, line: bytes, batch: Batch, together: Together) -> None:
        try:
            given = _given(line)
        except _NOT_DECODED as error:
            batch.not_understood.append((number, line, f"no JSON object: {error}"))
            return
        made = self._problem(given) or self._events(given)
        if isinstance(made, Refusal):
            batch.refuse(str(made.reason))
            batch.refused_lines.append((number, made.detail))
        else:
            together.add_made(made)

    def _problem(self, given: dict[str, Any]) -> Refusal | None:
        if given.get("ts") is None:
            return Refusal(0, Reason.MISSING_FIELD, "`ts` is missing: an imported event needs the time it happened")
        if not given.get("visitor") and not given.get("user"):
            return Refusal(0, Reason.MISSING_FIELD, "`visitor` is missing: any text that names the same visitor again")
        if given.get("site", self._site.domain) != self._site.domain:
            detail = f"the event is for {given['site']!r}; import it with --site {given['site']}"
            return Refusal(0, Reason.UNKNOWN_SITE, detail)
        return None

    def _events(self, given: dict[str, Any]) -> list[Event] | Refusal:
        items = beacon.parse(_encode(given | {"site": self._site.domain})).items
        if not items:
            return Refusal(0, Reason.MISSING_FIELD, "`events` is empty: write an event a line")
        return items[0] if isinstance(items[0], Refusal) else self._enriched(items[0])

    def _enriched(self, incoming: Incoming) -> list[Event] | Refusal:
        return enrich(
            incoming,
            site=self._site,
            visitor=self._visitor(incoming.visitor or incoming.user),
            received_at=self._received_at,
            agent=_NO_AGENT,
            fresh_id="",  # each has a time, and by that an id
            protocol=PROTOCOL,
            trusted=True,
        )


def _given(line: bytes) -> dict[str, Any]:
    """Return the object on a line, also on one that is not quite JSON. Raises what the decoder does of the line."""
    try:
        return _object.decode(line)
    except _NOT_DECODED:
        for text in mended(line.decode()):
            with suppress(*_NOT_DECODED):
                return _object.decode(text)
        raise


Reader = LogLines | EventLines


def reader(shape: str, site: SiteRules, key: bytes, received_at: int, places: PlaceReader | None) -> Reader:
    """Return what reads the lines of one file of this shape, see `formats.known`.

    `key` is the site's import key, `received_at` milliseconds UTC, and `places` the database of places, where there
    is one."""
    if shape == "events":
        return EventLines(site, key, received_at)
    return LogLines(shape, EventWriter(site, key, received_at, places))


def batches(lines: Iterable[Sequence[bytes]], reader: Reader) -> Iterator[Batch]:
    """Yield a batch for each list of lines, more where the shape changes inside it; line ends may be included."""
    number = 1
    for all_of_them in lines:
        for some in reader.pieces(all_of_them):
            batch = Batch(len(some))
            reader.read_all(number, some, batch)
            number += len(some)
            yield batch
