"""Event templates: the JSON of many events, put together by columns from texts that each depend on one thing only.

An imported event's fields come from its page (address, referrer, source), its visitor (agent, place) or its own line
(id, time). A `Template` knows which field comes from where. It takes the texts of a page's or a visitor's fields from
one event that the codec encoded, and joins them again in the order in which the struct declares its fields. So every
page and every visitor is enriched and encoded once, and the result is, byte for byte, what the codec would have made
of each event.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import NamedTuple

import msgspec
import polars as pl

_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class _Run(NamedTuple):
    """Fields that stand side by side and come from the same source; their text is in `column`."""

    source: str
    fields: tuple[str, ...]
    column: str


class Template:
    """The JSON of one struct type, in runs of fields that come from the same source."""

    def __init__(self, struct: type[msgspec.Struct], sources: Mapping[str, str], rest: str) -> None:
        """`sources` names the source of a field, by the field's name; all other fields come from `rest`.

        The first field must be required: it is always there, so every other one can follow a comma. Raises
        ValueError where it is not."""
        fields = msgspec.structs.fields(struct)
        if not fields[0].required:
            raise ValueError(f"the first field of {struct.__name__} may be absent: no template can begin with it")
        names = [field.encode_name for field in fields]
        self._prefixes = {name: f'{"," if number else "{"}"{name}":' for number, name in enumerate(names)}
        self._runs = [
            _Run(source, tuple(run), f"{struct.__name__} {number} of {source}")
            for number, (source, run) in enumerate(groupby(names, key=lambda name: sources.get(name, rest)))
        ]
        self._places: dict[str, dict[str, int]] = {}  # by source and field: which of the source's runs holds it
        for source in (rest, *sources.values()):
            runs = (run for run in self._runs if run.source == source)
            self._places[source] = {name: place for place, run in enumerate(runs) for name in run.fields}

    def columns(self, source: str) -> list[str]:
        """Name the columns that hold the texts of this source's runs, in the order of `texts`."""
        return [run.column for run in self._runs if run.source == source]

    def texts(self, source: str, encoded: bytes) -> list[str]:
        """Cut the runs of this source out of the JSON of one struct; a run of absent fields is ""."""
        texts = [""] * len(self.columns(source))
        places = self._places.get(source, {})
        for name, value in _fields_of(encoded).items():
            place = places.get(name)
            if place is not None:
                texts[place] += self._prefixes[name] + bytes(value).decode()
        return texts

    def json(self, values: Mapping[str, pl.Expr]) -> pl.Expr:
        """Return the expression that joins the JSON of a struct a row.

        `values` gives the fields that are none of the other sources': for each name, an expression of its JSON text.
        The other runs are read from the frame, from `columns`."""
        parts: list[pl.Expr] = []
        for run in self._runs:
            if all(name in values for name in run.fields):
                for name in run.fields:
                    parts += [pl.lit(self._prefixes[name]), values[name]]
            else:
                parts.append(pl.col(run.column))
        return pl.concat_str([*parts, pl.lit("}")])
