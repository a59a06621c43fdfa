"""Days as people say them, and the instants where they begin."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dashboards import ranges
from dashboards.ranges import BadRange, DateRange


def utc(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("zone", "day", "start", "end"),
    [
        ("UTC", "2026-03-29", "2026-03-29T00:00", "2026-03-30T00:00"),
        ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00", "2026-03-29T22:00"),  # 23 hours
        ("Europe/Berlin", "2026-10-25", "2026-10-24T22:00", "2026-10-25T23:00"),  # 25 hours
        ("Asia/Kolkata", "2026-04-05", "2026-04-04T18:30", "2026-04-05T18:30"),
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00", "2018-11-05T02:00"),  # midnight was skipped
        ("America/Havana", "2026-11-01", "2026-11-01T04:00", "2026-11-02T05:00"),  # midnight came twice
        ("Australia/Lord_Howe", "2026-10-04", "2026-10-03T13:30", "2026-10-04T13:00"),  # half an hour
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00", "2011-12-31T10:00"),  # the day before was left out
    ],
)
def test_a_day_begins_at_its_first_instant(zone: str, day: str, start: str, end: str) -> None:
    span = DateRange(date.fromisoformat(day), date.fromisoformat(day), zone)
    assert (span.start_ms, span.end_ms) == (utc(start), utc(end))


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("today", "2026-03-02", "2026-03-02"),
        ("yesterday", "2026-03-01", "2026-03-01"),
        ("7d", "2026-02-24", "2026-03-02"),
        ("30d", "2026-02-01", "2026-03-02"),
        ("month", "2026-03-01", "2026-03-02"),
    ],
)
def test_periods_end_today(name: str, first: str, last: str) -> None:
    now = utc("2026-03-01T23:30")  # past midnight in Berlin
    assert ranges.period(name, now, "Europe/Berlin") == DateRange(
        date.fromisoformat(first), date.fromisoformat(last), "Europe/Berlin"
    )


def test_the_range_before_has_as_many_days_and_touches() -> None:
    span = DateRange(date(2026, 3, 10), date(2026, 3, 16))
    assert span.previous() == DateRange(date(2026, 3, 3), date(2026, 3, 9))
    assert span.previous().end_ms == span.start_ms


@given(first=st.dates(date(2001, 1, 1), date(2190, 1, 1)), days=st.integers(1, 800))
@example(first=date(2024, 2, 29), days=1)
@example(first=date(2025, 1, 1), days=366)
def test_the_year_before_begins_on_the_same_date_and_has_as_many_days(first: date, days: int) -> None:
    found = DateRange(first, first + timedelta(days=days - 1)).year_before()
    assert (found.days, found.first.year, found.first.month) == (days, first.year - 1, first.month)
    assert found.first.day == (28 if (first.month, first.day) == (2, 29) else first.day)


def test_a_range_is_compared_with_what_is_asked_for() -> None:
    span = DateRange(date(2026, 3, 10), date(2026, 3, 16), "Asia/Tokyo")
    found = {how: span.compared(how) for how in ranges.COMPARISONS}
    assert found == {"previous": span.previous(), "year": span.year_before(), "none": None}


@pytest.mark.parametrize(
    ("days", "interval"), [(1, "hour"), (2, "hour"), (3, "day"), (92, "day"), (93, "week"), (367, "month")]
)
def test_a_chart_has_a_step_that_can_be_read(days: int, interval: str) -> None:
    first = date(2025, 1, 1)
    assert DateRange(first, date.fromordinal(first.toordinal() + days - 1)).interval == interval


@pytest.mark.parametrize(
    "text", ["", "2026-3-1", "20260301", "2026-02-30", "yesterday", "1999-12-31", "2026-03-01T00:00", "२०२६-०३-०१"]
)
def test_what_is_no_day_is_refused_by_the_parameters_name(text: str) -> None:
    with pytest.raises(BadRange, match=r"^from must be a day as YYYY-MM-DD"):
        ranges.parse_day("from", text)


@pytest.mark.parametrize(
    "zone",
    ["Mars/Olympus", "", "../etc/passwd", "/etc/localtime", "a\0b", "Europe", "localtime", "Factory", "posix/Japan"],
)
def test_an_unknown_zone_is_refused(zone: str) -> None:
    with pytest.raises(BadRange, match="give an IANA name"):
        ranges.zone_named(zone)


def test_a_range_runs_forward() -> None:
    with pytest.raises(BadRange, match="swap them"):
        DateRange(date(2026, 3, 2), date(2026, 3, 1))


def test_too_many_steps_are_refused() -> None:
    years = DateRange(date(2000, 1, 1), date(2026, 1, 1))
    ranges.check_interval(years, "day")
    with pytest.raises(BadRange, match="take a longer one"):
        ranges.check_interval(years, "hour")
    with pytest.raises(BadRange, match="hour, day, week, month"):
        ranges.check_interval(years, "minute")
