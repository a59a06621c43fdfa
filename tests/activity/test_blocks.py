"""A block of events is another notation of the wire's records: it says what they say, in whole and in part."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activity import blocks, codec, columns
from activity.blocks import BLOCK_COLUMNS, Block, Unreadable
from activity.event import Event, visitor_key
from tests.activity.test_codec import GOOD, events, text
from tests.blocks import block_of

SHARED = [name for name in BLOCK_COLUMNS if name not in ("id_hi", "id_lo")]
TABLES = st.permutations(SHARED).flatmap(
    lambda names: st.tuples(st.integers(0, 8), st.integers(8, 20)).map(
        lambda cuts: {"_a": names[: cuts[0]], "_b": names[cuts[0] : cuts[1]]}
    )
)
# Few texts, so that rows of tables are shared, and such as JSON escapes.
SOME = st.sampled_from(["", "a", 'a"b', "a\\b", "\n", "\x1f\x7f", "é\u2028", "1"]) | text
ALIKE = st.builds(lambda event, url, term: msgspec.structs.replace(event, url=url, term=term), events, SOME, SOME)
EVENTS = st.lists(ALIKE, max_size=6)


def wire(found: list[Event]) -> list[bytes]:
    return [codec.encode(event) for event in found]


@settings(max_examples=60, deadline=None)
@given(EVENTS, TABLES)
def test_a_block_says_what_the_records_say(found: list[Event], tables: dict[str, list[str]]) -> None:
    block = block_of(found, tables)
    assert blocks.values(block) == wire(found)
    assert blocks.keys(block) == [visitor_key(event.site, event.visitor) for event in found]
    expected, bad = columns.decode(wire(found))
    assert not bad
    frame = blocks.frame(block)
    assert columns.as_texts(frame).equals(expected)
    assert all(frame[name].dtype == pl.Categorical for name in columns.REPEATING)


@settings(max_examples=60, deadline=None)
@given(EVENTS, TABLES, st.data())
def test_a_part_of_a_block_has_the_records_of_that_part_and_no_text_of_others(
    found: list[Event], tables: dict[str, list[str]], data: st.DataObject
) -> None:
    block = block_of(found, tables)
    packed = blocks.pack(block)
    assert packed[:1] in {bytes([0x80 | size]) for size in range(16)}  # no list of records begins so
    again = blocks.unpack(packed)
    assert blocks.values(again) == wire(found)
    rows = data.draw(st.lists(st.sampled_from(range(len(found))), unique=True) if found else st.just([]))
    taken = again.take(np.array(rows, np.uint32))
    assert blocks.values(taken) == [wire(found)[row] for row in rows]
    assert taken.size == len(rows)
    left = blocks.unpack(blocks.pack(again.without(rows)))
    places = [place for place in range(len(found)) if place not in rows]
    assert (left.size, left.places().to_list()) == (len(found), places)
    assert blocks.values(left) == [wire(found)[place] for place in places]
    assert blocks.frame(left)["row"].to_list() == places
    start, stop = data.draw(st.tuples(st.integers(0, 6), st.integers(0, 6)).map(sorted))
    cut = left.between(start, stop)
    assert cut.size == max(min(stop, len(found)) - start, 0)
    assert blocks.values(cut) == [wire(found)[place] for place in places if start <= place < stop]
    assert cut.places().to_list() == [place - start for place in places if start <= place < stop]


def test_nothing_that_only_the_erased_had_is_left() -> None:
    gone = msgspec.structs.replace(GOOD, visitor="0123456789abcdef", url="https://example.com/secret", country="AQ")
    block = block_of([GOOD, gone], {"_page": ["url"], "_visitor": ["visitor", "country"]})
    assert all(text in blocks.pack(block) for text in (b"secret", b"0123456789abcdef", b"AQ"))
    left = blocks.pack(block.without([1]))
    assert not any(text in left for text in (b"secret", b"0123456789abcdef", b"AQ"))
    assert GOOD.visitor.encode() in left


def test_what_is_no_block_is_told_from_one() -> None:
    packed = blocks.pack(block_of([GOOD]))
    newer = msgspec.msgpack.encode(msgspec.msgpack.decode(packed) | {"version": 2})
    with pytest.raises(Unreadable, match="newer Footfall"):
        blocks.unpack(newer)
    for broken in (b"", b"\x80", packed[:-1], packed[: len(packed) // 2], msgspec.msgpack.encode({"version": 1})):
        with pytest.raises(Unreadable):
            blocks.unpack(broken)
    assert isinstance(blocks.unpack(packed), Block)


def test_no_text_is_kept_once_its_frame_is_gone() -> None:
    """In a process of its own, as other tests keep frames."""
    script = """
import polars as pl
from activity import blocks
rows = pl.DataFrame({"id_hi": [1], "id_lo": [2], "occurred_at": [3], "received_at": [4], "type": ["pageview"],
                     "visitor": ["0123456789abcdef"], "site": ["a.example"], "utm_campaign": ["kept?"]})
frame = blocks.frame(blocks.Block(rows, {}, 1))
assert frame["utm_campaign"].to_list() == ["kept?"]
del frame
print(pl.Series(["first"], dtype=pl.Categorical).to_physical()[0])
"""
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "0\n"


def test_the_size_as_json_is_about_right() -> None:
    long = msgspec.structs.replace(GOOD, url="https://example.com/" + "x" * 5_000)
    for found in ([GOOD] * 50, [long] * 50, [GOOD, long] * 20):
        block = block_of(found, {"_page": ["url"]})
        size = sum(map(len, wire(found)))
        assert size / 2 <= block.json_bytes() <= 2 * size
