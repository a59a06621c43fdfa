"""`/<site>/saved`: the segments, goals and funnels of a site, and the forms that add, replace, rename and remove them.

What is for all who see the site is an admin's to change; segments and funnels for oneself are their user's.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response as Redirect

from dashboards import chips, filters, journeys, kept, pages, parameters
from dashboards.access import audit, needs
from dashboards.access.needs import CHANGES, principal
from dashboards.access.rules import current_accounts
from dashboards.context import current_context
from dashboards.language import gettext
from dashboards.links import Links
from dashboards.pages import Keeping
from stores.accounts.roles import AccountRefused
from stores.accounts.saved import Kind
from stores.base import StoreError
from stores.filters import PROPERTY, Filter
from stores.visits import STEP_DIMENSIONS

routes = Blueprint("saved", __name__)
routes.register_error_handler(StoreError, pages.failed)

# What a goal may be: not the goal of another name.
GOALS = {
    name: words
    for name, words in chips.DIMENSIONS.items()
    if (name in STEP_DIMENSIONS or name == PROPERTY) and name != "goal"
}
OPERATORS = {name: filters.WORDS[name] for name in ("is", "contains")}
FOR = ("me", "all")  # who sees what is saved


@routes.get("/<site>/saved")
def show(site: str) -> str:
    """All that is saved. Filters in the address can take the place of those of a segment."""
    return _page(site, filters.of(request.args))


@routes.post("/<site>/saved")
def change(site: str) -> str | tuple[str, int] | Redirect:
    """Does what the form says, to one of them."""
    deed = parameters.one_of(request.form, "deed", ("add", "replace", "rename", "remove"))
    kind = Kind(parameters.one_of(request.form, "kind", tuple(Kind)))
    user = _whose(site, kind)
    store, name = current_accounts().saved, request.form.get("name", "")
    try:
        match deed:
            case "add":
                name = store.add(site, kind, name, filters.text(_content(site, kind)), user)
            case "replace":
                store.replace(site, kind, name, filters.text(_content(site, kind)), user)
            case "rename":
                new = store.rename(site, kind, name, request.form.get("new", ""), user)
                deed, name = f"renamed {name} in", new
            case _:
                store.remove(site, kind, name, user)
    except AccountRefused as error:
        return _page(site, (), str(error)), 400
    past = {"add": "added", "replace": "replaced", "remove": "removed"}.get(deed, deed)
    audit.record(f"{past} the {kind}{' of the own' if user else ''}: {name}", site)
    if deed != "add" or kind is Kind.GOAL:
        return redirect(url_for("saved.show", site=site), 303)
    return redirect(_shown(site, kind, name), 303)


def _shown(site: str, kind: Kind, name: str) -> str:
    """The page that shows what was just added."""
    if kind is Kind.SEGMENT:
        return Links(site, (), request.form).here(segment=name)
    return Links(site, filters.of(request.form), request.form, "funnel").here()


def _whose(site: str, kind: Kind) -> int | None:
    """The user whose it is; None if all see it. Raises `Forbidden` and `BadRequest`."""
    who = parameters.one_of(request.form, "for", FOR, "all")
    if who == "all":
        found = principal()
        assert found is not None  # the guard has let somebody in
        needs.check(found, CHANGES, site)
        return None
    if kind is Kind.GOAL:
        raise BadRequest("a goal is for all who see the site: leave for=me out")
    if kept.user() is None:
        raise BadRequest("only who signed in by name can save something for himself alone: leave for=me out")
    return kept.user()


def _content(site: str, kind: Kind) -> tuple[Filter, ...]:
    """The filters or steps of the form. Raises `BadRequest`."""
    match kind:
        case Kind.GOAL:
            return chips.with_new(request.form, (), GOALS, OPERATORS)
        case Kind.FUNNEL:
            steps = filters.steps_of(request.form)
            journeys.check(steps)
            return steps
        case _:
            found = filters.of(request.form)
            if not found:
                raise BadRequest("a segment needs a filter: add one to the page, then save what is shown")
            return kept.meaning(site, found)


def _page(site: str, shown: tuple[Filter, ...], wrong: str = "") -> str:
    context = current_context()
    entries: dict[Kind, list[dict[str, Any]]] = {
        kind: [
            {
                "name": each.name,
                "own": each.own,
                "words": ", ".join(chips.words(condition) for condition in kept.content(each)),
                "address": _address(site, kind, each.name, each.content),
            }
            for each in kept.saved(site, kind)
        ]
        for kind in Kind
    }
    return render_template(
        "saved.html",
        title=gettext("Saved of %(site)s") % {"site": site},
        site=site,
        entries=entries,
        shown=", ".join(chips.words(each) for each in shown),
        filters=filters.text(shown),
        keeping=Keeping(site),
        dimensions=GOALS,
        operators=OPERATORS,
        wrong=wrong,
        back=Links(site, shown, request.args).board(),
        **pages.common(context),
    )


def _address(site: str, kind: Kind, name: str, content: str) -> str:
    """The page that shows it."""
    match kind:
        case Kind.SEGMENT:
            return Links(site, (), request.args).here(segment=name)
        case Kind.FUNNEL:
            return Links(site, (), request.args, "funnel").here(steps=content)
        case _:
            return Links(site, (Filter("is", "goal", (name,)),), request.args).board()
