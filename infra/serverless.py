"""Footfall as two functions on AWS (`serverless.yml`): `track` answers requests, `load` fills the stores.

Both are thin: `track` is the Flask service behind an adapter for API Gateway, `load` runs the same micro-batches as
`footfall load`. A function is frozen between two events and may be discarded, which makes three differences. There is
no spool, because the function's disk is not durable: if the broker does not take an event, the answer is 503 and the
sender retries. Without Redis each instance has a live state of its own, and logs a warning. And it does not matter
whether Kafka or the clock invokes `load`: it reads from the checkpoint's positions, so an event that is delivered twice
changes nothing, and losing the checkpoint to another instance counts as success.
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

# No batch starts with less time left than this, in ms: a minute is many times what a full batch takes.
_LEAST_MS_LEFT = 60_000


class Context(Protocol):
    """The part of the context of an AWS invocation that we use."""

    def get_remaining_time_in_millis(self) -> int:
        """How long the function may still run."""


def track(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """Answers one request from API Gateway's HTTP API (payload 2.0) or a function URL."""
    return _tracker()(event, context)


def load(event: dict[str, Any], context: Context) -> dict[str, int]:
    """Loads events until none are left or time runs short; the rest waits for the next event or minute.

    When the clock invokes it, and not Kafka, it also brings the archive up to date and rebuilds dirty days: a file per
    minute is small enough already. Returns the number of batches and events loaded and of records archived.
    """
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
    """Flushes the archive; returns the number of records written, 0 if another instance was first."""
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
        log.info("The dirty days wait for the next minute: %s", error)


@cache
def _tracker() -> Callable[[dict[str, Any], Context], dict[str, Any]]:
    from apig_wsgi import make_lambda_handler

    from ingest import wsgi
    from ingest.collect import Options
    from ingest.service import Service

    settings = function_settings(os.environ)
    settings = replace(settings, broker=pure_python(settings.broker))
    if settings.live.startswith("file:"):
        log.warning(
            "FOOTFALL_LIVE is not a redis:// URL: each instance has salts and duplicates of its own, so a visitor "
            "served by two instances counts twice"
        )
    parts = Parts(settings)
    atexit.register(parts.close)
    service = Service(
        broker=parts.broker,
        live=parts.live,
        sites=sites(os.environ),
        spool=settings.spool,
        options=Options(trusted_proxies=settings.proxies, spool_bytes=0),
        places=parts.places,
    )
    atexit.register(service.close)
    handler: Callable[[dict[str, Any], Context], dict[str, Any]] = make_lambda_handler(wsgi.create(service))
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
    """The settings of a function; its data folder is in the one folder that it may write to. Raises `BadSettings`."""
    scratch = {"FOOTFALL_DATA": str(Path(tempfile.gettempdir(), "footfall"))}
    settings = Settings.load(scratch | dict(environ))
    if settings.broker.startswith(("sqlite:", "memory:")):
        raise BadSettings(
            ["FOOTFALL_BROKER: a function's disk does not last; name a broker, such as kafka://HOST:PORT"]
        )
    return settings


def pure_python(broker: str) -> str:
    """Adds the client that the zip carries to the broker's URL, unless the URL names one."""
    parts = urlsplit(broker)
    if parts.scheme == "pulsar" or "client" in parse_qs(parts.query):
        return broker
    return f"{broker}{'&' if parts.query else '?'}client=kafka-python"


def sites(environ: Mapping[str, str]) -> Sites:
    """The sites from `FOOTFALL_SITES`: a path in the package, or the TOML itself. Raises `BadSettings`."""
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
