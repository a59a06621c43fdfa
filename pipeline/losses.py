"""Noticing lost rows: the parts of the warehouse as of a commit, compared with the parts that are there now.

A part is a set of files of the engine with the rows of one or more inserted blocks. Merging replaces parts by one
that covers their blocks, a mutation replaces a part by one of the same blocks. So when no part covers a block any
more, its rows were lost, whatever has been merged, replaced or deleted since. The comparison looks at the list of
parts, never at rows: its cost goes by the number of parts.

The tables that are built from others (`stores.warehouse.BUILT`) are compared, too: where one of them has lost rows, a
day would count less or nothing. They are not replayed but forgotten, and built again.

It needs the parts of one server. Over a cluster another replica gives a lost part back, so nothing is recorded there
and nothing is compared.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Literal

import msgspec
import polars as pl

from activity.definitions import DAY_MS
from stores.days import DayTables
from stores.warehouse import BUILT, Warehouse

log = logging.getLogger("footfall.pipeline")

# What has to be made again: rows that follow from the events, or dead letters.
What = Literal["rows", "dead letters"]
# What `/ready` says while a lost checkpoint is made again.
LOST = "the checkpoint is missing or damaged: all is replayed from the raw events, numbers may be less until then"
_EPOCH = date(1970, 1, 1)
LAST_DAY = 65_535  # of the engine's Date: beyond what any clock that was stepped back has written


class Part(msgspec.Struct, frozen=True, array_like=True):
    """The rows of the blocks `first`..`last` of one partition of a table; days since the epoch."""

    table: str
    partition: str
    first: int
    last: int
    rows: int
    first_day: int
    last_day: int


class Missing(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Days since the epoch, `last_day` included, that lost rows which have not been made again yet."""

    what: What
    first_day: int
    last_day: int


def parts(found: pl.DataFrame | None) -> list[Part]:
    """The parts in the frame of `Warehouse.parts()`, none for None."""
    return [] if found is None else [Part(*row) for row in found.iter_rows()]


def built(of: Iterable[Part]) -> set[Part]:
    """Those of these parts that belong to tables which are built from others."""
    return {part for part in of if part.table in BUILT}


def fields(warehouse: Warehouse, committed: Sequence[Part], before: Sequence[Missing]) -> dict[str, Any]:
    """The fields `parts` and `missing` of the next checkpoint, by what the warehouse consists of now.

    The days of parts that were lost since the last one join what was missing before."""
    found = warehouse.parts()
    there = parts(found)
    gone = [] if found is None else lost(committed, there)
    raw, derived = [part for part in gone if part.table not in BUILT], built(gone)
    if raw:
        log.warning(
            "The warehouse has lost %s. They are made again from the raw events; until then nothing is loaded",
            in_words(raw),
        )
    if derived:
        log.warning("%s; all days are built again, until then pages are slower", _built_lost(derived))
        DayTables(warehouse).forget()
        there = parts(warehouse.parts())
    return {"parts": there, "missing": missing(raw, before)}


def trouble(gone: Sequence[Part], before: Sequence[Missing]) -> str:
    """What `/ready` says of lost parts, before they are looked at more closely; "" when none are."""
    days = missing([part for part in gone if part.table not in BUILT], before)
    return rebuilding(days) if days else _built_lost(built(gone)) if built(gone) else ""


def _built_lost(gone: set[Part]) -> str:
    return f"The day tables have lost rows of {', '.join(sorted({part.table for part in gone}))}"


def lost(committed: Iterable[Part], there: Iterable[Part]) -> list[Part]:
    """The committed parts whose blocks no part covers any more; `there` are the parts of now."""
    covers: defaultdict[tuple[str, str], list[Part]] = defaultdict(list)
    for part in there:
        covers[part.table, part.partition].append(part)
    return [
        part
        for part in committed
        if not any(c.first <= part.first and part.last <= c.last for c in covers[part.table, part.partition])
    ]


