"""The laws of the wire: what goes in comes out, columns say what rows say, and a bad record is alone."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activity import codec, columns
from activity.columns import COLUMNS
from activity.event import Event, EventType

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
int64 = st.integers(-(2**63), 2**63 - 1)
small = st.integers(-(2**53), 2**53)
prop = st.none() | st.booleans() | small | text | st.floats(allow_nan=False, allow_infinity=False, width=32)
hexes = {16: st.integers(0, 2**64 - 1), 32: st.integers(0, 2**128 - 1)}
texts = ("site", "user", "url", "title", "term", "protocol")

events: st.SearchStrategy[Event] = st.builds(
    Event,
    v=st.just(1),
    id=hexes[32].map(lambda n: f"{n:032x}"),
    visitor=hexes[16].map(lambda n: f"{n:016x}"),
    type=st.sampled_from(EventType),
    occurred_at=int64,
    received_at=int64,
    sent_at=st.none() | int64,
    clamped=st.booleans(),
    interactive=st.booleans(),
    results=st.none() | int64,
    engaged_ms=int64,
    props=st.dictionaries(text, prop, max_size=3),
    **dict.fromkeys(texts, text),
)

GOOD = Event(
    v=1,
    id="00112233445566778899aabbccddeeff",
    site="example.com",
    type=EventType.PAGEVIEW,
    visitor="ffeeddccbbaa9988",
    occurred_at=1,
    received_at=2,
)
WIRE = codec.encode(GOOD)
BAD = [
    b"",
    b" ",
    b"\n",
    b"null",
    b"[]",
    b"{}",
    b"{",
    b"\xff\xfe",
    b"\0" * 40,
    WIRE[:-1],
    WIRE + WIRE,
    WIRE + b"\n" + WIRE,
    WIRE.replace(b'"v":1', b'"v":2'),
    WIRE.replace(b"pageview", b"page-view"),
    WIRE.replace(b"aabbcc", b"AABBCC"),
    WIRE.replace(b"aabbcc", b"aabbc"),
    WIRE.replace(b'"occurred_at":1', b'"occurred_at":"1"'),
    WIRE.replace(b'"occurred_at":1', b'"occurred_at":1.5'),
    WIRE.replace(b'"occurred_at":1', b'"occurred_at":99999999999999999999'),
    WIRE.replace(b'"site":"example.com",', b""),
    WIRE.replace(b"example.com", b"\\ud800"),
    WIRE.replace(b"example.com", b"\xff"),
    WIRE[:-1] + b',"props":[1]}',
]


def as_row(event: Event) -> dict[str, Any]:
    row = msgspec.structs.asdict(event)
    number = int(row.pop("id"), 16)
    row.pop("v")
    row["id_hi"], row["id_lo"] = number >> 64, number & (2**64 - 1)
    row["visitor"] = int(event.visitor, 16)
    row["type"] = event.type.value
    return row


def as_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return [{**row, "props": json.loads(row["props"])} for row in frame.drop("row").to_dicts()]


@given(events)
def test_decode_undoes_encode(event: Event) -> None:
    value = codec.encode(event)
    assert b"\n" not in value
    assert codec.decode(value) == event


@settings(max_examples=60, deadline=None)
@given(st.lists(events | st.sampled_from(BAD), max_size=12))
def test_columns_say_what_rows_say_and_bad_records_take_no_neighbour_along(items: list[Event | bytes]) -> None:
    values = [codec.encode(item) if isinstance(item, Event) else item for item in items]
    frame, bad = columns.decode(values)
    assert bad == [i for i, item in enumerate(items) if isinstance(item, bytes)]
    assert frame["row"].to_list() == [i for i, item in enumerate(items) if isinstance(item, Event)]
    assert dict(frame.schema) == {**COLUMNS, "row": pl.UInt32()}
    assert as_rows(frame) == [as_row(item) for item in items if isinstance(item, Event)]

    # What is bad by other columns alone may be taken for an event by its receipt.
    names = [*columns.RECEIPTS, "occurred_at", "user", "protocol"]
    received, still_bad = columns.receipts(values, names)
    assert set(still_bad) <= set(bad)
    assert sorted([*received["row"], *still_bad]) == list(range(len(values)))
    assert received.filter(pl.col("row").is_in(frame["row"].implode())).equals(frame.select(*names, "row"))


def test_a_number_too_large_for_its_column_takes_no_neighbour_along() -> None:
    too_large = WIRE.replace(b'"occurred_at":1,', b'"occurred_at":99999999999999999999,')
    assert too_large != WIRE
    for read in (columns.decode, lambda values: columns.receipts(values, ["occurred_at"])):
        frame, bad = read([WIRE, too_large])
        assert (frame["row"].to_list(), bad) == ([0], [1])


@pytest.mark.parametrize("value", BAD)
def test_what_is_no_event_says_why(value: bytes) -> None:
    with pytest.raises(codec.Undecodable) as caught:
        codec.decode(value)
    assert caught.value.reason


def test_a_record_may_hold_newlines_and_fields_of_a_newer_writer() -> None:
    pretty = json.dumps({**json.loads(WIRE), "since_tomorrow": {"a": [1]}}, indent=2).encode()
    frame, bad = columns.decode([WIRE, pretty, WIRE])
    assert (frame.height, bad) == (3, [])
    assert codec.decode(pretty) == GOOD


@pytest.mark.parametrize(
    ("values", "events"),
    [
        ([WIRE, WIRE + b"\n" + WIRE, b"", WIRE], [0, 3]),
        ([b"", WIRE + b"\n" + WIRE], []),
        ([WIRE + b"\n" + WIRE, b" "], []),
        ([WIRE[:7], WIRE[7:] + b"\n" + WIRE], []),
    ],
    ids=["in the middle", "at the start", "at the end", "half a record"],
)
def test_a_newline_too_many_does_not_shift_the_rows(values: list[bytes], events: list[int]) -> None:
    """Two records in one and a blank one or a torn one: as many events as records, and yet not one a record."""
    frame, bad = columns.decode(values)
    assert frame["row"].to_list() == events
    assert bad == [index for index in range(len(values)) if index not in events]


def test_an_empty_batch_has_the_columns_too() -> None:
    frame, bad = columns.decode([])
    assert (list(frame.columns), frame.height, bad) == ([*COLUMNS, "row"], 0, [])
