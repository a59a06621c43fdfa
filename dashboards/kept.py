"""What is kept for a site, as a request reads it: segments, goals, funnels, annotations; and the filters that
it asks for by name.

`segment=NAME` in an address stands for the filters of that segment, beside those of `filters`. A value of the dimension
`goal` that is the name of a goal stands for what meets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest

from dashboards import filters
from dashboards.access.needs import principal
from dashboards.access.rules import current_access
from dashboards.parameters import Arguments
from dashboards.ranges import DateRange
from stores.accounts.annotations import Annotation
from stores.accounts.saved import Kind, Saved
from stores.filters import Filter


def saved(site: str, kind: Kind) -> list[Saved]:
    """What was saved for a site, as far as who sent this request sees it, by name."""
    store = current_access().store
    return store.saved.seen(site, kind, user()) if store is not None else []


def annotated(site: str, span: DateRange) -> list[Annotation]:
    """What was annotated on the days of a range."""
    store = current_access().store
    return store.annotations.between(site, span.first, span.last) if store is not None else []


def user() -> int | None:
    """The id of the user who sent this request; None if it is from nobody by name."""
    found = principal()
    return found.user.id if found is not None and found.user is not None else None


def content(each: Saved) -> tuple[Filter, ...]:
    """The filters of a segment or goal, or the steps of a funnel, without what names of goals in them stand for."""
    return filters.steps_of(MultiDict({"steps": each.content}))


def goals(site: str) -> dict[str, Filter]:
    """What meets each goal of a site."""
    return {each.name: condition for each in saved(site, Kind.GOAL) for condition in content(each)}


def chosen(site: str, arguments: Arguments) -> tuple[Filter, ...]:
    """The filters of a request: those of its segment, and its own. Raises `BadRequest` in words."""
    own, name = filters.of(arguments), arguments.get("segment", "")
    if name:
        own = tuple(dict.fromkeys((*_segment(site, name), *own)))
    if len(own) > filters.MOST:
        raise BadRequest(f"filters may be {filters.MOST} at most, with those of the segment {name!r}, not {len(own)}")
    return meaning(site, own)


def steps(site: str, arguments: Arguments) -> tuple[Filter, ...]:
    """The steps of a funnel in a request, in order. Raises `BadRequest` in words."""
    return meaning(site, filters.steps_of(arguments))


def meaning(site: str, given: Sequence[Filter]) -> tuple[Filter, ...]:
    """Filters or steps with what names of goals in them stand for."""
    if not any(_may_name(each) for each in given):
        return tuple(given)
    known = goals(site)
    return tuple(
        replace(each, meant=tuple((value, known[value]) for value in each.values if value in known))
        if _may_name(each)
        else each
        for each in given
    )


def _may_name(each: Filter) -> bool:
    return each.dimension == "goal" and each.operator in ("is", "is_not")


def _segment(site: str, name: str) -> tuple[Filter, ...]:
    have = saved(site, Kind.SEGMENT)
    found = next((each for each in have if each.name == name), None)
    if found is None:
        names = ", ".join(repr(each.name) for each in have) or "none yet"
        raise BadRequest(f"{site} has no segment {name[:100]!r}; there are {names}")
    return content(found)
