"""Forgetting: of a visitor nothing is left, all else is as if he had never come, and nothing brings him back."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import polars as pl
import pyarrow.parquet as pq
import pytest

from activity.definitions import HOUR_MS
from activity.erasure import Tombstone
from activity.event import DEAD_LETTER_TOPIC, Event
from brokers.base import Record
from brokers.sqlite.broker import SqliteBroker
from pipeline import audit, erasure, forget, live, rearchive, rebuild, recover, replay
from pipeline import days as building
from pipeline.checkpoint import CheckpointRepository
from pipeline.erasing import Person
from pipeline.lease import HeldLease
from pipeline.rebuild import LEASE_MS, Busy, reconcile
from pipeline.resize import NotNow, resize
from pipeline.unit import Unit, all_of
from stores.archive import ParquetArchive
from stores.checkpoint import FolderCheckpointStore
from stores.days import DayTables
from stores.erasure import Erased, Eraser
from stores.letters import Filter, Letters
from stores.receipts import Span
from tests.pipeline.test_live import history
from tests.pipeline.world import T0, World, event

SITE, HIM, MARK = "a.example", "5eedf00dcafe0b1e", "mark-of-him"
DAY = datetime.fromtimestamp(T0 / 1000, UTC).date()
PERSON = Person(SITE, HIM)
TABLES = (
    "event_rows", "session_rows", "rollup_1m_rows", "rollup_1h_rows", "dead_letter_rows", "letter_deeds", "day_values",
    "day_visits", "open_visits", "open_days", "month_values",
)  # fmt: skip
NUMBERS = ("events", "sessions", "rollup_1m", "rollup_1h")


def his(each: Event) -> Event:
    """The event as one of his, with a mark in all texts."""
    more: dict[str, Any] = {
        "visitor": HIM, "url": f"https://a.example/{MARK}", "path": f"/{MARK}", "title": MARK, "term": MARK,
        "user": MARK, "name": MARK, "props": {"p": MARK},
    }  # fmt: skip
    return msgspec.structs.replace(each, **more)


HISTORY = [his(each) if each.visitor == f"{6:016x}" else each for each in history(4, 300)]


def letter(received: bytes) -> Record:
    envelope = {"reason": "malformed", "received_at": T0, "bytes": base64.b64encode(received).decode()}
    return Record(DEAD_LETTER_TOPIC, None, json.dumps(envelope).encode())


HIS_LETTER, ANOTHER = letter(f'{{"visitor":"{HIM}","user":"{MARK}"'.encode()), letter(b'{"visitor":"her"')


def fill(world: World, events: list[Event], *letters: Record) -> None:
    for i in range(0, len(events), 100):
        world.publish(*events[i : i + 100])
        world.broker.publish(letters)
        world.loader.drain()
        world.flush()
    reconcile(world.loader)
    tables = DayTables(world.warehouse)
    tables.build(SITE, "UTC", DAY)
    tables.open.build(SITE, "UTC", DAY, [world.loader.checkpoint().batch], 1)


def go(world: World, person: Person = PERSON) -> dict[str, Any]:
    return forget.forget(world.loader, world.archive, person, lambda _what: None)


class Kept(NamedTuple):
    numbers: list[pl.DataFrame]
    letters: int
    counted: int | None


def kept(world: World) -> Kept:
    numbers = [world.warehouse.query(f"SELECT * FROM {name} ORDER BY ALL") for name in NUMBERS]
    return Kept(numbers, world.count("SELECT count() FROM dead_letters"), world.loader.open().events)


def assert_as(world: World, wanted: Kept) -> None:
    found = kept(world)
    for name, ours, theirs in zip(NUMBERS, found.numbers, wanted.numbers, strict=True):
        assert ours.equals(theirs), name
    assert found[1:] == wanted[1:]
    assert not world.loader.open().missing


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a world in which he was."""
    world = World(tmp_path_factory.mktemp("filled"))
    fill(world, HISTORY, HIS_LETTER, ANOTHER)
    world.close()
    return world.folder


@pytest.fixture
def world(filled: Path, tmp_path: Path) -> Iterator[World]:
    """A copy of that world."""
    made = World(shutil.copytree(filled, tmp_path / "world", symlinks=True))
    yield made
    made.close()


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """What there is in a world in which he never was."""
    world = World(tmp_path_factory.mktemp("without"))
    fill(world, [each for each in HISTORY if each.visitor != HIM], ANOTHER)
    found = kept(world)
    world.close()
    return found


