"""Filters for the templates that write numbers and values the way people read them."""

from __future__ import annotations

from datetime import datetime

from flask import Flask

from dashboards import ranges
from dashboards.panels import SECONDS, SHARES


def number(value: float) -> str:
    """1,234; with one decimal if it is not a whole number."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def percent(share: float) -> str:
    """47% for 0.47."""
    return f"{share * 100:.0f}%"


def duration(seconds: float) -> str:
    """8s, 1m 05s, 2h 10m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"


def metric(value: float, name: str) -> str:
    """A value of the metric `name`, one of `panels.METRICS`, in its own unit."""
    if name in SHARES:
        return percent(value)
    if name in SECONDS:
        return duration(value)
    return f"{value:.1f}" if name == "views_per_visit" else number(value)


def change(now: float, before: float) -> str:
    """How much a number has grown or shrunk, such as +12%; "" if there is nothing to compare with."""
    if not before:
        return ""
    share = (now - before) / before
    if abs(share) < 0.005:
        return "±0%"
    return f"{'+' if share > 0 else '−'}{min(abs(share) * 100, 9999):,.0f}%"


def named(value: str, dimension: str) -> str:
    """A value of a list in words, also if there is none."""
    return value or ("Direct" if dimension == "source" else "Unknown")


def iso(at: int, zone: str) -> str:
    """A time (Unix ms) as ISO 8601 in a time zone."""
    return ranges.iso(at, zone)


def moment(at: int, zone: str, dated: bool = True) -> str:
    """A time (Unix ms) in a time zone, such as 3 Mar 2026, 14:05:09; without the day unless `dated`."""
    form = "%-d %b %Y, %H:%M:%S" if dated else "%H:%M:%S"
    return datetime.fromtimestamp(at / 1000, ranges.zone_named(zone)).strftime(form)


def clock(at: int, zone: str) -> str:
    """Hour and minute of a time (Unix ms) in a time zone, such as 14:05."""
    return datetime.fromtimestamp(at / 1000, ranges.zone_named(zone)).strftime("%H:%M")


def register(app: Flask) -> None:
    """Adds the filters to the app's templates."""
    for filter_ in (number, percent, duration, metric, change, named, iso, moment, clock):
        app.add_template_filter(filter_)
