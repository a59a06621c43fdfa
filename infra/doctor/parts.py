"""The checks that need a part opened: the broker, the stores, and the warehouse by its owner or as its owner."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import msgspec

from infra.doctor.finding import Check, NotAsked, Told, not_asked, ok, warning, wrong
from infra.doctor.folders import folder_of
from infra.doctor.processes import Running
from infra.settings import Settings

if TYPE_CHECKING:
    from brokers.base import Broker
    from pipeline.checkpoint import Checkpoint
    from stores.base import Archive, CheckpointStore, Positions
    from stores.inventory import Inventory

_BROKER_SECONDS = 2.0
_FIRST_FLUSH = 60.0


class Opened:
    """The parts of one group of checks, opened when they are first needed and closed by `opened`.

    It opens nothing that is not there, because opening makes folders."""

    def __init__(self, settings: Settings, running: Running) -> None:
        self.settings = settings
        self.running = running
        self.opened = ExitStack()

    @property
    def runs(self) -> bool:
        """Whether a process is there to load events, as far as this machine can tell."""
        return self.running.serves or not self.settings.embedded

    @cached_property
    def checkpoint(self) -> CheckpointStore | None:
        """The checkpoint store, None if its folder is not there."""
        import stores

        folder = folder_of(self.settings.checkpoint)
        if folder is not None and not folder.is_dir():
            return None
        store = stores.connect_checkpoint(self.settings.checkpoint)
        self.opened.callback(store.close)
        return store

    @cached_property
    def archive(self) -> Archive | None:
        """The archive, None if its folder is not there."""
        import stores

        folder = folder_of(self.settings.archive)
        if folder is not None and not folder.is_dir():
            return None
        store = stores.connect_archive(self.settings.archive)
        self.opened.callback(store.close)
        return store

    @cached_property
    def broker(self) -> Broker | None:
        """The broker, None if its file is not there. Raises `NotAsked` for one that only its process has."""
        import brokers

        url = self.settings.broker
        if url.startswith("memory:"):
            raise NotAsked("memory:// is in the process that uses it")
        if url.startswith("sqlite:") and not Path(unquote(urlsplit(url).path)).is_file():
            return None
        try:
            broker = brokers.connect(url, dict(self.settings.broker_secrets))
        except ValueError as error:
            raise NotAsked(str(error)) from error
        self.opened.callback(broker.close)
        return broker

    def committed(self) -> Positions:
        """What is loaded; nothing without a checkpoint. Raises `NotAsked` if it cannot be read."""
        from infra.doctor import progress

        return progress.positions(self.checkpoint) if self.checkpoint else {}


class BrokerChecks:
    """What the broker says, and where loader and archive are in its log."""

    def __init__(self, parts: Opened) -> None:
        self._parts = parts
        self.checks: dict[str, Check] = {
            "broker": self._broker,
            "broker clock": self._clock,
            "retention": self._retention,
            "lag": self._lag,
        }
        self._retentions: list[Told] = []

    def _there(self) -> Broker:
        broker = self._parts.broker
        if broker is None:
            raise NotAsked("there is no log")
        return broker

    def _broker(self) -> list[Told]:
        from activity.event import ALL_TOPICS
        from infra.brokers.check import topic_problems
        from infra.doctor import progress

        parts, broker = self._parts, self._parts.broker
        if broker is None:
            if any(parts.committed().values()):
                said = f"the log {parts.settings.broker} is gone, and events were loaded from it"
                return [wrong(said, "put it back from a copy; what was not archived is lost without it")]
            return [ok("there is no log yet: `footfall up` makes it")]
        product = broker.ping(_BROKER_SECONDS)
        there = broker.topics().keys() & set(ALL_TOPICS)
        if not there:
            if any(parts.committed().values()):
                remedy = "name the broker that the events came from, or `footfall up` makes new topics"
                return [wrong(f"{product} has none of the topics, and events were loaded from them", remedy)]
            return [ok(f"{product} has no topics yet: `footfall up` makes them")]
        told: list[Told] = []
        for problem in topic_problems(broker):
            finding, _, remedy = problem.text.partition(": ")
            judged = (warning if problem.kind in ("retention", "replication") else wrong)(finding, remedy)
            (self._retentions if problem.kind == "retention" else told).append(judged)
        told += progress.counts(broker, parts.checkpoint)
        return told or [ok(f"{product}, {len(there)} topics as they should be")]

    def _clock(self) -> list[Told]:
        from infra.doctor import progress

        return progress.clock(self._there(), now=_now()) or [ok("the broker's clock is not ahead of this one")]

    def _retention(self) -> list[Told]:
        from infra.doctor import progress

        parts = self._parts
        archived = parts.archive.committed().positions if parts.archive else {}
        told = progress.kept(self._there(), parts.committed(), archived, runs=parts.runs, now=_now())
        told = [*self._retentions, *progress.unequal(self._there()), *told]
        return told or [ok("the log has what is not loaded or archived yet")]

    def _lag(self) -> list[Told]:
        from infra.doctor import progress

        broker, parts = self._there(), self._parts
        return progress.lag(lambda: progress.waiting(broker, parts.committed()), runs=parts.runs, now=_now())


class StoreChecks:
    """What the checkpoint and the archive say."""

    def __init__(self, parts: Opened) -> None:
        self._parts = parts
        self.checks: dict[str, Check] = {"checkpoint": self._checkpoint}

    def _checkpoint(self) -> list[Told]:
        from infra.doctor import progress

        parts = self._parts
        if parts.checkpoint is None:
            return [ok("there is none yet")]
        return progress.checkpoint(
            parts.checkpoint, runs=parts.running.serves, embedded=parts.settings.embedded, now=_now()
        )

    def archive(self, progress: Callable[[int, int], None] | None) -> list[Told]:
        """The check of the archive; with `progress` of every file."""
        from infra.doctor import stored

        folder = folder_of(self._parts.settings.archive)
        if folder is not None and _orphaned(folder):
            remedy = "put it back from a copy; without it the archive counts as empty and gives no replay"
            return [wrong(f"the manifest {folder}/_manifest/head.json is gone, and there are files", remedy)]
        store = self._parts.archive
        if store is None:
            return [ok("there is none yet")]
        return stored.whole_archive(store, progress) if progress else stored.archive(store)


class WarehouseChecks:
    """What the warehouse says: asked of its owner, else opened here without changing it.

    With `everything` each byte of it is read."""

    def __init__(self, parts: Opened, everything: bool) -> None:
        self._parts = parts
        self._everything = everything
        self.checks: dict[str, Check] = {
            "schema": self._schema,
            "rows": self._rows,
            "dead letters": self._dead_letters,
        }
        self._where: dict[str, Any] = {}
        self._inventory: Inventory | None = None
        self._committed: list[Checkpoint] | None = None
        self._where_known, self._inventory_known = threading.Event(), threading.Event()
        # Whoever waits is told too when nothing will come.
        parts.opened.callback(self._inventory_known.set)
        parts.opened.callback(self._where_known.set)

    def where(self, until: float) -> dict[str, Any]:
        """Ports and places of the running process, empty if it has not said them by then (monotonic)."""
        self._where_known.wait(max(0.0, until - time.monotonic()))
        return self._where

    def inventory_by(self, until: float) -> Inventory | None:
        """The inventory, None if it is not there by then (monotonic)."""
        self._inventory_known.wait(max(0.0, until - time.monotonic()))
        return self._inventory

    def _schema(self) -> list[Told]:
        from infra.doctor import stored

        return stored.schema(self._asked(), runs=self._parts.running.serves)

    def _rows(self) -> list[Told]:
        from infra.doctor import stored

        first = self._asked(everything=True) if self._everything else self._inventory or self._asked()
        told = stored.rows(first, self._committed)
        if not self._everything and any(each.state != "ok" for each in told):
            # A rebuild may have changed parts between the two looks.
            told = stored.rows(self._asked(), self._committed)
            leases = [found.lease for found in self._committed or () if found.lease is not None]
            if any(lease.counts(_now()) for lease in leases):
                return [not_asked("a rebuild puts rows in place just now")]
        return told

    def _dead_letters(self) -> list[Told]:
        from infra.doctor import stored

        return stored.dead_letters(self._inventory or self._asked())

    def _asked(self, everything: bool = False) -> Inventory:
        """The inventory of now. The checkpoints are read before it: what they recorded has to be in it."""
        from infra.doctor import progress
        from stores.base import StoreError

        store = self._parts.checkpoint
        try:
            self._committed = progress.read(store) if store else []
        except StoreError:
            self._committed = None  # the check of the checkpoint says so
        self._inventory = found = (self._by_owner if self._parts.running.serves else self._here)(everything)
        self._inventory_known.set()
        return found

    def _by_owner(self, everything: bool) -> Inventory:
        from stores.inventory import Inventory

        owner = self._parts.running.owner
        assert owner is not None
        answers: Iterator[dict[str, Any]] = owner.call("inventory", {"everything": everything})
        self._where = next(answers)
        self._where_known.set()
        return msgspec.convert(next(answers), Inventory)

    def _here(self, everything: bool) -> Inventory:
        from stores import inventory

        return inventory.of(self._warehouse, _now(), everything)

    @cached_property
    def _warehouse(self) -> Any:
        """The warehouse as it is, without its migrations; an embedded one is this process's meanwhile."""
        import stores
        from infra.processes.lock import DataLock

        settings, running = self._parts.settings, self._parts.running
        if settings.embedded:
            folder = unquote(urlsplit(settings.warehouse).path)
            if not folder or not Path(folder).is_dir():
                raise NotAsked("there is no warehouse yet: `footfall up` makes it")
            lock = DataLock(settings.data)
            if running.held:
                raise NotAsked(lock.refusal(running.holder))
            lock.take("footfall doctor", as_it_is=True)
            self._parts.opened.callback(lock.release)
        warehouse = stores.connect_warehouse(settings.warehouse)
        self._parts.opened.callback(warehouse.close)
        return warehouse


def _orphaned(archive: Path) -> bool:
    """Whether an archive has files and no manifest: the first flush writes one within a minute."""
    if (archive / "_manifest" / "head.json").exists():
        return False
    return any(time.time() - folder.stat().st_mtime > _FIRST_FLUSH for folder in archive.glob("site=*"))


def _now() -> int:
    return time.time_ns() // 1_000_000
