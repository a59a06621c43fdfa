"""Lines read by columns and events put together from parts: the same as each line taken by itself."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from hashlib import blake2b

import pytest

from activity import agent, codec
from activity.beacon import Incoming
from activity.enrich import DAY, SiteRules, enrich
from activity.event import EventType, topic_of, visitor_key
from activity.refusal import Refusal
from activity.visitor import import_visitor
from infra import access_log
from infra.importing import PROTOCOL, Batch, batches, reader

RECEIVED_AT = 1_790_000_000_123
KEY = b"k" * 32
SITE = SiteRules("example.com", origins=("https://shop.example.org",))
STAMP = "17/May/2015:10:05:03 +0000"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def line(
    target: str = "/", *, ip: str = "192.0.2.1", stamp: str = STAMP, status: str = "200", method: str = "GET",
    referrer: str = "-", agent: str = FIREFOX, size: str = "512", user: str = "- -", version: str = " HTTP/1.1",
) -> str:  # fmt: skip
    return f'{ip} {user} [{stamp}] "{method} {target}{version}" {status} {size} "{referrer}" "{agent}"'


LINES = [
    line(), line(), line("/a?q=red+shoes"), line("/a?q=%22quoted%22&utm_source=news"), line("/ü?q=grün"),
    line("/a\\x22b"), line(referrer="https://www.google.com/"), line(referrer="https://example.com/x"),
    line(agent="-"), line(agent=""), line(agent="Googlebot/2.1 (+http://www.google.com/bot.html)"),
    line("/style.css"), line("/a.b/c"), line("/feed.XML?x=1"), line(method="POST"), line(status="404"),
    line(status="304"), line("http://example.com/whole"), line("/two words"), line("/old", version=""),
    line(stamp="31/Feb/2015:10:05:03 +0000"), line(stamp="17/mAy/2015:10:05:61 -0130"),
    line(stamp="17/May/1970:10:05:03 +0000"), line(stamp="17/May/2150:10:05:03 +0000"), line(size="-"),
    line(ip="2001:db8::1", user="- frank"), line(user='- "fra nk"'), line(user="- [x] y"), line() + ' "more" 0.005',
    line().rpartition(' "')[0], line().rpartition(' "')[0].rpartition(' "')[0], line() + ' "torn \\',
    line("/" + "x" * 1_100 + "?q=long"), line("/%zz?q=%zz"), line('/a" 200 1 "b'), line()[:40], "what is this", "",
    "  ", line("/tab\there"), line("/nul\0here"), line("/sep\x1cara\x85tor"), line(agent='a\\"b'), line("/100%?s=1%25"),
]  # fmt: skip


def one_by_one(lines: list[bytes], shape: str, site: SiteRules) -> Iterator[tuple[tuple[str, bytes, bytes], ...] | str]:
    """What each line comes to when nothing is kept from the line before it."""
    repeats: dict[bytes, Iterator[int]] = {}
    for raw in lines:
        text = raw.rstrip(b"\r\n")
        request = access_log.PARSERS[shape](text.decode("utf-8", "replace"))
        if request is None:
            yield "not understood" if text.strip() else "empty"
            continue
        refusal = access_log.refusal(request)
        if refusal is not None:
            yield refusal
            continue
        number = repeats.setdefault(text, itertools.count())
        clean = "".join(char for char in request.target if char >= " " and char != "\x7f")
        made = enrich(
            Incoming(
                site=site.domain,
                type=EventType.PAGEVIEW,
                url=f"https://{site.domain}{clean}",
                referrer=request.referrer,
                id=f"{blake2b(text, digest_size=16).hexdigest()}-{next(number)}",
                ts=request.at,
            ),
            site=site,
            visitor=import_visitor(KEY, site.domain, request.ip, request.agent or ""),
            received_at=RECEIVED_AT,
            agent=agent.Agent() if request.agent is None else agent.parse(request.agent),
            fresh_id="",
            protocol=PROTOCOL,
            trusted=True,
        )
        if isinstance(made, Refusal):
            yield str(made.reason)
        else:
            key = visitor_key(site.domain, made[0].visitor)
            yield tuple((topic_of(event.type), key, codec.encode(event)) for event in made)


@pytest.mark.parametrize("shape", ["combined", "common"])
@pytest.mark.parametrize("days", [None, 4_000], ids=["kept for ever", "kept for a while"])
def test_lines_read_together_give_what_each_gives_alone(shape: str, days: int | None) -> None:
    site = SiteRules("example.com", origins=SITE.origins, retention_days=days)
    recent = f"{line('/new?q=x', stamp='20/Sep/2026:10:00:00 +0000')}"
    assert days is None or RECEIVED_AT - days * DAY < 1_789_898_400_000
    texts = [*LINES, *LINES, recent, recent]
    random.Random(4).shuffle(texts)
    lines = [text.encode() + end for text, end in zip(texts, itertools.cycle([b"\n", b"\r\n"]), strict=False)]
    lines.append(b'192.0.2.9 - - [' + STAMP.encode() + b'] "GET /\xff\xfe HTTP/1.1" 200 1 "-" "\xc3"')
    expected = list(one_by_one(lines, shape, site))
    chunks = [lines[at : at + 17] for at in range(0, len(lines), 17)]
    found = list(batches(chunks, reader(shape, site, KEY, RECEIVED_AT, None)))
    assert sum(batch.lines for batch in found) == len(lines)
    records = [tuple(record[:3] for record in made.records) for batch in found for made in batch.made]
    assert sorted(records) == sorted(entry for entry in expected if not isinstance(entry, str))
    assert totals(found) == {name: expected.count(name) for name in set(expected) if isinstance(name, str)}
    for made in (made for batch in found for made in batch.made):
        events = [codec.decode(record.value or b"") for record in made.records]
        assert (made.id, made.visitor) == (events[0].id, events[0].visitor)
        assert (made.bot, made.search) == (bool(events[0].bot), events[-1].type is EventType.SEARCH)


def totals(found: list[Batch]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for batch in found:
        for reason, count in [*batch.refused.items(), ("not understood", len(batch.not_understood))]:
            counts[reason] = counts.get(reason, 0) + count
    return {reason: count for reason, count in counts.items() if count}
