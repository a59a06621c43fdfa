"""Guests: who comes by a share, and reads the pages of one site without an account.

All addresses of a share begin with `/share/TOKEN`. `Shared` takes that off before the application looks at the rest,
and the links of a page get it back, so a guest's page needs no cookie and works in a frame of another site. Below such
an address nobody is more than the share's guest, whatever cookies and tokens come along; nowhere else is a share's
token of any use. A password, if the share has one, is exchanged for a cookie of that address alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, redirect, render_template, request, url_for
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as Redirect

from dashboards.access import audit
from dashboards.access.refusing import refuse
from dashboards.access.rules import Access, current_access
from dashboards.context import built
from dashboards.language import gettext
from stores.accounts.shares import Share

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

routes = Blueprint("guests", __name__)

PREFIX = "/share/"
COOKIE = "footfall_share"
OPEN_SECONDS = 86_400  # how long a password need not be given again
# What a guest may ask for, and what more if the share says that files may be saved.
_LOOKS = ("theme", "lang")  # what an address says of how the pages look, and the password does not change
PAGES = frozenset((
    "pages.home", "pages.board", "lists.whole", "lists.card", "views.visits", "views.visit", "views.paths",
    "views.funnel", "views.add_step", "views.searches", "views.retention", "views.live", "views.watch",
    "chips.add", "now.now",
))  # fmt: skip
FILES = frozenset(("lists.download", "exports.rows"))

_TOKEN = "footfall.share"  # noqa: S105 - a key of the environment, which no header can set
_GONE = "this address shows nothing, or no longer: ask whoever gave it to you for another"


class Shared:
    """The application with the addresses of shares."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", ""))
        if path.startswith(PREFIX):
            token, _, rest = path.removeprefix(PREFIX).partition("/")
            root = f"{environ.get('SCRIPT_NAME', '')}{PREFIX}{token}"
            environ = {**environ, _TOKEN: token, "SCRIPT_NAME": root, "PATH_INFO": f"/{rest}"}
        return self._application(environ, start_response)


def invited() -> bool:
    """Whether this request is to an address of a share, be it a good one or not."""
    return _TOKEN in request.environ


def share_of(access: Access) -> Share | None:
    """The share by whose address this request came; None if there is none, or it has run out or was withdrawn."""
    if not invited() or access.store is None:
        return None
    return access.store.shares.of_token(str(request.environ.get(_TOKEN)))


def may_ask(share: Share, endpoint: str | None) -> bool:
    """Whether a route is one for guests of a share."""
    return endpoint in PAGES or (share.files and endpoint in FILES)


def locked(share: Share) -> bool:
    """Whether the password of the share has not been given yet."""
    if share.password is None:
        return False
    try:
        _cookies(share).loads(request.cookies.get(COOKIE, ""), max_age=OPEN_SECONDS)
    except BadData:
        return True
    return False


def gone() -> NotFound:
    """What is told of an address that opens nothing, and of what is not for guests."""
    return NotFound(_GONE)


def door(wrong: str = "") -> Response:
    """The page that asks for the password."""
    action = url_for("guests.enter", **_looks())
    title = gettext("Shared numbers")
    return Response(render_template("door.html", title=title, wrong=wrong, action=action, built=built()), 401)


@routes.post("/open")
def enter() -> Response | Redirect:
    """Exchanges the password of a share for a cookie."""
    access = current_access()
    share = share_of(access)
    if share is None or share.password is None or access.store is None:
        raise gone()
    who, name = access.who(), f"share {share.id}"  # no user's name has a blank
    if (waiting := access.attempts.waits(who, name)) is not None:
        return refuse(waiting)
    right = access.store.shares.opens(share, request.form.get("password", ""))
    audit.record(f"{'opened' if right else 'did not open'} the share {share.name}", share.site, who="a guest")
    if not right:
        access.attempts.count_wrong(who, name)
        return door("This is not the password.")
    entered = redirect(url_for("pages.board", site=share.site, **_looks()), 303)
    secure = access.hosts.encrypted(request.headers.get("Host", ""))
    entered.set_cookie(
        COOKIE, str(_cookies(share).dumps(share.id)), max_age=OPEN_SECONDS, path=f"{request.script_root}/",
        httponly=True, samesite="Lax", secure=secure,
    )  # fmt: skip
    return entered


def _looks() -> dict[str, Any]:
    return {name: request.args[name] for name in _LOOKS if name in request.args}


def _cookies(share: Share) -> URLSafeTimedSerializer:
    """Signs cookies by the stored hash, which only this server knows, and which ends with the share."""
    return URLSafeTimedSerializer(str(share.password), salt="share")
