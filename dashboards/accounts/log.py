"""`/audit`: who signed in, and who changed what, the latest first. For owners."""

from __future__ import annotations

from flask import Blueprint, render_template, request

from dashboards.access.rules import current_accounts
from dashboards.context import built
from dashboards.language import gettext
from dashboards.parameters import whole_number

routes = Blueprint("audit", __name__)

ROWS = 50
_LAST = 999_999_999


@routes.get("/audit")
def show() -> str:
    """A page of entries; `before` is the number of the entry that they came before."""
    before = whole_number(request.args, "before", _LAST, _LAST)
    entries = current_accounts().audit.latest(ROWS + 1, before)
    return render_template(
        "audit.html",
        title=gettext("Audit log"),
        entries=entries[:ROWS],
        older=entries[ROWS - 1].id if len(entries) > ROWS else None,
        first="before" not in request.args,
        built=built(),
    )
