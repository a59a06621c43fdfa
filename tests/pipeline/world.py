"""The parts of a pipeline test, and events to put into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

import brokers
import stores
from activity import codec
from activity.erasure import Erasures
from activity.event import ALL_TOPICS, TOPICS, Event, EventType, topic_of, visitor_key
from brokers.base import Record, TopicPartition
from pipeline import archive, erasure, live
from pipeline.runner import Runner
from tests.e2e.harness import until

# Compiling a graph takes half a second, and every restart of every test would do it again.
RUNNER = Runner()
T0 = 1_790_000_000_000  # 2026-09-21T14:13:20Z


def event(number: int, at: int = T0, visitor: int = 7, **more: Any) -> Event:
    fields: dict[str, Any] = {
        "v": 1, "id": f"{number:032x}", "site": "a.example", "type": EventType.PAGEVIEW, "visitor": f"{visitor:016x}",
        "occurred_at": at, "received_at": at, "path": f"/{number % 5}", "url": f"https://a.example/{number % 5}",
    }  # fmt: skip
    return Event(**(fields | more))


def record(e: Event) -> Record:
    return Record(topic_of(e.type), visitor_key(e.site, e.visitor), codec.encode(e))


class World:
    """Opens everything below `folder`; `reopen` is what a crash and a restart leave."""

    def __init__(self, folder: Path, warehouse: str = "", runner: Runner = RUNNER) -> None:
        self.folder = folder
        self.warehouse_url = warehouse or f"chdb:///{folder}/warehouse"
        self.runner = runner
        self.now = T0
        self.open()

    def open(self) -> None:
        self.broker = brokers.connect(f"sqlite:///{self.folder}/log.sqlite")
        for topic in ALL_TOPICS:
            self.broker.create_topic(topic, 4, -1)
        self.warehouse = stores.connect_warehouse(self.warehouse_url)
        self.warehouse.migrate()
        self.checkpoint = stores.connect_checkpoint(f"file:///{self.folder}/checkpoint")
        self.archive = stores.connect_archive(f"file:///{self.folder}/archive")
        self.loader = self.another_loader()

    def another_loader(self) -> live.Loader:
        return live.Loader(self.broker, self.warehouse, self.checkpoint, clock=lambda: self.now, runner=self.runner)

    def close(self) -> None:
        for part in (self.broker, self.warehouse, self.checkpoint):
            part.close()

    def reopen(self) -> None:
        self.close()
        self.open()

    def publish(self, *events: Event) -> None:
        self.broker.publish([record(e) for e in events])

    def erasures(self) -> Erasures:
        return erasure.load(self.checkpoint)

    def flush(self, loader: live.Loader | None = None) -> None:
        """Archive what a loader has committed."""
        of = loader or self.loader
        archive.flush(of.runner, self.broker, self.archive, of.open().positions, of.unit.name, self.erasures)

    def raw(self) -> list[bytes]:
        """Every record of the events' topics, copies included."""
        found: list[bytes] = []
        for topic in TOPICS:
            for partition in range(self.broker.partitions(topic)):
                bounds = self.broker.bounds(TopicPartition(topic, partition))
                if bounds is not None:
                    for batch in self.broker.read_range(TopicPartition(topic, partition), None, bounds.last):
                        found += [r.value or b"" for r in batch]
        return found

    def alter(self, *statements: str) -> None:
        """Mutations, back when all are done. They are handed in together: the engine waits between two parts."""
        for statement in statements:
            self.warehouse.command(f"{statement} SETTINGS mutations_sync = 0, lightweight_deletes_sync = 0")
        until(lambda: not self.count("SELECT count() FROM system.mutations WHERE NOT is_done"), "mutations are done")

    def sessions(self) -> pl.DataFrame:
        return self.warehouse.sessions_between(None, 0, 2**41)

    def count(self, sql: str) -> int:
        return int(self.warehouse.query(sql).item())
