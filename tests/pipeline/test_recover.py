"""What was lost behind the pipeline's back comes back, once: parts, tables, the whole warehouse, the checkpoint."""

from __future__ import annotations

import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from activity.event import TOPICS
from brokers.base import Record, TopicPartition
from pipeline import recover, replay
from stores.base import BrokenRows
from tests.pipeline.test_live import Crash, assert_rollups_equal_a_group_by, expected, history, same
from tests.pipeline.world import T0, World, event

DAY = datetime.fromtimestamp(T0 / 1000, UTC).date()
Damage = Callable[[Path], object]


class Grown(NamedTuple):
    folder: Path
    events: pl.DataFrame
    sessions: pl.DataFrame
    letters: pl.DataFrame


def events(world: World) -> pl.DataFrame:
    return pl.concat(list(world.warehouse.events_between(None, None, 0, 2**41))).sort("id_lo")


def letters(world: World) -> pl.DataFrame:
    return world.warehouse.query("SELECT * FROM dead_letters ORDER BY ALL")


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    """A day in several batches, closed; each test damages a copy."""
    world = World(tmp_path_factory.mktemp("grown"))
    happened = history(4, 300)
    for i in range(0, len(happened), 100):
        world.publish(*happened[i : i + 100])
        world.loader.drain()
    world.broker.publish([Record("footfall.custom", b"k", junk) for junk in (b"junk", b"junk", b"other")])
    world.loader.drain()
    world.flush()
    found = Grown(world.folder, events(world), world.sessions(), letters(world))
    world.close()
    return found


@pytest.fixture
def damaged(grown: Grown, tmp_path: Path) -> Iterator[Callable[[Damage], World]]:
    """`damaged(how)`: a copy, damaged while nobody has it open, then opened."""
    opened: list[World] = []

    def make(how: Damage) -> World:
        shutil.copytree(grown.folder, tmp_path / "copy", symlinks=True)
        how(tmp_path / "copy")
        opened.append(World(tmp_path / "copy"))
        return opened[-1]

    yield make
    for world in opened:
        world.close()


def table(folder: Path, name: str) -> Path:
    (definition,) = (folder / "warehouse" / "store").rglob(f"{name}.sql")
    found = re.search(r"UUID '([^']+)'", definition.read_text())
    assert found
    return folder / "warehouse" / "store" / found[1][:3] / found[1]


def part(folder: Path, name: str) -> Path:
    return sorted(path for path in table(folder, name).iterdir() if re.match(r"\d+_", path.name))[0]


