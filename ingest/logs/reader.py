"""Reads the lines of one file into batches: lines of a log by columns, lines of our own events one at a time."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from activity import beacon
from activity.enrich import SiteRules, enrich
from activity.event import Event, named_visitor
from activity.geo import Reader as PlaceReader
from activity.incoming import Incoming
from activity.refusal import Reason, Refusal
from activity.user_agent import Agent
from ingest.logs.batch import Batch
from ingest.logs.events import PROTOCOL, EventWriter
from ingest.logs.vectorized import LogLines, says_nothing

_object = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.Encoder().encode


class EventLines:
    """Reads JSON lines of our own events, each with its time and its visitor."""

    def __init__(self, site: SiteRules, key: bytes, received_at: int) -> None:
        self._site = site
        self._key = key
        self._received_at = received_at

    def pieces(self, lines: Sequence[bytes]) -> Iterable[Sequence[bytes]]:
        """Return the lines in pieces of one shape: all of them together."""
        return [lines]

    def read_all(self, first: int, lines: Sequence[bytes], batch: Batch) -> None:
        """Put into `batch` what the lines come to; `first` is the number of the first line in its file."""
        for number, raw in enumerate(lines, first):
            line = raw.rstrip(b"\r\n")
            if why := says_nothing(line):
                batch.refuse(why)
            else:
                self._read_one(number, line, batch)

    def _read_one(self, number: int, line: bytes, batch: Batch) -> None:
        try:
            given = _object.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            batch.not_understood.append((number, line, f"no JSON object: {error}"))
            return
        made = self._problem(given) or self._events(given)
        if isinstance(made, Refusal):
            batch.refuse(str(made.reason))
            batch.refused_lines.append((number, made.detail))
        else:
            batch.accepted.add(made)

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
        incoming = beacon.parse(_encode(given | {"site": self._site.domain})).items[0]
        return incoming if isinstance(incoming, Refusal) else self._enriched(incoming)

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
