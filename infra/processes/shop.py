"""The shop of the demo: who comes on a day and what they do, the same at every call for the same day.

Nothing here knows the time or sends anything. A day has more visits than the one a week before, until there are more
than twice as many as at first, more at the weekend and by day than by night. More than half of the visits are of
somebody who was here before, with the same browser and language. A visit goes from page to page as `_NEXT` says, so
fewer reach each step towards a purchase.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from random import Random
from typing import Any, NamedTuple

_VISITS = 210  # on a working day of the first week
_GROWTH = 0.018  # a day
_MOST_GROWN = 2.2
_WEEKDAYS = (0.94, 0.92, 0.95, 1.0, 1.04, 1.3, 1.36)
_NEW = 0.45  # share of the visits whose visitor was never here before; in 30 days below 10,000, so all is exact
_BACK_AFTER = 8.0  # days until a visitor comes back, on average
_ROBOTS = 0.02
_HOUR_MS = 3_600_000

Weighted = Sequence[tuple[str, int]]

_PRODUCTS = (
    ("/boots/ridge-mid", "Ridge Mid hiking boots", 189.0, 17),
    ("/boots/valley-low", "Valley Low trail shoes", 129.0, 12),
    ("/jackets/drizzle", "Drizzle rain jacket", 149.0, 14),
    ("/jackets/down-lite", "Down Lite jacket", 219.0, 8),
    ("/tents/two-person", "Tent for two", 329.0, 7),
    ("/socks/merino", "Merino socks", 19.0, 13),
    ("/packs/day-24", "Day pack 24", 89.0, 9),
)
_PRICES = {path: price for path, _, price, _ in _PRODUCTS}
# The pages of each kind: path, title, how often it is chosen.
_PAGES: dict[str, tuple[tuple[str, str, int], ...]] = {
    "home": (("/", "Ridge & Valley", 1),),
    "category": (
        ("/boots", "Boots and shoes", 9),
        ("/jackets", "Jackets", 8),
        ("/tents", "Tents", 4),
        ("/packs", "Packs", 3),
        ("/sale", "Sale", 7),
    ),
    "product": tuple((path, title, often) for path, title, _, often in _PRODUCTS),
    "guide": (
        ("/guide/how-boots-should-fit", "How boots should fit", 8),
        ("/guide/what-to-pack", "What to pack for three days", 5),
        ("/guide/caring-for-down", "Caring for down", 2),
    ),
    "other": (("/delivery", "Delivery and returns", 5), ("/stores", "Our stores", 3), ("/jobs", "Jobs", 1)),
    "search": (("/search", "Search", 1),),
    "cart": (("/cart", "Your basket", 1),),
    "checkout": (("/checkout", "Checkout", 1),),
    "purchase": (("/checkout/thanks", "Thank you", 1),),
}
# What comes after each kind of page or event; "leave" ends the visit.
_NEXT: dict[str, Weighted] = {
    "home": (("category", 38), ("product", 14), ("search", 12), ("guide", 6), ("other", 4), ("leave", 26)),
    "category": (("product", 52), ("category", 12), ("search", 6), ("home", 4), ("leave", 26)),
    "product": (("basket", 11), ("product", 26), ("category", 12), ("guide", 5), ("outbound", 2), ("leave", 42)),
    "guide": (("product", 17), ("guide", 12), ("download", 9), ("signup", 7), ("leave", 55)),
    "search": (("product", 56), ("search", 14), ("leave", 30)),
    "basket": (("cart", 64), ("product", 18), ("leave", 18)),
    "cart": (("checkout", 58), ("product", 12), ("leave", 30)),
    "checkout": (("purchase", 71), ("other", 5), ("leave", 24)),
    "purchase": (("signup", 18), ("leave", 82)),
    "lost": (("home", 40), ("search", 20), ("leave", 40)),
    "other": (("home", 18), ("category", 22), ("leave", 60)),
    "signup": (("product", 20), ("leave", 80)),
    "download": (("product", 15), ("leave", 85)),
    "outbound": (("leave", 1),),
}
_MOST_STEPS = 14
_BOOTS = "?utm_source=google&utm_medium=cpc&utm_campaign=autumn-boots&utm_term=hiking+boots&utm_content="
_RAIN = "?utm_source=google&utm_medium=cpc&utm_campaign=rainy-days&utm_term=rain+jacket&utm_content=picture"
_NEWSLETTER = "?utm_source=newsletter&utm_medium=email&utm_campaign=weekly-letter&utm_content=first-link"
# Where visits come from: the referrer, the query of the first address, its kind of page, how many.
_ORIGINS = (
    ("", "", "home", 26),
    ("", "", "product", 5),
    ("https://www.google.com/", "", "product", 14),
    ("https://www.google.com/", "", "guide", 9),
    ("https://www.google.com/", "", "home", 7),
    ("https://www.google.com/", f"{_BOOTS}picture", "category", 5),
    ("https://www.google.com/", f"{_BOOTS}text", "product", 3),
    ("https://www.google.com/", _RAIN, "product", 3),
    ("https://duckduckgo.com/", "", "home", 5),
    ("https://www.bing.com/", "", "category", 4),
    ("https://www.instagram.com/", "", "product", 8),
    ("https://www.reddit.com/r/hiking/", "", "guide", 4),
    ("https://trails.example.org/reviews", "", "product", 3),
    ("https://trails.example.org/old-links", "", "lost", 2),
    ("https://chatgpt.com/", "", "guide", 3),
)
_FILES = (("/files/size-chart.pdf", 6), ("/files/packing-list.pdf", 3), ("/files/catalogue.pdf", 1))
_LINKS = (("https://www.instagram.com/ridge.and.valley", 5), ("https://trails.example.org/reviews/ridge-mid", 3))
_FROM_NEWSLETTER = (0.02, 0.16, 0.05, 0.02, 0.01, 0.01, 0.01)  # it is sent on Tuesdays
_TERMS = (
    ("trail shoes", 9), ("rain jacket", 8), ("size chart", 5), ("wool socks", 5), ("gift card", 4), ("returns", 3),
    ("two person tent", 3), ("ski poles", 3), ("kayak", 2), ("dog coat", 1),
)  # fmt: skip
_FINDS_NOTHING = ("ski poles", "kayak", "dog coat")
_LANGUAGES = (
    ("en-US", 28), ("en-GB", 16), ("de-DE", 22), ("fr-FR", 11), ("nl-NL", 7), ("es-ES", 6), ("sv-SE", 5), ("ja-JP", 3),
)  # fmt: skip
_WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
_MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/"
_IOS = " CPU {} OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
_ANDROID = "Mozilla/5.0 (Linux; Android 15; {}) AppleWebKit/537.36 (KHTML, like Gecko) "
# Agent, screen, how many.
_BROWSERS = (
    (f"Mozilla/5.0 (iPhone;{_IOS.format('iPhone')}", "390x844", 25),
    (f"{_ANDROID.format('Pixel 9')}Chrome/140.0.0.0 Mobile Safari/537.36", "412x915", 20),
    (f"{_ANDROID.format('SM-S921B')}SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36", "360x780", 6),
    (f"{_WINDOWS}Chrome/140.0.0.0 Safari/537.36", "1920x1080", 21),
    (f"{_WINDOWS}Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0", "1536x864", 7),
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:142.0) Gecko/20100101 Firefox/142.0", "1920x1080", 4),
    (f"{_MAC}605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15", "1440x900", 8),
    (f"{_MAC}537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36", "1512x982", 4),
    ("Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0", "2560x1440", 3),
    (f"Mozilla/5.0 (iPad;{_IOS.format('')}", "820x1180", 3),
)
_ROBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


class Happening(NamedTuple):
    """One event: when (Unix ms), the browser that sends it, and its JSON as `POST /collect` takes it."""

    at: int
    agent: str
    event: dict[str, Any]


def happenings(site: str, since: date, day: date) -> list[Happening]:
    """All events of the visits that begin on a day (UTC), in the order of time; `since` is the shop's first day."""
    begins = round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
    found: list[Happening] = []
    for number in range(visits_on(since, day)):
        dice = Random(f"{site} {day} {number}")  # noqa: S311 - pretend visitors
        begin = begins + int(dice.choices(range(24), _HOURS)[0] * _HOUR_MS + dice.random() * _HOUR_MS)
        found += _Visit(site, dice, _visitor(dice, site, since, day, number), begin).events(day)
    return sorted(found, key=lambda each: each.at)


