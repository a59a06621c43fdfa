"""Replay: the same sessions again from the raw events, and the proof that they are the same.

Raw events come from the broker's log or from the archive and go through the one graph from an empty state. The result
is the sessions that start in the requested days, and the events are read with the margin that the first and the last
of these sessions need. While that runs, the live run goes on. Then the replay takes a lease of the unit and catches
up with what was committed in the meantime: the few visitors that it touched are formed once more from the stored
events. What is stored is compared with what was rebuilt, events, sessions and rollups, and the difference is written.

Stored events that are missing or differ from the source are written again, and rollups are brought to the counts of
the raw events by a signed difference. If the warehouse holds events that the source no longer has (retention removed
them), nothing is written: a replay must not forget.

When the checkpoint is gone or damaged, nothing says how far the log was loaded. Then everything that the source
holds is replayed, up to the ends of the log as they are, and a checkpoint is begun there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import polars as pl

from activity import rollup, session
from activity.columns import COLUMNS
from activity.definitions import (
    DAY_MS,
    FUTURE_MS,
    MARGIN_AFTER_MS,
    MARGIN_BEFORE_MS,
    WATERMARK_DELAY_MS,
)
from activity.event import TOPICS
from activity.rollup import session_digest
from brokers.base import Position, TopicPartition
from pipeline import archive as archiving
from pipeline import io, rebuild
from pipeline.checkpoint import Checkpoint, PartitionRange
from pipeline.io import BrokerFeed, FrameFeed
from pipeline.live import Loader
from pipeline.losses import LAST_DAY, Missing
from pipeline.run import Feed, Run
from stores.base import Archive, Positions

Progress = Callable[[int], None]  # takes the number of events read so far

SHARDS = 16
_TRIES = 5
_EPOCH = date(1970, 1, 1)


class Incomplete(RuntimeError):
    """The source lacks events that are stored; nothing was changed. Replay from the other source."""


@dataclass
class Built:
    """What the raw events of the window amount to, put together from all shards."""

    formed: rebuild.Formed
    rollups: dict[str, list[pl.DataFrame]] = field(default_factory=lambda: {grain: [] for grain in rollup.GRAINS})
    repairs: list[pl.DataFrame] = field(default_factory=list)  # event rows that are missing or differ where stored
    # Counts by `site` and `day` (since the epoch), in the column `events`:
    met: list[pl.DataFrame] = field(default_factory=list)  # stored events that the source has as well
    events: list[pl.DataFrame] = field(default_factory=list)  # events of persons in the source


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
    progress: Progress = lambda _events: None,
) -> Iterator[dict[str, object]]:
    """Rebuild the sessions that start on the days `first`..`last` (inclusive, UTC); yields a dict a site and day:

    {"site", "day", "events", "sessions", "visitors", "sha256", "equal", "differs"}. `equal` says whether the stored
    events, sessions and rollups were the same; `differs` names those that were not. A dry run writes nothing. `final`
    says that there is no better source, so these days count as made again afterwards. Raises `Incomplete`,
    `rebuild.Busy`, and `Gone` or `Unreadable` when the source has lost records."""
    if source not in ("broker", "archive"):
        raise ValueError(f"source is broker or archive, not {source!r}")
    for _ in range(_TRIES):
        reports = _replay(loader, archive, first, last, site, source, dry_run, final, progress)
        if reports is not None:
            break
    else:
        raise rebuild.Busy("stored events were replaced by other copies all the time; try again in a minute")
    for report in reports:
        if str(first) <= str(report["day"]) <= str(last):
            yield report


def _replay(
    loader: Loader,
    archive: Archive,
    first: date,
    last: date,
    site: str | None,
    source: str,
    dry_run: bool,
    final: bool,
    progress: Progress,
) -> list[dict[str, object]] | None:
    """One attempt. None when a lesser copy replaced an event meanwhile: what was built counts the other copy."""
    with loader.turn:
        checkpoint = loader.open()
    start, end = day_ms(first), day_ms(last) + DAY_MS
    upto = loader.ends() if checkpoint.lost else checkpoint.positions
    if checkpoint.lost:
        if dry_run:
            raise Incomplete("the checkpoint is missing, so this replay has to write one: leave out --dry-run")
        site, start, end = None, 0, day_ms(datetime.fromtimestamp(loader.clock() / 1000, UTC).date()) + 2 * DAY_MS
    if source == "archive":
        upto = archiving.flush(loader.runner, loader.broker, archive, upto, loader.unit)
    window = Window(site, start, end)
    had = loader.warehouse.event_days(checkpoint.batch, window.site, window.start, window.end)
    built = _build(loader, archive, source, window, upto, checkpoint, progress)
    lacking = _lacking(had, built.met)
    if lacking:
        raise Incomplete(
            f"the {source} lacks {lacking} of the {had['events'].sum()} events stored for these days, so nothing was "
            f"swapped; try --source {'archive' if source == 'broker' else 'broker'}"
        )
    with loader.turn, rebuild.leased(loader) as ours:
        if ours.retracted != checkpoint.retracted:
            return None
        return _finish(loader, ours, window, built, checkpoint.batch, upto, dry_run, final)


@dataclass(frozen=True)
class Window:
    """The days to rebuild, [start, end) in ms, of one site or of all (None)."""

    site: str | None
    start: int
    end: int

    @property
    def reads(self) -> tuple[int, int]:
        """The times, [start, end) in ms, whose events the sessions of the window are formed from."""
        return max(0, self.start - MARGIN_BEFORE_MS), self.end + MARGIN_AFTER_MS

    def within(self, column: str) -> pl.Expr:
        """Selects the rows of the window's site whose `column` (ms) is in the window."""
        inside = pl.col(column).is_between(self.start, self.end, closed="left")
        return inside & (pl.col("site") == self.site) if self.site is not None else inside


