"""What the lines of a log come to when each is taken by itself, the slow and plain way."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import msgspec

from activity import codec
from activity.enrich import SiteRules, enrich
from activity.event import EventType, derived_id, event_id, import_visitor, topic_of, visitor_key
from activity.incoming import Incoming
from activity.refusal import Refusal
from activity.user_agent import Agent
from activity.user_agent import parse as parse_agent
from brokers.base import Record
from ingest.logs import formats
from ingest.logs.batch import Batch
from ingest.logs.events import PROTOCOL
from ingest.logs.reader import batches, reader

RECEIVED_AT = 1_790_000_000_123
KEY = b"k" * 32
SITE = SiteRules("example.com", origins=("https://shop.example.org",))


def clean(text: str) -> str:
    return "".join(char for char in text if char >= " " and char != "\x7f")


def percent_encoded(text: str) -> str:
    """Each byte that is no UTF-8, and nothing else."""
    return "".join(f"%{ord(char) - 0xDC00:02X}" if "\udc80" <= char <= "\udcff" else char for char in text)


def replaced(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


Comes = tuple[tuple[str, bytes, bytes], ...] | str


def one_by_one(lines: list[bytes], shape: str, site: SiteRules) -> Iterator[Comes]:
    """What each line comes to when nothing is kept from the line before it."""
    repeats: dict[bytes, Iterator[int]] = {}
    for raw in lines:
        text = raw.rstrip(b"\r\n")
        if not text.strip() or text.startswith(b"#"):
            yield "comment" if text.strip() else "empty"
            continue
        request = formats.parser(shape)(formats.decoded(text))
        if len(text) > formats.LONGEST or isinstance(request, formats.NotUnderstood):
            yield "not understood"
            continue
        refusal = formats.refusal(request)
        if refusal is not None:
            yield refusal
            continue
        number = repeats.setdefault(text, itertools.count())
        sender_id = f"{blake2b(text, digest_size=16).hexdigest()}-{next(number)}"
        named = [host for host in request.named.split() if site.owns(host)]
        url = f"https://{request.host or (named or [site.domain])[0]}{clean(request.target)}"
        texts = {"url": url, "referrer": clean(request.referrer)}
        rest: dict[str, Any] = {"site": site.domain, "type": EventType.PAGEVIEW, "id": sender_id, "ts": request.at}
        made = enrich(
            Incoming(**rest | {name: percent_encoded(text) for name, text in texts.items()}),
            site=site,
            visitor=import_visitor(KEY, site.domain, request.ip, request.agent or ""),
            received_at=RECEIVED_AT,
            agent=Agent() if request.agent is None else parse_agent(request.agent),
            fresh_id="",
            protocol=PROTOCOL,
            trusted=True,
        )
        if isinstance(made, Refusal):
            yield str(made.reason)
            continue
        # Ids go by what was sent, in which a byte that is no UTF-8 is U+FFFD, as it was from the first version on.
        sent = Incoming(**rest | {name: replaced(text) for name, text in texts.items()})
        identity = event_id(site.domain, sender_id, msgspec.json.encode(sent))
        ids = [identity, derived_id(identity, "search")]
        key = visitor_key(site.domain, made[0].visitor)
        yield tuple(
            (topic_of(event.type), key, codec.encode(msgspec.structs.replace(event, id=its_id)))
            for event, its_id in zip(made, ids, strict=False)
        )


def together(lines: list[bytes], shape: str, site: SiteRules, size: int) -> list[Batch]:
    """What the lines come to, `size` at a time, which is what they come to one by one."""
    expected = list(one_by_one(lines, shape, site))
    chunks = [lines[at : at + size] for at in range(0, len(lines), size)]
    found = list(batches(chunks, reader(shape, site, KEY, RECEIVED_AT, None)))
    assert sum(batch.lines for batch in found) == len(lines)
    records = [tuple(record[:3] for record in its) for batch in found for its in records_of(batch)]
    assert sorted(records) == sorted(entry for entry in expected if not isinstance(entry, str))
    assert totals(found) == {name: expected.count(name) for name in set(expected) if isinstance(name, str)}
    return found


def records_of(batch: Batch) -> list[list[Record]]:
    """The records of each accepted line: of its own event, and of the search that follows."""
    return batch.accepted.records(range(len(batch.accepted)))


def own_values(batch: Batch) -> list[bytes]:
    """What is published of each accepted line's own event."""
    return [own.value or b"" for own, *_ in records_of(batch)]


def totals(found: list[Batch]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for batch in found:
        for reason, count in [*batch.refused.items(), ("not understood", len(batch.not_understood))]:
            counts[reason] = counts.get(reason, 0) + count
    return {reason: count for reason, count in counts.items() if count}
