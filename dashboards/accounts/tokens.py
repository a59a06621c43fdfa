"""`/tokens`: tokens of programs that ask the API. For owners. A new one is on the answer and nowhere else."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response as Redirect

from dashboards.access import audit
from dashboards.access.rules import current_accounts
from dashboards.context import built, current_context
from dashboards.language import N_, gettext
from dashboards.parameters import one_of
from stores.accounts.roles import ALL, AccountRefused
from stores.accounts.tokens import SCOPES

routes = Blueprint("tokens", __name__)

DAYS = {"30": N_("30 days"), "90": N_("90 days"), "365": N_("a year"), "": N_("until it is removed")}


@routes.get("/tokens")
def show() -> str:
    """All tokens, without their secrets."""
    return _page()


@routes.post("/tokens")
def change() -> str | tuple[str, int] | Redirect:
    """Makes or removes a token."""
    tokens, name = current_accounts().tokens, request.form.get("token", "")
    try:
        if one_of(request.form, "deed", ("add", "remove")) == "remove":
            tokens.remove(name)
            audit.record("removed a token", name)
            return redirect(url_for("tokens.show"), 303)
        site, scopes = request.form.get("site", ""), request.form.getlist("scope")
        if site != ALL and site not in current_context().sites():
            raise BadRequest(f"site must be {ALL} for all sites, or one that is counted, not {site!r}")
        days = one_of(request.form, "days", DAYS)
        secret = tokens.add(name, scopes, site, int(days) if days else None)
        audit.record(f"made a token: {' '.join(sorted(scopes))} of {site}", name)
    except AccountRefused as error:
        return _page(wrong=str(error)), 400
    return _page(named=name, secret=secret)


def _page(wrong: str = "", named: str = "", secret: str = "") -> str:
    return render_template(
        "tokens.html",
        title=gettext("Tokens"),
        tokens=current_accounts().tokens.all(),
        sites=sorted(current_context().sites()),
        scopes=SCOPES,
        days=DAYS,
        wrong=wrong,
        named=named,
        secret=secret,
        built=built(),
    )
