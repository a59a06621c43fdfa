"""What every request passes before its route runs: the port's names, foreign pages, who it is from, what they may.

It denies by default: a route that `needs.NEEDS` does not name is refused to everybody.
"""

from __future__ import annotations

from flask import Flask, g, redirect, request, url_for
from werkzeug.exceptions import BadRequest, Forbidden
from werkzeug.wrappers import Response as Answer

from dashboards import parameters
from dashboards.access import audit, guests, needs
from dashboards.access.hosts import Refusal
from dashboards.access.needs import ANYBODY, NEEDS, OPEN, SIGNED_IN, Need, Over, Principal
from dashboards.access.refusing import refuse
from dashboards.access.rules import Access
from dashboards.clickhouse.errors import is_statement
from dashboards.context import current_context
from stores.accounts.shares import Share
from stores.base import StoreError


def guard(app: Flask, access: Access) -> None:
    """Checks every request to `app` before its route runs."""
    app.extensions["access"] = access

    def header(name: str) -> str:
        return request.headers.get(name, "")

    @app.before_request
    def look() -> Answer | None:
        hosts = access.hosts
        method = "POST" if is_statement() else request.method  # no link leads to a statement
        if (refusal := hosts.wrong_host(header("Host"), request.endpoint)) is not None:
            return refuse(refusal)
        try:
            share = guests.share_of(access)
            framed = share is not None and bool(share.origins)
            if (refusal := hosts.foreign(method, header, framed=framed)) is not None:
                return refuse(refusal)
            return _let_guest_in(share) if guests.invited() else _let_in(access)
        except Forbidden as error:
            if is_statement():
                return refuse(Refusal(403, str(error.description)))
            raise
        except StoreError as error:
            return refuse(Refusal(503, f"the accounts cannot be read: {error}"))

    audit.write_down(app, access)

    @app.context_processor
    def around() -> dict[str, object]:
        found = needs.principal()
        person = found.user.name if found is not None and found.user is not None else ""
        guest = found.share if found is not None else None
        signed_in = found not in (None, ANYBODY) and guest is None
        theme = request.args.get("theme", "")
        return {
            "signed_in": signed_in,
            "person": person,
            "may": needs.may,
            "guest": guest,
            "shared": guests.invited(),
            "theme": theme if theme in ("dark", "light") else "",
        }


def _let_in(access: Access) -> Answer | None:
    """None if the request may go to its route, else the response that refuses it. Raises `HTTPException` in words."""
    endpoint = "clickhouse.ask" if is_statement() else request.endpoint
    need = SIGNED_IN if endpoint is None else NEEDS.get(endpoint)
    if need is None:
        words = f"nobody may use this: {endpoint} has no line in dashboards/access/needs.py"
        return refuse(Refusal(403, words))
    if need is OPEN:
        return None
    found = access.identify()
    if isinstance(found, Refusal):
        return refuse(found)
    if found is None:
        return _ask_to_sign_in(access)
    g.principal = found
    _check(found, need)
    return None


def _check(found: Principal, need: Need) -> None:
    """Raises `HTTPException` in words if somebody may not do this."""
    site = needs.site_of_request()
    if need.over is Over.SITE:
        context = current_context()
        if site is None:
            have = ", ".join(sorted(context.sites())) or "none yet, add one first"
            raise BadRequest(f"site is needed: one of {have}")
        parameters.known(context, site)
    needs.check(found, need, site)


def _let_guest_in(share: Share | None) -> Answer | None:
    """The same for an address of a share: whoever asks is its guest, and nobody else. Raises `NotFound`."""
    if request.endpoint == "static":
        return None
    if share is None:
        raise guests.gone()
    if request.endpoint == "guests.enter":
        return None
    if guests.locked(share):
        return guests.door()
    of_another = needs.site_of_request() not in (None, share.site)
    if of_another or is_statement() or not guests.may_ask(share, request.endpoint):
        raise guests.gone()
    g.principal = Principal(f"share {share.name}", share.grants, scopes=frozenset({"read"}), share=share)
    _check(g.principal, NEEDS[request.endpoint or ""])
    return None


def _ask_to_sign_in(access: Access) -> Answer:
    if request.method == "GET" and not is_statement() and "text/html" in request.headers.get("Accept", ""):
        return redirect(url_for("login.show", next=request.full_path.rstrip("?")), 303)
    ways = "as Authorization: Bearer TOKEN, or as the password of HTTP Basic"
    if access.accounts is not None:
        return refuse(Refusal(401, f"sign in at {url_for('login.show')}, or send a token: {ways}"))
    return refuse(Refusal(401, f"the dashboards ask for their token: send it {ways}"))
