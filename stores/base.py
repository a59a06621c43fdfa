"""What every store promises, and what it may say when it cannot.

Four families of stores, each reached by URL: the warehouse (`warehouse.Warehouse`: one client, server or
embedded), and the three protocols below, each with interchangeable adapters. Every error says what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol


class StoreError(Exception):
    """Base of what a store can say."""


class Unusable(StoreError):
    """The store cannot be opened as asked: the message names the URL (credentials hidden) and what to do."""


class Lost(StoreError):
    """A compare-and-swap was lost: another process wrote first. Load again and decide again."""


class QueryRefused(StoreError):
    """A statement of a reader is not run; the message says which part of it, and what is allowed."""


class Unreadable(StoreError):
    """A stored file cannot be trusted: which one, why, and what to do about it."""

    def __init__(self, path: str, why: str, remedy: str) -> None:
        super().__init__(f"{path}: {why}; {remedy}")
        self.path = path
        self.why = why
        self.remedy = remedy


class Checkpoint(Protocol):
    """Small values that change by compare-and-swap, and immutable segments that they name.

    Names are relative paths of `[A-Za-z0-9._=-]` separated by `/`. Every write is durable on return."""

    url: str

    def load(self, name: str) -> tuple[bytes, str] | None:
        """The value and its version, None when there is none."""

    def swap(self, name: str, value: bytes, expected: str | None) -> str:
        """Write if the version is still `expected` (None: if there is none); the new version.

        Raises `Lost` when another won. A version is never used again for another value."""

    def put(self, name: str, data: bytes) -> None:
        """Write a segment. A second `put` of a name is taken for a retry of the same bytes."""

    def get(self, name: str) -> bytes:
        """The segment's bytes. Raises `Unreadable` when it is missing."""

    def delete(self, name: str) -> None:
        """Remove a segment or a value; nothing happens when there is none."""

    def names(self, prefix: str = "") -> list[str]:
        """All names that begin with `prefix`, sorted; segments and values alike."""

    def close(self) -> None: ...


class Live(Protocol):
    """What must be quick and may be forgotten: door dedupe, rate limits, presence; and what must be kept:
    the day's salt for its 48 hours, a site's import key for good. Times are milliseconds given by the caller."""

    url: str

    def salt(self, day: str) -> bytes:
        """16 random bytes of a UTC day `YYYY-MM-DD`, the same for every process; gone after 48 hours."""

    def import_key(self, site: str) -> bytes:
        """16 random bytes of a site, kept."""

    def seen(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """What was remembered under each key in the last 24 hours."""

    def remember(self, items: Mapping[bytes, bytes]) -> None: ...

    def touch(self, site: str, visitor: str, path: str, at_ms: int) -> None:
        """A visitor was active; `path` is that of a page view, empty otherwise."""

    def touch_many(self, touches: Iterable[tuple[str, str, str, int]]) -> None: ...

    def last_active(self, site: str, visitor: str) -> int | None:
        """When the visitor was last active, None when that is over an hour ago or unknown."""

    def current(self, site: str, now_ms: int) -> int:
        """Distinct visitors of the last five minutes."""

    def top_pages(self, site: str, now_ms: int, minutes: int) -> list[tuple[str, int]]:
        """The ten pages most viewed in the last `minutes` (at most 30), most viewed first."""

    def allow(self, key: str, limit: str) -> bool:
        """Take one of what `limit` allows, in the words of the `limits` library, as in `600/minute`."""

    def close(self) -> None: ...
