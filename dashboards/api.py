"""The stats API: `/api/v1/stats`, `/timeseries`, `/breakdown`. API.md next to this file describes it for its users.

Every response is JSON. A mistake of the caller gives 400, an unknown site 404, each with {"error": "..."} in words.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import BadRequest, HTTPException

from dashboards import filters, parameters, ranges
from dashboards.context import current_context
from dashboards.panels import BREAKDOWNS, MAX_ROWS, METRICS, ROW, Panels
from stores.base import StoreError
from stores.days import STANDARD_ERROR

routes = Blueprint("api", __name__, url_prefix="/api/v1")


@routes.get("/stats")
def stats() -> Response:
    """The headline numbers of a range of days."""
    found = _panels().stats
    return jsonify({name: found[name] for name in (*METRICS, "bots")} | _approximate(found))


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
    return jsonify({"metric": metric, "interval": interval, "timezone": zone, "rows": rows})


@routes.get("/breakdown")
def breakdown() -> Response:
    """The top values of one property, with their numbers."""
    panels = _panels()
    by = parameters.one_of(request.args, "by", BREAKDOWNS)
    limit = parameters.whole_number(request.args, "limit", 10, MAX_ROWS)
    rows = panels.breakdowns([by], limit)[by]
    named = [{name: row[name] for name in ("value", *ROW)} | _approximate(row) for row in rows]
    return jsonify({"by": by, "rows": named})


def _approximate(numbers: dict[str, Any]) -> dict[str, Any]:
    """What is said beside numbers that are not exact: their standard error, as a share."""
    return {} if numbers["exact"] else {"approximate": {"visitors": STANDARD_ERROR}}


def _panels() -> Panels:
    context, site = current_context(), request.args["site"]
    zone = parameters.zone_of(context, site, request.args.get("timezone"))
    span = parameters.span(context, request.args, zone)
    return Panels(context.warehouse, site, span, filters=filters.of(request.args))


@routes.errorhandler(HTTPException)
def _refused(error: HTTPException) -> tuple[dict[str, Any], int]:
    return {"error": error.description}, error.code or 500


@routes.errorhandler(StoreError)
def _failed(error: StoreError) -> tuple[dict[str, Any], int]:
    return {"error": f"the warehouse could not answer: {error}"}, 503
