"""The dashboards port as one Flask application: the page, the API, SQL and the three probes."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Flask, Response, request

from dashboards import access as login
from dashboards import api, context, formats, health, now, pages, sql
from dashboards.access import Access, guard
from dashboards.compress import compress
from stores.base import Live
from stores.warehouse import Warehouse

MAX_BODY = 1 << 20  # bytes: requests here are statements and forms

# The page loads nothing from other hosts. Bars get their width from a style attribute.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def create(
    warehouse: Warehouse,
    sites: context.Sites,
    live: Live,
    *,
    control: Blueprint | None,
    collect_url: str,
    access: Access | None = None,
    add_site: Callable[[str], object] | None = None,
    metrics: Callable[[], str] | None = None,
    problem: Callable[[], str | None] | None = None,
    countries: bool = False,
    clock: Callable[[], int] | None = None,
) -> Flask:
    """Returns the application over opened stores; without `access` it is for loopback only and needs no secret.

    `dashboards.context.Context` says what the callables must return.
    """
    app = Flask("dashboards", static_folder="static", template_folder="templates")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["footfall"] = context.Context(
        warehouse,
        sites,
        live,
        collect_url.rstrip("/"),
        add_site,
        metrics,
        problem,
        countries,
        **({"clock": clock} if clock else {}),
    )
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    formats.register(app)
    guard(app, access or Access())
    for blueprint in (health.routes, login.routes, api.routes, sql.routes, now.routes, pages.routes):
        app.register_blueprint(blueprint)
    if control is not None:
        app.register_blueprint(control)
    app.after_request(_guard)
    app.after_request(compress)
    return app


def _guard(response: Response) -> Response:
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    if response.mimetype == "text/html":
        response.headers.setdefault("Content-Security-Policy", _POLICY)
    if request.endpoint == "static" and "v" in request.args and response.status_code == 200:
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"  # every build has another v
    elif "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = "no-store"
    return response
