"""The pages of a site beside its board: visits one by one, and what visits did in order.

`/<site>/live` shows this moment, and a script has it move by itself. `/<site>/visits`, `/paths`, `/funnel`, `/searches`
and `/retention` take the range and the filters of the board. None needs a script. What a step, a path and a cohort are
is told in `stores.visits`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response, redirect, render_template, request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as Redirect

from dashboards import chips, filters, journeys, kept, pages, parameters, ranges, realtime
from dashboards.context import Context, current_context
from dashboards.journeys import BY, DIRECTIONS, Journeys
from dashboards.language import N_, gettext
from dashboards.links import Links
from dashboards.panels import BREAKDOWNS, Panels
from stores.accounts.saved import Kind
from stores.base import StoreError
from stores.filters import PROPERTY, Filter
from stores.visits import MOST_EVENTS, STEP_DIMENSIONS

routes = Blueprint("views", __name__)
routes.register_error_handler(StoreError, pages.failed)

ROWS, PATH_ROWS = 50, 25
# The lists of active visitors.
LIVE = {"page": N_("Pages they look at"), "source": N_("Sources"), "country": N_("Countries")}
STEPS = {name: words for name, words in chips.DIMENSIONS.items() if name in STEP_DIMENSIONS or name == PROPERTY}
STEP_OPERATORS = {name: filters.WORDS[name] for name in ("is", "contains")}


class View:
    """What every page here is made from: its context, links, range, and what visits did."""

    def __init__(self, site: str, page: str) -> None:
        self.context: Context = current_context()
        zone = parameters.zone_of(self.context, site)
        self.span = parameters.span(self.context, request.args, zone, ranges.DEFAULT_PERIOD)
        self.chosen = kept.chosen(site, request.args)
        self.links = Links(site, self.chosen, request.args, page)
        self.panels = Panels(self.context.warehouse, site, self.span, filters=self.chosen)
        self.journeys = Journeys(self.context.warehouse, site, self.span, self.chosen)

    def render(self, template: str, title: str, **shown: Any) -> str:
        """The page."""
        frame = pages.frame(self.context, self.links, self.span)
        heading = gettext(title)
        of_site = gettext("%(view)s of %(site)s") % {"view": heading, "site": self.links.site}
        return render_template(template, title=of_site, heading=heading, **shown, **frame)


@routes.get("/<site>/live")
def live(site: str) -> str:
    """What happens at this moment."""
    return _happening(View(site, "live"), "live.html")


@routes.get("/<site>/live/stream")
def watch(site: str) -> Response:
    """The parts of that page as a server-sent event; the front makes a stream of it (`infra.processes.streams`)."""
    view = View(site, "live")
    return realtime.event(view.context.realtime.of(site).mark, _happening(view, "happening.html"))


def _happening(view: View, template: str) -> str:
    moment = view.context.realtime.of(view.links.site)
    return view.render(template, "Live", moment=moment, lists=LIVE, about=BREAKDOWNS)


@routes.get("/<site>/visits")
def visits(site: str) -> str:
    """The visits one by one."""
    view = View(site, "visits")
    page, offset = parameters.page_of(request.args, ROWS)
    rows = view.journeys.visits(ROWS, offset)
    total = view.panels.own_stats["visits"]
    return view.render("visits.html", "Visits", rows=rows, total=total, page=page, first=offset + 1)


@routes.get("/<site>/visit/<visit>")
def visit(site: str, visit: str) -> str:
    """One visit: what is known of it, and its events in order."""
    view = View(site, "visits")
    found = journeys.visit(view.context.warehouse, site, visit)
    if found is None:
        raise NotFound(f"{site} has no visit {visit[:100]!r}; it may have been erased, or be older than what is kept")
    return view.render("visit.html", N_("A visit"), found=found, most=MOST_EVENTS)


@routes.get("/<site>/paths")
def paths(site: str) -> str:
    """Which pages come after others, or before."""
    view = View(site, "paths")
    path = filters.path_of(request.args)
    direction = parameters.one_of(request.args, "direction", DIRECTIONS, "from")
    found = view.journeys.paths(path, direction, PATH_ROWS)
    return view.render("paths.html", "Paths", steps=_steps(path), path=path, direction=direction, found=found)


def _steps(path: list[str]) -> list[tuple[str, str]]:
    """The pages of a path, each with the path that ends there, as an address has it."""
    return [(page, json.dumps(path[: place + 1])) for place, page in enumerate(path)]


@routes.get("/<site>/funnel")
def funnel(site: str) -> str:
    """How many get through the steps of a funnel."""
    view = View(site, "funnel")
    steps = kept.steps(site, request.args)
    by = parameters.one_of(request.args, "by", BY, "visit")
    rows: list[dict[str, Any]] = []
    total = 0
    if steps:
        rows = view.journeys.funnel(steps, by)
        total = view.panels.own_stats["visitors" if by == "visitor" else "visits"]
    shown = [
        row | {"words": chips.words(step), "without": _text([*steps[:place], *steps[place + 1 :]])}
        for place, (row, step) in enumerate(zip(rows, steps, strict=True))
    ]
    return view.render(
        "funnel.html",
        "Funnel",
        saved=[
            (each.name, view.links.here(steps=each.content), each.content == filters.text(steps))
            for each in kept.saved(site, Kind.FUNNEL)
        ],
        rows=shown,
        total=total,
        by=by,
        kinds=BY,
        step_dimensions=STEPS,
        step_operators=STEP_OPERATORS,
    )


@routes.get("/<site>/funnel/step")
def add_step(site: str) -> Redirect:
    """The funnel with the step of the form at its end."""
    parameters.zone_of(current_context(), site)
    links = Links(site, kept.chosen(site, request.args), request.args, "funnel")
    steps = filters.steps_of(request.args)
    new = chips.with_new(request.args, (), STEPS, STEP_OPERATORS)
    steps = filters.steps_of(MultiDict({"steps": filters.text([*steps, *new])}))
    journeys.check(steps)
    return redirect(links.here(steps=filters.text(steps)), 303)


@routes.get("/<site>/searches")
def searches(site: str) -> str:
    """What was searched for on the site, and what came of it."""
    view = View(site, "searches")
    page, offset = parameters.page_of(request.args, ROWS)
    found = view.journeys.searches(ROWS, offset)
    return view.render("searches.html", "Site search", rows=found.rows, total=found.total, page=page, first=offset + 1)


@routes.get("/<site>/retention")
def retention(site: str) -> str:
    """How many visitors of a week come back in later weeks."""
    view = View(site, "retention")
    return view.render("retention.html", "Retention", cohorts=view.journeys.retention(), stats=view.panels.own_stats)


def _text(steps: Sequence[Filter]) -> str:
    return filters.text(steps) if steps else ""
