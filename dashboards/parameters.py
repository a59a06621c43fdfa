"""Reads and checks the query parameters of a request, in the same way for the page and the API.

A wrong parameter raises `BadRequest`, which names the parameter, its value and what it may be.
"""

from __future__ import annotations

from collections.abc import Iterable

from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest, InternalServerError, NotFound

from activity.zones import ZONES, not_known
from dashboards import ranges
from dashboards.context import Context
from dashboards.ranges import BadRange, DateRange

Arguments = MultiDict[str, str]

MOST_PAGES = 1_000_000


def zone_of(context: Context, site: str, named: str | None = None) -> str:
    """Returns the time zone `named`, or else that of the site.

    Raises `NotFound` for an unknown site, `BadRequest` for an unknown zone, and `InternalServerError` if the zone of
    the site is unknown.
    """
    zone = known(context, site)
    if named is not None:
        if named not in ZONES:
            raise BadRequest(not_known(named))
        return named
    if zone not in ZONES:
        raise InternalServerError(
            f"{site} has no days in the sites file: its {not_known(zone)} "
            "Correct it there; no restart is needed, and its events are counted meanwhile."
        )
    return zone


def known(context: Context, site: str) -> str:
    """Returns the time zone that the sites file gives a site. Raises `NotFound` if the request may not see it."""
    sites = context.sites()
    if site not in sites:
        have = ", ".join(sorted(sites)) or "none yet"
        raise NotFound(
            f"site {site!r} is not known. Known sites: {have}. Add one with: footfall site add {site or 'example.com'}"
        )
    return sites[site]


def span(context: Context, arguments: Arguments, zone: str, default: str | None = None) -> DateRange:
    """Returns the range that `from` and `to`, or else `period`, name. Raises `BadRequest`."""
    try:
        first, last = arguments.get("from"), arguments.get("to")
        if first is None and last is None:
            name = arguments.get("period", default)
            if name is None:
                raise BadRange(
                    "from and to are needed, days as YYYY-MM-DD, both included; "
                    f"or period, one of {', '.join(ranges.PERIODS)}"
                )
            return ranges.period(name, context.clock(), zone)
        if first is None or last is None:
            missing = "from" if first is None else "to"
            raise BadRange(f"{missing} is needed too: a day as YYYY-MM-DD, included in the range")
        return DateRange(ranges.parse_day("from", first), ranges.parse_day("to", last), zone)
    except BadRange as error:
        raise BadRequest(str(error)) from error


def one_of(arguments: Arguments, name: str, accepted: Iterable[str], default: str | None = None) -> str:
    """Returns a parameter that must be one of `accepted`. Raises `BadRequest`."""
    value = arguments.get(name, default)
    if value is None:
        raise BadRequest(f"{name} is needed: one of {', '.join(accepted)}")
    if value not in accepted:
        raise BadRequest(f"{name} must be one of {', '.join(accepted)}, not {value!r}")
    return value


def page_of(arguments: Arguments, rows: int) -> tuple[int, int]:
    """Returns which page of a list is asked for, and how many rows are before it if a page has `rows`.

    Raises `BadRequest`."""
    page = whole_number(arguments, "page", 1, MOST_PAGES)
    return page, (page - 1) * rows


def whole_number(arguments: Arguments, name: str, default: int, most: int) -> int:
    """Returns a parameter that must be a whole number from 1 to `most`. Raises `BadRequest`."""
    text = arguments.get(name, str(default))
    value = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0
    if not 1 <= value <= most:
        raise BadRequest(f"{name} must be a whole number from 1 to {most}, not {text!r}")
    return value
