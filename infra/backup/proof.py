"""What a warehouse amounts to: taken when a backup is made, and again from what was restored."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

from pipeline import losses
from pipeline.replay.compare import digested
from stores import snapshot
from stores.warehouse import Warehouse

# The newest days are told by digest: so many, and no more once they have so many sessions.
_DAYS = 7
_SESSIONS = 250_000

Line = dict[str, Any]


def amounts(warehouse: Warehouse) -> dict[str, int]:
    """Counts and checksums of everything."""
    return snapshot.amounts(warehouse)


def recent_days(warehouse: Warehouse) -> list[int]:
    """The days (since the epoch) to be told by digest. The newest is always among them."""
    chosen: list[int] = []
    sessions = 0
    for day, count in reversed(snapshot.session_days(warehouse).items()):
        sessions += count
        if chosen and (len(chosen) == _DAYS or sessions > _SESSIONS):
            break
        chosen.append(day)
    return chosen[::-1]


def digests(warehouse: Warehouse, days: list[int]) -> list[Line]:
    """A line for each site and day, with the digest of the sessions that started then; see `rollup.session_digest`."""
    lines = []
    for day in days:
        found = digested(snapshot.sessions_of(warehouse, day))
        lines += [
            {"site": site, "day": str(losses.day(of)), **digest._asdict()}
            for (site, of), digest in sorted(found.items())
        ]
    return lines


def day_numbers(lines: Iterable[Line]) -> list[int]:
    """The days (since the epoch) that lines of `digests` are about, each once."""
    return sorted({(date.fromisoformat(line["day"]) - date(1970, 1, 1)).days for line in lines})
