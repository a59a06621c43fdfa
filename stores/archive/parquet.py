"""Parquet files in a folder or a bucket, each with its checksum, under the manifest of that place."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from stores import files
from stores.archive.manifest import Ledger
from stores.base import ArchivedFile, Committed, FileStats, Manifest, Unreadable
from stores.checkpoint import connect_checkpoint
from stores.location import Location
from stores.s3_client import Bucket

_REMEDY = (
    "put the file back from a copy, or archive its range again from the broker; a replay from the broker needs none"
)


class ParquetArchive:
    def __init__(self, place: Location) -> None:
        self.url = place.shown
        self._folder = place.folder if place.scheme == "file" else None
        self._bucket = Bucket(place) if place.scheme == "s3" else None
        if self._folder:
            files.make_folder(self._folder)
        self._ledger = Ledger(connect_checkpoint(place.below("_manifest")))

    def write(self, path: str, table: pa.Table) -> FileStats:
        """Durable on return. The same rows under the same path give the same bytes: a retry changes nothing."""
        name = _checked(path)
        body = io.BytesIO()
        pq.write_table(table, body, compression="zstd", write_statistics=True)
        data = body.getvalue()
        if self._folder:
            files.write(self._folder / name, data)
        elif self._bucket:
            self._bucket.put(name, data)
        return FileStats(len(data), hashlib.sha256(data).hexdigest(), table.num_rows)

    def read(self, path: str, columns: Sequence[str] | None = None, entry: ArchivedFile | None = None) -> pa.Table:
        """The rows of a file, checked against its manifest entry when that is given."""
        data = self._bytes(_checked(path))
        if entry is not None:
            if len(data) != entry.bytes:
                raise Unreadable(path, f"it has {len(data)} bytes, the manifest says {entry.bytes}", _REMEDY)
            if hashlib.sha256(data).hexdigest() != entry.sha256:
                raise Unreadable(path, "its checksum is not that of the manifest", _REMEDY)
        try:
            table = pq.ParquetFile(io.BytesIO(data)).read(columns=None if columns is None else list(columns))
        except (pa.ArrowException, OSError) as error:
            raise Unreadable(path, f"it is no whole Parquet file ({str(error).splitlines()[0]})", _REMEDY) from error
        missing = set(columns or ()) - set(table.column_names)
        if missing:
            raise Unreadable(path, f"it has no column {', '.join(sorted(missing))}", _REMEDY)
        return table

    def committed(self) -> Committed:
        return self._ledger.committed()

    def manifest(self, start_ms: int | None = None, end_ms: int | None = None) -> Manifest:
        return self._ledger.manifest(start_ms, end_ms)

    def commit(
        self,
        version: str | None,
        add: Sequence[ArchivedFile],
        positions: Mapping[str, Mapping[str, str]],
        remove: Sequence[str] = (),
    ) -> str:
        return self._ledger.commit(version, add, positions, remove)

    def close(self) -> None:
        if self._bucket:
            self._bucket.close()
        self._ledger.close()

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
    """The path, if it stays within the archive and apart from its manifest."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or parts[0].startswith("_") or "\0" in path:
        raise ValueError(f"{path!r} is no path of the archive")
    return path
