"""The pages: `/` to choose a site, `/<site>` for its numbers, and `/sites` to add a site.

All HTML is made by the server. The script draws the chart, puts the list of an opened tab into its card and keeps an
open page fresh; numbers, tables, tabs, periods and the form work without it.
"""

from __future__ import annotations

from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.exceptions import BadRequest, Forbidden, HTTPException, NotFound
from werkzeug.wrappers import Response as Redirect

from dashboards import chips, downloads, filters, formats, kept, now, parameters, ranges
from dashboards.access import audit, guests, needs
from dashboards.access.rules import current_access
from dashboards.clickhouse import protocol
from dashboards.clickhouse.errors import is_statement
from dashboards.context import Context, built, current_context
from dashboards.journeys import Journeys
from dashboards.language import N_, gettext, ngettext
from dashboards.links import DEFAULT_METRIC, VIEWS, Links
from dashboards.panels import BREAKDOWNS, METRICS, SHARES, Panels
from dashboards.parameters import Arguments
from dashboards.ranges import DateRange
from stores import exports
from stores.accounts.annotations import Annotation
from stores.accounts.saved import Kind
from stores.base import StoreError

routes = Blueprint("pages", __name__)

LIST_ROWS = 9
# The cards of the page and their lists: each shows the first, or the one that the address names, and has tabs for all.
CARDS = {
    N_("Pages"): ("page", "entry_page", "exit_page"),
    N_("Sources"): ("source", "channel"),
    N_("Campaigns"): ("campaign", "utm_source", "utm_medium", "utm_term", "utm_content"),
    N_("Site search"): ("search",),
    N_("Places"): ("country", "region", "city", "language"),
    N_("Technology"): ("device", "browser", "os"),
    N_("Events"): ("event", "outbound", "download", "not_found"),
}
OF_GEO = ("country", "region", "city")  # lists that need a geo database
# What the products are called whose days were imported.
PRODUCTS = {"plausible": "Plausible", "ga4": "Google Analytics", "goatcounter": "GoatCounter"}
# What a list is called where it is not a tab of its card.
TITLES = {name: about.title for name, about in BREAKDOWNS.items()} | {
    "page": N_("Pages"),
    "entry_page": N_("Entry pages"),
    "exit_page": N_("Exit pages"),
    "event": N_("Custom events"),
    "utm_source": N_("Campaign sources"),
    "utm_medium": N_("Campaign media"),
    "utm_term": N_("Campaign terms"),
    "utm_content": N_("Campaign contents"),
    "outbound": N_("Outbound links"),
    "not_found": N_("Pages not found"),
}


class Segment(NamedTuple):
    """A segment as the menu has it: whether only its user sees it, its address, and whether its filters are chosen."""

    name: str
    own: bool
    address: str
    chosen: bool


class Tabs:
    """Which list each card shows: the first, or the one that the parameter `tabs` of the address names.

    Raises `BadRequest` for a name that is no list."""

    def __init__(self, arguments: Arguments) -> None:
        self.shown = {card: names[0] for card, names in CARDS.items()}
        cards = {name: card for card, names in CARDS.items() for name in names}
        for name in filter(None, arguments.get("tabs", "").split(",")):
            if name not in cards:
                raise BadRequest(f"tabs must be some of {', '.join(cards)}, with commas between them, not {name!r}")
            self.shown[cards[name]] = name

    def opening(self, name: str) -> str:
        """The value of the parameter for a page that shows the list `name` in its card, and else what this one does."""
        shown = [name if name in names else self.shown[card] for card, names in CARDS.items()]
        firsts = [names[0] for names in CARDS.values()]
        return ",".join(each for each in shown if each not in firsts)


class Keeping:
    """What somebody may keep of a site: for all who see it, or for himself."""

    def __init__(self, site: str) -> None:
        stored = current_access().store is not None
        self.shown = not guests.invited()  # whether there is a page of all that is kept
        self.for_all = stored and needs.may("shares.change", site)
        self.for_one = stored and kept.user() is not None

    @property
    def any(self) -> bool:
        """Whether anything may be kept."""
        return self.for_all or self.for_one


