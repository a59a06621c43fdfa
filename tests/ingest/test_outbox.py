"""Nothing is answered before it is durable: broker, else spool, else a 503; and the spool drains in order."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import brokers
from activity.event import ALL_TOPICS
from brokers.base import Broker, Record, TopicPartition
from ingest.collect import Options
from ingest.entry import Entry, Unavailable, Verdict
from ingest.http import Request
from ingest.outbox import Outbox
from ingest.service import Service
from ingest.sites import Site, Sites
from ingest.spool import FolderSpool, SpoolFull
from stores import connect_live
from stores.base import StoreUnreachable
from tests.ingest.conftest import AGENT, Log, Running, pageview
from tests.patience import patient

TOPIC = "footfall.pageview"
FIRST = TopicPartition(TOPIC, 0)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = brokers.connect(f"sqlite://{tmp_path}/log.sqlite")
    yield broker
    broker.close()


def create_topics(broker: Broker) -> None:
    for topic in ALL_TOPICS:
        broker.create_topic(topic, partitions=1)


async def settle(outbox: Outbox, entries: list[Entry]) -> list[Verdict]:
    """What the outbox says of the entries. Raises `Unavailable` if it says that."""
    settled: asyncio.Future[list[Verdict] | Unavailable] = asyncio.get_running_loop().create_future()
    outbox.hand_in(entries, settled.set_result)
    verdicts = await settled
    if isinstance(verdicts, Unavailable):
        raise verdicts
    return verdicts


def until(condition: Callable[[], bool], seconds: float = patient(60)) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def values(broker: Broker) -> list[bytes | None]:
    bounds = broker.bounds(FIRST)
    return (
        [] if bounds is None else [r.value for batch in broker.read_range(FIRST, None, bounds.last) for r in batch]
    )


def entry(number: int, key: bytes | None = None) -> Entry:
    return Entry([(TOPIC, b"visitor", b"%d" % number)], key, b"%d" % number)


@pytest.fixture
def outbox(broker: Broker, tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox(broker, FolderSpool(tmp_path / "spool"), connect_live(f"file://{tmp_path}/live"), b"test")
    outbox.start()
    yield outbox
    outbox.close()


def test_without_topics_events_wait_in_the_spool_and_go_out_in_order(
    outbox: Outbox, broker: Broker, tmp_path: Path
) -> None:
    for number in range(20):
        assert outbox.settle_and_wait([entry(number)]) == [Verdict.ACCEPTED]
    spool = FolderSpool(tmp_path / "spool")
    assert spool.bytes() > 0
    assert spool.oldest_seconds() > 0

    create_topics(broker)
    until(lambda: not spool.waits())

    assert values(broker) == [b"%d" % number for number in range(20)]
    assert (spool.bytes(), spool.oldest_seconds()) == (0, 0)
    assert outbox.settle_and_wait([entry(20)]) == [Verdict.ACCEPTED]
    assert values(broker)[-1] == b"20"


def test_records_come_back_from_the_spool_as_they_were(broker: Broker, tmp_path: Path) -> None:
    create_topics(broker)
    spool = FolderSpool(tmp_path / "spool")
    record = Record(TOPIC, b"key", b"value", (("footfall-process", b"p"), ("footfall-seq", b"1")))
    spool.append([record])

    assert spool.drain(broker.publish) == 1
    (stored,) = [r for batch in broker.read_range(FIRST, None, broker.bounds(FIRST).last) for r in batch]  # type: ignore[union-attr]
    assert (stored.key, stored.value, stored.headers) == (record.key, record.value, record.headers)


def test_the_spool_of_a_process_that_is_gone_is_drained_and_that_of_a_living_one_is_not(
    broker: Broker, tmp_path: Path
) -> None:
    create_topics(broker)
    gone, living, finder = (FolderSpool(tmp_path / "spool") for _ in range(3))
    gone.append([Record(TOPIC, None, b"gone")])
    living.append([Record(TOPIC, None, b"living")])
    gone.close()

    assert finder.drain(broker.publish) == 1
    assert values(broker) == [b"gone"]
    assert living.drain(broker.publish) == 1
    assert not any((tmp_path / "spool").iterdir())


def test_a_full_spool_refuses_and_keeps_what_it_has(broker: Broker, tmp_path: Path) -> None:
    create_topics(broker)
    spool = FolderSpool(tmp_path / "spool", max_bytes=200_000)
    taken = 0
    with pytest.raises(SpoolFull, match="bring the broker back"):
        while True:
            spool.append([Record(TOPIC, None, bytes(10_000))])
            taken += 1
    assert spool.drain(broker.publish) == taken
    spool.append([Record(TOPIC, None, b"again")])
    spool.close()


def test_an_id_counts_as_seen_only_once_it_is_durable(outbox: Outbox, broker: Broker, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.write_text("a file where the folder should be")
    with pytest.raises(Unavailable):
        outbox.settle_and_wait([entry(1, b"id")])
    assert "spool" in outbox.problem()
    spool.unlink()
    create_topics(broker)

    assert outbox.settle_and_wait([entry(1, b"id")]) == [Verdict.ACCEPTED]
    assert outbox.settle_and_wait([entry(1, b"id"), entry(2, b"id")]) == [Verdict.DUPLICATE, Verdict.REUSED]
    assert outbox.problem() == ""


def test_a_full_queue_is_said_at_once(broker: Broker, tmp_path: Path) -> None:
    create_topics(broker)
    spool = FolderSpool(tmp_path / "spool")
    outbox = Outbox(broker, spool, connect_live(f"file://{tmp_path}/live"), b"test", max_bytes=10)
    large = Entry([(TOPIC, None, bytes(500_000))])

    async def many() -> list[list[Verdict] | BaseException]:
        first = asyncio.ensure_future(settle(outbox, [entry(1)]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # the first has crossed to the queue, which nobody empties yet
        second = asyncio.ensure_future(settle(outbox, [large]))
        third = asyncio.ensure_future(settle(outbox, [large]))
        await asyncio.wait([third])
        outbox.start()
        return await asyncio.gather(first, second, third, return_exceptions=True)

    first, second, third = asyncio.run(many())
    assert first == second == [Verdict.ACCEPTED]
    assert isinstance(third, Unavailable)
    assert outbox.settle_and_wait([large]) == [Verdict.ACCEPTED], "there is room again"
    outbox.close()


def test_what_waits_for_the_next_group_is_settled_before_the_outbox_closes(outbox: Outbox, broker: Broker) -> None:
    create_topics(broker)

    async def requests() -> list[list[Verdict]]:
        first = [asyncio.ensure_future(settle(outbox, [entry(number)])) for number in range(3)]
        await asyncio.wait(first)
        late = [asyncio.ensure_future(settle(outbox, [entry(number)])) for number in range(3, 6)]
        await asyncio.sleep(0)  # they are handed in, and wait on the loop for company
        await asyncio.to_thread(outbox.close)
        return await asyncio.gather(*first, *late)

    assert asyncio.run(requests()) == [[Verdict.ACCEPTED]] * 6
    assert sorted(value for value in values(broker) if value) == [b"%d" % number for number in range(6)]


def test_what_is_too_large_for_the_broker_is_refused_alone(outbox: Outbox, broker: Broker) -> None:
    create_topics(broker)
    large = Entry([(TOPIC, None, bytes(2_000_000))])
    assert outbox.settle_and_wait([entry(1), large, entry(2)]) == [
        Verdict.ACCEPTED,
        Verdict.TOO_LARGE,
        Verdict.ACCEPTED,
    ]
    assert values(broker) == [b"1", b"2"]


def test_when_nothing_takes_an_event_the_sender_is_told_to_come_again(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")
    service = Service(
        broker=broker,
        live=connect_live(f"file://{tmp_path}/live"),
        sites=Sites(sites={"example.com": Site(domain="example.com")}),
        spool=FolderSpool(tmp_path / "spool"),
        options=Options(),
    )
    headers = [(b"user-agent", AGENT.encode())]
    answer = service.handle_and_wait(Request("POST", "/collect", b"", headers, json.dumps(pageview()).encode(), "::1"))

    assert answer.status == 503
    assert dict(answer.headers)[b"retry-after"] == b"5"
    assert "send all of it again" in json.loads(answer.body)["problem"]
    hits = b'{"hits":[{"path":"/a","host":"example.com"}]}'
    asked = [*headers, (b"referer", b"https://example.com/"), (b"authorization", b"Bearer k")]
    told = service.handle_and_wait(Request("POST", "/api/v0/count", b"", asked, hits, "::1"))
    counted = service.handle_and_wait(Request("GET", "/count", b"p=/a", asked, b"", "::1"))
    assert [(each.status, dict(each.headers).get(b"x-rate-limit-reset")) for each in (told, counted)] == [
        (403, None),  # of no site
        (429, b"5"),
    ]
    assert service.handle_and_wait(Request("GET", "/ready", b"", [], b"", "::1")).status == 503
    assert (
        b'outcome="unavailable",reason=""} 1'
        in service.handle_and_wait(Request("GET", "/metrics", b"", [], b"", "::1")).body
    )
    service.close()


@pytest.mark.parametrize("visitor", ["", "&duid=d"])
@pytest.mark.parametrize("spoilt", ["the key", "broker and spool"])
def test_a_link_leads_on_whatever_takes_its_click(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visitor: str, spoilt: str
) -> None:
    live = connect_live(f"file://{tmp_path}/live")
    if spoilt == "the key":
        create_topics(broker)

        def away(site: str) -> bytes:
            raise StoreUnreachable(f"the key of {site} is away")

        monkeypatch.setattr(live, "import_key", away)
    else:
        (tmp_path / "spool").write_text("")
    service = Service(
        broker=broker,
        live=live,
        sites=Sites(sites={"example.com": Site(domain="example.com", redirects=("https://shop.example",))}),
        spool=FolderSpool(tmp_path / "spool"),
    )

    def follow(target: str) -> tuple[int, bytes | None]:
        query = f"u={target}&aid=example.com{visitor}"
        answer = service.handle_and_wait(Request("GET", "/r/tp2", query.encode(), [], b"", "::1"))
        return answer.status, dict(answer.headers).get(b"location")

    assert follow("https://shop.example/a") == (302, b"https://shop.example/a")
    assert follow("https://elsewhere.example/a") == (403, None)
    counts = service.handle_and_wait(Request("GET", "/metrics", b"", [], b"", "::1")).body
    assert (b'events_total{outcome="unavailable",reason=""} 1.0' in counts) == (bool(visitor) or spoilt != "the key")
    service.close()


def test_the_server_spools_and_drains_across_a_restart(
    start: Callable[..., Running], own_log: Log, tmp_path: Path
) -> None:
    for topic in ALL_TOPICS:
        own_log.broker.delete_topic(topic)
    server = start()
    for number in range(10):
        assert server.post(pageview(id=f"{number}", title=str(number))).status == 202
    assert "footfall_spool_bytes 0" not in server.get("/metrics").body.decode()
    server.stop()
    for topic in ALL_TOPICS:
        own_log.broker.create_topic(topic)

    again = start()

    until(lambda: "footfall_spool_bytes 0" in again.get("/metrics").body.decode())
    assert sorted(event["title"] for event in Log.everything(own_log.broker)) == [str(number) for number in range(10)]
