"""What the raw events of some days amount to under other definitions of a visit (`activity.rules`), beside our own.

The events are read in order of time, in slices of a day that have a bounded number of them, from the pieces that a
replay reads. Each set of rules takes a slice and keeps the visits that may go on. So one pass over the source serves
all sets, and a site costs no more memory than a slice and the visits that are open at its end.

A pass begins before the first day, as far as the rules look back, and goes on behind the last one until the visits
that began in the window are over: two days at most, and what a visit does later still is not added to it.

An event may be in the source several times, at different times. Only the copy counts that the warehouse has, at the
time that it has there. Nothing is written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import polars as pl

from activity import rules, session
from activity.columns import COLUMNS
from activity.definitions import DAY_MS, HOUR_MS
from activity.rules import NEVER, Rules
from activity.zones import ZONES, not_known
from pipeline import losses
from pipeline.live import Loader
from pipeline.plan import Window
from pipeline.replay.compare import NO_PLACES
from pipeline.replay.driver import Incomplete, Progress, Watch, day_ms
from pipeline.replay.journal import Report
from pipeline.replay.sources import ArchiveSource, BrokerSource, Frozen, Source, frames
from stores.base import Archive, BrokenRows

SLICE_EVENTS = 500_000
_AFTER = 2  # days
_NAMES = list(dict.fromkeys([*session.IDENTITY, "received_at", "bot", *rules.EVENT_COLUMNS]))
_NO_EVENTS = pl.DataFrame(schema={name: COLUMNS[name] for name in _NAMES})
_SUMS = ["visits", "pageviews", "bounces", "duration_ms"]
_Sums = dict[str, list[int]]  # by set of rules, in the order of _SUMS


def compared(
    loader: Loader,
    archive: Archive,
    first: date,
    last: date,
    sets: Sequence[Rules],
    zones: Mapping[str, str],
    *,
    site: str | None = None,
    source: str = "broker",
    progress: Watch = lambda _progress: None,
) -> Iterator[Report]:
    """Yields a dict a site, set of rules and day on which visits began, `first` to `last` (inclusive, UTC), in that
    order of days, and then one a site and set for all days, whose `day` is None:

    {"site", "day", "rules", "visits", "pageviews", "views_per_visit", "bounce_rate", "visit_duration"}. The rate is a
    share, the duration mean seconds, and page views are those of the visits. `zones` are the time zones of sites, UTC
    for those that are missing. Raises `Incomplete` when the source lacks events that are stored, and what `replay`
    raises for sources that cannot be read."""
    unknown = sorted((of, zone) for of, zone in zones.items() if site in (None, of) and zone not in ZONES)
    if unknown and any(by.midnight for by in sets):
        of, zone = unknown[0]
        raise Incomplete(f"nobody knows when midnight is for {of}: its {not_known(zone)}")
    with loader.turn:
        if loader.open().lost:
            raise Incomplete("the checkpoint is missing: first make it again by a replay without --dry-run")
    window = Window(site, day_ms(first), day_ms(last) + DAY_MS)
    try:
        yield from _Pass(loader, archive, window, sets, zones, progress).reports(source)
    except BrokenRows as error:
        raise Incomplete(f"{error}. A replay of these days without --dry-run mends that") from error


class _Pass:
    """One pass over the events of a window and around it."""

    def __init__(
        self,
        loader: Loader,
        archive: Archive,
        window: Window,
        sets: Sequence[Rules],
        zones: Mapping[str, str],
        progress: Watch,
    ) -> None:
        self._loader = loader
        self._archive = archive
        self._window = window
        self._sets = sets
        self._zones = zones
        self._progress = progress
        self._read = 0
        self._open: dict[tuple[str, str], pl.DataFrame] = {}  # by site and name of the rules
        self._days: defaultdict[tuple[int, str], _Sums] = defaultdict(self._none)  # those that were not reported yet
        self._totals: defaultdict[str, _Sums] = defaultdict(self._none)  # by site

    def _none(self) -> _Sums:
        return {by.name: [0] * len(_SUMS) for by in self._sets}

    def reports(self, source: str) -> Iterator[Report]:
        """The reports, those of a day as soon as no visit that began on it is open."""
        with self._source(source) as opened:
            for frozen, part in self._slices(opened):
                self._take(self._events(frozen, part), part.end)
                complete = min([part.end, *self._begun()])
                yield from self._complete(complete // DAY_MS)
                if complete >= self._window.end:
                    break
        self._take(_NO_EVENTS, NEVER)
        yield from self._complete(NEVER)
        for site, sums in sorted(self._totals.items()):
            yield from (_report(site, None, name, of_set) for name, of_set in sums.items())

    @property
    def _begin(self) -> int:
        """Where the pass begins: a chain that the first midnight cuts began a day and at most a pause before it.

        The last midnight of a site's zone is at most 25 hours before."""
        back = max([HOUR_MS, *(by.gap_ms for by in self._sets if by.gap_ms is not None)])
        return max(0, self._window.start - DAY_MS - back)

    def _source(self, source: str) -> Source:
        wide = Window(self._window.site, self._begin // DAY_MS * DAY_MS, self._window.end + _AFTER * DAY_MS)
        if source == "archive":
            return ArchiveSource(self._loader, self._archive, wide, None)
        return BrokerSource(self._loader, wide, None, lambda events: self._progress(Progress("log", events)))

    def _slices(self, source: Source) -> Iterator[tuple[Frozen, Window]]:
        """The slices of the days that have events, in order of time."""
        for day, events in sorted(source.days().items()):
            begin, end = max(day * DAY_MS, self._begin), (day + 1) * DAY_MS
            if begin >= end:
                continue
            frozen = source.frozen(Window(self._window.site, day * DAY_MS, end), again=False)
            width = -(-DAY_MS // -(-events // SLICE_EVENTS))
            for start in range(begin, end, width):
                yield frozen, Window(self._window.site, start, min(start + width, end))

    def _events(self, frozen: Frozen, part: Window) -> pl.DataFrame:
        """The events of persons in a slice that count."""
        pieces = [piece for piece in frozen.pieces if piece.last >= part.start and piece.first < part.end]
        found = list(frames(pieces, _NAMES, part.within("occurred_at")))
        own = session.canonical(pl.concat([_NO_EVENTS, *found]))
        warehouse, upto = self._loader.warehouse, frozen.checkpoint.batch
        rows = warehouse.events_between(part.site, None, part.start, part.end, upto, kinds=NO_PLACES.schema)
        stored = pl.concat([NO_PLACES, *rows])
        lacking = stored.join(own, on=NO_PLACES.columns, how="anti").height
        if lacking and self._window.start <= part.start < self._window.end:
            raise Incomplete(
                f"the source lacks {lacking} of the {stored.height} events that are stored of a part of "
                f"{losses.day(part.start // DAY_MS)}; try the other --source"
            )
        self._read += own.height
        self._progress(Progress("days", self._read))
        elsewhere = warehouse.lookup_events(own.join(stored, on=NO_PLACES.columns, how="anti"), 2**63 - 1)
        return own.join(elsewhere, on=session.IDENTITY, how="anti").filter(pl.col("bot") == "")

    def _take(self, events: pl.DataFrame, upto: int) -> None:
        """Each set of rules takes the events, which occurred before `upto`."""
        by_site = {str(site): frame for (site,), frame in events.partition_by("site", as_dict=True).items()}
        inside = pl.col("started_at").is_between(self._window.start, self._window.end, closed="left")
        for site in {*by_site, *(site for site, _ in self._open)}:
            for by in self._sets:
                before = self._open.pop((site, by.name), rules.no_visits())
                zone = self._zones.get(site, "UTC")
                done, left = rules.advance(before, by_site.get(site, _NO_EVENTS), by, zone, upto)
                if left.height:
                    self._open[site, by.name] = left
                for day, *sums in rules.tally(done.filter(inside), by).select("day", *_SUMS).iter_rows():
                    _add(self._days[day, site][by.name], sums)

    def _begun(self) -> list[int]:
        """When the first open visit of each site and set began, of those that began in the window."""
        first = pl.col("started_at").filter(pl.col("started_at") >= self._window.start).min()
        found = [visits.select(first).item() for visits in self._open.values()]
        return [began for began in found if began is not None]

    def _complete(self, before: int) -> Iterator[Report]:
        """The reports of the days before this one (since the epoch) that were not given yet."""
        for day, site in sorted(key for key in self._days if key[0] < before):
            for name, sums in self._days.pop((day, site)).items():
                _add(self._totals[site][name], sums)
                yield _report(site, losses.day(day), name, sums)


def _add(total: list[int], sums: Sequence[int]) -> None:
    for place, number in enumerate(sums):
        total[place] += number


def _report(site: str, day: date | None, name: str, sums: Sequence[int]) -> Report:
    visits, pageviews, bounces, duration_ms = sums
    each = max(visits, 1)
    return {
        "site": site,
        "day": None if day is None else day.isoformat(),
        "rules": name,
        "visits": visits,
        "pageviews": pageviews,
        "views_per_visit": pageviews / each,
        "bounce_rate": bounces / each,
        "visit_duration": duration_ms / each / 1000,
    }
