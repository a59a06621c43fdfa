"""AWS's Lambda Runtime API, as much of it as a runtime client needs: it asks for the next event, and answers."""

from __future__ import annotations

import itertools
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, Queue
from threading import Thread
from typing import Any

from tests.patience import patient


class RuntimeApi(ThreadingHTTPServer):
    """`invoke` hands an event to whatever runtime polls `address`, and returns what that answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"127.0.0.1:{self.server_port}"
        self.events: Queue[tuple[str, Any, float]] = Queue()
        self.answers: Queue[tuple[str, Any]] = Queue()
        self._ids = (f"request-{n}" for n in itertools.count(1))
        Thread(target=self.serve_forever, daemon=True).start()

    def invoke(self, event: Any, timeout: float = patient(60), seconds: float = 300) -> Any:
        """The answer of the function, which has so many `seconds` until its time limit."""
        request_id = next(self._ids)
        self.events.put((request_id, event, seconds))
        try:
            path, answer = self.answers.get(timeout=timeout)
        except Empty:
            raise AssertionError(f"no answer within {timeout} s") from None
        if path != f"/2018-06-01/runtime/invocation/{request_id}/response":
            raise AssertionError(f"{path}: {json.dumps(answer, indent=1)}")
        return answer

    def handle_error(self, *args: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # the function was killed while it waited
            super().handle_error(*args)


class _Handler(BaseHTTPRequestHandler):
    server: RuntimeApi
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        request_id, event, seconds = self.server.events.get()
        deadline = int((time.time() + seconds) * 1000)
        self._answer(200, json.dumps(event).encode(), request_id, deadline)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.answers.put((self.path, json.loads(body)))
        self._answer(202, b"{}")

    def _answer(self, status: int, body: bytes, request_id: str = "", deadline: int = 0) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("content-type", "application/json")  # without it the client, in C++, crashes
        self.send_header("lambda-runtime-aws-request-id", request_id)
        self.send_header("lambda-runtime-deadline-ms", str(deadline))
        self.send_header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-central-1:123456789012:function:x")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass
