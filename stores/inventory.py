"""What a warehouse says about itself: its schema, its parts, and rows that should not be there."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from activity.definitions import DAY_MS, FUTURE_MS
from stores import migrate
from stores.warehouse import Warehouse

_THERE = "SELECT name FROM system.tables WHERE database = currentDatabase()"
_APPLIED = f"SELECT number, any(name) AS name FROM {migrate.APPLIED} GROUP BY number ORDER BY number"
# The bounds of a part's times tell which parts have such rows at all.
_AHEAD = """
SELECT toInt64(count()), ifNull(toUnixTimestamp64Milli(max(occurred_at)), 0) FROM event_rows
WHERE occurred_at > fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')"""
# What came over HTTP needed the salt of its day.
_SALTED = """
SELECT toInt64(count()) FROM event_rows
WHERE occurred_at >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') AND protocol != 'import'
  AND received_at >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')"""
_LAST = 65_535  # the last day of the engine's Date
_CREATED = re.compile(r"^CREATE (?:TABLE IF NOT EXISTS|OR REPLACE VIEW) (\w+)", re.MULTILINE)


class Letters(msgspec.Struct, frozen=True):
    """How many dead letters of a reason came in the last 24 hours, and in the 24 hours before."""

    reason: str
    last: int
    before: int


class Inventory(msgspec.Struct, frozen=True):
    """What `of` found. `parts` are as `Warehouse.parts` has them, None over a cluster."""

    missing: list[str] = []  # migrations that are not applied, "007-months"
    foreign: list[str] = []  # migrations of another version
    absent: list[str] = []  # tables and views of applied migrations that are gone
    parts: list[list[Any]] | None = None
    broken: str = ""  # what a read met last
    damaged: list[str] = []  # parts whose files fail their checksums, if every byte was read
    letters: list[Letters] = []
    ahead: int = 0  # events that occurred after now
    latest: int = 0  # when the last of them did, in ms
    today: int = 0  # events of this UTC day that were not imported


def of(warehouse: Warehouse, now: int, everything: bool = False) -> Inventory:
    """The inventory at `now` (ms). It reads lists and the rows of the last two days, and changes nothing.

    With `everything` it reads each byte of the tables. Raises what `Warehouse.query` raises."""
    there = set(warehouse.query(_THERE).to_series())
    applied = dict(warehouse.query(_APPLIED).iter_rows()) if migrate.APPLIED in there else {}
    ours = {number: (name, text) for number, name, text in migrate.available()}
    whole = "event_rows" in there
    ahead, latest = warehouse.query(_AHEAD, {"from_ms": now + 2 * FUTURE_MS}).row(0) if whole else (0, 0)
    today = warehouse.query(_SALTED, {"from_ms": now - now % DAY_MS}).item() if whole else 0
    parts = warehouse.parts()
    return Inventory(
        missing=[f"{number:03d}-{name}" for number, (name, _) in ours.items() if number not in applied],
        foreign=[
            f"{number:03d}-{name}"
            for number, name in applied.items()
            if number not in ours or ours[number][0] != name
        ],
        absent=sorted(
            {table for number in applied.keys() & ours for table in _CREATED.findall(ours[number][1])} - there
        ),
        parts=None if parts is None else [list(row) for row in parts.iter_rows()],
        broken=str(warehouse.broken or ""),
        damaged=[": ".join(part) for part in warehouse.broken_parts(0, _LAST)] if everything else [],
        letters=_letters(warehouse, now) if "dead_letter_rows" in there else [],
        ahead=ahead,
        latest=latest,
        today=today,
    )


def _letters(warehouse: Warehouse, now: int) -> list[Letters]:
    """By reason, the most of the last day first."""
    counted: dict[str, list[int]] = {}
    for at, since in enumerate((now - DAY_MS, now - 2 * DAY_MS)):
        for _, reason, letters, _ in warehouse.ask("dead_letter_reasons", from_ms=since).iter_rows():
            counted.setdefault(reason, [0, 0])[at] += letters
    found = [Letters(reason, last, max(0, both - last)) for reason, (last, both) in counted.items()]
    return sorted((each for each in found if each.last), key=lambda each: (-each.last, each.reason))
