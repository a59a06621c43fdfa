"""What a web server's log holds, counted by a script of its own: `python access_log.py FILE`, one JSON object.

It reads the lines its own way and knows its own rule of a visit, and imports nothing of the product. The verdict
on bots is that of the libraries which the product names (crawlerdetect, ua-parser's spiders, whatever calls itself
headless, and who sends no agent); the endings that make no page are those which the README lists.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections import Counter, defaultdict
from datetime import datetime
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from crawlerdetect import CrawlerDetect
from ua_parser import parse_device

ROOT = Path(__file__).parents[2]
GAP_SECONDS = 1800
SEARCH_PARAMETERS = ("q", "query", "s", "search", "searchword", "k", "keyword", "keywords")
HEADLESS = re.compile("headless|phantomjs|slimerjs|puppeteer|playwright", re.IGNORECASE)
LINE = re.compile(
    r"^(?P<ip>[^ ]+) [^ ]+ .*?\[(?P<time>\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "
    r'"(?P<request>(?:\\.|[^"\\])*)" (?P<status>\d\d\d) (?:-|\d+)'
    r'(?: "(?P<referrer>(?:\\.|[^"\\])*)" "(?P<agent>(?:\\.|[^"\\])*)")?'
)


@cache
def endings() -> frozenset[str]:
    """The endings of what is no page, from the README's sentence."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    sentence = readme.partition("its path does not end in one of:")[2].partition(".")[0]
    return frozenset(re.findall("`([a-z0-9]+)`", sentence))


@cache
def is_bot(agent: str) -> bool:
    if agent in ("", "-"):
        return True
    device = parse_device(agent)
    spider = device is not None and device.family == "Spider"
    return spider or bool(HEADLESS.search(agent)) or bool(CrawlerDetect(user_agent=agent).isCrawler())


def is_search(target: str) -> bool:
    given = parse_qs(urlsplit("http://site" + target).query)
    return any(value.strip() for name in SEARCH_PARAMETERS for value in given.get(name, [])[:1])


def count(lines: list[bytes]) -> dict[str, object]:
    """Every line is one of: accepted (of a bot or a person), refused for a reason, not understood."""
    refused: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    visits: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for raw in lines:
        counts["lines"] += 1
        if not raw.strip():
            refused["empty"] += 1
            continue
        match = LINE.match(raw.decode("utf-8", "replace"))
        if match is None:
            counts["not_understood"] += 1
            continue
        at = _time(match["time"])
        if at is None:
            counts["not_understood"] += 1
            continue
        method, _, rest = match["request"].partition(" ")
        target = re.sub(r" HTTP/[0-9.]+$", "", rest)
        if method != "GET":
            refused["method"] += 1
        elif not (match["status"].startswith("2") or match["status"] == "304"):
            refused["status"] += 1
        elif _ending(target) in endings():
            refused["asset"] += 1
        else:
            counts["accepted"] += 1
            counts["with_search"] += is_search(target)
            # A log without agents says nothing about them; one with agents says `-` of who sent none.
            if match["agent"] is not None and is_bot(match["agent"]):
                counts["bots"] += 1
                continue
            counts["pageviews"] += 1
            counts["searches"] += is_search(target)
            visits[match["ip"], match["agent"] or ""].append(at)
    sessions = sum(
        1 + sum(later - sooner > GAP_SECONDS for sooner, later in itertools.pairwise(times))
        for times in map(sorted, visits.values())
    )
    return {
        **{name: counts[name] for name in ("lines", "accepted", "bots", "not_understood", "with_search")},
        "refused": sum(refused.values()),
        "reasons": dict(refused),
        "pageviews": counts["pageviews"],
        "searches": counts["searches"],
        "visitors": len(visits),
        "visits": sessions,
        "first": min((min(times) for times in visits.values()), default=0),
        "last": max((max(times) for times in visits.values()), default=0),
    }


def _time(text: str) -> float | None:
    try:
        return datetime.strptime(text, "%d/%b/%Y:%H:%M:%S %z").timestamp()
    except ValueError:
        return None


def _ending(target: str) -> str:
    name = target.partition("?")[0].rpartition("/")[2]
    return name.rpartition(".")[2].lower() if "." in name else ""


if __name__ == "__main__":
    with Path(sys.argv[1]).open("rb") as log:
        sys.stdout.write(json.dumps(count(list(log))) + "\n")
