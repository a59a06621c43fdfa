"""Events of lines as columns: what several have in common stands once, see `activity.blocks`.

Events that are made a line at a time are collected by `Together`; `events` has the columns of its requests already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
import polars as pl

from activity import blocks
from activity.blocks import ABSENT, BLOCK_COLUMNS, Block
from activity.columns import from_hex
from activity.event import Event, EventType, derived_id, topic_of
from ingest.logs.batch import Accepted, InColumns

Fields = tuple[Any, ...]  # of an event, as columns have them

_T = TypeVar("_T")
_encode = msgspec.json.Encoder().encode
_ALONE = ("id_hi", "id_lo", "visitor", "user", "occurred_at")
_AS_TEXT: dict[str, Callable[[Any], str]] = {"type": attrgetter("value"), "props": lambda its: _encode(its).decode()}
_IN_COMMON = tuple(name for name in BLOCK_COLUMNS if name not in _ALONE)


def fields_of(names: Sequence[str]) -> Callable[[Event], Fields]:
    """Return what gives these fields of an event, as columns have them."""
    plain = attrgetter(*names)
    own = {names.index(name): text for name, text in _AS_TEXT.items() if name in names}

    def fields(event: Event) -> Fields:
        values = list(plain(event))
        for place, text in own.items():
            values[place] = text(values[place])
        return tuple(values)

    return fields


_common_fields = fields_of(_IN_COMMON)


class Common(NamedTuple):
    """What a line's events may have in common with others: all but who did it and when, and the id."""

    topic: str
    fields: Fields  # `_IN_COMMON`
    search: Fields | None  # of the search that follows from it, None where none does
    is_bot: bool


def common_of(made: Sequence[Event]) -> Common:
    """Return what others may share of the events that `enrich` made of one."""
    first, *search = made
    its_search = _common_fields(search[0]) if search else None
    return Common(topic_of(first.type), _common_fields(first), its_search, bool(first.bot))


class Together:
    """The events of a batch's lines, collected a line at a time."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._times: list[int] = []
        self._people: dict[tuple[str, str], int] = {}
        self._person: list[int] = []
        self._commons: list[Common] = []
        self._same: dict[Common, Common] = {}

    def add(self, event_id: str, visitor: str, user: str, at: int, common: Common) -> None:
        """Add a line by its own event's id (32 hex digits), visitor (16), user and time (milliseconds UTC). Lines that
        have `common` in common share the object."""
        self._ids.append(event_id)
        self._times.append(at)
        self._person.append(self._people.setdefault((visitor, user), len(self._people)))
        self._commons.append(common)

    def add_made(self, made: Sequence[Event]) -> None:
        """Add a line of which `enrich` made these events."""
        first, common = made[0], common_of(made)
        self.add(first.id, first.visitor, first.user, first.occurred_at, self._same.setdefault(common, common))

    def accepted(self) -> Accepted:
        """Return the lines and their events."""
        if not self._ids:
            return Accepted()
        visitors, users = zip(*self._people, strict=True)
        accepted = Accepted(
            self._ids, [visitors[person] for person in self._person], [common.is_bot for common in self._commons]
        )
        people = pl.DataFrame({"visitor": visitors, "user": users} if any(users) else {"visitor": visitors})
        indexes, commons = numbered(self._commons)
        rows = pl.DataFrame(
            [
                pl.Series("occurred_at", self._times, dtype=pl.Int64),
                pl.Series("_visitor", self._person, dtype=pl.UInt32),
                indexes.alias("_common"),
            ]
        )
        topics = pl.Series([common.topic for common in commons]).gather(indexes)
        own = {"_common": table(_IN_COMMON, [common.fields for common in commons]), "_visitor": people}
        for topic in topics.unique(maintain_order=True).to_list():
            lines = (topics == topic).arg_true().to_list()
            accepted.in_columns.append(in_columns(topic, lines, [self._ids[line] for line in lines], rows, own))
        lines = pl.Series([common.search is not None for common in commons]).gather(indexes).arg_true().to_list()
        if lines:
            found = own | {"_common": table(_IN_COMMON, [common.search or common.fields for common in commons])}
            accepted.in_columns.append(searches(lines, self._ids, rows, found))
        return accepted


def searches(
    lines: list[int], ids: Sequence[str], rows: pl.DataFrame, tables: Mapping[str, pl.DataFrame]
) -> InColumns:
    """Return the searches that follow from the events of some lines, as `in_columns` does; `ids` are those of all
    lines' own events."""
    derived = [derived_id(ids[line], "search") for line in lines]
    return in_columns(topic_of(EventType.SEARCH), lines, derived, rows, tables)


def in_columns(
    topic: str, lines: list[int], ids: Sequence[str], rows: pl.DataFrame, tables: Mapping[str, pl.DataFrame]
) -> InColumns:
    """Return events of some lines (ascending), to a topic.

    `ids` has the id of each (32 hex digits); `rows`, with a row for every line there is, and `tables` have what else
    the events are made of, as `Block` has it."""
    block = Block(rows, tables, rows.height)
    if len(lines) < rows.height:
        block = block.take(np.array(lines))
    numbers = pl.select(id=pl.Series(ids)).select(id_hi=from_hex("id"), id_lo=from_hex("id", 16))
    return InColumns(topic, lines, blocks.pack(block._replace(rows=numbers.hstack(block.rows))))


def table(names: Sequence[str], rows: Sequence[Fields]) -> pl.DataFrame:
    """Return the columns in which not all rows have the default."""
    columns = zip(names, zip(*rows, strict=True), strict=True)
    return pl.DataFrame(
        [
            pl.Series(name, column, dtype=BLOCK_COLUMNS[name])
            for name, column in columns
            if name not in ABSENT or column.count(ABSENT[name]) < len(column)
        ]
    )


def numbered(values: Sequence[_T], indexes: pl.Series | None = None) -> tuple[pl.Series, list[_T]]:
    """Return for each of the values (or those at `indexes`) a number, and the values by these: equal numbers are those
    of one object."""
    places: dict[int, int] = {}
    numbers = pl.Series([places.setdefault(id(value), len(places)) for value in values], dtype=pl.UInt32)
    distinct = list({id(value): value for value in values}.values())
    return numbers if indexes is None else numbers.gather(indexes), distinct