def flip(file: Path, at: int | None = None) -> None:
    """A byte in the middle, or one that is named."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 0x55
    file.write_bytes(bytes(data))


def largest(folder: Path, name: str, pattern: str) -> Path:
    return max(part(folder, name).glob(pattern), key=lambda file: file.stat().st_size)


def segment(folder: Path) -> Path:
    return sorted((folder / "checkpoint" / "segments-0").iterdir())[0]


def assert_as_before(world: World, grown: Grown) -> None:
    assert events(world).equals(grown.events)
    assert same(world.sessions(), grown.sessions)
    assert letters(world).equals(grown.letters)
    assert_rollups_equal_a_group_by(world)
    assert [r["equal"] for r in replay.replay(world.loader, world.archive, DAY, DAY, dry_run=True)] == [True]


def assert_goes_on(world: World) -> None:
    """From the positions and the open sessions that it had."""
    world.publish(event(9_001, T0 + 1, 3), event(9_002, T0 + 2, 99))
    world.loader.drain()
    assert same(world.sessions(), expected(world))
    assert_rollups_equal_a_group_by(world)


LOST: dict[str, Damage] = {
    "a part of the events": lambda folder: shutil.rmtree(part(folder, "event_rows")),
    "a part cut short": lambda folder: os.truncate(largest(folder, "event_rows", "*.bin"), 9),
    "a byte of the marks": lambda folder: flip(largest(folder, "event_rows", "*mrk*")),
    "a part of the rollups": lambda folder: shutil.rmtree(part(folder, "rollup_1m_rows")),
    "the dead letters": lambda folder: shutil.rmtree(part(folder, "dead_letter_rows")),
    "the folder of the events": lambda folder: shutil.rmtree(table(folder, "event_rows")),
    "the definition of the sessions": lambda folder: next(
        (folder / "warehouse" / "store").rglob("session_rows.sql")
    ).unlink(),
    "the warehouse": lambda folder: shutil.rmtree(folder / "warehouse"),
    "the warehouse and the checkpoint": lambda folder: [
        shutil.rmtree(folder / name) for name in ("warehouse", "checkpoint")
    ],
}


@pytest.mark.parametrize("loss", LOST)
def test_lost_rows_are_noticed_and_made_again(
    damaged: Callable[[Damage], World], grown: Grown, loss: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = damaged(LOST[loss])
    world.publish(*history(4, 300)[:5])  # copies of stored events are not taken for new ones meanwhile
    if loss != "the warehouse and the checkpoint":
        assert world.loader.step() is None
        assert "made again from the raw events" in world.loader.status.trouble
    recover.recover(world.loader, world.archive)
    assert world.loader.status.trouble == ""
    world.loader.drain()
    said = [record.getMessage() for record in caplog.records if "lost" in record.getMessage()]
    assert len(said) == 1, said
    caplog.clear()
    world.reopen()
    recover.recover(world.loader, world.archive)
    assert caplog.messages == []
    assert_as_before(world, grown)
    assert_goes_on(world)


TABLES = "event_rows", "session_rows", "rollup_1m_rows", "rollup_1h_rows", "dead_letter_rows"


def test_merging_and_mutating_lose_nothing(
    damaged: Callable[[Damage], World], grown: Grown, caplog: pytest.LogCaptureFixture
) -> None:
    world = damaged(lambda _: None)
    for name in TABLES:
        world.warehouse.command(f"OPTIMIZE TABLE {name} FINAL")
    world.alter(*(f"ALTER TABLE {name} DELETE WHERE 0" for name in TABLES))
    world.reopen()
    recover.recover(world.loader, world.archive)
    assert caplog.messages == []
    assert_goes_on(world)


@pytest.mark.parametrize("table_", ["event_rows", "session_rows", None])
def test_killed_while_it_makes_them_again_the_next_start_goes_on(
    damaged: Callable[[Damage], World], grown: Grown, table_: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The crash is written into the run: after one table's insert, or at the commit."""
    world = damaged(LOST["the warehouse"])
    if table_ is None:
        monkeypatch.setattr("pipeline.rebuild.commit", lambda *a, **b: (_ for _ in ()).throw(Crash("a crash")))
    else:
        insert = world.warehouse.insert

        def crashing(name: str, frame: pl.DataFrame, token: str) -> None:
            insert(name, frame, token)
            if name == table_:
                raise Crash("a crash")

        monkeypatch.setattr(world.warehouse, "insert", crashing)
    with pytest.raises(Crash):
        recover.recover(world.loader, world.archive)
    monkeypatch.undo()
    world.reopen()
    world.loader.take_over()
    assert world.loader.step() is None
    recover.recover(world.loader, world.archive)
    assert_as_before(world, grown)


def cut_log(world: World) -> None:
    for topic in TOPICS:
        for partition in range(4):
            bounds = world.broker.bounds(TopicPartition(topic, partition))
            if bounds is not None:
                world.broker.remove_before(TopicPartition(topic, partition), bounds.last)


def test_what_the_log_no_longer_has_comes_from_the_archive(damaged: Callable[[Damage], World], grown: Grown) -> None:
    world = damaged(LOST["the warehouse"])
    cut_log(world)
    recover.recover(world.loader, world.archive)
    assert events(world).equals(grown.events)
    assert same(world.sessions(), grown.sessions)


def test_what_nobody_has_any_more_is_said_and_the_rest_goes_on(
    damaged: Callable[[Damage], World], grown: Grown, caplog: pytest.LogCaptureFixture
) -> None:
    world = damaged(lambda folder: [LOST["the warehouse"](folder), shutil.rmtree(folder / "archive")])
    cut_log(world)
    recover.recover(world.loader, world.archive)
    gone = grown.events.height - events(world).height
    assert gone > 0
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR] == [
        f"{gone} of {grown.events.height} events are neither in the archive nor in the log and are lost for good"
    ]
    world.publish(event(9_002, T0 + 2, 99))
    assert world.loader.drain()


