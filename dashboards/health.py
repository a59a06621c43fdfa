"""`/live`, `/ready` and `/metrics` of the dashboards port."""

from __future__ import annotations

from flask import Blueprint, Response

from dashboards.context import Context, current_context
from stores.base import StoreError

routes = Blueprint("health", __name__)

_TEXT = "text/plain; charset=utf-8"


@routes.get("/live")
def live() -> Response:
    """The process answers."""
    return Response("live\n", content_type=_TEXT)


@routes.get("/ready")
def ready() -> Response:
    """Questions are answered; if not, 503 and why."""
    problem = _problem(current_context())
    if problem:
        return Response(f"not ready: {problem}\n", 503, content_type=_TEXT)
    return Response("ready\n", content_type=_TEXT)


@routes.get("/metrics")
def metrics() -> Response:
    give = current_context().metrics
    return Response(give() if give else "", content_type="text/plain; version=0.0.4; charset=utf-8")


def _problem(context: Context) -> str | None:
    try:
        context.warehouse.query("SELECT 1")
    except StoreError as error:
        return f"the warehouse does not answer: {error}"
    return context.problem() if context.problem else None
