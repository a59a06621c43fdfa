"""`/<site>/list/<name>`: all values of one list of the board, searched, sorted and by the page; and as a file.

`/<site>/card/<name>` is the list as the board shows it, which the script puts into a card when its tab is opened."""

from __future__ import annotations

from typing import Any, NamedTuple

import polars as pl
from flask import Blueprint, Response, render_template, request
from werkzeug.exceptions import BadRequest, NotFound

from dashboards import downloads, filters, kept, pages, parameters, ranges
from dashboards.context import current_context
from dashboards.language import N_, gettext
from dashboards.links import DEFAULT_SORT, Links
from dashboards.panels import BREAKDOWNS, METRICS, ROW, SECONDS, VIEWLESS, Panels
from stores.base import StoreError

routes = Blueprint("lists", __name__)
routes.register_error_handler(StoreError, pages.failed)

ROWS = 50
MOST_ROWS = 100_000  # of a file


class _Asked(NamedTuple):
    """What the address of a list asks for: its columns with their headings, its order, and what values contain."""

    panels: Panels
    columns: dict[str, str]
    sort: str
    search: str


@routes.get("/<site>/list/<name>")
def whole(site: str, name: str) -> str:
    """One whole list of a site."""
    context = current_context()
    asked = _asked(site, name)
    page, offset = parameters.page_of(request.args, ROWS)
    known = pages.is_known(name)
    shown: dict[str, Any] = {}
    if known:
        listing = asked.panels.listing(name, search=asked.search, sort=asked.sort, limit=ROWS, offset=offset)
        shown = {"rows": listing.rows, "total": listing.total, "first": offset + 1}
    links = Links(site, asked.panels.filters, request.args, f"list/{name}")
    return render_template(
        "whole.html",
        title=gettext("%(view)s of %(site)s") % {"view": gettext(pages.TITLES[name]), "site": site},
        name=name,
        about=BREAKDOWNS[name],
        columns=asked.columns,
        sort=asked.sort,
        search=asked.search,
        page=page,
        known=known,
        forms=downloads.LISTS,
        most=MOST_ROWS,
        **shown,
        **pages.frame(context, links, asked.panels.span),
    )


@routes.get("/<site>/card/<name>")
def card(site: str, name: str) -> str:
    """One list, as a part of the board."""
    panels = _panels(site, name)
    rows = panels.breakdowns([name], pages.LIST_ROWS)[name] if pages.is_known(name) else None
    links = Links(site, panels.filters, request.args)
    about, titles = BREAKDOWNS, pages.TITLES
    return render_template("card.html", name=name, rows=rows, links=links, breakdowns=about, titles=titles)


@routes.get("/<site>/list/<name>.<form>")
def download(site: str, name: str, form: str) -> Response:
    """The list as a file, in its order, up to `MOST_ROWS` values."""
    asked = _asked(site, name)
    written = downloads.form_of(downloads.LISTS, form)
    rows = asked.panels.listing(name, search=asked.search, sort=asked.sort, limit=MOST_ROWS).rows
    kinds = {"value": pl.String, **{name: pl.Float64 if name in SECONDS else pl.Int64 for name in asked.columns}}
    frame = pl.DataFrame([[row[column] for column in kinds] for row in rows], kinds, orient="row")
    span = asked.panels.span
    return downloads.attached(written, f"{site}-{name}-{span.first}-{span.last}", [frame])


def _asked(site: str, name: str) -> _Asked:
    """Raises `BadRequest`, and `NotFound` for an unknown site or list."""
    panels = _panels(site, name)
    columns = _columns(name)
    sort = parameters.one_of(request.args, "sort", ("value", *columns), DEFAULT_SORT)
    return _Asked(panels, columns, sort, _search(name))


def _panels(site: str, name: str) -> Panels:
    """What is asked for a list; raises likewise."""
    context = current_context()
    zone = parameters.zone_of(context, site)
    if name not in BREAKDOWNS:
        raise NotFound(f"no list is called {name!r}; there are {', '.join(BREAKDOWNS)}")
    span = parameters.span(context, request.args, zone, ranges.DEFAULT_PERIOD)
    return Panels(context.warehouse, site, span, filters=kept.chosen(site, request.args))


def _columns(name: str) -> dict[str, str]:
    """The numbers of a list with their headings; the one that the board shows has the board's heading."""
    about = BREAKDOWNS[name]
    shown = [column for column in ROW if name not in VIEWLESS or column not in ("pageviews", "engaged_time")]
    own = {about.column: about.counts} | ({"engaged_time": N_("Time on page")} if name == "page" else {})
    return {column: METRICS[column] for column in shown} | own


def _search(name: str) -> str:
    """The text that the values have to contain. Raises `BadRequest`."""
    text = request.args.get("search", "").strip()
    if len(text) > filters.LONGEST or "\0" in text:
        raise BadRequest(f"search may have {filters.LONGEST} characters at most, and no zero bytes")
    return text.upper() if name == "country" else text
