"""Putting formed-again sessions in place of stored ones, under the loader's eyes but not under its feet.

A rebuild forms the sessions that start in a window of time from their events, and tells the warehouse the
difference to what it holds. It takes the unit by a *hold* in the checkpoint: no intent is outstanding, none is
begun, and the head does not move but by the rebuild's own commit. The rows are written under a batch number of
their own. Killed in the middle it leaves rows each of which is right, an expiring hold, and the marks that will
make the next one finish; so what guards it is not a journal but that it converges.

The open sessions change in the same commit: whatever the rebuild read of chains that are still open joins the
state (a union of sets of events), so that a late event that reaches into an open chain stays part of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
import polars as pl

from activity import session
from activity.definitions import DAY_MS, GAP_MS, HORIZON_MS, MARGIN_AFTER_MS, MARGIN_BEFORE_MS
from pipeline import io, losses
from pipeline.checkpoint import Head, Hold
from pipeline.io import FrameFeed
from pipeline.live import Loader
from pipeline.losses import Missing
from pipeline.plan import Feed, Run, Write
from pipeline.runner import Runner
from stores.base import Lost

HOLD_MS = 600_000
# Up to so many marked visitors a rebuild names them; with more it takes everybody of the site.
NAMED_VISITORS = 20_000


class Busy(RuntimeError):
    """Another process holds the unit and did not give it up in time; try again in a minute."""


@contextmanager
def holding(loader: Loader, wait: float = 60.0) -> Iterator[Head]:
    """Take the unit: the head with our hold. Given back on the way out, unless `commit` already did.

    The head's `batch` is one that no other has: rows that a rebuild killed in the middle leaves are nobody else's.
    Raises `Busy` after `wait` seconds of somebody else's hold or intent."""
    me = f"rebuild-{os.getpid()}-{time.monotonic_ns()}"
    deadline = time.monotonic() + wait
    while True:
        head = loader.ledger.load() or loader.open()
        taken = head.intent is not None or (head.hold is not None and head.hold.until > loader.clock())
        if not taken:
            try:
                hold = Hold(me, loader.clock() + HOLD_MS)
                head = loader.ledger.swap(msgspec.structs.replace(head, batch=head.batch + 1, hold=hold))
                break
            except Lost:
                continue
        if time.monotonic() > deadline:
            raise Busy("another process is writing to this unit; try again when it is done")
        time.sleep(0.02)
    try:
        yield head
    finally:
        now = loader.ledger.load()
        if now is not None and now.hold is not None and now.hold.by == me:
            loader.ledger.swap(msgspec.structs.replace(now, hold=None))


@dataclass
class Formed:
    """Sessions that start in the window, and the events of chains still open at the watermark."""

    sessions: pl.DataFrame
    open_events: list[pl.DataFrame]


def form(runner: Runner, feeds: Sequence[Feed], start: int, end: int, watermark: int, shards: int = 1) -> Formed:
    """Form sessions from events without copies, from an empty state, and keep those that start in [start, end)."""
    kept: list[pl.DataFrame] = []
    formed = Formed(session.empty_sessions(), [])

    def keep(frame: pl.DataFrame, _block: str) -> None:
        kept.append(frame.filter(pl.col("started_at").is_between(start, end, closed="left")))

    writes = {"sessions": keep, "state": keeping_open(formed.open_events, watermark)}
    runner.run(Run(feeds=list(feeds), writes=writes, shards=shards))
    formed.sessions = pl.concat([session.empty_sessions(), *(f.select(session.COLUMNS.keys()) for f in kept)])
    return formed


def keeping_open(into: list[pl.DataFrame], watermark: int) -> Write:
    """A write of shards' states that keeps the events of the chains still open at the watermark."""

    def keep(frame: pl.DataFrame, _block: str) -> None:
        if frame.height and int(frame["occurred_at"].max()) + GAP_MS >= watermark - HORIZON_MS:  # type: ignore[arg-type]
            into.append(session.prune(frame, watermark)[0])

    return keep


