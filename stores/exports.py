"""The exact rows of a view over a span of time, a page at a time, for files that may be larger than memory.

A page is asked for by the place of the last row before it. So the engine holds one page at a time, however busy a day
is, and each page is what is stored when it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime

import polars as pl

from activity.definitions import DAY_MS
from stores.frames import TIME
from stores.warehouse import Warehouse

# The views that can be exported, each with the columns of its order: the time comes first.
VIEWS = {
    "events": ("occurred_at", "visitor", "id"),
    "sessions": ("started_at", "visitor", "session_id"),
}
PAGE = 20_000  # rows

_TIMES = ("occurred_at", "received_at", "sent_at", "started_at", "ended_at")
_LAST_DAY = date(2149, 6, 6)  # of the engine's type Date


def pages(warehouse: Warehouse, view: str, site: str, start_ms: int, end_ms: int) -> Iterator[pl.DataFrame]:
    """The rows of one of `VIEWS` in [start_ms, end_ms), in the order of time, in frames of at most `PAGE` rows.

    Times are Datetime(ms, UTC), other columns as in the view. The first frame comes even if it has no rows."""
    begun = False
    for day in _days(warehouse, view, site, start_ms, end_ms):
        at, visitor, last = start_ms, "", ""
        while True:
            place = {"at": at, "visitor": visitor, "id": last}
            page = warehouse.ask(f"exported_{view}", site=site, day=day, end=end_ms, limit=PAGE, **place)
            if page.height or not begun:
                begun = True
                yield page.with_columns(pl.col(name).cast(TIME) for name in _TIMES if name in page.columns)
            if page.height < PAGE:
                break
            at, visitor, last = page.select(VIEWS[view]).row(-1)


def _days(warehouse: Warehouse, view: str, site: str, start_ms: int, end_ms: int) -> list[date]:
    """The UTC days of the span that have rows; its first day if none has."""
    first, last = _utc_day(start_ms), _utc_day(end_ms - 1)
    found = warehouse.ask("exported_days", view=view, site=site, first=first, last=last)
    return found["day"].to_list() or [first]


def _utc_day(at_ms: int) -> date:
    return min(datetime.fromtimestamp(at_ms // DAY_MS * DAY_MS / 1000, UTC).date(), _LAST_DAY)
