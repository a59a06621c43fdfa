"""Finds what is damaged in the archive, and makes it again from where the truth still lies.

The index of the manifest follows from the lists of its days, a list from the files of its day, and a file from the
records of the log. A file is made again under its own path, and only when the log still has every event that the
manifest says it had: half a file would be silently less. What cannot be made again is told with its hour. Who is
forgotten is left out, though the damaged file had him.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence

import msgspec
import polars as pl

from activity.definitions import HOUR_MS
from activity.erasure import Erasures
from brokers.base import Broker, BrokerError, Position, TopicPartition
from pipeline import archive, io
from pipeline.checkpoint import PartitionRange
from pipeline.io import BrokerFeed
from pipeline.run import Run
from pipeline.runner import Runner
from stores.archive import ParquetArchive
from stores.base import Archive, ArchivedFile, Committed, Conflict, Positions, Unreadable

_PLACE = ["topic", "partition", "position"]
_Key = tuple[str, str, str, int]  # site, type, date and hour of receipt


class Damage(msgspec.Struct, frozen=True):
    """What is damaged: `file`, `why`, how many events it had, of which hours; and what became of it."""

    file: str
    why: str
    events: int
    hours: str
    mended: bool = False
    note: str = ""


def check(
    archived: ParquetArchive, broker: Broker, runner: Runner, erasures: Callable[[], Erasures], *, mend: bool
) -> Iterator[Damage]:
    """Yield what is damaged, after it was made again if `mend`, without what is forgotten. Reads every byte.

    Raises what stores and brokers raise; a second call goes on with what is left."""
    try:
        archived.committed()
    except Unreadable as error:
        if not mend:
            yield Damage(error.path, error.why, 0, "all", note="nothing else can be checked before it is mended")
            return
        archived.index.put_index(lambda paths: _reached(archived, paths))
        yield Damage(error.path, error.why, 0, "all", mended=True, note="made again of the lists of its days")
    listless = set()
    for date, files, events, why in archived.index.damaged_days():
        entries = _entries(archived, date) if mend else []
        mended = (len(entries), sum(entry.rows for entry in entries)) == (files, events)
        if mended:
            archived.index.put_day(date, entries)
        else:
            listless.add(date)
        note = "made again of its files" if mended else f"its files have to be {files} with {events} events together"
        yield Damage(why.path, why.why, events, date, mended, note if mend else "")
    if listless:  # the other entries cannot be told from those
        return
    found = archived.manifest()
    failed: dict[str, Unreadable] = {}
    for entry in found.entries:
        try:
            archived.read(entry.path, ["position"], entry)
        except Unreadable as unreadable:
            failed[entry.path] = unreadable
    for lost, there in _by_hour(found.entries, failed):
        note = _again(archived, broker, runner, erasures, lost, there) if mend else ""
        for entry in lost:
            hours, found_so = f"{entry.date} {entry.hour:02d}:00", failed[entry.path]
            yield Damage(f"{archived.url}/{entry.path}", found_so.why, entry.rows, hours, mend and not note, note)


def make_again(
    archived: Archive, broker: Broker, runner: Runner, erasures: Callable[[], Erasures], damaged: Collection[str]
) -> list[str]:
    """Make those of these damaged files again that count, as far as the log has their events; returns the others."""
    found = archived.manifest().entries
    made: set[str] = set()
    for lost, there in _by_hour(found, damaged):
        try:
            if not _again(archived, broker, runner, erasures, lost, there):
                made |= {entry.path for entry in lost}
        except Unreadable:  # another file of the hour, which was not looked into
            continue
    return [path for path in damaged if path not in made]


def _by_hour(
    entries: Sequence[ArchivedFile], damaged: Collection[str]
) -> list[tuple[list[ArchivedFile], list[ArchivedFile]]]:
    """For each site, type and hour with damaged files: the entries of these, and those of the others."""
    hours: defaultdict[_Key, tuple[list[ArchivedFile], list[ArchivedFile]]] = defaultdict(lambda: ([], []))
    for entry in entries:
        hours[_key(entry)][entry.path not in damaged].append(entry)
    return [hour for hour in hours.values() if hour[0]]


def _again(
    archived: Archive,
    broker: Broker,
    runner: Runner,
    erasures: Callable[[], Erasures],
    lost: Sequence[ArchivedFile],
    there: Sequence[ArchivedFile],
) -> str:
    """Write the events of damaged files again, all into the first of them; returns why that cannot be done, or ""."""
    known = pl.concat([pl.DataFrame(schema=dict.fromkeys(_PLACE, pl.String)), *(
        archived.read(entry.path, _PLACE, entry).cast(pl.String) for entry in there
    )])  # fmt: skip
    site, kind, _, hour = _key(lost[0])
    committed = archived.committed()
    covering = erasures()  # after the version that is replaced: who is forgotten meanwhile changes that
    frames: list[pl.DataFrame] = []
    for r in _ranges(broker, committed.positions):
        read: list[pl.DataFrame] = []
        try:
            runner.run(Run([BrokerFeed(broker, r)], {"archive": io.collecting(read)}))
        except BrokerError as error:
            return f"the log cannot be read: {error}"
        for frame in read:
            of_hour = (pl.col("site") == site, pl.col("type") == kind, pl.col("received_at") // HOUR_MS == hour)
            wanted = frame.filter(*of_hour)
            mark = wanted.select(pl.col(_PLACE).cast(pl.String)).join(
                known.with_columns(known=True), on=_PLACE, how="left", maintain_order="left"
            )
            frames.append(wanted.filter(mark["known"].is_null()))
    due = sum(entry.rows for entry in lost)
    rows = pl.concat(frames) if frames else pl.DataFrame()
    if not any(former.kept(rows).height == due for former in _former(covering, site)):
        return f"the log has {covering.kept(rows).height} of these {due} events still: put the file back from a copy"
    left = covering.kept(rows)
    entries = [archive.written(archived, left, lost[0].path, lost[0].unit)] if left.height else []
    gone = [each.path for each in lost[len(entries) :]]
    while True:
        try:
            archived.commit(committed.version, entries, committed.positions, gone)
        except Conflict:
            manifest = archived.manifest()
            if erasures() != covering or not {each.path for each in lost} <= {each.path for each in manifest.entries}:
                for entry in entries:  # which may have those who were
                    if entry.path not in {each.path for each in manifest.entries}:
                        archived.delete(entry.path)
                return "somebody was forgotten meanwhile: check again"
            committed = Committed(manifest.positions, manifest.version)
            continue  # something was archived meanwhile
        for path in gone:
            archived.delete(path)
        return ""


def _former(erasures: Erasures, site: str) -> Iterator[Erasures]:
    """The tombstones that counted at one time: a file has what was not forgotten yet when it was written."""
    epochs = {each.epoch for each in erasures.tombstones if each.site == site}
    for epoch in sorted({0, *epochs}):
        tombstones = tuple(each for each in erasures.tombstones if each.epoch <= epoch)
        yield Erasures(tombstones)
        if erasures.expired_before(site):
            yield Erasures(tombstones, erasures.expiries)


def _ranges(broker: Broker, upto: Positions) -> Iterator[PartitionRange]:
    """All records up to these positions that are in the log still, a bounded number at a time."""
    for topic, of_topic in upto.items():
        for partition, text in of_topic.items():
            log, last, after = TopicPartition(topic, int(partition)), Position.parse(text), None
            while after is None or after < last:
                reach = broker.end_before(log, after, archive.LIMIT)
                if reach is None:
                    break
                end = min(reach, last)
                yield PartitionRange(topic, int(partition), str(after) if after else None, str(end))
                after = end


def _reached(archived: ParquetArchive, paths: Sequence[str]) -> Positions:
    """The last positions that these files have."""
    last: dict[tuple[str, int], Position] = {}
    for path in paths:
        for topic, partition, position in archived.read(path, _PLACE).iter_rows():
            found = Position.parse(position)
            before = last.get((topic, partition))
            if before is None or before < found:
                last[topic, partition] = found
    reached: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for (topic, partition), found in last.items():
        reached[topic][str(partition)] = str(found)
    return dict(reached)


def _entries(archived: ParquetArchive, date: str) -> list[ArchivedFile]:
    """The entries of a day of receipt, by the files that are there; a damaged one is left out."""
    found = []
    for path in archived.paths(date):
        try:
            rows = archived.read(path)
        except Unreadable:
            continue
        found.append(archive.entry_of(path, path.rpartition("/")[2].rpartition("-")[0], rows, archived.stats(path)))
    return found


def _key(entry: ArchivedFile) -> _Key:
    return entry.site, entry.type, entry.date, entry.min_received_at // HOUR_MS
