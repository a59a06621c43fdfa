"""The account over real parts: it sums whatever comes in whatever way, and what is taken away by hand is named."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec
import polars as pl
import pytest

from activity.definitions import DAY_MS, HOUR_MS, MINUTE_MS
from activity.erasure import Erasures, Tombstone
from activity.event import TOPICS, EventType
from activity.refusal import OUTCOMES, DeadLetter, OutcomeCounts
from brokers.base import Record, TopicPartition
from pipeline import erasure, io, replay
from pipeline.audit import HourAccount, Sources, account, audit, records
from stores.receipts import Span
from tests.pipeline.test_units import share_out
from tests.pipeline.world import T0, World, event, record

HOUR = T0 // HOUR_MS * HOUR_MS
EVER = Span(HOUR - 30 * DAY_MS, HOUR + 30 * DAY_MS)


def audited(world: World, span: Span = EVER) -> list[HourAccount]:
    return list(audit(Sources(world.broker, world.warehouse, world.archive, world.checkpoint), span))


def publish(world: World, *events: tuple[int, int, int], late: int = 0) -> None:
    """Publish events (number, visitor, received_at), `late` ms after the last of them was received."""
    made = [event(number, at, visitor, type=list(EventType)[number % 3]) for number, visitor, at in events]
    at = max(at for _, _, at in events) + late
    world.broker.publish([record(each)._replace(timestamp=at) for each in made])


def load(world: World) -> None:
    world.loader.drain()
    world.flush()


def some(first: int, count: int, at: int = T0, visitors: int = 9) -> list[tuple[int, int, int]]:
    return [(number, number % visitors, at + number * 10) for number in range(first, first + count)]


def test_an_account_without_anything_is_empty_and_an_hour_of_nothing_balances(world: World) -> None:
    assert audited(world) == []
    assert audited(world, Span(HOUR, HOUR + HOUR_MS)) == [HourAccount(HOUR)]


def test_every_way_of_a_record_has_its_place(world: World) -> None:
    publish(world, *some(0, 60))
    load(world)
    publish(world, *some(0, 10), *some(60, 5))  # ten copies
    world.broker.publish([Record(TOPICS[3], b"k", b"junk", timestamp=T0 + 1)] * 2)
    world.loader.drain()
    publish(world, *some(100, 4))  # not loaded yet
    (found,) = audited(world)
    assert (found.accepted, found.stored, found.duplicate, found.dead_lettered, found.in_flight) == (81, 65, 10, 2, 4)
    assert found.balanced


def test_copies_late_events_a_spool_and_an_import_balance_in_their_hours(world: World) -> None:
    publish(world, *some(0, 40))
    load(world)
    # Copies an hour later, and of an hour that came before.
    publish(world, *some(0, 5, T0 + HOUR_MS), *some(200, 5, T0 + HOUR_MS))
    load(world)
    # A spool is drained half a day later: new events, and earlier copies of events that have come meanwhile.
    publish(world, *some(300, 7, T0 - 2 * HOUR_MS), *some(200, 3, T0 - 2 * HOUR_MS), late=DAY_MS // 2)
    load(world)
    # An import: old events, received at one moment.
    old = [record(event(400 + n, T0 - 200 * DAY_MS + n, received_at=T0 + HOUR_MS)) for n in range(30)]
    world.broker.publish([each._replace(timestamp=T0 + DAY_MS) for each in old])
    load(world)
    found = {each.hour - HOUR: each for each in audited(world)}
    assert [(at // HOUR_MS, each.accepted, each.stored, each.duplicate) for at, each in found.items()] == [
        (-2, 10, 10, 0),
        (0, 40, 40, 0),
        (1, 40, 32, 8),  # three are stored by the copy that the spool had
    ]
    assert all(each.balanced for each in found.values())
    world.warehouse.command("OPTIMIZE TABLE event_rows FINAL")
    assert audited(world) == list(found.values())


def test_a_replay_and_a_restart_change_nothing(world: World) -> None:
    publish(world, *some(0, 50), *some(0, 9))
    load(world)
    before = audited(world)
    world.warehouse.command("ALTER TABLE event_rows DELETE WHERE id_lo < 10 SETTINGS mutations_sync = 2")
    assert [each.unaccounted for each in audited(world)] == [10]
    first = pl.Series([T0]).cast(pl.Datetime("ms")).dt.date()[0]
    world.now = T0 + DAY_MS
    list(replay.replay(world.loader, world.archive, first, first))
    world.reopen()
    assert audited(world) == before
    assert before[0].balanced


def test_ten_deleted_rows_are_named_with_topic_partition_and_positions(world: World) -> None:
    publish(world, *some(0, 90))
    load(world)
    gone = [event(number, T0 + number * 10, number % 9, type=list(EventType)[number % 3]) for number in range(30, 40)]
    world.warehouse.command(
        "ALTER TABLE event_rows DELETE WHERE id_lo BETWEEN 30 AND 39 SETTINGS mutations_sync = 2"
    )
    (found,) = audited(world)
    assert (found.balanced, found.unaccounted, found.accepted, found.stored) == (False, 10, 90, 80)
    assert sum(each.events for each in found.mismatches) == 10
    assert {each.where for each in found.mismatches} == {"warehouse"}
    for wrong in found.mismatches:
        assert wrong.partition is not None
        inside = _values(world, TopicPartition(wrong.topic, wrong.partition), wrong.first, wrong.last)
        mine = [record(each).value for each in gone]
        assert inside[0] in mine
        assert inside[-1] in mine
        assert sum(value in mine for value in inside) == wrong.events


def _values(world: World, partition: TopicPartition, first: str, last: str) -> list[bytes | None]:
    bounds = world.broker.bounds(partition)
    assert bounds is not None
    stored = [each for batch in world.broker.read_range(partition, None, bounds.last) for each in batch]
    names = [str(each.position) for each in stored]
    return [each.value for each in stored[names.index(first) : names.index(last) + 1]]


def test_a_dead_letter_that_is_gone_is_named(world: World) -> None:
    world.broker.publish([Record(TOPICS[2], b"k", b"junk", timestamp=T0)] * 3)
    letter = b'{"reason":"malformed","where":"/collect","received_at":%d,"bytes":"e3sA"}' % T0
    world.broker.publish([Record("footfall.dead-letter", b"k", letter, timestamp=T0)] * 2)
    load(world)
    assert [(each.accepted, each.dead_lettered, each.balanced) for each in audited(world)] == [(3, 3, True)]
    for topic, where, unaccounted in (("/collect", "footfall.dead-letter", 0), (TOPICS[2], TOPICS[2], 3)):
        sql = f"ALTER TABLE dead_letter_rows DELETE WHERE topic = '{topic}' SETTINGS mutations_sync = 2"
        world.warehouse.command(sql)
        (found,) = audited(world)
        assert where in {each.topic for each in found.mismatches}
        assert found.unaccounted == unaccounted


def test_an_archive_file_that_is_gone_or_cut_off_is_named(world: World) -> None:
    publish(world, *some(0, 50), *some(500, 50, T0 + HOUR_MS))
    load(world)
    files = sorted((world.folder / "archive").rglob("*.parquet"))
    files[0].unlink()
    files[-1].write_bytes(files[-1].read_bytes()[:-9])
    named = {mismatch.file: mismatch.why for each in audited(world) for mismatch in each.mismatches}
    assert set(named) == {str(file.relative_to(world.folder / "archive")) for file in (files[0], files[-1])}
    assert all(each.unaccounted == 0 for each in audited(world))


def test_what_the_log_has_and_the_manifest_lacks_is_named(world: World) -> None:
    publish(world, *some(0, 30))
    load(world)
    manifest = world.archive.manifest()
    world.archive.commit(manifest.version, [], manifest.positions, [manifest.entries[0].path])
    (found,) = audited(world)
    assert sum(each.events for each in found.mismatches) == manifest.entries[0].rows
    assert {each.where for each in found.mismatches} == {"archive"}
    assert all(each.first and each.last for each in found.mismatches)


def _retained(world: World) -> None:
    """Remove all records from the log but the last of each partition."""
    for topic in TOPICS:
        for number in range(world.broker.partitions(topic)):
            bounds = world.broker.bounds(TopicPartition(topic, number))
            if bounds is not None:
                world.broker.remove_before(TopicPartition(topic, number), bounds.last)  # type: ignore[attr-defined]


def test_what_the_log_no_longer_keeps_is_counted_by_the_archive(world: World) -> None:
    publish(world, *some(0, 80), *some(0, 7))
    load(world)
    before = audited(world)
    publish(world, *((1000 + n, n % 9, T0 + 3 * HOUR_MS) for n in range(40)))
    load(world)
    _retained(world)
    (found, _) = audited(world)
    assert found.beyond_log > 0
    assert (found.accepted, found.stored, found.duplicate) == (87, 80, 7)
    assert found.balanced
    assert before[0].beyond_log == 0
    world.warehouse.command("ALTER TABLE event_rows DELETE WHERE id_lo < 10 SETTINGS mutations_sync = 2")
    (found, _) = audited(world)
    assert (found.unaccounted, sum(each.events for each in found.mismatches)) == (10, 10)
    assert {each.topic for each in found.mismatches} <= set(TOPICS)


def test_an_event_that_nobody_sent_is_named(world: World) -> None:
    publish(world, *some(0, 30))
    load(world)
    row = world.warehouse.query("SELECT * FROM event_rows LIMIT 1")
    row = row.with_columns(id_lo=pl.lit(999, pl.UInt64), received_at=pl.lit(T0 + MINUTE_MS))
    world.warehouse.insert("event_rows", row, "by-hand")
    (found,) = audited(world)
    assert (found.stored, found.accepted, found.unaccounted) == (31, 30, -1)
    assert [(each.where, each.events) for each in found.mismatches] == [("log", 1)]


def test_the_door_may_have_counted_less_than_the_log_has_but_never_more(world: World) -> None:
    publish(world, *some(0, 30))
    load(world)

    def count(outcome: str, reason: str, events: int) -> None:
        frame = pl.DataFrame({"site": "a", "hour": HOUR, "outcome": outcome, "reason": reason, "events": events})
        world.warehouse.insert("loss_account", frame, f"{outcome}/{reason}/{events}")

    count("accepted", "", 20)
    count("refused", "malformed", 4)
    count("duplicate", "", 2)
    (found,) = audited(world)
    assert (found.received, found.refused, found.refused_by, found.balanced) == (36, 4, {"malformed": 4}, True)
    count("accepted", "", 11)
    (found,) = audited(world)
    assert [(each.where, each.events) for each in found.mismatches] == [("door", 1)]
    assert not found.balanced


def test_what_was_forgotten_is_erased_and_not_lost(world: World) -> None:
    publish(world, *some(0, 45))
    load(world)
    world.warehouse.command("ALTER TABLE event_rows DELETE WHERE visitor = 4 SETTINGS mutations_sync = 2")
    # As on a broker that cannot erase: the log has them still, and here a file of the archive, too.
    erasure.add(world.checkpoint, Erasures((Tombstone(1, "a.example", T0 + 48 * HOUR_MS, f"{4:016x}"),)))
    (found,) = audited(world)
    assert (found.accepted, found.stored, found.erased) == (45, 40, 5)
    assert found.unaccounted == 0


def test_many_hours_are_looked_at_in_several_windows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for hour in range(5):
        publish(world, *some(hour * 100, 40, T0 + hour * HOUR_MS), *some(0, 3, T0 + hour * HOUR_MS))
        load(world)
    together = audited(world)
    monkeypatch.setattr(account, "_AT_ONCE", 50)
    monkeypatch.setattr(records, "_AT_ONCE", 7)
    assert audited(world) == together
    assert [each.stored for each in together] == [40] * 5
    assert all(each.balanced for each in together)
    assert sum(each.duplicate for each in together) == 15
    assert audited(world, Span(HOUR + 2 * HOUR_MS, HOUR + 3 * HOUR_MS)) == together[2:3]


def test_a_record_that_is_an_event_at_a_glance_only_is_a_dead_letter(world: World, tmp_path: Path) -> None:
    publish(world, *some(0, 20))
    strange = record(event(77)).value
    assert strange is not None
    world.broker.publish(
        [Record(TOPICS[0], b"k", strange.replace(b'"path"', b'"results":"many","path"'), timestamp=T0 + MINUTE_MS)]
    )
    load(world)
    (found,) = audited(world)
    assert (found.accepted, found.stored, found.dead_lettered, found.balanced) == (21, 20, 1, True)


def test_the_checkpoints_of_several_units_are_seen_as_one(world: World) -> None:
    publish(world, *some(0, 60, visitors=20))
    load(world)
    first, second = share_out(world, 2)
    publish(world, *some(60, 60, visitors=20), *some(0, 5))
    first.drain(first.ends())
    (half,) = audited(world)
    assert half.balanced
    assert 0 < half.in_flight < 65
    second.drain(second.ends())
    (whole,) = audited(world)
    assert (whole.stored, whole.duplicate, whole.in_flight, whole.balanced) == (120, 5, 0, True)


@pytest.mark.parametrize("alone", [0, 200])
def test_what_the_door_counted_is_added_once_however_often_it_comes(
    world: World, monkeypatch: pytest.MonkeyPatch, alone: int
) -> None:
    monkeypatch.setattr(io, "_RECORDS_ALONE", alone)

    def counted(number: int) -> Record:
        held = msgspec.json.encode(OutcomeCounts(f"p/{number}", [(HOUR, "a.example", "refused", "malformed", 3)]))
        letter = DeadLetter(reason=OUTCOMES, received_at=T0, bytes=base64.b64encode(held).decode())
        return Record("footfall.dead-letter", None, msgspec.json.encode(letter), timestamp=T0)

    world.broker.publish([counted(1), counted(1), counted(2)])
    load(world)
    if alone:  # a backlog of very many is one block, and knows only the copies within itself
        world.broker.publish([counted(2), counted(3)])
        load(world)
    (found,) = audited(world)
    assert (found.refused, found.balanced) == (9 if alone else 6, True)
    assert world.count("SELECT count() FROM dead_letters") == 0
