"""The checks of the checkpoint, and of how far the loader, the archive and the broker's own log are."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from activity.definitions import MINUTE_MS
from activity.event import DEAD_LETTER_TOPIC, TOPICS
from brokers.base import Gone, Position, Resumable, TopicPartition, WrongIncarnation
from infra.doctor.finding import NotAsked, Told, counted, ok, span, warning, wrong
from infra.processes.operation import between
from infra.topics import kept as in_days
from pipeline import erasure, losses
from pipeline.checkpoint import Checkpoint, CheckpointRepository, Damaged
from pipeline.lease import HeldLease
from pipeline.unit import all_of, layout
from stores.base import CheckpointStore, Positions, StoreError, Unreadable

if TYPE_CHECKING:
    from brokers.base import Broker

_READ = (*TOPICS, DEAD_LETTER_TOPIC)
LATE_MS, STALLED_MS = MINUTE_MS, 10 * MINUTE_MS  # how long a record waits to be loaded or archived
_AHEAD_MS = 5_000  # how far a clock may be ahead of ours
_LOOK_AGAIN = 1.0  # seconds
_TRIES = 3


def read(store: CheckpointStore) -> list[Checkpoint]:
    """The checkpoints of all units, those that there are. Raises `StoreError`."""
    units = all_of(layout(store).of)
    found = [CheckpointRepository(store, unit.name).load() for unit in units]
    return [checkpoint for checkpoint in found if checkpoint is not None]


def positions(store: CheckpointStore) -> Positions:
    """What is committed, of all units. Raises `NotAsked` if the checkpoint does not say."""
    merged: Positions = {}
    try:
        for checkpoint in read(store):
            for topic, partitions in checkpoint.positions.items():
                merged.setdefault(topic, {}).update(partitions)
    except StoreError as error:
        raise NotAsked(f"the checkpoint cannot be read ({error})") from error
    return merged


def checkpoint(store: CheckpointStore, *, runs: bool, embedded: bool, now: int) -> list[Told]:
    """Whether checkpoint, segments and tombstones are whole, and whether a dead process left something under way."""
    told: list[Told] = []
    found = layout(store)
    if found.to:
        told.append(wrong(f"a change to {found.to} units was broken off", f"footfall units {found.to}"))
    count = 0
    for unit in all_of(found.of):
        try:
            loaded = _whole(CheckpointRepository(store, unit.name))
        except Damaged as error:
            told.append(wrong(f"{error.path}: {error.why}", "start `footfall up` again: " + error.remedy))
            continue
        if not embedded and not HeldLease(store, unit.name).holder():
            told.append(warning(f"no loader has unit {unit}", _start(unit.of, str(unit))))
        if loaded is not None:
            count += 1
            told += _under_way(loaded, runs=runs, embedded=embedded, now=now)
    try:
        erasure.load(store)
    except Unreadable as error:
        told.append(wrong(f"{error.path}: {error.why}", error.remedy))
    if not told:
        return [ok(f"{counted(count, 'checkpoint')}, whole" if count else "none yet")]
    return told


def counts(broker: Broker, store: CheckpointStore | None) -> list[Told]:
    """Whether the topics have the partitions that the checkpoint was made with."""
    try:
        made = {found.partitions for found in read(store)} if store else set()
    except StoreError:
        return []  # the check of the checkpoint says so
    remedy = "give the topic its former count: with another, visitors change partition"
    return [
        wrong(f"{name} has {found.partitions} partitions, the checkpoint was made with {min(made)}", remedy)
        for name, found in broker.topics().items()
        if name in _READ and made and found.partitions not in made
    ]


def _start(of: int, unit: str) -> str:
    return "start `footfall load`" + (f" --unit {unit}" if of > 1 else "")


def _whole(repository: CheckpointRepository) -> Checkpoint | None:
    """The checkpoint, all of whose segments were read. A commit may replace them meanwhile. Raises `Damaged`."""
    for attempt in range(_TRIES):
        loaded = repository.load()
        if loaded is None:
            return None
        try:
            for path in (*loaded.segments(), *loaded.dirty_days):
                repository.check(path)
        except Damaged:
            if attempt == _TRIES - 1 or repository.load() == loaded:
                raise
            continue
        return loaded
    raise AssertionError("the last try returns or raises")


def _under_way(found: Checkpoint, *, runs: bool, embedded: bool, now: int) -> list[Told]:
    told = []
    if found.lost:
        told.append(wrong(losses.LOST, "let `footfall up` run until it is done, its output says how far it is"))
    if found.missing:
        told.append(wrong(losses.rebuilding(found.missing), "let `footfall up` run until it is done"))
    if found.intent is not None and embedded and not runs:
        told.append(
            warning(f"batch {found.intent.batch} was broken off", "nothing is lost: the next start writes it again")
        )
    if found.lease is not None and (not found.lease.counts(now) or (embedded and not runs)):
        told.append(
            warning(f"a rebuild by {found.lease.by} was broken off", "the next start takes over; run the replay again")
        )
    if found.watermark > now + _AHEAD_MS:
        ahead = span((found.watermark - now) / 1000)
        told.append(
            wrong(f"the watermark is {ahead} ahead of us", "set the clock by NTP; until then events count as late")
        )
    return told


class Waiting(NamedTuple):
    """What waits in a partition: records behind `committed`, and when the first of them was published (ms)."""

    place: TopicPartition
    committed: str | None
    records: int | None  # None where positions cannot be subtracted
    since: int


def waiting(broker: Broker, committed: Positions) -> list[Waiting]:
    """The partitions with records that are not taken yet. Raises what the broker raises."""
    found = []
    there = broker.topics()
    for topic in _READ:
        for number in range(there[topic].partitions if topic in there else 0):
            place, text = TopicPartition(topic, number), committed.get(topic, {}).get(str(number))
            after = Position.parse(text) if text else None
            following = broker.end_before(place, after, 1)
            bounds = broker.bounds(place)
            if following is not None and bounds is not None:
                records = between(after, bounds.first, bounds.last)
                found.append(Waiting(place, text, records, broker.timestamp_of(place, following)))
    return found


def lag(
    look: Callable[[], list[Waiting]], *, runs: bool, now: int, pause: Callable[[float], None] = time.sleep
) -> list[Told]:
    """Whether what was published is loaded, and if not, whether it moves and which partition holds the watermark.

    `look` is asked again a second later where it makes a difference."""
    before = look()
    if not before:
        return [ok("everything that was published is loaded")]
    age = now - min(each.since for each in before)
    if age < LATE_MS:
        return [ok(f"{_told(before)} waiting, for {span(age / 1000)}")]
    if not runs:
        said = f"{_told(before)} waiting, the first since {span(age / 1000)}"
        return [warning(said, "the next start of `footfall up` loads them")]
    pause(_LOOK_AGAIN)
    after = look()
    if not after:
        return [ok("everything that was published is loaded")]
    moved = {(each.place, each.committed) for each in before} != {(each.place, each.committed) for each in after}
    said = f"{_told(after)} waiting, the first since {span(age / 1000)}"
    stuck = [each for each in after if now - each.since >= LATE_MS]
    if len(stuck) == 1:
        said += f"; {stuck[0].place} alone holds the watermark, at position {stuck[0].committed or 'none'}"
    if moved:
        more = _records(after) - _records(before)
        said += f"; {more:,} more than a second ago" if more > 0 else "; they are being worked off"
        remedy = "wait; if it goes on growing, give the loader more cores, or share it out (docs/scale.md)"
        return [(wrong if more > 0 and age >= STALLED_MS else warning)(said, remedy)]
    return [wrong(f"{said}; nothing was loaded within a second", "see the check processes, and the server's output")]


def _records(found: list[Waiting]) -> int:
    return sum(each.records or 0 for each in found)


def _told(found: list[Waiting]) -> str:
    records = _records(found)
    return counted(records, "record") if records else f"records of {len(found)} partitions"


def kept(broker: Broker, committed: Positions, archived: Positions, *, runs: bool, now: int) -> list[Told]:
    """Whether the log still has what was not loaded or not archived, and whether it is the log of these positions."""
    told: list[Told] = []
    oldest: tuple[int, TopicPartition] | None = None
    there = broker.topics()
    for topic in (name for name in _READ if name in there):
        for number in range(there[topic].partitions):
            place = TopicPartition(topic, number)
            for what, known in (("loaded", committed), ("archived", archived)):
                text = known.get(topic, {}).get(str(number))
                try:
                    following = broker.end_before(place, Position.parse(text) if text else None, 1)
                except Gone:
                    first = broker.bounds(place)
                    end = f"the first one kept is {first.first}" if first else "none is kept"
                    said = f"{place}: retention has removed records that were not {what}: {text} was the last, {end}"
                    other = "archive" if what == "loaded" else "warehouse"
                    told.append(wrong(said, f"keep topics longer (`footfall topics apply`); the {other} may have them"))
                except WrongIncarnation as error:
                    remedy = "name the broker that these events came from, or `footfall topics reset-positions`"
                    if isinstance(broker, Resumable):
                        remedy = "if it is this log, the next start of `footfall up` goes on behind what was lost"
                    told.append(wrong(f"{place} is another log than the one that was {what}: {error}", remedy))
                else:
                    if what == "archived" and following is not None:
                        since = broker.timestamp_of(place, following)
                        oldest = min(oldest or (since, place), (since, place))
    if oldest is not None and runs and now - oldest[0] >= STALLED_MS:
        said = f"records of {oldest[1]} wait for the archive since {span((now - oldest[0]) / 1000)}"
        told.append(warning(said, "the output of the server says why; `footfall archive flush` tries it now"))
    return told


def unequal(broker: Broker) -> list[Told]:
    """Whether the topics are kept for the same time: a day is only whole where all of them have it."""
    kept_for = {name: found.retention_ms for name, found in broker.topics().items() if name in _READ}
    if len(set(kept_for.values())) < 2:
        return []
    said = ", ".join(f"{name} {in_days(retention)}" for name, retention in sorted(kept_for.items()))
    return [warning(f"topics are kept for different times: {said}", "footfall topics apply --retention-days N")]


def clock(broker: Broker, *, now: int) -> list[Told]:
    """Whether the broker's clock is ahead of ours, by the last record of each partition."""
    told, there = [], broker.topics()
    for topic in (name for name in _READ if name in there):
        for number in range(there[topic].partitions):
            place = TopicPartition(topic, number)
            bounds = broker.bounds(place)
            if bounds is None:
                continue
            ahead = broker.timestamp_of(place, bounds.last) - now
            if ahead > _AHEAD_MS:
                said = f"the last record of {place} is {span(ahead / 1000)} ahead of this clock"
                told.append(wrong(said, "set the clocks of this machine and of the broker by NTP"))
    return told[:1]
