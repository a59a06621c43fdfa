"""The numbers that the definitions stand on; each is part of the contract with every archive ever written."""

from __future__ import annotations

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

# A gap of exactly 30:00 stays in the session, 30:00.001 does not.
GAP_MS = 30 * MINUTE_MS
# How far behind the watermark an event may lie and still change its session at once; beyond it, its
# visitor-day is marked and `reconcile` rebuilds it.
HORIZON_MS = 2 * HOUR_MS
# The watermark stays this far behind what has been read.
WATERMARK_DELAY_MS = 10 * SECOND_MS
# More events than this set the session's `oversized` flag; nothing is cut or dropped.
OVERSIZED_EVENTS = 10_000
# Over this much engaged time a visit counts as engaged.
ENGAGED_MS = 10 * SECOND_MS
# Neighbours that a rebuild of days has to read so that every session starting in them is whole: the day cut
# looks 24 h back, and a session that starts just before midnight may run until the cut a day later.
MARGIN_BEFORE_MS = DAY_MS + GAP_MS
MARGIN_AFTER_MS = DAY_MS
# An event's time never lies further than this after its receipt.
FUTURE_MS = MINUTE_MS
