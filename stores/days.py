"""Day tables: what each day of a site amounts to, so that a question over a year costs by its days and values.

A row of the day tables counts one value of a dimension on one day of a site. Its numbers are computed by the statements
of `sql/query/rows`, for a day that is built and for one that is not, so both say the same. A question adds rows up:
those of built days, and for all other days the rows that the same statements give over events and sessions.

A built day counts as long as no row of it changed since. Every row has the number of the batch that wrote it, and
batches become complete in order; so the *horizon*, the last complete batch of each unit, divides what was looked at
from what was not. The builder (`pipeline.days`) declares days invalid that changed up to a new horizon before it moves
the horizon, and a reader leaves out the days with rows beyond it. So there is nothing that a writer has to remember to
do, and what a reader sees is exact whatever died between two steps.

Filters. A question that is asked of some visits only (`stores.filters`) needs more than values: each day has its visits
too, a row each with what it did (`day_visits`). Their rows, stored or made, are filtered and counted by `rows/chosen`,
which gives rows of the same form.

Months. What lies in a whole month is asked of the month's rows (`stores.months`), which are those of its days added up.

Visitors. An id without cookies lasts a day, and over several days it counts once a day: these add up. Ids that last
(of imports, and of senders that name their visitors) are in a state that merges; see `exact`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import groupby
from typing import Any

import polars as pl

from activity.definitions import DAY_MS
from activity.zones import day_start_ms
from stores import clickhouse, filters
from stores.clickhouse import Beside
from stores.filters import Condition, Filter
from stores.months import Month, MonthTables
from stores.warehouse import Warehouse

# Up to so many visitors whose ids last the state counts exactly but for one chance in a hundred; beyond, this is its
# standard error.
EXACT_LASTING = 10_000
STANDARD_ERROR = 0.004

# The dimensions, by the statement that gives their rows; the dimension "" is all that happened.
_STATEMENTS = {
    "visits": (
        *("", "entry_page", "exit_page", "source", "channel", "campaign", "country", "region", "city", "language"),
        *("device", "browser", "os", *filters.UTM),
    ),
    "events": ("page", "search", "event", "not_found", "outbound", "download"),
    "counts": ("",),
}
DIMENSIONS = tuple(dict.fromkeys(dimension for theirs in _STATEMENTS.values() for dimension in theirs))

# What a day is built from, and how: a day that was built otherwise, by another version, is built again.
EDITION = 4

_ROW = (
    "day, dimension, value, visitors, regulars, lasting, visits, bounces, duration_ms, engaged,"
    " engaged_ms, pageviews, searches, events,"
    " bots, without_results"
)
_VISIT = (
    "visitor, session_id, started_at, began, again, lasts, is_bounce, is_engaged, duration_ms, visit_engaged_ms,"
    " visit_pageviews, visit_searches, visit_events, pageviews, searches, events, entry_page, exit_page, source,"
    " channel, campaign, country, region, city, language, device, browser, os, utm_source, utm_medium, utm_term,"
    " utm_content, `page.value`, `page.views`, `page.events`, `page.engaged_ms`, `search.value`, `search.events`,"
    " `search.nothing`, `event.value`, `event.events`, `not_found.value`, `not_found.events`, `outbound.value`,"
    " `outbound.events`, `download.value`, `download.events`, pages_elsewhere, searches_elsewhere,"
    " events_elsewhere, not_found_elsewhere, outbound_elsewhere, download_elsewhere, props"
)
_STEPS = {"kind": "UInt8", "value": "String", "event": "UInt32", "at": "Int64", "results": "Int64"}
_WITH_STEPS = ", ".join(f"`step.{name}`" for name in _STEPS)
_WITHOUT_STEPS = ", ".join(f"emptyArray{kind}() AS `step.{name}`" for name, kind in _STEPS.items())
_MANY_DAYS = 1_000
DAYS_AT_ONCE = 4
_DATES = 2**16
_DAY = timedelta(days=1)
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Period:
    """Days of a site in a time zone, from `first` to `last`, cut off at `until_ms` (Unix ms) if that is given."""

    site: str
    zone: str
    first: date
    last: date
    until_ms: int | None = None

    @property
    def days(self) -> list[date]:
        """All of its days."""
        return [self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1)]


@dataclass(frozen=True)
class Cover:
    """Which visits of a period are asked for, and where their numbers come from: the day tables, or the events and
    sessions themselves."""

    period: Period
    filters: tuple[Filter, ...]
    versions: list[int]  # of each day of the period, 0 for one that is not taken from the day tables
    spans: list[tuple[date, int, int]]  # days that are not taken from there, with the start and end of each (ms)
    made: Beside | None = None  # the visits that filters choose on these days, as rows of `day_visits`
    steps: bool = False  # whether what visits did, in order, is asked for
    months: tuple[Month, ...] = ()  # which are made of the days of these versions

    @property
    def built(self) -> bool:
        """Whether any day is taken from the day tables."""
        return any(self.versions)

    @property
    def apart(self) -> list[int]:
        """The versions, 0 also for the days that a month has."""
        inside = {day for month in self.months for day in month.builds}
        return [0 if day in inside else version for day, version in zip(self.period.days, self.versions, strict=True)]


def exact(lasting: int, period: Period) -> bool:
    """Whether a number of visitors, so many of them with ids that last, is exact for a period."""
    return lasting <= EXACT_LASTING or period.first == period.last


class DayTables:
    """Asks for numbers by day, and writes the days that were built. Raises what `Warehouse` raises."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self.months = MonthTables(warehouse)

    # -- questions --------------------------------------------------------------------------------------------

    def cover(self, period: Period, chosen_by: Sequence[Filter] = (), *, steps: bool = False) -> Cover:
        """Where the numbers of a period, or of those of its visits that filters choose, come from now.

        `steps` is for questions of visits themselves (`of_visits`)."""
        # The horizon first: what changes from now on lies beyond it, also if the builder moves it meanwhile.
        horizon = self.horizon()
        where = {"site": period.site, "zone": period.zone, "edition": EDITION}
        where |= {"first": period.first, "last": period.last}
        built = dict(self._warehouse.ask("built_days", **where).iter_rows())
        if built:
            days = sorted(built)
            starts, ends = _starts(days, period.zone), _starts([day + _DAY for day in days], period.zone)
            given = {"site": period.site, "units": horizon or [0], "dates": days, "starts": starts, "ends": ends}
            touched = self._warehouse.ask("touched_days", **given)
            for day in touched.to_series():
                del built[day]
        cover = replace(_cover(period, tuple(chosen_by), built), steps=steps)
        if cover.built and not (chosen_by or steps):
            builds = {day: version for day, version in zip(period.days, cover.versions, strict=True) if version}
            months = self.months.made_of(period.site, period.zone, period.first, period.last, builds)
            cover = replace(cover, months=tuple(months))
        if cover.spans and (cover.filters or steps or len(cover.spans) > _MANY_DAYS):
            # Only the days that there can be events of are asked for: visits are made day by day, and decades are long.
            known = self._warehouse.ask("known_days", site=period.site).rows()
            first, last = known[0] if known else (date.max, date.min + _DAY)
            spans = [span for span in cover.spans if first <= span[0] + _DAY and span[0] - _DAY <= last]
            cover = replace(cover, spans=spans)
        return self._with_visits(cover)

    def _with_visits(self, cover: Cover) -> Cover:
        """The cover with the visits that filters choose on days without day tables: they are made once for all that is
        asked of them, some days at a time."""
        if not (cover.filters or cover.steps) or not cover.spans:
            return cover
        condition = Condition(cover.filters)
        sql = f"""
            SELECT {{site:String}} AS site, day, toUInt64(0) AS version, {_VISIT},
                {_WITH_STEPS if cover.steps else _WITHOUT_STEPS}
            FROM (\n{_statement("day_visits")}\n) WHERE {condition.chosen}"""
        made: Beside | None = None
        for _, spans in groupby(cover.spans, key=lambda span: span[1] // (DAYS_AT_ONCE * DAY_MS)):
            params = {"site": cover.period.site} | condition.params | _spans(list(spans))
            some = self._warehouse.table_of("made_visits", sql, _declared(sql, params), like="day_visits")
            made = some if made is None else replace(made, body=made.body + some.body)
        return replace(cover, made=made)

    def stats(self, cover: Cover) -> dict[str, Any]:
        """The numbers of a period, `bots` and `lasting` among them."""
        return self._ask("stats", cover, [""]).row(0, named=True)

    def series(self, cover: Cover, interval: str) -> dict[date, dict[str, Any]]:
        """The numbers of each `interval` (day, week, month) of a period that has any, by its first day."""
        asked = self._add_up if interval == "day" else self._ask
        rows = asked("series", cover, [""], interval=interval).iter_rows(named=True)
        return {row.pop("bucket"): row for row in rows}

    def hours(self, cover: Cover, starts: Sequence[int]) -> dict[int, dict[str, Any]]:
        """The numbers of each hour of a period that has any, by its start (Unix ms); `starts` are those of all hours.

        The day tables know no hours, so they are always those of the events and sessions themselves."""
        end = day_start_ms(cover.period.last + _DAY, cover.period.zone)
        bounds = zip(starts, [*starts[1:], end], strict=True)
        # The statements label a span by a date: here the n-th hour is the n-th day of all times.
        spans = [(_EPOCH + timedelta(days=n), start, until) for n, (start, until) in enumerate(bounds)]
        raw = self._with_visits(Cover(cover.period, cover.filters, [], spans))
        rows = self._add_up("series", raw, [""], interval="day").iter_rows(named=True)
        return {starts[(row.pop("bucket") - _EPOCH).days]: row for row in rows}

    def breakdowns(self, cover: Cover, dimensions: Sequence[str], limit: int) -> dict[str, list[dict[str, Any]]]:
        """The values with the most visitors, for each of some dimensions. Raises ValueError for what is none."""
        _check(dimensions)
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in dimensions}
        for row in self._ask("breakdown", cover, dimensions, limit=limit).iter_rows(named=True):
            found[row.pop("dimension")].append(row)
        return found

    def listing(
        self, cover: Cover, dimension: str, search: Sequence[str], sort: str, limit: int, offset: int
    ) -> pl.DataFrame:
        """Values of a dimension that have one of the texts `search` in them, if any are given: rows as in `breakdowns`.

        `sort` is "value", or "visitors", "visits", "pageviews" or "events" for the most first. A row has the number of
        all such values as `total`. Raises ValueError for what is no dimension."""
        _check([dimension])
        asked = {"search": list(search), "sort": sort, "limit": limit, "offset": offset}
        merging = cover.period.first < cover.period.last
        return self._add_up("listing", cover, [dimension], merging=merging, **asked)

    def of_visits(self, question: str, cover: Cover, parts: Mapping[str, str], **params: Any) -> pl.DataFrame:
        """The answer to a question of `sql/query/visits`, which is asked of the visits of a cover with `steps`; or with
        neither steps nor filters, if it asks what sessions say of themselves.

        `parts` are conditions of ours that it has places for; `params` are bound."""
        stored, condition = cover.built or not cover.spans, Condition(cover.filters)
        visits = [clickhouse.rows("stored_visits")] if stored else []
        if cover.made:
            visits.append("SELECT * FROM made_visits")
        elif cover.spans:
            visits.append(clickhouse.rows("begun"))
            params |= _spans(cover.spans)
        given = {"visits": "\nUNION ALL\n".join(visits), "chosen": condition.chosen}
        params |= condition.params | {"site": cover.period.site, "versions": cover.versions}
        params |= {"first": cover.period.first, "last": cover.period.last}
        sql = clickhouse.filled(clickhouse.filled(clickhouse.rows(question, "visits"), parts), given)
        return self._warehouse.query(sql, _declared(sql, params), cover.made)

    def _ask(self, question: str, cover: Cover, dimensions: Sequence[str], **params: Any) -> pl.DataFrame:
        """The answer. Ids that last are merged over the days only where there are any: it costs as much as the rest.

        Values that are left out have fewer visitors than the last one, merged or not."""
        found = self._add_up(question, cover, dimensions, **params)
        if cover.period.first == cover.period.last or not found["lasting"].sum():
            return found
        return self._add_up(question, cover, dimensions, merging=True, **params)

    def _add_up(
        self, question: str, cover: Cover, dimensions: Sequence[str], *, merging: bool = False, **params: Any
    ) -> pl.DataFrame:
        params |= {"site": cover.period.site, "dimensions": list(dimensions), "merging": merging}
        months = () if question == "series" else cover.months
        versions = cover.apart if months else cover.versions
        stored, raw = any(versions) or not (cover.spans or months), bool(cover.spans)
        if stored:
            params |= {"first": cover.period.first, "last": cover.period.last, "versions": versions}
            params["taken"] = [day for day, each in zip(cover.period.days, versions, strict=True) if each]
        if months:
            params |= {"months": [each.first for each in months], "month_versions": [each.version for each in months]}
        if cover.filters:
            condition, by_day = Condition(cover.filters), question == "series"
            params |= condition.params
            visits = [clickhouse.rows("stored_visits")] if stored else []
            visits += ["SELECT * FROM made_visits"] if raw else []
            rows = [row for of in visits for row in filters.rows(of, dimensions, condition, by_day=by_day)]
        else:
            rows = [clickhouse.rows("stored")] if stored else []
            rows += [clickhouse.rows("stored_months")] if months else []
            if raw:
                params |= _spans(cover.spans)
                rows += [_statement(name) for name, theirs in _STATEMENTS.items() if set(theirs) & set(dimensions)]
        sql = clickhouse.filled(clickhouse.question(question), {"rows": "\nUNION ALL\n".join(rows)})
        return self._warehouse.query(sql, _declared(sql, params), cover.made)

    # -- building ---------------------------------------------------------------------------------------------

    def build(self, site: str, zone: str, day: date) -> None:
        """Build a day. It counts once all of its rows are there."""
        version = self._next_version(site, day)
        begin, end = day_start_ms(day, zone), day_start_ms(day + _DAY, zone)
        spans = [(day, begin, end)] if begin < end else []  # clocks may skip a day
        params = {"site": site, "version": version} | _spans(spans)
        sql = f"""
            INSERT INTO day_visits (site, day, version, {_VISIT}, {_WITH_STEPS})
            SELECT {{site:String}}, day, {{version:UInt64}}, {_VISIT}, {_WITH_STEPS}
            FROM (\n{_statement("day_visits")}\n)"""
        self._warehouse.command(sql, _declared(sql, params))
        head = f"INSERT INTO day_values (site, version, {_ROW}) SELECT {{site:String}}, {{version:UInt64}}, {_ROW} FROM"
        for name, theirs in _STATEMENTS.items():
            sql = f"{head} (\n{_statement(name)}\n)"
            self._warehouse.command(sql, _declared(sql, params | {"dimensions": list(theirs)}))
        self._record([(site, zone, day, version, 1)])

    def invalidate(self, days: Sequence[tuple[str, str, date]]) -> None:
        """Declare days (site, zone, day) to be other than the day tables say."""
        version = self._next_version()
        self._record([(*day, version, 0) for day in days])

    def _record(self, builds: Sequence[tuple[str, str, date, int, int]]) -> None:
        kinds = {"site": pl.String, "zone": pl.String, "day": pl.Date, "version": pl.UInt64, "valid": pl.UInt8}
        frame = pl.DataFrame(builds, schema=kinds, orient="row").with_columns(edition=pl.lit(EDITION, pl.UInt16))
        self._warehouse.insert("day_builds", frame, f"day_builds/{time.time_ns()}")

    def _next_version(self, site: str = "", day: date = _EPOCH) -> int:
        """A version above all others, that of a build that was broken off included, whatever the clock says."""
        sql = """
            SELECT greatest({now:UInt64}, (SELECT max(version) FROM day_builds) + 1,
                (SELECT max(version) FROM day_values WHERE site = {site:String} AND day = {day:Date32}) + 1,
                (SELECT max(version) FROM day_visits WHERE site = {site:String} AND day = {day:Date32}) + 1)"""
        return int(self._warehouse.query(sql, {"now": time.time_ns(), "site": site, "day": day}).item())

    def builds(self) -> dict[tuple[str, str, date], bool]:
        """All days that were ever built or declared invalid, and whether they are valid as far as the horizon is."""
        sql = "SELECT site, zone, day, valid AND edition = {edition:UInt16} FROM day_builds FINAL"
        found = self._warehouse.query(sql, {"edition": EDITION})
        return {(site, zone, day): bool(valid) for site, zone, day, valid in found.iter_rows()}

    def horizon(self) -> list[int]:
        """The last batch of each unit that was looked at; empty before the first look."""
        found = self._warehouse.query("SELECT arrayJoin(argMax(units, at)) AS upto FROM day_horizons")
        return found["upto"].to_list()

    def move_horizon(self, units: Sequence[int]) -> None:
        """Say that all rows up to these batches were looked at."""
        sql = """
            INSERT INTO day_horizons (at, units)
            SELECT greatest({now:UInt64}, max(at) + 1), {units:Array(UInt64)} FROM day_horizons"""
        self._warehouse.command(sql, {"now": time.time_ns(), "units": list(units)})

    def months_due(self, before: date) -> list[Month]:
        """The months before that of a day that may be made, see `MonthTables.due`."""
        return self.months.due(before, EDITION)

    def changed(self, horizon: Sequence[int], sites: Sequence[str]) -> pl.DataFrame:
        """The hours (`site`, `first`, `last`, Unix ms of their starts) that rows of sites beyond a horizon touch."""
        return self._warehouse.ask("changed", units=list(horizon), sites=list(sites))

    def forget(self) -> None:
        """Declare all days invalid: rows were lost, which no batch tells of."""
        valid = [day for day, valid in self.builds().items() if valid]
        if valid:
            self.invalidate(valid)


