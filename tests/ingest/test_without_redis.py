"""A Redis that dies or is stopped under traffic, in the first hours of a UTC day: every event is still answered."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import brokers
from activity.event import ALL_TOPICS
from ingest.counters import Counters
from ingest.http import Request, Response
from ingest.service import Service
from ingest.sites import Site, Sites
from ingest.spool import FolderSpool
from stores import connect_live
from tests.e2e.harness import until
from tests.ingest.conftest import AGENT, KEY, Log, pageview, value
from tests.require import require
from tests.servers import redis as redis_part
from tests.servers.process import Server

pytestmark = pytest.mark.real

DAY = 86_400_000
MIDNIGHT = time.time_ns() // 1_000_000 // DAY * DAY
YOUNG = MIDNIGHT + 20 * 60_000


class OwnRedis:
    """One of this test's own, which it may kill."""

    def __init__(self, folder: Path) -> None:
        missing = redis_part.available()
        require("redis", not missing, missing)
        self.server: Server = redis_part.server(folder)
        self.url = f"redis://{redis_part.start(folder, port=0)}/0"
        self.pid = self.server.pid()

    def signal(self, number: signal.Signals) -> None:
        assert self.pid is not None
        os.kill(self.pid, number)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    own = OwnRedis(tmp_path / "redis")
    yield own
    try:
        own.signal(signal.SIGCONT)
    except ProcessLookupError:
        return
    own.server.stop()


class Services:
    """Two services over one Redis and one log, their clock 20 minutes after midnight."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.broker = brokers.connect(f"sqlite://{folder}/log.sqlite")
        for topic in ALL_TOPICS:
            self.broker.create_topic(topic)
        self.now = YOUNG
        self.counters = Counters()
        self.lives = [connect_live(redis_url) for _ in range(2)]
        self.services = [
            Service(
                broker=self.broker,
                live=live,
                sites=Sites(sites={"example.com": Site(domain="example.com", key=KEY)}),
                spool=FolderSpool(folder / f"spool{number}"),
                counters=self.counters,
                clock_ms=lambda: self.now,
            )
            for number, live in enumerate(self.lives)
        ]

    async def send(self, body: object, agent: str = AGENT, service: int = 0, key: str = "") -> Response:
        headers = [(b"user-agent", agent.encode())]
        if key:
            headers.append((b"authorization", b"Bearer " + key.encode()))
        request = Request("POST", "/collect", b"", headers, json.dumps(body).encode(), "198.51.100.7")
        return await self.services[service].handle(request)

    def ask(self, path: str, service: int = 0) -> str:
        response = asyncio.run(self.services[service].handle(Request("GET", path, b"", [], b"", "::1")))
        assert response.status == 200
        return response.body.decode()

    def visitors(self) -> list[str]:
        return [event["visitor"] for event in Log.everything(self.broker)]

    def close(self) -> None:
        for service, live in zip(self.services, self.lives, strict=True):
            service.close()
            live.close()
        self.broker.close()


@pytest.fixture
def services(tmp_path: Path, own_redis: OwnRedis) -> Iterator[Services]:
    opened = Services(tmp_path, own_redis.url)
    yield opened
    opened.close()


def test_a_visit_over_midnight_goes_on_at_another_process(services: Services) -> None:
    services.now = MIDNIGHT - 60_000
    assert asyncio.run(services.send(pageview(id="late"), service=0)).status == 202
    (visitor,) = services.visitors()
    until(lambda: services.lives[1].last_active("example.com", visitor), "Redis knows who is active")
    services.now = YOUNG
    assert asyncio.run(services.send(pageview(id="early"), service=1)).status == 202
    assert asyncio.run(services.send(pageview(id="new"), "Mozilla/5.0 Firefox/1.0", service=1)).status == 202
    assert len(set(services.visitors())) == 2
    assert value(services.counters, "footfall_visitors_split_total") == 0
    assert services.ask("/ready") == "ready\n"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_every_event_is_answered_while_redis_is_gone(
    services: Services, own_redis: OwnRedis, how: signal.Signals
) -> None:
    """A call that waited for Redis on the event loop would hold up 400 new visitors one after the other, for seconds
    each: not one of them would be answered before the patience is over."""

    async def traffic() -> list[int]:
        events = [pageview(id=f"{how}-{number}") for number in range(400)]
        sending = [services.send(event, f"{AGENT} {number}") for number, event in enumerate(events)]
        answers = await asyncio.gather(*sending[:100])
        own_redis.signal(how)
        for begin in range(100, 400, 50):
            answers += await asyncio.gather(*sending[begin : begin + 50])
        again = await services.send(events[399], f"{AGENT} 399")
        assert json.loads(again.body)["duplicates"] == 1  # what this process has taken meanwhile, it knows
        return [response.status for response in answers]

    assert asyncio.run(asyncio.wait_for(traffic(), 60)) == [202] * 400
    assert len(set(services.visitors())) == 400
    # Said, and counted.
    assert "\nwithout the live store: " in services.ask("/ready")
    assert "a visit over midnight (UTC) counts as two" in services.ask("/ready")
    assert "footfall_live_store_away 1" in services.ask("/metrics")
    assert 0 < value(services.counters, "footfall_visitors_split_total") <= 300
    # The next day's salt was there ahead; who names visitors needs a key that is not, and is told to come again.
    services.now += DAY
    assert asyncio.run(services.send(pageview(id="tomorrow"))).status == 202
    named = asyncio.run(services.send(pageview(visitor="customer-1"), key=KEY))
    assert named.status == 503
    assert b"out of reach" in named.body
    if how is signal.SIGSTOP:
        own_redis.signal(signal.SIGCONT)
        until(lambda: not services.lives[0].problem, "Redis is asked again")
        assert services.ask("/ready") == "ready\n"
        assert asyncio.run(services.send(pageview(visitor="customer-1"), key=KEY)).status == 202


def test_processes_that_start_without_redis_agree_once_it_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "redis"
    first = OwnRedis(folder)
    port = first.url.rpartition(":")[2].partition("/")[0]
    first.server.stop()
    services = Services(tmp_path, first.url)
    try:
        assert asyncio.run(services.send(pageview(id="1"), service=0)).status == 202
        own = services.visitors()
        redis_part.start(folder, port=int(port))
        until(lambda: not any(live.problem for live in services.lives), "Redis is asked again")
        day = time.strftime("%Y-%m-%d", time.gmtime(MIDNIGHT // 1000))
        until(lambda: services.lives[0].salt(day) == services.lives[1].salt(day), "they have one salt")
        assert len(own) == 1
    finally:
        services.close()
        first.server.stop()
