"""`/live`, `/ready` and `/metrics` of the tracking port."""

from __future__ import annotations

from ingest.counters import EXTRA, Counters
from ingest.http import Response, text_response
from ingest.outbox import Outbox
from ingest.spool import Spool

_METRICS = b"text/plain; version=0.0.4; charset=utf-8"


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


_ALONE = (
    "each process knows only its own duplicates (the pipeline finds the others), limits and active visitors, and a "
    "visit over midnight (UTC) counts as two"
)


def metrics(counters: Counters, spool: Spool, live_problem: str) -> Response:
    lines = [
        "# HELP footfall_events_total Events that came to the door, by what became of them.",
        "# TYPE footfall_events_total counter",
        *(
            f'footfall_events_total{{outcome="{outcome}",reason="{reason}"}} {value}'
            for outcome, reason, value in counters
        ),
    ]
    for name, what in EXTRA.items():
        metric = f"footfall_{name}_total"
        lines += [f"# HELP {metric} {what}", f"# TYPE {metric} counter", f"{metric} {counters.total(name)}"]
    lines += [
        "# HELP footfall_live_store_away Whether this process goes on without the live store.",
        "# TYPE footfall_live_store_away gauge",
        f"footfall_live_store_away {int(bool(live_problem))}",
        "# HELP footfall_spool_bytes Bytes on disk that wait for the broker.",
        "# TYPE footfall_spool_bytes gauge",
        f"footfall_spool_bytes {spool.bytes()}",
        "# HELP footfall_spool_oldest_seconds Age of the oldest file that waits for the broker, 0 when none does.",
        "# TYPE footfall_spool_oldest_seconds gauge",
        f"footfall_spool_oldest_seconds {spool.oldest_seconds():.3f}",
        "# HELP footfall_spool_damaged_bytes Bytes kept aside in .damaged files: unreadable, or never to be taken.",
        "# TYPE footfall_spool_damaged_bytes gauge",
        f"footfall_spool_damaged_bytes {sum(spool.damaged().values())}",
    ]
    return text_response(200, "\n".join(lines) + "\n", _METRICS)
