"""Sharing the partitions out among another number of units, beside loaders that run.

A small value beside the checkpoints says how many units there are. A change is declared in it first. Then the
checkpoint of each former unit is closed, between two of its batches, after which nobody may change it: its loader ends
with words that say what to start instead. What the closed ones say together makes the new ones, and a last swap of
the value makes these count. A change that is killed goes on when it is asked for again, and no other one begins before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext

import msgspec
import polars as pl

from activity import session
from activity.definitions import HORIZON_MS
from pipeline import erasure, losses
from pipeline.all_units import AllUnits, merged
from pipeline.checkpoint import Checkpoint, CheckpointRepository, OpenState
from pipeline.io import publish_closed
from pipeline.live import Loader
from pipeline.rebuild import Busy
from pipeline.unit import Layout, Unit, all_of, layout, shared_out, swap_layout, versioned_layout
from stores.base import CheckpointStore, Conflict, StoreError

_PATIENCE = 60.0  # seconds


class NotNow(StoreError):
    """The units cannot be changed as they are: the message says which one, and what to do first."""


def resize(loader_of: Callable[[Unit], Loader], to: int) -> int:
    """Share the partitions out among `to` units; returns how many there were. `loader_of` makes the loader of a unit.

    Raises `NotNow` and changes nothing when a unit is not fit for it, and `Busy` when a unit did not come to an end of
    its batch within a minute: ask again then, what is begun goes on."""
    store = loader_of(Unit()).checkpoint_store
    found, version = versioned_layout(store)
    if not found.to and found.of != to:
        _check(loader_of, found.of, to)
        found = msgspec.structs.replace(found, to=to)
        version = swap_layout(store, found, version)
    if found.to:
        closed = [_closed(loader_of(unit), found) for unit in all_of(found.of)]
        if versioned_layout(store) != (found, version):  # and what was closed may have been emptied
            raise NotNow("another process changes the units as well: look at `footfall units`")
        _make(loader_of(Unit()), closed, found)
        swap_layout(store, Layout(found.to, 0, found.epoch + 1), version)
    _forget_former(store)
    return found.of if found.to in (0, to) else resize(loader_of, to)


def _check(loader_of: Callable[[Unit], Loader], of: int, to: int) -> None:
    """Raises `NotNow`."""
    loaders = [loader_of(unit) for unit in all_of(of)]
    if loaders[0].checkpoint_store.load(erasure.JOURNAL):
        raise NotNow("somebody is being forgotten, or was when a process died: let a loader run until that is done")
    checkpoints = [loader.open() for loader in loaders]
    partitions = checkpoints[0].partitions
    if to > partitions:
        raise NotNow(f"the topics have {partitions} partitions, so there can be {partitions} units at most")
    for loader, checkpoint in zip(loaders, checkpoints, strict=True):
        if checkpoint.lost or checkpoint.missing:
            why = losses.LOST if checkpoint.lost else losses.rebuilding(checkpoint.missing)
            raise NotNow(f"unit {loader.unit}: {why}. Let its loader do that first")
    for sources in (_sources(unit, of, partitions) for unit in all_of(to)):
        newest = max(checkpoints[at].watermark for at in sources)
        for at in sources:
            loader, behind = loaders[at], newest - checkpoints[at].watermark
            if behind > HORIZON_MS // 2 and not loader.covers(loader.ends()):
                raise NotNow(f"unit {loader.unit} is more than an hour behind others: let its loader catch up first")


def _sources(unit: Unit, of: int, partitions: int) -> list[int]:
    """The indexes of the former units, of so many, that have partitions of a new one."""
    own = set(unit.partitions(partitions))
    return [at for at, former in enumerate(all_of(of)) if own & set(former.partitions(partitions))]


def _closed(loader: Loader, found: Layout) -> Checkpoint:
    """Close the checkpoint of a unit for good, between two batches; returns it. Raises `Busy`."""
    with loader.lease or nullcontext():
        return _close(loader, found)


def _close(loader: Loader, found: Layout) -> Checkpoint:
    repository, deadline = loader.repository, time.monotonic() + _PATIENCE
    while True:
        checkpoint = repository.load()
        if checkpoint is None:
            loader.open()
            continue
        if checkpoint.epoch != found.epoch:
            raise NotNow("another process has changed the units meanwhile: look at `footfall units`")
        if checkpoint.moved_to:
            return checkpoint
        try:
            if checkpoint.intent is not None:
                loader.open()
                loader.step()  # nothing, if a loader that lives has the unit: it comes to an end of the batch itself
            elif checkpoint.lease is None or not checkpoint.lease.counts(loader.clock()):
                return repository.swap(msgspec.structs.replace(checkpoint, moved_to=found.to, lease=None))
        except Conflict:
            continue
        if time.monotonic() > deadline:
            raise Busy(f"unit {loader.unit} is being written to; try again in a minute")
        time.sleep(0.02)


def _make(loader: Loader, closed: list[Checkpoint], found: Layout) -> None:
    """Begin the checkpoints of the new units with what the closed ones say, those that are not there yet."""
    whole = merged(closed)
    epoch, partitions = found.epoch + 1, whole.partitions
    repository = AllUnits(loader.checkpoint_store, found.of)
    state = repository.read_state(whole.segments(), whole.watermark, OpenState())
    events = loader.warehouse.count_events() if whole.events is None else whole.events
    units = all_of(found.to)
    open_events = shared_out(session.canonical(state.still(whole.segments())), units, partitions)
    dirty_days = shared_out(repository.dirty_days(whole), units, partitions)
    for at, unit in enumerate(units):
        own = CheckpointRepository(loader.checkpoint_store, unit.name)
        before = own.load()
        if before is not None and before.epoch >= epoch:
            continue
        # The greatest of those from whom it takes over: what is final for one of them stays so.
        watermark = max(closed[source].watermark for source in _sources(unit, found.of, partitions))
        left, final = session.prune(open_events[at], session.pruned_at(watermark))
        publish_closed(loader.broker, final)

        def segment(name: str, rows: pl.DataFrame, into: CheckpointRepository = own) -> list[str]:
            return [into.put_frame(f"{name}-{epoch}-{whole.batch}", rows)] if rows.height else []

        begun = msgspec.structs.replace(
            whole,
            generation=closed[0].generation,
            positions=unit.share(whole.positions, partitions),
            watermark=watermark,
            deltas=segment("state", left),
            dirty_days=segment("marks", dirty_days[at]),
            lease=None,
            events=events if at == 0 else 0,
            retracted=whole.retracted if at == 0 else 0,
            epoch=epoch,
            moved_to=0,
        )
        own.swap(begun)


def _forget_former(store: CheckpointStore) -> None:
    """Empty the checkpoints of former layouts: they stay, so that a loader finds out, but for their segments."""
    now = layout(store).epoch
    for name in store.names("unit-"):
        repository = CheckpointRepository(store, name.removeprefix("unit-"))
        checkpoint = repository.load()
        if checkpoint is None or not checkpoint.moved_to or checkpoint.epoch >= now:
            continue
        empty = Checkpoint(
            generation=checkpoint.generation,
            partitions=checkpoint.partitions,
            batch=checkpoint.batch,
            epoch=checkpoint.epoch,
            moved_to=checkpoint.moved_to,
        )
        if checkpoint != empty:
            repository.swap(empty)
            repository.forget([*checkpoint.segments(), *checkpoint.dirty_days])