def _check(dimensions: Sequence[str]) -> None:
    unknown = [name for name in dimensions if name not in DIMENSIONS[1:]]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no dimension; there are {', '.join(DIMENSIONS[1:])}")


def _declared(sql: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a statement, which is put together from files, declares."""
    return {name: value for name, value in params.items() if f"{{{name}:" in sql}


def _statement(name: str) -> str:
    """A statement of `sql/query/rows` with the parts that it shares with others."""
    asked = f"hasAny({{dimensions:Array(String)}}, {list(filters.UTM)})" if name in _STATEMENTS else "true"
    utm = clickhouse.filled(clickhouse.rows("utm"), {"wanted": asked})
    return clickhouse.filled(clickhouse.rows(name), {"utm": utm, "target": clickhouse.rows("target")})


def _starts(days: Sequence[date], zone: str) -> list[int]:
    return [day_start_ms(day, zone) for day in days]


def _cover(period: Period, chosen_by: tuple[Filter, ...], versions: Mapping[date, int]) -> Cover:
    days = period.days
    taken: list[int] = []
    spans: list[tuple[date, int, int]] = []
    starts = _starts([*days, days[-1] + _DAY], period.zone)
    until = starts[-1] if period.until_ms is None else min(period.until_ms, starts[-1])
    for day, start, end in zip(days, starts, starts[1:], strict=False):
        taken.append(versions.get(day, 0) if end <= until else 0)
        if not taken[-1] and start < min(end, until):
            spans.append((day, start, min(end, until)))
    return Cover(period, chosen_by, taken, spans)


def _spans(spans: Sequence[tuple[date, int, int]]) -> dict[str, Any]:
    """The parameters of a statement of `rows`: days with their starts and ends (ms), the gaps between, all UTC days."""
    utc = {day for _, begin, end in spans for day in range(begin // DAY_MS, (end - 1) // DAY_MS + 1)}
    return {
        "dates": [day for day, _, _ in spans],
        "starts": [begin for _, begin, _ in spans],
        "bounds": sorted({0, *(at for _, begin, end in spans for at in (begin, end))}),
        "days": _dates(utc),
        "visit_days": _dates(day - before for day in utc for before in range(3)),
        "near_days": _dates(day + away for day in utc for away in range(-2, 3)),
    }


def _dates(days: Iterable[int]) -> list[date]:
    """Days since the epoch as dates, as the column `day` has them: its type begins anew when it is used up."""
    return [_EPOCH + timedelta(days=day) for day in sorted({day % _DATES for day in days if day >= 0})]
