"""What every request passes before its route runs: the port's names, foreign pages, who it is from, what they may.

It denies by default: a route that `needs.NEEDS` does not name is refused to everybody.
"""

from __future__ import annotations

from flask import Flask, Response, g, jsonify, redirect, request, url_for
from werkzeug.exceptions import BadRequest, Forbidden
from werkzeug.wrappers import Response as Answer

from dashboards import parameters
from dashboards.access import audit, needs
from dashboards.access.hosts import Refusal
from dashboards.access.needs import ANYBODY, NEEDS, OPEN, SIGNED_IN, Over
from dashboards.access.rules import Access
from dashboards.clickhouse import errors
from dashboards.context import current_context
from stores.base import StoreError


def guard(app: Flask, access: Access) -> None:
    """Checks every request to `app` before its route runs."""
    app.extensions["access"] = access

    def header(name: str) -> str:
        return request.headers.get(name, "")

    @app.before_request
    def look() -> Answer | None:
        hosts = access.hosts
        method = "POST" if _is_statement() else request.method  # no link leads to a statement
        refusal = hosts.wrong_host(header("Host"), request.endpoint) or hosts.foreign(method, header)
        if refusal is not None:
            return refuse(refusal)
        try:
            return _let_in(access)
        except StoreError as error:
            return refuse(Refusal(503, f"the accounts cannot be read: {error}"))
        except Forbidden as error:
            if not _is_statement():
                raise
            return refuse(Refusal(403, str(error.description)))

    audit.write_down(app, access)

    @app.context_processor
    def signed_in() -> dict[str, object]:
        found = needs.principal()
        person = found.user.name if found is not None and found.user is not None else ""
        return {"signed_in": found not in (None, ANYBODY), "person": person, "may": needs.may}


def refuse(refusal: Refusal) -> Response:
    """The response for a refusal: JSON for the API, ClickHouse's form for its clients, plain text otherwise."""
    if request.path.startswith("/api/"):
        response = jsonify(error=refusal.words)
    elif _is_statement():
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


def _is_statement() -> bool:
    """Whether this is a request in ClickHouse's protocol, which has the address of the home page."""
    return request.path == "/" and (request.method == "POST" or "query" in request.args)


def _let_in(access: Access) -> Answer | None:
    """None if the request may go to its route, else the response that refuses it. Raises `HTTPException` in words."""
    endpoint = "clickhouse.ask" if _is_statement() else request.endpoint
    need = SIGNED_IN if endpoint is None else NEEDS.get(endpoint)
    if need is None:
        words = f"nobody may use this: {request.endpoint} has no line in dashboards/access/needs.py"
        return refuse(Refusal(403, words))
    if need is OPEN:
        return None
    found = access.identify()
    if isinstance(found, Refusal):
        return refuse(found)
    if found is None:
        return _ask_to_sign_in(access)
    g.principal = found
    site = needs.site_of_request()
    if need.over is Over.SITE:
        context = current_context()
        if site is None:
            have = ", ".join(sorted(context.sites())) or "none yet, add one first"
            raise BadRequest(f"site is needed: one of {have}")
        parameters.known(context, site)
    needs.check(found, need, site)
    return None


def _ask_to_sign_in(access: Access) -> Answer:
    if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
        return redirect(url_for("login.show", next=request.full_path.rstrip("?")), 303)
    ways = "as Authorization: Bearer TOKEN, or as the password of HTTP Basic"
    if access.accounts is not None:
        return refuse(Refusal(401, f"sign in at {url_for('login.show')}, or send a token: {ways}"))
    return refuse(Refusal(401, f"the dashboards ask for their token: send it {ways}"))
