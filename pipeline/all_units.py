"""The checkpoints of all units together, seen and changed as one: what a replay of all visitors works on."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import polars as pl

from activity import session
from pipeline import losses
from pipeline.checkpoint import Checkpoint, CheckpointRepository, Damaged
from pipeline.unit import Unit, all_of, shared_out
from stores.base import CheckpointStore, Positions


class AllUnits(CheckpointRepository):
    """The checkpoints of `of` units as one checkpoint, for a loader that does not load.

    A change of it changes those of the units that it touches, one swap after the other. So it is not one step: who
    changes more than one field holds the lease of every unit, and a kill in between leaves what a second run mends."""

    def __init__(self, store: CheckpointStore, of: int) -> None:
        super().__init__(store, Unit(0, of).name)
        self._units = all_of(of)
        self._repositories = [CheckpointRepository(store, unit.name) for unit in self._units]
        self._found: list[Checkpoint | None] = [None] * of

    def each(self) -> list[CheckpointRepository]:
        """See `CheckpointRepository.each`."""
        return self._repositories

    def load(self) -> Checkpoint | None:
        """The checkpoint of all units as it is stored now, None when that of a unit is missing. Raises `Damaged`."""
        self._found = [repository.load() for repository in self._repositories]
        there = [checkpoint for checkpoint in self._found if checkpoint is not None]
        return merged(there) if len(there) == len(self._found) else None

    def swap(self, checkpoint: Checkpoint) -> Checkpoint:
        """Change the checkpoints of the units so that together they are `checkpoint`; returns it.

        Those that are missing are begun. Raises `Conflict` when the loader of a unit wrote since; units before it are
        changed then."""
        there = [found for found in self._found if found is not None]
        before = merged(there) if len(there) == len(self._found) else None
        for at, repository in enumerate(self._repositories):
            mine = self._share(at, before, checkpoint)
            if mine != self._found[at]:
                self._found[at] = repository.swap(mine)
        return merged([found for found in self._found if found is not None])

    def _share(self, at: int, before: Checkpoint | None, after: Checkpoint) -> Checkpoint:
        """What `after` says of one unit."""
        unit, mine = self._units[at], self._found[at]
        if before is None:
            # They were made together, so one that is missing where others are was lost, and all are made again.
            lost = after.lost or any(found is not None for found in self._found)
            if mine is None:
                return msgspec.structs.replace(after, lost=lost)
            return mine if mine.intent is not None else msgspec.structs.replace(mine, lost=lost)
        assert mine is not None
        fields = ("batch", "lease", "parts", "missing", *(["watermark"] if mine.lost else []))
        changed = {name: getattr(after, name) for name in fields if getattr(after, name) != getattr(before, name)}
        if mine.intent is None:  # else its rows may still be on their way
            changed["lost"] = after.lost
        if mine.lost and after.positions != before.positions:
            changed["positions"] = unit.share(after.positions, after.partitions)
        here = f"segments-{unit.name}/"
        changed["deltas"] = [path for path in after.segments() if path.startswith(here)]
        changed["snapshot"] = None
        changed["dirty_days"] = [path for path in after.dirty_days if path.startswith(here)]
        if after.events is not None and after.events != before.events:
            others = sum(found.events or 0 for found in self._found[1:] if found is not None)
            changed["events"] = mine.events or 0 if at else after.events - others
        return msgspec.structs.replace(mine, **changed)

    def set_aside(self, damaged: Damaged) -> str:
        """See `CheckpointRepository.set_aside`; the checkpoints of the other units stay."""
        for repository in self._repositories:
            if damaged.path == repository.name or damaged.path.startswith(f"segments-{repository.unit}/"):
                return repository.set_aside(damaged)
        return super().set_aside(damaged)

    def put_frames(self, name: str, frame: pl.DataFrame) -> list[str]:
        """See `CheckpointRepository.put_frames`."""
        return [repository.put_frame(name, rows) for repository, _, rows in self._shares(frame) if rows.height]

    def put_open_events(self, name: str, events: pl.DataFrame) -> list[str]:
        """See `CheckpointRepository.put_open_events`; each unit gets those that are open by its own watermark."""
        shares = ((each, session.prune(rows, unit.watermark)[0]) for each, unit, rows in self._shares(events))
        return [repository.put_frame(name, rows) for repository, rows in shares if rows.height]

    def _shares(self, frame: pl.DataFrame) -> Iterator[tuple[CheckpointRepository, Checkpoint, pl.DataFrame]]:
        """The rows of each unit's visitors, with its checkpoint as it was loaded last."""
        there = [found for found in self._found if found is not None]
        return zip(self._repositories, there, shared_out(frame, self._units, there[0].partitions), strict=True)


def merged(checkpoints: list[Checkpoint]) -> Checkpoint:
    """One checkpoint that says what those of all units say together, the first unit's first."""
    first = checkpoints[0]
    positions: Positions = {}
    for checkpoint in checkpoints:
        for topic, partitions in checkpoint.positions.items():
            positions.setdefault(topic, {}).update(partitions)
    counts = [checkpoint.events for checkpoint in checkpoints if checkpoint.events is not None]
    return msgspec.structs.replace(
        first,
        generation="-".join(sorted({checkpoint.generation for checkpoint in checkpoints})),
        batch=max(checkpoint.batch for checkpoint in checkpoints),
        positions=positions,
        # The least, as what is open for one unit may be closed for another; a unit without events has none open.
        watermark=min((checkpoint.watermark for checkpoint in checkpoints if checkpoint.positions), default=0),
        snapshot=None,
        deltas=[path for checkpoint in checkpoints for path in checkpoint.segments()],
        dirty_days=[path for checkpoint in checkpoints for path in checkpoint.dirty_days],
        intent=next((checkpoint.intent for checkpoint in checkpoints if checkpoint.intent is not None), None),
        lease=next((checkpoint.lease for checkpoint in checkpoints if checkpoint.lease is not None), None),
        parts=list(dict.fromkeys(part for checkpoint in checkpoints for part in checkpoint.parts)),
        missing=losses.missing([], [days for checkpoint in checkpoints for days in checkpoint.missing]),
        events=sum(counts) if len(counts) == len(checkpoints) else None,
        retracted=sum(checkpoint.retracted for checkpoint in checkpoints),
        erased=min(checkpoint.erased for checkpoint in checkpoints),
        lost=any(checkpoint.lost for checkpoint in checkpoints),
        moved_to=next((checkpoint.moved_to for checkpoint in checkpoints if checkpoint.moved_to), 0),
    )
