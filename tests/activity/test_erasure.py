"""Laws of forgetting: what a tombstone covers, compared with a plain loop over the events."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote, quote_plus

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from activity.columns import COLUMNS
from activity.definitions import DAY_MS, kept_since
from activity.erasure import NEEDED, Erasures, Expiry, Tombstone, hashed_user

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
OF_SITE = st.builds(Expiry, st.integers(1, 3), SITES, TIMES)
ERASURES = st.builds(
    lambda found, expiries: Erasures(tuple(found)).joined(Erasures((), tuple(expiries))),
    st.lists(OF_VISITOR | OF_USER, max_size=5), st.lists(OF_SITE, max_size=3),
)  # fmt: skip


def frame(events: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(events, schema={name: COLUMNS[name] for name in NEEDED})


def is_covered(event: dict[str, Any], tombstone: Tombstone) -> bool:
    times = [event["received_at"]] + ([event["occurred_at"]] if event["protocol"] == "import" else [])
    whose = f"{event['visitor']:016x}" == tombstone.visitor or (
        event["user"] != "" and hashed_user(event["site"], event["user"]) == tombstone.user
    )
    return whose and event["site"] == tombstone.site and min(times) < tombstone.received_before


def has_expired(event: dict[str, Any], erasures: Erasures) -> bool:
    return any(each.site == event["site"] and event["occurred_at"] < each.occurred_before for each in erasures.expiries)


@given(EVENTS, ERASURES)
def test_an_event_is_covered_by_the_tombstone_of_its_visitor_or_user(
    events: list[dict[str, Any]], erasures: Erasures
) -> None:
    wanted = [
        any(is_covered(event, each) for each in erasures.tombstones) or has_expired(event, erasures) for event in events
    ]
    assert erasures.covered(frame(events)).to_list() == wanted
    kept = [event for event, gone in zip(events, wanted, strict=True) if not gone]
    assert erasures.kept(frame(events)).rows(named=True) == kept


@given(EVENTS, ERASURES, ERASURES)
def test_erasing_again_and_in_another_order_is_the_same(
    events: list[dict[str, Any]], first: Erasures, second: Erasures
) -> None:
    once = first.kept(frame(events))
    assert first.kept(once).equals(once)
    both = first.joined(second)
    assert both.joined(second) == both.joined(first) == both
    assert second.kept(once).equals(first.kept(second.kept(frame(events))))
    assert second.kept(once).equals(both.kept(frame(events)))


@given(EVENTS, ERASURES)
def test_texts_as_ids_are_covered_alike(events: list[dict[str, Any]], erasures: Erasures) -> None:
    plain = frame(events)
    ids = plain.with_columns(pl.col("site", "protocol").cast(pl.Categorical))
    assert erasures.covered(ids).to_list() == erasures.covered(plain).to_list()


@given(EVENTS, ERASURES)
def test_what_has_expired_is_covered_by_its_site_and_time(events: list[dict[str, Any]], erasures: Erasures) -> None:
    assert erasures.expired(frame(events)).to_list() == [has_expired(event, erasures) for event in events]
    for event, gone in zip(events, erasures.covered(frame(events)), strict=True):
        assert not gone or erasures.concerns(event["site"], event["occurred_at"])
        letter = erasures.covers(event["site"], "", event["occurred_at"])
        assert letter == has_expired(event, erasures)


@given(st.lists(OF_SITE, max_size=8))
def test_a_site_has_one_tombstone_which_only_moves_on(expiries: list[Expiry]) -> None:
    joined, epochs = Erasures(), [0]
    for epoch, each in enumerate(expiries, 1):
        before = joined
        # As it is done: it reaches as far as the former one at least, and has the next number.
        reach = max(each.occurred_before, before.expired_before(each.site))
        joined = before.joined(Erasures((), (Expiry(epoch, each.site, reach),)))
        epochs.append(joined.epoch)
        assert all(joined.expired_before(of.site) >= of.occurred_before for of in before.expiries)
    assert len({each.site for each in joined.expiries}) == len(joined.expiries) <= 2
    assert epochs == list(range(len(expiries) + 1))


@given(st.integers(0, 10**13), st.integers(1, 10_000))
def test_whole_days_are_kept_beside_the_one_that_runs(now: int, days: int) -> None:
    kept = now - kept_since(now, days)
    assert days * DAY_MS <= kept < (days + 1) * DAY_MS and kept_since(now, days) % DAY_MS == 0


def test_a_tombstone_has_no_user_in_it() -> None:
    assert "ann@a.example" not in repr(Tombstone(1, "a.example", 7, user=hashed_user("a.example", "ann@a.example")))
    assert hashed_user("a.example", "ann") != hashed_user("b.example", "ann")


ODD = ["ann@a.example", "a+b@x.example", 'an"n', "zo\u00eb\\", "100%", "a b"]
NAMES = st.text(min_size=1, max_size=6) | st.sampled_from(ODD)
AROUND = st.binary(max_size=8)


@given(NAMES, AROUND, AROUND, st.sampled_from(["json", "escaped", "slashes", "quoted", "plus", "lower"]))
def test_a_text_names_a_user_however_it_was_spelt(user: str, before: bytes, after: bytes, spelling: str) -> None:
    spelt = {
        "json": json.dumps(user, ensure_ascii=False),
        "escaped": json.dumps(user),
        "slashes": json.dumps(user).replace("/", "\\/"),
        "quoted": f"user={quote(user, safe='')}&",
        "plus": f"user={quote_plus(user)}&",
        "lower": "user=" + re.sub("%..", lambda found: found[0].lower(), quote(user, safe="")) + "&",
    }[spelling]
    text = before.rstrip(b"\\") + spelt.encode("utf-8", "replace") + after
    forgotten = Erasures((Tombstone(1, "a.example", 5, user=hashed_user("a.example", user)),))
    assert forgotten.named("a.example", [text], 4)
    assert forgotten.named("", [text], 4)
    assert not forgotten.named("b.example", [text], 4)
    assert not forgotten.named("a.example", [text], 5)


@given(AROUND, AROUND, st.integers(1, 2**64 - 1).map(lambda number: f"{number:016x}"))
def test_a_text_names_a_visitor_by_the_id(before: bytes, after: bytes, visitor: str) -> None:
    forgotten = Erasures((Tombstone(1, "a.example", 5, visitor),))
    assert forgotten.named("a.example", [b"", before + visitor.encode() + after], 4)
    assert not forgotten.named("a.example", [before, visitor.upper().replace("A", "-").encode()[:15]], 4)
