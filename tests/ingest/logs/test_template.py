"""A template joins texts to the very JSON of the struct, whatever the order of its fields."""

from __future__ import annotations

from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.logs.template import Template

NAMES = [f"field_{number}" for number in range(6)]
SOURCES = ("page", "agent", "line")
TEXTS = st.one_of(st.just(""), st.text(st.characters(exclude_categories=["Cs"]), max_size=8))


def struct_of(names: list[str]) -> type[msgspec.Struct]:
    """A struct of texts with the fields in this order, the first of them required."""
    first, *others = names
    fields: list[Any] = [(first, str), *((name, str, "") for name in others)]
    return msgspec.defstruct("Sample", fields, omit_defaults=True, kw_only=True)


@given(
    st.permutations(NAMES),
    st.lists(st.sampled_from(SOURCES), min_size=len(NAMES), max_size=len(NAMES)),
    st.lists(st.lists(TEXTS, min_size=len(NAMES), max_size=len(NAMES)), min_size=1, max_size=4),
)
@settings(max_examples=100, deadline=None)
def test_joined_texts_are_what_the_encoder_gives(names: list[str], chosen: list[str], rows: list[list[str]]) -> None:
    struct = struct_of(names)
    sources = dict(zip(names, chosen, strict=True))
    template = Template(struct, sources, rest="page")
    lines = [name for name in names if sources[name] == "line"]
    structs = []
    columns: dict[str, list[str]] = {name: [] for source in SOURCES[:2] for name in template.columns(source)}
    columns |= {name: [] for name in lines}
    for row in rows:
        # A text of the line is never left out, as an id or a time is not.
        texts = {name: text or "x" * (name in lines) for name, text in zip(names, row, strict=True)}
        structs.append(struct(**texts))
        # What the texts of one source are cut from differs in everything else.
        for source in SOURCES[:2]:
            other = struct(**{name: text if sources[name] == source else "other" for name, text in texts.items()})
            cut = template.texts(source, msgspec.json.encode(other))
            for name, text in zip(template.columns(source), cut, strict=True):
                columns[name].append(text)
        for name in lines:
            columns[name].append(msgspec.json.encode(texts[name]).decode())
    frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    joined = frame.select(template.json({name: pl.col(name) for name in lines})).to_series().to_list()
    assert [text.encode() for text in joined] == [msgspec.json.encode(one) for one in structs]


def test_a_template_cannot_begin_with_a_field_that_may_be_absent() -> None:
    absent = msgspec.defstruct("Absent", [("first", str, "")], omit_defaults=True)
    with pytest.raises(ValueError, match="the first field of Absent"):
        Template(absent, {}, rest="page")