@routes.get("/")
def home() -> str | Response | Redirect:
    """The list of sites, or the page of the only one. With a statement it is ClickHouse's protocol."""
    if is_statement():
        return protocol.ask()
    sites = sorted(current_context().sites())
    if len(sites) == 1:
        query = request.query_string.decode("latin-1")
        return redirect(url_for("pages.board", site=sites[0]) + (f"?{query}" if query else ""))
    return render_template("home.html", title="Footfall", sites=sites, **common(current_context()))


@routes.get("/<site>", strict_slashes=False)
def board(site: str) -> str:
    """The page of one site."""
    context = current_context()
    zone = parameters.zone_of(context, site)
    span = parameters.span(context, request.args, zone, ranges.DEFAULT_PERIOD)
    metric = parameters.one_of(request.args, "metric", METRICS, DEFAULT_METRIC)
    compare = parameters.one_of(request.args, "compare", ranges.COMPARISONS, ranges.DEFAULT_COMPARISON)
    tabs = Tabs(request.args)
    chosen = kept.chosen(site, request.args)
    panels = Panels(context.warehouse, site, span, filters=chosen)
    stats = panels.stats
    page = frame(context, Links(site, chosen, request.args), span) | {
        "title": site,
        "metric": metric,
        "compare": compare,
        "comparisons": _comparisons(span),
        "stats": stats,
        "shares": SHARES,
        "mark": now.mark(stats),
        "exported": exports.VIEWS,
        "forms": downloads.ROWS,
        "current": context.realtime.of(site).visitors,
        "imported": [PRODUCTS.get(product, product) for product in panels.imported],
        "left_out": [PRODUCTS.get(product, product) for product in panels.left_out],
    }
    if not chosen and not stats["events"] and not stats["bots"] and not panels.has_any():
        return render_template("empty.html", **page)
    names = [name for name in tabs.shown.values() if is_known(name)]
    # The lists take as long as all the rest together, so they are asked for beside it.
    with ThreadPoolExecutor(1, "lists") as beside:
        lists = beside.submit(panels.breakdowns, names, LIST_ROWS)
        series = panels.timeseries(span.interval)
        earlier = _compared(panels, compare)
        journeys, notes = Journeys(context.warehouse, site, span, chosen), kept.annotated(site, span)
        page |= {
            "annotations": notes,
            "goals": journeys.goals(kept.goals(site), panels.own_stats["visitors"]),
            "before": _before(context, panels, earlier) if earlier else {},
            "series": _chart(context, panels, series, earlier.timeseries(span.interval) if earlier else [], notes),
            "rows": [(formats.step(row["time"], span.interval, zone), row) for row in series],
            "cards": CARDS,
            "tabs": tabs,
            "lists": lists.result(),
        }
    return render_template("board.html", **page)


def is_known(name: str) -> bool:
    """Whether the values of a list are known here: places need a geo database."""
    return name not in OF_GEO or current_context().countries


@routes.post("/sites")
def add() -> Response | Redirect:
    """Adds the site of the form, and goes to its page."""
    context = current_context()
    if context.add_site is None:
        raise Forbidden("sites are not added here: use footfall site add example.com, or the sites file")
    domain = request.form.get("domain", "").strip().lower()
    if not domain:
        raise BadRequest("domain is needed, such as example.com")
    try:
        context.add_site(domain)
    except ValueError as error:
        raise BadRequest(str(error)) from error
    audit.record("added the site", domain)
    return redirect(url_for("pages.board", site=domain), 303)


def common(context: Context) -> dict[str, Any]:
    """What every page shows around it."""
    return {
        "all_sites": sorted(context.sites()),
        "collect_url": context.collect_url,
        "may_add": context.add_site is not None and needs.may("pages.add"),
        "countries": context.countries,
        "periods": ranges.PERIODS,
        "metrics": METRICS,
        "breakdowns": BREAKDOWNS,
        "built": built(),
    }


