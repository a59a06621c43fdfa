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

Open days. Of a day that is not over the visits are kept as they were some moments ago (`stores.open_days`), and only
those of visitors of whom rows came since are made.

Months. What lies in a whole month is asked of the month's rows (`stores.months`), which are those of its days added up.

Visitors. An id without cookies lasts a day, and over several days it counts once a day: these add up. Ids that last
(of imports, and of senders that name their visitors) are in a state that merges; see `exact`.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from itertools import groupby
from typing import Any

import polars as pl

from activity.definitions import DAY_MS
from activity.zones import day_start_ms
from stores import clickhouse, day_rows, filters, imported_days
from stores.clickhouse import Beside
from stores.cover import Cover, Period, covered
from stores.day_rows import ALL, CHANGED, DIMENSIONS, ROW, STATEMENTS, VISIT, WITH_STEPS, WITHOUT_STEPS, Span
from stores.filters import Condition, Filter
from stores.months import Month, MonthTables
from stores.open_days import OpenDays
from stores.warehouse import Warehouse

# Up to so many visitors whose ids last the state counts exactly but for one chance in a hundred; beyond, this is its
# standard error.
EXACT_LASTING = 10_000
STANDARD_ERROR = 0.004

_MANY_DAYS = 1_000
DAYS_AT_ONCE = 4
_AT_ONCE_MS = DAYS_AT_ONCE * DAY_MS
_DAY = timedelta(days=1)
_EPOCH = date(1970, 1, 1)

Rows = tuple[list[str], dict[str, Any]]  # statements that give rows, and their parameters


def exact(lasting: int, period: Period) -> bool:
    """Whether a number of visitors, so many of them with ids that last, is exact for a period."""
    return lasting <= EXACT_LASTING or period.first == period.last


