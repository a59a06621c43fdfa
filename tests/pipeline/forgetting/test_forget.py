"""Forgetting: of a visitor nothing is left, all else is as if he had never come, and nothing brings him back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import msgspec
import polars as pl
import pytest

from activity.definitions import HOUR_MS
from brokers.base import Record
from pipeline import audit, forget, live, recover, replay
from pipeline.erasing import Person
from pipeline.resize import resize
from pipeline.unit import Unit, all_of
from stores.checkpoint import FolderCheckpointStore
from stores.days import DayTables
from stores.erasure import Erased, Eraser
from stores.letters import Filter, Letters
from stores.receipts import Span
from tests.pipeline.forgetting.him import (
    DAY,
    HIM,
    HIS_LETTER,
    HISTORY,
    MARK,
    PERSON,
    SITE,
    STEPS,
    Kept,
    Killed,
    assert_as,
    go,
    his,
    killed,
    replayed,
    traces,
)
from tests.pipeline.world import T0, World, event


def test_all_is_as_if_he_had_never_come(world: World, without: Kept) -> None:
    seen = traces(world)
    assert {"event_rows", "session_rows", "rollup_1m_rows", "day_values", "day_visits", "open_visits"} <= {*seen}
    assert any(".parquet" in each for each in seen) and any("segments-" in each for each in seen)
    looked = forget.look(world.loader, world.archive, PERSON)
    receipt = go(world)
    removed = receipt["removed"]
    assert looked["removed"].items() <= removed.items()
    ids = {each.id for each in HISTORY if each.visitor == HIM}
    assert (removed["events"], removed["dead_letters"]) == (len(ids), 1)
    assert removed["log_records"] == sum(each.visitor == HIM for each in HISTORY) + 4
    [restated] = receipt["days"]
    assert restated["before"] != restated["after"] and "erasure 1" in restated["why"]
    assert receipt["remains"] == []
    assert traces(world) == []
    assert_as(world, without)
    for source in ("broker", "archive"):
        assert replayed(world, source) == [True]
    assert erased_by_the_account(world) == removed["log_records"] - 4
    world.reopen()
    recover.recover(world.loader, world.archive)
    assert_as(world, without)
    assert traces(world) == []


def erased_by_the_account(world: World) -> int:
    """How many events the audit says were erased, of hours that all sum."""
    first = T0 // HOUR_MS * HOUR_MS
    sources = audit.Sources(world.broker, world.warehouse, world.archive, world.loader.checkpoint_store)
    hours = list(audit.audit(sources, Span(first - HOUR_MS, first + 48 * HOUR_MS)))
    assert [hour for hour in hours if not hour.balanced] == []
    return sum(hour.erased for hour in hours)


def test_a_month_that_still_counts_keeps_its_rows(world: World) -> None:
    """He came on the first of a month; the day before has no build, because nobody came."""
    first = date(2026, 10, 1)
    version = DayTables(world.warehouse).build(SITE, "UTC", first)
    world.warehouse.command(
        "INSERT INTO month_values (site, month, dimension, value, version, visits) "
        "SELECT 'a.example', arrayJoin([toDate32('2026-09-01'), toDate32('2026-10-01')]), '', '', 1, 9"
    )
    visitors = pl.DataFrame({"site": [SITE], "visitor": [int(HIM, 16)]}, schema_overrides={"visitor": pl.UInt64})
    Eraser(world.warehouse).erase(Erased(SITE, 1, visitors), [first], [])
    left = world.warehouse.query("SELECT toString(month) AS month FROM month_values ORDER BY month")["month"].to_list()
    assert (left, version) == (["2026-09-01"], version)


def test_a_letter_that_was_mended_to_name_him_goes_with_what_was_done_to_it(world: World) -> None:
    letters = Letters(world.warehouse)
    [hers] = [each for each in letters.find(Filter(), 10) if b"her" in each.received]
    letters.note("edited", [(hers.id, f'{{"visitor":"{HIM}"}}'.encode())], T0)
    assert go(world)["removed"]["dead_letters"] == 2
    assert traces(world) == []


def test_a_lost_checkpoint_does_not_bring_him_back(world: World, without: Kept) -> None:
    raw = [his(event(9_000, T0 + 60_000)), *HISTORY]
    go(world)
    world.publish(*raw)  # as on a broker that cannot erase
    for path in (world.folder / "checkpoint").iterdir():
        if path.is_file():
            path.unlink()
    world.reopen()
    recover.recover(world.loader, world.archive)
    world.loader.drain()
    world.flush()
    assert_as(world, without)
    copies = sum(each.visitor == HIM for each in raw)
    # As many left the log, and as many are there again.
    assert erased_by_the_account(world) == 2 * copies - 1
    assert not any((pl.read_parquet(path)["visitor"] == int(HIM, 16)).any()
                   for path in world.folder.glob("archive/**/*.parquet"))  # fmt: skip


def test_who_comes_again_is_counted_anew(world: World, without: Kept) -> None:
    before = msgspec.json.decode(json.dumps(go(world)["received_before"]), type=datetime)
    at = int(before.timestamp() * 1000)
    late = msgspec.structs.replace(event(9_000, at - 1), visitor=HIM)
    imported = msgspec.structs.replace(event(9_001, at - 1), visitor=HIM, received_at=at + 1, protocol="import")
    anew = msgspec.structs.replace(event(9_002, at), visitor=HIM)
    world.publish(late, imported, anew)
    [counters] = world.loader.drain()
    assert (counters["decode.erased"], counters["dedupe.fresh"]) == (2, 1)
    assert world.loader.status.erased == 2
    again = go(world)
    assert (again["epoch"], again["removed"]["events"]) == (2, 1)
    assert_as(world, without)


def test_a_user_goes_with_all_his_visitors(world: World, without: Kept) -> None:
    person = Person(SITE, user=MARK)
    assert forget.look(world.loader, world.archive, person)["visitors"] == [HIM]
    receipt = go(world, person)
    assert receipt["removed"]["dead_letters"] == 1
    assert MARK not in (world.folder / "checkpoint" / "erasures").read_text()
    assert_as(world, without)
    assert traces(world) == []
    # Of a device that was not known then.
    world.publish(msgspec.structs.replace(event(9_000, T0, visitor=77), user=MARK))
    [counters] = world.loader.drain()
    assert counters["decode.erased"] == 1


def test_a_letter_that_the_log_still_has_stays_forgotten(world: World, without: Kept) -> None:
    broken = Record("footfall.pageview", None, f'{{"user":"{MARK}"'.encode())
    world.broker.publish([broken])
    world.loader.drain()
    [written] = [each for each in letters_in(world) if each[0] == "footfall.pageview"]
    assert go(world, Person(SITE, user=MARK))["removed"]["dead_letters"] == 2
    left = letters_in(world)
    assert written not in left
    # As a broker has them that keeps raw records until its retention is over.
    world.broker.publish([HIS_LETTER])
    [counters] = world.loader.drain()
    assert counters["decode.erased"] == 1
    assert letters_in(world) == left
    span = Span(T0 // HOUR_MS * HOUR_MS, T0 // HOUR_MS * HOUR_MS + HOUR_MS)
    sources = audit.Sources(world.broker, world.warehouse, world.archive, world.checkpoint)
    assert [each.mismatches for each in audit.audit(sources, span)] == [[]]


def letters_in(world: World) -> list[tuple[Any, ...]]:
    return world.warehouse.query("SELECT topic, reason FROM dead_letters ORDER BY ALL").rows()


@pytest.mark.parametrize(("kind", "method", "number"), STEPS, ids=lambda each: getattr(each, "__name__", str(each)))
def test_what_a_kill_broke_off_is_finished_by_the_next_start(
    world: World, without: Kept, monkeypatch: pytest.MonkeyPatch, kind: type, method: str, number: int
) -> None:
    real, calls = getattr(kind, method), iter(range(1, 1000))

    def call(*args: Any, **more: Any) -> Any:
        if next(calls) == number:
            # Nothing that runs on the way out may reach the stores.
            monkeypatch.setattr(FolderCheckpointStore, "swap", killed)
            raise Killed
        return real(*args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(kind, method, call)
        with pytest.raises(Killed):
            go(world)
    monkeypatch.undo()
    world.reopen()
    world.loader.take_over()
    forget.take_over(world.checkpoint)
    recover.recover(world.loader, world.archive)
    world.loader.drain()
    assert_as(world, without)
    assert traces(world) == []


def test_several_units_forget_together(world: World, without: Kept) -> None:
    def loader_of(unit: Unit) -> live.Loader:
        return replace(world.loader, unit=unit)

    resize(loader_of, 3)
    loaders = [loader_of(unit) for unit in all_of(3)]
    for loader in loaders:
        loader.drain()
    receipt = forget.forget(loaders[1].of_all_units(), world.archive, PERSON, lambda _what: None)
    assert receipt["removed"]["sessions"] > 0
    assert traces(world) == []
    world.publish(his(event(9_000, T0)), event(9_001, T0 + 1, visitor=3))
    counted = [counters for loader in loaders for counters in loader.drain()]
    assert sum(each.get("decode.erased", 0) for each in counted) == 1
    assert sum(loader.open().events or 0 for loader in loaders) == world.count("SELECT count() FROM events")
    assert world.count("SELECT count() FROM events") == without.numbers[0].height + 1
    assert {loader.open().erased for loader in loaders} == {1}
    whole = loaders[0].of_all_units()
    assert all(each["equal"] for each in replay.replay(whole, world.archive, DAY, DAY, source="broker"))
    assert not whole.open().missing
