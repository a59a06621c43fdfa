"""`/<site>/annotations`: adds and removes annotations of a site, which its chart and `/api/v1/annotations` show."""

from __future__ import annotations

from datetime import time

from flask import Blueprint, redirect, request
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response as Redirect

from dashboards import filters, pages, parameters, ranges
from dashboards.access import audit
from dashboards.access.rules import current_accounts
from dashboards.links import Links
from stores.accounts.roles import AccountRefused
from stores.base import StoreError

routes = Blueprint("annotations", __name__)
routes.register_error_handler(StoreError, pages.failed)

_MOST = 999_999_999


@routes.post("/<site>/annotations")
def change(site: str) -> Redirect:
    """Does what the form says, and goes back to the page that it is on."""
    store = current_accounts().annotations
    deed = parameters.one_of(request.form, "deed", ("add", "remove"))
    try:
        if deed == "add":
            words = request.form.get("text", "")
            day = ranges.parse_day("day", request.form.get("day", ""))
            store.add(site, day, _clock(request.form.get("time", "")), words)
            audit.record(f"annotated {day}: {words}", site)
        else:
            number = parameters.whole_number(request.form, "annotation", _MOST, _MOST)
            store.remove(site, number)
            audit.record(f"removed annotation {number}", site)
    except (AccountRefused, ranges.BadRange) as error:
        raise BadRequest(str(error)) from error
    return redirect(Links(site, filters.of(request.form), request.form).here(), 303)


def _clock(text: str) -> time | None:
    """The time of a form; None if there is none. Raises `BadRequest`."""
    try:
        return time.fromisoformat(text) if text else None
    except ValueError:
        raise BadRequest(f"time must be a time as HH:MM, or nothing, not {text[:100]!r}") from None
