"""What Matomo's API tells of days, as JSON, XML, CSV or TSV, with `period=day`.

`API.get` or `VisitsSummary.get` tell what a day amounts to; `Actions.getPageUrls`, `UserCountry.getCountry` and the
like what its visits were by one thing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, NamedTuple

from ingest.logs.files import ImportFailed
from ingest.migration.dates import day_of
from ingest.migration.export import Broken, Left, Tell, csv_rows, header, json_objects, order_in
from ingest.migration.matomo import lists, values, xml
from ingest.migration.members import Member
from ingest.migration.totals import Counted, DayRow, Total, count_of

# Of each number of a day: what Matomo calls it.
_NUMBERS = {
    "visitors": "nb_uniq_visitors", "visits": "nb_visits", "bounces": "bounce_count",
    "duration_ms": "sum_visit_length", "pageviews": "nb_pageviews", "events": "nb_actions",
}  # fmt: skip
_HEAD = 4096  # bytes, in which a table names its columns
_ASK = "ask Matomo with period=day"
CUT = 100  # rows of an answer, if it was not asked for more
ASK_FOR_ALL = "ask for the others, too, with filter_limit=-1"


class Found(NamedTuple):
    """A row of an answer: where it stands, the site and the day that it is of, and its fields."""

    number: int
    site: str
    day: str
    row: dict[str, Any]


def is_it(members: Sequence[Member]) -> bool:
    """Return whether the files are such answers, and no visits or dumps."""
    return all(_is_one(member) for member in members)


def _is_one(member: Member) -> bool:
    first = member.first_byte()
    if first in (b"{", b"<"):
        if first == b"<" and b"<result" not in member.begins(_HEAD):
            return False
        try:
            found = next(_rows(member), None)
        except ImportFailed:
            return False  # which the reader of visits tells
        if not isinstance(found, Found) or not found.day[:1].isdecimal():
            return False
        return "actionDetails" not in found.row and _has_numbers(found.row)
    head = member.begins(_HEAD)
    if first == b"[" or not (b"nb_visits" in head or b"nb_hits" in head or b"nb_events" in head):
        return False
    names = {*header(member)}
    return "date" in names and _has_numbers(dict.fromkeys(names)) and "idVisit" not in names


def _has_numbers(row: dict[str, Any]) -> bool:
    return not row or "value" in row or bool({*_NUMBERS.values(), *lists.NAMES} & {*row})


def read(members: Sequence[Member], _site: str, theirs: str, tell: Tell) -> Iterator[Counted]:
    """Yield what each day amounts to; `theirs` is the id of the site, where there are several.

    Raises ImportFailed where it is of months or other periods, or of several sites and none is chosen."""
    sites: set[str] = set()
    with_segments: set[int] = set()  # the files of lists that say what their rows are of
    for file, member in enumerate(members):
        of_day: Counter[tuple[str, str]] = Counter()
        for found in _rows(member):
            if isinstance(found, Found):
                sites.add(found.site)
                of_day[found.site, found.day] += "label" in found.row
                if lists.segment_of(found.row):
                    with_segments.add(file)
        if CUT in of_day.values():
            tell(f"{member.name} has a day with {CUT} rows, as many as Matomo tells by itself: {ASK_FOR_ALL}")
    values.refuse_several(sites - {""}, theirs)
    for file, member in enumerate(members):
        for found in _rows(member):
            if isinstance(found, Broken):
                yield found
            elif theirs and found.site and found.site != theirs:
                yield Left(found.number, "other_site")
            elif file in with_segments and "label" in found.row and not lists.segment_of(found.row):
                yield Left(found.number, "others")
            else:
                yield _total(found, file, member)


def _rows(member: Member) -> Iterator[Found | Broken]:
    first = member.first_byte()
    if first == b"{":
        for found in json_objects(member):
            if isinstance(found, Broken):
                yield found
            else:
                yield from _of_json(*found, "")
    elif first == b"<":
        for found in xml.rows(member):
            if isinstance(found, Broken):
                yield found
            elif "date" in found[1]:
                yield _of_row(found[0], dict(found[1]))
    else:
        order = order_in(member, "date")
        for row in csv_rows(member, ("date",), header(member), lambda _: None):
            if isinstance(row, Broken):
                yield row
            else:
                day = day_of(row.get("date"), order)
                yield _of_row(row.number, {**row.values, "date": day.isoformat() if day else row.get("date")})


def _of_row(number: int, row: dict[str, Any]) -> Found:
    site = next((str(row.pop(name) or "") for name in ("idSite", "idsite", "metadata_idsite") if name in row), "")
    return Found(number, site, str(row.pop("date")), row)


def _of_json(number: int, days: dict[str, Any], site: str) -> Iterator[Found]:
    """Yield the rows of each day; of several sites there is an object of days each."""
    for key, told in days.items():
        value = told
        is_site = key.isdecimal() and len(key) < 8 and not site
        if is_site and isinstance(value, dict) and all(inner[:1].isdecimal() for inner in value):
            yield from _of_json(number, value, key)
        elif isinstance(value := values.listed(value), list) and value:
            yield from (Found(number, site, key, each) for each in value if isinstance(each, dict))
        elif isinstance(value, dict | list):
            yield Found(number, site, key, value if isinstance(value, dict) else {})
        else:
            yield Found(number, site, key, {"value": value})


def _total(found: Found, file: int, member: Member) -> Counted:
    day, row = day_of(found.day), found.row
    where = f"{member.name}, line {found.number}"
    if day is None or not (found.day.startswith(day.isoformat()) and len(found.day) < 20):
        raise ImportFailed(f"{where}: {found.day!r} is no day: {_ASK}")
    if not row:
        return Left(found.number, "no_visits")
    if "value" in row and not {*_NUMBERS.values()} & {*row}:
        raise ImportFailed(f"{where}: it does not say what its numbers are: ask for API.get or VisitsSummary.get")
    if "label" in row:
        return _of_list(found, day, file, where)
    return _counted(found.number, day, row, file)


def _of_list(found: Found, day: date, file: int, where: str) -> Counted:
    def count(name: str) -> int:
        number = count_of(str(found.row[name]))
        if number is None:
            raise ValueError(f"{name} is {found.row[name]!r}, no count")
        return number

    try:
        part, rows = lists.rows_of(found.row, count)
    except lists.Unknown as error:
        raise ImportFailed(f"{where}: {error}") from error
    except ValueError as error:
        return Broken(found.number, repr(found.row).encode(), str(error))
    if not rows:
        return Left(found.number, "not_set" if part.endswith(" event") else "in_other_list")
    return Total(found.number, part, day, rows, file)


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