def traces(world: World) -> list[str]:
    """Where anything of him is: in a row, a file of the archive or a segment, or as plain bytes in any file."""
    number, found = int(HIM, 16), []
    for table in TABLES:
        texts = world.warehouse.query(f"SELECT toString(tuple(*)) AS row FROM {table}")["row"]
        if any(text in row for row in texts for text in (MARK, HIM, str(number))):
            found.append(table)
    readers: dict[str, Callable[[Path], pl.DataFrame]] = {
        "archive/**/*.parquet": pl.read_parquet, "checkpoint/segments-*/*": pl.read_ipc,
    }  # fmt: skip
    for pattern, read in readers.items():
        found += [str(path) for path in world.folder.glob(pattern) if (read(path)["visitor"] == number).any()]
    of_tombstone = world.folder / "checkpoint" / "erasures"
    for path in world.folder.rglob("*"):
        if path.is_file() and path != of_tombstone:
            data = path.read_bytes()
            found += [str(path) for text in (MARK, HIM) if text.encode() in data]
    return found


def replayed(world: World, source: str) -> list[bool]:
    return [each["equal"] for each in replay.replay(world.loader, world.archive, DAY, DAY, source=source)]


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


def test_nothing_is_built_while_rows_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(world, HISTORY[:100])
    another = building.leased(world.checkpoint)  # another process, which builds a day
    assert another.take()
    monkeypatch.setattr(forget, "_PATIENCE", 0.0)
    with pytest.raises(rebuild.Busy, match="builds a day"):
        go(world)
    assert not erasure.load(world.checkpoint)
    another.release()
    held = list[bool]()
    erase = Eraser.erase

    def looking(self: Eraser, *arguments: Any) -> None:
        with building.leased(world.checkpoint) as builder:
            held.append(builder.take())
        erase(self, *arguments)

    monkeypatch.setattr(Eraser, "erase", looking)
    go(world)
    assert held == [False]
    with building.leased(world.checkpoint) as builder:
        assert builder.take()


class Killed(BaseException):
    pass


def _killed(*_args: object, **_more: object) -> None:
    raise Killed


# Where a kill strikes: at a call of this method, the first, the second …
STEPS: list[tuple[type, str, int]] = [
    (Eraser, "uncount", 1),
    (Eraser, "_delete", 2),
    (Eraser, "_delete", 6),
    (CheckpointRepository, "forget", 1),
    (ParquetArchive, "commit", 1),
    (ParquetArchive, "delete", 2),
    (SqliteBroker, "erase", 2),
]


@pytest.mark.parametrize(("kind", "method", "number"), STEPS, ids=lambda each: getattr(each, "__name__", str(each)))
def test_what_a_kill_broke_off_is_finished_by_the_next_start(
    world: World, without: Kept, monkeypatch: pytest.MonkeyPatch, kind: type, method: str, number: int
) -> None:
    real, calls = getattr(kind, method), iter(range(1, 1000))

    def call(*args: Any, **more: Any) -> Any:
        if next(calls) == number:
            # Nothing that runs on the way out may reach the stores.
            monkeypatch.setattr(FolderCheckpointStore, "swap", _killed)
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


