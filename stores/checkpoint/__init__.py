"""Where the pipeline keeps how far it has come: a folder, a bucket or Redis, all by compare-and-swap."""

from __future__ import annotations

import re
import secrets

from stores.base import Checkpoint, Unusable
from stores.location import parse

__all__ = ["connect_checkpoint"]

_NAME = re.compile(r"[A-Za-z0-9._=-]+(/[A-Za-z0-9._=-]+)*")


def connect_checkpoint(url: str) -> Checkpoint:
    """`file:///path` or a plain path, `s3://bucket/prefix[?endpoint=URL]`, `redis://host:port/db[?prefix=]`."""
    place = parse(url)
    match place.scheme:
        case "file":
            from stores.checkpoint.folder import FolderCheckpoint

            return FolderCheckpoint(place.folder)
        case "s3":
            from stores.checkpoint.s3 import S3Checkpoint

            return S3Checkpoint(place)
        case "redis" | "rediss":
            from stores.checkpoint.redis import RedisCheckpoint

            return RedisCheckpoint(url)
    raise Unusable(f"{place.shown}: a checkpoint lies in a folder (file:///path), s3://bucket/prefix or redis://host")


def aside(name: str) -> str:
    """What a damaged value or segment is called from then on."""
    return f"damaged/{checked(name)}-{secrets.token_hex(4)}"


def checked(name: str) -> str:
    """The name, if it is one: it becomes a path, so nothing in it may climb out of the folder."""
    if not _NAME.fullmatch(name) or ".." in name.split("/") or "." in name.split("/"):
        raise ValueError(f"{name!r} is no name: letters, digits and . _ = - with / between, no . or .. alone")
    return name
