"""Addresses of a site's pages, as links on one of them have them.

A link keeps the range, the metric, the filters and the open tabs of the page that it is on, except for what it changes.
So does a form, in hidden fields.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from flask import url_for

from dashboards.filters import text
from dashboards.language import N_
from dashboards.parameters import Arguments
from dashboards.ranges import DEFAULT_COMPARISON, DateRange
from stores.filters import Filter

DEFAULT_METRIC = "visitors"
DEFAULT_SORT = "visitors"

_DEFAULTS = {"metric": DEFAULT_METRIC, "sort": DEFAULT_SORT, "compare": DEFAULT_COMPARISON}
_DAYS = ("from", "to")
# The views of a site beside its board, and what the address of each has that no other page has.
VIEWS = {
    "live": N_("Live"),
    "visits": N_("Visits"),
    "paths": N_("Paths"),
    "funnel": N_("Funnel"),
    "searches": N_("Site search"),
    "retention": N_("Retention"),
}
OF_VISITS = tuple(name for name in VIEWS if name != "live")  # those that take filters
_OWN = {"list": ("search", "sort"), "paths": ("path", "direction"), "funnel": ("steps", "by")}
_OF_SOME = frozenset(name for names in _OWN.values() for name in names)


class Links:
    """The links of one page of a site: "" is its board, "list/NAME" a whole list, else one of `VIEWS`.

    `chosen` are the filters of the page, `arguments` the parameters of its address."""

    def __init__(self, site: str, chosen: Sequence[Filter], arguments: Arguments, page: str = "") -> None:
        self.site = site
        self.chosen = tuple(chosen)
        self.page = page
        span = _DAYS if any(day in arguments for day in _DAYS) else ("period",)
        own = _OWN.get(page.partition("/")[0], ())
        given = {each: arguments.get(each, "") for each in (*span, "metric", "compare", "tabs", "theme", "lang", *own)}
        given["filters"] = text(chosen) if chosen else ""
        self._kept = {each: value for each, value in given.items() if value}

    @property
    def path(self) -> str:
        """This page without parameters, for a form."""
        return self._to(self.page, {})

    @property
    def adding(self) -> str:
        """Where the form that adds a filter to this page goes."""
        return f"{self.path}/filter"

    def fields(self, *without: str) -> dict[str, str]:
        """The parameters of this page that a form keeps."""
        return _told({each: value for each, value in self._kept.items() if each not in without})

    def here(self, **changed: str) -> str:
        """This page with other parameters; "" leaves one out."""
        kept = self.fields(*_DAYS) if "period" in changed else self._kept
        return self._to(self.page, kept | changed)

    def filtered(self, chosen: Sequence[Filter]) -> str:
        """This page with these filters."""
        return self.here(filters=text(chosen) if chosen else "")

    def board(self) -> str:
        """The board."""
        return self.to("")

    def whole(self, name: str) -> str:
        """The whole list `name`."""
        return self.to(f"list/{name}")

    def to(self, page: str) -> str:
        """Another page of the site."""
        return self._to(page, self.fields(*_OF_SOME))

    def visit(self, visit: str) -> str:
        """One visit, by its id."""
        values: dict[str, Any] = {"site": self.site, "visit": visit, **self.fields(*_OF_SOME)}
        return url_for("views.visit", **values)

    @staticmethod
    def longer(path: Sequence[str], page: str) -> str:
        """The path with one more page, as an address has it."""
        return json.dumps([*path, page], ensure_ascii=False)

    def download(self, form: str) -> str:
        """This whole list as a file."""
        values: dict[str, Any] = {**self.fields("metric", "compare", "tabs"), "site": self.site, "form": form}
        return url_for("lists.download", **values, name=self.page.removeprefix("list/"))

    def export(self, view: str, form: str, span: DateRange) -> str:
        """The rows of a view on the days of a range, as a file."""
        days: dict[str, Any] = {"from": span.first, "to": span.last}
        return url_for("exports.rows", site=self.site, view=view, form=form, **days)

    def value(self, name: str, value: str) -> str:
        """The board of the visits that have this value of the list `name`, in place of another value of it."""
        chosen = _choosing(self.chosen, Filter("is", name, (value,)))
        return self._to("", self.fields(*_OF_SOME) | {"filters": text(chosen)})

    def _to(self, page: str, parameters: dict[str, str]) -> str:
        values: dict[str, Any] = {"site": self.site, **_told(parameters)}
        if page in VIEWS:
            return url_for(f"views.{page}", **values)
        if page:
            return url_for("lists.whole", **values, name=page.removeprefix("list/"))
        return url_for("pages.board", **values)


def _told(parameters: dict[str, str]) -> dict[str, str]:
    """The parameters that say something."""
    return {each: value for each, value in parameters.items() if value and value != _DEFAULTS.get(each)}


def _choosing(chosen: Sequence[Filter], new: Filter) -> list[Filter]:
    """The filters with `new`, which takes the place of those with its operator and dimension."""
    same = (new.operator, new.dimension)
    replaced = [new if (each.operator, each.dimension) == same else each for each in chosen]
    return list(dict.fromkeys([*replaced, new]))
