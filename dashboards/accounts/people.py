"""`/people`: who may sign in, and what each may see. For owners.

One form address takes every change; its field `deed` says which. A new password is on the answer and nowhere else.
"""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response as Redirect

from dashboards.access import audit
from dashboards.access.rules import current_accounts
from dashboards.context import built, current_context
from dashboards.language import gettext
from dashboards.parameters import one_of
from stores.accounts.roles import ALL, AccountRefused, Grants, Role
from stores.accounts.users import Users, new_password

routes = Blueprint("people", __name__)

NONE = "none"  # in place of a role: it is taken away


@routes.get("/people")
def show() -> str:
    """All users."""
    return _page()


@routes.post("/people")
def change() -> str | tuple[str, int] | Redirect:
    """Does what the form says, to one user."""
    users, name = current_accounts().users, request.form.get("user", "")
    deed = one_of(request.form, "deed", ("add", "role", "password", "no_code", "disable", "enable", "remove"))
    try:
        password = _done(users, deed, name)
    except AccountRefused as error:
        return _page(wrong=str(error)), 400
    return _page(named=name, password=password) if password else redirect(url_for("people.show"), 303)


def _done(users: Users, deed: str, name: str) -> str:
    """Does it, and returns the new password if there is one. Raises `AccountRefused`."""
    password = ""
    match deed:
        case "add":
            role, site, password = _role((*Role,)), _site(), new_password()
            added = users.add(name, password, Grants({site: Role(role)}))
            audit.record(f"added a user: {role} of {site}", added.name)
        case "role":
            role, site = _role((*Role, NONE)), _site()
            users.grant(name, None if role == NONE else Role(role), [] if site == ALL else [site])
            audit.record(f"set a role: {role} of {site}", name)
        case "password":
            password = new_password()
            users.set_password(name, password)
            audit.record("set a password", name)
        case "no_code":
            current_accounts().codes.turn_off(users.get(name))
            audit.record("turned off codes", name)
        case "remove":
            users.remove(name)
            audit.record("removed a user", name)
        case _:
            users.set_disabled(name, deed == "disable")
            audit.record(f"{deed}d a user", name)
    return password


def _role(accepted: tuple[str, ...]) -> str:
    return one_of(request.form, "role", accepted)


def _site() -> str:
    site = request.form.get("site", "")
    if site != ALL and site not in current_context().sites():
        raise BadRequest(f"site must be {ALL} for all sites, or one that is counted, not {site!r}")
    return site


def _page(wrong: str = "", named: str = "", password: str = "") -> str:
    return render_template(
        "people.html",
        title=gettext("People"),
        users=current_accounts().users.all(),
        sites=sorted(current_context().sites()),
        roles=[*Role],
        wrong=wrong,
        named=named,
        password=password,
        built=built(),
    )
