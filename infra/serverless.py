"""Footfall as two functions on AWS (`serverless.yml`): `track` answers requests, `load` fills the stores.

Both are thin: `track` is the Flask door behind an adapter for API Gateway, `load` the same micro-batch that
`footfall load` runs. A function is frozen between two events and may be thrown away, hence three differences.
There is no spool, since its disk is not durable: what the broker does not take is answered 503, and the sender
comes again. Without a Redis the live state is one instance's own, which says so. And what rings `load`, Kafka
or the clock, does not matter: it reads from the checkpoint's positions, so an event delivered twice changes
nothing, and losing the checkpoint to another instance is success.
"""

from __future__ import annotations

import atexit
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, urlsplit

from infra.settings import BadSettings, Settings
from infra.wiring import Parts

if TYPE_CHECKING:
    from ingest.sites import Sites
    from pipeline.live import Loader

log = logging.getLogger(__name__)

# A batch is not begun with less than this left: a minute is many times what a full one takes.
_LEAST_MS_LEFT = 60_000


class Context(Protocol):
    """What AWS tells a function of its own run."""

    def get_remaining_time_in_millis(self) -> int: ...


def track(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """Answer one request that API Gateway's HTTP API (payload 2.0) or a function URL hands over."""
    return _tracker()(event, context)


def load(event: dict[str, Any], context: Context) -> dict[str, int]:
    """Load until nothing is left or time runs short; what is left waits for the next event or minute.

    The clock also brings what Kafka's bell does not: the archive up to date, the days rebuilt that late events
    marked. A file a minute is small enough already."""
    loader, parts = _loader()
    batches = events = archived = 0
    # One empty step may mean that another instance had the unit since this one last ran; a second means the end.
    empty = 0
    while empty < 2 and context.get_remaining_time_in_millis() > _LEAST_MS_LEFT:
        counters = loader.step()
        empty = empty + 1 if counters is None else 0
        if counters is not None:
            batches += 1
            events += counters.get("dedupe.fresh", 0)
    if "records" not in event:
        archived = _archive(parts, loader)
        if loader.checkpoint().dirty_days and context.get_remaining_time_in_millis() > _LEAST_MS_LEFT:
            _rebuild(loader)
    return {"batches": batches, "events": events, "archived": archived}


def _archive(parts: Parts, loader: Loader) -> int:
    """How many records went to the archive; none when another instance was first."""
    from pipeline import archive
    from stores.base import Conflict

    flushed: list[int] = []
    try:
        positions = loader.checkpoint().positions
        archive.flush(loader.runner, parts.broker, parts.archive, positions, loader.unit, flushed.append)
    except Conflict:
        log.info("Another instance brings the archive up to date")
    return sum(flushed)


def _rebuild(loader: Loader) -> None:
    from pipeline.rebuild import Busy, reconcile

    try:
        reconcile(loader)
    except Busy as error:
        log.info("The marked days wait for the next minute: %s", error)


@cache
def _tracker() -> Callable[[dict[str, Any], Context], dict[str, Any]]:
    from apig_wsgi import make_lambda_handler

    from ingest import wsgi
    from ingest.collect import Options
    from ingest.service import Door

    settings = function_settings(os.environ)
    settings = replace(settings, broker=pure_python(settings.broker))
    if settings.live.startswith("file:"):
        log.warning(
            "FOOTFALL_LIVE is no redis:// URL: salts and duplicates are this instance's alone, so that a visitor "
            "served by two instances counts twice"
        )
    parts = Parts(settings)
    atexit.register(parts.close)
    door = Door(
        broker=parts.broker,
        live=parts.live,
        sites=sites(os.environ),
        spool=settings.spool,
        options=Options(trusted_proxies=settings.proxies, spool_bytes=0),
        places=parts.places,
    )
    atexit.register(door.close)
    handler: Callable[[dict[str, Any], Context], dict[str, Any]] = make_lambda_handler(wsgi.create(door))
    return handler


@cache
def _loader() -> tuple[Loader, Parts]:
    from activity.event import TOPICS
    from pipeline.live import Loader

    parts = Parts(function_settings(os.environ))
    atexit.register(parts.close)
    parts.create_topics()
    partitions = parts.broker.partitions(TOPICS[0])
    return Loader(parts.broker, parts.warehouse, parts.checkpoint, partitions=partitions), parts


def function_settings(environ: Mapping[str, str]) -> Settings:
    """The settings of a function: what it keeps on its own disk lies under the one folder it may write."""
    scratch = {"FOOTFALL_DATA": str(Path(tempfile.gettempdir(), "footfall"))}
    settings = Settings.load(scratch | dict(environ))
    if settings.broker.startswith(("sqlite:", "memory:")):
        raise BadSettings(
            ["FOOTFALL_BROKER: a function's disk does not last; name a broker, such as kafka://HOST:PORT"]
        )
    return settings


def pure_python(broker: str) -> str:
    """The broker's URL with the client that the zip carries, unless one is named."""
    parts = urlsplit(broker)
    if parts.scheme == "pulsar" or "client" in parse_qs(parts.query):
        return broker
    return f"{broker}{'&' if parts.query else '?'}client=kafka-python"


def sites(environ: Mapping[str, str]) -> Sites:
    """From `FOOTFALL_SITES`: a path inside the package, or the TOML itself."""
    from ingest.sites import Sites, parse_file

    text = environ.get("FOOTFALL_SITES", "")
    if "[[" in text:
        known = parse_file(text, "FOOTFALL_SITES")
        return Sites(sites=known.sites, limits=known.limits)
    path = Path(text)
    if not text or not path.is_file():
        raise BadSettings(
            [f"FOOTFALL_SITES: {text or 'it is not set'}: give a TOML file inside the package, or the TOML itself"]
        )
    return Sites(path)
