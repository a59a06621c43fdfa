"""Footfall as functions on AWS (`serverless.yml`): `track` answers requests, the others do what `footfall up` does.

    track      answers a request; 2xx once the broker, or the spool's queue, has its events
    drain      publishes what waits in the queue
    load       runs micro-batches from the checkpoint's positions
    archive    writes to the archive what the numbers already include
    reconcile  makes lost rows again, and rebuilds the sessions of days with late events
    replay     the same as `footfall replay`, over as many invocations as it takes (`infra.serverless_replay`)

All are thin. A function is frozen between two events, may be discarded, may be killed at its time limit, and may be
invoked twice for one event or run in two instances at once. That does as little harm as to the commands: what is
loaded, archived or rebuilt counts by the swap of one object, and an instance that loses a swap leaves the work to the
winner. `reconcile` and `replay` take a lease of the unit while they swap rows, which makes `load` wait; the lease of
one that was killed runs out.

Without Redis each instance of `track` has a live state of its own, and logs a warning.
"""

from __future__ import annotations

import atexit
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from infra.settings import BadSettings, Settings
from infra.wiring import Parts

if TYPE_CHECKING:
    from infra.serverless_replay import Context
    from ingest.sites import Sites
    from pipeline.live import Loader
    from pipeline.runner import Runner

log = logging.getLogger(__name__)

UNIT = "0"
# No batch starts with less time left than this, in ms: a minute is many times what a full batch takes.
_LEAST_MS_LEFT = 60_000


