"""Laws of a position: it compares as its order does, whatever the incarnation, and survives being written down."""

from __future__ import annotations

import operator
import pickle
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.base import Position

ORDERS = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple)
INCARNATIONS = st.sampled_from(["", "a", "b-1.2"])
POSITIONS = st.builds(Position, ORDERS, INCARNATIONS)


@pytest.mark.parametrize("compare", [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge])
@given(one=POSITIONS, other=POSITIONS)
def test_positions_compare_as_their_orders_do(
    compare: Callable[[object, object], bool], one: Position, other: Position
) -> None:
    assert compare(one, other) is compare(one.order, other.order)


@given(one=POSITIONS, other=POSITIONS)
def test_equal_positions_are_one_key(one: Position, other: Position) -> None:
    assert ({one: 1}.get(other) == 1) == (one == other)


def test_a_position_is_never_equal_to_something_else() -> None:
    assert Position((1,)) != (1,)


@given(POSITIONS)
def test_a_position_survives_being_written_down_and_sent_to_another_process(position: Position) -> None:
    for again in (Position.parse(str(position)), pickle.loads(pickle.dumps(position))):
        assert (again.order, again.incarnation) == (position.order, position.incarnation)
