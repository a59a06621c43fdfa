"""The archive: every event as it was published, in Parquet files that anything can read.

Files lie in Hive's layout by site, type and hour of receipt, `site=S/type=T/date=YYYY-MM-DD/hour=HH/NAME.parquet`,
compressed with zstd. What counts is what the manifest names: a file without an entry is the rest of a flush that
was broken off, and the next flush writes it again.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from urllib.parse import quote

import polars as pl

from activity import columns
from stores.base import Archive, Unusable
from stores.location import parse

__all__ = ["COLUMNS", "connect_archive", "file_path"]

# Of an event as it was published, and where in the log it lies.
COLUMNS: dict[str, pl.DataType] = {
    **columns.COLUMNS,
    "topic": pl.String(),
    "partition": pl.Int32(),
    "position": pl.String(),
    "published_at": pl.Int64(),
}


def connect_archive(url: str) -> Archive:
    """`file:///folder` or a plain path, `s3://bucket/prefix[?endpoint=URL&region=]`."""
    place = parse(url)
    if place.scheme not in ("file", "s3"):
        raise Unusable(f"{place.shown}: an archive lies in a folder (file:///path) or in s3://bucket/prefix")
    from stores.archive.parquet import ParquetArchive

    return ParquetArchive(place)


def file_path(site: str, kind: str, received_at: int, unit: str, ranges: str) -> str:
    """Where the events of one site, type and hour of a flush lie: the same flush has the same name.

    `received_at` is any moment of the hour, `ranges` a text that says which records the unit's flush takes."""
    hour = datetime.fromtimestamp(received_at / 1000, UTC)
    name = hashlib.sha256(ranges.encode()).hexdigest()[:16]
    return f"site={quote(site, safe='')}/type={kind}/date={hour:%Y-%m-%d}/hour={hour:%H}/{unit}-{name}.parquet"