def _lacking(had: pl.DataFrame, met: list[pl.DataFrame]) -> int:
    """How many stored events the source lacks, day by day: a surplus of one day does not make up for another."""
    found = _by_day(met).rename({"events": "met"})
    short = had.join(found, on=["site", "day"], how="left").select(pl.col("events") - pl.col("met").fill_null(0))
    return int(short.to_series().clip(0).sum())


def _by_day(counts: list[pl.DataFrame]) -> pl.DataFrame:
    none = pl.DataFrame(schema={"site": pl.String(), "day": pl.Int64(), "events": pl.Int64()})
    return pl.concat([none, *(part.cast({"events": pl.Int64()}) for part in counts)]).group_by("site", "day").sum()


def _feeds(loader: Loader, archive: Archive, source: str, window: Window, upto: Positions) -> list[Feed]:
    begin, finish = window.reads
    if source == "archive":
        return [FrameFeed(lambda: archiving.frames(archive, begin, finish, window.site))]
    feeds: list[Feed] = []
    for topic in TOPICS:
        for partition, text in upto.get(topic, {}).items():
            # No event occurs later than FUTURE_MS after its receipt, so none that is earlier in the log is missed.
            since = begin - FUTURE_MS
            after = loader.broker.position_at(TopicPartition(topic, int(partition)), since) if since > 0 else None
            if after is None or after < Position.parse(text):
                reach = PartitionRange(topic, int(partition), str(after) if after else None, text)
                feeds.append(BrokerFeed(loader.broker, reach))
    return feeds


