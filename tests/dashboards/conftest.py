"""A real warehouse with known rows, and the application over it.

What happened is written as visits in plain Python (`VISITS`); the rows are made from them here, and the tests
compute the numbers that they expect from the same visits, without SQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from flask import Flask
from flask.testing import FlaskClient
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket

import stores
from dashboards.access import Access
from dashboards.app import create
from stores.accounts import Accounts
from stores.base import Live
from stores.filters import UTM
from stores.warehouse import Warehouse

BERLIN = "Europe/Berlin"
NOW = datetime(2026, 3, 31, 12, 0, tzinfo=ZoneInfo(BERLIN))


def ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


@dataclass(frozen=True)
class Visit:
    """One session: its start in the site's clock, and (seconds later, type, path, term or name) of each event."""

    visitor: int
    start: datetime
    events: list[tuple[int, str, str, str]]
    source: str = ""
    channel: str = "Direct"
    device: str = "desktop"
    browser: str = "Firefox"
    os: str = "Linux"
    country: str = ""
    city: str = ""
    campaign: str = ""
    tags: tuple[str, str, str, str] = ("", "", "", "")  # utm_source, utm_medium, utm_term, utm_content
    engaged: int = 0  # seconds, told by its first event
    site: str = "example.com"
    bot: str = ""
    lasts: bool = False  # the visitor's id: it was named by a trusted sender

    def of(self, kind: str) -> list[tuple[int, str, str, str]]:
        return [event for event in self.events if event[1] == kind]

    @property
    def seconds(self) -> int:
        return self.events[-1][0]

    @property
    def is_engaged(self) -> bool:
        return self.engaged > 10 or len(self.of("pageview")) > 1

    @property
    def is_bounce(self) -> bool:
        return len([event for event in self.events if event[1] in ("pageview", "custom")]) == 1


def at(day: int, hour: int, minute: int = 0, month: int = 3) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=ZoneInfo(BERLIN))


HOME, SHOES, CART = "/", "/shoes", "/cart"
VISITS = [
    Visit(1, at(27, 9), [(0, "pageview", HOME, ""), (40, "pageview", SHOES, ""), (100, "search", SHOES, "red shoes")],
          engaged=7),
    Visit(1, at(27, 15), [(0, "pageview", SHOES, "")], "google.com", "Organic Search", engaged=31),
    Visit(2, at(28, 0, 30), [(0, "pageview", SHOES, ""), (65, "custom", SHOES, "signup")], "bing.com", "Paid",
          campaign="spring", tags=("bing", "cpc", "<shoes>", "2")),
    # The night of 28 to 29 March the clocks of Berlin go from 2 to 3.
    Visit(3, at(29, 0, 5), [(0, "pageview", HOME, "")], device="mobile", browser="Safari", os="iOS"),
    Visit(4, at(29, 3, 10), [(0, "pageview", HOME, ""), (5, "search", HOME, "red shoes"), (9, "search", HOME, "hats"),
                            (9, "outbound", HOME, "https://out.example/"), (9, "download", HOME, "a.zip"),
                            (9, "not_found", "/gone", "")]),
    Visit(5, at(29, 23, 50), [(0, "pageview", HOME, ""), (1200, "pageview", CART, "")], "news.example", "Referral"),
    Visit(6, at(30, 0, 10), [(0, "pageview", CART, ""), (30, "custom", CART, "signup"), (31, "custom", CART, "buy")],
          lasts=True),
    Visit(6, at(31, 11, 58), [(0, "pageview", "/a?<b>&\"'", "")], country="DE", city="Köln", lasts=True),
    Visit(90, at(30, 5), [(0, "pageview", HOME, ""), (1, "pageview", SHOES, "")], bot="crawler"),
    Visit(7, at(29, 12), [(0, "pageview", HOME, "")], site="other.example"),
]  # fmt: skip


def event_rows(visits: list[Visit]) -> pl.DataFrame:
    rows = [
        {
            "site": visit.site,
            "visitor": visit.visitor,
            "id_hi": 1 + place,
            "id_lo": 1 + index,
            "type": kind,
            "occurred_at": ms(visit.start) + 1000 * after,
            "received_at": ms(visit.start) + 1000 * after + 5,
            "path": path,
            "term": text if kind == "search" else "",
            "name": "" if kind == "search" else text,
            "engaged_ms": 0 if index else 1000 * visit.engaged,
            **dict(zip(UTM, visit.tags, strict=True)),
            "bot": visit.bot,
            "enriched_by": "sources=1 visitor=named" if visit.lasts else "sources=1",
            "batch": 1,
        }
        for place, visit in enumerate(visits)
        for index, (after, kind, path, text) in enumerate(visit.events)
    ]
    return pl.DataFrame(rows)


def session_rows(visits: list[Visit]) -> pl.DataFrame:
    rows = [
        {
            "site": visit.site,
            "visitor": visit.visitor,
            "session_id": 1000 + place,
            "started_at": ms(visit.start),
            "ended_at": ms(visit.start) + 1000 * visit.seconds,
            "events": len(visit.events),
            "pageviews": len(visit.of("pageview")),
            "searches": len(visit.of("search")),
            "entry_page": visit.of("pageview")[0][2],
            "exit_page": visit.of("pageview")[-1][2],
            "is_bounce": visit.is_bounce,
            "is_engaged": visit.is_engaged,
            "engaged_ms": 1000 * visit.engaged,
            "source": visit.source,
            "channel": visit.channel,
            "device": visit.device,
            "browser": visit.browser,
            "os": visit.os,
            "country": visit.country,
            "city": visit.city,
            "utm_campaign": visit.campaign,
            "batch": 1,
        }
        for place, visit in enumerate(visits)
        if not visit.bot
    ]
    return pl.DataFrame(rows)


class Compiled(BytecodeCache):
    """The templates that any application of this process has compiled."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if kept := self._kept.get(bucket.key):
            bucket.bytecode_from_string(kept)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._kept[bucket.key] = bucket.bytecode_to_string()


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """Nearly every test makes an application, and its first page would compile a dozen templates anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Flask, "jinja_options", {"bytecode_cache": Compiled()})
        yield


@pytest.fixture(scope="module")
def warehouse() -> Iterator[Warehouse]:
    opened = stores.connect_warehouse("chdb://")
    opened.migrate()
    opened.insert("event_rows", event_rows(VISITS), "events")
    opened.insert("session_rows", session_rows(VISITS), "sessions")
    yield opened
    opened.close()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    opened = stores.connect_live(f"file://{tmp_path}/live")
    yield opened
    opened.close()


@pytest.fixture
def sites() -> dict[str, str]:
    return {"example.com": BERLIN, "other.example": "UTC", "quiet.example": "UTC"}


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    """Accounts without a user: everybody may do everything, and what is kept is kept there."""
    opened = Accounts(tmp_path / "accounts.db")
    yield opened
    opened.close()


@pytest.fixture
def app(warehouse: Warehouse, live: Live, sites: dict[str, str], accounts: Accounts) -> Flask:
    def add_site(domain: str) -> None:
        if "." not in domain:
            raise ValueError(f"{domain!r} is not a domain; write it like example.com")
        sites[domain] = "UTC"

    return create(
        warehouse,
        lambda: sites,
        live,
        control=None,
        collect_url="http://127.0.0.1:8420/",
        access=Access(accounts=accounts),
        add_site=add_site,
        metrics=lambda: "footfall_lag_seconds 0.5\n",
        countries=True,
        clock=lambda: ms(NOW),
    )


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()
