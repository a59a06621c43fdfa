"""`/login` exchanges a name and a password, or the token of the settings, for a cookie; `/logout` ends the session.

What is sent in the form once is never in the cookie, whose value means nothing elsewhere.
"""

from __future__ import annotations

from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as Redirect

from dashboards.access import audit
from dashboards.access.refusing import refuse
from dashboards.access.rules import COOKIE, SESSION_SECONDS, current_access
from dashboards.context import built
from dashboards.language import gettext
from stores.accounts.users import LONGEST_NAME, User, plain
from stores.base import StoreError

routes = Blueprint("login", __name__)

_LONGEST_CODE = 40


@routes.get("/login")
def show() -> str | Response | Redirect:
    access, target = current_access(), own_path(request.args.get("next", ""))
    if not access.closed or access.of_session(request.cookies.get(COOKIE, "")):
        return redirect(target, 303)
    if request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        # They followed a link from another site, and such a request has no strict cookie. Repeat it from our own page.
        return render_template("again.html", target=target)
    return sign_in_page(target, "")


@routes.post("/login")
def enter() -> tuple[str, int] | Response | Redirect:
    access, target = current_access(), own_path(request.form.get("next", ""))
    if not access.closed:
        return redirect(target, 303)
    who, name = access.who(), ""
    if access.accounts is not None:
        name = plain(request.form.get("name", "")[:LONGEST_NAME])
    if (waiting := access.attempts.waits(who, name)) is not None:
        response = refuse(waiting)
        response.set_data(sign_in_page(target, waiting.words, name))
        response.content_type = "text/html; charset=utf-8"
        return response
    user: User | None = None
    if access.accounts is not None:
        user = access.accounts.users.verify(name, request.form.get("password", ""))
        right = user is not None and access.accounts.codes.accepts(user, request.form.get("code", "")[:_LONGEST_CODE])
        wrong = "This name, password and code do not belong together."
    else:
        right, wrong = access.admits(request.form.get("token", "").strip()), "This is not the token."
    if access.accounts is not None:
        # People type their password where the name belongs: only names of users are written down.
        known = access.accounts.users.has(name)
        audit.record("signed in" if right else "did not sign in", who=name if known else "an unknown name")
    if not right:
        access.attempts.count_wrong(who, name)
        return sign_in_page(target, wrong, name), 401
    entered = redirect(target, 303)
    remember(entered, access.start_session(user))
    return entered


@routes.post("/logout")
def leave() -> Redirect:
    session = request.cookies.get(COOKIE, "")
    if (left_by := current_access().of_session(session)) is not None:
        audit.record("signed out", who=left_by.name)
    current_access().end_session(session)
    left = redirect(url_for("login.show"), 303)
    remember(left, "", 0)
    return left


@routes.errorhandler(StoreError)
def failed(error: StoreError) -> tuple[str, int]:
    """The page that says that the accounts cannot be read."""
    words = f"The accounts cannot be read: {error}"
    return render_template("error.html", title=gettext("Not now"), words=words, built=built()), 503


def remember(response: Redirect, session: str, seconds: int = SESSION_SECONDS) -> None:
    """Has the browser keep a session's cookie."""
    secure = current_access().hosts.encrypted(request.headers.get("Host", ""))
    response.set_cookie(COOKIE, session, max_age=seconds, httponly=True, samesite="Strict", secure=secure)


def sign_in_page(target: str, wrong: str, name: str = "") -> str:
    """The page to sign in, which leads to `target`; `wrong` is what was wrong with the last attempt."""
    return render_template(
        "login.html",
        title=gettext("Sign in"),
        target=target,
        wrong=wrong,
        named=current_access().accounts is not None,
        name=name,
        provider=current_access().provider_name,
        built=built(),
    )


def own_path(target: str) -> str:
    """Where to go after the login: `target` if it is a path of these pages, else the home page."""
    own = target.startswith("/") and not target.startswith("//") and target.isprintable() and "\\" not in target
    return target if own else "/"
