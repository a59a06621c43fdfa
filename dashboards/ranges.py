"""Ranges of calendar days, and their bounds in UTC.

People say "30 days" or "from the 1st to the 7th", in the site's time zone, with both ends included. Such a day is not
always 24 hours long: it starts at its first instant, even where the clocks change. This module is pure: the caller
passes the current time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from activity.definitions import MINUTE_MS
from activity.zones import ZONES, day_start_ms, not_known
from dashboards.language import N_

PERIODS = {
    "today": N_("Today"),
    "yesterday": N_("Yesterday"),
    "7d": N_("7 days"),
    "30d": N_("30 days"),
    "month": N_("Month"),
}
DEFAULT_PERIOD = "today"
COMPARISONS = ("previous", "year", "none")
DEFAULT_COMPARISON = "previous"
INTERVALS = ("hour", "day", "week", "month")
FIRST_DAY = date(2000, 1, 1)  # before any web statistics; days before 1970 would be negative milliseconds
LAST_DAY = date(2199, 12, 31)
MAX_STEPS = 10_000  # steps in one chart: 416 days by the hour, 27 years by the day


class BadRange(ValueError):
    """The caller's days, zone or interval are wrong; the message names the parameter and what it may be."""


@dataclass(frozen=True)
class DateRange:
    """The days from `first` to `last`, both included, in the time zone `zone`. Raises `BadRange`."""

    first: date
    last: date
    zone: str = "UTC"

    def __post_init__(self) -> None:
        zone_named(self.zone)
        if self.last < self.first:
            raise BadRange(f"from ({self.first}) is after to ({self.last}): swap them")

    @property
    def days(self) -> int:
        """The number of days."""
        return (self.last - self.first).days + 1

    @property
    def start_ms(self) -> int:
        """The first instant of the range, in Unix ms."""
        return day_start_ms(self.first, self.zone)

    @property
    def end_ms(self) -> int:
        """The first instant after the range, in Unix ms."""
        return day_start_ms(self.last + timedelta(days=1), self.zone)

    def previous(self) -> DateRange:
        """The range of the same number of days just before."""
        span = timedelta(days=self.days)
        return DateRange(self.first - span, self.last - span, self.zone)

    def year_before(self) -> DateRange:
        """The range of the same number of days that began on the same date a year before; 28 February for the 29th."""
        leap_day = (self.first.month, self.first.day) == (2, 29)
        first = self.first.replace(year=self.first.year - 1, day=28 if leap_day else self.first.day)
        return DateRange(first, first + (self.last - self.first), self.zone)

    def compared(self, how: str) -> DateRange | None:
        """The range that this one is compared with by one of `COMPARISONS`, if any."""
        return {"previous": self.previous, "year": self.year_before}[how]() if how != "none" else None

    @property
    def interval(self) -> str:
        """The interval at which a chart of this range is easy to read."""
        if self.days <= 2:
            return "hour"
        if self.days <= 92:
            return "day"
        return "week" if self.days <= 366 else "month"


def zone_named(name: str) -> ZoneInfo:
    """Returns the time zone of this name. Raises `BadRange`."""
    if name not in ZONES:
        raise BadRange(not_known(name))
    return ZoneInfo(name)


def parse_day(parameter: str, text: str) -> date:
    """Returns the day of a text YYYY-MM-DD. Raises `BadRange`, which names the parameter."""
    try:
        day = date.fromisoformat(text) if len(text) == 10 else None
    except ValueError:
        day = None
    if day is None or not FIRST_DAY <= day <= LAST_DAY:
        raise BadRange(f"{parameter} must be a day as YYYY-MM-DD from {FIRST_DAY} to {LAST_DAY}, not {text!r}")
    return day


def moment(day: date, clock: time | None, zone: str) -> int:
    """Returns when it is this time on a day in `zone`, or when the day begins, in Unix ms.

    A time that the clocks leave out is the one after them; of a time that comes twice it is the first."""
    if clock is None:
        return day_start_ms(day, zone)
    return round(datetime.combine(day, clock, zone_named(zone)).timestamp() * 1000)


