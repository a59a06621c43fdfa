"""The stats API: `/api/v1/stats`, `/timeseries` and `/breakdown` are numbers, `/realtime` is this moment, `/visits` and
`/visit` are visits one by one, `/funnel`, `/goals`, `/paths`, `/searches` and `/retention` what they did, and
`/annotations` what was noted. API.md next to this file is for its users.

Every response is JSON. A mistake of the caller gives 400, an unknown site 404, each with {"error": "..."} in words.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import BadRequest, HTTPException, NotFound

from dashboards import filters, journeys, kept, parameters, ranges
from dashboards.context import current_context
from dashboards.journeys import Journeys
from dashboards.panels import BREAKDOWNS, MAX_ROWS, METRICS, ROW, Panels
from stores.base import StoreError
from stores.days import STANDARD_ERROR
from stores.filters import Filter

routes = Blueprint("api", __name__, url_prefix="/api/v1")


@routes.get("/stats")
def stats() -> Response:
    """The headline numbers of a range of days."""
    asked = _asked()
    how = parameters.one_of(request.args, "compare", ranges.COMPARISONS, "none")
    span = asked.span.compared(how)
    before = {"before": _numbers(asked._replace(span=span).panels())} if span else {}
    panels = asked.panels()
    return jsonify(_numbers(panels) | before | _imported(panels))


def _numbers(panels: Panels) -> dict[str, Any]:
    found = panels.stats
    return {name: found[name] for name in (*METRICS, "bots")} | _approximate(found)


@routes.get("/timeseries")
def timeseries() -> Response:
    """One metric as `value`, and all others, for every step of the range."""
    panels = _panels()
    metric = parameters.one_of(request.args, "metric", METRICS, default="visitors")
    interval = parameters.one_of(request.args, "interval", ranges.INTERVALS, default=panels.span.interval)
    try:
        ranges.check_interval(panels.span, interval)
    except ranges.BadRange as error:
        raise BadRequest(str(error)) from error
    zone = panels.span.zone
    found = panels.timeseries(interval)
    rows = [
        {"time": ranges.iso(row["time"], zone), "value": row[metric]}
        | {name: row[name] for name in METRICS}
        | _approximate(row)
        for row in found
    ]
    imported = {} if interval == "hour" else _imported(panels)
    return jsonify({"metric": metric, "interval": interval, "timezone": zone, "rows": rows} | imported)


@routes.get("/breakdown")
def breakdown() -> Response:
    """The top values of one property, with their numbers."""
    panels = _panels()
    by = parameters.one_of(request.args, "by", BREAKDOWNS)
    limit = parameters.whole_number(request.args, "limit", 10, MAX_ROWS)
    rows = panels.breakdowns([by], limit)[by]
    named = [{name: row[name] for name in ("value", *ROW)} | _approximate(row) for row in rows]
    return jsonify({"by": by, "rows": named} | _imported(panels))


@routes.get("/realtime")
def realtime() -> Response:
    """What happens at this moment."""
    asked = _site()
    moment = current_context().realtime.of(asked.name)

    def timed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row | {"time": ranges.iso(row["time"], asked.zone)} for row in rows]

    numbers = {"visitors": moment.visitors, "pageviews": moment.pageviews, "timezone": asked.zone}
    return jsonify(numbers | {"minutes": timed(moment.minutes), **moment.lists, "events": timed(moment.events)})


@routes.get("/visits")
def visits() -> Response:
    """The visits one by one, the latest first."""
    asked = _asked()
    limit = parameters.whole_number(request.args, "limit", 50, MAX_ROWS)
    _, offset = parameters.page_of(request.args, limit)
    rows = asked.journeys().visits(limit, offset)
    return jsonify({"rows": [_visit(row, asked.span.zone) for row in rows]})


@routes.get("/visit")
def visit() -> Response:
    """One visit with its events in order."""
    asked = _site()
    name = request.args.get("id", "")
    found = journeys.visit(current_context().warehouse, asked.name, name)
    if found is None:
        raise NotFound(f"{asked.name} has no visit {name!r}; it may have been erased, or be older than what is kept")
    events = [{"time": ranges.iso(event.pop("at"), asked.zone), **event} for event in found.events]
    return jsonify({"visit": _visit(found.visit, asked.zone), "events": events, "complete": found.complete})


@routes.get("/funnel")
def funnel() -> Response:
    """How many visits, or visitors, get through some steps in order."""
    asked = _asked()
    steps = kept.steps(asked.site, request.args)
    by = parameters.one_of(request.args, "by", journeys.BY, "visit")
    rows = asked.journeys().funnel(steps, by)
    total = asked.panels().own_stats["visitors" if by == "visitor" else "visits"]
    shown = [{"step": _listed(step), **row} for step, row in zip(steps, rows, strict=True)]
    return jsonify({"by": by, "total": total, "rows": shown})


@routes.get("/goals")
def goals() -> Response:
    """The goals of the site: how many visitors met each."""
    asked = _asked()
    known = kept.goals(asked.site)
    visitors = asked.panels().own_stats["visitors"]
    rows = [
        {"goal": met.name, "condition": _listed(known[met.name]), "visitors": met.visitors, "conversion_rate": met.rate}
        for met in asked.journeys().goals(known, visitors)
    ]
    return jsonify({"total": visitors, "rows": rows})


@routes.get("/annotations")
def annotated() -> Response:
    """What was annotated on the days of the range, which are the site's."""
    asked = _asked()
    rows = [
        {"date": each.day.isoformat(), "time": each.clock and each.clock.isoformat("minutes"), "text": each.words}
        for each in kept.annotated(asked.site, asked.span)
    ]
    return jsonify({"rows": rows})


