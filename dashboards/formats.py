"""Filters for the templates that write numbers, times and values the way people read them, in the page's language.

English is written here, since a page has hundreds of numbers and Babel takes its time; Babel writes all others.
"""

from __future__ import annotations

from datetime import date, datetime

from babel.dates import format_date, format_datetime, format_skeleton
from babel.numbers import format_decimal, format_percent, get_decimal_symbol
from flask import Flask

from dashboards import ranges
from dashboards.language import ENGLISH, current, gettext
from dashboards.panels import SECONDS, SHARES


def number(value: float) -> str:
    """1,234; with one decimal if it is not a whole number."""
    return _decimal(value, 0 if float(value).is_integer() else 1)


def _decimal(value: float, places: int) -> str:
    if current() == ENGLISH:
        return f"{value:,.{places}f}"
    return str(format_decimal(round(value, places), "#,##0.0" if places else "#,##0", locale=current()))


def _short(value: float, places: int) -> str:
    """Like `_decimal`, but thousands stand together."""
    written = f"{value:.{places}f}"
    return written if current() == ENGLISH else written.replace(".", get_decimal_symbol(current()))


def percent(share: float) -> str:
    """47% for 0.47."""
    whole = round(share * 100)
    return f"{whole}%" if current() == ENGLISH else str(format_percent(whole / 100, locale=current()))


def duration(seconds: float) -> str:
    """8s, 1m 05s, 2h 10m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"


def size(count: int) -> str:
    """Bytes as 512 B, 3.4 MB, 12 GB."""
    amount, units = float(count), ("B", "kB", "MB", "GB", "TB")
    for unit in units:
        if amount < 1000 or unit == units[-1]:
            return f"{_short(amount, 0 if unit == 'B' or amount >= 10 else 1)} {unit}"
        amount /= 1000
    raise AssertionError("the last unit has no end")


def metric(value: float, name: str) -> str:
    """A value of the metric `name`, one of `panels.METRICS`, in its own unit."""
    if name in SHARES:
        return percent(value)
    if name in SECONDS:
        return duration(value)
    return _short(value, 1) if name == "views_per_visit" else number(value)


def change(now: float, before: float) -> str:
    """How much a number has grown or shrunk, such as +12%; "" if there is nothing to compare with."""
    if not before:
        return ""
    share = (now - before) / before
    if abs(share) < 0.005:
        return f"±{percent(0)}"
    sign, most = "+" if share > 0 else "−", min(abs(share), 99.99)
    if current() == ENGLISH:
        return f"{sign}{most * 100:,.0f}%"
    return f"{sign}{format_percent(round(most, 2), locale=current())}"


def named(value: str, dimension: str) -> str:
    """A value of a list in words, also if there is none."""
    return value or (gettext("Direct") if dimension == "source" else gettext("Unknown"))


def lowered(text: str) -> str:
    """A name in the middle of a sentence, where the language writes it small."""
    return text.lower() if current() == ENGLISH else text


def iso(at: int, zone: str) -> str:
    """A time (Unix ms) as ISO 8601 in a time zone."""
    return ranges.iso(at, zone)


def moment(at: int, zone: str, dated: bool = True) -> str:
    """A time (Unix ms) in a time zone, such as 3 Mar 2026, 14:05:09; without the day unless `dated`."""
    local = datetime.fromtimestamp(at / 1000, ranges.zone_named(zone))
    if not dated:
        return f"{local:%H:%M:%S}"
    if current() == ENGLISH:
        return f"{local:%-d %b %Y, %H:%M:%S}"
    return str(format_datetime(local, "medium", locale=current()))


def day(of: date) -> str:
    """A day, such as 3 Mar 2026."""
    return f"{of:%-d %b %Y}" if current() == ENGLISH else str(format_date(of, "medium", locale=current()))


def step(at: int, interval: str, zone: str) -> str:
    """The start of a step (Unix ms), for the table behind the chart, such as Tue 3 Mar 2026."""
    local = datetime.fromtimestamp(at / 1000, ranges.zone_named(zone))
    if current() == ENGLISH:
        form = {"hour": "%a %-d %b, %H:%M", "month": "%B %Y"}.get(interval, "%a %-d %b %Y")
        return local.strftime(form)
    skeleton = {"hour": "MMMEd", "month": "yMMMM"}.get(interval, "yMMMEd")
    written = str(format_skeleton(skeleton, local, local.tzinfo, locale=current()))
    return f"{written}, {local:%H:%M}" if interval == "hour" else written


def clock(at: int, zone: str) -> str:
    """Hour and minute of a time (Unix ms) in a time zone, such as 14:05."""
    return datetime.fromtimestamp(at / 1000, ranges.zone_named(zone)).strftime("%H:%M")


def register(app: Flask) -> None:
    """Adds the filters to the app's templates."""
    for filter_ in (number, size, percent, duration, metric, change, named, lowered, iso, moment, day, clock):
        app.add_template_filter(filter_)
