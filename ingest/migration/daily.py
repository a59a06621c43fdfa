"""What an export says of each day: the numbers to hold beside our own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from activity.incoming import time_of
from ingest.migration.export import Action, Broken, Left, Read, Scratch
from ingest.migration.totals import PartDay, Total


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
    untold: frozenset[str] = frozenset()  # the numbers of which the export says nothing on any day
    read: int = 0
    refused: int = 0
    not_understood: int = 0
    first_broken: str = ""  # in words


def by_day(rows: Iterable[Read | Total], zone: str) -> Daily:
    """Count visitors, visits and page views by day of a time zone, bots left out.

    A visit counts on the day of the first of its rows in the file; a visitor on each day of one of his; a row that
    several files have, once. Totals are taken as they are, of the last file that has them; a number that is 0 on all of
    their days is one that they do not tell."""
    told, place = Daily({}), ZoneInfo(zone)
    totals: dict[PartDay, tuple[int, Numbers]] = {}
    with Scratch() as seen:
        for row in rows:
            told.read += 1
            if isinstance(row, Broken):
                told.not_understood += 1
                told.first_broken = told.first_broken or f"line {row.number}: {row.why}"
            elif isinstance(row, Left):
                told.refused += 1
            elif isinstance(row, Total):
                _add(row, totals)
            elif not row.agent.bot:
                _count(row, place, told, seen)
    for (_, day), (_, numbers) in totals.items():
        sums = told.days.setdefault(day, Numbers())
        sums.visitors += numbers.visitors
        sums.visits += numbers.visits
        sums.pageviews += numbers.pageviews
    if totals:
        names = [field.name for field in fields(Numbers)]
        told.untold = frozenset(name for name in names if not any(getattr(day, name) for day in told.days.values()))
    return told


def _add(total: Total, totals: dict[PartDay, tuple[int, Numbers]]) -> None:
    for part, rows in total.by_part():
        for row in rows:
            if row.dimension == "":
                file, numbers = totals.get((part, total.day), (total.file, Numbers()))
                if file != total.file:
                    numbers = Numbers()
                numbers.visitors += row.visitors
                numbers.visits += row.visits
                numbers.pageviews += row.pageviews if row.value == "events" else 0
                totals[part, total.day] = total.file, numbers


def _count(row: Action, zone: ZoneInfo, told: Daily, seen: Scratch) -> None:
    try:
        at = time_of(row.event["ts"])
    except ValueError:
        at = None
    if at is None:
        told.refused += 1
        return
    if row.event.get("id") and not seen.add("event", row.event["id"]):
        return
    day = datetime.fromtimestamp(at / 1000, UTC).astimezone(zone).date()
    numbers = told.days.setdefault(day, Numbers())
    numbers.visitors += seen.add("visitor", f"{day}/{row.event['visitor']}")
    numbers.visits += seen.add("visit", row.visit)
    numbers.pageviews += row.event["type"] == "pageview"
