"""The tracking port: the service, opened in each worker from the settings, behind `ingest.server`."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from infra.settings import Settings
from infra.wiring import Parts

if TYPE_CHECKING:
    from ingest.counters import Counters
    from ingest.service import Door

log = logging.getLogger("footfall")


def open_door(parts: Parts, counters: Counters | None = None) -> Door:
    """The door over a worker's own parts, which it closes. Missing topics are made first, if the broker answers."""
    from brokers.base import BrokerError
    from ingest.collect import Options
    from ingest.service import Door

    try:
        parts.create_topics()
    except BrokerError as error:
        log.warning("Events go to the spool until the broker answers: %s", error)
    return Door(
        broker=parts.broker,
        live=parts.live,
        sites=parts.sites,
        spool=parts.settings.spool,
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
    """Serve until a signal, then drain and exit. `on_ready` is called in each worker that takes events."""
    from ingest import server

    folder = share_counts()

    def load() -> object:
        from ingest.asgi import Application
        from ingest.counters import Counters

        def open_here() -> Door:
            parts = Parts(settings)
            door = open_door(parts, Counters(folder))
            if on_ready is not None:
                on_ready()
            return door

        return Application(open_here)

    server.serve(load, bind, workers=workers, parent=follow, on_exit=lambda: shutil.rmtree(folder))


def share_counts() -> Path:
    """Make the folder in which the processes of a server count together; to be called before any of them counts.

    Counts begin at 0 with each server, and a server that is killed leaves its few kilobytes behind."""
    folder = tempfile.mkdtemp(prefix="footfall-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # where prometheus-client, when it is imported, looks for it
    return Path(folder)
