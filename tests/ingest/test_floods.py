"""Floods: what one address, one network and one site may send, and what is kept of garbage, to the number."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import brokers
from activity.event import ALL_TOPICS
from ingest.collect import Options
from ingest.counters import Counters
from ingest.http import Request, Response
from ingest.limiter import Allowed, Limiter, Limits, sender
from ingest.service import Service
from ingest.sites import Site, Sites, SitesError, parse
from ingest.spool import FolderSpool
from stores import connect_live
from tests.e2e.harness import until
from tests.ingest.conftest import AGENT, KEY, Log, Running, counted, pageview, value

NOON = 20_000 * 86_400_000 + 43_200_000
KEY_OF_DAY = bytes(16)
TIGHT = Limits(address="3/minute", network="5/minute", site="8/minute")


class World:
    """A service in this process whose clock stands still until it is moved."""

    def __init__(self, folder: Path, sites: dict[str, Site], overall: Limits | bool = True) -> None:
        self.url = f"sqlite://{folder}/log.sqlite"
        self.broker = brokers.connect(self.url)
        for topic in ALL_TOPICS:
            self.broker.create_topic(topic)
        self.now = NOON
        self.counters = Counters()
        self.service = Service(
            broker=self.broker,
            live=connect_live(f"file://{folder}/live"),
            sites=Sites(sites=sites, limits=overall),
            spool=FolderSpool(folder / "spool"),
            options=Options(trusted_proxies=("127.0.0.1",)),
            counters=self.counters,
            clock_ms=lambda: self.now,
        )

    def send(self, body: object, address: str = "198.51.100.7", key: str = "") -> Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = [(b"x-forwarded-for", address.encode()), (b"user-agent", AGENT.encode())]
        if key:
            headers.append((b"authorization", b"Bearer " + key.encode()))
        return asyncio.run(self.service.handle(Request("POST", "/collect", b"", headers, content, "127.0.0.1")))

    def dead_letters(self) -> list[dict[str, Any]]:
        return Log.everything(self.broker, "footfall.dead-letter")

    def close(self) -> None:
        self.service.close()
        self.broker.close()


Make = Callable[..., World]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[World] = []

    def begin(overall: Limits | bool = True, **sites: Limits | bool) -> World:
        entries = {f"{name}.example": limits for name, limits in (sites or {"a": True}).items()}
        known = {domain: Site(domain=domain, key=KEY, limits=limits) for domain, limits in entries.items()}
        made.append(World(tmp_path, known, overall))
        return made[-1]

    yield begin
    for world in made:
        world.close()


def view(site: str = "a.example", **more: object) -> dict[str, object]:
    return pageview(site=site, url=f"https://{site}/", **more)


def refusals(response: Response) -> list[tuple[int, str]]:
    return [(refusal["index"], refusal["reason"]) for refusal in json.loads(response.body)["refused"]]


def test_events_over_the_limit_are_refused_and_not_those_before(make: Make) -> None:
    world = make(a=TIGHT)
    mixed = world.send({"events": [view() for _ in range(5)]})
    assert mixed.status == 202
    assert json.loads(mixed.body)["accepted"] == 3
    assert refusals(mixed) == [(3, "rate_limited"), (4, "rate_limited")]

    refused = world.send(view())
    headers = dict(refused.headers)
    assert refused.status == 429
    assert headers[b"x-footfall-refused"] == b"rate_limited"
    assert 1 <= int(headers[b"retry-after"]) <= 60
    assert f"in {int(headers[b'retry-after'])} seconds" in json.loads(refused.body)["refused"][0]["detail"]

    assert len(Log.everything(world.broker)) == 3
    assert counted(world.counters) == {("accepted", ""): 3, ("refused", "rate_limited"): 3}


def test_a_network_and_a_site_have_more_room_than_an_address(make: Make) -> None:
    world = make(a=TIGHT, b=TIGHT)
    taken = Counter[str]()
    for last in range(1, 5):  # one /24
        for _ in range(4):
            taken["network"] += world.send(view(), f"198.51.100.{last}").status == 202
    for third in range(5):
        taken["site"] += world.send(view(), f"203.0.{third}.1").status == 202
    assert taken == {"network": 5, "site": 3}
    # Every site has its own.
    assert world.send(view("b.example"), "198.51.100.1").status == 202
    # An IPv6 line is a /64, its network a /48; an address that is not public stands for a network.
    assert [world.send(view("b.example"), f"2001:db8:1:{n}::{n}").status for n in (1, 1, 1, 1)] == [202, 202, 202, 429]
    world = make(a=Limits(address="3/minute", network="5/minute"))
    assert [world.send(view(), "10.0.0.7").status for _ in range(6)] == [202] * 5 + [429]


def test_the_sites_key_and_who_switches_it_off_are_not_limited(make: Make) -> None:
    world = make(TIGHT, a=True, b=False, c=Limits(address="4/minute"))
    assert [world.send(view(), key=KEY).status for _ in range(9)] == [202] * 9
    assert [world.send(view("b.example")).status for _ in range(9)] == [202] * 9
    assert [world.send(view()).status for _ in range(4)] == [202] * 3 + [429]
    assert [world.send(view("c.example")).status for _ in range(5)] == [202] * 4 + [429]
    assert world.send(view(), key="a-guessed-key-that-is-wrong").status == 429
    assert make(False, a=True).send({"events": [view() for _ in range(1000)]}).status == 202


def test_what_belongs_to_no_site_is_limited_too(make: Make) -> None:
    world = make(TIGHT, a=True)
    statuses = [world.send(body).status for body in (view("nobody.example"), b"{", b"{", b"{", view("nobody.example"))]
    assert statuses == [403, 400, 400, 429, 429]
    assert world.send(view()).status == 202
    assert len(world.dead_letters()) == 2


def test_the_defaults_are_beyond_what_an_office_sends() -> None:
    """A thousand people behind one address, each a page view and an engagement every twelve seconds."""
    now = [1_800_000_000.0]
    limiter = Limiter(lambda: now[0])
    rules = limiter.rules("a.example", True, True)
    assert rules is not None
    for tick in range(10_000):
        now[0] += 60 / 10_000
        assert limiter.take(rules, sender("198.51.100.7", KEY_OF_DAY), 1) == Allowed(1), tick
    flood = [limiter.take(rules, sender("198.51.100.7", KEY_OF_DAY), 1).events for _ in range(20_000)]
    assert sum(flood) < 10_000


def test_windows_begin_anew() -> None:
    now = [1_800_000_000.0]
    limiter = Limiter(lambda: now[0])
    rules = limiter.rules("a.example", Limits(address="2/second; 3/minute"), True)
    assert rules is not None

    def take(events: int) -> Allowed:
        return limiter.take(rules, sender("198.51.100.7", KEY_OF_DAY), events)

    assert take(3) == Allowed(2, 1)
    now[0] += 1
    assert take(2) == Allowed(1, 59)
    now[0] += 30
    assert take(1) == Allowed(0, 29)
    now[0] += 29
    assert take(1) == Allowed(1)
    now[0] -= 600  # a clock that was set back
    assert take(1) == Allowed(1)


def test_a_request_that_can_only_come_again_as_a_whole_is_let_in_whole_or_not_at_all() -> None:
    now = [1_800_000_000.0]
    limiter = Limiter(lambda: now[0])
    rules = limiter.rules("a.example", Limits(address="10/minute"), True)
    assert rules is not None

    def take(events: int) -> Allowed:
        return limiter.take(rules, sender("198.51.100.7", KEY_OF_DAY), events, whole=True)

    assert take(6) == Allowed(6)
    assert take(6) == Allowed(0, 60)
    assert take(4) == Allowed(4), "nothing was used up by what was refused"
    now[0] += 60
    assert take(6) == Allowed(6)
    assert take(11) == Allowed(4, 60, fits=False), "never as a whole, so what there is room for"


def test_the_limiter_does_not_grow_with_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.limiter.KEPT", 100)
    limiter = Limiter(lambda: 1_800_000_000.0)
    rules = limiter.rules("a.example", Limits(address="3/minute"), True)
    assert rules is not None
    loud = sender("192.0.2.1", KEY_OF_DAY)
    assert limiter.take(rules, loud, 3) == Allowed(3)
    for number in range(10_000):
        limiter.take(rules, sender(f"11.{number >> 8}.{number & 255}.1", KEY_OF_DAY), 1)
        assert max(len(table.counts) for table in limiter._tables.values()) <= 100
    # Who has sent most is remembered, however many new addresses come.
    assert limiter.take(rules, loud, 1).events == 0


class Total:
    """What a live store adds up for all processes."""

    def __init__(self) -> None:
        self.totals = Counter[str]()
        self.away = False

    def add_up(self, counts: Any) -> list[int] | None:
        if self.away:
            return None
        self.totals.update({name: events for name, events, _ in counts})
        return [self.totals[name] for name, _, _ in counts]


def test_processes_add_up_what_comes_near_a_limit() -> None:
    shared, limiters = Total(), [Limiter(lambda: 1_800_000_000.0) for _ in range(2)]
    limits = Limits(address="100/minute", network="1000/minute", site="1000/minute")
    both = [(limiter, limiter.rules("a.example", limits, True)) for limiter in limiters]

    def take(process: int, events: int) -> int:
        limiter, rules = both[process]
        assert rules is not None
        return limiter.take(rules, sender("198.51.100.7", KEY_OF_DAY), events).events

    def synchronise() -> None:
        for _ in range(2):
            for limiter in limiters:
                limiter.synchronise(shared)

    assert (take(0, 13), take(1, 5)) == (13, 5)
    synchronise()
    assert set(shared.totals.values()) == {13}  # the other is far from its limit, and keeps it to itself
    assert (take(0, 40), take(1, 45)) == (40, 45)
    synchronise()
    assert take(0, 10) == 0
    shared.away = True
    synchronise()
    assert take(1, 1) == 0
    assert "198.51.100" not in str(shared.totals)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('limits = { address = "lots" }\n[[site]]\ndomain = "a.example"', "all sites"),
        ('[[site]]\ndomain = "a.example"\nlimits = { network = "0/minute" }', "a.example"),
        ('[[site]]\ndomain = "a.example"\nlimits = { colour = "1/minute" }', "colour"),
    ],
)
def test_wrong_limits_are_told(text: str, said: str) -> None:
    with pytest.raises(SitesError, match=said):
        parse(text, "sites.toml")


def test_limits_are_on_unless_the_file_says_otherwise(start: Callable[..., Running], tmp_path: Path) -> None:
    running = start()
    whole = {"events": [pageview() for _ in range(1000)]}

    def flood(address: str) -> Counter[int]:
        return Counter(running.post(whole, {"X-Forwarded-For": address}).status for _ in range(14))

    assert flood("203.0.113.9")[429] >= 1
    path = tmp_path / "sites.toml"
    path.write_text("limits = false\n" + path.read_text())
    until(lambda: flood("203.0.113.9") == {202: 14}, "the file is read again")


def test_garbage_is_kept_up_to_its_share_and_counted_beyond(make: Make) -> None:
    world = make(False, a=True)
    for number in range(150):
        assert world.send(b"garbage %03d" % number).status == 400
    wrong = json.dumps({"events": [view(), {"site": "a.example"}]}).encode()
    for _ in range(20):
        assert world.send(wrong).status == 202
    assert world.send(b"[" * 100_000).status == 400
    kept = sorted(base64.b64decode(letter["bytes"]) for letter in world.dead_letters())
    assert kept == [*[b"garbage %03d" % number for number in range(100)], *[wrong] * 20]
    assert value(world.counters, "footfall_dead_letters_kept_total") == 120
    assert value(world.counters, "footfall_dead_letters_counted_total") == 51
    # The account still sums.
    assert counted(world.counters) == {
        ("accepted", ""): 20, ("refused", "malformed"): 151, ("refused", "missing_field"): 20,
    }  # fmt: skip

    world.now += 3_600_000
    assert world.send(b"the next hour").status == 400
    assert b"the next hour" in {base64.b64decode(letter["bytes"]) for letter in world.dead_letters()}
    (told,) = [letter for letter in world.dead_letters() if letter["reason"] == "counted_only"]
    assert json.loads(base64.b64decode(told["bytes"])) == {
        "site": "", "requests": 51, "bytes": 50 * 11 + 100_000, "reasons": {"malformed": 51},
    }  # fmt: skip


@pytest.mark.parametrize("letter", ["\ufdfa", "\u00fc", "\uac00"])  # of which one is 18 characters in normal form
def test_a_site_in_other_letters_costs_what_any_unknown_site_does(make: Make, letter: str) -> None:
    world = make(False)

    def calls(letter: str) -> int:
        body = json.dumps({"events": [pageview(site=f"{number}{letter * 200}") for number in range(20)]}).encode()
        made = 0

        def count(_: FrameType, event: str, __: object) -> None:
            nonlocal made
            made += event in ("call", "c_call")

        world.send(body)
        sys.setprofile(count)
        try:
            assert world.send(body).status == 403
        finally:
            sys.setprofile(None)
        return made

    assert calls(letter) < calls("x") * 1.1


def test_what_was_only_counted_is_told_when_the_process_ends(make: Make) -> None:
    world = make(False)
    for _ in range(101):
        world.send(b"{")
    world.service.close()
    assert Counter(letter["reason"] for letter in world.dead_letters()) == {"malformed": 100, "counted_only": 1}
