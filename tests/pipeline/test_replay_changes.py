"""What a replay says of sessions that are not as they should be: how many, and an example of each kind."""

from __future__ import annotations

from collections import Counter
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activity import session
from activity.definitions import DAY_MS
from pipeline.replay import changes, compare, driver
from pipeline.replay.journal import Journal, JournalKeeper, Task
from tests.pipeline.test_live import expected, same
from tests.pipeline.test_replay import loaded, run
from tests.pipeline.world import T0, World

BLANK: dict[str, Any] = {
    name: "" if kind == pl.String() else False if kind == pl.Boolean() else 0 for name, kind in session.COLUMNS.items()
}
Key = tuple[str, int, int]


def row(key: Key, views: int, page: str) -> dict[str, Any]:
    site, visitor, number = key
    at = T0 + number * 9 * 3_600_000
    told = {"site": site, "visitor": visitor, "session_id": number, "started_at": at, "ended_at": at + 1}
    return BLANK | told | {"pageviews": views, "entry_page": page}


def frame(rows: dict[Key, tuple[int, str]]) -> pl.DataFrame:
    return pl.DataFrame([row(key, *fields) for key, fields in rows.items()], schema=session.COLUMNS)


KEYS = st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 2), st.integers(0, 4))
SESSIONS = st.dictionaries(KEYS, st.tuples(st.integers(1, 2), st.sampled_from(["/", "/x"])), max_size=12)


@given(SESSIONS, SESSIONS)
@settings(deadline=None)
def test_added_removed_and_changed_are_those_that_a_comparison_one_by_one_finds(
    before: dict[Key, tuple[int, str]], after: dict[Key, tuple[int, str]]
) -> None:
    stored, rebuilt = frame(before), frame(after)
    found = changes.by_day(stored, session.difference(stored, rebuilt))
    counts: Counter[tuple[str, int, str]] = Counter()
    for key in before.keys() | after.keys():
        if before.get(key) != after.get(key):
            kind = "added" if key not in before else "removed" if key not in after else "changed"
            counts[key[0], row(key, 1, "")["started_at"] // DAY_MS, kind] += 1
    assert {(*day, kind): of_day[kind] for day, of_day in found.items() for kind in changes.KINDS if of_day[kind]} == (
        counts
    )
    for (site, _), of_day in found.items():
        assert [one["change"] for one in of_day["examples"]] == [kind for kind in changes.KINDS if of_day[kind]]
        for one in of_day["examples"]:
            key = site, int(one["visitor"], 16), int(one["session_id"], 16)
            was, now = before.get(key), after.get(key)
            if was and now:
                differing = zip(("pageviews", "entry_page"), was, now, strict=True)
                assert one["columns"] == {name: [old, new] for name, old, new in differing if old != new}
            else:
                views, page = was or now or (0, "")
                assert (one["columns"]["pageviews"], one["columns"]["entry_page"]) == (views, page)


def test_a_day_is_told_with_what_changes_in_it_dry_or_not(world: World) -> None:
    loaded(world)
    assert [report["changes"] for report in run(world)] == [changes.none()] * len(run(world))
    right = world.sessions().sort("started_at", "visitor")
    gone, other = right.row(0, named=True), right.row(1, named=True)
    world.alter(
        f"DELETE FROM session_rows WHERE session_id = {gone['session_id']}",
        f"ALTER TABLE session_rows UPDATE pageviews = pageviews + 1 WHERE session_id = {other['session_id']}",
    )
    strange = right[2].with_columns(
        visitor=pl.lit(77, pl.UInt64), session_id=pl.lit(5, pl.UInt64), batch=pl.lit(1, pl.UInt64), deleted=pl.lit(0)
    )
    world.warehouse.insert("session_rows", strange.cast({"deleted": pl.UInt8}), "by hand")
    told = [report for report in run(world, dry_run=True) if not report["equal"]]
    assert sum(report["changes"]["added"] for report in told) == 1
    assert sum(report["changes"]["removed"] for report in told) == 1
    assert sum(report["changes"]["changed"] for report in told) == 1
    examples = {one["change"]: one for report in told for one in report["changes"]["examples"]}
    assert {kind: one["session_id"] for kind, one in examples.items()} == {
        "added": f"{gone['session_id']:016x}", "removed": f"{5:016x}", "changed": f"{other['session_id']:016x}"
    }  # fmt: skip
    assert examples["removed"]["visitor"] == f"{77:016x}"
    assert examples["changed"]["columns"] == {"pageviews": [other["pageviews"] + 1, other["pageviews"]]}
    assert [report["changes"] for report in run(world) if not report["equal"]] == [each["changes"] for each in told]
    assert same(world.sessions(), expected(world))
    assert all(report["changes"] == changes.none() for report in run(world))


def test_of_a_long_part_only_the_days_that_differ_are_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "_FEW", 1)
    loaded(world)
    one = world.sessions().sort("started_at").row(0, named=True)
    alter = f"ALTER TABLE session_rows UPDATE searches = 9 WHERE session_id = {one['session_id']}"
    world.warehouse.command(f"{alter} SETTINGS mutations_sync = 2")
    read: list[tuple[Any, ...]] = []
    asked = world.warehouse.sessions_between
    monkeypatch.setattr(world.warehouse, "sessions_between", lambda *given: (read.append(given), asked(*given))[1])
    told = run(world)
    assert sum(report["changes"]["changed"] for report in told) == 1
    day = one["started_at"] // DAY_MS * DAY_MS
    assert read == [(None, day, day + DAY_MS)]
    monkeypatch.undo()
    assert same(world.sessions(), expected(world))


@pytest.mark.parametrize("source", ["broker", "archive"])
def test_how_far_it_is_is_told_with_what_there_is_to_do(world: World, source: str) -> None:
    loaded(world)
    told: list[driver.Progress] = []
    run(world, source=source, progress=told.append)
    days = [at for at in told if at.stage == "days"]
    assert days[-1].events == days[-1].total == len(world.raw())
    assert [at.events for at in days] == sorted(at.events for at in days)
    assert ("log" in {at.stage for at in told}) == (source == "broker")
    assert not any(at.goes_on_from for at in told)


def test_a_day_is_told_as_the_run_found_it_that_was_killed_behind_writing_it(world: World) -> None:
    """And a day too of which that run removed all that there was."""
    keeper = JournalKeeper(world.checkpoint, "0")
    task = Task(0, 9, None, "broker", dry_run=False, lost=False, generation="g", definitions="d")
    begun = keeper.begin(Journal(task, begun=1, upto={}, watermark=0, next_day=0), [])
    found = changes.none() | {"removed": 2}
    equal = {"site": "a", "day": "1970-01-02", "equal": True, "differs": [], "changes": changes.none()}
    differing = equal | {"equal": False, "differs": ["sessions"], "changes": found}
    alone = differing | {"day": "1970-01-01"}
    keeper.swapping(begun, [alone, differing])
    again = JournalKeeper(world.checkpoint, "0")
    journal = again.swapping(again.begin(begun, []), [equal])
    assert again.of_the_part(journal) == [alone, differing]
