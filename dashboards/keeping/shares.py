"""`/<site>/shares`: addresses by which anybody reads the pages of a site. For its admins.

A new address is on the answer and nowhere else.
"""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response as Redirect

from dashboards import pages, parameters
from dashboards.access import audit
from dashboards.access.needs import principal
from dashboards.access.rules import current_access, current_accounts
from dashboards.context import current_context
from dashboards.language import N_, gettext
from stores.accounts.roles import AccountRefused
from stores.base import StoreError

routes = Blueprint("shares", __name__)
routes.register_error_handler(StoreError, pages.failed)

DAYS = {"7": N_("7 days"), "30": N_("30 days"), "365": N_("a year"), "": N_("until it is withdrawn")}


@routes.get("/<site>/shares")
def show(site: str) -> str:
    """All shares of the site, without their addresses."""
    return _page(site)


@routes.post("/<site>/shares")
def change(site: str) -> str | tuple[str, int] | Redirect:
    """Makes or withdraws a share."""
    shares, name = current_accounts().shares, request.form.get("share", "")
    try:
        if parameters.one_of(request.form, "deed", ("add", "remove")) == "remove":
            shares.remove(site, name)
            audit.record(f"withdrew the share {name}", site)
            return redirect(url_for("shares.show", site=site), 303)
        days = parameters.one_of(request.form, "days", DAYS)
        origins, made_by = request.form.get("origins", "").split(), principal()
        if made_by is None:
            raise BadRequest("nobody asked for this")
        token = shares.add(
            site, name, made_by.name, days=int(days) if days else None, password=request.form.get("password", ""),
            files="files" in request.form, origins=origins,
        )  # fmt: skip
        audit.record(f"made the share {name}", site)
    except AccountRefused as error:
        return _page(site, wrong=str(error)), 400
    return _page(site, named=name, address=_address(site, token), framed=bool(origins))


def _address(site: str, token: str) -> str:
    """Where browsers reach the site's page by a token."""
    base = current_access().url or request.host_url
    return f"{base.rstrip('/')}/share/{token}/{site}"


def _page(site: str, wrong: str = "", named: str = "", address: str = "", framed: bool = False) -> str:
    context = current_context()
    return render_template(
        "shares.html",
        title=gettext("Shares of %(site)s") % {"site": site},
        site=site,
        shares=current_accounts().shares.all(site),
        now=context.clock(),
        days=DAYS,
        wrong=wrong,
        named=named,
        address=address,
        framed=framed,
        **pages.common(context),
    )
