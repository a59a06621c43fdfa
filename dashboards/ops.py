"""`/ops`: whether everything runs, for those with a role over all sites. It changes nothing.

What the process knows of itself comes as an `Operation`; the rest is asked of the warehouse, by questions whose cost
does not grow with the number of stored events. `GET /api/v1/ops` tells the same to programs.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, jsonify, render_template, request

from activity.definitions import DAY_MS, HOUR_MS, MINUTE_MS
from dashboards import pages, ranges
from dashboards.context import Context, built, current_context
from dashboards.language import gettext
from dashboards.operation import Operation
from stores.base import StoreError
from stores.days import DayTables

routes = Blueprint("ops", __name__)

MINUTES = 60


def gather(context: Context) -> tuple[Operation, dict[str, Any]]:
    """What the process tells, and what the warehouse answers: `problem`, `minutes`, `letters`, `outcomes`, `tables` and
    `days_built`. Raises `StoreError`."""
    now, ask = context.clock(), context.warehouse.ask
    begin = now - now % MINUTE_MS - MINUTES * MINUTE_MS
    counted = {row["minute"]: row["counted"] for row in ask("throughput", from_ms=begin).to_dicts()}
    found = {
        "problem": context.problem() if context.problem else None,
        "minutes": [(at, counted.get(at, 0)) for at in range(begin, begin + MINUTES * MINUTE_MS, MINUTE_MS)],
        "letters": ask("dead_letter_reasons", from_ms=now - DAY_MS).to_dicts(),
        "outcomes": ask("outcomes", from_ms=now - now % HOUR_MS - DAY_MS).to_dicts(),
        "tables": ask("table_sizes").to_dicts(),
        "days_built": sum(DayTables(context.warehouse).builds().values()),
    }
    return context.operation() if context.operation else Operation(), found


@routes.get("/ops")
def show() -> str:
    """The page."""
    context = current_context()
    operation, found = gather(context)
    counts = [count for _, count in found["minutes"]]
    return render_template(
        "ops.html",
        title=gettext("Operation"),
        now=context.clock(),
        operation=operation,
        **found,
        mean=sum(counts) / len(counts),
        most=max(counts),
        built=built(),
    )


@routes.get("/api/v1/ops")
def tell() -> Response:
    """The same as JSON; times are ISO 8601, UTC."""
    operation, found = gather(current_context())
    told = asdict(operation)
    if operation.loading is not None:
        told["loading"]["oldest"] = _iso(operation.loading.oldest)
    for account in told["audited"]:
        account["hour"] = _iso(account["hour"])
    for chore in told["chores"]:
        chore |= {"ran": _iso(chore["ran"]), "next": _iso(chore["next"])}
    return jsonify({
        "problem": found["problem"],
        **told,
        "minutes": [{"time": _iso(at), "events": count} for at, count in found["minutes"]],
        "dead_letters": [row | {"last": _iso(row["last"])} for row in found["letters"]],
        "outcomes": found["outcomes"],
        "tables": found["tables"],
        "days_built": found["days_built"],
    })  # fmt: skip


def _iso(at: int | None) -> str | None:
    return None if at is None else ranges.iso(at, "UTC")


@routes.errorhandler(StoreError)
def _failed(error: StoreError) -> tuple[Any, int]:
    if request.path.startswith("/api/"):
        return {"error": f"the warehouse could not answer: {error}"}, 503
    return pages.failed(error)
