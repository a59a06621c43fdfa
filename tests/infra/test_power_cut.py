"""What was answered or committed outlives a power cut: a file is fsync'd before it gets its name, its folder after.

Each test works on a watched disk (`tests.disk`). It cuts the power after each thing that is done, and before each fsync
in between, and opens what is left."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import stores
from brokers import connect
from brokers.base import Record, TooLarge
from infra import private
from ingest import sites
from ingest.spool import FolderSpool
from pipeline.checkpoint import Checkpoint, CheckpointRepository
from stores.accounts.file import AccountsFile
from tests.disk import Disk
from tests.stores import frames
from tests.stores.test_archive import flush, published

Left = Callable[[], Iterator[Path]]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    (tmp_path / "disk").mkdir()
    with Disk(tmp_path / "disk").watched() as watched:
        yield watched


@pytest.fixture
def left(disk: Disk, tmp_path: Path) -> Left:
    """What a power cut now would leave, in each way."""
    return lambda: disk.cuts(tmp_path / "left")


@pytest.fixture
def data(disk: Disk) -> Path:
    """A new data folder, whose parents are new, too."""
    folder = disk.root / "srv" / "footfall"
    private.make(folder)
    return folder


def below(root: Path, disk: Disk, folder: Path) -> Path:
    """Where a folder is in what is left."""
    return root / folder.relative_to(disk.root)


def test_the_model_loses_what_was_not_fsynced(disk: Disk, left: Left) -> None:
    (disk.root / "synced").write_text("old")
    for path in (disk.root / "synced", disk.root):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    (disk.root / "synced").write_text("new")
    (disk.root / "fresh").write_text("new")
    kept, early = ({path.name: path.read_text() for path in root.iterdir()} for root in left())
    assert kept == {"synced": "old"}
    assert early == {"synced": "old", "fresh": ""}


def test_a_checkpoint_is_the_former_or_the_new_one_with_all_of_its_segments(disk: Disk, left: Left, data: Path) -> None:
    store = stores.connect_checkpoint(f"file://{data}/checkpoint")
    repository, allowed = CheckpointRepository(store, "0"), {None}

    def whole() -> None:
        for root in left():
            found = CheckpointRepository(stores.connect_checkpoint(str(below(root, disk, data) / "checkpoint")), "0")
            checkpoint = found.load()
            assert (checkpoint.batch if checkpoint else None) in allowed
            for segment in checkpoint.deltas if checkpoint else []:
                assert found.get_frame(segment)["n"].to_list() == [int(segment.split("/")[1][0])]

    for batch in range(1, 5):
        allowed.add(batch)
        with disk.at_each_fsync(whole):
            made = [repository.put_frame(f"{n}-of-{batch}", pl.DataFrame({"n": [n]})) for n in range(2)]
            before = repository.load()
            repository.swap(Checkpoint(generation="g", partitions=4, batch=batch, deltas=made))
        allowed = {batch}
        whole()
        with disk.at_each_fsync(whole):
            repository.forget(before.deltas if before else [])
        whole()


def test_a_manifest_has_all_of_its_files(disk: Disk, left: Left, data: Path) -> None:
    archive = stores.connect_archive(f"file://{data}/archive")
    allowed = {0}

    def whole() -> None:
        for root in left():
            found = stores.connect_archive(str(below(root, disk, data) / "archive"))
            entries = found.manifest().entries
            assert sum(found.read(entry.path, entry=entry).height for entry in entries) in allowed
            assert sum(entry.rows for entry in entries) in allowed

    for number in range(3):
        done = 4 * (number + 1)
        allowed.add(done)
        with disk.at_each_fsync(whole):
            entries = flush(archive, published(frames.events(4, seed=number, days=1)), str(number))
            archive.commit(archive.committed().version, entries, {"footfall.pageview": {"0": str(done)}})
        allowed = {done}
        whole()


def test_the_folders_of_a_log_and_of_the_accounts_are_there(disk: Disk, left: Left) -> None:
    connect(f"sqlite://{disk.root}/new/log/log.db").create_topic("footfall.pageview", 1)
    AccountsFile(disk.root / "new" / "accounts" / "accounts.db").change("DELETE FROM users")
    for root in left():
        assert {path.name for path in (root / "new").iterdir()} == {"log", "accounts"}


def spooled(root: Path) -> list[bytes]:
    """What another process finds to publish, in order."""
    found: list[bytes] = []
    FolderSpool(root).drain(lambda records: found.extend(record.value or b"" for record in records))
    return found


def records(*numbers: int) -> list[Record]:
    return [Record("footfall.pageview", b"key", str(number).encode()) for number in numbers]


def test_a_spooled_record_is_published_though_the_power_fails_at_any_time(disk: Disk, left: Left, data: Path) -> None:
    spool, taken = FolderSpool(data / "spool"), list[bytes]()
    published: list[bytes] = []

    def nothing_lost() -> None:
        for root in left():
            waiting = spooled(below(root, disk, data) / "spool")
            assert waiting == taken[len(taken) - len(waiting) :]
            assert {*published, *waiting} >= {*taken}

    for number in range(4):
        spool.append(records(2 * number, 2 * number + 1))
        taken += [b"%d" % (2 * number), b"%d" % (2 * number + 1)]
        nothing_lost()

    def publish(some: Sequence[Record]) -> None:
        published.extend(record.value or b"" for record in some)
        nothing_lost()

    with disk.at_each_fsync(nothing_lost):
        assert spool.drain(publish) == len(taken)
    nothing_lost()


def test_what_the_broker_never_takes_is_kept_before_the_spool_file_goes(disk: Disk, left: Left, data: Path) -> None:
    spool = FolderSpool(data / "spool")
    spool.append(records(1, 2, 3))

    def publish(some: Sequence[Record]) -> None:
        raise TooLarge("too large", [1])

    spool.drain(publish)
    assert not list((data / "spool").glob("*.spool"))
    for root in left():
        (kept,) = (below(root, disk, data) / "spool").glob("*.damaged")
        assert kept.read_bytes()


def test_a_site_that_was_added_is_there_with_its_key(disk: Disk, left: Left, data: Path) -> None:
    file, allowed = data / "sites.toml", [{}]  # type: tuple[Path, list[dict[str, str]]]

    def whole() -> None:
        for root in left():
            path = below(root, disk, file)
            known = sites.parse(path.read_text(), str(path)) if path.exists() else {}
            assert {domain: site.key for domain, site in known.items()} in allowed

    for number in range(3):
        allowed.append(allowed[-1] | {f"s{number}.example": f"key-of-site-{number}-that-is-long"})
        with disk.at_each_fsync(whole):
            assert sites.add(file, f"s{number}.example", key=f"key-of-site-{number}-that-is-long")
        del allowed[:-1]
        whole()


def test_salts_and_keys_that_were_used_are_the_same_afterwards(disk: Disk, left: Left, data: Path) -> None:
    live = stores.connect_live(f"file://{data}/live")
    made: dict[str, Any] = {}

    def same() -> None:
        for root in left():
            folder = below(root, disk, data) / "live"
            if made or folder.exists():
                again = stores.connect_live(str(folder))
                assert {name: ask(again) for name, ask in asked.items() if name in made} == made

    asked: dict[str, Callable[[Any], bytes]] = {
        "salt": lambda of: of.salt("2099-01-01"),
        "key": lambda of: of.import_key("a.example"),
        "another key": lambda of: of.import_key("b.example"),
    }
    for name, ask in asked.items():
        with disk.at_each_fsync(same):
            secret = ask(live)
        made[name] = secret
        same()
