"""`/<site>/reports`: who gets a report of the site by e-mail; `/unsubscribe/<key>`: a reader ends it.

The key in a message's link is all that unsubscribing needs: mail programs send the form themselves (RFC 8058). A link
alone ends nothing, because programs that look for harm follow links.
"""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as Redirect

from dashboards.access import audit, login
from dashboards.access.rules import current_accounts
from dashboards.context import built, current_context
from dashboards.language import gettext
from dashboards.parameters import one_of, zone_of
from stores.accounts.reports import EVERY, Report
from stores.accounts.roles import AccountRefused
from stores.base import StoreError

routes = Blueprint("reports", __name__)
routes.register_error_handler(StoreError, login.failed)


@routes.get("/<site>/reports")
def show(site: str) -> str:
    """All reports of the site."""
    return _page(site)


@routes.post("/<site>/reports")
def change(site: str) -> tuple[str, int] | Redirect:
    """Adds or removes a report."""
    reports = current_accounts().reports
    deed = one_of(request.form, "deed", ("add", "remove"))
    every, address = one_of(request.form, "every", EVERY), request.form.get("address", "")
    try:
        if deed == "add":
            address = reports.add(site, address, every).address
        else:
            reports.remove(reports.get(site, address, every))
    except AccountRefused as error:
        return _page(site, str(error)), 400
    audit.record(f"{deed}{'ed' if deed == 'add' else 'd'} a {EVERY[every]} report of {site}", address)
    return redirect(url_for("reports.show", site=site), 303)


@routes.get("/unsubscribe/<key>")
def ask(key: str) -> str:
    """Asks whether to end the report."""
    return render_template("unsubscribe.html", title=gettext("Unsubscribe"), report=_of(key), done=False, built=built())


@routes.post("/unsubscribe/<key>")
def unsubscribe(key: str) -> str:
    """Ends the report, for whoever has its key."""
    report = _of(key)
    current_accounts().reports.remove(report)
    audit.record(f"unsubscribed from {EVERY[report.every]} reports of {report.site}", report.address, report.address)
    return render_template("unsubscribe.html", title=gettext("Unsubscribe"), report=report, done=True, built=built())


def _of(key: str) -> Report:
    found = current_accounts().reports.of_key(key)
    if found is None:
        raise NotFound("this report is not sent any more: there is nothing to unsubscribe from")
    return found


def _page(site: str, wrong: str = "") -> str:
    context = current_context()
    return render_template(
        "reports.html",
        title=gettext("Reports of %(site)s") % {"site": site},
        of=site,
        zone=zone_of(context, site),
        reports=current_accounts().reports.all(site),
        every=EVERY,
        mails=context.mails,
        wrong=wrong,
        built=built(),
    )
