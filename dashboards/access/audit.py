"""Writes the audit log: every change that a request made, and every attempt to get in.

A route says by `record` what it did and to what. One that says nothing is written down by its method and its path, so
that no change is without an entry. Nothing is written where everybody may do everything.
"""

from __future__ import annotations

import logging

from flask import Flask, Response, g, request

from dashboards.access.needs import ANYBODY, NEEDS, READS_BY_POST, principal
from dashboards.access.rules import Access
from stores.base import StoreError

log = logging.getLogger("footfall")

_SAFE = {"GET", "HEAD", "OPTIONS"}


def record(deed: str, target: str = "", who: str = "") -> None:
    """Says what this request does; `who` names somebody who is not signed in."""
    g.deed = (deed, target, who)


def write_down(app: Flask, access: Access) -> None:
    """Has the log written after each request to `app`."""

    @app.after_request
    def write(response: Response) -> Response:
        found, deed = principal(), g.get("deed")
        if found is ANYBODY or (found is not None and response.status_code >= 400):
            return response
        if deed is None:
            if found is None or request.method in _SAFE or NEEDS.get(request.endpoint or "") in READS_BY_POST:
                return response
            deed = (f"{request.method} {request.path}", "", "")
        what, target, who = deed
        try:
            if access.log is not None:
                access.log.add(found.name if found else who, access.who(), what, target)
        except StoreError as error:
            log.error("%r of %s is not in the audit log: %s", what, request.path, error)
        return response
