"""`/<site>/list/<name>`: all values of one list of the board, searched, sorted and by the page."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template, request
from werkzeug.exceptions import BadRequest, NotFound

from dashboards import filters, pages, parameters, ranges
from dashboards.context import current_context
from dashboards.links import DEFAULT_SORT, Links
from dashboards.panels import BREAKDOWNS, METRICS, ROW, Panels
from stores.base import StoreError

routes = Blueprint("lists", __name__)
routes.register_error_handler(StoreError, pages.failed)

ROWS = 50
_VIEWLESS = ("search", "event")  # lists of events that are no page views


@routes.get("/<site>/list/<name>")
def whole(site: str, name: str) -> str:
    """One whole list of a site."""
    context = current_context()
    zone = parameters.zone_of(context, site)
    if name not in BREAKDOWNS:
        raise NotFound(f"no list is called {name!r}; there are {', '.join(BREAKDOWNS)}")
    span = parameters.span(context, request.args, zone, ranges.DEFAULT_PERIOD)
    columns = _columns(name)
    sort = parameters.one_of(request.args, "sort", ("value", *columns), DEFAULT_SORT)
    page, offset = parameters.page_of(request.args, ROWS)
    search = _search(name)
    chosen = filters.of(request.args)
    known = name not in pages.OF_GEO or context.countries
    shown: dict[str, Any] = {}
    if known:
        panels = Panels(context.warehouse, site, span, filters=chosen)
        listing = panels.listing(name, search=search, sort=sort, limit=ROWS, offset=offset)
        shown = {"rows": listing.rows, "total": listing.total, "first": offset + 1}
    return render_template(
        "whole.html",
        title=f"{pages.TITLES[name]} of {site}",
        name=name,
        about=BREAKDOWNS[name],
        columns=columns,
        sort=sort,
        search=search,
        page=page,
        known=known,
        **shown,
        **pages.frame(context, Links(site, chosen, request.args, f"list/{name}"), span),
    )


def _columns(name: str) -> dict[str, str]:
    """The numbers of a list with their headings; the one that the board shows has the board's heading."""
    about = BREAKDOWNS[name]
    shown = [column for column in ROW if column != "pageviews" or name not in _VIEWLESS]
    return {column: METRICS[column] for column in shown} | {about.column: about.counts}


def _search(name: str) -> str:
    """The text that the values have to contain. Raises `BadRequest`."""
    text = request.args.get("search", "").strip()
    if len(text) > filters.LONGEST or "\0" in text:
        raise BadRequest(f"search may have {filters.LONGEST} characters at most, and no zero bytes")
    return text.upper() if name == "country" else text
