"""What every store promises, and the errors that it may raise.

There are four families of stores, each reached by URL: the warehouse (`warehouse.Warehouse`: one client, for a server
or the embedded engine), and the three protocols below, each with interchangeable adapters. The message of every error
says what to do.

Times are milliseconds since the epoch, and spans are half open: [start, end).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

# topic -> partition -> the last position taken, as the broker writes it
Positions = dict[str, dict[str, str]]


class StoreError(Exception):
    """Base of the errors that a store raises."""


class Unusable(StoreError):
    """The store cannot be opened as requested: the message names the URL (credentials hidden) and what to do."""


class StoreUnreachable(StoreError):
    """The store does not answer: retry, or look at the URL in the message (credentials hidden)."""


class Conflict(StoreError):
    """A compare-and-swap failed because another process wrote first: load again and decide again."""


class QueryFailed(StoreError):
    """The engine broke off a statement; the message is the engine's own first line."""


class QueryRefused(StoreError):
    """A user's statement is not run; the message says which part of it, and what is allowed.

    `name` is what ClickHouse calls such an error, where the message is not the engine's own."""

    def __init__(self, message: str, name: str = "ACCESS_DENIED") -> None:
        super().__init__(message)
        self.name = name


class BrokenRows(StoreError):
    """Stored rows cannot be read, because a file of theirs changed or is cut off. A replay of their days mends it."""


class TooManyQueries(StoreError):
    """As many users' statements are running and waiting as may: try again later."""


class Unreadable(StoreError):
    """A stored file cannot be trusted: the message says which one, why, and what to do about it."""

    def __init__(self, path: str, why: str, remedy: str) -> None:
        super().__init__(f"{path}: {why}; {remedy}")
        self.path = path
        self.why = why
        self.remedy = remedy


class CheckpointStore(Protocol):
    """Small values that change by compare-and-swap, and immutable segments that the values name.

    Names are relative paths of `[A-Za-z0-9._=-]` separated by `/`; ValueError for any other. Every write is durable on
    return. Every method raises `StoreUnreachable` when the store does not answer."""

    url: str

    def load(self, name: str) -> tuple[bytes, str] | None:
        """The value and its version, None when there is none. Raises `Unreadable` when it is damaged."""

    def swap(self, name: str, value: bytes, expected: str | None) -> str:
        """Write a value if its version is still `expected` (None: if there is none); returns the new version.

        Raises `Conflict` when another process won. A version is never used again for another value."""

    def mend(self, name: str, value: bytes, version: str | None) -> str:
        """Write a value in the place of a damaged one, as one step: at no moment is there none; returns its version.

        `version` is that of the damaged one, None when `load` raised `Unreadable`; its bytes are kept in `damaged/`.
        Raises `Conflict` when another process has written it since."""

    def put(self, name: str, data: bytes) -> None:
        """Write a segment. A second `put` of a name has to be a retry with the same bytes."""

    def get(self, name: str) -> bytes:
        """The bytes of a segment. Raises `Unreadable` when it is missing."""

    def delete(self, name: str) -> None:
        """Delete a segment or a value, if there is one."""

    def set_aside(self, name: str) -> str:
        """Rename a damaged value or segment, if there is one, so that it no longer counts and can be looked at.

        Returns the new name, which begins with `damaged/`."""

    def names(self, prefix: str = "") -> list[str]:
        """The names of all segments and values that begin with `prefix`, sorted."""

    def close(self) -> None:
        """Close the connections of the store."""


class FileStats(NamedTuple):
    """What a written file amounts to: bytes, SHA-256 in hexadecimal, rows."""

    bytes: int
    sha256: str
    rows: int


class ArchivedFile(msgspec.Struct, frozen=True):
    """The entry of a file in the archive's manifest; `date` (YYYY-MM-DD) and `hour` are those of receipt, in UTC."""

    path: str
    site: str
    type: str
    date: str
    hour: int
    unit: str
    rows: int
    bytes: int
    sha256: str
    min_occurred_at: int
    max_occurred_at: int
    min_received_at: int
    max_received_at: int


class Committed(NamedTuple):
    """The positions up to which the archive reaches; `version` is None when nothing was ever committed."""

    positions: Positions
    version: str | None


class Amount(NamedTuple):
    """How many files count, and how many events are in them."""

    files: int
    events: int


class Manifest(NamedTuple):
    """Entries of the manifest, by path, and the positions and version of the manifest that they are from."""

    entries: list[ArchivedFile]
    positions: Positions
    version: str | None


