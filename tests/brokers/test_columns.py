"""Events that an SQLite log keeps as columns: to all who read records they are these, and erased they are gone."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from activity import blocks, codec
from activity.event import Event, EventType, visitor_key
from brokers.base import (
    Columnar,
    Columns,
    Damaged,
    Gone,
    NoSuchTopic,
    Record,
    Stored,
    StoredColumns,
    TopicPartition,
)
from brokers.conformance import read_all
from brokers.sqlite import batches
from brokers.sqlite import broker as sqlite_broker
from brokers.sqlite.broker import SqliteBroker
from tests.blocks import block_of

TABLES = {"_page": ["site", "type", "url", "received_at"], "_visitor": ["visitor", "browser", "user"]}
ALL = [TopicPartition("t", number) for number in range(3)]


def made(count: int, seed: int = 0) -> list[Event]:
    rng = random.Random(seed)
    return [
        Event(
            v=1,
            id=f"{rng.getrandbits(128):032x}",
            site="a.example",
            type=EventType.PAGEVIEW,
            visitor=f"{0xABCDEF00 + (visitor := rng.randrange(40)):016x}",
            occurred_at=number,
            received_at=5,
            url=f"https://a.example/{rng.randrange(9)}",
            user='an"n' if visitor == 1 else "",
        )
        for number in range(count)
    ]


def records(events: list[Event]) -> list[Record]:
    return [Record("t", visitor_key(event.site, event.visitor), codec.encode(event)) for event in events]


@pytest.fixture(autouse=True)
def _few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few events are a block."""
    monkeypatch.setattr(sqlite_broker, "_FEWEST", 1)


@pytest.fixture(name="broker")
def _broker(tmp_path: Path) -> Iterator[SqliteBroker]:
    broker = SqliteBroker(f"sqlite://{tmp_path}/log.db", clock_ns=lambda: 7_000_000)
    broker.create_topic("t", 3)
    yield broker
    broker.close()


def contents(broker: SqliteBroker) -> list[Stored]:
    return [record for _, number in ALL for record in read_all(broker, "t", number)]


def as_tuples(found: list[Stored]) -> list[tuple[object, ...]]:
    return [(r.position.order, r.timestamp, r.key, r.value, r.headers) for r in found]


def test_columns_and_records_are_one_log(tmp_path: Path, broker: SqliteBroker) -> None:
    assert isinstance(broker, Columnar)
    other = SqliteBroker(f"sqlite://{tmp_path}/other.db", clock_ns=lambda: 7_000_000)
    other.create_topic("t", 3)
    events = made(700)
    for start, stop, in_columns in ((0, 10, False), (10, 400, True), (400, 401, True), (401, 700, False)):
        some = events[start:stop]
        other.publish(records(some))
        if in_columns:
            broker.publish_columns([Columns("t", block_of(some, TABLES))], [])
        else:
            broker.publish(records(some))
    assert as_tuples(contents(broker)) == as_tuples(contents(other))
    for partition in ALL:
        bounds = broker.bounds(partition)
        assert bounds == other.bounds(partition)
        assert bounds is not None
        everything = read_all(broker, "t", partition.number)
        for size in (1, 7, 1_000):
            for first, last in ((None, -1), (0, -1), (5, 60), (3, 4)):
                after = None if first is None else everything[first].position
                upto = everything[last].position
                wanted = [r for r in everything if (after is None or r.position > after) and r.position <= upto]
                ranges = broker.read_range(partition, after, upto, size)
                assert as_tuples([r for some in ranges for r in some]) == as_tuples(wanted)
                pieces = list(broker.read_columns(partition, after, upto, size))
                assert flat(pieces) == [(r.position.order[0], r.value) for r in wanted]
                assert all((p.block.size if isinstance(p, StoredColumns) else len(p)) <= size for p in pieces)
        assert any(isinstance(p, StoredColumns) for p in broker.read_columns(partition, None, bounds.last))
        assert broker.read_after(partition, everything[8].position, limit=9)[-1].position == everything[17].position
        assert broker.timestamp_of(partition, everything[20].position) == 7
    other.close()


