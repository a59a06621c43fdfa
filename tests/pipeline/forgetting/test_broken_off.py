"""What was broken off or damaged keeps nothing of him, and who loads or builds waits for what is under way."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import msgspec
import polars as pl
import pyarrow.parquet as pq
import pytest

from activity.definitions import HOUR_MS
from activity.erasure import Erasures, Tombstone
from pipeline import days as building
from pipeline import erasing, erasure, forget, rearchive, rebuild, recover
from pipeline.lease import HeldLease
from pipeline.rebuild import LEASE_MS, Busy
from pipeline.resize import NotNow, resize
from stores.archive import ParquetArchive
from stores.checkpoint import FolderCheckpointStore
from stores.erasure import Eraser
from tests.pipeline.forgetting.him import (
    HIM,
    HISTORY,
    PERSON,
    SITE,
    Kept,
    Killed,
    assert_as,
    fill,
    go,
    his,
    killed,
    replayed,
    traces,
)
from tests.pipeline.world import T0, World, event


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


@pytest.mark.parametrize("kind", ["whole", "partial"])
def test_files_that_a_killed_flush_left_are_looked_into(
    world: World, without: Kept, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    world.publish(his(event(9_000, T0)), event(9_001, T0, site="b.example", visitor=4))
    world.loader.drain()
    before = {*world.folder.glob("archive/**/*.parquet")}
    with monkeypatch.context() as patched:
        patched.setattr(ParquetArchive, "commit", killed)
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
    erasure.add(world.checkpoint, Erasures((Tombstone(1, SITE, T0 + 100 * HOUR_MS, HIM),)))

    def check(mend: bool) -> list[tuple[str, bool]]:
        found = rearchive.check(world.archive, world.broker, world.runner, world.erasures, mend=mend)
        return sorted((each.file.removeprefix(f"{world.archive.url}/"), each.mended) for each in found)

    assert check(mend=True) == [(path, True) for path in damaged]
    assert check(mend=False) == []
    for entry in world.archive.manifest().entries:
        assert not (world.archive.read(entry.path, ["visitor"], entry)["visitor"] == int(HIM, 16)).any()
    known = {entry.path for entry in world.archive.manifest().entries}
    assert known == {*world.archive.of_site(SITE)}


@pytest.mark.parametrize("damage", ["no version line", "no tombstones", "another visitor", "another moment"])
def test_damaged_tombstones_count_again_without_a_moment_between(
    world: World, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    go(world)
    before = world.erasures()
    path = world.folder / "checkpoint" / "erasures"
    kept = path.read_bytes()
    value = {
        "no version line": b"no version line",
        "no tombstones": b"version\n[no tombstones",
        "another visitor": kept.replace(HIM.encode(), f"{int(HIM, 16) ^ 1:016x}".encode()),
        "another moment": kept.replace(b'"received_before":', b'"received_before":-'),
    }[damage]
    assert value != kept
    path.write_bytes(value)
    monkeypatch.setattr(FolderCheckpointStore, "set_aside", killed)
    world.loader.open()
    assert world.erasures() == before
    assert [world.checkpoint.get(name) for name in world.checkpoint.names("damaged/")] == [value]


def test_nothing_is_loaded_while_rows_of_a_broken_off_erasure_are_there(
    world: World, without: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_args: object, **_more: object) -> None:
        monkeypatch.setattr(FolderCheckpointStore, "swap", killed)
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
        erasing.write(store, found)
        with pytest.raises(Busy, match="erases something"):
            forget.resume(world.loader, world.archive, 0.3)
        checkpoint = world.loader.open()
        world.loader.repository.swap(msgspec.structs.replace(checkpoint, erased=1))
        forget.resume(world.loader, world.archive)  # the archive and the log are the other one's
    assert store.load(erasure.JOURNAL) is not None
    forget.resume(world.loader, world.archive)
    assert store.load(erasure.JOURNAL) is None
