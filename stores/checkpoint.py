"""Where the pipeline keeps how far it has come: a folder, a bucket or Redis, all by compare-and-swap.

A checkpoint in a folder, safe between processes and across a power cut.

A value is one file: a line with its version, then the bytes. A swap holds an exclusive lock on a lock file of
its own while it reads the version, writes a new file aside, syncs it, renames it over the old and syncs the
folder: a reader, who takes no lock, sees the old file or the new one. Versions are random, so a value deleted
and written again never has a version that somebody still remembers.

A checkpoint in a bucket, by conditional writes: no lock, no clock, any number of functions.

A checkpoint in Redis. It is as durable as that Redis is: use one with `appendfsync always`, or a replica.

A value is a hash with its version and bytes, swapped by a script, which Redis runs alone; a segment is a string.
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
from stores.backends import Bucket, Connection, Location, parse_url
from stores.base import Checkpoint, Lost, Unreadable, Unusable

__all__ = ["connect_checkpoint"]

_NAME = re.compile(r"[A-Za-z0-9._=-]+(/[A-Za-z0-9._=-]+)*")


def connect_checkpoint(url: str) -> Checkpoint:
    """`file:///path` or a plain path, `s3://bucket/prefix[?endpoint=URL]`, `redis://host:port/db[?prefix=]`."""
    place = parse_url(url)
    match place.scheme:
        case "file":

            return FolderCheckpoint(place.folder)
        case "s3":

            return S3Checkpoint(place)
        case "redis" | "rediss":

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


_LOCK = ".lock"


class FolderCheckpoint:
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
        version = secrets.token_hex(8)
        with self._locked():
            found = self.load(name)
            if (found[1] if found else None) != expected:
                raise Lost(f"{name} was written by another process since it was read: load it again")
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
        new = aside(name)
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
        """Nothing is held open between calls."""

    @contextmanager
    def _locked(self) -> Iterator[None]:
        backends.make_folder(self._folder)  # it may have been deleted under us, which loses the values, not the store
        handle = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


class S3Checkpoint:
    """A value is one object: a line that no other write has, then the bytes. Its version is the ETag."""

    def __init__(self, place: Location) -> None:
        self._bucket = Bucket(place)
        self.url = place.shown

    def load(self, name: str) -> tuple[bytes, str] | None:
        found = self._bucket.get(checked(name))
        if found is None:
            return None
        stored, version = found
        return stored.partition(b"\n")[2], version

    def swap(self, name: str, value: bytes, expected: str | None) -> str:
        return self._bucket.swap(checked(name), secrets.token_hex(8).encode() + b"\n" + value, expected)

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
        new, found = aside(name), self._bucket.get(name)
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


class RedisCheckpoint:
    def __init__(self, url: str) -> None:
        self._redis = Connection(url)
        self.url = self._redis.shown
        self._values = f"{self._redis.prefix}checkpoint:value:"
        self._segments = f"{self._redis.prefix}checkpoint:segment:"
        self._swap = self._redis.client.register_script(_SWAP)

    def load(self, name: str) -> tuple[bytes, str] | None:
        with self._redis.speaking() as redis:
            version, value = redis.hmget(self._values + checked(name), "version", "value")
        return None if version is None else (value, version.decode())

    def swap(self, name: str, value: bytes, expected: str | None) -> str:
        version = secrets.token_hex(8)
        with self._redis.speaking():
            won = self._swap(keys=[self._values + checked(name)], args=[expected or "", version, value])
        if not won:
            raise Lost(f"{name} was written by another process since it was read: load it again")
        return version

    def put(self, name: str, data: bytes) -> None:
        with self._redis.speaking() as redis:
            redis.set(self._segments + checked(name), data)

    def get(self, name: str) -> bytes:
        with self._redis.speaking() as redis:
            data: bytes | None = redis.get(self._segments + checked(name))
        if data is None:
            raise Unreadable(
                f"{self.url} {name}", "the segment is missing", "put it back from a copy, or start over with a replay"
            )
        return data

    def delete(self, name: str) -> None:
        with self._redis.speaking() as redis:
            redis.delete(self._values + checked(name), self._segments + checked(name))

    def set_aside(self, name: str) -> str:
        new = aside(name)
        with self._redis.speaking() as redis:
            for kind in (self._values, self._segments):
                if redis.exists(kind + name):
                    redis.rename(kind + name, kind + new)
        return new

    def names(self, prefix: str = "") -> list[str]:
        found = set()
        with self._redis.speaking() as redis:
            for kind in (self._values, self._segments):
                pattern = "".join(f"[{c}]" if c in "*?[\\" else c for c in kind + prefix) + "*"
                found |= {key.decode().removeprefix(kind) for key in redis.scan_iter(pattern, count=1000)}
        return sorted(found)

    def close(self) -> None:
        self._redis.close()
