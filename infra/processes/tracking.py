"""The tracking port: the door, opened in each worker from the settings, served by gunicorn's `asgi` worker."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
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
    from ingest.counters import Counters

    # Twice the rows: a worker that starts while its predecessor drains has one of its own.
    counters = Counters(2 * workers)

    def load() -> object:
        from ingest.asgi import Application

        def open_here() -> Door:
            counters.take_row(os.getpid())
            parts = Parts(settings)
            door = open_door(parts, counters)
            if on_ready is not None:
                on_ready()
            return door

        return Application(open_here)

    server.serve(load, bind, workers=workers, parent=follow, asgi_lifespan="on")