@routes.get("/paths")
def paths() -> Response:
    """Which pages visits viewed after some others in a row, or before."""
    asked = _asked()
    direction = parameters.one_of(request.args, "direction", journeys.DIRECTIONS, "from")
    limit = parameters.whole_number(request.args, "limit", 25, MAX_ROWS)
    path = filters.path_of(request.args)
    found = asked.journeys().paths(path, direction, limit)
    return jsonify({"path": path, "direction": direction, "total": found.total, "rows": found.rows})


@routes.get("/searches")
def searches() -> Response:
    """What was searched for on the site, and what came of it."""
    asked = _asked()
    limit = parameters.whole_number(request.args, "limit", 50, MAX_ROWS)
    _, offset = parameters.page_of(request.args, limit)
    found = asked.journeys().searches(limit, offset)
    return jsonify({"total": found.total, "rows": found.rows})


@routes.get("/retention")
def retention() -> Response:
    """How many visitors of a week came back in later weeks."""
    cohorts = _asked().journeys().retention()
    rows = [{"week": each.week.isoformat(), "visitors": each.visitors, "came": each.came} for each in cohorts]
    return jsonify({"rows": rows})


def _listed(each: Filter) -> list[Any]:
    """A filter or step the way an address has it."""
    return [each.operator, each.dimension, list(each.values)]


def _visit(row: dict[str, Any], zone: str) -> dict[str, Any]:
    """A visit the way the API has it: its start as a time, and its duration in seconds."""
    plain = {name: value for name, value in row.items() if name not in ("started_ms", "duration_ms", "session_id")}
    return plain | {"started_at": ranges.iso(row["started_ms"], zone), "duration": row["duration_ms"] / 1000}


def _approximate(numbers: dict[str, Any]) -> dict[str, Any]:
    """What is said beside numbers that are not exact: their standard error, as a share."""
    return {} if numbers["exact"] else {"approximate": {"visitors": STANDARD_ERROR}}


def _imported(panels: Panels) -> dict[str, Any]:
    """What is said beside numbers with days that other products counted, or without them: the names of these."""
    told = {"imported": list(panels.imported), "imported_left_out": list(panels.left_out)}
    return {name: products for name, products in told.items() if products}


class _Site(NamedTuple):
    """The site of a request, and the time zone that it names or else the site's."""

    name: str
    zone: str


class _Asked(NamedTuple):
    """What a request asks about: a site, days of it, and the visits that filters choose."""

    site: str
    span: ranges.DateRange
    chosen: tuple[Filter, ...]

    def panels(self) -> Panels:
        return Panels(current_context().warehouse, self.site, self.span, filters=self.chosen)

    def journeys(self) -> Journeys:
        return Journeys(current_context().warehouse, self.site, self.span, self.chosen)


def _site() -> _Site:
    context, site = current_context(), request.args["site"]
    return _Site(site, parameters.zone_of(context, site, request.args.get("timezone")))


def _asked() -> _Asked:
    site = _site()
    span = parameters.span(current_context(), request.args, site.zone)
    return _Asked(site.name, span, kept.chosen(site.name, request.args))


def _panels() -> Panels:
    return _asked().panels()


@routes.errorhandler(HTTPException)
def _refused(error: HTTPException) -> tuple[dict[str, Any], int]:
    return {"error": error.description}, error.code or 500


@routes.errorhandler(StoreError)
def _failed(error: StoreError) -> tuple[dict[str, Any], int]:
    return {"error": f"the warehouse could not answer: {error}"}, 503
