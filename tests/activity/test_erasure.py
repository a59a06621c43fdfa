"""Laws of forgetting: what a tombstone covers, compared with a plain loop over the events."""

from __future__ import annotations

from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from activity.columns import COLUMNS
from activity.erasure import NEEDED, Erasures, Tombstone, hashed_letter, hashed_user

SITES, USERS = st.sampled_from(["a.example", "b.example"]), st.sampled_from(["", "ann", "bo\0b", "ünal"])
TIMES = st.integers(0, 6)
VISITORS = st.sampled_from([0, 1, 2**64 - 1])
EVENTS = st.lists(
    st.fixed_dictionaries(
        {"site": SITES, "visitor": VISITORS, "user": USERS, "received_at": TIMES, "occurred_at": TIMES,
         "protocol": st.sampled_from(["footfall", "import"])}
    ),
    max_size=12,
)  # fmt: skip
OF_VISITOR = st.builds(Tombstone, st.just(1), SITES, TIMES, VISITORS.map(lambda number: f"{number:016x}"))
OF_USER = st.builds(
    lambda site, before, user: Tombstone(2, site, before, user=hashed_user(site, user)),
    SITES, TIMES, USERS.filter(bool),
)  # fmt: skip
ERASURES = st.lists(OF_VISITOR | OF_USER, max_size=5).map(lambda found: Erasures(tuple(found)))


def frame(events: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(events, schema={name: COLUMNS[name] for name in NEEDED})


def is_covered(event: dict[str, Any], tombstone: Tombstone) -> bool:
    times = [event["received_at"]] + ([event["occurred_at"]] if event["protocol"] == "import" else [])
    whose = f"{event['visitor']:016x}" == tombstone.visitor or (
        event["user"] != "" and hashed_user(event["site"], event["user"]) == tombstone.user
    )
    return whose and event["site"] == tombstone.site and min(times) < tombstone.received_before


@given(EVENTS, ERASURES)
def test_an_event_is_covered_by_the_tombstone_of_its_visitor_or_user(
    events: list[dict[str, Any]], erasures: Erasures
) -> None:
    wanted = [any(is_covered(event, each) for each in erasures.tombstones) for event in events]
    assert erasures.covered(frame(events)).to_list() == wanted
    kept = [event for event, gone in zip(events, wanted, strict=True) if not gone]
    assert erasures.kept(frame(events)).rows(named=True) == kept


@given(EVENTS, ERASURES, ERASURES)
def test_erasing_again_and_in_another_order_is_the_same(
    events: list[dict[str, Any]], first: Erasures, second: Erasures
) -> None:
    once = first.kept(frame(events))
    assert first.kept(once).equals(once)
    both = Erasures((*first.tombstones, *second.tombstones))
    assert second.kept(once).equals(first.kept(second.kept(frame(events))))
    assert second.kept(once).equals(both.kept(frame(events)))


@given(EVENTS, ERASURES)
def test_texts_as_ids_are_covered_alike(events: list[dict[str, Any]], erasures: Erasures) -> None:
    plain = frame(events)
    ids = plain.with_columns(pl.col("site", "protocol").cast(pl.Categorical))
    assert erasures.covered(ids).to_list() == erasures.covered(plain).to_list()


def test_a_tombstone_has_no_user_in_it() -> None:
    assert "ann@a.example" not in repr(Tombstone(1, "a.example", 7, user=hashed_user("a.example", "ann@a.example")))
    assert hashed_user("a.example", "ann") != hashed_user("b.example", "ann")


def test_a_letter_is_known_by_all_of_it() -> None:
    letter = (7, "/collect", "malformed", b"{\xff")
    others = [(8, *letter[1:]), (7, "", *letter[2:]), (*letter[:2], "", letter[3]), (*letter[:3], b"{")]
    assert hashed_letter(*letter) not in {hashed_letter(*each) for each in others}
    assert Erasures((Tombstone(1, "a.example", 9, letter=hashed_letter(*letter)),)).letters == {hashed_letter(*letter)}
