"""`/<site>/now`: how many visitors are active, and whether the numbers of the page have changed.

An open page polls this every second or two and loads its numbers again only if `mark` has changed. It polls instead of
holding a stream open because a response takes milliseconds, while a stream would occupy one of the server's few
threads for as long as somebody leaves a tab open.
"""

from __future__ import annotations

import hashlib
import json

from flask import Blueprint, Response, jsonify, request

from dashboards import kept, parameters, ranges
from dashboards.context import current_context
from dashboards.panels import Panels

routes = Blueprint("now", __name__)


@routes.get("/<site>/now")
def now(site: str) -> Response:
    """The active visitors as `current`, and the `mark` of the page's numbers."""
    context = current_context()
    span = parameters.span(context, request.args, parameters.zone_of(context, site), ranges.DEFAULT_PERIOD)
    stats = Panels(context.warehouse, site, span, filters=kept.chosen(site, request.args)).stats
    return jsonify({"current": context.realtime.of(site).visitors, "mark": mark(stats)})


def mark(stats: dict[str, object]) -> str:
    """A hash that changes whenever a number on the page may change: every event and every bot counts in `stats`."""
    return hashlib.blake2b(json.dumps(stats, sort_keys=True).encode(), digest_size=8).hexdigest()
