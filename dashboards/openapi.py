"""`/api/v1/openapi.json`: the API as an OpenAPI 3.1 document, made from the names that the API itself checks.

Each operation has its parameters and the schema of its answer. Tests hold the document against the application's own
routes, and every answer against its schema.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import Blueprint, Response, jsonify

from dashboards import filters, journeys, ranges
from dashboards.panels import BREAKDOWNS, MAX_ROWS, METRICS, ROW, SECONDS, SHARES
from dashboards.realtime import LISTS
from stores.visits import MOST_STEPS

routes = Blueprint("openapi", __name__, url_prefix="/api/v1")

Schema = dict[str, Any]

_WHOLE: Schema = {"type": "integer", "minimum": 0}
_NUMBER: Schema = {"type": "number", "minimum": 0}
_SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_TEXT: Schema = {"type": "string"}
_TIME: Schema = {"type": "string", "format": "date-time"}
_KINDS = {"views_per_visit": _NUMBER, **dict.fromkeys(SECONDS, _NUMBER), **dict.fromkeys(SHARES, _SHARE)}
_METRICS = {name: _KINDS.get(name, _WHOLE) for name in METRICS}
_APPROXIMATE: Schema = {
    "type": "object",
    "properties": {"visitors": _SHARE},
    "required": ["visitors"],
    "description": "The standard error of a number that is not exact, as a share.",
}
_IMPORTED: dict[str, Schema] = {
    name: {"type": "array", "items": _TEXT, "description": f"The products whose imported days are {where}."}
    for name, where in (("imported", "among the numbers"), ("imported_left_out", "left out, because of filters"))
}
_VISIT = (
    *("entry_page", "exit_page", "source", "channel", "campaign", "country", "region", "city", "language"),
    *("device", "browser", "os"),
)


def document() -> Schema:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Footfall stats API",
            "version": "1",
            "description": "Numbers of a site's visits. Mistakes are answered with an `error` in words.",
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"bearer": []}, {"basic": []}, {}],
        "paths": {path: {"get": operation} for path, operation in _operations().items()},
        "components": {
            "schemas": {"Error": _object({"error": _TEXT})},
            "parameters": {each["name"]: each for each in _parameters()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
    }


@routes.get("/openapi.json")
def show() -> Response:
    """The document."""
    return jsonify(document())


def _parameters() -> Iterable[Schema]:
    """The parameters that several operations share."""
    day = {"type": "string", "format": "date"}
    yield _parameter("site", _TEXT, "The domain.", required=True)
    yield _parameter("from", day, "The first day, included. It needs `to`.")
    yield _parameter("to", day, "The last day, included. It needs `from`.")
    yield _parameter("period", {"enum": list(ranges.PERIODS)}, "Instead of days; all but yesterday end today.")
    yield _parameter("timezone", _TEXT, "The time zone of the days, an IANA name; the site's by default.")
    yield _parameter("filters", _TEXT, f"Which visits to count: a JSON list such as `{filters.EXAMPLE}`.")
    yield _parameter("segment", _TEXT, "The name of a segment of the site, whose filters are met too.")
    yield _parameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_ROWS}, "How many rows.")
    yield _parameter("page", {"type": "integer", "minimum": 1}, "Which part of the rows, `limit` each.")


_RANGE = ("site", "from", "to", "period", "timezone", "filters", "segment")


def _operations() -> dict[str, Schema]:
    row = {name: _METRICS[name] for name in ROW}
    visit = {
        "id": _TEXT, "visitor": _TEXT, "started_at": _TIME, "duration": _NUMBER, "is_bounce": {"type": "boolean"},
        **dict.fromkeys(("pageviews", "searches", "events"), _WHOLE), **dict.fromkeys(_VISIT, _TEXT),
    }  # fmt: skip
    event = {
        "time": _TIME, "props": {"type": "object"}, "results": {"type": ["integer", "null"]}, "engaged_ms": _WHOLE,
        **dict.fromkeys(
            ("id", "type", "host", "path", "title", "referrer", "term", "name", "revenue", "currency"), _TEXT
        ),
    }  # fmt: skip
    direction = _parameter("direction", {"enum": list(journeys.DIRECTIONS)}, "Pages after the path, or before it.")
    return {
        "/stats": _operation(
            "The headline numbers.",
            _RANGE,
            _metrics({"bots": _WHOLE}, {"before": _metrics({"bots": _WHOLE}), **_IMPORTED}),
            _parameter(
                "compare",
                {"enum": list(ranges.COMPARISONS), "default": "none"},
                "Which range `before` is of: as many days just before, or the same days of the year before.",
            ),
        ),
        "/timeseries": _operation(
            "The numbers of every step of the range.",
            _RANGE,
            _rows(
                _metrics({"time": _TIME, "value": _NUMBER}),
                _IMPORTED,
                metric={"enum": list(METRICS)}, interval={"enum": list(ranges.INTERVALS)}, timezone=_TEXT,
            ),
            _parameter("metric", {"enum": list(METRICS), "default": "visitors"}, "Which number `value` is."),
            _parameter("interval", {"enum": list(ranges.INTERVALS)}, "By default one that is easy to read."),
        ),
        "/breakdown": _operation(
            "The values of one property with the most visitors.",
            (*_RANGE, "limit"),
            _rows(
                _object({"value": _TEXT, **row}, {"approximate": _APPROXIMATE}),
                _IMPORTED,
                by={"enum": list(BREAKDOWNS)},
            ),
            _parameter("by", {"enum": list(BREAKDOWNS)}, "The property.", required=True),
        ),
        "/realtime": _operation(
            "What happens at this moment: active visitors, and the page views of the last 30 minutes.",
            ("site", "timezone"),
            _object({
                "visitors": _WHOLE, "pageviews": _WHOLE, "timezone": _TEXT,
                "minutes": _list(_object({"time": _TIME, "pageviews": _WHOLE})),
                **{name: _list(_object({"value": _TEXT, "visitors": _WHOLE})) for name in LISTS},
                "events": _list(_object({
                    "time": _TIME,
                    **dict.fromkeys(("type", "path", "name", "term", "country", "browser", "device"), _TEXT),
                })),
            }),
        ),
        "/visits": _operation(
            "The visits one by one, the latest first.", (*_RANGE, "limit", "page"), _rows(_object(visit))
        ),
        "/visit": _operation(
            "One visit with its events in order.",
            ("site", "timezone"),
            _object({
                "visit": _object(
                    visit,
                    {**dict.fromkeys(("referrer", "medium"), _TEXT), "engaged_ms": _WHOLE},
                ),
                "events": {"type": "array", "items": _object(event)},
                "complete": {"type": "boolean", "description": "Whether these are all of its events."},
            }),
            _parameter("id", _TEXT, "The `id` of a visit.", required=True),
        ),
        "/funnel": _operation(
            "How many visits, or visitors, get through some steps in order.",
            _RANGE,
            _rows(
                _object({
                    "step": {"type": "array"}, "reached": _WHOLE, "of_first": _SHARE, "of_previous": _SHARE,
                    "median_seconds": _NUMBER,
                }),
                by={"enum": list(journeys.BY)}, total=_WHOLE,
            ),
            _parameter("steps", _TEXT, f"1 to {MOST_STEPS}, such as `{filters.EXAMPLE_STEPS}`.", required=True),
            _parameter("by", {"enum": list(journeys.BY), "default": "visit"}, "What is counted."),
        ),
        "/goals": _operation(
            "The goals of the site, and how many visitors met each.",
            _RANGE,
            _rows(
                _object({"goal": _TEXT, "condition": {"type": "array"}, "visitors": _WHOLE, "conversion_rate": _SHARE}),
                total=_WHOLE,
            ),
        ),
        "/annotations": _operation(
            "What was annotated on the days of the range.",
            ("site", "from", "to", "period"),
            _rows(_object({
                "date": {"type": "string", "format": "date"}, "time": {"type": ["string", "null"]}, "text": _TEXT,
            })),
        ),
        "/paths": _operation(
            "Which pages visits viewed after some others in a row, or before.",
            (*_RANGE, "limit"),
            _rows(
                _object({"value": _TEXT, "visits": _WHOLE}),
                path={"type": "array", "items": _TEXT}, direction=direction["schema"], total=_WHOLE,
            ),
            _parameter("path", _TEXT, f"Pages in a row, such as `{filters.EXAMPLE_PATH}`; none by default."),
            direction,
        ),
        "/searches": _operation(
            "What was searched for on the site, and what came of it.",
            (*_RANGE, "limit", "page"),
            _rows(
                _object({
                    "value": _TEXT, "searches": _WHOLE, "without_results": _WHOLE, "exits": _WHOLE,
                    "mean_results": {"type": ["number", "null"]}, "next_page": _TEXT, "next_times": _WHOLE,
                }),
                total=_WHOLE,
            ),
        ),
        "/retention": _operation(
            "How many visitors of a week, of those whose ids last, came back in later weeks.",
            _RANGE,
            _rows(_object({
                "week": {"type": "string", "format": "date"}, "visitors": _WHOLE,
                "came": {"type": "array", "items": _WHOLE},
            })),
        ),
        "/ops": _operation("What this installation does, for those who keep it running; over all sites.", (), _ops()),
        "/openapi.json": _operation("This document.", (), {"type": "object"}),
    }  # fmt: skip


def _ops() -> Schema:
    """What `/ops` answers; what the process does not do itself is null."""
    count, text, time = _maybe(_WHOLE), _maybe(_TEXT), _maybe(_TIME)
    partition = _object({"number": _WHOLE, "committed": text, "end": text, "waiting": count})
    topic = _object({"name": _TEXT, "retention_ms": {"type": "integer"}, "partitions": _list(partition)})
    since = dict.fromkeys(("events", "duplicates", "late", "dead_letters"), _WHOLE)
    ways = ("received", "refused", "accepted", "stored", "duplicate", "dead_lettered", "removed", "in_flight")
    found = {"balanced": {"type": "boolean"}, "mismatches": _list(_TEXT)}
    account = {"hour": _TIME, **dict.fromkeys(ways, _WHOLE), **found}
    return _object({
        "problem": text,
        "loading": _maybe(_object({"lag_seconds": _NUMBER, "waiting": count, "oldest": time, **since})),
        "broker": _maybe(_object({"url": _TEXT, "topics": _list(topic), "trouble": _TEXT})),
        "archive": _maybe(_object({"url": _TEXT, "files": _WHOLE, "events": _WHOLE, "trouble": _TEXT})),
        "spool": _list(_TEXT),
        "disks": _list(_object({"path": _TEXT, "free_bytes": _WHOLE, "total_bytes": _WHOLE})),
        "chores": _list(_object({"name": _TEXT, "ran": time, "next": time, "error": _TEXT})),
        "days_waiting": count,
        "warehouse": _TEXT,
        "audited": _list(_object(account)),
        "minutes": _list(_object({"time": _TIME, "events": {"type": "integer"}})),
        "dead_letters": _list(_object({"topic": _TEXT, "reason": _TEXT, "letters": _WHOLE, "last": _TIME})),
        "outcomes": _list(_object({"outcome": _TEXT, "reason": _TEXT, "counted": {"type": "integer"}})),
        "tables": _list(_object({"table": _TEXT, "stored_rows": _WHOLE, "bytes": _WHOLE})),
        "days_built": _WHOLE,
    })  # fmt: skip


def _maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _list(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def _operation(summary: str, shared: Iterable[str], answer: Schema, *own: Schema) -> Schema:
    parameters = [{"$ref": f"#/components/parameters/{name}"} for name in shared]
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "summary": summary,
        "parameters": [*parameters, *own],
        "responses": {
            "200": {"description": "The answer.", "content": {"application/json": {"schema": answer}}},
            "default": {"description": "What is wrong, in words.", "content": error},
        },
    }


def _parameter(name: str, schema: Schema, words: str, *, required: bool = False) -> Schema:
    return {"name": name, "in": "query", "required": required, "description": words, "schema": schema}


def _object(needed: dict[str, Schema], more: dict[str, Schema] | None = None) -> Schema:
    """An object with these properties and no others; `more` may be missing."""
    properties = {**needed, **(more or {})}
    return {"type": "object", "properties": properties, "required": list(needed), "additionalProperties": False}


def _metrics(own: dict[str, Schema], more: dict[str, Schema] | None = None) -> Schema:
    return _object({**own, **_METRICS}, {"approximate": _APPROXIMATE, **(more or {})})


def _rows(row: Schema, more: dict[str, Schema] | None = None, **own: Schema) -> Schema:
    return _object({**own, "rows": _list(row)}, more)
