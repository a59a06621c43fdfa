"""The live driver: micro-batches over one unit, each with an intent before it and a commit after it.

A step looks at every partition once, decides how far to read, and freezes that decision, the watermark included,
in the intent. From there on nothing depends on when the intent runs or which process runs it: kill the process
anywhere, and the next one runs the same intent to the same rows. What is read is bounded, so a backlog is worked off
in larger batches at a steady cost of memory.

The watermark of the unit is a minimum over its partitions, minus a delay. A partition that was read to its end
contributes the moment at which its end was fetched, any other one the publish time of the last record read. So an
idle partition does not hold the watermark back, and a stalled one does. An import has publish times like any other
traffic, so old events do not move it.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import polars as pl

from activity import session
from activity.definitions import DAY_MS, MINUTE_MS, WATERMARK_DELAY_MS
from activity.erasure import Erasures
from activity.event import DEAD_LETTER_TOPIC, TOPICS
from brokers.base import Broker, BrokerError, Position, TopicPartition
from pipeline import erasure, graph, io, losses
from pipeline.all_units import AllUnits
from pipeline.checkpoint import (
    Checkpoint,
    CheckpointRepository,
    Damaged,
    Intent,
    OpenState,
    PartitionRange,
    UnitsChanged,
)
from pipeline.exchange import connect_exchange
from pipeline.lease import HeldLease
from pipeline.losses import Missing
from pipeline.plan import Plan, StateRef
from pipeline.portable import RunnerError
from pipeline.resources import Outcome, Parts
from pipeline.runner import Runner
from pipeline.unit import ONE, Unit, layout
from stores.base import BrokenRows, CheckpointStore, Conflict, Positions, StoreError
from stores.erasure import Eraser
from stores.warehouse import Warehouse

log = logging.getLogger("footfall.pipeline")

# What a step counted, by Beam's names: {"step.counter": n}.
Counters = dict[str, int]

READ_TOPICS = (*TOPICS, DEAD_LETTER_TOPIC)
GROUP = "footfall-load"


def now_ms() -> int:
    """The time now, in ms since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass
class Status:
    """What `/metrics` and `/ready` say about the loader; counts are since it was made, times in ms."""

    batches: int = 0
    events: int = 0
    duplicates: int = 0
    late: int = 0
    dead_letters: int = 0
    erased: int = 0
    watermark: int = 0
    reached: int = 0  # what was published before is in the numbers
    trouble: str = ""


