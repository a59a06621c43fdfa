"""What Matomo's API tells of days: `API.get` or `VisitsSummary.get` with `period=day`, as JSON, CSV or TSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

from ingest.logs.files import ImportFailed
from ingest.migration.dates import day_of
from ingest.migration.export import Broken, Left, Tell, csv_rows, header, json_objects, order_in
from ingest.migration.members import Member
from ingest.migration.totals import Counted, DayRow, Total, count_of

# Of each number of a day: what Matomo calls it.
_NUMBERS = {
    "visitors": "nb_uniq_visitors", "visits": "nb_visits", "bounces": "bounce_count",
    "duration_ms": "sum_visit_length", "pageviews": "nb_pageviews", "events": "nb_actions",
}  # fmt: skip

_HEAD = 4096  # bytes, in which a table names its columns

Found = tuple[int, str, dict[str, Any]]  # line, day, numbers


def is_it(members: Sequence[Member]) -> bool:
    """Return whether the files are such answers, and no visits or dumps."""
    return all(_is_one(member) for member in members)


def _is_one(member: Member) -> bool:
    first = member.first_byte()
    if first == b"{":
        found = next(json_objects(member), None)
        row = found[1] if isinstance(found, tuple) and not isinstance(found, Broken) else {}
        return any(isinstance(value, dict) and "nb_visits" in value for value in row.values())
    if b"nb_visits" not in member.begins(_HEAD):
        return False
    names = {*header(member)}
    return first != b"[" and {"date", "nb_visits"} <= names and "idVisit" not in names


def read(members: Sequence[Member], _site: str, _theirs: str, _tell: Tell) -> Iterator[Counted]:
    """Yield what each day amounts to. Raises ImportFailed where it is of months or other periods."""
    for file, member in enumerate(members):
        for found in _days(member):
            if isinstance(found, Broken):
                yield found
            else:
                yield _total(*found, file, member)


def _days(member: Member) -> Iterator[Found | Broken]:
    if member.first_byte() == b"{":
        for found in json_objects(member):
            if isinstance(found, Broken):
                yield found
            else:
                number, days = found
                yield from ((number, day, row if isinstance(row, dict) else {}) for day, row in days.items())
        return
    order = order_in(member, "date")
    for row in csv_rows(member, ("date",), header(member), lambda _: None):
        if isinstance(row, Broken):
            yield row
        else:
            day = day_of(row.get("date"), order)
            yield row.number, day.isoformat() if day else row.get("date"), dict(row.values)


def _total(number: int, text: str, row: dict[str, Any], file: int, member: Member) -> Counted:
    day = day_of(text)
    if day is None:
        raise ImportFailed(f"{member.name}, line {number}: {text!r} is no day: ask Matomo with period=day")
    if not row:
        return Left(number, "no_visits")
    return _counted(number, day, row, file)


def _counted(number: int, day: date, row: dict[str, Any], file: int) -> Counted:
    there = {ours: row[theirs] for ours, theirs in _NUMBERS.items() if row.get(theirs) not in (None, "")}
    counts = {ours: count_of(str(value)) for ours, value in there.items()}
    for ours, count in counts.items():
        if count is None:
            why = f"{_NUMBERS[ours]} is {there[ours]!r}, no count"
            return Broken(number, repr(row).encode(), why)
    numbers = {ours: (count or 0) * (1000 if ours == "duration_ms" else 1) for ours, count in counts.items()}
    events = {name: numbers.pop(name) for name in ("pageviews", "events") if name in numbers}
    rows = [DayRow("", "", **numbers, pageviews=events.get("pageviews", 0)), DayRow("", "events", **events)]
    return Total(number, "days", day, rows, file, tuple(counts))
