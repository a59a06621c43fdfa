"""Counters of the service, kept by prometheus-client for all processes of a server together.

Any worker may answer `/metrics`, and the answer has to cover all of them, including those that died. In
prometheus-client's multiprocess mode each process counts in a memory-mapped file of its own, and the answer is the sum
over the files of a folder. Every counter exists from the start with the value 0, because the sets of outcomes and of
reasons are closed.
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
# Further counters, each a metric of its own.
_EXTRA = {
    "dead_letters_kept": "Requests that could not be understood and are kept as dead letters.",
    "dead_letters_counted": "Requests that could not be understood, more than an hour has room for: only counted.",
    "visitors_split": "Visitors of whom the live store did not say whether a visit goes on over midnight (UTC).",
}


class Counters:
    """The counts of this process, and with a `folder` the sum over all processes that count there.

    Create one in each process, after the fork. `infra.processes.tracking` makes the folder."""

    def __init__(self, folder: Path | None = None) -> None:
        # prometheus-client decides when it is imported whether processes count together, so import it only now.
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
        """Count `n` more events or requests of an outcome. Raises KeyError for an unknown outcome or reason."""
        self._increment[outcome, reason](n)

    def collect(self) -> Iterable[Metric]:
        """Return the counts of all processes as metrics of prometheus-client."""
        return self._all.collect()


class _Given:
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def exposition(metrics: Iterable[Metric]) -> bytes:
    """Return the metrics in the text format of Prometheus, of content type `TEXT`."""
    from prometheus_client import generate_latest

    return generate_latest(_Given(metrics))
