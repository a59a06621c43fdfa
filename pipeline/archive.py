"""The archive's own consumer: what is committed, as Parquet, at its own pace.

It reads from the positions in the archive's manifest up to those that the loader has committed. So a slow archive
holds up nobody, and no file has a record that the loader has not counted. Files are written first, under names that
follow from their content; the swap of the manifest then makes all files of a flush count at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import polars as pl

from activity.definitions import HOUR_MS
from activity.erasure import NEEDED, Erasures
from activity.event import TOPICS
from brokers.base import Broker, Position, TopicPartition
from pipeline import io
from pipeline.checkpoint import PartitionRange, moved
from pipeline.io import BrokerFeed
from pipeline.run import Feed, Run
from pipeline.runner import Runner
from stores.archive import COLUMNS as ARCHIVE_COLUMNS
from stores.archive import file_path
from stores.base import Archive, ArchivedFile, Conflict, FileStats, Positions, Unreadable

GROUP = "footfall-archive"
# Records a partition and flush: what bounds the memory and the size of a file.
LIMIT = 12_500


def flush(
    runner: Runner,
    broker: Broker,
    archive: Archive,
    upto: Positions,
    unit: str,
    erasures: Callable[[], Erasures],
    progress: Callable[[int], None] = lambda _: None,
) -> Positions:
    """Archive everything up to `upto` (inclusive); returns the positions up to which the archive now reaches.

    Positions go topic -> partition -> position; `erasures` returns the tombstones that count now; `progress` is called
    with the number of events of each flush. Raises
    `Conflict` when another process flushed the same partitions at the same time, `Gone` when the broker no longer has
    the records."""
    left: set[str] = set()
    while True:
        committed = archive.committed()
        ranges = _ranges(broker, committed.positions, upto)
        if not ranges:
            return committed.positions
        flushed: list[pl.DataFrame] = []
        feeds: list[Feed] = [BrokerFeed(broker, r) for r in ranges]
        forgotten = erasures()
        runner.run(Run(feeds, {"archive": io.collecting(flushed)}, erasures=forgotten))
        text = ";".join(f"{r.topic}/{r.partition}/{r.after}-{r.upto}" for r in ranges)
        # A file with somebody who is forgotten meanwhile keeps its name, so that it can go and never counts.
        text += f" without {forgotten.epoch}" if forgotten else ""
        entries = [entry for frame in flushed for entry in _write(archive, frame, unit, text)]
        try:
            archive.commit(committed.version, entries, moved(committed.positions, ranges))
        except Conflict:
            left |= {entry.path for entry in entries}
            if any(archive.committed().positions.get(r.topic, {}).get(str(r.partition)) != r.after for r in ranges):
                for path in left - {entry.path for entry in archive.manifest().entries}:
                    archive.delete(path)
                raise
            continue  # other partitions were archived meanwhile, or something was forgotten
        for path in left - {entry.path for entry in entries}:
            archive.delete(path)
        left.clear()
        for r in ranges:
            broker.remember(GROUP, TopicPartition(r.topic, r.partition), Position.parse(r.upto))
        progress(sum(frame.height for frame in flushed))


def _ranges(broker: Broker, done: Positions, upto: Positions) -> list[PartitionRange]:
    ranges = []
    for topic in TOPICS:
        for partition, text in upto.get(topic, {}).items():
            before = done.get(topic, {}).get(partition)
            after = Position.parse(before) if before else None
            last = Position.parse(text)
            if after is not None and not after < last:
                continue
            reach = broker.end_before(TopicPartition(topic, int(partition)), after, LIMIT)
            if reach is not None:
                ranges.append(PartitionRange(topic, int(partition), before, str(min(reach, last))))
    return ranges


def _write(archive: Archive, frame: pl.DataFrame, unit: str, ranges: str) -> Iterator[ArchivedFile]:
    hour = pl.col("received_at") // HOUR_MS * HOUR_MS
    parts = frame.with_columns(hour=hour).partition_by("site", "type", "hour", as_dict=True)
    for (site, kind, at), rows in parts.items():
        path = file_path(str(site), str(kind), int(str(at)), unit, ranges)
        yield written(archive, rows, path, unit)


def written(archive: Archive, rows: pl.DataFrame, path: str, unit: str) -> ArchivedFile:
    """Write events of one site, type and hour to a file; returns the entry by which it will count."""
    stats = archive.write(path, rows.select(ARCHIVE_COLUMNS.keys()).to_arrow(compat_level=pl.CompatLevel.oldest()))
    return entry_of(path, unit, rows, stats)


def entry_of(path: str, unit: str, rows: pl.DataFrame, stats: FileStats) -> ArchivedFile:
    """The entry of a file with these rows."""
    occurred, received = rows["occurred_at"], rows["received_at"]
    return ArchivedFile(
        path=path,
        site=rows["site"][0],
        type=rows["type"][0],
        date=path.split("date=")[1][:10],
        hour=rows["received_at"][0] // HOUR_MS % 24,
        unit=unit,
        rows=stats.rows,
        bytes=stats.bytes,
        sha256=stats.sha256,
        min_occurred_at=int(occurred.min()),  # type: ignore[arg-type]
        max_occurred_at=int(occurred.max()),  # type: ignore[arg-type]
        min_received_at=int(received.min()),  # type: ignore[arg-type]
        max_received_at=int(received.max()),  # type: ignore[arg-type]
    )


def erase(
    archive: Archive,
    erasures: Erasures,
    former: Sequence[str],
    replacing: Callable[[list[str]], None],
    unreadable: list[str],
    before: int | None = None,
) -> None:
    """Write the files with events that are covered again, without these, and delete the former ones.

    Files that never counted, which a flush left that was killed, go as a whole. `replacing` is told which files are
    about to go, before they do: after a crash they are `former`, and go as far as they do not count. Files that cannot
    be read are appended to `unreadable` and stay. With `before` (ms) only files with events that occurred before, and
    those that never counted, are looked at."""
    looked: dict[str, bool] = {}  # files never change: each is looked into once, however often something is archived
    again: dict[str, list[ArchivedFile]] = {}
    unreadable.clear()
    while True:
        manifest = archive.manifest(None, before)
        new = [entry for entry in manifest.entries if entry.path not in looked]
        theirs = {entry.path for entry in holding(archive, new, erasures, unreadable)}
        looked |= {entry.path: entry.path in theirs for entry in new}
        for entry in manifest.entries:
            if looked[entry.path] and entry.path not in again:
                try:
                    again[entry.path] = list(_without(archive, entry, erasures))
                except Unreadable:  # damaged since
                    unreadable.append(entry.path)
                    looked[entry.path] = False
        held = [entry for entry in manifest.entries if looked[entry.path]]
        replacing([entry.path for entry in held])
        fresh = [made for entry in held for made in again[entry.path]]
        try:
            # Also without any file: a flush that read the log under former tombstones then finds another version.
            archive.commit(manifest.version, fresh, manifest.positions, [entry.path for entry in held])
        except Conflict:
            continue  # something was archived meanwhile
        # Of all times: a former file may have been made again without what was before.
        all_entries = archive.manifest().entries if former else manifest.entries
        counts = {entry.path for entry in all_entries} - {entry.path for entry in held}
        for path in {*former, *(entry.path for entry in held)} - counts - {entry.path for entry in fresh}:
            archive.delete(path)
        left = orphans(archive, erasures, unreadable)
        replacing(left)
        for path in left:
            archive.delete(path)
        return


def orphans(archive: Archive, erasures: Erasures, unreadable: list[str]) -> list[str]:
    """The files with covered events that no manifest names; those that cannot be read are appended to `unreadable`.

    None of them counts later if a manifest was committed under these tombstones: a flush that read the log before
    finds another version then, and writes files of other names."""
    found = []
    for site in sorted(erasures.sites):
        there = archive.of_site(site)
        counts = {entry.path for entry in archive.manifest().entries}
        damaged = set()
        for path in there:
            try:
                if path not in counts and erasures.covered(archive.read(path, NEEDED)).any():
                    found.append(path)
            except Unreadable:
                damaged.add(path)
        if damaged:  # and not renamed or deleted meanwhile
            unreadable += sorted(damaged & {*archive.of_site(site)})
    return found


def holding(
    archive: Archive, entries: Iterable[ArchivedFile], erasures: Erasures, unreadable: list[str]
) -> Iterator[ArchivedFile]:
    """Those files that hold events that are covered; those that cannot be read are appended to `unreadable`."""

    def read(entry: ArchivedFile) -> bool | None:
        if entry.max_occurred_at < erasures.expired_before(entry.site):
            return True  # as a whole, so it need not be readable
        try:
            # With its checksum: a damaged one may read as if nobody of theirs were in it.
            return bool(erasures.covered(archive.read(entry.path, NEEDED, entry)).any())
        except Unreadable:
            return None

    of_sites = [entry for entry in entries if erasures.concerns(entry.site, entry.min_occurred_at)]
    with ThreadPoolExecutor(2, "archive") as threads:
        for entry, covered in zip(of_sites, threads.map(read, of_sites), strict=True):
            if covered is None:
                unreadable.append(entry.path)
            elif covered:
                yield entry


def _without(archive: Archive, entry: ArchivedFile, erasures: Erasures) -> Iterator[ArchivedFile]:
    if entry.max_occurred_at < erasures.expired_before(entry.site):
        return
    rows = erasures.kept(archive.read(entry.path, None, entry))
    if rows.height:
        ranges = f"{entry.path} without {erasures.epoch}"
        path = file_path(entry.site, entry.type, int(rows["received_at"][0]), entry.unit, ranges)
        yield written(archive, rows, path, entry.unit)


def reading(
    archive: Archive, entry: ArchivedFile, erasures: Erasures
) -> Callable[[Sequence[str]], pl.DataFrame]:
    """Reads columns of an archived file without what is forgotten or has expired, and verifies its checksum.

    Raises `Unreadable` naming the file."""
    if not erasures.concerns(entry.site, entry.min_occurred_at):
        return lambda names: archive.read(entry.path, list(names), entry)
    return lambda names: erasures.kept(archive.read(entry.path, [*{*names, *NEEDED}], entry)).select(names)
