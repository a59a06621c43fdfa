"""`/` as ClickHouse's server has it: a statement in `query` or in the body, answered in the format that it asks for.

What may be asked is decided as for `POST /sql`, in the warehouse. The rest of the protocol is here: parameters and
settings in the address, compressed bodies, formats, headers and errors as clients expect them. A session has no state,
since nothing can be set or created in one. `GET /` without a statement is the home page; `/ping` says that we are here.
"""

from __future__ import annotations

import json
import re
import time
import uuid

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest, HTTPException, MethodNotAllowed

from dashboards import sql
from dashboards.clickhouse import encodings, native
from dashboards.clickhouse.errors import refused
from dashboards.context import current_context
from stores.base import QueryRefused, StoreError, TooManyQueries

routes = Blueprint("clickhouse", __name__)

# Parameters of the protocol, and settings that change neither an answer nor what may be asked: taken or ignored.
_PROTOCOL = frozenset(
    {"query", "database", "default_format", "query_id", "compress", "decompress", "user", "password", "role"}
    | {"session_id", "session_timeout", "session_check", "quota_key", "wait_end_of_query", "buffer_size"}
    | {"client_protocol_version", "stacktrace", "readonly", "log_comment", "log_queries", "priority"}
    | {"enable_http_compression", "http_zlib_compression_level", "send_progress_in_http_headers"}
    | {"http_headers_progress_interval_ms", "http_write_exception_in_output_format", "add_http_cors_header"}
    | {"http_response_buffer_size", "http_wait_end_of_query", "cancel_http_readonly_queries_on_client_close"}
    | {"max_threads", "max_block_size", "max_query_size", "connect_timeout", "receive_timeout", "send_timeout"}
    | {"async_insert", "wait_for_async_insert", "insert_deduplicate", "insert_quorum", "max_insert_block_size"}
)
_TRUE = {"1", "true"}
_OURS = ("", "default", "__default__")  # names that clients give a database that nobody has chosen
_ID = re.compile(r"[\w.:-]{1,100}", re.ASCII)
_INSERT = re.compile(r"\s*INSERT\b", re.IGNORECASE)


@routes.get("/ping")
@routes.get("/replicas_status")
def ping() -> Response:
    """Says that the server is here."""
    return Response("Ok.\n", content_type="text/html; charset=UTF-8")


@routes.post("/")
def ask() -> Response:
    """The answer to the statement of a request, or its refusal in ClickHouse's words."""
    try:
        return _answered()
    except QueryRefused as error:
        return refused(str(error), error.name)
    except TooManyQueries as error:
        return refused(str(error), "TOO_MANY_SIMULTANEOUS_QUERIES")
    except native.UnknownType as error:
        return refused(f"values of the type {error} cannot be sent so: ask for toString of them", "NOT_IMPLEMENTED")
    except HTTPException as error:
        return refused(error.description or error.name, "BAD_ARGUMENTS", error.code)
    except StoreError as error:
        return refused(f"the warehouse could not answer: {error}", "NETWORK_ERROR")


def _answered() -> Response:
    begun = time.monotonic_ns()
    request.max_content_length = sql.MAX_BODY
    if _INSERT.match(request.args.get("query", "")):
        raise QueryRefused("nothing is inserted here: readers change nothing", "READONLY")
    if request.args.get("decompress") in _TRUE:
        raise BadRequest("a body in ClickHouse's own blocks is not read here: send it plain or with Content-Encoding")
    body = encodings.decoded(request.get_data(), request.headers.get("Content-Encoding", ""), sql.MAX_BODY)
    if request.files:
        raise BadRequest("no tables are taken along here: put the values into the statement or a parameter")
    statement, form = sql.sent(body)
    if request.method == "GET" and not statement.strip():
        raise MethodNotAllowed(["POST"])
    fields = {**dict(request.args.items()), **dict(request.form.items())}
    warehouse = current_context().warehouse
    database = request.headers.get("X-ClickHouse-Database") or fields.get("database", "")
    if database not in (*_OURS, warehouse.database):
        words = f"there is no database {database[:100]!r} here: ask {warehouse.database}"
        raise QueryRefused(words, "UNKNOWN_DATABASE")
    params = {name.removeprefix("param_"): value for name, value in fields.items() if name.startswith("param_")}
    settings = {
        name: value for name, value in request.args.items() if name not in _PROTOCOL and not name.startswith("param_")
    }
    found, fmt = warehouse.read_only(statement, form, params, escaped=True, settings=settings)
    if fmt == "Native" and _whole(fields.get("client_protocol_version", "")) >= native.REVISION:
        found = native.reframed(found)
    encoding = ""
    if fields.get("compress") in _TRUE:
        found = encodings.in_blocks(found)
    elif fields.get("enable_http_compression") in _TRUE:
        found, encoding = encodings.encoded(found, request.accept_encodings)
    response = Response(found, content_type=sql.content_type(fmt))
    if encoding:
        response.headers["Content-Encoding"] = encoding
    response.headers["X-ClickHouse-Format"] = fmt
    response.headers["X-ClickHouse-Timezone"] = settings.get("session_timezone", "UTC")
    response.headers["X-ClickHouse-Server-Display-Name"] = "footfall"
    response.headers["X-ClickHouse-Query-Id"] = _query_id(fields.get("query_id", ""))
    response.headers["X-ClickHouse-Summary"] = _summary(time.monotonic_ns() - begun)
    return response


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _query_id(given: str) -> str:
    """The name of the request: the client's, if it is one that a header can have."""
    return given if _ID.fullmatch(given) else str(uuid.uuid4())


def _summary(nanoseconds: int) -> str:
    """What a client counts up; we know the time only."""
    counts = ("read_rows", "read_bytes", "written_rows", "written_bytes", "total_rows_to_read", "result_rows")
    return json.dumps(dict.fromkeys((*counts, "result_bytes"), "0") | {"elapsed_ns": str(nanoseconds)})
