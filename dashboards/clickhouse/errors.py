"""Which requests are statements in ClickHouse's protocol, and refusals as its server words them: code, name, status."""

from __future__ import annotations

import re

from flask import Response, request

ACCESS_DENIED = "ACCESS_DENIED"

# Codes of the refusals that are ours; the engine's own have theirs in the message.
_CODES = {
    "ACCESS_DENIED": 497,
    "AUTHENTICATION_FAILED": 516,
    "BAD_ARGUMENTS": 36,
    "NOT_IMPLEMENTED": 48,
    "READONLY": 164,
    "SYNTAX_ERROR": 62,
    "TOO_MANY_SIMULTANEOUS_QUERIES": 202,
    "UNKNOWN_DATABASE": 81,
    "NETWORK_ERROR": 210,
}
_UNKNOWN = {46, 47, 50, 60, 63, 73, 81, 115}  # functions, identifiers, types, tables, aggregates, formats, databases …
_STATUS = {516: 403, 497: 403, 159: 408, 62: 400, 48: 501, 202: 503, 210: 503} | dict.fromkeys(_UNKNOWN, 404)
_ENGINE = re.compile(r"Code: (\d+)\. DB::Exception: ")


def is_statement() -> bool:
    """Whether this request is a statement in ClickHouse's protocol."""
    return request.path == "/" and (request.method == "POST" or "query" in request.args)


def refused(words: str, name: str = ACCESS_DENIED, status: int | None = None) -> Response:
    """A response that a client of ClickHouse takes for an exception of its server.

    Where the server has 500 for a statement that it does not run, this is 400, since nothing is broken here."""
    found = _ENGINE.search(words)
    if found:
        code, words = int(found[1]), words.replace(found[0], "", 1)
    else:
        code = _CODES[name]
    text = f"Code: {code}. DB::Exception: {words}"
    if _CODES.get(name) == code and not words.endswith(f"({name})"):
        text += f". ({name})"
    response = Response(f"{text}\n", status or _STATUS.get(code, 400), content_type="text/plain; charset=utf-8")
    response.headers["X-ClickHouse-Exception-Code"] = str(code)
    if response.status_code == 503:
        response.headers["Retry-After"] = "10"
    return response
