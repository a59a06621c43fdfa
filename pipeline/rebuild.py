"""Replacing stored sessions by sessions that are formed again, while the live run waits or goes on around it.

A rebuild forms the sessions that start in a window of time from their events, and writes the difference to what the
warehouse holds. It takes a *lease* of the unit in the checkpoint: then no intent is outstanding, none is begun, and
only the rebuild's own commit changes the checkpoint. The rows are written under a batch number of their own. A
rebuild that is killed in the middle leaves rows each of which is right, a lease that runs out, and the dirty days
that make the next rebuild finish. So it needs no journal: it converges.

The open sessions change in the same commit: the events that the rebuild read of sessions which are still open join
the state (a union of sets of events), so that a late event that reaches into an open session stays part of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import msgspec
import polars as pl

from activity import session
from activity.columns import kinds_as_ids
from activity.definitions import DAY_MS, GAP_MS, HORIZON_MS, MARGIN_AFTER_MS, MARGIN_BEFORE_MS
from pipeline import io, losses
from pipeline.checkpoint import LEASE_MS, Checkpoint, CheckpointRepository, Lease, UnitsChanged
from pipeline.io import FrameFeed
from pipeline.live import Loader
from pipeline.losses import Missing
from pipeline.run import Feed, Run, Write
from pipeline.runner import Runner
from stores.base import Conflict

_PATIENCE = 60.0  # seconds
# A rebuild names its visitors in the query up to this many; beyond, it reads all visitors of the site.
NAMED_VISITORS = 20_000
_PIECE_MS = 16 * DAY_MS
_SIDE_BY_SIDE = 2  # spans that are formed at a time: while one is read, the sessions of the other are formed
NEEDED = [*session.STATE_COLUMNS, "bot"]  # of an event, to form sessions


class Busy(RuntimeError):
    """Another process has the unit and did not give it up in time; try again in a minute."""


@contextmanager
def leased(loader: Loader) -> Iterator[Checkpoint]:
    """Take a lease of the unit, or of all if the loader is of all; gives the checkpoint with it.

    The lease ends with the block, unless `commit` ended it. The checkpoint's `batch` is a number of its own, so the
    rows of a rebuild that is killed have a batch to themselves. Raises `Busy` when after a minute another process still
    has a lease or an intent."""
    me = f"rebuild-{os.getpid()}-{time.monotonic_ns()}"
    repositories = loader.repository.each()
    try:
        for repository in repositories:
            checkpoint = _lease(loader, repository, me)
        if len(repositories) > 1:
            found = loader.repository.load()
            assert found is not None
            batch = loader.unit.next_batch(found.batch)
            checkpoint = loader.repository.swap(msgspec.structs.replace(found, batch=batch))
        yield checkpoint
    finally:
        for repository in repositories:
            now = repository.load()
            if now is not None and now.lease is not None and now.lease.by == me:
                repository.swap(msgspec.structs.replace(now, lease=None))


def _lease(loader: Loader, repository: CheckpointRepository, me: str) -> Checkpoint:
    """Take the lease of one unit; returns its checkpoint. Raises `Busy`, and what a batch raises.

    A batch that a killed process left is finished first: the caller has the loader's turn, so nobody else can."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        checkpoint = repository.load()
        if checkpoint is None:
            loader.open()
            continue
        if checkpoint.moved_to:
            raise UnitsChanged(checkpoint.moved_to)
        other = checkpoint.lease is not None and checkpoint.lease.counts(loader.clock())
        if checkpoint.intent is None and not other:
            lease = Lease(me, loader.clock() + LEASE_MS)
            batch = loader.unit.next_batch(checkpoint.batch)
            try:
                return repository.swap(msgspec.structs.replace(checkpoint, batch=batch, lease=lease))
            except Conflict:
                continue
        elif not other and loader.unit.number and loader.step() is not None:
            continue
        if time.monotonic() > deadline:
            why = "is being written to, or its loader died in a batch: try again, or start it"
            raise Busy(f"unit {repository.unit} {why}")
        time.sleep(0.02)


@contextmanager
def settled(loader: Loader) -> Iterator[Checkpoint]:
    """The checkpoint, as it stays while the block runs; whatever is committed later has a greater batch number.

    Each of several units counts at its own pace, so they all reach the same number first. Raises `Busy`."""
    with loader.turn:
        if len(loader.repository.each()) == 1:
            yield loader.open()
            return
        with leased(loader) as checkpoint:
            yield checkpoint


@dataclass
class Formed:
    """Sessions that start in the window, and the events of sessions still open at the watermark."""

    sessions: pl.DataFrame  # session.COLUMNS
    open_events: list[pl.DataFrame]  # session.STATE_COLUMNS


def form(runner: Runner, feed: Feed, start: int, end: int, watermark: int, shards: int = 1) -> Formed:
    """Form sessions from the events of a feed, from an empty state, and keep those that start in [start, end), in ms.

    The feed brings each event once. Raises what it raises."""
    kept: list[pl.DataFrame] = []
    formed = Formed(session.empty_sessions(), [])

    def keep(frame: pl.DataFrame, _block: str) -> None:
        kept.append(frame.filter(pl.col("started_at").is_between(start, end, closed="left")))

    writes = {"sessions": keep, "state": keeping_open(formed.open_events, watermark)}
    runner.run(Run(feeds=[feed], writes=writes, shards=shards))
    formed.sessions = pl.concat([session.empty_sessions(), *(f.select(session.COLUMNS.keys()) for f in kept)])
    return formed


