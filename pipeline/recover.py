"""What a start mends by itself: a checkpoint that is gone or damaged, and rows that the warehouse has lost.

Both are a replay of what is concerned: of everything, or of the days of the lost parts. The archive comes first,
because once it is flushed it holds whatever the log holds and what retention has taken from there as well; the log
is the source where the archive cannot be read. The days that are done leave the checkpoint's list one window after
the other, in the commit of that window: killed anywhere, the next start goes on with those that remain.

Dead letters are in the log alone, so they come back from there as far as it reaches.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime

import msgspec
import polars as pl

from activity.definitions import DAY_MS
from brokers.base import Gone, Position
from pipeline import io, losses, rebuild, replay
from pipeline.checkpoint import Head, Range
from pipeline.io import BrokerFeed
from pipeline.live import READ_TOPICS, Loader
from pipeline.losses import Missing
from pipeline.plan import Run
from pipeline.steps import DEAD_LETTERS
from stores.base import Archive, BrokenRows, Unreadable

log = logging.getLogger("footfall.pipeline")

# Archived events that one replay takes at a time, which bounds the memory of making them again.
_MOST_EVENTS = 1_000_000


def recover(loader: Loader, archive: Archive) -> None:
    """Mend what was lost, from whichever source has it; returns at once when nothing was.

    Raises `replay.Incomplete` when neither the archive nor the broker holds all that is stored."""
    with loader.turn:
        loader.open()
        head = _begun_over_an_archive(loader, archive)
        if head.missing and head.intent is not None:
            loader.step()
            head = loader.open()
    if head.lost:
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
    loader.status.trouble = ""


def mend(loader: Loader, archive: Archive, broken: BrokenRows) -> None:
    """After a read met broken rows: set their parts aside and make them again. Raises `broken` when none is found."""
    if not set_aside(loader, 0, loader.clock() // DAY_MS + 1):
        raise broken
    recover(loader, archive)


def check_parts(loader: Loader, first: date, last: date, dry_run: bool) -> None:
    """Ahead of a replay of these days: what it could not read is set aside.

    Raises `replay.Incomplete` naming the parts where nothing may be changed."""
    days = replay.day_ms(first) // DAY_MS, replay.day_ms(last) // DAY_MS
    if not dry_run:
        set_aside(loader, *days)
        return
    broken = [f"{table} {part} ({why})" for table, part, why in loader.warehouse.broken_parts(*days)]
    if broken:
        raise replay.Incomplete(
            f"{len(broken)} parts of the warehouse fail their checksums: {'; '.join(broken)}. A replay without"
            " --dry-run sets them aside and makes their rows again"
        )


def set_aside(loader: Loader, first_day: int, last_day: int) -> int:
    """Set the parts of these months aside whose files fail their checksums; how many there were.

    Their days are then `missing`, see `recover`."""
    with loader.turn:
        broken = loader.warehouse.broken_parts(first_day, last_day)
        for table, part, why in broken:
            loader.warehouse.set_part_aside(table, part)
            log.warning("A part of %s is broken and set aside as detached/%s: %s", table, part, why)
        loader.warehouse.broken = None
        if broken:
            loader.open()
    return len(broken)


def _begun_over_an_archive(loader: Loader, archive: Archive) -> Head:
    """A checkpoint begun where the archive knows more than the log may still hold is not a fresh one."""
    head = loader.head()
    if head.lost or head.positions or not archive.committed().positions:
        return head
    loader.ledger.swap(msgspec.structs.replace(head, lost=True))
    return loader.open()


def _rows(loader: Loader, archive: Archive, days: Missing) -> None:
    for first, last in _pieces(archive, days.first_day, days.last_day):
        source, reports = _replayed(loader, archive, losses.day(first), losses.day(last))
        log.warning("Made again from the %s, %s: %s", source, losses.period(first, last), _summary(reports))


def _pieces(archive: Archive, first: int, last: int) -> Iterator[tuple[int, int]]:
    """The days in windows of a bounded number of events."""
    try:
        entries = archive.manifest(first * DAY_MS, (last + 1) * DAY_MS).entries
    except Unreadable:
        entries = []
    begun, taken = first, 0
    for day in range(first, last + 1):
        events = sum(e.rows for e in entries if e.min_occurred_at // DAY_MS <= day <= e.max_occurred_at // DAY_MS)
        if taken and taken + events > _MOST_EVENTS:
            yield begun, day - 1
            begun, taken = day, 0
        taken += events
    yield begun, last


def _replayed(loader: Loader, archive: Archive, first: date, last: date) -> tuple[str, list[dict[str, object]]]:
    try:
        return "archive", list(replay.replay(loader, archive, first, last, source="archive", final=True))
    except (replay.Incomplete, Gone, Unreadable) as error:
        log.warning("The archive does not do: %s. The log is read instead", error)
        return "log", list(replay.replay(loader, archive, first, last, final=True))


def _summary(reports: list[dict[str, object]]) -> str:
    events = sum(int(str(report["events"])) for report in reports)
    unequal = sum(not report["equal"] for report in reports)
    return f"{events:,} events, {unequal} of {len(reports)} days of a site were not as they should be and are now"


def _account(loader: Loader) -> None:
    """Say what neither source had."""
    with loader.turn:
        head = loader.open()
        stored = loader.warehouse.count_events()
        if head.events is None or stored >= head.events:
            return
        log.error(
            "%s of %s events are neither in the archive nor in the log and are lost for good",
            f"{head.events - stored:,}",
            f"{head.events:,}",
        )
        loader.ledger.swap(msgspec.structs.replace(head, events=stored))
        loader.open()


def _dead_letters(loader: Loader, days: Missing) -> None:
    """Write those that the log still has and the table has not."""
    with loader.turn, rebuild.holding(loader) as head:
        found: list[pl.DataFrame] = []
        feeds = []
        for topic in READ_TOPICS:
            for partition, text in head.positions.get(topic, {}).items():
                bounds = loader.broker.bounds(topic, int(partition))
                if bounds is not None and bounds.first <= Position.parse(text):
                    feeds.append(BrokerFeed(loader.broker, Range(topic, int(partition), None, text)))
        loader.runner.run(Run(feeds=list(feeds), writes={"dead_letters": io.collecting(found)}))
        inside = (pl.col("received_at") // DAY_MS).is_between(days.first_day, days.last_day)
        letters = pl.concat([frame.filter(inside) for frame in found]) if found else None
        written = 0
        if letters is not None and letters.height:
            absent = _absent(letters, loader.warehouse.dead_letters_between(days.first_day, days.last_day))
            token = f"{head.generation}/{head.batch}/dead-letters/{loader.clock()}"
            io.warehouse_writes(loader.warehouse, token, head.batch)["dead_letters"](absent, "0")
            written = absent.height
        period = losses.period(days.first_day, days.last_day)
        if written or days.first_day:
            log.warning("Dead letters of %s: %d were in the log still and are stored again", period, written)
        rebuild.commit(loader, head, [], days)


def _absent(letters: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """The letters without those that are stored; one that came twice is stored twice."""
    names = list(DEAD_LETTERS)
    numbered = [f.select(names).with_columns(n=pl.int_range(pl.len()).over(names)) for f in (letters, stored)]
    return numbered[0].join(numbered[1], on=[*names, "n"], how="anti").select(names)