def missing(lost_parts: Iterable[Part], before: Iterable[Missing] = ()) -> list[Missing]:
    """The days of lost parts together with those missing before, in order, overlaps and neighbours merged."""
    merged: list[Missing] = []
    found = [Missing("dead letters" if p.table.startswith("dead") else "rows", p.first_day, p.last_day)
             for p in lost_parts]  # fmt: skip
    for days in sorted([*found, *before]):
        last = merged[-1] if merged else None
        if last is not None and last.what == days.what and days.first_day <= last.last_day + 1:
            merged[-1] = Missing(days.what, last.first_day, max(last.last_day, days.last_day))
        else:
            merged.append(days)
    return merged


def unwritten(due: Mapping[str, int], stored: Mapping[str, int], times: Sequence[int]) -> Missing | None:
    """The days of an interrupted batch that has fewer rows than are due, by table; `times` (ms) are of its events.

    The engine does not repeat an insert whose token it knows, even when the rows have gone in the meantime."""
    short = [table for table, rows in due.items() if stored[table] < rows]
    if not short:
        return None
    log.warning("The warehouse has lost rows of %s that an interrupted batch wrote", " and ".join(short))
    # A session starts at most a day and a gap before its events.
    return Missing("rows", min(times) // DAY_MS - 2, max(times) // DAY_MS)


def surplus(warehouse: Warehouse, batch: int, due: Mapping[str, int]) -> pl.DataFrame:
    """The visitors and times of an interrupted batch that has more rows than are due: `site`, `visitor`, `occurred_at`.

    Its records were lost after a former run had read them. The rows stay, and their sessions are formed again from
    what is stored, as those of late events are. Without any there are no rows."""
    if all(warehouse.rows_of(table, batch) <= rows for table, rows in due.items()):
        return pl.DataFrame(schema={"site": pl.String(), "visitor": pl.UInt64(), "occurred_at": pl.Int64()})
    found = warehouse.rows_around(batch)
    days = (found["occurred_at"] // DAY_MS).unique().sort()
    log.warning(
        "An interrupted batch has written rows of records that the log has lost since. Their sessions are formed again;"
        " whether the counts of %s are right, `footfall replay --dry-run` says",
        period(days[0], days[-1]),
    )
    return found


def without(before: Iterable[Missing], made: Missing) -> list[Missing]:
    """What is still missing once the days of `made` have been made again."""
    left: list[Missing] = []
    for days in before:
        if days.what != made.what or days.last_day < made.first_day or made.last_day < days.first_day:
            left.append(days)
            continue
        if days.first_day < made.first_day:
            left.append(Missing(days.what, days.first_day, made.first_day - 1))
        if made.last_day < days.last_day:
            left.append(Missing(days.what, made.last_day + 1, days.last_day))
    return left


def in_words(lost_parts: Sequence[Part]) -> str:
    """Lost parts for a log: "2 parts of event_rows (600 rows, 2026-11-02 to 2026-11-25), 1 part of …"."""
    said = []
    for table in sorted({part.table for part in lost_parts}):
        of_table = [part for part in lost_parts if part.table == table]
        first, last = min(part.first_day for part in of_table), max(part.last_day for part in of_table)
        number = "1 part" if len(of_table) == 1 else f"{len(of_table)} parts"
        rows = sum(part.rows for part in of_table)
        said.append(f"{number} of {table} ({rows:,} rows, {period(first, last)})")
    return ", ".join(said)


def rebuilding(days_missing: Iterable[Missing]) -> str:
    """What `/ready` says while missing days are made again."""
    days = ", ".join(f"{m.what} of {period(m.first_day, m.last_day)}" for m in days_missing)
    return f"the warehouse has lost {days}: they are made again from the raw events, numbers are less until then"


def period(first_day: int, last_day: int) -> str:
    """A span of days since the epoch in words: "all days", "2026-11-02" or "2026-11-02 to 2026-11-25"."""
    if (first_day, last_day) == (0, LAST_DAY):
        return "all days"
    first, last = day(first_day), day(last_day)
    return str(first) if first == last else f"{first} to {last}"


def day(number: int) -> date:
    """The date of a number of days since the epoch."""
    return _EPOCH + timedelta(days=number)
