"""The tracking service as a Flask application, for serverless functions and any WSGI server."""

from __future__ import annotations

from flask import Flask, request
from werkzeug.wrappers import Response as FlaskResponse

from ingest.http import Request, Response, peer_address
from ingest.service import Service

_METHODS = ["GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"]


def create(service: Service) -> Flask:
    """Return the application over an open service, which the caller closes."""
    app = Flask("ingest", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = None  # the service's own limit answers in words

    @app.route("/", methods=_METHODS)
    @app.route("/<path:_>", methods=_METHODS)
    def answer(_: str = "") -> FlaskResponse:
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()]
        body = b""
        if request.method == "POST":
            body = request.stream.read(service.max_body + 1)
            if len(body) > service.max_body:
                return _to_flask(service.too_large(request.path, headers))
        return _to_flask(
            service.handle_and_wait(
                Request(
                    request.method,
                    request.path,
                    request.query_string,
                    headers,
                    body,
                    peer_address(request.remote_addr or ""),
                    request.scheme,
                )
            )
        )

    return app


def _to_flask(response: Response) -> FlaskResponse:
    answer = FlaskResponse(response.body, status=response.status)
    answer.headers.clear()
    for name, value in response.headers:
        answer.headers.add(name.decode("latin-1"), value.decode("latin-1"))
    return answer