def flat(pieces: list[list[Stored] | StoredColumns]) -> list[tuple[int, bytes | None]]:
    found: list[tuple[int, bytes | None]] = []
    for piece in pieces:
        if isinstance(piece, StoredColumns):
            first = piece.first.order[0]
            its = zip(piece.block.places(), blocks.values(piece.block), strict=True)
            found += [(first + place, value) for place, value in its]
        else:
            found += [(record.position.order[0], record.value) for record in piece]
    return found


def test_events_and_records_of_one_publish_are_there_together(broker: SqliteBroker) -> None:
    broker.create_topic("letters", 1)
    events = made(9)
    letters = [Record("letters", b"k", b"letter")]
    broker.publish_columns([Columns("t", block_of(events[:5])), Columns("t", block_of(events[5:]))], letters)
    assert sorted(r.value or b"" for r in contents(broker)) == sorted(map(codec.encode, events))
    assert [r.value for r in read_all(broker, "letters")] == [b"letter"]
    with pytest.raises(NoSuchTopic):
        broker.publish_columns([Columns("t", block_of(events)), Columns("missing", block_of(events))], letters)
    assert (len(contents(broker)), len(read_all(broker, "letters"))) == (9, 1)


def test_a_topic_that_was_made_again_takes_them(tmp_path: Path, broker: SqliteBroker) -> None:
    broker.publish(records(made(3)))
    other = SqliteBroker(f"sqlite://{tmp_path}/log.db")
    other.delete_topic("t")
    other.create_topic("t", 3)
    broker.publish_columns([Columns("t", block_of(made(30)))], [])
    assert len(contents(other)) == 30
    other.close()


