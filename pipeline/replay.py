"""Replay: the same sessions again from the raw events, and the proof that they are the same.

Raw events come from the broker's log or from the archive, go through the one graph from an empty state, and end as
the sessions that start in the asked days, read with the margin that the first and last of them need. While that
runs, the live run goes on. Then the unit is held, and what was committed in the meantime is caught up with: the
few visitors it touched are formed once more from the stored events. What is stored is compared with what was
rebuilt, a digest a site and day, and the difference is put in place.

Events and rollups are repaired on the same way: stored events that are missing are written, and rollups are
brought to the counts of the raw events by a signed difference. If the warehouse holds events that the source
no longer has (retention removed them), nothing is swapped: a replay must not forget.

When the checkpoint is gone but the warehouse is not, nothing says how far the log was loaded. Then everything
that the source holds is replayed, up to the ends of the log as they are, and a checkpoint is begun there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from activity.digest import digest
from activity.event import TOPICS
from brokers.base import Gone, Position
from pipeline import archiving, flow, rebuild, tables
from pipeline.context import Feed, Run
from pipeline.head import Head
from pipeline.live import Loader
from pipeline.source import BrokerFeed, FrameFeed, Range
from stores.base import Archive, Positions

Progress = Callable[[str, int], None]

SHARDS = 16
_EPOCH = date(1970, 1, 1)


class Incomplete(RuntimeError):
    """The source lacks events that are stored; nothing was changed. Replay from the other source."""


@dataclass
class Built:
    """What the raw events say of the window, shard by shard put together."""

    formed: rebuild.Formed
    rollups: dict[str, list[pl.DataFrame]] = field(default_factory=lambda: {grain: [] for grain in rollup.GRAINS})
    missing: list[pl.DataFrame] = field(default_factory=list)  # raw events that are not stored
    stored: int = 0  # raw events of the window that are
    events: list[pl.DataFrame] = field(default_factory=list)  # site, day, events


def day_ms(day: date) -> int:
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
    progress: Progress = lambda _what, _events: None,
) -> Iterator[dict[str, object]]:
    """Rebuild the sessions that start on the days `first`..`last` (inclusive, UTC); a dict a site and day:

    {"site", "day", "events", "sessions", "visitors", "sha256", "equal"}. `equal` says whether what was stored
    had the same digest; None when nothing was stored. Raises `Incomplete`, `rebuild.Busy`, `Gone`.
    """
    if source not in ("broker", "archive"):
        raise ValueError(f"source is broker or archive, not {source!r}")
    head = loader.ledger.load() or loader.open()
    start, end = day_ms(first), day_ms(last) + DAY_MS
    upto = loader.ends() if head.lost else head.positions
    if head.lost:
        if dry_run:
            raise Incomplete("the checkpoint is missing, so this replay has to write one: leave out --dry-run")
        site, start, end = None, 0, day_ms(datetime.fromtimestamp(loader.clock() / 1000, UTC).date()) + 2 * DAY_MS
    if source == "archive":
        upto = archiving.flush(loader.broker, archive, upto, loader.unit)
    window = Window(site, start, end)
    had = _count(loader, window)
    built = _build(loader, archive, source, window, upto, head, progress)
    if built.stored < had:
        raise Incomplete(
            f"the {source} lacks {had - built.stored} of the {had} events stored for these days, so nothing was "
            f"swapped; try --source {'archive' if source == 'broker' else 'broker'}"
        )
    with loader.turn, rebuild.holding(loader) as held:
        reports = _finish(loader, held, window, built, head.batch, upto, dry_run)
    for report in reports:
        if str(first) <= str(report["day"]) <= str(last):
            yield report


def recover(loader: Loader, archive: Archive) -> None:
    """Begin a lost checkpoint anew by replaying everything, from whichever source has it; else do nothing.

    Raises `Incomplete` when neither the broker nor the archive holds all that is stored."""
    if not loader.open().lost:
        return
    today = datetime.fromtimestamp(loader.clock() / 1000, UTC).date()
    try:
        list(replay(loader, archive, today, today))
    except (Incomplete, Gone):
        list(replay(loader, archive, today, today, source="archive"))


@dataclass(frozen=True)
class Window:
    site: str | None
    start: int
    end: int

    @property
    def reads(self) -> tuple[int, int]:
        return max(0, self.start - MARGIN_BEFORE_MS), self.end + MARGIN_AFTER_MS

    def within(self, column: str) -> pl.Expr:
        inside = pl.col(column).is_between(self.start, self.end, closed="left")
        return inside & (pl.col("site") == self.site) if self.site is not None else inside


def _count(loader: Loader, window: Window) -> int:
    sql = (
        "SELECT count() FROM event_rows FINAL WHERE occurred_at >= fromUnixTimestamp64Milli({start:Int64}, 'UTC') "
        "AND occurred_at < fromUnixTimestamp64Milli({end:Int64}, 'UTC') "
        "AND ({site:String} = '' OR site = {site:String})"
    )
    asked = {"start": window.start, "end": window.end, "site": window.site or ""}
    return int(loader.warehouse.query(sql, asked).item())


def _feeds(loader: Loader, archive: Archive, source: str, window: Window, upto: Positions) -> list[Feed]:
    begin, finish = window.reads
    if source == "archive":
        return [FrameFeed(lambda: archiving.frames(archive, begin, finish, window.site))]
    feeds: list[Feed] = []
    for topic in TOPICS:
        for partition, text in upto.get(topic, {}).items():
            # Nothing occurs later than FUTURE_MS after its receipt, hence nothing earlier in the log is missed.
            since = begin - FUTURE_MS
            after = loader.broker.position_at(topic, int(partition), since) if since > 0 else None
            if after is None or after < Position.parse(text):
                stretch = Range(topic, int(partition), str(after) if after else None, text)
                feeds.append(BrokerFeed(loader.broker, stretch))
    return feeds


def _build(
    loader: Loader, archive: Archive, source: str, window: Window, upto: Positions, head: Head, progress: Progress
) -> Built:
    begin, finish = window.reads
    built = Built(rebuild.Formed(session.empty_sessions(), []))
    sessions: list[pl.DataFrame] = []
    stored_here = pl.DataFrame(schema={name: COLUMNS[name] for name in session.IDENTITY})
    read = 0

    def known(keys: pl.DataFrame) -> pl.DataFrame:
        """Copies stored outside what is read take part in deduplication; those inside are compared with later."""
        nonlocal stored_here
        stored = loader.warehouse.known_events(keys, 2**63 - 1)
        inside = pl.col("occurred_at").is_between(begin, finish, closed="left")
        stored_here = stored.filter(inside).select(session.IDENTITY)
        return stored.filter(~inside)

    def keep_events(frame: pl.DataFrame, _block: str) -> None:
        nonlocal read
        here = frame.filter(~pl.col("deleted") & window.within("occurred_at"))
        absent = here.join(stored_here, on=session.IDENTITY, how="anti")
        built.stored += here.height - absent.height
        built.missing.append(absent)
        persons = here.filter(pl.col("bot") == "")
        built.events.append(persons.group_by("site", day=pl.col("occurred_at") // DAY_MS).agg(events=pl.len()))
        read += frame.height
        progress("replayed", read)

    def keep_sessions(frame: pl.DataFrame, _block: str) -> None:
        sessions.append(frame.filter(window.within("started_at")).select(session.COLUMNS.keys()))

    def keep_rollup(grain: str) -> Callable[[pl.DataFrame, str], None]:
        return lambda frame, _block: built.rollups[grain].append(frame.filter(window.within("bucket")))

    flow.run(
        Run(
            feeds=_feeds(loader, archive, source, window, upto),
            writes={
                "sessions": keep_sessions,
                "state": rebuild.keeping_open(built.formed.open_events, head.watermark),
                "events": keep_events,
                **{grain: keep_rollup(grain) for grain in rollup.GRAINS},
            },
            known=known,
            shards=SHARDS,
        )
    )
    built.formed.sessions = pl.concat([session.empty_sessions(), *sessions])
    return built


def _finish(
    loader: Loader, head: Head, window: Window, built: Built, batch: int, upto: Positions, dry_run: bool
) -> list[dict[str, object]]:
    """Under the hold: catch up with what was committed after `batch`, compare, put in place and commit.

    A dry run only compares."""
    warehouse = loader.warehouse
    rebuilt = built.formed.sessions
    stored = warehouse.sessions_between(window.site, window.start, window.end)
    writes = tables.writes(warehouse, f"{head.generation}/{head.batch + 1}/replay/{loader.clock()}", head.batch + 1)
    since = _loaded_since(loader, batch, window)
    touched = since.select("site", "visitor").unique()
    if not dry_run:
        missing = pl.concat([pl.DataFrame(schema={**COLUMNS, "deleted": pl.Boolean()}), *built.missing])
        writes["events"](missing, "missing")
    if touched.height:
        feed = rebuild.stored_events(loader, window.site, touched, window.start, window.end)
        again = rebuild.form([feed], window.start, window.end, head.watermark)
        others = rebuilt.join(touched, on=["site", "visitor"], how="anti")
        rebuilt = pl.concat([others, again.sessions])
        built.formed.open_events += again.open_events
    reports = _reports(built, stored, rebuilt)
    if dry_run:
        return reports
    writes["sessions"](session.difference(stored, rebuilt), "0")
    for grain, parts in built.rollups.items():
        parts.append(rollup.roll_up(since.filter(window.within("occurred_at")), since.clear(), rollup.GRAINS[grain]))
        there = warehouse.rollups_between(grain, window.site, window.start, window.end)
        writes[grain](_difference(parts, there), "0")
    fields: dict[str, object] = {}
    if head.lost:
        watermark = loader.clock() - WATERMARK_DELAY_MS
        fields = {"lost": False, "positions": upto, "watermark": watermark}
    rebuild.commit(loader, head, built.formed.open_events, **fields)
    return reports


def _loaded_since(loader: Loader, batch: int, window: Window) -> pl.DataFrame:
    """The stored events of what is read that batches after `batch` wrote."""
    begin, finish = window.reads
    sql = (
        f"SELECT {', '.join(COLUMNS)} FROM event_rows FINAL WHERE batch > {{batch:UInt64}} "  # noqa: S608 (our names)
        "AND occurred_at >= fromUnixTimestamp64Milli({begin:Int64}, 'UTC') "
        "AND occurred_at < fromUnixTimestamp64Milli({finish:Int64}, 'UTC') "
        "AND ({site:String} = '' OR site = {site:String})"
    )
    asked = {"batch": batch, "begin": begin, "finish": finish, "site": window.site or ""}
    found = loader.warehouse.query(sql, asked)
    return found.select(pl.col(name).cast(kind) for name, kind in COLUMNS.items())


def _difference(parts: list[pl.DataFrame], stored: pl.DataFrame) -> pl.DataFrame:
    """What has to be added to the stored counts to arrive at the rebuilt ones."""
    keys, sums = ["site", "bucket", "dimension", "value"], ["events", "pageviews", "searches", "engaged_ms"]
    signed = [pl.DataFrame(schema=rollup.COLUMNS), *parts, stored.with_columns(-pl.col(sums))]
    summed = pl.concat([part.select(rollup.COLUMNS.keys()) for part in signed]).group_by(keys).agg(pl.col(sums).sum())
    return summed.filter(pl.any_horizontal(pl.col(name) != 0 for name in sums)).select(rollup.COLUMNS.keys())


def _reports(built: Built, stored: pl.DataFrame, rebuilt: pl.DataFrame) -> list[dict[str, object]]:
    def by_day(frame: pl.DataFrame) -> dict[tuple[str, int], pl.DataFrame]:
        dated = frame.with_columns(day=pl.col("started_at") // DAY_MS)
        return {(str(k[0]), int(str(k[1]))): v for k, v in dated.partition_by("site", "day", as_dict=True).items()}

    none = pl.DataFrame(schema={"site": pl.String(), "day": pl.Int64(), "events": pl.UInt32()})
    counts = pl.concat([none, *built.events])
    events = {(s, d): n for s, d, n in counts.group_by("site", "day").agg(pl.col("events").sum()).iter_rows()}
    before, after = by_day(stored), by_day(rebuilt)
    reports: list[dict[str, object]] = []
    for site, day in sorted(before.keys() | after.keys() | events.keys()):
        now = after.get((site, day), session.empty_sessions())
        was = before.get((site, day))
        made = digest(now)
        reports.append(
            {
                "site": site,
                "day": str(_EPOCH + timedelta(days=day)),
                "events": events.get((site, day), 0),
                "sessions": now.height,
                "visitors": now["visitor"].n_unique(),
                "sha256": made,
                "equal": None if was is None and now.height else was is None or digest(was) == made,
            }
        )
    return reports
