"""The parts of a replay one after the other, each built beside the live run and swapped under a lease of its own."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from hashlib import blake2b
from typing import Literal, NamedTuple

import msgspec
import polars as pl

from activity import rollup, session
from activity.columns import COLUMNS, as_texts
from activity.definitions import DAY_MS, MINUTE_MS, WATERMARK_DELAY_MS
from pipeline import erasure, io, losses, rebuild
from pipeline.checkpoint import Checkpoint
from pipeline.exchange import connect_exchange
from pipeline.io import FrameFeed
from pipeline.live import Loader
from pipeline.losses import LAST_DAY, Missing
from pipeline.plan import Plan, Window
from pipeline.replay import compare
from pipeline.replay.compare import Built, StoredEvents
from pipeline.replay.journal import Journal, JournalKeeper, Report, Task, definitions_in_force
from pipeline.replay.sources import (
    ArchiveSource,
    BrokerSource,
    Frozen,
    Piece,
    Source,
    connected,
    frames,
    margins,
)
from pipeline.resources import Parts
from pipeline.run import Run, Write
from stores.base import Archive, ArchivedFile, Conflict


class Progress(NamedTuple):
    """How far a replay is: in reading the log, which comes first where that is the source, or in doing the days."""

    stage: Literal["log", "days"]
    events: int  # that were read so far
    total: int | None = None  # about how many events there are to read, where that is known
    goes_on_from: date | None = None  # the first day that is left to a replay which was broken off before


Watch = Callable[[Progress], None]

# A part has about this many events, a shard as many as that at most.
PART_EVENTS = 500_000
SHARD_EVENTS = 125_000
_TRIES = 5
_EPOCH = date(1970, 1, 1)


class Incomplete(RuntimeError):
    """The source lacks events that are stored; nothing of their days was changed. Replay from the other source."""


def day_ms(day: date) -> int:
    """The first millisecond of a UTC day, since the epoch."""
    return (day - _EPOCH).days * DAY_MS


def replay(
    loader: Loader,
    archive: Archive,
    first: date,
    last: date,
    *,
    site: str | None = None,
    source: str = "broker",
    dry_run: bool = False,
    final: bool = False,
    progress: Watch = lambda _progress: None,
) -> Iterator[Report]:
    """Rebuild the sessions that start on the days `first`..`last` (inclusive, UTC); yields a dict a site and day:

    {"site", "day", "events", "sessions", "visitors", "sha256", "equal", "differs", "changes"}. `equal` says whether the
    stored events, sessions and rollups were the same; `differs` names those that were not, and `changes` tells what
    becomes of sessions (`pipeline.replay.changes`). A dry run writes nothing. `final`
    says that there is no better source, so these days count as made again afterwards. Raises `Incomplete`,
    `rebuild.Busy`, and `Gone` or `Unreadable` when the source has lost records; the days that were reported before are
    done."""
    if source not in ("broker", "archive"):
        raise ValueError(f"source is broker or archive, not {source!r}")
    with loader.turn:
        checkpoint = loader.open()
    lost, start, end = checkpoint.lost, day_ms(first), day_ms(last) + DAY_MS
    if lost:
        if dry_run:
            raise Incomplete("the checkpoint is missing, so this replay has to write one: leave out --dry-run")
        if len(loader.repository.each()) > 1:  # what one unit has lost stops them all, each at the end of a batch
            with loader.turn, rebuild.leased(loader) as leased:
                checkpoint = loader.repository.swap(msgspec.structs.replace(leased, lost=True, lease=None))
        site, start, end = None, 0, day_ms(datetime.fromtimestamp(loader.clock() / 1000, UTC).date()) + 2 * DAY_MS
    # Of several units some may have been made again before a kill, and load since: that is another task then.
    whose = checkpoint.generation
    if lost:
        whose = blake2b(repr((whose, sorted(checkpoint.positions.items()))).encode(), digest_size=8).hexdigest()
    task = Task(start // DAY_MS, end // DAY_MS - 1, site, source, dry_run, lost, whose, definitions_in_force())
    begun = Journal(
        task,
        begun=loader.clock(),
        upto=loader.ends() if lost else {},
        watermark=loader.clock() - WATERMARK_DELAY_MS,
        next_day=task.first_day,
    )
    keeper = JournalKeeper(loader.checkpoint_store, loader.unit.name)
    try:
        journal = keeper.begin(begun, checkpoint.missing)
        for report in _Replay(loader, archive, keeper, journal, final, progress).reports():
            if str(first) <= str(report["day"]) <= str(last):
                yield report
    except Conflict as error:
        raise rebuild.Busy(f"another process works on the same events ({error}); try again when it is done") from error


class _Replay:
    """One run of a replay, from where its journal is to the end."""

    def __init__(
        self, loader: Loader, archive: Archive, keeper: JournalKeeper, journal: Journal, final: bool, progress: Watch
    ) -> None:
        self._loader = loader
        self._archive = archive
        self._keeper = keeper
        self._journal = journal
        self._task = journal.task
        self._final = final
        self._progress = progress
        self._read = 0
        self._total: int | None = None
        self._own: set[int] = set()  # batches that this replay wrote

    def reports(self) -> Iterator[Report]:
        """Do what is left to do; yields the reports of all parts, each as soon as it is done."""
        keeper = self._keeper
        if self._journal.next_day > self._task.first_day:
            self._progress(Progress("days", 0, None, losses.day(self._journal.next_day)))
        yield from keeper.reports(self._journal)
        with self._source() as source:
            days = source.days()
            self._total = sum(days.values())
            for part, shards in self._parts(days):
                self._journal = self._done(source, part, shards)
                reports = keeper.of_the_part(self._journal)
                self._journal = keeper.done(self._journal, part.end // DAY_MS)
                yield from reports
        keeper.end()

    def _source(self) -> Source:
        task = self._task
        window = Window(task.site, self._journal.next_day * DAY_MS, (task.last_day + 1) * DAY_MS)
        upto = self._journal.upto if task.lost else None
        if task.source == "archive":
            return ArchiveSource(self._loader, self._archive, window, upto)
        return BrokerSource(self._loader, window, upto, lambda events: self._progress(Progress("log", events)))

    def _parts(self, days: dict[int, int]) -> Iterator[tuple[Window, int]]:
        """The windows of the parts, which together are all days that are left, and in how many shards to take each."""
        begun, taken = self._journal.next_day, 0
        for day in sorted(days):
            if taken and taken + days[day] > PART_EVENTS:
                yield self._part(begun, day, taken)
                begun, taken = day, 0
            taken += days[day]
        yield self._part(begun, self._task.last_day + 1, taken)

    def _part(self, first: int, end: int, events: int) -> tuple[Window, int]:
        shards = 1
        while shards * SHARD_EVENTS < events:
            shards *= 2  # a graph is compiled for each number of shards, so there are few
        return Window(self._task.site, first * DAY_MS, end * DAY_MS), shards

    def _done(self, source: Source, part: Window, shards: int) -> Journal:
        """Build and swap a part. Returns the journal, which has its reports."""
        for attempt in range(_TRIES):
            frozen = source.frozen(part, again=attempt > 0)
            stored = StoredEvents(self._loader.warehouse, part, frozen.checkpoint.batch, shards)
            with Built(part, stored, self._watermark(frozen.checkpoint)) as built:
                self._build(built, frozen, shards)
                self._refuse_to_forget(built, frozen)
                with self._loader.turn, rebuild.leased(self._loader) as ours:
                    # Otherwise a lesser copy replaced an event meanwhile: what was built counts the other copy.
                    if ours.retracted == frozen.checkpoint.retracted:
                        return self._swap(ours, built, frozen)
        raise rebuild.Busy("stored events were replaced by other copies all the time; try again in a minute")

    def _watermark(self, checkpoint: Checkpoint) -> int:
        return self._journal.watermark if self._task.lost else checkpoint.watermark

    def _build(self, built: Built, frozen: Frozen, shards: int) -> None:
        part = built.window
        touching = [piece for piece in frozen.pieces if piece.last >= part.start and piece.first < part.end]
        takes = {
            "sessions": built.take_sessions,
            "state": built.take_state,
            "events": built.take_events,
            "rollup_1m": built.take_rollup,
        }
        files = [piece.file for piece in touching if piece.file is not None]
        if self._loader.runner.remote and files and len(files) == len(touching):
            self._build_elsewhere(part, files, shards, takes)
        else:
            lookup = built.lookup(self._loader.warehouse)
            feed = FrameFeed(lambda: self._events(touching, part))
            self._loader.runner.run(Run([feed], takes, lookup=lookup, shards=shards, with_ids=Built.WITH_IDS))
        gc.collect()  # what the engine has read is in circles of its objects, and its size is unknown to the collector
        crossing = built.crossing()
        around = margins(frozen.pieces, part, crossing)
        upto = frozen.checkpoint.batch
        places = self._loader.warehouse.places_around(crossing, *part.reads, part.days, upto)
        strange = places.join(around, on=session.IDENTITY, how="anti")
        chained = connected(crossing, pl.concat([strange, around.select(compare.PLACE)]))
        built.lacking_around = strange.join(chained, on=compare.PLACE, how="semi")
        built.close_margins(self._counting(around, places, part))

    def _events(self, pieces: list[Piece], part: Window) -> Iterator[pl.DataFrame]:
        for frame in frames(pieces, list(COLUMNS), part.within("occurred_at")):
            self._count(frame.height)
            yield frame

    def _count(self, events: int) -> None:
        self._read += events
        self._progress(Progress("days", self._read, self._total))

    def _build_elsewhere(
        self, part: Window, files: list[ArchivedFile], shards: int, takes: Mapping[str, Write]
    ) -> None:
        """Have workers read the files and leave what they make of them; take that shard by shard."""
        loader = self._loader
        name = f"replay-{loader.unit.name}-{self._task.generation}-{part.days[0]}"
        plan = Plan(
            id=name,
            warehouse=loader.warehouse.url,
            archive=self._archive.url,
            exchange=loader.runner.exchange_of(name),
            files=files,
            window=part,
            staged=list(takes),
            erasures=erasure.load(loader.checkpoint_store),
            lookup_before=2**63 - 1,
            shards=shards,
        )
        parts = Parts(connect_exchange(plan.exchange), warehouse=loader.warehouse, archive=self._archive)
        outcome = loader.runner.execute(plan, parts)
        for sink, take in takes.items():
            for block, frame in outcome.frames(sink):
                take(frame, block)
                if sink == "events":
                    self._count(frame.height)
        outcome.close()

    def _counting(self, around: pl.DataFrame, places: pl.DataFrame, part: Window) -> pl.DataFrame:
        """The events of the margins without those of which another copy counts, which is stored at another time."""
        strangers = around.join(places, on=compare.PLACE, how="anti")
        elsewhere = self._loader.warehouse.lookup_events(strangers, 2**63 - 1).filter(~part.within("occurred_at"))
        # At the same place is what an earlier part of this replay has written again.
        elsewhere = elsewhere.join(around, on=compare.PLACE, how="anti")
        return session.dedupe(around, elsewhere.select(around.columns)).fresh

    def _refuse_to_forget(self, built: Built, frozen: Frozen) -> None:
        """Raises `Incomplete` when stored events of the part are nowhere in the source, not even at another time.

        The same goes for events of the margins that belong to sessions of the part."""
        unknown, part = built.unknown(), built.window
        needed = pl.concat([unknown, built.lacking_around])
        if not needed.height:
            return
        begin, finish = part.reads
        read = pl.col("occurred_at").is_between(begin, finish, closed="left")
        wanted = read & pl.col("id_lo").is_in(needed["id_lo"].implode())
        found = [frame.select(session.IDENTITY) for frame in frames(frozen.pieces, compare.PLACE, wanted)]
        elsewhere = pl.concat([unknown.select(session.IDENTITY).clear(), *found])
        built.moved.append(unknown.join(elsewhere, on=session.IDENTITY, how="semi").select(compare.PLACE))
        lacking = needed.join(elsewhere, on=session.IDENTITY, how="anti").height
        if lacking:
            stored = built.stored.rows + built.lacking_around.height
            other = "archive" if self._task.source == "broker" else "broker"
            raise Incomplete(
                f"the {self._task.source} lacks {lacking} of the {stored} events stored "
                f"for the sessions of {losses.period(part.days[0], part.days[-1])}, so nothing of these days was "
                f"swapped; try --source {other}"
            )

    def _swap(self, checkpoint: Checkpoint, built: Built, frozen: Frozen) -> Journal:
        """Catch up with what was committed since the part was frozen, compare, write the difference and commit.

        The unit is leased. A dry run only compares. The journal has the reports before anything is written."""
        warehouse, part = self._loader.warehouse, built.window
        since = self._since(frozen.checkpoint.batch + 1, checkpoint.batch - 1, part)
        moved = pl.concat(built.moved).unique().join(since, on=session.IDENTITY, how="anti")
        rebuilt = self._caught_up(built, since, moved)
        with ThreadPoolExecutor(2, "comparing") as beside:  # most of which is the engine's work
            comparing = beside.submit(self._rollups, built, since)
            finding = beside.submit(compare.stored_sessions, warehouse, part, rebuilt)
            digested = compare.digested(rebuilt)
        rollups, stored = comparing.result(), finding.result()
        sessions = compare.changed_sessions(stored, rebuilt)
        differing = {
            "events": built.repaired | compare.days_of(moved, "occurred_at"),
            "rollups": set().union(*(compare.days_of(rows, "bucket") for rows in rollups.values())),
        }
        reports = compare.reports(built.counts(), stored, digested, sessions, differing)
        journal = self._keeper.swapping(self._journal, reports)
        if self._task.dry_run:
            return journal
        token = f"{checkpoint.generation}/{checkpoint.batch}/replay/{self._loader.clock()}"
        writes = io.warehouse_writes(warehouse, token, checkpoint.batch)
        for number, rows in enumerate(built.repairs()):
            # What was loaded meanwhile is newer than what the replay read of the same events.
            writes["events"](rows.join(since, on=session.IDENTITY, how="anti"), f"repairs-{number}")
        writes["events"](moved.with_columns(deleted=pl.lit(value=True)), "moved")
        writes["sessions"](sessions, "0")
        for grain, counts in rollups.items():
            writes[grain](counts, "0")
        self._own.add(checkpoint.batch)
        self._commit(checkpoint, built, moved)
        return journal

    def _since(self, first: int, last: int, part: Window) -> pl.DataFrame:
        """The events around a part that these batches wrote, but for the batches of this replay."""
        found = [pl.DataFrame(schema=COLUMNS)]
        for batch in [*sorted(own for own in self._own if first <= own <= last), last + 1]:
            if first < batch:
                found.append(self._loader.warehouse.events_of(first, batch - 1, part.site, *part.reads))
            first = batch + 1
        return pl.concat(found)

    def _caught_up(self, built: Built, since: pl.DataFrame, moved: pl.DataFrame) -> pl.DataFrame:
        """The sessions of the part; those of visitors with events in `since` are formed again, from stored events."""
        rebuilt, part = built.sessions(), built.window
        touched = since.select(compare.VISITOR).unique()
        if not touched.height:
            return rebuilt

        def as_it_will_be() -> Iterator[pl.DataFrame]:
            repairs = [frame.join(touched, on=compare.VISITOR, how="semi") for frame in built.repairs()]
            written = pl.concat([since.clear(), *(frame.select(COLUMNS.keys()) for frame in repairs)])
            written = written.join(since, on=session.IDENTITY, how="anti")
            for frame in rebuild.stored_events(self._loader, part.site, touched, part.start, part.end).batches():
                left = as_texts(frame).join(moved, on=compare.PLACE, how="anti")
                yield left.join(written, on=session.IDENTITY, how="anti")
            yield written

        watermark = self._watermark(self._loader.checkpoint())
        feed = FrameFeed(as_it_will_be, rebuild.NEEDED)
        again = rebuild.form(self._loader.runner, feed, part.start, part.end, watermark)
        built.open_events += again.open_events
        return pl.concat([rebuilt.join(touched, on=compare.VISITOR, how="anti"), again.sessions])

    def _rollups(self, built: Built, since: pl.DataFrame) -> dict[str, pl.DataFrame]:
        """What has to be added to the stored rollups, by grain."""
        part = built.window
        meanwhile = rollup.roll_up(since.filter(part.within("occurred_at")), since.clear(), MINUTE_MS)
        counts = [*built.rollups, meanwhile]
        return {grain: compare.changed_rollup(self._loader.warehouse, part, grain, counts) for grain in rollup.GRAINS}

    def _commit(self, checkpoint: Checkpoint, built: Built, moved: pl.DataFrame) -> None:
        loader, task, part = self._loader, self._task, built.window
        is_last = part.end == (task.last_day + 1) * DAY_MS
        fields: dict[str, object] = {}
        elsewhere = moved.filter(~part.within("occurred_at"))
        if elsewhere.height:
            days = elsewhere.select("site", "visitor", day=pl.col("occurred_at") // DAY_MS).unique()
            marks = loader.repository.put_frames(f"marks-{checkpoint.batch}", days)
            fields["dirty_days"] = [*checkpoint.dirty_days, *marks]
        if checkpoint.lost and is_last:
            journal = self._journal
            stored = loader.warehouse.count_events()
            fields |= {"lost": False, "positions": journal.upto, "watermark": journal.watermark, "events": stored}
            # The dead letters up to these positions were not all loaded.
            fields["missing"] = [Missing("dead letters", 0, LAST_DAY)]
        rebuild.commit(loader, checkpoint, built.open_events, self._made(checkpoint, part, is_last), **fields)

    def _made(self, checkpoint: Checkpoint, part: Window, is_last: bool) -> Missing | None:
        """The days that count as made again with the commit of this part, if any are missing."""
        if self._task.site is not None or not any(days.what == "rows" for days in checkpoint.missing):
            return None
        if self._final:
            return Missing("rows", part.days[0], part.days[-1])
        if is_last and (checkpoint.events is None or self._loader.warehouse.count_events() >= checkpoint.events):
            return Missing("rows", self._task.first_day, self._task.last_day)
        return None
