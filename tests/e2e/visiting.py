"""Many visits of days in the past, made up, told to `POST /collect` as a server would, and what they amount to."""

from __future__ import annotations

import random
import re
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta
from functools import partial
from http.client import HTTPException
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from tests.e2e.conftest import Start
from tests.e2e.harness import AGENT, Up, footfall, secret_key, until
from tests.patience import patient

BEHIND_A_PROXY = ("--proxies", "127.0.0.1")
GAP = 1_800_000
MINUTE = 60_000
A_WHILE = patient(600)
PEOPLE = 30
TAGS = "?utm_source=Ad+%231&utm_term=gr%C3%BCn&utm_content=b"
PAGES = ("/", "/tea", "/tea/gr%C3%BCn", "/cups", "/cups/blue", "/.well-known/tea", "/help")
REFERRERS = ("", "", "https://www.google.com/", "https://news.example.org/a", "https://www.reddit.com/r/tea/")
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5"
AGENTS = (AGENT, f"{CHROME} Safari/537.36", f"{PHONE} Mobile/15E148 Safari/604.1")
ROBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
PROPS: tuple[dict[str, Any], ...] = (
    {},
    {"plan": "pro", "seats": 3},
    {"plan": "free", "seats": 30, "gift": True},
    {"plan": "", "note": None, "gift": False},
    {"note": 'grün "3"', "plan": "3", "price": 1.5},
)


class Visit(NamedTuple):
    """One request of the site's server for one of its visitors."""

    site: str
    agent: str
    address: str
    events: list[dict[str, Any]]


def visits_on(site: str, zone: str, day: date, count: int, *, named: bool) -> list[Visit]:
    """The same at every call. Visitors that are `named` have ids that last."""
    dice = random.Random(f"{site} {day} {named}")
    return [visit(dice, site, zone, day, number, named) for number in range(count)]


def instant(zone: str, day: date) -> int:
    return round(datetime.combine(day, time(), ZoneInfo(zone)).timestamp() * 1000)


def visit(dice: random.Random, site: str, zone: str, day: date, number: int, named: bool) -> Visit:
    start, end = instant(zone, day), instant(zone, day + timedelta(days=1))
    # Some go on over midnight. Some steps are as long as a visit's longest, or by a millisecond longer.
    at = dice.randrange(start, end) if number % 9 else end - dice.randrange(1, 4 * MINUTE)
    who, referrer, path, events = dice.randrange(PEOPLE), dice.choice(REFERRERS), "/", list[dict[str, Any]]()

    def happen(kind: str, query: str = "", **more: Any) -> None:
        event = {"site": site, "type": kind, "url": f"https://{site}{path}{query}", "ts": at}
        own = {"id": f"{day}/{number}/{len(events)}/{named}"} | ({"visitor": f"v{who}"} if named else {})
        events.append(event | own | more)

    if dice.random() < 0.2:  # tells nothing of an origin, so the visit's is that of its first page
        happen("custom", name="opened by mail")
    for _ in range(dice.randrange(1, 5)):
        path = dice.choice((*PAGES, f"/only/{number}"))
        query = dice.choice(("", "", "?q=Green+Tea", "?utm_source=letter&utm_medium=email&utm_campaign=autumn", TAGS))
        happen("pageview", query, referrer=referrer, props=dice.choice(({}, {"plan": "of a page"})))
        referrer = ""
        at += dice.choice((dice.randrange(5_000, 4 * MINUTE), dice.randrange(5_000, 4 * MINUTE), GAP, GAP + 1))
        if dice.random() < 0.3:
            results = dice.choice(({}, {"results": 0}, {"results": 7}))
            happen("search", search={"term": dice.choice(("cup", "pot", "tea")), **results})
        if dice.random() < 0.2:
            left = dice.choice(({}, {"name": "to a friend"}, {"name": "x", "props": {"url": "https://tea.example.org/ü"}}))
            happen(dice.choice(("outbound", "download")), **left)
        if dice.random() < 0.1:
            path = dice.choice(("/gone", "/gr%C3%BCn"))
            happen("not_found")
        if dice.random() < 0.3:
            path = dice.choice((path, "/thanks"))
            happen("custom", name=dice.choice(("signup", "order", "/tea")), props=dice.choice(PROPS))
            happen("engagement", engaged_ms=dice.randrange(20_000))
    return Visit(site, ROBOT if dice.random() < 0.05 else dice.choice(AGENTS), f"198.51.100.{who}", events)


def numbers(sent: Iterable[Visit]) -> dict[str, float]:
    """What it amounts to. An address with a search is a search, too."""
    found: Counter[str] = Counter({"events": 0, "pageviews": 0, "searches": 0, "bots": 0})
    for each in sent:
        kinds = [event["type"] for event in each.events] + ["search" for e in each.events if "?q=" in e["url"]]
        if each.agent == ROBOT:
            found["bots"] += len(kinds)
        else:
            found.update(events=len(kinds), pageviews=kinds.count("pageview"), searches=kinds.count("search"))
    return dict(found)


def arrived(up: Up, sent: Sequence[Visit]) -> None:
    """Until all that was sent is in the numbers, once."""
    for site in {each.site for each in sent}:
        up.shows(numbers(each for each in sent if each.site == site), site, A_WHILE)


class Storm:
    """Three senders of one list, who send each visit again until it is taken, whatever is killed meanwhile.

    They rest for `pace` seconds between two, until `hurry` is set."""

    def __init__(self, up: Up, visits: Iterable[Visit], copied: Iterable[Visit] = (), pace: float = 0) -> None:
        self.up, self.taken, self.hurry = up, 0, threading.Event()
        self._visits = [*visits, *copied]
        self._keys = {site: secret_key(up.data, site) for site in {each.site for each in self._visits}}
        random.Random(len(self._visits)).shuffle(self._visits)
        self.size = len(self._visits)
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send, args=(pace,)) for _ in range(3)]
        for thread in self._threads:
            thread.start()

    def over(self) -> None:
        self.hurry.set()
        for thread in self._threads:
            thread.join(A_WHILE)
        assert self.taken == self.size

    def _send(self, pace: float) -> None:
        while True:
            with self._lock:
                if not self._visits:
                    return
                each = self._visits.pop()
            until(partial(self._is_taken, each), "a visit is taken", A_WHILE)
            with self._lock:
                self.taken += 1
            self.hurry.wait(pace)

    def _is_taken(self, each: Visit) -> bool:
        headers = {"Authorization": f"Bearer {self._keys[each.site]}", "User-Agent": each.agent}
        try:
            status, _, answer = self.up.post({"events": each.events}, headers | {"X-Forwarded-For": each.address})
        except (OSError, HTTPException):
            return False
        assert status in (202, 503), answer
        return bool(status == 202)


def reconciled(up: Up) -> None:
    """Late events are in visits."""
    done = footfall("reconcile", "--data", str(up.data))
    assert done.returncode == 0, done.stderr


def killed(up: Up, start: Start, *arguments: str) -> Up:
    """Everything is killed; the next start on the same folder."""
    up.kill()
    up.gone()
    return start(*arguments).wait_ready()


def metric(up: Up, name: str) -> float:
    """-1 while there is no such metric."""
    found = re.search(rf"^footfall_{name} (\S+)$", up.get("/metrics")[1].decode(), re.MULTILINE)
    return float(found[1]) if found else -1
