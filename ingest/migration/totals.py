"""Days that a product has counted, of which its export has no events: rows as the day tables have them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
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
    """One row of an export: the part of it that is replaced as a whole day by day, and the rows that follow.

    Where `metrics` are given, the fields of `DayRow` that the export has, each of these is a part for itself."""

    number: int  # of the line where the row begins
    part: str
    day: date
    rows: list[DayRow]
    file: int = 0  # the place of its file among those of the import
    metrics: tuple[str, ...] = ()

    def by_part(self) -> list[tuple[str, list[DayRow]]]:
        """Return the parts that the row is of, with what it says of each."""
        if not self.metrics:
            return [(self.part, self.rows)]
        return [(f"{self.part}: {metric}", [_only(metric, row) for row in self.rows]) for metric in self.metrics]


def _only(metric: str, row: DayRow) -> DayRow:
    return DayRow(row.dimension, row.value)._replace(**{metric: getattr(row, metric)})


Counted = Total | Left | Broken
PartDay = tuple[str, date]  # a part, such as a file of an export, and a day of it
FileDay = tuple[int, str, date]  # the rows of a day that one file has, before they are split into parts


# How counts have their thousands apart: in most places, in India, and in much of Europe.
_THOUSANDS = tuple(map(re.compile, (r"\d{1,3}(?:,\d{3})+", r"\d{1,2}(?:,\d{2})*,\d{3}", r"\d{1,3}(?:\.\d{3})+")))
_NO_PART = re.compile(r"(?<=\d)[.,]00?$")
_SPACES = str.maketrans("", "", " \u00a0\u202f\u2009'\u2019")


def count_of(text: str) -> int | None:
    """Return the count of "1234", "1234.0", "1,234", "1.234,00", "1 234" or "12,34,567"; None where it is none."""
    plain = text.translate(_SPACES)
    if not plain.isascii():
        plain = unicodedata.normalize("NFKC", plain)
    plain = _NO_PART.sub("", plain)
    if not plain.isascii():
        return None
    if not plain.isdigit():
        if not any(form.fullmatch(plain) for form in _THOUSANDS):
            return None
        plain = plain.replace(",", "").replace(".", "")
    return int(plain) if len(plain) < 16 else None


@dataclass
class Looked:
    """What a first reading of an export finds."""

    digests: dict[PartDay, int] = field(default_factory=dict)  # of the rows of each day, in any order
    files: dict[PartDay, int] = field(default_factory=dict)  # the last file that has the day: its rows count
    rows: dict[FileDay, int] = field(default_factory=dict)  # how many rows of the file each day has
    parts: dict[FileDay, set[str]] = field(default_factory=dict)  # the parts that these rows are of
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
            where = total.file, total.part, total.day
            found.rows[where] = found.rows.get(where, 0) + 1
            for part, rows in total.by_part():
                key = part, total.day
                before = found.digests.get(key, 0) if found.files.get(key) == total.file else 0
                found.digests[key] = (before + _digest(rows)) % 2**64
                found.files[key] = total.file
                found.parts.setdefault(where, set()).add(part)
    return found


def others(looked: Looked) -> Batch:
    """Return the rows of which no totals are made."""
    batch = Batch(len(looked.left) + len(looked.broken))
    for left in looked.left:
        batch.refuse(left.reason)
    batch.not_understood = [(each.number, each.row, each.why) for each in looked.broken]
    return batch


def _digest(rows: list[DayRow]) -> int:
    text = repr([tuple(row) for row in rows]).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")


def columns(totals: Iterable[Counted], taken: Mapping[PartDay, int], size: int) -> Iterator[dict[str, list[object]]]:
    """Yield the rows of these days, each of its file, by column: `part`, `day` (ISO), the fields of `DayRow`.

    They come about `size` at a time."""
    names = ("part", "day", *DayRow._fields)
    rows: list[tuple[object, ...]] = []
    for total in totals:
        if isinstance(total, Total):
            for part, its_rows in total.by_part():
                if taken.get((part, total.day)) == total.file:
                    rows += [(part, total.day.isoformat(), *row) for row in its_rows if any(row[2:])]
            if len(rows) >= size:
                yield {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
                rows = []
    if rows:
        yield {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
