"""The dashboards port as one Flask application: the page, the API, SQL and the three probes."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Flask, Response, request
from flask_compress import Compress

from dashboards import (
    api,
    chips,
    context,
    exports,
    formats,
    health,
    language,
    letters,
    lists,
    now,
    openapi,
    ops,
    pages,
    sql,
    views,
)
from dashboards.access import Access, guard, guests, login, needs, oidc
from dashboards.accounts import log, own, people, tokens
from dashboards.alerts import page as alerts
from dashboards.clickhouse import protocol
from dashboards.keeping import annotating, saved, shares
from dashboards.operation import Operation
from dashboards.realtime import Realtime
from dashboards.reports import page as reports
from stores.base import Live
from stores.warehouse import Warehouse

MAX_BODY = 1 << 20  # bytes: requests here are statements and forms
_COMPRESSED_AT_MOST = 4 << 20
_TEXT = [
    *("text/html", "text/css", "text/javascript", "application/json", "application/x-ndjson", "text/csv"),
    "text/tab-separated-values",
]

# The page loads nothing from other hosts, and has no style or script of its own in its text. Who may show it in a frame
# is added.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors "
)


def create(
    warehouse: Warehouse,
    sites: context.Sites,
    live: Live,
    *,
    control: Blueprint | None,
    collect_url: str,
    access: Access | None = None,
    provider: oidc.Provider | None = None,
    url: str = "",
    add_site: Callable[[str], object] | None = None,
    metrics: Callable[[], str] | None = None,
    problem: Callable[[], str | None] | None = None,
    countries: bool = False,
    operation: Callable[[], Operation] | None = None,
    mails: bool = False,
    replay: Callable[[str, bytes], str] | None = None,
    clock: Callable[[], int] | None = None,
) -> Flask:
    """Returns the application over opened stores; without `access` it is for loopback only and needs no secret.

    `dashboards.context.Context` says what the callables must return. `url` is where browsers reach the application, for
    the `provider` to lead them back.
    """
    app = Flask("dashboards", static_folder="static", template_folder="templates")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.json.sort_keys = False  # type: ignore[attr-defined]
    clock = clock or context.unix_ms
    app.extensions["footfall"] = context.Context(
        warehouse,
        lambda: {site: zone for site, zone in sites().items() if needs.sees(site)},
        Realtime(warehouse, live, clock),
        collect_url.rstrip("/"),
        add_site,
        metrics,
        problem,
        countries,
        clock,
        mails,
        operation,
        replay,
    )
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    formats.register(app)
    guard(app, access or Access())
    language.register(app)
    if provider is not None:
        oidc.register(app, provider, url)
    parts = (health, login, guests, oidc, own, people, tokens, log, api, openapi, sql, protocol, ops, alerts, reports)
    for part in (*parts, letters, now, chips, lists, views, exports, saved, annotating, shares, pages):
        app.register_blueprint(part.routes)
    if control is not None:
        app.register_blueprint(control)
    app.after_request(_guard)
    _compress(app)
    app.wsgi_app = guests.Shared(app.wsgi_app)  # type: ignore[method-assign]
    return app


def _compress(app: Flask) -> None:
    """Send text compressed to browsers that can read it so: the page is a quarter of its size then.

    Only what is complete, or a file: a stream of lines must reach its reader as it comes. What is larger than
    `_COMPRESSED_AT_MOST` answers SQL, whose reader is near and whose compression would hold a thread for seconds."""
    app.config.update(
        COMPRESS_REGISTER=False,
        COMPRESS_MIMETYPES=_TEXT,
        COMPRESS_MIN_SIZE=1_000,
        COMPRESS_ALGORITHM=["br", "gzip"],
        COMPRESS_STREAMS=False,
    )
    compress = Compress(app)

    @app.after_request
    def after(response: Response) -> Response:
        if response.status_code != 200 or (response.content_length or 0) > _COMPRESSED_AT_MOST:
            return response
        if request.endpoint == "static":
            response.direct_passthrough = False
            response.get_data()  # the file as a whole, which is no stream and is closed
        return compress.after_request(response)


def _guard(response: Response) -> Response:
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    if response.mimetype == "text/html":
        found = needs.principal()
        origins = " ".join(found.share.origins) if found is not None and found.share is not None else ""
        response.headers.setdefault("Content-Security-Policy", _POLICY + (origins or "'none'"))
    if guests.invited():
        response.headers["X-Robots-Tag"] = "noindex"
    if request.endpoint == "static" and "v" in request.args and response.status_code == 200:
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"  # every build has another v
    elif "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = "no-store"
    return response