def visits_on(since: date, day: date) -> int:
    """How many visits begin on a day."""
    grown = min(_MOST_GROWN, 1 + _GROWTH * (day - since).days)
    noise = Random(f"{since} {day}").gauss(1, 0.05)  # noqa: S311
    return round(_VISITS * grown * _WEEKDAYS[day.weekday()] * noise)


def _daylight(hour: int) -> float:
    """How many come in an hour (UTC): fewest at 3, most at 18; visitors of several time zones, so never nobody."""
    return 1.0 - 0.72 * math.cos((hour - 3) / 24 * 2 * math.pi) + (0.35 if 17 <= hour <= 20 else 0)


_HOURS = tuple(_daylight(hour) for hour in range(24))


@lru_cache(maxsize=65_536)
def _is_new(site: str, day: date, number: int) -> bool:
    return Random(f"{site} {day} {number} new").random() < _NEW  # noqa: S311


def _visitor(dice: Random, site: str, since: date, day: date, number: int) -> str:
    """The name of who makes the visit `number` of a day: somebody new, or who was new on a day before."""
    if day > since and not _is_new(site, day, number):
        first = max(since, day - timedelta(days=1 + int(dice.expovariate(1 / _BACK_AFTER))))
        for _ in range(4):
            earlier = dice.randrange(visits_on(since, first))
            if _is_new(site, first, earlier):
                return f"{first}-{earlier}"
    return f"{day}-{number}"


