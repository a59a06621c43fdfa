"""Stores, interchangeable by URL: the warehouse, the archive, the checkpoint and the live state.

Each connector imports its adapter only when a URL asks for it, so that a function that writes to S3 never
loads the embedded engine, and a laptop never loads the clients of S3 or Redis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stores.archive import ParquetArchive
    from stores.base import CheckpointStore, Live
    from stores.warehouse import Warehouse


def connect_warehouse(url: str) -> Warehouse:
    """`chdb:///folder`, `chdb://` (thrown away on close) or `clickhouse://user:password@host:8123/database`."""
    from stores.warehouse import Warehouse

    return Warehouse(url)


def connect_checkpoint(url: str) -> CheckpointStore:
    """`file:///folder` or a plain path, `s3://bucket/prefix`, `redis://host:port/db`."""
    from stores import checkpoint

    return checkpoint.connect_checkpoint(url)


def connect_archive(url: str) -> ParquetArchive:
    """`file:///folder` or a plain path, `s3://bucket/prefix`."""
    from stores import archive

    return archive.connect_archive(url)


def connect_live(url: str) -> Live:
    """`file:///folder` or a plain path for one process, `redis://host:port/db[?prefix=]` for several.

    Raises `Unusable` for any other URL or option."""
    from stores.backends import parse_location
    from stores.base import Unusable

    place = parse_location(url)
    match place.scheme:
        case "file":
            from stores.live import FolderLive

            return FolderLive(place)
        case "redis" | "rediss":
            from stores.live_redis import RedisLive

            return RedisLive(url)
    raise Unusable(f"{place.safe_url}: the live store is a folder (file:///path) or redis://host:6379/0")
