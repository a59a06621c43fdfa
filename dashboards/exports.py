"""`/<site>/export/<view>.<form>`: all events or sessions of some days as a file, written while it is sent.

An error after the beginning ends the connection before the file is complete, so that a part is never taken for the
whole (`infra.processes.front`).
"""

from __future__ import annotations

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest, NotFound

from dashboards import downloads, pages, parameters
from dashboards.context import current_context
from stores import exports
from stores.base import StoreError

routes = Blueprint("exports", __name__)
routes.register_error_handler(StoreError, pages.failed)


@routes.get("/<site>/export/<view>.<form>")
def rows(site: str, view: str, form: str) -> Response:
    """The rows of a view whose time is in the days of the range, in the order of time."""
    context = current_context()
    zone = parameters.zone_of(context, site)
    if view not in exports.VIEWS:
        raise NotFound(f"no {view!r} can be exported; there are {', '.join(exports.VIEWS)}")
    written = downloads.form_of(downloads.ROWS, form)
    span = parameters.span(context, request.args, zone)
    if "filters" in request.args or "segment" in request.args:
        raise BadRequest("an export has all rows of its days: leave filters and segment out, or ask in SQL")
    frames = exports.pages(context.warehouse, view, site, span.start_ms, span.end_ms)
    return downloads.attached(written, f"{site}-{view}-{span.first}-{span.last}", frames)
