"""`/<site>/alerts`: what of the site is watched, and whom it is told to."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response as Redirect

from dashboards.access import audit, login
from dashboards.access.rules import current_accounts
from dashboards.alerts.judging import KINDS, told, unfit
from dashboards.context import built, current_context
from dashboards.language import gettext
from dashboards.parameters import one_of, whole_number
from stores.accounts.alerts import Alert
from stores.accounts.roles import AccountRefused
from stores.base import StoreError

routes = Blueprint("alerts", __name__)
routes.register_error_handler(StoreError, login.failed)

_LAST = 999_999_999


@routes.get("/<site>/alerts")
def show(site: str) -> str:
    """All alerts of the site, without their secrets."""
    return _page(site)


@routes.post("/<site>/alerts")
def change(site: str) -> str | tuple[str, int] | Redirect:
    """Adds or removes an alert. The secret of a new webhook is on the answer and nowhere else."""
    alerts = current_accounts().alerts
    added: Alert | None = None
    try:
        if one_of(request.form, "deed", ("add", "remove")) == "add":
            kind, threshold = request.form.get("kind", ""), _number(request.form.get("threshold", ""))
            if wrong := unfit(kind, threshold, of_site=True):
                raise AccountRefused(wrong)
            added = alerts.add(site, kind, threshold, request.form.get("target", ""))
            audit.record(f"added an alert of {site}: {kind} {threshold:g}", added.target)
        else:
            alert = alerts.get(whole_number(request.form, "alert", 0, _LAST), site)
            alerts.remove(alert)
            audit.record(f"removed an alert of {site}: {alert.kind} {alert.threshold:g}", alert.target)
    except AccountRefused as error:
        return _page(site, str(error)), 400
    if added is not None and not added.by_mail:
        return _page(site, added=added)
    return redirect(url_for("alerts.show", site=site), 303)


def _number(text: str) -> float:
    try:
        return float(text[:30])
    except ValueError as error:
        raise BadRequest(f"threshold must be a number, not {text[:30]!r}") from error


def _page(site: str, wrong: str = "", added: Alert | None = None) -> str:
    return render_template(
        "alerts.html",
        title=gettext("Alerts of %(site)s") % {"site": site},
        of=site,
        alerts=[(each, told(each.kind, each.value or 0)) for each in current_accounts().alerts.all(site)],
        kinds={name: kind for name, kind in KINDS.items() if kind.of_site},
        mails=current_context().mails,
        added=added,
        wrong=wrong,
        built=built(),
    )
