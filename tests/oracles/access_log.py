"""What a web server's log holds, counted by a script of its own: `python access_log.py FILE`, one JSON object.

It reads the lines its own way and knows its own rule of a visit, and imports nothing of the product. The verdict
on bots is that of the libraries which the product names (crawlerdetect, ua-parser's spiders, whatever calls itself
headless, who sends no agent, and of whom ua-parser knows nothing at all), but that desktop applications and browsers
of terminals are people's; the endings that make no page are those which the README lists.

A line is read backwards from how the product does it: first its quoted parts are marked, then what lies between them.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections import Counter, defaultdict
from datetime import datetime
from functools import cache
from ipaddress import IPv6Address
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from crawlerdetect import CrawlerDetect
from ua_parser import parse

ROOT = Path(__file__).parents[2]
GAP_SECONDS = 1800
SEARCH_PARAMETERS = ("q", "query", "s", "search", "searchword", "k", "keyword", "keywords")
HEADLESS = re.compile("headless|phantomjs|slimerjs|puppeteer|playwright", re.IGNORECASE)
QUOTED = re.compile(r'(?<![^\s])"((?:[^"\\]|\\.)*)"(?![^\s])')
TIME = re.compile(
    r"\[(?P<day>\d\d/[A-Z][a-z][a-z]/\d{4}):(?P<clock>\d\d:\d\d:\d\d)(?P<fraction>[.,]\d+)?\s+(?P<zone>[+-]\d\d:?\d\d)\]"
    r"|\[(?P<iso>\d{4}-\d\d-\d\d[^]]+)\]"
)
FOUR = re.compile(r"(?<![\w.])(\d{1,3}(?:\.\d{1,3}){3})(?::\d+)?(?![\w.])")
SIX = re.compile(r"(?<![\w:])\[?((?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f.]*)(?:%\w+)?(?:\]:\d+|\])?(?![\w:])")
ADDRESS_OF_PAGE = re.compile("[a-zA-Z][a-zA-Z0-9+.-]*://")
TERMINAL = re.compile(r"(lynx|links|elinks|w3m|emacs-w3m|edbrowse|retawq|browsh)([ /(]|$)", re.IGNORECASE)
APPLICATION = re.compile(r"(?<=like Gecko\) )(.*?)(?=Chrome/.* Electron/)")
OLD_PHONE = re.compile(r"midp|cldc|j2me|\bwap\b|mobi|browser", re.IGNORECASE)


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
    known = parse(agent)
    device = known.device.family if known.device else ""
    if device == "Spider" or HEADLESS.search(agent):
        return True
    nothing = not (known.user_agent or known.os) and device in ("", "Generic Feature Phone")
    if nothing and not TERMINAL.match(agent) and not OLD_PHONE.search(agent):
        return True
    if TERMINAL.match(agent):
        agent = re.sub("libwww-FM/[^ ]*", "", agent)
    application = APPLICATION.search(agent)
    if application and not re.search("bot|crawl|spider", application[1], re.IGNORECASE):
        agent = APPLICATION.sub("", agent)
    return bool(CrawlerDetect(user_agent=agent).isCrawler())


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
        if raw.startswith(b"#"):
            refused["comment"] += 1
            continue
        line = read(raw.decode("utf-8", "replace").rstrip("\r\n"))
        if line is None:
            counts["not_understood"] += 1
            continue
        ip, at, request, status, agent = line
        method, _, rest = request.partition(" ")
        target = re.sub(r" HTTP/[0-9.]+$", "", rest)
        if method != "GET":
            refused["method"] += 1
        elif not (status.startswith("2") or status == "304"):
            refused["status"] += 1
        elif _ending(target) in endings():
            refused["asset"] += 1
        else:
            counts["accepted"] += 1
            counts["with_search"] += is_search(target)
            # A log without agents says nothing about them; one with agents says `-` of who sent none.
            if agent is not None and is_bot(agent):
                counts["bots"] += 1
                continue
            counts["pageviews"] += 1
            counts["searches"] += is_search(target)
            visits[ip, agent or ""].append(at)
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


def read(line: str) -> tuple[str, float, str, str, str | None] | None:
    """Address, time, request, status and agent."""
    time = TIME.search(line)
    if time is None:
        return None
    ip, at = _address(line[: time.start()]), _time(time)
    # What is quoted, and with one letter in its place the rest.
    after, quoted = line[time.end() :], QUOTED.findall(line[time.end() :])
    plain = QUOTED.sub("\0", after)
    found = re.search(r"\0\s+(\d\d\d)\s+(?:-|\d+)(?=\s|$)(.*)", plain)
    if ip is None or at is None or found is None or re.search(r'(?<!\S)"', plain) or '"' in plain[: found.start()]:
        return None
    first = plain[: found.start()].count("\0")
    given = quoted[first + 1 :]
    agent: str | None
    if not given:
        agent = None
    elif len(given) == 1:
        return None
    elif len(given) == 2:
        agent = given[1]
    else:
        fits = [
            second
            for one, second in itertools.pairwise(given)
            if (one in ("", "-") or ADDRESS_OF_PAGE.match(one)) and not ADDRESS_OF_PAGE.match(second)
        ]
        if not fits:
            return None
        agent = fits[0]
    return ip, at, quoted[first], found[1], agent


def _address(head: str) -> str | None:
    """The first address: a file's name or a host may stand before it."""
    for word in head.replace(",", " ").replace('"', " ").split():
        for part in (word, word.partition(":")[2]):
            four = FOUR.fullmatch(part)
            if four and all(int(number) < 256 for number in four[1].split(".")):
                return ".".join(str(int(number)) for number in four[1].split("."))
            six = SIX.fullmatch(part)
            try:
                parsed = IPv6Address(six[1]) if six else None
            except ValueError:
                continue
            if parsed is not None:
                return str(parsed.ipv4_mapped or parsed)
    return None


def _time(time: re.Match[str]) -> float | None:
    try:
        if time["iso"]:
            return datetime.fromisoformat(time["iso"]).timestamp()
        text = f"{time['day']}:{time['clock']} {time['zone']}"
        return datetime.strptime(text, "%d/%b/%Y:%H:%M:%S %z").timestamp()
    except ValueError:
        return None


def _ending(target: str) -> str:
    path = re.sub(";jsessionid=[^/;]*", "", unquote(target.partition("?")[0]), flags=re.IGNORECASE)
    name = path.rpartition("/")[2]
    return name.rpartition(".")[2].lower() if "." in name else ""


if __name__ == "__main__":
    with Path(sys.argv[1]).open("rb") as log:
        sys.stdout.write(json.dumps(count(list(log))) + "\n")
