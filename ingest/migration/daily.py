"""What an export says of each day: the numbers to hold beside our own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from activity.incoming import time_of
from ingest.migration.export import Action, Broken, Left, Read, Scratch
from ingest.migration.totals import Total


@dataclass
class Numbers:
    """The numbers of a day."""

    visitors: int = 0
    visits: int = 0
    pageviews: int = 0


@dataclass
class Daily:
    """The numbers of the days of an export, and how many of its rows say nothing of them."""

    days: dict[date, Numbers]
    read: int = 0
    refused: int = 0
    not_understood: int = 0
    first_broken: str = ""  # in words


def by_day(rows: Iterable[Read | Total], zone: str) -> Daily:
    """Count visitors, visits and page views by day of a time zone, bots left out.

    A visit counts on the day of the first of its rows in the file; a visitor on each day of one of his. Totals are
    taken as they are."""
    told, place = Daily({}), ZoneInfo(zone)
    with Scratch() as seen:
        for row in rows:
            told.read += 1
            if isinstance(row, Broken):
                told.not_understood += 1
                told.first_broken = told.first_broken or f"line {row.number}: {row.why}"
            elif isinstance(row, Left):
                told.refused += 1
            elif isinstance(row, Total):
                _add(row, told)
            elif not row.agent.bot:
                _count(row, place, told, seen)
    return told


def _add(total: Total, told: Daily) -> None:
    for row in total.rows:
        if row.dimension == "":
            numbers = told.days.setdefault(total.day, Numbers())
            numbers.visitors += row.visitors
            numbers.visits += row.visits
            numbers.pageviews += row.pageviews if row.value == "events" else 0


def _count(row: Action, zone: ZoneInfo, told: Daily, seen: Scratch) -> None:
    try:
        at = time_of(row.event["ts"])
    except ValueError:
        at = None
    if at is None:
        told.refused += 1
        return
    day = datetime.fromtimestamp(at / 1000, UTC).astimezone(zone).date()
    numbers = told.days.setdefault(day, Numbers())
    numbers.visitors += seen.add("visitor", f"{day}/{row.event['visitor']}")
    numbers.visits += seen.add("visit", row.visit)
    numbers.pageviews += row.event["type"] == "pageview"
