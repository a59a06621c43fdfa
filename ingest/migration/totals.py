"""Days that a product has counted, of which its export has no events: rows as the day tables have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from hashlib import blake2b
from typing import NamedTuple

from ingest.logs.batch import Batch
from ingest.migration.export import Broken, Left


class DayRow(NamedTuple):
    """What one value of a dimension amounts to; the dimension "" with the value "" is the visits of a day, with the
    value "events" what happened on it."""

    dimension: str
    value: str
    visitors: int = 0
    visits: int = 0
    bounces: int = 0
    duration_ms: int = 0
    pageviews: int = 0
    events: int = 0


class Total(NamedTuple):
    """One row of an export: the part of it that is replaced as a whole day by day, and the rows that follow."""

    number: int  # of the line where the row begins
    part: str
    day: date
    rows: list[DayRow]


Counted = Total | Left | Broken
PartDay = tuple[str, date]


def day_of(text: str) -> date | None:
    """Return the day of "2024-05-01" or "20240501"; None where it is none between 1990 and 2100."""
    try:
        day = date.fromisoformat(text) if text.replace("-", "").isdecimal() else None
    except ValueError:
        return None
    return day if day is not None and 1990 <= day.year < 2100 else None


@dataclass
class Looked:
    """What a first reading of an export finds."""

    digests: dict[PartDay, int] = field(default_factory=dict)  # of the rows of each day, in any order
    rows: dict[PartDay, int] = field(default_factory=dict)  # how many rows of the export each day has
    left: list[Left] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)


def look(totals: Iterable[Counted]) -> Looked:
    """Read an export once, so that only days are written that differ from what is stored."""
    found = Looked()
    for total in totals:
        if isinstance(total, Left):
            found.left.append(total)
        elif isinstance(total, Broken):
            found.broken.append(total)
        else:
            key = total.part, total.day
            found.digests[key] = (found.digests.get(key, 0) + _digest(total)) % 2**64
            found.rows[key] = found.rows.get(key, 0) + 1
    return found


def others(looked: Looked) -> Batch:
    """Return the rows of which no totals are made."""
    batch = Batch(len(looked.left) + len(looked.broken))
    for left in looked.left:
        batch.refuse(left.reason)
    batch.not_understood = [(each.number, each.row, each.why) for each in looked.broken]
    return batch


def _digest(total: Total) -> int:
    text = repr([tuple(row) for row in total.rows]).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")


def columns(totals: Iterable[Counted], taken: set[PartDay], size: int) -> Iterator[dict[str, list[object]]]:
    """Yield the rows of these days by column, about `size` at a time: `part`, `day` (ISO), the fields of `DayRow`."""
    names = ("part", "day", *DayRow._fields)
    rows: list[tuple[object, ...]] = []
    for total in totals:
        if isinstance(total, Total) and (total.part, total.day) in taken:
            rows += [(total.part, total.day.isoformat(), *row) for row in total.rows]
            if len(rows) >= size:
                yield {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
                rows = []
    if rows:
        yield {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
