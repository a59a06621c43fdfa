"""`POST /sql`: runs one read-only statement and returns its result in any of ClickHouse's formats.

The statement is the whole body, or the field `query` of a form, of a JSON object or of the address, as in ClickHouse's
own HTTP protocol. `{name:Type}` in it gets its value from `param_name`. `Warehouse.read_only` decides what a statement
may do and for how long.
"""

from __future__ import annotations

import re

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest, HTTPException, MethodNotAllowed

from dashboards.context import current_context
from stores.base import QueryRefused, StoreError, TooManyQueries
from stores.read_only.inspection import MAX_STATEMENT

routes = Blueprint("sql", __name__)

DEFAULT_FORMAT = "TabSeparated"
MAX_BODY = 4 * MAX_STATEMENT + 4096  # bytes: a statement in UTF-8 and the form around it

_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
_TYPES = (
    (("JSONEachRow", "JSONCompactEachRow", "JSONLines", "NDJSON"), "application/x-ndjson"),
    (("JSON",), "application/json"),
    (("CSV",), "text/csv; charset=utf-8"),
    (("TabSeparated", "TSV"), "text/tab-separated-values; charset=utf-8"),
    (("Pretty", "Vertical", "Markdown", "XML", "Values"), "text/plain; charset=utf-8"),
    (("ArrowStream",), "application/vnd.apache.arrow.stream"),
    (("Parquet",), "application/vnd.apache.parquet"),
)


@routes.post("/sql")
def ask() -> Response:
    """The result of the request's statement, with its format in `X-ClickHouse-Format`."""
    request.max_content_length = MAX_BODY
    statement, form = sent(request.get_data())
    params = {name.removeprefix("param_"): text for name, text in request.args.items() if name.startswith("param_")}
    body, fmt = current_context().warehouse.read_only(statement, form, params)
    return Response(body, content_type=content_type(fmt), headers={"X-ClickHouse-Format": fmt})


@routes.get("/sql")
def explain() -> Response:
    """Explains the address to somebody who opens it in a browser; without this it would be the page of a site "sql"."""
    raise MethodNotAllowed(["POST"], "statements are sent by POST: curl --data 'SELECT count() FROM events' .../sql")


def sent(raw: bytes) -> tuple[str, str]:
    """The statement of this request, whose body is given, and the format to use if it names none."""
    fields: dict[str, object] = dict(request.args.items())
    body = _text(raw)
    if request.mimetype == "application/json":
        try:
            given = request.get_json(silent=True)
        except RecursionError:  # endlessly nested brackets
            given = None
        if not isinstance(given, dict):
            raise BadRequest('a JSON body must be an object such as {"query": "SELECT count() FROM events"}')
        fields |= given
        body = ""
    elif "query" in request.form:
        fields |= dict(request.form.items())
        body = ""
    query = fields.get("query", "")
    form = fields.get("default_format") or request.headers.get("X-ClickHouse-Format", DEFAULT_FORMAT)
    if not isinstance(query, str) or not isinstance(form, str) or not _NAME.fullmatch(form):
        raise BadRequest("query must be a text, default_format the name of a format such as JSON, CSV or Parquet")
    statement = "\n".join(part for part in (query, body) if part.strip())
    if not statement:
        raise BadRequest("no statement: send it as the body, for example SELECT count() FROM events")
    return statement, form


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"the statement is not UTF-8: {error.reason} at byte {error.start}") from error


def content_type(fmt: str) -> str:
    """The content type of a format of ClickHouse's."""
    for starts, found in _TYPES:
        if fmt.startswith(starts):
            return found
    return "application/octet-stream"


@routes.errorhandler(QueryRefused)
def _refused(error: QueryRefused) -> Response:
    return _plain(str(error), 400)


@routes.errorhandler(HTTPException)
def _wrong(error: HTTPException) -> Response:
    return _plain(error.description or error.name, error.code or 500)


@routes.errorhandler(TooManyQueries)
def _busy(error: TooManyQueries) -> Response:
    response = _plain(str(error), 503)
    response.headers["Retry-After"] = "10"
    return response


@routes.errorhandler(StoreError)
def _failed(error: StoreError) -> Response:
    return _plain(f"the warehouse could not answer: {error}", 503)


def _plain(text: str, status: int) -> Response:
    return Response(f"{text}\n", status, content_type="text/plain; charset=utf-8")
