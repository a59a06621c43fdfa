"""The account of the last day, which the process that loads keeps up to date, for the page of operation and `/metrics`.

Only hours that are over are looked at, each once, and again an hour later if something was missing. A run takes a few
seconds at most, so after a start a busy installation has the hours one by one, the last one first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dashboards.operation import AuditedHour

if TYPE_CHECKING:
    from infra.wiring import Parts
    from pipeline.audit import HourAccount

_HOURS = 24
_HOUR_MS = 3_600_000
_GRACE_MS = 120_000  # after an hour, until what came in it is loaded and archived
_SECONDS = 2.0  # that a run takes before it leaves the rest to the next one


class Auditor:
    """Audits over opened parts; `clock` gives Unix ms."""

    def __init__(self, parts: Parts, clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._parts = parts
        self._clock = clock
        self._found: dict[int, tuple[int, HourAccount]] = {}  # by hour: before the end of which it was looked at

    def step(self, stopping: Callable[[], bool] = lambda: False) -> None:
        """Look at the hours of the last day that are due. Raises what the broker and the stores raise."""
        from pipeline.audit import Sources, audit
        from stores.receipts import Span

        parts = self._parts
        sources = Sources(parts.broker, parts.warehouse, parts.archive, parts.checkpoint)
        end = (self._clock() - _GRACE_MS) // _HOUR_MS * _HOUR_MS
        hours = range(end - _HOUR_MS, end - (_HOURS + 1) * _HOUR_MS, -_HOUR_MS)
        self._found = {hour: self._found[hour] for hour in hours if hour in self._found}
        begun = time.monotonic()
        for hour in hours:
            seen, account = self._found.get(hour, (0, None))
            if account is not None and (account.balanced or seen == end):
                continue
            for now in audit(sources, Span(hour, hour + _HOUR_MS)):
                self._found = self._found | {hour: (end, now)}
            if stopping() or time.monotonic() - begun > _SECONDS:
                return

    def hours(self) -> tuple[AuditedHour, ...]:
        """What is known, the last hour first; hours in which nothing came are left out."""
        found = sorted(self._found.items(), reverse=True)
        return tuple(_of(account) for _, (_, account) in found if not account.is_empty)

    def unaccounted(self) -> int | None:
        """How many events of these hours are not where they should be; None before any was looked at."""
        if not self._found:
            return None
        accounts = [account for _, account in self._found.values()]
        return sum(max(abs(each.unaccounted), sum(m.events for m in each.mismatches)) for each in accounts)


def _of(account: HourAccount) -> AuditedHour:
    from msgspec import to_builtins

    return AuditedHour(
        account.hour,
        account.received,
        account.refused,
        account.accepted,
        account.stored,
        account.duplicate,
        account.dead_lettered,
        account.erased + account.expired,
        account.in_flight,
        account.balanced,
        tuple(named(to_builtins(mismatch)) for mismatch in account.mismatches),
    )


def named(mismatch: dict[str, Any]) -> str:
    """A mismatch in words, from the fields that its line of JSON has."""
    place = mismatch.get("file", "")
    if "partition" in mismatch:
        place = f"{mismatch.get('topic', 'partition')}[{mismatch['partition']}]"
    if "first" in mismatch:
        place += f" {mismatch['first']} to {mismatch['last']}"
    return f"{mismatch['where']}: {place}{': ' if place else ''}{mismatch['events']:,} events, {mismatch['why']}"
