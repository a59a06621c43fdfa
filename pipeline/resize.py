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
from pipeline import losses
from pipeline.all_units import AllUnits, merged
from pipeline.checkpoint import Checkpoint, CheckpointRepository, OpenState
from pipeline.io import publish_closed
from pipeline.live import Loader
from pipeline.rebuild import Busy
from pipeline.unit import Unit, all_of, shared_out
from stores.base import CheckpointStore, Conflict, StoreError

_NAME = "units"
_PATIENCE = 60.0  # seconds


class NotNow(StoreError):
    """The units cannot be changed as they are: the message says which one, and what to do first."""


class Layout(msgspec.Struct, frozen=True):
    """How many units there are; `to` is how many there will be, while a change is on its way."""

    of: int = 1
    to: int = 0


def layout(store: CheckpointStore) -> Layout:
    """How many units the checkpoints in a store are of."""
    return _load(store)[0]


def resize(loader_of: Callable[[Unit], Loader], to: int) -> int:
    """Share the partitions out among `to` units; returns how many there were. `loader_of` makes the loader of a unit.

    Raises `NotNow` and changes nothing when a unit is not fit for it, and `Busy` when a unit did not come to an end of
    its batch within a minute: ask again then, what is begun goes on."""
    store = loader_of(Unit()).checkpoint_store
    found, version = _load(store)
    if not found.to and found.of != to:
        _check(loader_of, found.of, to)
        found = Layout(found.of, to)
        version = store.swap(_NAME, msgspec.json.encode(found), version)
    if found.to:
        closed = [_closed(loader_of(unit), found.to) for unit in all_of(found.of)]
        _make(loader_of(Unit()), closed, found.to)
        store.swap(_NAME, msgspec.json.encode(Layout(found.to)), version)
    _forget_former(store)
    return found.of if found.to in (0, to) else resize(loader_of, to)


def _load(store: CheckpointStore) -> tuple[Layout, str | None]:
    found = store.load(_NAME)
    return (msgspec.json.decode(found[0], type=Layout), found[1]) if found else (Layout(), None)


def _check(loader_of: Callable[[Unit], Loader], of: int, to: int) -> None:
    """Raises `NotNow`."""
    loaders = [loader_of(unit) for unit in all_of(of)]
    checkpoints = [loader.open() for loader in loaders]
    partitions = checkpoints[0].partitions
    if to > partitions:
        raise NotNow(f"the topics have {partitions} partitions, so there can be {partitions} units at most")
    for loader, checkpoint in zip(loaders, checkpoints, strict=True):
        if checkpoint.lost or checkpoint.missing:
            why = losses.LOST if checkpoint.lost else losses.rebuilding(checkpoint.missing)
            raise NotNow(f"unit {loader.unit}: {why}. Let its loader do that first")
    if to % of == 0:  # each of the new ones follows one of the former
        return
    # Of several units the new ones get the greatest watermark, and what is unread far behind it would count as late.
    newest = max(checkpoint.watermark for checkpoint in checkpoints)
    for loader, checkpoint in zip(loaders, checkpoints, strict=True):
        if newest - checkpoint.watermark > HORIZON_MS // 2 and not loader.covers(loader.ends()):
            raise NotNow(f"unit {loader.unit} is more than an hour behind the others: let its loader catch up first")


def _closed(loader: Loader, to: int) -> Checkpoint:
    """Close the checkpoint of a unit for good, between two batches; returns it. Raises `Busy`."""
    with loader.lease or nullcontext():
        return _close(loader, to)


def _close(loader: Loader, to: int) -> Checkpoint:
    repository, deadline = loader.repository, time.monotonic() + _PATIENCE
    while True:
        checkpoint = repository.load()
        assert checkpoint is not None
        if checkpoint.moved_to:
            return checkpoint
        try:
            if checkpoint.intent is not None:
                loader.open()
                loader.step()  # nothing, if a loader that lives has the unit: it comes to an end of the batch itself
            elif checkpoint.lease is None or checkpoint.lease.until <= loader.clock():
                return repository.swap(msgspec.structs.replace(checkpoint, moved_to=to, lease=None))
        except Conflict:
            continue
        if time.monotonic() > deadline:
            raise Busy(f"unit {loader.unit} is being written to; try again in a minute")
        time.sleep(0.02)


def _make(loader: Loader, closed: list[Checkpoint], to: int) -> None:
    """Begin the checkpoints of `to` units with what the closed ones say, those that are not there yet."""
    whole = merged(closed)
    watermark = max(checkpoint.watermark for checkpoint in closed)
    repository = AllUnits(loader.checkpoint_store, len(closed))
    state = repository.read_state(whole.segments(), whole.watermark, OpenState())
    publish_closed(loader.broker, state.events.prune(session.pruned_at(watermark)))
    events = loader.warehouse.count_events() if whole.events is None else whole.events
    units = all_of(to)
    open_events = shared_out(session.canonical(state.still(whole.segments())), units, whole.partitions)
    dirty_days = shared_out(repository.dirty_days(whole), units, whole.partitions)
    for at, unit in enumerate(units):
        own = CheckpointRepository(loader.checkpoint_store, unit.name)
        found = own.load()
        if found is not None and not found.moved_to:
            continue

        def segment(name: str, rows: pl.DataFrame, into: CheckpointRepository = own) -> list[str]:
            return [into.put_frame(f"{name}-{whole.batch}", rows)] if rows.height else []

        begun = msgspec.structs.replace(
            whole,
            positions=unit.share(whole.positions, whole.partitions),
            watermark=watermark,
            deltas=segment("state", open_events[at]),
            dirty_days=segment("marks", dirty_days[at]),
            lease=None,
            events=events if at == 0 else 0,
            retracted=whole.retracted if at == 0 else 0,
            moved_to=0,
        )
        own.swap(begun)


def _forget_former(store: CheckpointStore) -> None:
    """Empty the closed checkpoints: they stay, so that a loader of a former unit finds out, but for their segments."""
    for name in store.names("unit-"):
        repository = CheckpointRepository(store, name.removeprefix("unit-"))
        checkpoint = repository.load()
        if checkpoint is None or not checkpoint.moved_to:
            continue
        empty = Checkpoint(
            generation=checkpoint.generation,
            partitions=checkpoint.partitions,
            batch=checkpoint.batch,
            moved_to=checkpoint.moved_to,
        )
        if checkpoint != empty:
            repository.swap(empty)
            repository.forget([*checkpoint.segments(), *checkpoint.dirty_days])
