"""`/account`: one's own roles, password and sessions. For everybody who signed in by name."""

from __future__ import annotations

from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.exceptions import Forbidden
from werkzeug.wrappers import Response as Redirect

from dashboards.access import audit
from dashboards.access.guard import refuse
from dashboards.access.login import remember
from dashboards.access.needs import principal
from dashboards.access.rules import COOKIE, current_access, current_accounts
from dashboards.context import built
from dashboards.parameters import one_of
from stores.accounts.roles import AccountRefused
from stores.accounts.users import User

routes = Blueprint("account", __name__)


@routes.get("/account")
def show() -> str:
    """The account of who asks."""
    return _page()


@routes.post("/account")
def change() -> str | tuple[str, int] | Response | Redirect:
    """Changes the own password, or ends the own sessions in other browsers."""
    users, user = current_accounts().users, _user()
    if one_of(request.form, "deed", ("password", "sessions")) == "sessions":
        users.end_other_sessions(user, request.cookies.get(COOKIE, ""))
        audit.record("ended the other sessions", user.name)
        return redirect(url_for("account.show"), 303)
    access, new = current_access(), request.form.get("new", "")
    if (waiting := access.attempts.waits(access.who(), user.name)) is not None:
        return refuse(waiting)
    if users.verify(user.name, request.form.get("password", "")) is None:
        access.attempts.count_wrong(access.who(), user.name)
        return _page(wrong="This is not your present password."), 400
    if new != request.form.get("again", ""):
        return _page(wrong="The two new passwords differ."), 400
    try:
        users.set_password(user.name, new)
    except AccountRefused as error:
        return _page(wrong=str(error)), 400
    audit.record("changed the own password", user.name)
    changed = redirect(url_for("account.show", done=1), 303)
    remember(changed, access.start_session(user))  # the old one ended with the old password
    return changed


def _user() -> User:
    found = principal()
    if found is None or found.user is None:
        raise Forbidden("this page is for users who signed in by name and password")
    return found.user


def _page(wrong: str = "") -> str:
    user = _user()
    return render_template(
        "account.html",
        title="Your account",
        user=user,
        sessions=current_accounts().users.sessions(user),
        done="done" in request.args,
        wrong=wrong,
        built=built(),
    )
