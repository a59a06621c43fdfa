"""Days of a person's calendar, and their bounds in UTC.

What people say is "30 days" or "from the 1st to the 7th", in the site's own time zone, both ends included. A day
there is not always 24 hours: it begins at its first instant, wherever the clocks were moved. Pure: the time of
now is given by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from activity.zones import ZONES, not_known

PERIODS = {
    "today": "Today",
    "yesterday": "Yesterday",
    "7d": "7 days",
    "30d": "30 days",
    "month": "Month",
}
DEFAULT_PERIOD = "today"
INTERVALS = ("hour", "day", "week", "month")
FIRST_DAY = date(2000, 1, 1)  # before any web statistics; below 1970 milliseconds would be negative
LAST_DAY = date(2199, 12, 31)
MAX_STEPS = 10_000  # of one chart: 416 days by the hour, 27 years by the day


class BadRange(ValueError):
    """The caller's days or zone make no sense; the message names the parameter and what it may be."""


@dataclass(frozen=True)
class DateRange:
    """The days `first` to `last`, both included, as the clocks of `zone` show them."""

    first: date
    last: date
    zone: str = "UTC"

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise BadRange(f"from ({self.first}) is after to ({self.last}): swap them")

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def start_ms(self) -> int:
        return day_start_ms(self.first, self.zone)

    @property
    def end_ms(self) -> int:
        """The first instant after the range."""
        return day_start_ms(self.last + timedelta(days=1), self.zone)

    def previous(self) -> DateRange:
        """As many days, just before."""
        span = timedelta(days=self.days)
        return DateRange(self.first - span, self.last - span, self.zone)

    @property
    def interval(self) -> str:
        """The step at which a chart of this range is easy to read."""
        if self.days <= 2:
            return "hour"
        if self.days <= 92:
            return "day"
        return "week" if self.days <= 366 else "month"


def zone_named(name: str) -> ZoneInfo:
    if name not in ZONES:
        raise BadRange(not_known(name))
    return ZoneInfo(name)


def day_start_ms(day: date, zone: str) -> int:
    """The first instant of a day. Where clocks skip midnight that is the moment of the skip; where they show it
    twice, the earlier."""
    return round(datetime.combine(day, time(), zone_named(zone)).timestamp() * 1000)


def parse_day(parameter: str, text: str) -> date:
    try:
        day = date.fromisoformat(text) if len(text) == 10 else None
    except ValueError:
        day = None
    if day is None or not FIRST_DAY <= day <= LAST_DAY:
        raise BadRange(f"{parameter} must be a day as YYYY-MM-DD from {FIRST_DAY} to {LAST_DAY}, not {text!r}")
    return day


def today(now_ms: int, zone: str) -> date:
    return datetime.fromtimestamp(now_ms / 1000, zone_named(zone)).date()


def period(name: str, now_ms: int, zone: str) -> DateRange:
    """One of `PERIODS`, all of which end today but yesterday."""
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


def check_interval(span: DateRange, interval: str) -> None:
    """An interval that is known, and that cuts the range into no more steps than a chart can show."""
    if interval not in INTERVALS:
        raise BadRange(f"interval must be one of {', '.join(INTERVALS)}, not {interval!r}")
    if span.days * (24 if interval == "hour" else 1) > MAX_STEPS:
        raise BadRange(f"interval {interval!r} cuts {span.days} days too small: take a longer one, or fewer days")


def label(at_ms: int, interval: str, zone: str) -> str:
    """A step in words, for the table behind the chart."""
    local = datetime.fromtimestamp(at_ms / 1000, zone_named(zone))
    match interval:
        case "hour":
            return f"{local:%a} {local.day} {local:%b}, {local:%H:%M}"
        case "month":
            return f"{local:%B %Y}"
        case _:
            return f"{local:%a} {local.day} {local:%b %Y}"


def iso(at_ms: int, zone: str) -> str:
    return datetime.fromtimestamp(at_ms / 1000, zone_named(zone)).isoformat()