def test_rows_that_an_interrupted_batch_had_written_are_missed_too(
    damaged: Callable[[Damage], World], grown: Grown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine knows the batch's tokens, and takes the same rows no second time."""
    world = damaged(lambda _: None)
    world.publish(event(9_001, T0 + 1, 3), event(9_002, T0 + 2, 99))
    monkeypatch.setattr(type(world.loader), "_commit", lambda *a: a[-1]() and (_ for _ in ()).throw(Crash("a crash")))
    with pytest.raises(Crash):
        world.loader.step()
    monkeypatch.undo()
    world.close()
    newest = max(table(world.folder, "event_rows").glob("2*_*"), key=lambda path: int(path.name.split("_")[2]))
    shutil.rmtree(newest)
    world.open()
    world.loader.step()
    assert world.loader.step() is None
    recover.recover(world.loader, world.archive)
    assert same(world.sessions(), expected(world))
    assert events(world).height == grown.events.height + 2
    assert_rollups_equal_a_group_by(world)


CHECKPOINT: dict[str, Damage] = {
    "a byte of the checkpoint": lambda folder: flip(folder / "checkpoint" / "unit-0"),
    "an empty checkpoint": lambda folder: os.truncate(folder / "checkpoint" / "unit-0", 0),
    "a checkpoint cut short": lambda folder: os.truncate(folder / "checkpoint" / "unit-0", 100),
    "a byte of a segment": lambda folder: flip(segment(folder)),
    "a segment cut short": lambda folder: os.truncate(segment(folder), 100),
    "a segment gone": lambda folder: segment(folder).unlink(),
}


@pytest.mark.parametrize("damage", CHECKPOINT)
def test_a_damaged_checkpoint_is_kept_aside_and_made_anew(
    damaged: Callable[[Damage], World], grown: Grown, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = damaged(CHECKPOINT[damage])
    recover.recover(world.loader, world.archive)
    assert [m for m in caplog.messages if m.startswith("The checkpoint is damaged")]
    assert world.checkpoint.names("damaged/")
    assert_as_before(world, grown)
    assert_goes_on(world)


def test_a_checkpoint_damaged_under_a_running_loader_is_made_anew(damaged: Callable[[Damage], World]) -> None:
    world = damaged(lambda _: None)
    world.loader.open()
    os.truncate(world.folder / "checkpoint" / "unit-0", 0)
    world.publish(event(9_001, T0 + 1, 3), event(9_002, T0 + 2, 99))
    running = threading.Thread(target=world.loader.run, args=(threading.Event(), 0.01), daemon=True)
    running.start()
    running.join(60)
    assert not running.is_alive()
    recover.recover(world.loader, world.archive)
    world.loader.drain()
    assert same(world.sessions(), expected(world))
    assert_rollups_equal_a_group_by(world)


BROKEN: dict[str, Damage] = {
    "a byte of the events": lambda folder: flip(largest(folder, "event_rows", "*.bin")),
    "a byte of the primary key": lambda folder: flip(part(folder, "event_rows") / "primary.cidx"),
    "a byte of the sessions": lambda folder: flip(largest(folder, "session_rows", "*.bin")),
    # Blocks begin with a checksum of 16 bytes, the codec, and their size in 4: the highest makes it more than one has.
    "the size of a block of the events": lambda folder: flip(largest(folder, "event_rows", "*.bin"), 20),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_a_replay_sets_broken_parts_aside_and_makes_their_rows_again(
    damaged: Callable[[Damage], World], grown: Grown, damage: str
) -> None:
    world = damaged(BROKEN[damage])
    broken = part(world.folder, "session_rows" if "sessions" in damage else "event_rows")
    with pytest.raises(replay.Incomplete, match=r"1 parts of the warehouse fail.*without --dry-run"):
        list(recover.replayed(world.loader, world.archive, DAY, DAY, dry_run=True))
    reports = list(recover.replayed(world.loader, world.archive, DAY, DAY))
    assert [r["equal"] for r in reports] == [False]
    recover.recover(world.loader, world.archive)
    assert (broken.parent / "detached" / broken.name).is_dir()
    assert_as_before(world, grown)
    assert_goes_on(world)


READERS: dict[str, Callable[[World], object]] = {
    "a question": World.sessions,
    "a statement that writes": lambda world: world.warehouse.command(
        "INSERT INTO session_rows SELECT * FROM session_rows"
    ),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_that_meets_broken_rows_has_them_mended(
    damaged: Callable[[Damage], World], grown: Grown, reader: str
) -> None:
    world = damaged(BROKEN["a byte of the sessions"])
    with pytest.raises(BrokenRows, match="cannot be read"):
        READERS[reader](world)
    with pytest.raises(BrokenRows) as met:
        world.loader.run(threading.Event())
    recover.mend(world.loader, world.archive, met.value)
    assert_as_before(world, grown)
    assert world.warehouse.broken is None
