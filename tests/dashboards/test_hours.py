"""Hours where the clocks are moved, against Python's zones: what each hour is called and which events it holds."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from dashboards.panels import Panels
from dashboards.ranges import DateRange
from stores.warehouse import Warehouse
from tests.dashboards.conftest import ms

MINUTE = timedelta(minutes=1)
# Half an hour back, forward, over midnight; then whole hours, two hours, a day, and odd offsets; then changes
# of the clocks a minute after midnight.
DAYS = [
    ("Australia/Lord_Howe", "2024-04-07"), ("Australia/Lord_Howe", "2024-10-06"), ("America/Caracas", "2016-05-01"),
    ("America/Caracas", "2007-12-09"), ("Asia/Colombo", "2006-04-15"), ("Asia/Pyongyang", "2015-08-14"),
    ("Asia/Pyongyang", "2015-08-15"), ("Asia/Pyongyang", "2018-05-04"), ("Asia/Pyongyang", "2018-05-05"),
    ("Pacific/Norfolk", "2015-10-04"), ("Europe/Berlin", "2026-03-29"), ("Europe/Berlin", "2026-10-25"),
    ("America/Sao_Paulo", "2018-11-04"), ("America/Havana", "2026-11-01"), ("Pacific/Chatham", "2026-04-05"),
    ("Pacific/Chatham", "2026-09-27"), ("Antarctica/Troll", "2026-03-29"), ("Antarctica/Troll", "2026-10-25"),
    ("Pacific/Apia", "2011-12-31"), ("Asia/Kathmandu", "2026-01-01"), ("Australia/Eucla", "2026-06-01"),
    ("America/St_Johns", "2026-03-08"), ("America/St_Johns", "2026-11-01"), ("UTC", "2150-01-01"),
    ("Antarctica/Casey", "2020-10-04"), ("America/St_Johns", "2010-11-07"), ("America/Goose_Bay", "2011-03-13"),
    ("Asia/Gaza", "2010-03-27"),
]  # fmt: skip


def minutes(zone: str, day: str) -> list[datetime]:
    """Every minute of the day, from its first to its last, and one before, as the clock shows it."""
    first = date.fromisoformat(day)
    clock = ZoneInfo(zone)
    instant = datetime(first.year, first.month, first.day, tzinfo=UTC) - timedelta(days=1)
    shown = [(instant + n * MINUTE).astimezone(clock) for n in range(60 * 72)]
    here = [n for n, at in enumerate(shown) if at.date() == first]
    return shown[here[0] - 1 : here[-1] + 1]


def hours(zone: str, day: str) -> Counter[datetime]:
    """The hours by their beginning, with how many minutes each lasts: one begins where the clock shows it full, or
    shows another hour than a moment ago."""
    before, *rest = minutes(zone, day)
    found: Counter[datetime] = Counter()
    begun = rest[0]
    for at in rest:
        if at.minute == 0 or at.hour != before.hour:
            begun = at
        found[begun.astimezone(UTC)] += 1
        before = at
    return found


@pytest.fixture(scope="module")
def filled(warehouse: Warehouse) -> Warehouse:
    """A page view and a visit at the last millisecond of every minute of every day."""
    moments = {
        (f"{zone}.{day}", ms(at) + 59_999, n)
        for zone, day in DAYS
        for n, at in enumerate(minutes(zone, day)[1:], 1)
    }
    sites, times, numbers = zip(*moments, strict=True)
    same = {"site": sites, "visitor": numbers, "batch": [1] * len(sites)}
    events = pl.DataFrame(same | {"id_hi": numbers, "id_lo": numbers, "occurred_at": times, "received_at": times})
    warehouse.insert("event_rows", events.with_columns(type=pl.lit("pageview")), "minutes")
    sessions = pl.DataFrame(same | {"session_id": numbers, "started_at": times, "ended_at": times})
    warehouse.insert("session_rows", sessions, "minutes")
    return warehouse


@pytest.mark.parametrize(("zone", "day"), DAYS)
def test_hours_are_those_that_the_clock_shows(filled: Warehouse, zone: str, day: str) -> None:
    span = DateRange(date.fromisoformat(day), date.fromisoformat(day), zone)
    found = Panels(filled, f"{zone}.{day}", span).timeseries("hour")
    wanted = [(ms(at), lasts, lasts) for at, lasts in hours(zone, day).items()]
    assert [(row["time"], row["visits"], row["pageviews"]) for row in found] == wanted
