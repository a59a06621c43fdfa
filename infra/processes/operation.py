"""What a core tells of its own work: as an `Operation` for the page `/ops`, and as metrics for Prometheus."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dashboards.operation import (
    ArchiveState,
    AuditedHour,
    BrokerState,
    Chore,
    Disk,
    Loading,
    Operation,
    PartitionState,
    TopicState,
)

if TYPE_CHECKING:
    from brokers.base import Position
    from infra.settings import Settings
    from infra.wiring import Parts
    from pipeline.days import Building
    from pipeline.live import Loader, Status
    from stores.base import Positions

__all__ = ["Chore", "metrics", "of"]

_FOLDERS = ("archive", "live", "checkpoint", "spool", "exchange")


def of(
    parts: Parts,
    loader: Loader | None,
    chores: Sequence[Chore],
    days_waiting: int | None,
    audited: tuple[AuditedHour, ...] = (),
) -> Operation:
    """The operation of a process over opened parts; without a loader it says nothing of the broker.

    What cannot be reached is told as a trouble, and never raises."""
    shared = Operation(
        archive=_archive(parts),
        spool=tuple(parts.spool().state()) if parts.settings.spool.startswith("file:") else (),
        disks=tuple(_disks(parts.settings)),
        chores=tuple(chores),
        days_waiting=days_waiting,
        warehouse=parts.warehouse.url,
        audited=audited,
    )
    if loader is None:
        return shared
    from brokers.base import BrokerError
    from stores.base import StoreError

    try:
        checkpoint = loader.repository.load()  # not the loader's own, which is locked while a batch runs
        positions: Positions = checkpoint.positions if checkpoint else {}
        oldest, topics = _topics(loader, positions)
        broker = BrokerState(loader.broker.url, tuple(topics))
    except (BrokerError, StoreError) as error:
        oldest, broker = None, BrokerState(loader.broker.url, trouble=str(error))
    counts = [each.waiting for topic in broker.topics if _is_read(topic.name) for each in topic.partitions]
    known = [count for count in counts if count is not None]
    status = loader.status
    loading = Loading(
        _age(status.reached),
        sum(known) if known and len(known) == len(counts) else None,
        oldest,
        status.events,
        status.duplicates,
        status.late,
        status.dead_letters,
    )
    return replace(shared, loading=loading, broker=broker)


def _topics(loader: Loader, positions: Positions) -> tuple[int | None, list[TopicState]]:
    """When the oldest record that waits was published, and the topics with the partitions that this loader has."""
    from activity.event import ALL_TOPICS
    from brokers.base import Position, TopicPartition

    there, oldest, found = loader.broker.topics(), [], []
    for name in [name for name in ALL_TOPICS if name in there]:
        partitions = []
        for number in loader.unit.partitions(there[name].partitions):
            place, text = TopicPartition(name, number), positions.get(name, {}).get(str(number))
            committed, bounds = Position.parse(text) if text else None, loader.broker.bounds(place)
            waiting = None
            if _is_read(name):
                waiting = between(committed, bounds.first, bounds.last) if bounds else 0
                if waiting != 0 and (following := loader.broker.end_before(place, committed, 1)) is not None:
                    oldest.append(loader.broker.timestamp_of(place, following))
            partitions.append(PartitionState(number, text, str(bounds.last) if bounds else None, waiting))
        found.append(TopicState(name, there[name].retention_ms, tuple(partitions)))
    return min(oldest, default=None), found


def between(committed: Position | None, first: Position, last: Position) -> int | None:
    """How many records follow the committed one; None where positions cannot be subtracted."""
    if committed is not None and committed >= last:
        return 0
    if len(last.order) > 1:
        return None
    return last.order[0] - (first.order[0] - 1 if committed is None else committed.order[0])


def _is_read(topic: str) -> bool:
    from activity.event import SESSION_TOPIC

    return topic != SESSION_TOPIC


def _archive(parts: Parts) -> ArchiveState:
    from stores.base import StoreError

    try:
        return ArchiveState(parts.archive.url, *parts.archive.amount())
    except StoreError as error:
        return ArchiveState(parts.settings.archive.partition("?")[0], trouble=str(error))


def _disks(settings: Settings) -> list[Disk]:
    """The file systems of the data folder and of the other folders, each once."""
    urls = [getattr(settings, name) for name in _FOLDERS]
    folders = [settings.data, *(Path(url.removeprefix("file://")) for url in urls if url.startswith("file://"))]
    found: dict[int, Disk] = {}
    for folder in folders:
        if folder.is_dir():
            total, _, free = shutil.disk_usage(folder)
            found.setdefault(folder.stat().st_dev, Disk(str(folder), free, total))
    return list(found.values())


def _age(at_ms: int) -> float:
    return max(0.0, time.time() - at_ms / 1000) if at_ms else 0.0


def metrics(status: Status, days: Building, unaccounted: int | None = None) -> str:
    """The metrics of a loader and of the builder of the day tables, as Prometheus text.

    `unaccounted` are the events of the last day that are not where they should be; None is not known."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    from ingest.counters import exposition

    lag, age = _age(status.reached), _age(status.watermark)
    gauges: tuple[tuple[str, str, float], ...] = (
        ("lag_seconds", "All that was published longer ago than this is in the numbers.", lag),
        ("watermark_age_seconds", "How far the live watermark is behind the clock.", age),
    )
    if days.waiting is not None:
        gauges += (
            ("days_to_build", "Days that are over, and whose numbers are read from their events.", days.waiting),
            ("day_build_seconds_max", "What building a day took at most.", days.slowest),
        )
    if unaccounted is not None:
        what = "Events received in the audited hours of the last day that are not where they should be."
        gauges += (("unaccounted_events", what, unaccounted),)
    counters = (
        ("built_days", "Days built since the start.", days.built),
        ("loaded_batches", "Micro-batches committed since the start.", status.batches),
        ("loaded_events", "Events stored since the start.", status.events),
        ("loaded_duplicates", "Events that were stored already.", status.duplicates),
        ("loaded_late", "Events later than the horizon, left to reconcile.", status.late),
        ("dead_letters", "Records that are not events.", status.dead_letters),
        ("erased_records", "Records that were read and are left out, because they are forgotten.", status.erased),
    )
    families = [GaugeMetricFamily(f"footfall_{name}", what, value) for name, what, value in gauges]
    counted = [CounterMetricFamily(f"footfall_{name}", what, value) for name, what, value in counters]
    return exposition((*families, *counted)).decode()
