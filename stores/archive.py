"""The archive: every event as it was published, in Parquet files that anything can read.

Files are in a folder or a bucket, in Hive's layout by site, type and hour of receipt,
`site=S/type=T/date=YYYY-MM-DD/hour=HH/NAME.parquet`, compressed with zstd. A file counts when the manifest names it,
with its checksum. A file without an entry is left from a flush that was broken off.

The manifest says which files count and up to which positions the log is archived. Both change as one, by
compare-and-swap. A year of flushes is millions of files, so the manifest is a small index, which is swapped, and one
immutable list of entries for each day of receipt, which the index names. A commit writes new lists for the days that
it touches, swaps the index, and only then deletes the lists that it replaced. A reader that is overtaken in between
finds a list missing, and reads the index again. The index has its checksum at its end, a list in its name.
`pipeline.rearchive` makes again what is damaged.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import secrets
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath
from urllib.parse import quote

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from activity import columns
from stores import backends
from stores.backends import Bucket, Location, parse_location
from stores.base import (
    Amount,
    ArchivedFile,
    CheckpointStore,
    Committed,
    Conflict,
    FileStats,
    Manifest,
    Positions,
    Unreadable,
    Unusable,
)
from stores.checkpoint import connect_checkpoint

__all__ = ["COLUMNS", "connect_archive", "file_path", "received_hour"]

# An event as it was published, and its place in the log.
COLUMNS: dict[str, pl.DataType] = {
    **columns.COLUMNS,
    "topic": pl.String(),
    "partition": pl.Int32(),
    "position": pl.String(),
    "published_at": pl.Int64(),
}


def connect_archive(url: str) -> ParquetArchive:
    """`file:///folder` or a plain path, `s3://bucket/prefix[?endpoint=URL&region=]`.

    Raises `Unusable` for any other URL, or one that cannot be opened."""
    place = parse_location(url)
    if place.scheme not in ("file", "s3"):
        raise Unusable(f"{place.safe_url}: an archive lies in a folder (file:///path) or in s3://bucket/prefix")
    return ParquetArchive(place)


def file_path(site: str, kind: str, received_at: int, unit: str, ranges: str) -> str:
    """The path of the file with the events of one site, type and hour of a flush.

    `received_at` is any moment of the hour, in ms. `ranges` is a text that says which records the unit's flush takes,
    so the same flush has the same path."""
    hour = datetime.fromtimestamp(received_at / 1000, UTC)
    name = hashlib.sha256(ranges.encode()).hexdigest()[:16]
    return f"site={quote(site, safe='')}/type={kind}/date={hour:%Y-%m-%d}/hour={hour:%H}/{unit}-{name}.parquet"


_INDEX = "head.json"
_TRIES = 5
_REMEDY_OF_MANIFEST = "`footfall archive check --mend` makes it again from what is there"
# What former versions wrote has none.
_INDEX_CHECKSUM = re.compile(rb',"checksum":"([0-9a-f]*)"}$')
_LIST = re.compile(r"(\d{4}-\d\d-\d\d)-[0-9a-f]{16}(?:\.([0-9a-f]{32}))?\.json")


class _Day(msgspec.Struct, frozen=True):
    part: str
    files: int
    rows: int
    min_occurred_at: int
    max_occurred_at: int


class _Index(msgspec.Struct, frozen=True):
    version: int = 1
    positions: Positions = {}
    days: dict[str, _Day] = {}


class ManifestStore:
    """Reads and commits the manifest of one archive, see the module. It does not see the files themselves."""

    def __init__(self, store: CheckpointStore) -> None:
        self._store = store

    def committed(self) -> Committed:
        """The positions and the version of the manifest as it is now."""
        index, version = self._load()
        return Committed(index.positions, version)

    def amount(self) -> Amount:
        """See `Archive.amount`."""
        days = self._load()[0].days.values()
        return Amount(sum(day.files for day in days), sum(day.rows for day in days))

    def manifest(self, start_ms: int | None, end_ms: int | None) -> Manifest:
        """The entries that touch [start, end) of `occurred_at`, by path. Raises `Unreadable` for a damaged list."""
        return self._manifest(
            lambda _, day: _touches(day, start_ms, end_ms), lambda entry: _touches(entry, start_ms, end_ms)
        )

    def received(self, start_ms: int, end_ms: int) -> Manifest:
        """See `Archive.received`."""
        first, last = (f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d}" for ms in (start_ms, end_ms))
        return self._manifest(
            lambda date, _: first <= date <= last, lambda entry: start_ms <= received_hour(entry) < end_ms
        )

    def _manifest(
        self, of_day: Callable[[str, _Day], bool], of_file: Callable[[ArchivedFile], bool]
    ) -> Manifest:
        for attempt in range(_TRIES):
            index, version = self._load()
            try:
                entries = [entry for date, day in index.days.items() if of_day(date, day)
                           for entry in self._part(day) if of_file(entry)]  # fmt: skip
            except Unreadable:
                if attempt == _TRIES - 1 or self._load()[1] == version:
                    raise
                continue
            return Manifest(sorted(entries, key=lambda entry: entry.path), index.positions, version)
        raise AssertionError("the last try returns or raises")

    def newest(self, count: int) -> list[ArchivedFile]:
        """See `Archive.newest`; reads the lists of the last days only."""
        for attempt in range(_TRIES):
            index, version = self._load()
            entries: list[ArchivedFile] = []
            try:
                for _, day in sorted(index.days.items(), reverse=True):
                    if len(entries) >= count:
                        break
                    entries += self._part(day)
            except Unreadable:
                if attempt == _TRIES - 1 or self._load()[1] == version:
                    raise
                continue
            return sorted(entries, key=lambda entry: (entry.date, entry.hour, entry.path), reverse=True)[:count]
        raise AssertionError("the last try returns or raises")

    def commit(
        self,
        version: str | None,
        add: Sequence[ArchivedFile],
        positions: Mapping[str, Mapping[str, str]],
        remove: Sequence[str],
    ) -> str:
        """See `Archive.commit`."""
        index, found = self._load()
        if found != version:
            raise Conflict("the archive's manifest was committed by another process: read it again")
        added: defaultdict[str, dict[str, ArchivedFile]] = defaultdict(dict)
        for entry in add:
            added[entry.date][entry.path] = entry
        gone = set(remove)
        touched = set(added) | {_date_of(path) for path in gone}
        days, new, old = dict(index.days), [], []
        for date in sorted(touched):
            kept = {entry.path: entry for entry in self._part(index.days[date])} if date in index.days else {}
            entries = [entry for path, entry in (kept | added[date]).items() if path not in gone]
            if date in days:
                old.append(days.pop(date).part)
            if entries:
                days[date] = self._write(date, entries)
                new.append(days[date].part)
        taken = {topic: dict(of_topic) for topic, of_topic in positions.items()}
        try:
            after = self._swap(_Index(positions=taken, days=dict(sorted(days.items()))), version)
        except Conflict:
            self._drop(new)
            raise
        self._drop(old)
        return after

    def close(self) -> None:
        self._store.close()

    def _load(self) -> tuple[_Index, str | None]:
        found = self._store.load(_INDEX)
        if found is None:
            return _Index(), None
        value, version = found
        if (end := _INDEX_CHECKSUM.search(value)) and end[1] != _checksum(value[: end.start()]):
            raise _unreadable(self._store.url, _INDEX, "its checksum is not that of its bytes")
        try:
            return msgspec.json.decode(value, type=_Index), version
        except msgspec.MsgspecError as error:
            raise _unreadable(self._store.url, _INDEX, f"it is no manifest ({error})") from error

    def _swap(self, index: _Index, version: str | None) -> str:
        return self._store.swap(_INDEX, _sealed(index), version)

    def _part(self, day: _Day) -> list[ArchivedFile]:
        return self._read(day.part)

    def _read(self, part: str) -> list[ArchivedFile]:
        data, name = self._store.get(part), _LIST.fullmatch(part)
        if name and name[2] and name[2].encode() != _checksum(data):
            raise _unreadable(self._store.url, part, "its checksum is not that of its bytes")
        try:
            return msgspec.json.decode(data, type=list[ArchivedFile])
        except msgspec.MsgspecError as error:
            raise _unreadable(self._store.url, part, f"it is no part of a manifest ({error})") from error

    def _write(self, date: str, entries: list[ArchivedFile]) -> _Day:
        data = msgspec.json.encode(sorted(entries, key=lambda entry: entry.path))
        part = f"{date}-{secrets.token_hex(8)}.{_checksum(data).decode()}.json"
        self._store.put(part, data)
        return _day(part, entries)

    def damaged_days(self) -> list[tuple[str, int, int, Unreadable]]:
        """The days whose lists cannot be read, with the files and rows that they name. Raises `Unreadable`."""
        found = []
        for date, day in self._load()[0].days.items():
            try:
                self._part(day)
            except Unreadable as error:
                found.append((date, day.files, day.rows, error))
        return found

    def put_day(self, date: str, entries: list[ArchivedFile]) -> None:
        """Write the list of a day anew, in the place of one that cannot be read."""
        index, version = self._load()
        old, day = index.days[date].part, self._write(date, entries)
        self._swap(msgspec.structs.replace(index, days=index.days | {date: day}), version)
        self._store.set_aside(old)

    def put_index(self, positions: Callable[[Sequence[str]], Positions]) -> None:
        """Make the index again of the lists, and set the damaged one aside; `positions` gets the files' paths.

        Raises `Unreadable` when a list is damaged, too."""
        days: defaultdict[str, dict[str, _Day]] = defaultdict(dict)
        for part in self._store.names():
            if name := _LIST.fullmatch(part):
                days[name[1]][part] = _day(part, self._read(part))
        for date, lists in days.items():
            if len(lists) > 1:  # a commit was broken off before it deleted one, and either may be the one
                raise _unreadable(self._store.url, _INDEX, f"there are two lists of {date}", "put it back from a copy")
        found = {date: next(iter(lists.values())) for date, lists in days.items()}
        paths = [entry.path for day in found.values() for entry in self._read(day.part)]
        index = _Index(positions=positions(paths), days=dict(sorted(found.items())))
        try:
            damaged = self._store.load(_INDEX)
        except Unreadable:  # not even a value
            damaged = None
        # As one step: if there were none for a moment, a flush would begin the archive anew.
        self._store.mend(_INDEX, _sealed(index), damaged[1] if damaged else None)

    def _drop(self, parts: list[str]) -> None:
        for part in parts:
            self._store.delete(part)


def _day(part: str, entries: list[ArchivedFile]) -> _Day:
    return _Day(
        part,
        len(entries),
        sum(entry.rows for entry in entries),
        min(entry.min_occurred_at for entry in entries),
        max(entry.max_occurred_at for entry in entries),
    )


def _sealed(index: _Index) -> bytes:
    text = msgspec.json.encode(index)[:-1]
    return text + b',"checksum":"' + _checksum(text) + b'"}'


def _checksum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).hexdigest().encode()


def _unreadable(url: str, name: str, why: str, remedy: str = _REMEDY_OF_MANIFEST) -> Unreadable:
    return Unreadable(f"{url}/{name}", why, remedy)


def _touches(what: _Day | ArchivedFile, start_ms: int | None, end_ms: int | None) -> bool:
    return (start_ms is None or what.max_occurred_at >= start_ms) and (end_ms is None or what.min_occurred_at < end_ms)


def received_hour(entry: ArchivedFile) -> int:
    """When the hour of receipt of a file's events begins, in ms."""
    return int(datetime.fromisoformat(f"{entry.date}T{entry.hour:02}:00:00Z").timestamp()) * 1000


