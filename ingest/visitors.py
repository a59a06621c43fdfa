"""Which visitor a request comes from, without knowing who that is.

The salt of a day makes the id, so an id lives a day. A visit that crosses midnight keeps the id it began
with: while the day is young, the id that the same request would have had the day before is looked up, and if
it was active within the gap that ends a visit, it goes on. What was decided is stored in the event, so
nothing downstream ever needs the salt.
"""

from __future__ import annotations

import time
from typing import Protocol

from activity.visitor import visitor_id
from ingest.outbox import Memory

_DAY = 86_400_000
_GAP = 1_800_000
_YOUNG = 4 * _GAP  # of a day, in which yesterday's visits may still go on


class Live(Memory, Protocol):
    """What the door needs of the live store."""

    def salt(self, day: str) -> bytes: ...
    def last_active(self, site: str, visitor: str) -> int | None: ...
    def import_key(self, site: str) -> bytes: ...
    def allow(self, key: str, n: int) -> bool: ...


class Visitors:
    """Cookieless ids. Keeps the salts of two days, and of a young day whom yesterday has nothing to do with."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._salts: dict[int, bytes] = {}
        self._new: set[str] = set()
        self._new_day = -1

    def of(self, site: str, address: str, user_agent: str, received_at: int) -> str:
        day = received_at // _DAY
        visitor = visitor_id(self._salt(day), site, address, user_agent)
        if received_at - day * _DAY < _YOUNG and not self._is_new(day, visitor):
            before = visitor_id(self._salt(day - 1), site, address, user_agent)
            active = self._live.last_active(site, before)
            if active is not None and received_at - active <= _GAP:
                return before
            self._new.add(visitor)
        return visitor

    def _is_new(self, day: int, visitor: str) -> bool:
        if day != self._new_day:
            self._new_day = day
            self._new.clear()
        return visitor in self._new

    def _salt(self, day: int) -> bytes:
        salt = self._salts.get(day)
        if salt is None:
            salt = self._live.salt(time.strftime("%Y-%m-%d", time.gmtime(day * _DAY // 1000)))
            self._salts = {kept: value for kept, value in self._salts.items() if kept >= day - 1}
            self._salts[day] = salt
        return salt
