"""Fifteen days of a shop's visits, the same at every run, told to `POST /collect` as a server would."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Sequence
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.harness import PATIENCE, Up

DAYS = 15
DAY = 86_400_000
_MINUTE = 60_000

# Networks of documentation, so that none is anybody's.
PLACES = {
    "203.0.113.0/26": ("DE", "Berlin"),
    "203.0.113.64/26": ("FR", "Lyon"),
    "203.0.113.128/26": ("NL", "Utrecht"),
    "203.0.113.192/26": ("SE", "Malmö"),
    "198.51.100.0/25": ("US", "Portland"),
    "198.51.100.128/25": ("GB", "Leeds"),
}
_NETWORKS = (("203.0.113.", 0, 38), ("203.0.113.", 64, 17), ("203.0.113.", 128, 12), ("203.0.113.", 192, 7))
_MORE_NETWORKS = (("198.51.100.", 0, 16), ("198.51.100.", 128, 10))
_SEARCHES = ("trail shoes", "rain jacket", "size chart", "returns", "wool socks", "tent", "gift card")
_PAGES = (
    ("/", 30),
    ("/boots", 16),
    ("/boots/ridge-mid", 11),
    ("/jackets", 12),
    ("/jackets/drizzle", 8),
    ("/tents/two-person", 7),
    ("/guide/how-boots-should-fit", 9),
    ("/sale", 8),
    ("/delivery", 5),
)
_REFERRERS = (
    ("", 34),
    ("https://www.google.com/", 30),
    ("https://duckduckgo.com/", 7),
    ("https://www.bing.com/", 6),
    ("https://www.instagram.com/", 8),
    ("https://www.reddit.com/r/hiking/", 6),
    ("https://trails.example.org/reviews", 5),
    ("https://chatgpt.com/", 2),
)
_WINDOWS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
)
_AGENTS = (
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        "Version/18.5 Mobile/15E148 Safari/604.1",
        26,
    ),
    (
        "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 "
        "Mobile Safari/537.36",
        24,
    ),
    (_WINDOWS, 24),
    (f"{_WINDOWS} Edg/141.0.0.0", 7),
    (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        "Version/18.5 Safari/605.1.15",
        9,
    ),
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0", 8),
    (
        "Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 "
        "Mobile/15E148 Safari/604.1",
        4,
    ),
)
_ROBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


def send(up: Up, site: str, key: str, now: int | None = None) -> int:
    """Send it all; the number of page views of persons."""
    now = now or time.time_ns() // 1_000_000
    dice = random.Random(20)
    address = urlsplit(up.tracking)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE)
    pageviews = 0
    try:
        for number, begun in enumerate(_beginnings(dice, now)):
            robot = dice.random() < 0.03
            events = _visit(dice, site, f"v{number if dice.random() < 0.8 else dice.randrange(number + 1)}", begun, now)
            headers = {
                "Authorization": f"Bearer {key}",
                "User-Agent": _ROBOT if robot else _one(dice, _AGENTS),
                "X-Forwarded-For": _address(dice),
            }
            connection.request("POST", "/collect", json.dumps({"events": events}), headers)
            response = connection.getresponse()
            answer = json.load(response)
            assert answer["accepted"] == len(events), answer
            pageviews += 0 if robot else sum(event["type"] == "pageview" for event in events)
    finally:
        connection.close()
    return pageviews


def _beginnings(dice: random.Random, now: int) -> list[int]:
    """When visits begin: more by day than by night, more at the weekend, more lately, some just now."""
    found: list[int] = []
    for hour in range(DAYS * 24):
        at = now - (hour + 1) * DAY // 24
        daylight = 0.55 - 0.45 * math.cos((at % DAY / DAY - 0.125) * 2 * math.pi)
        weekend = 1.35 if (at // DAY + 3) % 7 >= 5 else 1.0
        growth = 1.25 - 0.5 * hour / (DAYS * 24)
        count = round(dice.gauss(5.0, 1.2) * daylight * weekend * growth)
        found += [at + dice.randrange(DAY // 24) for _ in range(count)]
    return sorted(found) + [now - dice.randrange(4 * _MINUTE) for _ in range(5)]


def _visit(dice: random.Random, site: str, visitor: str, begun: int, now: int) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    at, referrer = begun, _one(dice, _REFERRERS)

    def happen(kind: str, path: str, **more: Any) -> None:
        event = {"site": site, "type": kind, "url": f"https://{site}{path}", "visitor": visitor, "ts": min(at, now)}
        events.append(event | {"id": f"{visitor}-{begun}-{len(events)}"} | more)

    for _ in range(min(9, 1 + int(dice.expovariate(0.6)))):
        path = _one(dice, _PAGES)
        happen("pageview", path, referrer=referrer)
        referrer = ""
        stays = dice.randrange(8_000, 2 * _MINUTE)
        at += stays
        happen("engagement", path, engaged_ms=stays * 3 // 4)
        if dice.random() < 0.12:
            term = dice.choice(_SEARCHES[: 1 + dice.randrange(len(_SEARCHES))])
            happen("pageview", f"/find?q={term.replace(' ', '+')}")
            at += dice.randrange(5_000, _MINUTE)
        if path.count("/") == 2 and dice.random() < 0.3:
            happen("custom", path, name="Add to basket", props={"pairs": 1})
            if dice.random() < 0.4:
                happen("custom", path, name="Order")
    return events


def _address(dice: random.Random) -> str:
    networks = _NETWORKS + _MORE_NETWORKS
    start, low, _ = dice.choices(networks, [weight for _, _, weight in networks])[0]
    return f"{start}{low + dice.randrange(1, 60)}"


def _one(dice: random.Random, weighted: Sequence[tuple[str, int]]) -> str:
    return dice.choices([text for text, _ in weighted], [weight for _, weight in weighted])[0]
