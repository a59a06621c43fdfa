"""What the words of a plan name, opened: by a worker once a process, or by a driver that has the parts open already.

A plan carries no secrets. A worker gets them from the environment that it was started in: the process that starts
workers hands the URLs of its own settings and the broker's secrets to `RESOURCES.use`, and a URL of the plan stands
for the one of these that reads the same without its credentials.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
import polars as pl

import brokers
import stores
from activity import rollup
from activity.columns import COLUMNS
from activity.open_events import OpenEvents
from brokers.base import Broker
from pipeline import io
from pipeline.checkpoint import CheckpointRepository, OpenState
from pipeline.exchange import Exchange, connect_exchange
from pipeline.io import BrokerFeed, FrameFeed, Inserts
from pipeline.plan import Plan, StateRef
from pipeline.run import Feed, Run, Write
from stores.backends import hide_credentials
from stores.base import Archive, ArchivedFile, Unusable

# A worker serves few runs at a time; those before them are over.
_KEPT_RUNS = 4


@dataclass(frozen=True)
class Parts:
    """The opened parts of a plan; None for those that it does not name."""

    exchange: Exchange
    broker: Broker | None = None
    warehouse: Inserts | None = None
    archive: Archive | None = None
    state: OpenEvents = field(default_factory=OpenEvents)


@dataclass(frozen=True)
class Outcome:
    """What a run came to. `counters` are Beam's, and count what was repeated again: not what was stored."""

    counters: dict[str, int]
    exchange: Exchange
    attempts: Exchange  # the exchange, or the place that it shares with those of other attempts

    def frames(self, sink: str) -> Iterator[tuple[str, pl.DataFrame]]:
        """The (block, frame)s of a staged sink, one read at a time."""
        return self.exchange.staged(sink)

    def rows(self, sink: str) -> int:
        """How many rows the workers have inserted for a sink."""
        return sum(int(frame["rows"].sum()) for _, frame in self.exchange.staged(_receipts(sink)))

    def due(self) -> dict[str, int]:
        """How many rows of events and sessions a run amounts to, by table."""
        events = sum(frame.height for _, frame in self.frames("events"))
        return {"event_rows": events, "session_rows": self.rows("sessions")}

    def tally(self) -> dict[str, int]:
        """The counters of what was deduplicated, as the sink `tally` has them: exact also after a repetition."""
        rows = [frame for _, frame in self.exchange.staged("tally")]
        return {f"dedupe.{name}": sum(int(frame[name].sum()) for frame in rows) for name in ("fresh", "retracted")}

    def close(self) -> None:
        """Forget the results, which the driver has committed."""
        self.attempts.clear()


# The sinks of a load whose frames end in the warehouse, which takes ids as they are. Other drivers compare texts.
_WITH_IDS = frozenset(("events", "sessions", *rollup.GRAINS))


def bind(plan: Plan, parts: Parts) -> Run:
    """The run of a plan over opened parts."""
    writes = {sink: _staging(sink, parts.exchange) for sink in plan.staged}
    lookup = None
    if parts.warehouse is not None:
        direct = io.warehouse_writes(parts.warehouse, plan.token, plan.batch)
        writes |= {sink: _inserting(sink, direct[sink], parts.exchange) for sink in plan.inserted}
        if plan.lookup_before is not None:
            lookup = io.warehouse_lookup(parts.warehouse, plan.lookup_before, plan.window)
    return Run(
        feeds=list(_feeds(plan, parts)),
        writes=writes,
        state=parts.state,
        watermark=plan.watermark,
        lookup=lookup,
        erasures=plan.erasures,
        shards=plan.shards,
        exchange=parts.exchange,
        with_ids=_WITH_IDS if plan.inserted else frozenset(),
    )


def _feeds(plan: Plan, parts: Parts) -> Iterator[Feed]:
    if parts.broker is not None:
        yield from (BrokerFeed(parts.broker, r) for r in plan.ranges)
    if parts.archive is not None:
        yield from (FrameFeed(partial(_read, parts.archive, file, plan)) for file in plan.files)


def _read(archive: Archive, file: ArchivedFile, plan: Plan) -> Iterator[pl.DataFrame]:
    frame = plan.erasures.kept(archive.read(file.path, list(COLUMNS), file))
    yield frame if plan.window is None else frame.filter(plan.window.within("occurred_at"))


def _inserting(sink: str, write: Write, exchange: Exchange) -> Write:
    """A write that leaves a receipt: an engine's counters count what it repeats, a receipt is replaced by the next."""

    def insert(frame: pl.DataFrame, block: str) -> None:
        write(frame, block)
        exchange.stage(f"{_receipts(sink)}/{block}", pl.DataFrame({"rows": [frame.height]}))

    return insert


def _receipts(sink: str) -> str:
    return f"{sink}-receipts"


def _staging(sink: str, exchange: Exchange) -> Write:
    return lambda frame, block: exchange.stage(f"{sink}/{block}", frame)


class Resources:
    """The parts that this process has opened for the plans that reach it, each URL once. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._complete: dict[str, str] = {}
        self._secrets: dict[str, str] = {}
        self._parts: dict[tuple[str, str], Any] = {}
        self._runs: OrderedDict[bytes, Run] = OrderedDict()
        self._states: dict[tuple[str, str], OpenState] = {}

    def use(self, urls: Iterable[str], broker_secrets: Mapping[str, str]) -> None:
        """Take the complete URLs, with credentials, and the broker's secrets from whoever starts this worker."""
        self._complete |= {hide_credentials(url): url for url in urls}
        self._secrets |= broker_secrets

    def run(self, words: bytes) -> Run:
        """The run of a plan in JSON, opened once. Raises `Unusable` for a URL that cannot be opened here."""
        with self._lock:
            run = self._runs.get(words)
            if run is None:
                plan = msgspec.json.decode(words, type=Plan)
                run = self._runs[words] = bind(plan, self._opened(plan))
                while len(self._runs) > _KEPT_RUNS:
                    self._runs.popitem(last=False)
            return run

    def _opened(self, plan: Plan) -> Parts:
        return Parts(
            connect_exchange(plan.exchange),
            self._part("broker", plan.broker, lambda url: brokers.connect(url, dict(self._secrets))),
            self._part("warehouse", plan.warehouse, stores.connect_warehouse),
            self._part("archive", plan.archive, stores.connect_archive),
            OpenEvents() if plan.state is None else self._state(plan.checkpoint, plan.state),
        )

    def _state(self, checkpoint: str, state: StateRef) -> OpenEvents:
        """The open sessions of a unit: what was read for the run before is carried along."""
        store = self._part("checkpoint", checkpoint, stores.connect_checkpoint)
        held = self._states.get((checkpoint, state.unit), OpenState())
        read = CheckpointRepository(store, state.unit).read_state(state.segments, state.watermark, held)
        self._states[checkpoint, state.unit] = read
        return read.events

    def _part(self, what: str, url: str, connect: Callable[[str], Any]) -> Any:
        if not url:
            return None
        complete = self._complete.get(url, url)
        if "***" in complete:
            raise Unusable(f"{url}: this worker does not know the credentials: set FOOTFALL_{what.upper()} for it too")
        key = what, url
        if key not in self._parts:
            self._parts[key] = connect(complete)
        return self._parts[key]


# Like `run.RUNS` one object a process: a step that was sent here can find what was opened only by a module's name.
RESOURCES = Resources()


@dataclass(frozen=True)
class Written:
    """A run by its plan in JSON, for steps that execute in other processes."""

    words: bytes

    def run(self) -> Run:
        """The run, opened in this process."""
        return RESOURCES.run(self.words)
