"""A unit: the partitions that one loader takes, the same ones of every topic.

All events of a visitor have one partition number, so the sessions, the open state and the stored events of different
units have no visitor in common. What units share is the numbering of batches: a batch number is the version of the
rows that it wrote, and it belongs to one unit. Of n units, the first takes the numbers 0, n, 2n …, the second 1, n + 1,
2n + 1 …; a rebuild of all units takes a number of the first unit that is above those of all others.
"""

from __future__ import annotations

import re

import msgspec
import polars as pl

from activity.event import visitor_key
from activity.rollup import hex16
from brokers.routing import partition_of
from stores.base import CheckpointStore, Positions

_WORDS = re.compile(r"([1-9]\d{0,4})/([1-9]\d{0,4})")


class Unit(msgspec.Struct, frozen=True):
    """The unit `number` (from 1) `of` so many. The number 0 stands for all of them together."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, words: str) -> Unit:
        """The unit that is written as "2/4". Raises ValueError for anything else."""
        found = _WORDS.fullmatch(words)
        if found is None or int(found[1]) > int(found[2]):
            raise ValueError(f"a unit is written K/N, such as 2/4 for the second of four; {words!r} is none")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def named(cls, name: str) -> Unit:
        """The unit of a name."""
        return cls() if name == "0" else cls.parse(name.replace("-of-", "/"))

    @property
    def name(self) -> str:
        """What its checkpoint is called; that of the only unit has the name that it had before there were units."""
        if self.of == 1:
            return "0"
        return f"{self.number}-of-{self.of}" if self.number else f"all-of-{self.of}"

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def partitions(self, count: int) -> range:
        """Its partitions of a topic with `count` of them."""
        return range(self.number - 1, count, self.of) if self.number else range(count)

    def share(self, positions: Positions, count: int) -> Positions:
        """The positions in its partitions of topics with `count` of them."""
        own = {str(number) for number in self.partitions(count)}
        found = {topic: {n: text for n, text in texts.items() if n in own} for topic, texts in positions.items()}
        return {topic: texts for topic, texts in found.items() if texts}

    def next_batch(self, last: int) -> int:
        """The first batch number after `last` that is the unit's own."""
        return last + 1 + (max(self.number, 1) - 2 - last) % self.of


ONE = Unit()

LAYOUT = "units"


class Layout(msgspec.Struct, frozen=True):
    """How many units there are; `to` is how many there will be, while a change is on its way.

    `epoch` counts the changes. Each checkpoint has the epoch that it was made in, so whoever was asleep during later
    changes finds out before it touches anything."""

    of: int = 1
    to: int = 0
    epoch: int = 0


def layout(store: CheckpointStore) -> Layout:
    """How many units the checkpoints in a store are of."""
    return versioned_layout(store)[0]


def versioned_layout(store: CheckpointStore) -> tuple[Layout, str | None]:
    """The layout, and the version that `swap_layout` replaces."""
    found = store.load(LAYOUT)
    return (msgspec.json.decode(found[0], type=Layout), found[1]) if found else (Layout(), None)


def swap_layout(store: CheckpointStore, changed: Layout, version: str | None) -> str:
    """Replace the layout; returns its version. Raises `Conflict` when another process changed it since."""
    return store.swap(LAYOUT, msgspec.json.encode(changed), version)


def all_of(count: int) -> list[Unit]:
    """The units, when there are `count`."""
    return [Unit(number, count) for number in range(1, count + 1)]


def partition_numbers(visitors: pl.DataFrame, partitions: int) -> pl.DataFrame:
    """The distinct visitors (`site`, `visitor`) with the `partition` of each, of so many."""
    distinct = visitors.select("site", "visitor").unique(maintain_order=True)
    readable = distinct.select("site", hex16("visitor"))
    numbers = [partition_of(visitor_key(*row), partitions) for row in readable.iter_rows()]
    return distinct.with_columns(partition=pl.Series(numbers, dtype=pl.Int64))


def shared_out(frame: pl.DataFrame, units: list[Unit], partitions: int) -> list[pl.DataFrame]:
    """The rows of a frame with `site` and `visitor`, a frame for each unit."""
    numbers = partition_numbers(frame, partitions)
    return [
        frame.join(
            numbers.filter(pl.col("partition").is_in(list(unit.partitions(partitions)))),
            on=["site", "visitor"],
            how="semi",
        )
        for unit in units
    ]
