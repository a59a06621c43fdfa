"""What Plausible's API answers: `/api/v2/query` by day, or `/api/v1/stats/timeseries`.

Each answer replaces, day by day, what the file of the export would that is of the same thing.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from activity.attribution import origin
from ingest.logs.files import ImportFailed
from ingest.migration import names
from ingest.migration.address import host_of_referrer, page_of
from ingest.migration.dates import day_of
from ingest.migration.export import Broken, Left, Tell, json_objects
from ingest.migration.members import Member
from ingest.migration.plausible.days import are_days, device_of
from ingest.migration.totals import Counted, DayRow, Total

_NUMBERS = ("visitors", "visits", "pageviews", "events", "bounce_rate", "visit_duration")
_MOST = 10**15
_ASK = 'ask /api/v2/query with "dimensions": ["time:day"], or with one more'

Named = Callable[[str], list[tuple[str, str]]]  # the rows of lists that a value is in: dimension and value


def _as(dimension: str, ours: Callable[[str], str] = str) -> Named:
    return lambda value: [(dimension, ours(value))]


def _source(value: str) -> list[tuple[str, str]]:
    came = names.source_of(value)
    return [("source", came.source), ("channel", came.channel)]


def _referrer(value: str) -> list[tuple[str, str]]:
    came = origin({}, host_of_referrer(value))
    return [("source", came.source), ("channel", came.channel)]


# Of each dimension of the API: the file of the export that is of it, and what a value is here. What stands in such a
# file beside others, such as a region beside its country, would count twice and is not read.
_DIMENSIONS: dict[str, tuple[str, Named]] = {
    "event:page": ("imported_pages", _as("page", page_of)),
    "visit:entry_page": ("imported_entry_pages", _as("entry_page", page_of)),
    "visit:exit_page": ("imported_exit_pages", _as("exit_page", page_of)),
    "visit:source": ("imported_sources", _source),
    "visit:referrer": ("imported_sources", _referrer),
    "visit:country": ("imported_locations", _as("country", names.country_of)),
    "visit:device": ("imported_devices", _as("device", device_of)),
    "visit:browser": ("imported_browsers", _as("browser", names.browser_of)),
    "visit:os": ("imported_operating_systems", _as("os", names.system_of)),
    "event:goal": ("imported_custom_events", _as("event")),
}


def read(member: Member, pages: Pages) -> Iterator[Counted]:
    """Yield what each row of an answer says. Raises ImportFailed where it is none, or not of days."""
    for found in json_objects(member):
        if isinstance(found, Broken):
            yield found
            continue
        number, answer = found
        if "error" in answer:
            raise ImportFailed(f"{member.name}: Plausible's answer is: {answer['error']}")
        results = answer.get("results")
        if not isinstance(results, list):
            there = ", ".join(answer)[:200]
            raise ImportFailed(f"{member.name}, line {number}: no answer of Plausible's API by day ({there}): {_ASK}")
        file = pages.file_of(member.name, answer)
        query = answer.get("query")
        of = _Asked(member.name, query if isinstance(query, dict) else None)
        if of.is_first_version:
            _check_days(member.name, results)
        for row in results:
            yield of.total(number, row, file)


class _Page(NamedTuple):
    """Which page an answer is: how it was asked ("" if it does not say so), its first row and how many a page has."""

    query: str = ""
    offset: int = 0
    limit: int = 0


def _page_of(answer: dict[str, Any]) -> _Page:
    query = answer.get("query")
    if not isinstance(query, dict):
        return _Page()
    page = query.get("pagination")
    told = page if isinstance(page, dict) else {}
    offset, limit = (each if isinstance(each := told.get(name), int) else 0 for name in ("offset", "limit"))
    asked = {name: value for name, value in query.items() if name != "pagination"}
    return _Page(json.dumps(asked, sort_keys=True), offset, limit)


def in_order(members: Sequence[Member], tell: Tell) -> list[Member]:
    """Return the files of answers with the pages of one in their order, which names such as `p10.json` do not have.

    Of a page that is there several times it is the last; a former first page is an answer for itself, which the later
    one replaces. A file with several answers stays where it is."""
    former: list[Member] = []
    found: dict[str | int, dict[int, Member]] = {}
    for place, member in enumerate(members):
        first = [*itertools.islice(json_objects(member), 2)]
        page = _page_of(first[0][1]) if len(first) == 1 and not isinstance(first[0], Broken) else _Page()
        pages = found.pop(page.query or place, {})
        if page.offset in pages and not page.offset:
            former.append(pages[0])
        elif page.offset in pages:
            tell(f"{pages[page.offset].name} is asked for again by {member.name}, which is read")
        found[page.query or place] = {**pages, page.offset: member}
    return former + [pages[offset] for pages in found.values() for offset in sorted(pages)]


class Pages:
    """Which answers are pages of one, that is cut anywhere in a day: they are of one file.

    They were asked for alike, each begins behind the one before, and they have no row in common."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._files = 0
        self._page, self._behind, self._full = _Page(), 0, ""
        self._keys = set[int]()

    def file_of(self, name: str, answer: dict[str, Any]) -> int:
        """Return the place of the file that an answer is of, and tell where pages lack before it."""
        page, results, meta = _page_of(answer), answer.get("results"), answer.get("meta")
        rows = results if isinstance(results, list) else []
        keys = {hash(repr(row.get("dimensions"))) for row in rows if isinstance(row, dict)}
        is_next = bool(page.query) and self._page.query == page.query and page.offset > self._page.offset
        if is_next and self._keys.isdisjoint(keys):
            self._keys |= keys
            if page.offset > self._behind:
                self.end()
        else:
            self.end()
            if page.offset:
                what = f"{name} begins with row {page.offset + 1}, and is no page behind the answer before it"
                self._tell(f"{what}: ask for all pages again, and import all of them by one command")
            self._keys = keys
            self._files += 1
        in_all = meta.get("total_rows") if isinstance(meta, dict) else None
        self._page, self._behind = page, page.offset + len(rows)
        is_full = self._behind < in_all if isinstance(in_all, int) else 0 < page.limit <= len(rows)
        what = f"{name} has {len(rows)} rows, and there are more rows: ask for the next page, too (`offset`)"
        self._full = f"{what}, and import all of them by one command" if is_full else ""
        return self._files - 1

    def end(self) -> int:
        """Tell if the last page is full, so that there may be more of them; return how many files there were."""
        if self._full:
            self._tell(self._full)
        return self._files


