"""Umami's export of a range: how many visitors each page, referrer, browser and the like had.

It does not say of which days it is, so it is of the one day that the user names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import PurePath

from activity.attribution import origin
from ingest.migration import names
from ingest.migration.address import host_of_referrer, page_of
from ingest.migration.export import Broken, Row, Tell
from ingest.migration.members import Member
from ingest.migration.totals import Counted, DayRow, Total, count_of
from ingest.migration.umami import answers
from ingest.migration.umami.session import browser_of, system_of

_FILES = ("events", "pages", "referrers", "browsers", "os", "devices", "countries")


def is_it(members: Sequence[Member]) -> bool:
    """Return whether the files are of such an export."""
    return all({*answers.names(answers.Table(member))} in ({"x", "y"}, set()) for member in members)


def read(members: Sequence[Member], tell: Tell, day: date) -> Iterator[Counted]:
    """Yield what each row says of a day."""
    for file, member in enumerate(members):
        of = PurePath(member.name).stem
        if of not in _FILES:
            tell(f"{member.name} is not known and not read")
            continue
        table = answers.Table(member)
        for row in answers.rows(table, ("x", "y") if answers.names(table) else (), (), tell):
            yield row if isinstance(row, Broken) else _total(row, of, day, file)


def _total(row: Row, of: str, day: date, file: int) -> Counted:
    count = count_of(row.get("y"))
    if count is None:
        return Broken(row.number, row.raw, f"the column 'y' has {row.get('y')!r}, no count")
    if of == "events":
        rows = [DayRow("event", row.get("x"), events=count), DayRow("", "events", events=count)]
        return Total(row.number, of, day, rows, file)
    rows = [DayRow(dimension, value, count) for dimension, value in _named(of, row.get("x"))]
    if of == "browsers":  # a session has one, so that they add up
        rows.append(DayRow("", "", count))
    return Total(row.number, of, day, rows, file)


def _named(of: str, value: str) -> list[tuple[str, str]]:
    if of == "referrers":
        came = origin({}, host_of_referrer(value))
        return [("source", came.source), ("channel", came.channel)]
    if of == "pages":
        return [("page", page_of(value))]
    if of == "browsers":
        return [("browser", browser_of(value))]
    if of == "os":
        return [("os", system_of(value)[0])]
    if of == "devices":
        return [("device", names.device_of(value) or names.known(value))]
    return [("country", names.country_of(value))]
