"""Going on where a broker is, after it has lost records or a topic: positions that it does not know are reset.

Nothing does so by itself, because the broker may be the wrong one. A position before the first record kept, or of a
topic that was made anew, is dropped: reading begins with the first record. One beyond the end means that the last
records were lost, as by an unclean election, and that new ones may have got their offsets. The loader reads these again
from an hour before its watermark, and empty records fill up the log to where it was, so no more offsets are given
twice. Whatever is read again counts once, by the ids of its events. What was loaded stays.

An interrupted batch that cannot be read again is given up. Its number is not used again, as tokens are made of it; what
it has written stays, and the sessions are formed again from what is stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import polars as pl

from activity.definitions import DAY_MS, HOUR_MS
from brokers.base import Broker, Gone, Position, Record, TopicPartition, WrongIncarnation
from pipeline.checkpoint import Checkpoint, CheckpointRepository, PartitionRange
from pipeline.live import Loader
from pipeline.rebuild import Busy
from stores.base import Archive, Positions

_AT_ONCE = 10_000  # records


class Reset(msgspec.Struct, frozen=True):
    """A position that is reset: who keeps it, what it was and what it becomes, "" for the first record that is kept."""

    keeper: str
    topic: str
    partition: int
    was: str
    now: str
    why: str


def lost(broker: Broker, keeper: str, positions: Positions, watermark: int | None = None) -> Iterator[Reset]:
    """The positions that the broker does not know, or after which it has lost records.

    Without a watermark (ms), one beyond the end stays as it is."""
    for topic, texts in positions.items():
        for number, text in texts.items():
            place, position, now = TopicPartition(topic, int(number)), Position.parse(text), ""
            try:
                broker.end_before(place, position, 1)
            except (Gone, WrongIncarnation) as error:
                if _missing(broker, place, position):
                    since = broker.position_at(place, watermark - HOUR_MS) if watermark is not None else position
                    now = str(since) if since else ""
                yield Reset(keeper, *place, text, now, str(error))


def _missing(broker: Broker, place: TopicPartition, position: Position) -> int:
    """How many records a log is too short for a position of it."""
    bounds = broker.bounds(place)
    if bounds is None or bounds.last.incarnation != position.incarnation or len(position.order) > 1:
        return 0
    return max(0, position.order[0] - bounds.last.order[0])


def _fill(broker: Broker, each: Reset) -> None:
    """Publish empty records until the log reaches up to the position that it was too short for."""
    place = TopicPartition(each.topic, each.partition)
    while count := _missing(broker, place, Position.parse(each.was)):
        broker.publish([Record(each.topic, None, None, partition=each.partition)] * min(count, _AT_ONCE))


def reset(loader: Loader, archive: Archive, *, dry_run: bool) -> list[Reset]:
    """Reset the positions of the archive, then of each unit; returns what was, or would be. The loader is of all units.

    Raises `rebuild.Busy` during a rebuild, and `Conflict` when another process writes meanwhile: try again."""
    broker, units, told = loader.broker, [], []
    with loader.turn:
        committed = archive.committed()
        of_archive = list(lost(broker, "archive", committed.positions))
        for repository in loader.repository.each():
            if (checkpoint := repository.load()) is None:
                continue
            resets = list(lost(broker, f"unit {repository.unit}", checkpoint.positions, checkpoint.watermark))
            told += resets
            fields = _given_up(loader, repository, checkpoint, dry_run=dry_run)
            if resets or fields:
                fields["positions"] = _without(checkpoint.positions, resets)
                units.append((repository, checkpoint, fields))
            if checkpoint.lease is not None and checkpoint.lease.until > loader.clock() and not dry_run:
                raise Busy(f"unit {repository.unit} is being rebuilt; try again when that is done")
        if not dry_run:
            positions = _without(committed.positions, of_archive)
            if positions != committed.positions:
                archive.commit(committed.version, [], positions)
            for repository, was, fields in units:
                repository.swap(msgspec.structs.replace(was, **fields))
            for each in (*of_archive, *told):
                _fill(broker, each)
            loader.open()
    return [*of_archive, *told]


def _without(positions: Positions, resets: list[Reset]) -> Positions:
    found = {topic: dict(texts) for topic, texts in positions.items()}
    for each in resets:
        if each.now:
            found[each.topic][str(each.partition)] = each.now
        else:
            del found[each.topic][str(each.partition)]
    return {topic: texts for topic, texts in found.items() if texts}


def _given_up(
    loader: Loader, repository: CheckpointRepository, checkpoint: Checkpoint, *, dry_run: bool
) -> dict[str, Any]:
    """The fields of a checkpoint without its intent, if that has records which are not there any more."""
    intent = checkpoint.intent
    if intent is None or all(_is_there(loader.broker, each) for each in intent.ranges):
        return {}
    fields: dict[str, Any] = {"intent": None, "batch": intent.batch, "events": None}
    rows = loader.warehouse.rows_around(intent.batch)
    if rows.height and not dry_run:
        days = rows.select("site", "visitor", day=pl.col("occurred_at") // DAY_MS).unique()
        fields["dirty_days"] = [*checkpoint.dirty_days, repository.put_frame(f"marks-{intent.batch}", days)]
    return fields


def _is_there(broker: Broker, each: PartitionRange) -> bool:
    place = TopicPartition(each.topic, each.partition)
    try:
        broker.end_before(place, Position.parse(each.after) if each.after else None, 1)
        broker.timestamp_of(place, Position.parse(each.upto))
    except (Gone, WrongIncarnation):
        return False
    return True
