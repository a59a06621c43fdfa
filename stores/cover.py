"""Where the numbers of a period come from: of each day, from the day tables, what was kept of it, or its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from stores import day_rows
from stores.clickhouse import Beside
from stores.day_rows import Span
from stores.filters import Filter
from stores.months import Month
from stores.open_days import OpenDay


@dataclass(frozen=True)
class Period:
    """Days of a site in a time zone, from `first` to `last`."""

    site: str
    zone: str
    first: date
    last: date

    @property
    def length(self) -> int:
        """How many days it has."""
        return (self.last - self.first).days + 1

    @property
    def days(self) -> list[date]:
        """All of its days."""
        return [self.first + timedelta(days=n) for n in range(self.length)]


@dataclass(frozen=True)
class Cover:
    """Which visits of a period are asked for, and where their numbers come from: the day tables, or the events and
    sessions themselves."""

    period: Period
    filters: tuple[Filter, ...]
    versions: list[int]  # of each day of the period, 0 for one that is not taken from the day tables
    spans: list[Span]  # days that are not taken from there
    made: Beside | None = None  # the visits that filters choose on these days, as rows of `day_visits`
    steps: bool = False  # whether what visits did, in order, is asked for
    open: tuple[OpenDay, ...] = ()  # days of which visits are kept, but for those of the visitors that have changed
    open_spans: tuple[Span, ...] = ()
    changed: Beside | None = None
    months: tuple[Month, ...] = ()  # which are made of the days of these versions
    imported: tuple[str, ...] = ()  # of each day of the period the product whose numbers are added, "" for none

    @property
    def built(self) -> bool:
        """Whether any day is taken from the day tables."""
        return any(self.versions)

    @property
    def beside(self) -> list[Beside]:
        """The tables that its statements ask."""
        return [table for table in (self.made, self.changed) if table]

    @property
    def kept(self) -> dict[str, Any]:
        """The parameters of `rows/open_visits`."""
        return {"open_dates": [each.day for each in self.open], "open_versions": [each.version for each in self.open]}

    def before(self, cut: Span) -> Cover:
        """The cover up to the end of the part of a day, all of which is asked of the events and sessions."""
        day, begin, end = cut
        versions = dict(zip(self.period.days, self.versions, strict=True))
        there = versions[day] or any(span[0] == day for span in (*self.spans, *self.open_spans))
        return replace(
            self,
            versions=[version * (each < day) for each, version in versions.items()],
            spans=[*(span for span in self.spans if span[0] < day), *([cut] if there and begin < end else [])],
            open=tuple(each for each in self.open if each.day < day),
            open_spans=tuple(span for span in self.open_spans if span[0] < day),
            months=(),
        )

    @property
    def apart(self) -> list[int]:
        """The versions, 0 also for the days that a month has."""
        inside = {day for month in self.months for day in month.builds}
        return [0 if day in inside else version for day, version in zip(self.period.days, self.versions, strict=True)]


def covered(period: Period, chosen_by: tuple[Filter, ...], versions: Mapping[date, int]) -> Cover:
    """The cover of a period by the versions of its days, 0 for one without rows. Other days are asked of events and
    sessions themselves."""
    days = period.days
    starts = day_rows.starts([*days, days[-1] + timedelta(days=1)], period.zone)
    spans = zip(days, starts, starts[1:], strict=False)
    raw = [span for span in spans if span[0] not in versions and span[1] < span[2]]
    return Cover(period, chosen_by, [versions.get(day, 0) for day in days], raw)
