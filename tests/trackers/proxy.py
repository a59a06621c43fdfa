"""A proxy between a tracker's client and the service, which fails as networks and servers do, and notes what passes."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

DROP = -1  # forwards the request, and closes the connection without the answer: the worst that happens to a client


_OWN = ("connection", "content-length")  # headers of one connection


class Passed(NamedTuple):
    """One request and the status that its sender saw, DROP for none."""

    method: str
    path: str
    body: bytes
    status: int
    answer: bytes
    headers: dict[str, str]  # as they came, by lower-case name


class Proxy:
    """Listens on a port of its own; `failures` are what the next requests that send events meet, in order.

    429 and 503 are answered without forwarding."""

    def __init__(self, upstream: int) -> None:
        self.failures: list[int] = []
        self.at = ""  # with what the paths of requests begin that send events
        self.passed: list[Passed] = []
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass(self) -> None:
                proxy.handle(self, upstream)

            do_GET = do_POST = do_OPTIONS = do_HEAD = _pass  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def handle(self, request: BaseHTTPRequestHandler, upstream: int) -> None:
        body = request.rfile.read(int(request.headers.get("content-length") or 0))
        with self._lock:
            sends = request.command != "OPTIONS" and request.path.startswith(self.at)
            failure = self.failures.pop(0) if self.failures and sends else 0
        status, answer, headers = failure, b"", [("retry-after", "1"), ("access-control-allow-origin", "*")]
        if failure in (0, DROP):
            connection = http.client.HTTPConnection("127.0.0.1", upstream, timeout=60)
            sent = {name: value for name, value in request.headers.items() if name.lower() != "connection"}
            connection.request(request.command, request.path, body, sent)
            response = connection.getresponse()
            answer = response.read()
            headers = [pair for pair in response.getheaders() if pair[0].lower() not in _OWN]
            status = failure or response.status
            connection.close()
        with self._lock:
            came = {name.lower(): value for name, value in request.headers.items()}
            self.passed.append(Passed(request.command, request.path, body, status, answer, came))
        if status == DROP:
            request.close_connection = True
            return
        request.send_response_only(status)
        for name, value in headers:
            request.send_header(name, value)
        request.send_header("content-length", str(len(answer)))
        request.end_headers()
        request.wfile.write(answer)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