def _build(
    loader: Loader,
    archive: Archive,
    source: str,
    window: Window,
    upto: Positions,
    checkpoint: Checkpoint,
    progress: Progress,
) -> Built:
    begin, finish = window.reads
    built = Built(rebuild.Formed(session.empty_sessions(), []))
    sessions: list[pl.DataFrame] = []
    read = 0

    def count(frame: pl.DataFrame, _block: str) -> None:
        nonlocal read
        here = frame.filter(~pl.col("deleted") & window.within("occurred_at"))
        persons = here.filter(pl.col("bot") == "")
        built.events.append(persons.group_by("site", day=pl.col("occurred_at") // DAY_MS).agg(events=pl.len()))
        read += frame.height
        progress(read)

    def keep_repairs(frame: pl.DataFrame, _block: str) -> None:
        built.repairs.append(frame.filter(window.within("occurred_at")))

    def keep_sessions(frame: pl.DataFrame, _block: str) -> None:
        sessions.append(frame.filter(window.within("started_at")).select(session.COLUMNS.keys()))

    def keep_rollup(grain: str) -> Callable[[pl.DataFrame, str], None]:
        return lambda frame, _block: built.rollups[grain].append(frame.filter(window.within("bucket")))

    loader.runner.run(
        Run(
            feeds=_feeds(loader, archive, source, window, upto),
            writes={
                "sessions": keep_sessions,
                "state": rebuild.keeping_open(built.formed.open_events, checkpoint.watermark),
                "events": count,
                "repairs": keep_repairs,
                "met": io.collecting(built.met),
                **{grain: keep_rollup(grain) for grain in rollup.GRAINS},
            },
            lookup=io.warehouse_lookup(loader.warehouse, 2**63 - 1),
            compared=pl.col("occurred_at").is_between(begin, finish, closed="left"),
            shards=SHARDS,
        )
    )
    built.formed.sessions = pl.concat([session.empty_sessions(), *sessions])
    return built


def _finish(
    loader: Loader,
    checkpoint: Checkpoint,
    window: Window,
    built: Built,
    batch: int,
    upto: Positions,
    dry_run: bool,
    final: bool,
) -> list[dict[str, object]]:
    """Catch up with what was committed after `batch`, compare, write the difference and commit. The unit is leased.

    A dry run only compares."""
    warehouse = loader.warehouse
    rebuilt = built.formed.sessions
    stored = warehouse.sessions_between(window.site, window.start, window.end)
    token = f"{checkpoint.generation}/{checkpoint.batch}/replay/{loader.clock()}"
    writes = io.warehouse_writes(warehouse, token, checkpoint.batch)
    since = warehouse.events_of(batch + 1, checkpoint.batch - 1, window.site, *window.reads)
    touched = since.select("site", "visitor").unique()
    none = pl.DataFrame(schema={**COLUMNS, "deleted": pl.Boolean()})
    # What was loaded meanwhile is newer than what the replay read of the same events.
    repairs = pl.concat([none, *built.repairs]).join(since, on=session.IDENTITY, how="anti")
    if not dry_run:
        writes["events"](repairs, "repairs")
    if touched.height:
        feed = rebuild.stored_events(loader, window.site, touched, window.start, window.end)
        again = rebuild.form(loader.runner, feed, window.start, window.end, checkpoint.watermark)
        others = rebuilt.join(touched, on=["site", "visitor"], how="anti")
        rebuilt = pl.concat([others, again.sessions])
        built.formed.open_events += again.open_events
    rollups = {}
    for grain, parts in built.rollups.items():
        parts.append(rollup.roll_up(since.filter(window.within("occurred_at")), since.clear(), rollup.GRAINS[grain]))
        there = warehouse.rollups_between(grain, window.site, window.start, window.end)
        rollups[grain] = _difference(parts, there)
    differing = {
        "events": _days(repairs, "occurred_at"),
        "rollups": set().union(*(_days(changes, "bucket") for changes in rollups.values())),
    }
    reports = _reports(_by_day(built.events), stored, rebuilt, differing)
    if dry_run:
        return reports
    writes["sessions"](session.difference(stored, rebuilt), "0")
    for grain, changes in rollups.items():
        writes[grain](changes, "0")
    fields: dict[str, object] = {}
    if checkpoint.lost:
        watermark = loader.clock() - WATERMARK_DELAY_MS
        fields = {"lost": False, "positions": upto, "watermark": watermark, "events": warehouse.count_events()}
        # The dead letters up to these positions were not all loaded.
        fields["missing"] = [Missing("dead letters", 0, LAST_DAY)]
    made = None
    if window.site is None and (final or checkpoint.events is None or warehouse.count_events() >= checkpoint.events):
        made = Missing("rows", window.start // DAY_MS, window.end // DAY_MS - 1)
    rebuild.commit(loader, checkpoint, built.formed.open_events, made, **fields)
    return reports


def _days(rows: pl.DataFrame, time: str) -> set[tuple[str, int]]:
    """The (site, day)s of rows, by the column `time` (ms)."""
    return set(rows.select("site", pl.col(time) // DAY_MS).unique().iter_rows())


def _difference(parts: list[pl.DataFrame], stored: pl.DataFrame) -> pl.DataFrame:
    """What has to be added to the stored counts so that they become the rebuilt ones (`rollup.COLUMNS`)."""
    keys, sums = ["site", "bucket", "dimension", "value"], ["events", "pageviews", "searches", "engaged_ms"]
    signed = [pl.DataFrame(schema=rollup.COLUMNS), *parts, stored.with_columns(-pl.col(sums))]
    summed = pl.concat([part.select(rollup.COLUMNS.keys()) for part in signed]).group_by(keys).agg(pl.col(sums).sum())
    return summed.filter(pl.any_horizontal(pl.col(name) != 0 for name in sums)).select(rollup.COLUMNS.keys())


def _reports(
    events: pl.DataFrame, stored: pl.DataFrame, rebuilt: pl.DataFrame, differing: Mapping[str, set[tuple[str, int]]]
) -> list[dict[str, object]]:
    """A line a site and day; `differing` has the site-days whose events or rollups were not as they should be."""

    def by_day(frame: pl.DataFrame) -> dict[tuple[str, int], pl.DataFrame]:
        dated = frame.with_columns(day=pl.col("started_at") // DAY_MS)
        return {(str(k[0]), int(str(k[1]))): v for k, v in dated.partition_by("site", "day", as_dict=True).items()}

    counts = {(site, day): n for site, day, n in events.iter_rows()}
    before, after = by_day(stored), by_day(rebuilt)
    none = session.empty_sessions()
    reports: list[dict[str, object]] = []
    for site, day in sorted({*before, *after, *counts}.union(*differing.values())):
        key = site, day
        now = after.get(key, none)
        made = session_digest(now)
        differs = [what for what, days in differing.items() if key in days]
        if session_digest(before.get(key, none)) != made:
            differs.append("sessions")
        reports.append(
            {
                "site": site,
                "day": str(_EPOCH + timedelta(days=day)),
                "events": counts.get(key, 0),
                "sessions": now.height,
                "visitors": now["visitor"].n_unique(),
                "sha256": made,
                "equal": not differs,
                "differs": sorted(differs),
            }
        )
    return reports
