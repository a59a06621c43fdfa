"""AWS's Lambda API, as much of it as a function needs that invokes itself: `Invoke`, asynchronously.

moto has Lambda too, but without Docker it runs nothing. Here what was asked for is kept in `invoked`, and a test hands
it to the function's runtime, as Lambda would."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from threading import Thread
from typing import Any


class LambdaApi(ThreadingHTTPServer):
    """Names and payloads of functions that were invoked are in `invoked`, in order."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.invoked: Queue[tuple[str, Any]] = Queue()
        Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: LambdaApi
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        _, version, functions, name, invocations = self.path.split("/")
        fits = (version, functions, invocations) == ("2015-03-31", "functions", "invocations")
        asynchronous = self.headers["x-amz-invocation-type"] == "Event"
        if fits and asynchronous:
            self.server.invoked.put((name, json.loads(body)))
        self.send_response(202 if fits and asynchronous else 400)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass
