"""Switches the positions of a deployment from one broker to another, so that the next `up` continues there.

Positions are kept in two places: the archive's manifest and the checkpoints of the live run. Each changes in one swap,
the archive first, so that after a crash in between, the live run itself is on either one broker or the other. A plan
next to the checkpoints says what is being switched: a second run of the move finds it, and nothing is done twice.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from brokers.base import Broker, Gone, Position, TopicPartition, WrongIncarnation
from infra.errors import Failed
from infra.wiring import Parts
from pipeline import archive as archiving
from pipeline import erasure, live, losses
from pipeline.checkpoint import Checkpoint, CheckpointRepository
from pipeline.unit import Unit
from stores.base import CheckpointStore, Positions

_NAME = "broker-move"
_UNIT = "unit-"

# For each partition, the old positions and what they become; see `copy.Verified`.
Translation = dict[TopicPartition, dict[str, str | None]]


class _Plan(msgspec.Struct, frozen=True):
    source: str
    target: str
    archive: Positions
    units: dict[str, Positions] = msgspec.field(name="heads")


def settle(parts: Parts) -> None:
    """Finishes an interrupted batch on the old broker, because its rows have the positions that it was planned with.

    Raises `Failed` if data is lost or the batch cannot be finished.
    """
    if parts.checkpoint.load(erasure.JOURNAL):
        raise Failed(
            f"an erasure was broken off: start `footfall up` on {parts.broker.url}, which finishes it there, then move"
        )
    for repository, checkpoint in _checkpoints(parts.checkpoint):
        if checkpoint.lost:
            raise Failed(f"{losses.LOST}. Let `footfall up` do that on {parts.broker.url}, then move")
        if checkpoint.intent is None and checkpoint.lease is None:
            continue
        parts.create_topics()
        loader = parts.loader(Unit.named(repository.unit))
        loader.open()
        if parts.settings.embedded:
            loader.take_over()
        if loader.checkpoint().intent is not None:
            loader.step()
        if loader.lease is not None:
            loader.lease.release()
        again = repository.load()
        if again is None or again.intent is not None:
            why = loader.status.trouble or "wait"
            raise Failed(f"unit {repository.unit} has a batch that cannot be finished: {why}")


class Switch:
    """The switch of the positions that `parts` keep from `source` to `target`."""

    def __init__(self, parts: Parts, source: Broker, target: Broker) -> None:
        self._archive = parts.archive
        self._store = parts.checkpoint
        self._source, self._target = source, target
        found = self._store.load(_NAME)
        plan = msgspec.json.decode(found[0], type=_Plan) if found else None
        self._version = found[1] if found else None
        same = plan is not None and (plan.source, plan.target) == (source.url, target.url)
        self._begun = plan if same else None

    def done(self) -> bool:
        """Whether a move to the target is complete: there are positions, and all are those of the target."""
        units = [checkpoint.positions for _, checkpoint in _checkpoints(self._store)]
        return any((self._archive.committed().positions, *units)) and not self.wanted()

    def wanted(self) -> dict[TopicPartition, set[str]]:
        """The positions that are still to be translated, by partition."""
        found: dict[TopicPartition, set[str]] = {}
        for positions in self._to_do():
            for topic, partitions in positions.items():
                for number, text in partitions.items():
                    found.setdefault(TopicPartition(topic, int(number)), set()).add(text)
        return found

    def _to_do(self) -> Iterator[Positions]:
        if not self._archive_done():
            yield self._archive.committed().positions
        for repository, checkpoint in _checkpoints(self._store):
            if not self._unit_done(repository.unit, checkpoint):
                yield checkpoint.positions

    def _archive_done(self) -> bool:
        positions = self._archive.committed().positions
        return self._done(positions, self._begun.archive if self._begun else None)

    def _unit_done(self, unit: str, checkpoint: Checkpoint) -> bool:
        return self._done(checkpoint.positions, self._begun.units.get(unit) if self._begun else None)

    def _done(self, positions: Positions, planned: Positions | None) -> bool:
        if not positions or (planned is not None and positions == planned):
            return True
        if _stands_on(self._source, positions):
            return False
        if _stands_on(self._target, positions):
            return True
        raise Failed(
            f"the checkpoint stands neither on {self._source.url} nor on {self._target.url}: is FROM the broker that"
            " `footfall up` ran on, and is this its data folder?"
        )

    def apply(self, translation: Translation) -> None:
        """Writes the translated positions to the archive and the checkpoints.

        Raises `Conflict` or `Failed` if something still runs on the old broker.
        """
        committed = self._archive.committed()
        archive = committed.positions if self._archive_done() else self._translated(committed.positions, translation)
        units: dict[str, Positions] = {}
        for repository, checkpoint in _checkpoints(self._store):
            positions = checkpoint.positions
            if not self._unit_done(repository.unit, checkpoint):
                positions = self._translated(positions, translation)
            units[repository.unit] = positions
        plan = _Plan(self._source.url, self._target.url, archive, units)
        self._store.swap(_NAME, msgspec.json.encode(plan), self._version)
        if committed.positions != archive:
            self._archive.commit(committed.version, [], archive)
        for repository, checkpoint in _checkpoints(self._store):
            if checkpoint.positions != units[repository.unit]:
                repository.swap(msgspec.structs.replace(checkpoint, positions=units[repository.unit]))
        for group, positions in ((archiving.GROUP, archive), *((live.GROUP, of_unit) for of_unit in units.values())):
            for topic, partitions in positions.items():
                for number, text in partitions.items():
                    self._target.remember(group, TopicPartition(topic, int(number)), Position.parse(text))

    def _translated(self, positions: Positions, translation: Translation) -> Positions:
        found: Positions = {}
        for topic, partitions in positions.items():
            for number, text in partitions.items():
                known = translation.get(TopicPartition(topic, int(number)), {})
                if text not in known:
                    raise Failed(f"something still runs on {self._source.url}: stop it, then run this again")
                new = known[text]
                if new is not None:
                    found.setdefault(topic, {})[number] = new
        return found


def _checkpoints(store: CheckpointStore) -> list[tuple[CheckpointRepository, Checkpoint]]:
    repositories = [CheckpointRepository(store, name.removeprefix(_UNIT)) for name in store.names(_UNIT)]
    return [(repository, checkpoint) for repository in repositories if (checkpoint := repository.load()) is not None]


def _stands_on(broker: Broker, positions: Positions) -> bool:
    there = broker.topics()
    for topic, partitions in positions.items():
        for number, text in partitions.items():
            if topic not in there or int(number) >= there[topic].partitions:
                return False
            try:
                broker.end_before(TopicPartition(topic, int(number)), Position.parse(text), 1)
            except WrongIncarnation:
                return False
            except Gone:
                continue
    return True