def test_many_lie_in_several_rows(broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_BYTES_A_ROW", 3_000)  # some ten events
    monkeypatch.setattr(batches, "_EVENTS_A_ROW", 1)
    events = made(200)
    broker.publish_columns([Columns("t", block_of(events, TABLES))], [])
    assert sorted(r.value or b"" for r in contents(broker)) == sorted(map(codec.encode, events))
    for partition in ALL:
        bounds = broker.bounds(partition)
        assert bounds is not None
        pieces = broker.read_columns(partition, None, bounds.last)
        sizes = [piece.block.size for piece in pieces if isinstance(piece, StoredColumns)]
        assert max(sizes) <= 15
        assert len(sizes) > 3
        broker.remove_before(partition, read_all(broker, "t", partition.number)[25].position)
        with pytest.raises(Gone):
            list(broker.read_columns(partition, bounds.first, bounds.last))


VISITOR = f"{0xABCDEF01:016x}"
BY_ID, BY_USER = VISITOR.encode(), b'"an\\"n"'


@pytest.mark.parametrize("texts", [[BY_ID], [BY_USER], [BY_ID, BY_USER], []], ids=["id", "user", "both", "none"])
def test_the_erased_leave_no_byte_and_the_others_stay(
    tmp_path: Path, broker: SqliteBroker, texts: list[bytes]
) -> None:
    key = visitor_key("a.example", VISITOR)
    broker.publish_columns([Columns("t", block_of(made(300), TABLES))], [])
    broker.publish_columns([Columns("t", block_of(made(40, seed=1), {}))], records(made(40, seed=2)))
    before = contents(broker)
    his = sum(record.key == key for record in before)
    assert his > 5
    assert broker.erase(ALL, texts, lambda some: [record.key == key for record in some]) == his
    wanted = [
        (r.position.order, r.timestamp, *((None, None, ()) if r.key == key else (r.key, r.value, r.headers)))
        for r in before
    ]
    assert as_tuples(contents(broker)) == wanted
    on_disk = b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert VISITOR.encode() not in on_disk
    assert b'an"n' not in on_disk
    assert broker.erase(ALL, texts, lambda some: [record.key == key for record in some]) == 0
    for partition in ALL:
        everything = read_all(broker, "t", partition.number)
        pieces = list(broker.read_columns(partition, None, everything[-1].position))
        there = [(r.position.order[0], r.value) for r in everything if r.value]
        assert [entry for entry in flat(pieces) if entry[1]] == there
        sizes = [p.block.size if isinstance(p, StoredColumns) else len(p) for p in pieces]
        assert sum(sizes) == len(everything)


def test_texts_that_nobody_has_open_no_block(broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    broker.publish_columns([Columns("t", block_of(made(30), TABLES))], [])
    monkeypatch.setattr(batches, "_opened", None)
    assert broker.erase(ALL, [b"0123456789abcdef", b'"nobody@b.example"'], lambda some: [True] * len(some)) == 0


def test_few_events_are_records(broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_broker, "_FEWEST", 10)
    events = [event for event in made(400) if event.visitor != VISITOR]
    few = max(({event.visitor for event in events}), key=lambda visitor: sum(e.visitor == visitor for e in events))
    broker.publish_columns([Columns("t", block_of([e for e in events if e.visitor == few][:9], TABLES))], [])
    (records,) = pieces_of(broker)
    assert isinstance(records, list)
    broker.publish_columns([Columns("t", block_of([e for e in events if e.visitor == few][:10], TABLES))], [])
    _, block = pieces_of(broker)
    assert isinstance(block, StoredColumns)


def pieces_of(broker: SqliteBroker) -> list[list[Stored] | StoredColumns]:
    found: list[list[Stored] | StoredColumns] = []
    for partition in ALL:
        bounds = broker.bounds(partition)
        if bounds:
            found += broker.read_columns(partition, None, bounds.last)
    return found


@pytest.mark.parametrize("spoil", ["records", "version", "cut"])
def test_a_damaged_block_is_named(tmp_path: Path, broker: SqliteBroker, spoil: str) -> None:
    broker.publish_columns([Columns("t", block_of(made(60), TABLES))], [])
    db = sqlite3.connect(tmp_path / "log.db")
    for key, at, data in db.execute("SELECT id, at, records FROM batches").fetchall():
        other = {
            "records": data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
            "version": data.replace(b"\xa7version\x01", b"\xa7version\x09"),
            "cut": data[:-20],
        }[spoil]
        assert other != data
        crc = batches.checksum(key, at, data if spoil == "records" else other)
        db.execute("UPDATE batches SET records = ?, crc = ? WHERE id = ?", (other, crc, key))
    db.commit()
    db.close()
    last = broker.bounds(ALL[0])
    assert last is not None
    words = {"records": "checksum", "version": "newer Footfall", "cut": "no block"}[spoil]
    with pytest.raises(Damaged, match=words):
        list(broker.read_columns(ALL[0], None, last.last))
    with pytest.raises(Damaged, match=words):
        list(broker.read_range(ALL[0], None, last.last))
    with pytest.raises(Damaged, match=words):
        broker.erase(ALL, [], lambda some: [True] * len(some))
    with pytest.raises(Damaged, match=words):
        broker.erase(ALL, [made(60)[0].visitor.encode()], lambda some: [True] * len(some))


def test_a_block_with_any_other_bytes_is_damaged(tmp_path: Path, broker: SqliteBroker) -> None:
    broker.publish_columns([Columns("t", block_of(made(40), TABLES))], [])
    db = sqlite3.connect(tmp_path / "log.db")
    key, data = db.execute("SELECT id, records FROM batches ORDER BY id LIMIT 1").fetchone()
    last = broker.bounds(ALL[0])
    assert last is not None
    rng = random.Random(3)
    for _ in range(100):
        place = rng.randrange(1, len(data))
        other = data[:place] + bytes([data[place] ^ rng.randrange(1, 256)]) + data[place + 1 :]
        db.execute("UPDATE batches SET records = ? WHERE id = ?", (other, key))
        db.commit()
        with pytest.raises(Damaged):
            list(broker.read_range(ALL[0], None, last.last))
        with pytest.raises(Damaged):
            list(broker.read_columns(ALL[0], None, last.last))
        with pytest.raises(Damaged):
            broker.erase(ALL[:1], [], lambda some: [False] * len(some))
    db.close()
