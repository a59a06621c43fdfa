"""Records that are erased from an SQLite log: their bytes are gone, all else stays as it was."""

from __future__ import annotations

import multiprocessing
import random
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokers.base import Damaged, Erasing, Record, Stored, TopicPartition
from brokers.conformance import read_all
from brokers.sqlite.broker import SqliteBroker
from tests.patience import patient

ALL = [TopicPartition("t", 0), TopicPartition("t", 1)]



def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def contents(broker: SqliteBroker) -> list[Stored]:
    return [record for _, number in ALL for record in read_all(broker, "t", number)]


def as_tuples(records: Sequence[Stored]) -> list[tuple[object, ...]]:
    return [(r.position.order, r.timestamp, r.key, r.value, r.headers) for r in records]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.tuples(st.sampled_from([b"him", b"her"]), st.integers(0, 9_000)), max_size=8), max_size=6))
def test_the_erased_leave_no_byte_and_the_others_stay(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[tuple[bytes, int]]]
) -> None:
    folder = tmp_path_factory.mktemp("log")
    broker = SqliteBroker(f"sqlite://{folder}/log.db")
    assert isinstance(broker, Erasing)
    broker.create_topic("t", 2)
    for group in groups:
        broker.publish([Record("t", key, b"secret-of-%s" % key + bytes(size), (("h", key),)) for key, size in group])
    before = contents(broker)
    erased = broker.erase(ALL, [b"him"], lambda records: [record.key == b"him" for record in records])
    assert erased == sum(record.key == b"him" for record in before)
    wanted = [
        (r.position.order, r.timestamp, *((None, None, ()) if r.key == b"him" else (r.key, r.value, r.headers)))
        for r in before
    ]
    assert as_tuples(contents(broker)) == wanted
    assert b"secret-of-him" not in on_disk(folder)
    assert broker.erase(ALL, [b"him"], lambda records: [record.key == b"him" for record in records]) == 0
    broker.publish([Record("t", b"her", b"later")])
    assert len(contents(broker)) == len(before) + 1
    broker.close()


def test_what_retention_removed_before_is_gone_too(tmp_path: Path) -> None:
    broker = SqliteBroker(f"sqlite://{tmp_path}/log.db")
    broker.create_topic("t", 2)
    for number in range(50):
        broker.publish([Record("t", b"him", b"secret-%d" % number + bytes(10_000))])
    for partition in ALL:
        bounds = broker.bounds(partition)
        if bounds is not None:
            broker.remove_before(partition, bounds.last)
    assert b"secret-" in on_disk(tmp_path)
    broker.erase(ALL, [], lambda records: [record.key == b"him" for record in records])
    assert b"secret-" not in on_disk(tmp_path)
    broker.close()


def test_copies_in_pages_that_were_split_are_gone_too(tmp_path: Path) -> None:
    """Batches of one partition come between those of others, so pages of the table are split again and again."""
    broker = SqliteBroker(f"sqlite://{tmp_path}/log.db")
    broker.create_topic("t", 2)
    broker.create_topic("u", 2)
    dice = random.Random(7)
    for number in range(400):
        topic, key = dice.choice(["t", "u"]), dice.choice([b"him", b"her", b"them"])
        text = b"secret-of-him" if key == b"him" else b"kept"
        broker.publish([Record(topic, key, text + bytes(dice.randrange(900)) + b"%d" % number)])
    everything = [TopicPartition(topic, number) for topic in "tu" for number in (0, 1)]
    broker.erase(everything, [b"secret-of-him"], lambda records: [record.key == b"him" for record in records])
    assert b"secret-of-him" not in on_disk(tmp_path)
    left = [record for topic, number in everything for record in read_all(broker, topic, number)]
    assert len(left) == 400
    assert {record.key for record in left} == {None, b"her", b"them"}
    broker.close()


def test_what_was_damaged_before_is_not_whole_afterwards(tmp_path: Path) -> None:
    broker = SqliteBroker(f"sqlite://{tmp_path}/log.db")
    broker.create_topic("t", 1)
    broker.publish([Record("t", b"him", b"secret"), Record("t", b"her", b"kept")])
    broker.close()
    db = sqlite3.connect(tmp_path / "log.db")
    db.execute("UPDATE batches SET records = CAST(replace(records, 'kept', 'kepT') AS BLOB)")
    db.commit()
    db.close()
    broker = SqliteBroker(f"sqlite://{tmp_path}/log.db")
    with pytest.raises(Damaged):
        read_all(broker, "t", 0)
    assert broker.erase(ALL[:1], [], lambda records: [record.key == b"him" for record in records]) == 1
    with pytest.raises(Damaged):
        read_all(broker, "t", 0)
    broker.close()
    assert b"secret" not in on_disk(tmp_path)


def _publish(url: str, count: int) -> None:
    broker = SqliteBroker(url)
    for number in range(count):
        broker.publish([Record("t", b"him" if number % 7 == 0 else b"her", b"mark-%d" % number)])
    broker.close()


def test_another_process_publishes_meanwhile(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/log.db"
    broker = SqliteBroker(url)
    broker.create_topic("t", 2)
    broker.publish([Record("t", b"him", b"secret")] * 100)
    process = multiprocessing.get_context("spawn").Process(target=_publish, args=(url, 200))
    process.start()
    while process.is_alive():
        broker.erase(ALL, [b"him"], lambda records: [record.key == b"him" for record in records])
    process.join(patient(60))
    assert process.exitcode == 0
    broker.erase(ALL, [b"him"], lambda records: [record.key == b"him" for record in records])
    found = contents(broker)
    assert [record.value for record in found if record.key] == [b"mark-%d" % n for n in range(200) if n % 7]
    assert len(found) == 300
    assert b"secret" not in on_disk(tmp_path)
    broker.close()