class _Visit:
    """One visit, from its first page on."""

    def __init__(self, site: str, dice: Random, visitor: str, begin: int) -> None:
        person = Random(f"{site} {visitor}")  # noqa: S311 - the same visitor keeps browser and language
        self._site = site
        self._dice = dice
        self._visitor = visitor
        self._at = begin
        agents = [(agent, screen) for agent, screen, _ in _BROWSERS]
        self._agent, self._screen = person.choices(agents, [often for *_, often in _BROWSERS])[0]
        self._language = _one(person, _LANGUAGES)
        self._basket: list[str] = []
        self._path = "/"
        self._found: list[Happening] = []

    def events(self, day: date) -> Iterator[Happening]:
        """The events of the visit. Their ids say which they are, so sending them again adds nothing."""
        if self._dice.random() < _ROBOTS:
            self._agent = _ROBOT
            for _ in range(3):
                self._view(self._dice.choice(("home", "category", "product")))
        else:
            self._walk(day)
        begin = self._found[0].at
        for number, each in enumerate(self._found):
            yield each._replace(event=each.event | {"id": f"{self._visitor}-{begin}-{number}"})

    def _walk(self, day: date) -> None:
        referrer, query, kind = self._origin(day)
        self._step(kind, referrer, query)
        for _ in range(_MOST_STEPS):
            kind = _one(self._dice, _NEXT[kind])
            if kind == "leave":
                return
            self._step(kind)

    def _origin(self, day: date) -> tuple[str, str, str]:
        if self._dice.random() < _FROM_NEWSLETTER[day.weekday()]:
            return "", _NEWSLETTER, "category"
        referrer, query, kind, _ = self._dice.choices(_ORIGINS, [often for *_, often in _ORIGINS])[0]
        return referrer, query, kind

    def _step(self, kind: str, referrer: str = "", query: str = "") -> None:
        match kind:
            case "basket":
                path = self._path if self._path in _PRICES else _PRODUCTS[0][0]
                self._basket.append(path)
                self._happen("custom", name="Add to basket", props={"product": path.rpartition("/")[2]})
            case "signup":
                plan = _one(self._dice, (("letter", 6), ("member", 3), ("member plus", 1)))
                self._happen("custom", name="Sign up", props={"plan": plan})
            case "download":
                self._happen("download", name=_one(self._dice, _FILES))
            case "outbound":
                self._happen("outbound", name=_one(self._dice, _LINKS))
            case "lost":
                self._path = self._dice.choice(("/boots/ridge-2019", "/winter-2023", "/guides/old-map"))
                self._happen("not_found", referrer=referrer)
                self._stay(6)
            case _:
                self._view(kind, referrer, query)

    def _view(self, kind: str, referrer: str = "", query: str = "") -> None:
        pages = _PAGES[kind]
        self._path, title, _ = self._dice.choices(pages, [often for *_, often in pages])[0]
        self._happen("pageview", query, title=title, referrer=referrer)
        if kind == "search":
            term = _one(self._dice, _TERMS)
            results = 0 if term in _FINDS_NOTHING else self._dice.randrange(2, 30)
            self._happen("search", search={"term": term, "results": results})
        if kind == "purchase":
            total = sum(_PRICES[path] for path in self._basket)
            bought = {"revenue": total, "currency": "EUR", "items": len(self._basket)}
            self._happen("custom", name="Purchase", props=bought)
        self._stay(40 if kind == "guide" else 18)

    def _stay(self, seconds: float) -> None:
        stays = int(min(480.0, 2 + seconds * self._dice.lognormvariate(0, 0.8)) * 1000)
        self._at += stays
        if self._agent != _ROBOT and self._dice.random() < 0.9:
            self._happen("engagement", engaged_ms=int(stays * self._dice.uniform(0.6, 0.95)))

    def _happen(self, kind: str, query: str = "", **more: Any) -> None:
        self._at += self._dice.randrange(50, 900)
        event = {
            "site": self._site,
            "type": kind,
            "url": f"https://{self._site}{self._path}{query}",
            "visitor": self._visitor,
            "ts": self._at,
            "language": self._language,
            "screen": self._screen,
        }
        event |= {name: value for name, value in more.items() if value}
        self._found.append(Happening(self._at, self._agent, event))


def _one(dice: Random, weighted: Weighted) -> str:
    return dice.choices([text for text, _ in weighted], [weight for _, weight in weighted])[0]
