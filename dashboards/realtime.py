"""What happens on the sites at this moment: active visitors, what they look at, the page views of each minute.

However many ask, the warehouse is asked once a second for a site, and not at all while nobody asks. Both questions are
of the newest rows only. Filters do not apply here: a filter chooses visits as a whole, and these are still going on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from threading import Lock
from time import monotonic
from typing import Any

from flask import Response

from activity.url import readable
from stores.base import Live
from stores.warehouse import Warehouse

MINUTES = 30
ROWS = 9
EVENTS = 12
LISTS = ("page", "source", "country")
_KEPT = 0.9  # seconds; a little less than watchers wait between two questions
_MINUTE_MS = 60_000
_RETRY_MS = 3_000


@dataclass(frozen=True)
class Moment:
    """What happens on a site. The lists count active visitors, each by the page that he viewed last and by where he
    came from; `minutes` are the page views of the last 30 minutes, `events` the latest ones, without who they were.
    Times are Unix ms."""

    visitors: int
    pageviews: int
    minutes: list[dict[str, Any]]
    lists: dict[str, list[dict[str, Any]]]
    events: list[dict[str, Any]]

    @property
    def mark(self) -> str:
        """A hash that is another one whenever a number, a minute or an event is."""
        return hashlib.blake2b(json.dumps(asdict(self)).encode(), digest_size=8).hexdigest()


def event(mark: str, text: str) -> Response:
    """A response of one server-sent event; who reads it to its end comes again after a while."""
    lines = "".join(f"data: {line}\n" for line in text.splitlines())
    told = f"retry: {_RETRY_MS}\nid: {mark}\n{lines}\n"
    # A proxy must not collect what is sent piece by piece.
    return Response(told, mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})


class Realtime:
    """Knows the moment of every site that somebody asks about. Safe for threads."""

    def __init__(self, warehouse: Warehouse, live: Live, clock: Callable[[], int]) -> None:
        self._warehouse = warehouse
        self._live = live
        self._clock = clock
        self._lock = Lock()
        self._known: dict[str, _Known] = {}

    def of(self, site: str) -> Moment:
        """What happens on a site, as of a second ago at most. Raises `StoreError`."""
        with self._lock:
            known = self._known.setdefault(site, _Known())
        with known.lock:
            if known.moment is None or monotonic() - known.at > _KEPT:
                known.moment, known.at = self._ask(site), monotonic()
            return known.moment

    def _ask(self, site: str) -> Moment:
        at = self._clock()
        lists: dict[str, list[dict[str, Any]]] = {name: [] for name in LISTS}
        visitors = self._live.current(site, at)  # of another process, or a second behind: neither counts too many
        views: dict[int, int] = {}
        for dimension, value, count in self._warehouse.ask("happening", site=site, now_ms=at).iter_rows():
            if dimension == "minute":
                views[int(value)] = count
            elif dimension:
                lists[dimension].append({"value": readable(value) if dimension == "page" else value, "visitors": count})
            else:
                visitors = max(visitors, count)
        latest = self._warehouse.ask("latest_events", site=site, now_ms=at, limit=EVENTS)
        minute = at // _MINUTE_MS * _MINUTE_MS
        return Moment(
            visitors,
            sum(views.values()),
            [{"time": minute - ago * _MINUTE_MS, "pageviews": views.get(ago, 0)} for ago in reversed(range(MINUTES))],
            {name: rows[:ROWS] for name, rows in lists.items()},
            [row | {"path": readable(row["path"])} for row in latest.to_dicts()],
        )


class _Known:
    """What is known of one site, and the lock of who asks for it."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.moment: Moment | None = None
        self.at = 0.0
