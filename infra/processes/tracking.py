"""The tracking port: `ingest.server` with the service, which each worker opens from the settings."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from infra import startup
from infra.settings import Settings
from infra.wiring import Parts

if TYPE_CHECKING:
    from ingest.counters import Counters
    from ingest.service import Service

log = logging.getLogger("footfall")


def open_service(parts: Parts, counters: Counters | None = None) -> Service:
    """Return a service over a worker's own parts, which it closes. Creates missing topics if the broker answers."""
    from brokers.base import BrokerError
    from ingest.collect import Options
    from ingest.service import Service

    try:
        parts.create_topics()
    except BrokerError as error:
        log.warning("Events go to the spool until the broker answers: %s", error)
    return Service(
        broker=parts.broker,
        live=parts.live,
        sites=parts.sites,
        spool=parts.spool(),
        options=Options(trusted_proxies=parts.settings.proxies),
        places=parts.places,
        counters=counters,
        create_topics=parts.create_topics,
        on_close=parts.close,
    )


def serve(
    settings: Settings,
    bind: str,
    *,
    workers: int = 1,
    follow: int | None = None,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Serve until a signal, then drain and exit. `on_ready` is called in each worker once it accepts events."""
    from ingest import server

    folder = share_counts()

    def load() -> object:
        from ingest.asgi import Application
        from ingest.counters import Counters

        def open_here() -> Service:
            parts = Parts(settings)
            service = open_service(parts, Counters(folder))
            startup.collect_rarely()
            if on_ready is not None:
                on_ready()
            return service

        return Application(open_here)

    server.serve(load, bind, workers=workers, parent=follow, on_exit=lambda: shutil.rmtree(folder))


def share_counts() -> Path:
    """Create the folder that holds the counters of all processes of a server. Call it before any of them counts.

    Counts begin at 0 with each server. A server that is killed leaves the folder behind, a few kilobytes."""
    folder = tempfile.mkdtemp(prefix="footfall-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # prometheus-client reads it when it is imported
    return Path(folder)