def today(now_ms: int, zone: str) -> date:
    """Returns the day of `now_ms` (Unix ms) in `zone`."""
    return datetime.fromtimestamp(now_ms / 1000, zone_named(zone)).date()


def period(name: str, now_ms: int, zone: str) -> DateRange:
    """Returns the range of one of `PERIODS`, all of which end today except "yesterday". Raises `BadRange`."""
    last = today(now_ms, zone)
    match name:
        case "today":
            first = last
        case "yesterday":
            first = last = last - timedelta(days=1)
        case "7d":
            first = last - timedelta(days=6)
        case "30d":
            first = last - timedelta(days=29)
        case "month":
            first = last.replace(day=1)
        case _:
            raise BadRange(f"period must be one of {', '.join(PERIODS)}, or give from and to, not {name!r}")
    return DateRange(first, last, zone)


def last_whole(every: str, now_ms: int, zone: str) -> DateRange:
    """Returns the last "week", from Monday, or "month" that is over at `now_ms` (Unix ms)."""
    last = today(now_ms, zone)
    last -= timedelta(days=last.day if every == "month" else last.weekday() + 1)
    first = last.replace(day=1) if every == "month" else last - timedelta(days=6)
    return DateRange(first, last, zone)


def check_interval(span: DateRange, interval: str) -> None:
    """Raises `BadRange` if the interval is unknown, or divides the range into more steps than a chart can show."""
    if interval not in INTERVALS:
        raise BadRange(f"interval must be one of {', '.join(INTERVALS)}, not {interval!r}")
    if span.days * (24 if interval == "hour" else 1) > MAX_STEPS:
        raise BadRange(f"interval {interval!r} cuts {span.days} days too small: take a longer one, or fewer days")


def steps(span: DateRange, interval: str) -> dict[date, int]:
    """Returns the first day of every day, week or month that a range touches, and its start in Unix ms.

    Weeks begin on Monday. The first one may begin before the range.
    """
    days = (span.first + timedelta(days=n) for n in range(span.days))
    match interval:
        case "week":
            firsts = {day - timedelta(days=day.weekday()): None for day in days}
        case "month":
            firsts = {day.replace(day=1): None for day in days}
        case _:
            firsts = dict.fromkeys(days)
    return {day: day_start_ms(day, span.zone) for day in firsts}


def hours(span: DateRange) -> list[int]:
    """Returns the starts (Unix ms) of all hours of a range, as its clock shows them.

    An hour begins when the clock shows it full, or when a change of the clocks jumps into it. Where they are put back
    by half an hour, some minutes of an hour come twice, and it is longer. Clocks change at a full minute."""
    zone, quarter = zone_named(span.zone), 15 * MINUTE_MS
    starts = [span.start_ms]
    before = datetime.fromtimestamp(span.start_ms / 1000, zone)
    for at in range(span.start_ms - span.start_ms % quarter + quarter, span.end_ms, quarter):
        now = datetime.fromtimestamp(at / 1000, zone)
        if now.utcoffset() != before.utcoffset():
            starts += _begun_between(max(at - quarter, span.start_ms), at, zone)
        elif now.minute == 0:
            starts.append(at)
        before = now
    return starts


def _begun_between(start_ms: int, end_ms: int, zone: ZoneInfo) -> list[int]:
    """Returns the hours that begin after one moment and until another (Unix ms), between which the clocks change."""
    found, before = [], datetime.fromtimestamp(start_ms / 1000, zone)
    for at in range(start_ms + MINUTE_MS, end_ms + MINUTE_MS, MINUTE_MS):
        now = datetime.fromtimestamp(at / 1000, zone)
        if now.minute == 0 or now.hour != before.hour:
            found.append(at)
        before = now
    return found


def iso(at_ms: int, zone: str) -> str:
    """Returns a time (Unix ms) as ISO 8601 text with the offset of `zone`."""
    return datetime.fromtimestamp(at_ms / 1000, zone_named(zone)).isoformat()
