"""The numbers behind the definitions. Each is part of the contract with every archive ever written."""

from __future__ import annotations

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

# A gap of exactly 30:00 stays in the session, 30:00.001 does not.
GAP_MS = 30 * MINUTE_MS
# How far behind the watermark an event may be and still change its session at once. Beyond that, its visitor and
# day count as dirty and `reconcile` rebuilds them.
HORIZON_MS = 2 * HOUR_MS
# The watermark stays this far behind the records read.
WATERMARK_DELAY_MS = 10 * SECOND_MS
# A session with more events than this is flagged `oversized`; nothing is cut or dropped.
OVERSIZED_EVENTS = 10_000
# A visit with more engaged time than this counts as engaged.
ENGAGED_MS = 10 * SECOND_MS
# How much a rebuild of days has to read on either side so that every session starting in them is whole: the day cut
# looks back 24 h, and a session that starts just before midnight may run until the cut a day later.
MARGIN_BEFORE_MS = DAY_MS + GAP_MS
MARGIN_AFTER_MS = DAY_MS
# An event's time is never more than this after its receipt.
FUTURE_MS = MINUTE_MS


def kept_since(now: int, days: int) -> int:
    """When the first UTC day begins that is kept, in ms, where so many whole days are kept beside the one of `now`."""
    return (now // DAY_MS - days) * DAY_MS
