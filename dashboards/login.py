"""`/login` and `/logout`: the token in a form, once, for a cookie that is not the token."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as Redirect

from dashboards.access import COOKIE, SESSION_SECONDS, Access, refuse
from dashboards.base import built

routes = Blueprint("login", __name__)


def _access() -> Access:
    found: Access = current_app.extensions["access"]
    return found


@routes.get("/login")
def show() -> str | Response | Redirect:
    access, target = _access(), _own_path(request.args.get("next", ""))
    if not access.closed or access.knows(request.cookies.get(COOKIE, "")):
        return redirect(target, 303)
    if request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        # A link of another site brought them, and such a request has no strict cookie with it. Once more, from us.
        return render_template("again.html", target=target)
    return _page(target, "")


@routes.post("/login")
def enter() -> tuple[str, int] | Response | Redirect:
    access, target = _access(), _own_path(request.form.get("next", ""))
    if not access.closed:
        return redirect(target, 303)
    who = access.who()
    if (waiting := access.waits(who)) is not None:
        response = refuse(waiting)
        response.set_data(_page(target, waiting.words))
        response.content_type = "text/html; charset=utf-8"
        return response
    if not access.admits(request.form.get("token", "").strip()):
        access.count_wrong(who)
        return _page(target, "This is not the token."), 401
    entered = redirect(target, 303)
    _set(entered, access.new_session(), SESSION_SECONDS)
    return entered


@routes.post("/logout")
def leave() -> Redirect:
    left = redirect(url_for("login.show"), 303)
    _set(left, "", 0)
    return left


def _set(response: Redirect, session: str, seconds: int) -> None:
    secure = _access().encrypted(request.headers.get("Host", ""))
    response.set_cookie(COOKIE, session, max_age=seconds, httponly=True, samesite="Strict", secure=secure)


def _page(target: str, wrong: str) -> str:
    return render_template("login.html", title="Sign in", target=target, wrong=wrong, built=built())


def _own_path(target: str) -> str:
    """Where to go on to: a path of these pages, whatever was asked for."""
    own = target.startswith("/") and not target.startswith("//") and target.isprintable() and "\\" not in target
    return target if own else "/"
