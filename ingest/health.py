"""`/live`, `/ready` and `/metrics` of the tracking port."""

from __future__ import annotations

from ingest.counters import TEXT, Counters, exposition
from ingest.http import Response, text_response
from ingest.outbox import Outbox
from ingest.spool import Spool

_ALONE = (
    "each process knows only its own duplicates (the pipeline finds the others), limits and active visitors, and a "
    "visit over midnight (UTC) counts as two"
)


def live() -> Response:
    """Return the answer to `/live`: the process runs."""
    return text_response(200, "live\n")


def ready(outbox: Outbox, spool: Spool, live_problem: str) -> Response:
    """Return the answer to `/ready`: 200 if a new event would be made durable, on the broker or in the spool, else 503.

    Further lines say what still waits in the spool, and what is limited while the live store is unreachable."""
    problem = outbox.problem()
    lines = [f"not ready: {problem}" if problem else "ready", *spool.state()]
    if live_problem:
        lines.append(f"without the live store: {_ALONE}: {live_problem}")
    return text_response(503 if problem else 200, "\n".join(lines) + "\n")


def metrics(counters: Counters, spool: Spool, live_problem: str) -> Response:
    """Return the answer to `/metrics`: the counters, and gauges of the spool and the live store."""
    from prometheus_client.core import GaugeMetricFamily

    away = ("live_store_away", "Whether this process goes on without the live store.", float(bool(live_problem)))
    gauges = (away, *spool.gauges())
    families = (GaugeMetricFamily(f"footfall_{name}", what, value) for name, what, value in gauges)
    return text_response(200, exposition((*counters.collect(), *families)).decode(), TEXT)