def stored_events(
    loader: Loader, site: str | None, visitors: pl.DataFrame | None, start: int, end: int
) -> FrameFeed:
    """What the warehouse holds of a window and of the margins that its sessions need."""
    begin, finish = start - MARGIN_BEFORE_MS, end + MARGIN_AFTER_MS
    return FrameFeed(lambda: loader.warehouse.events_between(site, visitors, begin, finish))


def put_in_place(loader: Loader, head: Head, stored: pl.DataFrame, rebuilt: pl.DataFrame, name: str) -> int:
    """Write the difference under the head's batch; the number of rows that had to change."""
    changes = session.difference(stored, rebuilt)
    token = f"{head.generation}/{head.batch}/{name}/{loader.clock()}"
    writes = io.warehouse_writes(loader.warehouse, token, head.batch)
    writes["sessions"](changes, "0")
    return changes.height


def commit(
    loader: Loader,
    head: Head,
    open_events: Iterable[pl.DataFrame],
    made: Missing | None = None,
    **changes: object,
) -> Head:
    """End a hold with the state that the rebuild leaves; `changes` are further fields of the head.

    `made`: what was made again from the raw events."""
    opened = [frame for frame in open_events if frame.height]
    held = loader.held(head)
    fields: dict[str, object] = {"hold": None, **held}
    if made is not None:
        fields["missing"] = losses.without(held["missing"], made)
    old: list[str] = []
    if opened:
        state = session.canonical(pl.concat([loader.ledger.state(head), *opened]))
        old = [*head.deltas, *([head.snapshot] if head.snapshot else [])]
        fields |= {"snapshot": loader.ledger.put_frame(f"state-{head.batch}", state), "deltas": []}
    done = loader.ledger.swap(msgspec.structs.replace(head, **(fields | changes)))
    loader.ledger.forget(old)
    loader.open()
    return done


def windows(days: Iterable[int]) -> list[tuple[int, int]]:
    """The windows, in ms, whose sessions a late event on one of these days (since the epoch) can change.

    It may extend a session that started the day before, and join two chains so that the cut at the next two
    midnights falls otherwise; so from the day before to the end of the second day after. Overlaps are merged."""
    merged: list[tuple[int, int]] = []
    for day in sorted(set(days)):
        start, end = (day - 1) * DAY_MS, (day + 3) * DAY_MS
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged


def reconcile(loader: Loader, progress: Callable[[str], None] = lambda _: None) -> dict[str, int]:
    """Rebuild the sessions of all marked visitor-days from the stored events; returns what was done.

    {"marks": visitor-days, "windows": windows rebuilt, "changed": session rows that had to change}"""
    with loader.turn:
        head = loader.ledger.load() or loader.open()
        if not head.marks:
            return {"marks": 0, "windows": 0, "changed": 0}
        with holding(loader) as head:
            marks = loader.ledger.marks(head)
            done = {"marks": marks.height, "windows": 0, "changed": 0}
            opened: list[pl.DataFrame] = []
            for (site,), of_site in marks.group_by("site"):
                for start, end in windows(of_site["day"]):
                    progress(f"{site}: rebuilding marked days")
                    inside = of_site.filter(pl.col("day").is_between(start // DAY_MS + 1, end // DAY_MS - 3))
                    visitors = inside.select("site", "visitor").unique()
                    named = visitors if visitors.height <= NAMED_VISITORS else None
                    shards = 1 if named is not None else 8
                    feed = stored_events(loader, str(site), named, start, end)
                    formed = form(loader.runner, [feed], start, end, head.watermark, shards)
                    stored = loader.warehouse.sessions_between(str(site), start, end)
                    if named is not None:
                        stored = stored.join(named, on=["site", "visitor"], how="semi")
                    done["windows"] += 1
                    done["changed"] += put_in_place(loader, head, stored, formed.sessions, f"{site}/{start}")
                    opened += formed.open_events
            commit(loader, head, opened, marks=[])
            loader.ledger.forget(head.marks)
            return done
