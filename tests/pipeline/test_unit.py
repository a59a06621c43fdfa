"""The arithmetic of units: partitions are shared out without overlap, and so are batch numbers and visitors."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity.event import visitor_key
from brokers.routing import partition_of
from pipeline.unit import ONE, Unit, all_of, shared_out

COUNTS = st.integers(1, 40)


@given(COUNTS, COUNTS)
def test_each_partition_is_of_one_unit(of: int, partitions: int) -> None:
    taken = [number for unit in all_of(of) for number in unit.partitions(partitions)]
    assert sorted(taken) == list(range(partitions)) == list(Unit(0, of).partitions(partitions))


@given(COUNTS, st.lists(st.tuples(st.integers(0, 39), st.booleans()), max_size=60))
def test_no_batch_number_is_used_twice_and_one_of_all_units_is_above_all_others(
    of: int, turns: list[tuple[int, bool]]
) -> None:
    units = all_of(of)
    last = dict.fromkeys(units, 0)
    used: list[int] = []
    for number, rebuild in turns:
        unit = units[number % of]
        if rebuild:  # as `rebuild.leased` does of all units
            batch = Unit(0, of).next_batch(max(last.values()))
            assert batch > max(used, default=0)
            last = dict.fromkeys(units, batch)
        else:
            batch = unit.next_batch(last[unit])
            assert batch > last[unit]
            last[unit] = batch
        used.append(batch)
    assert len(used) == len(set(used))


@given(st.integers(0, 10**9))
def test_the_only_unit_counts_on_by_one(last: int) -> None:
    assert ONE.next_batch(last) == last + 1


@given(COUNTS, st.integers(1, 12), st.lists(st.integers(0, 2**64 - 1), max_size=30))
def test_a_visitor_is_of_the_unit_whose_partition_its_records_are_in(
    of: int, partitions: int, visitors: list[int]
) -> None:
    rows = pl.DataFrame(
        {"site": ["a.example"] * len(visitors), "visitor": visitors}, schema={"site": pl.String, "visitor": pl.UInt64}
    )
    shares = shared_out(rows, all_of(of), partitions)
    assert sum(share.height for share in shares) == len(visitors)
    for unit, share in zip(all_of(of), shares, strict=True):
        for site, visitor in share.iter_rows():
            assert partition_of(visitor_key(site, f"{visitor:016x}"), partitions) in unit.partitions(partitions)


@given(COUNTS)
def test_a_unit_is_found_by_its_name_and_by_its_words(of: int) -> None:
    for unit in all_of(of):
        assert Unit.named(unit.name) == Unit.parse(str(unit)) == unit


@pytest.mark.parametrize("words", ["", "2", "0/4", "5/4", "2/0", "a/b", "2/4/8", "-1/4", " 1/2"])
def test_what_is_no_unit_is_refused_in_words(words: str) -> None:
    with pytest.raises(ValueError, match="a unit is written K/N"):
        Unit.parse(words)
