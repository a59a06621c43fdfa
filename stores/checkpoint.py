"""The checkpoint stores: values changed by compare-and-swap, and segments, in a folder, a bucket or Redis.

Folder. It is safe between processes and across a power cut. A value is one file: a line with its version, then the
bytes. A swap holds an exclusive lock on a lock file of its own while it reads the version, writes a new file aside,
syncs it, renames it over the old one and syncs the folder. A reader takes no lock, and sees the old file or the new
one. Versions are random, so when a value is deleted and written again, no process remembers its version by accident.

Bucket. Conditional writes do the swap, without a lock or a clock, for any number of functions. A value is one object:
a line that no other write has, then the bytes. Its version is the ETag.

Redis. A value is a hash with its version and bytes, swapped by a script, which Redis runs alone; a segment is a
string. The checkpoint is as durable as that Redis: use one with `appendfsync always`, or a replica.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stores import backends
from stores.backends import Bucket, Location, RedisConnection, parse_location
from stores.base import CheckpointStore, Conflict, Unreadable, Unusable

__all__ = ["connect_checkpoint"]

_NAME = re.compile(r"[A-Za-z0-9._=-]+(/[A-Za-z0-9._=-]+)*")


def connect_checkpoint(url: str) -> CheckpointStore:
    """`file:///path` or a plain path, `s3://bucket/prefix[?endpoint=URL]`, `redis://host:port/db[?prefix=]`.

    Raises `Unusable` for any other URL, or one that cannot be opened."""
    place = parse_location(url)
    match place.scheme:
        case "file":
            return FolderCheckpointStore(place.folder)
        case "s3":
            return S3CheckpointStore(place)
        case "redis" | "rediss":
            return RedisCheckpointStore(url)
    raise Unusable(f"{place.safe_url}: a checkpoint lies in a folder (file:///path), s3://bucket/prefix or redis://host")


def damaged_name(name: str) -> str:
    """A name for a damaged value or segment, which was called `name` until now."""
    return f"damaged/{checked(name)}-{secrets.token_hex(4)}"


def checked(name: str) -> str:
    """The name. Raises ValueError when it is none: it becomes a path, and must not lead out of the folder."""
    if not _NAME.fullmatch(name) or ".." in name.split("/") or "." in name.split("/"):
        raise ValueError(f"{name!r} is no name: letters, digits and . _ = - with / between, no . or .. alone")
    return name


def _conflict(name: str) -> Conflict:
    return Conflict(f"{name} was written by another process since it was read: load it again")


_LOCK = ".lock"


class FolderCheckpointStore:
    """A `CheckpointStore` in a folder, see the module."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = str(folder)
        backends.make_folder(folder)

    def load(self, name: str) -> tuple[bytes, str] | None:
        try:
            stored = (self._folder / checked(name)).read_bytes()
        except FileNotFoundError:
            return None
        version, separator, value = stored.partition(b"\n")
        if not separator:
            raise Unreadable(name, "it has no version line", "put back the file from a copy, or replay")
        return value, version.decode("ascii", "replace")

    def swap(self, name: str, value: bytes, expected: str | None) -> str:
        with self._locked():
            found = self.load(name)
            if (found[1] if found else None) != expected:
                raise _conflict(name)
            return self._write(name, value)

    def mend(self, name: str, value: bytes, version: str | None) -> str:
        with self._locked():
            try:
                found = self.load(name)
            except Unreadable:
                found = b"", ""
            if found is None or found[1] != (version or ""):
                raise _conflict(name)
            self.put(damaged_name(name), (self._folder / name).read_bytes())
            return self._write(name, value)

    def _write(self, name: str, value: bytes) -> str:
        version = secrets.token_hex(8)
        backends.write_file(self._folder / name, version.encode() + b"\n" + value)
        return version

    def put(self, name: str, data: bytes) -> None:
        backends.write_file(self._folder / checked(name), data)

    def get(self, name: str) -> bytes:
        try:
            return (self._folder / checked(name)).read_bytes()
        except FileNotFoundError:
            raise Unreadable(
                str(self._folder / name), "the segment is missing", "put the file back, or start over with a replay"
            ) from None

    def delete(self, name: str) -> None:
        path = self._folder / checked(name)
        with self._locked():
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                backends.sync_folder(path.parent)

    def set_aside(self, name: str) -> str:
        new = damaged_name(name)
        with self._locked():
            path = self._folder / name
            if path.exists():
                backends.make_folder((self._folder / new).parent)
                path.rename(self._folder / new)
                backends.sync_folder((self._folder / new).parent)
                backends.sync_folder(path.parent)
        return new

    def names(self, prefix: str = "") -> list[str]:
        found = (path.relative_to(self._folder).as_posix() for path in self._folder.rglob("*") if path.is_file())
        return sorted(
            name for name in found if name.startswith(prefix) and name != _LOCK and not backends.is_partial(name)
        )

    def close(self) -> None:
        """Nothing is open between calls."""

    @contextmanager
    def _locked(self) -> Iterator[None]:
        backends.make_folder(self._folder)  # if it was deleted meanwhile, the values are lost and the store works on
        handle = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