def track(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """Answers one request from API Gateway's HTTP API (payload 2.0) or a function URL."""
    return _tracker()(event, context)


def drain(event: dict[str, Any], _context: Context) -> dict[str, list[dict[str, str]]]:
    """Publishes the records in a batch of SQS messages; returns those that have to stay, for SQS to deliver again.

    A message stays when the broker has not acknowledged all of its records, or when it has no records of ours.
    """
    from brokers.base import BrokerError, Record, Unsent
    from ingest.spool_sqs import unpack

    records: list[Record] = []
    owners: list[str] = []
    stay: dict[str, None] = {}
    for message in event["Records"]:
        name = message["messageId"]
        try:
            mine = unpack(message["body"])
        except ValueError as error:
            log.error("Message %s stays in the queue until somebody looks at it: %s", name, error)
            stay[name] = None
            continue
        records += mine
        owners += [name] * len(mine)
    try:
        if records:
            _drained_into().broker.publish(records)
    except BrokerError as error:
        indexes = error.indexes if isinstance(error, Unsent) else range(len(records))
        stay |= dict.fromkeys(owners[index] for index in indexes)
        log.warning("%d of %d messages stay in the queue: %s", len(stay), len(event["Records"]), error)
    return {"batchItemFailures": [{"itemIdentifier": name} for name in stay]}


def load(_event: dict[str, Any], context: Context) -> dict[str, int]:
    """Loads events until none are left or time runs short; the rest waits for the next event or minute.

    It does not matter whether Kafka or the clock invokes it: it reads from the checkpoint's positions. Returns the
    number of batches and events loaded.
    """
    loader = _loader()[0]
    loader.status.trouble = ""
    if loader.checkpoint().lost or loader.checkpoint().missing:
        loader.open()  # `reconcile` may have made again what this instance knows to be lost
    batches = events = 0
    # One empty step may mean that another instance had the unit since this one last ran; a second means the end.
    empty = 0
    while empty < 2 and context.get_remaining_time_in_millis() > _LEAST_MS_LEFT:
        counters = loader.step()
        empty = empty + 1 if counters is None else 0
        if counters is not None:
            batches += 1
            events += counters.get("dedupe.fresh", 0)
    if loader.status.trouble:
        log.warning("Nothing is loaded until `reconcile` has run: %s", loader.status.trouble)
    return {"batches": batches, "events": events}


def archive(_event: dict[str, Any], _context: Context) -> dict[str, int]:
    """Archives what the numbers already include; returns the number of records written.

    Each flush counts by a commit of its own, so one that is killed loses no other, and of two instances at once one
    stops. It reads the checkpoint and never opens the warehouse.
    """
    from pipeline import archive as archiving
    from pipeline import erasure
    from pipeline.checkpoint import CheckpointRepository
    from stores.base import Conflict

    runner, parts = _archiving()
    checkpoint = CheckpointRepository(parts.checkpoint, UNIT).load()
    flushed: list[int] = []
    erasures = partial(erasure.load, parts.checkpoint)
    if checkpoint is not None:
        try:
            archiving.flush(
                runner, parts.broker, parts.archive, checkpoint.positions, UNIT, erasures, flushed.append
            )
        except Conflict:
            log.info("Another instance brings the archive up to date")
    return {"archived": sum(flushed)}


def reconcile(_event: dict[str, Any], _context: Context) -> dict[str, int]:
    """Makes again what was lost, if anything was, and rebuilds the sessions of dirty days.

    Returns {"marks": visitor-days, "windows": windows rebuilt, "changed": session rows that had to change}.
    """
    from pipeline.rebuild import Busy
    from pipeline.rebuild import reconcile as rebuild
    from pipeline.recover import recover

    loader, parts = _loader()
    try:
        recover(loader, parts.archive)
        return rebuild(loader)
    except Busy as error:
        log.info("The dirty days wait for the next turn: %s", error)
        return {"marks": 0, "windows": 0, "changed": 0}


def replay(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """Replays some days like `footfall replay`; see `infra.serverless_replay`."""
    from infra import serverless_replay

    loader, parts = _loader()
    return serverless_replay.run(event, context, loader, parts)


@cache
def _tracker() -> Callable[[dict[str, Any], Context], dict[str, Any]]:
    from apig_wsgi import make_lambda_handler

    from ingest import wsgi
    from ingest.collect import Options
    from ingest.service import Service

    settings = _zip_settings(os.environ)
    if settings.live.startswith("file:"):
        log.warning(
            "FOOTFALL_LIVE is not a redis:// URL: each instance has salts and duplicates of its own, so a visitor "
            "served by two instances counts twice"
        )
    parts = _closed_at_exit(settings)
    service = Service(
        broker=parts.broker,
        live=parts.live,
        sites=sites(os.environ),
        spool=parts.spool(most_bytes=0),  # in a folder, which would not last, it takes nothing
        options=Options(trusted_proxies=settings.proxies),
        places=parts.places,
    )
    atexit.register(service.close)
    handler: Callable[[dict[str, Any], Context], dict[str, Any]] = make_lambda_handler(wsgi.create(service))
    return handler


@cache
def _drained_into() -> Parts:
    return _closed_at_exit(_zip_settings(os.environ))


@cache
def _loader() -> tuple[Loader, Parts]:
    from activity.event import TOPICS
    from pipeline.live import Loader

    parts = _closed_at_exit(function_settings(os.environ))
    parts.create_topics()
    partitions = parts.broker.partitions(TOPICS[0])
    return Loader(parts.broker, parts.warehouse, parts.checkpoint, partitions=partitions), parts


@cache
def _archiving() -> tuple[Runner, Parts]:
    from pipeline.runner import Runner

    return Runner(), _closed_at_exit(function_settings(os.environ))


def _closed_at_exit(settings: Settings) -> Parts:
    parts = Parts(settings)
    atexit.register(parts.close)
    return parts


def function_settings(environ: Mapping[str, str]) -> Settings:
    """The settings of a function; its data folder is in the one folder that it may write to. Raises `BadSettings`."""
    scratch = {"FOOTFALL_DATA": str(Path(tempfile.gettempdir(), "footfall"))}
    settings = Settings.load(scratch | dict(environ))
    if settings.broker.startswith(("sqlite:", "memory:")):
        raise BadSettings(
            ["FOOTFALL_BROKER: a function's disk does not last; name a broker, such as kafka://HOST:PORT"]
        )
    return settings


def _zip_settings(environ: Mapping[str, str]) -> Settings:
    settings = function_settings(environ)
    return replace(settings, broker=pure_python(settings.broker))


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
