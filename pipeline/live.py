"""The live driver: micro-batches over one unit, each with an intent before it and a commit after it.

A step looks at every partition once, decides how far to read, and freezes that decision, the watermark included,
in the intent. From there on nothing depends on when or by whom it is run: kill the process anywhere, and the next
one runs the same intent to the same rows. What is read is bounded, so a backlog is worked off in larger batches
at a steady cost of memory.

The watermark of the unit is the least over its partitions of the publish time of the last record read or, where
the partition was read to its end, of the moment its end was fetched; minus a delay. An idle partition does not
hold it, a stalled one does. An import has publish times like any other traffic, so old events do not move it.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import polars as pl

from activity import session
from activity.definitions import DAY_MS, MINUTE_MS, WATERMARK_DELAY_MS
from activity.event import ALL_TOPICS, DEAD_LETTER_TOPIC, SESSION_TOPIC, TOPICS
from activity.rollup import hex16
from brokers.base import Broker, BrokerError, Position, Record
from pipeline import graph, io, losses
from pipeline.checkpoint import SNAPSHOT_EVERY, Damaged, Head, Intent, Ledger, PartitionsChanged, Range
from pipeline.io import BrokerFeed
from pipeline.losses import Missing
from pipeline.plan import Run
from pipeline.runner import Runner
from stores.base import BrokenRows, Checkpoint, Lost, StoreError
from stores.warehouse import Warehouse

log = logging.getLogger("footfall.pipeline")

READ_TOPICS = (*TOPICS, DEAD_LETTER_TOPIC)
GROUP = "footfall-load"
MOST_CHUNKS = 8


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Report:
    """What one committed micro-batch did; `counters` are Beam's own, by "step.counter"."""

    batch: int
    watermark: int
    counters: dict[str, int]
    seconds: float


@dataclass
class Status:
    """What `/metrics` and `/ready` tell of the loader."""

    batches: int = 0
    events: int = 0
    duplicates: int = 0
    late: int = 0
    dead_letters: int = 0
    watermark: int = 0
    lag_seconds: float = 0.0
    trouble: str = ""