@pytest.mark.parametrize("kind", ["whole", "partial"])
def test_files_that_a_killed_flush_left_are_looked_into(
    world: World, without: Kept, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    world.publish(his(event(9_000, T0)), event(9_001, T0, site="b.example", visitor=4))
    world.loader.drain()
    before = {*world.folder.glob("archive/**/*.parquet")}
    with monkeypatch.context() as patched:
        patched.setattr(ParquetArchive, "commit", _killed)
        with pytest.raises(Killed):
            world.flush()
    left = {*world.folder.glob("archive/**/*.parquet")} - before
    assert len(left) == 2
    world.publish(event(9_002, T0, site="b.example", visitor=4))  # so the next flush takes more, under another name
    world.loader.drain()
    if kind == "partial":
        for path in left:
            path.rename(path.with_name(f".{path.name}.0123abcd.partial"))
    assert world.archive.amount().events == sum(pl.read_parquet(path).height for path in before)
    files = forget.look(world.loader, world.archive, PERSON)["removed"]["archive_files"]
    receipt = go(world)
    assert (receipt["removed"]["archive_files"], receipt["remains"]) == (files, [])
    assert traces(world) == []
    assert not [*world.folder.glob("archive/site=a.example/**/*.partial")]
    world.flush()
    others = world.warehouse.query("SELECT count() FROM events WHERE site = 'a.example'").item()
    assert others == without.numbers[0].height
    for source in ("broker", "archive"):
        assert replayed(world, source) == [True, True]


def test_a_flush_that_read_the_log_before_he_was_forgotten_leaves_nothing_of_him(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish(his(event(9_000, T0)), event(9_001, T0, visitor=3))
    world.loader.drain()
    real = ParquetArchive.commit

    def commit(*args: Any) -> str:
        monkeypatch.setattr(ParquetArchive, "commit", real)
        go(world)
        assert traces(world) == []
        return real(*args)

    monkeypatch.setattr(ParquetArchive, "commit", commit)
    world.flush()
    assert traces(world) == []
    assert replayed(world, "archive") == [True]
    assert {found.path for found in world.archive.manifest().entries} == {
        path.relative_to(world.folder / "archive").as_posix() for path in world.folder.glob("archive/**/*.parquet")
    }


def spoiled(world: World, column: str) -> list[str]:
    """Spoil a column, or the end, of each file with events of him; returns their paths."""
    spoiled = []
    for path in world.folder.glob("archive/**/*.parquet"):
        if not (pl.read_parquet(path)["visitor"] == int(HIM, 16)).any():
            continue
        spoiled.append(path.relative_to(world.folder / "archive").as_posix())
        data = bytearray(path.read_bytes())
        if column == "end":
            path.write_bytes(data[: len(data) // 2])
            continue
        group = pq.ParquetFile(path).metadata.row_group(0)
        [found] = [at for at in map(group.column, range(group.num_columns)) if at.path_in_schema == column]
        data[found.data_page_offset + found.total_compressed_size // 2] ^= 0x55
        path.write_bytes(data)
    return sorted(spoiled)


@pytest.mark.parametrize("column", ["title", "visitor", "end"])
def test_a_damaged_file_that_had_him_is_made_again_without_him(world: World, without: Kept, column: str) -> None:
    assert spoiled(world, column)
    receipt = go(world)
    assert receipt["remains"] == []
    assert traces(world) == []
    assert_as(world, without)
    assert replayed(world, "archive") == [True]
    assert [*rearchive.check(world.archive, world.broker, world.runner, world.erasures, mend=False)] == []


@pytest.mark.parametrize("alone", [False, True])
def test_the_check_mends_a_file_without_who_was_forgotten_since(world: World, alone: bool) -> None:
    if alone:  # nothing is left of the file
        world.publish(his(event(9_000, T0 + 30 * HOUR_MS, received_at=T0 + 30 * HOUR_MS)))
        world.loader.drain()
        world.flush()
    damaged = spoiled(world, "end")
    # As on a broker that cannot erase, and of which nothing could be read when he was forgotten.
    erasure.add(world.checkpoint, [Tombstone(1, SITE, T0 + 100 * HOUR_MS, HIM)])

    def check(mend: bool) -> list[tuple[str, bool]]:
        found = rearchive.check(world.archive, world.broker, world.runner, world.erasures, mend=mend)
        return sorted((each.file.removeprefix(f"{world.archive.url}/"), each.mended) for each in found)

    assert check(mend=True) == [(path, True) for path in damaged]
    assert check(mend=False) == []
    for entry in world.archive.manifest().entries:
        assert not (world.archive.read(entry.path, ["visitor"], entry)["visitor"] == int(HIM, 16)).any()
    known = {entry.path for entry in world.archive.manifest().entries}
    assert known == {*world.archive.of_site(SITE)}


@pytest.mark.parametrize("value", [b"no version line", b"version\n[no tombstones"])
def test_damaged_tombstones_count_again_without_a_moment_between(
    world: World, monkeypatch: pytest.MonkeyPatch, value: bytes
) -> None:
    go(world)
    before = world.erasures()
    (world.folder / "checkpoint" / "erasures").write_bytes(value)
    monkeypatch.setattr(FolderCheckpointStore, "set_aside", _killed)
    world.loader.open()
    assert world.erasures() == before
    assert [world.checkpoint.get(name) for name in world.checkpoint.names("damaged/")] == [value]


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


def test_nothing_is_loaded_while_rows_of_a_broken_off_erasure_are_there(
    world: World, without: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_args: object, **_more: object) -> None:
        monkeypatch.setattr(FolderCheckpointStore, "swap", _killed)
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Eraser, "uncount", killed)
        go(world)
    monkeypatch.undo()
    world.reopen()  # another process, which has not taken the lease of the dead one over
    forget.take_over(world.checkpoint)
    world.now += LEASE_MS + 1
    loader = world.another_loader()
    world.publish(event(9_500, T0, visitor=3))
    assert loader.step() is None
    assert "erasure" in loader.status.trouble
    loader.run(threading.Event())  # returns, so that it is recovered
    with pytest.raises(NotNow, match="forgotten"):
        resize(lambda unit: replace(loader, unit=unit), 2)
    recover.recover(loader, world.archive)
    assert [counters["dedupe.fresh"] for counters in loader.drain()] == [1]
    assert world.count("SELECT count() FROM events") == without.numbers[0].height + 1
    assert traces(world) == []


def test_who_loads_waits_while_another_process_takes_the_rows_out_and_no_longer(world: World) -> None:
    store = world.checkpoint
    forget.resume(world.loader, world.archive)
    with HeldLease(store, "forget") as lease:
        assert lease.take()
        found = forget._found(world.loader, PERSON, 1)
        forget._write(store, found)
        with pytest.raises(Busy, match="forgets somebody"):
            forget.resume(world.loader, world.archive, 0.3)
        checkpoint = world.loader.open()
        world.loader.repository.swap(msgspec.structs.replace(checkpoint, erased=1))
        forget.resume(world.loader, world.archive)  # the archive and the log are the other one's
    assert store.load(erasure.JOURNAL) is not None
    forget.resume(world.loader, world.archive)
    assert store.load(erasure.JOURNAL) is None
