"""A log of columns and a log of records with the same events come to the same, in everything that reads a log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import pytest

from activity.columns import COLUMNS, as_texts
from activity.definitions import DAY_MS, HOUR_MS
from activity.erasure import Erasures, Tombstone
from activity.event import TOPICS, Event, EventType, topic_of
from brokers.base import Columnar, Columns, TopicPartition
from brokers.sqlite import broker as sqlite_broker
from pipeline import io, replay
from pipeline.audit import HourAccount, Sources, audit
from pipeline.checkpoint import PartitionRange
from pipeline.io import BrokerFeed
from pipeline.run import Run
from stores.receipts import Span
from tests.blocks import block_of
from tests.pipeline.test_units import share_out
from tests.pipeline.world import RUNNER, T0, World, event

Found = TypeVar("Found")
FIRST = datetime.fromtimestamp(T0 / 1000, UTC).date()
DAYS = (FIRST, FIRST + timedelta(days=1))
TABLES = {"_page": ["site", "type", "url", "path"], "_visitor": ["visitor", "browser"]}
EVER = Span(T0 // HOUR_MS * HOUR_MS - 30 * DAY_MS, T0 // HOUR_MS * HOUR_MS + 30 * DAY_MS)


@pytest.fixture(autouse=True)
def _few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few events are a block."""
    monkeypatch.setattr(sqlite_broker, "_FEWEST", 1)


def history() -> list[Event]:
    kinds = [EventType.PAGEVIEW, EventType.PAGEVIEW, EventType.SEARCH, EventType.CUSTOM]
    rare = {"user": "ann", "name": "paid", "props": {"plan": "pro", "n": 3}, "revenue": "9.5", "currency": "EUR"}
    return [
        event(
            n, T0 + n * 40_000, n % 23, type=kinds[n % 4], term="x" if n % 4 == 2 else "", browser="Firefox",
            **(rare if n % 4 == 3 else {}),
        )
        for n in range(400)
    ]  # fmt: skip


def fill(world: World, in_columns: bool) -> None:
    """Publish the history in some pieces, of which the second and third are in columns, or none; one event twice."""
    assert isinstance(world.broker, Columnar)
    events = history()
    world.publish(*events[:30])
    for piece in (events[30:200], [events[40], *events[200:380]]):
        for topic in TOPICS:
            if its := [each for each in piece if topic_of(each.type) == topic]:
                if in_columns:
                    world.broker.publish_columns([Columns(topic, block_of(its, TABLES))], [])
                else:
                    world.publish(*its)
    world.publish(*events[380:])


def of_both(folder: Path, look: Callable[[World], Found]) -> tuple[Found, Found]:
    """What is found in a world of records, and in one of columns."""
    found = []
    for in_columns in (False, True):
        (folder / str(in_columns)).mkdir()
        world = World(folder / str(in_columns))
        fill(world, in_columns)
        found.append(look(world))
        world.close()  # a process has one embedded warehouse at a time
    return found[0], found[1]


def collected(world: World, **more: Any) -> pl.DataFrame:
    """What the archive would get of the whole log."""
    feeds = []
    for topic in TOPICS:
        for number in range(4):
            bounds = world.broker.bounds(TopicPartition(topic, number))
            if bounds:
                feeds.append(BrokerFeed(world.broker, PartitionRange(topic, number, None, str(bounds.last))))
    into: list[pl.DataFrame] = []
    RUNNER.run(Run(list(feeds), {"archive": io.collecting(into)}, **more))
    return pl.concat(into).with_columns(position=pl.col("position").str.split("@").list.first()).drop("published_at")


def test_feeds_give_the_same_events_at_the_same_places(tmp_path: Path) -> None:
    forgotten = Erasures((Tombstone(1, "a.example", T0 + 10**9, f"{7:016x}"),))
    records, in_columns = of_both(tmp_path, lambda world: (collected(world), collected(world, erasures=forgotten)))
    assert [frame.height for frame in records] == [401, 401 - 18]  # he has every 23rd of 400
    assert all(found.equals(wanted) for found, wanted in zip(in_columns, records, strict=True))


def numbers(world: World) -> dict[str, pl.DataFrame]:
    stored = pl.concat(list(world.warehouse.events_between(None, None, 0, 2**41)))
    return {
        "events": as_texts(stored).select(COLUMNS.keys()).sort("id_lo"),
        "sessions": as_texts(world.sessions()).drop("batch", strict=False).sort("session_id"),
    }


def processed(world: World) -> tuple[dict[str, pl.DataFrame], list[HourAccount], list[Any]]:
    world.loader.drain()
    world.flush()
    assert (world.loader.status.events, world.loader.status.duplicates) == (400, 1)
    accounts = list(audit(Sources(world.broker, world.warehouse, world.archive, world.checkpoint), EVER))
    runs = [replay.replay(world.loader, world.archive, *DAYS, source=source) for source in ("broker", "archive")]
    reports = [[(report["day"], report["sha256"], report["equal"]) for report in run] for run in runs]
    return numbers(world), accounts, reports


def test_loaded_archived_replayed_and_audited_they_come_to_the_same(tmp_path: Path) -> None:
    records, in_columns = of_both(tmp_path, processed)
    assert all(in_columns[0][name].equals(frame) for name, frame in records[0].items())
    assert in_columns[1:] == records[1:]
    _, accounts, (of_log, of_archive) = records
    assert len(accounts) > 2
    assert all(account.balanced for account in accounts)
    assert of_log == of_archive
    assert all(equal for _, _, equal in of_log)


def shared(world: World) -> dict[str, pl.DataFrame]:
    loaders = share_out(world, 2)
    for loader in loaders:
        loader.drain()
    assert sum(loader.status.events for loader in loaders) == 400
    return numbers(world)


def test_two_units_share_them(tmp_path: Path) -> None:
    records, in_columns = of_both(tmp_path, shared)
    assert all(in_columns[name].equals(frame) for name, frame in records.items())
