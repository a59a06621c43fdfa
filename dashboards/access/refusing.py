"""The response for a refused request, in the form that its sender reads."""

from __future__ import annotations

from flask import Response, jsonify, request

from dashboards.access.hosts import Refusal
from dashboards.clickhouse import errors
from dashboards.clickhouse.errors import is_statement


def refuse(refusal: Refusal) -> Response:
    """The response for a refusal: JSON for the API, ClickHouse's form for its clients, plain text otherwise."""
    if request.path.startswith("/api/"):
        response = jsonify(error=refusal.words)
    elif is_statement():
        name = errors.ACCESS_DENIED if refusal.status == 403 else "AUTHENTICATION_FAILED"
        response = errors.refused(refusal.words, name)
    else:
        response = Response(f"{refusal.words}\n", content_type="text/plain; charset=utf-8")
    response.status_code = refusal.status
    if refusal.status == 401:
        # Not Basic, although we accept it: a browser would open a dialog for it.
        response.headers["WWW-Authenticate"] = 'Bearer realm="Footfall"'
    if refusal.status == 429:
        response.headers["Retry-After"] = "60"
    return response
