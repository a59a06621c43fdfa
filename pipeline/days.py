"""Builds the day tables (`stores.days`), beside the loaders, in the process of the first unit.

Every ten seconds the builder looks at what changed: the hours that rows touch whose batch lies beyond the horizon.
Built days among them are declared invalid, and then the horizon moves to the last complete batch of every unit. A day
is built once it is over and nothing has changed in it for a while; the newest first, because they are looked at most.
Whatever is interrupted, a day is at worst built once more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

import polars as pl

from activity.definitions import HOUR_MS, MINUTE_MS
from activity.zones import ZONES, day_start_ms
from pipeline.checkpoint import CheckpointRepository
from pipeline.unit import all_of, layout
from stores.base import CheckpointStore
from stores.days import DayTables

LOOK_SECONDS = 10.0
# A day is over for the tables an hour after it is over for the clock: visits go on, and events come late.
_GRACE_MS = HOUR_MS
# A day that changes all the time is built again every ten minutes, any other shortly after its last change.
_QUIET_MS = 20_000
_PATIENCE_MS = 10 * MINUTE_MS

Day = tuple[str, str, date]  # site, time zone, day


@dataclass
class Building:
    """What a builder has done, for metrics."""

    waiting: int | None = None  # days that are over and not built; None before the first look
    built: int = 0
    slowest: float = 0.0  # seconds that a day took at most


@dataclass
class DayBuilder:
    """Keeps the day tables of all sites up to date. `sites` returns the domains with their time zones, `clock` Unix ms.

    Its methods raise what the stores raise; call them again then."""

    tables: DayTables
    checkpoints: CheckpointStore
    sites: Callable[[], Mapping[str, str]]
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    status: Building = field(default_factory=Building)
    _looks_at: float = 0.0
    _zones: dict[str, str] = field(default_factory=dict)
    _horizon: list[int] | None = None
    _builds: dict[Day, bool] = field(default_factory=dict)
    # All days with events: when they changed first since they were built, and when they changed last.
    _changes: dict[Day, tuple[int, int]] = field(default_factory=dict)

    def look(self) -> None:
        """Declare the days invalid that have changed, and move the horizon."""
        zones = {site: zone for site, zone in self.sites().items() if zone in ZONES}
        units = self._complete()
        if units is None or (zones == self._zones and units == self._horizon):
            return
        horizon, self._builds = self.tables.horizon(), self.tables.builds()
        former = horizon if len(units) == len(horizon) else [min(horizon, default=0)] * len(units)
        if not horizon or any(now < then for now, then in zip(units, former, strict=True)):
            # No horizon, or a checkpoint that was begun anew: nobody knows what has changed since a day was built.
            self.tables.forget()
            horizon, self._builds = [], {}
        # Rows are kept by site and day: of a site whose zone was changed the former days go before new ones are built.
        self._invalidate([(site, zone, day) for site, zone, day in self._builds if zones.get(site) != zone])
        now = self.clock()
        if horizon:
            changed = days_of(self.tables.changed(former), zones)
            invalid = self._invalidate(changed)
            for day in changed:
                waits = day in self._changes and day not in invalid
                self._changes[day] = (self._changes[day][0] if waits else now, now)
        if units != horizon:
            self.tables.move_horizon(units)
        if zones != self._zones:
            for day in days_of(self.tables.changed([]), zones):
                self._changes.setdefault(day, (0, 0))
        self._zones, self._horizon = zones, units

    def due(self) -> list[Day]:
        """The days that may be built now, those to build first first."""
        now = self.clock()
        over = [
            (site, zone, day)
            for site, zone, day in self._changes
            if not self._builds.get((site, zone, day))
            and self._zones.get(site) == zone
            and day_start_ms(day + timedelta(days=1), zone) + _GRACE_MS <= now
        ]
        self.status.waiting = len(over)
        quiet = [
            day
            for day in over
            if now - self._changes[day][1] >= _QUIET_MS or now - self._changes[day][0] >= _PATIENCE_MS
        ]
        return sorted(quiet, key=lambda each: (-each[2].toordinal(), each))

    def build(self, day: Day) -> float:
        """Build a day; returns the seconds that it took."""
        begun = time.monotonic()
        self.tables.build(*day)
        took = time.monotonic() - begun
        self._builds[day] = True
        self.status.built += 1
        self.status.slowest = max(self.status.slowest, took)
        self.due()
        return took

    def step(self) -> float:
        """Look, build one day if one is due, and return for how many seconds to rest."""
        if time.monotonic() >= self._looks_at:
            self.look()
            self._looks_at = time.monotonic() + LOOK_SECONDS
        waiting = self.due()
        if not waiting:
            return LOOK_SECONDS
        return self.build(waiting[0])  # half of the time is left to others

    def _invalidate(self, days: Iterable[Day]) -> set[Day]:
        """Declare those of the days invalid that are valid; returns them."""
        valid = {day for day in days if self._builds.get(day)}
        if valid:
            self.tables.invalidate(sorted(valid))
            self._builds |= dict.fromkeys(valid, False)
        return valid

    def _complete(self) -> list[int] | None:
        """The last batch of each unit of which all rows are written; None while that cannot be said."""
        found = layout(self.checkpoints)
        units = []
        for unit in all_of(found.of):
            checkpoint = CheckpointRepository(self.checkpoints, unit.name).load()
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
