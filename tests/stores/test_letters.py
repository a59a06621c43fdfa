"""Dead letters as they are found, and the deeds to them."""

from __future__ import annotations

import polars as pl
import pytest

from activity.refusal import letter_id
from stores.letters import Filter, Letters, received_at
from stores.warehouse import Warehouse

AT = 1_760_000_000_000


@pytest.fixture
def letters(warehouse: Warehouse) -> Letters:
    for table in ("dead_letter_rows", "letter_deeds"):
        warehouse.command(f"TRUNCATE TABLE {table}")
    rows = [
        {
            "received_at": AT + number,
            "topic": "/collect",
            "reason": "malformed" if number % 2 else "missing_field",
            "bytes": b"\xff" if number == 3 else f"{number}".encode(),
            "batch": 1,
            "id": letter_id(AT + number, f"{number:016x}"),
            "site": "a.example" if number < 3 else "",
            "sender": "{}",
        }
        for number in range(5)
    ]
    warehouse.insert("dead_letter_rows", pl.DataFrame(rows), f"{AT}")
    return Letters(warehouse)


def numbers(letters: Letters, limit: int = 10, **wanted: object) -> list[int]:
    return [letter.received_at - AT for letter in letters.find(Filter(**wanted), limit)]  # type: ignore[arg-type]


def test_letters_are_found_newest_first_and_by_what_they_are(letters: Letters) -> None:
    assert numbers(letters) == [4, 3, 2, 1, 0]
    assert numbers(letters, reason="mal") == [3, 1]
    assert numbers(letters, site="a.example") == [2, 1, 0]
    assert numbers(letters, site="-") == [4, 3]
    assert numbers(letters, from_ms=AT + 1, to_ms=AT + 3) == [2, 1]
    assert numbers(letters, ids=(letter_id(AT + 2, f"{2:016x}"), letter_id(AT, f"{9:016x}"))) == [2]


def test_pages_follow_each_other(letters: Letters) -> None:
    first = letters.find(Filter(), 2)
    second = letters.find(Filter(), 3, (first[-1].received_at, first[-1].id))
    assert [each.received_at - AT for each in (*first, *second)] == [4, 3, 2, 1, 0]
    assert [each.received for each in second] == [b"2", b"1", b"0"]
    assert first[1].received == b"\xff"


def test_what_was_replayed_stays_so_whatever_is_noted_afterwards(letters: Letters) -> None:
    one = letter_id(AT + 1, f"{1:016x}")
    letters.note("replayed", [(one, b"sent")], AT + 10)
    letters.note("edited", [(one, b"too late")], AT + 20)
    assert 1 not in numbers(letters)
    [found] = letters.find(Filter(ids=(one,), all=True), 1)
    assert (found.deed, found.deed_at, found.left) == ("replayed", AT + 10, b"sent")


def test_the_last_deed_tells_how_a_letter_stands(letters: Letters) -> None:
    one, two, three = (letter_id(AT + number, f"{number:016x}") for number in (1, 2, 3))
    letters.note("edited", [(one, b"\xfe"), (two, b"mended")], AT + 10)
    assert numbers(letters) == [4, 3, 2, 1, 0]
    letters.note("replayed", [(two, b"mended")], AT + 20)
    letters.note("discarded", [(three, b"3")], AT + 20)
    letters.note("discarded", [], AT + 20)
    assert numbers(letters) == [4, 1, 0]
    assert numbers(letters, all=True) == [4, 3, 2, 1, 0]
    letters.note("edited", [(three, b"after all")], AT + 30)
    assert numbers(letters) == [4, 3, 1, 0]
    found = {letter.id: letter for letter in letters.find(Filter(all=True), 10)}
    assert (found[one].deed, found[one].current, found[one].received) == ("edited", b"\xfe", b"1")
    assert (found[two].deed, found[two].deed_at, found[two].current) == ("replayed", AT + 20, b"mended")
    assert found[three].current == b"after all"


def test_rows_of_the_former_schema_have_an_id_that_stays(warehouse: Warehouse, letters: Letters) -> None:
    old = {"received_at": [AT - 1] * 3, "topic": ["import"] * 3, "reason": ["r"] * 3, "batch": [1] * 3}
    warehouse.insert("dead_letter_rows", pl.DataFrame(old | {"bytes": [b"\xff", b"same", b"same"]}), "old")
    found = letters.find(Filter(to_ms=AT), 10)
    assert sorted(each.received for each in found) == [b"same", b"\xff"]  # what cannot be told apart is one letter
    for each in found:
        assert received_at(each.id) == AT - 1
        assert letters.find(Filter(ids=(each.id,)), 1) == [each]
    letters.note("discarded", [(found[0].id, b"")], AT)
    assert [each.id for each in letters.find(Filter(to_ms=AT), 10)] == [found[1].id]
    assert warehouse.query("SELECT count() FROM dead_letters").item() == 8


def test_a_letter_that_was_stored_twice_is_one(warehouse: Warehouse, letters: Letters) -> None:
    row = {"received_at": [AT], "topic": ["/collect"], "reason": ["r"], "bytes": [b"0"], "batch": [2]}
    warehouse.insert("dead_letter_rows", pl.DataFrame(row | {"id": [letter_id(AT, "0" * 16)]}), "again")
    assert numbers(letters) == [4, 3, 2, 1, 0]


@pytest.mark.parametrize("text", ["", "x" * 28, "0" * 27])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not the id of a dead letter"):
        received_at(text)