def frame(context: Context, links: Links, span: DateRange) -> dict[str, Any]:
    """What all pages of a site's numbers show around them: the periods and the filters."""
    return common(context) | {
        "site": links.site,
        "span": span,
        "period": _period(),
        "today": ranges.today(context.clock(), span.zone),
        "links": links,
        "titles": TITLES,
        "of_geo": OF_GEO,
        "views": VIEWS,
        "chips": chips.of(links),
        "entered": chips.entered(links.chosen),
        "dimensions": chips.DIMENSIONS,
        "operators": filters.WORDS,
        "segments": _segments(links),
        "keeping": Keeping(links.site),
    }


def _segments(links: Links) -> list[Segment]:
    """The segments of a site as links of this page: each in place of the filters that are chosen."""
    shown = filters.text(links.chosen)
    return [
        Segment(each.name, each.own, links.here(filters="", segment=each.name), each.content == shown)
        for each in kept.saved(links.site, Kind.SEGMENT)
    ]


def _period() -> str:
    """The period that the request names, or "custom" for a range of days."""
    return "custom" if "from" in request.args else request.args.get("period", ranges.DEFAULT_PERIOD)


def _comparisons(span: DateRange) -> dict[str, str]:
    """What a range can be compared with, in words."""
    words = {
        "previous": ngettext("day before", "%(num)s days before", span.days),
        "year": ngettext("day a year before", "%(num)s days a year before", span.days),
        "none": gettext("Compare with nothing"),
    }
    return {how: words[how] % {"num": span.days} for how in ranges.COMPARISONS}


def _compared(panels: Panels, how: str) -> Panels | None:
    """The same numbers of the range that this one is compared with, if any."""
    span = panels.span.compared(how)
    return Panels(panels.warehouse, panels.site, span, filters=panels.filters) if span else None


def _before(context: Context, panels: Panels, earlier: Panels) -> dict[str, Any]:
    """The numbers of the range that is compared with; if the range is still running, only of the same part of it."""
    until = earlier.span.start_ms + context.clock() - panels.span.start_ms
    if until >= earlier.span.end_ms:
        return earlier.stats
    return earlier.stats_until(until)


def _chart(
    context: Context,
    panels: Panels,
    series: list[dict[str, Any]],
    earlier: list[dict[str, Any]],
    notes: list[Annotation],
) -> dict[str, Any]:
    """What the script draws: the steps up to now, those of the range before on the same axis, and the annotations."""
    span = panels.span
    at = context.clock()

    def values(rows: list[dict[str, Any]], name: str) -> list[Any]:
        return [row[name] if row["time"] <= at else None for row in rows]

    times = [row["time"] for row in series]
    begun = sum(row["time"] <= at for row in series)
    return {
        "interval": span.interval,
        "running": begun - 1 if at < span.end_ms else -1,
        "zone": span.zone,
        "times": [time // 1000 for time in times],
        "notes": [
            [bisect_right(times, ranges.moment(each.day, each.clock, span.zone)) - 1, each.words] for each in notes
        ],
        "now": {name: values(series, name) for name in METRICS},
        "before": {name: values(earlier, name)[: len(series)] for name in METRICS},
        "labels": {name: gettext(words) for name, words in METRICS.items()},
        "words": {
            "week": gettext("Week of %s"),
            "running": gettext("%s so far"),
            "before": gettext("%s before"),
        },
    }


@routes.app_errorhandler(HTTPException)
def _refused(error: HTTPException) -> tuple[Any, int]:
    if request.path.startswith("/api/"):
        return {"error": error.description}, error.code or 500
    title = gettext("Not here") if isinstance(error, NotFound) else error.name
    page = render_template("error.html", title=title, words=error.description, **common(current_context()))
    return page, error.code or 500


@routes.errorhandler(StoreError)
def failed(error: StoreError) -> tuple[str, int]:
    """The page that says that the warehouse could not answer."""
    words = f"The warehouse could not answer: {error}"
    return render_template("error.html", title=gettext("Not now"), words=words, **common(current_context())), 503