@dataclass
class Loader:
    """Loads what the topics hold into the warehouse, one unit, exactly once.

    Several threads use a loader; `turn` is the lock that one holds while it changes the checkpoint or loads it."""

    broker: Broker
    warehouse: Warehouse
    checkpoint_store: CheckpointStore
    unit: Unit = ONE  # of all units together, it changes what they have in common and loads nothing
    partitions: int = 4
    limit: int = 12_500  # records a partition and step
    clock: Callable[[], int] = now_ms
    runner: Runner = field(default_factory=Runner)
    lease: HeldLease | None = None  # None: nobody else loads this unit, or the swap decides
    status: Status = field(default_factory=Status)

    def __post_init__(self) -> None:
        store, whole = self.checkpoint_store, self.unit.number == 0
        self.repository = AllUnits(store, self.unit.of) if whole else CheckpointRepository(store, self.unit.name)
        self._checkpoint: Checkpoint | None = None
        self._state, self._opened_at = OpenState(), 0
        self._erasures, self._broken_off = Erasures(), ""  # the latter: why nothing may be loaded
        self.turn = threading.RLock()

    # -- the checkpoint ---------------------------------------------------------------------------------------

    def open(self) -> Checkpoint:
        """Load the checkpoint, or begin one; returns it.

        Raises `PartitionsChanged` when the topics do not fit it, `UnitsChanged` when other units have its partitions.
        A damaged checkpoint is set aside, and the one begun in its place waits for `recover.recover`."""
        with self.turn:
            try:
                checkpoint, state = self._loaded()
            except Damaged as damaged:
                kept = self.repository.set_aside(damaged)
                log.warning("The checkpoint is damaged: %s. What is left of it is kept there as %s", damaged, kept)
                checkpoint, state = self._begin(damaged=True), OpenState()
            if checkpoint.moved_to:
                raise UnitsChanged(checkpoint.moved_to)
            parts = self.parts_fields(checkpoint)
            # What was built may be noted later: a lease or a batch of another process has the checkpoint until then.
            lease = checkpoint.lease
            free = checkpoint.intent is None and (lease is None or not lease.counts(self.clock()))
            news = free and losses.built(parts["parts"]) != losses.built(checkpoint.parts)
            if parts["missing"] != checkpoint.missing or news:
                try:
                    checkpoint = self.repository.swap(msgspec.structs.replace(checkpoint, **parts))
                except Conflict:  # a loader beside this command has gone on
                    return self.open()
            for topic in READ_TOPICS:
                checkpoint.refuse_partitions(topic, self.broker.partitions(topic))
            self._checkpoint, self._state, self._opened_at, self._broken_off = checkpoint, state, self.clock(), ""
            self._erasures = erasure.load_or_restore(self.checkpoint_store, Eraser(self.warehouse).erasures)
            self.status.watermark = checkpoint.watermark
            return checkpoint

    def _loaded(self) -> tuple[Checkpoint, OpenState]:
        checkpoint = self.repository.load() or self._begin()
        state = self.repository.state(checkpoint, self._state)
        self.repository.dirty_days(checkpoint)  # raises where a segment of theirs is damaged
        return checkpoint, state

    def _begin(self, damaged: bool = False) -> Checkpoint:
        last, found = self.warehouse.last_batch(), layout(self.checkpoint_store)
        if found.of != self.unit.of:
            raise UnitsChanged(found.of)
        return self.repository.swap(
            Checkpoint(
                generation=secrets.token_hex(8),
                partitions=self.partitions,
                batch=last,
                lost=damaged or last > 0,
                epoch=found.epoch,
            )
        )

    def parts_fields(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """The fields `parts` and `missing` of the next checkpoint, by what the warehouse consists of now.

        The days of parts that were lost since `checkpoint` join its `missing`."""
        return losses.fields(self.warehouse, checkpoint.parts, checkpoint.missing)

    def of_all_units(self) -> Loader:
        """A loader of all units together, for what concerns all visitors; itself when there is one unit."""
        return self if self.unit.of == 1 else replace(self, unit=Unit(0, self.unit.of), lease=None)

    def take_over(self) -> None:
        """End the lease of a process that died, and delete the segments that it left.

        Only the owner of an embedded warehouse may do so, because it is the sole process of the unit."""
        with self.turn:
            checkpoint = self.open()
            self.repository.sweep(checkpoint)
            if checkpoint.lease is not None:
                self._checkpoint = self.repository.swap(msgspec.structs.replace(checkpoint, lease=None))

    def checkpoint(self) -> Checkpoint:
        """The checkpoint as this loader knows it, loaded if need be."""
        with self.turn:
            return self._checkpoint or self.open()

    def open_events(self, checkpoint: Checkpoint) -> pl.DataFrame | None:
        """The events of open sessions as of a checkpoint, None if they are not in memory. The caller has `turn`."""
        return self._state.events.frame() if self._state.paths() == set(checkpoint.segments()) else None

    def compile(self) -> None:
        """Compile the graph ahead of the first batch, which then need not wait for it."""
        self.runner.compile(graph.LOADING)

    # -- one micro-batch --------------------------------------------------------------------------------------

    def step(self) -> Counters | None:
        """Run one micro-batch and commit it; returns what it counted.

        None when there was nothing to do, when another process has the unit, or when something is lost that
        `recover.recover` has to make again first. Raises what the broker or a store raises; the intent stays then."""
        with self.turn:
            try:
                if self.lease is not None and not self.lease.take():
                    self._checkpoint = None
                    return None
                checkpoint = self.checkpoint()
                if checkpoint.lost or (checkpoint.missing and checkpoint.intent is None):
                    self.status.trouble = losses.LOST if checkpoint.lost else losses.rebuilding(checkpoint.missing)
                    return None
                if checkpoint.lease and checkpoint.lease.counts(self.clock()):
                    checkpoint = self.open()
                    if checkpoint.lease and checkpoint.lease.counts(self.clock()):
                        return None
                found = checkpoint.intent is not None
                if not found:
                    if checkpoint.lease and erasure.under_way(self.checkpoint_store) > checkpoint.erased:
                        self.status.trouble = self._broken_off = "an erasure was broken off, and is finished first"
                        return None
                    intent = self._plan(checkpoint)
                    if intent is None:
                        if abs(self.clock() - self._opened_at) >= MINUTE_MS:  # it may have changed hands meanwhile
                            self.open()
                        return None
                    changed = msgspec.structs.replace(checkpoint, intent=intent, lease=None)
                    checkpoint = self._checkpoint = self.repository.swap(changed)
                return self._run(checkpoint, found)
            except Conflict:
                log.info("unit %s: another process wrote the checkpoint; loading it again", self.unit)
                self._checkpoint = None
                return None

    def _plan(self, checkpoint: Checkpoint) -> Intent | None:
        ranges: list[PartitionRange] = []
        reached: list[int] = []
        for topic in READ_TOPICS:
            for partition in self.unit.partitions(checkpoint.partitions):
                text = checkpoint.position(topic, partition)
                after = Position.parse(text) if text else None
                fetched = self.clock()
                log = TopicPartition(topic, partition)
                upto = self.broker.end_before(log, after, self.limit)
                if upto is None:
                    reached.append(fetched)
                    continue
                ranges.append(PartitionRange(topic, partition, text, str(upto)))
                bounds = self.broker.bounds(log)
                at_end = bounds is not None and bounds.last <= upto
                reached.append(fetched if at_end else self.broker.timestamp_of(log, upto))
        watermark = max(checkpoint.watermark, min(reached) - WATERMARK_DELAY_MS)
        # With nothing to read the watermark still moves, once a minute, so that open sessions can close.
        if not ranges and (not self._state.events.height or watermark - checkpoint.watermark < MINUTE_MS):
            self.status.reached = min(reached)
            return None
        return Intent(self.unit.next_batch(checkpoint.batch), ranges, checkpoint.watermark, watermark)

    def _run(self, checkpoint: Checkpoint, found: bool) -> Counters:
        """Run the intent of `checkpoint`. `found`: another run may have begun to write it."""
        intent = checkpoint.intent
        assert intent is not None
        plan = self._plan_of(checkpoint, intent)
        exchange = connect_exchange(plan.exchange)
        with io.BackgroundInserts(self.warehouse) as inserts:
            parts = Parts(exchange, self.broker, inserts, state=self._state.events)
            outcome = self.runner.execute(plan, parts)
            counters = outcome.counters | outcome.tally()
            # What an event replaces is looked up among the stored events, and a merge may drop the replaced row once
            # the new one is in: so events are written after everything that is computed from the look-up.
            write = io.warehouse_writes(inserts, plan.token, plan.batch)["events"]
            times: list[int] = []
            for block, frame in outcome.frames("events"):
                write(frame, block)
                if frame.height:
                    times += frame["occurred_at"].min(), frame["occurred_at"].max()  # type: ignore[arg-type]
            taken, late = (
                pl.concat([session.empty_state(), *(frame for _, frame in outcome.frames(sink))])
                for sink in ("taken", "late")
            )
            if found:
                inserts.wait()
                surplus = losses.surplus(self.warehouse, intent.batch, outcome.due())
                if surplus.height:  # so the count is wrong, too
                    checkpoint = msgspec.structs.replace(checkpoint, events=None)
                    late = pl.concat([late.select(surplus.columns), surplus])

            def written() -> dict[str, Any]:
                inserts.wait()
                return self._account(checkpoint, counters, outcome, times if found else [])

            self._commit(checkpoint, intent, taken, late, written)
        outcome.close()
        self._count(intent, counters)
        return counters

    def _plan_of(self, checkpoint: Checkpoint, intent: Intent) -> Plan:
        """The plan of an intent, the same for everybody who finds it in this checkpoint."""
        name = f"{self.unit.name}-{checkpoint.generation}-{intent.batch}"
        return Plan(
            id=name,
            broker=self.broker.url,
            warehouse=self.warehouse.url,
            checkpoint=self.checkpoint_store.url,
            exchange=self.runner.exchange_of(name),
            ranges=intent.ranges,
            inserted=list(graph.INSERTED),
            staged=list(graph.STAGED),
            token=f"{checkpoint.generation}/{intent.batch}",
            batch=intent.batch,
            state=StateRef(self.unit.name, checkpoint.segments(), checkpoint.watermark),
            watermark=intent.watermark,
            erasures=self._erasures,
            lookup_before=intent.batch,
            shards=self.runner.shards,
        )

    def _account(
        self, checkpoint: Checkpoint, counters: Counters, outcome: Outcome, times: list[int]
    ) -> dict[str, Any]:
        """The fields of the next checkpoint that say what is stored; with `times`, after a look whether it is."""
        fresh, retracted = counters["dedupe.fresh"], counters["dedupe.retracted"]
        stored = self.warehouse.count_events() if checkpoint.events is None else checkpoint.events + fresh - retracted
        fields = self.parts_fields(checkpoint) | {"events": stored, "retracted": checkpoint.retracted + retracted}
        return fields | self._lost_rows(checkpoint, outcome, times, fields["missing"]) if times else fields

    def _commit(
        self,
        checkpoint: Checkpoint,
        intent: Intent,
        taken: pl.DataFrame,
        late: pl.DataFrame,
        written: Callable[[], dict[str, Any]],
    ) -> None:
        # Until the swap, the state in memory is ahead of the checkpoint: should something fail, both are loaded again.
        state, self._state, self._checkpoint = self._state, OpenState(), None
        segments = checkpoint.segments()
        if taken.height:
            segments.append(self.repository.put_frame(f"delta-{intent.batch}", taken))
            state.add(segments[-1], taken)
        prunes_at = session.pruned_at(intent.next_watermark)
        if prunes_at > session.pruned_at(intent.watermark):
            io.publish_closed(self.broker, state.events.prune(prunes_at))
        segments, old = self.repository.folded(state, segments, intent.batch)
        dirty_days = list(checkpoint.dirty_days)
        if late.height:
            days = late.select("site", "visitor", day=pl.col("occurred_at") // DAY_MS).unique()
            dirty_days.append(self.repository.put_frame(f"marks-{intent.batch}", days))
        self._checkpoint = self.repository.swap(
            msgspec.structs.replace(
                checkpoint,
                **written(),
                batch=intent.batch,
                positions=checkpoint.moved(intent.ranges),
                watermark=intent.next_watermark,
                snapshot=None,
                deltas=segments,
                dirty_days=dirty_days,
                intent=None,
                lease=None,
            )
        )
        self._state = state
        self.repository.forget(old)
        for r in intent.ranges:
            self.broker.remember(GROUP, TopicPartition(r.topic, r.partition), Position.parse(r.upto))

    def _lost_rows(
        self, checkpoint: Checkpoint, outcome: Outcome, times: list[int], before: list[Missing]
    ) -> dict[str, Any]:
        """The field `missing` when rows of an interrupted batch are lost, else nothing."""
        assert checkpoint.intent
        due, batch = outcome.due(), checkpoint.intent.batch
        stored = {table: self.warehouse.rows_of(table, batch) for table in due}
        found = losses.unwritten(due, stored, times)
        return {"missing": losses.missing([], [*before, found])} if found else {}

    def _count(self, intent: Intent, counters: Counters) -> None:
        status = self.status
        status.batches += 1
        status.events += counters.get("dedupe.fresh", 0)
        status.duplicates += counters.get("dedupe.duplicates", 0)
        status.late += counters.get("sessionize.late", 0)
        status.dead_letters += counters.get("decode.dead", 0)
        status.erased += counters.get("decode.erased", 0)
        status.watermark, status.reached = intent.next_watermark, intent.next_watermark + WATERMARK_DELAY_MS

    # -- drivers ----------------------------------------------------------------------------------------------

    def drain(self, upto: Positions | None = None) -> list[Counters]:
        """Step until everything up to `upto` is committed, or to the end of the log; returns what each step counted."""
        done = []
        while not (upto is not None and self.covers(upto)):
            counters = self.step()
            if counters is not None:
                done.append(counters)
            elif self._broken_off:
                raise StoreError(f"{self._broken_off}: run the command again, which does that")
            elif upto is None and self._checkpoint is not None and self._checkpoint.lease is None:
                break
            else:
                # A rebuild has the lease, or another process the unit: nothing would wake us.
                time.sleep(0.05 if self.lease is None else 0.5)
        return done

    def covers(self, upto: Positions) -> bool:
        """Whether everything up to these positions is committed."""
        checkpoint = self.checkpoint()
        for topic, partitions in upto.items():
            for partition, text in partitions.items():
                at = checkpoint.position(topic, int(partition))
                if at is None or Position.parse(at) < Position.parse(text):
                    return False
        return True

    def ends(self) -> Positions:
        """The last position that each partition has now; partitions without records are left out."""
        found: Positions = {}
        for topic in READ_TOPICS:
            for partition in self.unit.partitions(self.checkpoint().partitions):
                bounds = self.broker.bounds(TopicPartition(topic, partition))
                if bounds is not None:
                    found.setdefault(topic, {})[str(partition)] = str(bounds.last)
        return found

    def run(self, stop: threading.Event, cadence: float = 1.0) -> None:
        """Step every `cadence` seconds, and without a pause while there is a backlog, until `stop`. Faults are retried.

        Returns earlier when something is lost: call `recover.recover` before the next run. Raises `BrokenRows` when
        this run or a reader of the same warehouse met some: call `recover.mend` then. Raises `UnitsChanged`."""
        while not stop.is_set():
            begun = time.monotonic()
            try:
                if self.warehouse.broken is not None:
                    raise self.warehouse.broken
                counters = self.step()
                if self._broken_off or (self._checkpoint and (self._checkpoint.lost or self._checkpoint.missing)):
                    return
                self.status.trouble = ""
            except (BrokenRows, UnitsChanged):
                self._checkpoint = None
                raise
            # OSError: a full disk, which may have room again.
            except (BrokerError, StoreError, RunnerError, OSError) as error:
                counters = None
                self._checkpoint = None
                if self.status.trouble != str(error):
                    log.warning("unit %s: %s; trying again", self.unit, error)
                self.status.trouble = str(error)
            full = counters is not None and counters.get("decode.records", 0) >= self.limit
            if not full:
                stop.wait(max(0.0, cadence - (time.monotonic() - begun)))
