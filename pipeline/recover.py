"""What a start mends by itself: a checkpoint that is gone or damaged, and rows that the warehouse has lost.

Both are mended by a replay: of everything, or of the days of the lost parts. The archive is the first source. Once it
is flushed it holds all that the log holds, and also what retention has removed from there. Where the archive cannot
be read, the log is the source. The days that are done leave the checkpoint's list one window after the other, in the
commit of that window: after a kill the next start goes on with the days that remain.

Dead letters are in the log alone, so they come back from there as far as it reaches.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime

import msgspec
import polars as pl

from activity.definitions import DAY_MS
from brokers.base import Gone, Position, TopicPartition
from pipeline import erasure, forget, io, losses, rebuild, replay
from pipeline.checkpoint import Checkpoint, PartitionRange
from pipeline.io import BrokerFeed
from pipeline.lease import HeldLease
from pipeline.live import READ_TOPICS, Loader
from pipeline.losses import Missing
from pipeline.run import Run
from pipeline.steps import DEAD_LETTERS
from stores.base import Archive, BrokenRows, Unreadable
from stores.days import DayTables

log = logging.getLogger("footfall.pipeline")

_MARGIN = 2  # days around those of a replay of which it reads rows, too


def recover(loader: Loader, archive: Archive) -> None:
    """Make again what was lost, from the archive or else from the log; returns at once when nothing was.

    An erasure that was broken off is finished before: what it has taken out already is not lost.

    Raises `replay.Incomplete` when neither of them has all that is stored, and `rebuild.Busy`."""
    forget.resume(loader.of_all_units(), archive)
    with loader.turn:
        loader.open()
        checkpoint = _begun_over_an_archive(loader, archive)
        if checkpoint.missing and checkpoint.intent is not None:
            loader.step()
            checkpoint = loader.open()
    if loader.unit.of == 1:
        _mend(loader, archive)
    elif checkpoint.lost or checkpoint.missing:
        with HeldLease(loader.checkpoint_store, "recovery") as lease:
            if not lease.take():
                raise rebuild.Busy(f"{lease.other} makes again what was lost; this loader waits for it")
            _mend(loader.of_all_units(), archive)
        loader.open()
    loader.status.trouble = ""


def _mend(loader: Loader, archive: Archive) -> None:
    """Make again what the checkpoint says is lost. The loader is of all units."""
    if loader.open().lost:
        loader.status.trouble = losses.LOST
        today = datetime.fromtimestamp(loader.clock() / 1000, UTC).date()
        source, reports = _replayed(loader, archive, today, today)
        log.warning("The checkpoint was lost. Everything was replayed from the %s: %s", source, _summary(reports))
    missing = loader.open().missing
    if missing:
        loader.status.trouble = losses.rebuilding(missing)
    for days in missing:
        if days.what == "rows":
            _rows(loader, archive, days)
        else:
            _dead_letters(loader, days)
    if missing:
        _account(loader)


def mend(loader: Loader, archive: Archive, broken: BrokenRows) -> None:
    """Set aside the parts with broken rows, which a read has met, and make the rows again.

    Raises `broken` when no part fails its checksums."""
    if not set_aside(loader, 0, loader.clock() // DAY_MS + 1):
        raise broken
    recover(loader, archive)


def replayed(
    loader: Loader,
    archive: Archive,
    first: date,
    last: date,
    *,
    site: str | None = None,
    source: str = "broker",
    dry_run: bool = False,
    progress: replay.Watch = lambda _progress: None,
) -> Iterator[replay.Report]:
    """As `replay.replay`, and where it meets broken rows, their parts are set aside and it goes on.

    So the warehouse is read once, and no part is checked that nothing is read of. A day that was reported before its
    rows were set aside is not reported again; `recover` makes it again. A dry run may change nothing: then it raises
    `replay.Incomplete` naming the parts."""
    reported: set[tuple[object, object]] = set()
    days = replay.day_ms(first) // DAY_MS - _MARGIN, replay.day_ms(last) // DAY_MS + _MARGIN
    while True:
        reports = replay.replay(
            loader, archive, first, last, site=site, source=source, dry_run=dry_run, progress=progress
        )
        try:
            for report in reports:
                if (report["site"], report["day"]) not in reported:
                    reported.add((report["site"], report["day"]))
                    yield report
        except BrokenRows:
            if dry_run:
                broken = [f"{table} {part} ({why})" for table, part, why in loader.warehouse.broken_parts(*days)]
                raise replay.Incomplete(
                    f"{len(broken)} parts of the warehouse fail their checksums: {'; '.join(broken)}. A replay without"
                    " --dry-run sets them aside and makes their rows again"
                ) from None
            if not set_aside(loader, *days):
                raise
        else:
            return


def set_aside(loader: Loader, first_day: int, last_day: int) -> int:
    """Set aside the parts whose files fail their checksums, of all months that these days touch; returns how many.

    Days count from the epoch. They are `missing` in the checkpoint then, see `recover`."""
    with loader.turn:
        broken = loader.warehouse.broken_parts(first_day, last_day)
        for table, part, why in broken:
            loader.warehouse.set_part_aside(table, part)
            log.warning("A part of %s is broken and set aside as detached/%s: %s", table, part, why)
        loader.warehouse.broken = None
        if broken:
            loader.open()
    return len(broken)


def _begun_over_an_archive(loader: Loader, archive: Archive) -> Checkpoint:
    """The checkpoint; lost, when it has no positions though the archive has: the log may no longer hold all events."""
    checkpoint = loader.checkpoint()
    archived = loader.unit.share(archive.committed().positions, checkpoint.partitions)
    if checkpoint.lost or checkpoint.positions or not archived:
        return checkpoint
    loader.repository.swap(msgspec.structs.replace(checkpoint, lost=True))
    return loader.open()


def _rows(loader: Loader, archive: Archive, days: Missing) -> None:
    source, reports = _replayed(loader, archive, losses.day(days.first_day), losses.day(days.last_day))
    period = losses.period(days.first_day, days.last_day)
    log.warning("Made again from the %s, %s: %s", source, period, _summary(reports))


def _replayed(loader: Loader, archive: Archive, first: date, last: date) -> tuple[str, list[replay.Report]]:
    """Replay days from the archive, and from the log those that it cannot serve."""
    done: list[replay.Report] = []
    try:
        done.extend(replay.replay(loader, archive, first, last, source="archive", final=True))
        return "archive", done
    except (replay.Incomplete, Gone, Unreadable) as error:
        log.warning("The archive cannot serve: %s. The log is read instead", error)
    with loader.turn:
        checkpoint = loader.open()
    left = [days for days in checkpoint.missing if days.what == "rows"] if not checkpoint.lost else []
    begin = max(first, min((losses.day(days.first_day) for days in left), default=first))
    done = [report for report in done if report["day"] < str(begin)]
    return "log", done + list(replay.replay(loader, archive, begin, last, final=True))


def _summary(reports: list[replay.Report]) -> str:
    events = sum(int(str(report["events"])) for report in reports)
    unequal = sum(not report["equal"] for report in reports)
    return f"{events:,} events, {unequal} of {len(reports)} days of a site were not as they should be and are now"


def _account(loader: Loader) -> None:
    """Log how many events neither source had, and count on without them."""
    with loader.turn:
        checkpoint = loader.open()
        stored = loader.warehouse.count_events()
        if checkpoint.events is None or stored >= checkpoint.events:
            return
        log.error(
            "%s of %s events are neither in the archive nor in the log and are lost for good",
            f"{checkpoint.events - stored:,}",
            f"{checkpoint.events:,}",
        )
        DayTables(loader.warehouse).forget()
        loader.repository.swap(msgspec.structs.replace(checkpoint, events=stored))
        loader.open()


def _dead_letters(loader: Loader, days: Missing) -> None:
    """Write the dead letters of these days that the log still has and the table lacks."""
    with loader.turn, rebuild.leased(loader) as checkpoint:
        found: list[pl.DataFrame] = []
        feeds = []
        for topic in READ_TOPICS:
            for partition, text in checkpoint.positions.get(topic, {}).items():
                bounds = loader.broker.bounds(TopicPartition(topic, int(partition)))
                if bounds is not None and bounds.first <= Position.parse(text):
                    feeds.append(BrokerFeed(loader.broker, PartitionRange(topic, int(partition), None, text)))
        erasures = erasure.load(loader.checkpoint_store)
        writes = {"dead_letters": io.collecting(found)}
        loader.runner.run(Run(feeds=list(feeds), writes=writes, erasures=erasures))
        inside = (pl.col("received_at") // DAY_MS).is_between(days.first_day, days.last_day)
        dead_letters = pl.concat([frame.filter(inside) for frame in found]) if found else None
        written = 0
        if dead_letters is not None and dead_letters.height:
            absent = _absent(dead_letters, loader.warehouse.dead_letters_between(days.first_day, days.last_day))
            token = f"{checkpoint.generation}/{checkpoint.batch}/dead-letters/{loader.clock()}"
            io.warehouse_writes(loader.warehouse, token, checkpoint.batch)["dead_letters"](absent, "0")
            written = absent.height
        period = losses.period(days.first_day, days.last_day)
        if written or days.first_day:
            log.warning("Dead letters of %s: %d were in the log still and are stored again", period, written)
        rebuild.commit(loader, checkpoint, [], days)


def _absent(dead_letters: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """The letters that are not stored; a letter that came twice has to be stored twice."""
    names = ["received_at", "topic", "reason", "bytes", "id"]
    ours, theirs = (f.with_columns(n=pl.int_range(pl.len()).over(names)) for f in (dead_letters, stored))
    return ours.join(theirs, on=[*names, "n"], how="anti").select(DEAD_LETTERS.keys())
