"""Builds the day tables (`stores.days`), beside the loaders, in the process of the first unit.

Every ten seconds the builder looks at what changed: the hours that rows touch whose batch lies beyond the horizon.
Built days among them are declared invalid, and then the horizon moves to the last complete batch of every unit. A day
is built once it is over and nothing has changed in it for a while; the newest first, because they are looked at most.
A month that is over is made of its days (`stores.months`) when none of them waits. Of a day that is not over and large
the visits are kept (`stores.open_days`), again each time it has grown by a share.
Whatever is interrupted, a day is at worst built once more. The table `day_builds` has an entry for every day that a
look has seen, so a start reads only what is beyond the horizon; all rows are read of a site that is new, or whose time
zone is. Then `day_sites` says that days without an entry are empty.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial

import polars as pl

from activity.definitions import HOUR_MS, MINUTE_MS
from activity.zones import ZONES, day_start_ms
from pipeline.checkpoint import CheckpointRepository
from pipeline.lease import HeldLease
from pipeline.unit import all_of, layout
from stores.base import CheckpointStore
from stores.day_rows import spans, whole_day
from stores.days import DayTables
from stores.months import Month

LOOK_SECONDS = 10.0
LEASE = "days"  # its name
# A day is over for the tables an hour after it is over for the clock: visits go on, and events come late.
_GRACE_MS = HOUR_MS
# A day that changes all the time is built again every ten minutes, any other shortly after its last change.
_QUIET_MS = 20_000
_PATIENCE_MS = 10 * MINUTE_MS
# The visits of a day that is not over are kept from so many rows on, and again when it has so many times as many.
KEPT_ROWS, GROWN = 2_000, 1.1

Day = tuple[str, str, date]  # site, time zone, day


@dataclass
class Building:
    """What a builder has done, for metrics."""

    waiting: int | None = None  # days that are over and not built; None before the first look
    built: int = 0
    slowest: float = 0.0  # seconds that a day took at most


@dataclass
class DayBuilder:
    """Keeps the day tables of all sites up to date.

    `complete` returns the last batch of each unit of which all rows are written, or None while that cannot be said (see
    `complete_batches`); `sites` the domains with their time zones; `clock` Unix ms; `lease` the lease under which it
    builds, None where no other process may erase rows. Its methods raise what the stores raise; call them again then.
    """

    tables: DayTables
    complete: Callable[[], list[int] | None]
    sites: Callable[[], Mapping[str, str]]
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    lease: Callable[[], HeldLease] | None = None
    status: Building = field(default_factory=Building)
    _looks_at: float = 0.0
    _zones: dict[str, str] = field(default_factory=dict)
    _builds: dict[Day, bool] = field(default_factory=dict)  # all days with events, and whether they are built
    _grown: set[Day] = field(default_factory=set)  # days of which rows came since they were last weighed
    # When days changed first since they were built, and when they changed last, as far as this process saw it.
    _changes: dict[Day, tuple[int, int]] = field(default_factory=dict)

    def look(self) -> None:
        """Declare the days invalid that have changed, and move the horizon."""
        zones = {site: zone for site, zone in self.sites().items() if zone in ZONES}
        units = self.complete()
        if units is None:
            return
        self._zones, horizon = zones, self.tables.horizon()
        former = horizon if len(units) == len(horizon) else [min(horizon, default=0)] * len(units)
        # No horizon, or a checkpoint that was begun anew: nobody knows what has changed since a day was built.
        anew = not horizon or any(now < then for now, then in zip(units, former, strict=True))
        if anew:
            self.tables.forget()
        elif len(units) != len(horizon):
            self.tables.open.forget()
        self._builds = self.tables.builds()
        # Rows are kept by site and day: of a site whose zone was changed the former days go before new ones are built.
        gone = {day for day, valid in self._builds.items() if valid and zones.get(day[0]) != day[1]}
        changed: set[Day] = set()
        if units != horizon and not anew:
            changed = days_of(self.tables.changed(former, list(zones)), zones)
            now = self.clock()
            for day in changed:
                self._changes[day] = (self._changes.get(day, (now, now))[0], now)
        looked = self.tables.looked()
        if strange := {site: zone for site, zone in zones.items() if (site, zone) not in looked}:
            changed |= days_of(self.tables.changed([0], list(strange)), zones)
        if left := looked - set(zones.items()):
            self.tables.set_looked(left, False)
        self._grown |= changed
        invalid = gone | {day for day in changed if self._builds.get(day) is not False}
        if invalid:
            self.tables.invalidate(sorted(invalid))
            self._builds |= dict.fromkeys(invalid, False)
        if strange:
            self.tables.set_looked(strange.items(), True)
        if units != horizon:
            self.tables.move_horizon(units)

    def due(self) -> list[Day]:
        """The days that may be built now, in the order in which to build them."""
        over = [
            (site, zone, day)
            for (site, zone, day), valid in self._builds.items()
            if not valid
            and self._zones.get(site) == zone
            and self._is_over(zone, day)
        ]
        self.status.waiting, now = len(over), self.clock()
        changes = ((day, *self._changes.get(day, (0, 0))) for day in over)
        quiet = [day for day, first, last in changes if now - last >= _QUIET_MS or now - first >= _PATIENCE_MS]
        return sorted(quiet, key=lambda each: (-each[2].toordinal(), each))

    def grown(self) -> tuple[Day, int] | None:
        """A day that is not over and may be kept now, and how many rows it has."""
        self._grown = {day for day in self._grown if self._zones.get(day[0]) == day[1] and not self._is_over(*day[1:])}
        days = sorted(self._grown)
        utc = {each: spans(whole_day(each[2], each[1]))["days"] for each in days}
        sites, every = {site for site, _, _ in days}, {day for of in utc.values() for day in of}
        sizes = self.tables.open.sizes(sites, every) if days else {}
        for each in days:
            self._grown.discard(each)
            rows = sum(sizes.get((each[0], day), 0) for day in utc[each])
            kept = self.tables.open.of(*each, each[2]).get(each[2]) if rows >= KEPT_ROWS else None
            if rows >= max(KEPT_ROWS, kept.rows * GROWN if kept else 0):
                return each, rows
        return None

    def keep(self, day: Day, rows: int) -> float:
        """Keep the visits of a day that is not over; returns the seconds that it took."""
        begun = time.monotonic()
        self.tables.open.build(*day, self.tables.horizon(), rows)
        return time.monotonic() - begun

    def _is_over(self, zone: str, day: date) -> bool:
        return day_start_ms(day + timedelta(days=1), zone) + _GRACE_MS <= self.clock()

    def build(self, day: Day) -> float:
        """Build a day; returns the seconds that it took."""
        begun = time.monotonic()
        self.tables.build(*day)
        took = time.monotonic() - begun
        self._builds[day] = True
        self._changes.pop(day, None)
        self.status.built += 1
        self.status.slowest = max(self.status.slowest, took)
        self.due()
        return took

    def step(self) -> float:
        """Look, build one day or month if one is due, and return for how many seconds to rest."""
        if time.monotonic() >= self._looks_at:
            self.look()
            self._looks_at = time.monotonic() + LOOK_SECONDS
        with self.tables.building:
            task = self._next()
            if task is None:
                return LOOK_SECONDS
            if self.lease is None:
                return task()
            with self.lease() as lease:
                return task() if lease.take() else LOOK_SECONDS

    def _next(self) -> Callable[[], float] | None:
        if grown := self.grown():
            return partial(self.keep, *grown)
        if waiting := self.due():
            return partial(self.build, waiting[0])  # half of the time is left to others
        yesterday = datetime.fromtimestamp(self.clock() / 1000, UTC).date() - timedelta(days=1)
        if months := self.tables.months_due(yesterday):
            return partial(self._build_month, months[0])
        return None

    def _build_month(self, month: Month) -> float:
        begun = time.monotonic()
        self.tables.months.build(month)
        return time.monotonic() - begun


def leased(checkpoints: CheckpointStore) -> HeldLease:
    """The lease under which days are built, and under which nothing is built while rows are erased."""
    return HeldLease(checkpoints, LEASE)


def complete_batches(checkpoints: CheckpointStore) -> list[int] | None:
    """The last batch of each unit of which all rows are written; None while that cannot be said.

    That is while rows are lost, while the units are being changed, or before there is a checkpoint."""
    found = layout(checkpoints)
    units = []
    for unit in all_of(found.of):
        checkpoint = CheckpointRepository(checkpoints, unit.name).load()
        if found.to or checkpoint is None or checkpoint.lost or checkpoint.missing:
            return None
        # Whoever has the lease writes rows of the checkpoint's own batch.
        units.append(max(0, checkpoint.batch - (checkpoint.lease is not None)))
    return units


def days_of(hours: pl.DataFrame, zones: Mapping[str, str]) -> set[Day]:
    """The days of sites that hours touch: `site`, and `first` and `last`, the Unix ms of their starts.

    An hour that two days share belongs to both. Sites without a zone are left out."""
    found: set[Day] = set()
    for (site,), rows in hours.partition_by("site", as_dict=True).items():
        zone = zones.get(str(site))
        if zone is None:
            continue
        ends = rows.select(
            pl.from_epoch(at, "ms").dt.replace_time_zone("UTC").dt.convert_time_zone(zone).dt.date().alias(name)
            for name, at in (("first", pl.col("first")), ("last", pl.col("last") + HOUR_MS - 1))
        ).unique()
        for first, last in ends.iter_rows():
            found |= {(str(site), zone, first + timedelta(days=n)) for n in range((last - first).days + 1)}
    return found