class DayTables:
    """Asks for numbers by day, and writes the days that were built. Raises what `Warehouse` raises."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self.building = warehouse.building  # a lock, held while something is built
        self.months = MonthTables(warehouse)
        self.open = OpenDays(warehouse)

    # -- questions --------------------------------------------------------------------------------------------

    def cover(
        self, period: Period, chosen_by: Sequence[Filter] = (), *, steps: bool = False, imported: bool = False
    ) -> Cover:
        """Where the numbers of a period, or of those of its visits that filters choose, come from now.

        `steps` is for questions of visits themselves (`of_visits`); `imported` adds the days that other products
        counted, of which nobody knows what filters would choose."""
        # The horizon first: what changes from now on lies beyond it, also if the builder moves it meanwhile.
        horizon = self.horizon()
        where = {"site": period.site, "zone": period.zone, "edition": day_rows.EDITION}
        where |= {"first": period.first, "last": period.last}
        looked = bool(horizon) and (period.site, period.zone) in self.looked(period.site)
        found = self._warehouse.ask("built_days", **where)
        seen = {day: version if built else 0 for day, version, built in found.iter_rows()}
        # Days that no look has seen have no rows up to the horizon.
        empty = [day for day in period.days if day not in seen] if looked and period.length <= _MANY_DAYS else []
        versions = {day: version for day, version in seen.items() if version} | dict.fromkeys(empty, 0)
        if versions:
            days = sorted(versions)
            starts, ends = (day_rows.starts([day + n * _DAY for day in days], period.zone) for n in (0, 1))
            given = {"site": period.site, "units": horizon or [0], "dates": days, "starts": starts, "ends": ends}
            for day in self._warehouse.ask("touched_days", **given).to_series():
                del versions[day]
        cover = replace(covered(period, tuple(chosen_by), versions), steps=steps)
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
        if cover.spans and horizon:
            cover = self._with_open_days(cover)
        if imported and not (chosen_by or steps):
            cover = replace(cover, imported=imported_days.counting(self._warehouse, period))
        return self._with_visits(cover)

    def _with_open_days(self, cover: Cover) -> Cover:
        """The cover with what is kept of days that are not over."""
        period = cover.period
        kept = self.open.of(period.site, period.zone, period.first, period.last)
        spans = [span for span in cover.spans if span[0] in kept]
        if not spans:
            return cover
        days = [kept[day] for day, _, _ in spans]
        changed = self.open.changed(period.site, days, spans)
        others = [span for span in cover.spans if span[0] not in kept]
        return replace(cover, spans=others, open=tuple(days), open_spans=tuple(spans), changed=changed)

    def _with_visits(self, cover: Cover) -> Cover:
        """The cover with the visits that filters choose on days without day tables: they are made once for all that is
        asked of them, some days at a time."""
        if not (cover.filters or cover.steps):
            return cover
        condition = Condition(cover.filters)
        made: Beside | None = None
        groups = [(list(some), ALL) for _, some in groupby(cover.spans, key=lambda span: span[1] // _AT_ONCE_MS)]
        for spans, whose in [*groups, *([(list(cover.open_spans), CHANGED)] if cover.open else [])]:
            sql = f"""
                SELECT {{site:String}} AS site, day, toUInt64(0) AS version, {VISIT},
                    {WITH_STEPS if cover.steps else WITHOUT_STEPS}
                FROM (\n{day_rows.statement("day_visits", whose)}\n) WHERE {condition.chosen}"""
            params = day_rows.declared(sql, {"site": cover.period.site} | condition.params | day_rows.spans(spans))
            types = self._warehouse.types_of("day_visits")
            beside = [cover.changed] if whose == CHANGED and cover.changed else []
            some = self._warehouse.table_of("made_visits", sql, params, types, beside)
            made = some if made is None else replace(made, body=made.body + some.body)
        return replace(cover, made=made)

    def stats(self, cover: Cover, until_ms: int | None = None) -> dict[str, Any]:
        """The numbers of a period, up to a time (Unix ms) if that is given, `bots` and `lasting` among them."""
        zone, days = cover.period.zone, cover.period.days
        if until_ms is None:
            return self._ask("stats", cover, [""]).row(0, named=True)
        begun = [day for day in days if day_start_ms(day, zone) < until_ms]
        if not begun:
            return self._ask("stats", Cover(cover.period, (), [0] * len(days), []), [""]).row(0, named=True)
        start, end = day_rows.starts([begun[-1], begun[-1] + _DAY], zone)
        return self._ask("stats", cover, [""], cut=(begun[-1], start, min(end, until_ms))).row(0, named=True)

    def series(self, cover: Cover, interval: str) -> dict[date, dict[str, Any]]:
        """The numbers of each `interval` (day, week, month) of a period that has any, by its first day."""
        asked = self._add_up if interval == "day" else self._ask
        rows = asked("series", cover, [""], interval=interval).iter_rows(named=True)
        return {row.pop("bucket"): row for row in rows}

    def hours(self, cover: Cover, starts: Sequence[int]) -> dict[int, dict[str, Any]]:
        """The numbers of each hour of a period that has any, by its start (Unix ms); `starts` are those of all hours.

        The day tables know no hours, so events are always counted themselves: all, or those of the visits that filters
        choose."""
        if not (cover.built or cover.spans or cover.open):
            return {}
        end = day_start_ms(cover.period.last + _DAY, cover.period.zone)
        bounds = zip(starts, [*starts[1:], end], strict=True)
        # The statements label a span by a date: here the n-th hour is the n-th day of all times.
        spans = [(_EPOCH + timedelta(days=n), start, until) for n, (start, until) in enumerate(bounds)]
        if cover.filters:
            rows, params = self._at(cover, spans)
            found = self._sum("series", cover, rows, params | {"interval": "day"})
        else:
            found = self._add_up("series", Cover(cover.period, (), [], spans), [""], interval="day")
        return {starts[(row.pop("bucket") - _EPOCH).days]: row for row in found.iter_rows(named=True)}

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
        asked: dict[str, Any] = {"search": list(search), "sort": sort, "limit": limit, "offset": offset}
        merging = cover.period.first < cover.period.last
        return self._add_up("listing", cover, [dimension], merging=merging, **asked)

    def of_visits(self, question: str, cover: Cover, parts: Mapping[str, str], **params: Any) -> pl.DataFrame:
        """The answer to a question of `sql/query/visits`, which is asked of the visits of a cover with `steps`; or with
        neither steps nor filters, if it asks what sessions say of themselves.

        `parts` are conditions of ours that it has places for; `params` are bound."""
        visits, given = self._visits(cover)
        if spans := [] if cover.filters or cover.steps else [*cover.spans, *cover.open_spans]:
            visits = [*visits[: cover.built], clickhouse.rows("begun")]
            given |= day_rows.spans(spans)
        condition = Condition(cover.filters)
        places = {"visits": "\nUNION ALL\n".join(visits), "chosen": condition.chosen}
        params |= given | condition.params | {"site": cover.period.site}
        sql = clickhouse.filled(clickhouse.filled(clickhouse.rows(question, "visits"), parts), places)
        return self._warehouse.query(sql, day_rows.declared(sql, params), cover.beside)

    def _ask(self, question: str, cover: Cover, dimensions: Sequence[str], **params: Any) -> pl.DataFrame:
        """The answer. Ids that last are merged over the days only where there are any: it costs as much as the rest.

        Values that are left out have fewer visitors than the last one, merged or not."""
        found = self._add_up(question, cover, dimensions, **params)
        if cover.period.first == cover.period.last or not found["lasting"].sum():
            return found
        return self._add_up(question, cover, dimensions, merging=True, **params)

    def _add_up(
        self, question: str, cover: Cover, dimensions: Sequence[str], *, cut: Span | None = None, **params: Any
    ) -> pl.DataFrame:
        by_day, of = question == "series", self._chosen if cover.filters else self._rows
        rows, given = of(cover, dimensions, by_day, cut)
        return self._sum(question, cover, rows, given | {"dimensions": list(dimensions)} | params)

    def _sum(self, question: str, cover: Cover, rows: Sequence[str], params: Mapping[str, Any]) -> pl.DataFrame:
        """The answer to a question that adds up the rows that some statements give."""
        sql = clickhouse.filled(clickhouse.question(question), {"rows": "\nUNION ALL\n".join(rows)})
        given = {"site": cover.period.site, "merging": False, **params}
        return self._warehouse.query(sql, day_rows.declared(sql, given), cover.beside)

    def _rows(self, cover: Cover, dimensions: Sequence[str], by_day: bool, cut: Span | None) -> Rows:
        """The rows of all visits, up to the end of `cut`, the part of a day, if it is given."""
        if cut:
            cover = cover.before(cut)
        months = () if by_day else cover.months
        versions = cover.apart if months else cover.versions
        asked = [name for name, theirs in STATEMENTS.items() if set(theirs) & set(dimensions)]
        rows, params = [], day_rows.spans(cover.spans)
        if any(versions) or not (cover.spans or cover.open or months):
            rows.append(clickhouse.rows("stored"))
            params |= {"first": cover.period.first, "last": cover.period.last, "versions": versions}
            params["taken"] = [day for day, each in zip(cover.period.days, versions, strict=True) if each]
        if months:
            rows.append(clickhouse.rows("stored_months"))
            params |= {"months": [each.first for each in months], "month_versions": [each.version for each in months]}
        if cover.spans:
            rows += [day_rows.statement(name) for name in asked]
        if cover.open:
            kept = clickhouse.rows("open_visits")
            rows += filters.rows(kept, dimensions, Condition(()), by_day=by_day)
            rows += [day_rows.apart(day_rows.statement(name, CHANGED)) for name in asked]
            params |= cover.kept | day_rows.apart_spans(cover.open_spans)
        if cover.imported:
            rows.append(clickhouse.rows("imported"))
            last = cut[0] - _DAY if cut else cover.period.last
            params |= {"imported_first": cover.period.first, "imported_last": last, "imported": list(cover.imported)}
        return rows, params

    def _chosen(self, cover: Cover, dimensions: Sequence[str], by_day: bool, cut: Span | None) -> Rows:
        """The rows of the visits that filters choose, likewise."""
        visits, params = self._visits(cover)
        condition = Condition(cover.filters)
        if cut:
            visits = [f"SELECT * FROM (\n{each}\n) WHERE day < {{cut:Date32}}" for each in visits]
        rows = [row for of in visits for row in filters.rows(of, dimensions, condition, by_day=by_day)]
        if cut:
            more, given = self._at(cover, [cut], "day = {cut:Date32}")
            rows, params = rows + more, params | given | {"cut": cut[0]}
        return rows, params | condition.params

    def _at(self, cover: Cover, spans: Sequence[Span], whose: str = "true") -> Rows:
        """The rows of the dimension "" of times that are parts of days, of the visits that filters choose."""
        visits, params = self._visits(cover)
        condition = Condition(cover.filters)
        of = "SELECT * FROM (\n{}\n) WHERE {}".format("\nUNION ALL\n".join(visits), whose)
        places = {"visits": of, "chosen": condition.chosen, "landed": condition.landed}
        rows = [clickhouse.filled(clickhouse.rows(name), places) for name in ("began_at", "happened_at")]
        return rows, params | condition.params | day_rows.spans(spans)

    def _visits(self, cover: Cover) -> Rows:
        """The statements that give the visits of a cover: those of built days, those kept of open days, those made."""
        visits = [clickhouse.rows("stored_visits")] if cover.built or not (cover.spans or cover.open) else []
        if cover.open:
            visits.append(clickhouse.rows("open_visits"))
        if cover.made:
            visits.append("SELECT * FROM made_visits")
        params = {"first": cover.period.first, "last": cover.period.last, "versions": cover.versions}
        return visits, params | cover.kept

    # -- building ---------------------------------------------------------------------------------------------

    def build(self, site: str, zone: str, day: date) -> None:
        """Build a day. It counts once all of its rows are there."""
        version = self._next_version(site, day)
        params = {"site": site, "version": version} | day_rows.spans(day_rows.whole_day(day, zone))
        sql = f"""
            INSERT INTO day_visits (site, day, version, {VISIT}, {WITH_STEPS})
            SELECT {{site:String}}, day, {{version:UInt64}}, {VISIT}, {WITH_STEPS}
            FROM (\n{day_rows.statement("day_visits")}\n)"""
        self._warehouse.command(sql, day_rows.declared(sql, params))
        head = f"INSERT INTO day_values (site, version, {ROW}) SELECT {{site:String}}, {{version:UInt64}}, {ROW} FROM"
        for name, theirs in STATEMENTS.items():
            sql = f"{head} (\n{day_rows.statement(name)}\n)"
            self._warehouse.command(sql, day_rows.declared(sql, params | {"dimensions": list(theirs)}))
        self._record([(site, zone, day, version, 1)])

    def invalidate(self, days: Sequence[tuple[str, str, date]]) -> None:
        """Declare days (site, zone, day) to be other than the day tables say."""
        version = self._next_version()
        self._record([(*day, version, 0) for day in days])

    def _record(self, builds: Sequence[tuple[str, str, date, int, int]]) -> None:
        kinds = {"site": pl.String, "zone": pl.String, "day": pl.Date, "version": pl.UInt64, "valid": pl.UInt8}
        frame = pl.DataFrame(builds, schema=kinds, orient="row")
        frame = frame.with_columns(edition=pl.lit(day_rows.EDITION, pl.UInt16))
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
        found = self._warehouse.query(sql, {"edition": day_rows.EDITION})
        return {(site, zone, day): bool(valid) for site, zone, day, valid in found.iter_rows()}

    def looked(self, site: str = "") -> set[tuple[str, str]]:
        """The sites, or the one, with the time zones in which `builds` tells of all their days up to the horizon."""
        sql = "SELECT site, zone FROM day_sites FINAL WHERE looked AND ({site:String} = '' OR site = {site:String})"
        return set(self._warehouse.query(sql, {"site": site}).iter_rows())

    def set_looked(self, sites: Collection[tuple[str, str]], looked: bool) -> None:
        """Say whether `builds` tells of all days of these sites, with their time zones."""
        sql = """
            INSERT INTO day_sites (site, zone, version, looked)
            SELECT each.1, each.2, greatest({now:UInt64}, (SELECT max(version) FROM day_sites) + 1), {looked:UInt8}
            FROM (SELECT arrayJoin(arrayZip({sites:Array(String)}, {zones:Array(String)})) AS each)"""
        if sites:
            names, zones = zip(*sorted(sites), strict=True)
            given = {"now": time.time_ns(), "looked": int(looked), "sites": list(names), "zones": list(zones)}
            self._warehouse.command(sql, given)

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
        return self.months.due(before, day_rows.EDITION)

    def changed(self, horizon: Sequence[int], sites: Sequence[str]) -> pl.DataFrame:
        """The hours (`site`, `first`, `last`, Unix ms of their starts) that rows of sites beyond a horizon touch."""
        return self._warehouse.ask("changed", units=list(horizon), sites=list(sites))

    def forget(self) -> None:
        """Declare all days invalid: rows were lost, which no batch tells of."""
        self.set_looked(self.looked(), False)
        self.open.forget()
        valid = [day for day, valid in self.builds().items() if valid]
        if valid:
            self.invalidate(valid)


def _check(dimensions: Sequence[str]) -> None:
    unknown = [name for name in dimensions if name not in DIMENSIONS[1:]]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no dimension; there are {', '.join(DIMENSIONS[1:])}")
