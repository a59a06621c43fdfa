"""A checkpoint in a bucket, by conditional writes: no lock, no clock, any number of functions."""

from __future__ import annotations

import secrets

from stores.base import Unreadable
from stores.checkpoint import aside, checked
from stores.location import Location
from stores.s3_client import Bucket


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
