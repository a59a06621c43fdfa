"""What the process around the dashboards tells about its own work: the loader, the broker, storage and chores.

The process makes an `Operation` for each request, from what it has at hand. What it does not do itself is None: a
process that only shows pages has no loader. Times are Unix milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Loading:
    """How far the loader is. `lag_seconds`: what was published longer ago than this is in the numbers.

    `waiting` counts the records that are not loaded yet; None if the broker's positions cannot be subtracted. `oldest`
    is when the first of them was published, None if none waits. The other numbers count since the start."""

    lag_seconds: float
    waiting: int | None
    oldest: int | None
    events: int
    duplicates: int
    late: int
    dead_letters: int


@dataclass(frozen=True)
class PartitionState:
    """Positions of one partition as the broker writes them; `committed` is that of the loader. None: there is none."""

    number: int
    committed: str | None
    end: str | None
    waiting: int | None  # records; None if that cannot be counted, or nobody loads this topic


@dataclass(frozen=True)
class TopicState:
    """One topic; `retention_ms` is -1 if the broker keeps its records for ever."""

    name: str
    retention_ms: int
    partitions: tuple[PartitionState, ...]


@dataclass(frozen=True)
class BrokerState:
    """The broker with its topics; `trouble` is why they are not known."""

    url: str
    topics: tuple[TopicState, ...] = ()
    trouble: str = ""


@dataclass(frozen=True)
class Disk:
    """A file system that holds some of our folders."""

    path: str
    free_bytes: int
    total_bytes: int

    @property
    def free(self) -> float:
        """The share that is free, 0 to 1."""
        return self.free_bytes / self.total_bytes if self.total_bytes else 0.0


@dataclass(frozen=True)
class ArchiveState:
    """What the archive amounts to: its files and the events in them; `trouble` is why that is not known."""

    url: str
    files: int = 0
    events: int = 0
    trouble: str = ""


@dataclass(frozen=True)
class Chore:
    """A work that the process repeats: when it ran last, when it will again, and what its last run failed with."""

    name: str
    ran: int | None = None
    next: int | None = None
    error: str = ""


@dataclass(frozen=True)
class AuditedHour:
    """Where the events went that were received in an hour (its beginning): `accepted` is the sum of what follows it.

    `mismatches` say in words what is missing and where."""

    hour: int
    received: int
    refused: int
    accepted: int
    stored: int
    duplicate: int
    dead_lettered: int
    removed: int  # forgotten, or kept no longer
    in_flight: int
    balanced: bool
    mismatches: tuple[str, ...] = ()


@dataclass(frozen=True)
class Operation:
    """All of it. `spool` has a line about each thing that waits for the broker; `days_waiting` None is not known.

    `audited` are the hours of the last day that were audited, the last one first."""

    loading: Loading | None = None
    broker: BrokerState | None = None
    archive: ArchiveState | None = None
    spool: tuple[str, ...] = ()
    disks: tuple[Disk, ...] = ()
    chores: tuple[Chore, ...] = ()
    days_waiting: int | None = None
    warehouse: str = ""  # its URL
    audited: tuple[AuditedHour, ...] = ()