def keeping_open(into: list[pl.DataFrame], watermark: int) -> Write:
    """A write for the sink `state` that appends to `into` the events of sessions still open at the watermark (ms)."""

    def keep(frame: pl.DataFrame, _block: str) -> None:
        if frame.height and int(frame["occurred_at"].max()) + GAP_MS >= watermark - HORIZON_MS:  # type: ignore[arg-type]
            into.append(session.prune(frame, watermark)[0])

    return keep


def stored_events(
    loader: Loader, site: str | None, visitors: pl.DataFrame | None, start: int, end: int
) -> FrameFeed:
    """Feeds what sessions are made of: of the stored events of [start, end), in ms, and of the margins around it.

    `visitors` (`site`, `visitor`) restricts it to some; None is all."""
    begin, finish = start - MARGIN_BEFORE_MS, end + MARGIN_AFTER_MS
    kinds = kinds_as_ids(NEEDED)
    between = partial(loader.warehouse.events_between, site, visitors, begin, finish, kinds=kinds)
    return FrameFeed(between, NEEDED)


def put_in_place(loader: Loader, checkpoint: Checkpoint, stored: pl.DataFrame, rebuilt: pl.DataFrame, name: str) -> int:
    """Write what makes `stored` sessions the `rebuilt` ones; returns how many rows had to change.

    The rows get the checkpoint's batch. `name` says which window, so that each window has a token of its own."""
    changes = session.difference(stored, rebuilt)
    token = f"{checkpoint.generation}/{checkpoint.batch}/{name}/{loader.clock()}"
    writes = io.warehouse_writes(loader.warehouse, token, checkpoint.batch)
    writes["sessions"](changes, "0")
    return changes.height


def commit(
    loader: Loader,
    checkpoint: Checkpoint,
    open_events: Iterable[pl.DataFrame],
    made: Missing | None = None,
    **changes: object,
) -> Checkpoint:
    """End the lease, with the events that the rebuild left open added to the state; returns the new checkpoint.

    `made` are the days that were made again from the raw events, `changes` further fields of the checkpoint. Raises
    `Conflict` when the lease had run out and another process wrote."""
    opened = [frame for frame in open_events if frame.height]
    parts = loader.parts_fields(checkpoint)
    fields: dict[str, object] = {"lease": None, **parts}
    if made is not None:
        fields["missing"] = losses.without(parts["missing"], made)
    if opened:
        events = session.canonical(pl.concat(opened))
        segments = loader.repository.put_open_events(f"opened-{checkpoint.batch}", events)
        fields["deltas"] = [*checkpoint.deltas, *segments]
    done = loader.repository.swap(msgspec.structs.replace(checkpoint, **(fields | changes)))
    loader.open()
    return done


def windows(days: Iterable[int]) -> list[tuple[int, int]]:
    """The windows [start, end), in ms, whose sessions a late event on one of these days (since the epoch) can change.

    The event may extend a session that started the day before, and it may join two chains so that the cuts at the next
    two midnights fall otherwise. So a window goes from the day before to the end of the second day after; overlapping
    windows are merged."""
    merged: list[tuple[int, int]] = []
    for day in sorted(set(days)):
        start, end = (day - 1) * DAY_MS, (day + 3) * DAY_MS
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged


def pieces(start: int, end: int) -> list[tuple[int, int]]:
    """Cut a window, in ms, into spans of whole days that are formed one by one: each of them needs only its margins."""
    return [(first, min(first + _PIECE_MS, end)) for first in range(start, end, _PIECE_MS)]


def _again(
    loader: Loader, checkpoint: Checkpoint, site: str, visitors: pl.DataFrame, span: tuple[int, int]
) -> tuple[int, list[pl.DataFrame]]:
    """Form the sessions of these visitors that start in a span; return how many rows changed, and what is open."""
    named = visitors if visitors.height <= NAMED_VISITORS else None
    feed = stored_events(loader, site, named, *span)
    formed = form(loader.runner, feed, *span, checkpoint.watermark, 1 if named is not None else 8)
    stored = loader.warehouse.sessions_between(site, *span)
    # The others may be of another unit, which changes them meanwhile.
    of_these = partial(pl.DataFrame.join, other=visitors, on=["site", "visitor"], how="semi")
    changed = put_in_place(loader, checkpoint, of_these(stored), of_these(formed.sessions), f"{site}/{span[0]}")
    return changed, [of_these(frame) for frame in formed.open_events]


def reconcile(loader: Loader) -> dict[str, int]:
    """Rebuild the sessions of all dirty days from the stored events; returns what was done:

    {"marks": visitor-days, "windows": windows rebuilt, "changed": session rows that had to change}. Raises `Busy`."""
    with loader.turn:
        checkpoint = loader.repository.load() or loader.open()
        if not checkpoint.dirty_days:
            return {"marks": 0, "windows": 0, "changed": 0}
        with leased(loader) as checkpoint:
            dirty = loader.repository.dirty_days(checkpoint)
            done = {"marks": dirty.height, "windows": 0, "changed": 0}
            opened: list[pl.DataFrame] = []
            for (site,), of_site in dirty.group_by("site"):
                for start, end in windows(of_site["day"].unique()):
                    inside = of_site.filter(pl.col("day").is_between(start // DAY_MS + 1, end // DAY_MS - 3))
                    again = partial(_again, loader, checkpoint, str(site), inside.select("site", "visitor").unique())
                    with ThreadPoolExecutor(_SIDE_BY_SIDE, "rebuild") as threads:
                        for changed, open_events in threads.map(again, pieces(start, end)):
                            done["changed"] += changed
                            opened += open_events
                    done["windows"] += 1
            commit(loader, checkpoint, opened, dirty_days=[])
            loader.repository.forget(checkpoint.dirty_days)
            return done
