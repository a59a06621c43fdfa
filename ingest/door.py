"""The tracking routes, whatever serves them: both shells hand a `Request` in and get a `Response` back.

A door is made in the process that uses it, from parts that are already open, and is closed by it; what was
opened for it stays open, for whoever opened it to close.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from activity import place
from brokers.base import Broker
from ingest import assets, health
from ingest.answers import answer, preflight, too_large, unavailable
from ingest.collect import Collected, Collector, Live, Options
from ingest.counters import Counters
from ingest.http import Request, Response, text_response
from ingest.outbox import Outbox, Unavailable, Verdict
from ingest.sites import Sites
from ingest.spool import Spool

_ROUTES = frozenset({"/collect", "/collect.gif", "/live", "/ready", "/metrics"})


class Door:
    """Takes events for `sites` and answers once `broker` or the spool has them durably."""

    def __init__(
        self,
        *,
        broker: Broker,
        live: Live,
        sites: Sites,
        spool: Path,
        options: Options | None = None,
        places: place.Reader | None = None,
        counters: Counters | None = None,
        create_topics: Callable[[], object] = lambda: None,
        on_close: Callable[[], object] = lambda: None,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """`create_topics` as the outbox has it; `on_close` comes last, to close what was opened for this door."""
        self._options = options or Options()
        self._on_close = on_close
        self._collector = Collector(sites, live, self._options, places)
        self._spool = Spool(spool, self._options.spool_bytes)
        incarnation = os.urandom(8).hex().encode()
        self._outbox = Outbox(broker, self._spool, live, incarnation, self._options.queue_bytes, create_topics)
        self._counters = counters or Counters()
        self._clock_ms = clock_ms
        self.max_body = self._options.max_body
        self._outbox.start()

    def answers(self, path: str) -> bool:
        """Whether the path is one of the tracking routes."""
        return path in _ROUTES or path.startswith("/beacon")

    async def handle(self, request: Request) -> Response:
        """Answer one request; awaits durability where it matters."""
        collected = self._start(request)
        if isinstance(collected, Response):
            return collected
        if not collected.entries:
            return self._finish(collected, [])
        try:
            return self._finish(collected, await self._outbox.settle(collected.entries))
        except Unavailable as error:
            return self._not_durable(collected, error)

    def handle_and_wait(self, request: Request) -> Response:
        """The same for a server that gives each request a thread."""
        collected = self._start(request)
        if isinstance(collected, Response):
            return collected
        try:
            return self._finish(collected, self._outbox.settle_and_wait(collected.entries))
        except Unavailable as error:
            return self._not_durable(collected, error)

    def too_large(self) -> Response:
        """The answer to a body beyond `max_body`, which a shell stops reading."""
        self._counters.add("refused", "too_large")
        return too_large(self.max_body)

    def close(self) -> None:
        """Settle all that was handed in."""
        self._outbox.close()
        self._on_close()

    def _start(self, request: Request) -> Collected | Response:
        method, path = request.method, request.path
        if path == "/collect":
            if method == "POST":
                return self._collector.collect(request, self._clock_ms())
            if method == "OPTIONS":
                return preflight()
            return _not_allowed(path, "POST, OPTIONS")
        if method not in ("GET", "HEAD"):
            return _not_allowed(path, "GET, HEAD")
        if path == "/collect.gif":
            if method == "HEAD":
                return assets.pixel([])
            return self._collector.collect_pixel(request, self._clock_ms())
        if path == "/live":
            return health.live()
        if path == "/ready":
            return health.ready(self._outbox, self._spool)
        if path == "/metrics":
            return health.metrics(self._counters, self._spool)
        return assets.script(request) or text_response(404, f"No script is at {path}: try /beacon.js\n")

    def _finish(self, collected: Collected, verdicts: list[Verdict]) -> Response:
        return answer(collected, verdicts, self._counters)

    def _not_durable(self, collected: Collected, error: Unavailable) -> Response:
        self._counters.add("unavailable", n=max(1, len(collected.owners)))
        return unavailable(error)


def _not_allowed(path: str, methods: str) -> Response:
    response = text_response(405, f"{path} takes {methods}.\n")
    return response._replace(headers=[*response.headers, (b"allow", methods.encode())])