def _check_days(name: str, results: list[Any]) -> None:
    """Raise ImportFailed where an answer of version 1 is of no days; it does not say how it was asked."""
    dates = [row.get("date") for row in results if isinstance(row, dict)]
    days = sorted(day for text in dates if (day := day_of(str(text))))
    if results and not are_days(days):
        there = "hours, weeks or months" if any(dates) else "the whole time"
        raise ImportFailed(f"{name} is of {there}, or of one day: {_ASK}")


class _Asked:
    """What an answer is of, as it says itself (version 2); None is a series of version 1."""

    def __init__(self, name: str, query: dict[str, Any] | None) -> None:
        asked = query or {}

        def listed(name: str) -> list[str]:
            value = asked.get(name)
            return [str(each) for each in value] if isinstance(value, list) else []

        if asked.get("filters"):
            raise ImportFailed(f"{name} is of the visits that filters choose: {_ASK}, and without filters")
        self.metrics = listed("metrics")
        self.dimensions = listed("dimensions") if query is not None else ["time:day"]
        self.is_first_version = query is None
        of = [each for each in self.dimensions if not each.startswith("time")]
        self.named, self.only = (of or [""])[0], None
        if len(of) > 1 or (of and of[0] not in _DIMENSIONS):
            raise ImportFailed(f"{name} is of {', '.join(of)}: {_ASK} of {', '.join(_DIMENSIONS)}")
        if not {"time:day"} & {*self.dimensions}:
            days = {day_of(each[:10]) for each in listed("date_range")}
            self.only = days.pop() if len(days) == 1 else None
            if self.only is None or len(of) != len(self.dimensions):
                raise ImportFailed(f"{name} is not of days: {_ASK}")
        self.part, self.ours = _DIMENSIONS.get(self.named, ("imported_visitors", _as("")))

    def total(self, number: int, row: object, file: int) -> Counted:
        """Return what a row of the answer says."""
        raw = repr(row).encode()
        if not isinstance(row, dict):
            return Broken(number, raw, "no object")
        values, day, value = row, self.only, ""
        if self.is_first_version:
            day = day_of(str(row.get("date")))
        else:
            of, told = row.get("dimensions"), row.get("metrics")
            named = dict(zip(self.dimensions, of if isinstance(of, list) else [], strict=False))
            values = dict(zip(self.metrics, told if isinstance(told, list) else [], strict=False))
            day = day or day_of(str(named.get("time:day")))
            value = str(named.get(self.named) or "")
        numbers = {name: values.get(name) or 0 for name in _NUMBERS}
        if day is None or not all(isinstance(each, int | float) and 0 <= each < _MOST for each in numbers.values()):
            return Broken(number, raw, "no day such as 2024-05-01, or no count")
        found = self._rows(value, {name: float(each) for name, each in numbers.items()})
        return Total(number, self.part, day, found, file) if found else Left(number, "not_set")

    def _rows(self, value: str, numbers: dict[str, float]) -> list[DayRow]:
        visits, views = round(numbers["visits"]), round(numbers["pageviews"])
        events = round(numbers["events"])
        rows = [
            DayRow(
                dimension,
                ours,
                round(numbers["visitors"]),
                visits,
                round(min(numbers["bounce_rate"], 100) * visits / 100),
                round(min(numbers["visit_duration"] * visits, _MOST) * 1000),
                views,
                events if dimension == "event" else views,
            )
            for dimension, ours in self.ours(value)
            if ours or dimension != "event"
        ]
        if rows and self.named in ("", "event:goal"):
            of_day = {"events": events} if self.named else {"pageviews": views, "events": views}
            rows.append(DayRow("", "events", **of_day))
        return rows
