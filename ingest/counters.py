"""What the service did, counted by prometheus-client for all processes of a server together.

`/metrics` is answered by whichever worker takes the request, and has to speak for all of them, those that have died
included. In prometheus-client's multiprocess mode each process counts in a file of its own, mapped into memory, and
the answer is the sum over the files of a folder. Each counter is looked up once, and is there from the start with 0,
because the sets of outcomes and of reasons are closed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from activity.refusal import Reason

if TYPE_CHECKING:
    from prometheus_client.core import Metric

TEXT = b"text/plain; version=0.0.4; charset=utf-8"

_LABELS: tuple[tuple[str, str], ...] = (
    ("accepted", ""),
    ("accepted", "id_reused"),
    ("duplicate", ""),
    *(("refused", str(reason)) for reason in Reason),
    ("unavailable", ""),
)
# Counted beside them, each a metric of its own.
_EXTRA = {
    "dead_letters_kept": "Requests that could not be understood and are kept as dead letters.",
    "dead_letters_counted": "Requests that could not be understood, more than an hour has room for: only counted.",
    "visitors_split": "Visitors of whom the live store did not say whether a visit goes on over midnight (UTC).",
}


class Counters:
    """The counts of this process, and with a `folder` the sum over all that count there (`infra.processes.tracking`).

    To be made after the fork, once in each process."""

    def __init__(self, folder: Path | None = None) -> None:
        # At its import it decides whether processes count together: not before a server could say so.
        from prometheus_client import CollectorRegistry, Counter
        from prometheus_client.multiprocess import MultiProcessCollector

        here = CollectorRegistry()
        what = "Events that came to the service, by what became of them."
        events = Counter("footfall_events", what, ("outcome", "reason"), registry=here)
        self._increment = {label: events.labels(*label).inc for label in _LABELS}
        for name, what in _EXTRA.items():
            self._increment[name, ""] = Counter(f"footfall_{name}", what, registry=here).inc
        self._all = here if folder is None else CollectorRegistry()
        if folder is not None:
            MultiProcessCollector(self._all, str(folder))  # type: ignore[no-untyped-call]

    def add(self, outcome: str, reason: str = "", n: int = 1) -> None:
        self._increment[outcome, reason](n)

    def collect(self) -> Iterable[Metric]:
        """The counts of all processes, as prometheus-client has them."""
        return self._all.collect()


class _Given:
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def exposition(metrics: Iterable[Metric]) -> bytes:
    """The metrics as Prometheus reads them, of content type `TEXT`."""
    from prometheus_client import generate_latest

    return generate_latest(_Given(metrics))
