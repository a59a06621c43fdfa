"""`/account`: one's own roles, password, second factor and sessions. For everybody who signed in by name."""

from __future__ import annotations

import segno
from flask import Blueprint, Response, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.exceptions import Forbidden
from werkzeug.wrappers import Response as Redirect

from dashboards.access import audit
from dashboards.access.login import remember
from dashboards.access.needs import principal
from dashboards.access.refusing import refuse
from dashboards.access.rules import COOKIE, current_access, current_accounts
from dashboards.context import built
from dashboards.language import gettext
from dashboards.parameters import one_of
from stores.accounts import codes
from stores.accounts.roles import AccountRefused
from stores.accounts.users import User

routes = Blueprint("account", __name__)


@routes.get("/account")
def show() -> str:
    """The account of who asks."""
    return _page()


@routes.post("/account")
def change() -> str | tuple[str, int] | Response | Redirect:
    """Changes the own password or second factor, or ends the own sessions in other browsers."""
    accounts, access, user = current_accounts(), current_access(), _user()
    deed = one_of(request.form, "deed", ("password", "code", "no_code", "sessions"))
    if deed == "sessions":
        accounts.users.end_other_sessions(user, request.cookies.get(COOKIE, ""))
        audit.record("ended the other sessions", user.name)
        return redirect(url_for("account.show"), 303)
    if (waiting := access.attempts.waits(access.who(), user.name)) is not None:
        return refuse(waiting)
    if accounts.users.verify(user.name, request.form.get("password", "")) is None:
        access.attempts.count_wrong(access.who(), user.name)
        return _page(wrong="This is not your present password."), 400
    try:
        if deed == "password":
            return _with_new_password(user)
        if deed == "code":
            made = accounts.codes.turn_on(user, request.form.get("secret", ""), request.form.get("code", ""))
            audit.record("turned on codes", user.name)
            return _page(recovery=made)
    except AccountRefused as error:
        return _page(wrong=str(error)), 400
    accounts.codes.turn_off(user)
    audit.record("turned off codes", user.name)
    return redirect(url_for("account.show", done=1), 303)


def _with_new_password(user: User) -> tuple[str, int] | Redirect:
    """Raises `AccountRefused` for a password that cannot be."""
    new = request.form.get("new", "")
    if new != request.form.get("again", ""):
        return _page(wrong="The two new passwords differ."), 400
    current_accounts().users.set_password(user.name, new)
    audit.record("changed the own password", user.name)
    changed = redirect(url_for("account.show", done=1), 303)
    remember(changed, current_access().start_session(user))  # the old one ended with the old password
    return changed


def _user() -> User:
    found = principal()
    if found is None or found.user is None:
        raise Forbidden("this page is for users who signed in by name and password")
    return found.user


def _page(wrong: str = "", recovery: list[str] | None = None) -> str:
    accounts, user = current_accounts(), current_accounts().users.get(_user().name)
    secret = codes.new_secret()
    link = codes.link(user, secret)
    picture = segno.make(link, error="m").svg_inline(scale=4, light="#fff", dark="#000", svgclass="qr", omitsize=True)
    return render_template(
        "account.html",
        title=gettext("Your account"),
        user=user,
        sessions=accounts.users.sessions(user),
        secret=secret,
        link=link,
        picture=Markup(picture),  # noqa: S704 - of our own link, which it holds as squares
        recovery=recovery,
        recovery_left=accounts.codes.recovery_left(user),
        done="done" in request.args,
        wrong=wrong,
        built=built(),
    )
