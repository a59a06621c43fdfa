"""`up --demo`: synthetic visitors who behave like people, sent the way any server would send them.

Each visit is one request to `POST /collect` with the site's secret key, which allows it to name times, visitors and
agents. The last seven days are sent at once, then visits as they happen, more by day than by night. The product treats
them like any other sender's: the demo uses the public interface and nothing else.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import random
import select
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple

from activity.definitions import DAY_MS
from infra import addresses
from infra.processes import control
from infra.settings import Settings

_DAYS = 7
_VISITS_A_DAY = 220
_PAUSE = 2.0  # seconds between two live visits, on average

_PAGES = (
    ("/", "Welcome", 30),
    ("/pricing", "Pricing", 12),
    ("/docs", "Documentation", 14),
    ("/docs/install", "Install", 10),
    ("/docs/embed", "Embed the beacon", 7),
    ("/blog", "Blog", 9),
    ("/blog/sessions-at-midnight", "Sessions at midnight", 6),
    ("/blog/what-a-bounce-is", "What a bounce is", 5),
    ("/about", "About", 4),
)
_REFERRERS = (
    ("", 40),
    ("https://www.google.com/", 26),
    ("https://duckduckgo.com/", 5),
    ("https://www.bing.com/", 4),
    ("https://news.ycombinator.com/", 7),
    ("https://www.reddit.com/r/selfhosted/", 5),
    ("https://github.com/", 6),
    ("https://t.co/abc", 3),
    ("https://chatgpt.com/", 2),
)
_CAMPAIGNS = (("", 90), ("?utm_source=newsletter&utm_medium=email&utm_campaign=spring", 10))
_TERMS = (("install", 6), ("docker", 5), ("gdpr", 3), ("retention", 3), ("funnels", 2), ("kubernetes", 1), ("xyzzy", 1))
_WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
_MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/"
_AGENTS = (
    (_WINDOWS + "Chrome/140.0.0.0 Safari/537.36", 30),
    (_WINDOWS + "Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0", 8),
    (_MAC + "605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15", 14),
    (_MAC + "537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36", 10),
    ("Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0", 9),
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        "Version/18.5 Mobile/15E148 Safari/604.1",
        18,
    ),
    (
        "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 "
        "Mobile Safari/537.36",
        11,
    ),
    ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", 3),
)


class Visit(NamedTuple):
    """The events of one visit, as the JSON of `POST /collect`, and the browser that sends them."""

    agent: str
    events: list[dict[str, Any]]


def run(settings: Settings, site: str, key: str, follow: int) -> None:
    """Sends visits until the pipe `follow` closes, because the parent closed it or is gone."""
    dice = random.Random()  # noqa: S311 - pretend visitors
    collect = f"{addresses.address(settings.host, settings.port)}/collect"
    now = _now()
    for visit in history(dice, site, now):
        _send(collect, key, visit)
        if _gone(follow, 0):
            return
    # These visits happened days ago: rebuild their days now rather than at the next round.
    if (found := control.find(settings.data)) is not None:
        for verb in ("load", "reconcile"):
            for _ in found.call(verb, {}):
                pass
    while not _gone(follow, dice.expovariate(1 / _PAUSE) * (1.6 - _daylight(_now()))):
        _send(collect, key, one_visit(dice, site, _now(), live=True))


def history(dice: random.Random, site: str, now: int) -> Iterator[Visit]:
    """Yields the visits of the last days before `now` (Unix ms), in order."""
    starts = sorted(now - int(dice.random() * _DAYS * DAY_MS) for _ in range(_DAYS * _VISITS_A_DAY))
    for start in starts:
        if dice.random() < _daylight(start) and start < now - 1_800_000:
            yield one_visit(dice, site, start, live=False)


def one_visit(dice: random.Random, site: str, start: int, *, live: bool) -> Visit:
    """One person's visit from `start` (Unix ms): one or more pages, sometimes a search, a sign-up or a download."""
    visitor = f"visitor-{int(dice.random() ** 1.5 * 1500)}"  # some come back often, most once or twice
    agent = _one(random.Random(visitor), _AGENTS)  # noqa: S311 - the same visitor keeps the same browser
    at = start
    referrer = _one(dice, _REFERRERS)
    query = _one(dice, _CAMPAIGNS)
    events: list[dict[str, Any]] = []

    def happen(kind: str, path: str, **more: Any) -> None:
        events.append(
            {"site": site, "type": kind, "url": f"https://{site}{path}", "visitor": visitor, "ts": at, **more}
        )

    for step in range(min(9, 1 + int(dice.expovariate(0.65)))):
        path, title, _ = _row(dice)
        happen("pageview", path + (query if step == 0 else ""), title=title, referrer=referrer if step == 0 else "")
        stay = int(min(400, 4 + dice.lognormvariate(3.1, 0.9)) * 1000)
        at = start if live else at + stay
        if dice.random() < 0.7:
            happen("engagement", path, engaged_ms=int(stay * 0.8))
        if dice.random() < 0.08:
            term = _one(dice, _TERMS)
            happen("search", f"/search?q={term}", search={"term": term, "results": 0 if term == "xyzzy" else 7})
        if path == "/pricing" and dice.random() < 0.2:
            happen("custom", path, name="signup", props={"plan": dice.choice(["free", "team"])})
        if path == "/docs/install" and dice.random() < 0.3:
            happen("download", "/files/footfall.tar.gz", name="footfall.tar.gz")
    return Visit(agent, events)


def _send(collect: str, key: str, visit: Visit) -> None:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", "User-Agent": visit.agent}
    request = urllib.request.Request(collect, json.dumps({"events": visit.events}).encode(), headers)  # noqa: S310
    try:
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310 - our own port
    except (urllib.error.URLError, http.client.HTTPException, OSError):
        return  # synthetic visitors do not retry; the service counts what it could not take


def _gone(follow: int, seconds: float) -> bool:
    """Waits for `seconds`, or until the other end of the pipe closes, which makes it readable."""
    readable, _, _ = select.select([follow], [], [], seconds)
    return bool(readable) and not os.read(follow, 1)


def _daylight(at: int) -> float:
    """0.15 in the dead of night, 1 in the afternoon (UTC)."""
    return 0.575 - 0.425 * math.cos((at % DAY_MS / DAY_MS - 0.125) * 2 * math.pi)


def _one(dice: random.Random, weighted: tuple[tuple[str, int], ...]) -> str:
    return dice.choices([text for text, _ in weighted], [weight for _, weight in weighted])[0]


def _row(dice: random.Random) -> tuple[str, str, int]:
    return dice.choices(_PAGES, [weight for _, _, weight in _PAGES])[0]


def _now() -> int:
    return time.time_ns() // 1_000_000
