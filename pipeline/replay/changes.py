"""What a replay changes of the sessions of a site and day, in figures and with an example of each kind.

A session is `added` if nothing is stored under its id, `removed` if the raw events no longer give it, and `changed` if
columns of it differ. An example names the visitor and the session in hex, the start (UTC), and the columns: of a
changed session `[stored, rebuilt]` of each column that differs, of the others each column that says something.

Of stored rows only those are looked at that differ, and of each site and day three examples are kept at most, so the
memory is that of the difference.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl

from activity import session
from activity.definitions import DAY_MS

Changes = dict[str, Any]

KINDS = ("added", "removed", "changed")
_TIMES = ("started_at", "ended_at")
_SIDES = [name for name in session.COLUMNS if name not in session.KEY]


def none() -> Changes:
    """The changes of a day whose sessions are stored as they should be."""
    return dict.fromkeys(KINDS, 0) | {"examples": []}


def by_day(stored: pl.DataFrame, changed: pl.DataFrame) -> dict[tuple[str, int], Changes]:
    """The changes by site and day (since the epoch) on which the sessions start.

    `changed` is what `session.difference` says of the `stored` sessions and the rebuilt ones."""
    if not changed.height:
        return {}
    told = changed.join(stored, on=session.KEY, how="left", suffix="_stored", maintain_order="left").with_columns(
        day=pl.col("started_at") // DAY_MS,
        kind=pl.when("deleted")
        .then(pl.lit("removed"))
        .when(pl.col("started_at_stored").is_null())
        .then(pl.lit("added"))
        .otherwise(pl.lit("changed")),
    )
    found: dict[tuple[str, int], Changes] = {}
    for site, day, kind, number in told.group_by("site", "day", "kind").len().iter_rows():
        found.setdefault((site, day), none())[kind] = number
    firsts = told.sort("started_at", *session.KEY).unique(["site", "day", "kind"], keep="first", maintain_order=True)
    for row in firsts.iter_rows(named=True):
        found[row["site"], row["day"]]["examples"].append(_example(row))
    for changes in found.values():
        changes["examples"].sort(key=lambda example: KINDS.index(example["change"]))
    return found


def merged(now: Changes, before: Changes) -> Changes:
    """The changes of a day that two runs of a replay found, the first of which was killed.

    The second finds equal what the first has written before its end, and finds again what it has not."""
    return max(now, before, key=lambda changes: sum(changes[kind] for kind in KINDS))


def _example(row: dict[str, Any]) -> dict[str, Any]:
    if row["kind"] == "changed":
        differing = [name for name in _SIDES if row[name] != row[f"{name}_stored"]]
        columns: dict[str, Any] = {
            name: [_value(name, row[f"{name}_stored"]), _value(name, row[name])] for name in differing
        }
    else:
        columns = {name: _value(name, row[name]) for name in _SIDES if row[name] and name != "started_at"}
    return {
        "change": row["kind"],
        "visitor": f"{row['visitor']:016x}",
        "session_id": f"{row['session_id']:016x}",
        "started_at": _value("started_at", row["started_at"]),
        "columns": columns,
    }


def _value(name: str, value: Any) -> Any:
    """A value as people read it: times in UTC to the millisecond."""
    if name not in _TIMES:
        return value
    return datetime.fromtimestamp(value / 1000, UTC).isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")
