"""Filters as the page shows them: a chip for each, and the form that adds one.

The form needs no script: `/<site>/filter` reads it and leads to the page with one more filter in its address.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from flask import Blueprint, redirect, request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response as Redirect

from dashboards import filters, kept, parameters
from dashboards.context import current_context
from dashboards.formats import named
from dashboards.language import N_, gettext
from dashboards.links import OF_VISITS, Links
from dashboards.parameters import Arguments
from stores.filters import PROPERTY, Filter

routes = Blueprint("chips", __name__)

DIMENSIONS = {
    "page": N_("Page"),
    "entry_page": N_("Entry page"),
    "exit_page": N_("Exit page"),
    "source": N_("Source"),
    "channel": N_("Channel"),
    "campaign": N_("Campaign"),
    "utm_source": "utm_source",
    "utm_medium": "utm_medium",
    "utm_term": "utm_term",
    "utm_content": "utm_content",
    "country": N_("Country"),
    "region": N_("Region"),
    "city": N_("City"),
    "language": N_("Language"),
    "device": N_("Device"),
    "browser": N_("Browser"),
    "os": N_("System"),
    "search": N_("Search term"),
    "event": N_("Event"),
    "goal": N_("Goal"),
    "outbound": N_("Outbound link"),
    "download": N_("Download"),
    "not_found": N_("Page not found"),
    PROPERTY: N_("Property"),
}
_OPPOSITE = {"is": "is_not", "is_not": "is", "contains": "contains_not", "contains_not": "contains"}
# How the values of some dimensions are spelled, whatever somebody types.
_SPELLED = {"country": str.upper, "device": str.lower}


@dataclass(frozen=True)
class Chip:
    """One filter: its words, and the addresses of the page without it and with its opposite."""

    dimension: str
    operator: str
    opposite: str
    values: tuple[str, ...]
    codes: bool  # whether the values are codes of countries
    removed: str
    turned: str
    words: str  # all of it as one text


def words(each: Filter) -> str:
    """A filter in words, such as Page is /pricing or /docs."""
    values = gettext(" or ").join(named(value, each.dimension) for value in each.values)
    return f"{_title(each)} {gettext(filters.WORDS[each.operator])} {values}"


def _title(each: Filter) -> str:
    if each.dimension in DIMENSIONS:
        return gettext(DIMENSIONS[each.dimension])
    return f"{gettext(DIMENSIONS[PROPERTY])} {each.prop}"


def of(links: Links) -> list[Chip]:
    """The chips of a page."""
    return [_chip(links, place) for place in range(len(links.chosen))]


def _chip(links: Links, place: int) -> Chip:
    each, before, after = links.chosen[place], links.chosen[:place], links.chosen[place + 1 :]
    opposite = replace(each, operator=_OPPOSITE[each.operator])
    return Chip(
        _title(each),
        gettext(filters.WORDS[each.operator]),
        gettext(filters.WORDS[opposite.operator]),
        tuple(named(value, each.dimension) for value in each.values),
        each.dimension == "country" and each.operator in ("is", "is_not"),
        links.filtered([*before, *after]),
        links.filtered(list(dict.fromkeys([*before, opposite, *after]))),
        words(each),
    )


def entered(chosen: Sequence[Filter]) -> bool:
    """Whether the bounce rate is of the visits that entered on a page of the filters."""
    return any(each.dimension == "page" and not each.negative for each in chosen)


@routes.get("/<site>/filter", defaults={"page": ""})
@routes.get("/<site>/list/<name>/filter")
@routes.get(f"/<site>/<any({', '.join(OF_VISITS)}):page>/filter")
def add(site: str, page: str = "", name: str = "") -> Redirect:
    """The page with the filter of the form."""
    parameters.zone_of(current_context(), site)
    chosen = kept.chosen(site, request.args)
    links = Links(site, chosen, request.args, f"list/{name}" if name else page)
    return redirect(links.filtered(with_new(request.args, chosen, DIMENSIONS, filters.WORDS)), 303)


def with_new(
    given: Arguments, chosen: Sequence[Filter], dimensions: Collection[str], operators: Collection[str]
) -> tuple[Filter, ...]:
    """The filters with that of a form, which may be of these dimensions and operators. Raises `BadRequest`."""
    dimension = parameters.one_of(given, "dimension", dimensions)
    operator = parameters.one_of(given, "operator", operators)
    lines = (line.strip() for line in given.get("values", "").splitlines())
    values = [_SPELLED.get(dimension, str)(line) for line in lines if line]
    if not values:
        raise BadRequest(f"{DIMENSIONS[dimension]} needs a value; several, one a line, mean any of them")
    if dimension == PROPERTY:
        dimension += given.get("property", "").strip()
        if dimension == PROPERTY:
            raise BadRequest("a property needs its name, such as plan")
    lists = [*json.loads(filters.text(chosen)), [operator, dimension, values]]
    return filters.of(MultiDict({"filters": json.dumps(lists)}))
