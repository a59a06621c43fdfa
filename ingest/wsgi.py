"""The same door as a Flask application: for any WSGI server, for functions, and for what is not the tracking path."""

from __future__ import annotations

from flask import Flask, request
from werkzeug.wrappers import Response as FlaskResponse

from ingest import assets
from ingest.http import Request, Response, text_response
from ingest.service import Door

_WELCOME = """Footfall takes page views here.

Paste this into the pages of a site:
  <script defer data-site="example.com" src="{root}beacon.js"></script>
or, with a name that may be cached for ever:
  <script defer data-site="example.com" src="{root}{lasting}"></script>
For visitors without JavaScript:
  <noscript><img src="{root}collect.gif?site=example.com" alt="" width="1" height="1"></noscript>
A server sends events to POST {root}collect
"""


def create(door: Door) -> Flask:
    """The application. It opens and closes nothing: whoever made the door does."""
    app = Flask("ingest", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = None  # the door's own limit answers in words

    @app.get("/")
    def welcome() -> FlaskResponse:
        root = request.host_url
        lasting = assets.lasting_name().removeprefix("/")
        return _to_flask(text_response(200, _WELCOME.format(root=root, lasting=lasting)))

    @app.route("/<path:path>", methods=["GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"])
    def anything(path: str) -> FlaskResponse:
        if not door.answers("/" + path):
            return _to_flask(text_response(404, f"Nothing is at /{path}: events go to POST /collect.\n"))
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()]
        body = b""
        if request.method == "POST":
            body = request.stream.read(door.max_body + 1)
            if len(body) > door.max_body:
                return _to_flask(door.too_large())
        return _to_flask(
            door.handle_and_wait(
                Request(
                    request.method,
                    request.path,
                    request.query_string,
                    headers,
                    body,
                    request.remote_addr or "",
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