def _date_of(path: str) -> str:
    return next(part.removeprefix("date=") for part in path.split("/") if part.startswith("date="))


_REMEDY = (
    "`footfall archive check --mend` archives its events again from the broker; a replay from the broker needs none"
)


class ParquetArchive:
    """The `Archive` in a folder or a bucket, see the module."""

    def __init__(self, place: Location) -> None:
        self.url = place.safe_url
        self._folder = place.folder if place.scheme == "file" else None
        self._bucket = Bucket(place) if place.scheme == "s3" else None
        if self._folder:
            backends.make_folder(self._folder)
        self.index = ManifestStore(connect_checkpoint(place.below("_manifest")))

    def write(self, path: str, table: pa.Table) -> FileStats:
        """Write a file, durably on return. The same rows give the same bytes, so a retry changes nothing."""
        name = _checked(path)
        body = io.BytesIO()
        pq.write_table(table, body, compression="zstd", write_statistics=True)
        data = body.getvalue()
        if self._folder:
            backends.write_file(self._folder / name, data)
        elif self._bucket:
            self._bucket.put(name, data)
        return FileStats(len(data), hashlib.sha256(data).hexdigest(), table.num_rows)

    def read(self, path: str, columns: Sequence[str] | None = None, entry: ArchivedFile | None = None) -> pl.DataFrame:
        """The rows of a file, checked against its manifest entry when that is given."""
        data = self._bytes(_checked(path))
        if entry is not None:
            if len(data) != entry.bytes:
                raise Unreadable(path, f"it has {len(data)} bytes, the manifest says {entry.bytes}", _REMEDY)
            if hashlib.sha256(data).hexdigest() != entry.sha256:
                raise Unreadable(path, "its checksum is not that of the manifest", _REMEDY)
        body = io.BytesIO(data)
        try:
            missing = set(columns or ()) - set(pl.read_parquet_schema(body))
            if missing:
                raise Unreadable(path, f"it has no column {', '.join(sorted(missing))}", _REMEDY)
            # Files are small and read several at a time: threads inside of one only get in each other's way.
            names = None if columns is None else list(columns)
            return pl.read_parquet(body, columns=names, parallel="none", use_statistics=False)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise Unreadable(path, f"it is no whole Parquet file ({str(error).splitlines()[0]})", _REMEDY) from error

    def paths(self, date: str) -> list[str]:
        """The paths of all files of a day of receipt, whether the manifest names them or not."""
        if self._folder:
            found = self._folder.glob(f"site=*/type=*/date={date}/hour=*/*.parquet")
            return sorted(path.relative_to(self._folder).as_posix() for path in found)
        keys = self._bucket.keys("site=") if self._bucket else []
        return [key for key in keys if f"/date={date}/" in key and key.endswith(".parquet")]

    def of_site(self, site: str) -> list[str]:
        below = f"site={quote(site, safe='')}"
        if self._folder:
            found = (self._folder / below).glob("type=*/date=*/hour=*/*")
            return sorted(path.relative_to(self._folder).as_posix() for path in found)
        return self._bucket.keys(f"{below}/") if self._bucket else []

    def stats(self, path: str) -> FileStats:
        """What a file amounts to as it is. Raises `Unreadable`."""
        data = self._bytes(_checked(path))
        rows = pl.read_parquet(io.BytesIO(data), columns=["position"]).height
        return FileStats(len(data), hashlib.sha256(data).hexdigest(), rows)

    def committed(self) -> Committed:
        return self.index.committed()

    def amount(self) -> Amount:
        return self.index.amount()

    def manifest(self, start_ms: int | None = None, end_ms: int | None = None) -> Manifest:
        return self.index.manifest(start_ms, end_ms)

    def newest(self, count: int) -> list[ArchivedFile]:
        return self.index.newest(count)

    def received(self, start_ms: int, end_ms: int) -> Manifest:
        return self.index.received(start_ms, end_ms)

    def sizes(self, folder: str) -> dict[str, int]:
        name = _checked(folder)
        if self._bucket:
            return self._bucket.sizes(f"{name}/")
        assert self._folder is not None
        try:
            with os.scandir(self._folder / name) as found:
                return {f"{name}/{file.name}": file.stat().st_size for file in found if file.is_file()}
        except FileNotFoundError:
            return {}

    def commit(
        self,
        version: str | None,
        add: Sequence[ArchivedFile],
        positions: Mapping[str, Mapping[str, str]],
        remove: Sequence[str] = (),
    ) -> str:
        return self.index.commit(version, add, positions, remove)

    def delete(self, path: str) -> None:
        name = _checked(path)
        if self._folder:
            file = self._folder / name
            file.unlink(missing_ok=True)
            if file.parent.is_dir():
                backends.sync_folder(file.parent)
        elif self._bucket:
            self._bucket.delete(name)

    def close(self) -> None:
        if self._bucket:
            self._bucket.close()
        self.index.close()

    def _bytes(self, name: str) -> bytes:
        if self._folder:
            try:
                return (self._folder / name).read_bytes()
            except OSError as error:
                raise Unreadable(name, f"it cannot be read ({error.strerror})", _REMEDY) from error
        found = self._bucket.get(name) if self._bucket else None
        if found is None:
            raise Unreadable(name, "it is missing", _REMEDY)
        return found[0]


def _checked(path: str) -> str:
    """The path. Raises ValueError when it leads out of the archive or into its manifest."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or parts[0].startswith("_") or "\0" in path:
        raise ValueError(f"{path!r} is no path of the archive")
    return path
