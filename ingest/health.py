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
    return text_response(200, "live\n")


def ready(outbox: Outbox, spool: Spool, live_problem: str) -> Response:
    """Ready means: an event that comes now is taken and made durable, on the broker or in the spool.

    What earlier ones still wait for, and what is known less of without the live store, is told in the lines after the
    first."""
    problem = outbox.problem()
    lines = [f"not ready: {problem}" if problem else "ready", *spool.state()]
    if live_problem:
        lines.append(f"without the live store: {_ALONE}: {live_problem}")
    return text_response(503 if problem else 200, "\n".join(lines) + "\n")


def metrics(counters: Counters, spool: Spool, live_problem: str) -> Response:
    from prometheus_client.core import GaugeMetricFamily

    gauges = (
        ("live_store_away", "Whether this process goes on without the live store.", bool(live_problem)),
        ("spool_bytes", "Bytes on disk that wait for the broker.", spool.bytes()),
        (
            "spool_oldest_seconds",
            "Age of the oldest file that waits for the broker, 0 when none does.",
            spool.oldest_seconds(),
        ),
        (
            "spool_damaged_bytes",
            "Bytes kept aside in .damaged files: unreadable, or never to be taken.",
            sum(spool.damaged().values()),
        ),
    )
    families = (GaugeMetricFamily(f"footfall_{name}", what, value) for name, what, value in gauges)
    return text_response(200, exposition((*counters.collect(), *families)).decode(), TEXT)