class S3CheckpointStore:
    """A `CheckpointStore` in a bucket, see the module."""

    def __init__(self, place: Location) -> None:
        self._bucket = Bucket(place)
        self.url = place.safe_url

    def load(self, name: str) -> tuple[bytes, str] | None:
        found = self._bucket.get(checked(name))
        if found is None:
            return None
        stored, version = found
        return stored.partition(b"\n")[2], version

    def swap(self, name: str, value: bytes, expected: str | None) -> str:
        return self._bucket.swap(checked(name), secrets.token_hex(8).encode() + b"\n" + value, expected)

    def mend(self, name: str, value: bytes, version: str | None) -> str:
        if (found := self._bucket.get(checked(name))) is not None:
            self._bucket.put(damaged_name(name), found[0])
        return self.swap(name, value, version)

    def put(self, name: str, data: bytes) -> None:
        self._bucket.put(checked(name), data)

    def get(self, name: str) -> bytes:
        found = self._bucket.get(checked(name))
        if found is None:
            raise Unreadable(
                f"{self.url} {name}", "the segment is missing", "put the object back, or start over with a replay"
            )
        return found[0]

    def delete(self, name: str) -> None:
        self._bucket.delete(checked(name))

    def set_aside(self, name: str) -> str:
        new, found = damaged_name(name), self._bucket.get(name)
        if found is not None:
            self._bucket.put(new, found[0])
            self._bucket.delete(name)
        return new

    def names(self, prefix: str = "") -> list[str]:
        return self._bucket.keys(prefix)

    def close(self) -> None:
        self._bucket.close()


_SWAP = """
local version = redis.call('HGET', KEYS[1], 'version') or ''
if version ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'value', ARGV[3])
return 1
"""


class RedisCheckpointStore:
    """A `CheckpointStore` in Redis, see the module."""

    def __init__(self, url: str) -> None:
        self._redis = RedisConnection(url)
        self.url = self._redis.safe_url
        self._values = f"{self._redis.prefix}checkpoint:value:"
        self._segments = f"{self._redis.prefix}checkpoint:segment:"
        self._swap = self._redis.client.register_script(_SWAP)

    def load(self, name: str) -> tuple[bytes, str] | None:
        with self._redis.connected() as redis:
            version, value = redis.hmget(self._values + checked(name), "version", "value")
        return None if version is None else (value, version.decode())

    def swap(self, name: str, value: bytes, expected: str | None) -> str:
        version = secrets.token_hex(8)
        with self._redis.connected():
            won = self._swap(keys=[self._values + checked(name)], args=[expected or "", version, value])
        if not won:
            raise _conflict(name)
        return version

    def mend(self, name: str, value: bytes, version: str | None) -> str:
        with self._redis.connected() as redis:
            if redis.exists(self._values + checked(name)):
                redis.copy(self._values + name, self._values + damaged_name(name))
        return self.swap(name, value, version)

    def put(self, name: str, data: bytes) -> None:
        with self._redis.connected() as redis:
            redis.set(self._segments + checked(name), data)

    def get(self, name: str) -> bytes:
        with self._redis.connected() as redis:
            data: bytes | None = redis.get(self._segments + checked(name))
        if data is None:
            raise Unreadable(
                f"{self.url} {name}", "the segment is missing", "put it back from a copy, or start over with a replay"
            )
        return data

    def delete(self, name: str) -> None:
        with self._redis.connected() as redis:
            redis.delete(self._values + checked(name), self._segments + checked(name))

    def set_aside(self, name: str) -> str:
        new = damaged_name(name)
        with self._redis.connected() as redis:
            for kind in (self._values, self._segments):
                if redis.exists(kind + name):
                    redis.rename(kind + name, kind + new)
        return new

    def names(self, prefix: str = "") -> list[str]:
        found = set()
        with self._redis.connected() as redis:
            for kind in (self._values, self._segments):
                pattern = "".join(f"[{c}]" if c in "*?[\\" else c for c in kind + prefix) + "*"
                found |= {key.decode().removeprefix(kind) for key in redis.scan_iter(pattern, count=1000)}
        return sorted(found)

    def close(self) -> None:
        self._redis.close()
