"""What every store promises, and what it may say when it cannot.

Four families of stores, each reached by URL: the warehouse (`warehouse.Warehouse`: one client, server or
embedded), and the three protocols below, each with interchangeable adapters. Every error says what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    import pyarrow as pa

# topic -> partition -> the last position taken, as the broker writes it
Positions = dict[str, dict[str, str]]


class StoreError(Exception):
    """Base of what a store can say."""


class Unusable(StoreError):
    """The store cannot be opened as asked: the message names the URL (credentials hidden) and what to do."""


class Unreachable(StoreError):
    """Nobody answers: retry, or look at the URL named in the message (credentials hidden)."""


class Lost(StoreError):
    """A compare-and-swap was lost: another process wrote first. Load again and decide again."""


class QueryFailed(StoreError):
    """The engine broke off a statement of ours; the message is the engine's own first line."""


class QueryRefused(StoreError):
    """A statement of a reader is not run; the message says which part of it, and what is allowed."""


class BrokenRows(StoreError):
    """Stored rows cannot be read, because a file of theirs changed or is cut off: a replay of their days mends it."""


class ReadersBusy(StoreError):
    """As many statements of readers are running and waiting as may: ask again later."""


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

    def set_aside(self, name: str) -> str:
        """Rename a value or segment that cannot be trusted, so that it counts no more and can be looked at.

        The new name, which begins with `damaged/`; nothing happens when there is none."""

    def names(self, prefix: str = "") -> list[str]:
        """All names that begin with `prefix`, sorted; segments and values alike."""

    def close(self) -> None: ...


class FileStats(NamedTuple):
    bytes: int
    sha256: str
    rows: int


class ArchivedFile(msgspec.Struct, frozen=True):
    """One file of the archive as its manifest has it; `date` and `hour` are those of receipt, in UTC."""

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
    """How far the archive reaches; `version` None: nothing was ever committed."""

    positions: Positions
    version: str | None


class Manifest(NamedTuple):
    entries: list[ArchivedFile]
    positions: Positions
    version: str | None


class Archive(Protocol):
    """Immutable Parquet files, and the manifest that says which of them count."""

    url: str

    def write(self, path: str, table: pa.Table) -> FileStats:
        """Write a file, durably; it counts from the commit on that names it."""

    def read(self, path: str, columns: Sequence[str] | None = None, entry: ArchivedFile | None = None) -> pa.Table:
        """The rows of a file. Raises `Unreadable`; with its manifest entry, also when a byte of it changed."""

    def committed(self) -> Committed:
        """The positions up to which everything is archived: what a flush goes on from."""

    def manifest(self, start_ms: int | None = None, end_ms: int | None = None) -> Manifest:
        """The files that hold events which occurred in [start, end), by path; all without bounds."""

    def commit(
        self,
        version: str | None,
        add: Sequence[ArchivedFile],
        positions: Mapping[str, Mapping[str, str]],
        remove: Sequence[str] = (),
    ) -> str:
        """Add files (one of the same path is replaced), remove others and move to `positions`, all as one.

        `version` is that of what was read before; raises `Lost` when another committed since. The new version."""

    def close(self) -> None: ...


class Live(Protocol):
    """What must be quick and may be forgotten: ids taken lately, shared counters, presence; and what must be kept:
    the day's salt for its 48 hours, a site's import key for good. Times are milliseconds given by the caller.

    A store that lies on another machine may be gone. Then each method answers by what this process knows itself,
    except where it says otherwise."""

    url: str
    waits: bool
    """Whether a method may wait for another machine, half a second at most: not for an event loop to call."""

    @property
    def problem(self) -> str:
        """Why the store is away and this process alone, "" while all is well."""

    def salt(self, day: str) -> bytes:
        """16 random bytes of a UTC day `YYYY-MM-DD`, the same for every process; gone after 48 hours.

        While the store is away, bytes of this process's own, which it proposes to the others afterwards."""

    def import_key(self, site: str) -> bytes:
        """16 random bytes of a site, kept. Raises `Unreachable` while the store is away and they are not known."""

    def seen(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """What was remembered under each key lately: up to 24 hours ago, less after a great many."""

    def remember(self, items: Mapping[bytes, bytes]) -> None: ...

    def touch(self, site: str, visitor: str, path: str, at_ms: int) -> None:
        """A visitor was active; `path` is that of a page view, empty otherwise."""

    def touch_many(self, touches: Iterable[tuple[str, str, str, int]]) -> None: ...

    def last_active(self, site: str, visitor: str) -> int | None:
        """When the visitor was last active, None when that is over an hour ago or unknown.

        Raises `Unreachable` while the store is away and this process has not seen the visitor since."""

    def current(self, site: str, now_ms: int) -> int:
        """Distinct visitors of the last five minutes."""

    def top_pages(self, site: str, now_ms: int, minutes: int) -> list[tuple[str, int]]:
        """The ten pages most viewed in the last `minutes` (at most 30), most viewed first."""

    def add_up(self, counts: Sequence[tuple[str, int, int]]) -> list[int] | None:
        """Add to counters that all processes share, (name, how many, seconds that it counts), and return the totals;
        None when they cannot be shared now."""

    def close(self) -> None: ...
