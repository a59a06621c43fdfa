"""Months of the day tables: numbers are the same whether months are made or not, whatever happens to their days."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import count

import polars as pl
import pytest

from stores.cover import Period
from stores.days import DayTables
from stores.months import Month
from tests.stores import frames
from tests.stores import test_days as days
from tests.stores.test_days import DAYS, SITE, ZONE, expected, found, made, put

SPRING = Period(SITE, ZONE, date(2024, 3, 1), date(2024, 4, 30))
MARCH, APRIL, MAY = date(2024, 3, 1), date(2024, 4, 1), date(2024, 5, 1)
EVENTS = made(2_000, seed=11)
_TOKENS = count()
WITH = [date(2024, 3, 29), *DAYS]  # the days with events


tables_without_rows = days.tables


@pytest.fixture
def tables(tables_without_rows: DayTables) -> DayTables:
    """All days are built, and no month is made."""
    tables = tables_without_rows
    put(tables._warehouse, EVENTS, 1, f"months/{next(_TOKENS)}")
    for day in WITH:
        tables.build(SITE, ZONE, day)
    tables.move_horizon([1])
    return tables


def make(tables: DayTables, before: date = MAY) -> list[date]:
    """The months that were due."""
    due = tables.months_due(before)
    for month in due:
        tables.months.build(month)
    assert tables.months_due(before) == []
    return [month.first for month in due]


def taken(tables: DayTables, period: Period = SPRING) -> list[date]:
    return [month.first for month in tables.cover(period).months]


def test_numbers_are_the_same_when_months_are_made(tables: DayTables) -> None:
    assert taken(tables) == []
    assert found(tables, SPRING) == expected(EVENTS, SPRING)
    assert make(tables) == [APRIL, MARCH]
    assert sorted(taken(tables)) == [MARCH, APRIL]
    assert not any(tables.cover(SPRING).apart)
    assert found(tables, SPRING) == expected(EVENTS, SPRING)


def test_only_whole_months_are_taken(tables: DayTables) -> None:
    make(tables)
    for first, last, months in (
        (MARCH, date(2024, 4, 29), [MARCH]),
        (date(2024, 3, 2), date(2024, 4, 30), [APRIL]),
        (date(2024, 3, 2), date(2024, 4, 29), []),
        (DAYS[0], DAYS[1], []),
        (APRIL, date(2024, 4, 30), [APRIL]),
        (date(2023, 12, 31), date(2024, 5, 1), [MARCH, APRIL]),
    ):
        period = Period(SITE, ZONE, first, last)
        assert sorted(taken(tables, period)) == months
        assert found(tables, period, ("", "page", "utm_term")) == expected(EVENTS, period, ("", "page", "utm_term"))


def test_the_month_that_is_not_over_waits(tables: DayTables) -> None:
    assert make(tables, date(2024, 4, 30)) == [MARCH]
    assert make(tables, date(2024, 3, 31)) == []


def test_a_day_that_changed_takes_its_month_along_until_that_is_made_again(tables: DayTables) -> None:
    make(tables)
    late = made(300, seed=12, days=1).with_columns(pl.col("occurred_at") + frames.DAY_MS)  # in March, the 30th
    both = pl.concat([EVENTS, late])
    put(tables._warehouse, EVENTS, 2, f"months/{next(_TOKENS)}", deleted=1)
    put(tables._warehouse, both, 3, f"months/{next(_TOKENS)}")
    tables.move_horizon([1])
    assert taken(tables) == []  # rows of each day are beyond the horizon
    assert found(tables, SPRING) == expected(both, SPRING)
    tables.invalidate([(SITE, ZONE, day) for day in WITH[:3]])
    tables.move_horizon([3])
    assert tables.months_due(MAY) == []
    assert taken(tables) == [APRIL]
    for day in WITH[:3]:
        tables.build(SITE, ZONE, day)
    assert taken(tables) == [APRIL]
    assert found(tables, SPRING) == expected(both, SPRING)
    assert make(tables) == [MARCH]
    assert sorted(taken(tables)) == [MARCH, APRIL]
    assert found(tables, SPRING) == expected(both, SPRING)


def test_a_day_that_a_month_has_not_is_taken_beside_it(tables: DayTables) -> None:
    make(tables)
    more = made(300, seed=13, days=1).with_columns(pl.col("occurred_at") - 9 * frames.DAY_MS)
    put(tables._warehouse, more, 2, f"months/{next(_TOKENS)}")
    tables.move_horizon([2])
    both = pl.concat([EVENTS, more])
    for day in sorted({WITH[0] - timedelta(days=n) for n in (8, 9, 10)}):
        assert sorted(taken(tables)) == [MARCH, APRIL]
        assert found(tables, SPRING) == expected(both, SPRING)
        tables.build(SITE, ZONE, day)
    assert found(tables, SPRING) == expected(both, SPRING)
    assert make(tables) == [MARCH]
    assert found(tables, SPRING) == expected(both, SPRING)


def test_what_was_broken_off_does_not_count(tables: DayTables, monkeypatch: pytest.MonkeyPatch) -> None:
    month = tables.months_due(MAY)[0]
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(tables._warehouse, "insert", interrupted)
        tables.months.build(month)
    assert taken(tables) == []
    with monkeypatch.context() as patched:
        patched.setattr("time.time_ns", lambda: 1_000)  # the clock was put back
        make(tables)
    tables._warehouse.command("OPTIMIZE TABLE month_values FINAL")
    assert len(taken(tables)) == 2
    assert found(tables, SPRING) == expected(EVENTS, SPRING)


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("first", "days"), [(date(2024, 2, 1), 29), (date(2023, 2, 1), 28), (date(2023, 12, 1), 31), (MARCH, 31)]
)
def test_the_days_of_a_month(first: date, days: int) -> None:
    found = Month(SITE, ZONE, first, {}).days
    assert (len(found), found[0], found[-1].month) == (days, first, first.month)