@dataclass
class Loader:
    """Loads what the topics hold into the warehouse, one unit, exactly once."""

    broker: Broker
    warehouse: Warehouse
    checkpoint: Checkpoint
    unit: str = "0"
    partitions: int = 4
    limit: int = 12_500  # records a partition and step
    clock: Callable[[], int] = now_ms
    runner: Runner = field(default_factory=Runner)
    status: Status = field(default_factory=Status)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.checkpoint, self.unit)
        self._head: Head | None = None
        self._state = session.empty_state()
        self.turn = threading.RLock()

    # -- the head ---------------------------------------------------------------------------------------------

    def open(self) -> Head:
        """Load the checkpoint, or begin one. Raises `PartitionsChanged` when the topics do not fit it.

        A damaged one is kept aside, and what is begun in its place waits for `recover.recover`."""
        try:
            head, state = self._loaded()
        except Damaged as damaged:
            kept = self.ledger.set_aside(damaged)
            log.warning("The checkpoint is damaged: %s. What is left of it is kept there as %s", damaged, kept)
            head, state = self._begin(damaged=True), session.empty_state()
        held = self.held(head)
        if held["missing"] != head.missing:
            head = self.ledger.swap(msgspec.structs.replace(head, **held))
        for topic in READ_TOPICS:
            found = self.broker.partitions(topic)
            if found != head.partitions:
                raise PartitionsChanged(
                    f"topic {topic} has {found} partitions, the checkpoint was made with {head.partitions}: visitors "
                    "would move between partitions. Give the topic its former count, or begin a new checkpoint."
                )
        self._head, self._state = head, state
        self.status.watermark = head.watermark
        return head

    def _loaded(self) -> tuple[Head, pl.DataFrame]:
        head = self.ledger.load()
        if head is None:
            head = self._begin()
        state = self.ledger.state(head)
        self.ledger.marks(head)
        return head, state

    def _begin(self, damaged: bool = False) -> Head:
        last, generation = self.last_batch(), secrets.token_hex(8)
        return self.ledger.swap(
            Head(generation=generation, partitions=self.partitions, batch=last, lost=damaged or last > 0)
        )

    def held(self, head: Head) -> dict[str, Any]:
        """What a commit says of the warehouse's parts; days of which some went since `head` join its `missing`."""
        found = self.warehouse.parts()
        there = losses.parts(found)
        gone = [] if found is None else losses.lost(head.parts, there)
        if gone:
            log.warning(
                "The warehouse has lost %s. They are made again from the raw events; until then nothing is loaded",
                losses.told(gone),
            )
        return {"parts": there, "missing": losses.missing(gone, head.missing)}

    def last_batch(self) -> int:
        """The highest batch number that any stored row bears; 0 for an empty warehouse."""
        sql = "SELECT max(b) FROM (SELECT max(batch) b FROM event_rows UNION ALL SELECT max(batch) FROM session_rows)"
        return int(self.warehouse.query(sql).item())

    def take_over(self) -> None:
        """Break a hold left by a process that is dead: only for who owns the embedded warehouse, hence is alone."""
        with self.turn:
            head = self.open()
            self.ledger.sweep(head)
            if head.hold is not None:
                self._head = self.ledger.swap(msgspec.structs.replace(head, hold=None))

    def head(self) -> Head:
        return self._head or self.open()

    def compile(self) -> None:
        """Compile the graph ahead of the first batch, which then need not wait for it."""
        self.runner.compile(graph.LOADING)

    # -- one micro-batch --------------------------------------------------------------------------------------

    def step(self) -> Report | None:
        """One micro-batch; None when there was nothing to do, or another process holds or took the unit."""
        with self.turn:
            try:
                head = self.head()
                if head.lost or (head.missing and head.intent is None):
                    self.status.trouble = losses.LOST if head.lost else losses.rebuilding(head.missing)
                    return None
                if head.hold and head.hold.until > self.clock():
                    head = self.open()
                    if head.hold and head.hold.until > self.clock():
                        return None
                found = head.intent is not None
                if head.intent is None:
                    intent = self._plan(head)
                    if intent is None:
                        return None
                    head = self._head = self.ledger.swap(msgspec.structs.replace(head, intent=intent, hold=None))
                return self._run(head, found)
            except Lost:
                log.info("unit %s: another process wrote the checkpoint; loading it again", self.unit)
                self._head = None
                return None

    def _plan(self, head: Head) -> Intent | None:
        ranges: list[Range] = []
        reached: list[int] = []
        for topic in READ_TOPICS:
            for partition in range(head.partitions):
                text = head.position(topic, partition)
                after = Position.parse(text) if text else None
                fetched = self.clock()
                upto = self.broker.end_before(topic, partition, after, self.limit)
                if upto is None:
                    reached.append(fetched)
                    continue
                ranges.append(Range(topic, partition, text, str(upto)))
                bounds = self.broker.bounds(topic, partition)
                at_end = bounds is not None and bounds.last <= upto
                reached.append(fetched if at_end else self.broker.timestamp_of(topic, partition, upto))
        watermark = max(head.watermark, min(reached) - WATERMARK_DELAY_MS)
        self.status.lag_seconds = max(0.0, (self.clock() - min(reached)) / 1000)
        # With nothing to read the watermark still moves, once a minute, so that open sessions can close.
        if not ranges and (not self._state.height or watermark - head.watermark < MINUTE_MS):
            return None
        return Intent(head.batch + 1, ranges, head.watermark, watermark)

    def _run(self, head: Head, found: bool) -> Report:
        with io.BackgroundWriter() as background:
            return self._run_over(head, background, found)

    def _run_over(self, head: Head, background: io.BackgroundWriter, found: bool) -> Report:
        """`found`: the intent is one that another run may have begun to write."""
        intent = head.intent
        assert intent is not None
        begun = time.perf_counter()
        kept: dict[str, list[pl.DataFrame]] = {"state": [], "taken": [], "late": []}
        direct = io.warehouse_writes(self.warehouse, f"{head.generation}/{intent.batch}", intent.batch)
        writes = {name: background.wrap(write) for name, write in direct.items()}
        writes |= {name: io.collecting(frames) for name, frames in kept.items()}
        # What an event replaces is looked up among the stored events, and a merge may drop the replaced row once the
        # new one is in: so events are written after everything that is computed from the look-up.
        events: list[tuple[pl.DataFrame, str]] = []
        writes["events"] = lambda frame, block: events.append((frame, block))
        counters = self.runner.run(
            Run(
                feeds=[BrokerFeed(self.broker, r) for r in intent.ranges],
                writes=writes,
                state=self._state,
                watermark=intent.watermark,
                lookup=io.warehouse_lookup(self.warehouse, intent.batch),
            )
        )
        for frame, block in events:
            background.submit(direct["events"], frame, block)
        # A batch that held no event reaches no sink; the state is then what it was.
        state = pl.concat(kept["state"]) if kept["state"] else self._state
        taken, late = (pl.concat([session.empty_state(), *kept[name]]) for name in ("taken", "late"))

        def written() -> dict[str, Any]:
            background.wait()
            stored = head.events if head.events is not None else self.warehouse.count_events()
            if head.events is not None:
                stored += counters.get("dedupe.fresh", 0) - counters.get("dedupe.retracted", 0)
            retracted = head.retracted + counters.get("dedupe.retracted", 0)
            held = self.held(head) | {"events": stored, "retracted": retracted}
            return held | self._found_written(intent, counters, events, held["missing"]) if found else held

        self._commit(head, intent, state, taken, late, written)
        return self._reported(intent, counters, time.perf_counter() - begun)

    def _commit(
        self,
        head: Head,
        intent: Intent,
        state: pl.DataFrame,
        taken: pl.DataFrame,
        late: pl.DataFrame,
        written: Callable[[], dict[str, Any]],
    ) -> None:
        snapshot, deltas, old = head.snapshot, list(head.deltas), []
        if session.prunes_at(intent.watermark, intent.next_watermark):
            state, closed = session.prune(state, intent.next_watermark)
            self._publish_closed(closed)
        if len(deltas) >= SNAPSHOT_EVERY:
            old = [*deltas, *([snapshot] if snapshot else [])]
            snapshot, deltas = self.ledger.put_frame(f"state-{intent.batch}", state), []
        elif taken.height:
            deltas.append(self.ledger.put_frame(f"delta-{intent.batch}", taken))
        marks = list(head.marks)
        if late.height:
            days = late.select("site", "visitor", day=pl.col("occurred_at") // DAY_MS).unique()
            marks.append(self.ledger.put_frame(f"marks-{intent.batch}", days))
        self._head = self.ledger.swap(
            msgspec.structs.replace(
                head,
                **written(),
                batch=intent.batch,
                positions=head.moved(intent.ranges),
                watermark=intent.next_watermark,
                snapshot=snapshot,
                deltas=deltas,
                marks=marks,
                intent=None,
                hold=None,
            )
        )
        # Each batch adds a chunk to every column, and work goes by the chunk.
        self._state = state if state.n_chunks() < MOST_CHUNKS else state.rechunk()
        self.ledger.forget(old)
        for r in intent.ranges:
            self.broker.remember(GROUP, r.topic, r.partition, Position.parse(r.upto))

    def _found_written(
        self, intent: Intent, counters: dict[str, int], events: list[tuple[pl.DataFrame, str]], known: list[Missing]
    ) -> dict[str, Any]:
        """An insert is not repeated once the engine knows its token, also where the rows went in the meantime."""
        short = [
            table
            for table, sink in (("event_rows", "events"), ("session_rows", "sessions"))
            if self.warehouse.rows_of(table, intent.batch) < counters.get(f"write_{sink}.rows", 0)
        ]
        times = pl.concat([frame["occurred_at"] for frame, _ in events]) if events else pl.Series()
        if not short or times.is_empty():
            return {}
        # A session starts at most a day and a gap before its events.
        first, last = int(times.min()) // DAY_MS - 2, int(times.max()) // DAY_MS  # type: ignore[arg-type]
        log.warning("The warehouse has lost rows of %s that an interrupted batch wrote", " and ".join(short))
        return {"missing": losses.missing([], [*known, Missing("rows", first, last)])}

    def _publish_closed(self, closed: pl.DataFrame) -> None:
        """Final sessions for other consumers. A crash may repeat them, with the same id and content."""
        if not closed.height:
            return
        readable = closed.with_columns(visitor=hex16("visitor"), session_id=hex16("session_id"))
        values = readable.write_ndjson().encode().splitlines()
        # As `visitor_key`.
        keys = readable.select(pl.concat_str("site", pl.lit("/"), "visitor").cast(pl.Binary)).to_series().to_list()
        self.broker.publish([Record(SESSION_TOPIC, key, value) for key, value in zip(keys, values, strict=True)])

    def _reported(self, intent: Intent, counters: dict[str, int], seconds: float) -> Report:
        status = self.status
        status.batches += 1
        status.events += counters.get("dedupe.fresh", 0)
        status.duplicates += counters.get("dedupe.duplicates", 0)
        status.late += counters.get("sessionize.late", 0)
        status.dead_letters += counters.get("decode.dead", 0)
        status.watermark = intent.next_watermark
        return Report(intent.batch, intent.next_watermark, counters, seconds)

    # -- drivers ----------------------------------------------------------------------------------------------

    def drain(self, upto: dict[str, dict[str, str]] | None = None) -> list[Report]:
        """Step until everything up to `upto` (topic -> partition -> position) is committed; None: to the end."""
        reports = []
        while not (upto is not None and self.covers(upto)):
            report = self.step()
            if report is not None:
                reports.append(report)
            elif upto is None and self._head is not None and self._head.hold is None:
                break
            else:
                time.sleep(0.05)  # held by a rebuild, or taken over: there is nothing to be woken by
        return reports

    def covers(self, upto: dict[str, dict[str, str]]) -> bool:
        """Whether everything up to these positions is committed."""
        head = self.head()
        for topic, partitions in upto.items():
            for partition, text in partitions.items():
                at = head.position(topic, int(partition))
                if at is None or Position.parse(at) < Position.parse(text):
                    return False
        return True

    def ends(self) -> dict[str, dict[str, str]]:
        """The last position of every partition that holds anything, now."""
        found: dict[str, dict[str, str]] = {}
        for topic in READ_TOPICS:
            for partition in range(self.head().partitions):
                bounds = self.broker.bounds(topic, partition)
                if bounds is not None:
                    found.setdefault(topic, {})[str(partition)] = str(bounds.last)
        return found

    def run(self, stop: threading.Event, cadence: float = 1.0) -> None:
        """Step once a `cadence` (seconds), at once while there is a backlog, until `stop`. Faults are retried.

        Returns earlier when something is lost: `recover.recover` has to come before the next run. Raises `BrokenRows`,
        met by this run or by a reader of the same warehouse: then it is `recover.mend`."""
        while not stop.is_set():
            begun = time.monotonic()
            try:
                if self.warehouse.broken is not None:
                    raise self.warehouse.broken
                report = self.step()
                if self._head is not None and (self._head.lost or self._head.missing):
                    return
                self.status.trouble = ""
            except BrokenRows:
                self._head = None
                raise
            except (BrokerError, StoreError, OSError) as error:  # OSError: a full disk, which may have room again
                report = None
                self._head = None
                if self.status.trouble != str(error):
                    log.warning("unit %s: %s; trying again", self.unit, error)
                self.status.trouble = str(error)
            full = report is not None and report.counters.get("decode.records", 0) >= self.limit
            if not full:
                stop.wait(max(0.0, cadence - (time.monotonic() - begun)))


def create_topics(broker: Broker, partitions: int, retention_ms: int, replication: int = 1) -> None:
    """Every topic of the product, with the same partition count; nothing happens to those that are there."""
    for topic in ALL_TOPICS:
        broker.create_topic(topic, partitions, retention_ms, replication)