class Archive(Protocol):
    """Immutable Parquet files, and the manifest that says which of them count.

    Every method raises `StoreUnreachable` when the store does not answer."""

    url: str

    def write(self, path: str, table: pa.Table) -> FileStats:
        """Write a file, durably on return. It counts once a commit names it."""

    def read(self, path: str, columns: Sequence[str] | None = None, entry: ArchivedFile | None = None) -> pl.DataFrame:
        """The rows of a file, of these columns or all. With its entry, size and checksum are verified.

        Raises `Unreadable` when the file is missing, damaged, or lacks a column."""

    def committed(self) -> Committed:
        """The positions up to which everything is archived: where the next flush goes on."""

    def amount(self) -> Amount:
        """How much is archived, at the cost of reading one small object. Raises `Unreadable` when it is damaged."""

    def manifest(self, start_ms: int | None = None, end_ms: int | None = None) -> Manifest:
        """The entries of files with events that occurred in [start, end); of all files without bounds.

        Raises `Unreadable` when the manifest is damaged."""

    def newest(self, count: int) -> list[ArchivedFile]:
        """The entries of the files of the last hours of receipt, at most `count`, the latest hour first.

        Raises `Unreadable` when the manifest is damaged."""

    def received(self, start_ms: int, end_ms: int) -> Manifest:
        """The entries of files whose hour of receipt begins in [start, end). Raises as `manifest`."""

    def sizes(self, folder: str) -> dict[str, int]:
        """The files that there are in a folder of the archive, by path, with their bytes; some may not count."""

    def of_site(self, site: str) -> list[str]:
        """The paths of all files of a site, whether they count or not, and of those whose writing was broken off."""

    def commit(
        self,
        version: str | None,
        add: Sequence[ArchivedFile],
        positions: Mapping[str, Mapping[str, str]],
        remove: Sequence[str] = (),
    ) -> str:
        """Add files (one of the same path is replaced), remove others and move to `positions`, all as one.

        `version` is that of what was read before; returns the new one. Raises `Conflict` when another process
        committed since."""

    def delete(self, path: str) -> None:
        """Delete a file, if there is one, durably on return. No commit may name it."""

    def close(self) -> None:
        """Close the connections of the store."""


class Live(Protocol):
    """What has to be quick and may be forgotten: ids seen lately, shared counters, active visitors; and secrets that
    are kept: the salt of a day for its 48 hours, the import key of a site for good.

    Callers give the time, in ms. When the store is on another machine and does not answer, each method answers by what
    this process knows itself, except where it says otherwise."""

    url: str
    waits: bool
    """Whether a method may wait for another machine, half a second at most: then an event loop must not call it."""

    @property
    def problem(self) -> str:
        """Why the store is away and this process goes on alone, "" while all is well."""

    def salt(self, day: str) -> bytes:
        """16 random bytes of a UTC day `YYYY-MM-DD`, the same for every process; gone after 48 hours.

        While the store is away these are bytes of this process, which it proposes to the others afterwards. Raises
        ValueError for what is no day."""

    def import_key(self, site: str) -> bytes:
        """16 random bytes of a site, kept for good.

        Raises `StoreUnreachable` while the store is away and this process does not know them, `Unreadable` when the
        file is damaged."""

    def seen(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """What was remembered under each key in the last 24 hours, less long after a great many; None for unknown."""

    def remember(self, items: Mapping[bytes, bytes]) -> None:
        """Remember a value under each key."""

    def touch_many(self, touches: Iterable[tuple[str, str, int]]) -> None:
        """Note that visitors were active: site, visitor, time in ms."""

    def last_active(self, site: str, visitor: str) -> int | None:
        """When the visitor was last active, in ms; None when that is over an hour ago or unknown.

        Raises `StoreUnreachable` while the store is away and this process has not seen the visitor since."""

    def current(self, site: str, now_ms: int) -> int:
        """How many distinct visitors were active in the last five minutes."""

    def forget(self, site: str, visitors: Sequence[str]) -> None:
        """Let these visitors not count as active any more.

        Raises `StoreUnreachable` while the store is away."""

    def add_up(self, counts: Sequence[tuple[str, int, int]]) -> list[int] | None:
        """Add to counters that all processes share; returns the totals, or None when they cannot be shared now.

        Each of `counts` is a name, how many to add, and the seconds that the counter lives."""

    def close(self) -> None:
        """Close the connections of the store."""
